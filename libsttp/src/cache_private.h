/* What the files of the cache share.
 *
 *     cache.c         looking, leases, filling
 *     cache_keep.c    answers in memory, limits, age
 *     cache_life.c    from its making to its end
 *     cache_shard.c   one of the tables: entries by hash, and in the order of their use
 *     cache_truth.c   which answers a change makes untrue
 *     cache_coherence.c   what others may have changed; answers while the storage is away
 *
 * A path's entry is in one of SHARDS tables. The limits are those of all together: whoever makes
 * room looks at the least recently used entry of each table.
 *
 * A hit writes to no memory that a hit on another processor writes to, or they would wait for each
 * other's lines: each table has a lock for each processor. Who reads it holds the one of the
 * processor it runs on, who changes it holds all. For the same reason small answers are copied
 * under that lock, and not counted as used. Large ones are, and copied when it is free: who changes
 * the table would wait for the copies of one reader after the other. */
#ifndef STTP_CACHE_PRIVATE_H
#define STTP_CACHE_PRIVATE_H

#include <stdatomic.h>
#include <string.h>
#include <sys/rseq.h>

#include <sttp/cache.h>

#include "lock.h"
#include "memory.h"
#include "word.h"

enum {
    STTP__SHARDS = 64,
    STTP__SHARD_BITS = 6,
    STTP__LEAST_TRUTHS = 4096,
    STTP__MOST_TRUTHS = 1 << 24,
    STTP__DIRECTORIES = 4, /* of as many truths one more, for directories: absences depend on them
                              for long */
    STTP__MOST_STRIPES = 32,
    STTP__ROLES = 4,
    STTP__LINE = 64,           /* bytes of a line of the processor's cache */
    STTP__SECRET = 192,        /* bytes that key the hash */
    STTP__COPIED_LOCKED = 2048 /* bytes of a response, and less, that are */
};

/* No entry. */
#define STTP__NONE UINT32_MAX
/* As large as the response in an answer can be. */
#define STTP__MOST_BYTES ((1U << 29) - 1)

struct sttp__answer {
    uint32_t size : 29; /* of the response */
    uint32_t is_list : 1;
    uint32_t is_absence : 1; /* a 400 or 410 */
    uint32_t is_named : 1;   /* that, or its echo is not all of the path: more stands behind the
                                response */
    char bytes[];
};

/* That is this, and the path. */
struct sttp__name {
    uint32_t truth; /* of the parent directory, its lower half; counts for absences */
    uint32_t path_size;
};

/* Before a large answer in memory: how many use it, its entry included. The last one frees it. */
static inline bool sttp__is_large(const struct sttp__answer *answer)
{
    return answer->size > STTP__COPIED_LOCKED;
}

static inline atomic_uint *sttp__users_of(struct sttp__answer *answer)
{
    return (atomic_uint *)(void *)answer - 1;
}

/* What a path's place in a table holds. */
struct sttp__entry {
    uintptr_t content; /* an answer; or, with its lowest bit set, the lease that will bring it */
    uint32_t hash;     /* its lower half */
    uint32_t chain;    /* the next entry of the bucket, or of those that are free */
    uint32_t newer;    /* in the order of use; only of answers */
    uint32_t older;
    uint32_t used;    /* fills of the cache until it came to its place in that order */
    uint32_t expires; /* in ticks */
};

/* What those processors have of a table that share a lock. */
struct sttp__stripe {
    _Alignas(STTP__LINE) struct sttp__lock lock;
    uint64_t hits;
};

struct sttp__shard {
    _Alignas(STTP__LINE) struct sttp__stripe *stripes; /* every SHARDS-th is of this table */
    struct sttp__entry *entries;
    uint32_t *buckets; /* the first entry of each chain */
    uint32_t bucket_count;
    uint32_t capacity;
    uint32_t entry_count; /* in use, leases included */
    uint32_t free;
    uint32_t newest;
    uint32_t oldest;
    sttp_cache_statistics counts;                      /* but for `hits`, `entries` and `bytes` */
    _Alignas(STTP__LINE) _Atomic uint64_t oldest_used; /* of `oldest`; STTP__EMPTY without one.
                                                          Written under the locks */
};

