/* Faults on demand, in a program of our own objects.
 *
 * sttpd-faults is sttpd linked with --wrap=NAME for each call named in CMakeLists.txt, so that the
 * calls of our objects, and the allocations of libevent, come here first. The file that the
 * environment variable STTP_FAULTS names is mapped shared and says what shall happen to them;
 * faults.py writes it while the server runs. Without that variable nothing ever fails.
 *
 * The file is one struct table. A slot stands for one call, or for several of one kind:
 *
 *     name    of the call, written by the program when it starts
 *     calls   how often it was made; whoever arms the slot sets it to 0
 *     first   the call that fails first, counted from 1
 *     times   how many fail from there; 0: none
 *     error   the errno of those; 0: a read or write moves half of the bytes, and
 *             readdir does not tell what an entry is, like old file systems
 *     after   not 0: those are made all the same and are then said to have failed
 *     delay   microseconds that every call takes longer, whether it fails or not
 *
 * "allocation" stands for malloc, calloc, realloc, reallocarray and strndup. An openat2, made by
 * syscall(), is "openat2_cached" where it asks for RESOLVE_CACHED: that one the server makes on the
 * thread of its connections. A close that fails has closed, as Linux does it. "event_add" is only
 * what makes libevent ask the kernel for something.
 *
 * `outstanding` is the number of blocks that are allocated and not freed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

/* Calls that take their arguments as they are: type, value that says failure, name, parameters,
 * arguments. */
#define PLAIN_CALLS(CALL)                                                                          \
    CALL(int, -1, accept4, (int fd, struct sockaddr *to, socklen_t *size, int flags),              \
         (fd, to, size, flags))                                                                    \
    CALL(int, -1, bind, (int fd, const struct sockaddr *to, socklen_t size), (fd, to, size))       \
    CALL(int, -1, eventfd, (unsigned first, int flags), (first, flags))                            \
    CALL(int, -1, faccessat, (int at, const char *path, int mode, int flags),                      \
         (at, path, mode, flags))                                                                  \
    CALL(int, -1, fchmod, (int fd, mode_t mode), (fd, mode))                                       \
    CALL(DIR *, NULL, fdopendir, (int fd), (fd))                                                   \
    CALL(int, -1, flock, (int fd, int how), (fd, how))                                             \
    CALL(int, -1, fstat, (int fd, struct stat *to), (fd, to))                                      \
    CALL(int, -1, fstatat, (int at, const char *path, struct stat *to, int flags),                 \
         (at, path, to, flags))                                                                    \
    CALL(int, -1, fstatfs, (int fd, struct statfs *to), (fd, to))                                  \
    CALL(int, -1, fsync, (int fd), (fd))                                                           \
    CALL(int, -1, getsockname, (int fd, struct sockaddr *to, socklen_t *size), (fd, to, size))     \
    CALL(int, -1, linkat, (int from, const char *path, int at, const char *name, int flags),       \
         (from, path, at, name, flags))                                                            \
    CALL(int, -1, listen, (int fd, int backlog), (fd, backlog))                                    \
    CALL(off_t, -1, lseek, (int fd, off_t offset, int from), (fd, offset, from))                   \
    CALL(int, -1, mkdirat, (int at, const char *path, mode_t mode), (at, path, mode))              \
    CALL(ssize_t, -1, preadv2, (int fd, const struct iovec *to, int count, off_t at, int flags),   \
         (fd, to, count, at, flags))                                                               \
    CALL(int, errno, pthread_create,                                                               \
         (pthread_t * thread, const pthread_attr_t *attributes, void *(*run)(void *),              \
          void *argument),                                                                         \
         (thread, attributes, run, argument))                                                      \
    CALL(ssize_t, -1, recv, (int fd, void *to, size_t size, int flags), (fd, to, size, flags))     \
    CALL(int, -1, renameat, (int from, const char *path, int to, const char *name),                \
         (from, path, to, name))                                                                   \
    CALL(int, -1, renameat2,                                                                       \
         (int from, const char *path, int to, const char *name, unsigned flags),                   \
         (from, path, to, name, flags))                                                            \
    CALL(ssize_t, -1, send, (int fd, const void *from, size_t size, int flags),                    \
         (fd, from, size, flags))                                                                  \
    CALL(ssize_t, -1, sendmsg, (int fd, const struct msghdr *message, int flags),                  \
         (fd, message, flags))                                                                     \
    CALL(int, -1, setsockopt, (int fd, int level, int name, const void *value, socklen_t size),    \
         (fd, level, name, value, size))                                                           \
    CALL(int, -1, socket, (int family, int type, int protocol), (family, type, protocol))          \
    CALL(int, -1, syncfs, (int fd), (fd))                                                          \
    CALL(int, -1, timerfd_create, (int clock, int flags), (clock, flags))                          \
    CALL(int, -1, unlinkat, (int at, const char *path, int flags), (at, path, flags))

