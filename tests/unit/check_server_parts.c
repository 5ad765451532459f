/* The server engine: answers in parts. */
#include "parts_support.h"

/* ---- parts ---- */

START_TEST(test_parts_of_the_first)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /now\n");
    wait_handled(fixture, 2);
    tell_part(controller, 0, "2");
    expect(fd, "2");
    tell_part(controller, 0, "00 /keep OK|te");
    expect(fd, "00 /keep OK\nte");
    tell_part(controller, 0, "xt|");
    expect(fd, "xt\n");
    expect_nothing(fd);
    tell(controller, "end", 0, "whole");
    expect(fd, "200 /now OK\ntext\n");
    round_trip(fd);
    close(fd);
    close(controller);
    finish(fixture);
}
END_TEST

START_TEST(test_parts_wait_for_their_turn)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /keep\nSHOW /keep\nSHOW /now\n");
    wait_handled(fixture, 4);
    for (int i = 0; i < 200; i++)
        tell_part(controller, 1, i % 10 == 9 ? "|" : "b");
    tell_part(controller, 2, "third|");
    tell(controller, "end", 2, "whole");
    tell_part(controller, 0, "first");
    expect(fd, "first");
    expect_nothing(fd);
    tell(controller, "end", 0, "whole");
    for (int i = 0; i < 20; i++)
        expect(fd, "bbbbbbbbb\n");
    expect_nothing(fd);
    tell_part(controller, 1, "more|");
    expect(fd, "more\n");
    tell(controller, "end", 1, "whole");
    expect(fd, "third\n200 /now OK\ntext\n");
    round_trip(fd);
    close(fd);
    close(controller);
    finish(fixture);
}
END_TEST

/* An answer that has no part takes no byte. */
START_TEST(test_no_parts)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /keep\nSHOW /now\n");
    wait_handled(fixture, 3);
    tell(controller, "end", 1, "whole");
    expect_nothing(fd);
    tell(controller, "end", 0, "whole");
    expect(fd, "200 /now OK\ntext\n");
    close(fd);
    close(controller);
    finish(fixture);
}
END_TEST

/* A request that runs alone does so until its answer is ended, and others wait for it. */
START_TEST(test_barrier)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nLIST /keep\nSHOW /now\n");
    wait_handled(fixture, 1);
    tell_part(controller, 0, "first|");
    expect(fd, "first\n");
    ck_assert_uint_eq(atomic_load(&kept_count), 1);
    tell(controller, "end", 0, "whole");
    wait_handled(fixture, 4);
    ck_assert_uint_eq(atomic_load(&kept_count), 2);
    tell_part(controller, 1, "second|");
    expect(fd, "second\n");
    expect_nothing(fd);
    tell(controller, "end", 1, "whole");
    expect(fd, "200 /now OK\ntext\n");
    close(fd);
    close(controller);
    finish(fixture);
}
END_TEST

START_TEST(test_max_in_flight)
{
    struct fixture *fixture = begin((sttp_server_options){.max_in_flight = 2});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /keep\nSHOW /keep\n");
    wait_handled(fixture, 2);
    tell_part(controller, 0, "first");
    expect(fd, "first");
    tell(controller, "end", 1, "whole");
    round_trip(controller);
    ck_assert_uint_eq(atomic_load(&kept_count), 2); /* the second still waits for the first */
    tell(controller, "end", 0, "whole");
    wait_handled(fixture, 7);
    ck_assert_uint_eq(atomic_load(&kept_count), 3);
    tell(controller, "end", 2, "whole");
    round_trip(fd);
    close(fd);
    close(controller);
    finish(fixture);
}
END_TEST

/* ---- what is not sent ---- */

START_TEST(test_parts_are_unsent_bytes)
{
    struct fixture *fixture = begin((sttp_server_options){.max_unsent = 1000});
    int controller = client(fixture), fd = client(fixture);
    char *answer = malloc(BIG + 1);
    send_text(fd, "SHOW /keep\nSHOW /keep\n");
    wait_handled(fixture, 2);
    tell(controller, "large", 1, "x");
    ck_assert_int_eq(atomic_load(&last_status), STTP_OK);
    send_text(fd, "SHOW /keep\n");
    round_trip(controller);
    round_trip(controller);
    ck_assert_uint_eq(atomic_load(&kept_count), 2); /* no more is read */
    tell(controller, "end", 0, "whole");
    tell(controller, "end", 1, "whole");
    ck_assert_int_eq(recv(fd, answer, BIG, MSG_WAITALL), BIG);
    ck_assert_int_eq(memcmp(answer, fixture->big, BIG), 0);
    wait_handled(fixture, 8);
    ck_assert_uint_eq(atomic_load(&kept_count), 3);
    tell(controller, "end", 2, "whole");
    round_trip(fd);
    free(answer);
    close(fd);
    close(controller);
    finish(fixture);
}
END_TEST

