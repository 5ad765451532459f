/* The index for search is filled behind the commits, since that takes longer than to insert the
 * row: by the writer where it has nothing else to do, and beside its transactions where
 * too many rows wait. A search looks at the rows that wait as well.
 *
 * The index keeps no texts; so to take a row out of it the text is needed that was put in. */
#include <errno.h>

#include "sttpd/store_sqlite_private.h"

enum {
    YIELD = 16,  /* rows between two looks at what waits */
    PAUSE = 5000 /* milliseconds after a failure */
};

store_result sq_index_load(struct sq_writer *writer)
{
    store_result result = sq_read_number(&writer->connection, SQ_INDEXED, &writer->indexed);

    if (result == STORE_DONE)
        result = sq_read_number(&writer->connection, SQ_LAST_ID, &writer->last_id);
    if (writer->last_id < writer->indexed)
        writer->last_id = writer->indexed;
    writer->stale = 1; /* there may be some */
    return result;
}

bool sq_index_is_behind(const struct sq_writer *writer)
{
    return (writer->indexed < writer->last_id || writer->stale > 0) &&
           sq_milliseconds() >= writer->index_paused_until;
}

/* Adds a text to the index, or takes it out. */
static int put(struct sq_writer *writer, enum sq_statement which, int64_t id, sttp_slice text)
{
    sqlite3_stmt *statement = sq_prepared(&writer->connection, which);

    if (text.data == NULL)
        return SQLITE_DONE;
    if (statement == NULL)
        return sqlite3_extended_errcode(writer->connection.db);
    sqlite3_bind_int64(statement, 1, id);
    sq_bind(statement, 2, text);
    return sq_step(statement);
}

static int set_number(struct sq_writer *writer, enum sq_statement which, int64_t number)
{
    sqlite3_stmt *statement = sq_prepared(&writer->connection, which);

    if (statement == NULL)
        return sqlite3_extended_errcode(writer->connection.db);
    sqlite3_bind_int64(statement, 1, number);
    return sq_step(statement);
}

/* Brings the first row that was changed or deleted up to date. SQLITE_ROW; SQLITE_DONE where there
 * is none; or an error. */
static int refresh(struct sq_writer *writer)
{
    sqlite3_stmt *statement = sq_prepared(&writer->connection, SQ_NEXT_STALE);

    if (statement == NULL)
        return sqlite3_extended_errcode(writer->connection.db);
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        int64_t id = sqlite3_column_int64(statement, 0);
        int done = put(writer, SQ_INDEX_REMOVE, id, sq_column(statement, 1));
        if (done == SQLITE_DONE)
            done = put(writer, SQ_INDEX_ADD, id, sq_column(statement, 2));
        sqlite3_reset(statement);
        if (done == SQLITE_DONE)
            done = set_number(writer, SQ_REMOVE_STALE, id);
        return done == SQLITE_DONE ? SQLITE_ROW : done;
    }
    sqlite3_reset(statement);
    return code;
}

/* Adds the first row that is not in the index. The results are those of `refresh`. */
static int add_next(struct sq_writer *writer, int64_t *indexed)
{
    sqlite3_stmt *statement = sq_prepared(&writer->connection, SQ_NEXT_NEW);

    if (statement == NULL)
        return sqlite3_extended_errcode(writer->connection.db);
    sqlite3_bind_int64(statement, 1, *indexed);
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        int64_t id = sqlite3_column_int64(statement, 0);
        int done = put(writer, SQ_INDEX_ADD, id, sq_column(statement, 1));
        if (done == SQLITE_DONE)
            *indexed = id;
        else
            code = done;
    }
    sqlite3_reset(statement);
    return code;
}

/* Indexes some rows within a transaction. SQLITE_DONE or an error. */
static int advance(struct sq_writer *writer, unsigned rows, bool yields, int64_t *indexed,
                   int64_t *stale)
{
    int code = SQLITE_ROW;

    for (unsigned i = 0; i < rows && code == SQLITE_ROW; i++) {
        if (yields && i % YIELD == 0 && atomic_load(&writer->waiting) > 0)
            break;
        if (*stale > 0) {
            code = refresh(writer);
            *stale = code == SQLITE_ROW ? *stale : 0;
            if (code == SQLITE_DONE)
                code = SQLITE_ROW;
        } else {
            code = add_next(writer, indexed);
        }
    }
    /* Nothing is left: also where the last rows have been deleted. */
    if (code == SQLITE_DONE)
        *indexed = writer->last_id;
    if (code == SQLITE_ROW || code == SQLITE_DONE)
        code = set_number(writer, SQ_SET_INDEXED, *indexed);
    return code;
}

static void pause_after(struct sq_writer *writer, int code)
{
    sq_result(&writer->connection, code);
    if (writer->log != NULL)
        log_write(writer->log, LOG_LEVEL_WARNING,
                  "the database's index for search cannot be filled: %m (%s); searches look at "
                  "more rows",
                  sqlite3_errstr(code));
    writer->index_paused_until = sq_milliseconds() + PAUSE;
}

void sq_index_advance(struct sq_writer *writer, unsigned rows, bool yields)
{
    int64_t indexed = writer->indexed, stale = writer->stale;

    if (!sq_index_is_behind(writer))
        return;
    int code = sq_begin_change(writer);
    if (code == SQLITE_DONE)
        code = advance(writer, rows, yields, &indexed, &stale);
    if (code == SQLITE_DONE)
        code = sq_run(&writer->connection, SQ_COMMIT);
    if (code == SQLITE_DONE) {
        writer->indexed = indexed;
        writer->stale = stale;
        return;
    }
    pause_after(writer, code);
    if (sqlite3_get_autocommit(writer->connection.db) == 0)
        sq_run(&writer->connection, SQ_ROLLBACK);
}
