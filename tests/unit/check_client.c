/* The blocking client against peers that do as they are told. */
#include "client_support.h"

#include <limits.h>
#include <time.h>

static sttp_client *make(sttp_client_options options)
{
    sttp_client *client;

    options.size = sizeof options;
    if (!options.host && !options.socket_path)
        options.host = "127.0.0.1";
    ck_assert_int_eq(sttp_client_create(&options, &client), STTP_OK);
    return client;
}

static sttp_client *make_for(const peer *p)
{
    return make((sttp_client_options){.port = p->port});
}

static sttp_request request_of(sttp_action action, const char *path)
{
    sttp_request request = {.action = action, .path = {path, strlen(path)}};

    if (action == STTP_ACTION_CREATE || action == STTP_ACTION_UPDATE)
        request.contents = STTP_SLICE("x");
    return request;
}

static sttp_status ask(sttp_client *client, sttp_action action, const char *path,
                       sttp_response *response, sttp_error *error)
{
    const sttp_request request = request_of(action, path);
    sttp_status status = sttp_client_request(client, &request, response, error);

    ck_assert_int_eq(error->status, status);
    ck_assert_uint_eq(sttp_client_outstanding(client), 0);
    if (status != STTP_OK) {
        ck_assert_ptr_null(response->echo.data);
        ck_assert_int_ne(error->text[0], '\0');
    }
    return status;
}

/* SHOW `path` gives `text`. */
static void assert_shows(sttp_client *client, const char *path, const char *text)
{
    sttp_response response;
    sttp_error error;

    ck_assert_msg(ask(client, STTP_ACTION_SHOW, path, &response, &error) == STTP_OK, "%s",
                  error.text);
    ck_assert_int_eq(response.code, STTP_CODE_OK);
    ck_assert_msg(response.contents.size == strlen(text) &&
                      memcmp(response.contents.data, text, strlen(text)) == 0,
                  "\"%.*s\", not \"%s\"", (int)response.contents.size, response.contents.data,
                  text);
}

static sttp_error assert_fails(sttp_client *client, sttp_action action, const char *path,
                               sttp_status expected)
{
    sttp_response response;
    sttp_error error;
    sttp_status status = ask(client, action, path, &response, &error);

    ck_assert_msg(status == expected, "%s: %s", sttp_status_name(status), error.text);
    return error;
}

static void send_one(sttp_client *client, sttp_action action, const char *path)
{
    const sttp_request request = request_of(action, path);

    ck_assert_int_eq(sttp_client_send(client, &request, NULL), STTP_OK);
}

static void assert_receives(sttp_client *client, sttp_status expected, sttp_status cause)
{
    sttp_response response;
    sttp_error error;
    sttp_status status = sttp_client_receive(client, &response, &error);

    ck_assert_msg(status == expected, "%s: %s", sttp_status_name(status), error.text);
    ck_assert_int_eq(error.cause, cause);
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void assert_contains(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "\"%s\" does not hold \"%s\"", text, part);
}

/* --- Options ------------------------------------------------------------------------------------
 */

START_TEST(test_options)
{
    const sttp_client_options fine = {.size = sizeof fine, .host = "localhost"};
    const char *const bad_address[] = {"127.0.0.1", "localhost"};
    const sttp_allocator half = {0};
    const sttp_transport nothing = {0};
    struct {
        sttp_client_options known;
        long later[4];
    } newer = {.known = {.size = sizeof newer, .host = "h"}};
    sttp_client_options bad[16];
    sttp_client *client;

    for (size_t i = 0; i < COUNT(bad); i++)
        bad[i] = fine;
    bad[0].size = 0;
    bad[1].size = 8;
    bad[2].size = SIZE_MAX;
    bad[3].host = NULL;
    bad[4].host = "";
    bad[5].host = "a\nb";
    bad[6].socket_path = "";
    bad[7].family = AF_UNIX;
    bad[8].connect_timeout_ms = (unsigned)INT_MAX + 1;
    bad[9].request_timeout_ms = UINT_MAX;
    bad[10].total_timeout_ms = UINT_MAX;
    bad[11].max_contents = STTP_MAX_CONTENTS_LINE + 1;
    bad[12].allocator = &half;
    bad[13].transport = &nothing;
    bad[14].address_count = 1;
    bad[15].addresses = bad_address;
    bad[15].address_count = 2;
    for (size_t i = 0; i < COUNT(bad); i++)
        ck_assert_msg(sttp_client_create(&bad[i], &client) == STTP_ERR_ARGUMENT && !client,
                      "option %zu", i);
    ck_assert_int_eq(sttp_client_create(&newer.known, &client), STTP_OK);
    sttp_client_destroy(client);
    newer.later[2] = 1;
    ck_assert_int_eq(sttp_client_create(&newer.known, &client), STTP_ERR_ARGUMENT);
    sttp_client_destroy(NULL);
}
END_TEST

