/* The blocking client over a transport of its user's. */
#include <fcntl.h>
#include <netinet/tcp.h>

#include "client_assert.h"
#include "client_hold.h"

/* Byte by byte, both ways. */
START_TEST(test_transport)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "H"},
                                 {STEP_WRITE, "h"},
                                 {STEP_READ, "CREATE /a \"x\"\n"},
                                 {STEP_WRITE, "100 /a CREATED\r\n"},
                                 {STEP_READ, "SHOW /a\n"},
                                 {STEP_WRITE, "200 /a OK\nx\n"},
                                 {STEP_READ, "SHOW /a\n"},
                                 {STEP_CLOSE, 0},
                                 {STEP_END, 0}};
    scrambler s = {.key = 0x5a, .at_once = 1};
    const sttp_transport transport = scrambling(&s);
    sttp_response response;
    sttp_error error;
    sttp_client *client;
    peer p;

    peer_start_on(&p, listening_socket("127.0.0.1", 0), steps, s.key);
    client = make((sttp_client_options){.port = port_of(p.listener), .transport = &transport});
    ck_assert_int_eq(ask(client, STTP_ACTION_CREATE, "/a", &response, &error), STTP_OK);
    assert_shows(client, "/a", "x");
    ck_assert_uint_eq(s.bytes_written, 1 + 14 + 8);
    ck_assert_uint_eq(s.bytes_read, 1 + 16 + 12);
    ck_assert_str_eq(s.host, "127.0.0.1");
    s.refuses = true; /* the connection that follows when this one is closed */
    error = assert_fails(client, STTP_ACTION_SHOW, "/a", STTP_ERR_TRANSPORT);
    ck_assert_int_eq(error.phase, STTP_PHASE_HANDSHAKE);
    assert_contains(error.text, "the scrambler is broken");
    sttp_client_destroy(client);
    peer_finish(&p);
    ck_assert_uint_eq(s.opened, 2);
    ck_assert_uint_eq(s.closed, 2);
}
END_TEST

/* A change waits a moment for the end of a connection that has given one answer. */
START_TEST(test_change_waits_for_the_end)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "H"},
                                 {STEP_WRITE, "h"},
                                 {STEP_READ, "CREATE /a \"x\"\n"},
                                 {STEP_WRITE, "100 /a CREATED\n"},
                                 {STEP_AWAIT_CLOSE, 0},
                                 {STEP_ACCEPT, 0},
                                 {STEP_READ, "H"},
                                 {STEP_WRITE, "h"},
                                 {STEP_READ, "CREATE /b \"x\"\n"},
                                 {STEP_WRITE, "100 /b CREATED\n"},
                                 {STEP_END, 0}};
    scrambler s = {.key = 7, .at_once = 64};
    const sttp_transport transport = scrambling(&s);
    sttp_response response;
    sttp_error error;
    sttp_client *client;
    peer p;

    peer_start_on(&p, listening_socket("127.0.0.1", 0), steps, s.key);
    client = make((sttp_client_options){.port = port_of(p.listener), .transport = &transport});
    clock_gettime(CLOCK_MONOTONIC, &hold.frozen); /* so the wait is not over before it begins */
    ck_assert_int_eq(ask(client, STTP_ACTION_CREATE, "/a", &response, &error), STTP_OK);
    hold.ends = &s;
    send_one(client, STTP_ACTION_CREATE, "/b");
    assert_receives(client, STTP_OK, STTP_OK);
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

START_TEST(test_handshake_timeout)
{
    static const step steps[] = {
        {STEP_ACCEPT, 0}, {STEP_READ, "H"}, {STEP_AWAIT_CLOSE, 0}, {STEP_END, 0}};
    scrambler s = {.key = 1, .at_once = 8};
    const sttp_transport transport = scrambling(&s);
    sttp_client *client;
    sttp_error error;
    peer p;

    peer_start_on(&p, listening_socket("127.0.0.1", 0), steps, s.key);
    client = make((sttp_client_options){
        .port = port_of(p.listener), .transport = &transport, .connect_timeout_ms = 60});
    error = assert_fails(client, STTP_ACTION_CREATE, "/a", STTP_ERR_TIMEOUT);
    ck_assert_int_eq(error.phase, STTP_PHASE_HANDSHAKE);
    sttp_client_destroy(client);
    peer_finish(&p);
    ck_assert_uint_eq(s.closed, 1);
}
END_TEST

static int handshake_without_end(void *session, short *wants)
{
    (void)session;
    *wants = POLLOUT; /* as it always is */
    return -1;
}

START_TEST(test_endless_handshake_timeout)
{
    scrambler s = {.key = 1, .at_once = 8};
    sttp_transport transport = scrambling(&s);
    int listener = listening_socket("127.0.0.1", 0);
    sttp_client *client;
    sttp_error error;

    transport.handshake = handshake_without_end;
    client = make((sttp_client_options){
        .port = port_of(listener), .transport = &transport, .connect_timeout_ms = 60});
    error = assert_fails(client, STTP_ACTION_CREATE, "/a", STTP_ERR_TIMEOUT);
    ck_assert_int_eq(error.phase, STTP_PHASE_HANDSHAKE);
    sttp_client_destroy(client);
    close(listener);
}
END_TEST

