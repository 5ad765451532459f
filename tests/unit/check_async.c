/* The asynchronous client: requests and answers over one connection and several, limits, what a
 * connection that ends does to its requests. */
#include "async_support.h"

/* ---- answers ---- */

START_TEST(test_answer)
{
    result *r;
    int fd;

    open_test((sttp_pool_options){0});
    r = show("/a");
    turn();
    ck_assert_uint_eq(r->times, 0);
    fd = accept_peer();
    hear(fd, "SHOW /a\n");
    say(fd, "200 /a OK\nhello\n");
    check_answer(r, "hello");
    ck_assert_str_eq(test.events, " connected:0");
    ck_assert_uint_eq(counts().connections, 1);
    ck_assert_uint_eq(counts().in_flight, 0);
    sttp_poll_destroy(&test.loop);
    hear_end(fd);
    close_test();
}
END_TEST

START_TEST(test_answers_in_pieces)
{
    static const char bytes[] = "200 /1 OK\none\n300 - CLIENT ERROR \"no\"\n410 / PATH NOT FOUND\n";
    result *first, *second, *third;
    int fd;

    open_test((sttp_pool_options){0});
    fd = warm_up();
    first = show("/1");
    second = ask(STTP_ACTION_CREATE, "/2");
    third = ask(STTP_ACTION_DELETE, "/3");
    hear(fd, "SHOW /1\nCREATE /2 \"x\"\nDELETE /3\n");
    for (const char *at = bytes; *at != '\0'; at++)
        say(fd, (char[]){*at, '\0'});
    check_answer(first, "one");
    ck_assert_int_eq(second->code, STTP_CODE_CLIENT_ERROR);
    ck_assert_int_eq(third->code, STTP_CODE_PATH_NOT_FOUND);
    ck_assert_uint_eq(test.finished, 5);
    close(fd);
    close_test();
}
END_TEST

/* Lines that the free list's calls have no room for, and an answer that the usual buffer has none
 * for. */
START_TEST(test_large)
{
    enum { SIZE = 200 * 1000 };
    char path[STTP_MAX_PATH + 1];
    char line[STTP_MAX_PATH + 16];
    char *answer = malloc(SIZE + 64);
    result *r, *after;
    int fd;

    open_test((sttp_pool_options){0});
    fd = warm_up();
    for (size_t i = 0; i < sizeof path - 1; i++)
        path[i] = i % 20 == 0 ? '/' : 'p';
    path[sizeof path - 1] = '\0';
    r = ask(STTP_ACTION_LIST, path);
    after = show("/b");
    snprintf(line, sizeof line, "LIST %s\nSHOW /b\n", path);
    hear(fd, line);
    snprintf(answer, SIZE, "200 %s OK\n", path);
    say(fd, answer);
    memset(answer, 'c', SIZE);
    strcpy(answer + SIZE, "\n200 /b OK\nb\n");
    for (size_t at = 0; at < SIZE + strlen("\n200 /b OK\nb\n"); at += 1000) {
        char piece[1001];

        snprintf(piece, sizeof piece, "%s", answer + at);
        say(fd, piece);
    }
    ck_assert_uint_eq(r->times, 1);
    ck_assert_int_eq(r->code, STTP_CODE_OK);
    ck_assert_int_eq(r->contents[0], 'c');
    check_answer(after, "b");
    free(answer);
    close(fd);
    close_test();
}
END_TEST

/* No resolver is needed for these. */
START_TEST(test_plain_hosts)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost", "LocalHost"};
    sttp_pool_options options = {
        .size = sizeof options, .host = hosts[_i], .family = AF_INET, .max_connections = 1};
    int fd;

    open_client(NULL);
    options.port = test.port;
    ck_assert_int_eq(sttp_pool_create(test.loop.async, &options, &test.pool), STTP_OK);
    fd = warm_up();
    close(fd);
    show("/a");
    fd = accept_peer();
    hear(fd, "SHOW /a\n");
    close(fd);
    close_test();
}
END_TEST

