/* The thread that makes all changes: all that wait together, in one transaction, so that they share
 * its sync (group commit). While it syncs, the next ones come together.
 *
 * A change that its own rules refuse changes nothing, and the others go on. Where the database
 * fails, the transaction is rolled back and each change in it fails alike, or is tried once more by
 * itself where it may be one of them that cannot be made. A failure of the commit
 * itself may leave what was written in the log, and a crash after that may bring it to light: so
 * the outcome is unknown, but for those failures that are told before the log is complete. */
#include <errno.h>
#include <string.h>

#include "sttpd/store_sqlite_private.h"

enum {
    QUIET = 5,        /* milliseconds without a change, after which rows are indexed */
    IDLE_ROWS = 1024, /* of one transaction then */
    BEHIND = 2        /* rows indexed for each changed one, when too many wait */
};

/* ---- the queue ---- */

bool sq_writer_add(struct sq_writer *writer, store_operation *operation)
{
    operation->next = NULL;
    pthread_mutex_lock(&writer->lock);
    bool taken = !writer->stopping;
    bool wakes = taken && writer->sleeping;
    if (taken) {
        *writer->last = operation;
        writer->last = &operation->next;
        atomic_fetch_add(&writer->waiting, 1);
    }
    if (wakes) {
        writer->sleeping = false;
        pthread_cond_signal(&writer->wake);
    }
    pthread_mutex_unlock(&writer->lock);
    return taken;
}

/* Waits for changes, for a while where there is something to index. False where the thread is to
 * end. The lock is held. */
static bool wait_for_changes(struct sq_writer *writer)
{
    bool idles = sq_index_is_behind(writer);
    struct timespec until = sq_time_in(QUIET);
    int waited = 0;

    while (writer->first == NULL && !writer->stopping && waited == 0) {
        writer->sleeping = true;
        waited = idles ? pthread_cond_timedwait(&writer->wake, &writer->lock, &until)
                       : pthread_cond_wait(&writer->wake, &writer->lock);
    }
    writer->sleeping = false;
    return !writer->stopping;
}

/* Takes what waits into the batch; returns how many. The lock is held. */
static unsigned take(struct sq_writer *writer)
{
    unsigned count = 0;

    while (count < SQ_BATCH && writer->first != NULL) {
        store_operation *operation = writer->first;
        writer->first = operation->next;
        writer->batch[count++] = (struct sq_change){.operation = operation};
    }
    if (writer->first == NULL)
        writer->last = &writer->first;
    atomic_fetch_sub(&writer->waiting, count);
    return count;
}

/* ---- a transaction ---- */

/* What a commit that failed means. The log is complete, and may count after a crash, unless the
 * kernel refused to write some of it. */
static store_result commit_result(struct sq_connection *connection, int code)
{
    bool is_write = code == SQLITE_IOERR_WRITE;
    store_result result =
        is_write ? sq_system_result(sq_log_errno(connection)) : sq_result(connection, code);
    bool is_refused = result == STORE_NO_SPACE || result == STORE_QUOTA || result == STORE_BUSY ||
                      result == STORE_READ_ONLY;

    return is_refused ? result : STORE_OUTCOME_UNKNOWN;
}

/* Makes the changes; false where the database failed. */
static bool change_all(struct sq_writer *writer, struct sq_change *batch, unsigned count, int *code)
{
    *code = sq_begin_change(writer);
    if (*code != SQLITE_DONE)
        return false;
    for (unsigned i = 0; i < count; i++)
        if (!sq_change(writer, &batch[i], code))
            return false;
    return true;
}

static void begin_steps(struct sq_change *batch, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (batch[i].changes && batch[i].operation->begin != NULL)
            batch[i].operation->begin(batch[i].operation, batch[i].made);
}

static void end_steps(struct sq_change *batch, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (batch[i].changes && batch[i].operation->end != NULL)
            batch[i].operation->end(batch[i].operation);
}

static void set_all(struct sq_change *batch, unsigned count, store_result result, int error)
{
    for (unsigned i = 0; i < count; i++) {
        batch[i].result = result;
        batch[i].error = error;
    }
}

