/* The parser of requests: every rule, the limits, what it remembers between calls; and lines of
 * both kinds that somebody broke at random. The vectors are in check_vectors.c. */
#include <sttp/parser.h>
#include <sttp/serializer.h>

#include "core_support.h"

enum { MUTATIONS = 20000 };

static sttp_parser parser;
static sttp_request request;
static sttp_response response;
static sttp_problem problem;
static size_t consumed;

static void reset(void)
{
    parser = (sttp_parser){0};
    problem = (sttp_problem){.status = STTP_OK};
    consumed = SIZE_MAX;
}

static sttp_status parse_request(sttp_slice bytes)
{
    return sttp_parse_request(&parser, bytes.data, bytes.size, &consumed, &request, &problem);
}

static sttp_status parse_response(sttp_slice bytes, bool closed)
{
    return sttp_parse_response(&parser, bytes.data, bytes.size, STTP_MAX_CONTENTS_LINE, closed,
                               &consumed, &response, &problem);
}

START_TEST(request_parts)
{
    reset();
    ck_assert_int_eq(parse_request(slice_of("CREATE /n/a \"Buy milk\"\nSHOW /b\n")), STTP_OK);
    ck_assert_uint_eq(consumed, 23);
    ck_assert_int_eq(request.action, STTP_ACTION_CREATE);
    ck_assert(slice_is(request.path, "/n/a"));
    ck_assert_ptr_null(request.query.data);
    ck_assert(slice_is(request.contents, "Buy milk"));
    ck_assert_int_eq(parse_request(slice_of("UPDATE /a \"\"\r\n")), STTP_OK);
    ck_assert_int_eq(request.action, STTP_ACTION_UPDATE);
    ck_assert(slice_is(request.contents, ""));
    ck_assert_int_eq(parse_request(slice_of("LIST /a/?q=a%20b&limit=3  \n")), STTP_OK);
    ck_assert_int_eq(request.action, STTP_ACTION_LIST);
    ck_assert(slice_is(request.path, "/a/"));
    ck_assert(slice_is(request.query, "q=a%20b&limit=3"));
    ck_assert_ptr_null(request.contents.data);
    ck_assert_int_eq(parse_request(slice_of("SHOW /a \n")), STTP_OK);
    ck_assert_int_eq(request.action, STTP_ACTION_SHOW);
    ck_assert_ptr_null(request.query.data);
    ck_assert_ptr_null(request.contents.data);
    ck_assert_int_eq(parse_request(slice_of("DELETE /\n")), STTP_OK);
    ck_assert_int_eq(request.action, STTP_ACTION_DELETE);
    ck_assert(slice_is(request.path, "/"));
}
END_TEST

START_TEST(contents_quotes)
{
    static const struct {
        const char *line;
        const char *contents;
    } table[] = {{"CREATE /a x\n", "x"},
                 {"CREATE /a  x \n", " x "},
                 {"CREATE /a  \n", " "},
                 {"CREATE /a \"\n", "\""},
                 {"CREATE /a \"\"\n", ""},
                 {"CREATE /a \"\"\"\n", "\""},
                 {"CREATE /a \"x\n", "\"x"},
                 {"CREATE /a x\"\n", "x\""},
                 {"CREATE /a \"x\" \n", "\"x\" "},
                 {"CREATE /a \"\"x\"\"\n", "\"x\""},
                 {"CREATE /a a\tb?c HTTP/1.1\n", "a\tb?c HTTP/1.1"},
                 {"CREATE /a \"x\"\r\n", "x"}};
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        reset();
        ck_assert_int_eq(parse_request(slice_of(table[i].line)), STTP_OK);
        ck_assert_msg(slice_is(request.contents, table[i].contents), "%s", table[i].line);
    }
}
END_TEST

