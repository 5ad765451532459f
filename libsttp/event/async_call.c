/* Requests: taken, ended, given up. A call holds its line until its result is there, since it may
 * have to be sent again. */
#include "async_private.h"

#include <string.h>

#include <sttp/serializer.h>

enum { FREE_CALLS = 1024 /* that are kept for the next ones */ };

static sttp_call *allocate_call(sttp_async *async, size_t line_size)
{
    sttp_call *call = TAILQ_FIRST(&async->free_calls);

    if (line_size <= STTP__SMALL_LINE && call != NULL) {
        TAILQ_REMOVE(&async->free_calls, call, entry);
        async->free_count--;
        return call;
    }
    if (line_size < STTP__SMALL_LINE)
        line_size = STTP__SMALL_LINE;
    call = sttp__allocate(&async->memory, sizeof *call + line_size);
    if (call != NULL)
        call->capacity = line_size;
    return call;
}

static void give_back(sttp_async *async, sttp_call *call)
{
    if (call->capacity != STTP__SMALL_LINE || async->free_count == FREE_CALLS) {
        sttp__release(&async->memory, call);
        return;
    }
    TAILQ_INSERT_HEAD(&async->free_calls, call, entry);
    async->free_count++;
}

static sttp_status write_line(const sttp_pool *pool, const sttp_request *request, sttp_call *call,
                              size_t *size)
{
    if (pool->parsed)
        return sttp_serialize_parsed_request(request, call->line, call->capacity, size);
    return sttp_serialize_request(request, call->line, call->capacity, size, NULL);
}

/* A call with its line. Most lines are small; the serializer says how long another one is. */
static sttp_status make_call(const sttp_pool *pool, const sttp_request *request, sttp_call **made)
{
    sttp_async *async = pool->async;
    sttp_call *call = allocate_call(async, 0);
    size_t size;
    sttp_status status;

    if (call == NULL)
        return STTP_ERR_MEMORY;
    status = write_line(pool, request, call, &size);
    if (status == STTP_ERR_BUFFER) {
        give_back(async, call);
        call = allocate_call(async, size);
        if (call == NULL)
            return STTP_ERR_MEMORY;
        status = write_line(pool, request, call, &size);
    }
    if (status != STTP_OK) {
        give_back(async, call);
        return status;
    }
    call->line_size = (uint16_t)size;
    call->action = request->action;
    call->origin_size = (uint16_t)request->origin.size;
    call->path_at =
        (uint16_t)(strlen(sttp_action_name(request->action)) + strlen(" ") + request->origin.size);
    call->path_size = (uint16_t)request->path.size;
    *made = call;
    return STTP_OK;
}

sttp_request sttp__call_request(const sttp_call *call)
{
    const char *path = call->line + call->path_at;
    sttp_request request = {.action = call->action, .path = {path, call->path_size}};

    if (call->origin_size > 0)
        request.origin = (sttp_slice){path - call->origin_size, call->origin_size};
    return request;
}

/* A slot that is given up takes the call's part of the link's counts with it. */
static void leave_link(sttp_call *call)
{
    sttp__link *link = call->link;

    if (link->next == call) {
        link->next = TAILQ_NEXT(call, entry);
        link->next_bytes = 0;
    }
    link->slot_count--;
    link->holding -= sttp__action_holds(call->action);
    if (call->done != NULL)
        link->waiting--;
    call->link = NULL;
}

void sttp__call_unlist(sttp_call *call)
{
    sttp_pool *pool = call->pool;

    if (call->link != NULL)
        leave_link(call);
    else if (call->list == &pool->queue || call->list == &pool->again)
        pool->queued--;
    TAILQ_REMOVE(call->list, call, entry);
    call->list = NULL;
}

void sttp__call_move(sttp_call *call, sttp__calls *to)
{
    sttp_pool *pool = call->pool;

    if (call->list != NULL)
        sttp__call_unlist(call);
    TAILQ_INSERT_TAIL(to, call, entry);
    if (to == &pool->queue || to == &pool->again)
        pool->queued++;
    call->list = to;
}

/* Nobody waits for it any more. */
static void stop_waiting(sttp_call *call)
{
    call->done = NULL;
    if (call->link != NULL)
        call->link->waiting--;
    if (call->pool->total_timeout > 0)
        TAILQ_REMOVE(&call->pool->by_age, call, by_age);
}

void sttp__call_tell(sttp_call *call, const sttp_response *response, const sttp_error *error)
{
    sttp_call_done *done = call->done;

    if (done == NULL)
        return;
    stop_waiting(call);
    done(call->context, response, error);
}

void sttp__call_release(sttp_call *call)
{
    if (call->done != NULL)
        stop_waiting(call);
    if (call->list != NULL)
        sttp__call_unlist(call);
    give_back(call->pool->async, call);
}

void sttp__call_end(sttp_call *call, const sttp_response *response, const sttp_error *error)
{
    if (call->list != NULL)
        sttp__call_unlist(call);
    sttp__call_tell(call, response, error);
    give_back(call->pool->async, call);
}

static void begin(sttp_pool *pool, sttp_call *call, sttp_call_done *done, void *context)
{
    call->list = NULL;
    call->pool = pool;
    call->link = NULL;
    call->done = done;
    call->context = context;
    call->began = pool->async->now;
    call->sent = false;
    call->repeated = false;
    if (pool->total_timeout > 0) {
        TAILQ_INSERT_TAIL(&pool->by_age, call, by_age);
        sttp__pool_wake_at(pool, call->began + pool->total_timeout);
    }
}

/* The link that it goes to, or a place in the queue. */
static sttp_status take_request(sttp_pool *pool, const sttp_request *request, sttp_call_done *done,
                                void *context, sttp_call **call)
{
    sttp__link *link = NULL;
    sttp_status status;

    if (pool->destroyed)
        return STTP_ERR_STATE;
    if (pool->queued == 0)
        link = sttp__pool_pick(pool, request->action);
    if (link == NULL && pool->queued >= pool->max_queued)
        return STTP_ERR_PIPELINE_FULL;
    status = make_call(pool, request, call);
    if (status != STTP_OK)
        return status;
    begin(pool, *call, done, context);
    if (link != NULL)
        sttp__link_add(link, *call);
    else
        sttp__pool_queue(pool, *call, false);
    return STTP_OK;
}

sttp_status sttp_pool_request(sttp_pool *pool, const sttp_request *request, sttp_call_done *done,
                              void *context, sttp_call **call)
{
    sttp_async *async = pool->async;
    sttp_call *made = NULL;
    sttp_status status;

    sttp__async_enter(async);
    status = take_request(pool, request, done, context, &made);
    if (call != NULL)
        *call = made;
    sttp__async_leave(async);
    return status;
}

void sttp_call_cancel(sttp_call *call)
{
    if (call == NULL || call->done == NULL)
        return;
    if (call->link != NULL && (call->pool->queued > 0 || call->link->retired))
        sttp__pool_touch(call->pool);
    if (call->link == NULL || !call->sent)
        sttp__call_release(call);
    else
        stop_waiting(call);
}
