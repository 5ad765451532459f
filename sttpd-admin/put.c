/* A text is looked for and then created; or created at once where it is known to be absent, which
 * is wrong only where somebody else writes, too.
 *
 * No operation makes a directory alone: a file in it is created and deleted. Its name is one that
 * no request can name, so that nobody sees it, and what a kill leaves of it goes at the next run.
 * Where there is no room for that name it is one that may be somebody's text: then it is deleted
 * only where it was created here, which its own text tells a later run, too, and nothing else is
 * under way meanwhile. */
#include "put.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "result.h"

#define PLACEHOLDER STTP_RESERVED_PREFIX "d"
#define SHORT_PLACEHOLDER "d" /* where that name makes the path too long */

static const char short_placeholder_text[] =
    "sttpd-admin made this file with its directory, and removes it when it is run again";

static struct put *put_of(const struct job *job)
{
    return job->work->context;
}

static void tell(const struct put *put, const struct job *job, const char *what)
{
    if (put->input != NULL)
        say("%s:%zu: %.*s: %s", put->input, job->line, (int)job->path_size, job->path, what);
    else
        say("%.*s: %s", (int)job->path_size, job->path, what);
}

void put_fail(struct job *job, const char *where)
{
    struct put *put = put_of(job);
    char text[640];

    put->failed++;
    if (!put->is_stopped) {
        snprintf(text, sizeof text, "%s: %s", where, result_words(&job->operation));
        tell(put, job, text);
    }
    put->is_stopped = put->is_stopped || result_is_general(job->operation.result);
    job_end(job);
}

/* ---- texts ---- */

static void on_shown(struct job *job);

static void on_created(struct job *job)
{
    if (job->operation.result == STORE_EXISTS) {
        job_ask(job, put_of(job)->target, STTP_ACTION_SHOW, job_path(job), on_shown);
    } else if (job->operation.result != STORE_DONE) {
        put_fail(job, "the target");
    } else {
        put_of(job)->made++;
        job_end(job);
    }
}

static void on_updated(struct job *job)
{
    if (job->operation.result != STORE_DONE) {
        put_fail(job, "the target");
        return;
    }
    put_of(job)->replaced++;
    job_end(job);
}

static bool is_same(const struct job *job)
{
    sttp_slice there = job->operation.contents;

    return job->operation.result == STORE_DONE && there.size == job->text_size &&
           memcmp(there.data, job->text, there.size) == 0;
}

static void compare(struct job *job)
{
    struct put *put = put_of(job);

    if (is_same(job)) {
        put->same++;
        job_end(job);
    } else if (put->overwrites) {
        job_ask(job, put->target, STTP_ACTION_UPDATE, job_path(job), on_updated);
    } else {
        put->differing++;
        tell(put, job, "another text is at the target and stays; --overwrite replaces it");
        job_end(job);
    }
}

static void on_shown(struct job *job)
{
    switch (job->operation.result) {
    case STORE_DONE:
    case STORE_INVALID_TEXT:
        compare(job);
        break;
    case STORE_NOT_FOUND:
    case STORE_PATH_NOT_FOUND:
        job_ask(job, put_of(job)->target, STTP_ACTION_CREATE, job_path(job), on_created);
        break;
    default:
        put_fail(job, "the target");
        break;
    }
}

void put_text(struct job *job)
{
    struct store *target = put_of(job)->target;

    if (job->is_absent)
        job_ask(job, target, STTP_ACTION_CREATE, job_path(job), on_created);
    else
        job_ask(job, target, STTP_ACTION_SHOW, job_path(job), on_shown);
}

/* ---- directories ---- */

static void end_directory(struct job *job)
{
    if (job->is_absent)
        put_of(job)->directories++;
    else
        put_of(job)->same++;
    job_end(job);
}

static void on_emptied(struct job *job)
{
    store_result result = job->operation.result;

    if (result != STORE_DONE && result != STORE_NOT_FOUND)
        put_fail(job, "the target");
    else
        end_directory(job);
}

static bool has_room(sttp_slice directory)
{
    return directory.size + strlen(PLACEHOLDER) <= STTP_MAX_PATH;
}

/* The path of the file that stands in the directory for a moment, behind the directory's own. */
static sttp_slice placeholder(struct job *job)
{
    sttp_slice name =
        has_room(job_path(job)) ? STTP_SLICE(PLACEHOLDER) : STTP_SLICE(SHORT_PLACEHOLDER);

    memcpy(job->path + job->path_size, name.data, name.size);
    return (sttp_slice){job->path, job->path_size + name.size};
}

static void empty(struct job *job)
{
    job_ask(job, put_of(job)->target, STTP_ACTION_DELETE, placeholder(job), on_emptied);
}

static void on_filled(struct job *job)
{
    store_result result = job->operation.result;

    if (result != STORE_DONE && result != STORE_EXISTS)
        put_fail(job, "the target");
    else if (result == STORE_DONE || has_room(job_path(job)))
        empty(job);
    else
        end_directory(job); /* somebody else made it just now */
}

/* What may be left of a run that was killed. */
static void on_left(struct job *job)
{
    if (is_same(job))
        empty(job);
    else if (result_is_general(job->operation.result))
        put_fail(job, "the target");
    else
        end_directory(job);
}

static void on_listed(struct job *job)
{
    switch (job->operation.result) {
    case STORE_DONE:
        if (has_room(job_path(job)))
            empty(job);
        else
            job_ask(job, put_of(job)->target, STTP_ACTION_SHOW, placeholder(job), on_left);
        break;
    case STORE_NOT_FOUND:
    case STORE_PATH_NOT_FOUND:
        job->is_absent = true;
        job_ask(job, put_of(job)->target, STTP_ACTION_CREATE, placeholder(job), on_filled);
        break;
    default:
        put_fail(job, "the target");
        break;
    }
}

void put_directory(struct job *job)
{
    if (!has_room(job_path(job))) {
        job->text_size = strlen(short_placeholder_text);
        memcpy(job->text, short_placeholder_text, job->text_size);
    }
    job_ask(job, put_of(job)->target, STTP_ACTION_LIST, job_path(job), on_listed);
}

/* ---- all of them ---- */

bool put_must_wait(const struct put *put, sttp_slice path)
{
    return work_has(&put->work, path) || (put->work.count > 0 && !has_room(path));
}

static void on_retired(void *context, struct job *job)
{
    struct put *put = context;

    (void)job;
    progress_step(&put->progress);
}

bool put_start(struct put *put, store *target, bool overwrites, const char *progress)
{
    *put = (struct put){.target = target, .overwrites = overwrites, .progress.what = progress};
    if (work_start(&put->work, on_retired, put))
        return true;
    say("out of memory");
    return false;
}

bool put_finish(struct put *put)
{
    work_finish(&put->work);
    progress_end();
    printf("%s %" PRIu64 " texts and %" PRIu64 " empty directories; %" PRIu64
           " were there, %" PRIu64 " replaced, %" PRIu64 " differ and stay, %" PRIu64 " failed\n",
           put->progress.what, put->made, put->directories, put->same, put->replaced,
           put->differing, put->failed);
    if (put->is_stopped)
        say("stopped; run it again and it goes on");
    return put->differing == 0 && put->failed == 0 && !put->is_stopped;
}
