/* The tables, and whose they are. A file or directory is a row, found by the path of its parent and
 * its own name; the root has none, it is always there. Texts are compared byte by byte.
 *
 *     parent  | name  | directory | contents
 *     /       | notes | true      |
 *     /notes/ | a.txt | false     | Buy milk
 *
 * The second index gives the directories in the order of a listing, in which they have a slash; the
 * third all that is below a directory in the order of a recursive one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "sttpd/store_postgres_private.h"

enum { VERSION = 1, MAX_TRIES = 20 };

#define PATHS "ON sttp_entry ((" PG_WHOLE "))"

static const char *const creation[] = {
    "CREATE TABLE IF NOT EXISTS sttp_entry (parent text COLLATE \"C\" NOT NULL,"
    " name text COLLATE \"C\" NOT NULL, directory boolean NOT NULL, contents text COLLATE \"C\","
    " PRIMARY KEY (parent, name))",
    "CREATE INDEX IF NOT EXISTS sttp_directory ON sttp_entry (parent, (name || '/'))"
    " WHERE directory",
    "CREATE INDEX IF NOT EXISTS sttp_path " PATHS,
    "CREATE TABLE IF NOT EXISTS sttp_meta (one integer PRIMARY KEY CHECK (one = 1),"
    " version integer NOT NULL, identity text NOT NULL)",
};

static const char wanted_meta[] = "SELECT version, identity FROM sttp_meta";

static bool is_state(const PGresult *result, const char *wanted)
{
    const char *state = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_SQLSTATE);
    return state != NULL && strcmp(state, wanted) == 0;
}

/* An identity is 32 hex digits. */
static bool is_identity(const char *text)
{
    return strlen(text) == PG_IDENTITY_TEXT - 1 &&
           strspn(text, "0123456789abcdef") == PG_IDENTITY_TEXT - 1;
}

static bool refuse(char *error, size_t capacity, const char *reason)
{
    /* libpq has nothing to say of an answer that did not come in time. */
    pg_one_line(reason[0] == '\0' ? "it does not answer" : reason, error, capacity);
    return false;
}

/* What the table says of the database. False where it cannot be ours. */
static bool read_meta(const PGresult *result, char identity[PG_IDENTITY_TEXT], char *error,
                      size_t capacity)
{
    if (PQntuples(result) != 1 || !is_identity(PQgetvalue(result, 0, 1)))
        return refuse(error, capacity,
                      "its table sttp_meta is not one of sttpd; choose another database");
    long version = strtol(PQgetvalue(result, 0, 0), NULL, 10);
    if (version != VERSION) {
        snprintf(error, capacity,
                 "its tables have version %ld and this sttpd knows version %d; install a newer "
                 "sttpd, or choose another database",
                 version, VERSION);
        return false;
    }
    memcpy(identity, PQgetvalue(result, 0, 1), PG_IDENTITY_TEXT);
    return true;
}

bool pg_schema_check(const struct pg_profile *profile, PGconn *conn, char *error, size_t capacity)
{
    char identity[PG_IDENTITY_TEXT];
    PGresult *result = pg_ask(conn, wanted_meta);
    bool is_read = PQresultStatus(result) == PGRES_TUPLES_OK;
    if (!is_read)
        refuse(error, capacity, PQerrorMessage(conn));
    bool is_good = is_read && read_meta(result, identity, error, capacity);
    PQclear(result);
    if (is_good && strcmp(identity, profile->identity) != 0)
        return refuse(error, capacity, "it is another database than the one of before");
    return is_good;
}

/* ---- the first start ---- */

static bool draw_identity(char identity[PG_IDENTITY_TEXT])
{
    unsigned char bytes[STORE_IDENTITY];
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        return false;
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(identity + 2 * i, 3, "%02x", bytes[i]);
    return true;
}

static bool fill_meta(PGconn *conn)
{
    char identity[PG_IDENTITY_TEXT], command[256];
    if (!draw_identity(identity))
        return false;
    snprintf(command, sizeof command,
             "INSERT INTO sttp_meta (one, version, identity) VALUES (1, %d, '%s')"
             " ON CONFLICT DO NOTHING",
             VERSION, identity);
    return pg_tell(conn, command);
}

/* In one transaction. Servers that start at the same time may get in each other's way. */
static bool create(PGconn *conn, char *error, size_t capacity)
{
    bool is_done = pg_tell(conn, "BEGIN");
    for (size_t i = 0; i < sizeof creation / sizeof *creation && is_done; i++)
        is_done = pg_tell(conn, creation[i]);
    is_done = is_done && fill_meta(conn) && pg_tell(conn, "COMMIT");
    if (!is_done) {
        refuse(error, capacity, PQerrorMessage(conn));
        pg_tell(conn, "ROLLBACK");
    }
    return is_done;
}

