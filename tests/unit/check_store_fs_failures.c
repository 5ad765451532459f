/* The file system store where the system fails it: no room, no descriptors, no privileges, a sync
 * that failed. Each case runs with openat2 and renameat2, and with what stands in for them. */
#include <errno.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "store_support.h"

/* A write that fails leaves the old state, and no directories. */
START_TEST(failed_write)
{
    put_file(place("/root/old"), "old");
    open_mode(_i);
    int entries = count_entries();
    int descriptors = count_descriptors();
    struct rlimit before, none;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    /* Check itself writes a file: nothing is asserted under the limit. */
    int limited = setrlimit(RLIMIT_FSIZE, &none);
    struct outcome created = run(CREATE, "/a", "x");
    store_result in_new = result_of(CREATE, "/n/m/a", "x");
    store_result updated = result_of(UPDATE, "/old", "x");
    int unlimited = setrlimit(RLIMIT_FSIZE, &before);
    ck_assert(limited == 0 && unlimited == 0);
    ck_assert_int_eq(created.result, STORE_IO);
    ck_assert_int_eq(created.error, EFBIG);
    ck_assert_int_eq(in_new, STORE_IO);
    ck_assert_int_eq(updated, STORE_IO);
    ck_assert_int_eq(count_entries(), entries);
    ck_assert_int_eq(count_descriptors(), descriptors);
    ck_assert_str_eq(file_text(place("/root/old")), "old");
}
END_TEST

/* The limit that leaves so many descriptors, whichever are open. */
static rlim_t limit_that_leaves(int descriptors)
{
    int fd = 0;
    for (int free_ones = 0; free_ones <= descriptors; fd++)
        free_ones += fcntl(fd, F_GETFD) == -1;
    return (rlim_t)fd - 1;
}

/* However many descriptors are left, each operation is done or has its error and no trace. */
START_TEST(few_descriptors)
{
    put_file(place("/root/old"), "old");
    open_mode(_i);
    ck_assert_int_eq(result_of(LIST, "/", NULL), STORE_DONE);
    int entries = count_entries();
    struct rlimit before, few;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    int failures = 0;
    for (int left = 0; left <= STORE_FS_DESCRIPTORS; left++) {
        int failed_before = failures;
        few = before;
        few.rlim_cur = limit_that_leaves(left);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
        store_result created = result_of(CREATE, "/n/m/a", "x");
        store_result updated = result_of(UPDATE, "/old", "old");
        store_result listed = result_of(LIST, "/", NULL);
        store_result deleted = result_of(DELETE, "/n/m/a", NULL);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
        ck_assert(created == STORE_DONE || created == STORE_NO_DESCRIPTORS);
        ck_assert(updated == STORE_DONE || updated == STORE_NO_DESCRIPTORS);
        ck_assert(listed == STORE_DONE || listed == STORE_NO_DESCRIPTORS);
        failures += (created != STORE_DONE) + (updated != STORE_DONE) + (listed != STORE_DONE);
        ck_assert_int_eq(left == STORE_FS_DESCRIPTORS, failures == failed_before);
        ck_assert_str_eq(file_text(place("/root/old")), "old");
        if (created != STORE_DONE)
            continue;
        ck_assert_int_eq(deleted, STORE_DONE);
        ck_assert_int_eq(result_of(DELETE, "/n/m/", NULL), STORE_DONE);
        ck_assert_int_eq(result_of(DELETE, "/n/", NULL), STORE_DONE);
    }
    ck_assert_int_ge(failures, 3);
    ck_assert_int_eq(result_of(CREATE, "/n/m/a", "x"), STORE_DONE);
    ck_assert_int_eq(entries + 3, count_entries());
}
END_TEST

