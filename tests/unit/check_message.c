/* Values and rules: status texts, actions, codes, UTF-8, paths and texts. */
#include "core_support.h"

enum { LAST_STATUS = 130 };

static sttp_problem problem;

START_TEST(statuses_have_names_and_texts)
{
    int status, known = 0;

    for (status = 0; status < LAST_STATUS; status++) {
        const char *name = sttp_status_name((sttp_status)status);
        const char *text = sttp_status_text((sttp_status)status);

        if (strcmp(name, "unknown status") == 0) {
            ck_assert_str_eq(text, "unknown status");
            continue;
        }
        known++;
        ck_assert_int_eq(strncmp(name, "STTP_", 5), 0);
        ck_assert_str_ne(text, "unknown status");
        ck_assert_int_ne(text[strlen(text) - 1], '.');
    }
    ck_assert_int_eq(known, 67);
    ck_assert_str_eq(sttp_status_name(STTP_ERR_LINE_TOO_LONG), "STTP_ERR_LINE_TOO_LONG");
    ck_assert_str_eq(sttp_status_text(STTP_ERR_LINE_TOO_LONG),
                     "the request line is longer than 4,096 bytes");
}
END_TEST

START_TEST(actions)
{
    ck_assert_str_eq(sttp_action_name(STTP_ACTION_UPDATE), "UPDATE");
    ck_assert_str_eq(sttp_action_name(STTP_ACTION_NONE), "NONE");
    ck_assert_str_eq(sttp_action_name((sttp_action)77), "NONE");
    ck_assert_int_eq(sttp_action_from_name(slice_of("CREATE")), STTP_ACTION_CREATE);
    ck_assert_int_eq(sttp_action_from_name(slice_of("show")), STTP_ACTION_SHOW);
    ck_assert_int_eq(sttp_action_from_name(slice_of("LiSt")), STTP_ACTION_LIST);
    ck_assert_int_eq(sttp_action_from_name(slice_of("update")), STTP_ACTION_UPDATE);
    ck_assert_int_eq(sttp_action_from_name(slice_of("delete")), STTP_ACTION_DELETE);
    ck_assert_int_eq(sttp_action_from_name(slice_of("none")), STTP_ACTION_NONE);
    ck_assert_int_eq(sttp_action_from_name(slice_of("showy")), STTP_ACTION_NONE);
    ck_assert_int_eq(sttp_action_from_name(slice_of("")), STTP_ACTION_NONE);
    ck_assert(sttp_action_is_change(STTP_ACTION_CREATE));
    ck_assert(sttp_action_is_change(STTP_ACTION_UPDATE));
    ck_assert(sttp_action_is_change(STTP_ACTION_DELETE));
    ck_assert(!sttp_action_is_change(STTP_ACTION_SHOW));
    ck_assert(!sttp_action_is_change(STTP_ACTION_LIST));
    ck_assert(!sttp_action_is_change(STTP_ACTION_NONE));
    ck_assert_int_eq(sttp_action_success(STTP_ACTION_CREATE), STTP_CODE_CREATED);
    ck_assert_int_eq(sttp_action_success(STTP_ACTION_SHOW), STTP_CODE_OK);
    ck_assert_int_eq(sttp_action_success(STTP_ACTION_LIST), STTP_CODE_OK);
    ck_assert_int_eq(sttp_action_success(STTP_ACTION_UPDATE), STTP_CODE_OK);
    ck_assert_int_eq(sttp_action_success(STTP_ACTION_DELETE), STTP_CODE_DELETED);
    ck_assert_int_eq(sttp_action_success(STTP_ACTION_NONE), STTP_CODE_OK);
}
END_TEST

START_TEST(codes)
{
    static const struct {
        int code;
        const char *phrase;
    } table[] = {{100, "CREATED"},      {200, "OK"},
                 {300, "CLIENT ERROR"}, {310, "FILENAME TOO LONG"},
                 {400, "NOT FOUND"},    {410, "PATH NOT FOUND"},
                 {500, "SERVER ERROR"}, {510, "CANNOT CREATE PATH"},
                 {600, "DELETED"}};
    int code, i = 0;

    for (code = -1; code < 1000; code++) {
        const char *phrase = sttp_code_phrase(code);

        ck_assert_int_eq(sttp_code_has_message((sttp_code)code), code == 300 || code == 500);
        if (i < 9 && table[i].code == code)
            ck_assert_str_eq(phrase, table[i++].phrase);
        else
            ck_assert_ptr_null(phrase);
    }
    ck_assert_int_eq(i, 9);
}
END_TEST

