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
    sttp__answer_use(answer);
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
    bool is_hit =
        entry != NULL && sttp__may_be_given(cache, entry) && !is_untrue(cache, entry, path);
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
 * those who wait for it, and what it has taken out, where that is not known to be untrue. */
static bool join(sttp_cache *cache, struct sttp__shard *shard, uint32_t index,
                 sttp_cache_lease *lease)
{
    sttp_cache_lease *other = sttp__entry_lease(&shard->entries[index]);
    bool is_true = may_be_joined(cache, other);
    if (!is_true || !is_in_time(cache, other, lease->taken) ||
        !sttp__is_coherent(cache, other->taken, lease->taken)) {
        other->listed = false;
        if (is_true) {
            lease->stale = other->stale;
            lease->stale_expires = other->stale_expires;
            other->stale = NULL;
        }
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

/* Takes an answer out that may not be given any more, and leaves it in *answer; or in the lease,
 * where it may have to do if the storage is not available. Whether it was such a one. */
static bool take_out_stale(sttp_cache *cache, struct sttp__shard *shard, sttp_cache_lease *lease,
                           uint32_t index, struct sttp__answer **answer)
{
    const struct sttp__entry *entry = &shard->entries[index];
    bool is_old = !sttp__may_be_given(cache, entry);
    bool is_false = is_untrue(cache, entry, lease->path);
    if (!is_old && !is_false)
        return false;
    *(is_old ? &shard->counts.expiries : &shard->counts.revocations) += 1;
    lease->stale_expires = entry->expires;
    *answer = sttp__take_out(cache, shard, index);
    if (!is_false && cache->stale_if_error > 0) {
        lease->stale = *answer;
        *answer = NULL;
    }
    return true;
}

/* Looks again, and joins or becomes who is joined; the locks are held. What is to be released when
 * they are free is left in *answer: a stale one, or that of a hit, which is to be given before. */
static sttp_cache_turn turn_of(sttp_cache *cache, struct sttp__shard *shard,
                               sttp_cache_lease *lease, sttp_cache_take *take, void *context,
                               struct sttp__answer **answer)
{
    uint32_t index = sttp__shard_find(shard, lease->hash, lease->action, lease->path);
    if (is_answer(shard, index)) {
        if (!take_out_stale(cache, shard, lease, index, answer)) {
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
    lease->stale = NULL;
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

/* Puts an answer into the place of a lease; the locks are held. */
static void put(sttp_cache *cache, struct sttp__shard *shard, uint32_t index,
                struct sttp__answer *answer, uint32_t expires)
{
    struct sttp__entry *entry = &shard->entries[index];
    entry->content = (uintptr_t)answer;
    entry->expires = expires;
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
    if (cache->leases_only)
        return false;
    struct sttp__stripe *stripe = sttp__lock_to_read(cache, sttp__shard_of(cache, lease->hash));
    bool is_so = may_keep(cache, lease);
    sttp__unlock(&stripe->lock);
    return is_so;
}

/* Takes the lease from its place, where the answer is then instead, if it is not NULL and may be
 * kept; or, where the storage has failed, what was there before. Leaves in *answer what is not
 * there. */
static void settle(sttp_cache *cache, sttp_cache_lease *lease, struct sttp__answer **answer,
                   bool has_failed)
{
    struct sttp__shard *shard = sttp__shard_of(cache, lease->hash);
    sttp__lock_to_change(cache, shard);
    if (lease->listed) {
        uint32_t index = sttp__shard_find(shard, lease->hash, lease->action, lease->path);
        shard->counts.revocations +=
            !sttp__truths_hold(cache, lease) || !sttp__truths_are_settled(lease);
        if (*answer != NULL && may_keep(cache, lease)) {
            put(cache, shard, index, *answer, sttp__ticks(lease->taken + cache->expiration));
            *answer = NULL;
        } else if (has_failed && !cache->leases_only && sttp__may_put_back(cache, lease) &&
                   sttp__answer_take_room(cache, lease->stale)) {
            put(cache, shard, index, lease->stale, lease->stale_expires);
            lease->stale = NULL;
        } else {
            sttp__shard_remove(shard, index);
        }
    }
    sttp__unlock_changed(cache, shard);
}

void sttp__lease_end(sttp_cache *cache, sttp_cache_lease *lease, struct sttp__answer *answer,
                     bool has_failed, const sttp_response *response)
{
    settle(cache, lease, &answer, has_failed);
    sttp__answer_discard(cache, answer);
    sttp__answer_release(cache, lease->stale);
    /* From here on nobody joins: it has no place any more. */
    sttp_cache_lease *waiting = lease->waiting;
    while (waiting != NULL) {
        sttp_cache_lease *next = waiting->waiting;
        waiting->complete(waiting, response);
        waiting = next;
    }
}

void sttp_cache_fill(sttp_cache *cache, sttp_cache_lease *lease, const sttp_response *response)
{
    struct sttp__answer *answer = NULL;
    if (will_be_kept(cache, lease))
        answer = sttp__answer_create(cache, lease, response);
    sttp__lease_end(cache, lease, answer, response->code == STTP_CODE_SERVER_ERROR, response);
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
