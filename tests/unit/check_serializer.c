/* The serializer: exact bytes, what it refuses and with which status, buffers too small by one, and
 * random messages that must survive the trip through the parser. */
#include <sttp/parser.h>
#include <sttp/serializer.h>

#include "core_support.h"

enum { ROUNDS = 4000 };

static char buffer[3 * STTP_MAX_STATUS_LINE];
static sttp_problem problem;
static size_t size;

static sttp_status write_request(const sttp_request *request)
{
    problem = (sttp_problem){.status = STTP_OK};
    size = SIZE_MAX;
    return sttp_serialize_request(request, buffer, sizeof(buffer), &size, &problem);
}

static sttp_status write_response(const sttp_response *response)
{
    problem = (sttp_problem){.status = STTP_OK};
    size = SIZE_MAX;
    return sttp_serialize_response(response, buffer, sizeof(buffer), &size, &problem);
}

static sttp_slice optional(const char *text)
{
    return text ? slice_of(text) : (sttp_slice){NULL, 0};
}

static sttp_request make_request(sttp_action action, const char *path, const char *query,
                                 const char *contents)
{
    return (sttp_request){.action = action,
                          .path = slice_of(path),
                          .query = optional(query),
                          .contents = optional(contents)};
}

static sttp_response make_response(int code, const char *echo, const char *message,
                                   const char *contents)
{
    return (sttp_response){.code = (sttp_code)code,
                           .echo = optional(echo),
                           .message = optional(message),
                           .contents = optional(contents)};
}

START_TEST(request_bytes)
{
    static const struct {
        sttp_request request;
        const char *line;
    } table[] = {
        {{STTP_ACTION_CREATE, {"/n/a", 4}, {NULL, 0}, {"Buy milk", 8}, {NULL, 0}},
         "CREATE /n/a \"Buy milk\"\n"},
        {{STTP_ACTION_UPDATE, {"/a", 2}, {NULL, 0}, {"", 0}, {NULL, 0}}, "UPDATE /a \"\"\n"},
        {{STTP_ACTION_UPDATE, {"/a", 2}, {NULL, 0}, {"\"x\"", 3}, {NULL, 0}},
         "UPDATE /a \"\"x\"\"\n"},
        {{STTP_ACTION_CREATE, {"/a", 2}, {NULL, 0}, {" \t", 2}, {NULL, 0}}, "CREATE /a \" \t\"\n"},
        {{STTP_ACTION_SHOW, {"/a", 2}, {NULL, 0}, {NULL, 0}, {NULL, 0}}, "SHOW /a\n"},
        {{STTP_ACTION_DELETE, {"/d/", 3}, {NULL, 0}, {NULL, 0}, {NULL, 0}}, "DELETE /d/\n"},
        {{STTP_ACTION_LIST, {"/", 1}, {"q=%20", 5}, {NULL, 0}, {NULL, 0}}, "LIST /?q=%20\n"},
    };
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        ck_assert_int_eq(write_request(&table[i].request), STTP_OK);
        ck_assert_uint_eq(size, strlen(table[i].line));
        ck_assert_mem_eq(buffer, table[i].line, size);
        memset(buffer, 0, size);
        ck_assert_int_eq(sttp_serialize_parsed_request(&table[i].request, buffer, size, &size),
                         STTP_OK);
        ck_assert_mem_eq(buffer, table[i].line, strlen(table[i].line));
        ck_assert_int_eq(sttp_serialize_parsed_request(&table[i].request, NULL, 0, &size),
                         STTP_ERR_BUFFER);
        ck_assert_uint_eq(size, strlen(table[i].line));
    }
}
END_TEST

/* What was judged once is not judged again: that is for who has parsed it. */
START_TEST(parsed_request_is_not_judged)
{
    sttp_request request = {.action = STTP_ACTION_SHOW, .path = slice_of("a b/")};

    ck_assert_int_eq(sttp_serialize_request(&request, buffer, sizeof buffer, &size, NULL),
                     STTP_ERR_PATH_RELATIVE);
    ck_assert_int_eq(sttp_serialize_parsed_request(&request, buffer, sizeof buffer, &size),
                     STTP_OK);
    ck_assert_mem_eq(buffer, "SHOW a b/\n", size);
}
END_TEST

