/* Lists of the PostgreSQL store. */
#include "store_postgres_support.h"

static const char *listed(const char *path, const sttp_query *query)
{
    static struct outcome outcome;
    outcome = run_query(opened, LIST, path, NULL, query);
    ck_assert_int_eq(outcome.result, STORE_DONE);
    return outcome.contents;
}

#define Q(...) (&(sttp_query){__VA_ARGS__})

START_TEST(lists)
{
    static const char *const files[][2] = {
        {"/n/a", "Buy milk"},  {"/n/b", "Call home"}, {"/n/c.txt", "MILK run"},
        {"/n/old/d", "x"},     {"/n/old-1", "50%_"},  {"/n/old/e/f", "\xc3\x89t\xc3\xa9"},
        {"/n/old.txt", "a\\b"}};
    opened = open_postgres(NULL);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        ck_assert_int_eq(result_of(CREATE, files[i][0], files[i][1]), STORE_DONE);
    ck_assert_str_eq(listed("/n", NULL), "a, b, c.txt, old-1, old.txt, old/");
    ck_assert_str_eq(listed("/n", Q(.text = STTP_SLICE("milk"), .type = STTP_LIST_FILES)),
                     "a, c.txt");
    ck_assert_str_eq(listed("/n", Q(.text = STTP_SLICE("%_"), .type = STTP_LIST_FILES)), "old-1");
    ck_assert_str_eq(listed("/n", Q(.text = STTP_SLICE("A\\B"), .type = STTP_LIST_FILES)),
                     "old.txt");
    ck_assert_str_eq(listed("/n", Q(.text = STTP_SLICE("milk"), .type = STTP_LIST_DIRECTORIES)),
                     "");
    ck_assert_str_eq(listed("/n", Q(.name = STTP_SLICE("*.txt"))), "c.txt, old.txt");
    ck_assert_str_eq(listed("/n", Q(.name = STTP_SLICE("ol?"))), "old/");
    ck_assert_str_eq(listed("/n", Q(.type = STTP_LIST_DIRECTORIES)), "old/");
    ck_assert_str_eq(listed("/n", Q(.type = STTP_LIST_FILES)), "a, b, c.txt, old-1, old.txt");
    ck_assert_str_eq(listed("/n/", Q(.limit = 2, .after = STTP_SLICE("b"))), "c.txt, old-1");
    ck_assert_str_eq(listed("/n", Q(.after = STTP_SLICE("old"))), "old-1, old.txt, old/");
    ck_assert_str_eq(listed("/n", Q(.after = STTP_SLICE("old.txt"))), "old/");
    ck_assert_str_eq(listed("/n", Q(.after = STTP_SLICE("old/"))), "");
    ck_assert_str_eq(listed("/n", Q(.recursive = true)),
                     "a, b, c.txt, old-1, old.txt, old/, old/d, old/e/, old/e/f");
    ck_assert_str_eq(listed("/n", Q(.recursive = true, .type = STTP_LIST_DIRECTORIES)),
                     "old/, old/e/");
    ck_assert_str_eq(
        listed("/", Q(.recursive = true, .limit = 3, .after = STTP_SLICE("n/old.txt"))),
        "n/old/, n/old/d, n/old/e/");
    /* Only A to Z are like a to z. */
    ck_assert_str_eq(
        listed("/", Q(.recursive = true, .type = STTP_LIST_FILES, .text = STTP_SLICE("\xc3\xa9T"))),
        "");
    ck_assert_str_eq(
        listed("/", Q(.recursive = true, .type = STTP_LIST_FILES, .text = STTP_SLICE("\xc3\x89T"))),
        "n/old/e/f");
}
END_TEST

