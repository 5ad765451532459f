/* The PostgreSQL store on a real server: every result of every action, what others write into its
 * tables, what is refused at the start. */
#include "store_postgres_support.h"

static void furnish(void)
{
    opened = open_postgres(NULL);
    ck_assert_int_eq(result_of(CREATE, "/file", "hello"), STORE_DONE);
    ck_assert_int_eq(result_of(CREATE, "/dir/inner", "x"), STORE_DONE);
    ck_assert_int_eq(result_of(CREATE, "/empty/x", "x"), STORE_DONE);
    ck_assert_int_eq(result_of(DELETE, "/empty/x", NULL), STORE_DONE);
}

static const struct refusal {
    sttp_action action;
    const char *path;
    store_result result;
} refusals[] = {
    {SHOW, "/dir", STORE_IS_DIRECTORY},
    {SHOW, "/missing", STORE_NOT_FOUND},
    {SHOW, "/dir/missing", STORE_NOT_FOUND},
    {SHOW, "/missing/x", STORE_PATH_NOT_FOUND},
    {SHOW, "/file/x", STORE_PATH_NOT_FOUND},
    {CREATE, "/file", STORE_EXISTS},
    {CREATE, "/dir", STORE_IS_DIRECTORY},
    {CREATE, "/dir/inner", STORE_EXISTS},
    {CREATE, "/file/x", STORE_CANNOT_CREATE_PATH},
    {CREATE, "/file/x/y/z", STORE_CANNOT_CREATE_PATH},
    {CREATE, "/dir/inner/y/z", STORE_CANNOT_CREATE_PATH},
    {UPDATE, "/dir", STORE_IS_DIRECTORY},
    {UPDATE, "/missing", STORE_NOT_FOUND},
    {UPDATE, "/missing/x", STORE_PATH_NOT_FOUND},
    {UPDATE, "/file/x", STORE_PATH_NOT_FOUND},
    {DELETE, "/dir", STORE_IS_DIRECTORY},
    {DELETE, "/dir/", STORE_NOT_EMPTY},
    {DELETE, "/", STORE_IS_ROOT},
    {DELETE, "/file/", STORE_IS_FILE},
    {DELETE, "/missing", STORE_NOT_FOUND},
    {DELETE, "/missing/", STORE_NOT_FOUND},
    {DELETE, "/missing/x", STORE_PATH_NOT_FOUND},
    {DELETE, "/missing/x/", STORE_PATH_NOT_FOUND},
    {DELETE, "/file/x/", STORE_PATH_NOT_FOUND},
    {LIST, "/file", STORE_IS_FILE},
    {LIST, "/file/", STORE_IS_FILE},
    {LIST, "/missing", STORE_NOT_FOUND},
    {LIST, "/missing/", STORE_NOT_FOUND},
    {LIST, "/missing/x/", STORE_PATH_NOT_FOUND},
    {LIST, "/file/x", STORE_PATH_NOT_FOUND},
};

START_TEST(refused)
{
    furnish();
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const struct refusal *refusal = &refusals[i];
        struct outcome outcome = run(refusal->action, refusal->path, "new");
        ck_assert_msg(outcome.result == refusal->result, "%s %s: %d, not %d",
                      sttp_action_name(refusal->action), refusal->path, (int)outcome.result,
                      (int)refusal->result);
        ck_assert_str_eq(sql("SELECT count(*) FROM sttp_entry"), "4");
    }
    ck_assert_str_eq(run(SHOW, "/file", NULL).contents, "hello");
}
END_TEST

