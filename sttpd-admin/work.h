/* Jobs on stores: one for each path, each some operations one after the other. Many are under way
 * at once, so that a store can do together what it does together; they are handed back in the order
 * in which they were begun.
 *
 * All but the stores' own work runs on the thread that begins jobs. */
#ifndef ADMIN_WORK_H
#define ADMIN_WORK_H

#include <pthread.h>
#include <stdbool.h>

#include "sttpd/store.h"

/* Operations under way at once: what a store may let wait is more, by default. */
enum { WORK_JOBS = 512 };

/* Room for a directory's path and the name of a file in it. */
enum { WORK_PATH = STTP_MAX_PATH + 32 };

struct work;

struct job {
    store_operation operation; /* first, so that one is the other: the step under way, or its end */
    struct work *work;
    struct job *next;
    void (*then)(struct job *job);
    bool is_ended;

    char path[WORK_PATH]; /* a directory's has its final slash */
    size_t path_size;
    bool is_directory;
    char text[STTP_MAX_CONTENTS_BYTES];
    size_t text_size;

    /* Whoever began it uses these as it likes. */
    void *context;
    bool is_absent; /* it is not at the target */
    bool has_more;  /* a directory that is not empty */
    bool is_good;   /* what was read is right */
    size_t line;    /* of the file that it came from */
};

struct work {
    struct job *jobs; /* a ring: `count` of them from `head` on */
    size_t head, count;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct job *done; /* operations that have completed; under `mutex` */
    void (*retire)(void *context, struct job *job);
    void *context;
};

/* False where memory is out. `retire` is called with each job that has ended. */
bool work_start(struct work *work, void (*retire)(void *context, struct job *job), void *context);

/* A job for a path, which may wait until an earlier one is done. The caller asks something with it,
 * or ends it. */
struct job *work_next(struct work *work, sttp_slice path);

/* Whether a job for the path is under way. */
bool work_has(const struct work *work, sttp_slice path);

/* Hands back some job if any is under way, and waits for that. */
void work_wait(struct work *work);

/* Waits for all jobs, which are handed back, and frees what work_start took. */
void work_finish(struct work *work);

/* Submits an operation about `path`, which lives in the job; `then` is called when it is done. The
 * text of the job goes with it. */
void job_ask(struct job *job, store *asked, sttp_action action, sttp_slice path,
             void (*then)(struct job *));

void job_end(struct job *job);

/* The job's own path. */
sttp_slice job_path(const struct job *job);

#endif
