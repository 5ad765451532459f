/* Connections that come and go, and operations that wait for them. One connection is made at a
 * time, with pauses that grow while it fails, up to a cap, and are drawn at random so that servers
 * do not come back together. */
#include <stdio.h>

#include "sttpd/store_postgres_private.h"

enum { FIRST_DELAY = 50, MAX_DELAY = 2000 /* ms */, TICK = 50000 /* microseconds */ };

/* ---- making them ---- */

static struct pg_link *next_away(const struct pg_store *pg)
{
    /* Work before news. */
    for (unsigned i = 0; i < pg->count; i++)
        if (pg->links[i].conn == NULL)
            return &pg->links[i];
    return NULL;
}

void pg_connect_next(struct pg_store *pg)
{
    struct pg_link *link = next_away(pg);
    /* Without a connector the store is just being opened: it connects when it runs. */
    if (link == NULL || pg->connector == NULL || pg->connecting != NULL || pg->is_closing ||
        event_pending(&pg->retry, EV_TIMEOUT, NULL))
        return;
    pg->connecting = link;
    pg_connector_order(pg->connector, link->kind == PG_LINK_WATCH);
}

static void retry_later(struct pg_store *pg)
{
    unsigned delay = pg->delay * 2;
    pg->delay = delay < FIRST_DELAY ? FIRST_DELAY : delay > MAX_DELAY ? MAX_DELAY : delay;
    uint64_t pause = pg->delay / 2 + pg_random(pg) % (pg->delay / 2 + 1);
    struct timeval interval = {.tv_sec = (time_t)(pause / 1000),
                               .tv_usec = (suseconds_t)(pause % 1000 * 1000)};
    evtimer_add(&pg->retry, &interval);
}

static void tell_failure(struct pg_store *pg, const char *error)
{
    if (pg->is_told)
        return;
    pg->is_told = true;
    log_write(pg->log, LOG_LEVEL_WARNING,
              "the PostgreSQL database: %u of %u connections, and no other can be made: %s; trying "
              "again",
              pg->up, pg->pool, error);
}

static void tell_success(struct pg_store *pg)
{
    if (!pg->is_told)
        return;
    pg->is_told = false;
    log_write(pg->log, LOG_LEVEL_INFO, "the PostgreSQL database is connected again");
}

void pg_connected(struct pg_store *pg)
{
    struct pg_link *link = pg->connecting;
    char error[PG_ERROR];
    PGconn *conn = NULL;
    if (link == NULL || !pg_connector_take(pg->connector, &conn, error, sizeof error))
        return;
    pg->connecting = NULL;
    if (conn != NULL && !pg_link_adopt(link, conn)) {
        snprintf(error, sizeof error, PG_NO_ROOM);
        conn = NULL;
    }
    if (conn == NULL) {
        tell_failure(pg, error);
        retry_later(pg);
        return;
    }
    tell_success(pg);
    pg->delay = 0;
    if (link->kind == PG_LINK_POOL) {
        pg->up++;
        pg->is_away = false;
    }
    if (link->kind == PG_LINK_WATCH)
        pg_watch_start(link);
    pg_connect_next(pg);
}

void pg_link_is_away(struct pg_link *link)
{
    struct pg_store *pg = link->store;
    if (link->kind == PG_LINK_POOL)
        pg->up--;
    pg_connect_next(pg);
    pg_tick_later(pg);
}

/* ---- waiting for them ---- */

static bool has_waiting(const struct pg_store *pg)
{
    for (unsigned i = 0; i < PG_KINDS; i++)
        if (pg->lines[i].first != NULL)
            return true;
    return false;
}

static bool has_work(const struct pg_store *pg)
{
    for (unsigned i = 0; i < pg->count; i++)
        if (pg->links[i].work != NULL)
            return true;
    return false;
}

void pg_tick_later(struct pg_store *pg)
{
    if (pg->is_ticking || !(has_waiting(pg) || has_work(pg)))
        return;
    pg->is_ticking = evtimer_add(&pg->tick, &(struct timeval){.tv_usec = TICK}) == 0;
}

/* Lines are in the order of their deadlines, about. */
static void expire(struct pg_store *pg, struct pg_line *line, uint64_t now)
{
    while (line->first != NULL && line->first->deadline <= now) {
        pg->is_away = pg->up == 0;
        pg_complete(pg, pg_line_take(line), pg->is_away ? STORE_UNAVAILABLE : STORE_BUSY);
    }
}

/* All that waits ends with the first one. */
static void expire_all(struct pg_store *pg, struct pg_line *line)
{
    while (pg->is_away && line->first != NULL)
        pg_complete(pg, pg_line_take(line), STORE_UNAVAILABLE);
}

void pg_tick(struct pg_store *pg)
{
    uint64_t now = pg_now();
    pg->is_ticking = false;
    for (unsigned i = 0; i < pg->count; i++) {
        struct pg_link *link = &pg->links[i];
        if (link->conn != NULL && link->work != NULL && link->deadline <= now)
            pg_link_lose(link);
    }
    for (unsigned i = 0; i < PG_KINDS; i++)
        expire(pg, &pg->lines[i], now);
    for (unsigned i = 0; i < PG_KINDS; i++)
        expire_all(pg, &pg->lines[i]);
    pg_tick_later(pg);
}
