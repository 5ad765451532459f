/* The SQLite store where memory is out: each allocation fails once, those of SQLite and those of
 * the store itself. Each operation says so or is done; nothing is half done, and the store goes on.
 */
#include <stdatomic.h>

#include "store_sqlite_support.h"

/* ---- allocations, counted ---- */

static struct {
    atomic_int calls;
    atomic_int fails_at; /* the number of the call that fails; 0 for none */
} ledger;

static bool fails(void)
{
    return atomic_fetch_add(&ledger.calls, 1) + 1 == atomic_load(&ledger.fails_at);
}

static void fail_at(int n)
{
    atomic_store(&ledger.calls, 0);
    atomic_store(&ledger.fails_at, n);
}

/* Whether the one that should has failed. */
static bool has_failed(void)
{
    int n = atomic_exchange(&ledger.fails_at, 0);
    return n > 0 && atomic_load(&ledger.calls) >= n;
}

static sqlite3_mem_methods real;

static void *take(int size)
{
    return fails() ? NULL : real.xMalloc(size);
}

static void *retake(void *block, int size)
{
    return fails() ? NULL : real.xRealloc(block, size);
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size)
{
    return fails() ? NULL : __real_realloc(block, size);
}

static void open_counted(void)
{
    sqlite3_mem_methods counted;
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real), SQLITE_OK);
    counted = real;
    counted.xMalloc = take;
    counted.xRealloc = retake;
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_MALLOC, &counted), SQLITE_OK);
    open_fixture();
    ck_assert_int_eq(result_of(CREATE, "/a", "old"), STORE_DONE);
}

/* ---- the tests ---- */

/* One operation while the n-th allocation fails, without the test's own ones. */
static store_result attempt(int n, sttp_action action, const char *path, const char *text,
                            const sttp_query *query)
{
    struct waiting_operation waiting;
    prepare(&waiting, action, path, text);
    if (query != NULL)
        waiting.operation.query = *query;
    fail_at(n);
    fixture.store->submit(fixture.store, &waiting.operation);
    await(&waiting);
    free(waiting.operation.names);
    return waiting.operation.result;
}

static const struct {
    sttp_action action;
    const char *path, *text;
} changes[] = {
    {CREATE, "/d/e/f", "new"}, {UPDATE, "/a", "newer"}, {DELETE, "/a", NULL},
    {CREATE, "/b", "new"},     {DELETE, "/d/", NULL},
};

static void restore(void)
{
    run(DELETE, "/d/e/f", NULL);
    run(DELETE, "/d/e/", NULL);
    run(DELETE, "/d/", NULL);
    run(DELETE, "/b", NULL);
    run(CREATE, "/a", "old");
    run(UPDATE, "/a", "old");
    run(CREATE, "/d/x", "x");
    run(DELETE, "/d/x", NULL);
}

/* What is there: "d/, a=old". Static memory. */
static const char *state(void)
{
    return sql("SELECT group_concat(path || coalesce('=' || text, ''), ' ') FROM "
               "(SELECT path, text FROM entry ORDER BY path)");
}

START_TEST(changes_without_memory)
{
    char before[256], after[256];
    restore();
    snprintf(before, sizeof before, "%s", state());
    ck_assert_int_eq(result_of(changes[_i].action, changes[_i].path, changes[_i].text), STORE_DONE);
    snprintf(after, sizeof after, "%s", state());
    int failures = 0;
    bool failed = true;
    for (int n = 1; failed; n++) {
        restore();
        ck_assert_str_eq(state(), before);
        close_store(); /* so that statements are prepared again */
        open_store();
        store_result result =
            attempt(n, changes[_i].action, changes[_i].path, changes[_i].text, NULL);
        failed = has_failed();
        failures += result != STORE_DONE;
        ck_assert_msg(result == STORE_DONE || result == STORE_NO_MEMORY ||
                          result == STORE_OUTCOME_UNKNOWN,
                      "%d: %d", n, result);
        if (result != STORE_OUTCOME_UNKNOWN)
            ck_assert_str_eq(state(), result == STORE_DONE ? after : before);
        else
            ck_assert(strcmp(state(), before) == 0 || strcmp(state(), after) == 0);
    }
    ck_assert_int_gt(failures, 5);
}
END_TEST

START_TEST(reads_without_memory)
{
    static const sttp_query queries[] = {
        {.recursive = true},
        {.recursive = true, .text = {"old", 3}},
        {.recursive = true, .text = {"ol", 2}, .limit = 1},
    };
    sttp_action action = _i == 0 ? SHOW : LIST;
    const sttp_query *query = _i == 0 ? NULL : &queries[_i - 1];
    int failures = 0;
    bool failed = true;
    wait_for_index();
    for (int n = 1; failed; n++) {
        close_store();
        open_store();
        store_result result = attempt(n, action, _i == 0 ? "/a" : "/", NULL, query);
        failed = has_failed();
        failures += result != STORE_DONE;
        ck_assert_msg(result == STORE_DONE || result == STORE_NO_MEMORY, "%d: %d", n, result);
        ck_assert_int_eq(attempt(0, action, _i == 0 ? "/a" : "/", NULL, query), STORE_DONE);
    }
    ck_assert_int_gt(failures, 3);
}
END_TEST

/* Until the allocation has failed that should, or for as long as the writer may take to begin with
 * the index and to end with it. */
static bool wait_for_failure(void)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int i = 0; i < 30 && atomic_load(&ledger.calls) < atomic_load(&ledger.fails_at); i++)
        nanosleep(&pause, NULL);
    return has_failed();
}

/* The writer fills the index while nobody asks: where it cannot, a search finds all the same. */
START_TEST(index_without_memory)
{
    bool failed = true;
    for (int n = 1; failed; n++) {
        char text[32];
        close_store();
        open_store();
        snprintf(text, sizeof text, "text %d of many", n);
        ck_assert_int_eq(result_of(UPDATE, "/a", text), STORE_DONE);
        fail_at(n);
        failed = wait_for_failure();
        ck_assert_str_eq(list("/", QUERY(.text = slice(text))), "a");
    }
    close_store();
    open_store();
    wait_for_index();
    ck_assert_str_eq(list("/", QUERY(.text = slice("of many"))), "a");
}
END_TEST

START_TEST(open_without_memory)
{
    bool failed = true;
    close_store();
    for (int n = 1; failed; n++) {
        struct store_settings settings = {.sqlite_path = fixture.path};
        char error[1024];
        fail_at(n);
        bool opened = store_sqlite_open(&settings, &fixture.store, error, sizeof error);
        failed = has_failed();
        ck_assert_int_eq(opened, error[0] == '\0');
        ck_assert_msg(opened || strstr(error, "memory") != NULL, "%d: %s", n, error);
        close_store();
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_sqlite_memory");
    TCase *tests = tcase_create("memory");
    tcase_set_timeout(tests, 100);
    tcase_add_checked_fixture(tests, open_counted, remove_directory);
    tcase_add_loop_test(tests, changes_without_memory, 0, sizeof changes / sizeof *changes);
    tcase_add_loop_test(tests, reads_without_memory, 0, 4);
    tcase_add_test(tests, index_without_memory);
    tcase_add_test(tests, open_without_memory);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
