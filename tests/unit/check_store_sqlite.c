/* The SQLite store: what each operation answers, that changes are made together, in their order and
 * told of, and how it ends. */
#include <errno.h>

#include "store_sqlite_support.h"

START_TEST(answers)
{
    static const struct {
        sttp_action action;
        const char *path, *text;
        store_result result;
        const char *contents;
    } steps[] = {
        {SHOW, "/a", NULL, STORE_NOT_FOUND, NULL},
        {SHOW, "/a/b", NULL, STORE_PATH_NOT_FOUND, NULL},
        {SHOW, "/", NULL, STORE_IS_DIRECTORY, NULL},
        {LIST, "/", NULL, STORE_DONE, ""},
        {LIST, "/a", NULL, STORE_NOT_FOUND, NULL},
        {LIST, "/a/b/", NULL, STORE_PATH_NOT_FOUND, NULL},
        {UPDATE, "/a", "x", STORE_NOT_FOUND, NULL},
        {UPDATE, "/a/b", "x", STORE_PATH_NOT_FOUND, NULL},
        {DELETE, "/a", NULL, STORE_NOT_FOUND, NULL},
        {DELETE, "/a/", NULL, STORE_NOT_FOUND, NULL},
        {DELETE, "/a/b/", NULL, STORE_PATH_NOT_FOUND, NULL},
        {DELETE, "/", NULL, STORE_IS_ROOT, NULL},
        {CREATE, "/", "x", STORE_IS_DIRECTORY, NULL},
        {CREATE, "/a/b/c", "one", STORE_DONE, NULL},
        {CREATE, "/a/b/c", "two", STORE_EXISTS, NULL},
        {CREATE, "/a/b", "two", STORE_IS_DIRECTORY, NULL},
        {CREATE, "/a/b/c/d", "two", STORE_CANNOT_CREATE_PATH, NULL},
        {CREATE, "/a/b/c/d/e", "two", STORE_CANNOT_CREATE_PATH, NULL},
        {CREATE, "/a/b/empty", "", STORE_DONE, NULL},
        {SHOW, "/a/b/c", NULL, STORE_DONE, "one"},
        {SHOW, "/a/b/empty", NULL, STORE_DONE, ""},
        {SHOW, "/a/b", NULL, STORE_IS_DIRECTORY, NULL},
        {SHOW, "/a/b/c/d", NULL, STORE_PATH_NOT_FOUND, NULL},
        {LIST, "/a/b/c", NULL, STORE_IS_FILE, NULL},
        {LIST, "/a/b/c/", NULL, STORE_IS_FILE, NULL},
        {LIST, "/a/b/c/d", NULL, STORE_PATH_NOT_FOUND, NULL},
        {LIST, "/a", NULL, STORE_DONE, "b/"},
        {LIST, "/a/b/", NULL, STORE_DONE, "c, empty"},
        {UPDATE, "/a/b", "x", STORE_IS_DIRECTORY, NULL},
        {UPDATE, "/a/b/c", "three", STORE_DONE, "three"},
        {UPDATE, "/a/b/c", "", STORE_DONE, ""},
        {SHOW, "/a/b/c", NULL, STORE_DONE, ""},
        {DELETE, "/a/b", NULL, STORE_IS_DIRECTORY, NULL},
        {DELETE, "/a/b/", NULL, STORE_NOT_EMPTY, NULL},
        {DELETE, "/a/", NULL, STORE_NOT_EMPTY, NULL},
        {DELETE, "/a/b/c/", NULL, STORE_IS_FILE, NULL},
        {DELETE, "/a/b/c", NULL, STORE_DONE, NULL},
        {DELETE, "/a/b/empty", NULL, STORE_DONE, NULL},
        {LIST, "/a/b", NULL, STORE_DONE, ""},
        {DELETE, "/a/b/", NULL, STORE_DONE, NULL},
        {SHOW, "/a/b/c", NULL, STORE_PATH_NOT_FOUND, NULL},
        {LIST, "/a", NULL, STORE_DONE, ""},
        {LIST, "/a/b", NULL, STORE_NOT_FOUND, NULL},
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct outcome outcome = run(steps[i].action, steps[i].path, steps[i].text);
        ck_assert_msg(outcome.result == steps[i].result, "step %zu (%s): %d", i, steps[i].path,
                      outcome.result);
        ck_assert_int_eq(outcome.error, 0);
        if (steps[i].contents != NULL)
            ck_assert_str_eq(outcome.contents, steps[i].contents);
    }
}
END_TEST

