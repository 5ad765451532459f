/* Values and rules: status texts, actions, codes, UTF-8, paths, texts, queries, patterns, and the
 * explanations. */
#include "core_support.h"

enum { LAST_STATUS = 130 };

static sttp_problem problem;

static const char *repeat(char *buffer, const char *unit, size_t count)
{
    size_t size = strlen(unit);
    size_t i;

    for (i = 0; i < count; i++)
        memcpy(buffer + i * size, unit, size);
    buffer[count * size] = '\0';
    return buffer;
}

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
    ck_assert_int_eq(known, 64);
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
    char path[4096], middle[2048];

    snprintf(path, sizeof(path), "%s%s%s", before, repeat(middle, unit, count), after);
    problem = (sttp_problem){.status = STTP_OK};
    return sttp_check_path(action, slice_of(path), &problem);
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

START_TEST(query_values)
{
    const char *text =
        "q=Buy%20m%c3%89=%2B+&name=*.t?t&recursive=1&type=all&limit=10000&after=%41b";
    char buffer[128];
    sttp_query query;

    ck_assert_int_eq(sttp_query_parse(slice_of(text), buffer, &query, &problem), STTP_OK);
    ck_assert(slice_is(query.text, "Buy m\xc3\x89=++"));
    ck_assert(slice_is(query.name, "*.t?t"));
    ck_assert(slice_is(query.after, "Ab"));
    ck_assert_uint_eq(query.limit, 10000);
    ck_assert_int_eq(query.type, STTP_LIST_ALL);
    ck_assert(query.recursive);
    ck_assert_int_eq(sttp_query_parse(slice_of(text), NULL, &query, &problem), STTP_OK);
    ck_assert_int_eq(query.type, STTP_LIST_ALL);
    ck_assert_uint_eq(query.limit, 10000);
}
END_TEST

START_TEST(query_defaults)
{
    char buffer[32];
    sttp_query query;

    memset(&query, 0xff, sizeof(query));
    ck_assert_int_eq(sttp_query_parse((sttp_slice){NULL, 0}, NULL, &query, NULL), STTP_OK);
    ck_assert_ptr_null(query.text.data);
    ck_assert_ptr_null(query.name.data);
    ck_assert_ptr_null(query.after.data);
    ck_assert_uint_eq(query.limit, 0);
    ck_assert_int_eq(query.type, STTP_LIST_ALL);
    ck_assert(!query.recursive);
    ck_assert_int_eq(sttp_query_parse(slice_of("q="), buffer, &query, NULL), STTP_OK);
    ck_assert(slice_is(query.text, ""));
    ck_assert_int_eq(query.type, STTP_LIST_FILES);
    ck_assert_int_eq(sttp_query_parse(slice_of("q=x"), NULL, &query, NULL), STTP_OK);
    ck_assert_int_eq(query.type, STTP_LIST_FILES);
    ck_assert_int_eq(sttp_query_parse(slice_of("type=dir&q=x"), buffer, &query, NULL), STTP_OK);
    ck_assert_int_eq(query.type, STTP_LIST_DIRECTORIES);
    ck_assert_int_eq(sttp_query_parse(slice_of("type=%66ile&limit=%31"), buffer, &query, NULL),
                     STTP_OK);
    ck_assert_int_eq(query.type, STTP_LIST_FILES);
    ck_assert_uint_eq(query.limit, 1);
    ck_assert_int_eq(sttp_query_parse(slice_of("recursive=0"), buffer, &query, NULL), STTP_OK);
    ck_assert(!query.recursive);
}
END_TEST

