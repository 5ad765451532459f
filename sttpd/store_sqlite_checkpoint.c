/* The log is copied into the database by a thread and a connection of their own, which stops
 * nobody. It cannot begin anew before all of it is copied, though, and where changes go on there
 * are always some more: so when the thread has copied most of it, the writer copies the rest
 * between two transactions. The next one begins at the log's start, unless somebody reads what is
 * in it.
 *
 * SQLite syncs the log, and then the database, with each copy.
 *
 * What a sync has failed to write the kernel may take for written, so that the next one writes
 * nothing and says that all is well: a gap in the log, behind which nothing counts after a crash.
 * So all of the log is written once more before it is synced again, and copied only then. */
#include <errno.h>

#include "sttpd/store_sqlite_private.h"

enum {
    DUE = 4096,  /* pages in the log, from which on it is copied: 16 MiB */
    STEP = 1024, /* pages more where it could not begin anew */
    ROUNDS = 4,
    PART = 16384 /* bytes of the log that are written again at once */
};

/* Called with each commit of the writer. */
static int note_pages(void *context, sqlite3 *db, const char *name, int pages)
{
    struct sq_checkpointer *checkpointer = context;

    (void)db, (void)name;
    checkpointer->pages = pages;
    return SQLITE_OK;
}

static void wake(struct sq_checkpointer *checkpointer)
{
    pthread_mutex_lock(&checkpointer->lock);
    checkpointer->wanted = true;
    pthread_cond_signal(&checkpointer->wake);
    pthread_mutex_unlock(&checkpointer->lock);
}

/* A sync has failed: it is done again, and told where STORE_DURABILITY_INTERVAL promises it. */
static void note_failure(struct store_sqlite *sqlite, struct sq_connection *connection)
{
    struct sq_checkpointer *checkpointer = &sqlite->checkpointer;
    int error = sq_log_errno(connection);

    atomic_store(&checkpointer->is_torn, true);
    atomic_store(&checkpointer->changed, true);
    if (sqlite->durability == STORE_DURABILITY_INTERVAL)
        atomic_store(&checkpointer->failure, error != 0 ? error : EIO);
}

/* The kernel tells of what it has lost but once, whoever syncs. (Where each commit syncs, the one
 * that failed is written anew by the next, and what counts in the log is on disk.) */
static void note_copy(struct store_sqlite *sqlite, struct sq_connection *connection, int code)
{
    if (sqlite->durability != STORE_DURABILITY_ALWAYS && code == SQLITE_IOERR_FSYNC)
        note_failure(sqlite, connection);
}

