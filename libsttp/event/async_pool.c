/* A pool: who gets which connection, and who has waited for one too long. */
#include "async_private.h"

/* How long after its answer the end of a connection may come that a server closes at once. */
enum { SETTLE_TIME = 20 * 1000 };

/* ---- who gets which link ---- */

/* The link's second request is a change, and it is not known yet whether the peer closes after one
 * answer: a moment's patience spares the change from being sent into a closing connection. */
static bool settles(const sttp__link *link, sttp_action action)
{
    return link->answers == 1 && !link->pool->keeps_open && sttp_action_is_change(action) &&
           link->pool->async->now < link->used_at + SETTLE_TIME;
}

/* A server holds the later requests of a connection back while it makes a change or a listing. So
 * what holds nobody back stays away from where that is under way, and together where it is not:
 * many requests in one write cost less. All else goes where the fewest are. */
static bool is_better(const sttp__link *link, const sttp__link *best, bool holds)
{
    if (best == NULL)
        return true;
    if (holds || (link->holding > 0 && best->holding > 0))
        return link->slot_count < best->slot_count;
    if (link->holding > 0 || best->holding > 0)
        return best->holding > 0;
    return link->slot_count > best->slot_count;
}

/* One more connection is wanted: the best that there is would let the request wait for others. */
static bool is_crowded(const sttp__link *best, bool holds)
{
    return best != NULL && (holds ? best->slot_count > 0 : best->holding > 0);
}

sttp__link *sttp__pool_pick(sttp_pool *pool, sttp_action action)
{
    bool holds = sttp__action_holds(action);
    sttp__link *best = NULL;
    sttp__link *link;

    TAILQ_FOREACH(link, &pool->links, entry)
    {
        if (link->slot_count >= link->window)
            continue;
        if (settles(link, action))
            sttp__pool_wake_at(pool, link->used_at + SETTLE_TIME);
        else if (is_better(link, best, holds))
            best = link;
    }
    if (is_crowded(best, holds) && !pool->crowded && !pool->connecting &&
        pool->link_count < pool->max_connections) {
        pool->crowded = true;
        sttp__pool_touch(pool);
    }
    return best;
}

static sttp_call *next_queued(const sttp_pool *pool)
{
    sttp_call *call = TAILQ_FIRST(&pool->again);

    return call != NULL ? call : TAILQ_FIRST(&pool->queue);
}

static void hand_out(sttp_pool *pool)
{
    sttp_call *call;

    while ((call = next_queued(pool)) != NULL) {
        sttp__link *link = sttp__pool_pick(pool, call->action);

        if (link == NULL)
            return;
        sttp__link_add(link, call);
    }
}

void sttp__pool_queue(sttp_pool *pool, sttp_call *call, bool again)
{
    call->since = pool->async->now;
    call->sent = false;
    sttp__call_move(call, again ? &pool->again : &pool->queue);
    sttp__pool_wake_at(pool, call->since + pool->queue_timeout);
    sttp__pool_touch(pool);
}

/* ---- turns ---- */

void sttp__pool_touch(sttp_pool *pool)
{
    sttp_async *async = pool->async;

    if (pool->is_dirty || pool->destroyed)
        return;
    pool->is_dirty = true;
    pool->dirty_turn = async->turn;
    TAILQ_INSERT_TAIL(&async->dirty_pools, pool, dirty);
    sttp__async_soon(async);
}

static void untouch(sttp_pool *pool)
{
    if (pool->is_dirty)
        TAILQ_REMOVE(&pool->async->dirty_pools, pool, dirty);
    pool->is_dirty = false;
}

static void close_retired(sttp_pool *pool)
{
    sttp__link *link, *next;

    for (link = TAILQ_FIRST(&pool->links); link != NULL; link = next) {
        next = TAILQ_NEXT(link, entry);
        if (!link->retired || link->waiting > 0)
            continue;
        sttp__link_close(link);
        while (!TAILQ_EMPTY(&link->slots))
            sttp__call_release(TAILQ_FIRST(&link->slots));
    }
}

void sttp__pool_work(sttp_pool *pool)
{
    untouch(pool);
    close_retired(pool);
    hand_out(pool);
    sttp__connect_if_wanted(pool);
    sttp__connect_follow(pool);
}

/* ---- time ---- */

void sttp__pool_wake_at(sttp_pool *pool, uint64_t at)
{
    if (at < pool->timer.at)
        sttp__timer_set(&pool->timer, at);
}

static void end_late(sttp_call *call, const char *deadline)
{
    sttp_error error;

    sttp__fault_late(&error, call, deadline);
    if (!call->sent) {
        sttp__call_end(call, NULL, &error);
        return;
    }
    if (sttp_action_is_change(call->action))
        sttp__fault_outcome_unknown(&error, call);
    if (call->link->retired)
        sttp__pool_touch(call->pool);
    sttp__call_tell(call, NULL, &error);
}

static void expire_queue(sttp_pool *pool, const sttp__calls *calls)
{
    sttp_call *call;

    while ((call = TAILQ_FIRST(calls)) != NULL &&
           call->since + pool->queue_timeout <= pool->async->now)
        end_late(call, "queue timeout");
    if (call != NULL)
        sttp__pool_wake_at(pool, call->since + pool->queue_timeout);
}

