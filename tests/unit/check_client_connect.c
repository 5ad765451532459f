/* The blocking client's way to a server: deadlines, addresses, sockets. */
#include <sched.h>
#include <sys/resource.h>

#include "client_assert.h"
#include "client_hold.h"

/* --- Deadlines ----------------------------------------------------------------------------------
 */

START_TEST(test_connect_timeout)
{
    black_hole hole = black_hole_open("127.0.0.1");
    sttp_client *client =
        make((sttp_client_options){.port = port_of(hole.listener), .connect_timeout_ms = 60});
    double began = seconds();
    sttp_error error = assert_fails(client, STTP_ACTION_CREATE, "/a", STTP_ERR_TIMEOUT);

    ck_assert_double_ge(seconds() - began, 0.06);
    ck_assert_int_eq(error.phase, STTP_PHASE_CONNECT);
    assert_contains(error.text, "(no answer): the connect timeout has passed, after ");
    sttp_client_destroy(client);
    black_hole_close(&hole);
}
END_TEST

static const step silent_peer[] = {
    {STEP_ACCEPT, 0}, {STEP_READ, "SHOW /a\n"},         {STEP_AWAIT_CLOSE, 0},
    {STEP_ACCEPT, 0}, {STEP_READ, "CREATE /a \"x\"\n"}, {STEP_AWAIT_CLOSE, 0},
    {STEP_END, 0}};

START_TEST(test_request_timeout)
{
    sttp_error error;
    sttp_client *client;
    double began;
    peer p;

    peer_start(&p, silent_peer);
    client = make((sttp_client_options){.port = p.port, .request_timeout_ms = 300});
    began = seconds();
    error = assert_fails(client, STTP_ACTION_SHOW, "/a", STTP_ERR_TIMEOUT);
    ck_assert_double_ge(seconds() - began, 0.3);
    ck_assert_int_eq(error.phase, STTP_PHASE_RECEIVE);
    assert_contains(error.text, "no answer to SHOW /a from 127.0.0.1:");
    assert_contains(error.text, "the request timeout has passed");
    error = assert_fails(client, STTP_ACTION_CREATE, "/a", STTP_ERR_OUTCOME_UNKNOWN);
    ck_assert_int_eq(error.cause, STTP_ERR_TIMEOUT);
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

START_TEST(test_total_timeout)
{
    static const step steps[] = {
        {STEP_ACCEPT, 0}, {STEP_READ, "SHOW /a\n"}, {STEP_AWAIT_CLOSE, 0}, {STEP_END, 0}};
    sttp_error error;
    sttp_client *client;
    peer p;

    peer_start(&p, steps);
    client = make((sttp_client_options){.port = p.port, .total_timeout_ms = 300});
    error = assert_fails(client, STTP_ACTION_SHOW, "/a", STTP_ERR_TIMEOUT);
    assert_contains(error.text, "the total timeout has passed");
    error = assert_fails(client, STTP_ACTION_CREATE, "/b", STTP_ERR_TIMEOUT);
    ck_assert_int_eq(error.phase, STTP_PHASE_CONNECT);
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

/* The time is over while the connection is fine: nothing is sent that could not be waited for. */
START_TEST(test_nothing_sent_too_late)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /a\n"},
                                 {STEP_WRITE, "200 /a OK\nx\n"},
                                 {STEP_AWAIT_CLOSE, 0},
                                 {STEP_END, 0}};
    double began = seconds();
    sttp_error error;
    sttp_client *client;
    peer p;

    peer_start(&p, steps);
    client = make((sttp_client_options){.port = p.port, .total_timeout_ms = 400});
    assert_shows(client, "/a", "x");
    while (seconds() - began < 1)
        sched_yield();
    error = assert_fails(client, STTP_ACTION_CREATE, "/a", STTP_ERR_TIMEOUT);
    ck_assert_int_eq(error.phase, STTP_PHASE_SEND);
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

/* --- Connecting ---------------------------------------------------------------------------------
 */

static const step one_show[] = {{STEP_ACCEPT, 0},
                                {STEP_READ, "SHOW /a\n"},
                                {STEP_WRITE, "200 /a OK\nx\n"},
                                {STEP_AWAIT_CLOSE, 0},
                                {STEP_END, 0}};

START_TEST(test_localhost_by_name)
{
    sttp_client *client;
    diary d = {0};
    peer p;

    peer_start(&p, one_show);
    client = make((sttp_client_options){.host = "localhost",
                                        .port = p.port,
                                        .family = AF_INET,
                                        .trace = diary_write,
                                        .trace_context = &d});
    assert_shows(client, "/a", "x");
    sttp_client_destroy(client);
    peer_finish(&p);
    ck_assert_str_eq(d.text, "resolving resolved connecting connected sent(SHOW /a) "
                             "received(200 /a OK\nx) closed");
}
END_TEST

START_TEST(test_no_such_host)
{
    sttp_client *client = make((sttp_client_options){.host = "127.0.0.1", .family = AF_INET6});
    sttp_error error = assert_fails(client, STTP_ACTION_SHOW, "/a", STTP_ERR_RESOLVE);

    ck_assert_int_eq(error.phase, STTP_PHASE_RESOLVE);
    assert_contains(error.text, "cannot resolve 127.0.0.1: ");
    sttp_client_destroy(client);
}
END_TEST

START_TEST(test_refused_everywhere)
{
    static const char *const addresses[] = {"127.0.0.1", "127.0.0.2", "::1"};
    place held = inet_place("127.0.0.1", 0);
    int fd = bound_socket(&held); /* bound and not listening: refused */
    sttp_client *client = make((sttp_client_options){
        .port = port_of(fd), .addresses = addresses, .address_count = COUNT(addresses)});
    sttp_error error = assert_fails(client, STTP_ACTION_DELETE, "/a", STTP_ERR_CONNECT);

    ck_assert_int_eq(error.phase, STTP_PHASE_CONNECT);
    ck_assert_int_eq(error.system_errno, ECONNREFUSED);
    for (size_t i = 0; i < COUNT(addresses); i++)
        assert_contains(error.text, addresses[i]);
    assert_contains(error.text, "(Connection refused), after ");
    sttp_client_destroy(client);
    close(fd);
}
END_TEST

static void forget_errno(void *context, const sttp_trace *trace)
{
    (void)context;
    (void)trace;
    errno = 0;
}

/* The reason is that of the failed call, whatever a trace does in between. */
START_TEST(test_no_descriptor)
{
    sttp_client *client = make((sttp_client_options){.port = 1, .trace = forget_errno});
    struct rlimit before;
    sttp_error error;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, before.rlim_max}), 0);
    error = assert_fails(client, STTP_ACTION_SHOW, "/a", STTP_ERR_CONNECT);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    ck_assert_int_eq(error.system_errno, EMFILE);
    assert_contains(error.text, "127.0.0.1:1 (Too many open files), after ");
    sttp_client_destroy(client);
}
END_TEST