START_TEST(test_unsent_parts_of_all)
{
    enum { SOME = 10 };
    struct fixture *fixture = begin((sttp_server_options){.max_unsent_total = 3 * BIG});
    int controller = client(fixture), fd = slow_client(fixture);
    send_text(fd, "SHOW /keep\n");
    wait_handled(fixture, 1);
    for (int i = 0; i < SOME; i++)
        tell(controller, "large", 0, "x");
    wait_reason(fixture, STTP_CLOSE_UNSENT, 1);
    tell(controller, "part", 0, "x");
    ck_assert_int_eq(atomic_load(&last_status), STTP_ERR_CONNECTION_LOST);
    tell(controller, "end", 0, "whole");
    ck_assert(ends_in_reset(fd));
    close(controller);
    finish(fixture);
}
END_TEST

/* Others are closed for being idle; who waits for the next part is not, but when it has come. */
START_TEST(test_no_timeout_between_parts)
{
    struct fixture *fixture = begin(
        (sttp_server_options){.idle_timeout = 200, .request_timeout = 200, .send_timeout = 200});
    int fd = client(fixture);
    send_text(fd, "SHOW /keep\n");
    wait_handled(fixture, 1);
    for (unsigned i = 1; i <= 3; i++) {
        int controller = client(fixture);
        tell_part(controller, 0, "part|");
        expect(fd, "part\n");
        wait_reason(fixture, STTP_CLOSE_IDLE_TIMEOUT, i);
        expect_end_and_close(controller);
    }
    int controller = client(fixture);
    tell(controller, "end", 0, "whole");
    round_trip(fd);
    wait_reason(fixture, STTP_CLOSE_IDLE_TIMEOUT, 5);
    expect_end_and_close(fd);
    close(controller);
    finish(fixture);
}
END_TEST

/* A part has no memory: the connection is lost, and not as if the answer were whole. */
START_TEST(test_no_memory_for_a_part)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /keep\n");
    wait_handled(fixture, 2);
    tell_part(controller, 0, "200 /");
    expect(fd, "200 /");
    atomic_store(&until_failure, 0);
    tell(controller, "large", (unsigned)_i, "x");
    ck_assert_int_eq(atomic_load(&last_status), STTP_ERR_MEMORY);
    wait_reason(fixture, STTP_CLOSE_MEMORY, 1);
    atomic_store(&until_failure, -1);
    ck_assert(ends_in_reset(fd));
    tell(controller, "end", 0, "whole");
    tell(controller, "end", 1, "close");
    round_trip(controller);
    close(controller);
    finish(fixture);
}
END_TEST

/* The client is gone: its parts are dropped, and the program is told. */
START_TEST(test_client_is_gone)
{
    static const char *const endings[] = {"whole", "close", "reset"};
    struct linger reset = {.l_onoff = 1};
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /keep\nSHOW /keep\n");
    wait_handled(fixture, 3);
    tell_part(controller, 0, "first");
    tell_part(controller, 1, "second");
    expect(fd, "first");
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    close(fd);
    wait_reason(fixture, STTP_CLOSE_RESET, 1);
    for (unsigned i = 0; i < 3; i++) {
        tell(controller, "part", i, "lost");
        ck_assert_int_eq(atomic_load(&last_status), STTP_ERR_CONNECTION_LOST);
        tell(controller, "end", i, endings[i]);
    }
    round_trip(controller);
    close(controller);
    finish(fixture);
}
END_TEST

static Suite *parts_suite(void)
{
    Suite *suite = suite_create("server_parts");
    TCase *parts = tcase_create("parts");
    TCase *unsent = tcase_create("unsent");
    tcase_add_test(parts, test_parts_of_the_first);
    tcase_add_test(parts, test_parts_wait_for_their_turn);
    tcase_add_test(parts, test_no_parts);
    tcase_add_test(parts, test_barrier);
    tcase_add_test(parts, test_max_in_flight);
    tcase_set_timeout(unsent, 60);
    tcase_add_test(unsent, test_parts_are_unsent_bytes);
    tcase_add_test(unsent, test_unsent_parts_of_all);
    tcase_add_test(unsent, test_no_timeout_between_parts);
    tcase_add_loop_test(unsent, test_no_memory_for_a_part, 0, 2);
    tcase_add_test(unsent, test_client_is_gone);
    suite_add_tcase(suite, parts);
    suite_add_tcase(suite, unsent);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(parts_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