START_TEST(test_origin)
{
    const sttp_request request = {
        .action = STTP_ACTION_SHOW, .path = STTP_SLICE("/a"), .origin = STTP_SLICE("sttp://h:1")};
    result *r = &test.results[0];
    int fd;

    open_test((sttp_pool_options){0});
    test.asked = 3;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(sttp_pool_request(test.pool, &request, done, &r[i], NULL), STTP_OK);
    fd = accept_peer();
    hear(fd, "SHOW sttp://h:1/a\n");
    say(fd, "200 /a OK\nhello\n");
    hear(fd, "SHOW sttp://h:1/a\n");
    say(fd, "500 sttp://h:1/a SERVER ERROR \"no\"\n");
    hear(fd, "SHOW sttp://h:1/a\n");
    say(fd, "500 /b SERVER ERROR \"no\"\n");
    check_answer(&r[0], "hello");
    ck_assert_int_eq(r[1].code, STTP_CODE_SERVER_ERROR);
    check_error(&r[2], STTP_ERR_WRONG_ANSWER, STTP_PHASE_RECEIVE, "proxy 127.0.0.1:");
    check_error(&r[2], STTP_ERR_WRONG_ANSWER, STTP_PHASE_RECEIVE,
                " answered SHOW sttp://h:1/a with a response that speaks of \"/b\"");
    close(fd);
    close_test();
}
END_TEST

START_TEST(test_preamble)
{
    int fd;

    open_test((sttp_pool_options){.preamble = "PROXY\r\n", .preamble_size = 7});
    show("/a");
    fd = accept_peer();
    hear(fd, "PROXY\r\nSHOW /a\n");
    say(fd, "200 /a OK\nhello\n");
    check_answer(show("/a") - 1, "hello");
    hear(fd, "SHOW /a\n");
    close(fd);
    close_test();
}
END_TEST

static bool takes_own_port;

int __real_connect(int fd, const struct sockaddr *address, socklen_t size);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size)
{
    if (takes_own_port)
        ck_assert_int_eq(bind(fd, address, size), 0);
    return __real_connect(fd, address, size);
}

/* Where nobody listens, a socket that is connected to itself is no connection. */
START_TEST(test_connected_to_itself)
{
    result *r;

    open_test((sttp_pool_options){0});
    close(test.listener);
    takes_own_port = true;
    r = show("/a");
    await_results(1);
    check_error(r, STTP_ERR_CONNECT, STTP_PHASE_CONNECT, " (Connection refused), after ");
    ck_assert_str_eq(test.events, " unreachable:0");
    takes_own_port = false;
    test.listener = -1;
    close_test();
}
END_TEST

START_TEST(test_unix_socket)
{
    char directory[] = "/tmp/sttp-check-async-XXXXXX";
    char path[64];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    place at = {.size = sizeof address};
    result *r;
    int fd;

    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/s", directory);
    memcpy(address.sun_path, path, strlen(path) + 1);
    memcpy(&at.address, &address, sizeof address);
    open_client(NULL);
    close(test.listener);
    test.listener = bound_socket(&at);
    ck_assert_int_eq(listen(test.listener, 8), 0);
    test.pool = make_pool((sttp_pool_options){.socket_path = path});
    r = show("/a");
    fd = accept_peer();
    hear(fd, "SHOW /a\n");
    say(fd, "200 /a OK\nhello\n");
    check_answer(r, "hello");
    r = show("/b");
    close(test.listener);
    close(fd);
    await_results(2);
    snprintf(path, sizeof path, "unix:%s/s", directory);
    ck_assert_str_eq(r->error.address, path);
    sttp_poll_destroy(&test.loop);
    unlink(path + strlen("unix:"));
    rmdir(directory);
    test.listener = -1;
}
END_TEST

/* ---- one write for each turn and connection ---- */

