/* Changes that wait together are one transaction: BEGIN, a statement for each, what is to be told
 * of them, COMMIT; all of it leaves at once. None of the statements fails where what it wants to
 * change is not there, or is there already: it changes nothing then, and what is there is looked up
 * afterwards. They are in the order of their paths, so that batches of several servers do not wait
 * for each other in a circle. */
#include <stdlib.h>
#include <string.h>

#include "sttpd/store_postgres_private.h"

enum { MAX_BATCH = 256 };

/* ---- what every work that commits has in common ---- */

void pg_begin_tasks(struct pg_link *link)
{
    for (struct pg_task *task = link->tasks; task != NULL; task = task->next)
        if (task->operation->begin != NULL)
            task->operation->begin(task->operation, task->made);
}

static void end_tasks(struct pg_link *link)
{
    for (struct pg_task *task = link->tasks; task != NULL; task = task->next)
        if (task->operation->end != NULL)
            task->operation->end(task->operation);
}

void pg_send_commit(struct pg_link *link)
{
    struct pg_store *pg = link->store;
    const struct pg_task *task = link->tasks;
    while (pg->profile.notifies && task != NULL) {
        char payload[PG_PAYLOAD];
        struct pg_values values = {0};
        size_t size = pg_payload(pg->speaker, &task, payload);
        pg_value(&values, (sttp_slice){pg->profile.channel, strlen(pg->profile.channel)});
        pg_value(&values, (sttp_slice){payload, size});
        pg_link_send(link, PG_NOTIFY, &values);
    }
    link->commit = pg_link_send(link, PG_COMMIT, NULL);
}

static struct pg_task *take_tasks(struct pg_link *link)
{
    struct pg_task *tasks = link->tasks;
    link->tasks = NULL;
    link->count = 0;
    return tasks;
}

static void complete_all(struct pg_link *link, store_result result)
{
    struct pg_task *next;
    for (struct pg_task *task = take_tasks(link); task != NULL; task = next) {
        next = task->next;
        pg_complete(link->store, task, result);
    }
}

/* Whether a task that could be tried again is over; *result is what it ends with then. */
static bool is_over(const struct pg_link *link, struct pg_task *task, store_result *result)
{
    *result = link->failure.lost ? STORE_UNAVAILABLE : STORE_BUSY;
    return task->deadline <= pg_now() || ++task->tries >= PG_MAX_TRIES;
}

/* Of those that were together one has failed: each has to show by itself whether it was that one,
 * and has time for it. */
static void part(struct pg_link *link)
{
    for (struct pg_task *task = link->tasks; task != NULL; task = task->next) {
        task->alone = true;
        task->deadline = pg_now() + STORE_POSTGRES_WAIT;
    }
}

/* Those among which one waits for a lock hold up no others: they come behind them. */
static void let_others_pass(struct pg_link *link)
{
    struct pg_task *next;
    for (struct pg_task *task = take_tasks(link); task != NULL; task = next) {
        store_result result;
        next = task->next;
        task->alone = true;
        if (is_over(link, task, &result))
            pg_complete(link->store, task, result);
        else
            pg_wait(link->store, task);
    }
}

/* They keep their order. */
static void retry_all(struct pg_link *link)
{
    struct pg_task *kept = NULL, **end = &kept, *next;
    for (struct pg_task *task = take_tasks(link); task != NULL; task = next) {
        store_result result;
        next = task->next;
        task->next = NULL;
        if (is_over(link, task, &result)) {
            pg_complete(link->store, task, result);
            continue;
        }
        *end = task;
        end = &task->next;
    }
    pg_wait_first(link->store, kept);
}

void pg_fail_tasks(struct pg_link *link)
{
    const char *state = link->failure.state;
    enum pg_verdict verdict = state[0] != '\0' ? pg_verdict_of(state) : PG_MOVE;
    bool is_together = link->count > 1;
    if (verdict == PG_GIVE_UP && !is_together) {
        complete_all(link, pg_result_of(state));
        return;
    }
    if (is_together && (verdict == PG_GIVE_UP || verdict == PG_PART))
        part(link);
    if (verdict == PG_PART)
        let_others_pass(link);
    else
        retry_all(link);
}

/* What is known of a transaction whose end was not told. */
enum outcome { COMMITTED, NOTHING_CHANGED, UNKNOWN };

