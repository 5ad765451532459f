/* From requests to operations of the store, and from their results to responses. */
#ifndef STTPD_HANDLER_H
#define STTPD_HANDLER_H

#include <stdatomic.h>

#include <sttp/cache.h>
#include <sttp/server.h>

#include "daemon/log_limit.h"
#include "sttpd/store.h"

struct handler {
    store *store;
    sttp_cache *cache; /* NULL: none */
    log_sink *log;
    atomic_size_t outstanding; /* operations that the store has not completed */
    struct log_limit failures;
};

/* An sttp_handler; `context` is a struct handler, which must live until every operation is
 * complete. */
void handler_handle(void *context, const sttp_request *request, sttp_reply *reply);

/* The response to a completed operation. Its slices are the operation's or static. */
sttp_response handler_response(const store_operation *operation);

#endif
