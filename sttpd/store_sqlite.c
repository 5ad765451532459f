/* The store's frame: an operation's way from `submit` to `complete`.
 *
 *     submit -- place in the pool? no: STORE_BUSY
 *        \-- path_queue: may it run? no: waits there <---------------------------.
 *             \-- a read: a thread of the pool, with a connection of its own      |
 *              \- a change: the writer, with all others that wait --> complete --> leaves its path
 *
 * An operation completes before it leaves its path, so completions of one path come in the order of
 * what they tell. */
#include "sttpd/store_sqlite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "sttpd/store_sqlite_private.h"

enum {
    DEFAULT_THREADS = 64,
    DEFAULT_QUEUE = 4096,
    IDLE_TIMEOUT = 10000,
    LARGE = 4 /* readers that keep much of the database; the others are seldom used */
};

static struct store_sqlite *from_store(store *base)
{
    return (struct store_sqlite *)base;
}

static void complete(store_operation *operation, store_result result, int error)
{
    operation->result = result;
    operation->system_errno = result >= STORE_DENIED ? error : 0;
    if (result != STORE_DONE)
        operation->contents = (sttp_slice){NULL, 0};
    operation->complete(operation);
}

static bool hand_over(struct store_sqlite *sqlite, store_operation *operation)
{
    if (sttp_action_is_change(operation->action))
        return sq_writer_add(&sqlite->writer, operation);
    return pool_add(sqlite->pool, operation);
}

/* Hands operations whose turn it is to their threads. Those for which there is none end, and let
 * others have their turn. */
static void dispatch(struct store_sqlite *sqlite, store_operation *first)
{
    while (first != NULL) {
        store_operation *operation = first;
        first = operation->next;
        if (hand_over(sqlite, operation))
            continue;
        struct path_turn turn = path_queue_turn(sqlite->paths, operation);
        pool_release(sqlite->pool, operation);
        complete(operation, STORE_BUSY, EAGAIN);
        store_operation *released = path_queue_leave(sqlite->paths, turn);
        store_operation **end = &released;
        while (*end != NULL)
            end = &(*end)->next;
        *end = first;
        first = released;
    }
}

void sq_complete(struct store_sqlite *sqlite, store_operation *operation, store_result result,
                 int error)
{
    struct path_turn turn = path_queue_turn(sqlite->paths, operation);

    pool_release(sqlite->pool, operation);
    complete(operation, result, error);
    dispatch(sqlite, path_queue_leave(sqlite->paths, turn));
}

/* ---- readers ---- */

/* A connection for a thread that reads; NULL where none can be opened, and *code says why. */
static struct sq_connection *take_reader(struct store_sqlite *sqlite, store_result *result)
{
    pthread_mutex_lock(&sqlite->readers_lock);
    struct sq_connection *reader = sqlite->readers;
    if (reader != NULL)
        sqlite->readers = reader->next;
    pthread_mutex_unlock(&sqlite->readers_lock);
    if (reader != NULL)
        return reader;
    reader = calloc(1, sizeof *reader);
    bool large = atomic_fetch_add(&sqlite->opened, 1) < LARGE;
    int code = reader != NULL ? sq_connection_open(reader, sqlite, large) : SQLITE_NOMEM;
    if (code == SQLITE_OK)
        return reader;
    *result = reader != NULL ? sq_result(reader, code) : STORE_NO_MEMORY;
    int error = reader != NULL ? errno : ENOMEM;
    if (reader != NULL)
        sq_connection_close(reader);
    free(reader);
    errno = error;
    return NULL;
}

static void give_reader(struct store_sqlite *sqlite, struct sq_connection *reader)
{
    /* Its transaction could not be ended for want of memory: it would never see anything new. */
    if (sqlite3_get_autocommit(reader->db) == 0) {
        sq_connection_close(reader);
        free(reader);
        return;
    }
    pthread_mutex_lock(&sqlite->readers_lock);
    /* Those that keep much of the database go first, and of these the one that was used last. */
    struct sq_connection **place = &sqlite->readers;
    while (*place != NULL && (*place)->is_large && !reader->is_large)
        place = &(*place)->next;
    reader->next = *place;
    *place = reader;
    pthread_mutex_unlock(&sqlite->readers_lock);
}

static void read_one(void *context, store_operation *operation, struct pool_thread *thread)
{
    struct store_sqlite *sqlite = context;
    store_result result;
    struct sq_connection *reader = take_reader(sqlite, &result);

    (void)thread;
    if (reader != NULL)
        result = operation->action == STTP_ACTION_LIST ? sq_list(sqlite, reader, operation)
                                                       : sq_show(reader, operation);
    int error = errno;
    if (reader != NULL)
        give_reader(sqlite, reader);
    sq_complete(sqlite, operation, result, error);
}

/* ---- the store ---- */