START_TEST(test_refused_request)
{
    sttp_client *client = make((sttp_client_options){.port = 1});
    sttp_response response;
    sttp_error error;

    error = assert_fails(client, STTP_ACTION_SHOW, "notes", STTP_ERR_PATH_RELATIVE);
    ck_assert_int_eq(error.phase, STTP_PHASE_NONE);
    ck_assert_int_eq(sttp_client_receive(client, &response, &error), STTP_ERR_NOTHING_SENT);
    send_one(client, STTP_ACTION_SHOW, "/a");
    ck_assert_int_eq(
        sttp_client_request(client, &(sttp_request){.action = STTP_ACTION_SHOW}, &response, &error),
        STTP_ERR_STATE);
    ck_assert_uint_eq(sttp_client_outstanding(client), 1);
    sttp_client_destroy(client);
}
END_TEST

/* --- One request after another ------------------------------------------------------------------
 */

START_TEST(test_keep_alive)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "CREATE /a \"x\"\n"},
                                 {STEP_WRITE, "100 /a CREATED\n"},
                                 {STEP_READ, "SHOW /a\n"},
                                 {STEP_WRITE, "200 /a OK\nx\n"},
                                 {STEP_READ, "SHOW /d/b\n"},
                                 {STEP_WRITE, "410 /d/ PATH NOT FOUND\r\n"},
                                 {STEP_READ, "LIST /?limit=1\n"},
                                 {STEP_WRITE, "200 / OK\r\na\r\n"},
                                 {STEP_READ, "SHOW /x\n"},
                                 {STEP_WRITE, "300 - CLIENT ERROR \"no\"\n"},
                                 {STEP_AWAIT_CLOSE, 0},
                                 {STEP_END, 0}};
    const sttp_request list = {
        .action = STTP_ACTION_LIST, .path = STTP_SLICE("/"), .query = STTP_SLICE("limit=1")};
    sttp_response response;
    sttp_error error;
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make_for(&p);
    ck_assert_int_eq(ask(client, STTP_ACTION_CREATE, "/a", &response, &error), STTP_OK);
    ck_assert_int_eq(response.code, STTP_CODE_CREATED);
    assert_shows(client, "/a", "x");
    ck_assert_int_eq(ask(client, STTP_ACTION_SHOW, "/d/b", &response, &error), STTP_OK);
    ck_assert_int_eq(response.code, STTP_CODE_PATH_NOT_FOUND);
    ck_assert_int_eq(sttp_client_request(client, &list, &response, NULL), STTP_OK);
    ck_assert_uint_eq(response.contents.size, 1);
    ck_assert_int_eq(ask(client, STTP_ACTION_SHOW, "/x", &response, &error), STTP_OK);
    ck_assert_int_eq(response.code, STTP_CODE_CLIENT_ERROR);
    sttp_client_destroy(client);
    peer_finish(&p);
}
END_TEST

