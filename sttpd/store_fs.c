/* The store's frame: an operation's way from `submit` to `complete`.
 *
 *     submit -- SHOW of what is in memory ------------------------------> complete
 *        \-- place in the pool? no: STORE_BUSY
 *             \-- path_queue: may it run? no: waits there <--.
 *                  \-- pool: a thread runs it --> complete --> leaves its path: others may run
 *
 * An operation completes before it leaves its path, so completions of one path come in the order of
 * what they tell. */
#include "sttpd/store_fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "sttpd/store_fs_private.h"

enum { DEFAULT_THREADS = 64, DEFAULT_QUEUE = 4096, IDLE_TIMEOUT = 10000 };

static struct store_fs *from_store(store *base)
{
    return (struct store_fs *)base;
}

static void complete(store_operation *operation, store_result result, int error)
{
    bool failed = result == STORE_CANNOT_CREATE_PATH || result >= STORE_DENIED;
    operation->result = result;
    operation->system_errno = failed ? error : 0;
    if (result != STORE_DONE)
        operation->contents = (sttp_slice){NULL, 0};
    operation->complete(operation);
}

/* Hands operations whose turn it is to the pool. Those for which there is no thread end, and let
 * others have their turn. */
static void dispatch(struct store_fs *fs, store_operation *first)
{
    while (first != NULL) {
        store_operation *operation = first;
        first = operation->next;
        if (pool_add(fs->pool, operation))
            continue;
        struct path_turn turn = path_queue_turn(fs->paths, operation);
        pool_release(fs->pool, operation);
        complete(operation, STORE_BUSY, EAGAIN);
        store_operation *released = path_queue_leave(fs->paths, turn);
        store_operation **end = &released;
        while (*end != NULL)
            end = &(*end)->next;
        *end = first;
        first = released;
    }
}

static store_result perform(struct store_fs *fs, store_operation *operation)
{
    if (sttp_action_is_change(operation->action)) {
        /* A sync in the background failed: earlier changes may be lost, and somebody must hear it.
         */
        errno = atomic_exchange(&fs->syncer.failure, 0);
        if (errno != 0)
            return STORE_EARLIER_LOST;
    }
    switch (operation->action) {
    case STTP_ACTION_CREATE:
        return fs_create(fs, operation);
    case STTP_ACTION_SHOW:
        return fs_show(fs, operation);
    case STTP_ACTION_LIST:
        return fs_list(fs, operation);
    case STTP_ACTION_UPDATE:
        return fs_update(fs, operation);
    case STTP_ACTION_DELETE:
        return fs_delete(fs, operation);
    case STTP_ACTION_NONE:
        break;
    }
    errno = EINVAL;
    return STORE_IO;
}

void fs_complete(struct store_fs *fs, store_operation *operation, store_result result, int error)
{
    struct path_turn turn = path_queue_turn(fs->paths, operation);
    pool_release(fs->pool, operation);
    complete(operation, result, error);
    dispatch(fs, path_queue_leave(fs->paths, turn));
}

void fs_run_elsewhere(struct store_fs *fs, store_operation *operation)
{
    operation->joins = false;
    operation->next = NULL;
    dispatch(fs, operation);
}

static void run(void *context, store_operation *operation, struct pool_thread *thread)
{
    struct store_fs *fs = context;
    if (operation->joins) {
        fs_batch_run(fs, operation, thread);
        return;
    }
    store_result result = perform(fs, operation);
    fs_complete(fs, operation, result, errno);
}

/* What was read counts only if no change of the path was under way before or after: else it may be
 * a text that is not yet durable. */
static bool show_now(struct store_fs *fs, store_operation *operation)
{
    return !path_queue_changing(fs->paths, operation->path) && fs_show_now(fs, operation) &&
           !path_queue_changing(fs->paths, operation->path);
}

static void submit(store *base, store_operation *operation)
{
    struct store_fs *fs = from_store(base);
    if (operation->action == STTP_ACTION_SHOW && show_now(fs, operation)) {
        complete(operation, operation->result, 0);
        return;
    }
    bool writes =
        operation->action == STTP_ACTION_CREATE || operation->action == STTP_ACTION_UPDATE;
    operation->joins = writes && fs_syncfs_may(fs);
    if (!pool_admit(fs->pool, operation)) {
        complete(operation, STORE_BUSY, 0);
        return;
    }
    switch (path_queue_enter(fs->paths, operation)) {
    case PATH_QUEUE_RUN:
        dispatch(fs, operation);
        break;
    case PATH_QUEUE_WAIT:
        break;
    case PATH_QUEUE_NO_MEMORY:
        pool_release(fs->pool, operation);
        complete(operation, STORE_NO_MEMORY, ENOMEM);
        break;
    }
}

