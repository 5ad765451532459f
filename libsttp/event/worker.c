/* A worker: one thread, one event base, the connections that it has accepted.
 *
 * Timeouts. Each kind has one length, so each has a list in which connections stand in the order of
 * their expiry; setting a timeout is to move to the end of a list. One timer serves all lists and
 * the other dates of the worker. It is set for the earliest date known when it was set and not
 * moved when that date moves away: it fires, finds nothing to do, and is set anew. It is a
 * descriptor: libevent reads the clock twice for each wait while it has a timer of its own.
 *
 * Work that is left over, or that comes from elsewhere than the connection's socket, puts the
 * connection in the list of the runnable ones, which run after the loop has looked at the sockets.
 *
 * Where the program has events of its own on the loop, what they answer comes from a socket, too:
 * it is sent before the loop looks again, when all events that are active have been called. */
#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "engine.h"
#include "memory.h"

enum {
    RUNS_PER_TURN = 8,
    LINGER_IDLE = 5000,    /* milliseconds without a byte from the peer */
    LINGER_STOPPING = 1000 /* the same when the server stops */
};

/* ---- time ---- */

void sttp__worker_tick(struct sttp__worker *worker)
{
    worker->now = sttp__server_now();
}

/* Not inlined: a run almost never does. */
__attribute__((noinline)) static void set_timer(struct sttp__worker *worker, uint64_t at)
{
    uint64_t delay = at > worker->now ? at - worker->now : 1;
    struct itimerspec once = {
        .it_value = {.tv_sec = (time_t)(delay / 1000), .tv_nsec = (long)(delay % 1000 * 1000000)}};
    timerfd_settime(worker->timer_fd, 0, &once, NULL);
    worker->timer_at = at;
}

void sttp__worker_arm(struct sttp__worker *worker, uint64_t at)
{
    if (worker->timer_at == 0 || at < worker->timer_at)
        set_timer(worker, at);
}

/* Tells the other workers since when the first connection is under a timeout: how good it is to be
 * closed. What has not changed is not written, and stays in their caches. */
static void publish_first(struct sttp__worker *worker, enum sttp__timeout timeout)
{
    const struct sttp__connection *first = TAILQ_FIRST(&worker->by_timeout[timeout]);
    uint64_t since = first == NULL ? UINT64_MAX : first->since;
    atomic_uint_fast64_t *place = &worker->first_since[timeout];
    if (atomic_load_explicit(place, memory_order_relaxed) != since)
        atomic_store_explicit(place, since, memory_order_relaxed);
}

static void enter_timeout(struct sttp__connection *connection, enum sttp__timeout timeout)
{
    struct sttp__worker *worker = connection->worker;
    connection->timeout = timeout;
    connection->since = worker->now;
    TAILQ_INSERT_TAIL(&worker->by_timeout[timeout], connection, in_timeouts);
    if (timeout != STTP__TIMEOUT_NONE)
        sttp__worker_arm(worker, worker->now + worker->timeouts[timeout]);
    publish_first(worker, timeout);
}

static void leave_timeout(struct sttp__connection *connection)
{
    struct sttp__worker *worker = connection->worker;
    TAILQ_REMOVE(&worker->by_timeout[connection->timeout], connection, in_timeouts);
    publish_first(worker, connection->timeout);
}

/* The same timeout anew. The timer needs no look: it is not set for later than the list's first. */
static void renew_timeout(struct sttp__connection *connection)
{
    struct sttp__worker *worker = connection->worker;
    struct sttp__connections *list = &worker->by_timeout[connection->timeout];
    bool was_first = TAILQ_FIRST(list) == connection;
    connection->since = worker->now;
    if (TAILQ_NEXT(connection, in_timeouts) != NULL) {
        TAILQ_REMOVE(list, connection, in_timeouts);
        TAILQ_INSERT_TAIL(list, connection, in_timeouts);
    }
    if (was_first)
        publish_first(worker, connection->timeout);
}

void sttp__worker_set_timeout(struct sttp__connection *connection, enum sttp__timeout timeout,
                              bool restart)
{
    if (connection->timeout != timeout) {
        leave_timeout(connection);
        enter_timeout(connection, timeout);
    } else if (restart) {
        renew_timeout(connection);
    }
}

static void expire(struct sttp__worker *worker, enum sttp__timeout timeout)
{
    struct sttp__connection *first;
    while ((first = TAILQ_FIRST(&worker->by_timeout[timeout])) != NULL &&
           worker->now - first->since >= worker->timeouts[timeout])
        sttp__connection_expire(first);
    if (first != NULL)
        sttp__worker_arm(worker, first->since + worker->timeouts[timeout]);
}

/* ---- the set of connections ---- */

void sttp__worker_add(struct sttp__connection *connection)
{
    connection->worker->connections++;
    enter_timeout(connection, STTP__TIMEOUT_IDLE);
}