#define STTP__EMPTY UINT64_MAX

struct sttp_cache {
    void *memory; /* that it is in: an allocator need not give the beginning of a line */
    sttp_allocator allocator;
    size_t max_entries;
    size_t max_bytes;
    uint64_t expiration; /* milliseconds, and so the next */
    uint64_t birth;      /* on the clock, from which all times are counted */
    uint64_t clock_lag;  /* that the clock may be late */
    uint64_t coherence;  /* at most `expiration` */
    uint64_t stale_if_error;
    _Atomic uint64_t coherent_until; /* the time from which on what was asked for longer ago than
                                        `coherence` is not given */
    uint32_t early;                  /* ticks before it expires from which on an answer is that */
    bool is_shared;                  /* others change the storage, too */
    bool leases_only;
    uint64_t (*clock)(void);
    unsigned stripe_count; /* of each table, a power of two */
    unsigned char secret[STTP__SECRET];
    uint64_t kinds[STTP__ROLES]; /* random: what tells hashes of a path in its roles apart */
    uint32_t truth_count;        /* a power of two; those of directories stand behind them */
    _Atomic uint64_t *truths;    /* behind the stripes, and so the next */
    _Atomic uint64_t *changed;   /* when the last change of each ended */
    _Atomic uint64_t cleared;    /* when it was last, or was made */
    _Alignas(STTP__LINE) atomic_size_t entries;
    atomic_size_t bytes;
    atomic_uint fills;
    struct sttp__shard shards[STTP__SHARDS];
    struct sttp__stripe stripes[]; /* SHARDS for each group of processors: processors fetch lines
                                      that are neighbours together */
};

/* ---- time ---- */

enum { STTP__TICK = 64 }; /* milliseconds: 32 bits of them last eight years */

/* Milliseconds since the cache was made, and the same as an entry notes them. */
static inline uint64_t sttp__cache_now(const sttp_cache *cache)
{
    return cache->clock() - cache->birth;
}

static inline uint32_t sttp__ticks(uint64_t time)
{
    return (uint32_t)(time / STTP__TICK);
}

/* The time in ticks from which nothing is given any more that expires then. */
static inline uint32_t sttp__expiring_now(const sttp_cache *cache)
{
    return sttp__ticks(sttp__cache_now(cache) + cache->clock_lag);
}

static inline bool sttp__has_expired(const struct sttp__entry *entry, uint32_t now)
{
    return (int32_t)(entry->expires - now) <= 0;
}

/* Whether an answer is neither too old nor incoherent. To be asked before any truth is looked at:
 * who has told of a change vouches after that. */
static inline bool sttp__may_be_given(const sttp_cache *cache, const struct sttp__entry *entry)
{
    uint64_t now = sttp__cache_now(cache) + cache->clock_lag;
    return !sttp__has_expired(entry, sttp__ticks(now) + cache->early) ||
           (now < atomic_load_explicit(&cache->coherent_until, memory_order_acquire) &&
            !sttp__has_expired(entry, sttp__ticks(now)));
}

/* Raises a time to another one. */
static inline void sttp__raise_time(_Atomic uint64_t *time, uint64_t to)
{
    uint64_t before = atomic_load(time);
    while (before < to && !atomic_compare_exchange_weak(time, &before, to))
        ;
}

/* ---- cache_truth.c ---- */

/* With those of directories. */
static inline size_t sttp__count_truths(uint32_t count)
{
    return (size_t)count + count / STTP__DIRECTORIES;
}

uint64_t sttp__cache_hash(const sttp_cache *cache, sttp_action action, sttp_slice path);

/* What the answer of a lease depends on, now. */
void sttp__truths_note(const sttp_cache *cache, sttp_cache_lease *lease);

