/* Connections and their statements. Each connection belongs to one thread at a time, so that
 * SQLite's own mutexes are not needed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sttpd/store_sqlite_private.h"

/* A directory's own path ends with a slash; its text is NULL. What is in a directory stands between
 * its path and that with the slash's successor in place of the slash. */
static const char *const statements[SQ_STATEMENTS] = {
    [SQ_BEGIN] = "BEGIN",
    [SQ_BEGIN_CHANGE] = "BEGIN IMMEDIATE",
    [SQ_COMMIT] = "COMMIT",
    [SQ_ROLLBACK] = "ROLLBACK",
    [SQ_FIND] = "SELECT id FROM entry WHERE path = ?1",
    [SQ_TEXT] = "SELECT text FROM entry WHERE path = ?1",
    [SQ_CREATE] = "INSERT INTO entry (id, path, text) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    [SQ_UPDATE] = "UPDATE entry SET text = ?2 WHERE id = ?1",
    [SQ_DELETE] = "DELETE FROM entry WHERE id = ?1",
    [SQ_KEEP_STALE] = "INSERT INTO stale (id, text) SELECT id, text FROM entry WHERE id = ?1 "
                      "ON CONFLICT DO NOTHING",
    [SQ_NAMES] = "SELECT path FROM entry WHERE path >= ?1 AND path < ?2 ORDER BY path",
    [SQ_TEXTS] = "SELECT path, text FROM entry WHERE path >= ?1 AND path < ?2 ORDER BY path",
    [SQ_MATCHES] = "SELECT entry.path, entry.text FROM search CROSS JOIN entry "
                   "ON entry.id = search.rowid WHERE search MATCH ?1",
    [SQ_SAMPLE] = "SELECT text FROM entry WHERE id <= (SELECT indexed FROM progress) "
                  "ORDER BY id DESC LIMIT 32",
    [SQ_NOT_INDEXED] = "SELECT path, text FROM entry "
                       "WHERE id > (SELECT indexed FROM progress)",
    [SQ_CHANGED] = "SELECT entry.path, entry.text FROM stale CROSS JOIN entry "
                   "ON entry.id = stale.id",
    [SQ_INDEXED] = "SELECT indexed FROM progress",
    [SQ_SET_INDEXED] = "UPDATE progress SET indexed = ?1",
    [SQ_LAST_ID] = "SELECT max(id) FROM entry",
    [SQ_NEXT_STALE] = "SELECT stale.id, stale.text, entry.text FROM stale LEFT JOIN entry "
                      "ON entry.id = stale.id ORDER BY stale.id LIMIT 1",
    [SQ_REMOVE_STALE] = "DELETE FROM stale WHERE id = ?1",
    [SQ_NEXT_NEW] = "SELECT id, text FROM entry WHERE id > ?1 ORDER BY id LIMIT 1",
    [SQ_INDEX_ADD] = "INSERT INTO search (rowid, text) VALUES (?1, ?2)",
    [SQ_INDEX_REMOVE] = "INSERT INTO search (search, rowid, text) VALUES ('delete', ?1, ?2)",
};

static store_result with_errno(store_result result, int error)
{
    errno = error;
    return result;
}

store_result sq_system_result(int error)
{
    switch (error) {
    case ENOSPC:
        return with_errno(STORE_NO_SPACE, error);
    case EDQUOT:
        return with_errno(STORE_QUOTA, error);
    case EROFS:
        return with_errno(STORE_READ_ONLY, error);
    case EACCES:
    case EPERM:
        return with_errno(STORE_DENIED, error);
    case ENOMEM:
        return with_errno(STORE_NO_MEMORY, error);
    case EMFILE:
    case ENFILE:
        return with_errno(STORE_NO_DESCRIPTORS, error);
    default:
        return with_errno(STORE_IO, error != 0 ? error : EIO);
    }
}

store_result sq_result(struct sq_connection *connection, int code)
{
    if (code == SQLITE_IOERR_NOMEM)
        return sq_system_result(ENOMEM);
    switch (code & 0xff) {
    case SQLITE_NOMEM:
        return sq_system_result(ENOMEM);
    case SQLITE_FULL:
        return sq_system_result(ENOSPC);
    case SQLITE_READONLY:
        return sq_system_result(EROFS);
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return sq_system_result(EACCES);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return with_errno(STORE_BUSY, EBUSY);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return sq_system_result(EUCLEAN);
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        return sq_system_result(connection->db != NULL ? sqlite3_system_errno(connection->db) : 0);
    default:
        return sq_system_result(EIO);
    }
}

sqlite3_file *sq_log_file(struct sq_connection *connection)
{
    sqlite3_file *log = NULL;
    int code = sqlite3_file_control(connection->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);

    return code == SQLITE_OK && log != NULL && log->pMethods != NULL ? log : NULL;
}