static void unschedule(struct sttp__connection *connection)
{
    struct sttp__worker *worker = connection->worker;
    TAILQ_REMOVE(&worker->runnable, connection, in_runnable);
    worker->runnable_count--;
    connection->runnable = false;
}

static void leave_if_empty(struct sttp__worker *worker)
{
    if (worker->stopping && worker->connections == 0)
        event_base_loopbreak(worker->base);
}

void sttp__worker_remove(struct sttp__connection *connection)
{
    struct sttp__worker *worker = connection->worker;
    leave_timeout(connection);
    if (connection->runnable)
        unschedule(connection);
    worker->connections--;
    leave_if_empty(worker);
}

/* ---- the runnable ---- */

/* A timer of no length, and not an active event: the loop looks at the sockets first. */
static void run_later(struct sttp__worker *worker)
{
    struct timeval none = {0};
    if (!event_pending(&worker->run, EV_TIMEOUT, NULL))
        event_add(&worker->run, &none);
}

void sttp__worker_run_soon(struct sttp__worker *worker)
{
    event_active(&worker->run, EV_TIMEOUT, 0);
}

/* Not inlined: most answers are given within a run, which needs none. */
__attribute__((noinline)) static void arm_run(struct sttp__worker *worker)
{
    if (worker->program != NULL)
        sttp__worker_run_soon(worker);
    else
        run_later(worker);
}

void sttp__worker_schedule(struct sttp__connection *connection)
{
    struct sttp__worker *worker = connection->worker;
    if (connection->runnable)
        return;
    connection->runnable = true;
    TAILQ_INSERT_TAIL(&worker->runnable, connection, in_runnable);
    worker->runnable_count++;
    if (!worker->collecting)
        arm_run(worker);
}

/* Runs some, each once. The others wait for the next time, and so do those that come back to the
 * list: many changes may have become durable together, and the sockets have their turn meanwhile.
 * What the program's own events have answered goes at once. */
static void run_some(struct sttp__worker *worker)
{
    worker->collecting = true;
    struct sttp__connection *first;
    unsigned left = worker->runnable_count;
    if (left > RUNS_PER_TURN && worker->program == NULL)
        left = RUNS_PER_TURN;
    for (; left > 0 && (first = TAILQ_FIRST(&worker->runnable)) != NULL; left--) {
        unschedule(first);
        sttp__connection_run(first);
    }
    worker->collecting = false;
    if (!TAILQ_EMPTY(&worker->runnable))
        run_later(worker);
}

static void on_run(evutil_socket_t fd, short what, void *argument)
{
    struct sttp__worker *worker = argument;
    (void)fd;
    (void)what;
    worker->collecting = true;
    sttp__run_ready(worker);
    sttp__worker_tick(worker);
    run_some(worker);
}

/* ---- stopping ---- */

static void begin_stop(struct sttp__worker *worker)
{
    sttp__acceptors_stop(worker);
    worker->stopping = true;
    worker->timeouts[STTP__TIMEOUT_LINGER] = LINGER_STOPPING;
    for (int i = 0; i < STTP__TIMEOUTS; i++) {
        struct sttp__connection *connection = TAILQ_FIRST(&worker->by_timeout[i]);
        while (connection != NULL) {
            struct sttp__connection *next = TAILQ_NEXT(connection, in_timeouts);
            sttp__connection_stop(connection);
            connection = next;
        }
    }
    sttp__worker_arm(worker, worker->now + LINGER_STOPPING);
    leave_if_empty(worker);
}

void sttp__worker_cut(struct sttp__worker *worker)
{
    sttp__acceptors_stop(worker);
    worker->stopping = true;
    for (int i = 0; i < STTP__TIMEOUTS; i++) {
        struct sttp__connection *connection;
        while ((connection = TAILQ_FIRST(&worker->by_timeout[i])) != NULL) {
            if (!sttp__connection_is_unfinished(connection)) {
                sttp__connection_close(connection, STTP_CLOSE_STOP);
                continue;
            }
            worker->cut = true;
            sttp__connection_reset(connection, STTP_CLOSE_STOP);
        }
    }
    leave_if_empty(worker);
}

/* Obeys sttp_server_stop; called when the worker is woken and when the timer fires. */
static void check_stop(struct sttp__worker *worker)
{
    uint64_t stop_at = atomic_load(&worker->server->stop_at);
    if (stop_at == UINT64_MAX)
        return;
    if (stop_at <= worker->now) {
        sttp__worker_cut(worker);
        return;
    }
    if (!worker->stopping)
        begin_stop(worker);
    sttp__worker_arm(worker, stop_at);
}

/* ---- events ---- */

/* Takes what makes the descriptor of a timer or of a mailbox readable. */
static void drain(int fd)
{
    uint64_t count;
    ssize_t got = read(fd, &count, sizeof count);
    (void)got;
}