START_TEST(life_of_a_file)
{
    opened = open_postgres(NULL);
    struct outcome created = run(CREATE, "/notes/old/a.txt", "first");
    ck_assert_int_eq(created.result, STORE_DONE);
    ck_assert_uint_eq(created.made, strlen("/notes"));
    ck_assert_str_eq(sql("SELECT contents FROM sttp_entry WHERE parent = '/notes/old/' AND name = "
                         "'a.txt' AND NOT directory"),
                     "first");
    ck_assert_str_eq(run(SHOW, "/notes/old/a.txt", NULL).contents, "first");
    ck_assert_int_eq(result_of(CREATE, "/notes/old/a.txt", "second"), STORE_EXISTS);
    struct outcome updated = run(UPDATE, "/notes/old/a.txt", "second");
    ck_assert_int_eq(updated.result, STORE_DONE);
    ck_assert_str_eq(updated.contents, "second");
    ck_assert_int_eq(updated.begun, 1);
    ck_assert_uint_eq(updated.made, 0);
    ck_assert_str_eq(run(SHOW, "/notes/old/a.txt", NULL).contents, "second");
    struct outcome deeper = run(CREATE, "/notes/new/er/a", "");
    ck_assert_int_eq(deeper.result, STORE_DONE);
    ck_assert_uint_eq(deeper.made, strlen("/notes/new"));
    ck_assert_uint_eq(run(CREATE, "/notes/b", "").made, 0);
    ck_assert_str_eq(run(SHOW, "/notes/b", NULL).contents, "");
    ck_assert_int_eq(result_of(DELETE, "/notes/old/", NULL), STORE_NOT_EMPTY);
    ck_assert_int_eq(result_of(DELETE, "/notes/old/a.txt", NULL), STORE_DONE);
    ck_assert_int_eq(result_of(SHOW, "/notes/old/a.txt", NULL), STORE_NOT_FOUND);
    ck_assert_str_eq(run(LIST, "/notes/old", NULL).contents, "");
    struct outcome removed = run(DELETE, "/notes/old/", NULL);
    ck_assert_int_eq(removed.result, STORE_DONE);
    ck_assert_int_eq(removed.begun, 1);
    ck_assert_int_eq(result_of(SHOW, "/notes/old/a.txt", NULL), STORE_PATH_NOT_FOUND);
}
END_TEST

/* As deep as a path can be. */
START_TEST(create_makes_directories)
{
    char path[STTP_MAX_PATH + 1] = "";
    for (int i = 0; i < STTP_MAX_PATH / 2; i++)
        memcpy(path + 2 * i, "/d", 3);
    opened = open_postgres(NULL);
    ck_assert_int_eq(result_of(CREATE, path, "deep"), STORE_DONE);
    ck_assert_str_eq(run(SHOW, path, NULL).contents, "deep");
    ck_assert_str_eq(sql("SELECT count(*) FROM sttp_entry"), "512");
    path[STTP_MAX_PATH / 2 + 1] = 'e';
    ck_assert_int_eq(result_of(CREATE, path, "other"), STORE_DONE);
    ck_assert_str_eq(sql("SELECT count(*) FROM sttp_entry"), "768");
}
END_TEST

/* Many at once, of which each batch holds several kinds. */
START_TEST(many_at_once)
{
    enum { MANY = 600 };
    static struct waiting_operation some[MANY];
    static char paths[MANY][32];
    opened = open_postgres(&(struct store_settings){.postgres_pool = 3});
    ck_assert_int_eq(result_of(CREATE, "/d/f000", "old"), STORE_DONE);
    for (int i = 0; i < MANY; i++) {
        snprintf(paths[i], sizeof *paths, "/d/f%03d", i % 200);
        prepare(&some[i],
                i < 200   ? CREATE
                : i < 400 ? UPDATE
                          : SHOW,
                paths[i], i < 400 ? paths[i] : NULL);
        opened->submit(opened, &some[i].operation);
    }
    for (int i = 0; i < MANY; i++) {
        await(&some[i]);
        ck_assert_int_eq(some[i].operation.result, i == 0 ? STORE_EXISTS : STORE_DONE);
        if (i >= 400)
            ck_assert_mem_eq(some[i].operation.contents.data, paths[i], 7);
    }
    ck_assert_str_eq(sql("SELECT count(*) FROM sttp_entry"), "201");
}
END_TEST

/* What the queue does not take ends at once, and a store that closes ends what waits. */
START_TEST(full)
{
    enum { MANY = 50 };
    static struct waiting_operation some[MANY];
    static char paths[MANY][32];
    int busy = 0;
    opened = open_postgres(&(struct store_settings){.threads = 1, .queue = 3, .postgres_pool = 1});
    for (int i = 0; i < MANY; i++) {
        snprintf(paths[i], sizeof *paths, "/f%d", i);
        prepare(&some[i], CREATE, paths[i], "x");
        opened->submit(opened, &some[i].operation);
    }
    for (int i = 0; i < MANY; i++) {
        await(&some[i]);
        busy += some[i].operation.result == STORE_BUSY;
        ck_assert(some[i].operation.result == STORE_BUSY || some[i].operation.result == STORE_DONE);
    }
    ck_assert_int_gt(busy, 0);
    ck_assert_int_lt(busy, MANY - 3);
    for (int i = 0; i < 3; i++) {
        prepare(&some[i], UPDATE, paths[0], "y");
        opened->submit(opened, &some[i].operation);
    }
    opened->close(opened);
    opened = NULL;
    for (int i = 0; i < 3; i++)
        ck_assert(some[i].done);
}
END_TEST

