/* A connection, in pipeline mode: the statements of a work leave together, behind them a Sync, and
 * the answers come in their order. When the work has ended and has left a transaction open, that is
 * rolled back before the connection is idle. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sttpd/store_postgres_private.h"

/* ---- sending ---- */

static void ignore_answer(struct pg_link *link, unsigned index, const PGresult *result)
{
    (void)link, (void)index, (void)result;
}

static void end_cleaning(struct pg_link *link)
{
    if (link->failure.state[0] != '\0')
        link->is_broken = true;
}

static const struct pg_work cleaning = {.answer = ignore_answer, .end = end_cleaning};

void pg_link_begin(struct pg_link *link, const struct pg_work *work)
{
    link->work = work;
    link->sent = 0;
    link->answered = 0;
    link->commit = UINT_MAX;
    link->is_complete = false;
    link->has_result = false;
    link->failure = (struct pg_failure){.state = ""};
    link->deadline = pg_now() + STORE_POSTGRES_ANSWER;
}

unsigned pg_link_send(struct pg_link *link, enum pg_statement statement,
                      const struct pg_values *values)
{
    static const int formats[PG_MAX_VALUES] = {1, 1, 1, 1, 1, 1, 1, 1};
    char name[8];
    pg_statement_name(statement, name);
    if (!link->is_broken &&
        PQsendQueryPrepared(link->conn, name, values == NULL ? 0 : values->count,
                            values == NULL ? NULL : values->data,
                            values == NULL ? NULL : values->sizes, formats, 0) != 1)
        link->is_broken = true;
    return link->sent++;
}

/* Sends what waits, and listens for what the rest waits for. */
static void flush(struct pg_link *link)
{
    int rest = link->is_broken ? -1 : PQflush(link->conn);
    if (rest == -1)
        link->is_broken = true;
    if (rest == 1 && !link->is_waiting && event_add(&link->writable, NULL) == -1)
        link->is_broken = true;
    else
        link->is_waiting = rest == 1;
}

void pg_link_go(struct pg_link *link)
{
    /* Where its statements could not all be taken, nothing of the work can have been done: the last
     * one is COMMIT. */
    link->is_complete = !link->is_broken;
    if (!link->is_broken)
        link->is_broken = PQpipelineSync(link->conn) != 1;
    flush(link);
    if (link->is_broken)
        event_active(&link->readable, EV_READ, 0); /* it is lost there, not within this call */
    pg_tick_later(link->store);
}

/* ---- receiving ---- */

static void note_failure(struct pg_link *link, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (link->failure.state[0] != '\0')
        return;
    /* What libpq itself has found has none: the connection will be seen to be lost. */
    if (state == NULL || PQstatus(link->conn) == CONNECTION_BAD)
        link->is_broken = true;
    if (state != NULL) {
        snprintf(link->failure.state, sizeof link->failure.state, "%s", state);
        link->failure.index = link->answered;
    }
}

/* A COMMIT of a transaction that has failed goes well, and rolls it back: only its tag tells. */
static void note_rollback(struct pg_link *link, const PGresult *result)
{
    if (link->answered != link->commit || strcmp(PQcmdStatus((PGresult *)result), "ROLLBACK") != 0)
        return;
    snprintf(link->failure.state, sizeof link->failure.state, PG_ROLLED_BACK);
    link->failure.index = link->answered;
}

static void end_work(struct pg_link *link)
{
    const struct pg_work *work = link->work;
    link->work = NULL;
    if (link->failure.state[0] != '\0' && pg_verdict_of(link->failure.state) == PG_MOVE)
        link->is_broken = true;
    work->end(link);
    if (link->work != NULL || link->is_broken || PQtransactionStatus(link->conn) == PQTRANS_IDLE)
        return;
    pg_link_begin(link, &cleaning);
    pg_link_send(link, PG_ROLLBACK, NULL);
    pg_link_go(link);
}

