/* The server engine: timeouts, back-pressure. */
#include "server_support.h"

/* ---- timeouts ---- */

START_TEST(test_idle_timeout)
{
    struct fixture *fixture = start((sttp_server_options){.idle_timeout = 100});
    int busy = client(fixture);
    send_text(busy, "SHOW /park\n");
    wait_parked(fixture, 1);
    int fd = client(fixture);
    round_trip(fd);
    expect_end_and_close(fd);
    wait_reason(fixture, STTP_CLOSE_IDLE_TIMEOUT, 1);
    release_parked(fixture, 0);
    expect(busy, "200 /park OK\ntext\n");
    expect_end_and_close(busy);
    wait_reason(fixture, STTP_CLOSE_IDLE_TIMEOUT, 2);
    stop(fixture);
}
END_TEST

/* Bytes that come in the meantime do not push it back. */
START_TEST(test_request_timeout)
{
    struct fixture *fixture = start((sttp_server_options){.request_timeout = 200});
    int fd = client(fixture);
    round_trip(fd);
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    int sent = 0;
    do {
        send_text(fd, sent == 0 ? "SHOW /" : "a");
    } while (poll(&readable, 1, 20) == 0 && ++sent < 200);
    ck_assert_int_lt(sent, 200);
    expect(fd, "300 - CLIENT ERROR \"request timeout\"\n");
    expect_end_and_close(fd);
    wait_reason(fixture, STTP_CLOSE_REQUEST_TIMEOUT, 1);
    stop(fixture);
}
END_TEST

/* The server's own delay is not the client's. */
START_TEST(test_request_timeout_not_while_held_back)
{
    struct fixture *fixture = start((sttp_server_options){.request_timeout = 50});
    int fd = client(fixture);
    send_text(fd, "UPDATE /park x\nSHOW /n");
    wait_parked(fixture, 1);
    int other = client(fixture);
    send_text(other, "SHO");
    expect(other, "300 - CLIENT ERROR \"request timeout\"\n");
    expect_end_and_close(other);
    send_text(fd, "ow\n");
    release_parked(fixture, 0);
    expect(fd, "200 /park OK\ntext\n200 /now OK\ntext\n");
    close(fd);
    stop(fixture);
}
END_TEST

/* Nor is it late when it comes in time, and the server takes it up later. */
START_TEST(test_request_in_time_is_taken_up_late)
{
    struct fixture *fixture = start((sttp_server_options){.request_timeout = 500});
    int fd = client(fixture);
    int other = client(fixture);
    send_text(fd, "SHOW /n");
    round_trip(other);
    send_text(other, "SHOW /block\n");
    wait_at_least(fixture, &fixture->blocked, 1);
    send_text(fd, "ow\n");
    poll(NULL, 0, 700);
    unblock(fixture);
    expect(fd, "200 /now OK\ntext\n");
    close(fd);
    close(other);
    stop(fixture);
}
END_TEST