START_TEST(request_mistakes)
{
    static const struct {
        const char *line;
        sttp_status status;
        size_t offset;
        const char *echo;
        const char *word;
    } table[] = {
        {"SHOW /a\x01", STTP_ERR_CONTROL_CHARACTER, 7, "-", ""},
        {"SHOW\t/a", STTP_ERR_CONTROL_CHARACTER, 4, "-", ""},
        {"SHOW /a\tb", STTP_ERR_CONTROL_CHARACTER, 7, "-", ""},
        {"LIST /a?q=\t", STTP_ERR_CONTROL_CHARACTER, 10, "/a", ""},
        {"SHOW /a\r\r", STTP_ERR_CONTROL_CHARACTER, 7, "-", ""},
        {"\rSHOW /a", STTP_ERR_CONTROL_CHARACTER, 0, "/a", ""},
        {"CREATE /a x\ry", STTP_ERR_CONTROL_CHARACTER, 11, "/a", ""},
        {"CREATE /a x\x7f", STTP_ERR_CONTROL_CHARACTER, 11, "/a", ""},
        {"CREATE /a \xc2\x9bx", STTP_ERR_CONTROL_CHARACTER, 10, "/a", ""},
        {"CREATE /a x\xff", STTP_ERR_UTF8, 11, "/a", ""},
        {"CREATE /a \xc0\xaf", STTP_ERR_UTF8, 10, "/a", ""},
        {"CREATE /a \xed\xa0\x80", STTP_ERR_UTF8, 10, "/a", ""},
        {"\xff /a", STTP_ERR_UTF8, 0, "/a", ""},
        {"SHOW /\xc3", STTP_ERR_UTF8, 6, "-", ""},
        {"FETCH /a", STTP_ERR_ACTION, 0, "/a", ""},
        {"show /a", STTP_ERR_ACTION, 0, "/a", "SHOW"},
        {"SHWO /a", STTP_ERR_ACTION, 0, "/a", "SHOW"},
        {"LSIT /a", STTP_ERR_ACTION, 0, "/a", "LIST"},
        {"creat /a x", STTP_ERR_ACTION, 0, "/a", "CREATE"},
        {"DELETEE /a", STTP_ERR_ACTION, 0, "/a", "DELETE"},
        {"Updaet /a", STTP_ERR_ACTION, 0, "/a", "UPDATE"},
        {"averyveryverylongaction /a", STTP_ERR_ACTION, 0, "/a", ""},
        {" /a", STTP_ERR_ACTION, 0, "/a", ""},
        {" ", STTP_ERR_ACTION, 0, "-", ""},
        {"x", STTP_ERR_ACTION, 0, "-", ""},
        {"fetch //a?x=\\ y", STTP_ERR_ACTION, 0, "//a", ""},
        {"SHOW", STTP_ERR_TARGET_MISSING, 4, "-", "SHOW"},
        {"LIST ", STTP_ERR_TARGET_MISSING, 5, "-", "LIST"},
        {"SHOW  /a", STTP_ERR_TARGET_MISSING, 5, "-", "SHOW"},
        {"LIST ?q=x", STTP_ERR_TARGET_MISSING, 5, "-", "LIST"},
        {"SHOW sttp://h/a", STTP_ERR_TARGET_URL, 5, "sttp://h/a", "SHOW"},
        {"SHOW STTPS://h/a?b", STTP_ERR_TARGET_URL, 5, "STTPS://h/a", "SHOW"},
        {"SHOW a/b", STTP_ERR_PATH_RELATIVE, 5, "a/b", "SHOW"},
        {"SHOW /a//b", STTP_ERR_PATH_EMPTY_SEGMENT, 8, "/a//b", "SHOW"},
        {"SHOW /a/../b", STTP_ERR_PATH_DOT_SEGMENT, 8, "/a/../b", "SHOW"},
        {"CREATE /.sttp-x y", STTP_ERR_PATH_RESERVED, 8, "/.sttp-x", "CREATE"},
        {"SHOW /a/", STTP_ERR_PATH_FINAL_SLASH, 7, "/a/", "SHOW"},
        {"SHOW /a?", STTP_ERR_QUERY_ACTION, 8, "/a", "SHOW"},
        {"CREATE /a?q=x y", STTP_ERR_QUERY_ACTION, 10, "/a", "CREATE"},
        {"LIST /?", STTP_ERR_QUERY_KEY, 7, "/", ""},
        {"LIST /?nmae=x", STTP_ERR_QUERY_KEY, 7, "/", "name"},
        {"LIST /?limit=1&limit=1", STTP_ERR_QUERY_TWICE, 15, "/", "limit"},
        {"LIST /?limit=x", STTP_ERR_QUERY_VALUE, 13, "/", "limit"},
        {"LIST /?q=%0A", STTP_ERR_QUERY_ESCAPE, 9, "/", ""},
        {"CREATE /a", STTP_ERR_CONTENTS_MISSING, 9, "/a", "CREATE"},
        {"UPDATE /a ", STTP_ERR_CONTENTS_MISSING, 10, "/a", "UPDATE"},
        {"SHOW /a  b", STTP_ERR_CONTENTS_UNEXPECTED, 9, "/a", "SHOW"},
        {"DELETE /a \t", STTP_ERR_CONTENTS_UNEXPECTED, 10, "/a", "DELETE"},
        {"LIST /a HTTP/1.1", STTP_ERR_CONTENTS_UNEXPECTED, 8, "/a", "LIST"},
    };
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char buffer[100];
        sttp_slice line = build(buffer, table[i].line, "\n", 1, "LIST /\n");
        sttp_status status;

        reset();
        ck_assert_int_eq(parse_request(slice_of("LIST /\n")), STTP_OK);
        status = parse_request(line);
        ck_assert_msg(status == table[i].status, "%s: %s", table[i].line, sttp_status_name(status));
        ck_assert_int_eq(problem.status, status);
        ck_assert_msg(problem.offset == table[i].offset, "%s: %zu", table[i].line, problem.offset);
        ck_assert_msg(slice_is(problem.echo, table[i].echo), "%s: echo", table[i].line);
        ck_assert_msg(problem.word.size == strlen(table[i].word) &&
                          strncmp(problem.word.data ? problem.word.data : "", table[i].word,
                                  problem.word.size) == 0,
                      "%s: word", table[i].line);
        ck_assert_uint_eq(consumed, strlen(table[i].line) + 1);
        /* The connection stays usable. */
        ck_assert_int_eq(parse_request((sttp_slice){line.data + consumed, line.size - consumed}),
                         STTP_OK);
    }
}
END_TEST

