/* Requests to a forward proxy, whose targets are URLs: docs/protocol.md, section 7. */
#include <sttp/parser.h>
#include <sttp/serializer.h>
#include <sttp/url.h>

#include "core_support.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static sttp_request request;
static sttp_problem problem;
static size_t consumed;

/* Each line is a connection's first; of memory of its exact size. */
static sttp_status parse(const char *line, bool proxy)
{
    static struct guarded memory;
    sttp_parser parser = {.proxy = proxy};
    size_t size = strlen(line);

    if (!memory.memory)
        memory = guarded_create(2 * STTP_MAX_REQUEST_LINE);
    problem = (sttp_problem){.status = STTP_OK};
    return sttp_parse_request(&parser, guarded_copy(&memory, line, size), size, &consumed, &request,
                              &problem);
}

static const struct good {
    const char *line;
    const char *origin, *path, *query, *contents;
} good[] = {
    {"SHOW sttp://h/a\n", "sttp://h", "/a", NULL, NULL},
    {"SHOW STTP://Example.ORG:8080/a%25b\n", "STTP://Example.ORG:8080", "/a%25b", NULL, NULL},
    {"LIST sttps://h/\n", "sttps://h", "/", NULL, NULL},
    {"LIST sttp://h:1/d?q=a%20b&name=http://x/?\r\n", "sttp://h:1", "/d", "q=a%20b&name=http://x/?",
     NULL},
    {"DELETE sttp://[::1]:81/d/  \n", "sttp://[::1]:81", "/d/", NULL, NULL},
    {"SHOW sttp://[fe80::1%25eth0]/a\n", "sttp://[fe80::1%25eth0]", "/a", NULL, NULL},
    {"CREATE sttp://127.0.0.1/a#b \"x\"\n", "sttp://127.0.0.1", "/a#b", NULL, "x"},
    {"UPDATE sttp://h/a@b:c sttp://i/d\n", "sttp://h", "/a@b:c", NULL, "sttp://i/d"},
    {"SHOW sttp://h/sttp:a\n", "sttp://h", "/sttp:a", NULL, NULL},
    {"SHOW /a\n", NULL, "/a", NULL, NULL},
    {"LIST /a?q=sttp://h/\n", NULL, "/a", "q=sttp://h/", NULL},
    {"CREATE /a sttp://h/a\n", NULL, "/a", NULL, "sttp://h/a"},
};

static void assert_part(sttp_slice part, const char *expected, const char *line)
{
    if (expected)
        ck_assert_msg(slice_is(part, expected), "%s: %.*s", line, (int)part.size, part.data);
    else
        ck_assert_msg(!part.data, "%s", line);
}

START_TEST(test_parts)
{
    const struct good *g = &good[_i];
    char line[200];
    size_t size, target;

    ck_assert_msg(parse(g->line, true) == STTP_OK, "%s: %s", g->line,
                  sttp_status_name(problem.status));
    ck_assert_uint_eq(consumed, strlen(g->line));
    assert_part(request.origin, g->origin, g->line);
    assert_part(request.path, g->path, g->line);
    assert_part(request.query, g->query, g->line);
    assert_part(request.contents, g->contents, g->line);
    /* Written again, the target is the same. */
    target = strcspn(g->line, " ") + 1;
    target += strcspn(g->line + target, " \r\n");
    ck_assert_int_eq(sttp_serialize_request(&request, line, sizeof line, &size, NULL), STTP_OK);
    ck_assert_mem_eq(line, g->line, target);
}
END_TEST

/* A server that is no proxy has not changed. */
START_TEST(test_no_proxy)
{
    sttp_status status = parse(good[_i].line, false);

    if (!good[_i].origin) {
        ck_assert_int_eq(status, STTP_OK);
        ck_assert_ptr_null(request.origin.data);
        return;
    }
    ck_assert_int_eq(status, STTP_ERR_TARGET_URL);
    ck_assert_uint_eq(problem.offset, strcspn(good[_i].line, " ") + 1);
}
END_TEST

