/* The store's frame: an operation's way from `submit` to `complete`, the store's thread, opening
 * and closing. As in the file system store, operations on one path are ordered by path_queue. */
#include "sttpd/store_postgres.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "sttpd/store_postgres_private.h"

enum { DEFAULT_POOL = 8, DEFAULT_QUEUE = 4096, DEFAULT_THREADS = 64 };

static struct pg_store *from_store(store *base)
{
    return (struct pg_store *)base;
}

/* xorshift: for pauses and names that need only differ. */
uint64_t pg_random(struct pg_store *pg)
{
    pg->random ^= pg->random << 13;
    pg->random ^= pg->random >> 7;
    pg->random ^= pg->random << 17;
    return pg->random;
}

void pg_draw_name(struct pg_store *pg, char name[PG_SPEAKER])
{
    snprintf(name, PG_SPEAKER, "%016llx", (unsigned long long)pg_random(pg));
}

/* ---- lines of tasks ---- */

struct pg_task *pg_line_take(struct pg_line *line)
{
    struct pg_task *task = line->first;
    if (task == NULL)
        return NULL;
    line->first = task->next;
    if (line->first == NULL)
        line->last = &line->first;
    task->next = NULL;
    return task;
}

void pg_wait(struct pg_store *pg, struct pg_task *task)
{
    struct pg_line *line = &pg->lines[task->kind];
    task->next = NULL;
    *line->last = task;
    line->last = &task->next;
}

void pg_wait_first(struct pg_store *pg, struct pg_task *tasks)
{
    struct pg_task **last = &tasks;
    if (tasks == NULL)
        return;
    struct pg_line *line = &pg->lines[tasks->kind];
    while (*last != NULL)
        last = &(*last)->next;
    *last = line->first;
    if (line->first == NULL)
        line->last = last;
    line->first = tasks;
}

void pg_again(struct pg_store *pg, struct pg_task *task)
{
    if (++task->tries >= PG_MAX_TRIES)
        pg_complete(pg, task, STORE_BUSY);
    else
        pg_wait(pg, task);
}

/* ---- operations ---- */

static void finish(store_operation *operation, store_result result)
{
    operation->result = result;
    operation->system_errno = result == STORE_NO_MEMORY ? ENOMEM : 0;
    if (result != STORE_DONE)
        operation->contents = (sttp_slice){NULL, 0};
    operation->complete(operation);
}

/* Lets those run later whose turn has come: they may be many, one behind the other. */
static void leave(struct pg_store *pg, struct path_turn turn)
{
    store_operation *released = path_queue_leave(pg->paths, turn);
    store_operation **end = &released;
    while (*end != NULL)
        end = &(*end)->next;
    *end = pg->released;
    pg->released = released;
}

static void end_operation(struct pg_store *pg, store_operation *operation, store_result result)
{
    struct path_turn turn = path_queue_turn(pg->paths, operation);
    atomic_fetch_sub(&pg->operations, 1);
    finish(operation, result);
    leave(pg, turn);
}

void pg_complete(struct pg_store *pg, struct pg_task *task, store_result result)
{
    store_operation *operation = task->operation;
    if (result == STORE_DONE && operation->action == STTP_ACTION_UPDATE)
        operation->contents = operation->text;
    pg_listing_free(&task->listing);
    free(task->levels);
    free(task);
    end_operation(pg, operation, result);
}

static enum pg_kind kind_of(const store_operation *operation)
{
    bool is_directory = operation->path.data[operation->path.size - 1] == '/';
    switch (operation->action) {
    case STTP_ACTION_SHOW:
        return PG_TASK_LOOK;
    case STTP_ACTION_LIST:
        return PG_TASK_LIST;
    default:
        return is_directory ? PG_TASK_SPECIAL : PG_TASK_CHANGE;
    }
}

/* FNV-1a. */
static uint32_t spot_of(sttp_slice path)
{
    uint32_t hash = 0x811c9dc5;
    for (size_t i = 0; i < path.size; i++)
        hash = (hash ^ (unsigned char)path.data[i]) * 0x01000193;
    return hash ^ hash >> 16;
}

static void begin_operation(struct pg_store *pg, store_operation *operation)
{
    struct pg_task *task;
    if (operation->action == STTP_ACTION_DELETE && operation->path.size == 1) {
        end_operation(pg, operation, STORE_IS_ROOT);
        return;
    }
    if (pg->is_closing || pg->is_away) {
        end_operation(pg, operation, pg->is_closing ? STORE_BUSY : STORE_UNAVAILABLE);
        return;
    }
    task = calloc(1, sizeof *task);
    if (task == NULL) {
        end_operation(pg, operation, STORE_NO_MEMORY);
        return;
    }
    task->operation = operation;
    task->kind = kind_of(operation);
    task->spot = spot_of(operation->path);
    task->deadline = pg_now() + STORE_POSTGRES_WAIT;
    pg_wait(pg, task);
}

static void begin_operations(struct pg_store *pg, store_operation *first)
{
    while (first != NULL) {
        store_operation *next = first->next;
        begin_operation(pg, first);
        first = next;
    }
}

