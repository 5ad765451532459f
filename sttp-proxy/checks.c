#include "sttp-proxy/checks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event.h>

#include <sttp/proxy_header.h>
#include <sttp/server.h>

#include "sttp-proxy/failure.h"

struct check {
    struct checks *checks;
    struct upstream *upstream;
    struct event *timer;
    sttp_pool *pool; /* NULL where none is under way */
};

/* Apart from each other by up to a tenth, so that many proxies do not ask at the same moment. */
static void wait_for_next(struct check *check)
{
    unsigned interval = (unsigned)check->upstream->group->check_interval;
    unsigned wait = interval - arc4random_uniform(interval / 10 + 1);
    struct timeval delay = {.tv_sec = wait / 1000, .tv_usec = (suseconds_t)(wait % 1000) * 1000};

    event_add(check->timer, &delay);
}

static bool is_same(sttp_slice a, sttp_slice b)
{
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

/* A server that has an answer of 500 for its root is not well. */
static health_result result_of(const sttp_response *response, const sttp_error *error)
{
    if (response == NULL) {
        struct failure failure = failure_of(error);
        return failure.tells ? failure.result : HEALTH_TIMEOUT;
    }
    if (response->code == STTP_CODE_SERVER_ERROR &&
        !is_same(response->message, STTP_SLICE("proxy loop")))
        return HEALTH_INVALID;
    return HEALTH_OK;
}

/* A check that finds no memory or no descriptor says nothing of the upstream. */
static bool says_something(const sttp_error *error)
{
    enum proxy_count count = failure_of(error).count;

    return count != COUNT_MEMORY && count != COUNT_DESCRIPTORS;
}

static void note(struct check *check, health_result result)
{
    health_change change = health_check(check->upstream->health, result, sttp_server_now());

    if (change != HEALTH_SAME)
        proxy_log_health(check->checks->proxy, check->upstream, change);
}

static void done(void *context, const sttp_response *response, const sttp_error *error)
{
    struct check *check = context;

    if (response == NULL && error->status == STTP_ERR_CANCELLED)
        return;
    if (response != NULL || says_something(error))
        note(check, result_of(response, error));
    sttp_pool_destroy(check->pool);
    check->pool = NULL;
    wait_for_next(check);
}

static sttp_status ask(struct check *check)
{
    const struct upstream *upstream = check->upstream;
    unsigned timeout = (unsigned)upstream->group->check_timeout;
    char header[STTP_PROXY_HEADER_ROOM];
    sttp_request request = {
        .action = STTP_ACTION_LIST, .path = STTP_SLICE("/"), .query = STTP_SLICE("limit=1")};
    sttp_pool_options options = {
        .size = sizeof options,
        .host = upstream->destination.host,
        .port = upstream->destination.port,
        .socket_path =
            upstream->destination.socket_path[0] != '\0' ? upstream->destination.socket_path : NULL,
        .max_connections = 1,
        .connect_timeout_ms = timeout,
        .queue_timeout_ms = timeout,
        .request_timeout_ms = timeout,
        .total_timeout_ms = timeout,
    };

    if (upstream->sends_hops) {
        options.preamble = header;
        options.preamble_size = sttp_proxy_header_write(header, NULL, NULL, 1);
    }
    sttp_status status = sttp_pool_create(check->checks->loop.async, &options, &check->pool);
    if (status == STTP_OK)
        status = sttp_pool_request(check->pool, &request, done, check, NULL);
    return status;
}

static void begin(evutil_socket_t fd, short what, void *argument)
{
    struct check *check = argument;

    (void)fd, (void)what;
    if (ask(check) == STTP_OK)
        return;
    sttp_pool_destroy(check->pool);
    check->pool = NULL;
    wait_for_next(check);
}

static void stop(evutil_socket_t fd, short what, void *argument)
{
    struct checks *checks = argument;

    (void)fd, (void)what;
    event_base_loopbreak(checks->base);
}

static void *run(void *argument)
{
    struct checks *checks = argument;

    event_base_dispatch(checks->base);
    return NULL;
}

/* ---- life ---- */

static void release(struct checks *checks)
{
    if (checks->loop.async != NULL)
        sttp_libevent_destroy(&checks->loop);
    for (size_t i = 0; i < checks->count; i++)
        if (checks->items[i].timer != NULL)
            event_free(checks->items[i].timer);
    if (checks->stop != NULL)
        event_free(checks->stop);
    if (checks->stop_fd >= 0)
        close(checks->stop_fd);
    if (checks->base != NULL)
        event_base_free(checks->base);
    free(checks->items);
    checks->base = NULL;
}

static bool add(struct checks *checks, struct upstream *upstream)
{
    static const struct timeval at_once = {0, 0};
    struct check *check = &checks->items[checks->count++];

    *check = (struct check){.checks = checks, .upstream = upstream};
    check->timer = evtimer_new(checks->base, begin, check);
    return check->timer != NULL && event_add(check->timer, &at_once) == 0;
}

static bool add_all(struct checks *checks)
{
    struct proxy *proxy = checks->proxy;

    for (size_t i = 0; i < proxy->group_count; i++) {
        struct group *group = &proxy->groups[i];
        for (size_t k = 0; k < group->count && group->check_interval > 0; k++)
            if (!add(checks, &group->upstreams[k]))
                return false;
    }
    return true;
}

static bool create(struct checks *checks)
{
    sttp_async_options options = {.size = sizeof options,
                                  .dns_servers = checks->proxy->options->dns_servers};

    checks->items = calloc((size_t)checks->proxy->upstream_count + 1, sizeof *checks->items);
    checks->base = event_base_new();
    checks->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (checks->items == NULL || checks->base == NULL || checks->stop_fd < 0 ||
        sttp_libevent_create(&checks->loop, checks->base, &options) != STTP_OK)
        return false;
    checks->stop = event_new(checks->base, checks->stop_fd, EV_READ, stop, checks);
    return checks->stop != NULL && event_add(checks->stop, NULL) == 0 && add_all(checks);
}

bool checks_start(struct checks *checks, struct proxy *proxy)
{
    *checks = (struct checks){.proxy = proxy, .stop_fd = -1};
    errno = ENOMEM;
    if (create(checks)) {
        errno = pthread_create(&checks->thread, NULL, run, checks);
        if (errno == 0)
            return true;
    }
    log_write(proxy->log, LOG_LEVEL_ERROR, "cannot start the health checks: %m");
    release(checks);
    return false;
}

void checks_stop(struct checks *checks)
{
    const uint64_t one = 1;

    /* An eventfd that holds no number takes any. */
    (void)!write(checks->stop_fd, &one, sizeof one);
    pthread_join(checks->thread, NULL);
    release(checks);
}
