/* CREATE and UPDATE that one thread does together, where each system call in turn fails; and many
 * threads at once. */
#include "store_batch.h"

enum { MANY = 8 };

static struct change changes[MANY] = {
    {.action = CREATE, .path = "/a"},     {.action = UPDATE, .path = "/u"},
    {.action = CREATE, .path = "/dir/b"}, {.action = UPDATE, .path = "/dir/v"},
    {.action = CREATE, .path = "/c"},     {.action = UPDATE, .path = "/w"},
    {.action = CREATE, .path = "/dir/d"}, {.action = CREATE, .path = "/dir/e"}};

/* ---- what is on disk ---- */

enum state { WRITTEN, ALL_SYNCED, SYNCED, LOST };

/* Texts that have no name yet. ALL_SYNCED: as far as a sync of the file system tells. */
static struct text {
    char name[FS_RESERVED_NAME];
    int fd; /* -1: closed */
    enum state state;
} texts[4 * MANY];

static pthread_mutex_t tracking = PTHREAD_MUTEX_INITIALIZER; /* of all below */
static int text_count;
static bool is_dirty[2]; /* the root, "/dir": names in it are not synced */
static int broken;       /* promises */
static atomic_int completions;

/* The lock is held, here and in text_of. */
static bool *dirty(int directory)
{
    char what[1024];
    describe(directory, NULL, what, sizeof what);
    return &is_dirty[strcmp(what, "/dir") == 0];
}

static struct text *text_of(int fd)
{
    for (int i = 0; i < text_count; i++)
        if (texts[i].fd == fd)
            return &texts[i];
    return NULL;
}

/* Ends with the name it was written under. */
static void note_shown(int directory, const char *reserved)
{
    bool synced = false;
    pthread_mutex_lock(&tracking);
    for (int i = 0; i < text_count; i++)
        synced = synced || (strcmp(texts[i].name, reserved) == 0 && texts[i].state == SYNCED);
    broken += !synced;
    *dirty(directory) = true;
    pthread_mutex_unlock(&tracking);
}

/* ---- what fails ---- */

enum call { CLOSE, FCHMOD, FSTAT, SYNC, LINK, OPEN, OPENAT2, RENAME, ASK, SYNC_ALL, WRITE, CALLS };

static atomic_bool armed;
static atomic_int calls;
static int fail_call;
static bool in_directory; /* the sync that failed was one of a directory */
static atomic_int failed; /* an enum call */
static int failures_of[CALLS];

static bool fails(enum call call)
{
    if (!atomic_load(&armed) || !by_change() || atomic_fetch_add(&calls, 1) + 1 != fail_call)
        return false;
    atomic_store(&failed, call);
    failures_of[call]++;
    errno = failure;
    return true;
}

/* Where no other thread does some of them alone, as it does when the directory could not be opened,
 * no name is left to be synced. */
static void note_completion(const store_operation *operation)
{
    int directory = operation->path.size > strlen("/dir/");
    atomic_fetch_add(&completions, 1);
    pthread_mutex_lock(&tracking);
    broken += operation->result == STORE_DONE && is_dirty[directory] &&
              (enum call)atomic_load(&failed) != OPENAT2;
    pthread_mutex_unlock(&tracking);
}

int __real_close(int fd);
int __wrap_close(int fd);
int __real_fchmod(int fd, mode_t mode);
int __wrap_fchmod(int fd, mode_t mode);
int __real_fstat(int fd, struct stat *status);
int __wrap_fstat(int fd, struct stat *status);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_linkat(int from, const char *old, int to, const char *new, int flags);
int __wrap_linkat(int from, const char *old, int to, const char *new, int flags);
int __real_openat(int directory, const char *name, int flags, ...);
int __wrap_openat(int directory, const char *name, int flags, ...);
int __real_renameat(int from, const char *old, int to, const char *new);
int __wrap_renameat(int from, const char *old, int to, const char *new);
int __real_renameat2(int from, const char *old, int to, const char *new, unsigned flags);
int __wrap_renameat2(int from, const char *old, int to, const char *new, unsigned flags);
int __real_sync_file_range(int fd, off64_t offset, off64_t size, unsigned flags);
int __wrap_sync_file_range(int fd, off64_t offset, off64_t size, unsigned flags);
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);

/* The descriptor is gone even so. */
int __wrap_close(int fd)
{
    pthread_mutex_lock(&tracking);
    struct text *text = atomic_load(&armed) ? text_of(fd) : NULL;
    bool fault = text != NULL && fails(CLOSE);
    if (text != NULL)
        text->fd = -1;
    pthread_mutex_unlock(&tracking);
    int done = __real_close(fd);
    errno = fault ? failure : errno;
    return fault ? -1 : done;
}

int __wrap_fchmod(int fd, mode_t mode)
{
    return fails(FCHMOD) ? -1 : __real_fchmod(fd, mode);
}

int __wrap_fstat(int fd, struct stat *status)
{
    return fails(FSTAT) ? -1 : __real_fstat(fd, status);
}

