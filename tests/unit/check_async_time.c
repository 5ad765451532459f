/* The asynchronous client and time: what waits for too long ends, and drags nobody along. */
#include "async_support.h"

START_TEST(test_queue_timeout)
{
    result *r[3];
    int fd;

    open_test((sttp_pool_options){.queue_timeout_ms = 100, .max_in_flight = 1});
    r[0] = show("/a");
    fd = accept_peer();
    hear(fd, "SHOW /a\n");
    r[1] = ask(STTP_ACTION_CREATE, "/b");
    pass_time(60);
    turns();
    r[2] = show("/c");
    pass_time(40);
    turns();
    check_error(r[1], STTP_ERR_TIMEOUT, STTP_PHASE_QUEUE,
                "no connection for CREATE /b to test: the queue timeout has passed, after 100 ms");
    ck_assert_uint_eq(r[2]->times, 0);
    say(fd, "200 /a OK\nx\n");
    hear(fd, "SHOW /c\n");
    say(fd, "200 /c OK\nc\n");
    check_answer(r[2], "c");
    close(fd);
    close_test();
}
END_TEST

/* An answer that does not come ends its request alone. Those behind it get theirs, what was not
 * sent goes elsewhere, and so does what is new. */
START_TEST(test_late_answer)
{
    result *r[5];
    int fd, other;

    open_test((sttp_pool_options){.request_timeout_ms = 1000, .max_connections = 2});
    fd = warm_up();
    r[0] = ask(STTP_ACTION_UPDATE, "/a");
    r[1] = show("/a");
    hear(fd, "UPDATE /a \"x\"\nSHOW /a\n");
    other = accept_peer();
    close(other); /* a second one is of no use yet */
    close(test.listener);
    turns();
    pass_time(500);
    r[2] = show("/b");
    hear(fd, "SHOW /b\n");
    test.listener = listening_socket("127.0.0.1", test.port);
    pass_time(500);
    turns();
    check_unknown(r[0], STTP_ERR_TIMEOUT);
    ck_assert_ptr_nonnull(
        strstr(r[0]->error.text, ": the request timeout has passed, after 1000 ms"));
    check_error(r[1], STTP_ERR_TIMEOUT, STTP_PHASE_RECEIVE, "no answer to SHOW /a from 127.0.0.1:");
    ck_assert_uint_eq(r[2]->times, 0);
    ck_assert_uint_eq(counts().abandoned, 2);
    ck_assert_uint_eq(counts().in_flight, 1);
    r[3] = show("/c");
    pass_time(400); /* it waits to connect again */
    other = accept_peer();
    hear(other, "SHOW /c\n");
    say(fd, "200 /a OK\nlate\n200 /a OK\nlate\n200 /b OK\nb\n");
    check_answer(r[2], "b");
    hear_end(fd);
    say(other, "200 /c OK\nc\n");
    check_answer(r[3], "c");
    ck_assert_uint_eq(counts().connections, 1);
    close(other);
    close_test();
}
END_TEST

START_TEST(test_late_for_ever)
{
    result *r[2];
    int fd;

    open_test((sttp_pool_options){.request_timeout_ms = 1000});
    fd = warm_up();
    r[0] = show("/a");
    hear(fd, "SHOW /a\n");
    pass_time(700);
    turns();
    r[1] = show("/b");
    hear(fd, "SHOW /b\n");
    say(fd, "200 /a OK\nhal");
    pass_time(300);
    turns();
    check_error(r[0], STTP_ERR_TIMEOUT, STTP_PHASE_RECEIVE,
                "; what came begins with \"200 /a OK\\nhal\", after 1000 ms");
    ck_assert_uint_eq(r[1]->times, 0);
    hear_nothing(fd);
    pass_time(700);
    turns();
    check_error(r[1], STTP_ERR_TIMEOUT, STTP_PHASE_RECEIVE, "SHOW /b");
    ck_assert_uint_eq(counts().connections, 0);
    hear_end(fd);
    ck_assert_str_eq(test.events, " connected:0 late:2 late:2");
    close_test();
}
END_TEST

/* What came while the program did something else was in time. */
START_TEST(test_read_before_late)
{
    result *r;
    int fd;

    open_test((sttp_pool_options){.request_timeout_ms = 1000});
    fd = warm_up();
    r = show("/a");
    hear(fd, "SHOW /a\n");
    ck_assert_int_eq(send(fd, "200 /a OK\nx\n", 12, 0), 12);
    pass_time(5000);
    sttp_async_expire(test.loop.async);
    check_answer(r, "x");
    close(fd);
    close_test();
}
END_TEST

