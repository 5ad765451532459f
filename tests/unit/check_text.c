/* Characters, words and lines as people see them: sttp_next_char, sttp_char_is_unsafe,
 * sttp_word_distance, sttp_nearest_word, and the lines that errors of the client are made of. */
#include "core_support.h"
#include "libsttp/src/text.h"

static const struct {
    const char *bytes;
    size_t size; /* of the character; 0 for none */
    uint32_t character;
} characters[] = {
    {"", 0, 0},
    {"a", 1, 'a'},
    {"\x7f", 1, 0x7f},
    {"\xc2\x80", 2, 0x80},
    {"\xdf\xbf", 2, 0x7ff},
    {"\xe0\xa0\x80", 3, 0x800},
    {"\xef\xbf\xbf!", 3, 0xffff},
    {"\xf0\x90\x80\x80", 4, 0x10000},
    {"\xf4\x8f\xbf\xbf", 4, 0x10ffff},
    {"\x80", 0, 0},
    {"\xc1\xbf", 0, 0},
    {"\xe2\x82", 0, 0},
    {"\xed\xa0\x80", 0, 0},
    {"\xf4\x90\x80\x80", 0, 0},
};

START_TEST(next_char)
{
    sttp_slice text = {characters[_i].bytes, strlen(characters[_i].bytes)};
    uint32_t character = 0;

    ck_assert_uint_eq(sttp_next_char(text, &character), characters[_i].size);
    ck_assert_uint_eq(character, characters[_i].character);
    ck_assert_uint_eq(sttp_next_char(text, NULL), characters[_i].size);
}
END_TEST

START_TEST(unsafe_characters)
{
    static const uint32_t unsafe[] = {0,      0x1f,   '\t',   0x7f,   0x80,   0x9f,
                                      0x200e, 0x2028, 0x202e, 0x2066, 0x2069, 0xfeff};
    static const uint32_t safe[] = {' ', '~', 0xa0, 0x200d, 0x2027, 0x202f, 0x1f600};
    size_t i;

    for (i = 0; i < sizeof unsafe / sizeof *unsafe; i++)
        ck_assert_msg(sttp_char_is_unsafe(unsafe[i]), "U+%04x", (unsigned)unsafe[i]);
    for (i = 0; i < sizeof safe / sizeof *safe; i++)
        ck_assert_msg(!sttp_char_is_unsafe(safe[i]), "U+%04x", (unsigned)safe[i]);
}
END_TEST

static size_t distance(const char *a, const char *b)
{
    return sttp_word_distance((sttp_slice){a, strlen(a)}, (sttp_slice){b, strlen(b)});
}

START_TEST(word_distance)
{
    char longest[64];
    char too_long[65];

    memset(longest, 'x', sizeof longest);
    longest[63] = '\0';
    memset(too_long, 'x', sizeof too_long);
    too_long[64] = '\0';
    ck_assert_uint_eq(distance("", ""), 0);
    ck_assert_uint_eq(distance("", "port"), 4);
    ck_assert_uint_eq(distance("port", ""), 4);
    ck_assert_uint_eq(distance("PORT", "port"), 0);
    ck_assert_uint_eq(distance("prt", "port"), 1);
    ck_assert_uint_eq(distance("porrt", "port"), 1);
    ck_assert_uint_eq(distance("pott", "port"), 1);
    ck_assert_uint_eq(distance("prot", "port"), 1);
    ck_assert_uint_eq(distance("oprt", "port"), 1);
    ck_assert_uint_eq(distance("kitten", "sitting"), 3);
    ck_assert_uint_eq(distance(longest, longest), 0);
    ck_assert_uint_eq(distance(longest, "x"), 62);
    ck_assert_uint_eq(distance(too_long, "port"), SIZE_MAX);
    ck_assert_uint_eq(distance("port", too_long), SIZE_MAX);
}
END_TEST

static const char *nearest(const char *text)
{
    static const char *const words[] = {"timeout", "adverse", "averse", "q"};

    return sttp_nearest_word((sttp_slice){text, strlen(text)}, words, 4).data;
}

