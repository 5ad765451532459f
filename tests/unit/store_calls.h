/* The system calls by which the store makes changes visible and durable, in front of those of the C
 * library: they note what was done, and fail or wait where a test wants it. */
#ifndef STTP_TESTS_STORE_CALLS_H
#define STTP_TESTS_STORE_CALLS_H

#include <errno.h>
#include <limits.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "store_support.h"

static pthread_mutex_t noting = PTHREAD_MUTEX_INITIALIZER;
static char events[4096];
static atomic_int fail_at;         /* the fsync that fails, counted from 1; 0: none */
static int failure = EIO;          /* its errno, and of what is next */
static atomic_bool became_visible; /* before it failed */
static atomic_bool fail_step;      /* the next visible step fails */
static atomic_bool step_is_done;   /* nevertheless */
static atomic_int hold_root;       /* so many fsyncs of the document root wait for the gate */
static sem_t held, gate;           /* one has come to it; one may pass */
static atomic_int holds;           /* of them so far */
static int fail_held;              /* the one of them that fails, counted from 1 */

/* A file or directory below the document root, with a reserved name as "new". */
static void describe(int directory, const char *name, char *text, size_t size)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    ssize_t length = readlink(link, path, sizeof path - 256);
    path[length < 0 ? 0 : length] = '\0';
    if (name != NULL)
        snprintf(path + strlen(path), 256, "/%.200s", name);
    const char *below = path + strlen(fixture.docroot);
    const char *reserved = strstr(below, ".sttp-");
    if (reserved == NULL)
        snprintf(text, size, "%s", *below == '\0' ? "/" : below);
    else
        snprintf(text, size, "%.*snew%s", (int)(reserved - below), below,
                 reserved + strcspn(reserved, "/"));
}

static void note_text(const char *event, const char *what)
{
    pthread_mutex_lock(&noting);
    size_t used = strlen(events);
    snprintf(events + used, sizeof events - used, "%s%s %s", used == 0 ? "" : ", ", event, what);
    pthread_mutex_unlock(&noting);
}

static void note(const char *event, int directory, const char *name)
{
    char what[1024];
    describe(directory, name, what, sizeof what);
    note_text(event, what);
}

static void forget_events(int fail)
{
    pthread_mutex_lock(&noting);
    events[0] = '\0';
    pthread_mutex_unlock(&noting);
    atomic_store(&fail_at, fail);
    atomic_store(&became_visible, false);
}

int fsync(int fd)
{
    char what[1024];
    describe(fd, NULL, what, sizeof what);
    bool fails = false;
    if (strcmp(what, "/") == 0 && atomic_load(&hold_root) > 0) {
        atomic_fetch_sub(&hold_root, 1);
        fails = atomic_fetch_add(&holds, 1) + 1 == fail_held;
        sem_post(&held);
        sem_wait(&gate);
    }
    note("sync", fd, NULL);
    if (fails) {
        errno = failure;
        return -1;
    }
    if (atomic_load(&fail_at) > 0 && atomic_fetch_sub(&fail_at, 1) == 1) {
        errno = failure;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

/* Whether a visible step that fails is not even done. */
static bool prevents(const char *name)
{
    return strncmp(name, ".sttp-", 6) != 0 && atomic_load(&fail_step) &&
           !atomic_load(&step_is_done);
}

static int note_change(long done, const char *event, int directory, const char *name)
{
    if (strncmp(name, ".sttp-", 6) != 0 && atomic_exchange(&fail_step, false)) {
        errno = failure;
        return -1;
    }
    if (done == 0) {
        note(event, directory, name);
        if (strncmp(name, ".sttp-", 6) != 0 && atomic_load(&fail_at) > 0)
            atomic_store(&became_visible, true);
    }
    return (int)done;
}

/* Until then nothing can be made in any directory, as in one that is being removed. */
static _Atomic time_t dead_until; /* milliseconds of CLOCK_MONOTONIC */

static time_t milliseconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int mkdirat(int directory, const char *name, mode_t mode)
{
    if (milliseconds_now() < atomic_load(&dead_until)) {
        errno = ENOENT;
        return -1;
    }
    return (int)syscall(SYS_mkdirat, directory, name, mode);
}

int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    return note_change(prevents(new) ? -1 : syscall(SYS_renameat2, from, old, to, new, flags),
                       "show", to, new);
}

int renameat(int from, const char *old, int to, const char *new)
{
    return note_change(prevents(new) ? -1 : syscall(SYS_renameat2, from, old, to, new, 0), "show",
                       to, new);
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    return note_change(prevents(new) ? -1 : syscall(SYS_linkat, from, old, to, new, flags), "show",
                       to, new);
}

int unlinkat(int directory, const char *name, int flags)
{
    return note_change(prevents(name) ? -1 : syscall(SYS_unlinkat, directory, name, flags),
                       "remove", directory, name);
}

static atomic_int syncs_of_all;
static atomic_int fail_all; /* so many of the next ones */

int syncfs(int fd)
{
    (void)fd;
    atomic_fetch_add(&syncs_of_all, 1);
    if (atomic_load(&fail_all) == 0)
        return 0;
    atomic_fetch_sub(&fail_all, 1);
    sem_post(&held);
    errno = EIO;
    return -1;
}

#endif
