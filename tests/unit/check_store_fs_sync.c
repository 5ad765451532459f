/* What the file system store makes durable, and in which order. */
#include "store_calls.h"

static void setup(void)
{
    make_root();
    mkdir(place("/root/dir"), 0755);
    mkdir(place("/root/empty"), 0755);
    put_file(place("/root/dir/old"), "old");
    sem_init(&held, 0, 0);
    sem_init(&gate, 0, 0);
}

static const struct change {
    sttp_action action;
    const char *path;
    const char *events[MODES];
} changes[] = {
    {CREATE, "/a", {"sync /new, show /a, sync /", "sync /new, show /a, remove /new, sync /"}},
    {CREATE,
     "/dir/n/m/f",
     {"sync /dir/new/m/f, sync /dir/new/m, sync /dir/new, show /dir/n, sync /dir",
      "sync /dir/new/m/f, sync /dir/new/m, sync /dir/new, show /dir/n, sync /dir"}},
    {UPDATE,
     "/dir/old",
     {"sync /dir/new, show /dir/old, sync /dir", "sync /dir/new, show /dir/old, sync /dir"}},
    {DELETE, "/dir/old", {"remove /dir/old, sync /dir", "remove /dir/old, sync /dir"}},
    {DELETE, "/empty/", {"remove /empty, sync /", "remove /empty, sync /"}},
};
enum { CHANGES = sizeof changes / sizeof *changes };

/* Each thing before what names it, and all of it before the answer. */
START_TEST(order)
{
    fixture.store = open_store(_i, NULL);
    for (size_t i = 0; i < CHANGES; i++) {
        forget_events(0);
        ck_assert_int_eq(result_of(changes[i].action, changes[i].path, "new"), STORE_DONE);
        ck_assert_str_eq(events, changes[i].events[_i]);
    }
}
END_TEST

/* The text is the old one or the new one; before the visible step it is the old one. */
static void check_state(const struct change *change, store_result result)
{
    const char *old = change->action == CREATE ? "(none)" : "old";
    const char *new = change->action == DELETE ? "(none)" : "new";
    struct stat status;
    if (strcmp(change->path, "/empty/") == 0)
        ck_assert_int_eq(stat(place("/root/empty"), &status) == 0, result == STORE_IO);
    else
        ck_assert_str_eq(file_text(place("/root%s", change->path)), result == STORE_IO ? old : new);
}

/* Whichever sync fails: what has not become visible has not happened, and what has is unknown. */
static int fail_each_sync(const struct change *change, int mode)
{
    int unknown = 0;
    struct outcome outcome = {.result = STORE_IO};
    for (int fail = 1; outcome.result != STORE_DONE; fail++) {
        setup();
        fixture.store = open_store(mode, NULL);
        int descriptors = count_descriptors(), entries = count_entries();
        forget_events(fail);
        outcome = run(change->action, change->path, "new");
        bool visible = atomic_load(&became_visible);
        bool failed = atomic_load(&fail_at) == 0;
        forget_events(0);
        ck_assert_int_eq(count_descriptors(), descriptors);
        if (failed) {
            ck_assert_int_eq(outcome.result, visible ? STORE_OUTCOME_UNKNOWN : STORE_IO);
            ck_assert_int_eq(outcome.error, EIO);
            ck_assert_ptr_null(outcome.contents);
            check_state(change, outcome.result);
            unknown += visible;
            ck_assert_int_le(fail, 8);
        }
        if (!visible)
            ck_assert_int_eq(count_entries(), entries);
        count_entries();
        remove_root();
    }
    return unknown;
}

START_TEST(failures)
{
    remove_root();
    for (size_t i = 0; i < CHANGES; i++)
        ck_assert_int_eq(fail_each_sync(&changes[i], _i), 1);
    setup();
}
END_TEST

/* The change that the next read at once finds in its way. */
static struct waiting_operation *overtaker;

