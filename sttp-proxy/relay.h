/* A request on its way through the proxy: from the handler to an upstream and back. It belongs to
 * the worker of its client. */
#ifndef STTP_PROXY_RELAY_H
#define STTP_PROXY_RELAY_H

#include <sttp/cache.h>
#include <sttp/client.h>
#include <sttp/server.h>

#include "sttp-proxy/failure.h"
#include "sttp-proxy/faults.h"

struct relay {
    struct relay *next; /* of those that are free */
    size_t capacity;    /* of `bytes` */
    struct worker *worker;
    sttp_reply *reply;
    struct faults *faults; /* the worker's, which may end before the relay; NULL: none */
    uint64_t connection;   /* of the client, for the log */
    uint64_t started;      /* sttp_server_now */
    sttp_request request;  /* what is sent on; its slices point into `bytes` */
    sttp_slice echo;       /* what an answer of the proxy's own speaks of: the target */
    unsigned hops; /* that it has come, this proxy's own connection to the next not counted */

    struct group *group;       /* reverse: whose upstreams it goes to; NULL where it is forwarded */
    struct upstream *upstream; /* that has or had it; NULL: none, or an origin */
    uint32_t epoch;            /* of its health, when it was given the request */
    unsigned char *tried;      /* a bit for each upstream of the group, within `bytes` */
    struct failure failure;    /* the last one; its message is NULL where there was none */
    bool lost;                 /* that was a SHOW or LIST whose connection was lost */
    bool again;                /* the same upstream was asked once more for that */

    enum { RELAY_PLAIN, RELAY_LEASE, RELAY_CHANGE } kept;
    sttp_cache_lease lease;
    sttp_cache_change change;
    char bytes[];
};

/* A relay with a copy of the request. `key` is the origin that its path has in front in the cache.
 * NULL where memory is out: the reply was answered. */
struct relay *relay_create(struct worker *worker, const sttp_request *request, sttp_reply *reply,
                           struct group *group, sttp_slice key);

/* Frees those that a worker keeps for others to come. */
void relay_free_all(struct worker *worker);

/* An answer that the cache has, on its way to who asks. */
struct hit {
    sttp_reply *reply;
    struct faults *faults; /* NULL: none */
    sttp_slice path;
};

/* Sends it: a sttp_cache_take, whose context is a struct hit. */
void relay_send_hit(void *hit, sttp_slice response);

/* Whether the cache answers it, or will: the relay is not to be sent on then. */
bool relay_is_cached(struct relay *relay);

/* Answers and ends it. */
void relay_answer(struct relay *relay, const sttp_response *response);

/* The same with an answer of the proxy's own, and a line in the log that tells `why`. */
void relay_refuse(struct relay *relay, sttp_code code, const char *message, const char *why);

/* Answers a request that has come by too many hops. */
void relay_refuse_loop(struct relay *relay);

/* Sends a request to an upstream of its prefix: reverse.c. */
void relay_reverse(struct worker *worker, const sttp_request *request, sttp_reply *reply);

/* Judges a request with an origin, and sends it there or to the parent: forward.c. */
void relay_forward(struct worker *worker, const sttp_request *request, sttp_reply *reply);

#endif
