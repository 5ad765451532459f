/* Listings of the SQLite store: what is listed, in which order, what a query takes out; with the
 * index for search empty, full, and behind what it has indexed. */
#include "store_sqlite_support.h"

static void expect(const char *path, sttp_query query, const char *names)
{
    ck_assert_str_eq(list(path, query), names);
}

static void create(const char *path, const char *text)
{
    ck_assert_int_eq(result_of(CREATE, path, text), STORE_DONE);
}

static void furnish(void)
{
    open_store();
    create("/d-x", "Alpha");
    create("/d.txt", "beta");
    create("/d/in", "ALPHABET");
    create("/d/e/deep.txt", "gamma alpha");
    create("/d/e/f/bad", "x");
    create("/empty/x", "x");
    ck_assert_int_eq(result_of(DELETE, "/empty/x", NULL), STORE_DONE);
    wait_for_index();
    sql("UPDATE entry SET text = 'alpha' || char(10) || 'alpha' WHERE path = '/d/e/f/bad'");
}

START_TEST(order)
{
    furnish();
    expect("/", QUERY(0), "d-x, d.txt, d/, empty/");
    expect("/d", QUERY(0), "e/, in");
    expect("/d/", QUERY(0), "e/, in");
    expect("/empty", QUERY(0), "");
    expect("/", QUERY(.recursive = true),
           "d-x, d.txt, d/, d/e/, d/e/deep.txt, d/e/f/, d/e/f/bad, d/in, empty/");
    expect("/d/", QUERY(.recursive = true), "e/, e/deep.txt, e/f/, e/f/bad, in");
}
END_TEST

START_TEST(filters)
{
    furnish();
    expect("/", QUERY(.type = STTP_LIST_FILES), "d-x, d.txt");
    expect("/", QUERY(.type = STTP_LIST_DIRECTORIES), "d/, empty/");
    expect("/", QUERY(.name = slice("d*")), "d-x, d.txt, d/");
    expect("/", QUERY(.name = slice("?")), "d/");
    expect("/", QUERY(.name = slice("*.txt"), .recursive = true), "d.txt, d/e/deep.txt");
    expect("/", QUERY(.name = slice("e"), .recursive = true), "d/e/");
    expect("/", QUERY(.text = slice("ALPHA"), .type = STTP_LIST_FILES), "d-x");
    expect("/", QUERY(.text = slice("alpha"), .recursive = true), "d-x, d/e/deep.txt, d/in");
    expect("/", QUERY(.text = slice("al"), .recursive = true), "d-x, d/e/deep.txt, d/in");
    expect("/", QUERY(.text = slice("a"), .type = STTP_LIST_DIRECTORIES, .recursive = true), "");
    expect("/", QUERY(.text = slice(""), .recursive = true), "d-x, d.txt, d/e/deep.txt, d/in");
    expect("/", QUERY(.text = slice("alpha"), .name = slice("*.txt"), .recursive = true),
           "d/e/deep.txt");
}
END_TEST

START_TEST(pages)
{
    furnish();
    expect("/", QUERY(.limit = 2), "d-x, d.txt");
    expect("/", QUERY(.limit = 2, .after = slice("d.txt")), "d/, empty/");
    expect("/", QUERY(.after = slice("d")), "d-x, d.txt, d/, empty/");
    expect("/", QUERY(.after = slice("d.z")), "d/, empty/");
    expect("/", QUERY(.after = slice("d/e")), "empty/");
    expect("/", QUERY(.after = slice("")), "d-x, d.txt, d/, empty/");
    expect("/", QUERY(.after = slice("zzz")), "");
    expect("/", QUERY(.after = slice("d/e/"), .limit = 2, .recursive = true),
           "d/e/deep.txt, d/e/f/");
    expect("/", QUERY(.after = slice("d/e/f/a"), .recursive = true), "d/e/f/bad, d/in, empty/");
    expect("/", QUERY(.after = slice("d/e/f/bad"), .limit = 1, .recursive = true), "d/in");
    expect("/", QUERY(.limit = 1, .type = STTP_LIST_DIRECTORIES), "d/");
    expect("/", QUERY(.limit = 1, .text = slice("gamma"), .recursive = true), "d/e/deep.txt");
}
END_TEST