START_TEST(query_mistakes)
{
    static const struct {
        const char *query;
        sttp_status status;
        size_t offset;
        const char *word;
    } table[] = {
        {"", STTP_ERR_QUERY_KEY, 0, ""},
        {"q", STTP_ERR_QUERY_KEY, 0, ""},
        {"=x", STTP_ERR_QUERY_KEY, 0, ""},
        {"q=x&", STTP_ERR_QUERY_KEY, 4, ""},
        {"&q=x", STTP_ERR_QUERY_KEY, 0, ""},
        {"colour=red", STTP_ERR_QUERY_KEY, 0, ""},
        {"Q=x", STTP_ERR_QUERY_KEY, 0, "q"},
        {"q=x&limti=2", STTP_ERR_QUERY_KEY, 4, "limit"},
        {"%71=x", STTP_ERR_QUERY_KEY, 0, ""},
        {"recursiv=1", STTP_ERR_QUERY_KEY, 0, "recursive"},
        {"limit=1&limit=2", STTP_ERR_QUERY_TWICE, 8, "limit"},
        {"q=&q=", STTP_ERR_QUERY_TWICE, 3, "q"},
        {"limit=0", STTP_ERR_QUERY_VALUE, 6, "limit"},
        {"limit=", STTP_ERR_QUERY_VALUE, 6, "limit"},
        {"limit=01", STTP_ERR_QUERY_VALUE, 6, "limit"},
        {"limit=+1", STTP_ERR_QUERY_VALUE, 6, "limit"},
        {"limit=-1", STTP_ERR_QUERY_VALUE, 6, "limit"},
        {"limit=1x", STTP_ERR_QUERY_VALUE, 6, "limit"},
        {"limit=10001", STTP_ERR_QUERY_VALUE, 6, "limit"},
        {"limit=4294967297", STTP_ERR_QUERY_VALUE, 6, "limit"},
        {"limit=42949673", STTP_ERR_QUERY_VALUE, 6, "limit"},
        {"limit=18446744073709551617", STTP_ERR_QUERY_VALUE, 6, "limit"},
        {"recursive=2", STTP_ERR_QUERY_VALUE, 10, "recursive"},
        {"recursive=", STTP_ERR_QUERY_VALUE, 10, "recursive"},
        {"recursive=true", STTP_ERR_QUERY_VALUE, 10, "recursive"},
        {"type=", STTP_ERR_QUERY_VALUE, 5, "type"},
        {"type=File", STTP_ERR_QUERY_VALUE, 5, "type"},
        {"type=directories", STTP_ERR_QUERY_VALUE, 5, "type"},
        {"name=", STTP_ERR_QUERY_VALUE, 5, "name"},
        {"after=", STTP_ERR_QUERY_VALUE, 6, "after"},
        {"q=%", STTP_ERR_QUERY_ESCAPE, 2, ""},
        {"q=ab%4", STTP_ERR_QUERY_ESCAPE, 4, ""},
        {"q=%zz", STTP_ERR_QUERY_ESCAPE, 2, ""},
        {"q=%4g", STTP_ERR_QUERY_ESCAPE, 2, ""},
        {"q=%-1", STTP_ERR_QUERY_ESCAPE, 2, ""},
        {"q=%0a", STTP_ERR_QUERY_ESCAPE, 2, ""},
        {"q=%00", STTP_ERR_QUERY_ESCAPE, 2, ""},
        {"q=%09", STTP_ERR_QUERY_ESCAPE, 2, ""},
        {"q=%7F", STTP_ERR_QUERY_ESCAPE, 2, ""},
        {"q=x%C2%85", STTP_ERR_QUERY_ESCAPE, 3, ""},
        {"q=%ff", STTP_ERR_QUERY_ESCAPE, 2, ""},
        {"q=%C0%AF", STTP_ERR_QUERY_ESCAPE, 2, ""},
        {"q=%ED%A0%80", STTP_ERR_QUERY_ESCAPE, 2, ""},
        {"q=%c3", STTP_ERR_QUERY_ESCAPE, 2, ""},
        {"q=%c3&name=x", STTP_ERR_QUERY_ESCAPE, 2, ""},
        {"q=a b", STTP_ERR_QUERY_ESCAPE, 3, ""},
        {"limit=1%", STTP_ERR_QUERY_ESCAPE, 7, ""},
        {"name=%", STTP_ERR_QUERY_ESCAPE, 5, ""},
    };
    char buffer[64];
    sttp_query query;
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        sttp_slice encoded = slice_of(table[i].query);
        sttp_status status = sttp_query_parse(encoded, buffer, &query, &problem);

        ck_assert_msg(status == table[i].status, "%s: %s", table[i].query,
                      sttp_status_name(status));
        ck_assert_int_eq(problem.status, status);
        ck_assert_msg(problem.offset == table[i].offset, "%s: %zu", table[i].query, problem.offset);
        ck_assert_msg(problem.word.size == strlen(table[i].word) &&
                          memcmp(problem.word.data ? problem.word.data : "", table[i].word,
                                 problem.word.size) == 0,
                      "%s: word", table[i].query);
        ck_assert_int_eq(sttp_query_parse(encoded, NULL, &query, NULL), status);
    }
}
END_TEST

/* The buffer need not be larger than the query. */
START_TEST(query_buffer_size)
{
    const sttp_slice encoded = STTP_SLICE("after=1234567&q=%41%42c&name=x");
    struct guarded guarded = guarded_create(64);
    char *buffer = guarded_copy(&guarded, encoded.data, encoded.size);
    sttp_query query;

    ck_assert_int_eq(sttp_query_parse(encoded, buffer, &query, NULL), STTP_OK);
    ck_assert(slice_is(query.after, "1234567"));
    ck_assert(slice_is(query.text, "ABc"));
    ck_assert(slice_is(query.name, "x"));
    guarded_destroy(&guarded);
}
END_TEST

/* The plain definition, for what takes little time. */
static bool matches_slowly(const char *pattern, const char *name)
{
    if (*pattern == '\0')
        return *name == '\0';
    if (*pattern == '*')
        return matches_slowly(pattern + 1, name) || (*name && matches_slowly(pattern, name + 1));
    return *name && (*pattern == '?' || *pattern == *name) && matches_slowly(pattern + 1, name + 1);
}

