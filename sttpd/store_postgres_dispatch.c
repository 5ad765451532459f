/* Who works for whom: idle connections and the lines of tasks. */
#include <string.h>

#include "sttpd/store_postgres_private.h"

/* Notifications make the database commit one transaction after the other, so more than two at a
 * time only make each batch smaller. The second one waits until it has as many as the first: a
 * single change would cost as much time as all that come a moment later. But where the first is
 * slow, it may be waiting for a lock, which concerns nobody else. */
enum { MAX_BATCHES = 2, SLOW = 100 /* ms */ };

/* How many changes are under way; none count where a batch is slow. */
static unsigned count_under_way(const struct pg_store *pg)
{
    unsigned under_way = 0;
    uint64_t now = pg_now();
    for (unsigned i = 0; i < pg->pool; i++) {
        const struct pg_link *link = &pg->links[i];
        if (link->work == NULL || link->serves != PG_TASK_CHANGE)
            continue;
        if (now + STORE_POSTGRES_ANSWER >= link->deadline + SLOW)
            return 0;
        under_way += link->count;
    }
    return under_way;
}

static bool may_start_batch(const struct pg_store *pg, unsigned most)
{
    unsigned under_way = count_under_way(pg), waiting = 0;
    const struct pg_task *task = pg->lines[PG_TASK_CHANGE].first;
    for (; task != NULL && waiting < under_way; task = task->next)
        waiting++;
    return pg->busy[PG_TASK_CHANGE] < most && waiting >= under_way;
}

/* Of each kind so many links may work at once that another one is left, where there are several. */
static bool may_start(const struct pg_store *pg, enum pg_kind kind)
{
    unsigned half = pg->pool < 2 ? 1 : pg->pool / 2;
    unsigned most = pg->pool;
    if (pg->lines[kind].first == NULL)
        return false;
    if (kind == PG_TASK_CHANGE)
        return may_start_batch(pg, half < MAX_BATCHES ? half : MAX_BATCHES);
    if (kind != PG_TASK_LOOK)
        most = half;
    return pg->busy[kind] < most;
}

static bool start(struct pg_link *link, enum pg_kind kind)
{
    switch (kind) {
    case PG_TASK_CHANGE:
        pg_start_changes(link);
        break;
    case PG_TASK_SPECIAL:
        pg_start_special(link);
        break;
    case PG_TASK_LOOK:
        return pg_start_looks(link);
    case PG_TASK_LIST:
    case PG_KINDS:
        pg_start_list(link);
        break;
    }
    return true;
}

static void count_busy(struct pg_store *pg)
{
    memset(pg->busy, 0, sizeof pg->busy);
    for (unsigned i = 0; i < pg->pool; i++)
        if (pg->links[i].work != NULL && pg->links[i].count > 0)
            pg->busy[pg->links[i].serves]++;
}

/* Each kind is the first one in its turn, so that with one connection none is forgotten. */
static bool give_work(struct pg_store *pg, struct pg_link *link)
{
    count_busy(pg);
    for (unsigned i = 0; i < PG_KINDS; i++) {
        enum pg_kind kind = (enum pg_kind)((pg->turn + i) % PG_KINDS);
        if (!may_start(pg, kind))
            continue;
        link->serves = kind;
        if (!start(link, kind))
            continue;
        pg->turn = (unsigned)kind + 1;
        return true;
    }
    return false;
}

void pg_dispatch(struct pg_store *pg)
{
    pg_begin_released(pg);
    for (unsigned i = 0; i < pg->pool; i++) {
        while (pg_link_is_idle(&pg->links[i]) && give_work(pg, &pg->links[i]))
            pg_begin_released(pg);
    }
    pg_tick_later(pg);
}
