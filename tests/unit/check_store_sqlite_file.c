/* Which files the SQLite store opens, which it refuses and with what words, and how it brings an
 * old one up to date. */
#include <fcntl.h>
#include <sys/file.h>

#include "store_sqlite_support.h"

/* Opening fails, with one line that has these words. */
static void expect_refusal(const char *path, const char *words, const char *more)
{
    struct store_settings settings = {.sqlite_path = path};
    char error[1024];
    store *opened;
    ck_assert(!store_sqlite_open(&settings, &opened, error, sizeof error));
    ck_assert_ptr_null(opened);
    ck_assert_msg(strstr(error, words) != NULL && strstr(error, more) != NULL, "%s", error);
    ck_assert_ptr_null(strchr(error, '\n'));
}

static void put_bytes(const char *path, long at, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    ck_assert_int_ne(fd, -1);
    ck_assert_int_eq(pwrite(fd, bytes, size, at), (ssize_t)size);
    close(fd);
}

/* A database of ours with some rows in it, closed. */
static void make_database(void)
{
    open_store();
    for (int i = 0; i < 200; i++) {
        char path[32];
        snprintf(path, sizeof path, "/d/n%d", i);
        ck_assert_int_eq(result_of(CREATE, path, "a text that takes its room in the file"),
                         STORE_DONE);
    }
    close_store();
}

START_TEST(places)
{
    char path[400];
    snprintf(path, sizeof path, "%s/none/sttp.db", fixture.directory);
    expect_refusal(path, "No such file", "create the directory");
    expect_refusal(fixture.directory, "Is a directory", "to a file");
    snprintf(path, sizeof path, "%s/pipe", fixture.directory);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    expect_refusal(path, "is no file", "storage.sqlite.path");
    expect_refusal("/dev/null", "is no file", "storage.sqlite.path");
}
END_TEST

/* Names that SQLite would take for something else. */
START_TEST(special_names)
{
    static const char *const names[] = {":memory:", "file:x?mode=memory", "a b"};
    ck_assert_int_eq(chdir(fixture.directory), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct store_settings settings = {.sqlite_path = names[i]};
        struct stat status;
        char error[1024];
        ck_assert_msg(store_sqlite_open(&settings, &fixture.store, error, sizeof error), "%s",
                      error);
        ck_assert_int_eq(result_of(CREATE, "/a", "x"), STORE_DONE);
        close_store();
        ck_assert_int_eq(stat(names[i], &status), 0);
        ck_assert_int_gt(status.st_size, 0);
    }
}
END_TEST

START_TEST(foreign_files)
{
    static const char text[] = "this is no database, but it is long enough to have a header, which "
                               "has a hundred bytes in SQLite's files";
    put_bytes(fixture.path, 0, text, sizeof text);
    expect_refusal(fixture.path, "no SQLite database", "another file");
    unlink(fixture.path);
    sql("CREATE TABLE theirs (a)");
    leave();
    expect_refusal(fixture.path, "of another program", "another file");
    sql("PRAGMA application_id = 77; DROP TABLE theirs");
    leave();
    expect_refusal(fixture.path, "of another program", "another file");
    ck_assert_str_eq(sql("PRAGMA journal_mode"), "delete");
}
END_TEST

START_TEST(newer_version)
{
    make_database();
    sql("PRAGMA user_version = %d", SQ_VERSION + 1);
    leave();
    expect_refusal(fixture.path, "is of version 3", "newer one");
    sql("PRAGMA user_version = %d", SQ_VERSION);
    leave();
    open_store();
    ck_assert_int_eq(result_of(SHOW, "/d/n7", NULL), STORE_DONE);
}
END_TEST

START_TEST(damaged_files)
{
    static const char zeros[4096];
    struct stat status;
    make_database();
    ck_assert_int_eq(stat(fixture.path, &status), 0);
    put_bytes(fixture.path, _i * 4096, zeros, sizeof zeros);
    expect_refusal(fixture.path, _i == 0 ? "header is damaged" : "is damaged", "restore it");
}
END_TEST