/* Servers that close after each answer are found out, and no change gets lost on the way. */
START_TEST(test_peer_closes_each_time)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "CREATE /a \"x\"\n"},
                                 {STEP_WRITE, "100 /a CREATED\n"},
                                 {STEP_CLOSE, 0},
                                 {STEP_POST, 0},
                                 {STEP_ACCEPT, 0},
                                 {STEP_READ, "UPDATE /a \"x\"\n"},
                                 {STEP_WRITE, "200 /a OK\n"}, /* and no contents line */
                                 {STEP_CLOSE, 0},
                                 {STEP_ACCEPT, 0},
                                 {STEP_READ, "CREATE /b \"x\"\n"},
                                 {STEP_WRITE, "100 /b CREATED\n"},
                                 {STEP_AWAIT_CLOSE, 0}, /* the client knows by now */
                                 {STEP_END, 0}};
    sttp_response response;
    sttp_error error;
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make_for(&p);
    ck_assert_int_eq(ask(client, STTP_ACTION_CREATE, "/a", &response, &error), STTP_OK);
    sem_wait(&p.reached);
    ck_assert_int_eq(ask(client, STTP_ACTION_UPDATE, "/a", &response, &error), STTP_OK);
    ck_assert_ptr_nonnull(response.contents.data);
    ck_assert_uint_eq(response.contents.size, 0);
    ck_assert_int_eq(ask(client, STTP_ACTION_CREATE, "/b", &response, &error), STTP_OK);
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

START_TEST(test_show_goes_again)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /a\n"},
                                 {STEP_WRITE, "200 /a OK\n1\n"},
                                 {STEP_READ, "SHOW /a\n"}, /* taken, and then closed */
                                 {STEP_CLOSE, 0},
                                 {STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /a\n"},
                                 {STEP_WRITE, "200 /a OK\n2\n"},
                                 {STEP_END, 0}};
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make_for(&p);
    assert_shows(client, "/a", "1");
    assert_shows(client, "/a", "2");
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

