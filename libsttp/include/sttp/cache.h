/* A cache of answers, shared by all threads of a server or a proxy: what SHOW and a plain LIST (one
 * without a query) were answered with 200, 400 or 410, as the bytes that go over the wire. Follows
 * docs/protocol.md, section 8.
 *
 * Nobody gets an answer from it that an acknowledged change has made untrue, and one miss of a path
 * asks the storage once, however many ask at that moment:
 *
 *     if (sttp_cache_get(cache, action, path, send, connection))
 *         return;                        `send` was called with the answer's bytes
 *     switch (sttp_cache_lease_take(cache, lease, send, connection)) {
 *     case STTP_CACHE_HIT:   return;     as above: somebody was faster
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
 * It relies on two things. Every change of what the storage holds is told like this. And a storage
 * that is asked for a SHOW of a path (its final slash does not count) between begin and end of a
 * change of that path answers after the end, or with what was before: it shows the change to nobody
 * who could tell others of it.
 *
 * Where others change the storage, too, on other machines say, they have to be told of as well, as
 * changes that have begun and ended, as soon as it is known that they were made:
 *
 *     sttp_cache_change_begin(cache, &change);
 *     sttp_cache_change_end(cache, &change);
 *
 * That comes late, or never. So with the option `coherence` an answer is given only for so long
 * after the storage was asked for it, or after the last moment of which it is known that all
 * changes before it were told: sttp_cache_vouch. Where some may not have been told,
 * sttp_cache_clear.
 *
 * The path is all that answers are known by. Where texts of several origins are in one cache, as in
 * that of a proxy, each path has its origin in front, "sttp://example.org:8080/notes/a.txt", in all
 * calls alike; the answers are kept and given as they came, without it.
 *
 * Every function is thread-safe but create and destroy. None waits for storage; locks are held for
 * the time of a lookup and of a small copy. Threads that look wait for those that change what is in
 * the cache, not for each other. */
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
                            when the storage was asked, and without those for which the machine is
                            suspended; up to 80 less, so that less than that keeps nothing; at most
                            2^36; default 300,000 */
    uint64_t (*clock)(void); /* milliseconds of a clock that never goes back; late, if at all, by no
                                more than CLOCK_MONOTONIC_COARSE, which is the default */
    /* For a storage that others change, too. Milliseconds by which an answer may be behind their
     * changes, never behind those that are told as they are made here: it is given
     * until so long after the storage was asked, or after the time up to which all changes were
     * told (sttp_cache_vouch), whichever is later; then it is asked for anew. Up to 150 less, so
     * that less than that gives only what is vouched for. A change that makes or removes a
     * directory looks at all that is in the cache then. Default: the storage has no other writers,
     * and answers are given until they expire. */
    uint64_t coherence;
    /* Milliseconds by which an answer may be behind where the storage is not available
     * (sttp_cache_fill_unavailable), counted as for `coherence`, without which it means nothing; up
     * to 150 less. Default: none is given then. */
    uint64_t stale_if_error;
    bool leases_only; /* keeps no answers: to tell what changes make untrue, and to ask for each
                         path once at a time */
    size_t counters;  /* of changes, for what they make untrue: 20 bytes each. Paths share them by
                         hash, so that a change also ends what sttp_cache_lease_holds says of other
                         paths: after as many changes as there are counters, of two answers in
                         three. (Of what the cache itself keeps that ends only what is not there, and
                         only where directories are made or deleted.) Raised to a power of two; at
                         most 2^24; default 4,096, and no fewer */
} sttp_cache_options;

/* Makes an empty cache. STTP_OK, STTP_ERR_MEMORY, STTP_ERR_SYSTEM with errno set where the system
 * gives no random bytes, or STTP_ERR_ARGUMENT where an option is out of its range; *cache is NULL
 * then. */
STTP_API sttp_status sttp_cache_create(const sttp_cache_options *options, sttp_cache **cache);

/* Frees the cache. No hit, lease or change may be outstanding. NULL is allowed. */
STTP_API void sttp_cache_destroy(sttp_cache *cache);

/* Takes an answer that was found, status line and contents line. Called within the function that
 * found it, where the bytes may be locked: it copies them to where they are wanted and returns, and
 * must not use the cache. */
typedef void sttp_cache_take(void *context, sttp_slice response);

/* Looks for the answer to SHOW or LIST of a path that the parser has checked. Whether it is there,
 * and `take` was called with it. */
STTP_API bool sttp_cache_get(sttp_cache *cache, sttp_action action, sttp_slice path,
                             sttp_cache_take *take, void *context);

/* The right to ask the storage and to put the answer into the cache, or to wait for who has it. In
 * the caller's memory, which fills the first part and keeps it, with what `path` points to, until
 * the lease has ended. */
typedef struct sttp_cache_lease sttp_cache_lease;
struct sttp_cache_lease {
    sttp_action action; /* SHOW or LIST */
    sttp_slice path;
    size_t origin_size; /* bytes of `path` that are an origin in front; 0 where there is none */
    /* Where the lease waits: called once, with the answer that another one has got and within its
     * call of sttp_cache_fill, until whose end alone the response lives. The lease has ended by
     * then; this may free it, and use the cache. */
    void (*complete)(sttp_cache_lease *lease, const sttp_response *response);

