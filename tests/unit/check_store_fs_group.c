/* Changes that wait together share the sync of their directory: which ones, and what each is told.
 */
#include <sched.h>

#include "store_calls.h"

enum { MANY = 7 };

static struct waiting_operation changes[MANY];
static char names[MANY][8];
static atomic_int verdicts;     /* asked of the kernel */
static atomic_int fail_verdict; /* the one that fails, counted from 1; 0: none */
static atomic_bool no_statx;

int sync_file_range(int fd, off64_t offset, off64_t size, unsigned flags)
{
    if (atomic_fetch_add(&verdicts, 1) + 1 == atomic_load(&fail_verdict)) {
        errno = failure;
        return -1;
    }
    return (int)syscall(SYS_sync_file_range, fd, offset, size, flags);
}

int statx(int fd, const char *path, int flags, unsigned mask, struct statx *status)
{
    if (atomic_load(&no_statx)) {
        errno = ENOSYS;
        return -1;
    }
    return (int)syscall(SYS_statx, fd, path, flags, mask, status);
}

static void setup(void)
{
    make_root();
    mkdir(place("/root/dir"), 0755);
    sem_init(&held, 0, 0);
    sem_init(&gate, 0, 0);
    fixture.store = open_store(0, NULL);
}

static unsigned count_waiting(void)
{
    struct fs_group *group = &((struct store_fs *)fixture.store)->group;
    unsigned count = 0;
    pthread_mutex_lock(&group->lock);
    for (struct fs_shared *at = group->directories; at != NULL; at = at->next)
        count += at->count;
    pthread_mutex_unlock(&group->lock);
    return count;
}

/* CREATE "/number", to where its directory is being synced, or until so many wait for that. */
static void start(int number, unsigned waiting)
{
    snprintf(names[number], sizeof names[number], "/%d", number);
    prepare(&changes[number], CREATE, names[number], "text");
    fixture.store->submit(fixture.store, &changes[number].operation);
    if (waiting == 0)
        sem_wait(&held);
    while (count_waiting() != waiting)
        sched_yield();
}

/* With no sync that ends: the first two have one each, the next two share one, the rest wait. */
static void start_changes(int count)
{
    static const unsigned waiting[MANY] = {0, 0, 1, 0, 1, 2, 3};
    forget_events(0);
    atomic_store(&hold_root, INT_MAX);
    for (int i = 0; i < count; i++)
        start(i, waiting[i]);
}

static bool is_done(int number)
{
    pthread_mutex_lock(&changes[number].lock);
    bool done = changes[number].done;
    pthread_mutex_unlock(&changes[number].lock);
    return done;
}

static void let_syncs_end(int count)
{
    atomic_store(&hold_root, 0);
    for (int i = 0; i < count; i++)
        sem_post(&gate);
    for (int i = 0; i < count; i++)
        await(&changes[i]);
}

static int count_root_syncs(void)
{
    int count = 0;
    for (const char *at = events; (at = strstr(at, "sync /")) != NULL; at++)
        count += at[6] == ',' || at[6] == '\0';
    return count;
}

static void check_results(int count, const store_result *expected)
{
    for (int i = 0; i < count; i++) {
        const store_operation *operation = &changes[i].operation;
        ck_assert_msg(operation->result == expected[i], "change %d: %d", i, operation->result);
        ck_assert_int_eq(operation->system_errno, expected[i] == STORE_DONE ? 0 : EIO);
        ck_assert_str_eq(file_text(place("/root%s", names[i])), "text");
    }
}

/* None of them is acknowledged before a sync that began when it was visible has ended. */
START_TEST(who_waits_together_shares_a_sync)
{
    static const store_result all_done[MANY] = {0};
    start_changes(MANY);
    for (int i = 0; i < MANY; i++)
        ck_assert(!is_done(i));
    let_syncs_end(MANY);
    check_results(MANY, all_done);
    ck_assert_int_eq(count_root_syncs(), 4);
    ck_assert_str_eq(events + strlen(events) - 8, ", sync /");
}
END_TEST

/* Those who wait are not covered by the sync that ends. */
START_TEST(a_sync_that_began_before_covers_nobody_else)
{
    start_changes(3);
    sem_post(&gate);
    sem_wait(&held);
    while (!is_done(0) && !is_done(1))
        sched_yield();
    ck_assert_int_eq(count_root_syncs(), 1);
    ck_assert(!is_done(2));
    sem_post(&gate);
    sem_post(&gate);
    for (int i = 0; i < 3; i++)
        await(&changes[i]);
    ck_assert_int_eq(count_root_syncs(), 3);
}
END_TEST

START_TEST(a_change_alone_syncs_for_itself_at_once)
{
    forget_events(0);
    ck_assert_int_eq(result_of(CREATE, "/a", "text"), STORE_DONE);
    ck_assert_int_eq(result_of(UPDATE, "/a", "next"), STORE_DONE);
    ck_assert_int_eq(result_of(DELETE, "/a", NULL), STORE_DONE);
    ck_assert_int_eq(count_root_syncs(), 3);
    ck_assert_int_eq(atomic_load(&verdicts), 0);
}
END_TEST

