/* A connection is made anew when it was lost, later each time that it fails; by chance a bit more
 * or less, so that workers and servers do not come all together. It is used once PING was answered:
 * the kernel accepts connections also for a Redis that hangs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <sttp/server.h>

#include "sttpd/redis_private.h"

enum { FIRST_PAUSE = 100, LONGEST_PAUSE = 5000, START_TIMEOUT = 1000 }; /* milliseconds */

bool redis_link_arm(redis_link *link, uint64_t at)
{
    uint64_t now = sttp_server_now();
    uint64_t delay = at > now ? at - now : 1;
    struct timeval time = {.tv_sec = (time_t)(delay / 1000),
                           .tv_usec = (suseconds_t)(delay % 1000 * 1000)};

    if (link->timer_at != 0 && link->timer_at <= at)
        return true;
    if (event_add(link->timer, &time) != 0)
        return false;
    link->timer_at = at;
    return true;
}

/* ---- failure ---- */

static uint64_t draw_pause(redis_link *link)
{
    unsigned doubled = link->failures < 6 ? link->failures : 6;
    uint64_t pause = (uint64_t)FIRST_PAUSE << doubled;

    link->random = link->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    pause = pause < LONGEST_PAUSE ? pause : LONGEST_PAUSE;
    return pause / 2 + (link->random >> 33) % pause;
}

static void free_event(struct event **event)
{
    if (*event != NULL)
        event_free(*event);
    *event = NULL;
}

/* All of the connection goes. */
static void drop(redis_link *link)
{
    free_event(&link->readable);
    free_event(&link->writable);
    if (link->fd != -1)
        close(link->fd);
    link->fd = -1;
    redis_input_close(&link->input);
    link->output_size = link->output_sent = 0;
    link->state = REDIS_DOWN;
    atomic_store(&link->takes_values, false);
    redis_forget(link);
}

void redis_link_fail(redis_link *link, const char *reason)
{
    drop(link);
    redis_tell_away(link->client, reason);
    event_del(link->timer);
    link->timer_at = 0;
    /* Where that fails, redis_link_revive does it later. */
    (void)redis_link_arm(link, sttp_server_now() + draw_pause(link));
    link->failures++;
}

void redis_link_revive(redis_link *link)
{
    if (link->state == REDIS_DOWN && link->timer_at == 0)
        (void)redis_link_arm(link, sttp_server_now());
}

void redis_link_is_up(redis_link *link)
{
    link->state = REDIS_UP;
    link->failures = 0;
    atomic_store(&link->takes_values, true);
    redis_tell_back(link->client);
}

/* ---- connecting ---- */

static void on_readable(evutil_socket_t fd, short events, void *context)
{
    (void)fd, (void)events;
    redis_receive(context);
}

static void on_writable(evutil_socket_t fd, short events, void *context)
{
    (void)fd, (void)events;
    redis_send(context);
}

static bool watch(redis_link *link)
{
    link->readable = event_new(link->base, link->fd, EV_READ | EV_PERSIST, on_readable, link);
    link->writable = event_new(link->base, link->fd, EV_WRITE, on_writable, link);
    return link->readable != NULL && link->writable != NULL && redis_input_open(&link->input) &&
           event_add(link->readable, NULL) == 0 && event_add(link->writable, NULL) == 0;
}

/* PING waits to be sent until the socket is connected, and so tells whether it is. */
static void start(redis_link *link)
{
    static const char ping[] = "*1\r\n$4\r\nPING\r\n";
    char reason[128];

    link->fd = redis_connect(link->client);
    if (link->fd == -1) {
        snprintf(reason, sizeof reason, "cannot connect: %s", strerrordesc_np(errno));
        redis_link_fail(link, reason);
        return;
    }
    link->state = REDIS_STARTING;
    link->since = sttp_server_now();
    if (!watch(link) || !redis_say(link, ping, sizeof ping - 1, NULL, false) ||
        !redis_link_arm(link, link->since + START_TIMEOUT))
        redis_link_fail(link, "cannot connect: out of memory");
}

static void on_time(evutil_socket_t fd, short events, void *context)
{
    redis_link *link = context;
    uint64_t now = sttp_server_now();

    (void)fd, (void)events;
    link->timer_at = 0;
    if (link->state == REDIS_DOWN)
        start(link);
    else if (link->state == REDIS_UP)
        redis_expire(link, now);
    else if (now >= link->since + START_TIMEOUT)
        redis_link_fail(link, "it does not answer");
    else if (!redis_link_arm(link, link->since + START_TIMEOUT))
        redis_link_fail(link, "cannot connect: out of memory");
}

static void on_flush(evutil_socket_t fd, short events, void *context)
{
    (void)fd, (void)events;
    redis_send(context);
}

static void on_wake(evutil_socket_t fd, short events, void *context)
{
    uint64_t count;

    (void)events;
    if (read(fd, &count, sizeof count) == sizeof count)
        redis_take_posted(context);
}

/* ---- life ---- */

static bool make_events(redis_link *link)
{
    link->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (link->wake_fd == -1)
        return false;
    link->wake = event_new(link->base, link->wake_fd, EV_READ | EV_PERSIST, on_wake, link);
    link->timer = event_new(link->base, -1, 0, on_time, link);
    link->flush = event_new(link->base, -1, 0, on_flush, link);
    return link->wake != NULL && link->timer != NULL && link->flush != NULL &&
           event_add(link->wake, NULL) == 0;
}

static void free_events(redis_link *link)
{
    free_event(&link->wake);
    free_event(&link->timer);
    free_event(&link->flush);
    if (link->wake_fd != -1)
        close(link->wake_fd);
    link->wake_fd = -1;
}

redis_link *redis_link_open(redis *client, struct event_base *base)
{
    redis_link *link = calloc(1, sizeof *link);

    if (link == NULL)
        return NULL;
    *link = (redis_link){.client = client,
                         .base = base,
                         .thread = pthread_self(),
                         .fd = -1,
                         .random = (uint64_t)(uintptr_t)link ^ sttp_server_now()};
    link->posted_end = &link->posted;
    if (!make_events(link)) {
        free_events(link);
        free(link);
        return NULL;
    }
    pthread_mutex_init(&link->lock, NULL);
    pthread_mutex_lock(&client->lock);
    link->next = client->links;
    client->links = link;
    pthread_mutex_unlock(&client->lock);
    start(link);
    return link;
}

void redis_link_close(redis_link *link)
{
    pthread_mutex_lock(&link->lock);
    link->is_closed = true;
    pthread_mutex_unlock(&link->lock);
    drop(link);
    redis_take_posted(link);
    free_events(link);
    free(link->output);
    free(link->expected);
    link->output = NULL;
    link->expected = NULL;
}
