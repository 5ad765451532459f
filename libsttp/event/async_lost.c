/* What becomes of the calls of a connection that is lost, or late. What was not sent goes to
 * another one. Of what was sent, SHOW and LIST are repeated, and changes end as "outcome unknown".
 * The oldest is repeated only once, and only where the connection had given an answer before and
 * was closed without a byte of this one: so each connection that ends takes a request with it, or a
 * right to be repeated, and all ends whatever a peer does. */
#include "async_private.h"

static bool is_repeatable(const sttp_call *call)
{
    return !sttp_action_is_change(call->action) && !call->pool->no_repeat;
}

/* Whether a call of a link that is lost is to have another try, if there is still room for it among
 * the repeats. The oldest one, where it was sent, only if the connection had been kept. */
static bool has_another_try(const sttp__link *link, const sttp_call *call, bool is_oldest,
                            bool kept)
{
    if (call->sent)
        return is_repeatable(call) && (!is_oldest || (kept && !call->repeated));
    return !is_oldest || link->answers > 0 || call->since - link->used_at >= STTP__STALE_TIME;
}

/* How many of the calls that were sent may be repeated. */
static size_t count_repeats(const sttp__link *link, bool kept)
{
    const sttp_pool *pool = link->pool;
    const sttp_call *oldest = TAILQ_FIRST(&link->slots);
    const sttp_call *call;
    size_t count = 0;

    if (pool->may_repeat == NULL)
        return SIZE_MAX;
    TAILQ_FOREACH(call, &link->slots, entry)
    count += call->sent && call->done != NULL && has_another_try(link, call, call == oldest, kept);
    return count > 0 ? pool->may_repeat(pool->may_repeat_context, count) : 0;
}

/* Leaves only the calls that have to end now. */
static void move_elsewhere(sttp__link *link, bool kept)
{
    size_t repeats = count_repeats(link, kept);
    const sttp_call *oldest = TAILQ_FIRST(&link->slots);
    sttp_call *call, *next;

    for (call = TAILQ_FIRST(&link->slots); call != NULL; call = next) {
        bool is_oldest = call == oldest;
        bool sent = call->sent;

        next = TAILQ_NEXT(call, entry);
        if (call->done == NULL) {
            sttp__call_release(call);
        } else if (has_another_try(link, call, is_oldest, kept) && (!sent || repeats > 0)) {
            repeats -= sent;
            call->repeated = call->repeated || (is_oldest && sent);
            sttp__pool_queue(link->pool, call, true);
        }
    }
}

/* The oldest one's error tells all; those behind it only know why. */
static void end_calls(sttp__link *link, const sttp_call *oldest, const sttp_error *error)
{
    sttp_call *call;

    while ((call = TAILQ_FIRST(&link->slots)) != NULL) {
        sttp_error own = *error;

        if (call != oldest) {
            sttp__fault(&own, link->pool, error->status, STTP_PHASE_RECEIVE, error->system_errno,
                        link->address, call->began);
            own.behind = true;
        }
        if (call->sent && sttp_action_is_change(call->action))
            sttp__fault_outcome_unknown(&own, call);
        sttp__call_end(call, NULL, &own);
    }
}

static size_t count_sent(const sttp__link *link)
{
    const sttp_call *call;
    size_t count = 0;

    TAILQ_FOREACH(call, &link->slots, entry)
    count += call->sent;
    return count;
}

/* `kept`: the peer had given the connection up, as is usual with those that are kept open. */
static void give_up(sttp__link *link, const sttp_error *error, bool kept)
{
    const sttp_call *oldest = TAILQ_FIRST(&link->slots);
    size_t in_flight = count_sent(link);

    if (link->answers == 0)
        sttp__connect_back_off(link->pool);
    sttp__link_close(link);
    move_elsewhere(link, kept);
    if (oldest != NULL || !link->retired)
        sttp__pool_tell(link->pool, STTP_POOL_LOST, link->address, error, in_flight);
    end_calls(link, oldest, error);
}

void sttp__link_broken(sttp__link *link, const sttp_error *error)
{
    give_up(link, error, false);
}

void sttp__link_lost(sttp__link *link)
{
    sttp_error error;

    sttp__fault_lost(&error, link);
    give_up(link, &error, link->answers > 0 && sttp__link_unread(link).size == 0);
}

void sttp__link_retire(sttp__link *link)
{
    sttp_call *call, *next;

    link->retired = true;
    link->window = 0;
    for (call = link->next; call != NULL; call = next) {
        next = TAILQ_NEXT(call, entry);
        if (!call->sent)
            sttp__pool_queue(link->pool, call, true);
    }
    sttp__pool_touch(link->pool);
}

/* The oldest call that has waited for too long. */
static sttp_call *overdue(const sttp__link *link)
{
    const sttp_pool *pool = link->pool;
    sttp_call *call;

    TAILQ_FOREACH(call, &link->slots, entry)
    {
        if (call->since + pool->request_timeout > pool->async->now)
            return NULL;
        if (call->done != NULL)
            return call;
    }
    return NULL;
}

static void end_overdue(sttp__link *link, sttp_call *call)
{
    sttp_error error;

    sttp__fault_late(&error, call, "request timeout");
    if (call->sent && sttp_action_is_change(call->action))
        sttp__fault_outcome_unknown(&error, call);
    sttp__pool_tell(link->pool, STTP_POOL_LATE, link->address, &error, count_sent(link));
    if (overdue(link) == call)
        sttp__call_tell(call, NULL, &error);
}

/* What came in time is read first. A slot that nobody waits for must not hold up others for ever,
 * either. */
void sttp__link_late(sttp__link *link)
{
    const sttp_pool *pool = link->pool;
    const sttp_call *oldest;
    sttp_call *call;

    sttp__link_read(link);
    oldest = TAILQ_FIRST(&link->slots);
    if (!sttp__link_is_open(link) || oldest == NULL ||
        oldest->since + pool->request_timeout > pool->async->now)
        return;
    if (!link->retired)
        sttp__link_retire(link);
    while ((call = overdue(link)) != NULL)
        end_overdue(link, call);
    sttp__pool_touch(link->pool); /* it is closed where these were the last */
}
