/* Source and target are walked side by side, so what is at the target already is known and never
 * written again. When all is done both are walked and read once more. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "digest.h"
#include "put.h"
#include "result.h"
#include "run.h"
#include "walk.h"

/* ---- side by side ---- */

struct pair {
    struct walk source, target;
    struct entry here, there;
    bool has_here, has_there;
    uint64_t extras; /* of the target alone, among what was passed */
};

static void pair_start(struct pair *pair, store *source, store *target)
{
    pair->extras = 0;
    walk_start(&pair->source, source, "the source");
    walk_start(&pair->target, target, "the target");
    pair->has_here = walk_next(&pair->source, &pair->here);
    pair->has_there = walk_next(&pair->target, &pair->there);
}

/* The source's next entry, and whether the target has it. */
static bool pair_next(struct pair *pair, struct entry *entry, bool *is_there)
{
    while (pair->has_there && (!pair->has_here || entry_compare(&pair->there, &pair->here) < 0)) {
        pair->extras++;
        pair->has_there = walk_next(&pair->target, &pair->there);
    }
    if (!pair->has_here)
        return false;
    *is_there = pair->has_there && entry_compare(&pair->there, &pair->here) == 0;
    if (*is_there)
        pair->has_there = walk_next(&pair->target, &pair->there);
    *entry = pair->here;
    pair->has_here = walk_next(&pair->source, &pair->here);
    return true;
}

/* False where one of them could not be walked to its end, which was told. */
static bool pair_end(struct pair *pair)
{
    walk_end(&pair->source);
    walk_end(&pair->target);
    return !pair->source.has_failed && !pair->target.has_failed;
}

static struct job *begin(struct work *work, const struct entry *entry, bool is_there, void *context)
{
    struct job *begun = work_next(work, (sttp_slice){entry->path, entry->size});

    begun->is_directory = entry->is_directory;
    begun->is_absent = !is_there;
    begun->context = context;
    return begun;
}

static void keep_text(struct job *job)
{
    job->text_size = job->operation.contents.size;
    memcpy(job->text, job->operation.contents.data, job->text_size);
}

/* ---- copying ---- */

static void on_read(struct job *job)
{
    if (job->operation.result != STORE_DONE) {
        put_fail(job, "the source");
        return;
    }
    if (job->is_directory) {
        put_directory(job);
        return;
    }
    keep_text(job);
    put_text(job);
}

/* A directory that has something in it is made with that. One without is listed once more, since a
 * listing of all passes over what may not be read. */
static bool copy_all(struct pair *pair, struct put *put, store *source)
{
    struct entry entry;
    bool is_there;

    while (!put->is_stopped && pair_next(pair, &entry, &is_there)) {
        if (entry.is_directory && !entry.is_empty)
            continue;
        struct job *begun = begin(&put->work, &entry, is_there, NULL);
        job_ask(begun, source, entry.is_directory ? STTP_ACTION_LIST : STTP_ACTION_SHOW,
                job_path(begun), on_read);
    }
    bool is_walked = pair_end(pair);
    return put_finish(put) && is_walked;
}

/* ---- verifying ---- */

struct verifying {
    store *target;
    struct work work;
    struct digest source, seen;
    uint64_t failed;
    bool is_stopped;
    struct progress progress;
};

static void on_target_read(struct job *job)
{
    job->is_good = job->operation.result == STORE_DONE;
    job_end(job);
}

static void on_source_read(struct job *job)
{
    struct verifying *verifying = job->context;

    if (job->operation.result != STORE_DONE) {
        verifying->failed++;
        verifying->is_stopped = verifying->is_stopped || result_is_general(job->operation.result);
        job->context = NULL;
        job_end(job);
        return;
    }
    keep_text(job);
    if (job->is_absent)
        job_end(job);
    else
        job_ask(job, verifying->target, STTP_ACTION_SHOW, job_path(job), on_target_read);
}

static void on_verified(void *context, struct job *job)
{
    struct verifying *verifying = context;

    progress_step(&verifying->progress);
    if (job->context == NULL)
        return;
    if (job->is_directory) {
        digest_add_directory(&verifying->source, job_path(job));
        if (!job->is_absent)
            digest_add_directory(&verifying->seen, job_path(job));
        return;
    }
    digest_add_text(&verifying->source, job_path(job), (sttp_slice){job->text, job->text_size});
    if (job->is_good)
        digest_add_text(&verifying->seen, job_path(job), job->operation.contents);
}

static bool judge(const struct verifying *verifying, uint64_t extras)
{
    const struct digest *source = &verifying->source, *seen = &verifying->seen;
    char expected[DIGEST_TEXT], found[DIGEST_TEXT];
    bool is_same = strcmp(digest_end(source, expected), digest_end(seen, found)) == 0;

    if (is_same)
        printf("verified %" PRIu64 " texts and %" PRIu64 " directories: XXH3-128 %s\n",
               source->texts, source->directories, expected);
    else
        say("the target is not as the source: of its %" PRIu64 " texts and %" PRIu64
            " directories (XXH3-128 %s) it has %" PRIu64 " and %" PRIu64 " (%s)",
            source->texts, source->directories, expected, seen->texts, seen->directories, found);
    if (verifying->failed > 0)
        say("%" PRIu64 " texts of the source cannot be read and were not compared",
            verifying->failed);
    if (extras > 0)
        printf("%" PRIu64 " more names are at the target and stay\n", extras);
    return is_same && verifying->failed == 0;
}

static bool verify(store *source, store *target)
{
    struct verifying verifying = {.target = target, .progress.what = "verified"};
    struct pair pair;
    struct entry entry;
    bool is_there;

    if (!work_start(&verifying.work, on_verified, &verifying)) {
        say("out of memory");
        return false;
    }
    digest_start(&verifying.source);
    digest_start(&verifying.seen);
    pair_start(&pair, source, target);
    while (!verifying.is_stopped && pair_next(&pair, &entry, &is_there)) {
        struct job *begun = begin(&verifying.work, &entry, is_there, &verifying);
        if (entry.is_directory)
            job_end(begun);
        else
            job_ask(begun, source, STTP_ACTION_SHOW, job_path(begun), on_source_read);
    }
    work_finish(&verifying.work);
    progress_end();
    return pair_end(&pair) && judge(&verifying, pair.extras);
}

int run_copy(struct place *source, struct place *target, bool overwrites)
{
    struct put put;
    struct pair pair;

    if (!put_start(&put, target->store, overwrites, "copied"))
        return ADMIN_FAILED;
    pair_start(&pair, source->store, target->store);
    bool is_copied = copy_all(&pair, &put, source->store);
    if (put.is_stopped)
        return ADMIN_FAILED;
    bool is_verified = verify(source->store, target->store);
    return is_copied && is_verified ? ADMIN_DONE : ADMIN_FAILED;
}
