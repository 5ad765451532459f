/* Runs tests/data/vectors.tsv through the parser and the serializer, without a server: what a
 * client sends and what a server answers, each whole, cut in two at every byte, and flush against a
 * page that cannot be read. What was seen is written down as text, and must be the same text
 * however the bytes were cut.
 *
 * The rules that need no store are compared with what the vectors expect, line by line. */
#include <sttp/parser.h>
#include <sttp/serializer.h>

#include "core_support.h"

#define SAMPLE_MESSAGE "what to do; see section 2"

enum { MAX_EXPANDED = 16 * 1024, MAX_VECTORS = 400, MAX_ANSWERS = 64 };

struct bytes {
    char data[MAX_EXPANDED];
    size_t size;
};

struct vector {
    char *name;
    struct bytes send;
    struct bytes expect;
};

static struct vector *vectors;
static size_t vector_count;

/* --- reading the file --- */

static void append(struct bytes *to, const char *data, size_t size)
{
    ck_assert_uint_le(to->size + size, MAX_EXPANDED);
    memcpy(to->data + to->size, data, size);
    to->size += size;
}

/* One byte, plain or escaped; returns what follows it. */
static const char *unescape(const char *from, char *byte)
{
    char hex[3];

    if (*from != '\\') {
        *byte = *from;
        return from + 1;
    }
    switch (from[1]) {
    case 'n':
        *byte = '\n';
        return from + 2;
    case 'r':
        *byte = '\r';
        return from + 2;
    case 't':
        *byte = '\t';
        return from + 2;
    case '\\':
        *byte = '\\';
        return from + 2;
    case 'x':
        memcpy(hex, from + 2, 2);
        hex[2] = '\0';
        *byte = (char)strtoul(hex, NULL, 16);
        return from + 4;
    default:
        ck_abort_msg("unknown escape \\%c", from[1]);
        return NULL;
    }
}

/* "{x*N}" or "{msg}"; returns what follows it. */
static const char *expand_braces(const char *from, struct bytes *to)
{
    const char *end = strchr(from, '}');
    char unit[64];
    size_t size = 0;
    unsigned long count;

    ck_assert_ptr_nonnull(end);
    if (strncmp(from, "{msg}", 5) == 0) {
        append(to, SAMPLE_MESSAGE, strlen(SAMPLE_MESSAGE));
        return end + 1;
    }
    for (from++; *from != '*'; size++) {
        ck_assert_uint_lt(size, sizeof(unit));
        from = unescape(from, &unit[size]);
    }
    for (count = strtoul(from + 1, NULL, 10); count > 0; count--)
        append(to, unit, size);
    return end + 1;
}

static void expand(const char *from, struct bytes *to)
{
    char byte;

    while (*from) {
        if (*from == '{') {
            from = expand_braces(from, to);
            continue;
        }
        from = unescape(from, &byte);
        append(to, &byte, 1);
    }
}

static void load_vectors(void)
{
    FILE *file = fopen(TEST_DATA "/vectors.tsv", "r");
    char line[8192];

    ck_assert_ptr_nonnull(file);
    vectors = calloc(MAX_VECTORS, sizeof(*vectors));
    ck_assert_ptr_nonnull(vectors);
    while (fgets(line, sizeof(line), file)) {
        char *send = strchr(line, '\t');
        char *expect = send ? strchr(send + 1, '\t') : NULL;

        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '#')
            continue;
        ck_assert_msg(expect != NULL, "not a vector: %s", line);
        ck_assert_uint_lt(vector_count, MAX_VECTORS);
        *send++ = *expect++ = '\0';
        vectors[vector_count].name = strdup(line);
        expand(send, &vectors[vector_count].send);
        expand(expect, &vectors[vector_count].expect);
        vector_count++;
    }
    fclose(file);
    ck_assert_uint_gt(vector_count, 100);
}

static void free_vectors(void)
{
    while (vector_count > 0)
        free(vectors[--vector_count].name);
    free(vectors);
}

/* --- what was seen --- */

struct seen {
    char text[4 * MAX_EXPANDED];
    size_t size;
};

static void note(struct seen *seen, const char *label, sttp_slice slice)
{
    int size =
        snprintf(seen->text + seen->size, sizeof(seen->text) - seen->size, " %s=%s[%.*s]", label,
                 slice.data ? "" : "none", (int)slice.size, slice.data ? slice.data : "");

    ck_assert_int_gt(size, 0);
    seen->size += (size_t)size;
    ck_assert_uint_lt(seen->size, sizeof(seen->text));
}

static void note_number(struct seen *seen, const char *label, size_t number)
{
    char digits[32];

    snprintf(digits, sizeof(digits), "%zu", number);
    note(seen, label, slice_of(digits));
}

