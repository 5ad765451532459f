/* LIST. The rows below a directory are one piece of the index of paths, in the order of a listing:
 * a scan of it ends when the page is full, and steps over what is below the directories of a
 * listing that is not recursive. Where a text of three characters or more is searched, the index of
 * trigrams may be the shorter way: where many texts have it the scan is, where few have it the
 * index is. So a few rows are scanned, and what was found among them says which way to go on; since
 * that may be wrong, both are gone in turns, each with more rows than before, and whichever comes
 * to its end first has the answer. All of it sees one state of the database. */
#include "sttpd/store_sqlite_list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIRST = 32, /* rows that are scanned before anything else */
    TRY = 4096, /* rows for the first try of each way */
    GROWTH = 4
};

/* Bytes of the answer that may be names which come twice, before it counts as too long. */
enum { DOUBLES = STTP_MAX_CONTENTS_LINE / 16 };

static sttp_slice relative(const struct sq_listing *listing, sttp_slice path)
{
    size_t skipped = listing->directory.size;

    return (sttp_slice){path.data + skipped, path.size - skipped};
}

static bool is_directory(sttp_slice path)
{
    return path.data[path.size - 1] == '/';
}

/* The last segment, without its slash. */
static sttp_slice segment_of(sttp_slice path)
{
    if (is_directory(path))
        path.size--;
    const char *slash = memrchr(path.data, '/', path.size);
    size_t start = (size_t)(slash + 1 - path.data);
    return (sttp_slice){slash + 1, path.size - start};
}

static bool has_text(const sttp_query *query, sttp_slice text)
{
    return text.data != NULL && sttp_text_contains(text, query->text) &&
           sttp_check_text(text, NULL) == STTP_OK;
}

bool sq_is_wanted(const struct sq_listing *listing, sttp_slice path, sttp_slice text)
{
    const sttp_query *query = listing->query;
    bool directory = is_directory(path);

    if (query->type == (directory ? STTP_LIST_FILES : STTP_LIST_DIRECTORIES))
        return false;
    if (query->name.data != NULL && !sttp_name_matches(query->name, segment_of(path)))
        return false;
    if (query->text.data != NULL && (directory || !has_text(query, text)))
        return false;
    sttp_slice named = {path.data, path.size - directory};
    if (directory && is_directory(named)) /* an empty segment, which is none where it is the last */
        return false;
    return sttp_check_path(directory ? STTP_ACTION_LIST : STTP_ACTION_SHOW, named, NULL) == STTP_OK;
}

store_result sq_add_name(struct sq_listing *listing, sttp_slice path)
{
    sttp_slice name = relative(listing, path);

    listing->joined += name.size + strlen(", ");
    if (listing->query->limit == 0 && listing->joined > STTP_MAX_CONTENTS_LINE + DOUBLES)
        return STORE_TOO_MANY_NAMES;
    if (fs_names_add(&listing->names, name))
        return STORE_DONE;
    errno = ENOMEM;
    return STORE_NO_MEMORY;
}

static bool is_search(const sttp_query *query)
{
    return query->recursive || query->text.data != NULL;
}

enum sq_progress sq_count_row(struct sq_listing *listing, store_result *result)
{
    if (listing->budget == 0)
        return SQ_BUDGET;
    listing->budget--;
    listing->rows++;
    *result = STORE_DONE;
    if (atomic_load(&listing->sqlite->closing))
        *result = STORE_BUSY;
    else if (listing->rows > SQ_MAX_ROWS && is_search(listing->query))
        *result = STORE_TOO_MUCH_WORK;
    errno = 0;
    return *result == STORE_DONE ? SQ_FINISHED : SQ_FAILED;
}

/* ---- the scan ---- */

/* The scan goes on at `path`, or at what comes in the order of bytes behind all that begins with
 * it. */
static void go_on_at(struct sq_listing *listing, sttp_slice path, bool behind)
{
    memcpy(listing->from, path.data, path.size);
    listing->from_size = path.size;
    if (behind)
        listing->from[path.size - 1]++;
}

