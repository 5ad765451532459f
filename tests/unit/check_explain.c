/* Explanations: what they name, and that they can stand in a response whatever the problem holds.
 */
#include <sttp/parser.h>

#include "core_support.h"

enum { LAST_STATUS = 130 };

static const char *explain(sttp_status status, size_t offset, size_t length, const char *word)
{
    static char text[STTP_MAX_MESSAGE + 1];
    sttp_problem told = {
        .status = status, .offset = offset, .length = length, .word = slice_of(word)};

    ck_assert_uint_eq(sttp_explain(&told, text, sizeof(text)), strlen(text));
    return text;
}

static const char *explain_line(const char *line)
{
    static char text[STTP_MAX_MESSAGE + 1];
    sttp_parser parser = {0};
    sttp_request request;
    sttp_problem problem;
    size_t consumed;

    ck_assert_int_ne(sttp_parse_request(&parser, line, strlen(line), &consumed, &request, &problem),
                     STTP_OK);
    sttp_explain(&problem, text, sizeof(text));
    return text;
}

/* A hint about the case is no help where letters are wrong. */
START_TEST(wrong_case)
{
    ck_assert_str_eq(explain_line("shOw /a\n"),
                     "unknown action; did you mean SHOW? An action is in capital letters");
    ck_assert_str_eq(explain_line("SHWO /a\n"), "unknown action; did you mean SHOW?");
    ck_assert_str_eq(explain_line("SHOWW /a\n"), "unknown action; did you mean SHOW?");
}
END_TEST

START_TEST(explanations)
{
    ck_assert_str_eq(explain(STTP_ERR_ACTION, 0, 0, "SHOW"),
                     "unknown action; did you mean SHOW? An action is in capital letters");
    ck_assert_str_eq(explain(STTP_ERR_ACTION, 0, 1, "SHOW"), "unknown action; did you mean SHOW?");
    ck_assert_str_eq(explain(STTP_ERR_ACTION, 0, 0, ""),
                     "unknown action; begin the line with CREATE, SHOW, LIST, UPDATE or DELETE");
    ck_assert_str_eq(explain(STTP_ERR_CONTENTS_TOO_LONG, 0, 171, ""),
                     "contents have 171 characters, 11 over the limit of 160");
    ck_assert_str_eq(explain(STTP_ERR_FILENAME_TOO_LONG, 0, 33, ""),
                     "the filename has 33 characters, 1 over the limit of 32");
    ck_assert_str_eq(explain(STTP_ERR_PATH_TOO_LONG, 0, 1026, ""),
                     "the path has 1026 bytes, 2 over the limit of 1024");
    ck_assert_str_eq(explain(STTP_ERR_DIRECTORY_TOO_LONG, 5, 256, ""),
                     "the directory name at byte 6 has 256 bytes, 1 over the limit of 255");
    ck_assert_str_eq(explain(STTP_ERR_LINE_TOO_LONG, 0, 0, ""),
                     "the request line is longer than the limit of 4096 bytes");
    ck_assert_str_eq(explain(STTP_ERR_LINE_TOO_LONG, 0, 5000, ""),
                     "the request line has 5000 bytes, 904 over the limit of 4096");
    ck_assert_str_eq(explain(STTP_ERR_CONTENTS_TOO_LONG, 0, SIZE_MAX, ""),
                     SIZE_MAX == UINT64_MAX ? "contents have 18446744073709551615 characters, "
                                              "18446744073709551455 over the limit of 160"
                                            : "contents have 4294967295 characters, "
                                              "4294967135 over the limit of 160");
}
END_TEST

