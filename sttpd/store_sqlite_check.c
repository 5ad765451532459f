/* Looks at the file as SQLite does, at all rows, and at the index for search, each as it is at one
 * moment. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sttpd/store_sqlite.h"
#include "sttpd/store_sqlite_private.h"

/* In SQLite's words: one row says "ok", or each says what is wrong with the file. */
static const char integrity[] = "PRAGMA integrity_check";

/* What is left of a path without its final slash and then without all behind the last slash is the
 * directory that it is in. The root has no row. */
static const char rows[] =
    "SELECT path, text IS NOT NULL, parent = '/' OR"
    " EXISTS (SELECT 1 FROM entry AS above WHERE above.path = parent)"
    " FROM (SELECT path, text, rtrim(bare, replace(bare, '/', '')) AS parent FROM"
    " (SELECT path, text, rtrim(path, '/') AS bare FROM entry))";

/* FTS5 looks at its index. It is told so by an INSERT, which writes nothing. */
static const char index_integrity[] = "INSERT INTO search (search) VALUES ('integrity-check')";

/* All pairs of a trigram and a row that has it. The rows are collected in a file: there may be more
 * than fit into memory. */
static const char index_rows[] =
    "PRAGMA temp_store = FILE;"
    "CREATE VIRTUAL TABLE temp.pair USING fts5vocab ('main', 'search', 'instance')";

/* A text of fewer characters has no trigram. */
static const char not_indexed[] =
    "SELECT count(*) FROM entry WHERE id <= (SELECT indexed FROM progress)"
    " AND length(text) >= 3 AND id NOT IN (SELECT id FROM stale)"
    " AND id NOT IN (SELECT doc FROM temp.pair)";

#define ADVICE "searches miss texts; sttpd-admin copy to a new database makes a new one"

static void check_file_row(sqlite3_stmt *row, const struct store_checker *checker)
{
    const char *words = (const char *)sqlite3_column_text(row, 0);

    if (words != NULL && strcmp(words, "ok") != 0)
        checker->found(checker->context, STTP_SLICE("the database"), words);
}

static void check_entry(sqlite3_stmt *row, const struct store_checker *checker)
{
    sttp_slice path = sq_column(row, 0);
    struct store_row found = {
        .path = path,
        .is_directory = path.size > 0 && path.data[path.size - 1] == '/',
        .has_text = sqlite3_column_int(row, 1) != 0,
        .has_parent = sqlite3_column_int(row, 2) != 0,
    };

    store_check_row(checker, &found);
}

/* SQLITE_OK where all rows of a query were looked at. */
static int check_all(sqlite3 *db, const char *query, const struct store_checker *checker,
                     void (*check)(sqlite3_stmt *row, const struct store_checker *checker))
{
    sqlite3_stmt *statement;
    int code = sqlite3_prepare_v2(db, query, -1, &statement, NULL);

    if (code != SQLITE_OK)
        return code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW)
        check(statement, checker);
    sqlite3_finalize(statement);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

static void found_in_index(const struct store_checker *checker, const char *what)
{
    checker->found(checker->context, STTP_SLICE("the index for search"), what);
}

/* SQLITE_OK where it could be looked at. */
static int check_index(struct sq_connection *connection, const struct store_checker *checker)
{
    char what[64 + sizeof ADVICE];
    int64_t missing = 0;
    int code = sq_execute(connection, index_integrity);

    if (code == SQLITE_OK)
        code = sq_execute(connection, index_rows);
    if (code == SQLITE_OK)
        code = sq_number(connection, not_indexed, &missing);
    if ((code & 0xff) == SQLITE_CORRUPT) {
        found_in_index(checker, "is damaged: " ADVICE);
        return SQLITE_OK;
    }
    if (missing > 0) {
        snprintf(what, sizeof what, "lacks %" PRId64 " texts: " ADVICE, missing);
        found_in_index(checker, what);
    }
    return code;
}

bool store_sqlite_check(const struct store_settings *settings, const struct store_checker *checker,
                        char *error, size_t capacity)
{
    /* All that a connection needs of a store; the path is only read. */
    const struct store_sqlite sqlite = {.path = (char *)settings->sqlite_path};
    struct sq_connection connection = {.db = NULL};
    int code = sq_connection_open(&connection, &sqlite, true);

    if (code == SQLITE_OK)
        code = check_all(connection.db, integrity, checker, check_file_row);
    if (code == SQLITE_OK)
        code = check_all(connection.db, rows, checker, check_entry);
    if (code == SQLITE_OK)
        code = check_index(&connection, checker);
    if (code != SQLITE_OK)
        snprintf(error, capacity, "database %s: %s", settings->sqlite_path, sqlite3_errstr(code));
    sq_connection_close(&connection);
    return code == SQLITE_OK;
}