/* A name to begin behind may be longer than any path. */
START_TEST(long_after)
{
    char after[2 * STTP_MAX_PATH];
    furnish();
    memset(after, 'd', sizeof after);
    sttp_slice name = {after, sizeof after};
    expect("/", QUERY(.after = name), "empty/");
    after[1] = '.';
    expect("/", QUERY(.after = name), "d.txt, d/, empty/");
    after[1] = '/';
    expect("/", QUERY(.after = name, .recursive = true),
           "d/e/, d/e/deep.txt, d/e/f/, d/e/f/bad, d/in, empty/");
}
END_TEST

/* ---- search ---- */

enum { FILES = 3000 };

/* In each directory every kind of text, so that a page of each needs another way to be found. */
static void fill(void)
{
    static struct waiting_operation changes[FILES];
    static char paths[FILES][32], texts[FILES][80];
    for (int i = 0; i < FILES; i++) {
        snprintf(paths[i], sizeof paths[i], "/s%d/n%04d", i * 7 % 10, i);
        snprintf(texts[i], sizeof texts[i], "number %04d%s%s%s", i, i % 5 == 0 ? " Fifth" : "",
                 i % 97 == 0 ? " seldom" : "", i == 1234 ? " unique \"quoted\" thing" : "");
        prepare(&changes[i], CREATE, paths[i], texts[i]);
        fixture.store->submit(fixture.store, &changes[i].operation);
    }
    for (int i = 0; i < FILES; i++) {
        await(&changes[i]);
        ck_assert_int_eq(changes[i].operation.result, STORE_DONE);
    }
}

static int count(const char *names)
{
    int found = *names != '\0';
    while ((names = strstr(names, ", ")) != NULL) {
        names++;
        found++;
    }
    return found;
}

static int found(const char *path, const char *text)
{
    return count(list(path, QUERY(.text = slice(text), .recursive = true)));
}

/* The pages together are the whole. */
static void expect_pages(const char *text, uint32_t limit)
{
    static char whole[FILES * 16], joined[FILES * 16], after[64];
    snprintf(whole, sizeof whole, "%s", list("/", QUERY(.text = slice(text), .recursive = true)));
    joined[0] = after[0] = '\0';
    for (;;) {
        sttp_query query = {.text = slice(text), .recursive = true, .limit = limit};
        if (after[0] != '\0')
            query.after = slice(after);
        const char *page = list("/", query);
        ck_assert_int_le(count(page), (int)limit);
        if (*page == '\0')
            break;
        if (joined[0] != '\0')
            strcat(joined, ", ");
        strcat(joined, page);
        const char *last = strrchr(page, ' ');
        snprintf(after, sizeof after, "%s", last == NULL ? page : last + 1);
    }
    ck_assert_str_eq(joined, whole);
}

static void expect_all(void)
{
    ck_assert_int_eq(found("/", "number"), FILES);
    ck_assert_int_eq(found("/", "fifth"), FILES / 5);
    ck_assert_int_eq(found("/", "SELDOM"), FILES / 97 + 1);
    ck_assert_int_eq(found("/", "number 12"), 100);
    ck_assert_int_eq(found("/", "12"), 159);
    ck_assert_int_eq(found("/s3", "number"), FILES / 10);
    ck_assert_int_eq(found("/", "not there"), 0);
    ck_assert_int_eq(found("/", "unique \"quoted\" thing"), 1);
    ck_assert_int_eq(found("/", "\"\"\""), 0);
    ck_assert_int_eq(found("/", "e \"q"), 1);
    ck_assert_int_eq(found("/", "fifth seldom"), FILES / 97 / 5 + 1);
    expect_pages("seldom", 7);
    expect_pages("fifth", 100);
    expect_pages("number 1", 333);
    ck_assert_int_eq(count(list("/s5", QUERY(.text = slice("number")))), FILES / 10);
    ck_assert_int_eq(count(list("/", QUERY(.text = slice("number")))), 0);
}

START_TEST(search_indexed)
{
    open_store();
    fill();
    wait_for_index();
    expect_all();
}
END_TEST

