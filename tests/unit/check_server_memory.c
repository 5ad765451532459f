/* The server engine: what it holds, and memory that runs out. */
#include <malloc.h>
#include <stdatomic.h>

#include "server_support.h"

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

/* There is none for the answer in place of a request that its sender does not finish. */
START_TEST(test_no_memory_for_an_expired_request)
{
    struct fixture *fixture =
        start((sttp_server_options){.allocator = &failing, .workers = 1, .request_timeout = 300});
    int half = client(fixture), other = client(fixture);
    send_text(half, "SHOW /half");
    round_trip(other);                /* the worker has read the half */
    send_text(other, "SHOW /park\n"); /* keeps what the worker has in store for a request */
    wait_at_least(fixture, &fixture->parked_count, 1);
    atomic_store(&until_failure, 0);
    wait_reason(fixture, STTP_CLOSE_MEMORY, 1);
    atomic_store(&until_failure, -1);
    release_parked(fixture, 0);
    close(half);
    close(other);
    stop(fixture);
}
END_TEST

static Suite *memory_suite(void)
{
    Suite *suite = suite_create("server_memory");
    TCase *memory = tcase_create("memory");
    tcase_set_timeout(memory, 60);
    tcase_add_test(memory, test_memory_of_a_connection);
    tcase_add_test(memory, test_single_bytes_are_not_moved_each);
    tcase_add_test(memory, test_no_memory_to_start);
    tcase_add_test(memory, test_no_memory_while_serving);
    tcase_add_test(memory, test_no_memory_within_an_answer);
    tcase_add_test(memory, test_no_memory_for_an_expired_request);
    suite_add_tcase(suite, memory);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(memory_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
