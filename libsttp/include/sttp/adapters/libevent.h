/* <sttp/async.h> on libevent, Linux: link libevent_core beside sttp-event.
 *
 *     sttp_libevent adapter;
 *     if (sttp_libevent_create(&adapter, base, NULL) != STTP_OK) ...
 *     sttp_pool_create(adapter.async, ...);
 *     ...
 *     sttp_libevent_destroy(&adapter); // before event_base_free; in any callback, too */
#ifndef STTP_ADAPTERS_LIBEVENT_H
#define STTP_ADAPTERS_LIBEVENT_H

#include <event2/event.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <sttp/async.h>

/* The program's, which must stay where it is until it is destroyed. */
typedef struct sttp_libevent {
    sttp_async *async;
    struct event_base *_base;
    int _fd; /* a timer: libevent reads no clock for it, and setting it cannot fail */
    struct event *_timer;
    struct event *_soon;
} sttp_libevent;

static inline void sttp__libevent_ready(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    sttp_async_ready((sttp_watch *)context, ((what & EV_READ) ? STTP_READABLE : 0) |
                                                ((what & EV_WRITE) ? STTP_WRITABLE : 0));
}

static inline void sttp__libevent_expired(evutil_socket_t fd, short what, void *context)
{
    uint64_t times;

    (void)what;
    if (read(fd, &times, sizeof times) == (ssize_t)sizeof times)
        sttp_async_expire(((sttp_libevent *)context)->async);
}

static inline void sttp__libevent_flush(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    sttp_async_flush(((sttp_libevent *)context)->async);
}

static inline int sttp__libevent_watch(void *context, sttp_watch *watch)
{
    struct event *made = NULL;
    short what = (short)(((watch->interest & STTP_READABLE) ? EV_READ : 0) |
                         ((watch->interest & STTP_WRITABLE) ? EV_WRITE : 0));

    if (what != 0) {
        made = event_new(((sttp_libevent *)context)->_base, watch->fd, (short)(what | EV_PERSIST),
                         sttp__libevent_ready, watch);
        if (made == NULL || event_add(made, NULL) != 0) {
            if (made != NULL)
                event_free(made);
            return -1;
        }
    }
    if (watch->handle != NULL)
        event_free((struct event *)watch->handle);
    watch->handle = made;
    return 0;
}

static inline void sttp__libevent_timer(void *context, uint64_t delay)
{
    struct itimerspec after = {{0, 0}, {0, 0}}; /* not at all */

    if (delay != UINT64_MAX) {
        after.it_value.tv_sec = (time_t)(delay / 1000000);
        after.it_value.tv_nsec = (long)(delay % 1000000) * 1000 + 1;
    }
    timerfd_settime(((sttp_libevent *)context)->_fd, 0, &after, NULL);
}

static inline void sttp__libevent_soon(void *context)
{
    event_active(((sttp_libevent *)context)->_soon, EV_TIMEOUT, 0);
}

static inline void sttp__libevent_free(sttp_libevent *adapter)
{
    if (adapter->_timer != NULL)
        event_free(adapter->_timer);
    if (adapter->_soon != NULL)
        event_free(adapter->_soon);
    close(adapter->_fd);
}

/* Frees all that belongs to it, adapter->async as well. */
static inline void sttp_libevent_destroy(sttp_libevent *adapter)
{
    sttp_async *async = adapter->async;

    adapter->async = NULL;
    if (async == NULL)
        return; /* within itself */
    sttp_async_destroy(async);
    sttp__libevent_free(adapter);
}

/* Makes a client on `base`. `options` may be NULL; its loop is not looked at. STTP_OK, or what
 * sttp_async_create says, or STTP_ERR_SYSTEM: then nothing is to be destroyed. */
static inline sttp_status sttp_libevent_create(sttp_libevent *adapter, struct event_base *base,
                                               const sttp_async_options *options)
{
    sttp_async_options own = {sizeof own, NULL, {NULL, NULL, NULL, NULL}, NULL, NULL};
    const sttp_loop loop = {sttp__libevent_watch, sttp__libevent_timer, sttp__libevent_soon,
                            adapter};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    sttp_status status = STTP_ERR_MEMORY;

    if (fd < 0)
        return STTP_ERR_SYSTEM;
    if (options != NULL)
        own = *options;
    own.loop = loop;
    adapter->async = NULL;
    adapter->_base = base;
    adapter->_fd = fd;
    adapter->_timer = event_new(base, fd, EV_READ | EV_PERSIST, sttp__libevent_expired, adapter);
    adapter->_soon = event_new(base, -1, 0, sttp__libevent_flush, adapter);
    if (adapter->_timer != NULL && adapter->_soon != NULL && event_add(adapter->_timer, NULL) == 0)
        status = sttp_async_create(&own, &adapter->async);
    if (status != STTP_OK)
        sttp__libevent_free(adapter);
    return status;
}

#endif
