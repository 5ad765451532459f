/* The server engine: connections that come by proxies: their headers, and who may send one. */
#include <netinet/tcp.h>
#include <stdatomic.h>

#include <sttp/proxy_header.h>

#include "proxied_server.h"

enum { ELSEWHERE = 0x0a000001 }; /* 10.0.0.1 */

/* ---- what the kernel would say of peers elsewhere ---- */

static atomic_uint fake_peer; /* an IPv4 address; 0: the kernel's word counts */

int __real_accept4(int fd, struct sockaddr *peer, socklen_t *size, int flags);
int __wrap_accept4(int fd, struct sockaddr *peer, socklen_t *size, int flags);

int __wrap_accept4(int fd, struct sockaddr *peer, socklen_t *size, int flags)
{
    int accepted = __real_accept4(fd, peer, size, flags);
    if (accepted >= 0 && fake_peer != 0)
        *(struct sockaddr_in *)peer =
            (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(fake_peer)};
    return accepted;
}

/* A text around the port of the socket's own address. */
static const char *own_address(int fd, const char *before, const char *behind)
{
    static char text[100];
    struct sockaddr_in own;
    socklen_t size = sizeof own;
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&own, &size), 0);
    snprintf(text, sizeof text, "%s%u%s", before, (unsigned)ntohs(own.sin_port), behind);
    return text;
}

/* The whole line that answers a header where none is due. */
static void expect_client_error(int fd)
{
    char byte;
    expect(fd, "300 TCP4 CLIENT ERROR \"");
    do
        ck_assert_int_eq(recv(fd, &byte, 1, 0), 1);
    while (byte != '\n');
}

/* ---- headers ---- */

START_TEST(test_line)
{
    struct fixture *fixture = start_proxied((sttp_server_options){0}, "127.0.0.0/8");
    int fd = client(fixture);
    exchange(fd, V1 "SHOW /peer\nSHOW /now\n",
             "200 /peer OK\n192.0.2.1 40000, 0 hops\n200 /now OK\ntext\n");
    char expected[100];
    snprintf(expected, sizeof expected, "192.0.2.1:40000 by %s", own_address(fd, "127.0.0.1:", ""));
    expect_text(fixture, opened, expected);
    exchange(fd, "SHOW /peer\n", "200 /peer OK\n192.0.2.1 40000, 0 hops\n");
    /* Only the first line is a header. */
    send_text(fd, V1);
    expect_client_error(fd);
    close(fd);
    wait_at_least(fixture, &fixture->notices[STTP_NOTICE_CLOSED], 1);
    expect_text(fixture, closed, "192.0.2.1:40000: closed by client: -");
    stop(fixture);
}
END_TEST

START_TEST(test_v2)
{
    struct fixture *fixture = start_proxied((sttp_server_options){0}, "127.0.0.1");
    int fd = client(fixture);
    v2_begin_ipv6(&v2);
    v2_field(&v2, STTP_PROXY_HEADER_HOPS, "\x05", 1);
    v2_end(&v2);
    v2_add(&v2, "SHOW /peer\n", 11);
    send_bytes(fd, (const char *)v2.bytes, v2.size);
    expect(fd, "200 /peer OK\n2001:db8::1 40000, 5 hops\n");
    close(fd);
    fd = client(fixture);
    v2_begin_unix(&v2);
    send_header(fd, &v2);
    exchange(fd, "SHOW /peer\n", "200 /peer OK\nunix 0, 0 hops\n");
    close(fd);
    stop(fixture);
}
END_TEST

static void send_bytewise(int fd, const void *bytes, size_t size)
{
    int one = 1;
    ck_assert_int_eq(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), 0);
    for (size_t i = 0; i < size; i++)
        send_bytes(fd, (const char *)bytes + i, 1);
}

START_TEST(test_byte_by_byte)
{
    struct fixture *fixture = start_proxied((sttp_server_options){0}, "127.0.0.1");
    int fd = client(fixture);
    send_bytewise(fd, V1 "SHOW /peer\n", sizeof V1 + 10);
    expect(fd, "200 /peer OK\n192.0.2.1 40000, 0 hops\n");
    close(fd);
    fd = client(fixture);
    static const char padding[3000];
    v2_begin_ipv4(&v2);
    v2_field(&v2, 0x04, padding, sizeof padding);
    v2_field(&v2, STTP_PROXY_HEADER_HOPS, "\x01", 1);
    v2_end(&v2);
    v2_add(&v2, "SHOW /peer\n", 11);
    send_bytewise(fd, v2.bytes, v2.size);
    expect(fd, "200 /peer OK\n192.0.2.1 40000, 1 hops\n");
    close(fd);
    stop(fixture);
}
END_TEST