START_TEST(cut_file)
{
    struct stat status;
    make_database();
    ck_assert_int_eq(stat(fixture.path, &status), 0);
    ck_assert_int_eq(truncate(fixture.path, status.st_size / 2), 0);
    expect_refusal(fixture.path, "is damaged", "restore it");
}
END_TEST

START_TEST(not_writable)
{
    if (geteuid() == 0) /* root may write everything: another user may not */
        ck_assert_int_eq(chmod(fixture.directory, 0755), 0);
    make_database();
    ck_assert_int_eq(chmod(fixture.path, 0444), 0);
    if (geteuid() == 0)
        ck_assert_int_eq(seteuid(65534), 0);
    expect_refusal(fixture.path, "Permission denied", "let the server's user write");
    if (getuid() == 0)
        ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

/* Of two servers the second one is refused, whatever name it has for the file; it has changed
 * nothing, and comes in when the first is gone. */
START_TEST(second_server)
{
    char link[400];
    open_store();
    expect_refusal(fixture.path, "another server uses it", "stop that one");
    snprintf(link, sizeof link, "%s/link.db", fixture.directory);
    ck_assert_int_eq(symlink(fixture.path, link), 0);
    expect_refusal(link, "another server uses it", "stop that one");
    ck_assert_int_eq(result_of(CREATE, "/a", "x"), STORE_DONE);
    close_store();
    open_store();
    ck_assert_str_eq(run(SHOW, "/a", NULL).contents, "x");
}
END_TEST

/* A database as version 1 of the schema had it. */
static void make_old(void)
{
    sql("CREATE TABLE entry (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, text TEXT) STRICT;"
        "INSERT INTO entry (path, text) VALUES ('/d/', NULL), ('/d/a', 'an old text');"
        "PRAGMA application_id = %d; PRAGMA user_version = 1",
        SQ_APPLICATION);
}

START_TEST(old_version)
{
    make_old();
    leave();
    open_store();
    ck_assert_str_eq(run(SHOW, "/d/a", NULL).contents, "an old text");
    wait_for_index();
    ck_assert_str_eq(list("/", QUERY(.recursive = true, .text = slice("OLD"))), "d/a");
    ck_assert_str_eq(sql("PRAGMA user_version"), "2");
}
END_TEST

/* An upgrade that fails half-way leaves the database as it was. */
START_TEST(failed_upgrade)
{
    make_old();
    sql("CREATE TABLE stale (in_the_way)");
    leave();
    expect_refusal(fixture.path, "SQL logic error", "");
    ck_assert_str_eq(sql("PRAGMA user_version"), "1");
    ck_assert_str_eq(sql("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'search%%'"), "0");
    sql("DROP TABLE stale");
    leave();
    open_store();
    ck_assert_str_eq(run(SHOW, "/d/a", NULL).contents, "an old text");
}
END_TEST

/* What a trigger or a view of somebody else would do is not done. */
START_TEST(no_triggers)
{
    make_database();
    sql("CREATE TRIGGER evil AFTER INSERT ON entry BEGIN DELETE FROM entry; END");
    leave();
    open_store();
    ck_assert_int_eq(result_of(CREATE, "/d/new", "x"), STORE_DONE);
    ck_assert_int_eq(result_of(SHOW, "/d/n7", NULL), STORE_DONE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_sqlite_file");
    TCase *tests = tcase_create("files");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, make_directory, remove_directory);
    tcase_add_test(tests, places);
    tcase_add_test(tests, special_names);
    tcase_add_test(tests, foreign_files);
    tcase_add_test(tests, newer_version);
    tcase_add_loop_test(tests, damaged_files, 0, 4);
    tcase_add_test(tests, cut_file);
    tcase_add_test(tests, not_writable);
    tcase_add_test(tests, second_server);
    tcase_add_test(tests, old_version);
    tcase_add_test(tests, failed_upgrade);
    tcase_add_test(tests, no_triggers);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