static const struct bad {
    const char *line;
    sttp_status status;
    size_t offset;
    const char *echo;
} bad[] = {
    {"SHOW sttp://", STTP_ERR_URL_HOST, 12, "sttp://"},
    {"SHOW sttp:///a", STTP_ERR_URL_HOST, 12, "sttp:///a"},
    {"SHOW sttp://:80/a", STTP_ERR_URL_HOST, 12, "sttp://:80/a"},
    {"SHOW sttp://a..b/a", STTP_ERR_URL_HOST, 14, "sttp://a..b/a"},
    {"SHOW sttp://127.1/a", STTP_ERR_URL_HOST, 12, "sttp://127.1/a"},
    {"SHOW sttp://2130706433/a", STTP_ERR_URL_HOST, 12, "sttp://2130706433/a"},
    {"SHOW sttp://b\xc3\xbc/a", STTP_ERR_URL_HOST, 13, "sttp://b\xc3\xbc/a"},
    {"SHOW sttp://a%41/a", STTP_ERR_URL_HOST, 13, "sttp://a%41/a"},
    {"SHOW sttp://u@h/a", STTP_ERR_URL_USER, 12, "sttp://u@h/a"},
    {"SHOW sttp://h#/a", STTP_ERR_URL_FRAGMENT, 13, "sttp://h#/a"},
    {"SHOW sttp://[::1/a", STTP_ERR_URL_IPV6, 12, "sttp://[::1/a"},
    {"SHOW sttp://[1.2.3.4]/a", STTP_ERR_URL_IPV6, 13, "sttp://[1.2.3.4]/a"},
    {"SHOW sttp://[fe80::1%eth0]/a", STTP_ERR_URL_ZONE, 20, "sttp://[fe80::1%eth0]/a"},
    {"SHOW sttp://[fe80::1%25a?b]/a", STTP_ERR_URL_IPV6, 12, "sttp://[fe80::1%25a"},
    {"SHOW sttp://h:/a", STTP_ERR_URL_PORT, 14, "sttp://h:/a"},
    {"SHOW sttp://h:99999/a", STTP_ERR_URL_PORT, 14, "sttp://h:99999/a"},
    {"SHOW sttp://h:08/a", STTP_ERR_URL_PORT, 14, "sttp://h:08/a"},
    {"SHOW sttp://h", STTP_ERR_URL_PATH, 13, "sttp://h"},
    {"LIST sttp://h:1?q=x", STTP_ERR_URL_PATH, 15, "sttp://h:1"},
    {"CREATE sttp://h x", STTP_ERR_URL_PATH, 15, "sttp://h"},
    {"SHOW sttp://h//a", STTP_ERR_PATH_EMPTY_SEGMENT, 14, "sttp://h//a"},
    {"SHOW sttp://h/../a", STTP_ERR_PATH_DOT_SEGMENT, 14, "sttp://h/../a"},
    {"SHOW sttp://h/.sttp-a", STTP_ERR_PATH_RESERVED, 14, "sttp://h/.sttp-a"},
    {"SHOW sttp://h/a/", STTP_ERR_PATH_FINAL_SLASH, 15, "sttp://h/a/"},
    {"SHOW sttp://h/a?q=b", STTP_ERR_QUERY_ACTION, 16, "sttp://h/a"},
    {"LIST sttp://h/a?limit=0", STTP_ERR_QUERY_VALUE, 22, "sttp://h/a"},
    {"SHOW sttp://h/a b", STTP_ERR_CONTENTS_UNEXPECTED, 16, "sttp://h/a"},
    {"CREATE sttp://h/a", STTP_ERR_CONTENTS_MISSING, 17, "sttp://h/a"},
    {"SHOW sttp+unix:/run/s:/a", STTP_ERR_PATH_RELATIVE, 5, "sttp+unix:/run/s:/a"},
    {"SHOW http://h/a", STTP_ERR_PATH_RELATIVE, 5, "http://h/a"},
    {"SHOW sttp:/h/a", STTP_ERR_PATH_RELATIVE, 5, "sttp:/h/a"},
    {"SHOW //h/a", STTP_ERR_PATH_EMPTY_SEGMENT, 6, "//h/a"},
    {"SHOW sttp://h\x01/a", STTP_ERR_CONTROL_CHARACTER, 13, "-"},
    {"SHOW sttp://\xff/a", STTP_ERR_UTF8, 12, "-"},
    /* The first of two mistakes, in the order of section 2. */
    {"FETCH sttp://u@h/a", STTP_ERR_ACTION, 0, "sttp://u@h/a"},
    {"SHOW sttp://h:0//a", STTP_ERR_URL_PORT, 14, "sttp://h:0//a"},
    {"SHOW sttp://u@h/a?b=\xff", STTP_ERR_UTF8, 20, "sttp://u@h/a"},
    {"LIST sttp://u@h/?x", STTP_ERR_URL_USER, 12, "sttp://u@h/"},
};