START_TEST(response_bytes)
{
    static const struct {
        int code;
        const char *echo, *message, *contents, *line;
    } table[] = {
        {100, "/a", NULL, NULL, "100 /a CREATED\n"},
        {200, "/a", NULL, "x", "200 /a OK\nx\n"},
        {200, "/", NULL, "", "200 / OK\n\n"},
        {200, "/a", NULL, "\"\x1b\t\"", "200 /a OK\n\"\x1b\t\"\n"},
        {300, "-", "no", NULL, "300 - CLIENT ERROR \"no\"\n"},
        {310, "/n", NULL, NULL, "310 /n FILENAME TOO LONG\n"},
        {400, "/n", NULL, NULL, "400 /n NOT FOUND\n"},
        {410, "/d/", NULL, NULL, "410 /d/ PATH NOT FOUND\n"},
        {500, "/n", "", NULL, "500 /n SERVER ERROR \"\"\n"},
        {510, "/d/", NULL, NULL, "510 /d/ CANNOT CREATE PATH\n"},
        {600, "/d/", NULL, NULL, "600 /d/ DELETED\n"},
    };
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        sttp_response response =
            make_response(table[i].code, table[i].echo, table[i].message, table[i].contents);

        ck_assert_int_eq(write_response(&response), STTP_OK);
        ck_assert_uint_eq(size, strlen(table[i].line));
        ck_assert_mem_eq(buffer, table[i].line, size);
    }
}
END_TEST

START_TEST(request_refusals)
{
    static const struct {
        sttp_action action;
        const char *path, *query, *contents;
        sttp_status status;
        size_t offset;
    } table[] = {
        {STTP_ACTION_SHOW, "/a\n", NULL, NULL, STTP_ERR_CONTROL_CHARACTER, 7},
        {STTP_ACTION_SHOW, "/a\t", NULL, NULL, STTP_ERR_CONTROL_CHARACTER, 7},
        {STTP_ACTION_LIST, "/a", "q=\r", NULL, STTP_ERR_CONTROL_CHARACTER, 10},
        {STTP_ACTION_CREATE, "/a", NULL, "x\ny", STTP_ERR_CONTROL_CHARACTER, 12},
        {STTP_ACTION_CREATE, "/a", NULL, "x\r", STTP_ERR_CONTROL_CHARACTER, 12},
        {STTP_ACTION_CREATE, "/\xff", NULL, "x", STTP_ERR_UTF8, 8},
        {STTP_ACTION_LIST, "/", "q=\xff", NULL, STTP_ERR_UTF8, 9},
        {STTP_ACTION_UPDATE, "/a", NULL, "\xed\xa0\x80", STTP_ERR_UTF8, 11},
        {STTP_ACTION_NONE, "/a", NULL, NULL, STTP_ERR_ACTION, 0},
        {(sttp_action)6, "/a", NULL, NULL, STTP_ERR_ACTION, 0},
        {STTP_ACTION_SHOW, "", NULL, NULL, STTP_ERR_TARGET_MISSING, 5},
        {STTP_ACTION_SHOW, "sttp://h/a", NULL, NULL, STTP_ERR_TARGET_URL, 5},
        {STTP_ACTION_SHOW, "a", NULL, NULL, STTP_ERR_PATH_RELATIVE, 5},
        {STTP_ACTION_SHOW, "/a//b", NULL, NULL, STTP_ERR_PATH_EMPTY_SEGMENT, 8},
        {STTP_ACTION_SHOW, "/..", NULL, NULL, STTP_ERR_PATH_DOT_SEGMENT, 6},
        {STTP_ACTION_SHOW, "/.sttp-x", NULL, NULL, STTP_ERR_PATH_RESERVED, 6},
        {STTP_ACTION_SHOW, "/a b", NULL, NULL, STTP_ERR_PATH_FORBIDDEN, 7},
        {STTP_ACTION_LIST, "/a?b", NULL, NULL, STTP_ERR_PATH_FORBIDDEN, 7},
        {STTP_ACTION_SHOW, "/a/", NULL, NULL, STTP_ERR_PATH_FINAL_SLASH, 7},
        {STTP_ACTION_SHOW, "/a", "", NULL, STTP_ERR_QUERY_ACTION, 8},
        {STTP_ACTION_LIST, "/a", "", NULL, STTP_ERR_QUERY_KEY, 8},
        {STTP_ACTION_LIST, "/a", "q=a&q=a", NULL, STTP_ERR_QUERY_TWICE, 12},
        {STTP_ACTION_LIST, "/a", "type=x", NULL, STTP_ERR_QUERY_VALUE, 13},
        {STTP_ACTION_LIST, "/a", "q=a b", NULL, STTP_ERR_QUERY_ESCAPE, 11},
        {STTP_ACTION_CREATE, "/a", NULL, NULL, STTP_ERR_CONTENTS_MISSING, 11},
        {STTP_ACTION_SHOW, "/a", NULL, "", STTP_ERR_CONTENTS_UNEXPECTED, 9},
        {STTP_ACTION_LIST, "/a", "q=x", "x", STTP_ERR_CONTENTS_UNEXPECTED, 13},
    };
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        sttp_request request =
            make_request(table[i].action, table[i].path, table[i].query, table[i].contents);
        sttp_status status = write_request(&request);

        ck_assert_msg(status == table[i].status, "%zu: %s", i, sttp_status_name(status));
        ck_assert_int_eq(problem.status, status);
        ck_assert_msg(problem.offset == table[i].offset, "%zu: %zu", i, problem.offset);
        ck_assert_uint_eq(size, 0);
        ck_assert_int_eq(sttp_serialize_request(&request, NULL, 0, &size, NULL), status);
    }
}
END_TEST

