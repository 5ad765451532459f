/* Sessions are opened by a thread of their own, one after the other: libpq blocks while it looks up
 * names and goes through hosts, and cannot be cancelled. Whoever ends the store waits a moment for
 * that. A thread that hangs longer is left alone with all that it works on, and ends by itself; or
 * the process ends before it, and then without the ends of the libraries that it uses. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sttpd/store_postgres_private.h"

/* Many times what a host takes that is there. */
enum { PATIENCE = 1 /* s */ };

struct pg_connector {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct pg_profile profile; /* a copy */
    int wake;
    bool is_ordered, listens;
    bool is_connecting;
    bool is_done;
    bool is_stopped;
    bool is_left; /* nobody waits for the thread */
    PGconn *conn;
    char error[PG_ERROR];
    pthread_t thread;
};

static atomic_uint left; /* threads that are still there */

static void destroy(struct pg_connector *connector)
{
    PQfinish(connector->conn);
    pthread_cond_destroy(&connector->changed);
    pthread_mutex_destroy(&connector->lock);
    free(connector->profile.conninfo);
    free(connector);
}

/* The lock is held, and let go meanwhile. */
static void fulfil(struct pg_connector *connector)
{
    char error[PG_ERROR] = "";
    bool listens = connector->listens;
    connector->is_ordered = false;
    connector->is_connecting = true;
    pthread_mutex_unlock(&connector->lock);
    PGconn *conn = pg_session_open(&connector->profile, listens, error, sizeof error);
    pthread_mutex_lock(&connector->lock);
    connector->is_connecting = false;
    connector->conn = conn;
    if (connector->is_stopped) {
        pthread_cond_signal(&connector->changed);
        return;
    }
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
            pthread_cond_wait(&connector->changed, &connector->lock);
    }
    bool is_left = connector->is_left;
    pthread_mutex_unlock(&connector->lock);
    if (is_left) {
        destroy(connector);
        atomic_fetch_sub(&left, 1);
    }
    return NULL;
}

struct pg_connector *pg_connector_start(const struct pg_profile *profile, int wake)
{
    struct pg_connector *connector = calloc(1, sizeof *connector);
    if (connector == NULL)
        return NULL;
    connector->profile = *profile;
    connector->profile.conninfo = strdup(profile->conninfo);
    connector->wake = wake;
    pthread_mutex_init(&connector->lock, NULL);
    pthread_cond_init(&connector->changed, NULL);
    if (connector->profile.conninfo == NULL ||
        pthread_create(&connector->thread, NULL, run, connector) != 0) {
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
    pthread_cond_signal(&connector->changed);
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

static void end_at_once(int status, void *unused)
{
    (void)unused;
    if (atomic_load(&left) == 0)
        return;
    fflush(NULL);
    _exit(status);
}

/* Nobody waits for the thread any more. False where the process could end behind its back. The lock
 * is held. */
static bool leave(struct pg_connector *connector)
{
    if (on_exit(end_at_once, NULL) != 0)
        return false;
    atomic_fetch_add(&left, 1);
    connector->is_left = true;
    pthread_detach(connector->thread);
    return true;
}

/* The lock is held, and let go meanwhile. */
static void wait_for_session(struct pg_connector *connector)
{
    struct timespec give_up;
    int error = 0;
    clock_gettime(CLOCK_MONOTONIC, &give_up);
    give_up.tv_sec += PATIENCE;
    while (connector->is_connecting && error == 0)
        error = pthread_cond_clockwait(&connector->changed, &connector->lock, CLOCK_MONOTONIC,
                                       &give_up);
}

void pg_connector_stop(struct pg_connector *connector)
{
    if (connector == NULL)
        return;
    pthread_mutex_lock(&connector->lock);
    connector->is_stopped = true;
    pthread_cond_signal(&connector->changed);
    wait_for_session(connector);
    bool is_left = connector->is_connecting && leave(connector);
    pthread_mutex_unlock(&connector->lock);
    if (is_left)
        return;
    pthread_join(connector->thread, NULL);
    destroy(connector);
}