/* More than one page of the database's, each name once and in order. */
START_TEST(long_lists)
{
    static const char *const queries[] = {
        "SELECT md5(string_agg(name, ', ' ORDER BY name)) FROM "
        "sttp_entry WHERE parent = '/l/'",
        "SELECT md5('l/, ' || string_agg('l/' || name, ', ' ORDER "
        "BY name)) FROM sttp_entry WHERE parent = '/l/'"};
    opened = open_postgres(NULL);
    sql("INSERT INTO sttp_entry VALUES ('/', 'l', true, NULL)");
    sql("INSERT INTO sttp_entry SELECT '/l/', 'f' || n, false, 'x' FROM generate_series(1, 20000) "
        "AS s(n)");
    for (size_t i = 0; i < 2; i++) {
        struct waiting_operation waiting;
        char *command = NULL;
        prepare(&waiting, LIST, i == 0 ? "/l" : "/", NULL);
        waiting.operation.query.recursive = i == 1;
        opened->submit(opened, &waiting.operation);
        await(&waiting);
        ck_assert_int_eq(waiting.operation.result, STORE_DONE);
        ck_assert_int_ne(asprintf(&command, "SELECT md5('%.*s') = (%s)",
                                  (int)waiting.operation.contents.size,
                                  waiting.operation.contents.data, queries[i]),
                         -1);
        ck_assert_str_eq(sql(command), "t");
        free(command);
        free(waiting.operation.names);
    }
    sql("INSERT INTO sttp_entry SELECT '/l/', 'f' || n || repeat('d', 240), true, NULL FROM "
        "generate_series(1, 70000) AS s(n)");
    ck_assert_int_eq(result_of(LIST, "/l", NULL), STORE_TOO_MANY_NAMES);
}
END_TEST

/* A search that takes the database too long is given up. */
START_TEST(too_much_work)
{
    opened = open_postgres(NULL);
    sql("DROP TABLE sttp_entry");
    sql("CREATE VIEW sttp_entry AS SELECT '/'::text COLLATE \"C\" AS parent, 'x'::text COLLATE "
        "\"C\""
        " AS name, false AS directory, 'x' || pg_sleep(30)::text COLLATE \"C\" AS contents");
    struct outcome outcome =
        run_query(opened, LIST, "/", NULL, Q(.text = STTP_SLICE("x"), .type = STTP_LIST_FILES));
    sql("DROP VIEW sttp_entry");
    ck_assert_int_eq(outcome.result, STORE_TOO_MUCH_WORK);
}
END_TEST

/* How the database would make a page of a recursive list, as a plan that is made for all values, or
 * for these. */
static char *plan_of_tree(const char *mode)
{
    char *command = NULL;
    ck_assert_int_ne(asprintf(&command, "PREPARE tree AS %s", pg_statement_sql(PG_TREE)), -1);
    sql(command);
    free(command);
    ck_assert_int_ne(asprintf(&command, "SET plan_cache_mode = %s", mode), -1);
    sql(command);
    free(command);
    char *plan =
        strdup(sql("EXPLAIN (FORMAT JSON) EXECUTE tree('0', '/n/d5/', 100, NULL, true, true)"));
    ck_assert_ptr_nonnull(plan);
    sql("DEALLOCATE tree");
    return plan;
}

static void expect_walk(const char *mode)
{
    char *plan = plan_of_tree(mode);
    ck_assert_msg(strstr(plan, "sttp_path") != NULL && strstr(plan, "Sort") == NULL, "%s: %s", mode,
                  plan);
    free(plan);
}

/* It walks the index, and does not sort all that is below the directory for each page; in a
 * database of an older sttpd too, which has not got that index. */
START_TEST(order_of_the_index)
{
    opened = open_postgres(NULL);
    sql("SET enable_seqscan = off"); /* as the store's sessions do */
    expect_walk("force_generic_plan");
    sql("INSERT INTO sttp_entry VALUES ('/', 'n', true, NULL)");
    sql("INSERT INTO sttp_entry SELECT '/n/', 'd' || n, true, NULL FROM generate_series(0, 99) "
        "AS s(n)");
    sql("INSERT INTO sttp_entry SELECT '/n/d' || n % 100 || '/', 'f' || n, false, 'x' FROM "
        "generate_series(1, 10000) AS s(n)");
    expect_walk("force_generic_plan");
    sql("ANALYZE sttp_entry");
    expect_walk("force_generic_plan");
    expect_walk("force_custom_plan");
    opened->close(opened);
    sql("DROP INDEX sttp_path");
    opened = open_postgres(NULL);
    expect_walk("force_generic_plan");
    ck_assert_str_eq(listed("/n", Q(.recursive = true, .limit = 2, .after = STTP_SLICE("d5/"))),
                     "d5/f1005, d5/f105");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_postgres_list");
    TCase *all = tcase_create("lists");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, empty_database, leave_database);
    tcase_add_test(all, lists);
    tcase_add_test(all, long_lists);
    tcase_add_test(all, too_much_work);
    tcase_add_test(all, order_of_the_index);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
