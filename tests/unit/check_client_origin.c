/* The blocking client through a forward proxy: what it sends, whose answers it takes, what it says
 * of failures. */
#include "client_assert.h"

#define ORIGIN "sttp://example.org:8080"

static sttp_client *make_through(const peer *p)
{
    return make((sttp_client_options){.port = p->port, .origin = ORIGIN});
}

START_TEST(test_requests_and_answers)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "CREATE " ORIGIN "/d/a \"x\"\n"},
                                 {STEP_WRITE, "100 /d/a CREATED\n"},
                                 {STEP_READ, "SHOW " ORIGIN "/d/a\n"},
                                 {STEP_WRITE, "200 /d/a OK\nx\n"},
                                 {STEP_READ, "SHOW " ORIGIN "/d/b\n"},
                                 {STEP_WRITE, "410 /d/ PATH NOT FOUND\n"},
                                 {STEP_READ, "SHOW " ORIGIN "/d/b\n"},
                                 {STEP_WRITE, "500 " ORIGIN "/d/b SERVER ERROR \"no\"\n"},
                                 {STEP_READ, "LIST sttp://h/d?limit=1\n"},
                                 {STEP_WRITE, "300 sttp://h/d CLIENT ERROR \"no\"\n"},
                                 {STEP_AWAIT_CLOSE, 0},
                                 {STEP_END, 0}};
    const sttp_request elsewhere = {.action = STTP_ACTION_LIST,
                                    .origin = STTP_SLICE("sttp://h"),
                                    .path = STTP_SLICE("/d"),
                                    .query = STTP_SLICE("limit=1")};
    sttp_response response;
    sttp_error error;
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make_through(&p);
    ck_assert_int_eq(ask(client, STTP_ACTION_CREATE, "/d/a", &response, &error), STTP_OK);
    assert_shows(client, "/d/a", "x");
    ck_assert_int_eq(ask(client, STTP_ACTION_SHOW, "/d/b", &response, &error), STTP_OK);
    ck_assert_int_eq(response.code, STTP_CODE_PATH_NOT_FOUND);
    ck_assert_int_eq(ask(client, STTP_ACTION_SHOW, "/d/b", &response, &error), STTP_OK);
    ck_assert_int_eq(response.code, STTP_CODE_SERVER_ERROR);
    ck_assert_uint_eq(response.echo.size, strlen(ORIGIN "/d/b"));
    ck_assert_int_eq(sttp_client_request(client, &elsewhere, &response, NULL), STTP_OK);
    ck_assert_int_eq(response.code, STTP_CODE_CLIENT_ERROR);
    sttp_client_destroy(client);
    peer_finish(&p);
}
END_TEST

START_TEST(test_pipelined)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW " ORIGIN "/a\n"},
                                 {STEP_WRITE, "200 /a OK\nx\n"},
                                 {STEP_READ, "SHOW " ORIGIN "/b\n"},
                                 {STEP_WRITE, "500 " ORIGIN "/b SERVER ERROR \"no\"\n"},
                                 {STEP_READ, "SHOW " ORIGIN "/c\nSHOW " ORIGIN "/d\n"},
                                 {STEP_WRITE, "200 /c OK\nx\n200 /d OK\nx\n"},
                                 {STEP_AWAIT_CLOSE, 0},
                                 {STEP_END, 0}};
    static const char *const paths[] = {"/a", "/b", "/c", "/d"};
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make_through(&p);
    for (size_t i = 0; i < COUNT(paths); i++)
        send_one(client, STTP_ACTION_SHOW, paths[i]);
    for (size_t i = 0; i < COUNT(paths); i++)
        assert_receives(client, STTP_OK, STTP_OK);
    sttp_client_destroy(client);
    peer_finish(&p);
}
END_TEST

/* An answer that no proxy and no origin gives to this request. */
static const char *const wrong[] = {
    "200 " ORIGIN "/a OK\nx\n",
    "500 sttp://example.com:8080/a SERVER ERROR \"no\"\n",
    "500 " ORIGIN "/b SERVER ERROR \"no\"\n",
    "200 /b OK\nx\n",
};

START_TEST(test_wrong_answer)
{
    const step steps[] = {{STEP_ACCEPT, 0},
                          {STEP_READ, "SHOW " ORIGIN "/a\n"},
                          {STEP_WRITE, wrong[_i]},
                          {STEP_AWAIT_CLOSE, 0},
                          {STEP_END, 0}};
    sttp_error error;
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make_through(&p);
    error = assert_fails(client, STTP_ACTION_SHOW, "/a", STTP_ERR_WRONG_ANSWER);
    assert_contains(error.text, "proxy 127.0.0.1:");
    assert_contains(error.text, " answered SHOW " ORIGIN "/a with");
    sttp_client_destroy(client);
    peer_finish(&p);
}
END_TEST