static int note_sync(int fd, bool fault, bool asks)
{
    int error = errno;
    pthread_mutex_lock(&tracking);
    struct text *text = text_of(fd);
    if (text == NULL) {
        in_directory = in_directory || fault;
        *dirty(fd) = *dirty(fd) && fault;
    } else if (fault || text->state == LOST || (asks && text->state != ALL_SYNCED)) {
        text->state = LOST;
    } else {
        text->state = SYNCED;
    }
    pthread_mutex_unlock(&tracking);
    errno = error;
    return fault ? -1 : 0;
}

/* The disk itself is asked only where many are at work: it takes its time. */
int __wrap_fsync(int fd)
{
    if (!atomic_load(&armed))
        return atomic_load(&clock_at) == 0 ? __real_fsync(fd) : 0;
    return note_sync(fd, fails(SYNC), false);
}

int __wrap_sync_file_range(int fd, off64_t offset, off64_t size, unsigned flags)
{
    if (!atomic_load(&armed))
        return __real_sync_file_range(fd, offset, size, flags);
    return note_sync(fd, fails(ASK), true);
}

static bool sync_all(void)
{
    if (fails(SYNC_ALL))
        return true;
    pthread_mutex_lock(&tracking);
    for (int i = 0; i < text_count; i++)
        if (texts[i].state == WRITTEN)
            texts[i].state = ALL_SYNCED;
    pthread_mutex_unlock(&tracking);
    return false;
}

int __wrap_linkat(int from, const char *old, int to, const char *new, int flags)
{
    int done = fails(LINK) ? -1 : __real_linkat(from, old, to, new, flags);
    if (done == 0 && atomic_load(&armed))
        note_shown(to, old);
    return done;
}

int __wrap_renameat(int from, const char *old, int to, const char *new)
{
    int done = fails(RENAME) ? -1 : __real_renameat(from, old, to, new);
    if (done == 0 && atomic_load(&armed))
        note_shown(to, old);
    return done;
}

int __wrap_renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    int done = fails(RENAME) ? -1 : __real_renameat2(from, old, to, new, flags);
    if (done == 0 && atomic_load(&armed))
        note_shown(to, old);
    return done;
}

int __wrap_openat(int directory, const char *name, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    int fd = fails(OPEN) ? -1 : __real_openat(directory, name, flags, mode);
    if (fd == -1 || (flags & O_CREAT) == 0 || !atomic_load(&armed))
        return fd;
    pthread_mutex_lock(&tracking);
    texts[text_count] = (struct text){.fd = fd};
    snprintf(texts[text_count].name, sizeof texts[text_count].name, "%s", name);
    text_count++;
    pthread_mutex_unlock(&tracking);
    return fd;
}

long __wrap_syscall(long number, ...)
{
    long given[5];
    va_list arguments;
    va_start(arguments, number);
    for (int i = 0; i < 5; i++)
        given[i] = va_arg(arguments, long);
    va_end(arguments);
    if (number == SYS_openat2 && fails(OPENAT2))
        return -1;
    return __real_syscall(number, given[0], given[1], given[2], given[3], given[4]);
}

ssize_t __wrap_write(int fd, const void *data, size_t size)
{
    return fails(WRITE) ? -1 : __real_write(fd, data, size);
}

/* ---- each call in turn ---- */

static void furnish(void)
{
    for (int i = 0; i < MANY; i++)
        if (changes[i].action == UPDATE)
            put_file(place("/root%s", changes[i].path), "old");
        else
            unlink(place("/root%s", changes[i].path));
    text_count = broken = 0;
    is_dirty[0] = is_dirty[1] = in_directory = false;
    atomic_store(&calls, 0);
    atomic_store(&failed, CALLS);
    atomic_store(&((struct store_fs *)fixture.store)->syncfs.paused_until, 0);
    atomic_store(&completions, 0);
}

static void check_change(const struct change *change)
{
    const store_operation *operation = &change->waiting.operation;
    const char *text = file_text(place("/root%s", change->path));
    bool is_step = failed == RENAME || failed == LINK;
    if (operation->result == STORE_DONE) {
        ck_assert_str_eq(text, change->path);
        ck_assert_int_eq(operation->system_errno, 0);
        return;
    }
    ck_assert_int_eq(operation->system_errno, failure);
    if (operation->result == STORE_OUTCOME_UNKNOWN) {
        ck_assert(is_step || in_directory);
        if (in_directory)
            ck_assert_str_eq(text, change->path);
        return;
    }
    ck_assert_int_eq(operation->result, fs_result(failure));
    ck_assert_str_eq(text, change->action == CREATE ? "(none)" : "old");
}

/* How many changes the failure concerns, at least and at most. */
static void expect_refused(int *least, int *most)
{
    bool of_text = failed == CLOSE || failed == FCHMOD || failed == LINK || failed == RENAME ||
                   failed == FSTAT || failed == OPEN || failed == WRITE ||
                   ((failed == SYNC || failed == ASK) && !in_directory);
    bool of_none = calls < fail_call || failed == OPENAT2 || failed == SYNC_ALL;
    *least = of_none ? 0 : in_directory ? MANY / 2 : of_text;
    *most = of_none ? 0 : in_directory ? MANY / 2 : 1;
}

