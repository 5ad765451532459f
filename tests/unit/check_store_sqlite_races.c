/* Many threads on the SQLite store at once: of those that CREATE a path one wins; who has made a
 * change sees it, and nobody sees an older text after a newer one; directories come and go while
 * files are made in them; nobody is ever told that the database is locked. */
#include <stdatomic.h>

#include "store_sqlite_support.h"

enum { THREADS = 6, ROUNDS = 150 };

static atomic_int winners[ROUNDS];
static atomic_int newest; /* that was acknowledged */
static atomic_bool ends;

static void run_threads(void *(*work)(void *), int count)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < count; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work, (void *)(intptr_t)i), 0);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

static void *create_all(void *argument)
{
    char path[32], text[32];
    snprintf(text, sizeof text, "by %d", (int)(intptr_t)argument);
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(path, sizeof path, "/d%d/e/f%d", i / 10, i);
        store_result result = result_of(CREATE, path, text);
        ck_assert(result == STORE_DONE || result == STORE_EXISTS);
        if (result == STORE_DONE) {
            atomic_fetch_add(&winners[i], 1);
            ck_assert_str_eq(run(SHOW, path, NULL).contents, text);
        } else {
            ck_assert_int_eq(result_of(SHOW, path, NULL), STORE_DONE);
        }
    }
    forget_contents();
    return NULL;
}

START_TEST(one_winner)
{
    run_threads(create_all, THREADS);
    for (int i = 0; i < ROUNDS; i++)
        ck_assert_int_eq(atomic_load(&winners[i]), 1);
}
END_TEST

/* The first thread writes ascending numbers, the others read them by SHOW and by search. */
static void *count_up(void *argument)
{
    char text[32];
    if (argument == NULL) {
        for (int i = 1; i <= ROUNDS; i++) {
            snprintf(text, sizeof text, "number %d", i);
            ck_assert_int_eq(result_of(UPDATE, "/n", text), STORE_DONE);
            atomic_store(&newest, i);
        }
        atomic_store(&ends, true);
    }
    int last = 0;
    while (!atomic_load(&ends)) {
        int least = atomic_load(&newest);
        int seen = atoi(run(SHOW, "/n", NULL).contents + strlen("number "));
        ck_assert_int_ge(seen, least);
        ck_assert_int_ge(seen, last);
        last = seen;
        ck_assert_str_eq(list("/", QUERY(.text = slice("number"), .recursive = true)), "n");
    }
    forget_contents();
    return NULL;
}

START_TEST(never_older)
{
    ck_assert_int_eq(result_of(CREATE, "/n", "number 0"), STORE_DONE);
    run_threads(count_up, THREADS);
}
END_TEST

/* Whoever has made a file sees it listed, and its directory is there as long as it is. */
static void *come_and_go(void *argument)
{
    char path[32], name[32];
    snprintf(path, sizeof path, "/d/e/f%d", (int)(intptr_t)argument);
    snprintf(name, sizeof name, "f%d", (int)(intptr_t)argument);
    for (int i = 0; i < ROUNDS; i++) {
        ck_assert_int_eq(result_of(CREATE, path, "x"), STORE_DONE);
        ck_assert_ptr_nonnull(strstr(list("/d/e", QUERY(0)), name));
        ck_assert_int_eq(result_of(DELETE, "/d/e/", NULL), STORE_NOT_EMPTY);
        ck_assert_int_eq(result_of(DELETE, path, NULL), STORE_DONE);
        store_result result = result_of(DELETE, "/d/e/", NULL);
        ck_assert(result == STORE_DONE || result == STORE_NOT_EMPTY || result == STORE_NOT_FOUND ||
                  result == STORE_PATH_NOT_FOUND);
        result = result_of(DELETE, "/d/", NULL);
        ck_assert(result == STORE_DONE || result == STORE_NOT_EMPTY || result == STORE_NOT_FOUND);
    }
    forget_contents();
    return NULL;
}

START_TEST(directories_come_and_go)
{
    run_threads(come_and_go, THREADS);
    ck_assert_str_eq(sql("SELECT count(*) FROM entry WHERE path GLOB '*[^/]'"), "0");
}
END_TEST

/* Another program copies the database and writes into it meanwhile. */
static void *interfere(void *argument)
{
    (void)argument;
    while (!atomic_load(&ends)) {
        sql("BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS theirs (a); INSERT INTO theirs VALUES (1);"
            "DELETE FROM theirs; COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
    }
    return NULL;
}

static void *change_meanwhile(void *argument)
{
    if (argument == NULL)
        return interfere(argument);
    come_and_go(argument);
    if ((intptr_t)argument == 1)
        atomic_store(&ends, true);
    return NULL;
}

START_TEST(beside_another_program)
{
    run_threads(change_meanwhile, 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_sqlite_races");
    TCase *tests = tcase_create("threads");
    tcase_set_timeout(tests, 100);
    tcase_add_checked_fixture(tests, open_fixture, remove_directory);
    tcase_add_test(tests, one_winner);
    tcase_add_test(tests, never_older);
    tcase_add_test(tests, directories_come_and_go);
    tcase_add_test(tests, beside_another_program);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