START_TEST(request_limits)
{
    char text[5000];
    sttp_request request = make_request(STTP_ACTION_CREATE, "/a", NULL, repeat(text, "x", 160));

    ck_assert_int_eq(write_request(&request), STTP_OK);
    request.contents.size = 161;
    text[160] = 'x';
    ck_assert_int_eq(write_request(&request), STTP_ERR_CONTENTS_TOO_LONG);
    ck_assert_uint_eq(problem.length, 161);
    /* A line is too long before all else that is wrong with it, as for the parser. */
    request = make_request(STTP_ACTION_CREATE, "/a", NULL, repeat(text, "x", 4096 - 13));
    ck_assert_int_eq(write_request(&request), STTP_ERR_CONTENTS_TOO_LONG);
    request = make_request(STTP_ACTION_CREATE, "/a", NULL, repeat(text, "\n", 4096 - 12));
    ck_assert_int_eq(write_request(&request), STTP_ERR_LINE_TOO_LONG);
    ck_assert_uint_eq(problem.length, 4097);
    request = make_request(STTP_ACTION_SHOW, repeat(text, "/", 4090), NULL, NULL);
    ck_assert_int_eq(write_request(&request), STTP_ERR_PATH_EMPTY_SEGMENT);
    request = make_request(STTP_ACTION_SHOW, repeat(text, "/", 4091), NULL, NULL);
    ck_assert_int_eq(write_request(&request), STTP_ERR_LINE_TOO_LONG);
    text[0] = '/';
    request = make_request(STTP_ACTION_SHOW, text, NULL, NULL);
    request.path.size = 34;
    memset(text + 1, 'n', 33);
    ck_assert_int_eq(write_request(&request), STTP_ERR_FILENAME_TOO_LONG);
    ck_assert_uint_eq(problem.length, 33);
    request.path.size = 33;
    ck_assert_int_eq(write_request(&request), STTP_OK);
    request.action = STTP_ACTION_LIST;
    request.path.size = 257;
    memset(text + 1, 'n', 1024);
    ck_assert_int_eq(write_request(&request), STTP_ERR_DIRECTORY_TOO_LONG);
    request.path.size = 256;
    ck_assert_int_eq(write_request(&request), STTP_OK);
    request.path.size = 1025;
    ck_assert_int_eq(write_request(&request), STTP_ERR_PATH_TOO_LONG);
}
END_TEST