/* What each explanation must name: the form, the limit, the place, the word. */
START_TEST(explanations_name_what_matters)
{
    static const struct {
        sttp_status status;
        const char *word;
        const char *holds;
    } table[] = {
        {STTP_ERR_HTTP, "", "write SHOW /path"},
        {STTP_ERR_UNFINISHED_LINE, "", "line feed"},
        {STTP_ERR_CONTROL_CHARACTER, "", "byte 8 "},
        {STTP_ERR_UTF8, "", "byte 8 is not valid UTF-8; send every line in UTF-8"},
        {STTP_ERR_TARGET_MISSING, "LIST", "write LIST /path, with one space before the path"},
        {STTP_ERR_TARGET_MISSING, "UPDATE", "write UPDATE /path text"},
        {STTP_ERR_TARGET_URL, "CREATE", "write CREATE /path text"},
        {STTP_ERR_PATH_RELATIVE, "SHOW", "write SHOW /path"},
        {STTP_ERR_PATH_EMPTY_SEGMENT, "", "byte 8;"},
        {STTP_ERR_PATH_DOT_SEGMENT, "", ".."},
        {STTP_ERR_PATH_RESERVED, "", STTP_RESERVED_PREFIX},
        {STTP_ERR_PATH_FORBIDDEN, "", "byte 8"},
        {STTP_ERR_PATH_FINAL_SLASH, "SHOW", "use LIST"},
        {STTP_ERR_PATH_FINAL_SLASH, "CREATE", "no slash at its end"},
        {STTP_ERR_QUERY_ACTION, "SHOW", "for SHOW leave out"},
        {STTP_ERR_QUERY_ACTION, "", "LIST"},
        {STTP_ERR_QUERY_KEY, "limit", "did you mean limit?"},
        {STTP_ERR_QUERY_KEY, "", "q, name, recursive, type, limit and after"},
        {STTP_ERR_QUERY_TWICE, "after", "after"},
        {STTP_ERR_QUERY_VALUE, "limit", "1 to 10000"},
        {STTP_ERR_QUERY_VALUE, "recursive", "0 or 1"},
        {STTP_ERR_QUERY_VALUE, "type", "file, dir or all"},
        {STTP_ERR_QUERY_VALUE, "name", "name takes a value that is not empty"},
        {STTP_ERR_QUERY_ESCAPE, "", "byte 8;"},
        {STTP_ERR_CONTENTS_MISSING, "UPDATE", "write UPDATE /path text"},
        {STTP_ERR_CONTENTS_UNEXPECTED, "DELETE", "write DELETE /path"},
        {STTP_ERR_CONTENTS_UNEXPECTED, "LIST", "written %20; write LIST /path"},
        {STTP_ERR_CONTENTS_UNEXPECTED, "", "spaces"},
        {STTP_ERR_RESPONSE_CODE, "", "nine codes"},
        {STTP_ERR_RESPONSE_ECHO, "", "path"},
        {STTP_ERR_RESPONSE_PHRASE, "", "phrase"},
        {STTP_ERR_RESPONSE_MESSAGE, "", "message"},
        {STTP_ERR_STATUS_LINE_TOO_LONG, "", "8,192"},
        {STTP_ERR_CONTENTS_LINE_TOO_LONG, "", "limit"},
        {STTP_ERR_TIMEOUT, "", "deadline"},
    };
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const char *text = explain(table[i].status, 7, 0, table[i].word);

        ck_assert_msg(strstr(text, table[i].holds) != NULL, "%s: %s",
                      sttp_status_name(table[i].status), text);
    }
}
END_TEST

static void check_cuts(const sttp_problem *told, const char *whole, size_t size)
{
    char cut[STTP_MAX_MESSAGE + 1];
    size_t capacity;

    for (capacity = 1; capacity <= size; capacity++) {
        cut[capacity] = 'x';
        if (sttp_explain(told, cut, capacity) != capacity - 1 || cut[capacity] != 'x' ||
            memcmp(cut, whole, capacity - 1) != 0 || cut[capacity - 1] != '\0')
            ck_abort_msg("%s cut to %zu", whole, capacity);
    }
    ck_assert_uint_eq(sttp_explain(told, NULL, 0), 0);
}

/* Whatever the problem holds, the text can stand in a response, and is cut where there is no room.
 */
START_TEST(explanations_are_clean)
{
    static const char *const words[] = {"",       "SHOW",   "limit",         "a\"b",
                                        "\n\xff", "LI\033", "\xc3\xa9limit", "CREATE"};
    char whole[STTP_MAX_MESSAGE + 1], long_word[1000];
    size_t w, i, size;
    int status;

    for (status = 0; status < LAST_STATUS; status++) {
        for (w = 0; w < 9; w++) {
            sttp_problem told = {.status = (sttp_status)status,
                                 .offset = SIZE_MAX,
                                 .length = SIZE_MAX,
                                 .echo = STTP_SLICE("\"\n"),
                                 .word = slice_of(w < 8 ? words[w] : repeat(long_word, "x", 900))};

            size = sttp_explain(&told, whole, sizeof(whole));
            ck_assert(size > 0 && size < sizeof(whole) - 100 && whole[size] == '\0');
            for (i = 0; i < size; i++) {
                if (whole[i] < ' ' || whole[i] >= 0x7f || whole[i] == '"')
                    ck_abort_msg("%s", whole);
            }
            check_cuts(&told, whole, size);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("explain");
    TCase *tcase = tcase_create("explain");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, explanations);
    tcase_add_test(tcase, wrong_case);
    tcase_add_test(tcase, explanations_name_what_matters);
    tcase_add_test(tcase, explanations_are_clean);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
