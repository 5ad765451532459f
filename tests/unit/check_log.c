/* The log: one event, one line, whatever is in it and whoever does not read it. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/text.h"

static int ends[2];
static log_sink sink;

static void setup(void)
{
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    ck_assert_int_eq(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    sink = (log_sink){.fd = ends[1], .level = LOG_LEVEL_INFO, .mutex = PTHREAD_MUTEX_INITIALIZER};
}

static void teardown(void)
{
    close(ends[0]);
    close(ends[1]);
}

/* What stands in the pipe, as a string. */
static size_t take(char *buffer, size_t capacity)
{
    ssize_t size = read(ends[0], buffer, capacity - 1);

    if (size < 0)
        size = 0;
    buffer[size] = '\0';
    return (size_t)size;
}

START_TEST(one_line_with_time_and_level)
{
    char line[4096];
    int year, month, day, hour, minute, second, millisecond, end = 0;

    log_write(&sink, LOG_LEVEL_INFO, "listening on %s", "127.0.0.1:43211");
    take(line, sizeof line);
    ck_assert_int_eq(sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &year, &month, &day, &hour,
                            &minute, &second, &millisecond, &end),
                     7);
    ck_assert_int_eq(end, 25);
    ck_assert_str_eq(line + end, "info listening on 127.0.0.1:43211\n");
}
END_TEST

START_TEST(levels)
{
    char line[4096];

    log_write(&sink, LOG_LEVEL_DEBUG, "hidden");
    ck_assert_uint_eq(take(line, sizeof line), 0);
    log_write(&sink, LOG_LEVEL_ERROR, "shown");
    take(line, sizeof line);
    ck_assert_str_eq(line + 25, "error shown\n");
    sink.level = LOG_LEVEL_DEBUG;
    log_write(&sink, LOG_LEVEL_DEBUG, "shown");
    take(line, sizeof line);
    ck_assert_str_eq(line + 25, "debug shown\n");
}
END_TEST

/* Who logs on its way out of a failure still has the reason. */
START_TEST(errno_stays)
{
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

    ck_assert_int_ge(full, 0);
    sink.fd = full;
    errno = EXDEV;
    log_write(&sink, LOG_LEVEL_INFO, "no space");
    ck_assert_int_eq(errno, EXDEV);
    ck_assert_uint_eq(sink.lost, 1);
    close(full);
}
END_TEST

START_TEST(no_bytes_forge_a_line)
{
    char line[4096];

    log_write(&sink, LOG_LEVEL_WARNING, "path %s", "/a\nb\r\x1b[31m\xff\\x");
    take(line, sizeof line);
    ck_assert_str_eq(line + 25, "warning path /a\\nb\\x0d\\x1b[31m\\xff\\\\x\n");
}
END_TEST

START_TEST(long_lines_are_cut)
{
    char line[8192];
    char *text = malloc(100000);

    ck_assert_ptr_nonnull(text);
    for (int control = 0; control <= 1; control++) {
        memset(text, control ? 1 : 'a', 99999);
        text[99999] = '\0';
        log_write(&sink, LOG_LEVEL_INFO, "%s", text);
        size_t size = take(line, sizeof line);
        ck_assert_uint_le(size, PIPE_BUF);
        ck_assert_str_eq(line + size - 4, "...\n");
        ck_assert_ptr_eq(strchr(line, '\n'), line + size - 1);
    }
    free(text);
}
END_TEST

/* A reader that is stuck costs lines, not threads; what was lost is told. */
START_TEST(a_full_pipe_does_not_block)
{
    enum { MANY = 20000 };
    char *line = malloc(1 << 20);
    unsigned long long lost = 0;
    size_t lines = 0;

    ck_assert_ptr_nonnull(line);
    for (int i = 0; i < MANY; i++)
        log_write(&sink, LOG_LEVEL_INFO, "line %d", i);
    size_t size = take(line, 1 << 20);
    for (size_t i = 0; i < size; i++)
        lines += line[i] == '\n';
    ck_assert_uint_lt(lines, MANY);

    log_write(&sink, LOG_LEVEL_INFO, "after");
    take(line, 1 << 20);
    ck_assert_int_eq(sscanf(line + 25, "warning %llu log lines were lost", &lost), 1);
    ck_assert_uint_eq(lost + lines, MANY);
    ck_assert_ptr_nonnull(strstr(line, "info after\n"));

    log_write(&sink, LOG_LEVEL_INFO, "once");
    take(line, 1 << 20);
    ck_assert_str_eq(line + 25, "info once\n");
    free(line);
}
END_TEST

static const struct escape {
    const char *text;
    size_t size;
    const char *escaped;
} escapes[] = {
    {"", 0, ""},
    {"abc", 3, "abc"},
    {"a\tb\nc\\d", 7, "a\\tb\\nc\\\\d"},
    {"\0\x7f", 2, "\\x00\\x7f"},
    {"\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80"},
    {"\xc2\x85", 2, "\\xc2\\x85"},
    {"\xe2\x80\xa8", 3, "\\xe2\\x80\\xa8"},
    {"\xe2\x80\xae", 3, "\\xe2\\x80\\xae"},
    {"\xc0\x80", 2, "\\xc0\\x80"},
    {"\xed\xa0\x80", 3, "\\xed\\xa0\\x80"},
    {"\xf4\x90\x80\x80", 4, "\\xf4\\x90\\x80\\x80"},
    {"\xe2\x82", 2, "\\xe2\\x82"},
    {"\xe2\x82x", 3, "\\xe2\\x82x"},
};

START_TEST(escaping)
{
    char buffer[64];

    size_t size = text_escape(escapes[_i].text, escapes[_i].size, buffer, sizeof buffer);
    ck_assert_str_eq(buffer, escapes[_i].escaped);
    ck_assert_uint_eq(size, strlen(escapes[_i].escaped));
}
END_TEST

START_TEST(escaping_cuts_between_characters)
{
    static const char text[] = "ab\xe2\x82\xac\ncd\xff!";

    for (size_t capacity = 8; capacity < 24; capacity++) {
        char buffer[24];
        size_t size = text_escape(text, sizeof text - 1, buffer, capacity);
        ck_assert_uint_lt(size, capacity);
        ck_assert_uint_eq(strlen(buffer), size);
        if (capacity > 14) {
            ck_assert_str_eq(buffer, "ab\xe2\x82\xac\\ncd\\xff!");
            continue;
        }
        ck_assert_str_eq(buffer + size - 3, "...");
        buffer[size - 3] = '\0';
        ck_assert_ptr_eq(strstr("ab\xe2\x82\xac\\ncd\\xff!", buffer) == NULL ? NULL : buffer,
                         buffer);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tests = tcase_create("log");
    SRunner *runner = srunner_create(suite);

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, one_line_with_time_and_level);
    tcase_add_test(tests, levels);
    tcase_add_test(tests, errno_stays);
    tcase_add_test(tests, no_bytes_forge_a_line);
    tcase_add_test(tests, long_lines_are_cut);
    tcase_add_test(tests, a_full_pipe_does_not_block);
    tcase_add_loop_test(tests, escaping, 0, (int)(sizeof escapes / sizeof escapes[0]));
    tcase_add_test(tests, escaping_cuts_between_characters);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
