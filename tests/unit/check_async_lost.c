/* The asynchronous client and connections that end: what is repeated, what is told as unknown, and
 * that no answer reaches a request that it is not for. */
#include "async_support.h"

/* ---- connections that are closed ---- */

/* The peer has answered one and closes: all that was not answered goes to the next connection, but
 * for the change that was sent. */
START_TEST(test_closed_among_answers)
{
    result *r[5];
    int fd, next;

    open_test((sttp_pool_options){0});
    fd = warm_up();
    r[0] = show("/a");
    r[1] = show("/b");
    r[2] = ask(STTP_ACTION_UPDATE, "/c");
    r[3] = show("/d");
    hear(fd, "SHOW /a\nSHOW /b\nUPDATE /c \"x\"\nSHOW /d\n");
    ck_assert_int_eq(send(fd, "200 /a OK\na\n", 12, 0), 12);
    close(fd);
    next = accept_peer();
    check_answer(r[0], "a");
    check_unknown(r[2], STTP_ERR_EMPTY_ANSWER);
    hear(next, "SHOW /b\n"); /* one, until two were answered */
    hear_nothing(next);
    r[4] = ask(STTP_ACTION_UPDATE, "/e");
    say(next, "200 /b OK\nb\n");
    hear(next, "SHOW /d\n");
    say(next, "200 /d OK\nd\n");
    hear(next, "UPDATE /e \"x\"\n");
    say(next, "200 /e OK\nx\n");
    check_answer(r[1], "b");
    check_answer(r[3], "d");
    check_answer(r[4], "x");
    ck_assert_str_eq(test.events, " connected:0 lost:3 connected:0");
    close(next);
    close_test();
}
END_TEST

/* The second time the same request is the one that a connection ends with. */
START_TEST(test_repeated_once)
{
    result *r;
    int fd;

    open_test((sttp_pool_options){0});
    fd = warm_up();
    r = show("/a");
    hear(fd, "SHOW /a\n");
    close(fd);
    fd = accept_peer();
    hear(fd, "SHOW /a\n");
    close(fd);
    await_results(3);
    check_error(r, STTP_ERR_EMPTY_ANSWER, STTP_PHASE_RECEIVE,
                " closed the connection without an answer to SHOW /a, after ");
    hear_nothing(test.listener);
    close_test();
}
END_TEST

START_TEST(test_never_repeated)
{
    result *r[4];
    int fd;

    open_test((sttp_pool_options){.no_repeat = true});
    fd = warm_up();
    r[0] = show("/a");
    r[1] = ask(STTP_ACTION_LIST, "/b");
    hear(fd, "SHOW /a\nLIST /b\n");
    r[2] = show("/c");
    r[3] = ask(STTP_ACTION_DELETE, "/d");
    close(fd);
    fd = accept_peer();
    check_error(r[0], STTP_ERR_EMPTY_ANSWER, STTP_PHASE_RECEIVE, "SHOW /a");
    check_error(r[1], STTP_ERR_EMPTY_ANSWER, STTP_PHASE_RECEIVE, "without an answer, after");
    hear(fd, "SHOW /c\n"); /* of these no byte was sent */
    say(fd, "200 /c OK\nc\n");
    hear(fd, "DELETE /d\n");
    close(fd);
    close_test();
}
END_TEST

static size_t repeat_one(void *context, size_t count)
{
    *(size_t *)context += count;
    return 1;
}

/* Changes and what was not sent do not count, and the oldest one is the first of them. */
START_TEST(test_some_are_repeated)
{
    size_t asked = 0;
    result *r[4];
    int fd;

    open_test((sttp_pool_options){.may_repeat = repeat_one, .may_repeat_context = &asked});
    fd = warm_up();
    r[0] = show("/a");
    r[1] = show("/b");
    r[2] = show("/c");
    hear(fd, "SHOW /a\nSHOW /b\nSHOW /c\n");
    r[3] = ask(STTP_ACTION_DELETE, "/d");
    close(fd);
    fd = accept_peer();
    check_error(r[1], STTP_ERR_EMPTY_ANSWER, STTP_PHASE_RECEIVE, "without an answer, after");
    check_error(r[2], STTP_ERR_EMPTY_ANSWER, STTP_PHASE_RECEIVE, "without an answer, after");
    ck_assert_uint_eq(asked, 3);
    hear(fd, "SHOW /a\n");
    say(fd, "200 /a OK\na\n");
    check_answer(r[0], "a");
    hear(fd, "DELETE /d\n");
    close(fd);
    await_results(6);
    check_unknown(r[3], STTP_ERR_EMPTY_ANSWER);
    ck_assert_uint_eq(asked, 3);
    close_test();
}
END_TEST