/* Where the row is below a directory in the listed one, the size of that one's path; else 0. */
static size_t inner_size(const struct sq_listing *listing, sttp_slice path)
{
    sttp_slice name = relative(listing, path);
    const char *slash = memchr(name.data, '/', name.size);

    return slash == NULL ? 0 : (size_t)(slash - path.data) + 1;
}

static sqlite3_stmt *start_scan(const struct sq_listing *listing, store_result *result)
{
    bool texts = listing->query->text.data != NULL;
    sqlite3_stmt *statement = sq_prepared(listing->connection, texts ? SQ_TEXTS : SQ_NAMES);

    if (statement == NULL) {
        *result = sq_result(listing->connection, sqlite3_extended_errcode(listing->connection->db));
        return NULL;
    }
    sq_bind(statement, 1, (sttp_slice){listing->from, listing->from_size});
    sq_bind(statement, 2, (sttp_slice){listing->end, listing->end_size});
    return statement;
}

/* What a path of a row must be to be looked at any further: somebody else may have written it. */
static bool is_path(sttp_slice path)
{
    return path.data != NULL && path.size <= STTP_MAX_PATH + 1;
}

/* Looks at a row. True where the scan has to begin anew at `from`. */
static bool look_at(struct sq_listing *listing, sqlite3_stmt *statement, sttp_slice path,
                    store_result *result)
{
    bool texts = listing->query->text.data != NULL;
    size_t inner = listing->query->recursive ? 0 : inner_size(listing, path);

    if (inner == 0 || inner == path.size) {
        sttp_slice text = texts ? sq_column(statement, 1) : (sttp_slice){NULL, 0};
        if (sq_is_wanted(listing, path, text))
            *result = sq_add_name(listing, path);
    }
    if (inner == 0)
        return false;
    go_on_at(listing, (sttp_slice){path.data, inner}, true);
    return true;
}

static bool is_full(const struct sq_listing *listing)
{
    return listing->query->limit != 0 && listing->names.count >= listing->query->limit;
}

/* Steps through the rows from `from`. SQLITE_ROW where it has to begin anew, SQLITE_DONE at the end
 * and where *progress is not SQ_FINISHED, or an error. */
static int scan_rows(struct sq_listing *listing, sqlite3_stmt *statement,
                     enum sq_progress *progress, store_result *result)
{
    int code = SQLITE_DONE;

    while (!is_full(listing) && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        sttp_slice path = sq_column(statement, 0);
        if (path.data == NULL && sqlite3_errcode(listing->connection->db) == SQLITE_NOMEM)
            return SQLITE_NOMEM;
        *progress = sq_count_row(listing, result);
        if (*progress == SQ_BUDGET && is_path(path))
            go_on_at(listing, path, false);
        if (*progress != SQ_FINISHED)
            return SQLITE_DONE;
        if (is_path(path) && look_at(listing, statement, path, result))
            return SQLITE_ROW;
        if (*result != STORE_DONE)
            return SQLITE_DONE;
    }
    return code == SQLITE_ROW ? SQLITE_DONE : code;
}

enum sq_progress sq_scan(struct sq_listing *listing, store_result *result)
{
    enum sq_progress progress = SQ_FINISHED;
    int code;

    *result = STORE_DONE;
    do {
        sqlite3_stmt *statement = start_scan(listing, result);
        if (statement == NULL)
            return SQ_FAILED;
        code = scan_rows(listing, statement, &progress, result);
        if (code != SQLITE_ROW && code != SQLITE_DONE)
            *result = sq_result(listing->connection, code);
        int error = errno;
        sqlite3_reset(statement);
        errno = error;
    } while (code == SQLITE_ROW && *result == STORE_DONE && !is_full(listing));
    return *result == STORE_DONE ? progress : SQ_FAILED;
}

/* ---- both ways ---- */

static void start(struct sq_listing *listing)
{
    sttp_slice directory = listing->directory;
    sttp_slice after = listing->query->after;
    char *end = mempcpy(listing->from, directory.data, directory.size);

    /* No path has a control character: nothing is between the two, and of what is before `after`
     * that one begins with the same bytes. */
    if (after.data != NULL) {
        size_t room = sizeof listing->from - directory.size - 1;
        end = mempcpy(end, after.data, after.size < room ? after.size : room);
    }
    *end++ = '\1';
    listing->from_size = (size_t)(end - listing->from);
    memcpy(listing->end, directory.data, directory.size);
    listing->end[directory.size - 1] = '/' + 1;
    listing->end_size = directory.size;
}