static void expire_total(sttp_pool *pool)
{
    sttp_call *call;

    while ((call = TAILQ_FIRST(&pool->by_age)) != NULL &&
           call->began + pool->total_timeout <= pool->async->now)
        end_late(call, "total timeout");
    if (call != NULL)
        sttp__pool_wake_at(pool, call->began + pool->total_timeout);
}

void sttp__pool_expired(sttp__timer *timer)
{
    sttp_pool *pool = (sttp_pool *)((char *)timer - offsetof(sttp_pool, timer));

    expire_total(pool);
    expire_queue(pool, &pool->again);
    expire_queue(pool, &pool->queue);
    sttp__pool_touch(pool);
}

/* ---- pools ---- */

static bool set_up(sttp_pool *pool)
{
    pool->timer = (sttp__timer){.async = pool->async, .expired = sttp__pool_expired};
    pool->race.timer = (sttp__timer){.async = pool->async, .expired = sttp__race_expired};
    pool->race.pool = pool;
    pool->lookup.done = sttp__connect_looked_up;
    if (!sttp__timer_reserve(&pool->timer))
        return false;
    if (sttp__timer_reserve(&pool->race.timer))
        return true;
    sttp__timer_release(&pool->timer);
    return false;
}

static sttp_status make_pool(sttp_async *async, const sttp_pool_options *options, sttp_pool **pool)
{
    sttp_pool *made = sttp__allocate(&async->memory, sizeof *made);
    sttp_status status;

    if (made == NULL)
        return STTP_ERR_MEMORY;
    *made = (sttp_pool){.async = async};
    TAILQ_INIT(&made->links);
    TAILQ_INIT(&made->closed);
    TAILQ_INIT(&made->again);
    TAILQ_INIT(&made->queue);
    TAILQ_INIT(&made->ending);
    TAILQ_INIT(&made->by_age);
    status = sttp__pool_options_apply(made, options);
    if (status == STTP_OK && !set_up(made))
        status = STTP_ERR_MEMORY;
    if (status != STTP_OK) {
        sttp__pool_free(made);
        return status;
    }
    TAILQ_INSERT_TAIL(&async->pools, made, entry);
    if (made->min_connections > 0)
        sttp__pool_touch(made);
    *pool = made;
    return STTP_OK;
}

sttp_status sttp_pool_create(sttp_async *async, const sttp_pool_options *given, sttp_pool **pool)
{
    sttp_pool_options options;

    *pool = NULL;
    if (async->destroyed)
        return STTP_ERR_STATE;
    if (!sttp__pool_options_read(&options, given))
        return STTP_ERR_ARGUMENT;
    return make_pool(async, &options, pool);
}

void sttp__pool_free(sttp_pool *pool)
{
    const sttp_allocator memory = pool->async->memory;
    void *const parts[] = {pool->host, pool->socket_path, pool->given.items, pool->preamble,
                           pool->known};

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i] != NULL)
            sttp__release(&memory, parts[i]);
    sttp__release(&memory, pool);
}

static void cancel_all(sttp__calls *calls)
{
    sttp_error error;
    sttp_call *call;

    while ((call = TAILQ_FIRST(calls)) != NULL) {
        if (call->done != NULL)
            sttp__fault_cancelled(&error, call);
        sttp__call_end(call, NULL, &error);
    }
}

void sttp_pool_destroy(sttp_pool *pool)
{
    sttp_async *async;
    sttp__link *link;

    if (pool == NULL || pool->destroyed)
        return;
    async = pool->async;
    sttp__async_enter(async);
    pool->destroyed = true;
    untouch(pool);
    TAILQ_REMOVE(&async->pools, pool, entry);
    TAILQ_INSERT_TAIL(&async->destroyed_pools, pool, entry);
    sttp__connect_stop(pool);
    sttp__timer_release(&pool->race.timer);
    sttp__timer_release(&pool->timer);
    while ((link = TAILQ_FIRST(&pool->links)) != NULL)
        sttp__link_close(link);
    TAILQ_FOREACH(link, &pool->closed, entry)
    cancel_all(&link->slots);
    cancel_all(&pool->ending);
    cancel_all(&pool->again);
    cancel_all(&pool->queue);
    sttp__async_leave(async);
}

void sttp_pool_count(const sttp_pool *pool, sttp_pool_counts *counts)
{
    const sttp__link *link;

    *counts = (sttp_pool_counts){
        .connections = pool->link_count, .connecting = pool->connecting, .queued = pool->queued};
    TAILQ_FOREACH(link, &pool->links, entry)
    {
        counts->in_flight += link->waiting;
        counts->abandoned += link->slot_count - link->waiting;
    }
}

void sttp__pool_tell(sttp_pool *pool, sttp_pool_event_kind kind, const char *address,
                     const sttp_error *error, size_t in_flight)
{
    const sttp_pool_event event = {
        .kind = kind, .address = address, .error = error, .in_flight = in_flight};

    if (pool->event != NULL && !pool->destroyed)
        pool->event(pool->event_context, &event);
}
