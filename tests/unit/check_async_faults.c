/* The asynchronous client without memory and without descriptors: each allocation of its own and
 * each thing that the loop can refuse fails once, then the same is done again. Every request has
 * its one result all the same, and nothing leaks. */
#include <sys/resource.h>

#include "async_support.h"

/* ---- what fails ---- */

static meter metered_bytes;

/* A loop that refuses to watch, once. */
static struct {
    sttp_loop loop;
    size_t calls;
    size_t fails_at;
} stubborn;

static int stubborn_watch(void *context, sttp_watch *watch)
{
    if (watch->interest != 0 && ++stubborn.calls == stubborn.fails_at) {
        metered_bytes.failed = true;
        return -1;
    }
    return stubborn.loop.watch(context, watch);
}

static void stubborn_timer(void *context, uint64_t delay)
{
    stubborn.loop.timer(context, delay);
}

static void stubborn_soon(void *context)
{
    stubborn.loop.soon(context);
}

/* The poll adapter's client with a loop of our own in front of its own. */
static sttp_status create(const sttp_async_options *options)
{
    const sttp_loop loop = {sttp__poll_watch, sttp__poll_timer, sttp__poll_soon, &test.loop};
    sttp_async_options own = *options;

    stubborn.loop = loop;
    own.loop = (sttp_loop){stubborn_watch, stubborn_timer, stubborn_soon, &test.loop};
    test.loop = (sttp_poll){._expires = UINT64_MAX};
    return sttp_async_create(&own, &test.loop.async);
}

/* ---- what is done ---- */

static bool ask_or_fail(const sttp_request *request, result *r)
{
    sttp_status status = sttp_pool_request(test.pool, request, done, r, &r->call);

    if (status == STTP_OK)
        return true;
    ck_assert_int_eq(status, STTP_ERR_MEMORY);
    ck_assert(metered_bytes.failed);
    ck_assert_ptr_null(r->call);
    return false;
}

/* An answer, or an error that memory is the cause of: the connection was lost for want of it. */
static void check_result(const result *r)
{
    ck_assert_uint_eq(r->times, 1);
    if (r->status == STTP_OK)
        return;
    ck_assert_msg(metered_bytes.failed, "%s", r->error.text);
    ck_assert_msg(r->error.cause == STTP_ERR_MEMORY || r->error.cause == STTP_ERR_CONNECT ||
                      r->error.cause == STTP_ERR_CONNECTION_LOST,
                  "%s", r->error.text);
}

/* What a server does: it answers each whole line of each connection, and some lines at length. */
typedef struct server_side {
    int fds[16];
    size_t count;
    char input[16][65536];
    size_t used[16];
} server_side;

static void answer_line(int fd, const char *line)
{
    static char large[100 * 1000];
    char path[2000], status_line[2100];
    int length;

    ck_assert_int_eq(sscanf(line, "%*s %1999s", path), 1);
    length = snprintf(status_line, sizeof status_line, "200 %s OK\n", path);
    ck_assert_int_eq(send(fd, status_line, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT), length);
    memset(large, 'c', sizeof large);
    large[sizeof large - 1] = '\n';
    if (strcmp(path, "/large") == 0)
        send(fd, large, sizeof large, MSG_NOSIGNAL);
    else
        send(fd, "text\n", 5, MSG_NOSIGNAL);
}

static void serve(server_side *s)
{
    while (has_news(test.listener)) {
        ck_assert_uint_lt(s->count, COUNT(s->fds));
        s->used[s->count] = 0;
        s->fds[s->count] = accept(test.listener, NULL, NULL);
        setsockopt(s->fds[s->count++], IPPROTO_TCP, TCP_NODELAY, &(const int){1}, sizeof(int));
    }
    for (size_t i = 0; i < s->count; i++) {
        char *line = s->input[i];
        char *end;
        ssize_t n =
            recv(s->fds[i], line + s->used[i], sizeof s->input[i] - 1 - s->used[i], MSG_DONTWAIT);

        if (n <= 0)
            continue;
        s->used[i] += (size_t)n;
        line[s->used[i]] = '\0';
        while ((end = strchr(line, '\n')) != NULL) {
            *end = '\0';
            answer_line(s->fds[i], line);
            line = end + 1;
        }
        s->used[i] -= (size_t)(line - s->input[i]);
        memmove(s->input[i], line, s->used[i]);
    }
}

static void run_all(server_side *s, size_t count)
{
    for (int i = 0; i < 20000 && test.finished < count; i++) {
        serve(s);
        turns();
        pass_time(1); /* it may have to wait to connect again */
    }
    ck_assert_uint_eq(test.finished, count);
}

enum { ROUNDS = 2, OF_A_ROUND = 30 };

