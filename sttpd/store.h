/* What every store of sttpd is: something that takes operations and completes each of them once. A
 * store knows nothing of connections, caches or lines of text. */
#ifndef STTPD_STORE_H
#define STTPD_STORE_H

#include <stddef.h>

#include <sttp/message.h>

typedef enum store_result {
    STORE_DONE = 0,
    STORE_NOT_FOUND,          /* the parent directory is there, the target is not */
    STORE_PATH_NOT_FOUND,     /* the parent directory is not there */
    STORE_CANNOT_CREATE_PATH, /* CREATE: a parent is no directory, or may not be made */
    STORE_EXISTS,             /* CREATE: a file has the name */
    STORE_IS_DIRECTORY,   /* CREATE, SHOW, UPDATE, DELETE without a final slash: a directory has the
                             name */
    STORE_IS_FILE,        /* LIST, DELETE with a final slash: a file has the name */
    STORE_NOT_A_FILE,     /* CREATE: something has the name that is neither file nor directory */
    STORE_NOT_EMPTY,      /* DELETE of a directory */
    STORE_IS_ROOT,        /* DELETE of "/" */
    STORE_TOO_MANY_NAMES, /* LIST: longer than STTP_MAX_CONTENTS_LINE */
    STORE_INVALID_TEXT,   /* SHOW: what is stored is not a valid short text */
    STORE_DENIED,         /* the server may not read or write it */
    STORE_NO_SPACE,
    STORE_QUOTA,
    STORE_READ_ONLY,
    STORE_NO_MEMORY,
    STORE_NO_DESCRIPTORS,
    STORE_BUSY,           /* the store's queue is full */
    STORE_TOO_MUCH_WORK,  /* LIST: a search that would look at more than one request may */
    STORE_UNAVAILABLE,    /* the database is away; nothing has changed */
    STORE_IO,             /* any other failure; nothing has changed */
    STORE_EARLIER_LOST,   /* nothing has changed; acknowledged changes before it may be lost */
    STORE_OUTCOME_UNKNOWN /* it failed after the change may have become visible */
} store_result;

typedef struct store_operation store_operation;

/* One request to a store. The submitter owns the memory and keeps it, with all that it points to,
 * until `complete` is called; it fills the first part and leaves the rest zero. */
struct store_operation {
    sttp_action action;
    sttp_slice path;  /* checked by the parser */
    sttp_query query; /* LIST */
    sttp_slice text;  /* CREATE, UPDATE */
    /* Called exactly once: from within `submit`, or later from any thread. The operation may be
     * freed in it. */
    void (*complete)(store_operation *operation);
    /* Around each attempt of a change to become visible, before and after which nobody may see it
     * or be told of it; from the thread that makes it, before `complete`. `made`: of how many bytes
     * of `path` the topmost directory is that becomes visible with it; 0 where none does. NULL
     * where nobody wants to know. */
    void (*begin)(store_operation *operation, size_t made);
    void (*end)(store_operation *operation);

    store_result result;
    int system_errno;    /* of a failure, for the log; 0 where there is none */
    sttp_slice contents; /* SHOW, LIST, UPDATE that are STORE_DONE: what the response carries. It
                            points into this operation or to `names`, or is `text` */
    char shown[STTP_MAX_CONTENTS_BYTES + 2]; /* the store's room for a SHOW */
    char *names;                             /* LIST: from malloc; the submitter frees it */

    /* The store's own, while it has the operation. */
    store_operation *next;
    bool joins; /* may be done together with others */
};

typedef struct store store;

enum { STORE_IDENTITY = 16 };

struct store {
    /* Takes an operation. Never blocks: what can be done without waiting is done at once, the rest
     * by the store's own threads. Thread-safe. */
    void (*submit)(store *store, store_operation *operation);
    /* Waits for the operations under way, completes those that wait with STORE_BUSY, frees the
     * store. 0, or the errno of a failure by which acknowledged changes may be lost and which no
     * operation has told. */
    int (*close)(store *store);
    /* What is stored, told from all else that is: of a database the same for all servers that share
     * it, else drawn when it was opened. */
    unsigned char identity[STORE_IDENTITY];
};

/* Who wants to know of changes that others make, of a store that servers share. All of it is called
 * from a thread of the store, from before it is opened until it is closed, and must not block. */
struct store_watcher {
    void *context;
    uint64_t interval; /* milliseconds in which `vouched` is wanted again */
    /* Somebody else has made a change. `made`: as in store_operation's `begin`. */
    void (*changed)(void *context, sttp_action action, sttp_slice path, size_t made);
    /* Changes may have been missed: what was read until now may be untrue. */
    void (*lost)(void *context);
    /* Of every change by others that was committed before `time`, in milliseconds of
     * CLOCK_MONOTONIC, `changed` has told by now, unless `lost` has. */
    void (*vouched)(void *context, uint64_t time);
    /* The database's clock is by now between so many microseconds ahead of CLOCK_MONOTONIC. */
    void (*clock)(void *context, int64_t earliest, int64_t latest);
};

#endif
