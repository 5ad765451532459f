/* The asynchronous client with a DNS server: names that move, vanish and cannot be looked up while
 * connections are open; and clients in several threads. */
#include "async_support.h"
#include "dns_server.h"

/* ---- the server, in a thread ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all of it */
static pthread_t thread;
static bool stopping;
static dns_rule *rule; /* of some.test */

static void *serve(void *unused)
{
    bool stop = false;

    (void)unused;
    while (!stop) {
        struct pollfd ready = {.fd = servers[0].udp, .events = POLLIN};

        poll(&ready, 1, 10);
        pthread_mutex_lock(&lock);
        dns_serve();
        stop = stopping;
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void set_rule(const char *addresses, int rcode)
{
    pthread_mutex_lock(&lock);
    rule = dns_set(&servers[0], "some.test", addresses, 10);
    rule->rcode = rcode;
    pthread_mutex_unlock(&lock);
}

static unsigned asked(void)
{
    unsigned count;

    pthread_mutex_lock(&lock);
    count = rule->asked[0];
    pthread_mutex_unlock(&lock);
    return count;
}

static void set_up(void)
{
    server_count = 0;
    stopping = false;
    dns_open("127.0.0.1", 0);
    set_rule("127.0.0.5", ns_r_noerror);
    ck_assert_int_eq(pthread_create(&thread, NULL, serve, NULL), 0);
}

static void tear_down(void)
{
    pthread_mutex_lock(&lock);
    stopping = true;
    pthread_mutex_unlock(&lock);
    pthread_join(thread, NULL);
    close(servers[0].udp);
    close(servers[0].tcp);
}

/* ---- the client ---- */

/* The listener takes what comes for any address of this machine. */
static void open_named(sttp_pool_options options)
{
    char list[32];
    const sttp_async_options client = {
        .size = sizeof client, .dns_servers = list, .hosts_file = "/dev/null"};

    snprintf(list, sizeof list, "127.0.0.1:%u", servers[0].port);
    open_client(&client);
    close(test.listener);
    test.listener = listening_socket("0.0.0.0", 0);
    options.size = sizeof options;
    options.host = "some.test";
    options.port = port_of(test.listener);
    options.max_connections = 2;
    options.event = note_event;
    ck_assert_int_eq(sttp_pool_create(test.loop.async, &options, &test.pool), STTP_OK);
}

static void run_until_asked(unsigned count)
{
    for (int i = 0; i < 1000 && asked() < count; i++)
        sttp_poll_run(&test.loop, 10);
    ck_assert_uint_ge(asked(), count);
}

/* What the loop has to do by itself is done in so many real milliseconds. */
static void run_for(int milliseconds)
{
    for (int i = 0; i < milliseconds; i++)
        sttp_poll_run(&test.loop, 1);
}

static void check_came_to(int fd, const char *address)
{
    struct sockaddr_in in;
    socklen_t size = sizeof in;
    char text[INET_ADDRSTRLEN];

    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&in, &size), 0);
    ck_assert_str_eq(inet_ntop(AF_INET, &in.sin_addr, text, sizeof text), address);
}

static void exchange(int fd, const char *path)
{
    char line[64];
    result *r = show(path);

    snprintf(line, sizeof line, "SHOW %s\n", path);
    hear(fd, line);
    snprintf(line, sizeof line, "200 %s OK\nx\n", path);
    say(fd, line);
    check_answer(r, "x");
}

START_TEST(test_moves)
{
    int fd, next;

    open_named((sttp_pool_options){0});
    fd = warm_up();
    check_came_to(fd, "127.0.0.5");
    set_rule("127.0.0.6", ns_r_noerror);
    exchange(fd, "/a"); /* nobody knows yet */
    pass_time(10000);
    hear_end(fd);
    show("/b");
    next = accept_peer();
    check_came_to(next, "127.0.0.6");
    hear(next, "SHOW /b\n");
    close(next);
    close_test();
}
END_TEST

