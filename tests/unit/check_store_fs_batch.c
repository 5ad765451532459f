/* CREATE and UPDATE that one thread does together: what it syncs in which order, and what each of
 * them is told. */
#include "store_batch.h"

enum { TOGETHER = 5 };

static atomic_int verdicts;     /* asked of the kernel */
static atomic_int fail_verdict; /* the one that fails, counted from 1; 0: none */

int sync_file_range(int fd, off64_t offset, off64_t size, unsigned flags)
{
    note("ask", fd, NULL);
    if (atomic_fetch_add(&verdicts, 1) + 1 == atomic_load(&fail_verdict)) {
        errno = failure;
        return -1;
    }
    return (int)syscall(SYS_sync_file_range, fd, offset, size, flags);
}

static void setup(void)
{
    set_up_batches();
    put_file(place("/root/dir/old"), "old");
    fixture.store = open_store(0, NULL);
}

static struct change changes[TOGETHER] = {{.action = CREATE, .path = "/a"},
                                          {.action = CREATE, .path = "/b"},
                                          {.action = CREATE, .path = "/dir/c"},
                                          {.action = UPDATE, .path = "/dir/old"},
                                          {.action = CREATE, .path = "/d"}};

static void check_results(const store_result expected[TOGETHER])
{
    for (int i = 0; i < TOGETHER; i++) {
        const store_operation *operation = &changes[i].waiting.operation;
        bool shown = expected[i] == STORE_DONE || expected[i] == STORE_OUTCOME_UNKNOWN;
        const char *before = changes[i].action == CREATE ? "(none)" : "old";
        ck_assert_msg(operation->result == expected[i], "%s: %d", changes[i].path,
                      operation->result);
        ck_assert_int_eq(operation->system_errno, expected[i] == STORE_DONE ? 0 : failure);
        ck_assert_str_eq(file_text(place("/root%s", changes[i].path)),
                         shown ? changes[i].path : before);
    }
    ck_assert_ptr_null(((struct store_fs *)fixture.store)->steps);
    end_busy();
    count_entries();
}

static const store_result all_done[TOGETHER] = {0};

#define SHOW_ALL "show /a, show /b, show /dir/c, show /dir/old, show /d, "
#define DONE_ALL "done /a, done /b, done /dir/c, done /dir/old, done /d"

/* No name before the sync of the file system, no completion before all directories are synced. */
START_TEST(one_sync_then_all_names_then_one_sync)
{
    do_together(changes, TOGETHER, 0);
    ck_assert_str_eq(events, "sync all /new, ask /new, "
                             "ask /new, ask /dir/new, ask /dir/new, ask /new, " SHOW_ALL
                             "sync all /, ask /, ask /dir, " DONE_ALL);
    check_results(all_done);
    const store_operation *update = &changes[3].waiting.operation;
    ck_assert_int_eq(update->contents.size, strlen(changes[3].path));
}
END_TEST

START_TEST(one_is_synced_itself)
{
    do_together(changes, 1, 0);
    ck_assert_str_eq(events, "sync /new, show /a, sync /, done /a");
    end_busy();
}
END_TEST

/* Those that are refused are no reason for a sync, neither of the file system nor of a directory,
 * and need not wait for one. */
START_TEST(refused_ones_do_not_count)
{
    put_file(place("/root/b"), "b");
    put_file(place("/root/d"), "d");
    put_file(place("/root/dir/c"), "c");
    unlink(place("/root/dir/old"));
    do_together(changes, TOGETHER, 0);
    ck_assert_str_eq(events, "done /b, done /dir/c, done /dir/old, done /d, "
                             "sync /new, show /a, sync /, done /a");
    ck_assert_int_eq(changes[2].waiting.operation.result, STORE_EXISTS);
    ck_assert_int_eq(changes[3].waiting.operation.result, STORE_NOT_FOUND);
    end_busy();
}
END_TEST

/* ---- failures ---- */

#define SYNC_EACH "sync /new, sync /new, sync /dir/new, "

START_TEST(where_all_cannot_be_synced_each_is)
{
    atomic_store(&fail_all, 1);
    do_together(changes, TOGETHER, 0);
    ck_assert_str_eq(events, "sync all /new, " SYNC_EACH "sync /dir/new, sync /new, " SHOW_ALL
                             "sync /, sync /dir, " DONE_ALL);
    check_results(all_done);
}
END_TEST

START_TEST(then_only_that_fails_whose_sync_fails)
{
    store_result expected[TOGETHER] = {0};
    expected[_i] = STORE_IO;
    atomic_store(&fail_all, 1);
    do_together(changes, TOGETHER, _i + 1);
    check_results(expected);
}
END_TEST

/* Of the others' texts the kernel has told that they are written. */
START_TEST(own_verdict_concerns_no_other_change)
{
    store_result expected[TOGETHER] = {0};
    expected[_i] = STORE_IO;
    atomic_store(&fail_verdict, _i + 1);
    do_together(changes, TOGETHER, 0);
    ck_assert_int_eq(count_events("sync /new") + count_events("sync /dir/new"), 0);
    check_results(expected);
}
END_TEST

