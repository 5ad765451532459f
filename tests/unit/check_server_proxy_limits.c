/* The server engine: limits and memory of connections that come by proxies, and requests to a
 * proxy. */
#include <stdatomic.h>

#include <sttp/proxy_header.h>

#include "proxied_server.h"

/* ---- memory ---- */

static atomic_int until_failure = -1; /* allocations that still succeed; negative: all */
static atomic_size_t in_use;          /* bytes */

static void *allocate(size_t size, void *context)
{
    (void)context;
    int left = atomic_load(&until_failure);
    while (left > 0 && !atomic_compare_exchange_weak(&until_failure, &left, left - 1))
        ;
    size_t *memory = left == 0 ? NULL : malloc(size + 16);
    if (memory == NULL)
        return NULL;
    *memory = size;
    atomic_fetch_add(&in_use, size);
    return (char *)memory + 16;
}

static void release(void *memory, void *context)
{
    (void)context;
    if (memory == NULL)
        return;
    size_t *start = (size_t *)((char *)memory - 16);
    atomic_fetch_sub(&in_use, *start);
    free(start);
}

static const sttp_allocator counted = {.allocate = allocate, .release = release};

/* ---- limits ---- */

/* The clients are counted by what the headers say, the proxy is not. */
START_TEST(test_limit_per_address)
{
    struct fixture *fixture = start_proxied(
        (sttp_server_options){.max_connections = 100, .max_connections_per_address = 2},
        "127.0.0.1");
    int fds[5], silent[5];
    for (int i = 0; i < 5; i++)
        silent[i] = client(fixture);
    for (int i = 0; i < 4; i++) {
        fds[i] = client(fixture);
        send_text(fds[i], i % 2 == 0 ? V1 : "PROXY TCP4 192.0.2.2 192.0.2.3 1 2\r\n");
        round_trip(fds[i]);
    }
    fds[4] = client(fixture);
    send_text(fds[4], V1);
    ends_in_reset(fds[4]);
    wait_refused(fixture, 1);
    expect_text(fixture, refused, "192.0.2.1:40000: too many connections: -");
    close(fds[0]);
    wait_at_least(fixture, &fixture->notices[STTP_NOTICE_CLOSED], 1);
    fds[0] = client(fixture);
    send_text(fds[0], V1);
    round_trip(fds[0]);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    for (int i = 0; i < 5; i++)
        close(silent[i]);
    wait_at_least(fixture, &fixture->notices[STTP_NOTICE_CLOSED], 5);
    wait_refused(fixture, 6);
    stop(fixture);
}
END_TEST

/* From the connection's begin to the whole header, whatever comes meanwhile. */
START_TEST(test_timeout)
{
    struct fixture *fixture = start_proxied(
        (sttp_server_options){.request_timeout = 200, .idle_timeout = 60000}, "127.0.0.1");
    int silent = client(fixture), slow = client(fixture), good = client(fixture);
    send_text(good, V1);
    send_text(slow, "PROXY TC");
    expect_end_and_close(silent);
    ends_in_reset(slow);
    wait_refused(fixture, 2);
    ck_assert_uint_eq(fixture->reasons[STTP_CLOSE_REQUEST_TIMEOUT], 2);
    /* It is idle since then. A part of a request has all the time from its own begin. */
    round_trip(good);
    send_text(good, "SHOW");
    expect(good, "300 - CLIENT ERROR \"request timeout\"\n");
    expect_end_and_close(good);
    stop(fixture);
}
END_TEST

/* The request has its own time, which begins when the header is whole. */
START_TEST(test_time_of_request)
{
    struct fixture *fixture =
        start_proxied((sttp_server_options){.request_timeout = 1500}, "127.0.0.1");
    int fd = client(fixture);
    poll(NULL, 0, 900);
    send_text(fd, V1 "SHOW /n");
    poll(NULL, 0, 900);
    exchange(fd, "ow\n", "200 /now OK\ntext\n");
    close(fd);
    stop(fixture);
}
END_TEST

START_TEST(test_stop)
{
    struct fixture *fixture =
        start_proxied((sttp_server_options){.request_timeout = 60000}, "127.0.0.1");
    int blocked = client(fixture), silent = client(fixture), partial = client(fixture);
    int ready = client(fixture), late = client(fixture);
    send_text(blocked, V1 "SHOW /block\n");
    wait_at_least(fixture, &fixture->blocked, 1);
    send_text(partial, "PROXY");
    send_text(ready, V1 "SHOW /now\nSHOW /now\n");
    v2_begin_ipv4(&v2);
    send_header(late, &v2);
    sttp_server_stop(fixture->server, 6 * PATIENCE * 1000);
    unblock(fixture);
    expect(blocked, "200 /block OK\ntext\n");
    expect(ready, "200 /now OK\ntext\n200 /now OK\ntext\n");
    expect_end_and_close(blocked);
    expect_end_and_close(ready);
    expect_end_and_close(silent);
    expect_end_and_close(partial);
    expect_end_and_close(late);
    ck_assert_int_eq(sttp_server_wait(fixture->server), STTP_OK);
    ck_assert_uint_eq(fixture->notices[STTP_NOTICE_OPENED], 3);
    ck_assert_uint_eq(fixture->notices[STTP_NOTICE_CLOSED], 3);
    ck_assert_uint_eq(fixture->notices[STTP_NOTICE_REFUSED], 2);
    sttp_server_destroy(fixture->server);
    free_fixture(fixture);
}
END_TEST

/* ---- memory ---- */

