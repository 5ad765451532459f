/* Where and when one sync of the file system is made for many changes. */
#include "store_batch.h"

enum { TOGETHER = 5, SLOW = 100, PAUSE = 10000 + 10 * SLOW };

static void setup(void)
{
    set_up_batches();
    fixture.store = open_store(0, NULL);
}

/* ---- where it takes long ---- */

static int takes; /* milliseconds, a sync of the file system */

static bool pass_time(void)
{
    atomic_fetch_add(&clock_at, takes);
    return false;
}

/* Five UPDATEs; how many syncs of the file system that takes. */
static int update_together(void)
{
    static const char *const paths[TOGETHER] = {"/1", "/2", "/3", "/4", "/5"};
    struct change updates[TOGETHER] = {0};
    int before = atomic_load(&syncs_by_changes);
    for (int i = 0; i < TOGETHER; i++) {
        put_file(place("/root%s", paths[i]), "old");
        updates[i] = (struct change){.action = UPDATE, .path = paths[i]};
    }
    do_together(updates, TOGETHER, 0);
    end_busy();
    for (int i = 0; i < TOGETHER; i++) {
        ck_assert_int_eq(updates[i].waiting.operation.result, STORE_DONE);
        ck_assert_str_eq(file_text(place("/root%s", paths[i])), paths[i]);
    }
    return atomic_load(&syncs_by_changes) - before;
}

START_TEST(where_that_takes_long_each_is_synced_for_a_while)
{
    on_sync_of_all = pass_time;
    takes = SLOW - 1;
    ck_assert_int_eq(update_together(), 1);
    takes = SLOW;
    ck_assert_int_eq(update_together(), 1);
    ck_assert_int_eq(update_together(), 0);
    ck_assert_int_eq(count_events("sync /new"), TOGETHER);
    atomic_fetch_add(&clock_at, PAUSE - 1);
    ck_assert_int_eq(update_together(), 0);
    atomic_fetch_add(&clock_at, 1);
    ck_assert_int_eq(update_together(), 1);
}
END_TEST

static sem_t is_syncing, may_sync;

static bool take_long(void)
{
    sem_post(&is_syncing);
    sem_wait(&may_sync);
    return false;
}

/* One that is under way holds up those who have come before it took long, and nobody else. */
START_TEST(while_it_takes_long_others_go_on)
{
    struct change changes[] = {{.action = CREATE, .path = "/a"}, {.action = CREATE, .path = "/b"}};
    sem_init(&is_syncing, 0, 0);
    sem_init(&may_sync, 0, 0);
    on_sync_of_all = take_long;
    make_busy();
    gather(changes, 2, 0);
    sem_post(&may_go_on);
    sem_wait(&is_syncing);
    end_busy();
    atomic_fetch_add(&clock_at, SLOW - 1);
    ck_assert(fs_syncfs_may((struct store_fs *)fixture.store));
    atomic_fetch_add(&clock_at, 1);
    ck_assert(!fs_syncfs_may((struct store_fs *)fixture.store));
    ck_assert_int_eq(result_of(CREATE, "/other", "text"), STORE_DONE);
    ck_assert_int_eq(atomic_load(&syncs_by_changes), 1);
    sem_post(&may_sync);
    await(&changes[0].waiting);
    await(&changes[1].waiting);
}
END_TEST

/* ---- where it is enough ---- */

static const struct {
    long type;
    enum store_durability durability;
    int syncs; /* of the file system */
} places[] = {{XFS_SUPER_MAGIC, STORE_DURABILITY_ALWAYS, 1},
              {BTRFS_SUPER_MAGIC, STORE_DURABILITY_ALWAYS, 0},
              {TMPFS_MAGIC, STORE_DURABILITY_ALWAYS, 0},
              {OVERLAYFS_SUPER_MAGIC, STORE_DURABILITY_ALWAYS, 0},
              {XFS_SUPER_MAGIC, STORE_DURABILITY_INTERVAL, 0},
              {XFS_SUPER_MAGIC, STORE_DURABILITY_NONE, 0}};

START_TEST(only_where_a_sync_of_all_keeps_its_word)
{
    close_fixture();
    file_system = places[_i].type;
    struct store_fs_settings settings = {.durability = places[_i].durability};
    fixture.store = open_store(0, &settings);
    ck_assert_int_eq(update_together(), places[_i].syncs);
    bool each = places[_i].syncs == 0 && places[_i].durability == STORE_DURABILITY_ALWAYS;
    if (places[_i].syncs == 0)
        ck_assert_int_eq(count_events("sync /new"), each ? TOGETHER : 0);
}
END_TEST

static const struct {
    const char *task; /* that writes the journal, as the kernel tells; NULL: it does not */
    bool has_journal;
} kinds_of_ext4[] = {{"1234\n", true}, {"<none>\n", false}, {"", false}, {NULL, false}};

static int kind;
static const char link_of_device[] = "/sys/dev/block/";
static const char journal_task[] = "/sys/fs/ext4/disk1/journal_task";

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
ssize_t __real_readlink(const char *path, char *buffer, size_t size);
ssize_t __wrap_readlink(const char *path, char *buffer, size_t size);

FILE *__wrap_fopen(const char *path, const char *mode)
{
    if (strcmp(path, journal_task) != 0)
        return __real_fopen(path, mode);
    const char *task = kinds_of_ext4[kind].task;
    FILE *file = task == NULL ? NULL : tmpfile();
    if (file != NULL) {
        fputs(task, file);
        rewind(file);
    }
    return file;
}

ssize_t __wrap_readlink(const char *path, char *buffer, size_t size)
{
    static const char device[] = "../../devices/virtual/block/disk1";
    if (strncmp(path, link_of_device, strlen(link_of_device)) != 0)
        return __real_readlink(path, buffer, size);
    memcpy(buffer, device, strlen(device));
    return (ssize_t)strlen(device);
}

START_TEST(of_ext4_only_where_there_is_a_journal)
{
    close_fixture();
    kind = _i;
    file_system = EXT4_SUPER_MAGIC;
    fixture.store = open_store(0, NULL);
    ck_assert_int_eq(update_together(), kinds_of_ext4[_i].has_journal);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_fs_syncfs");
    TCase *tests = tcase_create("sync of the file system");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, remove_root);
    tcase_add_test(tests, where_that_takes_long_each_is_synced_for_a_while);
    tcase_add_test(tests, while_it_takes_long_others_go_on);
    tcase_add_loop_test(tests, only_where_a_sync_of_all_keeps_its_word, 0,
                        sizeof places / sizeof *places);
    tcase_add_loop_test(tests, of_ext4_only_where_there_is_a_journal, 0,
                        sizeof kinds_of_ext4 / sizeof *kinds_of_ext4);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