void pg_begin_released(struct pg_store *pg)
{
    while (pg->released != NULL) {
        store_operation *released = pg->released;
        pg->released = NULL;
        begin_operations(pg, released);
    }
}

static void post(struct pg_store *pg, store_operation *operation)
{
    operation->next = NULL;
    pthread_mutex_lock(&pg->lock);
    bool was_empty = pg->inbox == NULL;
    *pg->inbox_last = operation;
    pg->inbox_last = &operation->next;
    pthread_mutex_unlock(&pg->lock);
    if (was_empty)
        (void)!write(pg->wake, &(uint64_t){1}, sizeof(uint64_t));
}

static void submit(store *base, store_operation *operation)
{
    struct pg_store *pg = from_store(base);
    if (atomic_fetch_add(&pg->operations, 1) >= pg->capacity) {
        atomic_fetch_sub(&pg->operations, 1);
        finish(operation, STORE_BUSY);
        return;
    }
    switch (path_queue_enter(pg->paths, operation)) {
    case PATH_QUEUE_RUN:
        post(pg, operation);
        break;
    case PATH_QUEUE_WAIT:
        break;
    case PATH_QUEUE_NO_MEMORY:
        atomic_fetch_sub(&pg->operations, 1);
        finish(operation, STORE_NO_MEMORY);
        break;
    }
}

/* ---- the thread ---- */

static void end_waiting(struct pg_store *pg)
{
    for (unsigned i = 0; i < PG_KINDS; i++) {
        struct pg_task *task;
        while ((task = pg_line_take(&pg->lines[i])) != NULL)
            pg_complete(pg, task, STORE_BUSY);
    }
    pg_begin_released(pg);
}

static void on_woken(evutil_socket_t fd, short events, void *context)
{
    (void)events;
    struct pg_store *pg = context;
    uint64_t count;
    (void)!read(fd, &count, sizeof count);
    pthread_mutex_lock(&pg->lock);
    store_operation *first = pg->inbox;
    pg->inbox = NULL;
    pg->inbox_last = &pg->inbox;
    bool is_closing = pg->is_asked_to_close;
    pthread_mutex_unlock(&pg->lock);
    pg->is_closing = is_closing;
    pg_connected(pg);
    begin_operations(pg, first);
    pg_dispatch(pg);
}

static void on_tick(evutil_socket_t fd, short events, void *context)
{
    (void)fd, (void)events;
    pg_tick(context);
    pg_dispatch(context);
}

static void on_retry(evutil_socket_t fd, short events, void *context)
{
    (void)fd, (void)events;
    pg_connect_next(context);
}

static void *run(void *context)
{
    struct pg_store *pg = context;
    pg_connect_next(pg);
    for (;;) {
        if (pg->is_closing)
            end_waiting(pg);
        if (atomic_load(&pg->operations) == 0 && pg->is_closing)
            break;
        if (event_base_loop(pg->events, EVLOOP_ONCE) == -1)
            break;
    }
    return NULL;
}

/* ---- opening and closing ---- */

static void free_links(struct pg_store *pg)
{
    for (unsigned i = 0; pg->links != NULL && i < pg->count; i++)
        pg_link_close(&pg->links[i]);
    free(pg->links);
}

/* Frees what is there of a store, which may be half built. */
static void destroy(struct pg_store *pg)
{
    pg_connector_stop(pg->connector);
    free_links(pg);
    if (pg->events != NULL)
        event_base_free(pg->events);
    if (pg->wake != -1)
        close(pg->wake);
    path_queue_destroy(pg->paths);
    pthread_mutex_destroy(&pg->lock);
    free(pg->profile.conninfo);
    free(pg);
}

static int close_store(store *base)
{
    struct pg_store *pg = from_store(base);
    pthread_mutex_lock(&pg->lock);
    pg->is_asked_to_close = true;
    pthread_mutex_unlock(&pg->lock);
    (void)!write(pg->wake, &(uint64_t){1}, sizeof(uint64_t));
    pthread_join(pg->thread, NULL);
    destroy(pg);
    return 0;
}

static bool refuse(char *error, size_t capacity, const char *reason)
{
    snprintf(error, capacity, "the PostgreSQL database: %s (storage.postgres.conninfo)", reason);
    return false;
}

/* libpq takes what is none for the name of a database. */
static bool check_conninfo(const char *conninfo, char *error, size_t capacity)
{
    char *message = NULL;
    char reason[PG_ERROR];
    PQconninfoOption *options = PQconninfoParse(conninfo, &message);
    if (options == NULL) {
        pg_one_line(message == NULL ? strerror(ENOMEM) : message, reason, sizeof reason);
        refuse(error, capacity, reason);
    }
    PQfreemem(message);
    PQconninfoFree(options);
    return options != NULL;
}

