/* The parser of responses: every rule, the limits, a peer that closed, what it remembers between
 * calls. */
#include <sttp/parser.h>

#include "core_support.h"

static sttp_parser parser;
static sttp_response response;
static sttp_problem problem;
static size_t consumed;

static void reset(void)
{
    parser = (sttp_parser){0};
    problem = (sttp_problem){.status = STTP_OK};
    consumed = SIZE_MAX;
}

static sttp_status parse_response(sttp_slice bytes, bool closed)
{
    return sttp_parse_response(&parser, bytes.data, bytes.size, STTP_MAX_CONTENTS_LINE, closed,
                               &consumed, &response, &problem);
}

START_TEST(response_parts)
{
    reset();
    ck_assert_int_eq(parse_response(slice_of("100 /n/a CREATED\n200 /a OK\n"), false), STTP_OK);
    ck_assert_uint_eq(consumed, 17);
    ck_assert_int_eq(response.code, STTP_CODE_CREATED);
    ck_assert(slice_is(response.echo, "/n/a"));
    ck_assert_ptr_null(response.message.data);
    ck_assert_ptr_null(response.contents.data);
    ck_assert_int_eq(parse_response(slice_of("200 /a OK\r\nBuy \"milk\"\r\n1"), false), STTP_OK);
    ck_assert_uint_eq(consumed, 23);
    ck_assert_ptr_null(response.message.data);
    ck_assert(slice_is(response.contents, "Buy \"milk\""));
    ck_assert_int_eq(parse_response(slice_of("200 / OK\n\n"), false), STTP_OK);
    ck_assert(slice_is(response.contents, ""));
    ck_assert_int_eq(parse_response(slice_of("300 - CLIENT ERROR \"use SHOW\"\n"), false), STTP_OK);
    ck_assert(slice_is(response.echo, "-"));
    ck_assert(slice_is(response.message, "use SHOW"));
    ck_assert_ptr_null(response.contents.data);
    ck_assert_int_eq(parse_response(slice_of("500 /a SERVER ERROR \"\"\n"), false), STTP_OK);
    ck_assert(slice_is(response.message, ""));
    ck_assert_int_eq(parse_response(slice_of("510 sttp://h/a/ CANNOT CREATE PATH\n"), false),
                     STTP_OK);
    ck_assert(slice_is(response.echo, "sttp://h/a/"));
}
END_TEST

/* All of it, where the serializer would write the same. */
START_TEST(bytes_of_a_response)
{
    static const struct {
        const char *bytes;
        bool plain, closed;
    } table[] = {
        {"200 /a OK\nx\n", true, false},    {"200 /a OK\n\n", true, false},
        {"100 /a CREATED\n", true, false},  {"300 - CLIENT ERROR \"no\"\n", true, false},
        {"200 /a OK\r\nx\n", false, false}, {"200 /a OK\nx\r\n", false, false},
        {"200 /a OK\n\r\n", false, false},  {"600 /a DELETED\r\n", false, false},
        {"200 /a OK\n", false, true},
    };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        sttp_slice bytes = slice_of(table[i].bytes);
        reset();
        response.bytes = bytes;
        ck_assert_int_eq(parse_response(bytes, table[i].closed), STTP_OK);
        ck_assert_msg(response.bytes.data == (table[i].plain ? bytes.data : NULL), "%s",
                      table[i].bytes);
        ck_assert_uint_eq(response.bytes.size, table[i].plain ? bytes.size : 0);
    }
}
END_TEST