START_TEST(test_mistakes)
{
    const struct bad *b = &bad[_i];
    char line[100], text[STTP_MAX_MESSAGE + 1];
    sttp_status status;

    snprintf(line, sizeof line, "%s\n", b->line);
    status = parse(line, true);
    ck_assert_msg(status == b->status, "%s: %s", b->line, sttp_status_name(status));
    ck_assert_int_eq(problem.status, status);
    ck_assert_msg(problem.offset == b->offset, "%s: %zu", b->line, problem.offset);
    ck_assert_msg(slice_is(problem.echo, b->echo), "%s: echo", b->line);
    ck_assert_uint_eq(consumed, strlen(line));
    ck_assert_uint_gt(sttp_explain(&problem, text, sizeof text), 0);
    ck_assert_ptr_null(strchr(text, '"'));
}
END_TEST

START_TEST(test_long_names)
{
    char line[400];

    build(line, "SHOW sttp://h/", "x", STTP_MAX_FILENAME_CHARS, "\n");
    ck_assert_int_eq(parse(line, true), STTP_OK);
    build(line, "SHOW sttp://h/", "x", STTP_MAX_FILENAME_CHARS + 1, "\n");
    ck_assert_int_eq(parse(line, true), STTP_ERR_FILENAME_TOO_LONG);
    build(line, "SHOW sttp://", "x.", STTP_MAX_HOST / 2, "x/a\n");
    ck_assert_int_eq(parse(line, true), STTP_OK);
    build(line, "SHOW sttp://", "x.", STTP_MAX_HOST / 2 + 1, "x/a\n");
    ck_assert_int_eq(parse(line, true), STTP_ERR_URL_HOST);
}
END_TEST

START_TEST(test_line_length)
{
    static char query[STTP_MAX_REQUEST_LINE + 1];
    char line[STTP_MAX_REQUEST_LINE];
    const size_t around = strlen("LIST sttp://h/?q=\n");
    size_t size;

    memset(query, 'x', sizeof query);
    memcpy(query, "q=", 2);
    request = (sttp_request){.action = STTP_ACTION_LIST,
                             .origin = STTP_SLICE("sttp://h"),
                             .path = STTP_SLICE("/"),
                             .query = {query, 2 + STTP_MAX_REQUEST_LINE - around}};
    ck_assert_int_eq(sttp_serialize_request(&request, line, sizeof line, &size, &problem), STTP_OK);
    ck_assert_uint_eq(size, STTP_MAX_REQUEST_LINE);
    request.query.size++;
    ck_assert_int_eq(sttp_serialize_request(&request, line, sizeof line, &size, &problem),
                     STTP_ERR_LINE_TOO_LONG);
    ck_assert_uint_eq(problem.length, STTP_MAX_REQUEST_LINE + 1);
}
END_TEST

