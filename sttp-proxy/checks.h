/* Active health checks: each upstream is asked again and again, on a thread of their own, and what
 * comes of it is noted in its health. A check is a whole conversation: a connection, and a LIST of
 * one name in the root. Whoever answers as STTP does is up, but with a 500: unless that says that
 * the way to it is a loop, which is for the clients to be told. */
#ifndef STTP_PROXY_CHECKS_H
#define STTP_PROXY_CHECKS_H

#include <pthread.h>

#include <sttp/adapters/libevent.h>

#include "sttp-proxy/proxy.h"

struct check;

struct checks {
    struct proxy *proxy;
    struct event_base *base;
    sttp_libevent loop;
    struct event *stop; /* by `stop_fd` */
    int stop_fd;
    struct check *items;
    size_t count;
    pthread_t thread;
};

/* Begins the checks that the settings ask for. False, with a line in the log, where that fails. */
bool checks_start(struct checks *checks, struct proxy *proxy);

/* Ends them, after checks_start has returned true. */
void checks_stop(struct checks *checks);

#endif
