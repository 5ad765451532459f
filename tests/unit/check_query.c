/* Queries, and what their keys `name` and `q` compare by. */
#include <ctype.h>

#include "core_support.h"

static sttp_problem problem;

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
    struct guarded guarded = guarded_create(64);
    char buffer[64];
    sttp_query query;
    size_t i;

    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        size_t size = strlen(table[i].query);
        sttp_slice encoded = {guarded_copy(&guarded, table[i].query, size), size};
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
    guarded_destroy(&guarded);
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
    struct guarded guarded = guarded_create(4);
    unsigned p, n;

    ck_assert(sttp_name_matches(slice_of("*.txt"), slice_of("a.txt")));
    ck_assert(!sttp_name_matches(slice_of("*.txt"), slice_of("a.TXT")));
    ck_assert(sttp_name_matches(slice_of("?"), slice_of("\xf0\x9f\x98\x80")));
    ck_assert(!sttp_name_matches(slice_of("??"), slice_of("\xd0\xb6")));
    ck_assert(sttp_name_matches(slice_of("*?\xd0\xb6"), slice_of("x\xd0\xb6\xd0\xb6")));
    ck_assert(sttp_name_matches(slice_of("??"),
                                (sttp_slice){guarded_copy(&guarded, "\xd0\xb6\xd0\xb6", 4), 4}));
    guarded_destroy(&guarded);
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

/* The rule as it stands: at each place, byte for byte. */
static bool contains_plainly(sttp_slice text, sttp_slice needle)
{
    for (size_t i = 0; i + needle.size <= text.size; i++) {
        size_t same = 0;
        while (same < needle.size && (text.data[i + same] == needle.data[same] ||
                                      (isalpha((unsigned char)needle.data[same]) &&
                                       (text.data[i + same] ^ needle.data[same]) == 0x20)))
            same++;
        if (same == needle.size)
            return true;
    }
    return false;
}

static sttp_slice some_text(char *room, size_t most, unsigned *state)
{
    static const char alphabet[] = "aAbB@`";
    size_t size = 0;
    *state = *state * 1103515245 + 12345;
    for (size = 0; size < (*state >> 16) % (most + 1); size++)
        room[size] = alphabet[(*state >> 8 * (size % 3)) * (size + 7) / 5 % (sizeof alphabet - 1)];
    return (sttp_slice){room, size};
}

START_TEST(contains_as_the_rule_says)
{
    unsigned state = 1;
    int contained = 0;
    for (int i = 0; i < 100000; i++) {
        char text[16], needle[5];
        sttp_slice in = some_text(text, sizeof text, &state);
        sttp_slice what = some_text(needle, sizeof needle, &state);
        bool wanted = contains_plainly(in, what);
        ck_assert_msg(sttp_text_contains(in, what) == wanted, "%.*s in %.*s", (int)what.size,
                      needle, (int)in.size, text);
        contained += wanted;
    }
    ck_assert_int_gt(contained, 10000);
    ck_assert_int_lt(contained, 90000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("query");
    TCase *tcase = tcase_create("query");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, query_values);
    tcase_add_test(tcase, query_defaults);
    tcase_add_test(tcase, query_mistakes);
    tcase_add_test(tcase, query_buffer_size);
    tcase_add_test(tcase, name_patterns);
    tcase_add_test(tcase, name_patterns_take_no_exponential_time);
    tcase_add_test(tcase, text_search);
    tcase_add_test(tcase, contains_as_the_rule_says);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
