/* The database file: whether it may be used, and how it came to be as it is.
 *
 *     entry     all files and directories. A directory's path has its final slash, so that their
 *               order is that of listings, and what is below a directory is one piece of it.
 *               An id is never given twice.
 *     search    an index of the trigrams of all texts whose id is at most progress.indexed; its
 *               entries are found by id, and are of the text that `stale` has, where it has one
 *     stale     rows of these that were changed or deleted since, with the text that was indexed */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sttpd/store_sqlite_private.h"

/* What leads from each version to the next. */
static const char *const upgrades[SQ_VERSION] = {
    "CREATE TABLE entry (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, text TEXT) STRICT;",
    "CREATE VIRTUAL TABLE search USING fts5 (text, content = '', columnsize = 0, detail = none,"
    " tokenize = 'trigram');"
    "CREATE TABLE stale (id INTEGER PRIMARY KEY, text TEXT) STRICT;"
    "CREATE TABLE progress (indexed INTEGER NOT NULL) STRICT;"
    "INSERT INTO progress VALUES (0);",
};

/* ---- the file ---- */

__attribute__((format(printf, 4, 5))) static bool fail(const char *path, char *error,
                                                       size_t capacity, const char *format, ...)
{
    va_list arguments;
    int size = snprintf(error, capacity, "database %s: ", path);

    va_start(arguments, format);
    if (size > 0 && (size_t)size < capacity)
        vsnprintf(error + size, capacity - (size_t)size, format, arguments);
    va_end(arguments);
    return false;
}

static const char *advice_of(int error)
{
    switch (error) {
    case ENOENT:
        return "create the directory that it is to be in, or set storage.sqlite.path";
    case EISDIR:
    case ENOTDIR:
        return "set storage.sqlite.path to a file";
    case EACCES:
    case EROFS:
        return "let the server's user write to it and to its directory";
    default:
        return "see whether its file system works";
    }
}