START_TEST(test_show_goes_again_once)
{
    static const step steps[] = {
        {STEP_ACCEPT, 0},         {STEP_READ, "SHOW /a\n"}, {STEP_WRITE, "200 /a OK\n1\n"},
        {STEP_READ, "SHOW /a\n"}, {STEP_CLOSE, 0},          {STEP_ACCEPT, 0},
        {STEP_READ, "SHOW /a\n"}, {STEP_CLOSE, 0},          {STEP_END, 0}};
    sttp_error error;
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make_for(&p);
    assert_shows(client, "/a", "1");
    error = assert_fails(client, STTP_ACTION_SHOW, "/a", STTP_ERR_EMPTY_ANSWER);
    ck_assert_int_eq(error.phase, STTP_PHASE_RECEIVE);
    assert_contains(error.text, "SHOW /a");
    assert_contains(error.text, error.address);
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

START_TEST(test_change_outcome_unknown)
{
    static const step steps[] = {
        {STEP_ACCEPT, 0},           {STEP_READ, "SHOW /a\n"}, {STEP_WRITE, "200 /a OK\n1\n"},
        {STEP_READ, "DELETE /a\n"}, {STEP_RESET, 0},          {STEP_ACCEPT, 0},
        {STEP_READ, "DELETE /b\n"}, {STEP_CLOSE, 0},          {STEP_END, 0}};
    sttp_error error;
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make_for(&p);
    assert_shows(client, "/a", "1");
    error = assert_fails(client, STTP_ACTION_DELETE, "/a", STTP_ERR_OUTCOME_UNKNOWN);
    ck_assert_int_eq(error.cause, STTP_ERR_CONNECTION_LOST);
    ck_assert_int_eq(error.system_errno, ECONNRESET);
    assert_contains(error.text, "DELETE /a was sent, outcome unknown");
    error = assert_fails(client, STTP_ACTION_DELETE, "/b", STTP_ERR_OUTCOME_UNKNOWN);
    ck_assert_int_eq(error.cause, STTP_ERR_EMPTY_ANSWER);
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

/* --- Answers that are none ----------------------------------------------------------------------
 */

static const struct bad_answer {
    const char *answer;
    sttp_status status;
    const char *text;
} bad_answers[] = {
    {"HTTP/1.1 400 Bad Request\r\n\r\n", STTP_ERR_BAD_ANSWER,
     "is no STTP server; it answered: \"HTTP/1.1 400 Bad Request\\r\\n\\r\\n\""},
    {"\x16\x03\x01\x1b[2J\n", STTP_ERR_BAD_ANSWER, "\"\\x16\\x03\\x01\\x1b[2J\\n\""},
    {"200 /b OK\nx\n", STTP_ERR_WRONG_ANSWER, "SHOW /a with a response that speaks of \"/b\""},
    {"410 /a PATH NOT FOUND\n", STTP_ERR_WRONG_ANSWER, "\"/a\""},
    {"300 /b CLIENT ERROR \"no\"\n", STTP_ERR_WRONG_ANSWER, "\"/b\""},
    {"400 - NOT FOUND\n", STTP_ERR_WRONG_ANSWER, "\"-\""},
    {"200 /a OK\nBuy mi", STTP_ERR_CONNECTION_LOST, "in the middle of the answer to SHOW /a"},
    {"200 /a", STTP_ERR_CONNECTION_LOST, "in the middle of the answer"},
    {"", STTP_ERR_EMPTY_ANSWER, "without an answer to SHOW /a"},
    {"200 /a OK\nmore than sixteen bytes\n", STTP_ERR_CONTENTS_LINE_TOO_LONG,
     "more than 16 bytes of contents"},
};

START_TEST(test_bad_answer)
{
    const struct bad_answer *bad = &bad_answers[_i];
    const step steps[] = {{STEP_ACCEPT, 0},
                          {STEP_READ, "SHOW /a\n"},
                          {STEP_WRITE, bad->answer},
                          {STEP_CLOSE, 0},
                          {STEP_ACCEPT, 0},
                          {STEP_READ, "SHOW /a\n"},
                          {STEP_WRITE, "200 /a OK\nfine\n"},
                          {STEP_END, 0}};
    sttp_error error;
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make((sttp_client_options){.port = p.port, .max_contents = 16});
    error = assert_fails(client, STTP_ACTION_SHOW, "/a", bad->status);
    assert_contains(error.text, bad->text);
    ck_assert_ptr_null(strpbrk(error.text, "\n\r\x1b"));
    assert_shows(client, "/a", "fine");
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

START_TEST(test_endless_contents)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "LIST /\n"},
                                 {STEP_WRITE, "200 / OK\n"},
                                 {STEP_FLOOD, "name, name, name, name, name, name, name, name, "},
                                 {STEP_END, 0}};
    meter m = {0};
    const sttp_allocator memory = metered(&m);
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client =
        make((sttp_client_options){.port = p.port, .max_contents = 100000, .allocator = &memory});
    assert_fails(client, STTP_ACTION_LIST, "/", STTP_ERR_CONTENTS_LINE_TOO_LONG);
    peer_finish(&p);
    ck_assert_uint_le(m.peak, 400000);
    sttp_client_destroy(client);
    ck_assert_uint_eq(m.live, 0);
}
END_TEST

/* What a long answer took is given back. */
START_TEST(test_long_answer)
{
    enum { LONG = 300000 };
    static char answer[LONG + 32];
    const step steps[] = {
        {STEP_ACCEPT, 0},         {STEP_READ, "LIST /\n"},        {STEP_WRITE, answer},
        {STEP_READ, "SHOW /a\n"}, {STEP_WRITE, "200 /a OK\nx\n"}, {STEP_END, 0}};
    meter m = {0};
    const sttp_allocator memory = metered(&m);
    sttp_response response;
    sttp_error error;
    peer p;
    sttp_client *client;

    memset(stpcpy(answer, "200 / OK\n"), 'n', LONG);
    strcat(answer, "\n");
    peer_start(&p, steps);
    client = make((sttp_client_options){.port = p.port, .allocator = &memory});
    ck_assert_int_eq(ask(client, STTP_ACTION_LIST, "/", &response, &error), STTP_OK);
    ck_assert_uint_eq(response.contents.size, LONG);
    ck_assert_uint_gt(m.live, LONG);
    assert_shows(client, "/a", "x");
    ck_assert_uint_lt(m.live, 64 * 1024);
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

START_TEST(test_unasked_before)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /a\n"},
                                 {STEP_WRITE, "200 /a OK\n1\n"},
                                 {STEP_POST, 0},
                                 {STEP_WRITE, "100 /b CREATED\n"},
                                 {STEP_POST, 0},
                                 {STEP_AWAIT_CLOSE, 0},
                                 {STEP_ACCEPT, 0},
                                 {STEP_READ, "CREATE /b \"x\"\n"},
                                 {STEP_WRITE, "100 /b CREATED\n"},
                                 {STEP_END, 0}};
    sttp_response response;
    sttp_error error;
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make_for(&p);
    assert_shows(client, "/a", "1");
    sem_wait(&p.reached);
    sem_wait(&p.reached);
    error = assert_fails(client, STTP_ACTION_CREATE, "/b", STTP_ERR_UNASKED_ANSWER);
    assert_contains(error.text, "\"100 /b CREATED\\n\"");
    ck_assert_int_eq(ask(client, STTP_ACTION_CREATE, "/b", &response, &error), STTP_OK);
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