/* Nothing is indexed while somebody else keeps the writer from it. */
START_TEST(search_not_indexed)
{
    open_store();
    fill();
    wait_for_index();
    close_store();
    sql("INSERT INTO search (search) VALUES ('delete-all'); UPDATE progress SET indexed = %d",
        _i * FILES / 2);
    if (_i == 1)
        sql("INSERT INTO search (rowid, text) SELECT id, text FROM entry WHERE id <= %d",
            FILES / 2);
    sql("BEGIN IMMEDIATE");
    open_store();
    expect_all();
    sql("COMMIT");
    wait_for_index();
    expect_all();
    ck_assert_int_eq(atoi(sql("SELECT count(*) FROM search WHERE search MATCH '\"num\"'")), FILES);
}
END_TEST

/* Rows that were changed or deleted after they were indexed. */
START_TEST(search_changed)
{
    open_store();
    fill();
    wait_for_index();
    sql("BEGIN IMMEDIATE;"
        "INSERT INTO stale SELECT id, text FROM entry WHERE path GLOB '*[02468]' AND text NOTNULL;"
        "UPDATE entry SET text = 'other ' || text WHERE path GLOB '*[02468]' AND text NOTNULL;"
        "DELETE FROM entry WHERE path GLOB '*4' AND text NOTNULL;"
        "COMMIT");
    ck_assert_int_eq(found("/", "other number"), FILES * 4 / 10);
    ck_assert_int_eq(found("/", "number"), FILES * 9 / 10);
    ck_assert_int_eq(found("/", "unique"), 0);
    close_store();
    open_store();
    create("/last", "another number");
    wait_for_index();
    ck_assert_int_eq(found("/", "other number"), FILES * 4 / 10 + 1);
    ck_assert_int_eq(found("/", "number"), FILES * 9 / 10 + 1);
    ck_assert_str_eq(sql("SELECT count(*) FROM search WHERE search MATCH '\"num\"'"), "2701");
    ck_assert_str_eq(sql("SELECT count(*) FROM search WHERE search MATCH '\"the\"'"), "1201");
}
END_TEST

/* UPDATE and DELETE leave the index right, whether what they change is indexed or not. */
START_TEST(index_follows)
{
    open_store();
    fill();
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(result_of(UPDATE, "/s0/n0010", "the new words"), STORE_DONE);
        ck_assert_int_eq(found("/", "number 0010"), 0);
        ck_assert_int_eq(found("/", "NEW WORDS"), 1);
        ck_assert_int_eq(result_of(UPDATE, "/s0/n0010", "number 0010 again"), STORE_DONE);
        ck_assert_int_eq(found("/", "number 0010"), 1);
        ck_assert_int_eq(found("/", "new words"), 0);
        ck_assert_int_eq(result_of(DELETE, "/s0/n0010", NULL), STORE_DONE);
        ck_assert_int_eq(found("/", "number 0010"), 0);
        create("/s0/n0010", "number 0010");
        ck_assert_int_eq(found("/", "number 0010"), 1);
        wait_for_index();
    }
    ck_assert_str_eq(sql("SELECT count(*) FROM search WHERE search MATCH '\"num\"'"), "3000");
    ck_assert_str_eq(sql("SELECT count(*) FROM search WHERE search MATCH '\"new\"'"), "0");
}
END_TEST

/* A to Z equal a to z, and nothing else: the index folds more. */
START_TEST(letters)
{
    open_store();
    create("/umlaut", "ÄPFEL und Öl");
    create("/kelvin", "300 \u212aelvin");
    create("/plain", "300 kelvin");
    create("/emoji", "a \U0001F600\U0001F601\U0001F602 b");
    for (int round = 0; round < 2; round++) {
        expect("/", QUERY(.text = slice("äpfel")), "");
        expect("/", QUERY(.text = slice("Äpfel")), "umlaut");
        expect("/", QUERY(.text = slice("UND Öl")), "umlaut");
        expect("/", QUERY(.text = slice("300 K")), "plain");
        expect("/", QUERY(.text = slice("300 \u212aEL")), "kelvin");
        expect("/", QUERY(.text = slice("\U0001F600\U0001F601\U0001F602")), "emoji");
        expect("/", QUERY(.text = slice("\U0001F601\U0001F602 ")), "emoji");
        wait_for_index();
    }
}
END_TEST

