/* What the files of the SQLite store share. Convention: a function that returns a store_result of
 * a failure leaves its errno, or 0 where there is none that says more. */
#ifndef STTPD_STORE_SQLITE_PRIVATE_H
#define STTPD_STORE_SQLITE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#include "sttpd/path_queue.h"
#include "sttpd/pool.h"
#include "sttpd/store_sqlite.h"

/* A database of at most so many bytes is read through for damage when it is opened. */
#define SQ_WHOLE_CHECK (INT64_C(128) << 20)

enum {
    SQ_APPLICATION = 0x53545450, /* "STTP", in the file's header */
    SQ_VERSION = 2,              /* of the schema */
    SQ_BUSY_TIMEOUT =
        10000,      /* milliseconds, about, to wait for other programs that have the database */
    SQ_BATCH = 512, /* changes in one transaction, at most */
    SQ_MAX_ROWS = 1000000,           /* that one LIST with q or recursive may look at */
    SQ_MAX_BACKLOG = 500000,         /* rows that a search may have to look at beside the index */
    SQ_PATH_ROOM = STTP_MAX_PATH + 2 /* a path and a slash, or what comes next in its order */
};

/* The statements: see store_sqlite_connection.c. */
enum sq_statement {
    SQ_BEGIN,
    SQ_BEGIN_CHANGE,
    SQ_COMMIT,
    SQ_ROLLBACK,
    SQ_FIND,
    SQ_TEXT,
    SQ_CREATE,
    SQ_UPDATE,
    SQ_DELETE,
    SQ_KEEP_STALE,
    SQ_NAMES,
    SQ_TEXTS,
    SQ_MATCHES,
    SQ_SAMPLE,
    SQ_NOT_INDEXED,
    SQ_CHANGED,
    SQ_INDEXED,
    SQ_SET_INDEXED,
    SQ_LAST_ID,
    SQ_NEXT_STALE,
    SQ_REMOVE_STALE,
    SQ_NEXT_NEW,
    SQ_INDEX_ADD,
    SQ_INDEX_REMOVE,
    SQ_STATEMENTS
};

/* Used by one thread at a time. */
struct sq_connection {
    sqlite3 *db;
    sqlite3_stmt *statements[SQ_STATEMENTS]; /* prepared when they are needed first */
    struct sq_connection *next;              /* of the readers that nobody uses */
    bool is_large;                           /* it keeps much of the database in memory */
};

/* A change on its way through the writer. */
struct sq_change {
    store_operation *operation;
    store_result result;
    int error;    /* errno of a failure */
    size_t made;  /* of CREATE: see store_operation */
    bool changes; /* the database, when the transaction commits */
};

/* The thread that makes all changes. */
struct sq_writer {
    pthread_t thread;
    bool started;
    struct sq_connection connection;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;  /* on CLOCK_MONOTONIC */
    store_operation *first;
    store_operation **last;
    bool stopping;
    bool sleeping;
    atomic_uint waiting; /* operations; may be read without the lock */
    /* The thread's own. */
    int64_t last_id;            /* of the rows; those of a transaction that failed are used again */
    int64_t indexed;            /* rows up to this id are in the index */
    int64_t stale;              /* rows whose entry in the index is of an older text; about */
    int64_t index_paused_until; /* milliseconds of sq_milliseconds, since it failed */
    log_sink *log;
    struct sq_change batch[SQ_BATCH];
};

/* The thread that copies the log into the database, and syncs it for STORE_DURABILITY_INTERVAL. */
struct sq_checkpointer {
    pthread_t thread;
    bool started;
    struct sq_connection connection;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;  /* on CLOCK_MONOTONIC */
    bool stopping;
    bool wanted;
    atomic_bool changed; /* since the last sync */
    atomic_bool is_torn; /* a sync failed: the log is to be written again, and not copied before */
    atomic_int failure;  /* errno of a sync, until a change has told it */
    atomic_bool finish;  /* the writer is to copy what is left */
    /* The writer's own. */
    int pages;     /* in the log */
    int due;       /* pages at which a copy is wanted */
    bool is_asked; /* for one */
};

struct store_sqlite {
    store base; /* first: a store * of this kind is a struct store_sqlite * */
    char *path; /* without links */
    int lock;   /* a descriptor of the database, locked against other servers */
    enum store_durability durability;
    pool *pool;
    path_queue *paths;
    atomic_bool closing;
    log_sink *log;
    pthread_mutex_t readers_lock;
    struct sq_connection *readers; /* that nobody uses */
    atomic_uint opened;            /* of them, ever */
    struct sq_writer writer;
    struct sq_checkpointer checkpointer;
};

/* ---- store_sqlite_connection.c: connections and statements ---- */

/* What a result code of SQLite means where nothing was changed; sets errno. */
store_result sq_result(struct sq_connection *connection, int code);

/* The same of an errno. */
store_result sq_system_result(int error);

/* The log of a connection that has read from it; NULL where there is none. */
sqlite3_file *sq_log_file(struct sq_connection *connection);

/* The errno of the log's last failure: SQLite keeps none of a commit. 0 where there was none. */
int sq_log_errno(struct sq_connection *connection);

/* Opens the database, which is there. SQLITE_OK or SQLite's code; what was opened is to be closed
 * in either case. `large`: it keeps more of the database in memory. */
int sq_connection_open(struct sq_connection *connection, const struct store_sqlite *sqlite,
                       bool large);
