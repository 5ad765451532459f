/* The parts of the PostgreSQL store:
 *
 *     submit (any thread) -- path_queue -- inbox --> task: waits in the line of its kind
 *        line -- a connection is idle --> work on it: a batch of changes, a batch of looks, ...
 *        answers --> complete, or back into a line
 *
 * All but the inbox and the connector belongs to the store's thread. */
#ifndef STTPD_STORE_POSTGRES_PRIVATE_H
#define STTPD_STORE_POSTGRES_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <libpq-fe.h>

#include "sttpd/path_queue.h"
#include "sttpd/store_postgres.h"

enum {
    PG_IDENTITY_TEXT = 2 * STORE_IDENTITY + 1,
    PG_CHANNEL = PG_IDENTITY_TEXT + 8,
    PG_SPEAKER = 17,
    PG_ERROR = 512,
    PG_MAX_TRIES = 64 /* of one operation that others get in the way of */
};

/* ---- statements ---- */

enum pg_statement {
    PG_BEGIN,
    PG_COMMIT,
    PG_ROLLBACK,
    PG_LOOK,       /* what is at a name, and what is at its parent's */
    PG_CREATE_TOP, /* a file in the root, or in a directory that is held */
    PG_CREATE,     /* a file in a directory that has to be there */
    PG_UPDATE,
    PG_DELETE,
    PG_HOLD,      /* keeps a directory from being removed */
    PG_DIRECTORY, /* makes one */
    PG_LOCK,      /* keeps anything from being made in a directory */
    PG_REMOVE,    /* an empty directory */
    PG_LIST,
    PG_LIST_TEXT, /* only files whose text contains something */
    PG_TREE,      /* all below */
    PG_TREE_TEXT,
    PG_GUARD, /* limits the time of what follows */
    PG_CLOCK,
    PG_NOTIFY, /* the last: some engines have none */
    PG_STATEMENTS
};

enum { PG_MAX_VALUES = 8 };

/* A row's whole path in SQL, as the index of paths has it. */
#define PG_WHOLE "parent || name || CASE WHEN directory THEN '/' ELSE '' END"

/* The values of a statement, in its order. */
struct pg_values {
    int count;
    const char *data[PG_MAX_VALUES];
    int sizes[PG_MAX_VALUES];
};

/* SQL of a statement; its name on a connection is pg_statement_name. */
const char *pg_statement_sql(enum pg_statement statement);
void pg_statement_name(enum pg_statement statement, char name[8]);

static inline void pg_value(struct pg_values *values, sttp_slice value)
{
    values->data[values->count] = value.data;
    values->sizes[values->count++] = (int)value.size;
}

/* A path as the table has it: "/a/b" and "/a/b/" are "/a/" and "b"; "/" is "" and "". */
struct pg_place {
    sttp_slice parent;
    sttp_slice name;
};

struct pg_place pg_place_of(sttp_slice path);

void pg_place_values(struct pg_values *values, sttp_slice path);

/* ---- failures ---- */

/* What became of a work that failed. */
struct pg_failure {
    char state[6];  /* the SQLSTATE; empty where there is none */
    unsigned index; /* of the statement that failed; of the first without an answer */
    bool lost;      /* the connection is gone */
    bool unsent;    /* then: its end has not left */
    bool warned;    /* the server has warned: a commit may be less durable than it should */
};

enum pg_verdict {
    PG_REPEAT, /* it will go better the next time */
    PG_PART,   /* so it may, and for others that it was together with, without it */
    PG_MOVE,   /* it will, on another connection */
    PG_GIVE_UP
};

/* The SQLSTATE of a transaction that has failed: what is said of one that COMMIT has rolled back.
 */
#define PG_ROLLED_BACK "25P02"

enum pg_verdict pg_verdict_of(const char *state);

store_result pg_result_of(const char *state);

/* ---- a session: what is done on a connection before it is used, and by whom may wait ---- */

struct pg_store;

/* What all sessions of a store have in common. */
struct pg_profile {
    char *conninfo;
    enum store_durability durability;
    char identity[PG_IDENTITY_TEXT]; /* empty until the first session has found it */
    char channel[PG_CHANNEL];
    bool notifies; /* the engine has LISTEN and NOTIFY */
};

/* Connects and prepares. NULL with one line about it. `listens`: it hears what others tell. Blocks;
 * from any thread. */
PGconn *pg_session_open(const struct pg_profile *profile, bool listens, char *error,
                        size_t capacity);

/* Makes the tables where they are not there, finds out what the engine has, and completes the
 * profile. False with one line about it. */
bool pg_schema_open(struct pg_profile *profile, PGconn *conn, char *error, size_t capacity);

/* Whether the database behind a connection is the profile's. */
bool pg_schema_check(const struct pg_profile *profile, PGconn *conn, char *error, size_t capacity);

/* Connects without preparing anything. */
PGconn *pg_connect(const struct pg_profile *profile, char *error, size_t capacity);

