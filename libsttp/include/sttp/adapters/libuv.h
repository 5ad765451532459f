/* <sttp/async.h> on libuv, version 1: link uv beside sttp-event.
 *
 *     sttp_libuv *adapter;
 *     if (sttp_libuv_create(&adapter, loop, NULL) != STTP_OK) ...
 *     sttp_pool_create(adapter->async, ...);
 *     ...
 *     sttp_libuv_destroy(adapter); // in any callback, too; the loop frees it as it runs on */
#ifndef STTP_ADAPTERS_LIBUV_H
#define STTP_ADAPTERS_LIBUV_H

#include <stdlib.h>
#include <uv.h>

#include <sttp/async.h>

typedef struct sttp_libuv {
    sttp_async *async;
    uv_loop_t *_loop;
    uv_timer_t _timer;
    uv_timer_t _soon;
    int _open; /* of these two */
} sttp_libuv;

static inline void sttp__libuv_ready(uv_poll_t *poll, int status, int events);

static inline int sttp__libuv_start(uv_poll_t *poll)
{
    unsigned interest = ((sttp_watch *)poll->data)->interest;

    return uv_poll_start(poll,
                         ((interest & STTP_READABLE) ? UV_READABLE : 0) |
                             ((interest & STTP_WRITABLE) ? UV_WRITABLE : 0),
                         sttp__libuv_ready);
}

/* libuv stops watching a descriptor that has an error, behind which there may be bytes to read. */
static inline void sttp__libuv_ready(uv_poll_t *poll, int status, int events)
{
    if (status < 0)
        events = UV_READABLE | UV_WRITABLE;
    sttp_async_ready((sttp_watch *)poll->data, ((events & UV_READABLE) ? STTP_READABLE : 0) |
                                                   ((events & UV_WRITABLE) ? STTP_WRITABLE : 0));
    if (status < 0 && !uv_is_closing((uv_handle_t *)poll))
        sttp__libuv_start(poll);
}

static inline void sttp__libuv_free(uv_handle_t *poll)
{
    free(poll);
}

static inline int sttp__libuv_watch(void *context, sttp_watch *watch)
{
    uv_poll_t *poll = (uv_poll_t *)watch->handle;

    if (watch->interest == 0) {
        uv_close((uv_handle_t *)poll, sttp__libuv_free);
        return 0;
    }
    if (poll == NULL) {
        poll = (uv_poll_t *)malloc(sizeof *poll);
        if (poll == NULL)
            return -1;
        if (uv_poll_init(((sttp_libuv *)context)->_loop, poll, watch->fd) != 0) {
            free(poll);
            return -1;
        }
        poll->data = watch;
        watch->handle = poll;
    }
    return sttp__libuv_start(poll) == 0 ? 0 : -1;
}

static inline void sttp__libuv_expired(uv_timer_t *timer)
{
    sttp_async_expire(((sttp_libuv *)timer->data)->async);
}

static inline void sttp__libuv_flush(uv_timer_t *timer)
{
    sttp_async_flush(((sttp_libuv *)timer->data)->async);
}

static inline void sttp__libuv_timer(void *context, uint64_t delay)
{
    sttp_libuv *adapter = (sttp_libuv *)context;

    if (delay == UINT64_MAX)
        uv_timer_stop(&adapter->_timer);
    else
        uv_timer_start(&adapter->_timer, sttp__libuv_expired, (delay + 999) / 1000, 0);
}

static inline void sttp__libuv_soon(void *context)
{
    uv_timer_start(&((sttp_libuv *)context)->_soon, sttp__libuv_flush, 0, 0);
}

static inline void sttp__libuv_closed(uv_handle_t *handle)
{
    sttp_libuv *adapter = (sttp_libuv *)handle->data;

    if (--adapter->_open == 0)
        free(adapter);
}

static inline void sttp__libuv_close(sttp_libuv *adapter)
{
    uv_close((uv_handle_t *)&adapter->_timer, sttp__libuv_closed);
    uv_close((uv_handle_t *)&adapter->_soon, sttp__libuv_closed);
}

/* Frees all that belongs to it, adapter->async as well. */
static inline void sttp_libuv_destroy(sttp_libuv *adapter)
{
    sttp_async *async = adapter->async;

    adapter->async = NULL;
    if (async == NULL)
        return; /* within itself */
    sttp_async_destroy(async);
    sttp__libuv_close(adapter);
}

/* Makes a client on `loop`, which runs as long as the client is there. `options` may be NULL; its
 * loop is not looked at. STTP_OK, or what sttp_async_create says; *adapter is NULL then. */
static inline sttp_status sttp_libuv_create(sttp_libuv **adapter, uv_loop_t *loop,
                                            const sttp_async_options *options)
{
    sttp_libuv *made = (sttp_libuv *)calloc(1, sizeof *made);
    const sttp_loop own_loop = {sttp__libuv_watch, sttp__libuv_timer, sttp__libuv_soon, made};
    sttp_async_options own = {sizeof own, NULL, own_loop, NULL, NULL};
    sttp_status status;

    *adapter = NULL;
    if (made == NULL)
        return STTP_ERR_MEMORY;
    if (options != NULL)
        own = *options;
    own.loop = own_loop;
    made->_loop = loop;
    made->_open = 2;
    uv_timer_init(loop, &made->_timer);
    uv_timer_init(loop, &made->_soon);
    made->_timer.data = made->_soon.data = made;
    status = sttp_async_create(&own, &made->async);
    if (status == STTP_OK)
        *adapter = made;
    else
        sttp__libuv_close(made);
    return status;
}

#endif
