/* What is at a path, and at its parent's: for SHOW, and for changes that found nothing to change.
 * Those that wait together leave together. */
#include <string.h>

#include "sttpd/store_postgres_private.h"

enum { MAX_LOOKS = 64 };

/* ---- what was seen ---- */

static void take_text(struct pg_task *task, const PGresult *result, int row)
{
    store_operation *operation = task->operation;
    sttp_slice text = {PQgetvalue(result, row, 2), (size_t)PQgetlength(result, row, 2)};
    task->is_text_valid = !PQgetisnull(result, row, 2) && text.size <= STTP_MAX_CONTENTS_BYTES &&
                          sttp_check_text(text, NULL) == STTP_OK;
    if (!task->is_text_valid)
        return;
    memcpy(operation->shown, text.data, text.size);
    operation->contents = (sttp_slice){operation->shown, text.size};
}

void pg_take_look(struct pg_task *task, const PGresult *result)
{
    task->target = task->parent = 0;
    if (sttp_parent_path(task->operation->path).size == 1)
        task->parent = 'd'; /* the root is always there */
    for (int row = 0; row < PQntuples(result); row++) {
        char kind = PQgetvalue(result, row, 1)[0] == 't' ? 'd' : 'f';
        if (PQgetvalue(result, row, 0)[0] == '1') {
            task->parent = kind;
            continue;
        }
        task->target = kind;
        if (kind == 'f' && task->operation->action == STTP_ACTION_SHOW)
            take_text(task, result, row);
    }
}

store_result pg_missing(const struct pg_task *task)
{
    return task->parent == 'd' ? STORE_NOT_FOUND : STORE_PATH_NOT_FOUND;
}

/* ---- what follows from it ---- */

static void end_show(struct pg_store *pg, struct pg_task *task)
{
    store_result result = task->is_text_valid ? STORE_DONE : STORE_INVALID_TEXT;
    if (task->target == 'd')
        result = STORE_IS_DIRECTORY;
    else if (task->target == 0)
        result = pg_missing(task);
    pg_complete(pg, task, result);
}

/* What was not there to be created in, or changed, and is there now: somebody else was at work. */
static void try_again(struct pg_store *pg, struct pg_task *task, enum pg_kind kind)
{
    task->kind = kind;
    pg_again(pg, task);
}

static void end_create(struct pg_store *pg, struct pg_task *task)
{
    if (task->target != 0)
        pg_complete(pg, task, task->target == 'd' ? STORE_IS_DIRECTORY : STORE_EXISTS);
    else
        try_again(pg, task, task->parent == 'd' ? PG_TASK_CHANGE : PG_TASK_SPECIAL);
}

static void end_look(struct pg_store *pg, struct pg_task *task)
{
    if (task->operation->action == STTP_ACTION_SHOW)
        end_show(pg, task);
    else if (task->operation->action == STTP_ACTION_CREATE)
        end_create(pg, task);
    else if (task->target == 'f')
        try_again(pg, task, PG_TASK_CHANGE);
    else
        pg_complete(pg, task, task->target == 'd' ? STORE_IS_DIRECTORY : pg_missing(task));
}

/* ---- the work ---- */

static void take_answer(struct pg_link *link, unsigned index, const PGresult *result)
{
    if (index == 0)
        link->next = link->tasks;
    pg_take_look(link->next, result);
    link->next = link->next->next;
}

static void end_looks(struct pg_link *link)
{
    if (link->failure.lost || link->failure.state[0] != '\0') {
        pg_fail_tasks(link);
        return;
    }
    struct pg_task *task = link->tasks, *next;
    link->tasks = NULL;
    link->count = 0;
    for (; task != NULL; task = next) {
        next = task->next;
        end_look(link->store, task);
    }
}

static const struct pg_work looks = {.answer = take_answer, .end = end_looks};

static void gather(struct pg_link *link)
{
    struct pg_line *line = &link->store->lines[PG_TASK_LOOK];
    struct pg_task **end = &link->tasks;
    link->count = 0;
    do {
        *end = pg_line_take(line);
        end = &(*end)->next;
        link->count++;
    } while (link->count < MAX_LOOKS && line->first != NULL && !line->first->alone &&
             !link->tasks->alone);
}

void pg_start_looks(struct pg_link *link)
{
    gather(link);
    pg_link_begin(link, &looks);
    for (struct pg_task *task = link->tasks; task != NULL; task = task->next) {
        struct pg_values values = {0};
        pg_place_values(&values, task->operation->path);
        pg_place_values(&values, sttp_parent_path(task->operation->path));
        pg_link_send(link, PG_LOOK, &values);
    }
    pg_link_go(link);
}