START_TEST(another_directory_waits_for_nobody)
{
    start_changes(3);
    ck_assert_int_eq(result_of(CREATE, "/dir/a", "text"), STORE_DONE);
    ck_assert_int_eq(result_of(DELETE, "/dir/a", NULL), STORE_DONE);
    ck_assert(!is_done(0) && !is_done(1) && !is_done(2));
    let_syncs_end(3);
}
END_TEST

/* Nobody knows which of their names it lost. */
START_TEST(a_sync_that_fails_has_failed_for_all_whom_it_covers)
{
    static const store_result expected[MANY] = {
        [2] = STORE_OUTCOME_UNKNOWN, [3] = STORE_OUTCOME_UNKNOWN};
    fail_held = 3;
    start_changes(MANY);
    let_syncs_end(MANY);
    check_results(MANY, expected);
}
END_TEST

/* The kernel has told somebody else of it, or the leader's descriptor is too young. */
START_TEST(a_failure_that_only_one_is_told_of_is_not_hidden)
{
    static const store_result expected[MANY] = {[2] = STORE_OUTCOME_UNKNOWN};
    atomic_store(&fail_verdict, 1);
    start_changes(4);
    let_syncs_end(4);
    check_results(4, expected);
    ck_assert_int_eq(atomic_load(&verdicts), 1);
}
END_TEST

/* A text is synced by its own change alone, which fails alone and before it is visible. */
START_TEST(a_text_that_cannot_be_synced_concerns_no_other_change)
{
    static const store_result all_done[MANY] = {0};
    start_changes(3);
    atomic_store(&fail_at, 1);
    ck_assert_int_eq(result_of(CREATE, "/other", "text"), STORE_IO);
    ck_assert_str_eq(file_text(place("/root/other")), "(none)");
    let_syncs_end(3);
    check_results(3, all_done);
}
END_TEST

START_TEST(without_statx_each_syncs_for_itself)
{
    static const store_result all_done[MANY] = {0};
    atomic_store(&no_statx, true);
    atomic_store(&hold_root, INT_MAX);
    for (int i = 0; i < 4; i++)
        start(i, 0);
    let_syncs_end(4);
    check_results(4, all_done);
}
END_TEST

/* A system call that is not there, or that a sandbox refuses, says nothing of the disk. */
START_TEST(without_sync_file_range_each_asks_by_a_sync)
{
    static const store_result all_done[MANY] = {0};
    failure = _i == 0 ? ENOSYS : EPERM;
    atomic_store(&fail_verdict, 1);
    start_changes(4);
    let_syncs_end(4);
    check_results(4, all_done);
    ck_assert_int_eq(count_root_syncs(), 4);
}
END_TEST

enum { THREADS = 16, ROUNDS = 40 };

/* CREATE, UPDATE and DELETE of its own names in directories that all use. */
static void *change_often(void *argument)
{
    const int *number = argument;
    int failed = 0;
    for (int round = 0; round < ROUNDS; round++) {
        char path[32];
        snprintf(path, sizeof path, "%s/%d-%d", round % 2 == 0 ? "" : "/dir", *number, round);
        failed += result_of(CREATE, path, "first") != STORE_DONE;
        failed += result_of(UPDATE, path, "second") != STORE_DONE;
        if (round % 4 == 0)
            failed += result_of(DELETE, path, NULL) != STORE_DONE;
    }
    forget_contents();
    return failed == 0 ? NULL : argument;
}

START_TEST(many_at_once)
{
    pthread_t threads[THREADS];
    int numbers[THREADS];
    int before = count_entries(), descriptors = count_descriptors();
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, change_often, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        ck_assert_ptr_null(failed);
    }
    ck_assert_int_eq(count_entries(), before + THREADS * ROUNDS * 3 / 4);
    ck_assert_int_eq(count_descriptors(), descriptors);
    ck_assert_ptr_null(((struct store_fs *)fixture.store)->group.directories);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_fs_group");
    TCase *tests = tcase_create("group commit");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, remove_root);
    tcase_add_test(tests, who_waits_together_shares_a_sync);
    tcase_add_test(tests, a_sync_that_began_before_covers_nobody_else);
    tcase_add_test(tests, a_change_alone_syncs_for_itself_at_once);
    tcase_add_test(tests, another_directory_waits_for_nobody);
    tcase_add_test(tests, a_sync_that_fails_has_failed_for_all_whom_it_covers);
    tcase_add_test(tests, a_failure_that_only_one_is_told_of_is_not_hidden);
    tcase_add_test(tests, a_text_that_cannot_be_synced_concerns_no_other_change);
    tcase_add_test(tests, without_statx_each_syncs_for_itself);
    tcase_add_loop_test(tests, without_sync_file_range_each_asks_by_a_sync, 0, 2);
    tcase_add_test(tests, many_at_once);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