static void submit(store *base, store_operation *operation)
{
    struct store_sqlite *sqlite = from_store(base);

    operation->joins = false;
    if (operation->path.size > STTP_MAX_PATH) {
        complete(operation, STORE_NOT_FOUND, 0);
        return;
    }
    if (!pool_admit(sqlite->pool, operation)) {
        complete(operation, STORE_BUSY, 0);
        return;
    }
    switch (path_queue_enter(sqlite->paths, operation)) {
    case PATH_QUEUE_RUN:
        dispatch(sqlite, operation);
        break;
    case PATH_QUEUE_WAIT:
        break;
    case PATH_QUEUE_NO_MEMORY:
        pool_release(sqlite->pool, operation);
        complete(operation, STORE_NO_MEMORY, ENOMEM);
        break;
    }
}

/* Frees what is there of a store, which may be half built. The lock is the last to go. */
static int destroy(struct store_sqlite *sqlite)
{
    sq_checkpointer_stop(sqlite);
    int failure = atomic_load(&sqlite->checkpointer.failure);
    while (sqlite->readers != NULL) {
        struct sq_connection *reader = sqlite->readers;
        sqlite->readers = reader->next;
        sq_connection_close(reader);
        free(reader);
    }
    sq_connection_close(&sqlite->checkpointer.connection);
    sq_connection_close(&sqlite->writer.connection);
    pool_destroy(sqlite->pool);
    path_queue_destroy(sqlite->paths);
    pthread_cond_destroy(&sqlite->writer.wake);
    pthread_cond_destroy(&sqlite->checkpointer.wake);
    pthread_mutex_destroy(&sqlite->writer.lock);
    pthread_mutex_destroy(&sqlite->checkpointer.lock);
    pthread_mutex_destroy(&sqlite->readers_lock);
    if (sqlite->lock != -1)
        close(sqlite->lock);
    free(sqlite->path);
    free(sqlite);
    return failure;
}

static int close_store(store *base)
{
    struct store_sqlite *sqlite = from_store(base);

    atomic_store(&sqlite->closing, true);
    /* What is stopped takes nothing any more: what waited ends. */
    dispatch(sqlite, pool_stop(sqlite->pool));
    dispatch(sqlite, sq_writer_stop(sqlite));
    return destroy(sqlite);
}

/* False with one line about it. */
static bool start(struct store_sqlite *sqlite, const struct store_settings *settings, char *error,
                  size_t capacity)
{
    struct pool_settings threads = {
        .threads = settings->threads == 0 ? DEFAULT_THREADS : settings->threads,
        .queue = settings->queue == 0 ? DEFAULT_QUEUE : settings->queue,
        .idle_timeout = IDLE_TIMEOUT,
        .run = read_one,
        .context = sqlite,
    };

    sqlite->paths = path_queue_create(threads.queue);
    sqlite->pool = pool_create(&threads);
    if (sqlite->paths == NULL || sqlite->pool == NULL) {
        snprintf(error, capacity, "the store: %s", strerror(ENOMEM));
        return false;
    }
    int failure = sq_checkpointer_start(sqlite);
    if (failure == 0)
        failure = sq_writer_start(sqlite);
    if (failure != 0)
        snprintf(error, capacity, "database %s: the store cannot start its threads: %s",
                 sqlite->path, strerror(failure));
    return failure == 0;
}

static bool initialise(struct store_sqlite *sqlite, const struct store_settings *settings)
{
    sqlite->base = (store){.submit = submit, .close = close_store};
    sqlite->durability = settings->durability;
    sqlite->log = settings->log;
    sqlite->lock = -1;
    if (sq_init_condition(&sqlite->writer.wake) != 0)
        return false;
    if (sq_init_condition(&sqlite->checkpointer.wake) != 0) {
        pthread_cond_destroy(&sqlite->writer.wake);
        return false;
    }
    pthread_mutex_init(&sqlite->writer.lock, NULL);
    pthread_mutex_init(&sqlite->checkpointer.lock, NULL);
    pthread_mutex_init(&sqlite->readers_lock, NULL);
    return true;
}

bool store_sqlite_open(const struct store_settings *settings, store **opened, char *error,
                       size_t capacity)
{
    struct store_sqlite *sqlite = calloc(1, sizeof *sqlite);

    *opened = NULL;
    if (capacity > 0)
        error[0] = '\0';
    if (sqlite == NULL) {
        snprintf(error, capacity, "the store: %s", strerror(ENOMEM));
        return false;
    }
    /* Without effect where it is in use already; it works without. */
    sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    if (!initialise(sqlite, settings)) {
        snprintf(error, capacity, "the store: %s", strerror(ENOMEM));
        free(sqlite);
        return false;
    }
    if (getrandom(sqlite->base.identity, sizeof sqlite->base.identity, 0) == -1 ||
        !sq_lock(sqlite, settings->sqlite_path, error, capacity) ||
        !sq_prepare_database(sqlite, &sqlite->writer.connection, error, capacity) ||
        !start(sqlite, settings, error, capacity)) {
        sq_writer_stop(sqlite);
        destroy(sqlite);
        return false;
    }
    *opened = &sqlite->base;
    return true;
}
