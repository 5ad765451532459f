/* What the tests of the asynchronous client are made of: a client on the poll adapter, a peer that
 * the test plays itself on the same thread, results as they came, and a clock that the test puts
 * forward. */
#ifndef ASYNC_SUPPORT_H
#define ASYNC_SUPPORT_H

#include <netinet/tcp.h>
#include <sys/syscall.h>

#include <sttp/adapters/poll.h>

#include "client_support.h"

/* ---- the clock: the linker's --wrap brings the library's calls here ---- */

static uint64_t clock_offset; /* microseconds */

/* It stands but for pass_time(): on a busy machine a test would take time that it does not mean. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    static struct timespec began;
    int result = began.tv_sec != 0 ? 0 : (int)syscall(SYS_clock_gettime, clock, &began);
    uint64_t nanoseconds = (uint64_t)began.tv_nsec + clock_offset % 1000000 * 1000;

    now->tv_sec = began.tv_sec + (time_t)(clock_offset / 1000000 + nanoseconds / 1000000000);
    now->tv_nsec = (long)(nanoseconds % 1000000000);
    return result;
}

static inline void pass_time(uint64_t milliseconds)
{
    clock_offset += milliseconds * 1000;
}

/* ---- results ---- */

enum { MAX_RESULTS = 512 };

typedef struct result {
    unsigned times; /* `done` was called */
    sttp_status status;
    sttp_code code;
    char contents[64];
    sttp_error error;
    sttp_call *call;
    void (*then)(struct result *result); /* called within `done` */
} result;

/* All that one test has. */
static struct {
    sttp_poll loop;
    sttp_pool *pool;
    int listener;
    uint16_t port;
    result results[MAX_RESULTS];
    size_t asked;
    size_t finished;
    char events[1024];
} test;

static inline void done(void *context, const sttp_response *response, const sttp_error *error)
{
    result *r = context;

    r->times++;
    test.finished++;
    ck_assert((response == NULL) != (error == NULL));
    if (response != NULL) {
        r->code = response->code;
        snprintf(r->contents, sizeof r->contents, "%.*s", (int)response->contents.size,
                 response->contents.data != NULL ? response->contents.data : "");
    } else {
        r->error = *error;
        r->status = error->status;
        ck_assert_int_ne(error->status, STTP_OK);
        ck_assert_str_ne(error->text, "");
    }
    if (r->then != NULL)
        r->then(r);
}

static inline sttp_request request_for(sttp_action action, const char *path)
{
    sttp_request request = {.action = action, .path = {path, strlen(path)}};

    if (action == STTP_ACTION_CREATE || action == STTP_ACTION_UPDATE)
        request.contents = STTP_SLICE("x");
    return request;
}

static inline result *ask_then(sttp_action action, const char *path,
                               void (*then)(struct result *result))
{
    sttp_request request = request_for(action, path);
    result *r = &test.results[test.asked++];

    ck_assert_uint_lt(test.asked, MAX_RESULTS);
    r->then = then;
    ck_assert_int_eq(sttp_pool_request(test.pool, &request, done, r, &r->call), STTP_OK);
    ck_assert_ptr_nonnull(r->call);
    ck_assert_uint_eq(r->times, 0);
    return r;
}

static inline result *ask(sttp_action action, const char *path)
{
    return ask_then(action, path, NULL);
}

static inline result *show(const char *path)
{
    return ask(STTP_ACTION_SHOW, path);
}

/* ---- the loop ---- */

static inline void turn(void)
{
    ck_assert_int_eq(sttp_poll_run(&test.loop, 0), 0);
}

/* A callback may have destroyed all meanwhile. */
static inline void turns(void)
{
    for (int i = 0; i < 5 && test.loop.async != NULL; i++)
        turn();
}

/* Runs until so many calls have their results. */
static inline void await_results(size_t count)
{
    while (test.finished < count) {
        size_t before = test.finished;

        for (int i = 0; i < 1000 && test.finished == before; i++)
            ck_assert_int_eq(sttp_poll_run(&test.loop, 10), 0);
        ck_assert_msg(test.finished > before, "%zu of %zu results", before, count);
    }
}

/* Time passes by itself, as fast as the client's timers ask for it. */
static inline void await_timers(size_t count, uint64_t most_milliseconds)
{
    for (uint64_t i = 0; i < most_milliseconds && test.finished < count; i++) {
        pass_time(1);
        turns();
    }
    ck_assert_uint_eq(test.finished, count);
}

static inline void check_answer(const result *r, const char *contents)
{
    ck_assert_msg(r->times == 1, "%u results", r->times);
    ck_assert_msg(r->status == STTP_OK, "%s", r->error.text);
    ck_assert_int_eq(r->code, STTP_CODE_OK);
    ck_assert_str_eq(r->contents, contents);
}