/* No fixed table of addresses, and a text that says what it leaves out. */
START_TEST(test_many_addresses)
{
    enum { ADDRESSES = 200 };
    static char texts[ADDRESSES][16];
    const char *addresses[ADDRESSES];
    int fd = bound_socket(&(place){.address = inet_place("127.0.0.1", 0).address,
                                   .size = sizeof(struct sockaddr_in)});
    sttp_client *client;
    sttp_error error;

    for (int i = 0; i < ADDRESSES; i++) {
        snprintf(texts[i], sizeof texts[i], "127.0.0.1");
        addresses[i] = texts[i];
    }
    client = make((sttp_client_options){
        .port = port_of(fd), .addresses = addresses, .address_count = ADDRESSES});
    error = assert_fails(client, STTP_ACTION_SHOW, "/a", STTP_ERR_CONNECT);
    assert_contains(error.text, " more, after ");
    sttp_client_destroy(client);
    close(fd);
}
END_TEST

START_TEST(test_next_address_at_once)
{
    static const char *const addresses[] = {"127.0.0.1", "127.0.0.2"};
    place held = inet_place("127.0.0.1", 0);
    int fd = bound_socket(&held);
    sttp_client *client;
    diary d = {0};
    peer p;

    peer_start_on(&p, listening_socket("127.0.0.2", port_of(fd)), one_show, 0);
    client = make((sttp_client_options){.port = port_of(fd),
                                        .addresses = addresses,
                                        .address_count = 2,
                                        .trace = diary_write,
                                        .trace_context = &d});
    assert_shows(client, "/a", "x");
    sttp_client_destroy(client);
    peer_finish(&p);
    close(fd);
    ck_assert_str_eq(d.text, "connecting failed connecting connected sent(SHOW /a) "
                             "received(200 /a OK\nx) closed");
}
END_TEST