START_TEST(request_line_of_the_largest_size)
{
    char query[5000];
    sttp_request request = make_request(STTP_ACTION_LIST, "/", NULL, NULL);

    memset(query, 'x', sizeof(query));
    memcpy(query, "q=", 2);
    request.query = (sttp_slice){query, 4096 - 8};
    ck_assert_int_eq(write_request(&request), STTP_OK);
    ck_assert_uint_eq(size, STTP_MAX_REQUEST_LINE);
    request.query.size++;
    ck_assert_int_eq(write_request(&request), STTP_ERR_LINE_TOO_LONG);
    ck_assert_uint_eq(size, 0);
}
END_TEST

START_TEST(response_refusals)
{
    static const struct {
        int code;
        const char *echo, *message, *contents;
        sttp_status status;
        size_t offset;
    } table[] = {
        {0, "/a", NULL, NULL, STTP_ERR_RESPONSE_CODE, 0},
        {201, "/a", NULL, "x", STTP_ERR_RESPONSE_CODE, 0},
        {100, "", NULL, NULL, STTP_ERR_RESPONSE_ECHO, 4},
        {100, NULL, NULL, NULL, STTP_ERR_RESPONSE_ECHO, 4},
        {100, "/a b", NULL, NULL, STTP_ERR_RESPONSE_ECHO, 4},
        {100, "/a?b", NULL, NULL, STTP_ERR_RESPONSE_ECHO, 4},
        {100, "/a\nb", NULL, NULL, STTP_ERR_CONTROL_CHARACTER, 6},
        {100, "/\xff", NULL, NULL, STTP_ERR_UTF8, 5},
        {300, "/a", NULL, NULL, STTP_ERR_RESPONSE_MESSAGE, 21},
        {500, "/a", "a \"b\"", NULL, STTP_ERR_RESPONSE_MESSAGE, 21},
        {500, "/a", "a\tb", NULL, STTP_ERR_CONTROL_CHARACTER, 22},
        {500, "/a", "\xc3", NULL, STTP_ERR_UTF8, 21},
        {400, "/a", "gone", NULL, STTP_ERR_RESPONSE_MESSAGE, 18},
        {400, "/a", "", NULL, STTP_ERR_RESPONSE_MESSAGE, 18},
        {200, "/a", NULL, NULL, STTP_ERR_RESPONSE_MESSAGE, 10},
        {600, "/a", NULL, "", STTP_ERR_RESPONSE_MESSAGE, 15},
        {300, "/a", "no", "x", STTP_ERR_RESPONSE_MESSAGE, 25},
        {200, "/a", NULL, "a\nb", STTP_ERR_CONTROL_CHARACTER, 10},
        {200, "/a", NULL, "a\r", STTP_ERR_CONTROL_CHARACTER, 10},
        {200, "/a", NULL, "a\xff", STTP_ERR_UTF8, 11},
    };
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        sttp_response response =
            make_response(table[i].code, table[i].echo, table[i].message, table[i].contents);
        sttp_status status = write_response(&response);

        ck_assert_msg(status == table[i].status, "%zu: %s", i, sttp_status_name(status));
        ck_assert_int_eq(problem.status, status);
        ck_assert_msg(problem.offset == table[i].offset, "%zu: %zu", i, problem.offset);
        ck_assert_uint_eq(size, 0);
        ck_assert_int_eq(sttp_serialize_response(&response, NULL, 0, &size, NULL), status);
    }
}
END_TEST

