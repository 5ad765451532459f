/* To an upstream of the prefix, and to another one where that fails: what was not sent goes there
 * in any case, a SHOW or LIST that was sent where the budget allows it, a change that was sent
 * never. */
#include <stdio.h>
#include <string.h>

#include "sttp-proxy/failure.h"
#include "sttp-proxy/relay.h"
#include "sttp-proxy/worker.h"

static bool was_tried(const struct relay *relay, size_t index)
{
    return (relay->tried[index / 8] >> index % 8 & 1) != 0;
}

static void note_try(struct relay *relay, size_t index)
{
    relay->tried[index / 8] |= (unsigned char)(1U << index % 8);
}

static struct upstream *choose(const struct relay *relay, uint64_t now)
{
    struct group *group = relay->group;
    struct worker *worker = relay->worker;

    for (size_t i = 0; i < group->count; i++) {
        const struct upstream *upstream = &group->upstreams[i];
        worker->candidates[i] = (balance_candidate){
            .weight = upstream->weight * health_weight(upstream->health, now),
            .in_flight = atomic_load_explicit(&upstream->in_flight, memory_order_relaxed),
            .usable = !was_tried(relay, i) && health_usable(upstream->health, now),
            .backup = upstream->backup,
        };
    }
    size_t index = balance_pick(worker->balances[group - worker->proxy->groups], worker->candidates,
                                relay->request.path);
    return index == BALANCE_NONE ? NULL : &group->upstreams[index];
}

/* A connection that was lost with a SHOW or LIST on it, within the budget, may have been the last
 * one of before: where no other upstream is left, the same one is asked once more. */
static struct upstream *choose_again(struct relay *relay, uint64_t now)
{
    const struct upstream *last = relay->upstream;

    if (!relay->lost || relay->again)
        return NULL;
    relay->again = true;
    size_t index = (size_t)(last - relay->group->upstreams);
    relay->tried[index / 8] &= (unsigned char)~(1U << index % 8);
    return choose(relay, now);
}

static void refuse(struct relay *relay, const struct failure *failure, const char *why)
{
    char message[STTP_MAX_MESSAGE];

    snprintf(message, sizeof message, "%s%s", failure->of_hop ? "the upstream failed: " : "",
             failure->message);
    relay_refuse(relay, STTP_CODE_SERVER_ERROR, message, why);
}

/* A message has no double quote and no part of a character. */
static void tell_prefix(const char *prefix, char message[STTP_MAX_MESSAGE])
{
    size_t size =
        (size_t)snprintf(message, STTP_MAX_MESSAGE, "no upstream available for %s", prefix);

    if (size >= STTP_MAX_MESSAGE) {
        size = STTP_MAX_MESSAGE - 1;
        while ((message[--size] & 0xc0) == 0x80)
            ; /* to the start of the last character */
        message[size] = '\0';
    }
    for (char *quote = message; (quote = strchr(quote, '"')) != NULL;)
        *quote = '\'';
}

/* None is left. Where one was there and had no room or no time that is told, not that none was. */
static void give_up(struct relay *relay)
{
    char message[STTP_MAX_MESSAGE];
    const struct failure *failure = &relay->failure;

    if (failure->message != NULL && failure->count != COUNT_UNREACHABLE) {
        refuse(relay, failure, "no other upstream is usable");
        return;
    }
    proxy_count(relay->worker->proxy, COUNT_NO_UPSTREAM);
    tell_prefix(relay->group->prefix, message);
    relay_refuse(relay, STTP_CODE_SERVER_ERROR, message,
                 failure->message != NULL ? failure->message : "all of them are down");
}

static void note_failure(struct relay *relay, const struct failure *failure, const char *why)
{
    struct proxy *proxy = relay->worker->proxy;

    proxy_count(proxy, failure->count);
    relay->failure = *failure;
    relay->lost = failure->count == COUNT_LOST;
    if (log_limit_admits(&proxy->failures, proxy->log))
        log_write(proxy->log, LOG_LEVEL_WARNING, "connection %llu: %s %.*s: upstream %s: %s",
                  (unsigned long long)relay->connection, sttp_action_name(relay->request.action),
                  (int)relay->echo.size, relay->echo.data, relay->upstream->name, why);
}