/* The first session: what is there is found out by it, and then it belongs to the pool. */
static bool open_database(struct pg_store *pg, char *error, size_t capacity)
{
    char reason[PG_ERROR];
    PGconn *conn = pg_connect(&pg->profile, reason, sizeof reason);
    if (conn == NULL)
        return refuse(error, capacity, reason);
    bool is_open = pg_schema_open(&pg->profile, conn, reason, sizeof reason);
    PQfinish(conn);
    conn = is_open ? pg_session_open(&pg->profile, false, reason, sizeof reason) : NULL;
    if (conn == NULL)
        return refuse(error, capacity, reason);
    pg->up = 1;
    return pg_link_adopt(&pg->links[0], conn) || refuse(error, capacity, PG_NO_ROOM);
}

static bool make_links(struct pg_store *pg, const struct store_settings *settings)
{
    pg->pool = settings->postgres_pool == 0 ? DEFAULT_POOL : settings->postgres_pool;
    pg->count = pg->pool + 1;
    pg->links = calloc(pg->count, sizeof *pg->links);
    for (unsigned i = 0; pg->links != NULL && i < pg->count; i++) {
        pg->links[i].store = pg;
        pg->links[i].kind = i < pg->pool ? PG_LINK_POOL : PG_LINK_WATCH;
    }
    return pg->links != NULL;
}

static bool make_events(struct pg_store *pg)
{
    pg->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pg->events = event_base_new();
    if (pg->wake == -1 || pg->events == NULL)
        return false;
    event_assign(&pg->woken, pg->events, pg->wake, EV_READ | EV_PERSIST, on_woken, pg);
    evtimer_assign(&pg->tick, pg->events, on_tick, pg);
    evtimer_assign(&pg->retry, pg->events, on_retry, pg);
    pg_watch_prepare(&pg->links[pg->pool]);
    return event_add(&pg->woken, NULL) == 0;
}

static bool make(struct pg_store *pg, const struct store_settings *settings)
{
    unsigned queue = settings->queue == 0 ? DEFAULT_QUEUE : settings->queue;
    pg->capacity = queue + (settings->threads == 0 ? DEFAULT_THREADS : settings->threads);
    pg->log = settings->log;
    pg->watch.watcher = settings->watcher;
    pg->profile.durability = settings->durability;
    pg->profile.conninfo = strdup(settings->postgres_conninfo);
    pg->paths = path_queue_create(queue);
    bool is_random = getrandom(&pg->random, sizeof pg->random, 0) == sizeof pg->random;
    pg->random |= 1; /* 0 would stay 0 */
    pg_draw_name(pg, pg->speaker);
    pg_draw_name(pg, pg->watch.name);
    return is_random && pg->profile.conninfo != NULL && pg->paths != NULL &&
           make_links(pg, settings) && make_events(pg);
}

/* All signals are for others. */
static bool start_threads(struct pg_store *pg)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pg->connector = pg_connector_start(&pg->profile, pg->wake);
    bool is_started = pg->connector != NULL && pthread_create(&pg->thread, NULL, run, pg) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (is_started)
        pthread_setname_np(pg->thread, "store");
    return is_started;
}

static void take_identity(struct pg_store *pg)
{
    for (size_t i = 0; i < STORE_IDENTITY; i++) {
        char byte[3] = {pg->profile.identity[2 * i], pg->profile.identity[2 * i + 1], '\0'};
        pg->base.identity[i] = (unsigned char)strtoul(byte, NULL, 16);
    }
}

static struct pg_store *create(void)
{
    struct pg_store *pg = calloc(1, sizeof *pg);
    if (pg == NULL)
        return NULL;
    pg->base = (store){.submit = submit, .close = close_store};
    pg->wake = -1;
    pg->inbox_last = &pg->inbox;
    for (unsigned i = 0; i < PG_KINDS; i++)
        pg->lines[i].last = &pg->lines[i].first;
    pthread_mutex_init(&pg->lock, NULL);
    return pg;
}

bool store_postgres_open(const struct store_settings *settings, store **opened, char *error,
                         size_t capacity)
{
    struct pg_store *pg = create();
    *opened = NULL;
    if (pg == NULL)
        return refuse(error, capacity, strerror(ENOMEM));
    bool is_made = make(pg, settings);
    if (!is_made)
        refuse(error, capacity, PG_NO_ROOM);
    bool is_open = is_made && check_conninfo(pg->profile.conninfo, error, capacity) &&
                   open_database(pg, error, capacity);
    if (is_open && !pg->profile.notifies)
        log_write(pg->log, LOG_LEVEL_INFO,
                  "the PostgreSQL database has no notifications: what is cached of it is asked for "
                  "again when it is older than cache.coherence");
    if (is_open) {
        /* Who has nobody to tell needs no connection for it. */
        if (pg->watch.watcher == NULL || pg->watch.watcher->interval == 0 || !pg->profile.notifies)
            pg->count = pg->pool;
        take_identity(pg);
        is_open = start_threads(pg) || refuse(error, capacity, "no thread can be started");
    }
    if (!is_open) {
        destroy(pg);
        return false;
    }
    error[0] = '\0';
    *opened = &pg->base;
    return true;
}