/* Needles of every length, up to more than any text has. */
START_TEST(long_needles)
{
    char text[STTP_MAX_CONTENTS_CHARS + 2] = "";
    open_store();
    for (int i = 0; i < STTP_MAX_CONTENTS_CHARS; i++)
        text[i] = (char)('!' + i * 7 % 90);
    create("/long", text);
    wait_for_index();
    for (size_t size = 0; size <= STTP_MAX_CONTENTS_CHARS; size++) {
        sttp_slice needle = {text + STTP_MAX_CONTENTS_CHARS - size, size};
        expect("/", QUERY(.text = needle), "long");
    }
    strcat(text, "x");
    expect("/", QUERY(.text = slice(text)), "");
}
END_TEST

/* ---- limits ---- */

/* An answer that would be too long, and one that just is not. */
START_TEST(too_many_names)
{
    open_store();
    sql("INSERT INTO entry (path, text) VALUES ('/d/', NULL);"
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 600000) "
        "INSERT INTO entry (path, text) SELECT format('/d/%%030d', i), 'x' FROM n;");
    sttp_query query = {.limit = 0};
    struct outcome outcome = run_on(fixture.store, LIST, "/d", NULL, &query);
    ck_assert_int_eq(outcome.result, STORE_TOO_MANY_NAMES);
    sql("DELETE FROM entry WHERE path >= format('/d/%%030d', 524288)");
    outcome = run_on(fixture.store, LIST, "/d", NULL, &query);
    ck_assert_int_eq(outcome.result, STORE_DONE);
    ck_assert_uint_eq(strlen(outcome.contents), 524288 * 32 - 2);
    sql("INSERT INTO entry (path, text) VALUES ('/d/x', 'x')");
    ck_assert_int_eq(run_on(fixture.store, LIST, "/d", NULL, &query).result, STORE_TOO_MANY_NAMES);
    query.limit = 3;
    ck_assert_int_eq(count(run_on(fixture.store, LIST, "/d", NULL, &query).contents), 3);
}
END_TEST

/* A search ends where it has looked at too much; what is no search does not. */
START_TEST(too_much_work)
{
    open_store();
    sql("INSERT INTO entry (path, text) VALUES ('/d/', NULL);"
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
        "INSERT INTO entry (path, text) SELECT format('/d/%%07d', i), 'x' FROM n;",
        SQ_MAX_ROWS + 1000);
    sttp_query query = {.text = slice("ab")};
    struct outcome outcome = run_on(fixture.store, LIST, "/d", NULL, &query);
    ck_assert_int_eq(outcome.result, STORE_TOO_MUCH_WORK);
    ck_assert_int_eq(outcome.error, 0);
    query = (sttp_query){.name = slice("none"), .recursive = true};
    ck_assert_int_eq(run_on(fixture.store, LIST, "/", NULL, &query).result, STORE_TOO_MUCH_WORK);
    query = (sttp_query){.name = slice("none"), .limit = 1};
    ck_assert_int_eq(run_on(fixture.store, LIST, "/d", NULL, &query).result, STORE_DONE);
    query = (sttp_query){.text = slice("x"), .limit = 5};
    ck_assert_int_eq(count(run_on(fixture.store, LIST, "/d", NULL, &query).contents), 5);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_sqlite_list");
    TCase *tests = tcase_create("lists");
    tcase_set_timeout(tests, 100);
    tcase_add_checked_fixture(tests, make_directory, remove_directory);
    tcase_add_test(tests, order);
    tcase_add_test(tests, filters);
    tcase_add_test(tests, pages);
    tcase_add_test(tests, long_after);
    tcase_add_test(tests, search_indexed);
    tcase_add_loop_test(tests, search_not_indexed, 0, 2);
    tcase_add_test(tests, search_changed);
    tcase_add_test(tests, index_follows);
    tcase_add_test(tests, letters);
    tcase_add_test(tests, long_needles);
    tcase_add_test(tests, too_many_names);
    tcase_add_test(tests, too_much_work);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
