/* SHOW. */
#include <errno.h>
#include <string.h>

#include "sttpd/store_sqlite_private.h"

/* Copies the text into the operation. False where there is no such row. */
static bool read_text(struct sq_connection *connection, store_operation *operation, sttp_slice path,
                      store_result *result)
{
    sqlite3_stmt *statement = sq_prepared(connection, SQ_TEXT);

    if (statement == NULL) {
        *result = sq_result(connection, sqlite3_extended_errcode(connection->db));
        return true;
    }
    sq_bind(statement, 1, path);
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        sttp_slice text = sq_column(statement, 0);
        *result = STORE_INVALID_TEXT;
        if (text.data != NULL && sttp_check_text(text, NULL) == STTP_OK) {
            memcpy(operation->shown, text.data, text.size);
            operation->contents = (sttp_slice){operation->shown, text.size};
            *result = STORE_DONE;
        } else if (sqlite3_errcode(connection->db) == SQLITE_NOMEM) {
            *result = sq_result(connection, SQLITE_NOMEM);
        }
    } else if (code != SQLITE_DONE) {
        *result = sq_result(connection, code);
    }
    sqlite3_reset(statement);
    return code != SQLITE_DONE;
}

/* Why a file is not there, as one state of the database says. */
static store_result explain_missing(struct sq_connection *connection, store_operation *operation,
                                    const struct sq_path *path)
{
    store_result result;
    int code = sq_run(connection, SQ_BEGIN);

    if (code != SQLITE_DONE)
        return sq_result(connection, code);
    if (!read_text(connection, operation, path->file, &result))
        result = sq_explain(connection, path, false);
    int error = errno;
    sq_run(connection, SQ_COMMIT);
    errno = error;
    return result;
}

store_result sq_show(struct sq_connection *connection, store_operation *operation)
{
    struct sq_path path;
    store_result result;

    sq_path_set(&path, operation->path);
    if (read_text(connection, operation, path.file, &result))
        return result;
    return explain_missing(connection, operation, &path);
}