ssize_t preadv2(int fd, const struct iovec *room, int count, off_t offset, int flags)
{
    struct waiting_operation *change = overtaker;
    overtaker = NULL;
    if (change != NULL) {
        atomic_store(&hold_root, 1);
        fixture.store->submit(fixture.store, &change->operation);
        sem_wait(&held);
    }
    return syscall(SYS_preadv2, fd, room, count, (long)offset, 0L, flags);
}

/* A change begins while a read that waits for nobody is under way, and is visible to it. */
START_TEST(not_yet_durable_is_not_shown)
{
    struct waiting_operation change, show;
    put_file(place("/root/a"), "old");
    fixture.store = open_store(0, NULL);
    if (!can_show_at_once())
        return;
    prepare(&change, UPDATE, "/a", "new");
    prepare(&show, SHOW, "/a", NULL);
    ck_assert_str_eq(run(SHOW, "/a", NULL).contents, "old");
    overtaker = &change;
    fixture.store->submit(fixture.store, &show.operation);
    bool at_once = show.done;
    sem_post(&gate);
    await(&change);
    await(&show);
    ck_assert_ptr_null(overtaker);
    ck_assert(!at_once);
    ck_assert_int_eq(change.operation.result, STORE_DONE);
    ck_assert_int_eq(show.operation.result, STORE_DONE);
    ck_assert_mem_eq(show.operation.contents.data, "new", 3);
}
END_TEST

START_TEST(failures_have_reasons)
{
    static const struct {
        int error;
        store_result result;
    } reasons[] = {{ENOSPC, STORE_NO_SPACE}, {EDQUOT, STORE_QUOTA},     {EROFS, STORE_READ_ONLY},
                   {EACCES, STORE_DENIED},   {ENOMEM, STORE_NO_MEMORY}, {EIO, STORE_IO}};
    fixture.store = open_store(0, NULL);
    int entries = count_entries();
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        forget_events(1);
        failure = reasons[i].error;
        struct outcome outcome =
            run(i % 2 == 0 ? CREATE : UPDATE, i % 2 == 0 ? "/n/m/f" : "/dir/old", "new");
        ck_assert_int_eq(outcome.result, reasons[i].result);
        ck_assert_int_eq(outcome.error, reasons[i].error);
        ck_assert_int_eq(count_entries(), entries);
    }
}
END_TEST

/* A visible step that fails may be done all the same: on a file system behind a network, or behind
 * a FUSE server that died in it. */
START_TEST(failed_steps)
{
    remove_root();
    for (size_t i = 0; i < 4 * CHANGES; i++) {
        const struct change *change = &changes[i / 4];
        setup();
        fixture.store = open_store(_i, NULL);
        failure = i / 2 % 2 == 0 ? EIO : ECONNABORTED;
        int descriptors = count_descriptors();
        atomic_store(&step_is_done, i % 2 == 1);
        atomic_store(&fail_step, true);
        struct outcome outcome = run(change->action, change->path, "new");
        ck_assert(!atomic_load(&fail_step));
        ck_assert_int_eq(outcome.result, STORE_OUTCOME_UNKNOWN);
        ck_assert_int_eq(outcome.error, failure);
        ck_assert_int_eq(count_descriptors(), descriptors);
        check_state(change, i % 2 == 1 ? outcome.result : STORE_IO);
        count_entries();
        remove_root();
    }
    setup();
}
END_TEST

/* What the kernel or the file system refuses is not done, and that is said. */
START_TEST(refused_steps)
{
    static const int refusals[] = {ENOSPC, EDQUOT, EROFS, EACCES, ENOMEM, EBUSY, EMLINK, EINVAL};
    fixture.store = open_store(_i, NULL);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        failure = refusals[i];
        atomic_store(&step_is_done, false);
        atomic_store(&fail_step, true);
        struct outcome outcome = run(UPDATE, "/dir/old", "new");
        ck_assert_int_ne(outcome.result, STORE_DONE);
        ck_assert_int_ne(outcome.result, STORE_OUTCOME_UNKNOWN);
        ck_assert_int_eq(outcome.error, failure);
        ck_assert_str_eq(file_text(place("/root/dir/old")), "old");
    }
}
END_TEST

