/* The server engine: addresses, limits of connections and descriptors. */
#include <sys/resource.h>
#include <sys/stat.h>

#include "server_support.h"

/* ---- addresses ---- */

static char directory[64];
static char socket_address[96];

static void make_directory(void)
{
    snprintf(directory, sizeof directory, "/tmp/check_server_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(socket_address, sizeof socket_address, "unix:%s/socket", directory);
}

static const char *socket_path(void)
{
    return socket_address + 5;
}

static void remove_directory(void)
{
    unlink(socket_path());
    ck_assert_int_eq(rmdir(directory), 0);
}

static sttp_server *listener_on(const char *address, sttp_status expected)
{
    sttp_server_options options = {.size = sizeof options, .handler = handle, .workers = 2};
    sttp_server *server;
    ck_assert_int_eq(sttp_server_create(&options, &server), STTP_OK);
    ck_assert_int_eq(sttp_server_listen(server, address), expected);
    return server;
}

START_TEST(test_bad_addresses)
{
    static const char *const bad[] = {
        "",
        "8080",
        ":8080",
        "localhost:8080",
        "127.1:8080",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:+1",
        "127.0.0.1:80 ",
        "127.0.0.1:000080",
        "[::1]",
        "[::1]8080",
        "[::1:8080",
        "[127.0.0.1]:8080",
        "::1:8080",
        "192.0.2.1:0",
        "unix:",
        "unix:socket",
        "unix:/"
        "0123456789012345678901234567890123456789012345678901234567890123456789"
        "0123456789012345678901234567890123456789012345678901234567890123456789",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sttp_server *server = listener_on(bad[i], STTP_ERR_ADDRESS);
        ck_assert_ptr_null(sttp_server_address(server, 0));
        sttp_server_destroy(server);
    }
    sttp_server *server = listener_on("unix:/nonexistent/socket", STTP_ERR_SYSTEM);
    ck_assert_int_eq(errno, ENOENT);
    sttp_server_destroy(server);
}
END_TEST

/* Three kinds of listener, four workers: whoever accepts, the answer comes. */
START_TEST(test_all_kinds_of_listener)
{
    struct fixture *fixture = make_fixture();
    sttp_server_options options = with_fixture(fixture, (sttp_server_options){.workers = 4});
    make_directory();
    ck_assert_int_eq(sttp_server_create(&options, &fixture->server), STTP_OK);
    const char *const addresses[] = {"127.0.0.1:0", "[::1]:0", socket_address};
    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(sttp_server_listen(fixture->server, addresses[i]), STTP_OK);
    ck_assert_int_eq(sttp_server_start(fixture->server), STTP_OK);
    ck_assert_str_eq(sttp_server_address(fixture->server, 2), socket_address);
    ck_assert_int_eq(strncmp(sttp_server_address(fixture->server, 1), "[::1]:", 6), 0);
    int fds[60];
    for (size_t i = 0; i < 60; i++) {
        fds[i] = connect_to(sttp_server_address(fixture->server, i % 3));
        round_trip(fds[i]);
    }
    ck_assert_str_eq(fixture->last_peer, "unix");
    for (size_t i = 0; i < 60; i++)
        close(fds[i]);
    stop(fixture);
    ck_assert_int_eq(access(socket_path(), F_OK), -1);
    remove_directory();
}
END_TEST

START_TEST(test_address_in_use)
{
    sttp_server *first = listener_on("127.0.0.1:0", STTP_OK);
    sttp_server *second = listener_on(sttp_server_address(first, 0), STTP_ERR_ADDRESS_IN_USE);
    sttp_server_destroy(second);
    make_directory();
    sttp_server *third = listener_on(socket_address, STTP_OK);
    second = listener_on(socket_address, STTP_ERR_ADDRESS_IN_USE);
    sttp_server_destroy(second);
    ck_assert_int_eq(access(socket_path(), F_OK), 0);
    sttp_server_destroy(third);
    sttp_server_destroy(first);
    remove_directory();
}
END_TEST

struct start {
    pthread_barrier_t *line;
    const char *address;
    sttp_status status;
    sttp_server *server;
};

static void *listen_at_once(void *argument)
{
    struct start *start = argument;
    pthread_barrier_wait(start->line);
    start->status = sttp_server_listen(start->server, start->address);
    return NULL;
}

/* Of two servers that start at the same moment at most one gets the address. */
START_TEST(test_two_starts_at_once)
{
    enum { TIMES = 300 };
    sttp_server *first = listener_on("127.0.0.1:0", STTP_OK);
    char address[64];
    snprintf(address, sizeof address, "%s", sttp_server_address(first, 0));
    sttp_server_destroy(first);
    pthread_barrier_t line;
    pthread_barrier_init(&line, NULL, 2);
    for (int i = 0; i < TIMES; i++) {
        sttp_server_options options = {.size = sizeof options, .handler = handle, .workers = 2};
        struct start starts[2];
        pthread_t threads[2];
        for (int j = 0; j < 2; j++) {
            starts[j] = (struct start){.line = &line, .address = address};
            ck_assert_int_eq(sttp_server_create(&options, &starts[j].server), STTP_OK);
            ck_assert_int_eq(pthread_create(&threads[j], NULL, listen_at_once, &starts[j]), 0);
        }
        for (int j = 0; j < 2; j++)
            pthread_join(threads[j], NULL);
        ck_assert(starts[0].status != STTP_OK || starts[1].status != STTP_OK);
        for (int j = 0; j < 2; j++)
            sttp_server_destroy(starts[j].server);
    }
    pthread_barrier_destroy(&line);
}
END_TEST

static void make_stale_socket(void)
{
    struct sockaddr_storage address;
    socklen_t size = parse_address(socket_address, &address);
    int fd = make_socket(AF_UNIX);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, size), 0);
    close(fd);
}

