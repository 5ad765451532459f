/* The connections of a worker to the hosts that requests are forwarded to. A host that nothing was
 * asked of for a while is forgotten; where there are too many, the one that is idle for longest
 * goes. */
#ifndef STTP_PROXY_ORIGINS_H
#define STTP_PROXY_ORIGINS_H

#include <sys/queue.h>

#include <sttp/async.h>

#include "sttp-proxy/guard.h"

struct origin;
struct worker;

TAILQ_HEAD(origin_list, origin);

struct origins {
    struct origin **buckets; /* a power of two of them; NULL before the first origin */
    size_t bucket_count;
    size_t count;
    struct origin_list by_use; /* the one that was not asked for longest first */
};

void origins_init(struct origins *origins);
void origins_release(struct origins *origins);

/* The connections to a host, in lower case, and port, of which the guard has said `verdict`.
 * STTP_OK, STTP_ERR_MEMORY, or STTP_ERR_BUSY where each of as many hosts as there may be has
 * requests under way: *pool is NULL then. */
sttp_status origins_get(struct worker *worker, const char *host, uint16_t port,
                        guard_verdict verdict, sttp_pool **pool);

#endif
