/* What the tests of settings with records share: a run of settings_load, what it said, and
 * allocations that fail. They are linked with malloc, calloc, reallocarray and strndup wrapped. */
#ifndef STTP_TESTS_SETTINGS_RUN_H
#define STTP_TESTS_SETTINGS_RUN_H

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/settings.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof(table)[0]))

enum { MAX_FLAGS = 8 };

/* One run of the settings: what came out, but for the values. */
struct said {
    int status;
    settings_command command;
    settings_report report;
    char *text; /* what was reported */
    size_t size;
};

static char name[64]; /* of the settings file, which is in memory */

/* While settings are loaded the allocation with the number `fails_at` fails, from 1; 0 for none. */
static bool is_loading;
static size_t allocations, fails_at;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_reallocarray(void *block, size_t count, size_t size);
void *__wrap_reallocarray(void *block, size_t count, size_t size);
char *__real_strndup(const char *text, size_t size);
char *__wrap_strndup(const char *text, size_t size);

static inline bool allocation_fails(void)
{
    return is_loading && ++allocations == fails_at;
}

void *__wrap_malloc(size_t size)
{
    return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_reallocarray(void *block, size_t count, size_t size)
{
    return allocation_fails() ? NULL : __real_reallocarray(block, count, size);
}

char *__wrap_strndup(const char *text, size_t size)
{
    return allocation_fails() ? NULL : __real_strndup(text, size);
}

/* Reads a file, and flags up to one that is NULL. */
static inline void load(const settings_program *program, void *values, struct said *said,
                        const char *text, char *const *flags)
{
    char self[] = "program", config[] = "-c";
    char *argv[3 + MAX_FLAGS + 1] = {self, config, name};
    int argc = 3;
    int fd = memfd_create("settings", MFD_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    *said = (struct said){0};
    for (; *flags != NULL && argc < 3 + MAX_FLAGS; flags++)
        argv[argc++] = *flags;
    said->report.out = open_memstream(&said->text, &said->size);
    ck_assert_ptr_nonnull(said->report.out);
    is_loading = true;
    said->status = settings_load(program, argc, argv, values, &said->command, &said->report);
    is_loading = false;
    fclose(said->report.out);
    close(fd);
}

static inline void assert_says(const struct said *said, const char *part)
{
    ck_assert_msg(strstr(said->text, part) != NULL, "not said: %s\nbut: %s", part, said->text);
}

/* Loads again and again, each time with another allocation that fails: it is told, once. Where none
 * fails the status is the one given. Returns how many there are. */
static inline size_t fail_each(const settings_program *program, void *values, const char *text,
                               char *const *flags, int status)
{
    struct said said;
    bool failed = true;

    for (fails_at = 1; failed; fails_at++) {
        allocations = 0;
        load(program, values, &said, text, flags);
        failed = allocations >= fails_at;
        ck_assert_int_eq(said.status, failed ? 1 : status);
        const char *found = strstr(said.text, "out of memory\n");
        ck_assert((found != NULL) == failed);
        ck_assert(found == NULL || strstr(found + 1, "out of memory") == NULL);
        settings_release(program, values);
        free(said.text);
    }
    fails_at = 0;
    return allocations;
}

static inline int run_suite(const char *suite_name, void (*add)(TCase *tests))
{
    Suite *suite = suite_create(suite_name);
    TCase *tests = tcase_create(suite_name);
    SRunner *runner = srunner_create(suite);

    add(tests);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