START_TEST(test_cut_short)
{
    result *r[2];
    int fd;

    open_test((sttp_pool_options){0});
    fd = warm_up();
    r[0] = show("/a");
    hear(fd, "SHOW /a\n");
    say(fd, "200 /a OK\nhal");
    reset(fd);
    check_error(r[0], STTP_ERR_CONNECTION_LOST, STTP_PHASE_RECEIVE,
                " lost the connection in the middle of the answer to SHOW /a: Connection reset by "
                "peer; what came begins with \"200 /a OK\\nhal\", after ");
    ck_assert_int_eq(r[0]->error.system_errno, ECONNRESET);
    r[1] = ask(STTP_ACTION_UPDATE, "/a");
    fd = accept_peer();
    hear(fd, "UPDATE /a \"x\"\n");
    ck_assert_int_eq(send(fd, "200 /a OK\n", 10, 0), 10);
    close(fd); /* other servers leave out the line of an UPDATE */
    await_results(4);
    check_answer(r[1], "");
    close_test();
}
END_TEST

/* A connection that was closed while it was idle is not written to. */
START_TEST(test_stale)
{
    result *r;
    int fd, next;

    open_test((sttp_pool_options){0});
    fd = warm_up();
    pass_time(10);
    close(fd);
    r = ask(STTP_ACTION_CREATE, "/a"); /* the loop has not told of the end yet */
    next = accept_peer();
    hear(next, "CREATE /a \"x\"\n");
    say(next, "100 /a CREATED\n");
    ck_assert_uint_eq(r->times, 1);
    ck_assert_int_eq(r->code, STTP_CODE_CREATED);
    ck_assert_str_eq(test.events, " connected:0 lost:0 connected:0");
    close(next);
    close_test();
}
END_TEST

/* Nor does one that was never used fail a request that it carried no byte of. */
START_TEST(test_stale_unused)
{
    result *r;
    int fd, next;

    open_test((sttp_pool_options){.min_connections = 1});
    fd = accept_peer();
    pass_time(10);
    close(fd);
    r = ask(STTP_ACTION_CREATE, "/a");
    turns();
    pass_time(100); /* it waits before it connects again */
    next = accept_peer();
    hear(next, "CREATE /a \"x\"\n");
    say(next, "100 /a CREATED\n");
    ck_assert_int_eq(r->code, STTP_CODE_CREATED);
    close(next);
    close_test();
}
END_TEST

/* ---- servers that close after each answer ---- */

START_TEST(test_one_answer_each)
{
    result *r[6];
    int fd;

    open_test((sttp_pool_options){0});
    for (int i = 0; i < 6; i++)
        r[i] = ask(i % 2 == 0 ? STTP_ACTION_UPDATE : STTP_ACTION_SHOW, "/a");
    for (int i = 0; i < 6; i++) {
        fd = accept_peer();
        hear(fd, i % 2 == 0 ? "UPDATE /a \"x\"\n" : "SHOW /a\n");
        ck_assert_int_eq(send(fd, "200 /a OK\nx\n", 12, 0), 12);
        shutdown(fd, SHUT_WR);
        if (i == 0) /* the next may have been sent before the end was seen */
            turns();
        else
            hear_end(dup(fd));
        close(fd);
    }
    await_results(6);
    for (int i = 0; i < 6; i++)
        check_answer(r[i], "x");
    close_test();
}
END_TEST

