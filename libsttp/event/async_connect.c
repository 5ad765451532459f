/* When to connect, and where: one attempt at a time for each pool. A name is followed from the
 * first time it is needed for as long as there are connections, so that later ones need not wait
 * for it, and that those to addresses which it has no more are given up. */
#include "async_private.h"

#include <string.h>
#include <unistd.h>

enum { FOLLOW_AGAIN = 5 * 1000 * 1000 }; /* a name that could not be looked up */

static bool has_idle_link(const sttp_pool *pool)
{
    const sttp__link *link;

    TAILQ_FOREACH(link, &pool->links, entry)
    if (link->slot_count == 0 && link->window > 0)
        return true;
    return false;
}

static bool is_wanted(const sttp_pool *pool)
{
    if (pool->connecting || pool->link_count >= pool->max_connections)
        return false;
    if (pool->link_count < pool->min_connections)
        return true;
    return (pool->queued > 0 || pool->crowded) && !has_idle_link(pool);
}

static void out_of_memory(sttp_pool *pool, sttp_phase phase)
{
    sttp_error error;

    sttp__fault(&error, pool, STTP_ERR_MEMORY, phase, 0, "", pool->connect_began);
    sttp__connect_failed(pool, &error);
}

static bool start_lookup(sttp_pool *pool)
{
    pool->following = sttp__lookup_start(pool->async->resolver, &pool->lookup, pool->host,
                                         pool->port, pool->family) == STTP_OK;
    return pool->following;
}

static void follow_name(sttp_pool *pool)
{
    pool->race.more = true;
    if (pool->following)
        return;
    if (!start_lookup(pool))
        out_of_memory(pool, STTP_PHASE_RESOLVE);
}

static void connect_to(sttp_pool *pool, const sttp__inet_address *addresses, size_t count)
{
    if (sttp__race_add(&pool->race, addresses, count))
        sttp__race_go_on(&pool->race);
    else
        out_of_memory(pool, STTP_PHASE_CONNECT);
}

static void begin(sttp_pool *pool)
{
    sttp_async *async = pool->async;

    pool->connecting = true;
    pool->crowded = false;
    pool->connect_began = async->now;
    sttp__race_begin(&pool->race, async->now + pool->connect_timeout);
    if (pool->socket_path != NULL)
        connect_to(pool, NULL, 1);
    else if (pool->given.count > 0)
        connect_to(pool, pool->given.items, pool->given.count);
    else if (pool->known_count > 0)
        connect_to(pool, pool->known, pool->known_count);
    else
        follow_name(pool);
}

void sttp__connect_if_wanted(sttp_pool *pool)
{
    if (!is_wanted(pool))
        return;
    if (pool->async->now < pool->retry_at)
        sttp__pool_wake_at(pool, pool->retry_at);
    else
        begin(pool);
}

/* Full jitter: clients that lost one server come back one by one. */
void sttp__connect_back_off(sttp_pool *pool)
{
    uint64_t limit = pool->backoff_min;

    for (unsigned i = 0; i < pool->failures && limit < pool->backoff_max; i++)
        limit *= 2;
    if (limit > pool->backoff_max)
        limit = pool->backoff_max;
    if (limit < pool->backoff_max)
        pool->failures++;
    pool->retry_at = pool->async->now + sttp__async_random(pool->async, limit + 1);
}

void sttp__connect_stop(sttp_pool *pool)
{
    pool->connecting = false;
    sttp__race_stop(&pool->race);
    if (pool->following)
        sttp__lookup_cancel(&pool->lookup);
    pool->following = false;
}

/* Whoever waits for a connection has none to wait for. */
void sttp__connect_failed(sttp_pool *pool, const sttp_error *error)
{
    sttp_call *call;

    pool->connecting = false;
    sttp__race_stop(&pool->race);
    sttp__connect_back_off(pool);
    if (pool->link_count == 0) {
        while ((call = TAILQ_FIRST(&pool->again)) != NULL ||
               (call = TAILQ_FIRST(&pool->queue)) != NULL)
            sttp__call_move(call, &pool->ending);
    }
    sttp__pool_touch(pool);
    sttp__pool_tell(pool, STTP_POOL_UNREACHABLE, error->address, error, 0);
    while ((call = TAILQ_FIRST(&pool->ending)) != NULL)
        sttp__call_end(call, NULL, error);
}

