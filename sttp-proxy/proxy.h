/* What the parts of the proxy share.
 *
 *     main.c       settings, start, signals, stop
 *     proxy.c      groups, upstreams and rules, made of the settings; life of the above
 *     worker.c     what each worker of the engine has: a client, its pools, its turns
 *     relay.c      one request: copied, cached, answered
 *     reverse.c    to an upstream of its prefix, and to another one where that fails
 *     forward.c    to the host of its URL, or to the parent
 *     origins.c    the pools of a worker to such hosts
 *     checks.c     active health checks, in a thread of their own
 *     failure.c    what an error of the client means
 *     faults.c     answers that go wrong on purpose
 *
 * Everything here belongs to all threads, is made before they start and does not change, but for
 * health, budget and atomics. */
#ifndef STTP_PROXY_PROXY_H
#define STTP_PROXY_PROXY_H

#include <stdatomic.h>

#include <sttp/cache.h>
#include <sttp/network.h>

#include "daemon/log_limit.h"
#include "sttp-proxy/balance.h"
#include "sttp-proxy/budget.h"
#include "sttp-proxy/destination.h"
#include "sttp-proxy/faults.h"
#include "sttp-proxy/guard.h"
#include "sttp-proxy/health.h"
#include "sttp-proxy/options.h"
#include "sttp-proxy/route.h"

/* Connections from proxy to proxy that a request may come by. */
enum { PROXY_MAX_HOPS = 8 };

/* What is counted, for the log. */
enum proxy_count {
    COUNT_RETRIES,
    COUNT_DENIED,           /* forwarding that the rules do not allow */
    COUNT_LOOPS,            /* requests that came by too many hops */
    COUNT_NO_UPSTREAM,      /* none of the prefix was usable */
    COUNT_QUEUE_FULL,       /* limits, each: max_queued, */
    COUNT_ORIGINS_FULL,     /* hosts that are forwarded to at once, */
    COUNT_QUEUE_TIMEOUT,    /* queue_timeout, */
    COUNT_CONNECT_TIMEOUT,  /* connect_timeout, */
    COUNT_RESPONSE_TIMEOUT, /* response_timeout, */
    COUNT_NO_BUDGET,        /* retries that the budget did not allow */
    COUNT_UNREACHABLE,      /* no address, refused, reset before anything was sent */
    COUNT_LOST,             /* closed or reset before the answer */
    COUNT_INVALID,          /* what came was no answer, or not to what was asked */
    COUNT_MEMORY,
    COUNT_DESCRIPTORS, /* none for a connection */
    COUNT_STOPPED,     /* cut off by the proxy's own end */
    PROXY_COUNTS
};

struct group;

/* A server behind the proxy. */
struct upstream {
    const char *name; /* as in the settings */
    struct destination destination;
    struct group *group; /* NULL for the parent, which has no health */
    unsigned index;      /* among all of the proxy */
    uint32_t weight;
    bool backup;
    bool sends_hops; /* `send_proxy: v2` */
    health_record *health;
    atomic_uint in_flight;
};

/* The upstreams of a prefix. */
struct group {
    const char *prefix;
    balance_kind balance;
    balance_ring *ring;      /* NULL where the balance needs none */
    uint64_t check_interval; /* milliseconds; 0: no active checks */
    uint64_t check_timeout;
    struct upstream *upstreams;
    size_t count;
    retry_budget *budget;
};

struct proxy {
    const struct proxy_options *options;
    log_sink *log;
    struct log_limit failures; /* lines about requests */
    route_table *routes;       /* NULL where there is no prefix */
    struct group *groups;
    size_t group_count;
    size_t largest_group;
    struct upstream *parent;  /* NULL where there is none */
    unsigned upstream_count;  /* of all groups, and the parent */
    guard_rules *guard;       /* NULL where nothing is forwarded */
    retry_budget *forwarded;  /* of all requests that are forwarded */
    atomic_ullong next_grant; /* sttp_server_now from which `forwarded` may have another one */
    sttp_cache *cache;        /* NULL: none */
    fault_rules *faults;      /* NULL: none */
    atomic_ullong counts[PROXY_COUNTS];
};

/* Makes all that the settings say. False where memory is out: what was made is freed by
 * proxy_release. */
bool proxy_init(struct proxy *proxy, const struct proxy_options *options, log_sink *log);

void proxy_release(struct proxy *proxy);

/* Tells the log of an upstream that has gone down or come up. */
void proxy_log_health(struct proxy *proxy, struct upstream *upstream, health_change change);

/* Writes the counters to the log. */
void proxy_log_counts(struct proxy *proxy);

/* Of `count` requests that were forwarded over a connection that has ended, how many may be sent
 * again: the `may_repeat` of a pool, for which the proxy is the context. */
size_t proxy_repeat_forwarded(void *proxy, size_t count);

static inline void proxy_count(struct proxy *proxy, enum proxy_count count)
{
    atomic_fetch_add_explicit(&proxy->counts[count], 1, memory_order_relaxed);
}

#endif