START_TEST(test_next_address_beside_a_slow_one)
{
    static const char *const addresses[] = {"127.0.0.1", "127.0.0.2"};
    black_hole hole = black_hole_open("127.0.0.1");
    double began = seconds();
    sttp_client *client;
    diary d = {0};
    peer p;

    peer_start_on(&p, listening_socket("127.0.0.2", port_of(hole.listener)), one_show, 0);
    client = make((sttp_client_options){.port = port_of(hole.listener),
                                        .addresses = addresses,
                                        .address_count = 2,
                                        .trace = diary_write,
                                        .trace_context = &d});
    assert_shows(client, "/a", "x");
    ck_assert_double_ge(seconds() - began, 0.25);
    sttp_client_destroy(client);
    peer_finish(&p);
    black_hole_close(&hole);
    ck_assert_str_eq(d.text, "connecting connecting connected sent(SHOW /a) "
                             "received(200 /a OK\nx) closed");
}
END_TEST

/* The failure of a later address does not wait for an earlier one, nor for the usual delay. */
START_TEST(test_third_address_at_once)
{
    static const char *const addresses[] = {"127.0.0.1", "127.0.0.2", "127.0.0.3"};
    black_hole hole = black_hole_open("127.0.0.1");
    place held = inet_place("127.0.0.2", port_of(hole.listener));
    int fd = bound_socket(&held);
    sttp_client *client;
    diary d = {0};
    peer p;

    peer_start_on(&p, listening_socket("127.0.0.3", port_of(hole.listener)), one_show, 0);
    client = make((sttp_client_options){.port = port_of(hole.listener),
                                        .addresses = addresses,
                                        .address_count = 3,
                                        .trace = diary_write,
                                        .trace_context = &d});
    hold.waits = &d;
    assert_shows(client, "/a", "x");
    hold.waits = NULL;
    assert_contains(d.text, "connecting wait connecting");
    assert_contains(d.text, "failed connecting");
    sttp_client_destroy(client);
    peer_finish(&p);
    close(fd);
    black_hole_close(&hole);
}
END_TEST

/* A socket that fails before the first byte of a change: no signal, and the change goes again. */
START_TEST(test_change_not_sent)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /1\n"},
                                 {STEP_WRITE, "200 /1 OK\n1\n"},
                                 {STEP_READ, "SHOW /2\n"},
                                 {STEP_WRITE, "200 /2 OK\n2\n"},
                                 {STEP_AWAIT_CLOSE, 0},
                                 {STEP_ACCEPT, 0},
                                 {STEP_READ, "CREATE /3 \"x\"\n"},
                                 {STEP_WRITE, "100 /3 CREATED\n"},
                                 {STEP_END, 0}};
    sttp_response response;
    sttp_client *client;
    sttp_error error;
    peer p;

    peer_start(&p, steps);
    client = make_for(&p);
    assert_shows(client, "/1", "1");
    assert_shows(client, "/2", "2");
    hold.breaks = true;
    ck_assert_msg(ask(client, STTP_ACTION_CREATE, "/3", &response, &error) == STTP_OK, "%s",
                  error.text);
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

/* Once a server was seen to keep a connection, no change is held back. */
START_TEST(test_change_goes_at_once)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /1\n"},
                                 {STEP_WRITE, "200 /1 OK\n1\n"},
                                 {STEP_READ, "SHOW /2\n"},
                                 {STEP_WRITE, "200 /2 OK\n2\n"},
                                 {STEP_CLOSE, 0},
                                 {STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /3\n"},
                                 {STEP_WRITE, "200 /3 OK\n3\n"},
                                 {STEP_READ, "CREATE /4 \"x\"\n"},
                                 {STEP_WRITE, "100 /4 CREATED\n"},
                                 {STEP_END, 0}};
    sttp_response response;
    sttp_client *client;
    sttp_error error;
    diary d = {0};
    peer p;

    peer_start(&p, steps);
    client = make((sttp_client_options){.port = p.port, .trace = diary_write, .trace_context = &d});
    assert_shows(client, "/1", "1");
    assert_shows(client, "/2", "2");
    assert_shows(client, "/3", "3");
    d.text[0] = '\0';
    hold.waits = &d;
    ck_assert_int_eq(ask(client, STTP_ACTION_CREATE, "/4", &response, &error), STTP_OK);
    hold.waits = NULL;
    ck_assert_int_eq(strncmp(d.text, "sent(CREATE /4 \"x\") wait", 24), 0);
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