/* Each line breaks two rules that follow each other in section 2: the first one is told. */
START_TEST(order_of_checks)
{
    static const struct {
        const char *before;
        size_t count;
        const char *after;
        sttp_status status;
    } table[] = {
        {"GET /\x01", 5000, "", STTP_ERR_LINE_TOO_LONG},
        {"\x01 /", 10, "", STTP_ERR_CONTROL_CHARACTER},
        {"FETCH //", 40, "", STTP_ERR_ACTION},
        {"SHOW //", 40, "", STTP_ERR_PATH_EMPTY_SEGMENT},
        {"SHOW /", 1100, "", STTP_ERR_FILENAME_TOO_LONG},
        {"CREATE /", 33, "?x", STTP_ERR_FILENAME_TOO_LONG},
        {"LIST /", 1100, "?x", STTP_ERR_PATH_TOO_LONG},
        {"LIST /", 256, "?x", STTP_ERR_DIRECTORY_TOO_LONG},
        {"CREATE /a?q=", 1, "", STTP_ERR_QUERY_ACTION},
        {"LIST /?", 1, " contents", STTP_ERR_QUERY_KEY},
    };
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char buffer[6000];
        size_t size = build(buffer, table[i].before, "x", table[i].count, table[i].after).size;

        reset();
        buffer[size++] = '\n';
        ck_assert_msg(parse_request((sttp_slice){buffer, size}) == table[i].status, "%s: %s",
                      table[i].before, sttp_status_name(problem.status));
    }
}
END_TEST

START_TEST(line_ends)
{
    static const char behind_cr[] = {'\r', '\n'};

    /* What stands before the line is not the parser's to look at. */
    reset();
    ck_assert_int_eq(parse_request((sttp_slice){behind_cr + 1, 1}), STTP_END);
    reset();
    ck_assert_int_eq(parse_request(slice_of("\nSHOW /a\n")), STTP_END);
    ck_assert_uint_eq(consumed, 1);
    reset();
    ck_assert_int_eq(parse_request(slice_of("\r\nSHOW /a\n")), STTP_END);
    ck_assert_uint_eq(consumed, 2);
    reset();
    ck_assert_int_eq(parse_request(slice_of("\r\r\n")), STTP_ERR_CONTROL_CHARACTER);
    reset();
    ck_assert_int_eq(parse_request(slice_of("SHOW /a")), STTP_NEED_MORE);
    ck_assert_uint_eq(consumed, 0);
    reset();
    ck_assert_int_eq(parse_request((sttp_slice){NULL, 0}), STTP_NEED_MORE);
    ck_assert_uint_eq(consumed, 0);
}
END_TEST

START_TEST(line_length)
{
    char buffer[5000];
    sttp_slice line = build(buffer, "LIST /?q=", "x", STTP_MAX_REQUEST_LINE - 10, "\n");

    reset();
    ck_assert_uint_eq(line.size, STTP_MAX_REQUEST_LINE);
    ck_assert_int_eq(parse_request(line), STTP_OK);
    ck_assert_uint_eq(consumed, STTP_MAX_REQUEST_LINE);
    line = build(buffer, "LIST /?q=", "x", STTP_MAX_REQUEST_LINE - 11, "\n");
    ck_assert_int_eq(parse_request(line), STTP_OK);
    line = build(buffer, "LIST /?q=", "x", STTP_MAX_REQUEST_LINE - 9, "\n");
    ck_assert_int_eq(parse_request(line), STTP_ERR_LINE_TOO_LONG);
    ck_assert_uint_eq(consumed, 0);
    ck_assert(slice_is(problem.echo, "-"));
    ck_assert_int_eq(problem.status, STTP_ERR_LINE_TOO_LONG);
    /* It stays so. */
    ck_assert_int_eq(parse_request(line), STTP_ERR_LINE_TOO_LONG);
}
END_TEST

