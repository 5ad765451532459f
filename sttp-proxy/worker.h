/* What each worker of the engine has for itself: a client on the worker's loop, with pools of
 * connections to upstreams and to origins. All of it is used on the worker's thread alone. */
#ifndef STTP_PROXY_WORKER_H
#define STTP_PROXY_WORKER_H

#include <sttp/adapters/libevent.h>

#include "sttp-proxy/origins.h"
#include "sttp-proxy/proxy.h"

struct relay;

/* Milliseconds. While a pool holds back after failures, requests wait: that is to be little beside
 * queue_timeout, and beside the time in which health finds that an upstream is back. */
enum { WORKER_MAX_BACKOFF = 250 };

struct worker {
    struct proxy *proxy;
    sttp_libevent loop;
    sttp_pool **pools;             /* of upstream i that h hops led to: [i * (MAX_HOPS + 1) + h] */
    balancer **balances;           /* of each group */
    balance_candidate *candidates; /* room for the largest group */
    struct origins origins;
    struct relay *free_relays;
    unsigned free_relay_count;
    struct faults *faults; /* NULL: none */
};

/* The engine's worker_begin and worker_end; the context is a struct proxy. */
void *worker_begin(void *context, struct event_base *base);
void worker_end(void *context, void *worker);

/* The worker's connections to an upstream, for requests that have come by `hops`: those of one
 * number are kept apart from those of another where the upstream is told. NULL where memory is
 * out. */
sttp_pool *worker_pool(struct worker *worker, struct upstream *upstream, unsigned hops);

#endif