static size_t encode(uint32_t point, char *to)
{
    if (point < 0x80) {
        to[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        to[0] = (char)(0xc0 | point >> 6);
        to[1] = (char)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        to[0] = (char)(0xe0 | point >> 12);
        to[1] = (char)(0x80 | (point >> 6 & 0x3f));
        to[2] = (char)(0x80 | (point & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | point >> 18);
    to[1] = (char)(0x80 | (point >> 12 & 0x3f));
    to[2] = (char)(0x80 | (point >> 6 & 0x3f));
    to[3] = (char)(0x80 | (point & 0x3f));
    return 4;
}

/* ck_assert writes to a file each time: too slow for millions. */
START_TEST(every_code_point)
{
    uint32_t point;

    for (point = 0; point < 0x120000; point++) {
        bool valid = point < 0xd800 || (point > 0xdfff && point < 0x110000);
        bool control = point != '\t' && (point < 0x20 || (point >= 0x7f && point < 0xa0));
        sttp_status expected =
            !valid ? STTP_ERR_UTF8 : (control ? STTP_ERR_CONTROL_CHARACTER : STTP_OK);
        char bytes[4];
        sttp_slice text = {bytes, encode(point, bytes)};

        if (sttp_count_chars(text) != (valid ? 1 : SIZE_MAX) ||
            sttp_check_text(text, NULL) != expected)
            ck_abort_msg("U+%04x", point);
    }
}
END_TEST

/* Sequences that begin with `lead` or more: as many are accepted as there are code points. */
static unsigned count_accepted(size_t size, unsigned lead)
{
    unsigned accepted = 0;
    unsigned first, rest;

    for (first = lead; first < 256; first++) {
        for (rest = 0; rest < 1u << 8 * (size - 1); rest++) {
            const char bytes[] = {(char)first, (char)rest, (char)(rest >> 8)};

            accepted += sttp_count_chars((sttp_slice){bytes, size}) != SIZE_MAX;
        }
    }
    return accepted;
}

START_TEST(every_short_sequence)
{
    ck_assert_uint_eq(count_accepted(1, 0), 0x80);
    ck_assert_uint_eq(count_accepted(2, 0), 0x80 * 0x80 + 0x800 - 0x80);
    ck_assert_uint_eq(count_accepted(3, 0xe0), 0x10000 - 0x800 - 0x800);
}
END_TEST

START_TEST(four_byte_bounds)
{
    ck_assert_uint_eq(sttp_count_chars(slice_of("\xf0\x90\x80\x80")), 1);
    ck_assert_uint_eq(sttp_count_chars(slice_of("\xf0\x8f\xbf\xbf")), SIZE_MAX);
    ck_assert_uint_eq(sttp_count_chars(slice_of("\xf4\x8f\xbf\xbf")), 1);
    ck_assert_uint_eq(sttp_count_chars(slice_of("\xf4\x90\x80\x80")), SIZE_MAX);
    ck_assert_uint_eq(sttp_count_chars(slice_of("\xf5\x80\x80\x80")), SIZE_MAX);
    ck_assert_uint_eq(sttp_count_chars(slice_of("\xf0\x9f\x98")), SIZE_MAX);
    ck_assert_uint_eq(sttp_count_chars(slice_of("\xf0\x9f\x98x")), SIZE_MAX);
    ck_assert_uint_eq(sttp_count_chars(slice_of("\xf0\x9f\x98\x80z")), 2);
    ck_assert_uint_eq(sttp_count_chars(slice_of("")), 0);
    ck_assert_uint_eq(sttp_count_chars((sttp_slice){NULL, 0}), 0);
}
END_TEST

/* Words of eight bytes are skipped at once: each byte is seen wherever it stands, and the page
 * behind the text is not touched. */
START_TEST(every_byte_at_every_place)
{
    struct guarded guarded = guarded_create(64);
    unsigned byte;
    size_t size, at;

    for (byte = 0; byte < 256; byte++) {
        bool control = (byte < 0x20 && byte != '\t') || byte == 0x7f;
        sttp_status expected =
            byte >= 0x80 ? STTP_ERR_UTF8 : (control ? STTP_ERR_CONTROL_CHARACTER : STTP_OK);

        for (size = 1; size <= 26; size++) {
            for (at = 0; at < size; at++) {
                char *text = guarded_copy(&guarded, "abcdefghijklmnopqrstuvwxyz", size);

                text[at] = (char)byte;
                if (sttp_check_text((sttp_slice){text, size}, &problem) != expected ||
                    (expected != STTP_OK && problem.offset != at))
                    ck_abort_msg("byte %u at %zu of %zu", byte, at, size);
            }
        }
    }
    guarded_destroy(&guarded);
}
END_TEST

START_TEST(text_limits)
{
    char buffer[1024];

    ck_assert_int_eq(sttp_check_text(slice_of(""), NULL), STTP_OK);
    ck_assert_int_eq(sttp_check_text(slice_of(repeat(buffer, "x", 159)), NULL), STTP_OK);
    ck_assert_int_eq(sttp_check_text(slice_of(repeat(buffer, "x", 160)), NULL), STTP_OK);
    ck_assert_int_eq(sttp_check_text(slice_of(repeat(buffer, "x", 161)), &problem),
                     STTP_ERR_CONTENTS_TOO_LONG);
    ck_assert_uint_eq(problem.length, 161);
    ck_assert_int_eq(problem.status, STTP_ERR_CONTENTS_TOO_LONG);
    ck_assert_int_eq(sttp_check_text(slice_of(repeat(buffer, "\xf0\x9f\x98\x80", 160)), NULL),
                     STTP_OK);
    ck_assert_int_eq(sttp_check_text(slice_of(repeat(buffer, "\xf0\x9f\x98\x80", 161)), &problem),
                     STTP_ERR_CONTENTS_TOO_LONG);
    ck_assert_uint_eq(problem.length, 161);
}
END_TEST

START_TEST(path_rules)
{
    static const struct {
        sttp_action action;
        const char *path;
        sttp_status status;
        size_t offset;
    } table[] = {
        {STTP_ACTION_SHOW, "/a", STTP_OK, 0},
        {STTP_ACTION_SHOW, "/notes/a.txt", STTP_OK, 0},
        {STTP_ACTION_LIST, "/", STTP_OK, 0},
        {STTP_ACTION_LIST, "/a/", STTP_OK, 0},
        {STTP_ACTION_LIST, "/a", STTP_OK, 0},
        {STTP_ACTION_DELETE, "/", STTP_OK, 0},
        {STTP_ACTION_DELETE, "/a/", STTP_OK, 0},
        {STTP_ACTION_SHOW, "/...", STTP_OK, 0},
        {STTP_ACTION_SHOW, "/.a/..b/c..", STTP_OK, 0},
        {STTP_ACTION_SHOW, "/.sttp", STTP_OK, 0},
        {STTP_ACTION_SHOW, "/x.sttp-", STTP_OK, 0},
        {STTP_ACTION_SHOW, "/%2e%2e/a", STTP_OK, 0},
        {STTP_ACTION_NONE, "/a", STTP_ERR_ACTION, 0},
        {(sttp_action)9, "/a", STTP_ERR_ACTION, 0},
        {STTP_ACTION_SHOW, "", STTP_ERR_TARGET_MISSING, 0},
        {STTP_ACTION_SHOW, "sttp://h/a", STTP_ERR_TARGET_URL, 0},
        {STTP_ACTION_SHOW, "STTPS://H/a", STTP_ERR_TARGET_URL, 0},
        {STTP_ACTION_SHOW, "sttp://", STTP_ERR_TARGET_URL, 0},
        {STTP_ACTION_SHOW, "sttp+unix:/s:/a", STTP_ERR_PATH_RELATIVE, 0},
        {STTP_ACTION_SHOW, "http://h/a", STTP_ERR_PATH_RELATIVE, 0},
        {STTP_ACTION_SHOW, "sttp:/", STTP_ERR_PATH_RELATIVE, 0},
        {STTP_ACTION_SHOW, "a", STTP_ERR_PATH_RELATIVE, 0},
        {STTP_ACTION_SHOW, "//", STTP_ERR_PATH_EMPTY_SEGMENT, 1},
        {STTP_ACTION_SHOW, "/a//b", STTP_ERR_PATH_EMPTY_SEGMENT, 3},
        {STTP_ACTION_LIST, "/a//", STTP_ERR_PATH_EMPTY_SEGMENT, 3},
        {STTP_ACTION_LIST, "/.", STTP_ERR_PATH_DOT_SEGMENT, 1},
        {STTP_ACTION_LIST, "/a/../b", STTP_ERR_PATH_DOT_SEGMENT, 3},
        {STTP_ACTION_LIST, "/a/..", STTP_ERR_PATH_DOT_SEGMENT, 3},
        {STTP_ACTION_LIST, "/a/./", STTP_ERR_PATH_DOT_SEGMENT, 3},
        {STTP_ACTION_CREATE, "/.sttp-", STTP_ERR_PATH_RESERVED, 1},
        {STTP_ACTION_CREATE, "/.sttp-x/a", STTP_ERR_PATH_RESERVED, 1},
        {STTP_ACTION_CREATE, "/a b", STTP_ERR_PATH_FORBIDDEN, 2},
        {STTP_ACTION_CREATE, "/a?", STTP_ERR_PATH_FORBIDDEN, 2},
        {STTP_ACTION_CREATE, "/a/", STTP_ERR_PATH_FINAL_SLASH, 2},
        {STTP_ACTION_UPDATE, "/a/", STTP_ERR_PATH_FINAL_SLASH, 2},
        {STTP_ACTION_SHOW, "/", STTP_ERR_PATH_FINAL_SLASH, 0},
        {STTP_ACTION_SHOW, "/a\tb", STTP_ERR_CONTROL_CHARACTER, 2},
        {STTP_ACTION_SHOW, "//\n", STTP_ERR_CONTROL_CHARACTER, 2},
        {STTP_ACTION_SHOW, "/\xc2\x85", STTP_ERR_CONTROL_CHARACTER, 1},
        {STTP_ACTION_SHOW, "/\xc0\xaf", STTP_ERR_UTF8, 1},
    };
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        sttp_slice path = slice_of(table[i].path);
        sttp_status status;

        problem = (sttp_problem){.status = STTP_OK};
        status = sttp_check_path(table[i].action, path, &problem);
        ck_assert_msg(status == table[i].status, "%s: %s", table[i].path, sttp_status_name(status));
        ck_assert_int_eq(problem.status, table[i].status);
        ck_assert_uint_eq(problem.offset, table[i].offset);
        ck_assert_uint_eq(problem.echo.size, 0);
        ck_assert_int_eq(sttp_check_path(table[i].action, path, NULL), table[i].status);
    }
}
END_TEST

static sttp_status check_length(sttp_action action, const char *before, const char *unit,
                                size_t count, const char *after)
{
    struct guarded guarded = guarded_create(4096);
    char path[4096], middle[2048];
    size_t size =
        (size_t)snprintf(path, sizeof(path), "%s%s%s", before, repeat(middle, unit, count), after);
    sttp_status status;

    problem = (sttp_problem){.status = STTP_OK};
    status =
        sttp_check_path(action, (sttp_slice){guarded_copy(&guarded, path, size), size}, &problem);
    guarded_destroy(&guarded);
    return status;
}

START_TEST(path_lengths)
{
    static const sttp_action files[] = {STTP_ACTION_CREATE, STTP_ACTION_SHOW, STTP_ACTION_UPDATE,
                                        STTP_ACTION_DELETE};
    size_t i;

    for (i = 0; i < 4; i++) {
        ck_assert_int_eq(check_length(files[i], "/d/", "n", 31, ""), STTP_OK);
        ck_assert_int_eq(check_length(files[i], "/d/", "n", 32, ""), STTP_OK);
        ck_assert_int_eq(check_length(files[i], "/d/", "n", 33, ""), STTP_ERR_FILENAME_TOO_LONG);
        ck_assert_uint_eq(problem.length, 33);
        ck_assert_uint_eq(problem.offset, 3);
        ck_assert_int_eq(check_length(files[i], "/", "\xd0\xb6", 32, ""), STTP_OK);
        ck_assert_int_eq(check_length(files[i], "/", "\xd0\xb6", 33, ""),
                         STTP_ERR_FILENAME_TOO_LONG);
        ck_assert_uint_eq(problem.length, 33);
    }
    /* LIST and a final slash name directories. */
    ck_assert_int_eq(check_length(STTP_ACTION_LIST, "/", "n", 33, ""), STTP_OK);
    ck_assert_int_eq(check_length(STTP_ACTION_DELETE, "/", "n", 33, "/"), STTP_OK);
    ck_assert_int_eq(check_length(STTP_ACTION_LIST, "/", "n", 255, ""), STTP_OK);
    ck_assert_int_eq(check_length(STTP_ACTION_LIST, "/", "n", 256, ""),
                     STTP_ERR_DIRECTORY_TOO_LONG);
    ck_assert_uint_eq(problem.length, 256);
    ck_assert_int_eq(check_length(STTP_ACTION_DELETE, "/", "n", 255, "/"), STTP_OK);
    ck_assert_int_eq(check_length(STTP_ACTION_DELETE, "/x/", "n", 256, "/"),
                     STTP_ERR_DIRECTORY_TOO_LONG);
    ck_assert_uint_eq(problem.offset, 3);
    ck_assert_int_eq(check_length(STTP_ACTION_CREATE, "/", "n", 255, "/a"), STTP_OK);
    ck_assert_int_eq(check_length(STTP_ACTION_CREATE, "/", "n", 256, "/a"),
                     STTP_ERR_DIRECTORY_TOO_LONG);
    ck_assert_int_eq(check_length(STTP_ACTION_SHOW, "/a", "/n", 510, "/d"), STTP_OK);
    ck_assert_int_eq(check_length(STTP_ACTION_SHOW, "", "/n", 511, "/"), STTP_ERR_PATH_FINAL_SLASH);
    ck_assert_int_eq(check_length(STTP_ACTION_LIST, "", "/n", 511, "/"), STTP_OK);
    ck_assert_int_eq(check_length(STTP_ACTION_LIST, "", "/n", 512, ""), STTP_OK);
    ck_assert_int_eq(check_length(STTP_ACTION_LIST, "", "/n", 512, "/"), STTP_ERR_PATH_TOO_LONG);
    ck_assert_uint_eq(problem.length, 1025);
    /* The filename comes before the length of the path and of the directories. */
    ck_assert_int_eq(check_length(STTP_ACTION_SHOW, "/d/", "n", 1100, ""),
                     STTP_ERR_FILENAME_TOO_LONG);
    ck_assert_int_eq(check_length(STTP_ACTION_LIST, "/d/", "n", 1100, ""), STTP_ERR_PATH_TOO_LONG);
}
END_TEST

START_TEST(parents)
{
    ck_assert(slice_is(sttp_parent_path(slice_of("/a/b")), "/a/"));
    ck_assert(slice_is(sttp_parent_path(slice_of("/a/b/")), "/a/"));
    ck_assert(slice_is(sttp_parent_path(slice_of("/a")), "/"));
    ck_assert(slice_is(sttp_parent_path(slice_of("/a/")), "/"));
    ck_assert(slice_is(sttp_parent_path(slice_of("/")), "/"));
    ck_assert(slice_is(sttp_parent_path(slice_of("")), ""));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("message");
    TCase *tcase = tcase_create("message");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, statuses_have_names_and_texts);
    tcase_add_test(tcase, actions);
    tcase_add_test(tcase, codes);
    tcase_add_test(tcase, every_code_point);
    tcase_add_test(tcase, every_short_sequence);
    tcase_add_test(tcase, four_byte_bounds);
    tcase_add_test(tcase, every_byte_at_every_place);
    tcase_add_test(tcase, text_limits);
    tcase_add_test(tcase, path_rules);
    tcase_add_test(tcase, path_lengths);
    tcase_add_test(tcase, parents);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