/* One that was restarted at a bad moment is not taken for such a server for ever. */
START_TEST(test_one_answer_once)
{
    result *r;
    int fd, connections = 1;

    open_test((sttp_pool_options){0});
    r = show("/a");
    fd = accept_peer();
    hear(fd, "SHOW /a\n");
    say(fd, "200 /a OK\nx\n");
    check_answer(r, "x");
    peer_end(fd, false);
    turns();
    do {
        r = show("/a");
        fd = accept_peer();
        hear(fd, "SHOW /a\n");
        say(fd, "200 /a OK\nx\n");
        check_answer(r, "x");
        connections++;
        if (counts().connections == 0)
            hear_end(fd);
    } while (counts().connections == 0 && connections < 200);
    ck_assert_int_ge(connections, 50);
    r = show("/b");
    hear(fd, "SHOW /b\n");
    say(fd, "200 /b OK\nb\n");
    check_answer(r, "b");
    close(fd);
    close_test();
}
END_TEST

/* A change that is the second request of the first connection is held back for a moment. */
START_TEST(test_settles)
{
    result *r[2];
    int fd;

    open_test((sttp_pool_options){0});
    r[0] = show("/a");
    fd = accept_peer();
    r[1] = ask(STTP_ACTION_DELETE, "/b");
    hear(fd, "SHOW /a\n");
    say(fd, "200 /a OK\nx\n");
    check_answer(r[0], "x");
    hear_nothing(fd);
    hear_nothing(test.listener);
    pass_time(20);
    hear(fd, "DELETE /b\n");
    say(fd, "600 /b DELETED\n");
    ck_assert_int_eq(r[1]->code, STTP_CODE_DELETED);
    close(fd);
    close_test();
}
END_TEST

/* ---- answers that are not right ---- */

START_TEST(test_wrong_answers)
{
    static const struct {
        const char *bytes;
        sttp_status status;
        const char *text;
    } wrong[] = {
        {"200 /b OK\nb\n", STTP_ERR_WRONG_ANSWER,
         " answered SHOW /a with a response that speaks of \"/b\""},
        {"hello\n", STTP_ERR_BAD_ANSWER, " sent what is no STTP response: \"hello\\n\" ("},
        {"410 /b/ PATH NOT FOUND\n", STTP_ERR_WRONG_ANSWER, "speaks of \"/b/\""},
        {"200 /a OK\n12345678901\n", STTP_ERR_CONTENTS_LINE_TOO_LONG,
         "the answer to SHOW /a has more than 10 bytes of contents"},
    };
    result *r[4];
    int fd, next;

    open_test((sttp_pool_options){.max_contents = 10});
    fd = warm_up();
    r[0] = show("/a");
    r[1] = ask(STTP_ACTION_UPDATE, "/b");
    r[2] = show("/b");
    hear(fd, "SHOW /a\nUPDATE /b \"x\"\nSHOW /b\n");
    r[3] = ask(STTP_ACTION_CREATE, "/d");
    ck_assert_int_gt(send(fd, wrong[_i].bytes, strlen(wrong[_i].bytes), 0), 0);
    next = accept_peer();
    check_error(r[0], wrong[_i].status, STTP_PHASE_RECEIVE, wrong[_i].text);
    check_unknown(r[1], wrong[_i].status);
    ck_assert(!r[0]->error.behind && r[1]->error.behind);
    hear_end(fd);
    hear(next, "SHOW /b\n");
    say(next, "200 /b OK\nb\n");
    check_answer(r[2], "b");
    hear(next, "CREATE /d \"x\"\n");
    close(next);
    close_test();
}
END_TEST

/* While nothing is asked, behind the last answer, and ahead of a request. */
START_TEST(test_unasked)
{
    result *r[3];
    int fd, next;

    open_test((sttp_pool_options){0});
    fd = warm_up();
    say(fd, "200 /a OK\nfalse\n");
    hear_end(fd);
    r[0] = show("/a");
    fd = accept_peer();
    hear(fd, "SHOW /a\n");
    say(fd, "200 /a OK\ntrue\n200 /a OK\nfalse\n");
    hear_end(fd);
    check_answer(r[0], "true");
    r[1] = show("/a");
    fd = accept_peer();
    hear(fd, "SHOW /a\n");
    say(fd, "200 /a OK\ntrue\n");
    pass_time(10);
    r[2] = show("/a");
    ck_assert_int_gt(send(fd, "200 /a OK\nfalse\n", 16, 0), 0);
    sttp_async_flush(test.loop.async); /* the loop has not told of these bytes yet */
    hear_end(fd);
    next = accept_peer();
    hear(next, "SHOW /a\n");
    say(next, "200 /a OK\ntrue\n");
    check_answer(r[1], "true");
    check_answer(r[2], "true");
    ck_assert_str_eq(test.events,
                     " connected:0 lost:0 connected:0 lost:0 connected:0 lost:0 connected:0");
    close(next);
    close_test();
}
END_TEST