/* Reads what the database is, once. *missing: it has no tables yet. */
static bool open_meta(struct pg_profile *profile, PGconn *conn, bool *missing, char *error,
                      size_t capacity)
{
    PGresult *result = pg_ask(conn, wanted_meta);
    *missing = is_state(result, "42P01") ||
               (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 0);
    bool is_good = false;
    if (!*missing && PQresultStatus(result) != PGRES_TUPLES_OK)
        refuse(error, capacity, PQerrorMessage(conn));
    else if (!*missing)
        is_good = read_meta(result, profile->identity, error, capacity);
    PQclear(result);
    return is_good;
}

/* In any other encoding not every text could be kept. An engine that does not tell has this one. */
static bool check_encoding(PGconn *conn, char *error, size_t capacity)
{
    const char *encoding = PQparameterStatus(conn, "server_encoding");
    if (encoding == NULL || strcmp(encoding, "UTF8") == 0)
        return true;
    snprintf(error, capacity, "its encoding is %.40s; create it with encoding UTF8", encoding);
    return false;
}

static bool has_row(PGconn *conn, const char *query)
{
    PGresult *result = pg_ask(conn, query);
    bool has_one = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1;
    PQclear(result);
    return has_one;
}

/* Out of the way: without keeping anybody from reading or writing, which a wait for the table to
 * oneself would do to all that come behind it. False where somebody is at work on the table:
 * perhaps it is another server that builds the index. */
static bool drop_index(PGconn *conn, const char *name)
{
    char command[96];
    snprintf(command, sizeof command, "DROP INDEX CONCURRENTLY IF EXISTS %s", name);
    bool is_dropped = pg_tell(conn, "SET lock_timeout = '1s'") && pg_tell(conn, command);
    return pg_tell(conn, "RESET lock_timeout") && is_dropped;
}

/* Makes an index that is not there. Building it locks nobody out; one whose building was cut short
 * is made anew. Answers are right without it. Where it takes long, the database goes on with it
 * alone, and the connection is of no more use. */
static void make_index(PGconn *conn, const char *name, const char *definition)
{
    char query[160], command[256];
    snprintf(query, sizeof query,
             "SELECT 1 FROM pg_index WHERE indisvalid AND indexrelid = to_regclass('%s')", name);
    snprintf(command, sizeof command, "CREATE INDEX CONCURRENTLY IF NOT EXISTS %s %s", name,
             definition);
    if (!has_row(conn, query) && drop_index(conn, name))
        pg_tell(conn, command);
}

/* Those that a database of an older sttpd has not, and that for searches, where the database has
 * the extension. */
static void make_indexes(PGconn *conn)
{
    bool has_trigrams = has_row(conn, "SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm'");
    make_index(conn, "sttp_path", PATHS);
    if (has_trigrams)
        make_index(conn, "sttp_contents",
                   "ON sttp_entry USING gin (lower(contents) gin_trgm_ops) WHERE NOT directory");
}

/* Tries a command that only some engines have. False where it is not known whether this one has it:
 * the other servers count on being told, where anybody can tell them. */
static bool try_command(struct pg_profile *profile, PGconn *conn, const char *command)
{
    PGresult *result = pg_ask(conn, command);
    ExecStatusType status = PQresultStatus(result);
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    bool is_done = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
    /* The engine does not know it. What else may fail says nothing of that. */
    bool is_known = is_done || (state != NULL && strcmp(state, "42501") != 0 &&
                                (strncmp(state, "42", 2) == 0 || strncmp(state, "0A", 2) == 0));
    PQclear(result);
    profile->notifies = profile->notifies && is_done;
    return is_known;
}

static bool try_notifications(struct pg_profile *profile, PGconn *conn, char *error,
                              size_t capacity)
{
    char notify[PG_CHANNEL + 32], listen[PG_CHANNEL + 32];
    snprintf(profile->channel, sizeof profile->channel, "sttp_%s", profile->identity);
    snprintf(notify, sizeof notify, "SELECT pg_notify('%s', '')", profile->channel);
    snprintf(listen, sizeof listen, "LISTEN %s", profile->channel);
    profile->notifies = true;
    return (try_command(profile, conn, notify) && try_command(profile, conn, listen)) ||
           refuse(error, capacity, PQerrorMessage(conn));
}

bool pg_schema_open(struct pg_profile *profile, PGconn *conn, char *error, size_t capacity)
{
    bool missing = false, is_open = false;
    if (!check_encoding(conn, error, capacity))
        return false;
    for (int tries = 0; tries < MAX_TRIES; tries++) {
        is_open = open_meta(profile, conn, &missing, error, capacity);
        if (is_open || !missing)
            break;
        create(conn, error, capacity);
    }
    if (!is_open || !try_notifications(profile, conn, error, capacity))
        return false;
    make_indexes(conn);
    return true;
}
