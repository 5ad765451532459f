/* The server engine: who has to go, and who does not, when all places or all memory are taken. */
#include <stdatomic.h>
#include <sys/syscall.h>

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

/* ---- memory ---- */

static atomic_llong frozen; /* milliseconds at which the clock stands, while it is not zero */

/* In place of the C library's: what happens at one moment, and what later, is the test's choice. */
int clock_gettime(clockid_t clock, struct timespec *time)
{
    long long now = atomic_load(&frozen);
    if (clock == CLOCK_REALTIME || now == 0)
        return (int)syscall(SYS_clock_gettime, clock, time);
    *time = (struct timespec){.tv_sec = (time_t)(now / 1000), .tv_nsec = now % 1000 * 1000000};
    return 0;
}

static void freeze(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    atomic_store(&frozen, (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

/* Who has just begun to keep much goes after those that have taken nothing, each of which keeps
 * little, and for a short time. */
START_TEST(test_fresh_one_outlives_stallers)
{
    enum { COUNT = 8, ANSWERS = 60 };
    static char requests[ANSWERS * 10 + 1];
    struct fixture *fixture =
        start((sttp_server_options){.max_unsent_total = 61 * BIG, .max_unsent = 60 * BIG});
    int fds[COUNT];
    int other = client(fixture);
    int reader = slow_client(fixture);
    for (int i = 0; i < COUNT; i++)
        fds[i] = slow_client(fixture);
    let_windows_fill(fds, COUNT);
    freeze();
    for (int i = 0; i < COUNT; i++)
        ask_for_big(fds[i], 6);
    round_trip(other);
    round_trip(other); /* it has waited for longest: the first one may come before the stallers */
    atomic_fetch_add(&frozen, 2);
    for (int i = 0; i < ANSWERS; i++)
        memcpy(requests + i * 10, "SHOW /big\n", 10);
    send_text(reader, requests);
    round_trip(other);
    round_trip(other);
    ck_assert_uint_gt(current(fixture, &fixture->reasons[STTP_CLOSE_UNSENT]), 0);
    ck_assert_uint_le(current(fixture, &fixture->reasons[STTP_CLOSE_UNSENT]), COUNT);
    atomic_store(&frozen, 0);
    shutdown(reader, SHUT_WR);
    ck_assert(!ends_in_reset(reader));
    close(other);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    stop(fixture);
}
END_TEST

/* Answers with BIG bytes, from this thread. */
static sttp_status release_big(struct fixture *fixture, unsigned index)
{
    sttp_response response = {.code = STTP_CODE_OK, .echo = STTP_SLICE("/park")};
    response.contents = (sttp_slice){fixture->big, BIG};
    return sttp_reply_send(fixture->parked[index].reply, &response);
}

static void expect_big(int fd)
{
    static char bytes[BIG + 1];
    expect(fd, "200 /park OK\n");
    ck_assert_int_eq(recv(fd, bytes, sizeof bytes, MSG_WAITALL), (int)sizeof bytes);
}

/* Answers on their way have one bound for all workers: a worker may get more than its share of it,
 * and one answer in any case. What has arrived is not counted any more. */
START_TEST(test_answers_meet_at_one_worker)
{
    enum { COUNT = 4, ROUNDS = 3 };
    struct fixture *fixture =
        start((sttp_server_options){.max_unsent_total = 3 * BIG, .workers = 8});
    int busy = client(fixture);
    round_trip(busy);
    pthread_t worker = worker_of_last(fixture);
    int fds[COUNT];
    for (int i = 0; i < COUNT; i++)
        fds[i] = on_worker(fixture, worker, i < COUNT - 1);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned first = round * COUNT;
        for (unsigned i = 0; i < COUNT; i++) {
            send_text(fds[i], "SHOW /park\n");
            wait_parked(fixture, first + i + 1);
        }
        send_text(busy, "SHOW /block\n");
        wait_at_least(fixture, &fixture->blocked, round + 1);
        ck_assert_int_eq(release_big(fixture, first), STTP_OK);
        ck_assert_int_eq(release_big(fixture, first + 1), STTP_OK);
        ck_assert_int_eq(release_big(fixture, first + 2), STTP_ERR_BUSY);
        ck_assert_int_eq(release_big(fixture, first + 3), STTP_OK);
        unblock(fixture);
        expect(busy, "200 /block OK\ntext\n");
        expect_big(fds[0]);
        expect_big(fds[1]);
        expect(fds[2], "500 /park SERVER ERROR \"server busy\"\n");
        expect_big(fds[3]);
    }
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    close(busy);
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
    TCase *memory = tcase_create("memory");
    tcase_set_timeout(memory, 60);
    tcase_add_test(memory, test_fresh_one_outlives_stallers);
    tcase_add_test(memory, test_answers_meet_at_one_worker);
    suite_add_tcase(suite, memory);
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
