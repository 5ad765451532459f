/* Looks at all rows, as they are at one moment. They come one by one: no more than one is kept. */
#include <stdlib.h>
#include <string.h>

#include "sttpd/store_postgres_private.h"

/* A slash in a name makes a row look like another one's, and is told by itself. */
static const char rows[] =
    "SELECT entry.parent || entry.name || CASE WHEN entry.directory THEN '/' ELSE '' END,"
    " entry.directory, entry.contents IS NOT NULL,"
    " entry.parent = '/' OR above.path IS NOT NULL, strpos(entry.name, '/') <> 0"
    " FROM sttp_entry AS entry LEFT JOIN"
    " (SELECT parent || name || '/' AS path FROM sttp_entry WHERE directory) AS above"
    " ON above.path = entry.parent";

static bool is_true(const PGresult *result, int column)
{
    return *PQgetvalue(result, 0, column) == 't';
}

static void check_row(const PGresult *result, const struct store_checker *checker)
{
    struct store_row row = {
        .path = {PQgetvalue(result, 0, 0), (size_t)PQgetlength(result, 0, 0)},
        .is_directory = is_true(result, 1),
        .has_text = is_true(result, 2),
        .has_parent = is_true(result, 3),
    };

    store_check_row(checker, &row);
    if (is_true(result, 4))
        checker->found(checker->context, row.path, "its name has a slash");
}

static bool check_rows(PGconn *conn, const struct store_checker *checker)
{
    bool is_good = PQsendQuery(conn, rows) == 1 && PQsetSingleRowMode(conn) == 1;
    PGresult *result;

    while ((result = PQgetResult(conn)) != NULL) {
        ExecStatusType status = PQresultStatus(result);
        if (status == PGRES_SINGLE_TUPLE)
            check_row(result, checker);
        else
            is_good = is_good && status == PGRES_TUPLES_OK;
        PQclear(result);
    }
    return is_good;
}

bool store_postgres_check(const struct store_settings *settings,
                          const struct store_checker *checker, char *error, size_t capacity)
{
    struct pg_profile profile = {.conninfo = (char *)settings->postgres_conninfo}; /* only read */
    PGconn *conn = pg_connect(&profile, error, capacity);

    if (conn == NULL)
        return false;
    bool is_good = check_rows(conn, checker);
    if (!is_good)
        pg_one_line(PQerrorMessage(conn), error, capacity);
    PQfinish(conn);
    return is_good;
}