START_TEST(response_mistakes)
{
    static const struct {
        const char *line;
        sttp_status status;
        size_t offset;
    } table[] = {
        {"", STTP_ERR_RESPONSE_CODE, 0},
        {"SSH-2.0-OpenSSH", STTP_ERR_RESPONSE_CODE, 0},
        {"HTTP/1.1 200 OK", STTP_ERR_RESPONSE_CODE, 0},
        {"20", STTP_ERR_RESPONSE_CODE, 0},
        {"201 /a OK", STTP_ERR_RESPONSE_CODE, 0},
        {"2000 /a OK", STTP_ERR_RESPONSE_CODE, 0},
        {"0200 /a OK", STTP_ERR_RESPONSE_CODE, 0},
        {" 200 /a OK", STTP_ERR_RESPONSE_CODE, 0},
        {"200", STTP_ERR_RESPONSE_ECHO, 3},
        {"200 ", STTP_ERR_RESPONSE_ECHO, 4},
        {"200  OK", STTP_ERR_RESPONSE_ECHO, 4},
        {"200 /a?q=x OK", STTP_ERR_RESPONSE_ECHO, 4},
        {"200 /a", STTP_ERR_RESPONSE_PHRASE, 6},
        {"200 /a ", STTP_ERR_RESPONSE_PHRASE, 7},
        {"200 /a ok", STTP_ERR_RESPONSE_PHRASE, 7},
        {"200 /a OKAY", STTP_ERR_RESPONSE_PHRASE, 7},
        {"200 /a  OK", STTP_ERR_RESPONSE_PHRASE, 7},
        {"400 /a NOT", STTP_ERR_RESPONSE_PHRASE, 7},
        {"400 /a DELETED", STTP_ERR_RESPONSE_PHRASE, 7},
        {"200 /a OK ", STTP_ERR_RESPONSE_MESSAGE, 9},
        {"100 /a CREATED \"x\"", STTP_ERR_RESPONSE_MESSAGE, 14},
        {"300 /a CLIENT ERROR", STTP_ERR_RESPONSE_MESSAGE, 19},
        {"300 /a CLIENT ERROR ", STTP_ERR_RESPONSE_MESSAGE, 19},
        {"300 /a CLIENT ERROR x", STTP_ERR_RESPONSE_MESSAGE, 19},
        {"300 /a CLIENT ERROR \"", STTP_ERR_RESPONSE_MESSAGE, 19},
        {"300 /a CLIENT ERROR \"x", STTP_ERR_RESPONSE_MESSAGE, 19},
        {"300 /a CLIENT ERROR \"x\" ", STTP_ERR_RESPONSE_MESSAGE, 19},
        {"300 /a CLIENT ERROR  \"x\"", STTP_ERR_RESPONSE_MESSAGE, 19},
        {"500 /a SERVER ERROR \"a\"b\"", STTP_ERR_RESPONSE_MESSAGE, 19},
        {"500 /a SERVER ERROR \"\"\"", STTP_ERR_RESPONSE_MESSAGE, 19},
        {"200 /a\x01 OK", STTP_ERR_CONTROL_CHARACTER, 6},
        {"200 /a OK\r\r", STTP_ERR_CONTROL_CHARACTER, 9},
        {"300 /a CLIENT ERROR \"\t\"", STTP_ERR_CONTROL_CHARACTER, 21},
        {"200 /\xff OK", STTP_ERR_UTF8, 5},
        {"200 /a OK\n\xc3(", STTP_ERR_UTF8, 10},
    };
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char buffer[100];
        sttp_status status;

        reset();
        status = parse_response(build(buffer, table[i].line, "\n", 1, "x\n"), false);
        ck_assert_msg(status == table[i].status, "%s: %s", table[i].line, sttp_status_name(status));
        ck_assert_int_eq(problem.status, status);
        ck_assert_msg(problem.offset == table[i].offset, "%s: %zu", table[i].line, problem.offset);
        ck_assert_uint_eq(consumed, 0);
        ck_assert_uint_eq(problem.echo.size, 0);
    }
}
END_TEST

/* What no response begins with is told before the contents line has come. */
START_TEST(bad_status_line_is_told_at_once)
{
    reset();
    ck_assert_int_eq(parse_response(slice_of("201 /a OK\n"), false), STTP_ERR_RESPONSE_CODE);
    reset();
    ck_assert_int_eq(parse_response(slice_of("200 /a CREATED\n"), false), STTP_ERR_RESPONSE_PHRASE);
}
END_TEST

START_TEST(contents_pass_control_characters)
{
    reset();
    ck_assert_int_eq(parse_response(slice_of("200 /a OK\na\x1b[31m\rb\r\r\n"), false), STTP_OK);
    ck_assert(slice_is(response.contents, "a\x1b[31m\rb\r"));
}
END_TEST

START_TEST(closed_peer)
{
    reset();
    ck_assert_int_eq(parse_response(slice_of("200 /a OK\n"), false), STTP_NEED_MORE);
    ck_assert_uint_eq(consumed, 0);
    ck_assert_int_eq(parse_response(slice_of("200 /a OK\n"), true), STTP_OK);
    ck_assert_uint_eq(consumed, 10);
    ck_assert(slice_is(response.contents, ""));
    ck_assert(slice_is(response.echo, "/a"));
    reset();
    ck_assert_int_eq(parse_response(slice_of("200 /a OK\r\n"), true), STTP_OK);
    ck_assert(slice_is(response.contents, ""));
    reset();
    ck_assert_int_eq(parse_response(slice_of("200 /a OK\nab"), true), STTP_NEED_MORE);
    reset();
    ck_assert_int_eq(parse_response(slice_of("200 /a OK"), true), STTP_NEED_MORE);
    reset();
    ck_assert_int_eq(parse_response(slice_of("100 /a CREATED\n"), true), STTP_OK);
    ck_assert_ptr_null(response.contents.data);
    ck_assert_int_eq(parse_response((sttp_slice){NULL, 0}, true), STTP_NEED_MORE);
}
END_TEST