/* A name is no pattern, and what is beside a directory is not in it. */
START_TEST(neighbours)
{
    ck_assert_int_eq(result_of(CREATE, "/d/x", "1"), STORE_DONE);
    ck_assert_int_eq(result_of(CREATE, "/d0", "2"), STORE_DONE);
    ck_assert_int_eq(result_of(CREATE, "/d-", "3"), STORE_DONE);
    ck_assert_int_eq(result_of(CREATE, "/D/x", "4"), STORE_DONE);
    ck_assert_int_eq(result_of(CREATE, "/%", "5"), STORE_DONE);
    ck_assert_int_eq(result_of(SHOW, "/_", NULL), STORE_NOT_FOUND);
    ck_assert_str_eq(run(LIST, "/", NULL).contents, "%, D/, d-, d/, d0");
    ck_assert_str_eq(run(LIST, "/d", NULL).contents, "x");
    ck_assert_int_eq(result_of(DELETE, "/d/x", NULL), STORE_DONE);
    ck_assert_int_eq(result_of(DELETE, "/d/", NULL), STORE_DONE);
    ck_assert_str_eq(run(SHOW, "/D/x", NULL).contents, "4");
}
END_TEST

static sttp_slice long_path(char *room, size_t size)
{
    memset(room, 'p', size);
    for (size_t i = 0; i < size; i += 200)
        room[i] = '/';
    return (sttp_slice){room, size};
}

START_TEST(longest_path)
{
    char path[STTP_MAX_PATH + 2] = "";
    long_path(path, STTP_MAX_PATH);
    ck_assert_int_eq(result_of(CREATE, path, "deep"), STORE_DONE);
    ck_assert_str_eq(run(SHOW, path, NULL).contents, "deep");
    ck_assert_int_eq(result_of(LIST, path, NULL), STORE_IS_FILE);
    ck_assert_int_eq(result_of(DELETE, path, NULL), STORE_DONE);
    long_path(path, STTP_MAX_PATH + 1);
    ck_assert_int_eq(result_of(SHOW, path, NULL), STORE_NOT_FOUND);
    ck_assert_int_eq(result_of(CREATE, path, "deeper"), STORE_NOT_FOUND);
}
END_TEST

START_TEST(kept_when_opened_again)
{
    ck_assert_int_eq(result_of(CREATE, "/a/b", "one"), STORE_DONE);
    ck_assert_int_eq(result_of(CREATE, "/a/c", "two"), STORE_DONE);
    ck_assert_int_eq(result_of(DELETE, "/a/b", NULL), STORE_DONE);
    close_store();
    open_store();
    ck_assert_str_eq(run(SHOW, "/a/c", NULL).contents, "two");
    ck_assert_int_eq(result_of(SHOW, "/a/b", NULL), STORE_NOT_FOUND);
    ck_assert_int_eq(result_of(CREATE, "/a/b", "again"), STORE_DONE);
    ck_assert_str_eq(run(LIST, "/a", NULL).contents, "b, c");
}
END_TEST

/* What others have written into the database. */
START_TEST(texts_of_others)
{
    sql("INSERT INTO entry (path, text) VALUES ('/long', '%s'), ('/line', 'a' || char(10)),"
        " ('/null', NULL), ('/bytes', cast(x'ff' AS TEXT)), ('/bad name', 'x'), ('/good', 'x'),"
        " ('/d/', NULL), ('/d/sp ace/', NULL), ('/d/sp ace/x', 'x'), ('/d//', NULL)",
        "0123456789012345678901234567890123456789012345678901234567890123456789"
        "0123456789012345678901234567890123456789012345678901234567890123456789"
        "012345678901234567890");
    static const char *const paths[] = {"/long", "/line", "/null", "/bytes"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        ck_assert_int_eq(result_of(SHOW, paths[i], NULL), STORE_INVALID_TEXT);
        ck_assert_str_eq(list("/", QUERY(.text = slice(""), .type = STTP_LIST_FILES)), "good");
        ck_assert_int_eq(result_of(UPDATE, paths[i], "y"), STORE_DONE);
        ck_assert_str_eq(run(SHOW, paths[i], NULL).contents, "y");
        ck_assert_int_eq(result_of(DELETE, paths[i], NULL), STORE_DONE);
    }
    ck_assert_str_eq(list("/", QUERY(.recursive = true)), "d/, good");
}
END_TEST

/* A row that somebody else has added has the id that the store would have given next; or the last
 * one of all, after which there is none for a new file. */