static void *create_tree(void *argument)
{
    store_result *result = argument;
    *result = result_of(CREATE, "/x/y/f", "first");
    return NULL;
}

/* While directories are visible and not yet durable, nobody is shown their file, and who puts
 * another one into them makes them durable, too. */
START_TEST(directories_not_yet_durable)
{
    pthread_t maker;
    store_result made;
    struct waiting_operation show;
    fixture.store = open_store(_i, NULL);
    atomic_store(&hold_root, 1);
    ck_assert_int_eq(pthread_create(&maker, NULL, create_tree, &made), 0);
    sem_wait(&held);
    prepare(&show, SHOW, "/x/y/f", NULL);
    fixture.store->submit(fixture.store, &show.operation);
    bool shown = show.done;
    forget_events(0);
    store_result beside = result_of(CREATE, "/x/y/g", "second");
    char beside_events[sizeof events];
    strcpy(beside_events, events);
    forget_events(4);
    store_result unsure = result_of(CREATE, "/x/y/h", "third");
    forget_events(0);
    sem_post(&gate);
    pthread_join(maker, NULL);
    await(&show);
    ck_assert(!shown);
    ck_assert_int_eq(beside, STORE_DONE);
    ck_assert_str_eq(beside_events, _i == 0
                                        ? "sync /x/y/new, show /x/y/g, sync /x/y, sync /x, sync /"
                                        : "sync /x/y/new, show /x/y/g, remove /x/y/new, "
                                          "sync /x/y, sync /x, sync /");
    ck_assert_int_eq(unsure, STORE_OUTCOME_UNKNOWN);
    ck_assert_int_eq(made, STORE_DONE);
    ck_assert_int_eq(show.operation.result, STORE_DONE);
    forget_events(0);
    ck_assert_int_eq(result_of(CREATE, "/x/y/i", "fourth"), STORE_DONE);
    ck_assert_ptr_null(strstr(events, "sync /x,"));
}
END_TEST

/* New directories whose sync failed stay visible: what is acknowledged below them later has synced
 * all directories above it, and fails where that fails. */
START_TEST(directories_never_durable)
{
    fixture.store = open_store(_i, NULL);
    atomic_store(&step_is_done, true);
    atomic_store(&fail_step, _i == 1);
    forget_events(_i == 0 ? 4 : 0);
    ck_assert_int_eq(result_of(CREATE, "/x/y/f", "first"), STORE_OUTCOME_UNKNOWN);
    ck_assert_str_eq(file_text(place("/root/x/y/f")), "first");
    forget_events(0);
    ck_assert_int_eq(result_of(CREATE, "/x/y/g", "second"), STORE_DONE);
    ck_assert_ptr_nonnull(strstr(events, "sync /x/y, sync /x, sync /"));
    forget_events(0);
    ck_assert_int_eq(result_of(CREATE, "/x/y/z/h", "third"), STORE_DONE);
    ck_assert_ptr_nonnull(strstr(events, "show /x/y/z, sync /x/y, sync /x/y, sync /x, sync /"));
    forget_events(0);
    ck_assert_int_eq(result_of(UPDATE, "/x/y/f", "fourth"), STORE_DONE);
    ck_assert_ptr_nonnull(strstr(events, "show /x/y/f, sync /x/y, sync /x, sync /"));
    forget_events(4);
    ck_assert_int_eq(result_of(UPDATE, "/x/y/f", "fifth"), STORE_OUTCOME_UNKNOWN);
    forget_events(0);
    ck_assert_int_eq(result_of(DELETE, "/x/y/f", NULL), STORE_DONE);
    ck_assert_str_eq(events, "remove /x/y/f, sync /x/y");
}
END_TEST

