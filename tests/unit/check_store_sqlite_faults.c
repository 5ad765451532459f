/* The SQLite store where files fail: what each failure is answered with, that nothing acknowledged
 * is lost and nothing refused was made, that the store goes on; and how often it syncs. */
#include "sqlite_vfs.h"
#include "store_sqlite_support.h"

static void open_faulty(void)
{
    make_directory();
    vfs_install();
    open_store();
    ck_assert_int_eq(result_of(CREATE, "/a", "old"), STORE_DONE);
    wait_for_index();
    leave();
}

static int count_rows(void)
{
    return atoi(sql("SELECT count(*) FROM entry"));
}

/* ---- failures of a change ---- */

static const struct {
    enum vfs_call call;
    int code, error;
    store_result result;
} write_failures[] = {
    {VFS_WRITE, SQLITE_FULL, ENOSPC, STORE_NO_SPACE},
    {VFS_WRITE, SQLITE_IOERR_WRITE, EDQUOT, STORE_QUOTA},
    {VFS_WRITE, SQLITE_IOERR_WRITE, EROFS, STORE_READ_ONLY},
    {VFS_WRITE, SQLITE_IOERR_WRITE, EIO, STORE_OUTCOME_UNKNOWN},
    {VFS_SYNC, SQLITE_IOERR_FSYNC, EIO, STORE_OUTCOME_UNKNOWN},
};

START_TEST(change_fails)
{
    vfs_arm(write_failures[_i].call, VFS_LOG, 1, 1, write_failures[_i].code,
            write_failures[_i].error);
    struct outcome outcome = run(UPDATE, "/a", "new");
    ck_assert(vfs_disarm());
    ck_assert_int_eq(outcome.result, write_failures[_i].result);
    ck_assert_int_eq(outcome.error, write_failures[_i].error);
    outcome = run(SHOW, "/a", NULL);
    ck_assert_int_eq(outcome.result, STORE_DONE);
    ck_assert_str_eq(outcome.contents, "old");
    ck_assert_int_eq(result_of(UPDATE, "/a", "newer"), STORE_DONE);
    close_store();
    open_store();
    ck_assert_str_eq(run(SHOW, "/a", NULL).contents, "newer");
}
END_TEST

/* A commit that was written, and whose sync failed, may come to light; half of it never. */
START_TEST(unknown_outcome)
{
    vfs_arm(VFS_SYNC, VFS_LOG, 1, 1, SQLITE_IOERR_FSYNC, EIO);
    ck_assert_int_eq(result_of(CREATE, "/d/e/f", "new"), STORE_OUTCOME_UNKNOWN);
    ck_assert(vfs_disarm());
    close_store();
    open_store();
    store_result result = result_of(SHOW, "/d/e/f", NULL);
    ck_assert(result == STORE_DONE || result == STORE_PATH_NOT_FOUND);
    ck_assert_int_eq(count_rows(), result == STORE_DONE ? 4 : 1);
}
END_TEST

START_TEST(read_fails)
{
    vfs_arm(VFS_READ, VFS_EITHER, 1, 1000, SQLITE_IOERR_READ, EIO);
    struct outcome outcome = run(SHOW, "/a", NULL);
    ck_assert_int_eq(outcome.result, STORE_IO);
    ck_assert_int_eq(outcome.error, EIO);
    outcome = run(LIST, "/", NULL);
    ck_assert_int_eq(outcome.result, STORE_IO);
    vfs_disarm();
    ck_assert_str_eq(run(SHOW, "/a", NULL).contents, "old");
    ck_assert_str_eq(run(LIST, "/", NULL).contents, "a");
}
END_TEST

START_TEST(reader_cannot_open)
{
    vfs_arm(VFS_OPEN, VFS_DATABASE, 1, 1, SQLITE_CANTOPEN, EMFILE);
    struct outcome outcome = run(SHOW, "/a", NULL);
    ck_assert(vfs_disarm());
    ck_assert_int_eq(outcome.result, STORE_NO_DESCRIPTORS);
    ck_assert_str_eq(run(SHOW, "/a", NULL).contents, "old");
}
END_TEST

