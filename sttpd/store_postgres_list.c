/* LIST, in pages: each is a statement, and the next one begins behind the last name of the one
 * before, so that a long listing holds up nobody for long and takes no more memory than its answer.
 * What SQL says is looked at again: rows that somebody else has written may be named as no request
 * can say, and its rule for letters is not ours. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sttpd/store_postgres_private.h"

/* What PG_GUARD ends a statement with. */
#define CANCELED "57014"

enum { PAGE = 4096, LARGE_PAGE = 16384 };

void pg_listing_free(struct pg_listing *listing)
{
    free(listing->names);
    free(listing->after);
    free(listing->pattern);
    free(listing->text);
    *listing = (struct pg_listing){0};
}

/* ---- patterns of LIKE ---- */

static bool is_special(char byte)
{
    return byte == '%' || byte == '_' || byte == '\\';
}

/* Of `name`: NULL where memory is out. */
static char *name_pattern(sttp_slice name)
{
    char *pattern = malloc(2 * name.size + 1), *end = pattern;
    for (size_t i = 0; pattern != NULL && i < name.size; i++) {
        if (is_special(name.data[i]))
            *end++ = '\\';
        *end++ = name.data[i] == '*' ? '%' : name.data[i] == '?' ? '_' : name.data[i];
    }
    if (pattern != NULL)
        *end = '\0';
    return pattern;
}

/* Of `q`, whose letters A to Z are small ones here. */
static char *text_pattern(sttp_slice text)
{
    char *pattern = malloc(2 * text.size + 3), *end = pattern;
    if (pattern == NULL)
        return NULL;
    *end++ = '%';
    for (size_t i = 0; i < text.size; i++) {
        char byte = text.data[i];
        if (is_special(byte))
            *end++ = '\\';
        *end++ = byte >= 'A' && byte <= 'Z' ? (char)(byte - 'A' + 'a') : byte;
    }
    *end++ = '%';
    *end = '\0';
    return pattern;
}

/* ---- where to list ---- */

/* The directory with a final slash, from the operation's path. */
static sttp_slice directory_of(const store_operation *operation, char room[STTP_MAX_PATH + 2])
{
    sttp_slice path = operation->path;
    memcpy(room, path.data, path.size);
    if (path.data[path.size - 1] != '/')
        room[path.size++] = '/';
    return (sttp_slice){room, path.size};
}

static bool is_tree(const struct pg_task *task)
{
    return task->operation->query.recursive;
}

static bool has_text(const struct pg_task *task)
{
    return task->operation->query.text.data != NULL;
}

static unsigned page_size(const struct pg_task *task)
{
    uint32_t limit = task->operation->query.limit;
    unsigned most = is_tree(task) ? LARGE_PAGE : PAGE;
    return limit == 0 || limit > most ? most : limit;
}

/* ---- what came ---- */

static store_result add_name(struct pg_listing *listing, sttp_slice name)
{
    size_t needed = listing->used + name.size + 2;
    if (needed > listing->room) {
        size_t room = listing->room == 0 ? 1024 : 2 * listing->room;
        char *grown = realloc(listing->names, room < needed ? needed : room);
        if (grown == NULL)
            return STORE_NO_MEMORY;
        listing->names = grown;
        listing->room = room < needed ? needed : room;
    }
    if (listing->count++ > 0) {
        memcpy(listing->names + listing->used, ", ", 2);
        listing->used += 2;
    }
    memcpy(listing->names + listing->used, name.data, name.size);
    listing->used += name.size;
    return listing->used + 1 > STTP_MAX_CONTENTS_LINE ? STORE_TOO_MANY_NAMES : STORE_DONE;
}

static bool is_shown(const struct pg_task *task, sttp_slice directory, sttp_slice name)
{
    const sttp_query *query = &task->operation->query;
    char path[STTP_MAX_PATH + 1];
    if (name.size == 0 || directory.size + name.size > STTP_MAX_PATH)
        return false;
    memcpy(mempcpy(path, directory.data, directory.size), name.data, name.size);
    sttp_slice whole = {path, directory.size + name.size};
    bool is_directory = name.data[name.size - 1] == '/';
    if (sttp_check_path(is_directory ? STTP_ACTION_LIST : STTP_ACTION_SHOW, whole, NULL) != STTP_OK)
        return false;
    return query->name.data == NULL || sttp_name_matches(query->name, pg_place_of(whole).name);
}