static void use_pool(server_side *s)
{
    char path[STTP_MAX_PATH + 1];

    for (size_t i = 0; i < STTP_MAX_PATH; i++)
        path[i] = i % 20 == 0 ? '/' : 'p';
    path[STTP_MAX_PATH] = '\0';
    for (int round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < OF_A_ROUND; i++) {
            sttp_request request = i % 10 == 3 ? request_for(STTP_ACTION_LIST, path)
                                   : i % 10 == 5
                                       ? request_for(STTP_ACTION_UPDATE, "/a")
                                       : request_for(STTP_ACTION_SHOW, i == 7 ? "/large" : "/a");
            result *r = &test.results[test.asked];

            if (!ask_or_fail(&request, r))
                ck_assert(ask_or_fail(&request, r));
            test.asked++;
        }
        run_all(s, test.asked);
    }
    for (size_t i = 0; i < test.asked; i++)
        check_result(&test.results[i]);
}

static void use_client(sttp_pool_options options, const sttp_async_options *given)
{
    static server_side s;
    static const char *const loopback[] = {"127.0.0.1"};

    memset(&test, 0, sizeof test);
    s.count = 0;
    if (create(given) != STTP_OK) {
        ck_assert(metered_bytes.failed);
        ck_assert_ptr_null(test.loop.async);
        return;
    }
    test.listener = listening_socket("127.0.0.1", 0);
    options.size = sizeof options;
    options.host = options.host != NULL ? options.host : "h";
    options.addresses = loopback;
    options.address_count = strcmp(options.host, "h") == 0;
    options.port = port_of(test.listener);
    options.event = note_event;
    while (sttp_pool_create(test.loop.async, &options, &test.pool) != STTP_OK)
        ck_assert(metered_bytes.failed && test.pool == NULL);
    use_pool(&s);
    sttp_poll_destroy(&test.loop);
    close(test.listener);
    for (size_t i = 0; i < s.count; i++)
        close(s.fds[i]);
}

/* ---- the tests ---- */

START_TEST(test_each_allocation_fails_once)
{
    static const char *const hosts[] = {"h", "127.0.0.1", "localhost"};
    const sttp_allocator memory = metered(&metered_bytes);
    const sttp_async_options options = {.size = sizeof options, .allocator = &memory};

    metered_bytes.failed = true;
    for (size_t n = 1; metered_bytes.failed; n++) {
        metered_bytes = (meter){.fails_at = n};
        use_client((sttp_pool_options){.host = hosts[_i], .max_connections = 3}, &options);
        ck_assert_uint_eq(metered_bytes.live, 0);
        ck_assert(metered_bytes.failed || n > 20);
    }
}
END_TEST

START_TEST(test_each_watch_fails_once)
{
    const sttp_async_options options = {.size = sizeof options};

    metered_bytes.failed = true;
    for (size_t n = 1; metered_bytes.failed; n++) {
        metered_bytes = (meter){0};
        stubborn.calls = 0;
        stubborn.fails_at = n;
        use_client((sttp_pool_options){.max_connections = 3}, &options);
        ck_assert(metered_bytes.failed || n > 5);
    }
}
END_TEST

/* On the steady path nothing is allocated. */
START_TEST(test_no_allocation)
{
    const sttp_allocator memory = metered(&metered_bytes);
    const sttp_async_options options = {.size = sizeof options, .allocator = &memory};
    size_t before = 0;
    int fd;

    open_client(&options);
    test.pool = make_pool((sttp_pool_options){0});
    fd = warm_up();
    for (int i = 0; i < 50; i++) {
        if (i == 1)
            before = metered_bytes.calls;
        for (int k = 0; k < 8; k++)
            show("/a");
        hear(fd, "SHOW /a\nSHOW /a\nSHOW /a\nSHOW /a\nSHOW /a\nSHOW /a\nSHOW /a\nSHOW /a\n");
        for (int k = 0; k < 8; k++)
            say(fd, "200 /a OK\nx\n");
    }
    ck_assert_uint_eq(test.finished, 402);
    ck_assert_uint_eq(metered_bytes.calls, before);
    close(fd);
    close_test();
    ck_assert_uint_eq(metered_bytes.live, 0);
}
END_TEST

START_TEST(test_no_descriptors)
{
    struct rlimit usual, none;
    result *r;
    int fd;

    open_test((sttp_pool_options){0});
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &usual), 0);
    none = usual;
    none.rlim_cur = 0;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    r = show("/a");
    turns();
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &usual), 0);
    check_error(r, STTP_ERR_CONNECT, STTP_PHASE_CONNECT, " (Too many open files)");
    ck_assert_int_eq(r->error.system_errno, EMFILE);
    pass_time(100);
    fd = warm_up();
    close(fd);
    close_test();
}
END_TEST

int main(void)
{
    TCase *cases = tcase_create("faults");

    tcase_add_loop_test(cases, test_each_allocation_fails_once, 0, 3);
    tcase_add_test(cases, test_each_watch_fails_once);
    tcase_add_test(cases, test_no_allocation);
    tcase_add_test(cases, test_no_descriptors);
    return run_cases("async_faults", cases);
}