/* What an operation does while a change of `path` is visible and not yet synced. */
static void check_beside(const char *path, bool directories, sttp_action action,
                         const char *operand, const char *expected)
{
    struct store_fs *fs = (struct store_fs *)fixture.store;
    struct fs_path changed, elsewhere;
    ck_assert(fs_path_set(&changed, (sttp_slice){path, strlen(path)}));
    ck_assert(fs_path_set(&elsewhere, STTP_SLICE("/else/where")));
    struct fs_step step = {
        .operation = &(store_operation){0}, .path = &changed, .directories = directories};
    struct fs_step other = {
        .operation = &(store_operation){0}, .path = &elsewhere, .directories = true};
    fs_step_begin(fs, &step);
    fs_step_begin(fs, &other);
    int descriptors = count_descriptors();
    forget_events(0);
    ck_assert_int_eq(result_of(action, operand, "new"), STORE_DONE);
    ck_assert_msg(strcmp(events, expected) == 0, "%s beside %s: %s", operand, path, events);
    ck_assert_int_eq(count_descriptors(), descriptors);
    fs_step_end(fs, &step, STORE_DONE);
    fs_step_end(fs, &other, STORE_DONE);
    forget_events(0);
    ck_assert_int_eq(result_of(LIST, "/dir", NULL), STORE_DONE);
    ck_assert_str_eq(events, "");
}

/* Whoever needs a directory that is new, or tells what is in one that changes, syncs what others
 * have yet to sync; and nothing else. */
START_TEST(beside_others)
{
    static const char update[] = "sync /dir/new, show /dir/old, sync /dir";
    fixture.store = open_store(_i, NULL);
    check_beside("/dir", true, UPDATE, "/dir/old",
                 "sync /dir/new, show /dir/old, sync /dir, sync /");
    check_beside("/dir", false, UPDATE, "/dir/old", update);
    check_beside("/di", true, UPDATE, "/dir/old", update);
    check_beside("/dir/x", true, UPDATE, "/dir/old", update);
    check_beside("/dir", true, LIST, "/dir", "sync /");
    check_beside("/dir", true, LIST, "/", "sync /");
    check_beside("/dir", false, LIST, "/", "sync /");
    check_beside("/dir", false, LIST, "/dir", "");
    check_beside("/dir/old", false, LIST, "/dir/", "sync /dir");
    check_beside("/dir/old", false, LIST, "/", "");
    check_beside("/di/old", false, LIST, "/dir", "");
    check_beside("/dir/old/x", false, LIST, "/dir", "");
}
END_TEST

/* What a LIST gives, and what it syncs, while a change of "/a" is visible and not yet synced. */
static void check_listing(sttp_action action, sttp_query query, const char *names,
                          const char *expected)
{
    struct waiting_operation change;
    prepare(&change, action, "/a", "new");
    atomic_store(&hold_root, 1);
    fixture.store->submit(fixture.store, &change.operation);
    sem_wait(&held);
    forget_events(0);
    struct outcome outcome = run_query(LIST, "/", NULL, &query);
    bool same = outcome.result == STORE_DONE && strcmp(outcome.contents, names) == 0;
    bool synced = strcmp(events, expected) == 0;
    sem_post(&gate);
    await(&change);
    ck_assert(same);
    ck_assert(synced);
}

/* An UPDATE changes no name: a LIST syncs what it changes where it tells of texts. */
START_TEST(listing_beside_a_change)
{
    sttp_query all = {0}, texts = {.text = STTP_SLICE("new")};
    fixture.store = open_store(_i, NULL);
    check_listing(CREATE, all, "a, dir/, empty/", "sync /");
    check_listing(UPDATE, all, "a, dir/, empty/", "");
    check_listing(UPDATE, texts, "a", "sync /");
    check_listing(DELETE, all, "dir/, empty/", "sync /");
}
END_TEST