START_TEST(test_ipv6)
{
    static const step steps[] = {
        {STEP_ACCEPT, 0}, {STEP_READ, "SHOW /a\n"}, {STEP_CLOSE, 0}, {STEP_END, 0}};
    int listener = listening_socket("::1", 0);
    sttp_client *client;
    sttp_error error;
    peer p;

    peer_start_on(&p, listener, steps, 0);
    client = make((sttp_client_options){.host = "::1", .port = port_of(listener)});
    error = assert_fails(client, STTP_ACTION_SHOW, "/a", STTP_ERR_EMPTY_ANSWER);
    ck_assert_int_eq(strncmp(error.address, "[::1]:", 6), 0);
    sttp_client_destroy(client);
    peer_finish(&p);
}
END_TEST

START_TEST(test_unix_socket)
{
    char directory[] = "/tmp/check_client.XXXXXX";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    place p_at = {.size = sizeof address};
    sttp_client *client;
    sttp_error error;
    peer p;
    int fd;

    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", directory);
    client = make((sttp_client_options){.socket_path = address.sun_path});
    error = assert_fails(client, STTP_ACTION_SHOW, "/a", STTP_ERR_CONNECT);
    ck_assert_int_eq(error.system_errno, ENOENT);
    ck_assert_int_eq(strncmp(error.address, "unix:/tmp/check_client.", 23), 0);

    memcpy(&p_at.address, &address, sizeof address);
    fd = bound_socket(&p_at);
    ck_assert_int_eq(listen(fd, 1), 0);
    peer_start_on(&p, fd, one_show, 0);
    assert_shows(client, "/a", "x");
    sttp_client_destroy(client);
    peer_finish(&p);
    unlink(address.sun_path);
    rmdir(directory);
}
END_TEST

/* A Unix socket with a full queue says so at once; the deadline holds all the same. */
START_TEST(test_unix_socket_full)
{
    char directory[] = "/tmp/check_client.XXXXXX";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    place at = {.size = sizeof address};
    sttp_client *client;
    int fd, filler;

    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", directory);
    memcpy(&at.address, &address, sizeof address);
    fd = bound_socket(&at);
    ck_assert_int_eq(listen(fd, 0), 0);
    filler = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(filler, (const struct sockaddr *)&address, sizeof address), 0);
    client = make((sttp_client_options){.socket_path = address.sun_path, .connect_timeout_ms = 60});
    assert_fails(client, STTP_ACTION_SHOW, "/a", STTP_ERR_TIMEOUT);
    sttp_client_destroy(client);
    close(filler);
    close(fd);
    unlink(address.sun_path);
    rmdir(directory);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_connect");
    TCase *deadlines = add_case(suite, "deadlines");
    TCase *connecting = add_case(suite, "connecting");

    tcase_add_test(deadlines, test_connect_timeout);
    tcase_add_test(deadlines, test_request_timeout);
    tcase_add_test(deadlines, test_total_timeout);
    tcase_add_test(deadlines, test_nothing_sent_too_late);
    tcase_add_test(connecting, test_localhost_by_name);
    tcase_add_test(connecting, test_no_such_host);
    tcase_add_test(connecting, test_refused_everywhere);
    tcase_add_test(connecting, test_no_descriptor);
    tcase_add_test(connecting, test_many_addresses);
    tcase_add_test(connecting, test_next_address_at_once);
    tcase_add_test(connecting, test_next_address_beside_a_slow_one);
    tcase_add_test(connecting, test_third_address_at_once);
    tcase_add_test(connecting, test_change_not_sent);
    tcase_add_test(connecting, test_change_goes_at_once);
    tcase_add_test(connecting, test_ipv6);
    tcase_add_test(connecting, test_unix_socket);
    tcase_add_test(connecting, test_unix_socket_full);
    return run_suite(suite);
}
