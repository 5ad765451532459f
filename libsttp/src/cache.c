/* The way of a request: looking, leases, filling. A lock is never held while memory is taken for an
 * answer, an answer is written, or somebody is told of one. */
#include <string.h>

#include <sttp/serializer.h>

#include "cache_private.h"
#include "memory.h"

/* ---- looking ---- */

/* Whether what an entry holds was made untrue by a change of the parent. */
static bool is_untrue(const sttp_cache *cache, const struct sttp__entry *entry, sttp_slice path)
{
    return sttp__is_negative(sttp__entry_answer(entry)) &&
           entry->truth != sttp__truth_of_parent(cache, path);
}

/* An answer that is out of date or untrue; the caller releases it when the lock is given up. */
static struct sttp__answer *take_out_stale(sttp_cache *cache, struct sttp__shard *shard,
                                           uint64_t hash, uint32_t index, bool is_old)
{
    *(is_old ? &shard->counts.expiries : &shard->counts.revocations) += 1;
    return sttp__take_out(cache, shard, hash, index);
}

/* Looks for an answer; the lock is held. `latest` is how late it may be. Pins it in *hit, or leaves
 * what is to be released in *stale. */
static inline bool look(sttp_cache *cache, struct sttp__shard *shard, uint64_t hash, uint32_t index,
                        sttp_slice path, uint32_t latest, sttp_cache_hit *hit,
                        struct sttp__answer **stale)
{
    if (index == STTP__NONE || sttp__is_lease(&shard->entries[index]))
        return false;
    const struct sttp__entry *entry = &shard->entries[index];
    bool is_old = sttp__has_expired(entry, latest);
    if (is_old || is_untrue(cache, entry, path)) {
        *stale = take_out_stale(cache, shard, hash, index, is_old);
        return false;
    }
    struct sttp__answer *answer = sttp__entry_answer(entry);
    uint32_t fills = atomic_load_explicit(&cache->fills, memory_order_relaxed);
    /* Who was used before whom between two fills does not matter: of these one is evicted only
     * where all others were used since, too. */
    if (entry->used != fills)
        sttp__shard_reorder(shard, index, fills, false);
    atomic_fetch_add_explicit(&answer->references, 1, memory_order_relaxed);
    shard->counts.hits++;
    *hit = (sttp_cache_hit){.response = {answer->bytes, answer->size}, .answer = answer};
    return true;
}

bool sttp_cache_get(sttp_cache *cache, sttp_action action, sttp_slice path, sttp_cache_hit *hit)
{
    uint32_t latest = sttp__latest(cache, sttp__cache_now(cache));
    uint64_t hash = sttp__cache_hash(cache, action, path);
    struct sttp__shard *shard = sttp__shard_of(cache, hash);
    struct sttp__answer *stale = NULL;
    sttp__lock(&shard->lock);
    uint32_t index = sttp__shard_find(shard, hash, action, path);
    bool found = look(cache, shard, hash, index, path, latest, hit, &stale);
    sttp__unlock(&shard->lock);
    sttp__answer_release(cache, stale);
    return found;
}

void sttp_cache_release(sttp_cache *cache, sttp_cache_hit *hit)
{
    sttp__answer_release(cache, hit->answer);
    *hit = (sttp_cache_hit){0};
}

/* ---- leases ---- */

/* Whether a lease under way will bring what the new one asks for: nothing has changed since. Else
 * it loses its place, with those who wait for it. */
static bool join(sttp_cache *cache, struct sttp__shard *shard, uint32_t index,
                 sttp_cache_lease *lease)
{
    sttp_cache_lease *other = sttp__entry_lease(&shard->entries[index]);
    if (!sttp__truths_hold(cache, other)) {
        other->listed = false;
        shard->counts.revocations++;
        return false;
    }
    lease->waiting = other->waiting;
    other->waiting = lease;
    shard->counts.waiters++;
    return true;
}

/* Gives the lease its place in the table, where it may have one. */
static void list(sttp_cache *cache, struct sttp__shard *shard, uint32_t index,
                 sttp_cache_lease *lease)
{
    uintptr_t content = (uintptr_t)lease | 1;
    shard->counts.misses++;
    if (index != STTP__NONE)
        shard->entries[index].content = content;
    else if (sttp__truths_hold(cache, lease))
        index = sttp__shard_add(cache, shard, lease->hash, content);
    lease->listed = index != STTP__NONE;
}