START_TEST(listing_that_cannot_be_synced)
{
    fixture.store = open_store(_i, NULL);
    for (int part = 0; part < 2; part++) {
        struct fs_path changed;
        ck_assert(fs_path_set(&changed, part == 0 ? STTP_SLICE("/dir/old") : STTP_SLICE("/dir")));
        struct fs_step step = {
            .operation = &(store_operation){0}, .path = &changed, .directories = part == 1};
        fs_step_begin((struct store_fs *)fixture.store, &step);
        forget_events(1);
        struct outcome outcome = run(LIST, "/dir", NULL);
        ck_assert_int_eq(outcome.result, STORE_IO);
        ck_assert_int_eq(outcome.error, EIO);
        fs_step_end((struct store_fs *)fixture.store, &step, STORE_DONE);
    }
}
END_TEST

START_TEST(nothing_is_synced)
{
    static const enum store_durability kinds[] = {STORE_DURABILITY_INTERVAL, STORE_DURABILITY_NONE};
    fixture.store = open_store(0, &(struct store_fs_settings){.durability = kinds[_i]});
    check_beside("/dir/old", false, LIST, "/dir", "");
    check_beside("/dir", true, LIST, "/dir", "");
    ck_assert(!atomic_load(&((struct store_fs *)fixture.store)->syncer.changed));
    forget_events(0);
    for (size_t i = 0; i < CHANGES; i++)
        ck_assert_int_eq(result_of(changes[i].action, changes[i].path, "new"), STORE_DONE);
    ck_assert_ptr_null(strstr(events, "sync"));
}
END_TEST

/* A server that was killed had not synced what it was doing, and what is seen of it counts. */
START_TEST(start_syncs_what_was_left)
{
    static const enum store_durability kinds[] = {STORE_DURABILITY_ALWAYS,
                                                  STORE_DURABILITY_INTERVAL, STORE_DURABILITY_NONE};
    struct store_fs_settings settings = {.durability = kinds[_i], .docroot = fixture.docroot};
    fixture.store = open_store(0, &settings);
    ck_assert_int_eq(atomic_load(&syncs_of_all), kinds[_i] != STORE_DURABILITY_NONE);
}
END_TEST

/* A failure that is told once may be an old one, of any program. Where the sync fails again nobody
 * knows what is on disk: who needs a directory syncs all those above it. Either is a warning: the
 * texts that are there can be read. */
START_TEST(start_that_cannot_sync)
{
    static const char *const events_of[] = {"sync /dir/new, show /dir/old, sync /dir",
                                            "sync /dir/new, show /dir/old, sync /dir, sync /"};
    struct store_fs_settings settings = {.docroot = fixture.docroot};
    char warning[1024];
    mkdir(place("/root/.sttp-left"), 0755);
    put_file(place("/root/.sttp-left/f"), "left");
    atomic_store(&fail_step, true);
    atomic_store(&fail_all, 1 + _i);
    ck_assert(store_fs_open(&settings, &fixture.store, warning, sizeof warning));
    ck_assert_int_eq(atomic_load(&syncs_of_all), 2);
    ck_assert_ptr_nonnull(strstr(warning, "Input/output error"));
    ck_assert_int_eq(strstr(warning, "a power cut may take") != NULL, _i);
    ck_assert_ptr_nonnull(strstr(warning, "1 places could not be searched"));
    ck_assert_str_eq(run(SHOW, "/dir/old", NULL).contents, "old");
    forget_events(0);
    ck_assert_int_eq(result_of(UPDATE, "/dir/old", "new"), STORE_DONE);
    ck_assert_str_eq(events, events_of[_i]);
}
END_TEST

