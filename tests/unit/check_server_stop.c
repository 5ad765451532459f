/* The server engine: stopping, answers from other threads. */
#include <signal.h>
#include <stdatomic.h>

#include "server_support.h"

/* ---- stopping ---- */

/* What has come in whole is answered, wherever it waited: parsed, in the buffer or in the kernel.
 */
START_TEST(test_graceful_stop)
{
    enum { COUNT = 2000 };
    struct fixture *fixture = start((sttp_server_options){.max_in_flight = 8});
    int fd = client(fixture);
    int idle = client(fixture);
    round_trip(idle);
    /* In one piece: what the client's kernel still holds has not come in. */
    static char requests[COUNT * 10 + 100];
    size_t size = (size_t)sprintf(requests, "UPDATE /park1 x\nSHOW /park2\n");
    for (int i = 0; i < COUNT; i++)
        size += (size_t)sprintf(requests + size, "SHOW /now\n");
    size += (size_t)sprintf(requests + size, "SHOW /unfinished");
    send_bytes(fd, requests, size);
    wait_parked(fixture, 1);
    sttp_server_stop(fixture->server, PATIENCE * 1000);
    expect_end_and_close(idle);
    release_parked(fixture, 0);
    wait_parked(fixture, 2);
    release_parked(fixture, 1);
    expect(fd, "200 /park1 OK\ntext\n200 /park2 OK\ntext\n");
    for (int i = 0; i < COUNT; i++)
        expect(fd, "200 /now OK\ntext\n");
    expect_end_and_close(fd);
    stop(fixture);
}
END_TEST

START_TEST(test_stop_answers_the_backlog)
{
    struct fixture *fixture = make_fixture();
    sttp_server_options options = with_fixture(fixture, (sttp_server_options){.backlog = 19});
    ck_assert_int_eq(sttp_server_create(&options, &fixture->server), STTP_OK);
    ck_assert_int_eq(sttp_server_listen(fixture->server, "127.0.0.1:0"), STTP_OK);
    int fds[20]; /* a full queue of the kernel holds one more than the backlog */
    for (int i = 0; i < 20; i++) {
        fds[i] = client(fixture);
        send_text(fds[i], "SHOW /now\n");
    }
    sttp_server_stop(fixture->server, PATIENCE * 1000);
    ck_assert_int_eq(sttp_server_start(fixture->server), STTP_OK);
    for (int i = 0; i < 20; i++) {
        expect(fds[i], "200 /now OK\ntext\n");
        expect_end_and_close(fds[i]);
    }
    ck_assert_int_eq(sttp_server_wait(fixture->server), STTP_OK);
    ck_assert_uint_eq(fixture->notices[STTP_NOTICE_STOPPED], 1);
    sttp_server_destroy(fixture->server);
    free_fixture(fixture);
}
END_TEST

/* A client that does not close its end delays the stop by no more than the linger time. */
START_TEST(test_stop_before_deadline)
{
    struct fixture *fixture = start((sttp_server_options){0});
    int fd = client(fixture);
    int idle = client(fixture);
    round_trip(idle);
    send_text(fd, "SHOW /park\n");
    wait_parked(fixture, 1);
    sttp_server_stop(fixture->server, 1000000);
    release_parked(fixture, 0);
    time_t before = time(NULL);
    ck_assert_int_eq(sttp_server_wait(fixture->server), STTP_OK);
    ck_assert_int_lt(time(NULL) - before, 4);
    expect(fd, "200 /park OK\ntext\n");
    expect_end_and_close(fd);
    expect_end_and_close(idle);
    sttp_server_destroy(fixture->server);
    free_fixture(fixture);
}
END_TEST

/* The deadline cuts what is not answered; replies may come when the server is long gone. */
START_TEST(test_deadline)
{
    struct fixture *fixture = start((sttp_server_options){.workers = 2});
    int fd = client(fixture);
    send_text(fd, "SHOW /park1\nSHOW /park2\nSHOW /park3\n");
    wait_parked(fixture, 3);
    release_parked(fixture, 1);
    sttp_server_stop(fixture->server, 1000000);
    sttp_server_stop(fixture->server, 50);
    sttp_server_stop(fixture->server, 1000000);
    ck_assert_int_eq(sttp_server_wait(fixture->server), STTP_ERR_TIMEOUT);
    ck_assert_int_lt(recv(fd, (char[1]){0}, 1, 0), 0);
    ck_assert_int_eq(errno, ECONNRESET);
    close(fd);
    release_parked(fixture, 0);
    sttp_server_destroy(fixture->server);
    release_parked(fixture, 2);
    ck_assert_uint_eq(fixture->reasons[STTP_CLOSE_STOP], 1);
    free_fixture(fixture);
}
END_TEST