/* Looks again, and joins or becomes who is joined; the lock is held. */
static sttp_cache_turn turn_of(sttp_cache *cache, struct sttp__shard *shard,
                               sttp_cache_lease *lease, sttp_cache_hit *hit,
                               struct sttp__answer **stale)
{
    uint32_t index = sttp__shard_find(shard, lease->hash, lease->action, lease->path);
    uint32_t latest = sttp__latest(cache, lease->taken);
    if (look(cache, shard, lease->hash, index, lease->path, latest, hit, stale))
        return STTP_CACHE_HIT;
    if (*stale != NULL)
        index = STTP__NONE;
    if (index != STTP__NONE && join(cache, shard, index, lease))
        return STTP_CACHE_WAIT;
    list(cache, shard, index, lease);
    return STTP_CACHE_FETCH;
}

sttp_cache_turn sttp_cache_lease_take(sttp_cache *cache, sttp_cache_lease *lease,
                                      sttp_cache_hit *hit)
{
    struct sttp__answer *stale = NULL;
    lease->hash = sttp__cache_hash(cache, lease->action, lease->path);
    lease->taken = sttp__cache_now(cache);
    lease->waiting = NULL;
    sttp__truths_note(cache, lease);
    struct sttp__shard *shard = sttp__shard_of(cache, lease->hash);
    sttp__lock(&shard->lock);
    sttp_cache_turn turn = turn_of(cache, shard, lease, hit, &stale);
    sttp__unlock(&shard->lock);
    sttp__answer_release(cache, stale);
    return turn;
}

/* ---- filling ---- */

/* Puts the answer into the place of its lease; the lock is held. */
static void put(sttp_cache *cache, struct sttp__shard *shard, uint32_t index,
                const sttp_cache_lease *lease, struct sttp__answer *answer)
{
    struct sttp__entry *entry = &shard->entries[index];
    entry->content = (uintptr_t)answer;
    entry->expires = sttp__ticks(lease->taken + cache->expiration);
    entry->truth = sttp__truth_noted(lease);
    sttp__shard_reorder(shard, index, atomic_load(&cache->fills), true);
    shard->counts.fills++;
    atomic_fetch_add_explicit(&cache->fills, 1, memory_order_relaxed);
}

/* Takes the lease from its place. Whether the answer is there instead; it may be NULL. */
static bool settle(sttp_cache *cache, sttp_cache_lease *lease, struct sttp__answer *answer)
{
    struct sttp__shard *shard = sttp__shard_of(cache, lease->hash);
    bool is_kept = false;
    sttp__lock(&shard->lock);
    if (lease->listed) {
        uint32_t index = sttp__shard_find(shard, lease->hash, lease->action, lease->path);
        bool is_true = sttp__truths_hold(cache, lease);
        is_kept = answer != NULL && is_true;
        shard->counts.revocations += !is_true;
        if (is_kept)
            put(cache, shard, index, lease, answer);
        else
            sttp__shard_remove(shard, lease->hash, index);
    }
    sttp__unlock(&shard->lock);
    return is_kept;
}

void sttp_cache_fill(sttp_cache *cache, sttp_cache_lease *lease, const sttp_response *response)
{
    struct sttp__answer *answer = NULL;
    if (sttp__truths_hold(cache, lease))
        answer = sttp__answer_create(cache, lease, response);
    if (!settle(cache, lease, answer))
        sttp__answer_discard(cache, answer);
    /* From here on nobody joins: it has no place any more. */
    sttp_cache_lease *waiting = lease->waiting;
    while (waiting != NULL) {
        sttp_cache_lease *next = waiting->waiting;
        waiting->complete(waiting, response);
        waiting = next;
    }
}

void sttp__cache_revoke(sttp_cache *cache, sttp_action action, sttp_slice path)
{
    uint64_t hash = sttp__cache_hash(cache, action, path);
    struct sttp__shard *shard = sttp__shard_of(cache, hash);
    struct sttp__answer *untrue = NULL;
    sttp__lock(&shard->lock);
    uint32_t index = sttp__shard_find(shard, hash, action, path);
    if (index != STTP__NONE && !sttp__is_lease(&shard->entries[index])) {
        untrue = sttp__take_out(cache, shard, hash, index);
        shard->counts.revocations++;
    }
    sttp__unlock(&shard->lock);
    sttp__answer_release(cache, untrue);
}
