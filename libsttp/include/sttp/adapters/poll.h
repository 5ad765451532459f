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
    sttp_watch **_watches; /* NULL: a free place */
    struct pollfd *_polled;
    size_t _count;
    uint64_t _expires; /* microseconds of CLOCK_MONOTONIC */
    bool _soon;
} sttp_poll;

static inline uint64_t sttp__poll_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static inline int sttp__poll_grow(sttp_poll *a)
{
    size_t size = (a->_count + 1) * sizeof *a->_watches;
    sttp_watch **watches = (sttp_watch **)realloc(a->_watches, size);
    struct pollfd *polled;

    if (watches != NULL)
        a->_watches = watches;
    polled = (struct pollfd *)realloc(a->_polled, (a->_count + 1) * sizeof *polled);
    if (polled != NULL)
        a->_polled = polled;
    if (watches == NULL || polled == NULL)
        return -1;
    a->_watches[a->_count++] = NULL;
    return 0;
}

static inline int sttp__poll_watch(void *context, sttp_watch *watch)
{
    sttp_poll *a = (sttp_poll *)context;
    sttp_watch *wanted = watch->handle != NULL ? watch : NULL; /* its place, or a free one */
    size_t at = 0;

    while (at < a->_count && a->_watches[at] != wanted)
        at++;
    if (at == a->_count && sttp__poll_grow(a) != 0)
        return -1;
    watch->handle = a;
    a->_watches[at] = watch->interest != 0 ? watch : NULL;
    a->_polled[at].fd = watch->interest != 0 ? watch->fd : -1;
    a->_polled[at].events = (short)(((watch->interest & STTP_READABLE) ? POLLIN : 0) |
                                    ((watch->interest & STTP_WRITABLE) ? POLLOUT : 0));
    a->_polled[at].revents = 0;
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

/* Waits until something is ready, but at most so many milliseconds (-1: without a limit), and has
 * done what there is to do. -1 where poll fails, see errno; to be interrupted is no failure. */
static inline int sttp_poll_run(sttp_poll *a, int wait)
{
    const short bad = POLLERR | POLLHUP | POLLNVAL;
    uint64_t now = sttp__poll_now();
    uint64_t left = a->_expires > now ? (a->_expires - now + 999) / 1000 : 0;
    size_t count = a->_count;

    if (a->_soon)
        wait = 0;
    else if (left < INT_MAX && (wait < 0 || left < (uint64_t)wait))
        wait = (int)left;
    if (poll(a->_polled, count, wait) < 0 && errno != EINTR)
        return -1;
    for (size_t i = 0; a->async != NULL && i < count; i++) {
        short got = a->_polled[i].revents;

        a->_polled[i].revents = 0;
        if (got != 0 && a->_watches[i] != NULL)
            sttp_async_ready(a->_watches[i], ((got & (POLLIN | bad)) ? STTP_READABLE : 0) |
                                                 ((got & (POLLOUT | bad)) ? STTP_WRITABLE : 0));
    }
    if (a->async != NULL && sttp__poll_now() >= a->_expires) {
        a->_expires = UINT64_MAX;
        sttp_async_expire(a->async);
    }
    if (a->async != NULL && a->_soon) {
        a->_soon = false;
        sttp_async_flush(a->async);
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
    const sttp_poll empty = {NULL, NULL, NULL, 0, UINT64_MAX, false};
    sttp_async_options own = {sizeof own, NULL, loop, NULL, NULL};

    if (options != NULL)
        own = *options;
    own.loop = loop;
    *adapter = empty;
    return sttp_async_create(&own, &adapter->async);
}

#endif