void sttp__connect_won(sttp_pool *pool, int fd, const sttp__inet_address *peer)
{
    sttp__link *link = sttp__link_create(pool, fd, peer);

    if (link == NULL) {
        close(fd);
        out_of_memory(pool, STTP_PHASE_CONNECT);
        return;
    }
    pool->connecting = false;
    sttp__pool_touch(pool);
    sttp__pool_tell(pool, STTP_POOL_CONNECTED, link->address, NULL, 0);
}

/* ---- names ---- */

static void forget_known(sttp_pool *pool)
{
    if (pool->known != NULL)
        sttp__release(&pool->async->memory, pool->known);
    pool->known = NULL;
    pool->known_count = 0;
}

static bool keep_known(sttp_pool *pool, const sttp__answer *answer)
{
    forget_known(pool);
    pool->known = sttp__allocate(&pool->async->memory, answer->count * sizeof *pool->known);
    if (pool->known == NULL)
        return false;
    memcpy(pool->known, answer->addresses, answer->count * sizeof *pool->known);
    pool->known_count = answer->count;
    return true;
}

static bool is_known(const sttp_pool *pool, const sttp__inet_address *address)
{
    for (size_t i = 0; i < pool->known_count; i++)
        if (sttp__same_address(&pool->known[i], address))
            return true;
    return false;
}

static void retire_unknown(const sttp_pool *pool)
{
    sttp__link *link;

    TAILQ_FOREACH(link, &pool->links, entry)
    if (!link->retired && !is_known(pool, &link->peer))
        sttp__link_retire(link);
}

/* Connections are kept where nobody could tell whether there are other addresses now. */
static void lookup_failed(sttp_pool *pool, const sttp__answer *answer)
{
    sttp_error error;

    forget_known(pool);
    pool->following = false;
    pool->follow_at = pool->async->now + FOLLOW_AGAIN;
    sttp__pool_touch(pool);
    if (answer->gone)
        retire_unknown(pool);
    if (!pool->connecting)
        return;
    pool->race.more = false;
    if (pool->race.count > 0) {
        sttp__race_go_on(&pool->race);
    } else if (answer->status == STTP_ERR_MEMORY) {
        out_of_memory(pool, STTP_PHASE_RESOLVE);
    } else {
        sttp__fault_resolve(&error, pool, answer->reason);
        sttp__connect_failed(pool, &error);
    }
}

void sttp__connect_follow(sttp_pool *pool)
{
    const bool named = pool->socket_path == NULL && pool->given.count == 0;

    if (pool->destroyed)
        return;
    if (pool->following && pool->link_count == 0 && !pool->connecting) {
        sttp__lookup_cancel(&pool->lookup);
        pool->following = false;
        forget_known(pool);
    } else if (!pool->following && pool->link_count > 0 && named) {
        if (pool->async->now >= pool->follow_at && !start_lookup(pool))
            pool->follow_at = pool->async->now + FOLLOW_AGAIN;
        if (!pool->following)
            sttp__pool_wake_at(pool, pool->follow_at);
    }
}

void sttp__connect_looked_up(sttp__lookup *lookup, const sttp__answer *answer)
{
    sttp_pool *pool = (sttp_pool *)((char *)lookup - offsetof(sttp_pool, lookup));

    if (answer->status != STTP_OK) {
        lookup_failed(pool, answer);
        return;
    }
    if (!keep_known(pool, answer)) {
        sttp__lookup_cancel(lookup);
        lookup_failed(pool, &(sttp__answer){.status = STTP_ERR_MEMORY});
        return;
    }
    if (!answer->more)
        retire_unknown(pool);
    if (!pool->connecting)
        return;
    pool->race.more = answer->more;
    connect_to(pool, pool->known, pool->known_count);
}
