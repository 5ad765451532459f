#include "work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool work_start(struct work *work, void (*retire)(void *context, struct job *job), void *context)
{
    *work = (struct work){.mutex = PTHREAD_MUTEX_INITIALIZER,
                          .changed = PTHREAD_COND_INITIALIZER,
                          .jobs = calloc(WORK_JOBS, sizeof(struct job)),
                          .retire = retire,
                          .context = context};
    return work->jobs != NULL;
}

/* ---- operations ---- */

static void on_complete(store_operation *operation)
{
    struct job *completed = (struct job *)operation;
    struct work *work = completed->work;

    pthread_mutex_lock(&work->mutex);
    completed->next = work->done;
    work->done = completed;
    pthread_cond_signal(&work->changed);
    pthread_mutex_unlock(&work->mutex);
}

void job_ask(struct job *job, store *asked, sttp_action action, sttp_slice path,
             void (*then)(struct job *))
{
    job->then = then;
    job->operation = (store_operation){
        .action = action,
        .path = path,
        .text = {job->text, job->text_size},
        .query = {.limit = 1},
        .complete = on_complete,
    };
    asked->submit(asked, &job->operation);
}

void job_end(struct job *job)
{
    job->is_ended = true;
}

sttp_slice job_path(const struct job *job)
{
    return (sttp_slice){job->path, job->path_size};
}

/* ---- the ring ---- */

static struct job *at(const struct work *work, size_t place)
{
    return &work->jobs[(work->head + place) % WORK_JOBS];
}

/* Takes what has completed; waits for some. */
static struct job *take_done(struct work *work)
{
    pthread_mutex_lock(&work->mutex);
    while (work->done == NULL)
        pthread_cond_wait(&work->changed, &work->mutex);
    struct job *first = work->done;
    work->done = NULL;
    pthread_mutex_unlock(&work->mutex);
    return first;
}

static void retire(struct work *work)
{
    while (work->count > 0 && at(work, 0)->is_ended) {
        struct job *first = at(work, 0);
        work->retire(work->context, first);
        work->head = (work->head + 1) % WORK_JOBS;
        work->count--;
    }
}

void work_wait(struct work *work)
{
    retire(work);
    if (work->count == 0)
        return;
    for (struct job *next, *first = take_done(work); first != NULL; first = next) {
        char *names = first->operation.names;
        next = first->next;
        first->then(first);
        free(names);
    }
    retire(work);
}

struct job *work_next(struct work *work, sttp_slice path)
{
    retire(work);
    while (work->count == WORK_JOBS)
        work_wait(work);
    struct job *free_one = at(work, work->count++);
    *free_one = (struct job){.work = work, .path_size = path.size};
    memcpy(free_one->path, path.data, path.size);
    return free_one;
}

bool work_has(const struct work *work, sttp_slice path)
{
    for (size_t i = 0; i < work->count; i++) {
        const struct job *one = at(work, i);
        if (one->path_size == path.size && memcmp(one->path, path.data, path.size) == 0)
            return true;
    }
    return false;
}

void work_finish(struct work *work)
{
    while (work->count > 0)
        work_wait(work);
    free(work->jobs);
    pthread_cond_destroy(&work->changed);
    pthread_mutex_destroy(&work->mutex);
}
