/* The statements. Texts are compared byte by byte, whatever the database's locale: the columns say
 * so (store_postgres_schema.c), and what is compared with a column takes its rule. */
#include <stdio.h>
#include <string.h>

#include "sttpd/store_postgres_private.h"

/* By somebody else a name may be empty, or have a slash: it would look like something else. */
#define NAMED "name <> '' AND strpos(name, '/') = 0 AND ($4::text IS NULL OR name LIKE $4::text)"
/* By somebody else, too: a parent without its final slash and a name would look like another name.
 */
#define BELOW "right(parent, 1) = '/' AND " NAMED
/* A text of more bytes is too long to be shown, and so contains nothing. */
#define FOUND "octet_length(contents) <= 640 AND lower(contents) LIKE $5::text"

static const char *const statements[PG_STATEMENTS] = {
    /* What a statement waited for has to be visible to the next one. */
    [PG_BEGIN] = "BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED",
    [PG_COMMIT] = "COMMIT",
    [PG_ROLLBACK] = "ROLLBACK",
    [PG_LOOK] = "SELECT 0, directory, left(contents, 161) FROM sttp_entry"
                " WHERE parent = $1::text AND name = $2::text"
                " UNION ALL SELECT 1, directory, NULL FROM sttp_entry"
                " WHERE parent = $3::text AND name = $4::text",
    [PG_CREATE_TOP] = "INSERT INTO sttp_entry (parent, name, directory, contents)"
                      " VALUES ($1::text, $2::text, false, $3::text) ON CONFLICT DO NOTHING",
    [PG_CREATE] = "WITH held AS MATERIALIZED (SELECT 1 FROM sttp_entry"
                  " WHERE parent = $4::text AND name = $5::text AND directory FOR KEY SHARE)"
                  " INSERT INTO sttp_entry (parent, name, directory, contents)"
                  " SELECT $1::text, $2::text, false, $3::text FROM held ON CONFLICT DO NOTHING",
    [PG_UPDATE] = "UPDATE sttp_entry SET contents = $3::text"
                  " WHERE parent = $1::text AND name = $2::text AND NOT directory",
    [PG_DELETE] = "DELETE FROM sttp_entry"
                  " WHERE parent = $1::text AND name = $2::text AND NOT directory",
    [PG_HOLD] = "SELECT directory FROM sttp_entry"
                " WHERE parent = $1::text AND name = $2::text FOR KEY SHARE",
    [PG_DIRECTORY] = "INSERT INTO sttp_entry (parent, name, directory, contents)"
                     " VALUES ($1::text, $2::text, true, NULL) ON CONFLICT DO NOTHING",
    [PG_LOCK] = "SELECT directory FROM sttp_entry"
                " WHERE parent = $1::text AND name = $2::text FOR UPDATE",
    [PG_REMOVE] =
        "DELETE FROM sttp_entry"
        " WHERE parent = $1::text AND name = $2::text AND directory"
        " AND NOT EXISTS (SELECT 1 FROM sttp_entry AS child WHERE child.parent = $3::text)",
    /* $1 the directory, $2 after, $3 how many, $4 the pattern, $5 files, $6 directories. */
    [PG_LIST] =
        "(SELECT name AS shown FROM sttp_entry WHERE parent = $1::text AND NOT directory"
        " AND name > $2::text AND $5::boolean AND " NAMED " ORDER BY name LIMIT $3::integer)"
        " UNION ALL (SELECT name || '/' AS shown FROM sttp_entry"
        " WHERE parent = $1::text AND directory AND name || '/' > $2::text"
        " AND $6::boolean AND " NAMED " ORDER BY name || '/' LIMIT $3::integer)"
        " ORDER BY shown LIMIT $3::integer",
    [PG_LIST_TEXT] = "SELECT name, contents FROM sttp_entry WHERE parent = $1::text"
                     " AND NOT directory AND name > $2::text AND " NAMED " AND " FOUND
                     " ORDER BY name LIMIT $3::integer",
    /* $2 with the directory before it; $1 where what is below the directory ends. The index of
     * whole paths has them in order, so that a page costs what is on it. What else a row has to be
     * is one condition for the planner: it would take several for so few rows that it had better
     * sort. */
    [PG_TREE] = "SELECT " PG_WHOLE " AS shown FROM sttp_entry"
                " WHERE " PG_WHOLE " > $2::text AND " PG_WHOLE " < $1::text AND CASE WHEN " BELOW
                " AND (($5::boolean AND NOT directory) OR ($6::boolean AND directory))"
                " THEN true ELSE false END ORDER BY shown LIMIT $3::integer",
    /* $1 the directory, $6 where what is below it ends. */
    [PG_TREE_TEXT] = "SELECT parent || name AS shown, contents FROM sttp_entry"
                     " WHERE parent >= $1::text AND parent < $6::text AND NOT directory"
                     " AND parent || name > $2::text AND " BELOW " AND " FOUND
                     " ORDER BY shown LIMIT $3::integer",
    [PG_GUARD] = "SELECT set_config('statement_timeout', $1::text, true)",
    [PG_CLOCK] = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)",
    [PG_NOTIFY] = "SELECT pg_notify($1::text, $2::text)",
};

const char *pg_statement_sql(enum pg_statement statement)
{
    return statements[statement];
}

void pg_statement_name(enum pg_statement statement, char name[8])
{
    snprintf(name, 8, "s%u", (unsigned)statement % 100);
}

struct pg_place pg_place_of(sttp_slice path)
{
    if (path.size > 0 && path.data[path.size - 1] == '/')
        path.size--;
    if (path.size == 0)
        return (struct pg_place){STTP_SLICE(""), STTP_SLICE("")};
    const char *slash = memrchr(path.data, '/', path.size);
    size_t parent = (size_t)(slash - path.data) + 1;
    return (struct pg_place){{path.data, parent}, {path.data + parent, path.size - parent}};
}

void pg_place_values(struct pg_values *values, sttp_slice path)
{
    struct pg_place place = pg_place_of(path);
    pg_value(values, place.parent);
    pg_value(values, place.name);
}

/* ---- failures ---- */

static bool is_one_of(const char *state, const char *const *states)
{
    for (; *states != NULL; states++)
        if (strncmp(state, *states, strlen(*states)) == 0)
            return true;
    return false;
}

enum pg_verdict pg_verdict_of(const char *state)
{
    /* Others were in the way, or a table was just changed. */
    static const char *const repeat[] = {"40001", "40P01", "0A000", NULL};
    /* The server ends, has become or is a replica, is another one behind a name, or has lost what
     * the session had prepared. */
    static const char *const move[] = {"57P", "25006", "08", "26000", "25P0", NULL};

    if (is_one_of(state, repeat))
        return PG_REPEAT;
    if (strcmp(state, "55P03") == 0) /* somebody has held a lock for too long */
        return PG_PART;
    return is_one_of(state, move) ? PG_MOVE : PG_GIVE_UP;
}

store_result pg_result_of(const char *state)
{
    static const struct {
        const char *state;
        store_result result;
    } results[] = {
        {"53100", STORE_NO_SPACE}, {"53200", STORE_NO_MEMORY}, {"53", STORE_UNAVAILABLE},
        {"42501", STORE_DENIED},   {"25006", STORE_READ_ONLY},
    };

    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        if (strncmp(state, results[i].state, strlen(results[i].state)) == 0)
            return results[i].result;
    return STORE_IO;
}