START_TEST(test_total_timeout)
{
    result *r[3];
    int fd;

    open_test((sttp_pool_options){.total_timeout_ms = 300, .max_in_flight = 2});
    fd = warm_up();
    r[0] = ask(STTP_ACTION_DELETE, "/a");
    r[1] = show("/b");
    r[2] = show("/c");
    hear(fd, "DELETE /a\nSHOW /b\n");
    pass_time(299);
    turns();
    ck_assert_uint_eq(test.finished, 2);
    pass_time(1);
    turns();
    check_unknown(r[0], STTP_ERR_TIMEOUT);
    check_error(r[1], STTP_ERR_TIMEOUT, STTP_PHASE_RECEIVE,
                "the total timeout has passed, after 300 ms");
    check_error(r[2], STTP_ERR_TIMEOUT, STTP_PHASE_QUEUE, "no connection for SHOW /c to test");
    ck_assert_uint_eq(counts().abandoned, 2);
    say(fd, "600 /a DELETED\n200 /b OK\nb\n");
    ck_assert_uint_eq(counts().abandoned, 0);
    r[0] = show("/d");
    hear(fd, "SHOW /d\n");
    say(fd, "200 /d OK\nd\n");
    check_answer(r[0], "d");
    close(fd);
    close_test();
}
END_TEST

/* A peer that reads nothing: what it was not sent goes elsewhere. */
START_TEST(test_full_socket)
{
    static char text[STTP_MAX_CONTENTS_CHARS + 1];
    sttp_request request = {.action = STTP_ACTION_CREATE, .path = STTP_SLICE("/a")};
    size_t asked = 0, unknown = 0;
    int fd, other;

    open_client(NULL);
    setsockopt(test.listener, SOL_SOCKET, SO_RCVBUF, &(const int){1}, sizeof(int));
    test.pool = make_pool((sttp_pool_options){
        .request_timeout_ms = 1000, .max_in_flight = 100000, .max_queued = 100000});
    fd = warm_up();
    memset(text, 'x', sizeof text - 1);
    request.contents = (sttp_slice){text, sizeof text - 1};
    while (asked < 50000) {
        ck_assert_int_eq(
            sttp_pool_request(test.pool, &request, done, &test.results[2 + asked % 500], NULL),
            STTP_OK);
        asked++;
    }
    for (size_t i = 0; i < 500; i++)
        test.results[2 + i].times = 0;
    turns();
    ck_assert_uint_eq(counts().in_flight, asked);
    pass_time(1000);
    turns();
    ck_assert_uint_lt(test.finished, asked);
    ck_assert_uint_gt(test.finished, 10);
    unknown = test.finished - 2;
    ck_assert_uint_eq(counts().queued + counts().in_flight, asked - unknown);
    other = accept_peer();
    hear(other, "CREATE /a \"xxx");
    sttp_pool_destroy(test.pool);
    ck_assert_uint_eq(test.finished, asked + 2);
    close(fd);
    close(other);
    close_test();
}
END_TEST

START_TEST(test_idle_timeout)
{
    int fd;

    open_test((sttp_pool_options){.idle_timeout_ms = 1000});
    fd = warm_up();
    pass_time(999);
    turns();
    ck_assert_uint_eq(counts().connections, 1);
    pass_time(1);
    turns();
    hear_end(fd);
    ck_assert_uint_eq(counts().connections, 0);
    ck_assert_str_eq(test.events, " connected:0");
    close_test();
}
END_TEST

/* The loop's timer is set for the first request, not for each. */
START_TEST(test_few_timers)
{
    int fd;

    open_test((sttp_pool_options){0});
    fd = warm_up();
    for (int i = 0; i < 100; i++) {
        uint64_t expires = test.loop._expires;

        show("/a");
        hear(fd, "SHOW /a\n");
        ck_assert(test.loop._expires == expires);
        say(fd, "200 /a OK\nx\n");
        ck_assert(test.loop._expires == expires);
    }
    close(fd);
    close_test();
}
END_TEST

/* Nothing has happened for long when a pool is made; and the program takes its time between a
 * request and the end of the turn. No deadline begins before what it is for. */
START_TEST(test_time_between_turns)
{
    result *r;
    int fd;

    open_client(NULL);
    turns();
    pass_time(60000);
    test.pool = make_pool((sttp_pool_options){.min_connections = 1,
                                              .max_connections = 2,
                                              .connect_timeout_ms = 1000,
                                              .max_in_flight = 1});
    turn();
    sttp_async_expire(test.loop.async);
    fd = accept_peer();
    show("/a");
    hear(fd, "SHOW /a\n");
    r = show("/b");
    pass_time(2000);
    turn();
    sttp_async_expire(test.loop.async);
    close(fd);
    fd = accept_peer();
    hear(fd, "SHOW /b\n");
    say(fd, "200 /b OK\nb\n");
    check_answer(r, "b");
    ck_assert_ptr_null(strstr(test.events, "unreachable"));
    close(fd);
    close_test();
}
END_TEST

int main(void)
{
    TCase *cases = tcase_create("time");

    tcase_add_test(cases, test_queue_timeout);
    tcase_add_test(cases, test_late_answer);
    tcase_add_test(cases, test_late_for_ever);
    tcase_add_test(cases, test_read_before_late);
    tcase_add_test(cases, test_total_timeout);
    tcase_add_test(cases, test_full_socket);
    tcase_add_test(cases, test_idle_timeout);
    tcase_add_test(cases, test_few_timers);
    tcase_add_test(cases, test_time_between_turns);
    return run_cases("async_time", cases);
}