/* As soon as no LF can come in time, whether the line ends or not. */
START_TEST(line_too_long_is_told_at_once)
{
    char buffer[5000];
    sttp_slice line = build(buffer, "CREATE /a ", "x", 4500, "");

    reset();
    line.size = STTP_MAX_REQUEST_LINE - 1;
    ck_assert_int_eq(parse_request(line), STTP_NEED_MORE);
    line.size = STTP_MAX_REQUEST_LINE;
    ck_assert_int_eq(parse_request(line), STTP_ERR_LINE_TOO_LONG);
    reset();
    line.size = STTP_MAX_REQUEST_LINE + 1;
    ck_assert_int_eq(parse_request(line), STTP_ERR_LINE_TOO_LONG);
}
END_TEST

START_TEST(contents_limits)
{
    char buffer[1000];

    reset();
    ck_assert_int_eq(parse_request(build(buffer, "CREATE /a ", "x", 159, "\n")), STTP_OK);
    ck_assert_int_eq(parse_request(build(buffer, "CREATE /a ", "x", 160, "\n")), STTP_OK);
    ck_assert_int_eq(parse_request(build(buffer, "CREATE /a ", "x", 161, "\n")),
                     STTP_ERR_CONTENTS_TOO_LONG);
    ck_assert_uint_eq(problem.length, 161);
    ck_assert_int_eq(parse_request(build(buffer, "UPDATE /a \"", "\xe2\x82\xac", 160, "\"\n")),
                     STTP_OK);
    ck_assert_int_eq(parse_request(build(buffer, "UPDATE /a \"", "\xe2\x82\xac", 171, "\"\n")),
                     STTP_ERR_CONTENTS_TOO_LONG);
    ck_assert_uint_eq(problem.length, 171);
    ck_assert(slice_is(problem.echo, "/a"));
}
END_TEST

START_TEST(http_is_told_on_the_first_line_only)
{
    static const struct {
        const char *line;
        bool http;
    } table[] = {{"GET / HTTP/1.1\r\n", true},
                 {"POST /x?y=z HTTP/1.0\n", true},
                 {"SHOW /a HTTP/1.1\n", true},
                 {"GET /\x01\xff HTTP/2.0\n", true},
                 {" HTTP/1.1\n", true},
                 {"CREATE /a HTTP/1.1\n", false},
                 {"UPDATE /a x HTTP/1.1\n", false},
                 {"create /a x HTTP/1.1\n", true},
                 {"GET / HTTP/1.1 \n", false},
                 {"GET / HTTP/1.12\n", false},
                 {"GET / HTTP/x.1\n", false},
                 {"GET / HTTP/1x1\n", false},
                 {"GET / http/1.1\n", false},
                 {"GET /xHTTP/1.1\n", false},
                 {"HTTP/1.1\n", false}};
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        sttp_slice line = slice_of(table[i].line);

        reset();
        ck_assert_msg((parse_request(line) == STTP_ERR_HTTP) == table[i].http, "%s", line.data);
        ck_assert_uint_eq(consumed, line.size);
        ck_assert_msg(parse_request(line) != STTP_ERR_HTTP, "second line: %s", line.data);
    }
    reset();
    ck_assert_int_eq(parse_request(slice_of("GET /a?b HTTP/1.1\n")), STTP_ERR_HTTP);
    ck_assert(slice_is(problem.echo, "/a"));
    ck_assert_int_eq(problem.status, STTP_ERR_HTTP);
}
END_TEST

/* What was scanned for a LF is not scanned again: a LF that is put there later is not seen. */
START_TEST(bytes_are_scanned_once)
{
    char line[] = "SHOW /abc";

    reset();
    ck_assert_int_eq(parse_request((sttp_slice){line, 7}), STTP_NEED_MORE);
    line[6] = '\n';
    ck_assert_int_eq(parse_request((sttp_slice){line, 9}), STTP_NEED_MORE);
    line[6] = 'a';
    line[8] = '\n';
    ck_assert_int_eq(parse_request((sttp_slice){line, 9}), STTP_NEED_MORE);
    reset();
    ck_assert_int_eq(parse_request((sttp_slice){line, 9}), STTP_OK);
    ck_assert_uint_eq(parser._scanned, 0);
}
END_TEST

