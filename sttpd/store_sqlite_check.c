/* Looks at the file as SQLite does, and at all rows, as they are at one moment. */
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

bool store_sqlite_check(const struct store_settings *settings, const struct store_checker *checker,
                        char *error, size_t capacity)
{
    sqlite3 *db;
    int code = sqlite3_open_v2(settings->sqlite_path, &db, SQLITE_OPEN_READONLY, NULL);

    if (code == SQLITE_OK)
        code = check_all(db, integrity, checker, check_file_row);
    if (code == SQLITE_OK)
        code = check_all(db, rows, checker, check_entry);
    if (code != SQLITE_OK)
        snprintf(error, capacity, "database %s: %s", settings->sqlite_path, sqlite3_errstr(code));
    sqlite3_close(db);
    return code == SQLITE_OK;
}
