/* From requests to operations of the store, and from their results to responses. */
#ifndef STTPD_HANDLER_H
#define STTPD_HANDLER_H

#include <stdatomic.h>

#include <sttp/cache.h>
#include <sttp/server.h>

#include "daemon/log_limit.h"
#include "sttpd/coherence.h"
#include "sttpd/redis.h"
#include "sttpd/store.h"

struct handler {
    store *store;
    sttp_cache *cache;           /* NULL: none */
    redis *redis;                /* where answers are kept, too; NULL: nowhere. Needs the next */
    struct coherence *coherence; /* has begun */
    log_sink *log;
    atomic_size_t outstanding; /* operations that the store has not completed */
    struct log_limit failures;
};

/* An sttp_handler; `context` is a struct handler, which must live until every operation is
 * complete. */
void handler_handle(void *context, const sttp_request *request, sttp_reply *reply);

/* The engine's worker_begin and worker_end where there is a `redis`. */
void *handler_worker_begin(void *context, struct event_base *base);
void handler_worker_end(void *context, void *worker);

/* The response to a completed operation. Its slices are the operation's or static. */
sttp_response handler_response(const store_operation *operation);

#endif
