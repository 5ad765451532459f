/* A Redis that says what a test tells it to, on a Unix socket; and a client of it on a loop that
 * the test turns. */
#ifndef STTP_TESTS_REDIS_SERVER_H
#define STTP_TESTS_REDIS_SERVER_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <event2/event.h>

#include "core_support.h"
#include "sttpd/redis_private.h"

#define PING "*1\r\n$4\r\nPING\r\n"

static char directory[] = "/tmp/sttp-check-XXXXXX";
static char address[64];
static int listener = -1, served = -1; /* the server's sockets */
static struct event_base *base;
static redis *client;
static redis_link *link_;
static log_sink sink;
static int log_ends[2];

/* ---- the server ---- */

static inline void server_listen(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};

    snprintf(name.sun_path, sizeof name.sun_path, "%s", address + strlen("unix:"));
    unlink(name.sun_path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&name, sizeof name), 0);
    ck_assert_int_eq(listen(listener, 16), 0);
}

static inline void server_close(void)
{
    if (served != -1)
        close(served);
    served = -1;
}

static inline void say(const char *bytes, size_t size)
{
    ck_assert_int_eq(send(served, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
}

static inline void answer(const char *text)
{
    say(text, strlen(text));
}

/* What comes next is this; it may come in parts. */
static inline void expect(const char *text)
{
    char got[4096];
    size_t size = strlen(text), have = 0;

    while (have < size) {
        ssize_t more = recv(served, got + have, size - have, 0);
        ck_assert_int_gt(more, 0);
        have += (size_t)more;
    }
    ck_assert_mem_eq(got, text, size);
}

/* ---- the client ---- */

static inline void turn(void)
{
    ck_assert_int_ge(event_base_loop(base, EVLOOP_ONCE), 0);
}

static inline bool is_ready(int fd)
{
    struct pollfd waited = {.fd = fd, .events = POLLIN};

    return poll(&waited, 1, 0) == 1;
}

/* Turns the loop until the client has come and said PING. */
static inline void meet(void)
{
    while (!is_ready(listener))
        turn();
    server_close();
    served = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(served, 0);
    while (!is_ready(served))
        turn();
    expect(PING);
}

static inline void welcome(void)
{
    meet();
    answer("+PONG\r\n");
    while (link_->state != REDIS_UP)
        turn();
}

/* What was logged since, as a string. */
static inline const char *logged(void)
{
    static char text[8192];
    ssize_t size = read(log_ends[0], text, sizeof text - 1);

    text[size > 0 ? size : 0] = '\0';
    return text;
}

static inline redis *create_client(uint64_t timeout)
{
    struct redis_settings settings = {
        .address = address, .prefix = "p:", .timeout = timeout, .expiration = 5000, .log = &sink};

    return redis_create(&settings);
}

static inline void set_up(void)
{
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(address, sizeof address, "unix:%s/s", directory);
    ck_assert_int_eq(pipe2(log_ends, O_CLOEXEC | O_NONBLOCK), 0);
    sink =
        (log_sink){.fd = log_ends[1], .level = LOG_LEVEL_DEBUG, .mutex = PTHREAD_MUTEX_INITIALIZER};
    base = event_base_new();
    ck_assert_ptr_nonnull(base);
}

/* A link that is up. */
static inline void begin(uint64_t timeout)
{
    client = create_client(timeout);
    ck_assert_ptr_nonnull(client);
    server_listen();
    link_ = redis_link_open(client, base);
    ck_assert_ptr_nonnull(link_);
    welcome();
    logged();
}

static inline void end(void)
{
    redis_link_close(link_);
    redis_destroy(client);
    link_ = NULL;
    client = NULL;
}

static inline void tear_down(void)
{
    server_close();
    if (listener != -1)
        close(listener);
    unlink(address + strlen("unix:"));
    rmdir(directory);
    event_base_free(base);
    close(log_ends[0]);
    close(log_ends[1]);
}

/* ---- questions ---- */

struct question {
    struct redis_get get; /* first */
    int completed;
    bool is_there;
    char value[256];
};

static inline void note(struct redis_get *get, sttp_slice value)
{
    struct question *question = (struct question *)get;

    question->completed++;
    question->is_there = value.data != NULL;
    snprintf(question->value, sizeof question->value, "%.*s", (int)value.size,
             value.data != NULL ? value.data : "");
}

static inline bool ask(struct question *question, const char *path)
{
    *question = (struct question){.get.complete = note};
    return redis_link_get(link_, &question->get, STTP_ACTION_SHOW, slice_of(path));
}

static inline void wait_for(const struct question *question)
{
    while (question->completed == 0)
        turn();
    ck_assert_int_eq(question->completed, 1);
}

#endif
