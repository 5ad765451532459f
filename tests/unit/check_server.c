/* The server engine: options, the order of answers, the end of a session. */
#include "server_support.h"

/* ---- options ---- */

static sttp_status try_options(sttp_server_options options)
{
    sttp_server *server = (sttp_server *)&options;
    sttp_status status = sttp_server_create(&options, &server);
    ck_assert_int_eq(server != NULL, status == STTP_OK);
    sttp_server_destroy(server);
    return status;
}

START_TEST(test_options)
{
    const sttp_server_options good = {.size = sizeof good, .handler = handle};
    sttp_server_options options = good;
    ck_assert_int_eq(try_options(options), STTP_OK);
    options.size = 0;
    ck_assert_int_eq(try_options(options), STTP_ERR_ARGUMENT);
    options = good;
    options.handler = NULL;
    ck_assert_int_eq(try_options(options), STTP_ERR_ARGUMENT);
    options = good;
    options.workers = 1025;
    ck_assert_int_eq(try_options(options), STTP_ERR_ARGUMENT);
    options = good;
    options.idle_timeout = 1u << 31;
    ck_assert_int_eq(try_options(options), STTP_ERR_ARGUMENT);
}
END_TEST

START_TEST(test_states)
{
    struct fixture *fixture = make_fixture();
    sttp_server_options options = with_fixture(fixture, (sttp_server_options){0});
    ck_assert_int_eq(sttp_server_create(&options, &fixture->server), STTP_OK);
    ck_assert_int_eq(sttp_server_start(fixture->server), STTP_ERR_STATE);
    ck_assert_ptr_null(sttp_server_address(fixture->server, 0));
    ck_assert_int_eq(sttp_server_listen(fixture->server, "127.0.0.1:0"), STTP_OK);
    ck_assert_ptr_null(sttp_server_address(fixture->server, 1));
    ck_assert_int_eq(sttp_server_start(fixture->server), STTP_OK);
    ck_assert_int_eq(sttp_server_start(fixture->server), STTP_ERR_STATE);
    ck_assert_int_eq(sttp_server_listen(fixture->server, "127.0.0.1:0"), STTP_ERR_STATE);
    stop(fixture);
    sttp_server_destroy(NULL);
}
END_TEST

START_TEST(test_reason_texts)
{
    for (int i = STTP_CLOSE_NONE; i <= STTP_CLOSE_STOP; i++)
        for (int j = STTP_CLOSE_NONE; j < i; j++)
            ck_assert_str_ne(sttp_close_reason_text((sttp_close_reason)i),
                             sttp_close_reason_text((sttp_close_reason)j));
    ck_assert_str_eq(sttp_close_reason_text((sttp_close_reason)1000), "unknown reason");
}
END_TEST

/* ---- order ---- */

START_TEST(test_answers_come_in_order)
{
    struct fixture *fixture = start((sttp_server_options){0});
    int fd = client(fixture);
    send_text(fd, "SHOW /park1\nSHOW /park2\nSHOW /now\nbad\nSHOW /park3\n");
    wait_parked(fixture, 3);
    release_parked(fixture, 2);
    release_parked(fixture, 0);
    expect(fd, "200 /park1 OK\ntext\n");
    release_parked(fixture, 1);
    expect(fd, "200 /park2 OK\ntext\n200 /now OK\ntext\n300 - CLIENT ERROR \"");
    send_text(fd, "\n");
    char rest[512];
    size_t size = 0;
    ssize_t got;
    while ((got = recv(fd, rest + size, sizeof rest - 1 - size, 0)) > 0)
        size += (size_t)got;
    rest[size] = '\0';
    ck_assert_int_eq(got, 0);
    ck_assert_ptr_nonnull(strstr(rest, "\"\n200 /park3 OK\ntext\n"));
    close(fd);
    wait_reason(fixture, STTP_CLOSE_BY_CLIENT, 1);
    ck_assert_uint_eq(fixture->requests, 5);
    stop(fixture);
}
END_TEST

/* Though the other one's socket was ready before, and so is looked at first. */
START_TEST(test_who_waits_for_longest_runs_first)
{
    struct fixture *fixture = start((sttp_server_options){.workers = 1});
    int again = client(fixture);
    int waiting = client(fixture);
    send_text(again, "SHOW /block\n");
    wait_at_least(fixture, &fixture->blocked, 1);
    send_text(waiting, "SHOW /park-waiting\n");
    send_text(again, "SHOW /park-again\n");
    unblock(fixture);
    wait_parked(fixture, 2);
    ck_assert_str_eq(fixture->parked[0].path, "/park-waiting");
    ck_assert_str_eq(fixture->parked[1].path, "/park-again");
    release_parked(fixture, 0);
    release_parked(fixture, 1);
    expect(waiting, "200 /park-waiting OK\ntext\n");
    expect(again, "200 /block OK\ntext\n200 /park-again OK\ntext\n");
    close(again);
    close(waiting);
    stop(fixture);
}
END_TEST