/* The slots: those and the ones that are written out below. */
#define SLOT(type, failure, name, parameters, arguments) SLOT_##name,
enum slot {
    PLAIN_CALLS(SLOT) SLOT_allocation,
    SLOT_close,
    SLOT_event_add,
    SLOT_fcntl,
    SLOT_open,
    SLOT_openat,
    SLOT_openat2,
    SLOT_openat2_cached,
    SLOT_read,
    SLOT_readdir,
    SLOT_write,
    SLOTS
};

#define NAME(type, failure, name, parameters, arguments) [SLOT_##name] = #name,
static const char *const names[SLOTS] = {
    PLAIN_CALLS(NAME)[SLOT_allocation] = "allocation",
    [SLOT_close] = "close",
    [SLOT_event_add] = "event_add",
    [SLOT_fcntl] = "fcntl",
    [SLOT_open] = "open",
    [SLOT_openat] = "openat",
    [SLOT_openat2] = "openat2",
    [SLOT_openat2_cached] = "openat2_cached",
    [SLOT_read] = "read",
    [SLOT_readdir] = "readdir",
    [SLOT_write] = "write",
};

struct fault {
    char name[32];
    atomic_uint_least64_t calls;
    atomic_uint_least64_t first;
    atomic_uint_least64_t times;
    atomic_uint_least64_t error;
    atomic_uint_least64_t after;
    atomic_uint_least64_t delay;
};

struct table {
    atomic_int_least64_t outstanding;
    uint64_t slots;
    struct fault faults[SLOTS];
};

static struct table nothing_fails;
static struct table *table = &nothing_fails;

/* Counts a call and delays it. The fault that it shall have, or NULL. */
static struct fault *meet(enum slot slot)
{
    struct fault *fault = &table->faults[slot];
    uint64_t call = atomic_fetch_add(&fault->calls, 1) + 1;
    uint64_t first = atomic_load(&fault->first);
    uint64_t times = atomic_load(&fault->times);
    uint64_t delay = atomic_load(&fault->delay);
    if (delay > 0) {
        struct timespec time = {.tv_sec = (time_t)(delay / 1000000),
                                .tv_nsec = (long)(delay % 1000000) * 1000};
        while (nanosleep(&time, &time) == -1 && errno == EINTR)
            ;
    }
    return call >= first && call - first < times ? fault : NULL;
}

/* The body of a wrapper. */
#define RETURN_OR_FAIL(type, failure, slot, call)                                                  \
    do {                                                                                           \
        struct fault *fault = meet(slot);                                                          \
        type result = fault == NULL || fault->after ? call : failure;                              \
        if (fault != NULL) {                                                                       \
            errno = (int)fault->error;                                                             \
            result = failure;                                                                      \
        }                                                                                          \
        return result;                                                                             \
    } while (0)

#define DECLARE(type, name, parameters)                                                            \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters

#define WRAP(type, failure, name, parameters, arguments)                                           \
    DECLARE(type, name, parameters);                                                               \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        RETURN_OR_FAIL(type, failure, SLOT_##name, __real_##name arguments);                       \
    }

PLAIN_CALLS(WRAP)

/* ---- memory ---- */

static void *count_block(void *block)
{
    if (block != NULL)
        atomic_fetch_add(&table->outstanding, 1);
    return block;
}

#define WRAP_ALLOCATION(type, name, parameters, call)                                              \
    DECLARE(type, name, parameters);                                                               \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        RETURN_OR_FAIL(type, NULL, SLOT_allocation, call);                                         \
    }

WRAP_ALLOCATION(void *, malloc, (size_t size), count_block(__real_malloc(size)))
WRAP_ALLOCATION(void *, calloc, (size_t count, size_t size),
                count_block(__real_calloc(count, size)))
WRAP_ALLOCATION(void *, realloc, (void *block, size_t size),
                block == NULL ? count_block(__real_realloc(NULL, size))
                              : __real_realloc(block, size))
WRAP_ALLOCATION(void *, reallocarray, (void *block, size_t count, size_t size),
                block == NULL ? count_block(__real_reallocarray(NULL, count, size))
                              : __real_reallocarray(block, count, size))
WRAP_ALLOCATION(char *, strndup, (const char *text, size_t size),
                count_block(__real_strndup(text, size)))

DECLARE(void, free, (void *block));
void __wrap_free(void *block)
{
    if (block != NULL)
        atomic_fetch_sub(&table->outstanding, 1);
    __real_free(block);
}

/* ---- calls that need more than passing on ---- */

DECLARE(int, close, (int fd));
int __wrap_close(int fd)
{
    struct fault *fault = meet(SLOT_close);
    int result = __real_close(fd);
    if (fault == NULL)
        return result;
    errno = (int)fault->error;
    return -1;
}

