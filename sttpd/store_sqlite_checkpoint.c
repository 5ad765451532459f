/* The log is copied into the database by a thread and a connection of their own, which stops
 * nobody. It cannot begin anew before all of it is copied, though, and where changes go on there
 * are always some more: so when the thread has copied most of it, the writer copies the rest
 * between two transactions. The next one begins at the log's start, unless somebody reads what is
 * in it.
 *
 * SQLite syncs the log, and then the database, with each copy. */
#include <errno.h>

#include "sttpd/store_sqlite_private.h"

enum {
    DUE = 4096,  /* pages in the log, from which on it is copied: 16 MiB */
    STEP = 1024, /* pages more where it could not begin anew */
    ROUNDS = 4
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

void sq_checkpoint_if_due(struct store_sqlite *sqlite)
{
    struct sq_checkpointer *checkpointer = &sqlite->checkpointer;

    if (checkpointer->pages < checkpointer->due - STEP)
        checkpointer->due = DUE;
    if (atomic_exchange(&checkpointer->finish, false)) {
        sqlite3_wal_checkpoint_v2(sqlite->writer.connection.db, NULL, SQLITE_CHECKPOINT_PASSIVE,
                                  NULL, NULL);
        checkpointer->is_asked = false;
        checkpointer->due = checkpointer->pages + STEP;
    } else if (checkpointer->pages >= checkpointer->due && !checkpointer->is_asked) {
        checkpointer->is_asked = true;
        wake(checkpointer);
    }
}

/* ---- the thread ---- */

static void note_failure(struct sq_checkpointer *checkpointer)
{
    int error = sq_log_errno(&checkpointer->connection);

    atomic_store(&checkpointer->failure, error != 0 ? error : EIO);
}

/* For STORE_DURABILITY_INTERVAL: syncs the log as SQLite does it for each commit otherwise. */
static void sync_log(struct sq_checkpointer *checkpointer)
{
    sqlite3_file *log = sq_log_file(&checkpointer->connection);

    if (!atomic_exchange(&checkpointer->changed, false))
        return;
    if (log == NULL || log->pMethods->xSync(log, SQLITE_SYNC_NORMAL) != SQLITE_OK)
        note_failure(checkpointer);
}

/* Waits for something to do; false at the end. The lock is held. */
static bool wait_for_work(struct sq_checkpointer *checkpointer, bool syncs)
{
    struct timespec until = sq_time_in(1000);
    int waited = 0;

    while (!checkpointer->wanted && !checkpointer->stopping && waited == 0)
        waited = syncs ? pthread_cond_timedwait(&checkpointer->wake, &checkpointer->lock, &until)
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

static void *work(void *argument)
{
    struct store_sqlite *sqlite = argument;
    struct sq_checkpointer *checkpointer = &sqlite->checkpointer;
    bool syncs = sqlite->durability == STORE_DURABILITY_INTERVAL;

    pthread_setname_np(pthread_self(), "store log");
    pthread_mutex_lock(&checkpointer->lock);
    while (wait_for_work(checkpointer, syncs)) {
        bool wanted = checkpointer->wanted;
        checkpointer->wanted = false;
        pthread_mutex_unlock(&checkpointer->lock);
        if (syncs)
            sync_log(checkpointer);
        if (wanted) {
            int code = copy_most(checkpointer);
            /* The kernel tells of what it has lost but once, whoever syncs. */
            if (syncs && code == SQLITE_IOERR_FSYNC)
                note_failure(checkpointer);
            atomic_store(&checkpointer->finish, true);
        }
        pthread_mutex_lock(&checkpointer->lock);
    }
    pthread_mutex_unlock(&checkpointer->lock);
    if (syncs)
        sync_log(checkpointer);
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
}