/* --- lines that somebody broke --- */

static const char *const SEEDS[] = {"CREATE /notes/a.txt \"Buy milk\"\n",
                                    "UPDATE /a \xd0\xb6 \xf0\x9f\x98\x80\n",
                                    "LIST /a/b/?q=a%20b&name=*.t?t&limit=10&type=dir&after=x\n",
                                    "SHOW /a/.b/c\r\n",
                                    "DELETE /d/\n",
                                    "200 /a OK\nBuy milk\n",
                                    "300 /a CLIENT ERROR \"use SHOW\"\n",
                                    "510 /a/ CANNOT CREATE PATH\r\n"};

/* One to four bytes replaced, taken out, put in or doubled. */
static size_t mutate(uint64_t *state, char *bytes, size_t size)
{
    static const char favourites[] = " /?&=%\".\t\r\n\0\x7f\x80\xc2\xe0\xed\xf0\xff";
    size_t steps = 1 + random_below(state, 4);

    while (steps-- > 0 && size > 1) {
        size_t at = random_below(state, size);
        char byte = favourites[random_below(state, sizeof(favourites))];

        switch (random_below(state, 4)) {
        case 0:
            bytes[at] = byte;
            break;
        case 1:
            memmove(bytes + at, bytes + at + 1, --size - at);
            break;
        case 2:
            memmove(bytes + at + 1, bytes + at, size++ - at);
            bytes[at] = byte;
            break;
        default:
            memmove(bytes + at + 1, bytes + at, size++ - at);
            break;
        }
    }
    return size;
}

static bool survives_as_request(const sttp_request *first)
{
    char line[STTP_MAX_REQUEST_LINE];
    sttp_parser fresh = {0};
    sttp_request again;
    size_t size, taken;

    return sttp_serialize_request(first, line, sizeof(line), &size, NULL) == STTP_OK &&
           sttp_parse_request(&fresh, line, size, &taken, &again, &problem) == STTP_OK &&
           taken == size && requests_equal(first, &again);
}

static bool survives_as_response(const sttp_response *first)
{
    char line[STTP_MAX_STATUS_LINE];
    sttp_parser fresh = {0};
    sttp_response again;
    size_t size, taken;

    if (first->contents.size > 0 && memchr(first->contents.data, '\r', first->contents.size))
        return sttp_serialize_response(first, line, sizeof(line), &size, NULL) ==
               STTP_ERR_CONTROL_CHARACTER;
    return sttp_serialize_response(first, line, sizeof(line), &size, NULL) == STTP_OK &&
           sttp_parse_response(&fresh, line, size, sizeof(line), false, &taken, &again, &problem) ==
               STTP_OK &&
           taken == size && responses_equal(first, &again);
}

START_TEST(broken_lines)
{
    struct guarded guarded = guarded_create(200);
    uint64_t state = random_seed();
    size_t accepted = 0, i;

    for (i = 0; i < MUTATIONS; i++) {
        const char *seed = SEEDS[random_below(&state, sizeof(SEEDS) / sizeof(SEEDS[0]))];
        char bytes[200];
        size_t size = strlen(seed);
        sttp_slice input;

        memcpy(bytes, seed, size);
        size = mutate(&state, bytes, size);
        input = (sttp_slice){guarded_copy(&guarded, bytes, size), size};
        reset();
        if (parse_request(input) == STTP_OK) {
            accepted++;
            if (!survives_as_request(&request))
                ck_abort_msg("request %.*s", (int)size, bytes);
        }
        reset();
        if (parse_response(input, true) == STTP_OK) {
            accepted++;
            if (!survives_as_response(&response))
                ck_abort_msg("response %.*s", (int)size, bytes);
        }
    }
    /* Mutations that never give anything valid would test nothing. */
    ck_assert_uint_gt(accepted, MUTATIONS / 50);
    guarded_destroy(&guarded);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("parser");
    TCase *tcase = tcase_create("parser");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, request_parts);
    tcase_add_test(tcase, contents_quotes);
    tcase_add_test(tcase, request_mistakes);
    tcase_add_test(tcase, order_of_checks);
    tcase_add_test(tcase, line_ends);
    tcase_add_test(tcase, line_length);
    tcase_add_test(tcase, line_too_long_is_told_at_once);
    tcase_add_test(tcase, contents_limits);
    tcase_add_test(tcase, http_is_told_on_the_first_line_only);
    tcase_add_test(tcase, bytes_are_scanned_once);
    tcase_add_test(tcase, broken_lines);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