static void ask_again_and_flush(result *r)
{
    (void)r;
    show("/a");
    sttp_async_flush(test.loop.async);
}

/* A callback that asks for the very thing that the surplus bytes tell of, and sends it at once. */
START_TEST(test_unasked_in_callback)
{
    int fd, next;

    open_test((sttp_pool_options){0});
    fd = warm_up();
    ask_then(STTP_ACTION_SHOW, "/b", ask_again_and_flush);
    hear(fd, "SHOW /b\n");
    say(fd, "200 /b OK\nb\n200 /a OK\nfalse\n");
    hear_end(fd);
    next = accept_peer();
    hear(next, "SHOW /a\n");
    say(next, "200 /a OK\ntrue\n");
    check_answer(&test.results[3], "true");
    close(next);
    close_test();
}
END_TEST

/* A peer that greets: each connection ends one request, none is tried without end. */
START_TEST(test_greeting)
{
    result *r[2];
    int fd;

    open_test((sttp_pool_options){0});
    r[0] = show("/a");
    r[1] = show("/b");
    turn();
    turn();
    fd = accept(test.listener, NULL, NULL);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(send(fd, "220 hello\n", 10, 0), 10);
    turns();
    ck_assert_uint_eq(r[0]->times, 1);
    ck_assert_uint_eq(r[1]->times, 0);
    pass_time(100);
    fd = accept_peer();
    close(fd);
    await_results(2);
    ck_assert_int_ne(r[0]->status, STTP_OK);
    ck_assert_int_ne(r[1]->status, STTP_OK);
    close_test();
}
END_TEST

/* ---- connections that cannot be made ---- */

START_TEST(test_refused)
{
    result *r[3];

    open_test((sttp_pool_options){.queue_timeout_ms = 60000});
    close(test.listener);
    r[0] = show("/a");
    r[1] = ask(STTP_ACTION_CREATE, "/b");
    await_results(2);
    check_error(r[0], STTP_ERR_CONNECT, STTP_PHASE_CONNECT, "cannot connect to test: 127.0.0.1:");
    check_error(r[1], STTP_ERR_CONNECT, STTP_PHASE_CONNECT, " (Connection refused), after ");
    ck_assert_int_eq(r[0]->error.system_errno, ECONNREFUSED);
    ck_assert_str_eq(test.events, " unreachable:0");
    close_test();
}
END_TEST

/* Each failure doubles what is waited for at most. That all of it is under 400 ms is as good as
 * impossible. A first answer begins it anew. */
START_TEST(test_backoff)
{
    uint64_t all = 0;
    uint64_t began, waited[7];
    int fd;

    open_test((sttp_pool_options){
        .queue_timeout_ms = 600000, .backoff_min_ms = 1000, .backoff_max_ms = 8000});
    close(test.listener);
    for (unsigned i = 0; i < COUNT(waited); i++) {
        show("/a");
        began = clock_offset;
        await_timers(i + 1, 8001);
        waited[i] = (clock_offset - began) / 1000;
        ck_assert_uint_le(waited[i], 1 + (i == 0 ? 0 : i < 4 ? 1000U << (i - 1) : 8000));
        all += waited[i];
    }
    ck_assert_uint_ge(all, 400);
    test.listener = listening_socket("127.0.0.1", test.port);
    show("/a");
    pass_time(8000);
    fd = accept_peer();
    hear(fd, "SHOW /a\n");
    say(fd, "200 /a OK\nx\n");
    close(test.listener);
    close(fd);
    turns();
    show("/a");
    await_results(COUNT(waited) + 2);
    show("/a");
    await_timers(COUNT(waited) + 3, 1001);
    test.listener = -1;
    close_test();
}
END_TEST