enum { ANSWERED = 20, RUNS_PER_TURN = 8 };

/* Connections whose answers come from another thread go on a few at a time: a socket that became
 * ready after them does not wait for all. */
START_TEST(test_sockets_have_their_turn)
{
    struct fixture *fixture = start((sttp_server_options){0});
    int fds[ANSWERED], blocking = client(fixture), late = client(fixture);
    for (int i = 0; i < ANSWERED; i++) {
        fds[i] = client(fixture);
        send_text(fds[i], "UPDATE /park x\nSHOW /park-behind\n");
    }
    wait_parked(fixture, ANSWERED);
    send_text(blocking, "SHOW /block\n");
    wait_at_least(fixture, &fixture->blocked, 1);
    for (unsigned i = 0; i < ANSWERED; i++)
        release_parked(fixture, i);
    send_text(late, "SHOW /park-late\n");
    unblock(fixture);
    wait_parked(fixture, 2 * ANSWERED + 1);
    unsigned before = 0;
    while (strcmp(fixture->parked[ANSWERED + before].path, "/park-late") != 0)
        before++;
    ck_assert_uint_le(before, RUNS_PER_TURN);
    for (unsigned i = ANSWERED; i < 2 * ANSWERED + 1; i++)
        release_parked(fixture, i);
    expect(late, "200 /park-late OK\ntext\n");
    for (int i = 0; i < ANSWERED; i++) {
        expect(fds[i], "200 /park OK\ntext\n200 /park-behind OK\ntext\n");
        close(fds[i]);
    }
    close(blocking);
    close(late);
    stop(fixture);
}
END_TEST

START_TEST(test_change_waits_and_holds_back)
{
    struct fixture *fixture = start((sttp_server_options){0});
    int fd = client(fixture);
    int other = client(fixture);
    send_text(fd, "SHOW /park1\nUPDATE /park2 x\nSHOW /park3\nDELETE /now\nSHOW /now\n");
    for (unsigned i = 0; i < 3; i++) {
        wait_parked(fixture, i + 1);
        round_trip(other);
        ck_assert_uint_eq(current(fixture, &fixture->parked_count), i + 1);
        ck_assert_uint_eq(current(fixture, &fixture->handled), 2 * (i + 1));
        release_parked(fixture, i);
    }
    expect(fd, "200 /park1 OK\ntext\n200 /park2 OK\ntext\n200 /park3 OK\ntext\n"
               "600 /now DELETED\n200 /now OK\ntext\n");
    close(fd);
    close(other);
    stop(fixture);
}
END_TEST

/* A handler on the worker's thread may answer what another connection, or its own, has asked. */
START_TEST(test_answer_from_another_handler)
{
    struct fixture *fixture = start((sttp_server_options){0});
    int fd = client(fixture);
    int other = client(fixture);
    send_text(fd, "SHOW /park1\n");
    wait_parked(fixture, 1);
    exchange(other, "SHOW /release\n", "200 /release OK\ntext\n");
    expect(fd, "200 /park1 OK\ntext\n");
    close(fd);
    close(other);
    stop(fixture);

    fixture = start((sttp_server_options){0});
    fd = client(fixture);
    exchange(fd, "SHOW /park1\nSHOW /release\nSHOW /now\n",
             "200 /park1 OK\ntext\n200 /release OK\ntext\n200 /now OK\ntext\n");
    close(fd);
    stop(fixture);
}
END_TEST

enum { COUNT = 20000 };

static void *send_many(void *argument)
{
    int fd = *(int *)argument;
    char *requests = malloc(COUNT * sizeof "SHOW /now/00000\n");
    size_t size = 0;
    for (int i = 0; i < COUNT; i++)
        size += (size_t)sprintf(requests + size, "SHOW /now/%05d\n", i);
    send_bytes(fd, requests, size);
    free(requests);
    return NULL;
}

START_TEST(test_many_pipelined)
{
    struct fixture *fixture = start((sttp_server_options){0});
    int fd = client(fixture);
    pthread_t sender;
    ck_assert_int_eq(pthread_create(&sender, NULL, send_many, &fd), 0);
    for (int i = 0; i < COUNT; i++) {
        char response[64];
        snprintf(response, sizeof response, "200 /now/%05d OK\ntext\n", i);
        expect(fd, response);
    }
    pthread_join(sender, NULL);
    close(fd);
    stop(fixture);
}
END_TEST