/* A text with a line end in it must not become the answer to the next request. */
START_TEST(test_unasked_behind)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /a\n"},
                                 {STEP_WRITE, "200 /a OK\none\n200 /b OK\nevil\n"},
                                 {STEP_AWAIT_CLOSE, 0}, /* at once */
                                 {STEP_POST, 0},
                                 {STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /b\n"},
                                 {STEP_WRITE, "200 /b OK\ngood\n"},
                                 {STEP_END, 0}};
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make_for(&p);
    assert_shows(client, "/a", "one");
    sem_wait(&p.reached);
    assert_fails(client, STTP_ACTION_SHOW, "/b", STTP_ERR_UNASKED_ANSWER);
    assert_shows(client, "/b", "good");
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

/* The same behind the last of several answers: the request that waits is not sent. */
START_TEST(test_unasked_in_pipeline)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /1\n"},
                                 {STEP_WRITE, "200 /1 OK\n1\n"},
                                 {STEP_READ, "SHOW /2\n"},
                                 {STEP_WRITE, "200 /2 OK\n2\n"},
                                 {STEP_READ, "SHOW /3\nSHOW /4\n"},
                                 {STEP_WRITE, "200 /3 OK\n3\n200 /4 OK\n4\n200 /5 OK\nevil\n"},
                                 {STEP_AWAIT_CLOSE, 0},
                                 {STEP_END, 0}};
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make_for(&p);
    assert_shows(client, "/1", "1");
    assert_shows(client, "/2", "2");
    send_one(client, STTP_ACTION_SHOW, "/3");
    send_one(client, STTP_ACTION_SHOW, "/4");
    assert_receives(client, STTP_OK, STTP_OK);
    send_one(client, STTP_ACTION_UPDATE, "/5");
    assert_receives(client, STTP_OK, STTP_OK);
    assert_receives(client, STTP_ERR_UNASKED_ANSWER, STTP_ERR_UNASKED_ANSWER);
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

/* --- Pipelining ---------------------------------------------------------------------------------
 */

enum { MANY = 100000 };

/* Sends and receives as the header's example does; returns the number of right answers. */
static unsigned run_pipeline(sttp_client *client, unsigned count)
{
    unsigned sent = 0, received = 0, right = 0;
    sttp_response response;
    char path[32];

    while (received < count) {
        for (; sent < count; sent++) {
            snprintf(path, sizeof path, "/%u", sent);
            if (sttp_client_send(
                    client,
                    &(sttp_request){.action = STTP_ACTION_SHOW, .path = {path, strlen(path)}},
                    NULL) != STTP_OK)
                break;
        }
        snprintf(path, sizeof path, "/%u", received++);
        if (sttp_client_receive(client, &response, NULL) == STTP_OK &&
            response.contents.size == strlen(path) &&
            memcmp(response.contents.data, path, strlen(path)) == 0)
            right++;
    }
    ck_assert_uint_eq(sttp_client_outstanding(client), 0);
    return right;
}