static double seconds_of(clockid_t id)
{
    struct timespec time;
    clock_gettime(id, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

START_TEST(test_send_timeout)
{
    struct fixture *fixture = start((sttp_server_options){.send_timeout = 100});
    int fd = slow_client(fixture);
    ask_for_big(fd, 20);
    wait_reason(fixture, STTP_CLOSE_SEND_TIMEOUT, 1);
    char buffer[4096];
    ssize_t got;
    while ((got = recv(fd, buffer, sizeof buffer, 0)) > 0)
        ;
    ck_assert_int_lt(got, 0);
    ck_assert_int_eq(errno, ECONNRESET);
    close(fd);
    stop(fixture);
}
END_TEST

/* A peer that takes a little now and then is slow, not gone, though the socket stays full. The pace
 * is that of another connection. */
START_TEST(test_slow_is_not_gone)
{
    enum { SEND_TIMEOUT = 300, PIECE = 512, ROUNDS = 20 };
    struct fixture *fixture = start((sttp_server_options){.send_timeout = SEND_TIMEOUT});
    int fd = slow_client(fixture);
    int other = client(fixture);
    ask_for_big(fd, 20);
    double end = seconds_of(CLOCK_MONOTONIC) + 4 * SEND_TIMEOUT / 1000.0;
    while (seconds_of(CLOCK_MONOTONIC) < end) {
        char piece[PIECE];
        ck_assert_int_gt(recv(fd, piece, sizeof piece, 0), 0);
        for (int i = 0; i < ROUNDS; i++)
            round_trip(other);
    }
    ck_assert_uint_eq(current(fixture, &fixture->reasons[STTP_CLOSE_SEND_TIMEOUT]), 0);
    wait_reason(fixture, STTP_CLOSE_SEND_TIMEOUT, 1);
    close(fd);
    close(other);
    stop(fixture);
}
END_TEST

/* ---- back-pressure ---- */

START_TEST(test_max_in_flight)
{
    struct fixture *fixture = start((sttp_server_options){.max_in_flight = 2});
    int fd = client(fixture);
    int other = client(fixture);
    send_text(fd, "SHOW /park1\nSHOW /park2\nSHOW /park3\nSHOW /park4\n");
    wait_parked(fixture, 2);
    round_trip(other);
    ck_assert_uint_eq(current(fixture, &fixture->parked_count), 2);
    release_parked(fixture, 1); /* answered, but not sent: still under way */
    round_trip(other);
    ck_assert_uint_eq(current(fixture, &fixture->parked_count), 2);
    release_parked(fixture, 0);
    wait_parked(fixture, 4);
    release_parked(fixture, 2);
    release_parked(fixture, 3);
    expect(fd, "200 /park1 OK\ntext\n200 /park2 OK\ntext\n200 /park3 OK\ntext\n200 /park4 OK\n");
    close(fd);
    close(other);
    stop(fixture);
}
END_TEST

static void expect_big(int fd)
{
    static char buffer[BIG + 1];
    expect(fd, "200 /big OK\n");
    ck_assert_int_eq(recv(fd, buffer, sizeof buffer, MSG_WAITALL), (int)sizeof buffer);
    ck_assert_int_eq(buffer[0], 'x');
    ck_assert_int_eq(buffer[BIG], '\n');
}

/* The handler is not called for a client that takes no answers, and no answer is lost for it. */
START_TEST(test_max_unsent)
{
    enum { BIG_ONES = 60, QUIET = 50 };
    struct fixture *fixture = start((sttp_server_options){.max_unsent = 1000});
    int fd = slow_client(fixture);
    int other = client(fixture);
    ask_for_big(fd, BIG_ONES);
    unsigned big = 0;
    unsigned rounds = 0;
    for (int quiet = 0; quiet < QUIET; quiet++) {
        round_trip(other);
        unsigned now = current(fixture, &fixture->handled) - ++rounds;
        if (now != big)
            quiet = 0;
        big = now;
    }
    ck_assert_uint_ge(big, 1);
    ck_assert_uint_lt(big, BIG_ONES / 2);
    for (int i = 0; i < BIG_ONES; i++)
        expect_big(fd);
    close(fd);
    close(other);
    stop(fixture);
}
END_TEST

/* Answers that wait for an earlier one count as well. */
START_TEST(test_max_unsent_of_waiting_answers)
{
    struct fixture *fixture = start((sttp_server_options){.max_unsent = 1000});
    int fd = client(fixture);
    int other = client(fixture);
    send_text(fd, "SHOW /park\nSHOW /big\nSHOW /big\nSHOW /big\n");
    wait_parked(fixture, 1);
    round_trip(other);
    ck_assert_uint_eq(current(fixture, &fixture->handled), 3);
    release_parked(fixture, 0);
    expect(fd, "200 /park OK\ntext\n");
    for (int i = 0; i < 3; i++)
        expect_big(fd);
    close(fd);
    close(other);
    stop(fixture);
}
END_TEST

/* A listing may be large: it does not begin before it could leave, and nothing that comes behind it
 * begins before its size is known. */
START_TEST(test_one_listing_at_a_time)
{
    struct fixture *fixture = start((sttp_server_options){0});
    int fd = client(fixture);
    int other = client(fixture);
    send_text(fd, "SHOW /park1\nLIST /park2\nLIST /park3\nSHOW /park4\n");
    for (unsigned i = 0; i < 4; i++) {
        wait_parked(fixture, i + 1);
        round_trip(other);
        ck_assert_uint_eq(current(fixture, &fixture->parked_count), i + 1);
        release_parked(fixture, i);
    }
    expect(fd, "200 /park1 OK\ntext\n200 /park2 OK\ntext\n200 /park3 OK\ntext\n200 /park4 OK\n");
    close(fd);
    close(other);
    stop(fixture);
}
END_TEST

/* Bytes that must wait in the kernel do not keep the worker busy. */
START_TEST(test_no_spinning)
{
    struct fixture *fixture = start((sttp_server_options){.max_in_flight = 1, .idle_timeout = 500});
    int fd = client(fixture);
    send_text(fd, "SHOW /park\n");
    wait_parked(fixture, 1);
    int other = client(fixture);
    double cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    double wall = seconds_of(CLOCK_MONOTONIC);
    send_text(fd, "SHOW /now\n");
    expect_end_and_close(other);
    cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    wall = seconds_of(CLOCK_MONOTONIC) - wall;
    ck_assert_double_ge(wall, 0.4);
    ck_assert_double_lt(cpu, 0.1);
    release_parked(fixture, 0);
    expect(fd, "200 /park OK\ntext\n200 /now OK\ntext\n");
    close(fd);
    stop(fixture);
}
END_TEST

static Suite *timeouts_suite(void)
{
    Suite *suite = suite_create("server_timeouts");
    TCase *time = tcase_create("time");
    tcase_set_timeout(time, 60);
    tcase_add_test(time, test_idle_timeout);
    tcase_add_test(time, test_request_timeout);
    tcase_add_test(time, test_request_timeout_not_while_held_back);
    tcase_add_test(time, test_request_in_time_is_taken_up_late);
    tcase_add_test(time, test_send_timeout);
    tcase_add_test(time, test_slow_is_not_gone);
    suite_add_tcase(suite, time);
    TCase *pressure = tcase_create("pressure");
    tcase_set_timeout(pressure, 60);
    tcase_add_test(pressure, test_max_in_flight);
    tcase_add_test(pressure, test_max_unsent);
    tcase_add_test(pressure, test_max_unsent_of_waiting_answers);
    tcase_add_test(pressure, test_one_listing_at_a_time);
    tcase_add_test(pressure, test_no_spinning);
    suite_add_tcase(suite, pressure);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(timeouts_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