/* Whether the scan seems to be the shorter way, by what it has found so far. */
static store_result compare_ways(const struct sq_listing *listing, bool *scans)
{
    int64_t all;
    store_result result = sq_read_number(listing->connection, SQ_INDEXED, &all);
    uint64_t limit = listing->query->limit;
    uint64_t found = listing->names.count + 1;
    uint64_t hits = (uint64_t)all * found / FIRST;

    *scans = limit != 0 && limit * FIRST / found < hits;
    return result;
}

/* Names that the scan has found already are not among those of the index, but all of them. */
static enum sq_progress try_match(struct sq_listing *listing, store_result *result)
{
    struct sq_listing match = *listing;

    match.names = (struct fs_names){0};
    match.joined = 0;
    enum sq_progress progress = sq_match(&match, listing->budget > TRY, result);
    listing->rows = match.rows;
    if (progress == SQ_BUDGET) {
        fs_names_free(&match.names);
        return progress;
    }
    fs_names_free(&listing->names);
    listing->names = match.names;
    return progress;
}

static enum sq_progress try_scan(struct sq_listing *listing, store_result *result)
{
    uint64_t budget = listing->budget;
    enum sq_progress progress = sq_scan(listing, result);

    listing->budget = budget;
    return progress;
}

static store_result search(struct sq_listing *listing)
{
    bool scans;
    store_result result = compare_ways(listing, &scans);
    enum sq_progress progress = result == STORE_DONE ? SQ_BUDGET : SQ_FAILED;

    for (listing->budget = TRY; progress == SQ_BUDGET; listing->budget *= GROWTH) {
        progress = scans ? try_scan(listing, &result) : try_match(listing, &result);
        if (progress == SQ_BUDGET)
            progress = scans ? try_match(listing, &result) : try_scan(listing, &result);
    }
    return result;
}

static store_result list_rows(struct sq_listing *listing)
{
    bool matches = sq_can_match(listing->query);
    store_result result;

    listing->budget = matches ? FIRST : UINT64_MAX;
    return sq_scan(listing, &result) == SQ_BUDGET ? search(listing) : result;
}

static store_result answer(struct sq_listing *listing, store_operation *operation)
{
    size_t limit = listing->query->limit;

    fs_names_sort(&listing->names);
    if (limit != 0 && listing->names.count > limit)
        listing->names.count = limit;
    operation->names = fs_names_join(&listing->names, &operation->contents.size);
    operation->contents.data = operation->names;
    if (operation->names == NULL) {
        errno = ENOMEM;
        return STORE_NO_MEMORY;
    }
    bool fits = operation->contents.size + strlen("\n") <= STTP_MAX_CONTENTS_LINE;
    return fits ? STORE_DONE : STORE_TOO_MANY_NAMES;
}

static store_result list_directory(struct sq_listing *listing, const struct sq_path *path)
{
    int64_t id = 1;
    store_result result = STORE_DONE;

    if (!sq_is_root(path->directory))
        result = sq_find(listing->connection, path->directory, &id);
    if (result != STORE_DONE)
        return result;
    return id != 0 ? list_rows(listing) : sq_explain(listing->connection, path, true);
}

store_result sq_list(struct store_sqlite *sqlite, struct sq_connection *connection,
                     store_operation *operation)
{
    struct sq_path path;
    struct sq_listing listing = {
        .sqlite = sqlite, .connection = connection, .query = &operation->query};

    sq_path_set(&path, operation->path);
    listing.directory = path.directory;
    start(&listing);
    int code = sq_run(connection, SQ_BEGIN);
    if (code != SQLITE_DONE)
        return sq_result(connection, code);
    store_result result = list_directory(&listing, &path);
    int error = errno;
    sq_run(connection, SQ_COMMIT);
    errno = error;
    if (result == STORE_DONE)
        result = answer(&listing, operation);
    fs_names_free(&listing.names);
    return result;
}
