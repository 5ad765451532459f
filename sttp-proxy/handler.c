#include "sttp-proxy/handler.h"

#include "sttp-proxy/relay.h"
#include "sttp-proxy/worker.h"

static void send_hit(void *reply, sttp_slice response)
{
    sttp_reply_send_bytes(reply, response);
}

/* What the cache has of a path without an origin is answered at once: nobody has to be asked
 * whether that is allowed. */
static bool answer_from_cache(const struct proxy *proxy, const sttp_request *request,
                              sttp_reply *reply)
{
    bool kept = request->action == STTP_ACTION_SHOW ||
                (request->action == STTP_ACTION_LIST && request->query.data == NULL);

    return kept && sttp_cache_get(proxy->cache, request->action, request->path, send_hit, reply);
}

void handler_handle(void *context, const sttp_request *request, sttp_reply *reply)
{
    const struct proxy *proxy = context;
    struct worker *worker = sttp_reply_worker(reply);

    if (request->origin.data != NULL)
        relay_forward(worker, request, reply);
    else if (proxy->cache == NULL || !answer_from_cache(proxy, request, reply))
        relay_reverse(worker, request, reply);
}