static bool is_found(const struct pg_task *task, const PGresult *result, int row)
{
    if (!has_text(task))
        return true;
    sttp_slice text = {PQgetvalue(result, row, 1), (size_t)PQgetlength(result, row, 1)};
    return sttp_check_text(text, NULL) == STTP_OK &&
           sttp_text_contains(text, task->operation->query.text);
}

static sttp_slice shown_at(const PGresult *result, int row)
{
    return (sttp_slice){PQgetvalue(result, row, 0), (size_t)PQgetlength(result, row, 0)};
}

static store_result take_row(struct pg_task *task, const PGresult *result, int row)
{
    char room[STTP_MAX_PATH + 2];
    struct pg_listing *listing = &task->listing;
    sttp_slice directory = directory_of(task->operation, room), name = shown_at(result, row);
    uint32_t limit = task->operation->query.limit;
    if (is_tree(task)) {
        /* The table may be somebody else's, with an order of its own. */
        if (name.size < directory.size || memcmp(name.data, directory.data, directory.size) != 0)
            return STORE_DONE;
        name = (sttp_slice){name.data + directory.size, name.size - directory.size};
    }
    if ((limit != 0 && listing->count >= limit) || !is_shown(task, directory, name) ||
        !is_found(task, result, row))
        return STORE_DONE;
    return add_name(listing, name);
}

static store_result take_page(struct pg_task *task, const PGresult *result)
{
    struct pg_listing *listing = &task->listing;
    int rows = PQntuples(result);
    store_result taken = STORE_DONE;
    for (int row = 0; row < rows && taken == STORE_DONE; row++)
        taken = take_row(task, result, row);
    listing->is_exhausted = (unsigned)rows < page_size(task);
    if (taken != STORE_DONE || listing->is_exhausted)
        return taken;
    sttp_slice last = shown_at(result, rows - 1);
    free(listing->after);
    listing->after = strndup(last.data, last.size);
    return listing->after == NULL ? STORE_NO_MEMORY : STORE_DONE;
}

static void take_answer(struct pg_link *link, unsigned index, const PGresult *result)
{
    struct pg_task *task = link->tasks;
    if (index == 0)
        return;
    if (index == 1 && !task->listing.is_root_known)
        pg_take_look(task, result);
    else
        task->listing.result = take_page(task, result);
}

/* ---- what follows ---- */

static bool is_full(const struct pg_task *task)
{
    uint32_t limit = task->operation->query.limit;
    return task->listing.is_exhausted || (limit != 0 && task->listing.count >= limit);
}

static void answer(struct pg_store *pg, struct pg_task *task)
{
    store_operation *operation = task->operation;
    struct pg_listing *listing = &task->listing;
    if (listing->names == NULL)
        listing->names = malloc(1);
    operation->names = listing->names;
    operation->contents = (sttp_slice){listing->names, listing->used};
    listing->names = NULL;
    pg_complete(pg, task, operation->names == NULL ? STORE_NO_MEMORY : STORE_DONE);
}

static void go_on(struct pg_store *pg, struct pg_task *task)
{
    uint64_t now = pg_now();
    task->deadline = now + STORE_POSTGRES_WAIT;
    if (now >= task->listing.give_up)
        pg_complete(pg, task, STORE_TOO_MUCH_WORK);
    else
        pg_wait(pg, task);
}

static void follow(struct pg_store *pg, struct pg_task *task)
{
    if (!task->listing.is_root_known && task->target != 'd')
        pg_complete(pg, task, task->target == 'f' ? STORE_IS_FILE : pg_missing(task));
    else if (task->listing.result != STORE_DONE)
        pg_complete(pg, task, task->listing.result);
    else if (is_full(task))
        answer(pg, task);
    else {
        task->listing.is_root_known = true;
        go_on(pg, task);
    }
}

static void end_page(struct pg_link *link)
{
    struct pg_task *task = link->tasks;
    bool is_canceled = strcmp(link->failure.state, CANCELED) == 0;
    if (!is_canceled && (link->failure.lost || link->failure.state[0] != '\0')) {
        pg_fail_tasks(link);
        return;
    }
    link->tasks = NULL;
    link->count = 0;
    if (is_canceled)
        pg_complete(link->store, task, STORE_TOO_MUCH_WORK);
    else
        follow(link->store, task);
}

static const struct pg_work page = {.answer = take_answer, .end = end_page};

/* ---- asking ---- */

