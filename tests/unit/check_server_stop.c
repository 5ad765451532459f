/* The server engine: stopping, answers from other threads, memory that runs out. */
#include <malloc.h>
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

/* ---- memory that runs out ---- */

static atomic_int until_failure = -1; /* allocations that still succeed; negative: all */
static atomic_int failures;

static bool fails(void)
{
    int left = atomic_load(&until_failure);
    while (left > 0 && !atomic_compare_exchange_weak(&until_failure, &left, left - 1))
        ;
    if (left != 0)
        return false;
    atomic_fetch_add(&failures, 1);
    return true;
}

static void *allocate_or_fail(size_t size, void *context)
{
    (void)context;
    return fails() ? NULL : malloc(size);
}

static void *reallocate_or_fail(void *memory, size_t size, void *context)
{
    (void)context;
    return fails() ? NULL : realloc(memory, size);
}

static void release_memory(void *memory, void *context)
{
    (void)context;
    free(memory);
}

static const sttp_allocator failing = {allocate_or_fail, reallocate_or_fail, release_memory, NULL};

static atomic_size_t in_use; /* bytes */
static atomic_uint allocations;

static void *allocate_counted(size_t size, void *context)
{
    (void)context;
    void *memory = malloc(size);
    atomic_fetch_add(&allocations, 1);
    atomic_fetch_add(&in_use, malloc_usable_size(memory));
    return memory;
}

static void *reallocate_counted(void *memory, size_t size, void *context)
{
    (void)context;
    atomic_fetch_sub(&in_use, malloc_usable_size(memory));
    memory = realloc(memory, size);
    atomic_fetch_add(&in_use, malloc_usable_size(memory));
    return memory;
}

static void release_counted(void *memory, void *context)
{
    (void)context;
    atomic_fetch_sub(&in_use, malloc_usable_size(memory));
    free(memory);
}

static const sttp_allocator counting = {allocate_counted, reallocate_counted, release_counted,
                                        NULL};

/* A connection that waits holds no buffers, even where a part of a request has come. */
START_TEST(test_memory_of_a_connection)
{
    enum { COUNT = 100 };
    struct fixture *fixture = start((sttp_server_options){.allocator = &counting});
    int first = client(fixture);
    round_trip(first);
    size_t before = atomic_load(&in_use);
    int fds[COUNT];
    for (int i = 0; i < COUNT; i++) {
        fds[i] = client(fixture);
        round_trip(fds[i]);
    }
    round_trip(first);
    size_t idle = (atomic_load(&in_use) - before) / COUNT;
    ck_assert_uint_le(idle, 512);
    for (int i = 0; i < COUNT; i++)
        send_text(fds[i], "SHOW /half");
    round_trip(first);
    ck_assert_uint_le((atomic_load(&in_use) - before) / COUNT, idle + 512);
    for (int i = 0; i < COUNT; i++)
        exchange(fds[i], "/whole\n", "200 /half/whole OK\ntext\n");
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    close(first);
    stop(fixture);
    ck_assert_uint_eq(atomic_load(&in_use), 0);
}
END_TEST

/* A line that comes byte by byte is not moved to other memory for each of them. */
START_TEST(test_single_bytes_are_not_moved_each)
{
    enum { SIZE = 4000, MOVES = 20 };
    struct fixture *fixture = start((sttp_server_options){.allocator = &counting, .workers = 1});
    int slow = client(fixture), other = client(fixture);
    char line[SIZE + 1];
    memset(line, 'a', SIZE);
    line[SIZE] = '\0';
    memcpy(line, "LIST /?name=", strlen("LIST /?name="));
    round_trip(other);
    unsigned before = atomic_load(&allocations);
    for (int i = 0; i < SIZE; i++) {
        send_bytes(slow, line + i, 1);
        round_trip(other); /* the worker has read the byte */
    }
    ck_assert_uint_le(atomic_load(&allocations) - before, MOVES);
    exchange(slow, "\n", "200 / OK\ntext\n");
    close(slow);
    close(other);
    stop(fixture);
}
END_TEST