/* Whether no change of that has begun or ended since. */
bool sttp__truths_hold(const sttp_cache *cache, const sttp_cache_lease *lease);

/* Whether none was under way when it was noted. */
bool sttp__truths_are_settled(const sttp_cache_lease *lease);

/* The same, of changes that the storage may show to a SHOW before they end. */
bool sttp__truths_were_hidden(const sttp_cache_lease *lease);

/* Whether all that the answer of a lease depends on, and whether each directory above it is there,
 * changed before a time, and is not changed now. */
bool sttp__truths_held_since(const sttp_cache *cache, const sttp_cache_lease *lease, uint64_t time);

/* Makes all leases and absences untrue. */
void sttp__truths_end(sttp_cache *cache);

/* The truth of the parent directory, its lower half: as the lease has noted it, and of a path now.
 */
uint32_t sttp__truth_noted(const sttp_cache_lease *lease);
uint32_t sttp__truth_of_parent(const sttp_cache *cache, sttp_slice path);

/* ---- locks ---- */

static inline struct sttp__shard *sttp__shard_of(sttp_cache *cache, uint64_t hash)
{
    return &cache->shards[hash >> (64 - STTP__SHARD_BITS)];
}

/* The processor that the thread runs on, until it runs on another one; 0 where the kernel does not
 * tell, or the C library does not ask it. (What sched_getcpu does, without the call.) */
static inline unsigned sttp__processor(void)
{
    const char *thread = __builtin_thread_pointer();
    const struct rseq *area = (const void *)(thread + __rseq_offset);
    return *(const volatile uint32_t *)&area->cpu_id_start;
}

static inline struct sttp__stripe *sttp__stripe_of(const struct sttp__shard *shard, unsigned number)
{
    return &shard->stripes[(size_t)number * STTP__SHARDS];
}

/* Returns what is to be unlocked: the thread may be on another processor by then. */
static inline struct sttp__stripe *sttp__lock_to_read(sttp_cache *cache,
                                                      const struct sttp__shard *shard)
{
    struct sttp__stripe *stripe =
        sttp__stripe_of(shard, sttp__processor() & (cache->stripe_count - 1));
    sttp__lock(&stripe->lock);
    return stripe;
}

void sttp__lock_to_change(sttp_cache *cache, const struct sttp__shard *shard);
void sttp__unlock_changed(sttp_cache *cache, const struct sttp__shard *shard);

/* ---- cache_shard.c; locked ---- */

/* A new entry, for an answer not yet in the order of use; or STTP__NONE where memory is out. */
uint32_t sttp__shard_add(sttp_cache *cache, struct sttp__shard *shard, uint64_t hash,
                         uintptr_t content);

/* Takes an entry out. The caller has what it held. */
void sttp__shard_remove(struct sttp__shard *shard, uint32_t index);

/* Makes an entry with an answer the one that was used last. `is_new`: it is not in that order yet.
 */
void sttp__shard_use(const sttp_cache *cache, struct sttp__shard *shard, uint32_t index,
                     bool is_new);

/* Whether the use of an entry has to be noted. Not where that was done a short while ago, less than
 * what it takes to fill a thirty-second of the cache: it is far from the end of the order. */
static inline bool sttp__is_use_due(const sttp_cache *cache, const struct sttp__entry *entry)
{
    uint32_t fills = atomic_load_explicit(&cache->fills, memory_order_relaxed);
    size_t entries = atomic_load_explicit(&cache->entries, memory_order_relaxed);
    return fills - entry->used > entries / 32;
}

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

/* Where the path is in "200 /path OK". */
enum { STTP__ECHO_START = 4 };

sttp_slice sttp__answer_path(const struct sttp__answer *answer);

static inline struct sttp__name sttp__name_of(const struct sttp__answer *answer)
{
    struct sttp__name name;
    memcpy(&name, answer->bytes + answer->size, sizeof name);
    return name;
}

/* ---- looking; locked ---- */

static inline bool sttp__is_path(sttp_slice a, sttp_slice b)
{
    return a.size == b.size && sttp__words_equal(a.data, b.data, a.size);
}