bool pg_prepare_all(const struct pg_profile *profile, PGconn *conn, char *error, size_t capacity);

/* One command, and its last result: NULL where the connection failed or did not answer in time. */
PGresult *pg_ask(PGconn *conn, const char *command);

/* Whether it went well. */
bool pg_tell(PGconn *conn, const char *command);

/* An error of libpq in one line. */
void pg_one_line(const char *message, char *line, size_t capacity);

/* ---- the connector: a thread that opens one session after the other ---- */

struct pg_connector;

/* NULL where memory or threads are out. Copies the profile. `wake` is written to, an eventfd, when
 * a session is open or has failed. */
struct pg_connector *pg_connector_start(const struct pg_profile *profile, int wake);

/* Orders a session; one at a time. */
void pg_connector_order(struct pg_connector *connector, bool listens);

/* Whether the order is done: *conn is the session, or NULL with `error`. */
bool pg_connector_take(struct pg_connector *connector, PGconn **conn, char *error, size_t capacity);

/* Ends it. A session that is being opened is closed as soon as it is there, or has failed: that is
 * waited for a second and no longer. NULL is allowed. */
void pg_connector_stop(struct pg_connector *connector);

/* What tasks wait for: a place in a batch of changes; a transaction of its own (a CREATE that makes
 * directories, DELETE of a directory); a place in a batch of looks; a listing. */
enum pg_kind { PG_TASK_CHANGE, PG_TASK_SPECIAL, PG_TASK_LOOK, PG_TASK_LIST, PG_KINDS };

/* ---- links: connections with one work at a time ---- */

struct pg_link;

struct pg_work {
    /* The answer to a statement that went well. */
    void (*answer)(struct pg_link *link, unsigned index, const PGresult *result);
    /* All is answered, or nothing more will be: `link->failure` says. It may begin another work. */
    void (*end)(struct pg_link *link);
};

enum pg_link_kind { PG_LINK_POOL, PG_LINK_WATCH };

struct pg_task;

struct pg_link {
    struct pg_store *store;
    enum pg_link_kind kind;
    enum pg_kind serves; /* whose tasks it has */
    PGconn *conn;        /* NULL: it is away */
    int socket;          /* its, a duplicate of our own; -1: there is none */
    bool is_waiting;     /* for the connection to take more */
    bool is_broken;
    struct event readable, writable;
    const struct pg_work *work; /* NULL: idle */
    unsigned sent, answered;    /* statements of the work */
    bool is_complete;           /* libpq has taken all of the work */
    bool has_result;            /* of the statement that is being answered */
    uint64_t deadline;
    struct pg_failure failure;
    struct pg_task *tasks; /* of the work, in its order */
    unsigned count;        /* of them */
    struct pg_task *next;  /* whose answer is next */
    unsigned commit;       /* the index of the COMMIT; UINT_MAX: the work has none */
};

#define PG_NO_ROOM "out of memory or descriptors"

/* Takes a session. False where memory or descriptors are out: then it is closed. */
bool pg_link_adopt(struct pg_link *link, PGconn *conn);

/* Begins a work: statements follow, then pg_link_go. */
void pg_link_begin(struct pg_link *link, const struct pg_work *work);

/* Adds a statement to the work. What fails here is told when the work ends. Returns its index. */
unsigned pg_link_send(struct pg_link *link, enum pg_statement statement,
                      const struct pg_values *values);

void pg_link_go(struct pg_link *link);

/* Gives the connection up, and with it the work. */
void pg_link_lose(struct pg_link *link);

/* Closes the connection, where there is one, and tells nobody. */
void pg_link_close(struct pg_link *link);

static inline bool pg_link_is_idle(const struct pg_link *link)
{
    return link->conn != NULL && link->work == NULL && !link->is_broken;
}

/* ---- tasks ---- */

struct pg_listing {
    char *names;
    size_t used, room, count;
    char *after;      /* the last name that was looked at; NULL at the beginning */
    char *pattern;    /* for SQL, of `name`; NULL where there is none */
    char *text;       /* for SQL, of `q` */
    uint64_t give_up; /* ms: when it has taken too long */
    bool is_root_known;
    bool is_exhausted;
    store_result result;
};

struct pg_task {
    struct pg_task *next;
    store_operation *operation;
    enum pg_kind kind;
    uint64_t deadline; /* ms: for a connection */
    unsigned tries;
    uint32_t spot;       /* of the path */
    bool alone;          /* not together with others: one of them has failed */
    bool is_applied;     /* the change has found what it changes */
    char target, parent; /* what is there: 'f'ile, 'd'irectory, 0: nothing */
    bool is_text_valid;
    size_t made;  /* of the path: the topmost directory that this CREATE makes */
    char *levels; /* of a CREATE with directories: what was found at each of them */
    struct pg_listing listing;
};