/* From the n-th allocation on none succeeds, for every n: the calls say so, and nothing leaks. */
START_TEST(test_no_memory_to_start)
{
    struct fixture *fixture = make_fixture();
    sttp_server_options options = with_fixture(
        fixture, (sttp_server_options){
                     .allocator = &failing, .workers = 2, .max_connections_per_address = 5});
    int n = 0;
    sttp_status status;
    do {
        atomic_store(&until_failure, n++);
        atomic_store(&failures, 0);
        status = sttp_server_create(&options, &fixture->server);
        if (status == STTP_OK)
            status = sttp_server_listen(fixture->server, "127.0.0.1:0");
        if (status == STTP_OK)
            status = sttp_server_start(fixture->server);
        ck_assert_int_eq(status, atomic_load(&failures) > 0 ? STTP_ERR_MEMORY : STTP_OK);
        if (status == STTP_OK) {
            sttp_server_stop(fixture->server, 1000);
            sttp_server_wait(fixture->server);
        }
        sttp_server_destroy(fixture->server);
    } while (status != STTP_OK && n < 100);
    ck_assert_int_eq(status, STTP_OK);
    ck_assert_int_gt(n, 5);
    atomic_store(&until_failure, -1);
    free_fixture(fixture);
}
END_TEST

/* One connection's exchange while memory runs out: it may end early, it may not hang. */
static void suffer(struct fixture *fixture)
{
    unsigned closed = current(fixture, &fixture->notices[STTP_NOTICE_CLOSED]) +
                      current(fixture, &fixture->notices[STTP_NOTICE_REFUSED]);
    char buffer[4096];
    int fd = client(fixture);
    const char *requests = "SHOW /park\nSHOW /now\nbad\nSHOW /release\nSHOW /big\nSHOW /half";
    ssize_t sent = send(fd, requests, strlen(requests), MSG_NOSIGNAL);
    (void)sent;
    shutdown(fd, SHUT_WR);
    ssize_t got;
    while ((got = recv(fd, buffer, sizeof buffer, 0)) > 0)
        ;
    ck_assert_msg(got == 0 || errno == ECONNRESET, "recv: %s", strerror(errno));
    close(fd);
    for (int i = 0; i < 1000 && current(fixture, &fixture->notices[STTP_NOTICE_CLOSED]) +
                                        current(fixture, &fixture->notices[STTP_NOTICE_REFUSED]) ==
                                    closed;
         i++)
        poll(NULL, 0, 10);
}

/* Answers the kept request, if there is one that nobody has answered. */
static void forget_parked(struct fixture *fixture)
{
    if (current(fixture, &fixture->parked_count) > current(fixture, &fixture->released))
        release_parked(fixture, 0);
    pthread_mutex_lock(&fixture->mutex);
    fixture->parked_count = 0;
    fixture->released = 0;
    pthread_mutex_unlock(&fixture->mutex);
}

START_TEST(test_no_memory_while_serving)
{
    struct fixture *fixture = start((sttp_server_options){
        .allocator = &failing, .max_connections_per_address = 5, .max_connections = 10});
    int failed = 0;
    int n = 0;
    do {
        atomic_store(&failures, 0);
        atomic_store(&until_failure, n++);
        suffer(fixture);
        failed = atomic_load(&failures);
        atomic_store(&until_failure, -1);
        forget_parked(fixture);
        int fd = client(fixture);
        round_trip(fd);
        close(fd);
    } while (failed > 0 && n < 100);
    ck_assert_int_eq(failed, 0);
    ck_assert_int_gt(n, 3);
    ck_assert_uint_gt(fixture->reasons[STTP_CLOSE_MEMORY], 0);
    fixture->bad_status = STTP_OK; /* some answer had no memory */
    stop(fixture);
}
END_TEST

/* An answer that breaks off ends in a reset: at an end of file it could pass for a whole one. */
START_TEST(test_no_memory_within_an_answer)
{
    enum { PLENTY = 1 << 30 };
    struct fixture *fixture =
        start((sttp_server_options){.allocator = &failing, .max_unsent = PLENTY});
    int fd = slow_client(fixture);
    ask_for_big(fd, 20);
    wait_at_least(fixture, &fixture->handled, 20);
    atomic_store(&until_failure, 0);
    ask_for_big(fd, 1);
    wait_reason(fixture, STTP_CLOSE_MEMORY, 1);
    atomic_store(&until_failure, -1);
    char buffer[4096];
    ssize_t got;
    while ((got = recv(fd, buffer, sizeof buffer, 0)) > 0)
        ;
    ck_assert_int_lt(got, 0);
    ck_assert_int_eq(errno, ECONNRESET);
    close(fd);
    fixture->bad_status = STTP_OK; /* the last answer had no memory */
    stop(fixture);
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
    TCase *memory = tcase_create("memory");
    tcase_set_timeout(memory, 60);
    tcase_add_test(memory, test_memory_of_a_connection);
    tcase_add_test(memory, test_single_bytes_are_not_moved_each);
    tcase_add_test(memory, test_no_memory_to_start);
    tcase_add_test(memory, test_no_memory_while_serving);
    tcase_add_test(memory, test_no_memory_within_an_answer);
    suite_add_tcase(suite, memory);
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