/* ---- how often it syncs ---- */

static int log_syncs(void)
{
    return atomic_load(&vfs.counts[VFS_SYNC][VFS_LOG]);
}

static void wait_for_writer(void)
{
    while (atomic_load(&self()->writer.waiting) > 0)
        sched_yield();
}

static int syncs_at_end;

/* On the writer's thread, which syncs once more when it fills the index for search after that. */
static void note_syncs(store_operation *operation)
{
    (void)operation;
    syncs_at_end = log_syncs();
}

START_TEST(one_sync_for_all)
{
    enum { MANY = 200 };
    static struct waiting_operation changes[MANY], first;
    static char paths[MANY][16];
    sql("BEGIN IMMEDIATE");
    prepare(&first, CREATE, "/first", "x");
    fixture.store->submit(fixture.store, &first.operation);
    wait_for_writer();
    for (int i = 0; i < MANY; i++) {
        snprintf(paths[i], sizeof paths[i], "/d/n%d", i);
        prepare(&changes[i], CREATE, paths[i], "x");
        changes[i].operation.end = note_syncs;
        fixture.store->submit(fixture.store, &changes[i].operation);
    }
    int before = log_syncs();
    sql("COMMIT");
    for (int i = 0; i < MANY; i++) {
        await(&changes[i]);
        ck_assert_int_eq(changes[i].operation.result, STORE_DONE);
    }
    ck_assert_int_eq(syncs_at_end - before, 2); /* of the first one, and of all others */
}
END_TEST

/* What changes nothing is not synced. */
START_TEST(no_sync_for_nothing)
{
    int before = log_syncs();
    ck_assert_int_eq(result_of(CREATE, "/a", "x"), STORE_EXISTS);
    ck_assert_int_eq(result_of(DELETE, "/none", NULL), STORE_NOT_FOUND);
    ck_assert_int_eq(log_syncs(), before);
}
END_TEST

static void open_durability(enum store_durability durability)
{
    close_store();
    fixture.store = open_with(&(struct store_settings){.durability = durability});
    /* The first change begins a new log, whose header is always synced. */
    ck_assert_int_eq(result_of(UPDATE, "/a", "first"), STORE_DONE);
}

START_TEST(interval)
{
    open_durability(STORE_DURABILITY_INTERVAL);
    vfs_arm(VFS_SYNC, VFS_LOG, 1, 1, SQLITE_IOERR_FSYNC, EIO);
    ck_assert_int_eq(result_of(CREATE, "/b", "x"), STORE_DONE);
    while (atomic_load(&vfs.met) == 0) /* the sync of the log, within a second */
        sched_yield();
    vfs_disarm();
    while (atomic_load(&self()->checkpointer.failure) == 0)
        sched_yield();
    ck_assert_int_eq(result_of(CREATE, "/c", "x"), STORE_EARLIER_LOST);
    ck_assert_int_eq(result_of(CREATE, "/c", "x"), STORE_DONE);
    /* And one that nobody has told. */
    vfs_arm(VFS_SYNC, VFS_LOG, 1, 1000, SQLITE_IOERR_FSYNC, EIO);
    ck_assert_int_eq(result_of(CREATE, "/d", "x"), STORE_DONE);
    ck_assert_int_eq(fixture.store->close(fixture.store), EIO);
    fixture.store = NULL;
}
END_TEST

static int writes_to(enum vfs_file file)
{
    return atomic_load(&vfs.counts[VFS_WRITE][file]);
}

/* Where a sync has failed the kernel takes for written what is not: it is written again before the
 * next sync, without a change that would ask for one, until that is good. */