START_TEST(test_pipeline_many)
{
    meter m = {0};
    const sttp_allocator memory = metered(&m);
    echo_server server;
    sttp_client *client;

    echo_start(&server, 0);
    client = make((sttp_client_options){.port = server.port, .allocator = &memory});
    ck_assert_uint_eq(run_pipeline(client, MANY), MANY);
    ck_assert_uint_le(m.peak, 512 * 1024);
    sttp_client_destroy(client);
    echo_stop(&server);
    ck_assert_uint_eq(server.connections, 1);
    ck_assert_uint_eq(m.live, 0);
}
END_TEST

/* Every request gets its answer, however often the connection ends in the middle of things. */
START_TEST(test_pipeline_peer_closes)
{
    static const unsigned answers[] = {1, 2, 3, 50};
    echo_server server;
    sttp_client *client;

    echo_start(&server, answers[_i]);
    client = make((sttp_client_options){.port = server.port, .max_in_flight = 64});
    ck_assert_uint_eq(run_pipeline(client, 300), 300);
    sttp_client_destroy(client);
    echo_stop(&server);
    ck_assert_uint_ge(server.connections, 300 / answers[_i]);
}
END_TEST

START_TEST(test_pipeline_full)
{
    echo_server server;
    sttp_client *client;
    sttp_error error;
    sttp_response response;
    const sttp_request request = request_of(STTP_ACTION_SHOW, "/a");

    echo_start(&server, 0);
    client = make((sttp_client_options){.port = server.port, .max_in_flight = 3});
    for (int i = 0; i < 3; i++)
        send_one(client, STTP_ACTION_SHOW, "/a");
    ck_assert_int_eq(sttp_client_send(client, &request, &error), STTP_ERR_PIPELINE_FULL);
    ck_assert_uint_eq(sttp_client_outstanding(client), 3);
    ck_assert_int_eq(sttp_client_receive(client, &response, &error), STTP_OK);
    ck_assert_int_eq(sttp_client_send(client, &request, &error), STTP_OK);
    for (int i = 0; i < 3; i++)
        assert_receives(client, STTP_OK, STTP_OK);
    assert_receives(client, STTP_ERR_NOTHING_SENT, STTP_ERR_NOTHING_SENT);
    sttp_client_destroy(client);
    echo_stop(&server);
}
END_TEST

/* Two answers must have come before more than one request is under way. */
START_TEST(test_pipeline_begins_carefully)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /1\n"},
                                 {STEP_SILENCE, 0},
                                 {STEP_WRITE, "200 /1 OK\n1\n"},
                                 {STEP_READ, "SHOW /2\n"},
                                 {STEP_SILENCE, 0},
                                 {STEP_WRITE, "200 /2 OK\n2\n"},
                                 {STEP_READ, "SHOW /3\nSHOW /4\n"},
                                 {STEP_WRITE, "200 /3 OK\n3\n200 /4 OK\n4\n"},
                                 {STEP_END, 0}};
    static const char *const paths[] = {"/1", "/2", "/3", "/4"};
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make_for(&p);
    for (size_t i = 0; i < COUNT(paths); i++)
        send_one(client, STTP_ACTION_SHOW, paths[i]);
    for (size_t i = 0; i < COUNT(paths); i++)
        assert_receives(client, STTP_OK, STTP_OK);
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

/* The connection breaks with four requests in flight: what was sent of changes is unknown, the rest
 * goes again, and each has one result. */