/* What changed since the last interval is written before the store is gone. */
START_TEST(interval_ends_with_a_sync)
{
    struct store_fs_settings interval = {.durability = STORE_DURABILITY_INTERVAL};
    fixture.store = open_store(0, &interval);
    ck_assert_int_eq(result_of(SHOW, "/dir/old", NULL), STORE_DONE);
    close_fixture();
    ck_assert_int_eq(atomic_load(&syncs_of_all), 1); /* that of the start */
    fixture.store = open_store(0, &interval);
    atomic_store(&syncs_of_all, 0);
    ck_assert_int_eq(result_of(DELETE, "/dir/old", NULL), STORE_DONE);
    int before = atomic_load(&syncs_of_all);
    close_fixture();
    ck_assert_int_eq(before + (before == 0), atomic_load(&syncs_of_all));
}
END_TEST

/* Once a second; when it fails a change says so, instead of being done. */
START_TEST(interval_that_fails)
{
    struct store_fs_settings interval = {.durability = STORE_DURABILITY_INTERVAL};
    fixture.store = open_store(0, &interval);
    atomic_store(&fail_all, INT_MAX);
    struct outcome outcome = run(UPDATE, "/dir/old", "new");
    sem_wait(&held);
    for (int i = 0; outcome.result == STORE_DONE && i < 100000; i++)
        outcome = run(UPDATE, "/dir/old", "new");
    atomic_store(&fail_all, 0);
    ck_assert_int_eq(outcome.result, STORE_EARLIER_LOST);
    ck_assert_int_eq(outcome.error, EIO);
    ck_assert_int_gt(atomic_load(&syncs_of_all), 1);
}
END_TEST

/* Where no change comes any more that could be told. */
START_TEST(last_interval_that_fails)
{
    struct store_fs_settings interval = {.durability = STORE_DURABILITY_INTERVAL};
    fixture.store = open_store(0, &interval);
    atomic_store(&fail_all, INT_MAX);
    ck_assert_int_eq(result_of(UPDATE, "/dir/old", "new"), STORE_DONE);
    ck_assert_int_eq(fixture.store->close(fixture.store), EIO);
    fixture.store = NULL;
}
END_TEST

/* The process that removes it has lost its processor: the name is still there. */
START_TEST(directory_in_removal)
{
    fixture.store = open_store(0, &(struct store_fs_settings){0});
    atomic_store(&dead_until, milliseconds_now() + 100);
    ck_assert_int_eq(result_of(CREATE, "/d/f", "x"), STORE_DONE);
    ck_assert_int_ge(milliseconds_now(), atomic_load(&dead_until));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_fs_sync");
    TCase *tests = tcase_create("durability");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, remove_root);
    tcase_add_loop_test(tests, order, 0, MODES);
    tcase_add_loop_test(tests, failures, 0, MODES);
    tcase_add_test(tests, failures_have_reasons);
    tcase_add_loop_test(tests, failed_steps, 0, MODES);
    tcase_add_loop_test(tests, refused_steps, 0, MODES);
    tcase_add_test(tests, not_yet_durable_is_not_shown);
    tcase_add_loop_test(tests, directories_not_yet_durable, 0, MODES);
    tcase_add_loop_test(tests, directories_never_durable, 0, MODES);
    tcase_add_loop_test(tests, beside_others, 0, MODES);
    tcase_add_loop_test(tests, listing_beside_a_change, 0, MODES);
    tcase_add_loop_test(tests, listing_that_cannot_be_synced, 0, MODES);
    tcase_add_loop_test(tests, start_syncs_what_was_left, 0, 3);
    tcase_add_loop_test(tests, start_that_cannot_sync, 0, 2);
    tcase_add_loop_test(tests, nothing_is_synced, 0, 2);
    tcase_add_test(tests, interval_ends_with_a_sync);
    tcase_add_test(tests, interval_that_fails);
    tcase_add_test(tests, last_interval_that_fails);
    tcase_add_test(tests, directory_in_removal);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