START_TEST(interval_again)
{
    open_durability(STORE_DURABILITY_INTERVAL);
    vfs_arm(VFS_SYNC, VFS_LOG, 1, 1000, SQLITE_IOERR_FSYNC, EIO);
    ck_assert_int_eq(result_of(CREATE, "/b", "x"), STORE_DONE);
    wait_for_index();
    while (atomic_load(&self()->checkpointer.failure) == 0)
        sched_yield();
    /* The next sync may follow what was written before this look, the one after it does not. */
    int writes = writes_to(VFS_LOG), syncs = log_syncs();
    while (log_syncs() < syncs + 2)
        sched_yield();
    ck_assert_int_ge(writes_to(VFS_LOG) - writes, (int)(size_of_log() / 16384) + 1);
    vfs_disarm();
    while (atomic_load(&self()->checkpointer.is_torn))
        sched_yield();
    ck_assert_int_eq(result_of(CREATE, "/c", "x"), STORE_EARLIER_LOST);
    ck_assert_int_eq(result_of(CREATE, "/c", "x"), STORE_DONE);
    ck_assert_int_eq(count_rows(), 3);
    close_store();
    open_store();
    ck_assert_str_eq(run(LIST, "/", NULL).contents, "a, b, c");
}
END_TEST

static void want_copy(void)
{
    struct sq_checkpointer *checkpointer = &self()->checkpointer;
    pthread_mutex_lock(&checkpointer->lock);
    checkpointer->wanted = true;
    pthread_cond_signal(&checkpointer->wake);
    pthread_mutex_unlock(&checkpointer->lock);
}

/* What is lost when the log is synced before it is copied is told, too; and it is copied when it
 * has been written again. */
START_TEST(interval_copying)
{
    open_durability(STORE_DURABILITY_INTERVAL);
    struct sq_checkpointer *checkpointer = &self()->checkpointer;
    ck_assert_int_eq(result_of(CREATE, "/b", "x"), STORE_DONE);
    wait_for_index();
    while (atomic_load(&checkpointer->changed)) /* until it has been synced */
        sched_yield();
    int written = writes_to(VFS_LOG), copied = writes_to(VFS_DATABASE);
    vfs_arm(VFS_SYNC, VFS_LOG, 1, 1, SQLITE_IOERR_FSYNC, EIO);
    want_copy();
    while (!atomic_load(&checkpointer->finish) && atomic_load(&checkpointer->failure) == 0)
        sched_yield();
    ck_assert(vfs_disarm());
    while (writes_to(VFS_DATABASE) == copied)
        sched_yield();
    ck_assert_int_gt(writes_to(VFS_LOG), written);
    ck_assert_int_eq(result_of(CREATE, "/c", "x"), STORE_EARLIER_LOST);
    ck_assert_int_eq(result_of(CREATE, "/c", "x"), STORE_DONE);
}
END_TEST

START_TEST(no_durability)
{
    open_durability(STORE_DURABILITY_NONE);
    int before = log_syncs();
    ck_assert_int_eq(result_of(CREATE, "/b", "x"), STORE_DONE);
    ck_assert_int_eq(log_syncs(), before);
}
END_TEST

/* Without a sync of interval nobody hears of what was lost, but that is not copied either before it
 * was written again. `_i`: it is lost when the thread copies the log, or the writer. */