/* A commit that failed may have left the transaction open. */
static void roll_back(struct sq_writer *writer, int64_t last_id, int64_t stale)
{
    if (sqlite3_get_autocommit(writer->connection.db) == 0)
        sq_run(&writer->connection, SQ_ROLLBACK);
    writer->last_id = last_id;
    writer->stale = stale;
}

/* Whether a failure may be that of one change alone. */
static bool is_of_one(store_result result)
{
    return result == STORE_IO || result == STORE_NO_MEMORY;
}

/* Sets what came of each change. False where nothing was changed since one of them failed, and the
 * others may not. */
static bool run_batch(struct sq_writer *writer, struct sq_change *batch, unsigned count)
{
    int64_t last_id = writer->last_id, stale = writer->stale;
    int code;

    if (!change_all(writer, batch, count, &code)) {
        store_result result = sq_result(&writer->connection, code);
        set_all(batch, count, result, errno);
        roll_back(writer, last_id, stale);
        return !is_of_one(result);
    }
    begin_steps(batch, count);
    code = sq_run(&writer->connection, SQ_COMMIT);
    if (code != SQLITE_DONE) {
        store_result result = commit_result(&writer->connection, code);
        set_all(batch, count, result, errno);
        roll_back(writer, last_id, stale);
    }
    end_steps(batch, count);
    return true;
}

/* A sync in the background failed: earlier changes may be lost, and somebody must hear it. */
static bool tell_of_loss(struct store_sqlite *sqlite, unsigned count)
{
    int failure = atomic_exchange(&sqlite->checkpointer.failure, 0);

    if (failure != 0)
        set_all(sqlite->writer.batch, count, STORE_EARLIER_LOST, failure);
    return failure != 0;
}

static void change_together(struct store_sqlite *sqlite, unsigned count)
{
    struct sq_change *batch = sqlite->writer.batch;

    if (!tell_of_loss(sqlite, count) && !run_batch(&sqlite->writer, batch, count) && count > 1)
        for (unsigned i = 0; i < count; i++)
            run_batch(&sqlite->writer, &batch[i], 1);
    atomic_store(&sqlite->checkpointer.changed, true);
    for (unsigned i = 0; i < count; i++)
        sq_complete(sqlite, batch[i].operation, batch[i].result, batch[i].error);
}

/* ---- the thread ---- */

static void *work(void *argument)
{
    struct store_sqlite *sqlite = argument;
    struct sq_writer *writer = &sqlite->writer;

    pthread_setname_np(pthread_self(), "store writer");
    pthread_mutex_lock(&writer->lock);
    while (wait_for_changes(writer)) {
        unsigned count = take(writer);
        pthread_mutex_unlock(&writer->lock);
        if (count > 0)
            change_together(sqlite, count);
        else
            sq_index_advance(writer, IDLE_ROWS, true);
        if (count > 0 && writer->last_id - writer->indexed > SQ_MAX_BACKLOG - writer->stale)
            sq_index_advance(writer, BEHIND * count, false);
        sq_checkpoint_if_due(sqlite);
        pthread_mutex_lock(&writer->lock);
    }
    pthread_mutex_unlock(&writer->lock);
    return NULL;
}

int sq_writer_start(struct store_sqlite *sqlite)
{
    struct sq_writer *writer = &sqlite->writer;
    store_result result = sq_index_load(writer);

    writer->last = &writer->first;
    writer->log = sqlite->log;
    if (result != STORE_DONE)
        return errno;
    int failure = sq_start_thread(&writer->thread, work, sqlite);
    writer->started = failure == 0;
    return failure;
}

store_operation *sq_writer_stop(struct store_sqlite *sqlite)
{
    struct sq_writer *writer = &sqlite->writer;

    if (!writer->started)
        return NULL;
    pthread_mutex_lock(&writer->lock);
    writer->stopping = true;
    pthread_cond_signal(&writer->wake);
    pthread_mutex_unlock(&writer->lock);
    pthread_join(writer->thread, NULL);
    writer->started = false;
    return writer->first;
}
