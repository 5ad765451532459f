/* The way of a request: looking, leases, filling. No lock is held while memory is taken for an
 * answer, an answer is written, a large one is copied, or those who wait are told. */
#include <string.h>

#include <sttp/serializer.h>

#include "cache_private.h"
#include "memory.h"

/* ---- looking ---- */

static bool is_answer(const struct sttp__shard *shard, uint32_t index)
{
    return index != STTP__NONE && !sttp__is_lease(&shard->entries[index]);
}

/* Whether an answer was made untrue by a change of the parent directory. */
static bool is_untrue(const sttp_cache *cache, const struct sttp__entry *entry, sttp_slice path)
{
    const struct sttp__answer *answer = sttp__entry_answer(entry);
    return answer->is_absence && sttp__name_of(answer).truth != sttp__truth_of_parent(cache, path);
}

static inline void give(const struct sttp__answer *answer, sttp_cache_take *take, void *context)
{
    take(context, (sttp_slice){answer->bytes, answer->size});
}

/* Locked: gives the answer of an entry; or returns it, if it is large, to be given unlocked. */
static inline struct sttp__answer *give_or_keep(const struct sttp__entry *entry,
                                                sttp_cache_take *take, void *context)
{
    struct sttp__answer *answer = sttp__entry_answer(entry);
    if (!sttp__is_large(answer)) {
        give(answer, take, context);
        return NULL;
    }
    atomic_fetch_add_explicit(sttp__users_of(answer), 1, memory_order_relaxed);
    return answer;
}

/* Not inlined: what it needs would take the registers of all hits. */
__attribute__((noinline)) static void note_use(sttp_cache *cache, sttp_action action,
                                               sttp_slice path)
{
    uint64_t hash = sttp__cache_hash(cache, action, path);
    struct sttp__shard *shard = sttp__shard_of(cache, hash);
    sttp__lock_to_change(cache, shard);
    uint32_t index = sttp__shard_find(shard, hash, action, path);
    if (is_answer(shard, index))
        sttp__shard_use(cache, shard, index, false);
    sttp__unlock_changed(cache, shard);
}

bool sttp_cache_get(sttp_cache *cache, sttp_action action, sttp_slice path, sttp_cache_take *take,
                    void *context)
{
    uint64_t hash = sttp__cache_hash(cache, action, path);
    struct sttp__shard *shard = sttp__shard_of(cache, hash);
    struct sttp__stripe *stripe = sttp__lock_to_read(cache, shard);
    uint32_t index = sttp__shard_find(shard, hash, action, path);
    const struct sttp__entry *entry = is_answer(shard, index) ? &shard->entries[index] : NULL;
    bool is_hit = entry != NULL && !sttp__has_expired(entry, sttp__expiring_now(cache)) &&
                  !is_untrue(cache, entry, path);
    bool is_due = is_hit && sttp__is_use_due(cache, entry);
    struct sttp__answer *kept = NULL;
    if (is_hit) {
        stripe->hits++;
        kept = give_or_keep(entry, take, context);
    }
    sttp__unlock(&stripe->lock);
    if (kept != NULL) {
        give(kept, take, context);
        sttp__answer_release(cache, kept);
    }
    if (is_due)
        note_use(cache, action, path);
    return is_hit;
}

/* ---- leases ---- */

static bool is_in_time(const sttp_cache *cache, const sttp_cache_lease *lease, uint64_t now)
{
    return now + cache->clock_lag < lease->taken + cache->expiration;
}

/* Whether others may have the answer that a lease brings: what it depends on is now as it was then.
 * While it is changed that is so for a SHOW of the changed path alone, to which the storage does
 * not show the change before its end; others may have been shown it already. */
static bool may_be_joined(const sttp_cache *cache, const sttp_cache_lease *lease)
{
    return sttp__truths_hold(cache, lease) &&
           (sttp__truths_are_settled(lease) ||
            (lease->action == STTP_ACTION_SHOW && sttp__truths_were_hidden(lease)));
}

/* Whether a lease under way will bring what the new one asks for. Else it loses its place, with
 * those who wait for it. */