START_TEST(no_durability_copying)
{
    enum { CHANGES = 200 };
    char path[16];
    open_durability(STORE_DURABILITY_NONE);
    for (int i = 0; i < CHANGES; i++) {
        snprintf(path, sizeof path, "/n%d", i);
        ck_assert_int_eq(result_of(CREATE, path, "x"), STORE_DONE);
    }
    wait_for_index();
    int written = writes_to(VFS_LOG), copied = writes_to(VFS_DATABASE);
    vfs_arm(VFS_SYNC, VFS_LOG, 1, 1, SQLITE_IOERR_FSYNC, EIO);
    if (_i == 0)
        want_copy();
    else
        atomic_store(&self()->checkpointer.finish, true);
    ck_assert_int_eq(result_of(UPDATE, "/a", "newer"), STORE_DONE);
    while (!vfs_has_failed())
        sched_yield();
    ck_assert_int_eq(result_of(UPDATE, "/a", "newest"), STORE_DONE); /* the writer has noted it */
    want_copy();
    while (writes_to(VFS_DATABASE) == copied)
        sched_yield();
    ck_assert_int_gt(writes_to(VFS_LOG) - written, (int)(size_of_log() / 16384));
    ck_assert(vfs_disarm());
}
END_TEST

/* What is torn when the store is closed stays as it is: half of the copy would be the end of the
 * database where the machine crashes meanwhile. */
START_TEST(closed_while_it_is_torn)
{
    open_durability(STORE_DURABILITY_INTERVAL);
    ck_assert_int_eq(result_of(CREATE, "/b", "x"), STORE_DONE);
    wait_for_index();
    leave();
    int copied = writes_to(VFS_DATABASE);
    vfs_arm(VFS_WRITE, VFS_LOG, 1, 1000, SQLITE_IOERR_WRITE, EIO); /* so it is not written again */
    atomic_store(&self()->checkpointer.is_torn, true);
    atomic_store(&self()->checkpointer.changed, true);
    ck_assert_int_eq(fixture.store->close(fixture.store), EIO);
    fixture.store = NULL;
    ck_assert(vfs_disarm());
    ck_assert_int_eq(writes_to(VFS_DATABASE), copied);
    open_store();
    ck_assert_str_eq(run(LIST, "/", NULL).contents, "a, b");
}
END_TEST

/* ---- the log cannot be copied ---- */

