/* How long answers may be given while others change the storage, too; and what may still be given
 * while it is not available. */
#include <string.h>

#include <sttp/parser.h>

#include "cache_private.h"

/* ---- time ---- */

/* The ticks, and no fewer, by which an answer expires earlier that may be given for `allowed`. */
static uint32_t early_by(const sttp_cache *cache, uint64_t allowed)
{
    return sttp__ticks(cache->expiration - allowed + STTP__TICK - 1);
}

void sttp__coherence_set(sttp_cache *cache, const sttp_cache_options *options)
{
    cache->is_shared = options->coherence > 0;
    cache->coherence = cache->is_shared && options->coherence < cache->expiration
                           ? options->coherence
                           : cache->expiration;
    cache->early = early_by(cache, cache->coherence);
    atomic_init(&cache->coherent_until, cache->is_shared ? 0 : UINT64_MAX);
    if (cache->is_shared)
        cache->stale_if_error = options->stale_if_error < cache->expiration
                                    ? options->stale_if_error
                                    : cache->expiration;
}

void sttp_cache_vouch(sttp_cache *cache, uint64_t time)
{
    uint64_t now = cache->clock();
    if (time > now)
        time = now;
    if (time >= cache->birth)
        sttp__raise_time(&cache->coherent_until, time - cache->birth + cache->coherence);
}

bool sttp__is_coherent(const sttp_cache *cache, uint64_t asked, uint64_t now)
{
    uint64_t latest = now + cache->clock_lag;
    return latest < asked + cache->coherence ||
           latest < atomic_load_explicit(&cache->coherent_until, memory_order_acquire);
}

/* ---- answers from elsewhere ---- */

/* Whether no change is known of what the storage was asked for at a time, on the cache's clock. */
static bool has_held_since(const sttp_cache *cache, const sttp_cache_lease *lease, uint64_t asked,
                           uint64_t now)
{
    uint64_t time = asked - cache->birth;
    return asked >= cache->birth && time <= now &&
           now + cache->clock_lag < time + cache->expiration &&
           sttp__truths_held_since(cache, lease, time) &&
           atomic_load(&cache->cleared) + cache->clock_lag < time;
}

bool sttp_cache_lease_holds(sttp_cache *cache, sttp_cache_lease *lease, uint64_t asked)
{
    uint64_t now = sttp__cache_now(cache);
    uint64_t time = asked - cache->birth;
    if (!sttp__is_coherent(cache, time, now) || !has_held_since(cache, lease, asked, now))
        return false;
    struct sttp__shard *shard = sttp__shard_of(cache, lease->hash);
    sttp__lock_to_change(cache, shard);
    if (time < lease->taken)
        lease->taken = time;
    sttp__unlock_changed(cache, shard);
    return true;
}

/* ---- while the storage is not available ---- */

/* A change that comes between the look at the truths and the place in the lease takes the lease's
 * place, or raises what it has noted: then it is not given. */
void sttp_cache_lease_spare(sttp_cache *cache, sttp_cache_lease *lease,
                            const sttp_response *response, uint64_t asked)
{
    uint32_t expires = sttp__ticks(asked - cache->birth + cache->expiration);
    if (cache->stale_if_error == 0 || !has_held_since(cache, lease, asked, sttp__cache_now(cache)))
        return;
    struct sttp__answer *answer = sttp__answer_write(cache, lease, response);
    struct sttp__shard *shard = sttp__shard_of(cache, lease->hash);
    sttp__lock_to_change(cache, shard);
    if (answer != NULL && (lease->stale == NULL || (int32_t)(expires - lease->stale_expires) > 0)) {
        struct sttp__answer *before = lease->stale;
        lease->stale = answer;
        lease->stale_expires = expires;
        answer = before;
    }
    sttp__unlock_changed(cache, shard);
    sttp__answer_release(cache, answer);
}

bool sttp__may_put_back(const sttp_cache *cache, const sttp_cache_lease *lease)
{
    return lease->stale != NULL && lease->listed && sttp__truths_are_settled(lease) &&
           sttp__truths_hold(cache, lease) &&
           (int32_t)(lease->stale_expires - sttp__expiring_now(cache)) > 0;
}

/* Whether it is recent enough to be given in place of a failure. */
static bool is_recent(const sttp_cache *cache, const sttp_cache_lease *lease)
{
    uint64_t until = atomic_load(&cache->coherent_until);
    uint64_t now = sttp__cache_now(cache) + cache->clock_lag;
    uint32_t early = early_by(cache, cache->stale_if_error);
    return (int32_t)(lease->stale_expires - early - sttp__ticks(now)) > 0 ||
           now + cache->coherence < until + cache->stale_if_error;
}

/* An answer that stays while it is told to many: where it was, a change may free it. */
struct told {
    char copy[STTP__COPIED_LOCKED];
    struct sttp__answer *large; /* or this one's bytes */
    sttp_slice bytes;
};

/* Whether there is one to be told. */
static bool get_stale(sttp_cache *cache, const sttp_cache_lease *lease, struct told *told)
{
    struct sttp__stripe *stripe = sttp__lock_to_read(cache, sttp__shard_of(cache, lease->hash));
    bool is_told = sttp__may_put_back(cache, lease) && is_recent(cache, lease);
    if (is_told) {
        struct sttp__answer *answer = lease->stale;
        told->large = sttp__is_large(answer) ? answer : NULL;
        told->bytes = (sttp_slice){told->large ? answer->bytes : told->copy, answer->size};
        if (told->large != NULL)
            sttp__answer_use(answer);
        else
            memcpy(told->copy, answer->bytes, answer->size);
    }
    sttp__unlock(&stripe->lock);
    return is_told;
}

bool sttp_cache_fill_unavailable(sttp_cache *cache, sttp_cache_lease *lease,
                                 const sttp_response *response, sttp_cache_take *take,
                                 void *context)
{
    struct told told;
    sttp_parser parser = {0};
    sttp_response stale;
    size_t consumed;
    if (!get_stale(cache, lease, &told)) {
        sttp__lease_end(cache, lease, NULL, true, response);
        return false;
    }
    /* The cache has written it, so it can be read. */
    (void)sttp_parse_response(&parser, told.bytes.data, told.bytes.size, STTP_MAX_CONTENTS_LINE,
                              false, &consumed, &stale, NULL);
    take(context, told.bytes);
    sttp__lease_end(cache, lease, NULL, true, &stale);
    sttp__answer_release(cache, told.large);
    return true;
}
