/* The server engine: who has to go, and who does not, when all places or all memory are taken. */
#include "server_support.h"

/* ---- places ---- */

/* A connection that lingers and whose peer has not taken its last answer. */
static int lingerer_without_answer(struct fixture *fixture, pthread_t worker)
{
    static char line[5000];
    int fd = on_worker(fixture, worker, false);
    memset(line, 'x', sizeof line);
    memcpy(line, "SHOW /big\n", 10);
    send_bytes(fd, line, sizeof line);
    return fd;
}

/* Such a one stays while anybody is idle, on whatever worker: the one idle for longest goes. */
START_TEST(test_idle_go_before_an_answer)
{
    enum { IDLE = 3 };
    struct fixture *fixture = start((sttp_server_options){.max_connections = 5, .workers = 2});
    int fds[IDLE];
    fds[0] = slow_client(fixture);
    round_trip(fds[0]);
    pthread_t worker = worker_of_last(fixture);
    int lingering = lingerer_without_answer(fixture, worker);
    int neighbour = on_worker(fixture, worker, false);
    for (int i = 0; i < 3; i++)
        round_trip(neighbour); /* by now the other lingers */
    send_text(neighbour, "SHOW /park\n");
    wait_parked(fixture, 1);
    for (int i = 1; i < IDLE; i++)
        fds[i] = on_worker(fixture, worker, true);
    int late[IDLE];
    for (unsigned i = 0; i < IDLE; i++) {
        late[i] = slow_client(fixture);
        send_text(late[i], "SHOW /park\n");
        wait_parked(fixture, i + 2);
        expect_end_and_close(fds[i]);
    }
    ck_assert_uint_eq(current(fixture, &fixture->reasons[STTP_CLOSE_MAKE_ROOM]), IDLE);
    ck_assert_uint_eq(current(fixture, &fixture->reasons[STTP_CLOSE_LINE_TOO_LONG]), 0);
    int last = client(fixture); /* nobody is idle any more */
    round_trip(last);
    ck_assert_uint_eq(current(fixture, &fixture->reasons[STTP_CLOSE_LINE_TOO_LONG]), 1);
    for (unsigned i = 0; i < IDLE + 1; i++)
        release_parked(fixture, i);
    for (int i = 0; i < IDLE; i++)
        close(late[i]);
    close(last);
    close(neighbour);
    close(lingering);
    stop(fixture);
}
END_TEST

static Suite *full_suite(void)
{
    Suite *suite = suite_create("server_full");
    TCase *places = tcase_create("places");
    tcase_set_timeout(places, 60);
    tcase_add_test(places, test_idle_go_before_an_answer);
    suite_add_tcase(suite, places);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(full_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