START_TEST(test_stale_socket)
{
    make_directory();
    make_stale_socket();
    sttp_server *server = listener_on(socket_address, STTP_OK);
    close(connect_to(socket_address));
    sttp_server_destroy(server);
    ck_assert_int_eq(access(socket_path(), F_OK), -1);
    remove_directory();
}
END_TEST

/* Somebody listens, and takes no connection for the moment: that socket is not stale. */
START_TEST(test_busy_socket)
{
    enum { ENOUGH = 10 };
    make_directory();
    struct sockaddr_storage address;
    socklen_t size = parse_address(socket_address, &address);
    int listening = make_socket(AF_UNIX);
    ck_assert_int_eq(bind(listening, (struct sockaddr *)&address, size), 0);
    ck_assert_int_eq(listen(listening, 0), 0);
    int waiting[ENOUGH];
    for (int i = 0; i < ENOUGH; i++) {
        waiting[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(waiting[i], (struct sockaddr *)&address, size);
    }
    ck_assert_int_eq(errno, EAGAIN);
    sttp_server_destroy(listener_on(socket_address, STTP_ERR_ADDRESS_IN_USE));
    ck_assert_int_eq(access(socket_path(), F_OK), 0);
    for (int i = 0; i < ENOUGH; i++)
        close(waiting[i]);
    close(listening);
    remove_directory();
}
END_TEST

/* IPv6 only: the same port of IPv4 stays free. */
START_TEST(test_ipv6_only)
{
    sttp_server *server = listener_on("[::]:0", STTP_OK);
    char address[64];
    snprintf(address, sizeof address, "0.0.0.0%s", strrchr(sttp_server_address(server, 0), ':'));
    ck_assert_int_eq(sttp_server_listen(server, address), STTP_OK);
    ck_assert_str_eq(sttp_server_address(server, 1), address);
    sttp_server_destroy(server);
}
END_TEST

/* Files that are not this server's socket are left alone. */
START_TEST(test_foreign_files)
{
    make_directory();
    FILE *file = fopen(socket_path(), "w");
    ck_assert_ptr_nonnull(file);
    fclose(file);
    sttp_server *server = listener_on(socket_address, STTP_ERR_ADDRESS_IN_USE);
    sttp_server_destroy(server);
    ck_assert_int_eq(access(socket_path(), F_OK), 0);
    unlink(socket_path());
    server = listener_on(socket_address, STTP_OK);
    char moved[128];
    snprintf(moved, sizeof moved, "%s/moved", directory);
    ck_assert_int_eq(rename(socket_path(), moved), 0);
    make_stale_socket();
    sttp_server_destroy(server);
    ck_assert_int_eq(access(socket_path(), F_OK), 0);
    unlink(moved);
    remove_directory();
}
END_TEST

/* ---- limits of connections ---- */

START_TEST(test_longest_idle_makes_room)
{
    struct fixture *fixture = start((sttp_server_options){.max_connections = 3});
    int fds[4];
    for (int i = 0; i < 3; i++) {
        fds[i] = client(fixture);
        round_trip(fds[i]);
    }
    round_trip(fds[0]);
    fds[3] = client(fixture);
    round_trip(fds[3]);
    expect_end(fds[1]);
    wait_reason(fixture, STTP_CLOSE_MAKE_ROOM, 1);
    round_trip(fds[2]);
    round_trip(fds[0]);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    stop(fixture);
}
END_TEST

/* A connection whose request has come, though nobody has read it yet, is not idle. */
START_TEST(test_unread_request_is_not_idle)
{
    struct fixture *fixture = start((sttp_server_options){.max_connections = 2});
    int first = client(fixture);
    round_trip(first);
    int second = client(fixture);
    send_text(second, "SHOW /block\n");
    wait_at_least(fixture, &fixture->blocked, 1);
    int third = client(fixture);
    send_text(first, "SHOW /now\n");
    unblock(fixture);
    expect(second, "200 /block OK\ntext\n");
    expect(first, "200 /now OK\ntext\n");
    round_trip(third);
    expect_end_and_close(second);
    close(first);
    close(third);
    stop(fixture);
}
END_TEST

/* When the connections are spread over workers, the others make room, too: each newcomer is served.
 */
START_TEST(test_room_on_another_worker)
{
    enum { LIMIT = 4, COMERS = 40 };
    struct fixture *fixture = start((sttp_server_options){.max_connections = LIMIT, .workers = 4});
    int fds[COMERS];
    for (unsigned i = 0; i < COMERS; i++) {
        fds[i] = client(fixture);
        round_trip(fds[i]);
        ck_assert_uint_le(current(fixture, &fixture->notices[STTP_NOTICE_OPENED]) -
                              current(fixture, &fixture->notices[STTP_NOTICE_CLOSED]),
                          LIMIT);
    }
    wait_reason(fixture, STTP_CLOSE_MAKE_ROOM, COMERS - LIMIT);
    ck_assert_uint_eq(current(fixture, &fixture->notices[STTP_NOTICE_ACCEPT_PAUSED]), 0);
    for (unsigned i = 0; i < COMERS; i++)
        close(fds[i]);
    stop(fixture);
}
END_TEST

START_TEST(test_no_connection_is_idle)
{
    struct fixture *fixture = start((sttp_server_options){.max_connections = 2});
    int fds[3];
    for (unsigned i = 0; i < 2; i++) {
        fds[i] = client(fixture);
        send_text(fds[i], "SHOW /park\n");
        wait_parked(fixture, i + 1);
    }
    fds[2] = client(fixture);
    send_text(fds[2], "SHOW /now\n");
    wait_at_least(fixture, &fixture->notices[STTP_NOTICE_ACCEPT_PAUSED], 1);
    release_parked(fixture, 0);
    expect(fds[0], "200 /park OK\ntext\n");
    expect(fds[2], "200 /now OK\ntext\n");
    expect_end(fds[0]);
    release_parked(fixture, 1);
    expect(fds[1], "200 /park OK\ntext\n");
    ck_assert_uint_eq(current(fixture, &fixture->notices[STTP_NOTICE_ACCEPT_PAUSED]), 1);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    stop(fixture);
}
END_TEST

START_TEST(test_limit_by_address)
{
    struct fixture *fixture = make_fixture();
    sttp_server_options options = with_fixture(
        fixture, (sttp_server_options){.max_connections_per_address = 2, .workers = 2});
    make_directory();
    ck_assert_int_eq(sttp_server_create(&options, &fixture->server), STTP_OK);
    ck_assert_int_eq(sttp_server_listen(fixture->server, "127.0.0.1:0"), STTP_OK);
    ck_assert_int_eq(sttp_server_listen(fixture->server, socket_address), STTP_OK);
    ck_assert_int_eq(sttp_server_start(fixture->server), STTP_OK);
    int first = client(fixture);
    int second = client(fixture);
    round_trip(first);
    round_trip(second);
    for (unsigned i = 0; i < 3; i++) {
        expect_end_and_close(client(fixture));
        wait_reason(fixture, STTP_CLOSE_TOO_MANY, i + 1);
    }
    int local[4];
    for (int i = 0; i < 4; i++) {
        local[i] = connect_to(socket_address);
        round_trip(local[i]);
    }
    close(first);
    wait_reason(fixture, STTP_CLOSE_BY_CLIENT, 1);
    first = client(fixture);
    round_trip(first);
    round_trip(second);
    for (int i = 0; i < 4; i++)
        close(local[i]);
    close(first);
    close(second);
    stop(fixture);
    remove_directory();
}
END_TEST

/* ---- limits of descriptors ---- */

/* No descriptor can be opened any more. */
static void exhaust_descriptors(void)
{
    int lowest = dup(0);
    struct rlimit limit;
    ck_assert_int_ge(lowest, 0);
    close(lowest);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = (rlim_t)lowest;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

START_TEST(test_no_descriptors)
{
    struct fixture *fixture = start((sttp_server_options){0});
    const char *address = sttp_server_address(fixture->server, 0);
    int idle = client(fixture);
    round_trip(idle);
    int second = make_socket(AF_INET);
    int third = make_socket(AF_INET);
    exhaust_descriptors();
    connect_socket(second, address);
    exchange(second, "SHOW /now\nSHOW /park\n", "200 /now OK\ntext\n");
    wait_reason(fixture, STTP_CLOSE_MAKE_ROOM, 1);
    wait_parked(fixture, 1);
    connect_socket(third, address);
    send_text(third, "SHOW /now\n");
    wait_at_least(fixture, &fixture->notices[STTP_NOTICE_ACCEPT_PAUSED], 1);
    ck_assert_int_eq(fixture->pause_errno, EMFILE);
    release_parked(fixture, 0);
    expect(second, "200 /park OK\ntext\n");
    expect(third, "200 /now OK\ntext\n");
    close(idle);
    close(second);
    close(third);
    stop(fixture);
}
END_TEST

START_TEST(test_thousand_connections)
{
    enum { COUNT = 1000 };
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_uint_ge(limit.rlim_cur, 2 * COUNT + 100);
    struct fixture *fixture = start((sttp_server_options){.workers = 2});
    static int fds[COUNT];
    for (int i = 0; i < COUNT; i++)
        fds[i] = client(fixture);
    for (int i = 0; i < COUNT; i++)
        send_text(fds[i], "SHOW /now\nSHOW /park\n");
    wait_parked(fixture, COUNT);
    for (unsigned i = 0; i < COUNT; i++)
        release_parked(fixture, i);
    for (int i = 0; i < COUNT; i++)
        expect(fds[i], "200 /now OK\ntext\n200 /park OK\ntext\n");
    for (int i = 0; i < COUNT; i++)
        round_trip(fds[i]);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    wait_reason(fixture, STTP_CLOSE_BY_CLIENT, COUNT);
    stop(fixture);
}
END_TEST

static Suite *limits_suite(void)
{
    Suite *suite = suite_create("server_limits");
    TCase *addresses = tcase_create("addresses");
    tcase_set_timeout(addresses, 60);
    tcase_add_test(addresses, test_bad_addresses);
    tcase_add_test(addresses, test_all_kinds_of_listener);
    tcase_add_test(addresses, test_address_in_use);
    tcase_add_test(addresses, test_two_starts_at_once);
    tcase_add_test(addresses, test_stale_socket);
    tcase_add_test(addresses, test_busy_socket);
    tcase_add_test(addresses, test_ipv6_only);
    tcase_add_test(addresses, test_foreign_files);
    suite_add_tcase(suite, addresses);
    TCase *limits = tcase_create("limits");
    tcase_set_timeout(limits, 60);
    tcase_add_test(limits, test_longest_idle_makes_room);
    tcase_add_test(limits, test_unread_request_is_not_idle);
    tcase_add_test(limits, test_room_on_another_worker);
    tcase_add_test(limits, test_no_connection_is_idle);
    tcase_add_test(limits, test_limit_by_address);
    tcase_add_test(limits, test_no_descriptors);
    tcase_add_test(limits, test_thousand_connections);
    suite_add_tcase(suite, limits);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(limits_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