static void take(struct pg_link *link, const PGresult *result)
{
    switch (PQresultStatus(result)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
        link->has_result = true;
        if (link->failure.state[0] == '\0')
            note_rollback(link, result);
        if (link->failure.state[0] == '\0')
            link->work->answer(link, link->answered, result);
        break;
    case PGRES_PIPELINE_SYNC:
        end_work(link);
        break;
    case PGRES_PIPELINE_ABORTED:
        link->has_result = true;
        break;
    default:
        link->has_result = true;
        note_failure(link, result);
        break;
    }
}

/* After the results of each statement there is none. */
static void take_none(struct pg_link *link)
{
    if (link->has_result)
        link->answered++;
    else
        link->is_broken = true; /* an answer without anything: libpq had no memory for it */
    link->has_result = false;
}

static void receive(struct pg_link *link)
{
    if (PQconsumeInput(link->conn) == 0)
        link->is_broken = true;
    /* What came before the end counts still: it may be the answer to a COMMIT. */
    while (link->work != NULL && PQisBusy(link->conn) == 0) {
        PGresult *result = PQgetResult(link->conn);
        if (result != NULL)
            take(link, result);
        else
            take_none(link);
        PQclear(result);
        if (result == NULL && link->is_broken)
            break;
    }
    if (PQstatus(link->conn) == CONNECTION_BAD)
        link->is_broken = true;
}

static void on_readable(evutil_socket_t fd, short events, void *context)
{
    (void)fd, (void)events;
    struct pg_link *link = context;
    struct pg_store *pg = link->store;
    if (link->conn == NULL)
        return;
    receive(link);
    if (!link->is_broken && link->kind == PG_LINK_WATCH)
        pg_watch_heard(link);
    if (!link->is_broken)
        flush(link);
    if (link->is_broken)
        pg_link_lose(link);
    pg_dispatch(pg);
}

static void on_writable(evutil_socket_t fd, short events, void *context)
{
    (void)fd, (void)events;
    struct pg_link *link = context;
    struct pg_store *pg = link->store;
    link->is_waiting = false;
    /* To take what has come lets the server go on, where it waits for that. */
    if (PQconsumeInput(link->conn) == 0)
        link->is_broken = true;
    flush(link);
    if (link->is_broken)
        pg_link_lose(link);
    pg_dispatch(pg);
}

/* ---- coming and going ---- */

/* "canceling the wait for synchronous replication", and then the commit succeeds. */
static void notice(void *context, const PGresult *result)
{
    struct pg_link *link = context;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (severity != NULL && strcmp(severity, "WARNING") == 0)
        link->failure.warned = true;
}

/* libpq closes the socket as soon as it is lost, and its number may then be another one's: so we
 * watch one of our own. */
static bool watch(struct pg_link *link)
{
    struct event_base *events = link->store->events;
    link->socket = fcntl(PQsocket(link->conn), F_DUPFD_CLOEXEC, 0);
    event_assign(&link->readable, events, link->socket, EV_READ | EV_PERSIST, on_readable, link);
    event_assign(&link->writable, events, link->socket, EV_WRITE, on_writable, link);
    return link->socket != -1 && event_add(&link->readable, NULL) == 0;
}

bool pg_link_adopt(struct pg_link *link, PGconn *conn)
{
    link->conn = conn;
    link->is_broken = false;
    link->is_waiting = false;
    link->work = NULL;
    PQsetNoticeReceiver(conn, notice, link);
    if (watch(link))
        return true;
    pg_link_close(link);
    return false;
}

void pg_link_close(struct pg_link *link)
{
    if (link->conn == NULL)
        return;
    event_del(&link->readable);
    event_del(&link->writable);
    if (link->socket != -1)
        close(link->socket);
    PQfinish(link->conn);
    link->conn = NULL;
}

void pg_link_lose(struct pg_link *link)
{
    const struct pg_work *work = link->work;
    link->is_broken = true;
    link->failure.lost = true;
    link->failure.unsent = !link->is_complete;
    if (link->failure.state[0] == '\0')
        link->failure.index = link->answered;
    link->work = NULL;
    if (work != NULL)
        work->end(link);
    pg_link_close(link);
    pg_link_is_away(link);
}
