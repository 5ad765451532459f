/* Reads all that is in a store, in the order of a recursive listing. */
#ifndef ADMIN_READ_H
#define ADMIN_READ_H

#include "digest.h"
#include "say.h"
#include "work.h"

struct reading {
    struct work work;
    void (*seen)(struct reading *reading,
                 const struct job *job); /* of each good text and each directory
     with nothing in it; the text is in job->operation.contents */
    void *context;
    struct digest digest; /* of the good texts and all directories */
    uint64_t empty;       /* directories */
    uint64_t failed;      /* what could not be read, or is no valid text */
    bool is_stopped;
    struct progress progress;
};

/* Begins with zero but for `seen`, `context` and progress.what. What is wrong is told. Returns
 * whether nothing is. */
bool read_all(struct reading *reading, store *asked);

#endif