/* ---- what others have written ---- */

static void expect_text(const char *expression, store_result result)
{
    char command[256];
    snprintf(command, sizeof command, "UPDATE sttp_entry SET contents = %s WHERE name = 't'",
             expression);
    sql(command);
    ck_assert_msg(result_of(SHOW, "/t", NULL) == result, "%s", expression);
    bool is_listed =
        strcmp(run_query(opened, LIST, "/", NULL,
                         &(sttp_query){.text = STTP_SLICE(""), .type = STTP_LIST_FILES})
                   .contents,
               "t") == 0;
    ck_assert_msg(is_listed == (result == STORE_DONE), "%s", expression);
    ck_assert_int_eq(result_of(UPDATE, "/t", "good"), STORE_DONE);
    ck_assert_str_eq(run(SHOW, "/t", NULL).contents, "good");
}

START_TEST(texts_by_others)
{
    opened = open_postgres(NULL);
    ck_assert_int_eq(result_of(CREATE, "/t", "x"), STORE_DONE);
    expect_text("'fine'", STORE_DONE);
    expect_text("E'a\\tb'", STORE_DONE);
    expect_text("repeat(U&'\\+01F600', 160)", STORE_DONE);
    expect_text("repeat(U&'\\+01F600', 161)", STORE_INVALID_TEXT);
    expect_text("repeat('x', 161)", STORE_INVALID_TEXT);
    expect_text("repeat('x', 1000000)", STORE_INVALID_TEXT);
    expect_text("E'a\\nb'", STORE_INVALID_TEXT);
    expect_text("E'a\\n'", STORE_INVALID_TEXT);
    expect_text("U&'\\009b'", STORE_INVALID_TEXT);
    expect_text("NULL", STORE_INVALID_TEXT);
    sql("UPDATE sttp_entry SET contents = NULL");
    ck_assert_int_eq(result_of(DELETE, "/t", NULL), STORE_DONE);
}
END_TEST

START_TEST(names_by_others)
{
    opened = open_postgres(NULL);
    ck_assert_int_eq(result_of(CREATE, "/good/f", "x"), STORE_DONE);
    sql("INSERT INTO sttp_entry SELECT '/good/', name, false, 'x' FROM unnest(ARRAY["
        "repeat('n', 33), 'a b', 'q?', '', 'sl/ash', '.', '..', '.sttp-x', E'a\\tb', U&'\\0085']) "
        "AS t(name)");
    sql("INSERT INTO sttp_entry VALUES ('/', repeat('d', 256), true, NULL)");
    sql("INSERT INTO sttp_entry VALUES ('/' || repeat('d', 256) || '/', 'f', false, 'x')");
    sql("INSERT INTO sttp_entry VALUES ('/good/no', 'slash', false, 'x')");
    ck_assert_str_eq(run(LIST, "/good", NULL).contents, "f");
    ck_assert_str_eq(run_query(opened, LIST, "/", NULL, &(sttp_query){.recursive = true}).contents,
                     "good/, good/f");
    ck_assert_str_eq(
        run_query(
            opened, LIST, "/", NULL,
            &(sttp_query){.recursive = true, .text = STTP_SLICE("x"), .type = STTP_LIST_FILES})
            .contents,
        "good/f");
    /* They are no part of a page either. */
    ck_assert_str_eq(run_query(opened, LIST, "/good", NULL, &(sttp_query){.limit = 1}).contents,
                     "f");
    ck_assert_int_eq(result_of(DELETE, "/good/f", NULL), STORE_DONE);
    ck_assert_int_eq(result_of(DELETE, "/good/", NULL), STORE_NOT_EMPTY);
}
END_TEST

/* A table whose order is another one has rows between a directory's path and its end that are not
 * below it, and that are shorter. */