START_TEST(test_pipeline_breaks)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /1\n"},
                                 {STEP_WRITE, "200 /1 OK\n1\n"},
                                 {STEP_READ, "SHOW /2\n"},
                                 {STEP_WRITE, "200 /2 OK\n2\n"},
                                 {STEP_READ, "SHOW /3\nCREATE /4 \"x\"\nSHOW /5\nDELETE /6\n"},
                                 {STEP_CLOSE, 0},
                                 {STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /3\n"},
                                 {STEP_WRITE, "200 /3 OK\n3\n"},
                                 {STEP_READ, "SHOW /5\n"},
                                 {STEP_WRITE, "200 /5 OK\n5\n"},
                                 {STEP_READ, "DELETE /7\n"},
                                 {STEP_WRITE, "600 /7 DELETED\n"},
                                 {STEP_END, 0}};
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make_for(&p);
    assert_shows(client, "/1", "1");
    assert_shows(client, "/2", "2");
    send_one(client, STTP_ACTION_SHOW, "/3");
    send_one(client, STTP_ACTION_CREATE, "/4");
    send_one(client, STTP_ACTION_SHOW, "/5");
    send_one(client, STTP_ACTION_DELETE, "/6");
    assert_receives(client, STTP_OK, STTP_OK);
    send_one(client, STTP_ACTION_DELETE, "/7");
    assert_receives(client, STTP_ERR_OUTCOME_UNKNOWN, STTP_ERR_EMPTY_ANSWER);
    assert_receives(client, STTP_OK, STTP_OK);
    assert_receives(client, STTP_ERR_OUTCOME_UNKNOWN, STTP_ERR_EMPTY_ANSWER);
    assert_receives(client, STTP_OK, STTP_OK);
    ck_assert_uint_eq(sttp_client_outstanding(client), 0);
    peer_finish(&p);
    sttp_client_destroy(client);
}
END_TEST

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
    client = make((sttp_client_options){.port = p.port, .request_timeout_ms = 60});
    began = seconds();
    error = assert_fails(client, STTP_ACTION_SHOW, "/a", STTP_ERR_TIMEOUT);
    ck_assert_double_ge(seconds() - began, 0.06);
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
    client = make((sttp_client_options){.port = p.port, .total_timeout_ms = 60});
    error = assert_fails(client, STTP_ACTION_SHOW, "/a", STTP_ERR_TIMEOUT);
    assert_contains(error.text, "the total timeout has passed");
    error = assert_fails(client, STTP_ACTION_CREATE, "/b", STTP_ERR_TIMEOUT);
    ck_assert_int_eq(error.phase, STTP_PHASE_CONNECT);
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
    double began = seconds();
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
    ck_assert_double_lt(seconds() - began, 0.25);
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
    double began = seconds();
    sttp_client *client;
    peer p;

    peer_start_on(&p, listening_socket("127.0.0.3", port_of(hole.listener)), one_show, 0);
    client = make((sttp_client_options){
        .port = port_of(hole.listener), .addresses = addresses, .address_count = 3});
    assert_shows(client, "/a", "x");
    ck_assert_double_lt(seconds() - began, 0.49);
    sttp_client_destroy(client);
    peer_finish(&p);
    close(fd);
    black_hole_close(&hole);
}
END_TEST

