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

#include <pthread.h>
#include <stdatomic.h>

#include <sttp/cache.h>

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
    _Alignas(STTP__LINE) pthread_mutex_t lock;
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
    uint64_t expiration;
    uint64_t birth;     /* milliseconds on the clock, from which all times are counted */
    uint64_t clock_lag; /* milliseconds that the clock may be late */
    unsigned char secret[STTP__SECRET];
    uint64_t kinds[3]; /* random: what tells hashes of one text in different roles apart */
    _Alignas(STTP__LINE) _Atomic uint64_t truths[STTP__TRUTHS];
    _Alignas(STTP__LINE) atomic_size_t entries;
    atomic_size_t bytes;
    atomic_uint fills;
    struct sttp__shard shards[STTP__SHARDS];
};

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

struct sttp__shard *sttp__shard_of(sttp_cache *cache, uint64_t hash);

/* Of what an entry holds. */
uint64_t sttp__entry_hash(const sttp_cache *cache, const struct sttp__entry *entry);

/* The entry of an action and path, or STTP__NONE. */
uint32_t sttp__shard_find(const struct sttp__shard *shard, uint64_t hash, sttp_action action,
                          sttp_slice path);

/* A new entry, for an answer not yet in the order of use; or STTP__NONE where memory is out. */
uint32_t sttp__shard_add(sttp_cache *cache, struct sttp__shard *shard, uint64_t hash,
                         uintptr_t content);

/* Takes an entry out. The caller has what it held. */
void sttp__shard_remove(struct sttp__shard *shard, uint64_t hash, uint32_t index);

/* Makes an entry with an answer the one that was used last. `is_new`: it is not in that order yet.
 */
void sttp__shard_use(sttp_cache *cache, struct sttp__shard *shard, uint32_t index, bool is_new);

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

sttp_slice sttp__answer_path(const struct sttp__answer *answer);

/* Whether it says that something is not there. */
static inline bool sttp__is_negative(const struct sttp__answer *answer)
{
    return answer->bytes[0] == '4';
}

/* ---- cache_keep.c ---- */

/* Milliseconds since the cache was made, and the same as an entry notes them. */
uint64_t sttp__cache_now(const sttp_cache *cache);
uint32_t sttp__ticks(uint64_t time);

/* Whether an entry with an answer is too old to be given. */
bool sttp__has_expired(const sttp_cache *cache, const struct sttp__entry *entry);

/* An answer to the lease with one reference, for which there is room within the limits. NULL where
 * it may not be kept or there is no memory. */
struct sttp__answer *sttp__answer_create(sttp_cache *cache, const sttp_cache_lease *lease,
                                         const sttp_response *response);

/* Gives up an answer that came to no entry. NULL is allowed, here and below. */
void sttp__answer_discard(sttp_cache *cache, struct sttp__answer *answer);

/* Gives a reference up. */
void sttp__answer_release(sttp_cache *cache, struct sttp__answer *answer);

/* Takes an answer out of its table, whose lock is held. The caller releases it without the lock. */
struct sttp__answer *sttp__take_out(sttp_cache *cache, struct sttp__shard *shard, uint64_t hash,
                                    uint32_t index);

/* ---- cache.c ---- */

/* Takes the answer to an action and path out, if it is there, because a change makes it untrue. */
void sttp__cache_revoke(sttp_cache *cache, sttp_action action, sttp_slice path);

#endif