START_TEST(order_by_others)
{
    opened = open_postgres(NULL);
    ck_assert_int_eq(result_of(CREATE, "/a\xef\xbd\x81\xef\xbd\x81/f", "x"), STORE_DONE);
    ck_assert_int_eq(result_of(CREATE, "/Aaa/f", "x"), STORE_DONE);
    opened->close(opened);
    sql("ALTER TABLE sttp_entry ALTER parent TYPE text COLLATE \"und-x-icu\", ALTER name TYPE text "
        "COLLATE \"und-x-icu\"");
    opened = open_postgres(NULL);
    ck_assert_str_eq(run_query(opened, LIST, "/a\xef\xbd\x81\xef\xbd\x81", NULL,
                               &(sttp_query){.recursive = true})
                         .contents,
                     "f");
}
END_TEST

/* ---- opening ---- */

static void expect_error(const char *given, const char *part)
{
    struct store_settings settings = {.postgres_conninfo = given, .log = &quiet};
    char error[1024];
    store *made;
    ck_assert(!store_postgres_open(&settings, &made, error, sizeof error));
    ck_assert_ptr_null(made);
    ck_assert_msg(strstr(error, part) != NULL, "%s", error);
    ck_assert_ptr_null(strchr(error, '\n'));
}

START_TEST(cannot_open)
{
    char changed[512];
    snprintf(changed, sizeof changed, "%s dbname=nowhere", conninfo());
    expect_error(changed, "nowhere");
    expect_error("host=127.0.0.1 port=1", "refused");
    expect_error("no conninfo", "conninfo");
    expect_error("host=/nowhere user=nobody", "/nowhere");
    opened = open_postgres(NULL);
    sql("UPDATE sttp_meta SET version = 2");
    expect_error(conninfo(), "version 2");
    sql("UPDATE sttp_meta SET version = 1, identity = 'x'");
    expect_error(conninfo(), "not one of sttpd");
    sql("DROP TABLE sttp_meta");
    sql("CREATE TABLE sttp_meta (one integer)");
    expect_error(conninfo(), "version");
    sql("DROP TABLE sttp_meta, sttp_entry");
    sql("CREATE TABLE sttp_entry (a integer)");
    expect_error(conninfo(), "parent");
}
END_TEST

/* What a commit waits for, as the database says while a row is inserted. */
static const char *commits(enum store_durability durability, const char *path)
{
    static struct outcome shown;
    store *made =
        open_postgres(&(struct store_settings){.durability = durability, .postgres_pool = 1});
    ck_assert_int_eq(run_query(made, CREATE, path, "x", NULL).result, STORE_DONE);
    shown = run_query(made, SHOW, path, NULL, NULL);
    made->close(made);
    return shown.contents;
}

START_TEST(durability)
{
    opened = open_postgres(NULL);
    sql("CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.contents = "
        "current_setting('synchronous_commit'); RETURN NEW; END $$");
    sql("CREATE TRIGGER tell BEFORE INSERT ON sttp_entry FOR EACH ROW EXECUTE FUNCTION tell()");
    ck_assert_str_eq(sql("SHOW synchronous_commit"), "off");
    ck_assert_str_eq(commits(STORE_DURABILITY_ALWAYS, "/a"), "on");
    ck_assert_str_eq(commits(STORE_DURABILITY_INTERVAL, "/b"), "off");
    ck_assert_str_eq(commits(STORE_DURABILITY_NONE, "/c"), "off");
    /* What is more than it has to be stays. */
    sql("ALTER ROLE CURRENT_USER SET synchronous_commit = 'remote_apply'");
    ck_assert_str_eq(commits(STORE_DURABILITY_ALWAYS, "/d"), "remote_apply");
    sql("ALTER ROLE CURRENT_USER RESET synchronous_commit");
    sql("DROP FUNCTION tell CASCADE");
}
END_TEST

/* The identity is the database's, and stays. */
START_TEST(identity)
{
    unsigned char first[STORE_IDENTITY], none[STORE_IDENTITY] = {0};
    opened = open_postgres(NULL);
    memcpy(first, opened->identity, sizeof first);
    ck_assert_mem_ne(first, none, sizeof first);
    store *second = open_postgres(&(struct store_settings){.postgres_pool = 1});
    ck_assert_mem_eq(second->identity, first, sizeof first);
    second->close(second);
    opened->close(opened);
    sql("DROP TABLE sttp_meta, sttp_entry");
    opened = open_postgres(NULL);
    ck_assert_mem_ne(opened->identity, first, sizeof first);
}
END_TEST

static void *open_one(void *made)
{
    *(store **)made = open_postgres(&(struct store_settings){.postgres_pool = 1});
    return NULL;
}