START_TEST(test_ipv6)
{
    int listener = listening_socket("::1", 0);
    sttp_client *client;
    sttp_error error;
    peer p;

    peer_start_on(&p, listener, silent_peer, 0);
    client = make(
        (sttp_client_options){.host = "::1", .port = port_of(listener), .request_timeout_ms = 30});
    error = assert_fails(client, STTP_ACTION_SHOW, "/a", STTP_ERR_TIMEOUT);
    ck_assert_int_eq(strncmp(error.address, "[::1]:", 6), 0);
    assert_fails(client, STTP_ACTION_CREATE, "/a", STTP_ERR_OUTCOME_UNKNOWN);
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

/* --- Transport ----------------------------------------------------------------------------------
 */

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
    ck_assert_int_eq(ask(client, STTP_ACTION_CREATE, "/a", &response, &error), STTP_OK);
    s.ends_later = true;
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

/* --- Memory -------------------------------------------------------------------------------------
 */

/* Many requests over connections that end after three answers, from a name; false where the client
 * could not be made. An error is want of memory, and the next call works. */
static bool use_client(const sttp_client_options *options)
{
    sttp_client *client;
    sttp_status status = sttp_client_create(options, &client);
    sttp_response response;
    sttp_error error;

    if (status != STTP_OK) {
        ck_assert_int_eq(status, STTP_ERR_MEMORY);
        return false;
    }
    for (int i = 0; i < 40; i++) {
        const sttp_request request = request_of(STTP_ACTION_SHOW, "/a");

        status = sttp_client_send(client, &request, &error);
        ck_assert_msg(status == STTP_OK || status == STTP_ERR_MEMORY, "%s", error.text);
        if (status == STTP_ERR_MEMORY)
            ck_assert_int_eq(sttp_client_send(client, &request, &error), STTP_OK);
    }
    while (sttp_client_outstanding(client) > 0) {
        status = sttp_client_receive(client, &response, &error);
        ck_assert_msg(status == STTP_OK || status == STTP_ERR_MEMORY, "%s", error.text);
    }
    assert_shows(client, "/a", "/a");
    sttp_client_destroy(client);
    return true;
}

START_TEST(test_every_allocation_fails)
{
    static const char *const addresses[] = {"127.0.0.1"};
    const bool given = _i == 1;
    echo_server server;
    size_t n = 0;
    bool failed = true;

    echo_start(&server, 3);
    while (failed) {
        meter m = {.fails_at = ++n};
        const sttp_allocator memory = metered(&m);
        const sttp_client_options options = {.size = sizeof options,
                                             .host = "localhost",
                                             .family = AF_INET,
                                             .port = server.port,
                                             .addresses = addresses,
                                             .address_count = given,
                                             .allocator = &memory};

        use_client(&options);
        ck_assert_uint_eq(m.live, 0);
        failed = m.failed;
    }
    echo_stop(&server);
    ck_assert_uint_gt(n, 5);
}
END_TEST

/* --- All of it ----------------------------------------------------------------------------------
 */

static TCase *add_case(Suite *suite, const char *name)
{
    TCase *tests = tcase_create(name);

    tcase_set_timeout(tests, 60);
    suite_add_tcase(suite, tests);
    return tests;
}

static void add_failures(TCase *tests)
{
    tcase_add_test(tests, test_show_goes_again);
    tcase_add_test(tests, test_show_goes_again_once);
    tcase_add_test(tests, test_change_outcome_unknown);
    tcase_add_loop_test(tests, test_bad_answer, 0, (int)COUNT(bad_answers));
    tcase_add_test(tests, test_endless_contents);
    tcase_add_test(tests, test_long_answer);
    tcase_add_test(tests, test_unasked_before);
    tcase_add_test(tests, test_unasked_behind);
    tcase_add_test(tests, test_unasked_in_pipeline);
    tcase_add_test(tests, test_connect_timeout);
    tcase_add_test(tests, test_request_timeout);
    tcase_add_test(tests, test_total_timeout);
}

static void add_connecting(TCase *tests)
{
    tcase_add_test(tests, test_localhost_by_name);
    tcase_add_test(tests, test_no_such_host);
    tcase_add_test(tests, test_refused_everywhere);
    tcase_add_test(tests, test_many_addresses);
    tcase_add_test(tests, test_next_address_at_once);
    tcase_add_test(tests, test_next_address_beside_a_slow_one);
    tcase_add_test(tests, test_third_address_at_once);
    tcase_add_test(tests, test_ipv6);
    tcase_add_test(tests, test_unix_socket);
    tcase_add_test(tests, test_unix_socket_full);
    tcase_add_test(tests, test_transport);
    tcase_add_test(tests, test_change_waits_for_the_end);
    tcase_add_test(tests, test_handshake_timeout);
}

int main(void)
{
    Suite *suite = suite_create("client");
    TCase *requests = add_case(suite, "requests");
    TCase *pipeline = add_case(suite, "pipeline");
    TCase *memory = add_case(suite, "memory");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(requests, test_options);
    tcase_add_test(requests, test_refused_request);
    tcase_add_test(requests, test_keep_alive);
    tcase_add_test(requests, test_peer_closes_each_time);
    tcase_add_test(pipeline, test_pipeline_many);
    tcase_add_loop_test(pipeline, test_pipeline_peer_closes, 0, 4);
    tcase_add_test(pipeline, test_pipeline_full);
    tcase_add_test(pipeline, test_pipeline_breaks);
    tcase_add_test(pipeline, test_pipeline_begins_carefully);
    tcase_add_loop_test(memory, test_every_allocation_fails, 0, 2);
    add_failures(add_case(suite, "failures"));
    add_connecting(add_case(suite, "connecting"));
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