/* Where the header tells no client, the connection's own address stays. */
START_TEST(test_no_client_told)
{
    struct fixture *fixture = start_proxied((sttp_server_options){0}, "127.0.0.1");
    char expected[100];
    int fd = client(fixture);
    snprintf(expected, sizeof expected, "200 /peer OK\n%s",
             own_address(fd, "127.0.0.1 ", ", 0 hops\n"));
    exchange(fd, "PROXY UNKNOWN 192.0.2.1\r\nSHOW /peer\n", expected);
    expect_text(fixture, opened, own_address(fd, "127.0.0.1:", " by -"));
    close(fd);
    fd = client(fixture);
    snprintf(expected, sizeof expected, "200 /peer OK\n%s",
             own_address(fd, "127.0.0.1 ", ", 0 hops\n"));
    v2_begin(&v2, V2_LOCAL, 0x11);
    send_header(fd, &v2);
    exchange(fd, "SHOW /peer\n", expected);
    close(fd);
    fd = client(fixture);
    snprintf(expected, sizeof expected, "200 /peer OK\n%s",
             own_address(fd, "127.0.0.1 ", ", 3 hops\n"));
    char buffer[STTP_PROXY_HEADER_ROOM];
    send_bytes(fd, buffer, sttp_proxy_header_write(buffer, NULL, NULL, 3));
    exchange(fd, "SHOW /peer\n", expected);
    close(fd);
    stop(fixture);
}
END_TEST

START_TEST(test_refused_headers)
{
    static const struct {
        const char *bytes;
        const char *detail;
    } headers[] = {
        {"SHOW /peer\n", "the connection does not begin with one"},
        {"PROXY TCP4 192.0.2.1 198.51.100.7 40000\r\n", "its line is malformed"},
        {"PROXY TCP4 192.0.2.1 198.51.100.7 40000 8080\n", "its line is malformed"},
        {"\r\n\r\n\r\n", "the connection does not begin with one"},
    };
    struct fixture *fixture = start_proxied((sttp_server_options){0}, "127.0.0.1");
    unsigned count = sizeof headers / sizeof *headers;
    char expected[200];
    for (unsigned i = 0; i < count; i++) {
        int fd = client(fixture);
        send_text(fd, headers[i].bytes);
        ends_in_reset(fd);
        wait_refused(fixture, i + 1);
        snprintf(expected, sizeof expected, ": PROXY header refused: %s", headers[i].detail);
        ck_assert_ptr_nonnull(strstr(refused, expected));
    }
    int fd = client(fixture);
    v2_begin_ipv4(&v2);
    v2_field(&v2, 0x03, "\0\0\0\0", 4);
    send_header(fd, &v2);
    snprintf(expected, sizeof expected, "%s",
             own_address(fd, "127.0.0.1:", ": PROXY header refused: its checksum is wrong"));
    ends_in_reset(fd);
    wait_refused(fixture, count + 1);
    expect_text(fixture, refused, expected);
    ck_assert_uint_eq(current(fixture, &fixture->handled), 0);
    ck_assert_uint_eq(fixture->notices[STTP_NOTICE_OPENED], 0);
    ck_assert_uint_eq(fixture->reasons[STTP_CLOSE_PROXY_HEADER], count + 1);
    stop(fixture);
}
END_TEST

/* The end comes before the header does. */
START_TEST(test_unfinished_header)
{
    struct fixture *fixture = start_proxied((sttp_server_options){0}, "127.0.0.1");
    int fd = client(fixture);
    close(fd);
    wait_refused(fixture, 1);
    fd = client(fixture);
    send_text(fd, "PROXY TCP4");
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
    expect_end_and_close(fd);
    wait_refused(fixture, 2);
    ck_assert_uint_eq(fixture->reasons[STTP_CLOSE_BY_CLIENT], 2);
    fd = client(fixture);
    send_text(fd, "PROXY");
    struct linger reset = {.l_onoff = 1};
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    close(fd);
    wait_reason(fixture, STTP_CLOSE_RESET, 1);
    fd = client(fixture);
    send_text(fd, V1 "SHOW /now\nSHOW");
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
    expect(fd, "200 /now OK\ntext\n300 - CLIENT ERROR \"");
    close(fd);
    stop(fixture);
}
END_TEST

/* ---- trust ---- */

/* Nothing of it is read, however right it is. */
START_TEST(test_untrusted)
{
    struct fixture *fixture = start_proxied((sttp_server_options){0}, "10.0.0.0/8");
    int fd = client(fixture);
    char expected[100];
    snprintf(expected, sizeof expected, "%s",
             own_address(fd, "127.0.0.1:", ": not a trusted proxy: -"));
    send(fd, V1 "SHOW /now\n", sizeof V1 + 9, MSG_NOSIGNAL);
    ends_in_reset(fd);
    wait_refused(fixture, 1);
    expect_text(fixture, refused, expected);
    fake_peer = ELSEWHERE;
    fd = client(fixture);
    exchange(fd, V1 "SHOW /now\n", "200 /now OK\ntext\n");
    close(fd);
    ck_assert_uint_eq(current(fixture, &fixture->handled), 1);
    fake_peer = 0;
    stop(fixture);
}
END_TEST