START_TEST(directory_that_cannot_be_synced_concerns_its_own_changes)
{
    static const store_result expected[2][TOGETHER] = {
        {STORE_OUTCOME_UNKNOWN, STORE_OUTCOME_UNKNOWN, STORE_DONE, STORE_DONE,
         STORE_OUTCOME_UNKNOWN},
        {STORE_DONE, STORE_DONE, STORE_OUTCOME_UNKNOWN, STORE_OUTCOME_UNKNOWN, STORE_DONE}};
    atomic_store(&fail_verdict, TOGETHER + 1 + _i);
    do_together(changes, TOGETHER, 0);
    check_results(expected[_i]);
}
END_TEST

/* Directories above it that somebody has made and not yet synced. */
START_TEST(below_new_directories_all_above_are_synced)
{
    struct change making = {.action = CREATE, .path = "/made/x"};
    struct change below[] = {{.action = CREATE, .path = "/made/a"},
                             {.action = CREATE, .path = "/made/b"},
                             {.action = CREATE, .path = "/made/c"},
                             {.action = CREATE, .path = "/made/d"}};
    store_result expected = _i == 0 ? STORE_DONE : STORE_OUTCOME_UNKNOWN;
    make_busy();
    atomic_store(&hold_root, 1);
    submit(&making);
    sem_wait(&held);
    gather(below, 4, _i == 0 ? 0 : 2);
    let_go(below, 4);
    ck_assert_str_eq(strstr(events, "show /made/d"),
                     "show /made/d, sync /made, sync /, "
                     "done /made/a, done /made/b, done /made/c, done /made/d");
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(below[i].waiting.operation.result, expected);
    sem_post(&gate);
    await(&making.waiting);
    end_busy();
}
END_TEST

/* ---- as alone ---- */

/* Somebody else is faster. */
static void take_name(store_operation *operation, size_t made)
{
    (void)made;
    put_file(place("/root%.*s", (int)operation->path.size, operation->path.data), "other");
}

static atomic_bool is_fast;

static void take_name_once(store_operation *operation, size_t made)
{
    if (atomic_load(&is_fast))
        take_name(operation, made);
}

static void give_name_back(store_operation *operation)
{
    if (atomic_exchange(&is_fast, false))
        unlink(place("/root%.*s", (int)operation->path.size, operation->path.data));
}

/* The last ones go to other threads. */
static const struct {
    struct change change;
    store_result result;
    const char *text; /* of the file then */
} mixed[] = {
    {{.action = CREATE, .path = "/%d/new"}, STORE_DONE, NULL},
    {{.action = CREATE, .path = "/%d/file"}, STORE_EXISTS, "old"},
    {{.action = CREATE, .path = "/%d/sub"}, STORE_IS_DIRECTORY, ""},
    {{.action = CREATE, .path = "/%d/link"}, STORE_NOT_A_FILE, "(none)"},
    {{.action = CREATE, .path = "/%d/taken", .begin = take_name}, STORE_EXISTS, "other"},
    {{.action = CREATE, .path = "/%d/back", .begin = take_name_once, .end = give_name_back},
     STORE_DONE,
     NULL},
    {{.action = UPDATE, .path = "/%d/old"}, STORE_DONE, NULL},
    {{.action = UPDATE, .path = "/%d/absent"}, STORE_NOT_FOUND, "(none)"},
    {{.action = UPDATE, .path = "/%d/sub"}, STORE_IS_DIRECTORY, ""},
    {{.action = UPDATE, .path = "/%d/link"}, STORE_NOT_FOUND, "(none)"},
    {{.action = CREATE, .path = "/%d/sub/new"}, STORE_DONE, NULL},
    {{.action = CREATE, .path = "/%d/missing/new"}, STORE_DONE, NULL},
    {{.action = UPDATE, .path = "/%d/nowhere/old"}, STORE_PATH_NOT_FOUND, "(none)"},
    {{.action = CREATE, .path = "/%d/file/more"}, STORE_CANNOT_CREATE_PATH, "(none)"},
    {{.action = CREATE, .path = "/%d/link/more"}, STORE_CANNOT_CREATE_PATH, "(none)"},
};
enum { MIXED = sizeof mixed / sizeof *mixed };

static void furnish(int number)
{
    mkdir(place("/root/%d", number), 0755);
    mkdir(place("/root/%d/sub", number), 0755);
    put_file(place("/root/%d/file", number), "old");
    put_file(place("/root/%d/old", number), "old");
    ck_assert_int_eq(symlink("sub", place("/root/%d/link", number)), 0);
}