/* Only where it asks the kernel to watch a descriptor: a timer needs nothing but memory. */
DECLARE(int, event_add, (struct event * event, const struct timeval *time));
int __wrap_event_add(struct event *event, const struct timeval *time)
{
    if (event_get_fd(event) < 0)
        return __real_event_add(event, time);
    RETURN_OR_FAIL(int, -1, SLOT_event_add, __real_event_add(event, time));
}

#define WRAP_TRANSFER(name, bytes)                                                                 \
    DECLARE(ssize_t, name, (int fd, bytes, size_t size));                                          \
    ssize_t __wrap_##name(int fd, bytes, size_t size)                                              \
    {                                                                                              \
        struct fault *fault = meet(SLOT_##name);                                                   \
        bool fails = fault != NULL && fault->error != 0;                                           \
        ssize_t result = -1;                                                                       \
        if (!fails || fault->after)                                                                \
            result = __real_##name(fd, buffer, fault == NULL || fails ? size : (size + 1) / 2);    \
        if (!fails)                                                                                \
            return result;                                                                         \
        errno = (int)fault->error;                                                                 \
        return -1;                                                                                 \
    }

WRAP_TRANSFER(read, void *buffer)
WRAP_TRANSFER(write, const void *buffer)

DECLARE(struct dirent *, readdir, (DIR * stream));
struct dirent *__wrap_readdir(DIR *stream)
{
    struct fault *fault = meet(SLOT_readdir);
    if (fault != NULL && fault->error != 0) {
        errno = (int)fault->error;
        return NULL;
    }
    struct dirent *entry = __real_readdir(stream);
    if (fault != NULL && entry != NULL)
        entry->d_type = DT_UNKNOWN;
    return entry;
}

/* The optional argument of open, openat and fcntl: passing what is not there does no harm. */
#define OPTIONAL(type, last, argument)                                                             \
    va_list rest;                                                                                  \
    va_start(rest, last);                                                                          \
    type argument = va_arg(rest, type);                                                            \
    va_end(rest)

DECLARE(int, open, (const char *path, int flags, ...));
int __wrap_open(const char *path, int flags, ...)
{
    OPTIONAL(unsigned, flags, mode);
    RETURN_OR_FAIL(int, -1, SLOT_open, __real_open(path, flags, mode));
}

DECLARE(int, openat, (int at, const char *path, int flags, ...));
int __wrap_openat(int at, const char *path, int flags, ...)
{
    OPTIONAL(unsigned, flags, mode);
    RETURN_OR_FAIL(int, -1, SLOT_openat, __real_openat(at, path, flags, mode));
}

/* What fortified headers make of an openat without mode. */
DECLARE(int, __openat_2, (int at, const char *path, int flags));
int __wrap___openat_2(int at, const char *path, int flags)
{
    RETURN_OR_FAIL(int, -1, SLOT_openat, __real___openat_2(at, path, flags));
}

DECLARE(int, fcntl, (int fd, int command, ...));
int __wrap_fcntl(int fd, int command, ...)
{
    OPTIONAL(long, command, argument);
    RETURN_OR_FAIL(int, -1, SLOT_fcntl, __real_fcntl(fd, command, argument));
}

/* System calls that have no function: openat2, and futex, which does not fail. */
DECLARE(long, syscall, (long number, long a, long b, long c, long d, long e, long f));
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    if (number == SYS_futex)
        return __real_syscall(number, a, b, c, d, e, f);
    if (number != SYS_openat2)
        abort();
    const struct open_how *how = (const struct open_how *)c;
    bool cached = (how->resolve & RESOLVE_CACHED) != 0;
    RETURN_OR_FAIL(long, -1, cached ? SLOT_openat2_cached : SLOT_openat2,
                   __real_syscall(number, a, b, c, d, e, f));
}

/* ---- the table ---- */

static struct table *map_table(const char *path)
{
    int fd = __real_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd == -1 || ftruncate(fd, sizeof *table) == -1)
        return NULL;
    void *mapped = mmap(NULL, sizeof *table, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    __real_close(fd);
    return mapped == MAP_FAILED ? NULL : mapped;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("STTP_FAULTS");
    struct table *mapped = path == NULL ? &nothing_fails : map_table(path);
    if (mapped == NULL) {
        fprintf(stderr, "STTP_FAULTS: %s: %s\n", path, strerror(errno));
        _exit(99);
    }
    mapped->outstanding = 0;
    mapped->slots = SLOTS;
    for (size_t i = 0; i < SLOTS; i++)
        strncpy(mapped->faults[i].name, names[i], sizeof mapped->faults[i].name - 1);
    table = mapped;
    event_set_mem_functions(__wrap_malloc, __wrap_realloc, __wrap_free);
}