static const struct refusal {
    sttp_action action;
    const char *origin, *path;
    sttp_status status;
    size_t offset;
} refusals[] = {
    {STTP_ACTION_SHOW, "", "/a", STTP_ERR_URL_SCHEME, 5},
    {STTP_ACTION_SHOW, "h:80", "/a", STTP_ERR_URL_SCHEME, 5},
    {STTP_ACTION_SHOW, "http://h", "/a", STTP_ERR_URL_SCHEME, 5},
    {STTP_ACTION_SHOW, "sttp+unix:/s:", "/a", STTP_ERR_URL_SCHEME, 5},
    {STTP_ACTION_SHOW, "sttp://", "/a", STTP_ERR_URL_HOST, 12},
    {STTP_ACTION_SHOW, "sttp://h x", "/a", STTP_ERR_URL_HOST, 13},
    {STTP_ACTION_SHOW, "sttp://h/", "/a", STTP_ERR_URL_PATH, 13},
    {STTP_ACTION_SHOW, "sttp://h:80/a", "/a", STTP_ERR_URL_PATH, 16},
    {STTP_ACTION_SHOW, "sttp://h?x", "/a", STTP_ERR_URL_PATH, 13},
    {STTP_ACTION_SHOW, "sttp://[fe80::1%25a?b]", "/a", STTP_ERR_URL_IPV6, 12},
    {STTP_ACTION_SHOW, "sttp://h#x", "/a", STTP_ERR_URL_FRAGMENT, 13},
    {STTP_ACTION_SHOW, "sttp://h:8a", "/a", STTP_ERR_URL_PORT, 15},
    {STTP_ACTION_CREATE, "sttp://\xff", "/a", STTP_ERR_UTF8, 14},
    {STTP_ACTION_SHOW, "sttp://h\n", "/a", STTP_ERR_CONTROL_CHARACTER, 13},
    {STTP_ACTION_SHOW, "sttp://h", "", STTP_ERR_URL_PATH, 13},
    {STTP_ACTION_SHOW, "sttp://h", "a", STTP_ERR_PATH_RELATIVE, 13},
    {STTP_ACTION_SHOW, "sttp://h", "sttp://h/a", STTP_ERR_TARGET_URL, 13},
    {STTP_ACTION_SHOW, "sttp://h", "/a b", STTP_ERR_PATH_FORBIDDEN, 15},
    {STTP_ACTION_NONE, "sttp://", "/a", STTP_ERR_ACTION, 0},
};

START_TEST(test_refusals)
{
    const struct refusal *r = &refusals[_i];
    char line[200];
    size_t size = SIZE_MAX;
    sttp_status status;

    request = (sttp_request){.action = r->action, .path = slice_of(r->path)};
    request.origin = slice_of(r->origin);
    if (r->action == STTP_ACTION_CREATE)
        request.contents = STTP_SLICE("x");
    status = sttp_serialize_request(&request, line, sizeof line, &size, &problem);
    ck_assert_msg(status == r->status, "%s: %s", r->origin, sttp_status_name(status));
    ck_assert_msg(problem.offset == r->offset, "%s: %zu", r->origin, problem.offset);
    ck_assert_uint_eq(size, 0);
    ck_assert_int_eq(sttp_serialize_request(&request, line, sizeof line, &size, NULL), status);
}
END_TEST

START_TEST(test_origin_parse)
{
    const sttp_slice text = STTP_SLICE("STTP://[FE80::1%25Eth0]:99");
    char buffer[64];
    sttp_url url;
    size_t offset;

    ck_assert_int_eq(sttp_origin_parse(text, buffer, text.size, &url, &offset), STTP_OK);
    ck_assert_int_eq(url.scheme, STTP_SCHEME_STTP);
    ck_assert(slice_is(url.host, "fe80::1%Eth0"));
    ck_assert_uint_eq(url.port, 99);
    ck_assert_ptr_null(url.path.data);
    ck_assert_ptr_null(url.query.data);
    ck_assert_int_eq(sttp_origin_parse(text, buffer, text.size - 1, &url, &offset),
                     STTP_ERR_BUFFER);
    ck_assert_int_eq(
        sttp_origin_parse(STTP_SLICE("sttps://Host"), buffer, sizeof buffer, &url, NULL), STTP_OK);
    ck_assert_int_eq(url.scheme, STTP_SCHEME_STTPS);
    ck_assert(slice_is(url.host, "host"));
    ck_assert_uint_eq(url.port, STTP_DEFAULT_TLS_PORT);
    ck_assert_int_eq(
        sttp_origin_parse(STTP_SLICE("sttp://h/"), buffer, sizeof buffer, &url, &offset),
        STTP_ERR_URL_PATH);
    ck_assert_uint_eq(offset, 8);
    ck_assert_ptr_null(url.host.data);
}
END_TEST