static void check_request_trip(const sttp_request *request)
{
    char line[STTP_MAX_REQUEST_LINE];
    sttp_parser parser = {0};
    sttp_request again;
    sttp_problem problem;
    size_t size, consumed;

    ck_assert_int_eq(sttp_serialize_request(request, line, sizeof(line), &size, &problem), STTP_OK);
    ck_assert_int_eq(sttp_parse_request(&parser, line, size, &consumed, &again, &problem), STTP_OK);
    ck_assert_uint_eq(consumed, size);
    ck_assert(requests_equal(request, &again));
}

/* Parses all that can be parsed of the `size` bytes; *start moves behind what was consumed. False
 * where nothing behind it will be read. */
static bool parse_requests(sttp_parser *parser, const char *data, size_t size, size_t *start,
                           struct seen *seen)
{
    for (;;) {
        sttp_request request;
        sttp_problem problem;
        size_t consumed;
        sttp_status status =
            sttp_parse_request(parser, data + *start, size - *start, &consumed, &request, &problem);

        if (status == STTP_NEED_MORE)
            return true;
        *start += consumed;
        note(seen, "status", slice_of(sttp_status_name(status)));
        note_number(seen, "end", *start);
        if (status == STTP_OK) {
            note(seen, "action", slice_of(sttp_action_name(request.action)));
            note(seen, "path", request.path);
            note(seen, "query", request.query);
            note(seen, "contents", request.contents);
            check_request_trip(&request);
        } else if (status != STTP_END) {
            note_number(seen, "offset", problem.offset);
            note_number(seen, "length", problem.length);
            note(seen, "echo", problem.echo);
            note(seen, "word", problem.word);
        }
        if (status == STTP_END || status == STTP_ERR_LINE_TOO_LONG || status == STTP_ERR_HTTP)
            return false;
    }
}

static void parse_responses(sttp_parser *parser, const char *data, size_t size, size_t *start,
                            struct seen *seen)
{
    for (;;) {
        char line[MAX_EXPANDED];
        sttp_response response;
        sttp_problem problem;
        size_t consumed, written;
        sttp_status status =
            sttp_parse_response(parser, data + *start, size - *start, STTP_MAX_CONTENTS_LINE, false,
                                &consumed, &response, &problem);

        if (status == STTP_NEED_MORE)
            return;
        ck_assert_int_eq(status, STTP_OK);
        note_number(seen, "code", response.code);
        note(seen, "echo", response.echo);
        note(seen, "message", response.message);
        note(seen, "contents", response.contents);
        ck_assert_int_eq(sttp_serialize_response(&response, line, sizeof(line), &written, &problem),
                         STTP_OK);
        ck_assert_uint_eq(written, consumed);
        ck_assert_mem_eq(line, data + *start, consumed);
        *start += consumed;
    }
}

/* --- the tests --- */

/* Both halves stand flush against the guard page, at different places: nothing may be kept of the
 * first but what the parser itself keeps. */
static void run_cut(const struct vector *vector, const struct guarded *guarded, size_t at,
                    bool is_request, struct seen *seen)
{
    const struct bytes *bytes = is_request ? &vector->send : &vector->expect;
    sttp_parser parser = {0};
    size_t ends[] = {at, bytes->size};
    size_t start = 0;
    bool open = true;
    int i;

    seen->size = 0;
    for (i = 0; i < 2 && open; i++) {
        const char *copy = guarded_copy(guarded, bytes->data, ends[i]);

        if (is_request)
            open = parse_requests(&parser, copy, ends[i], &start, seen);
        else
            parse_responses(&parser, copy, ends[i], &start, seen);
    }
    if (open)
        note_number(seen, "left", bytes->size - start);
}

static void run_every_cut(bool is_request)
{
    static struct seen whole, cut;
    struct guarded guarded = guarded_create(MAX_EXPANDED);
    size_t i, at;

    for (i = 0; i < vector_count; i++) {
        size_t size = is_request ? vectors[i].send.size : vectors[i].expect.size;

        run_cut(&vectors[i], &guarded, size, is_request, &whole);
        for (at = 0; at < size; at++) {
            run_cut(&vectors[i], &guarded, at, is_request, &cut);
            ck_assert_msg(cut.size == whole.size && memcmp(cut.text, whole.text, cut.size) == 0,
                          "%s, cut at %zu:\n%.*s\nwhole:\n%.*s", vectors[i].name, at, (int)cut.size,
                          cut.text, (int)whole.size, whole.text);
        }
    }
    guarded_destroy(&guarded);
}

START_TEST(requests_are_the_same_however_cut)
{
    run_every_cut(true);
}
END_TEST

START_TEST(responses_are_the_same_however_cut)
{
    run_every_cut(false);
}
END_TEST