static bool prepare(struct pg_task *task)
{
    const sttp_query *query = &task->operation->query;
    struct pg_listing *listing = &task->listing;
    if (listing->give_up != 0)
        return true;
    listing->give_up = pg_now() + STORE_POSTGRES_LIST;
    listing->is_root_known = task->operation->path.size == 1;
    if (query->name.data != NULL)
        listing->pattern = name_pattern(query->name);
    if (query->text.data != NULL)
        listing->text = text_pattern(query->text);
    return (query->name.data == NULL || listing->pattern != NULL) &&
           (query->text.data == NULL || listing->text != NULL);
}

static void value_of(struct pg_values *values, const char *text)
{
    pg_value(values, (sttp_slice){text, text == NULL ? 0 : strlen(text)});
}

static void send_guard(struct pg_link *link)
{
    char limit[16];
    struct pg_values values = {0};
    snprintf(limit, sizeof limit, "%d", STORE_POSTGRES_SEARCH);
    value_of(&values, limit);
    pg_link_send(link, PG_GUARD, &values);
}

static void send_look(struct pg_link *link)
{
    struct pg_values values = {0};
    sttp_slice path = link->tasks->operation->path;
    pg_place_values(&values, path);
    pg_place_values(&values, sttp_parent_path(path));
    pg_link_send(link, PG_LOOK, &values);
}

/* The name behind which the page begins, as the statement compares it. */
static sttp_slice after_of(const struct pg_task *task, sttp_slice directory, char *room)
{
    sttp_slice after = task->operation->query.after;
    if (task->listing.after != NULL)
        return (sttp_slice){task->listing.after, strlen(task->listing.after)};
    if (after.data == NULL)
        after = STTP_SLICE("");
    char *end = room;
    if (is_tree(task))
        end = mempcpy(end, directory.data, directory.size);
    end = mempcpy(end, after.data, after.size);
    return (sttp_slice){room, (size_t)(end - room)};
}

/* What is compared with numbers and truths is sent in binary, as all values are. */
static sttp_slice number(unsigned value, char room[4])
{
    for (int i = 0; i < 4; i++)
        room[i] = (char)(value >> (24 - 8 * i) & 0xff);
    return (sttp_slice){room, 4};
}

static sttp_slice truth(bool value)
{
    return (sttp_slice){value ? "\1" : "\0", 1};
}

static enum pg_statement statement_of(const struct pg_task *task)
{
    if (has_text(task))
        return is_tree(task) ? PG_TREE_TEXT : PG_LIST_TEXT;
    return is_tree(task) ? PG_TREE : PG_LIST;
}

/* What is below a directory comes before this: its path with the byte behind the slash. */
static sttp_slice end_of(sttp_slice directory, char room[STTP_MAX_PATH + 2])
{
    memcpy(room, directory.data, directory.size);
    room[directory.size - 1] = '/' + 1;
    return (sttp_slice){room, directory.size};
}

static void send_page(struct pg_link *link)
{
    const struct pg_task *task = link->tasks;
    sttp_list_type type = task->operation->query.type;
    enum pg_statement statement = statement_of(task);
    char room[STTP_MAX_PATH + 2], behind[STTP_MAX_PATH + 2], count[4];
    char after[STTP_MAX_PATH + 2 + STTP_MAX_REQUEST_LINE];
    sttp_slice directory = directory_of(task->operation, room), end = end_of(directory, behind);
    struct pg_values values = {0};
    pg_value(&values, statement == PG_TREE ? end : directory);
    pg_value(&values, after_of(task, directory, after));
    pg_value(&values, number(page_size(task), count));
    value_of(&values, task->listing.pattern);
    if (has_text(task)) {
        value_of(&values, task->listing.text);
    } else {
        pg_value(&values, truth(type != STTP_LIST_DIRECTORIES));
        pg_value(&values, truth(type != STTP_LIST_FILES));
    }
    if (statement == PG_TREE_TEXT)
        pg_value(&values, end);
    pg_link_send(link, statement, &values);
}

void pg_start_list(struct pg_link *link)
{
    struct pg_task *task = pg_line_take(&link->store->lines[PG_TASK_LIST]);
    /* A directory has no text. */
    bool is_empty = has_text(task) && task->operation->query.type == STTP_LIST_DIRECTORIES;
    if (!prepare(task)) {
        pg_complete(link->store, task, STORE_NO_MEMORY);
        return;
    }
    link->tasks = task;
    link->count = 1;
    task->listing.result = STORE_DONE;
    task->listing.is_exhausted = is_empty;
    pg_link_begin(link, &page);
    send_guard(link);
    if (!task->listing.is_root_known)
        send_look(link);
    if (!is_empty)
        send_page(link);
    pg_link_go(link);
}