START_TEST(test_together)
{
    char bytes[256];
    int fd;

    open_test((sttp_pool_options){0});
    fd = warm_up();
    show("/a");
    show("/b");
    ask(STTP_ACTION_UPDATE, "/c");
    ck_assert(!has_news(fd));
    turn();
    ck_assert_int_eq(recv(fd, bytes, sizeof bytes, 0), 30);
    ck_assert_int_eq(memcmp(bytes, "SHOW /a\nSHOW /b\nUPDATE /c \"x\"\n", 30), 0);
    show("/d");
    sttp_async_flush(test.loop.async);
    ck_assert(has_news(fd));
    close(fd);
    close_test();
}
END_TEST

/* ---- limits ---- */

START_TEST(test_in_flight_and_queue)
{
    sttp_request request = request_for(STTP_ACTION_SHOW, "/x");
    sttp_call *call = (sttp_call *)&test;
    int fd;

    open_test((sttp_pool_options){.max_in_flight = 2, .max_queued = 2});
    fd = warm_up();
    for (int i = 0; i < 4; i++)
        show("/a");
    ck_assert_int_eq(sttp_pool_request(test.pool, &request, done, NULL, &call),
                     STTP_ERR_PIPELINE_FULL);
    ck_assert_ptr_null(call);
    ck_assert_uint_eq(counts().in_flight, 2);
    ck_assert_uint_eq(counts().queued, 2);
    hear(fd, "SHOW /a\nSHOW /a\n");
    hear_nothing(fd);
    say(fd, "200 /a OK\n1\n");
    hear(fd, "SHOW /a\n");
    ck_assert_uint_eq(counts().queued, 1);
    show("/b");
    say(fd, "200 /a OK\n2\n200 /a OK\n3\n");
    hear(fd, "SHOW /a\nSHOW /b\n");
    say(fd, "200 /a OK\n4\n200 /b OK\n5\n");
    for (size_t i = 0; i < 5; i++)
        check_answer(&test.results[2 + i], (char[]){(char)('1' + i), '\0'});
    close(fd);
    close_test();
}
END_TEST

START_TEST(test_connections)
{
    int fds[3];

    open_test((sttp_pool_options){.max_connections = 3});
    for (int i = 0; i < 8; i++)
        show("/a");
    for (int i = 0; i < 3; i++) {
        fds[i] = accept_peer();
        hear(fds[i], "SHOW /a\n");
        hear_nothing(fds[i]); /* not before its second answer */
    }
    ck_assert_uint_eq(counts().connections, 3);
    ck_assert_uint_eq(counts().in_flight, 3);
    ck_assert_uint_eq(counts().queued, 5);
    for (int i = 0; i < 2; i++) {
        say(fds[0], "200 /a OK\nx\n");
        hear(fds[0], "SHOW /a\n");
    }
    hear(fds[0], "SHOW /a\nSHOW /a\nSHOW /a\n");
    ck_assert_uint_eq(counts().queued, 0);
    hear_nothing(test.listener);
    say(fds[1], "200 /a OK\nx\n");
    show("/b");
    hear(fds[0], "SHOW /b\n"); /* the one with the most */
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    close_test();
}
END_TEST

/* What a server holds others back for is kept apart from what it answers at once. */
START_TEST(test_changes_apart)
{
    int fds[2];

    open_test((sttp_pool_options){.max_connections = 2});
    fds[0] = warm_up();
    show("/a");
    hear(fds[0], "SHOW /a\n");
    ask(STTP_ACTION_DELETE, "/b"); /* no other one is there yet */
    hear(fds[0], "DELETE /b\n");
    fds[1] = accept_peer();
    show("/c");
    hear(fds[1], "SHOW /c\n");
    say(fds[1], "200 /c OK\nx\n");
    show("/d");
    hear(fds[1], "SHOW /d\n");
    say(fds[1], "200 /d OK\nx\n");
    await_results(4);
    ask(STTP_ACTION_LIST, "/");
    hear(fds[1], "LIST /\n"); /* the one with the fewest */
    show("/e");
    hear(fds[1], "SHOW /e\n"); /* both have such: the same */
    say(fds[0], "200 /a OK\nx\n600 /b DELETED\n");
    await_results(6);
    for (int i = 0; i < 2; i++) {
        show("/f");
        hear(fds[0], "SHOW /f\n");
    }
    for (int i = 0; i < 2; i++)
        close(fds[i]);
    close_test();
}
END_TEST