/* Whatever allocation fails, a connection is refused or served, and nothing is lost. */
START_TEST(test_out_of_memory)
{
    struct fixture *fixture = start_proxied(
        (sttp_server_options){
            .allocator = &counted, .max_connections = 100, .max_connections_per_address = 50},
        "127.0.0.1");
    unsigned served = 0, lost = 0;
    for (int failing = 0; failing < 12; failing++) {
        int fd = client(fixture);
        char answer[100];
        atomic_store(&until_failure, failing);
        send(fd, V1_BEGIN, sizeof V1_BEGIN - 1, MSG_NOSIGNAL);
        send(fd, V1_END "SHOW /now\n", sizeof V1_END + 9, MSG_NOSIGNAL);
        ssize_t got = recv(fd, answer, sizeof answer, 0);
        served += got == 17;
        lost += got <= 0;
        atomic_store(&until_failure, -1);
        close(fd);
        wait_at_least(fixture, &fixture->notices[STTP_NOTICE_CLOSED], served);
    }
    ck_assert_uint_eq(served + lost, 12);
    ck_assert_uint_ge(served, 1);
    ck_assert_uint_ge(lost, 1);
    fixture->bad_status = STTP_OK; /* the last answer is what failed, once */
    stop(fixture);
    ck_assert_uint_eq(in_use, 0);
}
END_TEST

START_TEST(test_listener_out_of_memory)
{
    sttp_status status = STTP_ERR_MEMORY;
    for (int failing = 0; status != STTP_OK; failing++) {
        struct fixture *fixture = create((sttp_server_options){.allocator = &counted});
        atomic_store(&until_failure, failing);
        status = listen_to(fixture, "127.0.0.1:0", "127.0.0.1");
        atomic_store(&until_failure, -1);
        ck_assert(status == STTP_OK ? failing >= 5 : status == STTP_ERR_MEMORY);
        sttp_server_destroy(fixture->server);
        free_fixture(fixture);
        ck_assert_uint_eq(in_use, 0);
    }
}
END_TEST

/* Who sends a part of a header and waits holds no more than who sends a part of a request. */
START_TEST(test_memory_of_waiting)
{
    enum { WAITING = 50, IDLE = 448, MOST = IDLE + 128 /* bytes */ };
    struct fixture *fixture =
        start_proxied((sttp_server_options){.allocator = &counted}, "127.0.0.1");
    int fds[WAITING + 1];
    fds[WAITING] = client(fixture);
    send_text(fds[WAITING], V1);
    round_trip(fds[WAITING]);
    size_t before = in_use;
    for (int i = 0; i < WAITING; i++) {
        fds[i] = client(fixture);
        send_text(fds[i], V1_BEGIN);
        round_trip(fds[WAITING]);
    }
    size_t waiting = in_use - before;
    for (int i = 0; i < WAITING; i++) {
        send_text(fds[i], V1_END);
        round_trip(fds[i]);
    }
    ck_assert_uint_le(waiting, (size_t)WAITING * MOST);
    ck_assert_uint_le(in_use - before, (size_t)WAITING * IDLE);
    for (int i = 0; i <= WAITING; i++)
        close(fds[i]);
    stop(fixture);
}
END_TEST

/* ---- many ---- */

static void *ask_much(void *argument)
{
    struct fixture *fixture = argument;
    for (int i = 0; i < 50; i++) {
        int fd = client(fixture);
        send_text(fd, i % 2 == 0 ? V1_BEGIN : V1);
        send_text(fd, i % 2 == 0 ? V1_END "SHOW /peer\n" : "SHOW /peer\n");
        expect(fd, "200 /peer OK\n192.0.2.1 40000, 0 hops\n");
        send_text(fd, "SHOW /peer\nSHOW /peer\n");
        expect(fd, "200 /peer OK\n192.0.2.1 40000, 0 hops\n");
        close(fd);
    }
    return NULL;
}

START_TEST(test_many)
{
    struct fixture *fixture = start_proxied((sttp_server_options){.workers = 2}, "127.0.0.1");
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_much, fixture), 0);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    stop(fixture);
}
END_TEST

/* ---- requests to a forward proxy ---- */

static void tell_origin(void *context, const sttp_request *request, sttp_reply *reply)
{
    char text[200];
    snprintf(text, sizeof text, "%.*s|%.*s", (int)request->origin.size, request->origin.data,
             (int)request->path.size, request->path.data);
    (void)context;
    answer_with(reply, request->action, STTP_SLICE("-"), (sttp_slice){text, strlen(text)});
}

START_TEST(test_url_targets)
{
    struct fixture *fixture = start((sttp_server_options){.proxy = true, .handler = tell_origin});
    int fd = client(fixture);
    exchange(fd, "SHOW sttp://example.org:8080/a\nSHOW /a\nSHOW STTP://[::1]/b\n",
             "200 - OK\nsttp://example.org:8080|/a\n200 - OK\n|/a\n200 - OK\nSTTP://[::1]|/b\n");
    close(fd);
    stop(fixture);
    fixture = start((sttp_server_options){.handler = tell_origin});
    fd = client(fixture);
    exchange(fd, "SHOW sttp://example.org:8080/a\n",
             "300 sttp://example.org:8080/a CLIENT ERROR \"");
    close(fd);
    stop(fixture);
}
END_TEST

static Suite *proxy_suite(void)
{
    Suite *suite = suite_create("server_proxy_limits");
    TCase *tests = tcase_create("proxy");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, test_limit_per_address);
    tcase_add_test(tests, test_timeout);
    tcase_add_test(tests, test_time_of_request);
    tcase_add_test(tests, test_stop);
    tcase_add_test(tests, test_out_of_memory);
    tcase_add_test(tests, test_listener_out_of_memory);
    tcase_add_test(tests, test_memory_of_waiting);
    tcase_add_test(tests, test_many);
    tcase_add_test(tests, test_url_targets);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(proxy_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
