/* Texts and directories on their way into a store. What is there already stays as it is, unless it
 * is to be overwritten. Each is a job of work.h, whose text is known, or is read first. */
#ifndef ADMIN_PUT_H
#define ADMIN_PUT_H

#include "say.h"
#include "work.h"

struct put {
    struct work work;
    store *target;
    const char *input; /* the file that jobs come from, for messages; NULL where there is none */
    bool overwrites;
    bool is_stopped; /* something failed that all else would fail of, too */
    uint64_t made, directories, same, replaced;
    uint64_t differing; /* and were left as they are */
    uint64_t failed;
    struct progress progress;
};

/* False where memory is out, which was told. `progress` says what is counted: "copied". */
bool put_start(struct put *put, store *target, bool overwrites, const char *progress);

/* Whether a job for the path has to wait for jobs under way, one for the same path above all. */
bool put_must_wait(const struct put *put, sttp_slice path);

/* Puts the text, or the empty directory, of a job of `put->work`. */
void put_text(struct job *job);
void put_directory(struct job *job);

/* Tells that a job failed, at `where`, by what its operation says, and ends it. */
void put_fail(struct job *job, const char *where);

/* Waits for all jobs, and tells on standard output what was done: "copied". Returns whether all is
 * at the target as it should be. */
bool put_finish(struct put *put);

#endif
