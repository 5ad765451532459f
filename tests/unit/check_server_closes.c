/* The server engine: connections that the program closes. */
#include "parts_support.h"

START_TEST(test_close)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /now\nSHOW /keep\nSHOW /park\n");
    wait_parked(fixture, 1);
    tell_part(controller, 1, "never sent");
    tell_part(controller, 0, "200 /ke");
    tell(controller, "end", 0, "close");
    expect(fd, "200 /ke");
    expect_end(fd);
    send_text(fd, "SHOW /keep\n"); /* it lingers, so this is no reset */
    tell(controller, "part", 1, "lost");
    ck_assert_int_eq(atomic_load(&last_status), STTP_ERR_CONNECTION_LOST);
    tell(controller, "end", 1, "whole");
    release_parked(fixture, 0);
    close(fd);
    wait_reason(fixture, STTP_CLOSE_BY_PROGRAM, 1);
    ck_assert_uint_eq(fixture->requests, 4);
    round_trip(controller);
    close(controller);
    finish(fixture);
}
END_TEST

/* What is before it is still answered, and nothing is read any more. */
START_TEST(test_close_waits_for_its_turn)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /keep\nSHOW /keep\n");
    wait_handled(fixture, 3);
    tell_part(controller, 1, "second");
    tell(controller, "end", 1, "close");
    send_text(fd, "SHOW /keep\n");
    tell_part(controller, 0, "first");
    expect(fd, "first");
    tell_part(controller, 0, "|");
    tell(controller, "end", 0, "whole");
    expect(fd, "\nsecond");
    expect_end_and_close(fd);
    wait_reason(fixture, STTP_CLOSE_BY_PROGRAM, 1);
    ck_assert_uint_eq(atomic_load(&kept_count), 3);
    tell(controller, "end", 2, "whole");
    close(controller);
    finish(fixture);
}
END_TEST

/* The client has said that it sends no more: there is nobody to linger for. */
START_TEST(test_close_after_end_of_file)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\n");
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
    wait_handled(fixture, 1);
    tell_part(controller, 0, "200");
    tell(controller, "end", 0, "close");
    expect(fd, "200");
    expect_end(fd);
    wait_reason(fixture, STTP_CLOSE_BY_PROGRAM, 1);
    close(fd);
    close(controller);
    finish(fixture);
}
END_TEST

/* Within the handler: what the client has sent behind it is dropped. */
START_TEST(test_close_within_the_handler)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int fd = client(fixture);
    send_text(fd, "SHOW /now\nSHOW /cut\nSHOW /now\nSHOW /ha");
    expect(fd, "200 /now OK\ntext\n200 ");
    expect_end_and_close(fd);
    wait_reason(fixture, STTP_CLOSE_BY_PROGRAM, 1);
    ck_assert_uint_eq(fixture->requests, 2);
    ck_assert_int_eq(atomic_load(&last_status), STTP_OK);
    finish(fixture);
}
END_TEST

START_TEST(test_reset)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /keep\nSHOW /park\n");
    wait_parked(fixture, 1);
    tell_part(controller, 1, "200 /ke");
    tell(controller, "end", 1, "reset");
    tell_part(controller, 0, "first|");
    expect(fd, "first\n");
    expect_nothing(fd);
    tell(controller, "end", 0, "whole");
    expect(fd, "200 /ke");
    ck_assert(ends_in_reset(fd));
    wait_reason(fixture, STTP_CLOSE_BY_PROGRAM, 1);
    release_parked(fixture, 0);
    round_trip(controller);
    close(controller);
    finish(fixture);
}
END_TEST

START_TEST(test_reset_without_parts)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\n");
    wait_handled(fixture, 1);
    tell(controller, "end", 0, "reset");
    ck_assert(ends_in_reset(fd));
    close(controller);
    finish(fixture);
}
END_TEST

/* All that was added arrives before the end, also where it takes many sends. */
START_TEST(test_close_after_much)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = slow_client(fixture);
    char *answer = malloc(BIG);
    send_text(fd, "SHOW /keep\nSHOW /now\n");
    wait_handled(fixture, 2);
    tell(controller, "large", 0, "x");
    tell(controller, "end", 0, "close");
    ck_assert_int_eq(recv(fd, answer, BIG, MSG_WAITALL), BIG);
    ck_assert_int_eq(memcmp(answer, fixture->big, BIG), 0);
    expect_end_and_close(fd);
    free(answer);
    close(controller);
    finish(fixture);
}
END_TEST

/* ---- the server stops ---- */

/* It waits for an answer that goes on. */
START_TEST(test_stop_waits_for_parts)
{
    uint64_t one = 1;
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /keep\n");
    wait_handled(fixture, 2);
    tell_part(controller, 1, "100|");
    tell_part(controller, 0, "100|");
    sttp_server_stop(fixture->server, PATIENCE * 1000);
    expect_end_and_close(controller);
    ck_assert_int_eq(write(signal_fd, &one, sizeof one), sizeof one);
    expect(fd, "100\n200 /keep OK\ntext\n100\n200 /keep OK\ntext\n");
    expect_end_and_close(fd);
    finish(fixture);
}
END_TEST

/* The deadline cuts it, and the program gives its replies back. */
START_TEST(test_stop_cuts_parts)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /keep\n");
    wait_handled(fixture, 2);
    tell_part(controller, 1, "200");
    tell_part(controller, 0, "200");
    expect(fd, "200");
    sttp_server_stop(fixture->server, 0);
    ck_assert_int_eq(sttp_server_wait(fixture->server), STTP_ERR_TIMEOUT);
    ck_assert(ends_in_reset(fd));
    ck_assert_int_eq(atomic_load(&last_status), STTP_ERR_CONNECTION_LOST);
    sttp_server_destroy(fixture->server);
    ck_assert_int_eq(atomic_load(&open_allocations), 0);
    free_fixture(fixture);
    close(signal_fd);
    close(controller);
}
END_TEST

static Suite *closes_suite(void)
{
    Suite *suite = suite_create("server_closes");
    TCase *closes = tcase_create("closes");
    tcase_set_timeout(closes, 60);
    tcase_add_test(closes, test_close);
    tcase_add_test(closes, test_close_waits_for_its_turn);
    tcase_add_test(closes, test_close_after_end_of_file);
    tcase_add_test(closes, test_close_within_the_handler);
    tcase_add_test(closes, test_reset);
    tcase_add_test(closes, test_reset_without_parts);
    tcase_add_test(closes, test_close_after_much);
    tcase_add_test(closes, test_stop_waits_for_parts);
    tcase_add_test(closes, test_stop_cuts_parts);
    suite_add_tcase(suite, closes);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(closes_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