static bool join(sttp_cache *cache, struct sttp__shard *shard, uint32_t index,
                 sttp_cache_lease *lease)
{
    sttp_cache_lease *other = sttp__entry_lease(&shard->entries[index]);
    if (!may_be_joined(cache, other) || !is_in_time(cache, other, lease->taken)) {
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
    else if (lease->path.size <= STTP_MAX_PATH && may_be_joined(cache, lease))
        index = sttp__shard_add(cache, shard, lease->hash, content);
    lease->listed = index != STTP__NONE;
}

/* Takes an answer out that is out of date or untrue; NULL where it is neither. */
static struct sttp__answer *take_out_stale(sttp_cache *cache, struct sttp__shard *shard,
                                           const sttp_cache_lease *lease, uint32_t index)
{
    const struct sttp__entry *entry = &shard->entries[index];
    bool is_old = sttp__has_expired(entry, sttp__expiring_now(cache));
    if (!is_old && !is_untrue(cache, entry, lease->path))
        return NULL;
    *(is_old ? &shard->counts.expiries : &shard->counts.revocations) += 1;
    return sttp__take_out(cache, shard, index);
}

/* Looks again, and joins or becomes who is joined; the locks are held. What is to be released when
 * they are free is left in *answer: a stale one, or that of a hit, which is to be given before. */
static sttp_cache_turn turn_of(sttp_cache *cache, struct sttp__shard *shard,
                               sttp_cache_lease *lease, sttp_cache_take *take, void *context,
                               struct sttp__answer **answer)
{
    uint32_t index = sttp__shard_find(shard, lease->hash, lease->action, lease->path);
    if (is_answer(shard, index)) {
        *answer = take_out_stale(cache, shard, lease, index);
        if (*answer == NULL) {
            sttp__stripe_of(shard, 0)->hits++;
            sttp__shard_use(cache, shard, index, false);
            *answer = give_or_keep(&shard->entries[index], take, context);
            return STTP_CACHE_HIT;
        }
        index = STTP__NONE;
    }
    if (index != STTP__NONE && join(cache, shard, index, lease))
        return STTP_CACHE_WAIT;
    list(cache, shard, index, lease);
    return STTP_CACHE_FETCH;
}

sttp_cache_turn sttp_cache_lease_take(sttp_cache *cache, sttp_cache_lease *lease,
                                      sttp_cache_take *take, void *context)
{
    struct sttp__answer *answer = NULL;
    lease->hash = sttp__cache_hash(cache, lease->action, lease->path);
    lease->taken = sttp__cache_now(cache);
    lease->waiting = NULL;
    sttp__truths_note(cache, lease);
    struct sttp__shard *shard = sttp__shard_of(cache, lease->hash);
    sttp__lock_to_change(cache, shard);
    sttp_cache_turn turn = turn_of(cache, shard, lease, take, context, &answer);
    sttp__unlock_changed(cache, shard);
    if (turn == STTP_CACHE_HIT && answer != NULL)
        give(answer, take, context);
    sttp__answer_release(cache, answer);
    return turn;
}

/* ---- filling ---- */

/* Puts the answer into the place of its lease; the locks are held. */
static void put(sttp_cache *cache, struct sttp__shard *shard, uint32_t index,
                const sttp_cache_lease *lease, struct sttp__answer *answer)
{
    struct sttp__entry *entry = &shard->entries[index];
    entry->content = (uintptr_t)answer;
    entry->expires = sttp__ticks(lease->taken + cache->expiration);
    sttp__shard_use(cache, shard, index, true);
    shard->counts.fills++;
    atomic_fetch_add_explicit(&cache->fills, 1, memory_order_relaxed);
}

/* Whether the answer that a lease brings may be kept; locked. */
static bool may_keep(const sttp_cache *cache, const sttp_cache_lease *lease)
{
    return lease->listed && sttp__truths_are_settled(lease) && sttp__truths_hold(cache, lease) &&
           is_in_time(cache, lease, sttp__cache_now(cache));
}

/* The same, not locked: whether it is worth to make room. */
static bool will_be_kept(sttp_cache *cache, const sttp_cache_lease *lease)
{
    struct sttp__stripe *stripe = sttp__lock_to_read(cache, sttp__shard_of(cache, lease->hash));
    bool is_so = may_keep(cache, lease);
    sttp__unlock(&stripe->lock);
    return is_so;
}

/* Takes the lease from its place. Whether the answer is there instead; it may be NULL. */
static bool settle(sttp_cache *cache, sttp_cache_lease *lease, struct sttp__answer *answer)
{
    struct sttp__shard *shard = sttp__shard_of(cache, lease->hash);
    bool is_kept = false;
    sttp__lock_to_change(cache, shard);
    if (lease->listed) {
        uint32_t index = sttp__shard_find(shard, lease->hash, lease->action, lease->path);
        is_kept = answer != NULL && may_keep(cache, lease);
        shard->counts.revocations +=
            !sttp__truths_hold(cache, lease) || !sttp__truths_are_settled(lease);
        if (is_kept)
            put(cache, shard, index, lease, answer);
        else
            sttp__shard_remove(shard, index);
    }
    sttp__unlock_changed(cache, shard);
    return is_kept;
}

void sttp_cache_fill(sttp_cache *cache, sttp_cache_lease *lease, const sttp_response *response)
{
    struct sttp__answer *answer = NULL;
    if (will_be_kept(cache, lease))
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
    sttp__lock_to_change(cache, shard);
    uint32_t index = sttp__shard_find(shard, hash, action, path);
    if (is_answer(shard, index)) {
        untrue = sttp__take_out(cache, shard, index);
        shard->counts.revocations++;
    }
    sttp__unlock_changed(cache, shard);
    sttp__answer_release(cache, untrue);
}
