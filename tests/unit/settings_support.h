/* What the tests of sttpd's settings share: a settings file, a run of the settings, what it said.
 */
#ifndef STTP_TESTS_SETTINGS_SUPPORT_H
#define STTP_TESTS_SETTINGS_SUPPORT_H

#include <check.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sttpd/options.h"

enum { MAX_ARGUMENTS = 16 };

/* One run of the settings: what came out. */
struct run {
    int status;
    struct sttpd_options options;
    settings_command command;
    settings_report report;
    char *text; /* what was reported */
    size_t size;
};

static char directory[] = "/tmp/sttp-settings-XXXXXX";
static char file[sizeof directory + 16];

static inline void setup(void)
{
    memcpy(directory + sizeof directory - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(file, sizeof file, "%s/s.conf", directory);
}

static inline void teardown(void)
{
    unlink(file);
    ck_assert_int_eq(rmdir(directory), 0);
}

static inline void write_file(const char *text, size_t size)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, size), (ssize_t)size);
    close(fd);
}

static inline void run_list(struct run *run, const char *first, va_list more)
{
    char *argv[MAX_ARGUMENTS];
    int argc = 1;

    memset(run, 0, sizeof *run);
    argv[0] = (char *)(uintptr_t) "sttpd";
    for (const char *next = first; next != NULL; next = va_arg(more, const char *)) {
        ck_assert_int_lt(argc, MAX_ARGUMENTS);
        argv[argc++] = (char *)(uintptr_t)next;
    }
    run->report.out = open_memstream(&run->text, &run->size);
    ck_assert_ptr_nonnull(run->report.out);
    run->status =
        settings_load(&sttpd_program, argc, argv, &run->options, &run->command, &run->report);
    fclose(run->report.out);
}

/* Runs with these flags, ended by NULL. */
static inline void run_flags(struct run *run, const char *first, ...)
{
    va_list more;

    va_start(more, first);
    run_list(run, first, more);
    va_end(more);
}

static inline void release(struct run *run)
{
    settings_release(&sttpd_program, &run->options);
    free(run->text);
}

/* Runs with this settings file. */
static inline void run_bytes(struct run *run, const char *text, size_t size)
{
    write_file(text, size);
    run_flags(run, "-c", file, NULL);
}

static inline void run_file(struct run *run, const char *text)
{
    run_bytes(run, text, strlen(text));
}

static inline void assert_says(const struct run *run, const char *part)
{
    ck_assert_msg(strstr(run->text, part) != NULL, "not said: %s\nbut: %s", part, run->text);
}

/* That a file is refused, with these words. */
static inline void assert_refused(const char *text, const char *part)
{
    struct run run;

    run_file(&run, text);
    ck_assert_msg(run.status == 1, "accepted: %s", text);
    assert_says(&run, part);
    release(&run);
}

#define COUNT(table) ((int)(sizeof(table) / sizeof(table)[0]))

static inline int run_tests(const char *name, void (*add)(TCase *tests))
{
    Suite *suite = suite_create(name);
    TCase *tests = tcase_create(name);
    SRunner *runner = srunner_create(suite);

    tcase_add_checked_fixture(tests, setup, teardown);
    add(tests);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
