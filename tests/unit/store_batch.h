/* Changes that are done together, the same ones each time: one thread of the store is busy with
 * something else, another one stops while it takes its first change, and what is submitted then
 * joins that one. No other thread takes anything: the clock stands still, so none is slow. */
#ifndef STTP_TESTS_STORE_BATCH_H
#define STTP_TESTS_STORE_BATCH_H

#include "store_calls.h"

struct change {
    sttp_action action;
    const char *path; /* and its text */
    void (*begin)(store_operation *operation, size_t made);
    void (*end)(store_operation *operation);
    struct waiting_operation waiting;
};

static struct waiting_operation busy;
static sem_t is_busy, may_end;             /* of the thread that does it */
static sem_t has_stopped, may_go_on;       /* of the one that takes changes */
static atomic_bool stops;                  /* it does so next */
static atomic_int_least64_t clock_at;      /* milliseconds of CLOCK_MONOTONIC; 0: it runs */
static long file_system = XFS_SUPER_MAGIC; /* whatever it is */
static atomic_int syncs_by_changes;        /* of the file system */
static bool (*on_sync_of_all)(void);       /* whether it fails, with errno */
static void (*at_completion)(const store_operation *operation);

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __real_fstatfs(int fd, struct statfs *status);
int __wrap_fstatfs(int fd, struct statfs *status);
int __real_fstatat(int directory, const char *name, struct stat *status, int flags);
int __wrap_fstatat(int directory, const char *name, struct stat *status, int flags);
int __real_syncfs(int fd);
int __wrap_syncfs(int fd);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    int64_t at = atomic_load(&clock_at);
    if (clock != CLOCK_MONOTONIC || at == 0)
        return __real_clock_gettime(clock, now);
    *now = (struct timespec){.tv_sec = at / 1000, .tv_nsec = at % 1000 * 1000000};
    return 0;
}

/* An hour ahead: what waits until a time of that clock waits for the test. */
static void stop_clock(void)
{
    struct timespec now;
    __real_clock_gettime(CLOCK_MONOTONIC, &now);
    atomic_store(&clock_at, (int64_t)(now.tv_sec + 3600) * 1000);
}

int __wrap_fstatfs(int fd, struct statfs *status)
{
    int done = __real_fstatfs(fd, status);
    status->f_type = file_system;
    return done;
}

/* A change's first look at what has its name. */
int __wrap_fstatat(int directory, const char *name, struct stat *status, int flags)
{
    if (atomic_exchange(&stops, false)) {
        sem_post(&has_stopped);
        sem_wait(&may_go_on);
    }
    return __real_fstatat(directory, name, status, flags);
}

static bool by_change(void)
{
    char name[16];
    return pthread_getname_np(pthread_self(), name, sizeof name) == 0 && strcmp(name, "store") == 0;
}

int __wrap_syncfs(int fd)
{
    if (by_change()) {
        atomic_fetch_add(&syncs_by_changes, 1);
        note("sync all", fd, NULL);
    }
    if (on_sync_of_all != NULL && by_change() && on_sync_of_all())
        return -1;
    return __real_syncfs(fd);
}

static void set_up_batches(void)
{
    make_root();
    mkdir(place("/root/dir"), 0755);
    sem_init(&held, 0, 0);
    sem_init(&gate, 0, 0);
    sem_init(&is_busy, 0, 0);
    sem_init(&may_end, 0, 0);
    sem_init(&has_stopped, 0, 0);
    sem_init(&may_go_on, 0, 0);
    stop_clock();
}

static void stay_busy(store_operation *operation, size_t made)
{
    (void)operation, (void)made;
    sem_post(&is_busy);
    sem_wait(&may_end);
}

/* One thread has a change that is synced and not yet visible. */
static void make_busy(void)
{
    static char path[32];
    static int number;
    snprintf(path, sizeof path, "/busy-%d", number++);
    prepare(&busy, CREATE, path, "busy");
    busy.operation.begin = stay_busy;
    fixture.store->submit(fixture.store, &busy.operation);
    sem_wait(&is_busy);
}

static void end_busy(void)
{
    sem_post(&may_end);
    await(&busy);
    ck_assert_int_eq(busy.operation.result, STORE_DONE);
}

static void note_done(store_operation *operation)
{
    char path[64];
    snprintf(path, sizeof path, "%.*s", (int)operation->path.size, operation->path.data);
    note_text("done", path);
    if (at_completion != NULL)
        at_completion(operation);
    wake_up(operation);
}

static void submit(struct change *change)
{
    prepare(&change->waiting, change->action, change->path, change->path);
    change->waiting.operation.begin = change->begin;
    change->waiting.operation.end = change->end;
    change->waiting.operation.complete = note_done;
    fixture.store->submit(fixture.store, &change->waiting.operation);
}

/* To where a thread has taken the first of them and the rest wait to join it. */
static void gather(struct change *changes, int count, int fail)
{
    forget_events(fail);
    atomic_store(&stops, true);
    submit(&changes[0]);
    sem_wait(&has_stopped);
    for (int i = 1; i < count; i++)
        submit(&changes[i]);
}

static void let_go(struct change *changes, int count)
{
    sem_post(&may_go_on);
    for (int i = 0; i < count; i++)
        await(&changes[i].waiting);
}

/* Does them together; `fail`: the fsync that fails, counted from 1. */
static inline void do_together(struct change *changes, int count, int fail)
{
    make_busy();
    gather(changes, count, fail);
    let_go(changes, count);
    atomic_store(&fail_at, 0);
}

static inline int count_events(const char *event)
{
    int count = 0;
    size_t size = strlen(event);
    for (const char *at = events; (at = strstr(at, event)) != NULL; at += size)
        count += at[size] == ',' || at[size] == '\0';
    return count;
}

#endif