static void check_changes(void)
{
    int refused = 0, least, most;
    for (int i = 0; i < MANY; i++) {
        check_change(&changes[i]);
        refused += changes[i].waiting.operation.result != STORE_DONE;
    }
    ck_assert_int_eq(atomic_load(&completions), MANY);
    ck_assert_msg(broken == 0, "call %d: %d broken: %s", atomic_load(&failed), broken, events);
    expect_refused(&least, &most);
    ck_assert_msg(least <= refused && refused <= most, "call %d: %d", atomic_load(&failed),
                  refused);
}

/* False where they make fewer calls than that. */
static bool do_with_failure(int number)
{
    furnish();
    fail_call = number;
    int descriptors = count_descriptors();
    make_busy();
    gather(changes, MANY, 0);
    atomic_store(&armed, true);
    let_go(changes, MANY);
    atomic_store(&armed, false);
    check_changes();
    end_busy();
    unlink(place("/root%s", busy.operation.path.data));
    ck_assert_int_eq(count_descriptors(), descriptors);
    count_entries();
    return calls >= number;
}

static void setup(void)
{
    set_up_batches();
    at_completion = note_completion;
    on_sync_of_all = sync_all;
}

/* With renameat2, and with what stands in for it. */
START_TEST(each_call_fails_in_turn)
{
    static const int errors[] = {EIO, ENOSPC, EMFILE};
    fixture.store = open_store(0, NULL);
    ((struct store_fs *)fixture.store)->plain_rename = _i == 1;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        int number = 1;
        failure = errors[i];
        while (do_with_failure(number))
            number++;
    }
    for (int call = 0; call < CALLS; call++) {
        bool is_made = call == LINK ? _i == 1 : call != SYNC;
        ck_assert_msg((failures_of[call] > 0) == is_made, "call %d: %d", call, failures_of[call]);
    }
}
END_TEST

/* A directory that is gone when the file is to be made is looked for again. */
START_TEST(lost_directory_is_looked_for_again)
{
    fixture.store = open_store(0, NULL);
    failure = ENOENT;
    for (int number = 1; atomic_load(&failed) != OPEN; number++) {
        furnish();
        fail_call = number;
        make_busy();
        gather(changes, MANY, 0);
        atomic_store(&armed, true);
        let_go(changes, MANY);
        atomic_store(&armed, false);
        end_busy();
        ck_assert_int_le(number, atomic_load(&calls));
    }
    ck_assert_int_eq(changes[0].waiting.operation.result, STORE_DONE);
    ck_assert_str_eq(file_text(place("/root/a")), "/a");
}
END_TEST

/* ---- many threads ---- */

enum { THREADS = 16, ROUNDS = 40 };

static void set_up_many(void)
{
    set_up_batches();
    atomic_store(&clock_at, 0);
}

/* CREATE, UPDATE and DELETE of its own names in directories that all use. */
static void *change_often(void *argument)
{
    const int *number = argument;
    int wrong = 0;
    for (int round = 0; round < ROUNDS; round++) {
        char path[32];
        snprintf(path, sizeof path, "%s/%d-%d", round % 2 == 0 ? "" : "/dir", *number, round);
        wrong += result_of(UPDATE, path, "none") != STORE_NOT_FOUND;
        wrong += result_of(CREATE, path, "first") != STORE_DONE;
        wrong += result_of(CREATE, path, "again") != STORE_EXISTS;
        wrong += result_of(UPDATE, path, "second") != STORE_DONE;
        wrong += strcmp(file_text(place("/root%s", path)), "second") != 0;
        if (round % 4 == 0)
            wrong += result_of(DELETE, path, NULL) != STORE_DONE;
    }
    forget_contents();
    return wrong == 0 ? NULL : argument;
}

START_TEST(many_at_once)
{
    pthread_t threads[THREADS];
    int numbers[THREADS];
    fixture.store = open_store(0, NULL);
    int before = count_entries(), descriptors = count_descriptors();
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, change_often, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        ck_assert_ptr_null(wrong);
    }
    ck_assert_int_eq(count_entries(), before + THREADS * ROUNDS * 3 / 4);
    ck_assert_int_eq(count_descriptors(), descriptors);
    ck_assert_ptr_null(((struct store_fs *)fixture.store)->steps);
    ck_assert_int_gt(atomic_load(&syncs_by_changes), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_fs_batch_faults");
    TCase *tests = tcase_create("changes done together");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, remove_root);
    tcase_add_loop_test(tests, each_call_fails_in_turn, 0, 2);
    tcase_add_test(tests, lost_directory_is_looked_for_again);
    suite_add_tcase(suite, tests);
    TCase *many = tcase_create("many threads");
    tcase_set_timeout(many, 60);
    tcase_add_checked_fixture(many, set_up_many, remove_root);
    tcase_add_test(many, many_at_once);
    suite_add_tcase(suite, many);
    return run_suite(suite);
}