START_TEST(nearest_word)
{
    ck_assert_str_eq(nearest("timeout"), "timeout");
    ck_assert_str_eq(nearest("TMEOTU"), "timeout"); /* two of seven letters */
    ck_assert_str_eq(nearest("tmetu"), "");         /* three */
    ck_assert_str_eq(nearest("adderse"), "adverse");
    ck_assert_str_eq(nearest("avverse"), "adverse"); /* "averse" is as near */
    ck_assert_str_eq(nearest("Q"), "q");
    ck_assert_str_eq(nearest("r"), "");
    ck_assert_str_eq(nearest(""), "");
    ck_assert_uint_eq(sttp_nearest_word((sttp_slice){"port", 4}, NULL, 0).size, 0);
}
END_TEST

static const char whole_line[] = "18446744073709551615 ms? \xd0\xb6?\xf0\x9f\x98\x80, after 10.0 s"
                                 " ?\"a\\n\\r\\x00\\xd0\\x22\\x5c\"";

static size_t write_line(char *buffer, size_t capacity)
{
    sttp__text line = sttp__text_begin(buffer, capacity);

    sttp__text_add_number(&line, UINT64_MAX);
    sttp__text_add(&line, " ms\n \xd0\xb6\xff");
    sttp__text_add_slice(&line, STTP_SLICE("\xf0\x9f\x98\x80, after "));
    sttp__text_add_duration(&line, 10049000);
    sttp__text_add_slice(&line, (sttp_slice){" \xd0\xb6", 2}); /* half of a character */
    sttp__text_add_bytes(&line, STTP_SLICE("a\n\r\0\xd0\"\\"));
    return line.size;
}

/* What does not fit is cut between two characters, and nothing comes behind the cut. */
START_TEST(lines_are_cut)
{
    struct guarded guarded = guarded_create(sizeof whole_line);
    size_t capacity;

    for (capacity = 1; capacity <= sizeof whole_line; capacity++) {
        char *buffer = guarded.memory + guarded.usable - capacity;
        size_t size = write_line(buffer, capacity);

        ck_assert_uint_lt(size, capacity);
        ck_assert_uint_eq(strlen(buffer), size);
        ck_assert_msg(memcmp(buffer, whole_line, size) == 0, "%s", buffer);
        ck_assert_uint_ne(sttp_count_chars((sttp_slice){buffer, size}), SIZE_MAX);
    }
    ck_assert_str_eq(guarded.memory + guarded.usable - sizeof whole_line, whole_line);
    guarded_destroy(&guarded);
}
END_TEST

START_TEST(durations_and_numbers)
{
    char buffer[64];
    sttp__text line = sttp__text_begin(buffer, sizeof buffer);

    sttp__text_add_number(&line, 0);
    sttp__text_add(&line, ", ");
    sttp__text_add_duration(&line, 9999999);
    sttp__text_add(&line, ", ");
    sttp__text_add_duration(&line, 61950000);
    ck_assert_str_eq(buffer, "0, 9999 ms, 61.9 s");
}
END_TEST

START_TEST(long_bytes_are_cut)
{
    char buffer[128];
    char bytes[62];
    sttp__text line = sttp__text_begin(buffer, sizeof buffer);

    sttp__text_add_bytes(&line, (sttp_slice){repeat(bytes, "x", 60), 60});
    ck_assert_uint_eq(line.size, 62);
    line = sttp__text_begin(buffer, sizeof buffer);
    sttp__text_add_bytes(&line, (sttp_slice){repeat(bytes, "x", 61), 61});
    ck_assert_uint_eq(line.size, 65);
    ck_assert_str_eq(buffer + 60, "x...\"");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("text");
    TCase *tests = tcase_create("text");

    tcase_add_loop_test(tests, next_char, 0, (int)(sizeof characters / sizeof *characters));
    tcase_add_test(tests, unsafe_characters);
    tcase_add_test(tests, word_distance);
    tcase_add_test(tests, nearest_word);
    tcase_add_test(tests, lines_are_cut);
    tcase_add_test(tests, durations_and_numbers);
    tcase_add_test(tests, long_bytes_are_cut);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