START_TEST(ids_of_others)
{
    ck_assert_int_eq(result_of(CREATE, "/a", "one"), STORE_DONE);
    wait_for_index();
    sql("INSERT INTO entry (path, text) VALUES ('/theirs', 'some words of theirs')");
    ck_assert_int_eq(result_of(CREATE, "/b", "some words"), STORE_DONE);
    ck_assert_int_eq(result_of(CREATE, "/d/c", "some words"), STORE_DONE);
    wait_for_index();
    ck_assert_str_eq(list("/", QUERY(.recursive = true, .text = slice("some words"))),
                     "b, d/c, theirs");
    ck_assert_str_eq(sql("SELECT count(*) FROM search WHERE search MATCH 'wor'"), "3");
    sql("INSERT INTO entry VALUES (9223372036854775807, '/last', 'x')");
    ck_assert_int_eq(result_of(CREATE, "/new", "x"), STORE_NO_SPACE);
    ck_assert_int_eq(result_of(UPDATE, "/a", "two"), STORE_DONE);
    ck_assert_str_eq(run(SHOW, "/last", NULL).contents, "x");
}
END_TEST

/* ---- changes ---- */

/* A change that notes what it is told, and in whose middle a SHOW of its path is asked for. */
struct told {
    struct waiting_operation waiting; /* first */
    struct waiting_operation show;
    int begun, ended;
    size_t made;
    bool asks;
};

static void note_begin(store_operation *operation, size_t made)
{
    struct told *told = (struct told *)operation;
    told->begun++;
    told->made = made;
    if (told->asks)
        fixture.store->submit(fixture.store, &told->show.operation);
}

static void note_end(store_operation *operation)
{
    struct told *told = (struct told *)operation;
    ck_assert_int_eq(told->begun, 1);
    ck_assert(!told->waiting.done);
    pthread_mutex_lock(&told->show.lock);
    ck_assert(!told->show.done);
    pthread_mutex_unlock(&told->show.lock);
    told->ended++;
}

static void prepare_told(struct told *told, sttp_action action, const char *path, const char *text,
                         bool asks)
{
    *told = (struct told){.asks = asks};
    prepare(&told->waiting, action, path, text);
    prepare(&told->show, SHOW, path, NULL);
    told->waiting.operation.begin = note_begin;
    told->waiting.operation.end = note_end;
}

static store_result run_told(struct told *told, sttp_action action, const char *path,
                             const char *text)
{
    prepare_told(told, action, path, text, false);
    fixture.store->submit(fixture.store, &told->waiting.operation);
    await(&told->waiting);
    ck_assert_int_eq(told->begun, told->ended);
    return told->waiting.operation.result;
}

START_TEST(changes_are_told)
{
    struct told told;
    ck_assert_int_eq(run_told(&told, CREATE, "/a/bc/d", "x"), STORE_DONE);
    ck_assert_int_eq(told.begun, 1);
    ck_assert_uint_eq(told.made, strlen("/a"));
    run_told(&told, CREATE, "/a/bc/ef/gh/i", "x");
    ck_assert_uint_eq(told.made, strlen("/a/bc/ef"));
    run_told(&told, CREATE, "/a/bc/e", "x");
    ck_assert_int_eq(told.begun, 1);
    ck_assert_uint_eq(told.made, 0);
    run_told(&told, UPDATE, "/a/bc/e", "y");
    ck_assert_int_eq(told.begun, 1);
    run_told(&told, DELETE, "/a/bc/e", NULL);
    ck_assert_int_eq(told.begun, 1);
    run_told(&told, CREATE, "/a/bc/d", "y");
    ck_assert_int_eq(told.begun, 0);
    run_told(&told, UPDATE, "/a/bc/none", "y");
    ck_assert_int_eq(told.begun, 0);
    run_told(&told, DELETE, "/a/bc/", NULL);
    ck_assert_int_eq(told.begun, 0);
}
END_TEST

START_TEST(show_waits_for_the_change)
{
    struct told told;
    ck_assert_int_eq(result_of(CREATE, "/a", "old"), STORE_DONE);
    prepare_told(&told, UPDATE, "/a", "new", true);
    fixture.store->submit(fixture.store, &told.waiting.operation);
    await(&told.waiting);
    await(&told.show);
    ck_assert_int_eq(told.show.operation.result, STORE_DONE);
    ck_assert_uint_eq(told.show.operation.contents.size, 3);
    ck_assert_mem_eq(told.show.operation.contents.data, "new", 3);
}
END_TEST

static void count_many(store_operation *operation, size_t made)
{
    note_begin(operation, made);
    self()->writer.stale = SQ_MAX_BACKLOG; /* the writer's own thread is here */
}

