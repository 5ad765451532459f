/* What a server knows of other servers that share its database: which changes they have made, for
 * its cache; and how the database's clock goes beside its own, so that what one server has read at
 * some time can be used by another one (sttpd/redis_entry.h). */
#ifndef STTPD_COHERENCE_H
#define STTPD_COHERENCE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <sttp/cache.h>

#include "sttpd/store.h"

enum { COHERENCE_NAME = 16 };

struct coherence {
    struct store_watcher watcher; /* for the store; its context is this struct */
    _Atomic(sttp_cache *) cache;
    unsigned char server[COHERENCE_NAME]; /* this one's name, random */
    unsigned char stored[STORE_IDENTITY]; /* the store's */

    uint64_t patience; /* microseconds, and so the next: for how long a look at the clock is good */
    uint64_t memory;   /* for how long it must be remembered */
    pthread_mutex_t lock;
    /* Under the lock. Microseconds of CLOCK_MONOTONIC, and by how many the database's clock is
     * ahead of it: at least `earliest`, of the last look and the one before; at most `highest`, of
     * all looks since one or two times `memory`. */
    bool has_clock;
    int64_t measured;
    int64_t looked[2]; /* when those two were */
    int64_t earliest[2];
    int64_t highest[2]; /* since `turned`, and before that */
    int64_t turned;
};

/* `bound`: milliseconds by which a cache may be behind; `expiration`: milliseconds after which
 * nothing is used any more that was read. False, with errno set, where the system has no random
 * bytes. */
bool coherence_init(struct coherence *coherence, uint64_t bound, uint64_t expiration);

/* From now on the watcher tells the cache, which is cleared for what was told before. `identity` is
 * the store's. */
void coherence_begin(struct coherence *coherence, sttp_cache *cache,
                     const unsigned char identity[STORE_IDENTITY]);

/* Turns a time of sttp_server_now into one of the database's clock, in microseconds, and is not
 * late. False where that clock is not known, was not looked at of late, or `time` is from before
 * the last two looks. Thread-safe. */
bool coherence_stamp(struct coherence *coherence, uint64_t time, int64_t *stamp);

/* The way back, of a stamp that any server has made: milliseconds of this one's clock, and not
 * late. False where that cannot be said; so it is for one that was made after the last look at the
 * clock: who has made it may know of a step of that clock that this server does not know of.
 * Thread-safe. */
bool coherence_time(struct coherence *coherence, int64_t stamp, uint64_t *time);

#endif