static bool may_repeat(struct relay *relay, const struct failure *failure, sttp_status status)
{
    struct proxy *proxy = relay->worker->proxy;

    if (status == STTP_ERR_CANCELLED || status == STTP_ERR_OUTCOME_UNKNOWN)
        return false;
    if (failure->was_sent && !budget_take(relay->group->budget, sttp_server_now())) {
        proxy_count(proxy, COUNT_NO_BUDGET);
        return false;
    }
    proxy_count(proxy, COUNT_RETRIES);
    return true;
}

/* What was under way to an upstream that goes down is repeated all at once. */
static void report(struct relay *relay, health_result result)
{
    struct upstream *upstream = relay->upstream;
    uint64_t now = sttp_server_now();
    health_change change = health_report(upstream->health, relay->epoch, result, now);

    if (change == HEALTH_SAME)
        return;
    if (change == HEALTH_WENT_DOWN)
        budget_grant(upstream->group->budget, atomic_load(&upstream->in_flight) + 1, now);
    proxy_log_health(relay->worker->proxy, upstream, change);
}

/* A request that has waited for a connection while there was none says as much of the upstream as
 * the connect_timeout, which may be the longer one. */
static bool is_unconnected(struct relay *relay)
{
    sttp_pool_counts counts;

    sttp_pool_count(worker_pool(relay->worker, relay->upstream, relay->hops), &counts);
    return counts.connections == 0;
}

static void ask(struct relay *relay, uint64_t now);

static void done(void *context, const sttp_response *response, const sttp_error *error)
{
    struct relay *relay = context;
    struct upstream *upstream = relay->upstream;

    atomic_fetch_sub_explicit(&upstream->in_flight, 1, memory_order_relaxed);
    if (response != NULL) {
        report(relay, HEALTH_OK);
        relay_answer(relay, response);
        return;
    }
    struct failure failure = failure_of(error);
    note_failure(relay, &failure, error->text);
    if (failure.tells || (failure.count == COUNT_QUEUE_TIMEOUT && is_unconnected(relay)))
        report(relay, failure.result);
    if (may_repeat(relay, &failure, error->status))
        ask(relay, sttp_server_now());
    else
        refuse(relay, &failure, "it is not repeated");
}

/* Gives it to the upstream; false where that cannot take it: why is noted, but where somebody else
 * is trying it just now. */
static bool submit(struct relay *relay, struct upstream *upstream, uint64_t now)
{
    sttp_status status = STTP_ERR_MEMORY;

    relay->upstream = upstream;
    note_try(relay, (size_t)(upstream - relay->group->upstreams));
    if (!health_admit(upstream->health, now, &relay->epoch))
        return false;
    sttp_pool *pool = worker_pool(relay->worker, upstream, relay->hops);
    if (pool != NULL)
        status = sttp_pool_request(pool, &relay->request, done, relay, NULL);
    if (status == STTP_OK) {
        atomic_fetch_add_explicit(&upstream->in_flight, 1, memory_order_relaxed);
        return true;
    }
    sttp_error error = {.status = status, .cause = status};
    struct failure failure = failure_of(&error);
    note_failure(relay, &failure, sttp_status_text(status));
    return false;
}

static void ask(struct relay *relay, uint64_t now)
{
    struct upstream *upstream;

    do {
        upstream = choose(relay, now);
        if (upstream == NULL)
            upstream = choose_again(relay, now);
        if (upstream == NULL) {
            give_up(relay);
            return;
        }
    } while (!submit(relay, upstream, now));
}

void relay_reverse(struct worker *worker, const sttp_request *request, sttp_reply *reply)
{
    struct proxy *proxy = worker->proxy;
    size_t index = route_find(proxy->routes, request->path);
    struct group *group = index == ROUTE_NONE ? NULL : &proxy->groups[index];
    struct relay *relay = relay_create(worker, request, reply, group, (sttp_slice){"", 0});

    if (relay == NULL)
        return;
    if (group == NULL) {
        relay_refuse(relay, STTP_CODE_CLIENT_ERROR, "this proxy serves no such path",
                     "no prefix of `reverse` has it");
    } else if (relay->hops >= PROXY_MAX_HOPS) {
        relay_refuse_loop(relay);
    } else if (!relay_is_cached(relay)) {
        budget_add(group->budget, 1, relay->started);
        ask(relay, relay->started);
    }
}
