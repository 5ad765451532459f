/* The threads of a store: operations that may wait for storage run here. Threads are started when
 * operations wait and none is idle, and end after some time without work; no more of them get work
 * than it takes. All signals are blocked in them; their name is "store".
 *
 * One thread does several operations that `joins` together: see pool_join. Few threads do so, so
 * that many come together, and more as soon as some have to wait because storage is slow for
 * others.
 *
 * Listings have at most three in four of the threads and of the places, and never all of several:
 * whatever is to be listed, changes and SHOW go on. */
#ifndef STTPD_POOL_H
#define STTPD_POOL_H

#include <stdbool.h>

#include "sttpd/store.h"

typedef struct pool pool;
struct pool_thread;

struct pool_settings {
    unsigned threads;      /* at most so many; 1 or more */
    unsigned queue;        /* operations that may wait besides those that the threads work on */
    unsigned idle_timeout; /* milliseconds after which a thread without work ends */
    /* Does the work, in a thread of the pool; also of what it takes by pool_join. */
    void (*run)(void *context, store_operation *operation, struct pool_thread *thread);
    void *context;
};

/* NULL where memory is out. No thread is started yet. */
pool *pool_create(const struct pool_settings *settings);

/* Takes one of the `threads` + `queue` places for the operation. False where all that it may have
 * are taken, or after pool_stop. Who has a place may wait for something else before pool_add. */
bool pool_admit(pool *pool, const store_operation *operation);

/* Gives a place back; whoever took it does so when the operation has run. */
void pool_release(pool *pool, const store_operation *operation);

/* Hands over an operation that has a place; `run` is called with it. False where no thread runs and
 * none can be started: nothing was taken. */
bool pool_add(pool *pool, store_operation *operation);

/* Another operation that `joins` and waits, to be done together with the one that `run` got, in the
 * same thread; NULL where none may be, since `threads` of them are under way. */
store_operation *pool_join(pool *pool, struct pool_thread *thread);

/* Waits for the operations under way, ends the threads, and returns those that no thread had begun,
 * linked by `next`, those of one kind in their order. Call it once. */
store_operation *pool_stop(pool *pool);

/* Frees the pool, after pool_stop. NULL is allowed. */
void pool_destroy(pool *pool);

#endif