static inline void check_error(const result *r, sttp_status status, sttp_phase phase,
                               const char *part)
{
    ck_assert_uint_eq(r->times, 1);
    ck_assert_msg(r->status == status, "%s: %s", sttp_status_name(r->status), r->error.text);
    ck_assert_msg(r->error.phase == phase, "%s: %s", sttp_phase_name(r->error.phase),
                  r->error.text);
    ck_assert_msg(strstr(r->error.text, part) != NULL, "%s", r->error.text);
}

static inline void check_unknown(const result *r, sttp_status cause)
{
    check_error(r, STTP_ERR_OUTCOME_UNKNOWN, STTP_PHASE_RECEIVE, " was sent, outcome unknown: ");
    ck_assert_int_eq(r->error.cause, cause);
}

static inline sttp_pool_counts counts(void)
{
    sttp_pool_counts c;

    sttp_pool_count(test.pool, &c);
    return c;
}

/* ---- pools ---- */

static inline void note_event(void *context, const sttp_pool_event *event)
{
    static const char *const names[] = {"connected", "unreachable", "lost", "late"};
    size_t size = strlen(test.events);

    (void)context;
    ck_assert((event->error == NULL) == (event->kind == STTP_POOL_CONNECTED));
    snprintf(test.events + size, sizeof test.events - size, " %s:%zu", names[event->kind],
             event->in_flight);
}

static inline sttp_pool *make_pool(sttp_pool_options options)
{
    sttp_pool *pool;

    options.size = sizeof options;
    if (options.host == NULL && options.socket_path == NULL)
        options.host = "test";
    if (options.addresses == NULL && options.socket_path == NULL) {
        static const char *const loopback[] = {"127.0.0.1"};

        options.addresses = loopback;
        options.address_count = 1;
    }
    if (options.port == 0)
        options.port = test.port;
    if (options.max_connections == 0)
        options.max_connections = 1;
    options.event = note_event;
    ck_assert_int_eq(sttp_pool_create(test.loop.async, &options, &pool), STTP_OK);
    return pool;
}

static inline void open_client(const sttp_async_options *options)
{
    memset(&test, 0, sizeof test);
    test.listener = listening_socket("127.0.0.1", 0);
    test.port = port_of(test.listener);
    ck_assert_int_eq(sttp_poll_create(&test.loop, options), STTP_OK);
}

static inline void open_test(sttp_pool_options options)
{
    open_client(NULL);
    test.pool = make_pool(options);
}

static inline void close_test(void)
{
    if (test.loop.async != NULL)
        sttp_poll_destroy(&test.loop);
    close(test.listener);
    for (size_t i = 0; i < test.asked; i++)
        ck_assert_uint_le(test.results[i].times, 1);
}

/* ---- the peer ---- */

static inline bool has_news(int fd)
{
    return poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0) > 0;
}

static inline bool run_until_news(int fd)
{
    for (int i = 0; i < 1000; i++) {
        if (has_news(fd))
            return true;
        if (test.loop.async != NULL)
            sttp_poll_run(&test.loop, 10);
    }
    return false;
}

/* The client's next connection. */
static inline int accept_peer(void)
{
    int fd;

    ck_assert(run_until_news(test.listener));
    fd = accept(test.listener, NULL, NULL);
    ck_assert_int_ge(fd, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(const int){1}, sizeof(int));
    turns();
    return fd;
}

/* Exactly this comes next. */
static inline void hear(int fd, const char *expected)
{
    char got[8192] = "";
    size_t size = 0;

    while (size < strlen(expected)) {
        ssize_t n;

        ck_assert_msg(run_until_news(fd), "\"%s\", not \"%s\"", got, expected);
        n = recv(fd, got + size, strlen(expected) - size, 0);
        ck_assert_msg(n > 0, "\"%s\", not \"%s\"", got, expected);
        size += (size_t)n;
    }
    got[size] = '\0';
    ck_assert_str_eq(got, expected);
}

/* Nothing more has come. */
static inline void hear_nothing(int fd)
{
    turns();
    ck_assert(!has_news(fd));
}

/* The client closes, and sends nothing before. */
static inline void hear_end(int fd)
{
    ck_assert(run_until_news(fd));
    ck_assert_int_le(recv(fd, &(char){0}, 1, 0), 0);
    close(fd);
}

static inline void say(int fd, const char *text)
{
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    turns();
}

static inline void reset(int fd)
{
    peer_end(fd, true);
    turns();
}

/* Two questions and answers, so that the connection is known to be kept open. */
static inline int warm_up(void)
{
    result *first = show("/1");
    int fd = accept_peer();
    result *second;

    hear(fd, "SHOW /1\n");
    say(fd, "200 /1 OK\none\n");
    check_answer(first, "one");
    second = show("/2");
    hear(fd, "SHOW /2\n");
    say(fd, "200 /2 OK\ntwo\n");
    check_answer(second, "two");
    return fd;
}

static inline int run_cases(const char *name, TCase *cases)
{
    Suite *suite = suite_create(name);
    SRunner *runner;
    int failed;

    tcase_set_timeout(cases, 100);
    suite_add_tcase(suite, cases);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