static enum outcome outcome_of(const struct pg_link *link)
{
    /* Errors at a COMMIT that say that it was rolled back; others may have come behind it. */
    static const char *const definite[] = {"40001", "40P01", "23", "53100", PG_ROLLED_BACK};
    const struct pg_failure *failure = &link->failure;
    if (failure->state[0] == '\0' && !failure->lost)
        return failure->warned ? UNKNOWN : COMMITTED;
    if (failure->index < link->commit && failure->state[0] != '\0')
        return NOTHING_CHANGED;
    for (size_t i = 0; i < sizeof definite / sizeof *definite; i++)
        if (failure->state[0] != '\0' &&
            strncmp(failure->state, definite[i], strlen(definite[i])) == 0)
            return NOTHING_CHANGED;
    if (failure->state[0] == '\0' && failure->index > link->commit)
        return failure->warned ? UNKNOWN : COMMITTED;
    return failure->unsent ? NOTHING_CHANGED : UNKNOWN;
}

bool pg_end_commit(struct pg_link *link)
{
    enum outcome outcome = outcome_of(link);
    end_tasks(link);
    if (outcome == UNKNOWN) {
        /* It may be committed later than anybody expects. What it tells then must not be taken for
         * something that this server knows of. */
        pg_draw_name(link->store, link->store->speaker);
        complete_all(link, STORE_OUTCOME_UNKNOWN);
    }
    if (outcome == NOTHING_CHANGED)
        pg_fail_tasks(link);
    return outcome == COMMITTED;
}

/* ---- a batch ---- */

static int by_path(const void *left, const void *right)
{
    const struct pg_task *a = *(struct pg_task *const *)left, *b = *(struct pg_task *const *)right;
    sttp_slice x = a->operation->path, y = b->operation->path;
    int order = memcmp(x.data, y.data, x.size < y.size ? x.size : y.size);
    return order != 0 ? order : (x.size > y.size) - (x.size < y.size);
}

/* Takes what goes together, in order. */
static void gather(struct pg_link *link)
{
    struct pg_line *line = &link->store->lines[PG_TASK_CHANGE];
    struct pg_task *tasks[MAX_BATCH];
    unsigned count = 0;
    do
        tasks[count++] = pg_line_take(line);
    while (count < MAX_BATCH && line->first != NULL && !line->first->alone && !tasks[0]->alone);
    qsort(tasks, count, sizeof *tasks, by_path);
    for (unsigned i = 0; i < count; i++)
        tasks[i]->next = i + 1 < count ? tasks[i + 1] : NULL;
    link->tasks = tasks[0];
    link->count = count;
}

static void send_change(struct pg_link *link, struct pg_task *task)
{
    const store_operation *operation = task->operation;
    struct pg_values values = {0};
    pg_place_values(&values, operation->path);
    task->is_applied = false;
    task->made = 0;
    if (operation->action == STTP_ACTION_DELETE) {
        pg_link_send(link, PG_DELETE, &values);
        return;
    }
    pg_value(&values, operation->text);
    if (operation->action == STTP_ACTION_UPDATE) {
        pg_link_send(link, PG_UPDATE, &values);
    } else if (values.sizes[0] == 1) {
        pg_link_send(link, PG_CREATE_TOP, &values);
    } else {
        pg_place_values(&values, sttp_parent_path(operation->path));
        pg_link_send(link, PG_CREATE, &values);
    }
}

static void take_answer(struct pg_link *link, unsigned index, const PGresult *result)
{
    if (index == 0)
        link->next = link->tasks;
    if (index < 1 || index > link->count)
        return;
    link->next->is_applied = strcmp(PQcmdTuples((PGresult *)result), "1") == 0;
    link->next = link->next->next;
}

/* What was there in its place, or was not, is asked for next. */
static void end_batch(struct pg_link *link)
{
    struct pg_task *next;
    if (!pg_end_commit(link))
        return;
    for (struct pg_task *task = take_tasks(link); task != NULL; task = next) {
        next = task->next;
        if (task->is_applied) {
            pg_complete(link->store, task, STORE_DONE);
        } else {
            task->kind = PG_TASK_LOOK;
            pg_wait(link->store, task);
        }
    }
}

static const struct pg_work batch = {.answer = take_answer, .end = end_batch};

void pg_start_changes(struct pg_link *link)
{
    gather(link);
    pg_begin_tasks(link);
    pg_link_begin(link, &batch);
    pg_link_send(link, PG_BEGIN, NULL);
    for (struct pg_task *task = link->tasks; task != NULL; task = task->next)
        send_change(link, task);
    pg_send_commit(link);
    pg_link_go(link);
}