bool sq_lock(struct store_sqlite *sqlite, const char *path, char *error, size_t capacity)
{
    struct stat status;

    sqlite->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
    if (sqlite->lock == -1 || fstat(sqlite->lock, &status) == -1)
        return fail(path, error, capacity, "%s; %s", strerror(errno), advice_of(errno));
    if (!S_ISREG(status.st_mode))
        return fail(path, error, capacity, "is no file; set storage.sqlite.path to a file");
    if (flock(sqlite->lock, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK)
        return fail(path, error, capacity,
                    "another server uses it; stop that one or set storage.sqlite.path to another "
                    "file");
    /* SQLite takes links and some names for more than they are. */
    sqlite->path = realpath(path, NULL);
    if (sqlite->path == NULL)
        return fail(path, error, capacity, "%s; %s", strerror(errno), advice_of(errno));
    return true;
}

/* ---- checks ---- */

/* One line about a failure of SQLite. */
static bool fail_by_code(const struct store_sqlite *sqlite, struct sq_connection *connection,
                         int code, char *error, size_t capacity)
{
    if ((code & 0xff) == SQLITE_NOTADB)
        return fail(sqlite->path, error, capacity,
                    "is no SQLite database, or its header is damaged; set storage.sqlite.path to "
                    "another file or restore it");
    if ((code & 0xff) == SQLITE_CORRUPT)
        return fail(sqlite->path, error, capacity, "is damaged (%s); restore it from a copy",
                    sqlite3_errmsg(connection->db));
    sq_result(connection, code);
    return fail(sqlite->path, error, capacity, "%s (%s); %s", strerror(errno), sqlite3_errstr(code),
                advice_of(errno));
}

/* What the file's header says it is. `version` is -1 where nothing is in it. */
struct identity {
    int64_t application;
    int64_t version;
    int64_t tables;
    int64_t pages;
    int64_t page_size;
};

static int identify(struct sq_connection *connection, struct identity *found)
{
    struct {
        const char *sql;
        int64_t *number;
    } const questions[] = {
        {"PRAGMA application_id", &found->application},
        {"PRAGMA user_version", &found->version},
        {"PRAGMA page_count", &found->pages},
        {"PRAGMA page_size", &found->page_size},
        {"SELECT count(*) FROM sqlite_schema", &found->tables},
    };
    int code = SQLITE_OK;

    for (size_t i = 0; i < sizeof questions / sizeof *questions && code == SQLITE_OK; i++)
        code = sq_number(connection, questions[i].sql, questions[i].number);
    return code;
}

static bool check_identity(const struct store_sqlite *sqlite, const struct identity *found,
                           char *error, size_t capacity)
{
    bool is_new = found->application == 0 && found->version == 0 && found->tables == 0;

    if (is_new)
        return true;
    if (found->application != SQ_APPLICATION || found->version < 1)
        return fail(sqlite->path, error, capacity,
                    "is the database of another program; set storage.sqlite.path to another file");
    if (found->version > SQ_VERSION)
        return fail(sqlite->path, error, capacity,
                    "is of version %lld, and this sttpd knows versions up to %d; use the sttpd "
                    "that made it, or a newer one",
                    (long long)found->version, SQ_VERSION);
    return true;
}

/* Reads all of it where that does not take long; else SQLite finds damage when it comes to it. */
static bool check_health(const struct store_sqlite *sqlite, struct sq_connection *connection,
                         const struct identity *found, char *error, size_t capacity)
{
    sqlite3_stmt *statement;
    sttp_slice verdict = {NULL, 0};

    if (found->pages * found->page_size > SQ_WHOLE_CHECK)
        return true;
    int code = sqlite3_prepare_v2(connection->db, "PRAGMA quick_check(1)", -1, &statement, NULL);
    if (code != SQLITE_OK)
        return fail_by_code(sqlite, connection, code, error, capacity);
    if (sqlite3_step(statement) == SQLITE_ROW)
        verdict = sq_column(statement, 0);
    bool is_good = verdict.size == 2 && memcmp(verdict.data, "ok", 2) == 0;
    if (!is_good && verdict.data != NULL)
        fail(sqlite->path, error, capacity, "is damaged (%.*s); restore it from a copy",
             (int)strcspn(verdict.data, "\n"), verdict.data);
    code = sqlite3_finalize(statement);
    if (!is_good && verdict.data == NULL)
        fail_by_code(sqlite, connection, code, error, capacity);
    return is_good;
}

/* ---- upgrades ---- */

static int apply(struct sq_connection *connection, int64_t version)
{
    char mark[96];
    int code = SQLITE_OK;

    for (; version < SQ_VERSION && code == SQLITE_OK; version++)
        code = sq_execute(connection, upgrades[version]);
    snprintf(mark, sizeof mark, "PRAGMA application_id = %d; PRAGMA user_version = %d",
             SQ_APPLICATION, SQ_VERSION);
    return code == SQLITE_OK ? sq_execute(connection, mark) : code;
}

/* In one transaction: after a failure everything is as it was. */
static int upgrade(struct sq_connection *connection, int64_t version)
{
    int code = sq_execute(connection, "BEGIN IMMEDIATE");

    if (code == SQLITE_OK)
        code = apply(connection, version);
    if (code == SQLITE_OK)
        code = sq_execute(connection, "COMMIT");
    if (sqlite3_get_autocommit(connection->db) == 0)
        sq_execute(connection, "ROLLBACK");
    return code;
}

/* The log is what lets readers and the writer go on at the same time. */
static bool use_log(const struct store_sqlite *sqlite, struct sq_connection *connection,
                    char *error, size_t capacity)
{
    sqlite3_stmt *statement;
    bool is_used = false;
    int code =
        sqlite3_prepare_v2(connection->db, "PRAGMA journal_mode = WAL", -1, &statement, NULL);

    if (code == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) {
        sttp_slice mode = sq_column(statement, 0);
        is_used = mode.size == 3 && memcmp(mode.data, "wal", 3) == 0;
    }
    if (code == SQLITE_OK)
        code = sqlite3_finalize(statement);
    if (code != SQLITE_OK)
        return fail_by_code(sqlite, connection, code, error, capacity);
    return is_used || fail(sqlite->path, error, capacity,
                           "its file system has no shared memory, which SQLite's log needs; set "
                           "storage.sqlite.path to a local one");
}

bool sq_prepare_database(struct store_sqlite *sqlite, struct sq_connection *connection, char *error,
                         size_t capacity)
{
    struct identity found = {.application = 0};
    int code = sq_connection_open(connection, sqlite, true);

    if (code == SQLITE_OK)
        code = identify(connection, &found);
    if (code != SQLITE_OK)
        return fail_by_code(sqlite, connection, code, error, capacity);
    if (!check_identity(sqlite, &found, error, capacity) ||
        !check_health(sqlite, connection, &found, error, capacity) ||
        !use_log(sqlite, connection, error, capacity))
        return false;
    if (found.version == SQ_VERSION)
        return true;
    code = upgrade(connection, found.version);
    return code == SQLITE_OK || fail_by_code(sqlite, connection, code, error, capacity);
}
