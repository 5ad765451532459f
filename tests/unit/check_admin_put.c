/* What sttpd-admin makes of each answer of a store while it puts texts and directories into it. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sttpd-admin/put.h"

enum { MAX_STEPS = 4 };

/* A store that answers as it was told, operation after operation, and notes what it was asked. */
struct script {
    store base;          /* first, so that one is the other */
    const char *answers; /* a letter for each operation, see result_of */
    char asked[16 * MAX_STEPS];
    size_t count;
};

static store_result result_of(char letter)
{
    static const struct {
        char letter;
        store_result result;
    } results[] = {
        {'d', STORE_DONE},
        {'n', STORE_NOT_FOUND},
        {'p', STORE_PATH_NOT_FOUND},
        {'e', STORE_EXISTS},
        {'i', STORE_INVALID_TEXT},
        {'f', STORE_IS_FILE},
        {'o', STORE_OUTCOME_UNKNOWN},
        {'s', STORE_NO_SPACE},
        {'x', STORE_DENIED},
    };

    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        if (results[i].letter == letter)
            return results[i].result;
    }
    ck_abort_msg("no answer is left");
    return STORE_IO;
}

/* "there" is what a SHOW shows. */
static void submit(store *base, store_operation *operation)
{
    struct script *script = (struct script *)base;
    size_t used = strlen(script->asked);

    snprintf(script->asked + used, sizeof script->asked - used, "%s%s", used > 0 ? " " : "",
             sttp_action_name(operation->action));
    operation->result = result_of(script->answers[script->count++]);
    if (operation->result == STORE_DONE && operation->action == STTP_ACTION_SHOW)
        operation->contents = STTP_SLICE("there");
    operation->complete(operation);
}

static const struct put_case {
    const char *text; /* NULL: an empty directory */
    bool is_absent, overwrites;
    const char *answers, *asked;
    const char *counted; /* "made" and so on; "stopped": and all else is */
} cases[] = {
    {"there", true, false, "d", "CREATE", "made"},
    {"there", false, false, "nd", "SHOW CREATE", "made"},
    {"there", false, false, "pd", "SHOW CREATE", "made"},
    {"there", false, false, "d", "SHOW", "same"},
    {"there", false, true, "d", "SHOW", "same"},
    {"other", false, false, "d", "SHOW", "differing"},
    {"ther", false, false, "d", "SHOW", "differing"},
    {"other", false, true, "dd", "SHOW UPDATE", "replaced"},
    {"other", false, true, "id", "SHOW UPDATE", "replaced"},
    {"other", false, false, "i", "SHOW", "differing"},
    /* Somebody else was faster, or slower. */
    {"there", true, false, "ed", "CREATE SHOW", "same"},
    {"other", true, false, "ed", "CREATE SHOW", "differing"},
    {"there", true, false, "end", "CREATE SHOW CREATE", "made"},
    {"other", false, true, "dn", "SHOW UPDATE", "failed"},
    /* Failures of one path, and of all. */
    {"there", true, false, "x", "CREATE", "failed"},
    {"there", false, false, "x", "SHOW", "failed"},
    {"there", true, false, "s", "CREATE", "stopped"},
    {"there", true, false, "o", "CREATE", "stopped"},
    {"other", false, true, "do", "SHOW UPDATE", "stopped"},
    {NULL, false, false, "dn", "LIST DELETE", "same"},
    {NULL, false, false, "dd", "LIST DELETE", "same"},
    {NULL, false, false, "ndd", "LIST CREATE DELETE", "directories"},
    {NULL, false, false, "ped", "LIST CREATE DELETE", "directories"},
    {NULL, false, false, "ndn", "LIST CREATE DELETE", "directories"},
    {NULL, false, false, "f", "LIST", "failed"},
    {NULL, false, false, "nx", "LIST CREATE", "failed"},
    {NULL, false, false, "ns", "LIST CREATE", "stopped"},
    {NULL, false, false, "ndo", "LIST CREATE DELETE", "stopped"},
};

static void begin(struct put *put, const struct put_case *given)
{
    struct job *begun =
        work_next(&put->work, given->text != NULL ? STTP_SLICE("/d/f") : STTP_SLICE("/d/"));

    begun->is_absent = given->is_absent;
    begun->is_directory = given->text == NULL;
    if (given->text == NULL) {
        put_directory(begun);
        return;
    }
    begun->text_size = strlen(given->text);
    memcpy(begun->text, given->text, begun->text_size);
    put_text(begun);
}

