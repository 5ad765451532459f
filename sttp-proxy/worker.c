#include "sttp-proxy/worker.h"

#include <stdlib.h>

#include <sttp/proxy_header.h>

#include "sttp-proxy/relay.h"

/* ---- pools ---- */

static sttp_pool *open_pool(struct worker *worker, struct upstream *upstream, unsigned hops)
{
    const struct proxy_options *from = worker->proxy->options;
    const struct destination *to = &upstream->destination;
    char header[STTP_PROXY_HEADER_ROOM];
    sttp_pool *pool;
    sttp_pool_options options = {
        .size = sizeof options,
        .host = to->host,
        .port = to->port,
        .socket_path = to->socket_path[0] != '\0' ? to->socket_path : NULL,
        .max_connections = (unsigned)from->max_upstream_connections,
        .max_in_flight = (unsigned)from->max_upstream_in_flight,
        .max_queued = (unsigned)from->max_queued,
        .connect_timeout_ms = (unsigned)from->connect_timeout,
        .queue_timeout_ms = (unsigned)from->queue_timeout,
        .request_timeout_ms = (unsigned)from->response_timeout,
        .parsed = true,
        .backoff_max_ms = WORKER_MAX_BACKOFF,
        .idle_timeout_ms = (unsigned)from->upstream_idle_timeout,
        .no_repeat = upstream->group != NULL, /* which has a budget for that */
        .may_repeat = proxy_repeat_forwarded,
        .may_repeat_context = worker->proxy,
    };

    if (upstream->sends_hops) {
        options.preamble = header;
        options.preamble_size = sttp_proxy_header_write(header, NULL, NULL, (uint8_t)(hops + 1));
    }
    return sttp_pool_create(worker->loop.async, &options, &pool) == STTP_OK ? pool : NULL;
}

sttp_pool *worker_pool(struct worker *worker, struct upstream *upstream, unsigned hops)
{
    unsigned place = upstream->sends_hops ? hops : 0;
    sttp_pool **pool = &worker->pools[upstream->index * (PROXY_MAX_HOPS + 1) + place];

    if (*pool == NULL)
        *pool = open_pool(worker, upstream, hops);
    return *pool;
}

/* ---- life ---- */

static void free_memory(struct worker *worker)
{
    for (size_t i = 0; worker->balances != NULL && i < worker->proxy->group_count; i++)
        balance_destroy(worker->balances[i]);
    free(worker->balances);
    free(worker->candidates);
    free(worker->pools);
    free(worker);
}

static bool create_balances(struct worker *worker)
{
    const struct proxy *proxy = worker->proxy;

    for (size_t i = 0; i < proxy->group_count; i++) {
        const struct group *group = &proxy->groups[i];
        worker->balances[i] =
            balance_create(group->balance, group->ring, group->count, (uint64_t)(uintptr_t)worker);
        if (worker->balances[i] == NULL)
            return false;
    }
    return true;
}

static bool begin_faults(struct worker *worker, struct event_base *base)
{
    if (worker->proxy->faults != NULL)
        worker->faults = faults_begin(worker->proxy->faults, base);
    return worker->proxy->faults == NULL || worker->faults != NULL;
}

static bool allocate(struct worker *worker)
{
    const struct proxy *proxy = worker->proxy;
    size_t pools = (size_t)proxy->upstream_count * (PROXY_MAX_HOPS + 1);

    worker->pools = calloc(pools + 1, sizeof(sttp_pool *));
    worker->balances = calloc(proxy->group_count + 1, sizeof(balancer *));
    worker->candidates = calloc(proxy->largest_group + 1, sizeof(balance_candidate));
    return worker->pools != NULL && worker->balances != NULL && worker->candidates != NULL &&
           create_balances(worker);
}

void *worker_begin(void *context, struct event_base *base)
{
    struct proxy *proxy = context;
    struct worker *worker = calloc(1, sizeof *worker);
    sttp_async_options options = {.size = sizeof options,
                                  .dns_servers = proxy->options->dns_servers};

    if (worker == NULL)
        return NULL;
    worker->proxy = proxy;
    if (!allocate(worker) || !begin_faults(worker, base) ||
        sttp_libevent_create(&worker->loop, base, &options) != STTP_OK) {
        faults_end(worker->faults);
        free_memory(worker);
        return NULL;
    }
    origins_init(&worker->origins);
    return worker;
}

/* Requests that are under way end with an error, and with an answer that nobody waits for. */
void worker_end(void *context, void *argument)
{
    struct worker *worker = argument;

    (void)context;
    sttp_libevent_destroy(&worker->loop);
    origins_release(&worker->origins);
    faults_end(worker->faults);
    relay_free_all(worker);
    free_memory(worker);
}