/* The first address does not answer, the second refuses, the third accepts. */
START_TEST(test_race)
{
    static const char *const three[] = {"127.0.0.2", "127.0.0.3", "127.0.0.1"};
    black_hole hole = black_hole_open("127.0.0.2");
    result *r;
    int fd;

    open_client(NULL);
    close(test.listener);
    test.port = port_of(hole.listener);
    test.listener = listening_socket("127.0.0.1", test.port);
    test.pool = make_pool((sttp_pool_options){.addresses = three, .address_count = 3});
    r = show("/a");
    turns();
    ck_assert_uint_eq(counts().connecting, 1);
    hear_nothing(test.listener);
    pass_time(250);
    fd = accept_peer();
    hear(fd, "SHOW /a\n");
    say(fd, "200 /a OK\nx\n");
    check_answer(r, "x");
    ck_assert_uint_eq(counts().connecting, 0);
    close(fd);
    close_test();
    black_hole_close(&hole);
}
END_TEST

START_TEST(test_race_late)
{
    black_hole hole = black_hole_open("127.0.0.1");
    result *r;

    open_client(NULL);
    close(test.listener);
    test.port = port_of(hole.listener);
    test.pool = make_pool((sttp_pool_options){.connect_timeout_ms = 400});
    r = show("/a");
    turns();
    pass_time(399);
    turns();
    ck_assert_uint_eq(r->times, 0);
    pass_time(1);
    await_results(1);
    check_error(r, STTP_ERR_TIMEOUT, STTP_PHASE_CONNECT,
                " (no answer): the connect timeout has passed, after 400 ms");
    test.listener = -1;
    close_test();
    black_hole_close(&hole);
}
END_TEST

static bool permit_one(void *context, const struct sockaddr *address)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;

    strcat(context, ntohl(in->sin_addr.s_addr) == INADDR_LOOPBACK ? "yes " : "no ");
    return ntohl(in->sin_addr.s_addr) == INADDR_LOOPBACK;
}

START_TEST(test_permit)
{
    static const char *const two[] = {"127.0.0.2", "127.0.0.1"};
    char asked[64] = "";
    result *r;
    int fd;

    open_client(NULL);
    test.pool = make_pool((sttp_pool_options){
        .addresses = two, .address_count = 2, .permit = permit_one, .permit_context = asked});
    show("/a");
    fd = accept_peer();
    ck_assert_str_eq(asked, "no yes ");
    test.pool = make_pool((sttp_pool_options){
        .addresses = two, .address_count = 1, .permit = permit_one, .permit_context = asked});
    r = show("/a");
    await_results(1);
    check_error(r, STTP_ERR_DENIED, STTP_PHASE_CONNECT, "127.0.0.2:");
    check_error(r, STTP_ERR_DENIED, STTP_PHASE_CONNECT, " (not permitted)");
    ck_assert_str_eq(asked, "no yes no ");
    close(fd);
    close_test();
}
END_TEST

int main(void)
{
    TCase *cases = tcase_create("lost");

    tcase_add_test(cases, test_closed_among_answers);
    tcase_add_test(cases, test_repeated_once);
    tcase_add_test(cases, test_never_repeated);
    tcase_add_test(cases, test_some_are_repeated);
    tcase_add_test(cases, test_cut_short);
    tcase_add_test(cases, test_stale);
    tcase_add_test(cases, test_stale_unused);
    tcase_add_test(cases, test_one_answer_each);
    tcase_add_test(cases, test_one_answer_once);
    tcase_add_test(cases, test_settles);
    tcase_add_loop_test(cases, test_wrong_answers, 0, 4);
    tcase_add_test(cases, test_unasked);
    tcase_add_test(cases, test_unasked_in_callback);
    tcase_add_test(cases, test_greeting);
    tcase_add_test(cases, test_refused);
    tcase_add_test(cases, test_backoff);
    tcase_add_test(cases, test_race);
    tcase_add_test(cases, test_race_late);
    tcase_add_test(cases, test_permit);
    return run_cases("async_lost", cases);
}