START_TEST(each_answer_has_its_consequence)
{
    const struct put_case *given = &cases[_i];
    struct script script = {.base.submit = submit, .answers = given->answers};
    struct put put;
    bool stops = strcmp(given->counted, "stopped") == 0;
    bool fails = stops || strcmp(given->counted, "failed") == 0;

    ck_assert(put_start(&put, &script.base, given->overwrites, "put"));
    begin(&put, given);
    ck_assert_int_eq(put_finish(&put), !fails && strcmp(given->counted, "differing") != 0);
    ck_assert_str_eq(script.asked, given->asked);
    ck_assert_uint_eq(script.count, strlen(given->answers));
    ck_assert_uint_eq(put.made, strcmp(given->counted, "made") == 0);
    ck_assert_uint_eq(put.directories, strcmp(given->counted, "directories") == 0);
    ck_assert_uint_eq(put.same, strcmp(given->counted, "same") == 0);
    ck_assert_uint_eq(put.replaced, strcmp(given->counted, "replaced") == 0);
    ck_assert_uint_eq(put.differing, strcmp(given->counted, "differing") == 0);
    ck_assert_uint_eq(put.failed, fails);
    ck_assert_int_eq(put.is_stopped, stops);
}
END_TEST

/* The name of the file in an empty directory, where the path is nearly too long for one. */
static void note_path(store *base, store_operation *operation)
{
    struct script *script = (struct script *)base;

    if (operation->action == STTP_ACTION_CREATE)
        snprintf(script->asked, sizeof script->asked, "%zu %.*s", operation->path.size, 8,
                 operation->path.data + operation->path.size - 8);
    operation->result = operation->action == STTP_ACTION_LIST ? STORE_NOT_FOUND : STORE_DONE;
    operation->complete(operation);
}

START_TEST(a_long_directory_has_a_file_with_a_short_name)
{
    static const struct {
        size_t size;
        const char *expected;
    } sizes[] = {{100, "107 /.sttp-d"},
                 {1017, "1024 /.sttp-d"},
                 {1018, "1019 xxxxxx/d"},
                 {1024, "1025 xxxxxx/d"}};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct script script = {.base.submit = note_path};
        struct put put;
        char path[STTP_MAX_PATH];
        memset(path, 'x', sizeof path);
        for (size_t k = 0; k < sizes[i].size; k += 200)
            path[k] = '/';
        path[sizes[i].size - 1] = '/';
        ck_assert(put_start(&put, &script.base, false, "put"));
        put_directory(work_next(&put.work, (sttp_slice){path, sizes[i].size}));
        ck_assert(put_finish(&put));
        ck_assert_str_eq(script.asked, sizes[i].expected);
    }
}
END_TEST

/* The short name may be somebody's: what was not created here stays. */
START_TEST(a_file_with_a_short_name_is_deleted_only_where_it_was_made)
{
    static const struct {
        const char *answers, *asked;
        unsigned made;
    } given[] = {{"dn", "LIST SHOW", 0},
                 {"dd", "LIST SHOW", 0},
                 {"dx", "LIST SHOW", 0},
                 {"ne", "LIST CREATE", 1},
                 {"ndd", "LIST CREATE DELETE", 1}};
    char path[1019];
    sttp_slice directory = {path, sizeof path - 1};

    memset(path, 'x', sizeof path);
    for (size_t k = 0; k < sizeof path; k += 200)
        path[k] = '/';
    path[sizeof path - 2] = '/';
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        struct script script = {.base.submit = submit, .answers = given[i].answers};
        struct put put;
        ck_assert(put_start(&put, &script.base, false, "put"));
        put_directory(work_next(&put.work, directory));
        ck_assert(put_must_wait(&put, (sttp_slice){path, sizeof path}));
        ck_assert(!put_must_wait(&put, STTP_SLICE("/short")));
        ck_assert(put_finish(&put));
        ck_assert_str_eq(script.asked, given[i].asked);
        ck_assert_uint_eq(put.directories, given[i].made);
        ck_assert_uint_eq(put.same, !given[i].made);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("admin_put");
    TCase *tests = tcase_create("put");

    tcase_add_loop_test(tests, each_answer_has_its_consequence, 0, sizeof cases / sizeof *cases);
    tcase_add_test(tests, a_long_directory_has_a_file_with_a_short_name);
    tcase_add_test(tests, a_file_with_a_short_name_is_deleted_only_where_it_was_made);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