int sq_log_errno(struct sq_connection *connection)
{
    int error = 0;
    sqlite3_file *log = sq_log_file(connection);

    if (log != NULL)
        log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &error);
    return error;
}

/* What a database may hold that others have written does nothing: no triggers, no views. */
static void distrust(sqlite3 *db)
{
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
}

/* Looks for the lock once a millisecond. SQLite's own handler does so ever less often, and comes
 * too late again and again where another program takes it without end. */
static int wait_for_lock(void *context, int tries)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    (void)context;
    if (tries >= SQ_BUSY_TIMEOUT)
        return 0;
    nanosleep(&pause, NULL);
    return 1;
}

int sq_connection_open(struct sq_connection *connection, const struct store_sqlite *sqlite,
                       bool large)
{
    static const char settings[] = "PRAGMA wal_autocheckpoint = 0;"
                                   "PRAGMA temp_store = MEMORY;";
    bool always = sqlite->durability == STORE_DURABILITY_ALWAYS;
    int code = sqlite3_open_v2(sqlite->path, &connection->db,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);

    if (code != SQLITE_OK)
        return code;
    connection->is_large = large;
    sqlite3_extended_result_codes(connection->db, 1);
    sqlite3_busy_handler(connection->db, wait_for_lock, NULL);
    distrust(connection->db);
    code = sq_execute(connection, settings);
    if (code == SQLITE_OK) /* in KiB */
        code = sq_execute(connection,
                          large ? "PRAGMA cache_size = -16384" : "PRAGMA cache_size = -1024");
    if (code == SQLITE_OK)
        code = sq_execute(connection,
                          always ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
    return code;
}

void sq_connection_close(struct sq_connection *connection)
{
    for (int i = 0; i < SQ_STATEMENTS; i++)
        sqlite3_finalize(connection->statements[i]);
    sqlite3_close(connection->db);
    *connection = (struct sq_connection){.db = NULL};
}

int sq_execute(struct sq_connection *connection, const char *sql)
{
    return sqlite3_exec(connection->db, sql, NULL, NULL, NULL);
}

int sq_number(struct sq_connection *connection, const char *sql, int64_t *number)
{
    sqlite3_stmt *statement;
    int code = sqlite3_prepare_v2(connection->db, sql, -1, &statement, NULL);

    if (code != SQLITE_OK)
        return code;
    if (sqlite3_step(statement) == SQLITE_ROW)
        *number = sqlite3_column_int64(statement, 0);
    return sqlite3_finalize(statement);
}

sqlite3_stmt *sq_prepared(struct sq_connection *connection, enum sq_statement statement)
{
    sqlite3_stmt **prepared = &connection->statements[statement];

    if (*prepared == NULL)
        sqlite3_prepare_v3(connection->db, statements[statement], -1, SQLITE_PREPARE_PERSISTENT,
                           prepared, NULL);
    return *prepared;
}

int sq_bind(sqlite3_stmt *statement, int parameter, sttp_slice text)
{
    return sqlite3_bind_text(statement, parameter, text.size > 0 ? text.data : "", (int)text.size,
                             SQLITE_STATIC);
}

sttp_slice sq_column(sqlite3_stmt *statement, int column)
{
    sttp_slice text = {NULL, 0};

    if (sqlite3_column_type(statement, column) != SQLITE_TEXT)
        return text;
    text.data = (const char *)sqlite3_column_text(statement, column);
    text.size = text.data != NULL ? (size_t)sqlite3_column_bytes(statement, column) : 0;
    return text;
}

int sq_step(sqlite3_stmt *statement)
{
    int code = sqlite3_step(statement);

    sqlite3_reset(statement);
    return code;
}

int sq_run(struct sq_connection *connection, enum sq_statement statement)
{
    sqlite3_stmt *prepared = sq_prepared(connection, statement);

    return prepared != NULL ? sq_step(prepared) : sqlite3_extended_errcode(connection->db);
}

store_result sq_read_number(struct sq_connection *connection, enum sq_statement statement,
                            int64_t *number)
{
    sqlite3_stmt *prepared = sq_prepared(connection, statement);

    if (prepared == NULL)
        return sq_result(connection, sqlite3_extended_errcode(connection->db));
    int code = sqlite3_step(prepared);
    *number = code == SQLITE_ROW ? sqlite3_column_int64(prepared, 0) : 0;
    sqlite3_reset(prepared);
    if (code == SQLITE_DONE)
        code = SQLITE_CORRUPT; /* there is one always */
    return code == SQLITE_ROW ? STORE_DONE : sq_result(connection, code);
}

store_result sq_find(struct sq_connection *connection, sttp_slice path, int64_t *id)
{
    sqlite3_stmt *statement = sq_prepared(connection, SQ_FIND);

    *id = 0;
    if (statement == NULL)
        return sq_result(connection, sqlite3_extended_errcode(connection->db));
    sq_bind(statement, 1, path);
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        *id = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE ? STORE_DONE : sq_result(connection, code);
}
