#include "read.h"

#include "result.h"
#include "walk.h"

static void on_read(struct job *job)
{
    job->is_good = job->operation.result == STORE_DONE;
    job_end(job);
}

static void tell(struct reading *reading, const struct job *job)
{
    reading->failed++;
    if (!reading->is_stopped)
        say("%.*s: %s", (int)job->path_size, job->path, result_words(&job->operation));
    reading->is_stopped = reading->is_stopped || result_is_general(job->operation.result);
}

static void on_retired(void *context, struct job *job)
{
    struct reading *reading = context;

    progress_step(&reading->progress);
    if (!job->is_good) {
        tell(reading, job);
        return;
    }
    if (job->is_directory)
        digest_add_directory(&reading->digest, job_path(job));
    else
        digest_add_text(&reading->digest, job_path(job), job->operation.contents);
    if (job->has_more)
        return;
    reading->empty += job->is_directory;
    reading->seen(reading, job);
}

/* A directory without anything in it is listed once more, since a listing of all passes over what
 * may not be read. */
static void begin(struct reading *reading, store *asked, const struct entry *entry)
{
    struct job *begun = work_next(&reading->work, (sttp_slice){entry->path, entry->size});

    begun->is_directory = entry->is_directory;
    begun->has_more = entry->is_directory && !entry->is_empty;
    begun->is_good = begun->has_more;
    if (begun->has_more)
        job_end(begun);
    else
        job_ask(begun, asked, entry->is_directory ? STTP_ACTION_LIST : STTP_ACTION_SHOW,
                job_path(begun), on_read);
}

bool read_all(struct reading *reading, store *asked)
{
    struct walk walk;
    struct entry entry;

    if (!work_start(&reading->work, on_retired, reading)) {
        say("out of memory");
        return false;
    }
    digest_start(&reading->digest);
    walk_start(&walk, asked, "the listing");
    while (!reading->is_stopped && walk_next(&walk, &entry))
        begin(reading, asked, &entry);
    work_finish(&reading->work);
    walk_end(&walk);
    progress_end();
    return reading->failed == 0 && !walk.has_failed;
}