static void check_mixed(int number, const struct change *done, int error_of[MIXED])
{
    struct stat status;
    const store_operation *operation = &done->waiting.operation;
    ck_assert_msg(operation->result == mixed[number].result, "%s: %d", done->path,
                  operation->result);
    if (mixed[number].text == NULL)
        ck_assert_str_eq(file_text(place("/root%s", done->path)), done->path);
    else if (*mixed[number].text != '\0')
        ck_assert_str_eq(file_text(place("/root%s", done->path)), mixed[number].text);
    else
        ck_assert(stat(place("/root%s", done->path), &status) == 0 && S_ISDIR(status.st_mode));
    if (error_of[number] == -1)
        error_of[number] = operation->system_errno;
    ck_assert_int_eq(operation->system_errno, error_of[number]);
}

/* First each alone, then together. */
START_TEST(each_is_told_what_it_is_told_alone)
{
    int error_of[MIXED];
    struct store_fs *fs = (struct store_fs *)fixture.store;
    for (int round = 0; round < 2; round++) {
        static struct change copies[MIXED];
        static char paths[MIXED][32];
        furnish(round);
        atomic_store(&is_fast, true);
        for (int i = 0; i < MIXED; i++) {
            copies[i] = mixed[i].change;
            sprintf(paths[i], "/%d%s", round, mixed[i].change.path + strlen("/%d"));
            copies[i].path = paths[i];
            if (round == 0)
                error_of[i] = -1;
        }
        fs->syncfs.usable = round == 1;
        do_together(copies, MIXED, 0);
        for (int i = 0; i < MIXED; i++)
            check_mixed(i, &copies[i], error_of);
        ck_assert_int_eq(atomic_load(&syncs_by_changes), 2 * round);
        end_busy();
        count_entries();
        unlink(place("/root/busy-%d", round));
    }
}
END_TEST

static void run_one(struct change *change)
{
    submit(change);
    await(&change->waiting);
    ck_assert_int_eq(change->waiting.operation.result, STORE_DONE);
}

/* To where the thread that takes changes has stopped again. */
static void go_on_to_next(void)
{
    atomic_store(&stops, true);
    sem_post(&may_go_on);
    sem_wait(&has_stopped);
}

/* While some are gathered, others remove the directory of one of them and make it anew. */
START_TEST(directory_is_looked_at_anew)
{
    struct change first[] = {{.action = CREATE, .path = "/a"},
                             {.action = UPDATE, .path = "/sub/absent"},
                             {.action = CREATE, .path = "/b"}};
    struct change made = {.action = CREATE, .path = "/sub/file"};
    struct change late = {.action = _i == 0 ? UPDATE : CREATE,
                          .path = _i == 0 ? "/sub/file" : "/sub/new"};
    mkdir(place("/root/sub"), 0755);
    make_busy();
    gather(first, 3, 0);
    go_on_to_next();
    go_on_to_next();
    end_busy();
    ck_assert_int_eq(result_of(DELETE, "/sub/", NULL), STORE_DONE);
    run_one(&made);
    make_busy();
    submit(&late);
    let_go(first, 3);
    await(&late.waiting);
    ck_assert_int_eq(first[1].waiting.operation.result, STORE_NOT_FOUND);
    ck_assert_int_eq(late.waiting.operation.result, STORE_DONE);
    ck_assert_str_eq(file_text(place("/root%s", late.path)), late.path);
    end_busy();
}
END_TEST

enum { MOST = 64, MORE = MOST + 6 };

START_TEST(no_more_than_64_together)
{
    static struct change many[MORE];
    static char paths[MORE][8];
    struct store_fs_settings settings = {.threads = 2 * MORE};
    close_fixture();
    fixture.store = open_store(0, &settings);
    for (int i = 0; i < MORE; i++) {
        sprintf(paths[i], "/%d", i);
        many[i] = (struct change){.action = CREATE, .path = paths[i]};
    }
    do_together(many, MORE, 0);
    ck_assert_int_eq(atomic_load(&syncs_by_changes), 2);
    for (int i = 0; i < MORE; i++)
        ck_assert_str_eq(file_text(place("/root%s", paths[i])), paths[i]);
    end_busy();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_fs_batch");
    TCase *tests = tcase_create("changes done together");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, remove_root);
    tcase_add_test(tests, one_sync_then_all_names_then_one_sync);
    tcase_add_test(tests, one_is_synced_itself);
    tcase_add_test(tests, refused_ones_do_not_count);
    tcase_add_test(tests, where_all_cannot_be_synced_each_is);
    tcase_add_loop_test(tests, then_only_that_fails_whose_sync_fails, 0, TOGETHER);
    tcase_add_loop_test(tests, own_verdict_concerns_no_other_change, 0, TOGETHER);
    tcase_add_loop_test(tests, directory_that_cannot_be_synced_concerns_its_own_changes, 0, 2);
    tcase_add_loop_test(tests, below_new_directories_all_above_are_synced, 0, 2);
    tcase_add_test(tests, each_is_told_what_it_is_told_alone);
    tcase_add_loop_test(tests, directory_is_looked_at_anew, 0, 2);
    tcase_add_test(tests, no_more_than_64_together);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