void sq_connection_close(struct sq_connection *connection);

/* Runs SQL that is not among the statements. */
int sq_execute(struct sq_connection *connection, const char *sql);

/* The number that a statement's first row begins with; `*number` stays where there is no row. */
int sq_number(struct sq_connection *connection, const char *sql, int64_t *number);

/* A statement with nothing bound, to be reset after use; NULL where it cannot be prepared: then
 * sqlite3_errcode says why. */
sqlite3_stmt *sq_prepared(struct sq_connection *connection, enum sq_statement statement);

/* Binds a text that stays until the statement is reset. Parameters are counted from 1. */
int sq_bind(sqlite3_stmt *statement, int parameter, sttp_slice text);

/* A text of the current row; data is NULL where it is not a text, or memory is out. */
sttp_slice sq_column(sqlite3_stmt *statement, int column);

/* Steps a statement that gives no rows, and resets it. SQLITE_DONE or an error. */
int sq_step(sqlite3_stmt *statement);

/* Runs a statement without parameters and rows. SQLITE_DONE or an error. */
int sq_run(struct sq_connection *connection, enum sq_statement statement);

/* The number that a statement without parameters gives; 0 where it is NULL. STORE_DONE or a
 * failure. */
store_result sq_read_number(struct sq_connection *connection, enum sq_statement statement,
                            int64_t *number);

/* The id of the row of a path; 0 where there is none. STORE_DONE or a failure. */
store_result sq_find(struct sq_connection *connection, sttp_slice path, int64_t *id);

/* ---- store_sqlite_thread.c ---- */

/* A condition on CLOCK_MONOTONIC; 0 or an errno. */
int sq_init_condition(pthread_cond_t *condition);

/* Starts a thread with all signals blocked; 0 or an errno. */
int sq_start_thread(pthread_t *thread, void *(*run)(void *), void *context);

/* Of CLOCK_MONOTONIC. */
int64_t sq_milliseconds(void);
struct timespec sq_time_in(long milliseconds);

/* ---- store_sqlite_path.c: paths as rows have them ---- */

/* "/a/b" and "/a/b/", and the directory above, "/a/", "/" for what is in the root. */
struct sq_path {
    char text[SQ_PATH_ROOM];
    sttp_slice file;
    sttp_slice directory;
    sttp_slice parent;
};

void sq_path_set(struct sq_path *path, sttp_slice text);

/* The root has no row and is always there. */
bool sq_is_root(sttp_slice path);

/* Why there is no row of the kind that was asked for (see `sq_path`): STORE_NOT_FOUND,
 * STORE_PATH_NOT_FOUND, STORE_IS_DIRECTORY, or for `directory` STORE_IS_FILE; or a failure. */
store_result sq_explain(struct sq_connection *connection, const struct sq_path *path,
                        bool directory);

/* ---- store_sqlite_schema.c ---- */

/* Creates the file where it is not there and locks it. False with one line about it. */
bool sq_lock(struct store_sqlite *sqlite, const char *path, char *error, size_t capacity);

/* Checks the database and brings it up to date. False with one line about it. */
bool sq_prepare_database(struct store_sqlite *sqlite, struct sq_connection *connection, char *error,
                         size_t capacity);

/* ---- store_sqlite_read.c ---- */

store_result sq_show(struct sq_connection *connection, store_operation *operation);

/* ---- store_sqlite_list.c, store_sqlite_search.c ---- */

store_result sq_list(struct store_sqlite *sqlite, struct sq_connection *connection,
                     store_operation *operation);

/* ---- store_sqlite_change.c ---- */

/* Begins a transaction of the writer. Somebody else may have added rows since the last one: their
 * ids are taken. SQLITE_DONE or an error; then it may have begun. */
int sq_begin_change(struct sq_writer *writer);

/* Makes a change in the transaction of the writer. False where the database failed: sq_result says
 * how, and the transaction is to be rolled back; else the change's result is set. */
bool sq_change(struct sq_writer *writer, struct sq_change *change, int *code);

/* ---- store_sqlite_writer.c ---- */

/* 0, or an errno. */
int sq_writer_start(struct store_sqlite *sqlite);

/* False where it stops. */
bool sq_writer_add(struct sq_writer *writer, store_operation *operation);

/* Waits for the changes under way; returns those that have not begun, linked by `next`. */
store_operation *sq_writer_stop(struct store_sqlite *sqlite);

/* ---- store_sqlite_index.c: the index for search ---- */

/* Reads how far it goes. STORE_DONE or a failure. */
store_result sq_index_load(struct sq_writer *writer);

/* Whether rows wait for it. */
bool sq_index_is_behind(const struct sq_writer *writer);

/* One transaction that indexes at most so many rows; fewer where it `yields` and changes come. */
void sq_index_advance(struct sq_writer *writer, unsigned rows, bool yields);

/* ---- store_sqlite_checkpoint.c ---- */

/* 0, or an errno. */
int sq_checkpointer_start(struct store_sqlite *sqlite);
void sq_checkpointer_stop(struct store_sqlite *sqlite);

/* Called by the writer between its transactions. */
void sq_checkpoint_if_due(struct store_sqlite *sqlite);

/* ---- store_sqlite.c ---- */

/* Ends an operation, and lets others that wait for its path begin. */
void sq_complete(struct store_sqlite *sqlite, store_operation *operation, store_result result,
                 int error);

#endif