void sq_checkpoint_if_due(struct store_sqlite *sqlite)
{
    struct sq_checkpointer *checkpointer = &sqlite->checkpointer;
    struct sq_connection *writer = &sqlite->writer.connection;

    if (checkpointer->pages < checkpointer->due - STEP)
        checkpointer->due = DUE;
    if (!atomic_load(&checkpointer->is_torn) && atomic_exchange(&checkpointer->finish, false)) {
        int code =
            sqlite3_wal_checkpoint_v2(writer->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
        note_copy(sqlite, writer, code);
        checkpointer->is_asked = false;
        checkpointer->due = checkpointer->pages + STEP;
    } else if (checkpointer->pages >= checkpointer->due && !checkpointer->is_asked) {
        checkpointer->is_asked = true;
        wake(checkpointer);
    }
}

/* ---- the thread ---- */

/* Writes the log's bytes over themselves. False where it could not. */
static bool write_again(struct sq_connection *connection, sqlite3_file *log)
{
    char part[PART];
    sqlite3_int64 size = 0;
    bool is_done = sq_run(connection, SQ_BEGIN_CHANGE) == SQLITE_DONE && /* nobody else writes */
                   log->pMethods->xFileSize(log, &size) == SQLITE_OK;

    for (sqlite3_int64 at = 0; is_done && at < size; at += PART) {
        int bytes = size - at < PART ? (int)(size - at) : PART;
        is_done = log->pMethods->xRead(log, part, bytes, at) == SQLITE_OK &&
                  log->pMethods->xWrite(log, part, bytes, at) == SQLITE_OK;
    }
    if (sqlite3_get_autocommit(connection->db) == 0)
        sq_run(connection, SQ_ROLLBACK);
    return is_done;
}

/* Syncs the log as SQLite does it for each commit otherwise: for STORE_DURABILITY_INTERVAL, and
 * where it is torn. */
static void sync_log(struct store_sqlite *sqlite)
{
    struct sq_checkpointer *checkpointer = &sqlite->checkpointer;
    struct sq_connection *connection = &checkpointer->connection;
    sqlite3_file *log = sq_log_file(connection);

    if (!atomic_exchange(&checkpointer->changed, false))
        return;
    bool was_torn = atomic_load(&checkpointer->is_torn);
    if (log == NULL || (was_torn && !write_again(connection, log)) ||
        log->pMethods->xSync(log, SQLITE_SYNC_NORMAL) != SQLITE_OK)
        note_failure(sqlite, connection);
    else if (was_torn)
        atomic_store(&checkpointer->is_torn, false);
}

/* A log that is torn is not copied. The lock is held. */
static bool may_copy(struct sq_checkpointer *checkpointer)
{
    return checkpointer->wanted && !atomic_load(&checkpointer->is_torn);
}

static bool is_to_sync(const struct store_sqlite *sqlite)
{
    return sqlite->durability == STORE_DURABILITY_INTERVAL ||
           atomic_load(&sqlite->checkpointer.is_torn);
}

/* Waits for something to do; false at the end. The lock is held. */
static bool wait_for_work(struct store_sqlite *sqlite)
{
    struct sq_checkpointer *checkpointer = &sqlite->checkpointer;
    struct timespec until = sq_time_in(1000);
    int waited = 0;

    while (!may_copy(checkpointer) && !checkpointer->stopping && waited == 0)
        waited = is_to_sync(sqlite)
                     ? pthread_cond_timedwait(&checkpointer->wake, &checkpointer->lock, &until)
                     : pthread_cond_wait(&checkpointer->wake, &checkpointer->lock);
    return !checkpointer->stopping;
}

/* What came while the log was copied is copied, too, so that little is left for the writer.
 * SQLITE_OK or an error. */
static int copy_most(struct sq_checkpointer *checkpointer)
{
    int before, code = SQLITE_OK, copied = 0;

    for (int i = 0; i < ROUNDS; i++) {
        before = copied;
        code = sqlite3_wal_checkpoint_v2(checkpointer->connection.db, NULL,
                                         SQLITE_CHECKPOINT_PASSIVE, NULL, &copied);
        if (code != SQLITE_OK || copied - before < STEP)
            break;
    }
    return code;
}

static void copy_if_wanted(struct store_sqlite *sqlite)
{
    struct sq_checkpointer *checkpointer = &sqlite->checkpointer;

    pthread_mutex_lock(&checkpointer->lock);
    bool copies = may_copy(checkpointer);
    pthread_mutex_unlock(&checkpointer->lock);
    if (!copies)
        return;
    note_copy(sqlite, &checkpointer->connection, copy_most(checkpointer));
    if (atomic_load(&checkpointer->is_torn))
        return;
    pthread_mutex_lock(&checkpointer->lock);
    checkpointer->wanted = false;
    pthread_mutex_unlock(&checkpointer->lock);
    atomic_store(&checkpointer->finish, true);
}

static void *work(void *argument)
{
    struct store_sqlite *sqlite = argument;
    struct sq_checkpointer *checkpointer = &sqlite->checkpointer;

    pthread_setname_np(pthread_self(), "store log");
    pthread_mutex_lock(&checkpointer->lock);
    while (wait_for_work(sqlite)) {
        pthread_mutex_unlock(&checkpointer->lock);
        if (is_to_sync(sqlite))
            sync_log(sqlite);
        copy_if_wanted(sqlite);
        pthread_mutex_lock(&checkpointer->lock);
    }
    pthread_mutex_unlock(&checkpointer->lock);
    if (is_to_sync(sqlite))
        sync_log(sqlite);
    return NULL;
}

int sq_checkpointer_start(struct store_sqlite *sqlite)
{
    struct sq_checkpointer *checkpointer = &sqlite->checkpointer;
    int64_t version;
    int code = sq_connection_open(&checkpointer->connection, sqlite, false);

    /* It has no log before it has read something. */
    if (code == SQLITE_OK)
        code = sq_number(&checkpointer->connection, "PRAGMA user_version", &version);
    if (code != SQLITE_OK) {
        sq_result(&checkpointer->connection, code);
        return errno;
    }
    checkpointer->due = DUE;
    sqlite3_wal_hook(sqlite->writer.connection.db, note_pages, checkpointer);
    int failure = sq_start_thread(&checkpointer->thread, work, sqlite);
    checkpointer->started = failure == 0;
    return failure;
}

void sq_checkpointer_stop(struct store_sqlite *sqlite)
{
    struct sq_checkpointer *checkpointer = &sqlite->checkpointer;

    if (!checkpointer->started)
        return;
    pthread_mutex_lock(&checkpointer->lock);
    checkpointer->stopping = true;
    pthread_cond_signal(&checkpointer->wake);
    pthread_mutex_unlock(&checkpointer->lock);
    pthread_join(checkpointer->thread, NULL);
    checkpointer->started = false;
    /* The last connection that is closed copies the log, unless that is torn. */
    if (atomic_load(&checkpointer->is_torn))
        sqlite3_db_config(sqlite->writer.connection.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
}
