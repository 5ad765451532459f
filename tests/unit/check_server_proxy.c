/* The server engine: connections that come by proxies, and requests to one. */
#include <netinet/tcp.h>
#include <stdatomic.h>

#include <sttp/proxy_header.h>

#include "proxy_header_support.h"
#include "server_support.h"

enum { ELSEWHERE = 0x0a000001 }; /* 10.0.0.1 */

#define V1_BEGIN "PROXY TCP4 192.0.2.1"
#define V1_END " 198.51.100.7 40000 8080\r\n"
#define V1 V1_BEGIN V1_END

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

/* ---- the server ---- */

/* What was told last, guarded by the fixture's mutex. */
static char opened[400];
static char refused[400];
static char closed[400];

static const char *or_dash(const char *text)
{
    return text != NULL ? text : "-";
}

static void note(void *context, const sttp_notice *notice)
{
    struct fixture *fixture = context;
    pthread_mutex_lock(&fixture->mutex);
    if (notice->kind == STTP_NOTICE_OPENED)
        snprintf(opened, sizeof opened, "%s by %s", notice->peer, or_dash(notice->proxy));
    if (notice->kind == STTP_NOTICE_REFUSED)
        snprintf(refused, sizeof refused, "%s: %s: %s", notice->peer,
                 sttp_close_reason_text(notice->reason), or_dash(notice->detail));
    if (notice->kind == STTP_NOTICE_CLOSED)
        snprintf(closed, sizeof closed, "%s: %s: %s", notice->peer,
                 sttp_close_reason_text(notice->reason), or_dash(notice->detail));
    pthread_mutex_unlock(&fixture->mutex);
    take_notice(context, notice);
}

/* Answers with the client's address and the hops. */
static void tell_peer(void *context, const sttp_request *request, sttp_reply *reply)
{
    char text[200], host[INET6_ADDRSTRLEN] = "";
    sttp_peer peer;
    if (!begins(request->path, "/peer")) {
        handle(context, request, reply);
        return;
    }
    sttp_reply_peer(reply, &peer);
    const struct sockaddr_in *in = (const struct sockaddr_in *)&peer.address;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&peer.address;
    unsigned port = 0;
    if (peer.address.ss_family == AF_INET) {
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        port = ntohs(in->sin_port);
    } else if (peer.address.ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        port = ntohs(in6->sin6_port);
    } else if (peer.address.ss_family == AF_UNIX) {
        strcpy(host, "unix");
    }
    snprintf(text, sizeof text, "%s %u, %u hops", host, port, peer.hops);
    answer_with(reply, request->action, request->path, (sttp_slice){text, strlen(text)});
}

static sttp_status listen_to(struct fixture *fixture, const char *address, const char *trusted)
{
    sttp_network network;
    sttp_listener_options options = {
        .size = sizeof options, .address = address, .proxy_protocol = true, .trusted = &network};
    if (trusted != NULL)
        ck_assert_int_eq(sttp_network_parse((sttp_slice){trusted, strlen(trusted)}, &network),
                         STTP_OK);
    options.trusted_count = trusted != NULL;
    sttp_status status = sttp_server_listen_with(fixture->server, &options);
    memset(&network, 0xff, sizeof network); /* it is the caller's again */
    return status;
}

static struct fixture *create(sttp_server_options options)
{
    struct fixture *fixture = make_fixture();
    if (options.handler == NULL)
        options.handler = tell_peer;
    options = with_fixture(fixture, options);
    options.notice = note;
    fake_peer = 0;
    opened[0] = refused[0] = closed[0] = '\0';
    ck_assert_int_eq(sttp_server_create(&options, &fixture->server), STTP_OK);
    return fixture;
}

static struct fixture *start_proxied(sttp_server_options options, const char *trusted)
{
    struct fixture *fixture = create(options);
    ck_assert_int_eq(listen_to(fixture, "127.0.0.1:0", trusted), STTP_OK);
    ck_assert_int_eq(sttp_server_start(fixture->server), STTP_OK);
    return fixture;
}

static void wait_refused(struct fixture *fixture, unsigned count)
{
    wait_at_least(fixture, &fixture->notices[STTP_NOTICE_REFUSED], count);
}

static void expect_text(struct fixture *fixture, const char *text, const char *expected)
{
    pthread_mutex_lock(&fixture->mutex);
    ck_assert_str_eq(text, expected);
    pthread_mutex_unlock(&fixture->mutex);
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

static void send_header(int fd, struct v2 *header)
{
    v2_end(header);
    send_bytes(fd, (const char *)header->bytes, header->size);
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

static struct v2 v2;

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
