#include "sttp-proxy/handler.h"

#include "sttp-proxy/relay.h"
#include "sttp-proxy/worker.h"

/* What the cache has of a path without an origin is answered at once: nobody has to be asked
 * whether that is allowed. */
static bool answer_from_cache(const struct worker *worker, const sttp_request *request,
                              sttp_reply *reply)
{
    bool kept = request->action == STTP_ACTION_SHOW ||
                (request->action == STTP_ACTION_LIST && request->query.data == NULL);
    struct hit hit = {reply, worker->faults, request->path};

    return kept && sttp_cache_get(worker->proxy->cache, request->action, request->path,
                                  relay_send_hit, &hit);
}

void handler_handle(void *context, const sttp_request *request, sttp_reply *reply)
{
    const struct proxy *proxy = context;
    struct worker *worker = sttp_reply_worker(reply);

    if (request->origin.data != NULL)
        relay_forward(worker, request, reply);
    else if (proxy->cache == NULL || !answer_from_cache(worker, request, reply))
        relay_reverse(worker, request, reply);
}