START_TEST(expected_answers_parse_to_the_end)
{
    size_t i;

    for (i = 0; i < vector_count; i++) {
        static struct seen seen;
        sttp_parser parser = {0};
        size_t start = 0;

        seen.size = 0;
        parse_responses(&parser, vectors[i].expect.data, vectors[i].expect.size, &start, &seen);
        ck_assert_msg(start == vectors[i].expect.size, "%s: %zu", vectors[i].name, start);
    }
}
END_TEST

/* Vectors in which a store refuses, with 300, a request whose line is right: how many times. */
static size_t store_refusals(const char *name)
{
    static const struct {
        const char *name;
        size_t count;
    } known[] = {
        {"create-twice", 1},     {"create-on-directory", 1}, {"show-directory", 1},
        {"delete-directory", 1}, {"delete-root", 1},         {"delete-directory-no-slash", 1},
        {"list-file", 1},        {"delete-file-slash", 1},   {"cache-list-parents", 1}};
    size_t i;

    for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].name, name) == 0)
            return known[i].count;
    }
    return 0;
}

static size_t parse_expected(const struct vector *vector, sttp_response *answers)
{
    sttp_parser parser = {0};
    sttp_problem problem;
    size_t start = 0, count = 0, consumed;

    while (start < vector->expect.size) {
        ck_assert_uint_lt(count, MAX_ANSWERS);
        ck_assert_int_eq(sttp_parse_response(&parser, vector->expect.data + start,
                                             vector->expect.size - start, STTP_MAX_CONTENTS_LINE,
                                             false, &consumed, &answers[count++], &problem),
                         STTP_OK);
        start += consumed;
    }
    return count;
}

static bool speaks_of(const sttp_response *answer, sttp_slice path)
{
    if (answer->code == STTP_CODE_PATH_NOT_FOUND || answer->code == STTP_CODE_CANNOT_CREATE_PATH)
        path = sttp_parent_path(path);
    return slices_equal(answer->echo, path);
}

/* One request of a vector and the answer that is expected; returns whether the store refuses it. */
static bool check_verdict(const char *name, sttp_status status, const sttp_request *request,
                          const sttp_problem *problem, const sttp_response *answer)
{
    if (status == STTP_OK) {
        ck_assert_msg(speaks_of(answer, request->path), "%s: echo", name);
        ck_assert_msg(answer->code != STTP_CODE_FILENAME_TOO_LONG, "%s: not refused", name);
        return answer->code == STTP_CODE_CLIENT_ERROR;
    }
    ck_assert_msg(answer->code == (status == STTP_ERR_FILENAME_TOO_LONG
                                       ? STTP_CODE_FILENAME_TOO_LONG
                                       : STTP_CODE_CLIENT_ERROR),
                  "%s: %s", name, sttp_status_name(status));
    ck_assert_msg(slices_equal(answer->echo, problem->echo), "%s: echo", name);
    return false;
}

static void check_verdicts(const struct vector *vector)
{
    sttp_response answers[MAX_ANSWERS];
    size_t expected = parse_expected(vector, answers);
    sttp_parser parser = {0};
    sttp_request request;
    sttp_problem problem;
    size_t start = 0, count = 0, refused = 0, consumed;
    sttp_status status;

    do {
        status = sttp_parse_request(&parser, vector->send.data + start, vector->send.size - start,
                                    &consumed, &request, &problem);
        start += consumed;
        if (status == STTP_NEED_MORE || status == STTP_END)
            break;
        ck_assert_msg(count < expected, "%s: too few answers", vector->name);
        refused += check_verdict(vector->name, status, &request, &problem, &answers[count++]);
    } while (status != STTP_ERR_LINE_TOO_LONG);
    if (status == STTP_NEED_MORE && start < vector->send.size) {
        ck_assert_int_eq(answers[count].code, STTP_CODE_CLIENT_ERROR);
        ck_assert(slice_is(answers[count++].echo, "-"));
    }
    ck_assert_msg(count == expected, "%s: %zu answers, not %zu", vector->name, expected, count);
    ck_assert_msg(refused == store_refusals(vector->name), "%s: %zu refused by the store",
                  vector->name, refused);
}

START_TEST(parser_refuses_what_is_to_be_refused)
{
    size_t i;

    for (i = 0; i < vector_count; i++)
        check_verdicts(&vectors[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("vectors");
    TCase *tcase = tcase_create("vectors");

    tcase_set_timeout(tcase, 60);
    tcase_add_unchecked_fixture(tcase, load_vectors, free_vectors);
    tcase_add_test(tcase, requests_are_the_same_however_cut);
    tcase_add_test(tcase, responses_are_the_same_however_cut);
    tcase_add_test(tcase, expected_answers_parse_to_the_end);
    tcase_add_test(tcase, parser_refuses_what_is_to_be_refused);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
