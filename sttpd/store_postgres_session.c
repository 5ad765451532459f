/* Connecting, which blocks: so it runs where somebody may wait. Each step has an end: libpq keeps
 * the one of connecting (connect_timeout), STORE_POSTGRES_ANSWER that of each command. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "sttpd/store_postgres_private.h"

uint64_t pg_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void pg_one_line(const char *message, char *line, size_t capacity)
{
    size_t size = 0;
    for (; *message != '\0' && size + 1 < capacity; message++) {
        bool is_space = *message == '\n' || *message == '\t' || *message == ' ';
        if (!is_space)
            line[size++] = *message;
        else if (size > 0 && line[size - 1] != ' ')
            line[size++] = ' ';
    }
    while (size > 0 && line[size - 1] == ' ')
        size--;
    line[size] = '\0';
}

static void ignore_notice(void *context, const PGresult *result)
{
    (void)context, (void)result;
}

PGconn *pg_connect(const struct pg_profile *profile, char *error, size_t capacity)
{
    /* What stands before dbname is overridden by the conninfo; what stands behind it overrides. A
     * server that takes no changes is none for us, unless the operator wants it. */
    static const char *const keywords[] = {"connect_timeout",
                                           "target_session_attrs",
                                           "fallback_application_name",
                                           "keepalives_idle",
                                           "dbname",
                                           "client_encoding",
                                           NULL};
    const char *values[] = {"5", "read-write", "sttpd", "30", profile->conninfo, "UTF8", NULL};
    PGconn *conn = PQconnectdbParams(keywords, values, 1);
    if (conn != NULL && PQstatus(conn) == CONNECTION_OK && PQsetnonblocking(conn, 1) == 0) {
        PQsetNoticeReceiver(conn, ignore_notice, NULL);
        return conn;
    }
    if (capacity > 0)
        pg_one_line(conn == NULL ? strerror(ENOMEM) : PQerrorMessage(conn), error, capacity);
    PQfinish(conn);
    return NULL;
}

/* False where the connection failed, or the time is over. */
static bool wait_for_socket(PGconn *conn, short events, uint64_t deadline)
{
    uint64_t now = pg_now();
    struct pollfd descriptor = {.fd = PQsocket(conn), .events = events};
    if (now >= deadline)
        return false;
    int ready = poll(&descriptor, 1, (int)(deadline - now));
    return ready > 0 || (ready == -1 && errno == EINTR);
}

static bool await(PGconn *conn, uint64_t deadline)
{
    int rest = PQflush(conn);
    while (rest == 1 || (rest == 0 && PQisBusy(conn) == 1)) {
        if (!wait_for_socket(conn, (short)(rest == 1 ? POLLIN | POLLOUT : POLLIN), deadline) ||
            PQconsumeInput(conn) == 0)
            return false;
        rest = PQflush(conn);
    }
    return rest == 0;
}

/* The last result of what was sent. */
static PGresult *answer_of(PGconn *conn, bool is_sent)
{
    uint64_t deadline = pg_now() + STORE_POSTGRES_ANSWER;
    PGresult *last = NULL;
    while (is_sent) {
        PGresult *result = await(conn, deadline) ? PQgetResult(conn) : NULL;
        if (result == NULL)
            break;
        PQclear(last);
        last = result;
    }
    return last;
}

PGresult *pg_ask(PGconn *conn, const char *command)
{
    return answer_of(conn, PQsendQuery(conn, command) == 1);
}

bool pg_tell(PGconn *conn, const char *command)
{
    PGresult *result = pg_ask(conn, command);
    ExecStatusType status = PQresultStatus(result);
    PQclear(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

bool pg_prepare_all(const struct pg_profile *profile, PGconn *conn, char *error, size_t capacity)
{
    unsigned count = profile->notifies ? PG_STATEMENTS : PG_NOTIFY;
    bool is_prepared = true;
    for (unsigned i = 0; i < count && is_prepared; i++) {
        char name[8];
        pg_statement_name((enum pg_statement)i, name);
        PGresult *result = answer_of(
            conn, PQsendPrepare(conn, name, pg_statement_sql((enum pg_statement)i), 0, NULL) == 1);
        is_prepared = PQresultStatus(result) == PGRES_COMMAND_OK;
        PQclear(result);
    }
    if (!is_prepared)
        pg_one_line(PQerrorMessage(conn), error, capacity);
    return is_prepared;
}

/* What makes us better behaved or faster where the engine knows it; others refuse it, and answers
 * are right without it. */
static void tune(const struct pg_profile *profile, PGconn *conn)
{
    /* Somebody who holds a lock and is gone shall not hold up others for long. */
    pg_tell(conn, "SET lock_timeout = '4s'");
    pg_tell(conn, "SET idle_in_transaction_session_timeout = '10s'");
    /* A plan that was made when the table was small stays in use when it is large. */
    pg_tell(conn, "SET enable_seqscan = off");
    pg_tell(conn, "SET jit = off");
    if (profile->durability == STORE_DURABILITY_ALWAYS)
        pg_tell(conn, "SELECT set_config('synchronous_commit', 'on', false)"
                      " WHERE current_setting('synchronous_commit') = 'off'");
    else
        pg_tell(conn, "SET synchronous_commit = off");
}

static bool listen_to(const struct pg_profile *profile, PGconn *conn)
{
    char command[PG_CHANNEL + 16];
    snprintf(command, sizeof command, "LISTEN %s", profile->channel);
    return pg_tell(conn, command);
}

PGconn *pg_session_open(const struct pg_profile *profile, bool listens, char *error,
                        size_t capacity)
{
    PGconn *conn = pg_connect(profile, error, capacity);
    if (conn == NULL)
        return NULL;
    tune(profile, conn);
    if (!pg_schema_check(profile, conn, error, capacity) ||
        !pg_prepare_all(profile, conn, error, capacity)) {
        PQfinish(conn);
        return NULL;
    }
    if ((!listens || listen_to(profile, conn)) && PQenterPipelineMode(conn) == 1)
        return conn;
    pg_one_line(PQerrorMessage(conn), error, capacity);
    PQfinish(conn);
    return NULL;
}