/* On the way of every hit: so it does not ask where the echo ends before it compares. */
static inline bool sttp__is_answer_of(const struct sttp__answer *answer, sttp_slice path)
{
    if (answer->is_named)
        return sttp__is_path(sttp__answer_path(answer), path);
    return answer->size > STTP__ECHO_START + path.size &&
           answer->bytes[STTP__ECHO_START + path.size] == ' ' &&
           sttp__words_equal(answer->bytes + STTP__ECHO_START, path.data, path.size);
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

static inline uint32_t *sttp__bucket_of(const struct sttp__shard *shard, uint32_t hash)
{
    return &shard->buckets[hash & (shard->bucket_count - 1)];
}

/* The entry of an action and path, or STTP__NONE. */
static inline uint32_t sttp__shard_find(const struct sttp__shard *shard, uint64_t hash,
                                        sttp_action action, sttp_slice path)
{
    uint32_t lower = (uint32_t)hash;
    if (shard->bucket_count == 0)
        return STTP__NONE;
    uint32_t index = *sttp__bucket_of(shard, lower);
    while (index != STTP__NONE && !(shard->entries[index].hash == lower &&
                                    sttp__is_entry_of(&shard->entries[index], action, path)))
        index = shard->entries[index].chain;
    return index;
}

/* ---- cache_keep.c ---- */

/* An answer to the lease, for which there is room within the limits. NULL where it may not be kept
 * or there is no memory. */
struct sttp__answer *sttp__answer_create(sttp_cache *cache, const sttp_cache_lease *lease,
                                         const sttp_response *response);

/* The same that counts for none of the limits: it is not for the cache. */
struct sttp__answer *sttp__answer_write(sttp_cache *cache, const sttp_cache_lease *lease,
                                        const sttp_response *response);

/* Takes one's own use of an answer that is large. */
static inline void sttp__answer_use(struct sttp__answer *answer)
{
    atomic_fetch_add_explicit(sttp__users_of(answer), 1, memory_order_relaxed);
}

/* Ends one use of an answer; not locked. NULL is allowed. */
void sttp__answer_release(sttp_cache *cache, struct sttp__answer *answer);

/* Gives up an answer that came to no entry. NULL is allowed. */
void sttp__answer_discard(sttp_cache *cache, struct sttp__answer *answer);

/* Takes an answer out of its table, which is locked. The caller releases it unlocked. */
struct sttp__answer *sttp__take_out(sttp_cache *cache, struct sttp__shard *shard, uint32_t index);

/* Takes the place in the limits for an answer that was there before, if it is free. */
bool sttp__answer_take_room(sttp_cache *cache, const struct sttp__answer *answer);

/* Takes out all answers of what is below a directory, and the leases: what they bring is not kept,
 * and nobody joins them any more. Looks at all that the cache has. */
void sttp__cache_revoke_below(sttp_cache *cache, sttp_slice directory);

/* ---- cache_coherence.c ---- */

void sttp__coherence_set(sttp_cache *cache, const sttp_cache_options *options);

/* Whether what the storage was asked for at a time may be given now. */
bool sttp__is_coherent(const sttp_cache *cache, uint64_t asked, uint64_t now);

/* Whether the answer that a lease has taken out is as good as it was then; locked. */
bool sttp__may_put_back(const sttp_cache *cache, const sttp_cache_lease *lease);

/* ---- cache.c ---- */

/* Ends a lease: `answer`, which may be NULL, takes its place where it may be kept; if not, and the
 * storage has failed, so does what it had taken out. Then all that wait are told the response. */
void sttp__lease_end(sttp_cache *cache, sttp_cache_lease *lease, struct sttp__answer *answer,
                     bool has_failed, const sttp_response *response);

/* Takes the answer to an action and path out, if it is there, because a change makes it untrue. */
void sttp__cache_revoke(sttp_cache *cache, sttp_action action, sttp_slice path);

#endif
