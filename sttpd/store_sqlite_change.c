/* CREATE, UPDATE and DELETE, within the writer's transaction. Nobody else changes the database
 * meanwhile, so what was looked at is still so when the next statement runs. A change that its own
 * rules refuse has changed nothing by then: CREATE makes directories only where none above the file
 * is there, and then nothing can be in the file's way. */
#include <string.h>

#include "sttpd/store_sqlite_private.h"

/* A change, and SQLite's code of the first failure. */
struct work {
    struct sq_writer *writer;
    struct sq_connection *connection;
    struct sq_path path;
    int code;
};

/* The id of a row, 0 where there is none, -1 where the database failed. */
static int64_t find(struct work *work, sttp_slice path)
{
    int64_t id;

    if (sq_find(work->connection, path, &id) == STORE_DONE)
        return id;
    work->code = sqlite3_extended_errcode(work->connection->db);
    return -1;
}

static sqlite3_stmt *prepared(struct work *work, enum sq_statement statement)
{
    sqlite3_stmt *found = sq_prepared(work->connection, statement);

    if (found == NULL)
        work->code = sqlite3_extended_errcode(work->connection->db);
    return found;
}

/* Runs a statement whose parameters are an id and a text; a text with data NULL is not bound. */
static void apply(struct work *work, enum sq_statement which, int64_t id, sttp_slice text)
{
    sqlite3_stmt *statement = prepared(work, which);

    if (statement == NULL)
        return;
    sqlite3_bind_int64(statement, 1, id);
    if (text.data != NULL)
        sq_bind(statement, 2, text);
    int code = sq_step(statement);
    if (code != SQLITE_DONE)
        work->code = code;
}

/* Inserts a row; for directories `text.data` is NULL. False where a row has the path. */
static bool insert(struct work *work, sttp_slice path, sttp_slice text)
{
    sqlite3_stmt *statement = prepared(work, SQ_CREATE);

    if (statement == NULL)
        return false;
    sqlite3_bind_int64(statement, 1, work->writer->last_id + 1);
    sq_bind(statement, 2, path);
    if (text.data != NULL)
        sq_bind(statement, 3, text);
    else
        sqlite3_bind_null(statement, 3);
    int code = sq_step(statement);
    if (code != SQLITE_DONE)
        work->code = code;
    if (code != SQLITE_DONE || sqlite3_changes(work->connection->db) == 0)
        return false;
    work->writer->last_id++;
    return true;
}

static size_t parent_size(const char *path, size_t size)
{
    return (size_t)((const char *)memrchr(path, '/', size - 1) - path) + 1;
}

/* Makes the directories that are missing. *made: see store_operation. */
static store_result make_parents(struct work *work, size_t *made)
{
    const char *path = work->path.text;
    size_t there = work->path.parent.size;

    *made = 0;
    while (there > 1) {
        int64_t id = find(work, (sttp_slice){path, there});
        if (id != 0)
            break;
        if (find(work, (sttp_slice){path, there - 1}) != 0)
            return STORE_CANNOT_CREATE_PATH;
        there = parent_size(path, there);
    }
    while (work->code == SQLITE_DONE && there < work->path.parent.size) {
        const char *slash = memchr(path + there, '/', work->path.parent.size - there);
        there = (size_t)(slash - path) + 1;
        insert(work, (sttp_slice){path, there}, (sttp_slice){NULL, 0});
        if (*made == 0)
            *made = there - 1;
    }
    return STORE_DONE;
}

static store_result create(struct work *work, struct sq_change *change)
{
    sttp_slice text = change->operation->text;

    if (sq_is_root(work->path.file) || find(work, work->path.directory) != 0)
        return STORE_IS_DIRECTORY;
    if (work->writer->last_id > INT64_MAX - STTP_MAX_PATH) /* a row for each byte is enough */
        return STORE_NO_SPACE;
    store_result result = make_parents(work, &change->made);
    if (result != STORE_DONE || work->code != SQLITE_DONE)
        return result;
    if (text.data == NULL)
        text.data = "";
    bool is_new = insert(work, work->path.file, text);
    change->changes = is_new || change->made > 0;
    return is_new ? STORE_DONE : STORE_EXISTS;
}

