/* <sttp/async.h> on poll, for a program that has no other loop.
 *
 *     sttp_poll adapter;
 *     if (sttp_poll_create(&adapter, NULL) != STTP_OK) ...
 *     sttp_pool_create(adapter.async, ...);
 *     while (!done)
 *         sttp_poll_run(&adapter, -1);
 *     sttp_poll_destroy(&adapter); // in any callback, too */
#ifndef STTP_ADAPTERS_POLL_H
#define STTP_ADAPTERS_POLL_H

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>

#include <sttp/async.h>

/* The program's, which must stay where it is until it is destroyed. */
typedef struct sttp_poll {
    sttp_async *async;
    sttp_watch **_watches;
    struct pollfd *_polled; /* beside them */
    size_t _count;
    size_t _capacity;
    uint64_t _expires; /* microseconds of CLOCK_MONOTONIC */
    bool _soon;
} sttp_poll;

static inline uint64_t sttp__poll_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static inline bool sttp__poll_grow(sttp_poll *adapter)
{
    size_t capacity = 2 * adapter->_capacity + 8;
    sttp_watch **watches = (sttp_watch **)realloc(adapter->_watches, capacity * sizeof *watches);
    struct pollfd *polled;

    if (watches == NULL)
        return false;
    adapter->_watches = watches;
    polled = (struct pollfd *)realloc(adapter->_polled, capacity * sizeof *polled);
    if (polled == NULL)
        return false;
    adapter->_polled = polled;
    adapter->_capacity = capacity;
    return true;
}

/* One that is forgotten leaves an empty place, which sttp_poll_run removes. */
static inline int sttp__poll_watch(void *context, sttp_watch *watch)
{
    sttp_poll *adapter = (sttp_poll *)context;
    size_t at = 0;

    while (at < adapter->_count && adapter->_watches[at] != watch)
        at++;
    if (at == adapter->_count && at == adapter->_capacity && !sttp__poll_grow(adapter))
        return -1;
    adapter->_count += at == adapter->_count;
    adapter->_watches[at] = watch->interest != 0 ? watch : NULL;
    return 0;
}

static inline void sttp__poll_timer(void *context, uint64_t delay)
{
    ((sttp_poll *)context)->_expires = delay == UINT64_MAX ? delay : sttp__poll_now() + delay;
}

static inline void sttp__poll_soon(void *context)
{
    ((sttp_poll *)context)->_soon = true;
}

/* Removes empty places and fills the array that poll takes; returns how long it may wait. */
static inline int sttp__poll_prepare(sttp_poll *adapter, int wait)
{
    uint64_t now = sttp__poll_now();
    uint64_t left = adapter->_expires > now ? (adapter->_expires - now + 999) / 1000 : 0;
    size_t count = 0;

    for (size_t i = 0; i < adapter->_count; i++) {
        sttp_watch *watch = adapter->_watches[i];

        if (watch == NULL)
            continue;
        adapter->_watches[count] = watch;
        adapter->_polled[count].fd = watch->fd;
        adapter->_polled[count++].events =
            (short)(((watch->interest & STTP_READABLE) ? POLLIN : 0) |
                    ((watch->interest & STTP_WRITABLE) ? POLLOUT : 0));
    }
    adapter->_count = count;
    if (adapter->_soon)
        return 0;
    if (left > INT_MAX)
        return wait;
    return wait < 0 || left < (uint64_t)wait ? (int)left : wait;
}

/* Waits until something is ready, but at most so many milliseconds (-1: without a limit), and has
 * done what there is to do. -1 where poll fails, see errno; to be interrupted is no failure. */
static inline int sttp_poll_run(sttp_poll *adapter, int wait)
{
    const short bad = POLLERR | POLLHUP | POLLNVAL;
    int timeout = sttp__poll_prepare(adapter, wait);
    size_t count = adapter->_count;
    int ready = poll(adapter->_polled, count, timeout);

    if (ready < 0 && errno != EINTR)
        return -1;
    for (size_t i = 0; ready > 0 && adapter->async != NULL && i < count; i++) {
        short got = adapter->_polled[i].revents;

        if (got != 0 && adapter->_watches[i] != NULL)
            sttp_async_ready(adapter->_watches[i],
                             ((got & (POLLIN | bad)) ? STTP_READABLE : 0) |
                                 ((got & (POLLOUT | bad)) ? STTP_WRITABLE : 0));
    }
    if (adapter->async != NULL && sttp__poll_now() >= adapter->_expires) {
        adapter->_expires = UINT64_MAX;
        sttp_async_expire(adapter->async);
    }
    if (adapter->async != NULL && adapter->_soon) {
        adapter->_soon = false;
        sttp_async_flush(adapter->async);
    }
    return 0;
}

/* Frees all that belongs to it, adapter->async as well. */
static inline void sttp_poll_destroy(sttp_poll *adapter)
{
    sttp_async *async = adapter->async;

    adapter->async = NULL;
    if (async == NULL)
        return; /* within itself */
    sttp_async_destroy(async);
    free(adapter->_watches);
    free(adapter->_polled);
}

/* Makes a client. `options` may be NULL; its loop is not looked at. STTP_OK, or what
 * sttp_async_create says: then there is nothing to be destroyed. */
static inline sttp_status sttp_poll_create(sttp_poll *adapter, const sttp_async_options *options)
{
    const sttp_loop loop = {sttp__poll_watch, sttp__poll_timer, sttp__poll_soon, adapter};
    sttp_async_options own = {sizeof own, NULL, loop, NULL, NULL};

    if (options != NULL)
        own = *options;
    own.loop = loop;
    adapter->_watches = NULL;
    adapter->_polled = NULL;
    adapter->_count = adapter->_capacity = 0;
    adapter->_expires = UINT64_MAX;
    adapter->_soon = false;
    return sttp_async_create(&own, &adapter->async);
}

#endif