/* The index follows where changes never pause: also where they only change what is there. */
START_TEST(index_follows_updates)
{
    static const char of_b[] = "SELECT count(*) FROM stale WHERE id = "
                               "(SELECT id FROM entry WHERE path = '/b')";
    struct told told;
    ck_assert_int_eq(result_of(CREATE, "/a", "old"), STORE_DONE);
    ck_assert_int_eq(result_of(CREATE, "/b", "old"), STORE_DONE);
    wait_for_index();
    prepare_told(&told, UPDATE, "/b", "new", false);
    told.waiting.operation.begin = count_many;
    fixture.store->submit(fixture.store, &told.waiting.operation);
    await(&told.waiting);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(result_of(UPDATE, "/a", "newer"), STORE_DONE);
    ck_assert_str_eq(sql("%s", of_b), "0");
}
END_TEST

/* Until the writer has taken all that waits for it. */
static void wait_for_writer(void)
{
    while (atomic_load(&self()->writer.waiting) > 0)
        sched_yield();
}

/* Those that come while the writer is busy are one transaction, whether they can be made or not. */
START_TEST(made_together)
{
    enum { MANY = 100 };
    static struct waiting_operation changes[MANY], first;
    static char paths[MANY][16];
    ck_assert_int_eq(result_of(CREATE, "/there", "x"), STORE_DONE);
    wait_for_index();
    sql("BEGIN IMMEDIATE");
    prepare(&first, CREATE, "/first", "x");
    fixture.store->submit(fixture.store, &first.operation);
    wait_for_writer();
    for (int i = 0; i < MANY; i++) {
        snprintf(paths[i], sizeof paths[i], i % 2 == 0 ? "/d/n%d" : "/there/n%d", i);
        prepare(&changes[i], CREATE, paths[i], "x");
        fixture.store->submit(fixture.store, &changes[i].operation);
    }
    sql("COMMIT");
    await(&first);
    for (int i = 0; i < MANY; i++) {
        await(&changes[i]);
        ck_assert_int_eq(changes[i].operation.result,
                         i % 2 == 0 ? STORE_DONE : STORE_CANNOT_CREATE_PATH);
    }
    ck_assert_str_eq(sql("SELECT count(*) FROM entry WHERE path GLOB '/d/n*'"), "50");
}
END_TEST

/* One that the database does not take is no harm to those it is made with. */
START_TEST(one_fails_alone)
{
    enum { MANY = 20, BAD = 7 };
    static struct waiting_operation changes[MANY], first;
    static char paths[MANY][16];
    ck_assert_int_eq(result_of(CREATE, "/bad", "x"), STORE_DONE);
    ck_assert_int_eq(result_of(CREATE, "/other", "taken"), STORE_DONE);
    wait_for_index();
    sql("CREATE UNIQUE INDEX theirs ON entry (text) WHERE text = 'taken'; BEGIN IMMEDIATE");
    prepare(&first, CREATE, "/first", "x");
    fixture.store->submit(fixture.store, &first.operation);
    wait_for_writer();
    for (int i = 0; i < MANY; i++) {
        snprintf(paths[i], sizeof paths[i], "/d%d/n", i);
        prepare(&changes[i], i == BAD ? UPDATE : CREATE, i == BAD ? "/bad" : paths[i],
                i == BAD ? "taken" : "x");
        fixture.store->submit(fixture.store, &changes[i].operation);
    }
    sql("COMMIT");
    for (int i = 0; i < MANY; i++) {
        await(&changes[i]);
        ck_assert_int_eq(changes[i].operation.result, i == BAD ? STORE_IO : STORE_DONE);
        ck_assert_int_eq(changes[i].operation.system_errno, i == BAD ? EIO : 0);
    }
    await(&first);
    ck_assert_str_eq(run(SHOW, "/bad", NULL).contents, "x");
    ck_assert_str_eq(sql("SELECT count(*) FROM entry WHERE path GLOB '/d*/n'"), "19");
}
END_TEST

/* ---- the end, and what does not fit ---- */

static void *close_it(void *context)
{
    (void)context;
    ck_assert_int_eq(fixture.store->close(fixture.store), 0);
    return NULL;
}