/* What a process without privileges finds. Root may do everything: so a child gives that up. */
static const struct {
    sttp_action action;
    const char *path;
    store_result result;
} denied[] = {
    {SHOW, "/unreadable", STORE_DENIED},
    {UPDATE, "/unreadable", STORE_DENIED},
    {SHOW, "/unwritable", STORE_DONE},
    {UPDATE, "/unwritable", STORE_DENIED},
    {CREATE, "/unwritable", STORE_EXISTS},
    {SHOW, "/closed/x", STORE_DENIED},
    {SHOW, "/closed", STORE_IS_DIRECTORY},
    {LIST, "/closed", STORE_DENIED},
    {CREATE, "/closed/y", STORE_DENIED},
    {UPDATE, "/closed/x", STORE_DENIED},
    {DELETE, "/closed/x", STORE_DENIED},
    {SHOW, "/still/x", STORE_DONE},
    {CREATE, "/still/x", STORE_EXISTS},
    {CREATE, "/still/y", STORE_DENIED},
    {CREATE, "/still/n/y", STORE_CANNOT_CREATE_PATH},
    {UPDATE, "/still/x", STORE_DENIED},
    {DELETE, "/still/x", STORE_DENIED},
    {DELETE, "/still/d/", STORE_DENIED},
    {LIST, "/still", STORE_DONE},
};
enum { DENIED = sizeof denied / sizeof *denied };

static void furnish_denied(void)
{
    put_file(place("/root/unreadable"), "x");
    put_file(place("/root/unwritable"), "x");
    mkdir(place("/root/closed"), 0755);
    put_file(place("/root/closed/x"), "x");
    mkdir(place("/root/still"), 0755);
    put_file(place("/root/still/x"), "x");
    mkdir(place("/root/still/d"), 0755);
    chmod(place("/root/unreadable"), 0);
    chmod(place("/root/unwritable"), 0444);
    chmod(place("/root/closed"), 0);
    chmod(place("/root/still"), 0555);
    chmod(fixture.directory, 0755);
    chmod(fixture.docroot, 0777);
}

/* Writes the results to the pipe. */
static void run_denied(int mode, int output)
{
    unsigned char results[DENIED];
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
        _exit(1);
    /* The directory that is closed cannot be searched for leftovers: that is told, and no more. */
    char error[512];
    struct store_fs_settings settings = {.docroot = fixture.docroot};
    if (!store_fs_open(&settings, &fixture.store, error, sizeof error) ||
        strstr(error, "Permission denied") == NULL)
        _exit(2);
    put_mode(fixture.store, mode);
    for (size_t i = 0; i < DENIED; i++)
        results[i] = (unsigned char)result_of(denied[i].action, denied[i].path, "new");
    close_fixture();
    _exit(write(output, results, sizeof results) == sizeof results ? 0 : 1);
}

START_TEST(permissions)
{
    unsigned char results[DENIED];
    int ends[2], status;
    furnish_denied();
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        run_denied(_i, ends[1]);
    close(ends[1]);
    ssize_t got = read(ends[0], results, sizeof results);
    close(ends[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    chmod(place("/root/closed"), 0755);
    chmod(place("/root/still"), 0755);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(got, DENIED);
    for (size_t i = 0; i < DENIED; i++)
        ck_assert_msg(results[i] == denied[i].result, "%s %s: %d",
                      sttp_action_name(denied[i].action), denied[i].path, results[i]);
    count_entries();
}
END_TEST

/* A sync in the background that failed is told by the next change, once. */
START_TEST(failed_interval)
{
    fixture.store =
        open_store(_i, &(struct store_fs_settings){.durability = STORE_DURABILITY_INTERVAL});
    atomic_store(&((struct store_fs *)fixture.store)->syncer.failure, EIO);
    struct outcome outcome = run(CREATE, "/a", "x");
    ck_assert_int_eq(outcome.result, STORE_EARLIER_LOST);
    ck_assert_int_eq(outcome.error, EIO);
    ck_assert_int_eq(result_of(CREATE, "/a", "x"), STORE_DONE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_fs_failures");
    TCase *modes = tcase_create("modes");
    tcase_set_timeout(modes, 60);
    tcase_add_checked_fixture(modes, make_root, remove_root);
    tcase_add_loop_test(modes, failed_write, 0, MODES);
    tcase_add_loop_test(modes, few_descriptors, 0, MODES);
    tcase_add_loop_test(modes, permissions, 0, MODES);
    tcase_add_loop_test(modes, failed_interval, 0, MODES);
    suite_add_tcase(suite, modes);
    return run_suite(suite);
}