START_TEST(name_patterns)
{
    static const char letters[] = "ab*?";
    unsigned p, n;

    ck_assert(sttp_name_matches(slice_of("*.txt"), slice_of("a.txt")));
    ck_assert(!sttp_name_matches(slice_of("*.txt"), slice_of("a.TXT")));
    ck_assert(sttp_name_matches(slice_of("?"), slice_of("\xf0\x9f\x98\x80")));
    ck_assert(!sttp_name_matches(slice_of("??"), slice_of("\xd0\xb6")));
    ck_assert(sttp_name_matches(slice_of("*?\xd0\xb6"), slice_of("x\xd0\xb6\xd0\xb6")));
    ck_assert(!sttp_name_matches(slice_of("*???"), slice_of("\xd0\xb6\xd0\xb6")));
    /* Every pattern of five over every name of five, in base 4 and base 2. */
    for (p = 0; p < 1024; p++) {
        for (n = 0; n < 32; n++) {
            char pattern[6] = "", name[6] = "";
            int i;

            for (i = 0; i < 5; i++) {
                pattern[i] = letters[p >> 2 * i & 3];
                name[i] = letters[n >> i & 1];
            }
            if (sttp_name_matches(slice_of(pattern), slice_of(name)) !=
                matches_slowly(pattern, name))
                ck_abort_msg("%s %s", pattern, name);
        }
    }
}
END_TEST

/* With naive backtracking this would not end. */
START_TEST(name_patterns_take_no_exponential_time)
{
    char pattern[256], name[256];

    repeat(pattern, "*a", 100);
    strcat(pattern, "b");
    ck_assert(!sttp_name_matches(slice_of(pattern), slice_of(repeat(name, "a", 200))));
}
END_TEST

START_TEST(text_search)
{
    ck_assert(sttp_text_contains(slice_of("Buy MILK now"), slice_of("milk")));
    ck_assert(sttp_text_contains(slice_of("Buy milk"), slice_of("Y M")));
    ck_assert(!sttp_text_contains(slice_of("Buymilk"), slice_of("y m")));
    ck_assert(sttp_text_contains(slice_of("x"), slice_of("")));
    ck_assert(sttp_text_contains(slice_of(""), slice_of("")));
    ck_assert(!sttp_text_contains(slice_of(""), slice_of("x")));
    ck_assert(!sttp_text_contains(slice_of("ab"), slice_of("abc")));
    ck_assert(sttp_text_contains(slice_of("xyabc"), slice_of("ABC")));
    ck_assert(!sttp_text_contains(slice_of("\xc3\x89"), slice_of("\xc3\xa9")));
    ck_assert(!sttp_text_contains(slice_of("@"), slice_of("`")));
    ck_assert(!sttp_text_contains(slice_of("["), slice_of("{")));
    ck_assert(!sttp_text_contains(slice_of("xxx"), slice_of("%")));
    ck_assert(!sttp_text_contains(slice_of("xxx"), slice_of("_")));
}
END_TEST

static const char *explain(sttp_status status, size_t offset, size_t length, const char *word)
{
    static char text[STTP_MAX_MESSAGE + 1];
    sttp_problem told = {
        .status = status, .offset = offset, .length = length, .word = slice_of(word)};

    ck_assert_uint_eq(sttp_explain(&told, text, sizeof(text)), strlen(text));
    return text;
}

START_TEST(explanations)
{
    ck_assert_str_eq(explain(STTP_ERR_ACTION, 0, 0, "SHOW"), "unknown action; did you mean SHOW?");
    ck_assert_str_eq(explain(STTP_ERR_ACTION, 0, 0, ""),
                     "unknown action; use CREATE, SHOW, LIST, UPDATE or DELETE");
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
        {STTP_ERR_UTF8, "", "byte 8 "},
        {STTP_ERR_TARGET_MISSING, "LIST", "write LIST /path"},
        {STTP_ERR_TARGET_MISSING, "UPDATE", "write UPDATE /path text"},
        {STTP_ERR_TARGET_URL, "CREATE", "write CREATE /path text"},
        {STTP_ERR_PATH_RELATIVE, "SHOW", "write SHOW /path"},
        {STTP_ERR_PATH_EMPTY_SEGMENT, "", "byte 8;"},
        {STTP_ERR_PATH_DOT_SEGMENT, "", ".."},
        {STTP_ERR_PATH_RESERVED, "", STTP_RESERVED_PREFIX},
        {STTP_ERR_PATH_FORBIDDEN, "", "byte 8"},
        {STTP_ERR_PATH_FINAL_SLASH, "SHOW", "use LIST"},
        {STTP_ERR_PATH_FINAL_SLASH, "CREATE", "leave out the final slash"},
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
    tcase_add_test(tcase, query_values);
    tcase_add_test(tcase, query_defaults);
    tcase_add_test(tcase, query_mistakes);
    tcase_add_test(tcase, query_buffer_size);
    tcase_add_test(tcase, name_patterns);
    tcase_add_test(tcase, name_patterns_take_no_exponential_time);
    tcase_add_test(tcase, text_search);
    tcase_add_test(tcase, explanations);
    tcase_add_test(tcase, explanations_name_what_matters);
    tcase_add_test(tcase, explanations_are_clean);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