START_TEST(test_refused_response_is_500)
{
    struct fixture *fixture = start((sttp_server_options){0});
    int fd = client(fixture);
    exchange(fd, "SHOW /bad\n", "500 /bad SERVER ERROR \"");
    send_text(fd, "\n");
    while (recv(fd, (char[64]){0}, 64, 0) > 0)
        ;
    close(fd);
    wait_reason(fixture, STTP_CLOSE_BY_CLIENT, 1);
    ck_assert_int_eq(fixture->bad_status, STTP_ERR_CONTROL_CHARACTER);
    fixture->bad_status = STTP_OK;
    stop(fixture);
}
END_TEST

START_TEST(test_connection_numbers)
{
    struct fixture *fixture = start((sttp_server_options){0});
    int first = client(fixture);
    exchange(first, "SHOW /id\n", "200 /id OK\n1\n");
    int second = client(fixture);
    exchange(second, "SHOW /id\n", "200 /id OK\n2\n");
    ck_assert_uint_eq(fixture->last_opened, 2);
    struct sockaddr_in own;
    socklen_t size = sizeof own;
    char peer[64];
    ck_assert_int_eq(getsockname(second, (struct sockaddr *)&own, &size), 0);
    snprintf(peer, sizeof peer, "127.0.0.1:%u", ntohs(own.sin_port));
    ck_assert_str_eq(fixture->last_peer, peer);
    close(first);
    close(second);
    stop(fixture);
}
END_TEST