START_TEST(response_limits)
{
    char *text = malloc(STTP_MAX_CONTENTS_LINE + 1);
    char *room = malloc(STTP_MAX_CONTENTS_LINE + 100);
    sttp_response response = make_response(600, "/a", NULL, NULL);
    const size_t around = strlen("600  DELETED\n");

    ck_assert_ptr_nonnull(text);
    ck_assert_ptr_nonnull(room);
    memset(text, 'x', STTP_MAX_CONTENTS_LINE);
    response.echo = (sttp_slice){text, STTP_MAX_STATUS_LINE - around};
    ck_assert_int_eq(write_response(&response), STTP_OK);
    ck_assert_uint_eq(size, STTP_MAX_STATUS_LINE);
    response.echo.size++;
    ck_assert_int_eq(write_response(&response), STTP_ERR_STATUS_LINE_TOO_LONG);
    ck_assert_uint_eq(problem.length, STTP_MAX_STATUS_LINE + 1);
    response = make_response(200, "/a", NULL, "");
    response.contents = (sttp_slice){text, STTP_MAX_CONTENTS_LINE - 1};
    ck_assert_int_eq(
        sttp_serialize_response(&response, room, STTP_MAX_CONTENTS_LINE + 100, &size, NULL),
        STTP_OK);
    ck_assert_uint_eq(size, strlen("200 /a OK\n") + STTP_MAX_CONTENTS_LINE);
    response.contents.size++;
    ck_assert_int_eq(write_response(&response), STTP_ERR_CONTENTS_LINE_TOO_LONG);
    free(text);
    free(room);
}
END_TEST

/* Not a byte is written beyond the buffer, and the size that is told is enough. */
START_TEST(small_buffers)
{
    sttp_request request = make_request(STTP_ACTION_CREATE, "/n/a", NULL, "Buy milk");
    sttp_response response = make_response(200, "/n/a", NULL, "Buy milk");
    struct guarded guarded = guarded_create(100);
    size_t capacity;

    for (capacity = 0; capacity <= 23; capacity++) {
        char *room = guarded.memory + guarded.usable - capacity;
        sttp_status expected = capacity < 23 ? STTP_ERR_BUFFER : STTP_OK;

        ck_assert_int_eq(sttp_serialize_request(&request, room, capacity, &size, &problem),
                         expected);
        ck_assert_uint_eq(size, 23);
    }
    for (capacity = 0; capacity <= 21; capacity++) {
        char *room = guarded.memory + guarded.usable - capacity;
        sttp_status expected = capacity < 21 ? STTP_ERR_BUFFER : STTP_OK;

        ck_assert_int_eq(sttp_serialize_response(&response, room, capacity, &size, &problem),
                         expected);
        ck_assert_uint_eq(size, 21);
    }
    ck_assert_int_eq(sttp_serialize_request(&request, NULL, 0, &size, NULL), STTP_ERR_BUFFER);
    ck_assert_uint_eq(size, 23);
    guarded_destroy(&guarded);
}
END_TEST

/* --- random messages --- */

struct parts {
    char path[5000];
    char query[5000];
    char text[5000];
};

/* Segments of which none is special: they begin with a letter. */
static size_t random_path(uint64_t *state, char *path, bool slash)
{
    size_t segments = random_below(state, 5);
    size_t length = 0;

    while (segments-- > 0) {
        length += (size_t)sprintf(path + length, "/d");
        length += random_text(state, path + length, 60, " ?/");
    }
    length += (size_t)sprintf(path + length, "/f");
    length += random_text(state, path + length, 31, " ?/");
    if (slash)
        path[length++] = '/';
    return length;
}

static size_t random_query(uint64_t *state, char *query)
{
    static const char *const types[] = {"file", "dir", "all"};
    size_t length =
        (size_t)sprintf(query, "type=%s&limit=%zu&recursive=%zu&q=", types[random_below(state, 3)],
                        1 + random_below(state, STTP_MAX_LIST_LIMIT), random_below(state, 2));

    length += random_text(state, query + length, 20, " &%");
    length +=
        (size_t)sprintf(query + length, "&name=*%%%02zx&after=x", 0x20 + random_below(state, 64));
    return length + random_text(state, query + length, 20, " &%");
}