/* Only a proxy on this host may say that its client is, too. */
START_TEST(test_local_claims)
{
    static const char *const claims[] = {
        "PROXY TCP4 127.0.0.1 198.51.100.7 40000 8080\r\n",
        "PROXY TCP4 127.255.255.255 198.51.100.7 40000 8080\r\n",
        "PROXY TCP6 ::1 2001:db8::1 40000 8080\r\n",
        "PROXY TCP6 ::ffff:127.0.0.1 2001:db8::1 40000 8080\r\n",
        "PROXY TCP6 0:0:0:0:0:0:0:1 2001:db8::1 40000 8080\r\n",
    };
    struct fixture *fixture = start_proxied((sttp_server_options){0}, "0.0.0.0/0");
    unsigned count = sizeof claims / sizeof *claims;
    for (unsigned i = 0; i <= count; i++) {
        v2_begin_unix(&v2);
        v2_end(&v2);
        const char *claim = i < count ? claims[i] : (const char *)v2.bytes;
        size_t size = i < count ? strlen(claim) : v2.size;
        fake_peer = 0;
        int fd = client(fixture);
        send_bytes(fd, claim, size);
        round_trip(fd);
        close(fd);
        fake_peer = ELSEWHERE;
        fd = client(fixture);
        send_bytes(fd, claim, size);
        ends_in_reset(fd);
        wait_refused(fixture, i + 1);
        expect_text(fixture, refused,
                    "10.0.0.1:0: PROXY header refused: it tells of a client on this host, and the "
                    "proxy is on another");
    }
    fake_peer = 0;
    stop(fixture);
}
END_TEST

START_TEST(test_unix_socket)
{
    char directory[] = "/tmp/sttp-check-XXXXXX", address[100];
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(address, sizeof address, "unix:%s/s", directory);
    struct fixture *fixture = create((sttp_server_options){0});
    ck_assert_int_eq(listen_to(fixture, address, NULL), STTP_OK);
    ck_assert_int_eq(sttp_server_start(fixture->server), STTP_OK);
    int fd = client(fixture);
    exchange(fd, V1 "SHOW /peer\n", "200 /peer OK\n192.0.2.1 40000, 0 hops\n");
    expect_text(fixture, opened, "192.0.2.1:40000 by unix");
    close(fd);
    fd = client(fixture);
    exchange(fd, "PROXY TCP6 ::1 ::1 1 2\r\nSHOW /peer\n", "200 /peer OK\n::1 1, 0 hops\n");
    close(fd);
    stop(fixture);
    ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

/* Elsewhere such a line is a request like any other. */
START_TEST(test_other_listeners)
{
    struct fixture *fixture = create((sttp_server_options){0});
    ck_assert_int_eq(sttp_server_listen(fixture->server, "127.0.0.1:0"), STTP_OK);
    ck_assert_int_eq(listen_to(fixture, "127.0.0.1:0", "127.0.0.1"), STTP_OK);
    ck_assert_int_eq(sttp_server_start(fixture->server), STTP_OK);
    int fd = client(fixture);
    send_text(fd, V1);
    expect_client_error(fd);
    char expected[100];
    snprintf(expected, sizeof expected, "200 /peer OK\n%s",
             own_address(fd, "127.0.0.1 ", ", 0 hops\n"));
    exchange(fd, "SHOW /peer\n", expected);
    close(fd);
    fd = connect_to(sttp_server_address(fixture->server, 1));
    exchange(fd, V1 "SHOW /peer\n", "200 /peer OK\n192.0.2.1 40000, 0 hops\n");
    close(fd);
    stop(fixture);
}
END_TEST

START_TEST(test_arguments)
{
    struct fixture *fixture = create((sttp_server_options){0});
    sttp_network network = {.prefix = 0};
    sttp_listener_options options = {.size = sizeof options, .address = "127.0.0.1:0"};
    ck_assert_int_eq(listen_to(fixture, "127.0.0.1:0", NULL), STTP_ERR_ARGUMENT);
    ck_assert_int_eq(listen_to(fixture, "127.0.0.1", "::1"), STTP_ERR_ADDRESS);
    options.trusted = &network;
    options.trusted_count = 1;
    ck_assert_int_eq(sttp_server_listen_with(fixture->server, &options), STTP_ERR_ARGUMENT);
    options.proxy_protocol = true;
    options.size--;
    ck_assert_int_eq(sttp_server_listen_with(fixture->server, &options), STTP_ERR_ARGUMENT);
    options.size++;
    ck_assert_int_eq(sttp_server_listen_with(fixture->server, &options), STTP_OK);
    ck_assert_int_eq(sttp_server_start(fixture->server), STTP_OK);
    ck_assert_int_eq(sttp_server_listen_with(fixture->server, &options), STTP_ERR_STATE);
    stop(fixture);
}
END_TEST

static Suite *proxy_suite(void)
{
    Suite *suite = suite_create("server_proxy");
    TCase *tests = tcase_create("proxy");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, test_line);
    tcase_add_test(tests, test_v2);
    tcase_add_test(tests, test_byte_by_byte);
    tcase_add_test(tests, test_no_client_told);
    tcase_add_test(tests, test_refused_headers);
    tcase_add_test(tests, test_unfinished_header);
    tcase_add_test(tests, test_untrusted);
    tcase_add_test(tests, test_local_claims);
    tcase_add_test(tests, test_unix_socket);
    tcase_add_test(tests, test_other_listeners);
    tcase_add_test(tests, test_arguments);
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
