/* Changes that need a transaction of their own.
 *
 * CREATE where directories are missing, in two steps:
 *
 *     BEGIN; hold each directory of the path that is there; make each that is not; the file
 *     -- each is held or made, and the file is? then what was made is known, and is told --
 *     COMMIT
 *
 * DELETE of a directory: BEGIN; lock it; remove it unless something is in it; COMMIT. A CREATE
 * holds the directory until it is committed, so the lock waits for it; and since a statement sees
 * what was committed before it began, the next one sees what was created. A CREATE that comes later
 * waits for the lock, and finds no directory. */
#include <stdlib.h>
#include <string.h>

#include "sttpd/store_postgres_private.h"

static bool has_failed(const struct pg_link *link)
{
    return link->failure.lost || link->failure.state[0] != '\0';
}

static struct pg_task *take_task(struct pg_link *link)
{
    struct pg_task *task = link->tasks;
    link->tasks = NULL;
    link->count = 0;
    return task;
}

static void look(struct pg_store *pg, struct pg_task *task)
{
    task->kind = PG_TASK_LOOK;
    pg_wait(pg, task);
}

/* ---- CREATE with directories ---- */

/* The directories of a path, from the top: "/a/", "/a/b/" of "/a/b/f". `level` counts from 0. */
static unsigned count_levels(sttp_slice path)
{
    unsigned count = 0;
    for (size_t i = 1; i < path.size; i++)
        count += path.data[i] == '/';
    return count;
}

static sttp_slice level_of(sttp_slice path, unsigned level)
{
    size_t size = 1;
    for (unsigned slashes = 0; slashes <= level; size++)
        slashes += path.data[size] == '/';
    return (sttp_slice){path.data, size};
}

static void send_levels(struct pg_link *link, enum pg_statement statement, unsigned levels)
{
    for (unsigned level = 0; level < levels; level++) {
        struct pg_values values = {0};
        pg_place_values(&values, level_of(link->tasks->operation->path, level));
        pg_link_send(link, statement, &values);
    }
}

/* Notes for each level 'd' for a directory that is held, 'f' for a file, 'm' for what was made. */
static void take_tree(struct pg_link *link, unsigned index, const PGresult *result)
{
    struct pg_task *task = link->tasks;
    unsigned levels = count_levels(task->operation->path);
    if (index == 0)
        return;
    if (index <= levels) {
        if (PQntuples(result) == 1)
            task->levels[index - 1] = PQgetvalue(result, 0, 0)[0] == 't' ? 'd' : 'f';
        return;
    }
    bool is_made = strcmp(PQcmdTuples((PGresult *)result), "1") == 0;
    if (index > 2 * levels)
        task->is_applied = is_made;
    else if (is_made)
        task->levels[index - 1 - levels] = 'm';
}

static void take_nothing(struct pg_link *link, unsigned index, const PGresult *result)
{
    (void)link, (void)index, (void)result;
}

static void end_commit(struct pg_link *link)
{
    if (pg_end_commit(link))
        pg_complete(link->store, take_task(link), STORE_DONE);
}

static const struct pg_work committing = {.answer = take_nothing, .end = end_commit};

static void commit_tree(struct pg_link *link, unsigned levels)
{
    struct pg_task *task = link->tasks;
    const char *top = memchr(task->levels, 'm', levels);
    task->made = 0;
    if (top != NULL)
        task->made = level_of(task->operation->path, (unsigned)(top - task->levels)).size - 1;
    pg_begin_tasks(link);
    pg_link_begin(link, &committing);
    pg_send_commit(link);
    pg_link_go(link);
}

/* Where it is not committed, the link rolls it back. */
static void end_tree(struct pg_link *link)
{
    struct pg_store *pg = link->store;
    struct pg_task *task = link->tasks;
    unsigned levels = count_levels(task->operation->path);
    if (has_failed(link)) {
        pg_fail_tasks(link);
    } else if (memchr(task->levels, 'f', levels) != NULL) {
        pg_complete(pg, take_task(link), STORE_CANNOT_CREATE_PATH);
    } else if (memchr(task->levels, 0, levels) != NULL) {
        /* Made by somebody else between our two looks: it may be a file, or gone again. */
        pg_again(pg, take_task(link));
    } else if (!task->is_applied) {
        look(pg, take_task(link));
    } else {
        commit_tree(link, levels);
    }
}

static const struct pg_work tree = {.answer = take_tree, .end = end_tree};

static void start_tree(struct pg_link *link)
{
    struct pg_task *task = link->tasks;
    unsigned levels = count_levels(task->operation->path);
    struct pg_values values = {0};
    free(task->levels);
    task->levels = calloc(levels, 1);
    if (task->levels == NULL) {
        pg_complete(link->store, take_task(link), STORE_NO_MEMORY);
        return;
    }
    task->is_applied = false;
    pg_place_values(&values, task->operation->path);
    pg_value(&values, task->operation->text);
    pg_link_begin(link, &tree);
    pg_link_send(link, PG_BEGIN, NULL);
    send_levels(link, PG_HOLD, levels);
    send_levels(link, PG_DIRECTORY, levels);
    pg_link_send(link, PG_CREATE_TOP, &values);
    pg_link_go(link);
}

/* ---- DELETE of a directory ---- */

enum { REMOVE_LOOK = 1, REMOVE_LOCK, REMOVE };

static void take_removal(struct pg_link *link, unsigned index, const PGresult *result)
{
    struct pg_task *task = link->tasks;
    if (index == REMOVE_LOOK)
        pg_take_look(task, result);
    if (index == REMOVE_LOCK) {
        task->target = 0;
        if (PQntuples(result) == 1)
            task->target = PQgetvalue(result, 0, 0)[0] == 't' ? 'd' : 'f';
    }
    if (index == REMOVE)
        task->is_applied = strcmp(PQcmdTuples((PGresult *)result), "1") == 0;
}

static void end_removal(struct pg_link *link)
{
    store_result result = STORE_DONE;
    if (!pg_end_commit(link))
        return;
    struct pg_task *task = take_task(link);
    if (task->target == 0)
        result = pg_missing(task);
    else if (task->target == 'f')
        result = STORE_IS_FILE;
    else if (!task->is_applied)
        result = STORE_NOT_EMPTY;
    pg_complete(link->store, task, result);
}

static const struct pg_work removal = {.answer = take_removal, .end = end_removal};

static void start_removal(struct pg_link *link)
{
    struct pg_task *task = link->tasks;
    struct pg_values place = {0}, look = {0};
    pg_place_values(&place, task->operation->path);
    look = place;
    pg_place_values(&look, sttp_parent_path(task->operation->path));
    task->is_applied = false;
    task->made = 0;
    pg_begin_tasks(link);
    pg_link_begin(link, &removal);
    pg_link_send(link, PG_BEGIN, NULL);
    pg_link_send(link, PG_LOOK, &look);
    pg_link_send(link, PG_LOCK, &place);
    pg_value(&place, task->operation->path);
    pg_link_send(link, PG_REMOVE, &place);
    pg_send_commit(link);
    pg_link_go(link);
}

void pg_start_special(struct pg_link *link)
{
    link->tasks = pg_line_take(&link->store->lines[PG_TASK_SPECIAL]);
    link->count = 1;
    if (link->tasks->operation->action == STTP_ACTION_CREATE)
        start_tree(link);
    else
        start_removal(link);
}