START_TEST(status_line_length)
{
    char buffer[9000];
    const size_t around = strlen("600 / DELETED\n");
    sttp_slice line = build(buffer, "600 /", "x", STTP_MAX_STATUS_LINE - around, " DELETED\n");

    reset();
    ck_assert_uint_eq(line.size, STTP_MAX_STATUS_LINE);
    ck_assert_int_eq(parse_response(line, false), STTP_OK);
    line = build(buffer, "600 /", "x", STTP_MAX_STATUS_LINE - around - 1, " DELETED\n");
    ck_assert_int_eq(parse_response(line, false), STTP_OK);
    line = build(buffer, "600 /", "x", STTP_MAX_STATUS_LINE - around + 1, " DELETED\n");
    ck_assert_int_eq(parse_response(line, false), STTP_ERR_STATUS_LINE_TOO_LONG);
    ck_assert_uint_eq(consumed, 0);
    ck_assert_int_eq(problem.status, STTP_ERR_STATUS_LINE_TOO_LONG);
    reset();
    line.size = STTP_MAX_STATUS_LINE - 1;
    ck_assert_int_eq(parse_response(line, false), STTP_NEED_MORE);
    line.size = STTP_MAX_STATUS_LINE;
    ck_assert_int_eq(parse_response(line, false), STTP_ERR_STATUS_LINE_TOO_LONG);
}
END_TEST

static sttp_status parse_bounded(sttp_slice bytes, size_t max_contents)
{
    return sttp_parse_response(&parser, bytes.data, bytes.size, max_contents, false, &consumed,
                               &response, &problem);
}

START_TEST(contents_line_length)
{
    const sttp_slice whole = STTP_SLICE("200 /a OK\n12345\n");

    reset();
    ck_assert_int_eq(parse_bounded(whole, 7), STTP_OK);
    ck_assert_int_eq(parse_bounded(whole, 6), STTP_OK);
    ck_assert_int_eq(parse_bounded(whole, 5), STTP_ERR_CONTENTS_LINE_TOO_LONG);
    ck_assert_uint_eq(consumed, 0);
    ck_assert_uint_eq(problem.offset, 15);
    ck_assert_int_eq(parse_bounded(whole, 5), STTP_ERR_CONTENTS_LINE_TOO_LONG);
    reset();
    ck_assert_int_eq(parse_bounded((sttp_slice){whole.data, 14}, 5), STTP_NEED_MORE);
    ck_assert_int_eq(parse_bounded((sttp_slice){whole.data, 15}, 5),
                     STTP_ERR_CONTENTS_LINE_TOO_LONG);
    reset();
    ck_assert_int_eq(parse_bounded(STTP_SLICE("200 /a OK\n\n"), 1), STTP_OK);
}
END_TEST

START_TEST(contents_line_of_the_largest_size)
{
    const size_t head = strlen("200 / OK\n");
    char *buffer = malloc(head + STTP_MAX_CONTENTS_LINE + 1);

    ck_assert_ptr_nonnull(buffer);
    memcpy(buffer, "200 / OK\n", head);
    memset(buffer + head, 'x', STTP_MAX_CONTENTS_LINE);
    buffer[head + STTP_MAX_CONTENTS_LINE - 1] = '\n';
    reset();
    ck_assert_int_eq(parse_bounded((sttp_slice){buffer, head + STTP_MAX_CONTENTS_LINE}, SIZE_MAX),
                     STTP_OK);
    ck_assert_uint_eq(response.contents.size, STTP_MAX_CONTENTS_LINE - 1);
    buffer[head + STTP_MAX_CONTENTS_LINE - 1] = 'x';
    buffer[head + STTP_MAX_CONTENTS_LINE] = '\n';
    ck_assert_int_eq(
        parse_bounded((sttp_slice){buffer, head + STTP_MAX_CONTENTS_LINE + 1}, SIZE_MAX),
        STTP_ERR_CONTENTS_LINE_TOO_LONG);
    free(buffer);
}
END_TEST

START_TEST(response_bytes_are_scanned_once)
{
    char bytes[] = "200 /a OK\nabc\n";
    size_t size;

    reset();
    for (size = 1; size < strlen(bytes); size++) {
        ck_assert_int_eq(parse_response((sttp_slice){bytes, size}, false), STTP_NEED_MORE);
        ck_assert_uint_eq(parser._scanned, size);
    }
    bytes[11] = '\n';
    ck_assert_int_eq(parse_response(slice_of(bytes), false), STTP_OK);
    ck_assert(slice_is(response.contents, "a\nc"));
    ck_assert_uint_eq(parser._scanned, 0);
    ck_assert_uint_eq(parser._head, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("parser_response");
    TCase *tcase = tcase_create("parser_response");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, response_parts);
    tcase_add_test(tcase, bytes_of_a_response);
    tcase_add_test(tcase, response_mistakes);
    tcase_add_test(tcase, bad_status_line_is_told_at_once);
    tcase_add_test(tcase, contents_pass_control_characters);
    tcase_add_test(tcase, closed_peer);
    tcase_add_test(tcase, status_line_length);
    tcase_add_test(tcase, contents_line_length);
    tcase_add_test(tcase, contents_line_of_the_largest_size);
    tcase_add_test(tcase, response_bytes_are_scanned_once);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
