/* A cache of answers, shared by all threads of a server or a proxy: what SHOW and a plain LIST (one
 * without a query) were answered with 200, 400 or 410, as the bytes that go over the wire. Follows
 * docs/protocol.md, section 8.
 *
 * Nobody gets an answer from it that an acknowledged change has made untrue, and one miss of a path
 * asks the storage once, however many ask at that moment:
 *
 *     if (sttp_cache_get(cache, action, path, &hit)) {
 *         ... send hit.response ...
 *         sttp_cache_release(cache, &hit);
 *         return;
 *     }
 *     switch (sttp_cache_lease_take(cache, lease, &hit)) {
 *     case STTP_CACHE_HIT:   ... as above; somebody was faster ...
 *     case STTP_CACHE_WAIT:  return;     lease->complete will be called
 *     case STTP_CACHE_FETCH: break;
 *     }
 *     ... read the storage ...
 *     sttp_cache_fill(cache, lease, &response);
 *
 * and around each change, as soon as it may become visible and before it is acknowledged:
 *
 *     sttp_cache_change_begin(cache, &change);
 *     ... make it visible ...
 *     sttp_cache_change_end(cache, &change);
 *
 * Every function is thread-safe but create and destroy. None waits for storage; a lock is held for
 * the time of one lookup, never while a response is copied or written. */
#ifndef STTP_CACHE_H
#define STTP_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include <sttp/message.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sttp_cache sttp_cache;

/* What an answer is counted for beside its bytes, and those of its path where they are not in it.
 */
enum { STTP_CACHE_OVERHEAD = 64 };

/* Zero stands for the default in every field but `size`. */
typedef struct sttp_cache_options {
    size_t size; /* sizeof(sttp_cache_options), so that later versions can add fields at the end */
    const sttp_allocator *allocator;
    size_t max_entries;  /* answers at once, at most 2^31; default 100 */
    size_t max_bytes;    /* of all answers, each with STTP_CACHE_OVERHEAD; an answer of more than an
                            eighth of it is not kept; default 10 MiB */
    uint64_t expiration; /* milliseconds after which an answer is not given any more, counted from
                            when the storage was asked; at most 2^36;
                            up to 64 less; default 300,000 */
} sttp_cache_options;

/* Makes an empty cache. STTP_OK, STTP_ERR_MEMORY, STTP_ERR_SYSTEM with errno set where the system
 * gives no random bytes, or STTP_ERR_ARGUMENT where an option is out of its range; *cache is NULL
 * then. */
STTP_API sttp_status sttp_cache_create(const sttp_cache_options *options, sttp_cache **cache);

/* Frees the cache. No hit, lease or change may be outstanding. NULL is allowed. */
STTP_API void sttp_cache_destroy(sttp_cache *cache);

/* An answer that was found. It stays as it is until it is released, whatever becomes of its place
 * in the cache meanwhile. */
typedef struct sttp_cache_hit {
    sttp_slice response; /* status line and contents line */
    void *answer;        /* the cache's own */
} sttp_cache_hit;

/* Looks for the answer to SHOW or LIST of a path that the parser has checked. Whether it is there;
 * then *hit has to be released. */
STTP_API bool sttp_cache_get(sttp_cache *cache, sttp_action action, sttp_slice path,
                             sttp_cache_hit *hit);

STTP_API void sttp_cache_release(sttp_cache *cache, sttp_cache_hit *hit);

/* The right to ask the storage and to put the answer into the cache, or to wait for who has it. In
 * the caller's memory, which fills the first part and keeps it, with what `path` points to, until
 * the lease has ended. */
typedef struct sttp_cache_lease sttp_cache_lease;
struct sttp_cache_lease {
    sttp_action action; /* SHOW or LIST */
    sttp_slice path;
    /* Where the lease waits: called once, with the answer that another one has got, in whose call
     * of sttp_cache_fill. The lease has ended by then. */
    void (*complete)(sttp_cache_lease *lease, const sttp_response *response);

    /* The cache's own. */
    sttp_cache_lease *waiting;
    uint64_t hash;
    uint64_t taken;
    uint64_t truths[3];
    unsigned short places[3];
    bool listed;
};

typedef enum sttp_cache_turn {
    STTP_CACHE_HIT,   /* the answer is there by now: *hit; the lease has ended */
    STTP_CACHE_FETCH, /* ask the storage, then call sttp_cache_fill, whatever came of it */
    STTP_CACHE_WAIT   /* somebody asks already: `complete` will be called */
} sttp_cache_turn;

STTP_API sttp_cache_turn sttp_cache_lease_take(sttp_cache *cache, sttp_cache_lease *lease,
                                               sttp_cache_hit *hit);

/* Ends a lease that was to FETCH, with what the storage has answered, a failure included: keeps it
 * where it may be kept, no change has made it untrue meanwhile and there is memory; then completes
 * all that wait for it. */
STTP_API void sttp_cache_fill(sttp_cache *cache, sttp_cache_lease *lease,
                              const sttp_response *response);

/* A change. From `begin` to `end` no answer that it touches is given or kept. */
typedef struct sttp_cache_change {
    sttp_action action; /* CREATE, UPDATE or DELETE */
    sttp_slice path;
    sttp_slice made; /* CREATE: the topmost directory that it makes, the beginning of `path`
                        without a slash at its end; empty where it makes none */
} sttp_cache_change;

/* Before the change may be seen by anybody. */
STTP_API void sttp_cache_change_begin(sttp_cache *cache, const sttp_cache_change *change);

/* After it was made, or has failed, and before anybody is told. */
STTP_API void sttp_cache_change_end(sttp_cache *cache, const sttp_cache_change *change);

/* Removes what has expired; to be called now and then, every second say. What it does not get to is
 * not given to anybody either. */
STTP_API void sttp_cache_expire(sttp_cache *cache);

/* Removes everything. */
STTP_API void sttp_cache_clear(sttp_cache *cache);

/* Counted since the cache was made, but for the last two. */
typedef struct sttp_cache_statistics {
    uint64_t hits;
    uint64_t misses;      /* leases that had to FETCH */
    uint64_t waiters;     /* leases that had to WAIT */
    uint64_t fills;       /* answers kept */
    uint64_t evictions;   /* answers that made room */
    uint64_t expiries;    /* answers removed because of their age */
    uint64_t revocations; /* answers removed, or not kept, because of a change */
    uint64_t entries;
    uint64_t bytes;
} sttp_cache_statistics;

STTP_API void sttp_cache_count(sttp_cache *cache, sttp_cache_statistics *statistics);

/* An answer of the cache. */
typedef struct sttp_cache_item {
    sttp_action action;
    sttp_slice path;
    sttp_slice response;
    size_t bytes; /* what it is counted for */
} sttp_cache_item;

/* Calls `visit` with each answer that is in the cache all the while; those that come or go may be
 * visited or not. What an item points to lives until `visit` returns. `visit` may use the cache. */
STTP_API void sttp_cache_each(sttp_cache *cache,
                              void (*visit)(void *context, const sttp_cache_item *item),
                              void *context);

#ifdef __cplusplus
}
#endif

#endif
