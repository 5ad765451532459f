/* What the files of the cache share.
 *
 *     cache.c         looking, leases, filling
 *     cache_keep.c    answers in memory, limits, age, life
 *     cache_shard.c   one of the tables: entries by hash, and in the order of their use
 *     cache_truth.c   which answers a change makes untrue
 *
 * A path's entry is in one of SHARDS tables, each with a lock of its own. The limits are those of
 * all together: whoever makes room looks at the least recently used entry of each table. */
#ifndef STTP_CACHE_PRIVATE_H
#define STTP_CACHE_PRIVATE_H

#include <stdatomic.h>
#include <time.h>

#include <sttp/cache.h>

#include "lock.h"
#include "memory.h"
#include "word.h"

enum {
    STTP__SHARDS = 64,
    STTP__SHARD_BITS = 6,
    STTP__TRUTHS = 4096,
    STTP__LINE = 64,   /* bytes of a line of the processor's cache */
    STTP__SECRET = 192 /* bytes that key the hash */
};

/* No entry. */
#define STTP__NONE UINT32_MAX
/* As large as the response in an answer can be. */
#define STTP__MOST_BYTES ((1U << 30) - 1)

/* Bytes of an answer, shared by its entry and by hits. */
struct sttp__answer {
    atomic_uint references;
    uint32_t size : 30; /* of the response */
    uint32_t is_list : 1;
    uint32_t has_path : 1; /* behind the response, in which it is not */
    char bytes[];
};

/* How long that path is stands before it. */
typedef uint16_t sttp__path_size;

/* What a path's place in a table holds. */
struct sttp__entry {
    uintptr_t content; /* an answer; or, with its lowest bit set, the lease that will bring it */
    uint32_t chain;    /* the next entry of the bucket, or of those that are free */
    uint32_t newer;    /* in the order of use; only of answers */
    uint32_t older;
    uint32_t used;    /* fills of the cache until it was used last: the time of that order */
    uint32_t expires; /* in ticks */
    uint32_t truth;   /* of a 400 or 410: the truth of the parent directory, its lower half */
};

struct sttp__shard {
    _Alignas(STTP__LINE) struct sttp__lock lock;
    uint32_t *buckets; /* the first entry of each chain */
    uint32_t bucket_count;
    uint32_t entry_count; /* in use, leases included */
    struct sttp__entry *entries;
    uint32_t capacity;
    uint32_t free;
    uint32_t newest;
    uint32_t oldest;
    sttp_cache_statistics counts;                      /* but for `entries` and `bytes` */
    _Alignas(STTP__LINE) _Atomic uint64_t oldest_used; /* of `oldest`; STTP__EMPTY without one.
                                                          Written under the lock */
};

#define STTP__EMPTY UINT64_MAX

struct sttp_cache {
    void *memory; /* that it is in: an allocator need not give the beginning of a line */
    sttp_allocator allocator;
    size_t max_entries;
    size_t max_bytes;
    uint64_t expiration; /* nanoseconds, and so the next */
    uint64_t birth;      /* on the clock, from which all times are counted */
    uint64_t clock_lag;  /* that the clock may be late */
    unsigned char secret[STTP__SECRET];
    uint64_t kinds[3]; /* random: what tells hashes of one text in different roles apart */
    _Alignas(STTP__LINE) _Atomic uint64_t truths[STTP__TRUTHS];
    _Alignas(STTP__LINE) atomic_size_t entries;
    atomic_size_t bytes;
    atomic_uint fills;
    struct sttp__shard shards[STTP__SHARDS];
};

/* ---- time ---- */

enum { STTP__TICK_BITS = 26 }; /* nanoseconds: 32 bits of ticks last nine years */

static inline uint64_t sttp__nanoseconds(const struct timespec *time)
{
    return (uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec;
}

/* Nanoseconds since the cache was made, and the same as an entry notes them. */
static inline uint64_t sttp__cache_now(const sttp_cache *cache)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return sttp__nanoseconds(&time) - cache->birth;
}

static inline uint32_t sttp__ticks(uint64_t time)
{
    return (uint32_t)(time >> STTP__TICK_BITS);
}

/* How late it may be where the clock says that it is `now`. */
static inline uint32_t sttp__latest(const sttp_cache *cache, uint64_t now)
{
    return sttp__ticks(now + cache->clock_lag);
}

/* Whether an entry with an answer is too old to be given. */
static inline bool sttp__has_expired(const struct sttp__entry *entry, uint32_t latest)
{
    return (int32_t)(entry->expires - latest) <= 0;
}

/* ---- cache_truth.c ---- */

/* Hashes of a path in its roles. */
uint64_t sttp__cache_hash(const sttp_cache *cache, sttp_action action, sttp_slice path);

/* What the answer of a lease depends on, now. */
void sttp__truths_note(const sttp_cache *cache, sttp_cache_lease *lease);

/* Whether nothing of that has changed, or is changing. */
bool sttp__truths_hold(const sttp_cache *cache, const sttp_cache_lease *lease);

/* The truth of the parent directory, its lower half: as the lease has noted it, and of a path now.
 */