/* The first start, of several at once. */
START_TEST(made_by_several)
{
    enum { SEVERAL = 6 };
    pthread_t threads[SEVERAL];
    store *made[SEVERAL];
    for (int i = 0; i < SEVERAL; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, open_one, &made[i]), 0);
    for (int i = 0; i < SEVERAL; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < SEVERAL; i++) {
        ck_assert_mem_eq(made[i]->identity, made[0]->identity, STORE_IDENTITY);
        if (i > 0)
            made[i]->close(made[i]);
    }
    opened = made[0];
    ck_assert_int_eq(result_of(CREATE, "/a/b", "x"), STORE_DONE);
}
END_TEST

/* A server that starts while somebody is at work on the table, as one that builds the index is,
 * keeps nobody from anything, and tells of its changes. */
START_TEST(index_in_the_making)
{
    pthread_t thread;
    store *second = NULL;
    opened = open_postgres(NULL);
    ck_assert_int_eq(result_of(CREATE, "/a", "x"), STORE_DONE);
    sql("CREATE EXTENSION IF NOT EXISTS pg_trgm");
    sql("DROP INDEX IF EXISTS sttp_contents");
    sql("CREATE INDEX sttp_contents ON sttp_entry (name)");
    sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'sttp_contents'::regclass");
    sql("BEGIN");
    sql("LOCK TABLE sttp_entry IN SHARE UPDATE EXCLUSIVE MODE");
    ck_assert_int_eq(pthread_create(&thread, NULL, open_one, &second), 0);
    while (strcmp(sql("SELECT count(*) FROM pg_locks WHERE NOT granted"), "0") == 0)
        continue;
    ck_assert_int_eq(result_of(SHOW, "/a", NULL), STORE_DONE);
    pthread_join(thread, NULL);
    sql("COMMIT");
    ck_assert(((struct pg_store *)second)->profile.notifies);
    second->close(second);
    /* The next one makes it. */
    second = open_postgres(&(struct store_settings){.postgres_pool = 1});
    second->close(second);
    ck_assert_str_eq(sql("SELECT indisvalid AND NOT indisunique AND indexprs IS NOT NULL FROM "
                         "pg_index WHERE indexrelid = 'sttp_contents'::regclass"),
                     "t");
    sql("DROP EXTENSION pg_trgm CASCADE");
}
END_TEST

/* Who cannot find out whether the engine can tell others does not start: they count on it. */
START_TEST(may_not_notify)
{
    opened = open_postgres(NULL);
    sql("REVOKE EXECUTE ON FUNCTION pg_notify(text, text) FROM PUBLIC");
    sql("CREATE ROLE sttp_mute LOGIN");
    sql("GRANT ALL ON sttp_entry, sttp_meta TO sttp_mute");
    char changed[512];
    snprintf(changed, sizeof changed, "%s user=sttp_mute", conninfo());
    expect_error(changed, "permission denied for function pg_notify");
    sql("GRANT EXECUTE ON FUNCTION pg_notify(text, text) TO PUBLIC");
    sql("DROP OWNED BY sttp_mute");
    sql("DROP ROLE sttp_mute");
}
END_TEST

/* The start does not wait for ever, and says what for. */
START_TEST(no_answer)
{
    opened = open_postgres(NULL);
    sql("BEGIN");
    sql("LOCK TABLE sttp_meta");
    expect_error(conninfo(), "it does not answer");
    sql("COMMIT");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_postgres");
    TCase *basics = tcase_create("basics");
    tcase_set_timeout(basics, 60);
    tcase_add_checked_fixture(basics, empty_database, leave_database);
    tcase_add_test(basics, refused);
    tcase_add_test(basics, life_of_a_file);
    tcase_add_test(basics, create_makes_directories);
    tcase_add_test(basics, many_at_once);
    tcase_add_test(basics, full);
    tcase_add_test(basics, texts_by_others);
    tcase_add_test(basics, names_by_others);
    tcase_add_test(basics, order_by_others);
    tcase_add_test(basics, cannot_open);
    tcase_add_test(basics, durability);
    tcase_add_test(basics, identity);
    tcase_add_test(basics, made_by_several);
    tcase_add_test(basics, index_in_the_making);
    tcase_add_test(basics, may_not_notify);
    tcase_add_test(basics, no_answer);
    suite_add_tcase(suite, basics);
    return run_suite(suite);
}