START_TEST(copying_fails)
{
    enum { ROUNDS = 40, ROWS = 500 };
    static struct waiting_operation changes[ROWS];
    static char paths[ROWS][24];
    vfs_arm(_i == 0 ? VFS_SYNC : VFS_WRITE, VFS_DATABASE, 1, 1000000,
            _i == 0 ? SQLITE_IOERR_FSYNC : SQLITE_FULL, _i == 0 ? EIO : ENOSPC);
    for (int i = 0; i < ROUNDS || !vfs_has_failed(); i++) {
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
    ck_assert(vfs_disarm());
    ck_assert_int_eq(result_of(SHOW, "/0/n0", NULL), STORE_DONE);
    close_store();
    open_store();
    ck_assert_int_ge(count_rows(), ROUNDS * ROWS);
    ck_assert_str_eq(sql("PRAGMA integrity_check"), "ok");
}
END_TEST

/* ---- any call fails, one after the other ---- */

/* What the store may hold at a path: one of two texts; "" where nothing is there. */
struct held {
    const char *path;
    const char *one, *other;
};

static struct held held[] = {{"/a", NULL, NULL}, {"/d/b", NULL, NULL}, {"/d/e/c", NULL, NULL}};

enum { HELD = sizeof held / sizeof *held };

static bool is_held(struct held *expected)
{
    struct outcome outcome = run(SHOW, expected->path, NULL);
    const char *text = outcome.result == STORE_DONE ? outcome.contents : "";
    ck_assert_msg(outcome.result == STORE_DONE || outcome.result == STORE_NOT_FOUND ||
                      outcome.result == STORE_PATH_NOT_FOUND,
                  "%s: %d", expected->path, outcome.result);
    if (strcmp(text, expected->one) != 0 && strcmp(text, expected->other) != 0)
        return false;
    if (strcmp(text, expected->one) != 0)
        expected->one = expected->other;
    return true;
}

static void check_held(const char *when)
{
    for (int i = 0; i < HELD; i++)
        ck_assert_msg(is_held(&held[i]), "%s: %s is not %s or %s but %s", when, held[i].path,
                      held[i].one, held[i].other, run(SHOW, held[i].path, NULL).contents);
}

/* Makes a change while something may fail, and notes what the path may hold then. */
static void attempt(int index, sttp_action action, const char *text)
{
    struct held *changed = &held[index];
    struct outcome outcome = run(action, changed->path, text);
    const char *wanted = action == DELETE ? "" : text;
    if (outcome.result == STORE_DONE)
        changed->one = changed->other = wanted;
    else if (outcome.result == STORE_OUTCOME_UNKNOWN)
        changed->other = wanted;
    else
        ck_assert_msg(outcome.result >= STORE_DENIED || outcome.result == STORE_EXISTS ||
                          outcome.result == STORE_NOT_FOUND ||
                          outcome.result == STORE_PATH_NOT_FOUND,
                      "%d", outcome.result);
}

START_TEST(every_call_fails_once)
{
    static const int codes[][2] = {{SQLITE_IOERR, EIO}, {SQLITE_FULL, ENOSPC}};
    for (int i = 0; i < HELD; i++)
        held[i].one = held[i].other = i == 0 ? "old" : "";
    bool failed = true;
    for (int n = 1; failed; n++) {
        vfs_arm(_i == 0 ? VFS_ANY : VFS_WRITE, VFS_EITHER, n, 1, codes[_i][0], codes[_i][1]);
        attempt(0, UPDATE, n % 2 == 0 ? "even" : "odd");
        attempt(1, CREATE, "b");
        run(LIST, "/", NULL);
        attempt(2, CREATE, "c");
        attempt(1, UPDATE, "bb");
        attempt(2, DELETE, NULL);
        run(SHOW, "/d/b", NULL);
        attempt(1, DELETE, NULL);
        failed = vfs_disarm();
        check_held("after a failure");
        if (n % 8 == 0) {
            vfs_arm(VFS_ANY, VFS_EITHER, n, 1, codes[_i][0], codes[_i][1]);
            fixture.store->close(fixture.store);
            vfs_disarm();
            open_store();
            check_held("opened again");
        }
    }
}
END_TEST

START_TEST(open_fails)
{
    bool failed = true;
    close_store();
    for (int n = 1; failed; n++) {
        struct store_settings settings = {.sqlite_path = fixture.path};
        char error[1024];
        vfs_arm(VFS_ANY, VFS_EITHER, n, 1, SQLITE_IOERR, EIO);
        bool opened = store_sqlite_open(&settings, &fixture.store, error, sizeof error);
        failed = vfs_disarm();
        ck_assert_int_eq(opened, error[0] == '\0');
        ck_assert_ptr_null(strchr(error, '\n'));
        ck_assert(opened || failed);
        if (opened)
            ck_assert_str_eq(run(SHOW, "/a", NULL).contents, "old");
        close_store();
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_sqlite_faults");
    TCase *tests = tcase_create("faults");
    tcase_set_timeout(tests, 100);
    tcase_add_checked_fixture(tests, open_faulty, remove_directory);
    tcase_add_loop_test(tests, change_fails, 0, sizeof write_failures / sizeof *write_failures);
    tcase_add_test(tests, unknown_outcome);
    tcase_add_test(tests, read_fails);
    tcase_add_test(tests, reader_cannot_open);
    tcase_add_test(tests, one_sync_for_all);
    tcase_add_test(tests, no_sync_for_nothing);
    tcase_add_test(tests, interval);
    tcase_add_test(tests, interval_again);
    tcase_add_test(tests, interval_copying);
    tcase_add_test(tests, closed_while_it_is_torn);
    tcase_add_test(tests, no_durability);
    tcase_add_loop_test(tests, no_durability_copying, 0, 2);
    tcase_add_loop_test(tests, copying_fails, 0, 2);
    tcase_add_loop_test(tests, every_call_fails_once, 0, 2);
    tcase_add_test(tests, open_fails);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