START_TEST(close_ends_what_waits)
{
    struct waiting_operation under_way, waiting, behind, show;
    pthread_t closer;
    wait_for_index();
    sql("BEGIN IMMEDIATE");
    prepare(&under_way, CREATE, "/a", "x");
    fixture.store->submit(fixture.store, &under_way.operation);
    wait_for_writer();
    prepare(&waiting, CREATE, "/b", "x");
    prepare(&behind, UPDATE, "/a", "y");
    prepare(&show, SHOW, "/b", NULL);
    fixture.store->submit(fixture.store, &waiting.operation);
    fixture.store->submit(fixture.store, &behind.operation);
    fixture.store->submit(fixture.store, &show.operation);
    struct store_sqlite *opened = self();
    pthread_create(&closer, NULL, close_it, NULL);
    pthread_mutex_lock(&opened->writer.lock);
    while (!opened->writer.stopping) {
        pthread_mutex_unlock(&opened->writer.lock);
        sched_yield();
        pthread_mutex_lock(&opened->writer.lock);
    }
    pthread_mutex_unlock(&opened->writer.lock);
    sql("COMMIT");
    pthread_join(closer, NULL);
    fixture.store = NULL;
    ck_assert(under_way.done && waiting.done && behind.done && show.done);
    ck_assert_int_eq(under_way.operation.result, STORE_DONE);
    ck_assert_int_eq(waiting.operation.result, STORE_BUSY);
    ck_assert_int_eq(behind.operation.result, STORE_BUSY);
    ck_assert_int_eq(show.operation.result, STORE_BUSY);
}
END_TEST

START_TEST(queue_is_bounded)
{
    enum { PLACES = 3 };
    struct waiting_operation changes[PLACES + 1];
    static const char *const paths[] = {"/a", "/b", "/c", "/d"};
    close_store();
    fixture.store = open_with(&(struct store_settings){.threads = 1, .queue = PLACES - 1});
    wait_for_index();
    sql("BEGIN IMMEDIATE");
    for (int i = 0; i <= PLACES; i++) {
        prepare(&changes[i], CREATE, paths[i], "x");
        fixture.store->submit(fixture.store, &changes[i].operation);
    }
    ck_assert(changes[PLACES].done);
    ck_assert_int_eq(changes[PLACES].operation.result, STORE_BUSY);
    sql("COMMIT");
    for (int i = 0; i < PLACES; i++) {
        await(&changes[i]);
        ck_assert_int_eq(changes[i].operation.result, STORE_DONE);
    }
}
END_TEST

/* A machine that has much to do may give the thread that copies the log no time for a while. */
static void wait_for_copy(void)
{
    struct sq_checkpointer *checkpointer = &self()->checkpointer;
    for (bool is_under_way = true; is_under_way; sched_yield()) {
        pthread_mutex_lock(&checkpointer->lock);
        is_under_way = checkpointer->wanted;
        pthread_mutex_unlock(&checkpointer->lock);
    }
}

/* The log does not grow for ever, and what it held is in the database. */
START_TEST(log_is_copied)
{
    enum { CHANGES = 120, ROWS = 500 };
    static struct waiting_operation changes[ROWS];
    static char paths[ROWS][24];
    struct stat status;
    for (int i = 0; i < CHANGES; i++) {
        if (size_of_log() > 32 << 20)
            wait_for_copy();
        for (int j = 0; j < ROWS; j++) {
            snprintf(paths[j], sizeof paths[j], "/%d/n%d", j * 7919 % 997, i * ROWS + j);
            prepare(&changes[j], CREATE, paths[j], "some text that takes a little room");
            fixture.store->submit(fixture.store, &changes[j].operation);
        }
        for (int j = 0; j < ROWS; j++) {
            await(&changes[j]);
            ck_assert_int_eq(changes[j].operation.result, STORE_DONE);
        }
    }
    ck_assert_int_lt(size_of_log(), 48 << 20);
    ck_assert_int_eq(stat(fixture.path, &status), 0);
    ck_assert_int_gt(status.st_size, 1 << 20);
    wait_for_index();
    ck_assert_str_eq(list("/", QUERY(.recursive = true, .limit = 1, .text = slice("text that"))),
                     "0/n0");
    ck_assert_str_eq(sql("PRAGMA integrity_check"), "ok");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_sqlite");
    TCase *tests = tcase_create("operations");
    tcase_set_timeout(tests, 100);
    tcase_add_checked_fixture(tests, open_fixture, remove_directory);
    tcase_add_test(tests, answers);
    tcase_add_test(tests, neighbours);
    tcase_add_test(tests, longest_path);
    tcase_add_test(tests, kept_when_opened_again);
    tcase_add_test(tests, texts_of_others);
    tcase_add_test(tests, ids_of_others);
    tcase_add_test(tests, changes_are_told);
    tcase_add_test(tests, index_follows_updates);
    tcase_add_test(tests, show_waits_for_the_change);
    tcase_add_test(tests, made_together);
    tcase_add_test(tests, one_fails_alone);
    tcase_add_test(tests, close_ends_what_waits);
    tcase_add_test(tests, queue_is_bounded);
    tcase_add_test(tests, log_is_copied);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