static uint64_t coarse_clock(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static uint64_t time_in_handler[2];

/* The clock goes on meanwhile. */
static void note_time(void *context, const sttp_request *request, sttp_reply *reply)
{
    time_in_handler[0] = sttp_server_now();
    uint64_t begun = coarse_clock();
    while (coarse_clock() < begun + 20)
        usleep(1000);
    time_in_handler[1] = sttp_server_now();
    handle(context, request, reply);
}

START_TEST(test_time_of_a_request)
{
    struct fixture *fixture = start((sttp_server_options){.handler = note_time});
    int fd = client(fixture);
    exchange(fd, "SHOW /now\n", "200 /now OK\ntext\n");
    uint64_t sent = coarse_clock();
    exchange(fd, "SHOW /now\n", "200 /now OK\ntext\n");
    ck_assert_uint_ge(time_in_handler[0], sent);
    ck_assert_uint_eq(time_in_handler[1], time_in_handler[0]);
    ck_assert_uint_ge(sttp_server_now(), sent + 20);
    close(fd);
    stop(fixture);
}
END_TEST

/* ---- the end of a session ---- */

START_TEST(test_empty_line_ends)
{
    struct fixture *fixture = start((sttp_server_options){0});
    int fd = client(fixture);
    exchange(fd, "SHOW /park\nSHOW /now\n\nSHOW /never\n", "");
    wait_parked(fixture, 1);
    release_parked(fixture, 0);
    expect(fd, "200 /park OK\ntext\n200 /now OK\ntext\n");
    expect_end_and_close(fd);
    wait_reason(fixture, STTP_CLOSE_BY_CLIENT, 1);
    ck_assert_uint_eq(current(fixture, &fixture->handled), 2);
    stop(fixture);
}
END_TEST

START_TEST(test_half_close)
{
    struct fixture *fixture = start((sttp_server_options){0});
    int fd = client(fixture);
    send_text(fd, "SHOW /park1\nUPDATE /park2 x\nSHOW /now\n");
    shutdown(fd, SHUT_WR);
    for (unsigned i = 0; i < 2; i++) {
        wait_parked(fixture, i + 1);
        release_parked(fixture, i);
    }
    expect(fd, "200 /park1 OK\ntext\n200 /park2 OK\ntext\n200 /now OK\ntext\n");
    expect_end_and_close(fd);
    wait_reason(fixture, STTP_CLOSE_BY_CLIENT, 1);
    stop(fixture);
}
END_TEST

START_TEST(test_unfinished_line)
{
    struct fixture *fixture = start((sttp_server_options){0});
    int fd = client(fixture);
    send_text(fd, "SHOW /now\nSHOW /n");
    shutdown(fd, SHUT_WR);
    expect(fd, "200 /now OK\ntext\n300 - CLIENT ERROR \"");
    char last = '\0';
    while (recv(fd, &last, 1, 0) > 0)
        ;
    ck_assert_int_eq(last, '\n');
    close(fd);
    fd = client(fixture);
    shutdown(fd, SHUT_WR);
    expect_end_and_close(fd);
    wait_reason(fixture, STTP_CLOSE_BY_CLIENT, 2);
    ck_assert_uint_eq(current(fixture, &fixture->handled), 1);
    stop(fixture);
}
END_TEST

/* The answer is not lost, although the client sends much more than anybody reads. */
START_TEST(test_line_too_long)
{
    struct fixture *fixture = start((sttp_server_options){0});
    int fd = client(fixture);
    static char megabyte[1 << 20];
    memset(megabyte, 'a', sizeof megabyte);
    send_text(fd, "SHOW /now\n");
    for (int i = 0; i < 8; i++)
        send_bytes(fd, megabyte, sizeof megabyte);
    shutdown(fd, SHUT_WR);
    expect(fd, "200 /now OK\ntext\n300 - CLIENT ERROR \"");
    char last = '\0';
    ssize_t got;
    while ((got = recv(fd, &last, 1, 0)) > 0)
        ;
    ck_assert_int_eq(got, 0);
    ck_assert_int_eq(last, '\n');
    close(fd);
    wait_reason(fixture, STTP_CLOSE_LINE_TOO_LONG, 1);
    stop(fixture);
}
END_TEST

START_TEST(test_http)
{
    struct fixture *fixture = start((sttp_server_options){0});
    int fd = client(fixture);
    send_text(fd, "GET / HTTP/1.1\r\nHost: here\r\n\r\nSHOW /now\n");
    char answer_text[1024];
    size_t size = 0;
    ssize_t got;
    while ((got = recv(fd, answer_text + size, sizeof answer_text - 1 - size, 0)) > 0)
        size += (size_t)got;
    answer_text[size] = '\0';
    ck_assert_int_eq(got, 0);
    ck_assert_int_eq(strncmp(answer_text, "HTTP/1.1 400 Bad Request\r\n", 26), 0);
    const char *length = strstr(answer_text, "Content-Length: ");
    const char *body = strstr(answer_text, "\r\n\r\n");
    ck_assert_ptr_nonnull(length);
    ck_assert_ptr_nonnull(body);
    ck_assert_uint_eq(strlen(body + 4), (unsigned)atoi(length + 16));
    ck_assert_ptr_nonnull(strstr(body, "STTP"));
    close(fd);
    wait_reason(fixture, STTP_CLOSE_HTTP, 1);
    ck_assert_uint_eq(current(fixture, &fixture->handled), 0);
    stop(fixture);
}
END_TEST

static void reset_socket(int fd)
{
    struct linger reset = {.l_onoff = 1};
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    close(fd);
}

/* Replies whose connection is gone come to nothing, on the worker's thread and on others. */
START_TEST(test_reset_with_replies_out)
{
    struct fixture *fixture = start((sttp_server_options){0});
    int fd = client(fixture);
    int other = client(fixture);
    send_text(fd, "SHOW /park1\nSHOW /park2\nSHOW /now\nSHOW /park3\n");
    wait_parked(fixture, 3);
    release_parked(fixture, 2);
    reset_socket(fd);
    wait_reason(fixture, STTP_CLOSE_RESET, 1);
    release_parked(fixture, 1);
    exchange(other, "SHOW /release\n", "200 /release OK\ntext\n");
    close(other);
    stop(fixture);
}
END_TEST

static Suite *server_suite(void)
{
    Suite *suite = suite_create("server");
    TCase *options = tcase_create("options");
    tcase_add_test(options, test_options);
    tcase_add_test(options, test_states);
    tcase_add_test(options, test_reason_texts);
    suite_add_tcase(suite, options);
    TCase *order = tcase_create("order");
    tcase_set_timeout(order, 60);
    tcase_add_test(order, test_answers_come_in_order);
    tcase_add_test(order, test_who_waits_for_longest_runs_first);
    tcase_add_test(order, test_sockets_have_their_turn);
    tcase_add_test(order, test_change_waits_and_holds_back);
    tcase_add_test(order, test_answer_from_another_handler);
    tcase_add_test(order, test_many_pipelined);
    tcase_add_test(order, test_refused_response_is_500);
    tcase_add_test(order, test_connection_numbers);
    tcase_add_test(order, test_time_of_a_request);
    suite_add_tcase(suite, order);
    TCase *end = tcase_create("end");
    tcase_set_timeout(end, 60);
    tcase_add_test(end, test_empty_line_ends);
    tcase_add_test(end, test_half_close);
    tcase_add_test(end, test_unfinished_line);
    tcase_add_test(end, test_line_too_long);
    tcase_add_test(end, test_http);
    tcase_add_test(end, test_reset_with_replies_out);
    suite_add_tcase(suite, end);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(server_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
