/* Sessions are opened by a thread of their own, one after the other: a name's lookup blocks and
 * cannot be cancelled. Whoever ends the store waits for one that is being opened. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sttpd/store_postgres_private.h"

struct pg_connector {
    pthread_mutex_t lock;
    pthread_cond_t ordered;
    const struct pg_profile *profile;
    int wake;
    bool is_ordered, listens;
    bool is_done;
    bool is_stopped;
    PGconn *conn;
    char error[PG_ERROR];
    pthread_t thread;
};

static void destroy(struct pg_connector *connector)
{
    PQfinish(connector->conn);
    pthread_cond_destroy(&connector->ordered);
    pthread_mutex_destroy(&connector->lock);
    free(connector);
}

/* The lock is held, and let go meanwhile. */
static void fulfil(struct pg_connector *connector)
{
    char error[PG_ERROR] = "";
    bool listens = connector->listens;
    connector->is_ordered = false;
    pthread_mutex_unlock(&connector->lock);
    PGconn *conn = pg_session_open(connector->profile, listens, error, sizeof error);
    pthread_mutex_lock(&connector->lock);
    connector->conn = conn;
    memcpy(connector->error, error, sizeof error);
    connector->is_done = true;
    /* An eventfd takes it, unless it has been told often and nobody looked: then it is awake. */
    (void)!write(connector->wake, &(uint64_t){1}, sizeof(uint64_t));
}

static void *run(void *context)
{
    struct pg_connector *connector = context;
    pthread_mutex_lock(&connector->lock);
    while (!connector->is_stopped) {
        if (connector->is_ordered)
            fulfil(connector);
        else
            pthread_cond_wait(&connector->ordered, &connector->lock);
    }
    pthread_mutex_unlock(&connector->lock);
    return NULL;
}

struct pg_connector *pg_connector_start(const struct pg_profile *profile, int wake)
{
    struct pg_connector *connector = calloc(1, sizeof *connector);
    if (connector == NULL)
        return NULL;
    connector->profile = profile;
    connector->wake = wake;
    pthread_mutex_init(&connector->lock, NULL);
    pthread_cond_init(&connector->ordered, NULL);
    if (pthread_create(&connector->thread, NULL, run, connector) != 0) {
        destroy(connector);
        return NULL;
    }
    pthread_setname_np(connector->thread, "connect");
    return connector;
}

void pg_connector_order(struct pg_connector *connector, bool listens)
{
    pthread_mutex_lock(&connector->lock);
    connector->is_ordered = true;
    connector->is_done = false;
    connector->listens = listens;
    pthread_cond_signal(&connector->ordered);
    pthread_mutex_unlock(&connector->lock);
}

bool pg_connector_take(struct pg_connector *connector, PGconn **conn, char *error, size_t capacity)
{
    pthread_mutex_lock(&connector->lock);
    bool is_done = connector->is_done;
    if (is_done) {
        *conn = connector->conn;
        pg_one_line(connector->error, error, capacity);
        connector->conn = NULL;
        connector->is_done = false;
    }
    pthread_mutex_unlock(&connector->lock);
    return is_done;
}

void pg_connector_stop(struct pg_connector *connector)
{
    if (connector == NULL)
        return;
    pthread_mutex_lock(&connector->lock);
    connector->is_stopped = true;
    pthread_cond_signal(&connector->ordered);
    pthread_mutex_unlock(&connector->lock);
    pthread_join(connector->thread, NULL);
    destroy(connector);
}