/* Frees what is there of a store, which may be half built. */
static int destroy(struct store_fs *fs)
{
    fs_syncer_stop(fs);
    int failure = atomic_load(&fs->syncer.failure);
    pool_destroy(fs->pool);
    path_queue_destroy(fs->paths);
    fs_close(fs->root.fd);
    pthread_mutex_destroy(&fs->syncfs.lock);
    pthread_mutex_destroy(&fs->group.lock);
    pthread_mutex_destroy(&fs->steps_lock);
    free(fs);
    return failure;
}

static int close_store(store *base)
{
    struct store_fs *fs = from_store(base);
    atomic_store(&fs->closing, true);
    /* A pool that is stopped takes nothing any more: what waited ends. */
    dispatch(fs, pool_stop(fs->pool));
    return destroy(fs);
}

/* Opens and locks the document root. False with one line about it. */
static bool open_root(struct store_fs *fs, const char *docroot, char *error, size_t capacity)
{
    int failure = fs_root_open(&fs->root, docroot);
    const char *advice = NULL;
    if (failure == 0) {
        /* Where a file system has no locks, two servers are not told apart. */
        if (flock(fs->root.fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
            return true;
        snprintf(error, capacity,
                 "document root %s: another server uses it; stop that one or choose another "
                 "directory",
                 docroot);
        return false;
    }
    fs->root.fd = -1;
    if (failure == ENOENT)
        advice = "create it, or set docroot to a directory that is there";
    else if (failure == ENOTDIR)
        advice = "set docroot to a directory";
    else if (failure == EACCES)
        advice = "let the server's user read and search it and the directories above it";
    else
        advice = "see whether its file system works";
    snprintf(error, capacity, "document root %s: %s; %s", docroot, strerror(failure), advice);
    return false;
}

/* A server that was killed leaves changes that can be seen and that nobody has synced. Who is shown
 * one of them, or puts a file into a directory that was one, must not lose it with a power cut.
 *
 * The kernel tells here, once, of a write that failed on this file system since anybody asked,
 * whoever made it. So the second answer counts (see store_fs_sync.c for what that is worth). To
 * refuse to start would help nobody: a server that runs goes on, too. */
static void sync_root(struct store_fs *fs, const char *docroot, char *warning, size_t capacity)
{
    if (fs->durability == STORE_DURABILITY_NONE || syncfs(fs->root.fd) == 0)
        return;
    int failure = errno;
    bool is_synced = syncfs(fs->root.fd) == 0;
    atomic_store(&fs->unsure, !is_synced);
    snprintf(warning, capacity, "document root %s: %s: %s; see whether its file system works",
             docroot,
             is_synced ? "writes to its file system had failed"
                       : "what is there cannot be synced, a power cut may take some of it back",
             strerror(failure));
}

static void clean(struct store_fs *fs, const char *docroot, char *warning, size_t capacity)
{
    struct fs_leftovers leftovers;
    size_t used = strnlen(warning, capacity);
    fs_remove_leftovers(&fs->root, &leftovers);
    if (leftovers.failures > 0)
        snprintf(warning + used, capacity - used,
                 "%sdocument root %s: %u places could not be searched for unfinished changes or "
                 "cleared of them: %s",
                 used > 0 ? "; " : "", docroot, leftovers.failures, strerror(leftovers.error));
}

/* False with one line about it. */
static bool start(struct store_fs *fs, const struct store_fs_settings *settings, char *error,
                  size_t capacity)
{
    fs_syncfs_init(fs);
    struct pool_settings threads = {
        .threads = settings->threads == 0 ? DEFAULT_THREADS : settings->threads,
        .queue = settings->queue == 0 ? DEFAULT_QUEUE : settings->queue,
        .idle_timeout = IDLE_TIMEOUT,
        .run = run,
        .context = fs,
    };
    fs->paths = path_queue_create(threads.queue);
    fs->pool = pool_create(&threads);
    if (fs->paths == NULL || fs->pool == NULL) {
        snprintf(error, capacity, "the store: %s", strerror(ENOMEM));
        return false;
    }
    int failure = fs_syncer_start(fs);
    if (failure != 0)
        snprintf(error, capacity, "the store cannot start a thread: %s", strerror(failure));
    return failure == 0;
}

bool store_fs_open(const struct store_fs_settings *settings, store **opened, char *error,
                   size_t capacity)
{
    struct store_fs *fs = calloc(1, sizeof *fs);
    *opened = NULL;
    if (capacity > 0)
        error[0] = '\0';
    if (fs == NULL) {
        snprintf(error, capacity, "the store: %s", strerror(ENOMEM));
        return false;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    fs->base = (store){.submit = submit, .close = close_store};
    fs->durability = settings->durability;
    fs->unique = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    pthread_mutex_init(&fs->steps_lock, NULL);
    pthread_mutex_init(&fs->group.lock, NULL);
    pthread_mutex_init(&fs->syncfs.lock, NULL);
    if (!open_root(fs, settings->docroot, error, capacity) ||
        !start(fs, settings, error, capacity)) {
        destroy(fs);
        return false;
    }
    sync_root(fs, settings->docroot, error, capacity);
    clean(fs, settings->docroot, error, capacity);
    *opened = &fs->base;
    return true;
}
