/* What servers that share a database tell each other, so that caches learn of changes. A
 * notification is the name that its server tells things under, and behind it, each after a space:
 *
 *     C4/a/b/f     a change: its action (C, U, D), of how many bytes the topmost directory is that
 *                  it made (0: none), and its path, in which there is no space
 *     P17          a ping, which its sender waits for itself
 *
 * It is committed with what it tells of, and the database hands all out in the order of their
 * commits: so when a ping is back, all that was committed before it was sent has been told. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sttpd/store_postgres_private.h"

/* Pings that take longer than so many intervals, and this many ms, are lost. */
enum { MAX_INTERVALS = 4, LEAST_PATIENCE = 2000 };

/* ---- what is said ---- */

static char letter_of(sttp_action action)
{
    return action == STTP_ACTION_CREATE ? 'C' : action == STTP_ACTION_UPDATE ? 'U' : 'D';
}

size_t pg_payload(const char *speaker, const struct pg_task **task, char payload[PG_PAYLOAD])
{
    size_t size = (size_t)snprintf(payload, PG_PAYLOAD, "%s", speaker);
    for (; *task != NULL; *task = (*task)->next) {
        const store_operation *operation = (*task)->operation;
        int written =
            snprintf(payload + size, PG_PAYLOAD - size, " %c%zu%.*s", letter_of(operation->action),
                     (*task)->made, (int)operation->path.size, operation->path.data);
        if (size + (size_t)written >= PG_PAYLOAD)
            break;
        size += (size_t)written;
    }
    return size;
}

/* ---- what is heard ---- */

static sttp_action action_of(char letter)
{
    switch (letter) {
    case 'C':
        return STTP_ACTION_CREATE;
    case 'U':
        return STTP_ACTION_UPDATE;
    case 'D':
        return STTP_ACTION_DELETE;
    default:
        return STTP_ACTION_NONE;
    }
}

/* One change, "C4/a/b/f". */
static bool hear_change(const struct store_watcher *watcher, sttp_slice word)
{
    sttp_action action = action_of(word.data[0]);
    size_t made = 0, i = 1;
    for (; i < word.size && word.data[i] >= '0' && word.data[i] <= '9' && made <= STTP_MAX_PATH;
         i++)
        made = 10 * made + (size_t)(word.data[i] - '0');
    sttp_slice path = {word.data + i, word.size - i};
    if (action == STTP_ACTION_NONE || i == 1 || path.size == 0 || path.data[0] != '/' ||
        path.size > STTP_MAX_PATH || made > path.size)
        return false;
    watcher->changed(watcher->context, action, path, made);
    return true;
}

bool pg_hear(const struct store_watcher *watcher, const char *payload)
{
    bool is_clear = true;
    const char *word = strchr(payload, ' ');
    while (word != NULL) {
        const char *end = strchrnul(++word, ' ');
        sttp_slice change = {word, (size_t)(end - word)};
        if (change.size == 0)
            is_clear = false;
        else if (change.data[0] != 'P')
            is_clear = hear_change(watcher, change) && is_clear;
        word = *end == ' ' ? end : NULL;
    }
    return is_clear;
}

static bool is_said_by(const char *payload, const char *name)
{
    size_t size = strlen(name);
    return strncmp(payload, name, size) == 0 && (payload[size] == ' ' || payload[size] == '\0');
}

static void take_ping(struct pg_watch *watch, const char *payload)
{
    char wanted[PG_SPEAKER + 32];
    snprintf(wanted, sizeof wanted, "%s P%llu", watch->name, (unsigned long long)watch->number);
    if (watch->sent == 0 || strcmp(payload, wanted) != 0)
        return;
    uint64_t sent = watch->sent;
    watch->sent = 0;
    watch->watcher->vouched(watch->watcher->context, sent);
}

static void take_notification(struct pg_store *pg, const PGnotify *notification)
{
    struct pg_watch *watch = &pg->watch;
    if (strcmp(notification->relname, pg->profile.channel) != 0)
        return;
    if (is_said_by(notification->extra, watch->name))
        take_ping(watch, notification->extra);
    /* Whoever may write into the database may also notify: what we cannot read may have told of
     * anything. */
    else if (!is_said_by(notification->extra, pg->speaker) &&
             !pg_hear(watch->watcher, notification->extra))
        watch->watcher->lost(watch->watcher->context);
}

void pg_watch_heard(struct pg_link *link)
{
    PGnotify *notification;
    while (link->conn != NULL && (notification = PQnotifies(link->conn)) != NULL) {
        take_notification(link->store, notification);
        PQfreemem(notification);
    }
}

/* ---- pings ---- */

static int64_t microseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* The database looked at its clock after it was asked, and before the answer was here. */
static void take_answer(struct pg_link *link, unsigned index, const PGresult *result)
{
    const struct pg_watch *watch = &link->store->watch;
    int64_t now = microseconds();
    char *end;
    if (index != 0 || PQntuples(result) != 1 || PQgetisnull(result, 0, 0))
        return;
    int64_t clock = strtoll(PQgetvalue(result, 0, 0), &end, 10);
    if (*end == '\0')
        watch->watcher->clock(watch->watcher->context, clock - now, clock - watch->asked);
}

static void end_ping(struct pg_link *link)
{
    if (link->failure.state[0] != '\0')
        link->is_broken = true;
}

static const struct pg_work ping = {.answer = take_answer, .end = end_ping};

static void send_ping(struct pg_link *link)
{
    struct pg_store *pg = link->store;
    struct pg_watch *watch = &pg->watch;
    char payload[PG_SPEAKER + 32];
    struct pg_values values = {0};
    snprintf(payload, sizeof payload, "%s P%llu", watch->name, (unsigned long long)++watch->number);
    pg_value(&values, (sttp_slice){pg->profile.channel, strlen(pg->profile.channel)});
    pg_value(&values, (sttp_slice){payload, strlen(payload)});
    watch->sent = pg_now();
    watch->asked = microseconds();
    pg_link_begin(link, &ping);
    pg_link_send(link, PG_CLOCK, NULL);
    pg_link_send(link, PG_NOTIFY, &values);
    pg_link_go(link);
}

static bool is_deaf(const struct pg_watch *watch)
{
    uint64_t patience = MAX_INTERVALS * watch->watcher->interval;
    if (patience < LEAST_PATIENCE)
        patience = LEAST_PATIENCE;
    return watch->sent != 0 && pg_now() >= watch->sent + patience;
}

static void next_ping_later(struct pg_store *pg)
{
    uint64_t interval = pg->watch.watcher->interval;
    struct timeval pause = {.tv_sec = (time_t)(interval / 1000),
                            .tv_usec = (suseconds_t)(interval % 1000 * 1000)};
    evtimer_add(&pg->watch.timer, &pause);
}

static void on_time(evutil_socket_t fd, short events, void *context)
{
    (void)fd, (void)events;
    struct pg_link *link = context;
    struct pg_store *pg = link->store;
    if (link->conn == NULL)
        return;
    next_ping_later(pg);
    if (is_deaf(&pg->watch))
        pg_link_lose(link);
    else if (pg_link_is_idle(link) && pg->watch.sent == 0)
        send_ping(link);
}

void pg_watch_prepare(struct pg_link *link)
{
    evtimer_assign(&link->store->watch.timer, link->store->events, on_time, link);
}

void pg_watch_start(struct pg_link *link)
{
    struct pg_store *pg = link->store;
    pg->watch.sent = 0;
    next_ping_later(pg);
    /* What was told while nobody listened is not known. From here on all is. */
    pg->watch.watcher->lost(pg->watch.watcher->context);
    send_ping(link);
}