struct pg_line {
    struct pg_task *first;
    struct pg_task **last;
};

/* Looks at paths that fall on it, all of which are on one link. */
enum { PG_SPOTS = 4096 };
struct pg_spot {
    unsigned looks;
    const struct pg_link *link;
};

struct pg_watch {
    const struct store_watcher *watcher;
    struct event timer;
    uint64_t number; /* of the last ping */
    uint64_t sent;   /* ms: when; 0: it is back */
    int64_t asked;   /* microseconds: when the clock was asked for */
    char name[PG_SPEAKER];
};

struct pg_store {
    store base;
    struct pg_profile profile;
    log_sink *log;
    path_queue *paths;
    atomic_size_t operations; /* that the store has */
    size_t capacity;
    pthread_mutex_t lock; /* of the inbox */
    store_operation *inbox, **inbox_last;
    bool is_asked_to_close; /* under the lock */
    bool is_closing;
    int wake;
    pthread_t thread;

    struct event_base *events;
    struct event woken, tick, retry;
    bool is_ticking;
    struct pg_link *links; /* the pool, and behind it the one that listens */
    unsigned pool, count;
    unsigned up; /* of the pool */
    struct pg_connector *connector;
    struct pg_link *connecting; /* what for the connector works */
    unsigned delay;             /* ms: of the last pause before connecting again */
    bool is_away;               /* operations fail at once */
    bool is_told;               /* the log knows */
    uint64_t random;
    struct pg_line lines[PG_KINDS];
    struct pg_spot spots[PG_SPOTS];
    unsigned busy[PG_KINDS];   /* links that work for each kind */
    unsigned turn;             /* the kind that is next, modulo their number */
    store_operation *released; /* whose turn has come meanwhile */
    char speaker[PG_SPEAKER];  /* what changes are told under: new when an outcome was unknown */
    struct pg_watch watch;
};

uint64_t pg_now(void); /* ms */

uint64_t pg_random(struct pg_store *pg);

void pg_draw_name(struct pg_store *pg, char name[PG_SPEAKER]);

/* Ends a task, and lets others have their turn. */
void pg_complete(struct pg_store *pg, struct pg_task *task, store_result result);

/* Lets a task wait again: behind all others of its kind. */
void pg_wait(struct pg_store *pg, struct pg_task *task);

/* Lets tasks of a kind wait before all others, in their order. */
void pg_wait_first(struct pg_store *pg, struct pg_task *tasks);

/* Again, after others were in the way; STORE_BUSY when that was so too often. */
void pg_again(struct pg_store *pg, struct pg_task *task);

/* Makes tasks of the operations whose turn has come. */
void pg_begin_released(struct pg_store *pg);

/* Gives work to idle links, as long as there is any. At the end of each event. */
void pg_dispatch(struct pg_store *pg);

/* The first of a line; NULL where it is empty. */
struct pg_task *pg_line_take(struct pg_line *line);

/* ---- connections that come and go (store_postgres_pool.c) ---- */

void pg_connect_next(struct pg_store *pg);
void pg_connected(struct pg_store *pg);
void pg_link_is_away(struct pg_link *link);
void pg_tick(struct pg_store *pg);
void pg_tick_later(struct pg_store *pg);

/* ---- work ---- */

/* Makes the tasks of a link that has failed wait again, or ends them. For what changes nothing, or
 * was not committed. */
void pg_fail_tasks(struct pg_link *link);

/* Sends what is to be told of the link's tasks, and COMMIT. */
void pg_send_commit(struct pg_link *link);

/* Ends a work that ends with a COMMIT: calls each operation's `end`. False where it failed, and all
 * tasks are dealt with. */
bool pg_end_commit(struct pg_link *link);

void pg_begin_tasks(struct pg_link *link);

void pg_start_changes(struct pg_link *link);
void pg_start_special(struct pg_link *link);

/* False where each that waits has to let another one be answered first. */
bool pg_start_looks(struct pg_link *link);

void pg_start_list(struct pg_link *link);

/* What an answer of PG_LOOK tells. */
void pg_take_look(struct pg_task *task, const PGresult *result);

/* 400 or 410. */
store_result pg_missing(const struct pg_task *task);

void pg_listing_free(struct pg_listing *listing);

/* ---- notifications ---- */

/* What to tell of tasks from *task on, in one notification: puts `payload` together and moves
 * *task behind those that are in it. */
enum { PG_PAYLOAD = 7900 };
size_t pg_payload(const char *speaker, const struct pg_task **task, char payload[PG_PAYLOAD]);

/* Hands a notification of others to the watcher. False where it is none that we understand. */
bool pg_hear(const struct store_watcher *watcher, const char *payload);

/* Once; whenever a session that listens is there; and when something has come for it. */
void pg_watch_prepare(struct pg_link *link);
void pg_watch_start(struct pg_link *link);
void pg_watch_heard(struct pg_link *link);

#endif