/* A connection that owes no answer is not reset. */
START_TEST(test_stop_now)
{
    struct fixture *fixture = start((sttp_server_options){.workers = 2});
    int fd = client(fixture);
    round_trip(fd);
    sttp_server_stop(fixture->server, 0);
    ck_assert_int_eq(sttp_server_wait(fixture->server), STTP_OK);
    expect_end_and_close(fd);
    sttp_server_destroy(fixture->server);
    free_fixture(fixture);
}
END_TEST

static sttp_server *to_stop;

static void on_signal(int number)
{
    (void)number;
    sttp_server_stop(to_stop, 1000000);
}

START_TEST(test_stop_from_signal_handler)
{
    struct fixture *fixture = start((sttp_server_options){.workers = 2});
    struct sigaction action = {.sa_handler = on_signal};
    to_stop = fixture->server;
    ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
    ck_assert_int_eq(raise(SIGUSR1), 0);
    ck_assert_int_eq(sttp_server_wait(fixture->server), STTP_OK);
    sttp_server_destroy(fixture->server);
    free_fixture(fixture);
}
END_TEST

/* ---- answers from other threads ---- */

enum { THREADS = 8, CLIENTS = 16, REQUESTS = 500 };

struct load {
    struct fixture *fixture;
    atomic_uint next; /* the next parked request to answer */
};

/* Takes requests in the order of arrival and answers them in whatever order the threads run. */
static void *answer_parked(void *argument)
{
    struct load *load = argument;
    for (;;) {
        unsigned index = atomic_fetch_add(&load->next, 1);
        if (index >= CLIENTS * REQUESTS)
            return NULL;
        wait_parked(load->fixture, index + 1);
        release_parked(load->fixture, index);
    }
}

static void *ask(void *argument)
{
    struct fixture *fixture = argument;
    int fd = client(fixture);
    for (int i = 0; i < REQUESTS; i++) {
        char request[64];
        snprintf(request, sizeof request, "%s /park/%d%s\n", i % 50 == 0 ? "UPDATE" : "SHOW", i,
                 i % 50 == 0 ? " x" : "");
        send_text(fd, request);
    }
    for (int i = 0; i < REQUESTS; i++) {
        char response[64];
        snprintf(response, sizeof response, "200 /park/%d OK\ntext\n", i);
        expect(fd, response);
    }
    close(fd);
    return NULL;
}

START_TEST(test_answers_from_threads)
{
    struct load load = {.fixture = start((sttp_server_options){.workers = 2})};
    pthread_t answering[THREADS];
    pthread_t asking[CLIENTS];
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&answering[i], NULL, answer_parked, &load), 0);
    for (int i = 0; i < CLIENTS; i++)
        ck_assert_int_eq(pthread_create(&asking[i], NULL, ask, load.fixture), 0);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(asking[i], NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(answering[i], NULL);
    stop(load.fixture);
}
END_TEST

/* Threads answer while the server stops and is destroyed. */
START_TEST(test_answers_while_stopping)
{
    enum { FEW = 400 };
    struct load load = {.fixture = start((sttp_server_options){.workers = 2})};
    struct fixture *fixture = load.fixture;
    int fd = client(fixture);
    pthread_t answering[THREADS];
    for (int i = 0; i < FEW; i++)
        send_text(fd, "SHOW /park\n");
    wait_parked(fixture, 64);
    atomic_store(&load.next, CLIENTS * REQUESTS - 64);
    for (unsigned i = 0; i < 64; i++)
        fixture->parked[CLIENTS * REQUESTS - 64 + i] = fixture->parked[i];
    pthread_mutex_lock(&fixture->mutex);
    fixture->parked_count = CLIENTS * REQUESTS;
    pthread_mutex_unlock(&fixture->mutex);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&answering[i], NULL, answer_parked, &load), 0);
    sttp_server_stop(fixture->server, 0);
    sttp_server_wait(fixture->server);
    sttp_server_destroy(fixture->server);
    for (int i = 0; i < THREADS; i++)
        pthread_join(answering[i], NULL);
    for (unsigned i = CLIENTS * REQUESTS; i < fixture->parked_count; i++)
        release_parked(fixture, i);
    close(fd);
    free_fixture(fixture);
}
END_TEST

static Suite *stop_suite(void)
{
    Suite *suite = suite_create("server_stop");
    TCase *stopping = tcase_create("stopping");
    tcase_set_timeout(stopping, 60);
    tcase_add_test(stopping, test_graceful_stop);
    tcase_add_test(stopping, test_stop_answers_the_backlog);
    tcase_add_test(stopping, test_stop_before_deadline);
    tcase_add_test(stopping, test_deadline);
    tcase_add_test(stopping, test_stop_now);
    tcase_add_test(stopping, test_stop_from_signal_handler);
    suite_add_tcase(suite, stopping);
    TCase *threads = tcase_create("threads");
    tcase_set_timeout(threads, 60);
    tcase_add_test(threads, test_answers_from_threads);
    tcase_add_test(threads, test_answers_while_stopping);
    suite_add_tcase(suite, threads);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(stop_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