static void on_timer(evutil_socket_t fd, short what, void *argument)
{
    struct sttp__worker *worker = argument;
    (void)what;
    sttp__run_ready(worker);
    sttp__worker_tick(worker);
    drain(fd);
    worker->timer_at = 0;
    for (int i = 0; i < STTP__TIMEOUT_NONE; i++)
        expire(worker, (enum sttp__timeout)i);
    if (worker->resume_at != 0 && worker->resume_at <= worker->now)
        sttp__acceptors_resume(worker);
    if (worker->resume_at != 0)
        sttp__worker_arm(worker, worker->resume_at);
    check_stop(worker);
}

static void take_messages(struct sttp__worker *worker)
{
    struct sttp__message *message = sttp__mailbox_take(worker->mailbox);
    while (message != NULL) {
        struct sttp__message *next = message->next;
        if (message->kind == STTP__MESSAGE_REPLY)
            sttp__reply_arrived((struct sttp_reply *)message);
        else
            sttp__room_message(worker, message);
        message = next;
    }
}

static void on_wake(evutil_socket_t fd, short what, void *argument)
{
    struct sttp__worker *worker = argument;
    (void)what;
    worker->collecting = true;
    sttp__run_ready(worker);
    sttp__worker_tick(worker);
    drain(fd); /* before the messages are taken: who comes later wakes again */
    take_messages(worker);
    check_stop(worker);
    run_some(worker);
    sttp__unsent_trim(worker); /* another worker may have woken this one for it */
    if (worker->taken_in > 0)
        sttp__mailbox_arrived(worker->mailbox, worker->taken_in);
    worker->taken_in = 0;
}

/* ---- life ---- */

/* libevent takes memory for a timer when it is added to a base that has not had so many before, and
 * keeps it. Added once now, it cannot fail later, when nobody could do without it. */
static bool reserve_run(struct sttp__worker *worker)
{
    const struct timeval later = {.tv_sec = 1};
    bool done = event_add(&worker->run, &later) == 0;
    event_del(&worker->run);
    return done;
}

/* What errno says of a call that has failed. */
static sttp_status failure(void)
{
    return errno == ENOMEM ? STTP_ERR_MEMORY : STTP_ERR_SYSTEM;
}

static sttp_status prepare(struct sttp__worker *worker)
{
    struct event_config *config = event_config_new();
    if (config == NULL)
        return STTP_ERR_MEMORY;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    event_config_set_flag(config, EVENT_BASE_FLAG_NO_CACHE_TIME);
    event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
    worker->base = event_base_new_with_config(config);
    event_config_free(config);
    if (worker->base == NULL)
        return failure();
    worker->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (worker->timer_fd < 0)
        return failure();
    worker->mailbox = sttp__mailbox_create(&worker->server->allocator, worker->server->on_the_way);
    if (worker->mailbox == NULL)
        return failure();
    event_assign(&worker->timer, worker->base, worker->timer_fd, EV_READ | EV_PERSIST, on_timer,
                 worker);
    event_assign(&worker->run, worker->base, -1, 0, on_run, worker);
    event_assign(&worker->wake, worker->base, worker->mailbox->wake, EV_READ | EV_PERSIST, on_wake,
                 worker);
    if (!reserve_run(worker))
        return STTP_ERR_MEMORY;
    if (event_add(&worker->timer, NULL) != 0 || event_add(&worker->wake, NULL) != 0)
        return failure();
    return STTP_OK;
}

sttp_status sttp__worker_create(struct sttp__worker *worker, sttp_server *server)
{
    *worker = (struct sttp__worker){.server = server, .timer_fd = -1};
    worker->pool.allocator = &server->allocator;
    worker->timeouts[STTP__TIMEOUT_IDLE] = server->options.idle_timeout;
    worker->timeouts[STTP__TIMEOUT_REQUEST] = server->options.request_timeout;
    worker->timeouts[STTP__TIMEOUT_SEND] = server->options.send_timeout;
    worker->timeouts[STTP__TIMEOUT_LINGER] = LINGER_IDLE;
    for (int i = 0; i < STTP__TIMEOUTS; i++) {
        TAILQ_INIT(&worker->by_timeout[i]);
        atomic_init(&worker->first_since[i], UINT64_MAX);
    }
    TAILQ_INIT(&worker->runnable);
    sttp_status status = prepare(worker);
    if (status != STTP_OK) {
        int error = errno;
        sttp__worker_destroy(worker);
        errno = error;
    }
    return status;
}

void sttp__worker_destroy(struct sttp__worker *worker)
{
    sttp__acceptors_destroy(worker);
    if (worker->base != NULL) {
        if (worker->mailbox != NULL) {
            event_del(&worker->timer);
            event_del(&worker->run);
            event_del(&worker->wake);
        }
        event_base_free(worker->base);
    }
    if (worker->timer_fd >= 0)
        close(worker->timer_fd);
    sttp__mailbox_release(worker->mailbox);
    sttp__pool_clear(&worker->pool);
    while (worker->free_replies != NULL) {
        struct sttp_reply *reply = worker->free_replies;
        worker->free_replies = reply->next;
        sttp__release(&worker->server->allocator, reply);
    }
}
