/* The blocking client, one request after another: options, repeats, answers that are none. */
#include <limits.h>

#include "client_assert.h"

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
    sttp_client_options bad[18];
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
    bad[16].origin = "example.org";
    bad[17].origin = "sttp://example.org/";
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

/* A server that was seen to keep a connection and then restarts is not taken for one of those. */
START_TEST(test_one_prompt_close)
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
                                 {STEP_CLOSE, 0},
                                 {STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /4\n"},
                                 {STEP_WRITE, "200 /4 OK\n4\n"},
                                 {STEP_READ, "SHOW /5\n"},
                                 {STEP_WRITE, "200 /5 OK\n5\n"},
                                 {STEP_END, 0}};
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make_for(&p);
    assert_shows(client, "/1", "1");
    assert_shows(client, "/2", "2");
    assert_shows(client, "/3", "3");
    assert_shows(client, "/4", "4");
    assert_shows(client, "/5", "5");
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

/* Half an answer is an error; a request goes again only where nothing came. And a peer that closed
 * behind its answer is left at once. */
START_TEST(test_half_an_answer)
{
    static const step steps[] = {{STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /a\n"},
                                 {STEP_WRITE, "200 /a OK\n1\n"},
                                 {STEP_READ, "SHOW /a\n"},
                                 {STEP_WRITE, "200 /a OK\n1\n"},
                                 {STEP_READ, "SHOW /a\n"},
                                 {STEP_WRITE, "200 /a OK\nBuy mi"},
                                 {STEP_CLOSE, 0},
                                 {STEP_ACCEPT, 0},
                                 {STEP_READ, "SHOW /a\n"},
                                 {STEP_WRITE, "200 /a OK\n"},
                                 {STEP_CLOSE, 0},
                                 {STEP_END, 0}};
    diary d = {0};
    peer p;
    sttp_client *client;

    peer_start(&p, steps);
    client = make((sttp_client_options){.port = p.port, .trace = diary_write, .trace_context = &d});
    assert_shows(client, "/a", "1");
    assert_shows(client, "/a", "1");
    assert_fails(client, STTP_ACTION_SHOW, "/a", STTP_ERR_CONNECTION_LOST);
    d.text[0] = '\0';
    assert_shows(client, "/a", "");
    ck_assert_str_eq(d.text, "connecting connected sent(SHOW /a) received(200 /a OK) closed");
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
    step_kind end;
} bad_answers[] = {
    {"HTTP/1.1 400 Bad Request\r\n\r\n", STTP_ERR_BAD_ANSWER,
     "is no STTP server; it answered: \"HTTP/1.1 400 Bad Request\\r\\n\\r\\n\"", STEP_CLOSE},
    {"\x16\x03\x01\x1b[2J\n", STTP_ERR_BAD_ANSWER, "\"\\x16\\x03\\x01\\x1b[2J\\n\"", STEP_CLOSE},
    {"200 /b OK\nx\n", STTP_ERR_WRONG_ANSWER, "SHOW /a with a response that speaks of \"/b\"",
     STEP_CLOSE},
    {"410 /a PATH NOT FOUND\n", STTP_ERR_WRONG_ANSWER, "\"/a\"", STEP_CLOSE},
    {"300 /b CLIENT ERROR \"no\"\n", STTP_ERR_WRONG_ANSWER, "\"/b\"", STEP_CLOSE},
    {"400 - NOT FOUND\n", STTP_ERR_WRONG_ANSWER, "\"-\"", STEP_CLOSE},
    {"200 /a OK\nBuy mi", STTP_ERR_CONNECTION_LOST, "in the middle of the answer to SHOW /a",
     STEP_CLOSE},
    {"200 /a", STTP_ERR_CONNECTION_LOST, "in the middle of the answer", STEP_CLOSE},
    {"", STTP_ERR_EMPTY_ANSWER, "without an answer to SHOW /a", STEP_CLOSE},
    {"200 /a OK\nmore than sixteen bytes\n", STTP_ERR_CONTENTS_LINE_TOO_LONG,
     "more than 16 bytes of contents", STEP_CLOSE},
    {"200 /a OK\n", STTP_ERR_CONNECTION_LOST, "in the middle of the answer to SHOW /a", STEP_RESET},
};

START_TEST(test_bad_answer)
{
    const struct bad_answer *bad = &bad_answers[_i];
    const step steps[] = {{STEP_ACCEPT, 0},
                          {STEP_READ, "SHOW /a\n"},
                          {STEP_WRITE, bad->answer},
                          {bad->end, 0},
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

/* An error's text shows whole characters. */
START_TEST(test_long_path_in_error)
{
    char line[160];
    const step steps[] = {{STEP_ACCEPT, 0}, {STEP_READ, line}, {STEP_CLOSE, 0}, {STEP_END, 0}};
    char path[128] = "/";
    sttp_error error;
    peer p;
    sttp_client *client;

    for (size_t i = 1; i < 121; i += 2)
        memcpy(path + i, "\xc3\xa9", 3); /* e with an acute accent; byte 100 is in the middle */
    strcat(path, "/a");
    snprintf(line, sizeof line, "SHOW %s\n", path);
    peer_start(&p, steps);
    client = make_for(&p);
    error = assert_fails(client, STTP_ACTION_SHOW, path, STTP_ERR_EMPTY_ANSWER);
    assert_contains(error.text, "\xc3\xa9...");
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

int main(void)
{
    Suite *suite = suite_create("client");
    TCase *options = add_case(suite, "options");
    TCase *requests = add_case(suite, "requests");
    TCase *answers = add_case(suite, "answers");

    tcase_add_test(options, test_options);
    tcase_add_test(options, test_refused_request);
    tcase_add_test(requests, test_keep_alive);
    tcase_add_test(requests, test_peer_closes_each_time);
    tcase_add_test(requests, test_one_prompt_close);
    tcase_add_test(requests, test_show_goes_again);
    tcase_add_test(requests, test_show_goes_again_once);
    tcase_add_test(requests, test_half_an_answer);
    tcase_add_test(requests, test_change_outcome_unknown);
    tcase_add_loop_test(answers, test_bad_answer, 0, (int)COUNT(bad_answers));
    tcase_add_test(answers, test_long_path_in_error);
    tcase_add_test(answers, test_endless_contents);
    tcase_add_test(answers, test_long_answer);
    tcase_add_test(answers, test_unasked_before);
    tcase_add_test(answers, test_unasked_behind);
    return run_suite(suite);
}
