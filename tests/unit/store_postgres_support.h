/* What the tests of the PostgreSQL store share: a database that the environment names
 * (STTP_POSTGRES, a conninfo; tests/integration/postgres_support.py starts one), emptied before
 * each test, and operations that wait for their result. */
#ifndef STTP_TESTS_STORE_POSTGRES_SUPPORT_H
#define STTP_TESTS_STORE_POSTGRES_SUPPORT_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

#include "sttpd/store_postgres_private.h"

#define CREATE STTP_ACTION_CREATE
#define SHOW STTP_ACTION_SHOW
#define LIST STTP_ACTION_LIST
#define UPDATE STTP_ACTION_UPDATE
#define DELETE STTP_ACTION_DELETE

static log_sink quiet = {.fd = -1, .mutex = PTHREAD_MUTEX_INITIALIZER};
static PGconn *direct; /* the test's own connection */
static store *opened;

static inline const char *conninfo(void)
{
    const char *given = getenv("STTP_POSTGRES");
    ck_assert_msg(given != NULL, "STTP_POSTGRES names no database");
    return given;
}

/* Runs SQL; the first value of the first row, or "". Static memory. */
static inline const char *sql(const char *command)
{
    static char value[4096];
    PGresult *result = PQexec(direct, command);
    ExecStatusType status = PQresultStatus(result);
    ck_assert_msg(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK, "%s: %s", command,
                  PQerrorMessage(direct));
    bool has_value = PQntuples(result) > 0 && PQnfields(result) > 0;
    snprintf(value, sizeof value, "%s", has_value ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    return value;
}

static inline void no_notice(void *context, const PGresult *result)
{
    (void)context, (void)result;
}

static inline void empty_database(void)
{
    direct = PQconnectdb(conninfo());
    ck_assert_msg(PQstatus(direct) == CONNECTION_OK, "%s", PQerrorMessage(direct));
    PQsetNoticeReceiver(direct, no_notice, NULL);
    sql("DROP TABLE IF EXISTS sttp_entry, sttp_meta");
    opened = NULL;
}

static inline void leave_database(void)
{
    if (opened != NULL)
        ck_assert_int_eq(opened->close(opened), 0);
    opened = NULL;
    PQfinish(direct);
}

static inline store *open_postgres(const struct store_settings *given)
{
    struct store_settings settings = given == NULL ? (struct store_settings){0} : *given;
    char error[1024];
    store *made;
    settings.log = &quiet;
    if (settings.postgres_conninfo == NULL)
        settings.postgres_conninfo = conninfo();
    ck_assert_msg(store_postgres_open(&settings, &made, error, sizeof error), "%s", error);
    ck_assert_str_eq(error, "");
    return made;
}

struct waiting_operation {
    store_operation operation; /* first */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool done;
    int begun, ended; /* calls */
    size_t made;
};

static inline void wake_up(store_operation *operation)
{
    struct waiting_operation *waiting = (struct waiting_operation *)operation;
    pthread_mutex_lock(&waiting->lock);
    waiting->done = true;
    pthread_cond_signal(&waiting->wake);
    pthread_mutex_unlock(&waiting->lock);
}

static inline void note_begin(store_operation *operation, size_t made)
{
    struct waiting_operation *waiting = (struct waiting_operation *)operation;
    ck_assert_int_eq(waiting->begun, waiting->ended);
    waiting->begun++;
    waiting->made = made;
}

static inline void note_end(store_operation *operation)
{
    struct waiting_operation *waiting = (struct waiting_operation *)operation;
    waiting->ended++;
    ck_assert_int_eq(waiting->begun, waiting->ended);
    ck_assert(!waiting->done);
}

static inline void prepare(struct waiting_operation *waiting, sttp_action action, const char *path,
                           const char *text)
{
    *waiting = (struct waiting_operation){
        .operation = {.action = action,
                      .path = {path, strlen(path)},
                      .text = {text, text == NULL ? 0 : strlen(text)},
                      .complete = wake_up,
                      .begin = note_begin,
                      .end = note_end},
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .wake = PTHREAD_COND_INITIALIZER,
    };
}

static inline void await(struct waiting_operation *waiting)
{
    pthread_mutex_lock(&waiting->lock);
    while (!waiting->done)
        pthread_cond_wait(&waiting->wake, &waiting->lock);
    pthread_mutex_unlock(&waiting->lock);
    ck_assert_int_eq(waiting->begun, waiting->ended);
}

struct outcome {
    store_result result;
    size_t made;
    int begun;
    char contents[4096]; /* cut */
};

static inline struct outcome run_query(store *on, sttp_action action, const char *path,
                                       const char *text, const sttp_query *query)
{
    struct waiting_operation waiting;
    struct outcome outcome = {0};
    prepare(&waiting, action, path, text);
    if (query != NULL)
        waiting.operation.query = *query;
    on->submit(on, &waiting.operation);
    await(&waiting);
    const store_operation *done = &waiting.operation;
    if (done->contents.data != NULL)
        snprintf(outcome.contents, sizeof outcome.contents, "%.*s", (int)done->contents.size,
                 done->contents.data);
    free(done->names);
    outcome.result = done->result;
    outcome.made = waiting.made;
    outcome.begun = waiting.begun;
    return outcome;
}

static inline struct outcome run(sttp_action action, const char *path, const char *text)
{
    return run_query(opened, action, path, text, NULL);
}

static inline store_result result_of(sttp_action action, const char *path, const char *text)
{
    return run(action, path, text).result;
}

static inline int run_suite(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