static const struct failure {
    const char *answer;
    sttp_status status;
    const char *told[2];
} failures[] = {
    {"", STTP_ERR_EMPTY_ANSWER, {"proxy 127.0.0.1:", "without an answer to SHOW " ORIGIN "/a"}},
    {"200 /a", STTP_ERR_CONNECTION_LOST, {"proxy 127.0.0.1:", "in the middle"}},
    {"220 mail\r\n", STTP_ERR_BAD_ANSWER, {"proxy 127.0.0.1:", " is no STTP server"}},
};

START_TEST(test_failures_name_the_proxy)
{
    const struct failure *f = &failures[_i];
    const step steps[] = {{STEP_ACCEPT, 0},
                          {STEP_READ, "SHOW " ORIGIN "/a\n"},
                          {STEP_WRITE, f->answer},
                          {STEP_CLOSE, 0},
                          {STEP_END, 0}};
    sttp_error error;
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make_through(&p);
    error = assert_fails(client, STTP_ACTION_SHOW, "/a", f->status);
    for (size_t i = 0; i < COUNT(f->told); i++)
        assert_contains(error.text, f->told[i]);
    sttp_client_destroy(client);
    peer_finish(&p);
}
END_TEST

START_TEST(test_no_connection_to_the_proxy)
{
    place somewhere = inet_place("127.0.0.1", 0);
    int fd = bound_socket(&somewhere); /* does not listen */
    sttp_client *client = make((sttp_client_options){.port = port_of(fd), .origin = ORIGIN});
    sttp_error error = assert_fails(client, STTP_ACTION_SHOW, "/a", STTP_ERR_CONNECT);

    assert_contains(error.text, "cannot connect to proxy 127.0.0.1: 127.0.0.1:");
    ck_assert_int_eq(error.phase, STTP_PHASE_CONNECT);
    sttp_client_destroy(client);
    close(fd);
}
END_TEST

START_TEST(test_late_answer)
{
    static const step steps[] = {
        {STEP_ACCEPT, 0}, {STEP_READ, "SHOW " ORIGIN "/a\n"}, {STEP_AWAIT_CLOSE, 0}, {STEP_END, 0}};
    sttp_error error;
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client =
        make((sttp_client_options){.port = p.port, .origin = ORIGIN, .request_timeout_ms = 200});
    error = assert_fails(client, STTP_ACTION_SHOW, "/a", STTP_ERR_TIMEOUT);
    assert_contains(error.text, "no answer to SHOW " ORIGIN "/a from proxy 127.0.0.1:");
    sttp_client_destroy(client);
    peer_finish(&p);
}
END_TEST

START_TEST(test_name_without_address)
{
    sttp_client *client = make((sttp_client_options){.family = AF_INET6, .origin = ORIGIN});
    sttp_error error = assert_fails(client, STTP_ACTION_SHOW, "/a", STTP_ERR_RESOLVE);

    assert_contains(error.text, "cannot resolve proxy 127.0.0.1: ");
    sttp_client_destroy(client);
}
END_TEST

/* Each allocation of making a client fails in turn. */
START_TEST(test_no_memory)
{
    sttp_status status = STTP_ERR_MEMORY;
    size_t n = 0;

    while (status != STTP_OK) {
        meter m = {.fails_at = ++n};
        sttp_allocator memory = metered(&m);
        sttp_client_options options = {
            .size = sizeof options, .allocator = &memory, .host = "h", .origin = ORIGIN};
        sttp_client *client;

        status = sttp_client_create(&options, &client);
        ck_assert_int_eq(status, m.failed ? STTP_ERR_MEMORY : STTP_OK);
        sttp_client_destroy(client);
        ck_assert_uint_eq(m.live, 0);
    }
    ck_assert_uint_eq(n, 4); /* client, host, origin */
}
END_TEST

/* Where a line with its origin is too long, nothing is sent. */
START_TEST(test_line_too_long)
{
    static char query[STTP_MAX_REQUEST_LINE];
    sttp_client *client = make((sttp_client_options){.port = 1, .origin = ORIGIN});
    sttp_request request = {.action = STTP_ACTION_LIST, .path = STTP_SLICE("/")};
    sttp_error error;

    memset(query, 'x', sizeof query);
    memcpy(query, "q=", 2);
    request.query = (sttp_slice){query, STTP_MAX_REQUEST_LINE - strlen("LIST /?\n")};
    ck_assert_int_eq(sttp_client_send(client, &request, &error), STTP_ERR_LINE_TOO_LONG);
    ck_assert_uint_eq(sttp_client_outstanding(client), 0);
    sttp_client_destroy(client);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_origin");
    TCase *tests = add_case(suite, "origin");

    tcase_add_test(tests, test_requests_and_answers);
    tcase_add_test(tests, test_pipelined);
    tcase_add_loop_test(tests, test_wrong_answer, 0, COUNT(wrong));
    tcase_add_loop_test(tests, test_failures_name_the_proxy, 0, COUNT(failures));
    tcase_add_test(tests, test_no_connection_to_the_proxy);
    tcase_add_test(tests, test_late_answer);
    tcase_add_test(tests, test_name_without_address);
    tcase_add_test(tests, test_no_memory);
    tcase_add_test(tests, test_line_too_long);
    return run_suite(suite);
}
