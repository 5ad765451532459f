/* The asynchronous client and names: found, not found, and changed while connections are open. */
#include "async_support.h"

static char hosts[] = "/tmp/sttp-check-names-XXXXXX";

static void write_hosts(const char *text)
{
    FILE *file = fopen(hosts, "w");

    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
}

/* The listener takes what comes for any address of this machine. */
static void open_named(const char *text, sttp_pool_options options)
{
    const sttp_async_options client = {
        .size = sizeof client, .dns_servers = "127.0.0.1:1", .hosts_file = hosts};
    int fd = mkstemp(hosts);

    ck_assert_int_ge(fd, 0);
    close(fd);
    write_hosts(text);
    open_client(&client);
    close(test.listener);
    test.listener = listening_socket("0.0.0.0", 0);
    options.size = sizeof options;
    options.host = "some.test";
    options.port = port_of(test.listener);
    options.event = note_event;
    ck_assert_int_eq(sttp_pool_create(test.loop.async, &options, &test.pool), STTP_OK);
}

static void close_named(void)
{
    close_test();
    unlink(hosts);
}

static void check_came_to(int fd, const char *address)
{
    struct sockaddr_in in;
    socklen_t size = sizeof in;
    char text[INET_ADDRSTRLEN];

    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&in, &size), 0);
    ck_assert_str_eq(inet_ntop(AF_INET, &in.sin_addr, text, sizeof text), address);
}

START_TEST(test_found)
{
    result *r;
    int fd;

    open_named("127.0.0.5 some.test\n", (sttp_pool_options){.max_connections = 1});
    r = show("/a");
    ck_assert_uint_eq(r->times, 0);
    fd = accept_peer();
    check_came_to(fd, "127.0.0.5");
    hear(fd, "SHOW /a\n");
    say(fd, "200 /a OK\nx\n");
    check_answer(r, "x");
    close(fd);
    close_named();
}
END_TEST

START_TEST(test_not_found)
{
    result *r[2];
    int fd;

    open_named("127.0.0.5 other.test\n",
               (sttp_pool_options){.queue_timeout_ms = 100000, .connect_timeout_ms = 100000});
    r[0] = show("/a");
    r[1] = ask(STTP_ACTION_CREATE, "/b");
    await_results(2);
    check_error(r[0], STTP_ERR_RESOLVE, STTP_PHASE_RESOLVE, "cannot resolve some.test: ");
    check_error(r[1], STTP_ERR_RESOLVE, STTP_PHASE_RESOLVE, ", after ");
    ck_assert_str_eq(test.events, " unreachable:0");
    write_hosts("127.0.0.5 some.test\n");
    show("/a");
    pass_time(10000);
    fd = accept_peer();
    hear(fd, "SHOW /a\n");
    close(fd);
    close_named();
}
END_TEST

/* Nobody answers for the name in time. */
START_TEST(test_late)
{
    char servers[32];
    place at = inet_place("127.0.0.1", 0);
    int silent = socket(AF_INET, SOCK_DGRAM, 0);
    sttp_async_options client = {
        .size = sizeof client, .dns_servers = servers, .hosts_file = "/dev/null"};
    const sttp_pool_options options = {
        .size = sizeof options, .host = "some.test", .connect_timeout_ms = 500};
    result *r;

    ck_assert_int_eq(bind(silent, (struct sockaddr *)&at.address, at.size), 0);
    snprintf(servers, sizeof servers, "127.0.0.1:%u", port_of(silent));
    open_client(&client);
    ck_assert_int_eq(sttp_pool_create(test.loop.async, &options, &test.pool), STTP_OK);
    r = show("/a");
    turns();
    ck_assert_uint_eq(r->times, 0);
    pass_time(500);
    await_results(1);
    check_error(r, STTP_ERR_TIMEOUT, STTP_PHASE_RESOLVE,
                "cannot resolve some.test: the connect timeout has passed, after 5");
    close(silent);
    close_test();
}
END_TEST

/* The name has moved: what is under way is finished, what is new goes to where it is now. */
START_TEST(test_moved)
{
    result *r[2];
    int fd, idle, next;

    open_named("127.0.0.5 some.test\n",
               (sttp_pool_options){.min_connections = 2, .max_connections = 2});
    fd = warm_up();
    idle = accept_peer();
    check_came_to(idle, "127.0.0.5");
    r[0] = show("/a");
    hear(fd, "SHOW /a\n");
    write_hosts("127.0.0.66 some.test\n");
    pass_time(6000);
    turns();
    hear_end(idle);
    hear_nothing(fd);
    next = accept_peer();
    check_came_to(next, "127.0.0.66");
    r[1] = show("/b");
    hear(next, "SHOW /b\n");
    say(fd, "200 /a OK\na\n");
    check_answer(r[0], "a");
    hear_end(fd);
    say(next, "200 /b OK\nb\n");
    check_answer(r[1], "b");
    ck_assert_ptr_null(strstr(test.events, "lost"));
    close(next);
    close_named();
}
END_TEST

/* A call that waits for its name is given up, and so are pool and client. */
START_TEST(test_given_up)
{
    result *r;

    open_named("", (sttp_pool_options){.max_connections = 1});
    r = show("/a");
    turn();
    sttp_call_cancel(r->call);
    r = show("/b");
    if (_i == 1)
        sttp_pool_destroy(test.pool);
    else
        sttp_poll_destroy(&test.loop);
    ck_assert_int_eq(r->status, STTP_ERR_CANCELLED);
    turns();
    close_named();
}
END_TEST

int main(void)
{
    TCase *cases = tcase_create("names");

    tcase_add_test(cases, test_found);
    tcase_add_test(cases, test_not_found);
    tcase_add_test(cases, test_late);
    tcase_add_test(cases, test_moved);
    tcase_add_loop_test(cases, test_given_up, 0, 2);
    return run_cases("async_names", cases);
}