START_TEST(test_gone)
{
    result *r;
    int fd;

    open_named((sttp_pool_options){0});
    fd = warm_up();
    r = show("/a");
    hear(fd, "SHOW /a\n");
    set_rule("", ns_r_nxdomain);
    pass_time(10000);
    run_until_asked(2);
    say(fd, "200 /a OK\nx\n");
    check_answer(r, "x");
    hear_end(fd);
    r = show("/b");
    await_results(4);
    check_error(r, STTP_ERR_RESOLVE, STTP_PHASE_RESOLVE, "cannot resolve some.test: no such name");
    close_test();
}
END_TEST

/* Where nobody can tell whether the name has moved the connection is used, and the name is followed
 * again later. */
START_TEST(test_nobody_can_tell)
{
    int fd;

    open_named((sttp_pool_options){0});
    fd = warm_up();
    set_rule("127.0.0.6", ns_r_servfail);
    for (int i = 0; i < 40; i++) {
        pass_time(10000);
        run_for(5);
        exchange(fd, "/a");
    }
    set_rule("127.0.0.6", ns_r_noerror);
    pass_time(10000);
    exchange(fd, "/b"); /* it begins to be followed with this */
    hear_end(fd);
    show("/c");
    fd = accept_peer();
    check_came_to(fd, "127.0.0.6");
    close(fd);
    close_test();
}
END_TEST

/* Where there are no connections nobody is asked. */
START_TEST(test_idle)
{
    int fd;

    open_named((sttp_pool_options){.idle_timeout_ms = 5000});
    fd = warm_up();
    pass_time(5000);
    hear_end(fd);
    for (int i = 0; i < 5; i++) {
        pass_time(10000);
        run_for(5);
    }
    ck_assert_uint_eq(asked(), 1);
    set_rule("127.0.0.6", ns_r_noerror);
    show("/a");
    fd = accept_peer();
    check_came_to(fd, "127.0.0.6");
    ck_assert_uint_eq(asked(), 2);
    close(fd);
    close_test();
}
END_TEST

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 10 };

static char list[32];

static void note_result(void *context, const sttp_response *response, const sttp_error *error)
{
    (void)response;
    *(sttp_status *)context = error ? error->status : STTP_OK;
}

static sttp_status look_up_once(void)
{
    const sttp_async_options client = {
        .size = sizeof client, .dns_servers = list, .hosts_file = "/dev/null"};
    const sttp_pool_options options = {.size = sizeof options, .host = "some.test", .port = 1};
    const sttp_request request = {.action = STTP_ACTION_SHOW, .path = STTP_SLICE("/a")};
    sttp_status status = STTP_NEED_MORE;
    sttp_poll loop;
    sttp_pool *pool;

    if (sttp_poll_create(&loop, &client) != STTP_OK)
        return STTP_ERR_MEMORY;
    if (sttp_pool_create(loop.async, &options, &pool) == STTP_OK &&
        sttp_pool_request(pool, &request, note_result, &status, NULL) == STTP_OK) {
        while (status == STTP_NEED_MORE && sttp_poll_run(&loop, 1000) == 0)
            continue;
    }
    sttp_poll_destroy(&loop);
    return status;
}

static void *look_up(void *good)
{
    for (int i = 0; i < ROUNDS; i++)
        *(int *)good += look_up_once() == STTP_ERR_CONNECT;
    return NULL;
}

START_TEST(test_threads)
{
    pthread_t threads[THREADS];
    int good[THREADS] = {0};

    snprintf(list, sizeof list, "127.0.0.1:%u", servers[0].port);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, look_up, &good[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_int_eq(good[i], ROUNDS);
    }
    ck_assert_uint_eq(asked(), THREADS * ROUNDS);
}
END_TEST

int main(void)
{
    TCase *cases = tcase_create("dns");

    tcase_add_checked_fixture(cases, set_up, tear_down);
    tcase_add_test(cases, test_moves);
    tcase_add_test(cases, test_gone);
    tcase_add_test(cases, test_nobody_can_tell);
    tcase_add_test(cases, test_idle);
    tcase_add_test(cases, test_threads);
    return run_cases("async_dns", cases);
}