uint32_t sttp__truth_noted(const sttp_cache_lease *lease);
uint32_t sttp__truth_of_parent(const sttp_cache *cache, sttp_slice path);

/* ---- cache_shard.c; the lock is held ---- */

/* Of what an entry holds. */
uint64_t sttp__entry_hash(const sttp_cache *cache, const struct sttp__entry *entry);

/* A new entry, for an answer not yet in the order of use; or STTP__NONE where memory is out. */
uint32_t sttp__shard_add(sttp_cache *cache, struct sttp__shard *shard, uint64_t hash,
                         uintptr_t content);

/* Takes an entry out. The caller has what it held. */
void sttp__shard_remove(struct sttp__shard *shard, uint64_t hash, uint32_t index);

/* Makes an entry with an answer the one that was used last, which was after so many fills.
 * `is_new`: it is not in that order yet. */
void sttp__shard_reorder(struct sttp__shard *shard, uint32_t index, uint32_t fills, bool is_new);

void sttp__shard_free(sttp_cache *cache, struct sttp__shard *shard);

/* ---- what an entry holds ---- */

static inline bool sttp__is_lease(const struct sttp__entry *entry)
{
    return entry->content & 1;
}

static inline sttp_cache_lease *sttp__entry_lease(const struct sttp__entry *entry)
{
    return (sttp_cache_lease *)(entry->content - 1);
}

static inline struct sttp__answer *sttp__entry_answer(const struct sttp__entry *entry)
{
    return (struct sttp__answer *)entry->content;
}

/* Where its path is in the response "200 /path OK", if it is there. */
enum { STTP__ECHO_START = 4 };

sttp_slice sttp__answer_path(const struct sttp__answer *answer);

/* Whether it says that something is not there. */
static inline bool sttp__is_negative(const struct sttp__answer *answer)
{
    return answer->bytes[0] == '4';
}

/* ---- looking; the lock is held ---- */

static inline struct sttp__shard *sttp__shard_of(sttp_cache *cache, uint64_t hash)
{
    return &cache->shards[hash >> (64 - STTP__SHARD_BITS)];
}

static inline uint32_t *sttp__bucket_of(const struct sttp__shard *shard, uint64_t hash)
{
    return &shard->buckets[hash & (shard->bucket_count - 1)];
}

static inline bool sttp__is_path(sttp_slice a, sttp_slice b)
{
    return a.size == b.size && sttp__words_equal(a.data, b.data, a.size);
}

/* Does not ask where the echo ends before it compares. */
static inline bool sttp__is_answer_of(const struct sttp__answer *answer, sttp_slice path)
{
    const char *echo = answer->bytes + STTP__ECHO_START;
    if (answer->has_path)
        return sttp__is_path(sttp__answer_path(answer), path);
    return answer->size > STTP__ECHO_START + path.size && echo[path.size] == ' ' &&
           sttp__words_equal(echo, path.data, path.size);
}

static inline bool sttp__is_entry_of(const struct sttp__entry *entry, sttp_action action,
                                     sttp_slice path)
{
    if (!sttp__is_lease(entry)) {
        const struct sttp__answer *answer = sttp__entry_answer(entry);
        return answer->is_list == (action == STTP_ACTION_LIST) && sttp__is_answer_of(answer, path);
    }
    const sttp_cache_lease *lease = sttp__entry_lease(entry);
    return lease->action == action && sttp__is_path(lease->path, path);
}

/* The entry of an action and path, or STTP__NONE. */
static inline uint32_t sttp__shard_find(const struct sttp__shard *shard, uint64_t hash,
                                        sttp_action action, sttp_slice path)
{
    if (shard->bucket_count == 0)
        return STTP__NONE;
    uint32_t index = *sttp__bucket_of(shard, hash);
    while (index != STTP__NONE && !sttp__is_entry_of(&shard->entries[index], action, path))
        index = shard->entries[index].chain;
    return index;
}

/* ---- cache_keep.c ---- */

/* An answer to the lease with one reference, for which there is room within the limits. NULL where
 * it may not be kept or there is no memory. */
struct sttp__answer *sttp__answer_create(sttp_cache *cache, const sttp_cache_lease *lease,
                                         const sttp_response *response);

/* Gives up an answer that came to no entry. NULL is allowed, here and below. */
void sttp__answer_discard(sttp_cache *cache, struct sttp__answer *answer);

/* Gives a reference up. */
static inline void sttp__answer_release(const sttp_cache *cache, struct sttp__answer *answer)
{
    if (answer != NULL &&
        atomic_fetch_sub_explicit(&answer->references, 1, memory_order_acq_rel) == 1)
        sttp__release(&cache->allocator, answer);
}

/* Takes an answer out of its table, whose lock is held. The caller releases it without the lock. */
struct sttp__answer *sttp__take_out(sttp_cache *cache, struct sttp__shard *shard, uint64_t hash,
                                    uint32_t index);

/* ---- cache.c ---- */

/* Takes the answer to an action and path out, if it is there, because a change makes it untrue. */
void sttp__cache_revoke(sttp_cache *cache, sttp_action action, sttp_slice path);

#endif