/* A byte now and then does not buy time. */
START_TEST(test_endless_answer_timeout)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "H"},
                                 {STEP_WRITE, "h"},
                                 {STEP_READ, "LIST /\n"},
                                 {STEP_WRITE, "200 / OK\n"},
                                 {STEP_FLOOD, "name, name, name, "},
                                 {STEP_END, 0}};
    scrambler s = {.key = 3, .at_once = 1};
    const sttp_transport transport = scrambling(&s);
    sttp_client *client;
    sttp_error error;
    peer p;

    peer_start_on(&p, listening_socket("127.0.0.1", 0), steps, s.key);
    client = make((sttp_client_options){
        .port = port_of(p.listener), .transport = &transport, .request_timeout_ms = 300});
    error = assert_fails(client, STTP_ACTION_LIST, "/", STTP_ERR_TIMEOUT);
    ck_assert_int_eq(error.phase, STTP_PHASE_RECEIVE);
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

/* The socket takes seven bytes of the first connection's request, and no more. */
static ptrdiff_t write_half(void *session, const char *data, size_t size, short *wants)
{
    const scrambler *s = session;

    if (s->opened > 1 || s->bytes_written < 1 + 7)
        return scrambler_write(session, data, size, wants);
    *wants = POLLOUT;
    return -1;
}

/* The rest of it must never stand before the next request. */
START_TEST(test_answer_to_half_a_request)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "H"},
                                 {STEP_WRITE, "h"},
                                 {STEP_READ, "SHOW /a"},
                                 {STEP_WRITE, "300 - CLIENT ERROR \"too slow\"\n"},
                                 {STEP_AWAIT_CLOSE, 0},
                                 {STEP_ACCEPT, 0},
                                 {STEP_READ, "H"},
                                 {STEP_WRITE, "h"},
                                 {STEP_READ, "SHOW /b\n"},
                                 {STEP_WRITE, "200 /b OK\nx\n"},
                                 {STEP_END, 0}};
    scrambler s = {.key = 9, .at_once = 1};
    sttp_transport transport = scrambling(&s);
    sttp_response response;
    sttp_error error;
    sttp_client *client;
    peer p;

    transport.write = write_half;
    peer_start_on(&p, listening_socket("127.0.0.1", 0), steps, s.key);
    client = make((sttp_client_options){.port = port_of(p.listener), .transport = &transport});
    ck_assert_int_eq(ask(client, STTP_ACTION_SHOW, "/a", &response, &error), STTP_OK);
    ck_assert_int_eq(response.code, STTP_CODE_CLIENT_ERROR);
    assert_shows(client, "/b", "x");
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

static int no_handshake(void *session, short *wants)
{
    (void)session;
    (void)wants;
    return 1;
}

static ptrdiff_t write_and_measure(void *session, const char *data, size_t size, short *wants)
{
    scrambler *s = session;

    s->largest_write = size > s->largest_write ? size : s->largest_write;
    return scrambler_write(session, data, size, wants);
}

/* The work for one write does not grow with the number of requests that wait. */
START_TEST(test_long_queue)
{
    enum { MANY = 2000 };
    scrambler s = {.at_once = 16};
    sttp_transport transport = scrambling(&s);
    char path[128] = "/";
    echo_server server;
    sttp_client *client;

    memset(path + 1, 'd', 100);
    strcat(path, "/a");
    transport.handshake = no_handshake;
    transport.write = write_and_measure;
    echo_start(&server, 0);
    client = make(
        (sttp_client_options){.port = server.port, .transport = &transport, .max_in_flight = MANY});
    for (int i = 0; i < MANY; i++)
        send_one(client, STTP_ACTION_SHOW, path);
    for (int i = 0; i < MANY; i++)
        assert_receives(client, STTP_OK, STTP_OK);
    ck_assert_uint_gt(s.largest_write, 32 * 1024);
    ck_assert_uint_le(s.largest_write, 64 * 1024 + STTP_MAX_REQUEST_LINE);
    sttp_client_destroy(client);
    echo_stop(&server);
}
END_TEST

static void *open_and_look(void *context, int fd, const char *host)
{
    socklen_t size = sizeof(int);
    int no_delay = 0;

    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, &size), 0);
    ck_assert_int_ne(no_delay, 0);
    return scrambler_open(context, fd, host);
}

START_TEST(test_socket)
{
    scrambler s = {.key = 9, .at_once = 1, .refuses = true};
    sttp_transport transport = scrambling(&s);
    int listener = listening_socket("127.0.0.1", 0);
    sttp_client *client;

    transport.open = open_and_look;
    client = make((sttp_client_options){.port = port_of(listener), .transport = &transport});
    assert_fails(client, STTP_ACTION_SHOW, "/a", STTP_ERR_TRANSPORT);
    ck_assert_uint_eq(s.opened, 1);
    sttp_client_destroy(client);
    close(listener);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_transport");
    TCase *transport = add_case(suite, "transport");

    tcase_add_test(transport, test_transport);
    tcase_add_test(transport, test_change_waits_for_the_end);
    tcase_add_test(transport, test_handshake_timeout);
    tcase_add_test(transport, test_endless_handshake_timeout);
    tcase_add_test(transport, test_endless_answer_timeout);
    tcase_add_test(transport, test_answer_to_half_a_request);
    tcase_add_test(transport, test_long_queue);
    tcase_add_test(transport, test_socket);
    return run_suite(suite);
}