START_TEST(test_minimum)
{
    int fds[2];

    open_test(
        (sttp_pool_options){.min_connections = 2, .max_connections = 4, .idle_timeout_ms = 1000});
    fds[0] = accept_peer();
    fds[1] = accept_peer();
    ck_assert_uint_eq(counts().connections, 2);
    hear_nothing(test.listener);
    for (int i = 0; i < 5; i++) {
        pass_time(1001);
        turns();
    }
    hear_nothing(fds[0]);
    hear_nothing(fds[1]);
    close(fds[0]);
    turns();
    pass_time(1000); /* nothing was ever answered: it waits */
    fds[0] = accept_peer();
    close(fds[0]);
    close(fds[1]);
    close_test();
}
END_TEST

START_TEST(test_arguments)
{
    static const char *const names[] = {"name"};
    static const char long_preamble[4097] = "";
    static const sttp_pool_options wrong[] = {
        {.host = NULL},
        {.host = ""},
        {.host = "a\nb"},
        {.host = "h", .family = AF_UNIX},
        {.host = "h", .connect_timeout_ms = UINT_MAX},
        {.host = "h", .min_connections = 5},
        {.host = "h", .backoff_min_ms = 5, .backoff_max_ms = 4},
        {.host = "h", .max_contents = STTP_MAX_CONTENTS_LINE + 1},
        {.host = "h", .address_count = 1},
        {.host = "h", .addresses = names, .address_count = 1},
        {.host = "h", .preamble_size = 1},
        {.host = "h", .preamble = long_preamble, .preamble_size = sizeof long_preamble},
    };
    const sttp_request bad = {.action = STTP_ACTION_SHOW, .path = STTP_SLICE("a")};
    sttp_async_options none = {.size = sizeof none};
    sttp_async *async;
    sttp_pool *pool;

    open_test((sttp_pool_options){0});
    for (size_t i = 0; i < COUNT(wrong); i++) {
        sttp_pool_options options = wrong[i];

        options.size = sizeof options;
        pool = test.pool;
        ck_assert_int_eq(sttp_pool_create(test.loop.async, &options, &pool), STTP_ERR_ARGUMENT);
        ck_assert_ptr_null(pool);
    }
    ck_assert_int_eq(sttp_async_create(&none, &async), STTP_ERR_ARGUMENT);
    ck_assert_int_eq(sttp_pool_request(test.pool, &bad, done, NULL, NULL), STTP_ERR_PATH_RELATIVE);
    turns();
    hear_nothing(test.listener);
    sttp_pool_destroy(NULL);
    sttp_async_destroy(NULL);
    sttp_call_cancel(NULL);
    close_test();
}
END_TEST

int main(void)
{
    TCase *cases = tcase_create("async");

    tcase_add_test(cases, test_answer);
    tcase_add_test(cases, test_answers_in_pieces);
    tcase_add_test(cases, test_large);
    tcase_add_loop_test(cases, test_plain_hosts, 0, 3);
    tcase_add_test(cases, test_origin);
    tcase_add_test(cases, test_preamble);
    tcase_add_test(cases, test_connected_to_itself);
    tcase_add_test(cases, test_unix_socket);
    tcase_add_test(cases, test_together);
    tcase_add_test(cases, test_in_flight_and_queue);
    tcase_add_test(cases, test_connections);
    tcase_add_test(cases, test_changes_apart);
    tcase_add_test(cases, test_minimum);
    tcase_add_test(cases, test_arguments);
    return run_cases("async", cases);
}