/* Before the text of a row is changed or goes: what is in the index is to be found there later. */
static void keep_stale(struct work *work, int64_t id)
{
    if (id > work->writer->indexed)
        return;
    apply(work, SQ_KEEP_STALE, id, (sttp_slice){NULL, 0});
    work->writer->stale++;
}

static store_result explain(struct work *work, bool directory)
{
    store_result result = sq_explain(work->connection, &work->path, directory);

    if (result >= STORE_DENIED)
        work->code = sqlite3_extended_errcode(work->connection->db);
    return result;
}

static store_result update(struct work *work, struct sq_change *change)
{
    store_operation *operation = change->operation;
    sttp_slice text = operation->text;
    int64_t id = find(work, work->path.file);

    if (id == 0)
        return explain(work, false);
    if (work->code == SQLITE_DONE)
        keep_stale(work, id);
    if (text.data == NULL)
        text.data = "";
    if (work->code == SQLITE_DONE)
        apply(work, SQ_UPDATE, id, text);
    operation->contents = operation->text;
    change->changes = true;
    return STORE_DONE;
}

/* Whether nothing is in the directory. */
static bool is_empty(struct work *work)
{
    char after[SQ_PATH_ROOM + 1], end[SQ_PATH_ROOM];
    size_t size = work->path.directory.size;
    sqlite3_stmt *statement = prepared(work, SQ_NAMES);

    if (statement == NULL)
        return false;
    *(char *)mempcpy(after, work->path.text, size) = '\1';
    memcpy(end, work->path.text, size);
    end[size - 1] = '/' + 1;
    sq_bind(statement, 1, (sttp_slice){after, size + 1});
    sq_bind(statement, 2, (sttp_slice){end, size});
    int code = sq_step(statement);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        work->code = code;
    return code == SQLITE_DONE;
}

static store_result delete_row(struct work *work, struct sq_change *change)
{
    sttp_slice path = change->operation->path;
    bool directory = path.data[path.size - 1] == '/';

    if (path.size == 1)
        return STORE_IS_ROOT;
    int64_t id = find(work, directory ? work->path.directory : work->path.file);
    if (id == 0)
        return explain(work, directory);
    if (work->code == SQLITE_DONE && directory && !is_empty(work))
        return STORE_NOT_EMPTY;
    if (work->code == SQLITE_DONE && !directory)
        keep_stale(work, id);
    if (work->code == SQLITE_DONE)
        apply(work, SQ_DELETE, id, (sttp_slice){NULL, 0});
    change->changes = true;
    return STORE_DONE;
}

int sq_begin_change(struct sq_writer *writer)
{
    int64_t last;
    int code = sq_run(&writer->connection, SQ_BEGIN_CHANGE);

    if (code != SQLITE_DONE)
        return code;
    if (sq_read_number(&writer->connection, SQ_LAST_ID, &last) != STORE_DONE)
        return sqlite3_extended_errcode(writer->connection.db);
    if (last > writer->last_id)
        writer->last_id = last;
    return SQLITE_DONE;
}

bool sq_change(struct sq_writer *writer, struct sq_change *change, int *code)
{
    struct work work = {.writer = writer, .connection = &writer->connection, .code = SQLITE_DONE};

    *change = (struct sq_change){.operation = change->operation};
    sq_path_set(&work.path, change->operation->path);
    if (change->operation->action == STTP_ACTION_CREATE)
        change->result = create(&work, change);
    else if (change->operation->action == STTP_ACTION_UPDATE)
        change->result = update(&work, change);
    else
        change->result = delete_row(&work, change);
    *code = work.code;
    return work.code == SQLITE_DONE;
}
