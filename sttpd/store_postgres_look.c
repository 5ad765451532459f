/* What is at a path, and at its parent's: for SHOW, and for changes that found nothing to change.
 * Those that wait together leave together.
 *
 * A client that sends two SHOWs of a path shall not be told of a change by another server and then
 * of what was before. So looks at one path are answered in their order: while one is under way on a
 * connection, others wait, or follow on the same one. What is counted is not paths but places that
 * they fall on; if two share one, that costs a little time. */
#include <string.h>

#include "sttpd/store_postgres_private.h"

enum { MAX_LOOKS = 64, MAX_SEEN = 4 * MAX_LOOKS };

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

static struct pg_spot *spot_of(struct pg_store *pg, const struct pg_task *task)
{
    return &pg->spots[task->spot % PG_SPOTS];
}

static void leave_spots(struct pg_link *link)
{
    for (const struct pg_task *task = link->tasks; task != NULL; task = task->next)
        spot_of(link->store, task)->looks--;
}

static void take_answer(struct pg_link *link, unsigned index, const PGresult *result)
{
    if (index == 0)
        link->next = link->tasks;
    pg_take_look(link->next, result);
    link->next = link->next->next;
}

static void end_looks(struct pg_link *link)
{
    leave_spots(link);
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

static bool may_go(const struct pg_link *link, const struct pg_task *task)
{
    const struct pg_spot *spot = spot_of(link->store, task);
    if (spot->looks > 0 && spot->link != link)
        return false;
    return link->count == 0 || (!task->alone && !link->tasks->alone);
}

/* Takes what may go, in its order; the rest stays in the line. */
static void gather(struct pg_link *link)
{
    struct pg_line *line = &link->store->lines[PG_TASK_LOOK];
    struct pg_task **end = &link->tasks, **place = &line->first;
    unsigned seen = 0;
    link->count = 0;
    while (*place != NULL && link->count < MAX_LOOKS && seen++ < MAX_SEEN) {
        struct pg_task *task = *place;
        if (!may_go(link, task)) {
            place = &task->next;
            continue;
        }
        *place = task->next;
        *end = task;
        end = &task->next;
        link->count++;
        spot_of(link->store, task)->looks++;
        spot_of(link->store, task)->link = link;
    }
    *end = NULL;
    if (*place == NULL)
        line->last = place;
}

bool pg_start_looks(struct pg_link *link)
{
    gather(link);
    if (link->count == 0)
        return false;
    pg_link_begin(link, &looks);
    for (struct pg_task *task = link->tasks; task != NULL; task = task->next) {
        struct pg_values values = {0};
        pg_place_values(&values, task->operation->path);
        pg_place_values(&values, sttp_parent_path(task->operation->path));
        pg_link_send(link, PG_LOOK, &values);
    }
    pg_link_go(link);
    return true;
}