    /* The cache's own. */
    sttp_cache_lease *waiting;
    uint64_t hash;
    uint64_t taken;
    uint64_t truths[3];
    void *stale;
    uint32_t stale_expires;
    uint32_t places[3];
    bool listed;
};

typedef enum sttp_cache_turn {
    STTP_CACHE_HIT,   /* `take` was called: the answer is there by now; the lease has ended */
    STTP_CACHE_FETCH, /* ask the storage, then call sttp_cache_fill, whatever came of it */
    STTP_CACHE_WAIT   /* somebody asks already: `complete` will be called */
} sttp_cache_turn;

/* A lease that is to FETCH has to come to sttp_cache_fill, or those who wait for it wait for ever;
 * none that waits can be called back. What is asked of a path of more than STTP_MAX_PATH bytes is
 * not waited for and not kept. */
STTP_API sttp_cache_turn sttp_cache_lease_take(sttp_cache *cache, sttp_cache_lease *lease,
                                               sttp_cache_take *take, void *context);

/* Ends a lease that was to FETCH, with what the storage has answered, a failure included: keeps it
 * where it may be kept, no change can have made it untrue meanwhile and there is memory; then
 * completes all that wait for it. A 200 that echoes another path than that of the lease, its
 * origin left out, is not kept. */
STTP_API void sttp_cache_fill(sttp_cache *cache, sttp_cache_lease *lease,
                              const sttp_response *response);

/* The same for a storage that was not available. Where the cache has had an answer, or was given
 * one for the lease (sttp_cache_lease_spare), that is not older than `stale_if_error` allows, and
 * of which no change is known that makes it untrue, all get that one instead of `response`, a 500:
 * `take` is called with its bytes within this call, as it is for a hit, and so are those that wait
 * with the same answer. Whether that is so; if not, the lease's owner has `response`. */
STTP_API bool sttp_cache_fill_unavailable(sttp_cache *cache, sttp_cache_lease *lease,
                                          const sttp_response *response, sttp_cache_take *take,
                                          void *context);

/* For an answer that a lease that is to FETCH can have from elsewhere, where it was put by somebody
 * who had asked the storage at `asked`, on the cache's clock, or later: whether it is as good as
 * one that the cache has kept since. That is so where no change of anything it depends on has been
 * told since then or is under way, the cache was neither made nor cleared since, and it is neither
 * too old nor incoherent. Then it may be given, and the lease is from now on one that was taken at
 * `asked`: sttp_cache_fill, which has to come next, keeps the answer no longer than that allows. */
STTP_API bool sttp_cache_lease_holds(sttp_cache *cache, sttp_cache_lease *lease, uint64_t asked);

/* For one that is not that good, before the storage is asked: should it turn out that this is not
 * available, sttp_cache_fill_unavailable gives this answer to the lease, on the same terms as one
 * that the cache has had itself. Of two the later one counts. It does nothing where memory is out,
 * or the answer will not do then either. */
STTP_API void sttp_cache_lease_spare(sttp_cache *cache, sttp_cache_lease *lease,
                                     const sttp_response *response, uint64_t asked);

/* A change. From `begin` to `end` no answer that it touches is given or kept: each `begin` needs
 * its `end`, with the same change. */
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

/* Says that each change that was made before `time`, on the cache's clock, has been told by now, or
 * that the cache was cleared since it was made. One that is earlier than another that was given
 * before means nothing; one that is to come counts as now. */
STTP_API void sttp_cache_vouch(sttp_cache *cache, uint64_t time);

/* Removes what has expired; to be called now and then, every second say. What it does not get to is
 * not given to anybody either. */
STTP_API void sttp_cache_expire(sttp_cache *cache);

/* Removes everything; what the storage was asked for before is not kept either. For changes that
 * could not be told one by one. */
STTP_API void sttp_cache_clear(sttp_cache *cache);

/* Counted since the cache was made, but for the last two. */
typedef struct sttp_cache_statistics {
    uint64_t hits;
    uint64_t misses;      /* leases that had to FETCH */
    uint64_t waiters;     /* leases that had to WAIT */
    uint64_t fills;       /* answers kept */
    uint64_t evictions;   /* answers that made room */
    uint64_t expiries;    /* answers removed because of their age, or because nobody vouched for
                             them */
    uint64_t revocations; /* answers removed, or not kept, because of a change. One that says that
                             something is not there is removed when it is asked for next */
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

typedef void sttp_cache_visit(void *context, const sttp_cache_item *item);

/* Calls `visit` with a copy of each answer that is in the cache all the while; those that come or
 * go may be visited or not. The copy lives until `visit` returns, which may use the cache. STTP_OK,
 * or STTP_ERR_MEMORY: then not all were visited. */
STTP_API sttp_status sttp_cache_each(sttp_cache *cache, sttp_cache_visit *visit, void *context);

#ifdef __cplusplus
}
#endif

#endif