static sttp_request random_request(uint64_t *state, struct parts *parts)
{
    sttp_request request = {.action = (sttp_action)(STTP_ACTION_CREATE + random_below(state, 5))};
    bool may_end_in_slash =
        request.action == STTP_ACTION_LIST || request.action == STTP_ACTION_DELETE;

    request.path =
        (sttp_slice){parts->path, random_path(state, parts->path,
                                              may_end_in_slash && random_below(state, 2) == 0)};
    if (request.action == STTP_ACTION_LIST && random_below(state, 2) == 0)
        request.query = (sttp_slice){parts->query, random_query(state, parts->query)};
    if (request.action == STTP_ACTION_CREATE || request.action == STTP_ACTION_UPDATE)
        request.contents =
            (sttp_slice){parts->text, random_text(state, parts->text, STTP_MAX_CONTENTS_CHARS, "")};
    return request;
}

START_TEST(random_requests_survive)
{
    static struct parts parts;
    uint64_t state = random_seed();
    int round;

    for (round = 0; round < ROUNDS; round++) {
        sttp_request request = random_request(&state, &parts);
        sttp_parser parser = {0};
        sttp_request again;
        size_t consumed;

        if (write_request(&request) != STTP_OK)
            ck_abort_msg("refused: %s", sttp_status_name(problem.status));
        if (sttp_parse_request(&parser, buffer, size, &consumed, &again, &problem) != STTP_OK ||
            consumed != size || !requests_equal(&request, &again))
            ck_abort_msg("changed: %.*s", (int)size, buffer);
    }
}
END_TEST

static sttp_response random_response(uint64_t *state, struct parts *parts)
{
    static const int codes[] = {100, 200, 300, 310, 400, 410, 500, 510, 600};
    sttp_response response = {.code = (sttp_code)codes[random_below(state, 9)]};

    response.echo = (sttp_slice){parts->path, random_path(state, parts->path, false)};
    if (random_below(state, 10) == 0)
        response.echo = STTP_SLICE("-");
    if (sttp_code_has_message(response.code))
        response.message = (sttp_slice){parts->query, random_text(state, parts->query, 300, "\"")};
    if (response.code == STTP_CODE_OK)
        response.contents = (sttp_slice){parts->text, random_text(state, parts->text, 1000, "")};
    return response;
}

START_TEST(random_responses_survive)
{
    static struct parts parts;
    uint64_t state = random_seed();
    int round;

    for (round = 0; round < ROUNDS; round++) {
        sttp_response response = random_response(&state, &parts);
        sttp_parser parser = {0};
        sttp_response again;
        size_t consumed;

        if (write_response(&response) != STTP_OK)
            ck_abort_msg("refused: %s", sttp_status_name(problem.status));
        if (sttp_parse_response(&parser, buffer, size, STTP_MAX_CONTENTS_LINE, false, &consumed,
                                &again, &problem) != STTP_OK ||
            consumed != size || !responses_equal(&response, &again))
            ck_abort_msg("changed: %.*s", (int)size, buffer);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("serializer");
    TCase *tcase = tcase_create("serializer");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, request_bytes);
    tcase_add_test(tcase, parsed_request_is_not_judged);
    tcase_add_test(tcase, response_bytes);
    tcase_add_test(tcase, request_refusals);
    tcase_add_test(tcase, request_limits);
    tcase_add_test(tcase, request_line_of_the_largest_size);
    tcase_add_test(tcase, response_refusals);
    tcase_add_test(tcase, response_limits);
    tcase_add_test(tcase, small_buffers);
    tcase_add_test(tcase, random_requests_survive);
    tcase_add_test(tcase, random_responses_survive);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