static const struct answer {
    int code;
    const char *echo;
    bool direct, proxied; /* whether it may be the answer to such a request */
} answers[] = {
    {200, "/d/a", true, true},
    {100, "/d/a", false, false}, /* of a CREATE */
    {600, "/d/a", false, false}, /* of a DELETE */
    {400, "/d/a", true, true},
    {310, "/d/a", true, true},
    {300, "/d/a", true, true},
    {500, "/d/a", true, true},
    {300, "-", true, true},
    {410, "/d/", true, true},
    {510, "/d/", true, true},
    {300, "sttp://h:1/d/a", false, true},
    {310, "sttp://h:1/d/a", false, true},
    {500, "sttp://h:1/d/a", false, true},
    {410, "sttp://h:1/d/", false, true},
    {510, "sttp://h:1/d/", false, true},
    {200, "sttp://h:1/d/a", false, false},
    {100, "sttp://h:1/d/a", false, false},
    {600, "sttp://h:1/d/a", false, false},
    {400, "sttp://h:1/d/a", false, false},
    {410, "sttp://h:1/d/a", false, false},
    {410, "/d/a", false, false},
    {500, "sttp://H:1/d/a", false, false},
    {500, "sttp://h:1/d/b", false, false},
    {500, "sttp://h:1", false, false},
    {500, "sttp://i:1/d/a", false, false},
    {500, "sttp://h:1/d/a/", false, false},
    {200, "/d/b", false, false},
    {200, "/d/a/", false, false},
    {200, "-", false, false},
    {500, "-", false, false},
    {700, "/d/a", false, false},
};

/* Each success is that of its own actions alone. */
START_TEST(test_speaks_of_the_action)
{
    static const int codes[] = {100, 200, 600};

    for (sttp_action action = STTP_ACTION_CREATE; action <= STTP_ACTION_DELETE; action++) {
        request = (sttp_request){.action = action, .path = STTP_SLICE("/d/a")};
        for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
            sttp_response response = {.code = (sttp_code)codes[i], .echo = STTP_SLICE("/d/a")};
            ck_assert_int_eq(sttp_response_speaks_of(&response, &request),
                             response.code == sttp_action_success(action));
        }
    }
}
END_TEST

START_TEST(test_speaks_of)
{
    const struct answer *a = &answers[_i];
    sttp_response response = {.code = (sttp_code)a->code, .echo = slice_of(a->echo)};

    request = (sttp_request){.action = STTP_ACTION_SHOW, .path = STTP_SLICE("/d/a")};
    ck_assert_msg(sttp_response_speaks_of(&response, &request) == a->direct, "%d %s", a->code,
                  a->echo);
    request.origin = STTP_SLICE("sttp://h:1");
    ck_assert_msg(sttp_response_speaks_of(&response, &request) == a->proxied, "%d %s", a->code,
                  a->echo);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("origin");
    TCase *tcase = tcase_create("origin");

    tcase_add_loop_test(tcase, test_parts, 0, COUNT(good));
    tcase_add_loop_test(tcase, test_no_proxy, 0, COUNT(good));
    tcase_add_loop_test(tcase, test_mistakes, 0, COUNT(bad));
    tcase_add_test(tcase, test_long_names);
    tcase_add_test(tcase, test_line_length);
    tcase_add_loop_test(tcase, test_refusals, 0, COUNT(refusals));
    tcase_add_test(tcase, test_origin_parse);
    tcase_add_loop_test(tcase, test_speaks_of, 0, COUNT(answers));
    tcase_add_test(tcase, test_speaks_of_the_action);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
