/* The inside of the asynchronous client.
 *
 *     sttp_async ── the loop, timers, the resolver, what has to be done at the end of a turn
 *       └ sttp_pool ── one destination: the queue, its connector
 *           ├ sttp__race     addresses on their way to one connection
 *           └ sttp__link     one connection
 *               └ sttp_call  its slots: requests in the order in which their answers come
 *
 *     async.c          the client, its turns
 *     async_timer.c    timers: a heap, one timer of the loop
 *     async_options.c  options: checked and copied
 *     async_pool.c     a pool, and who gets which request
 *     async_call.c     requests: taken, ended, cancelled
 *     async_connect.c  when to connect: names, back-off
 *     async_race.c     addresses to one connected socket
 *     async_link.c     a connection: opened, written to, closed
 *     async_answer.c   answers: read, checked, handed out
 *     async_lost.c     what becomes of the calls of a connection that is lost or late
 *     async_error.c    what went wrong, in words
 *
 * Callbacks may call anything. So whatever calls one runs between sttp__async_enter and
 * sttp__async_leave, in which no object's memory is freed; objects that are closed meanwhile say so
 * (pool->destroyed, link->watch.fd), and whoever has called a callback looks. Calls are always in a
 * list of their pool or of one of its links, so that destroying a pool finds them all. */
#ifndef STTP_EVENT_ASYNC_PRIVATE_H
#define STTP_EVENT_ASYNC_PRIVATE_H

#include <sys/queue.h>
#include <sys/socket.h>

#include <sttp/async.h>
#include <sttp/parser.h>

#include "async_loop.h"
#include "memory.h"
#include "resolve.h"

typedef struct sttp__link sttp__link;
typedef TAILQ_HEAD(sttp__calls, sttp_call) sttp__calls;
typedef TAILQ_HEAD(sttp__links, sttp__link) sttp__links;

enum { STTP__PLACE_TEXT = sizeof((sttp_error *)0)->address };

/* ---- calls: async_call.c ---- */

struct sttp_call {
    TAILQ_ENTRY(sttp_call) entry;
    TAILQ_ENTRY(sttp_call) by_age; /* in pool->by_age, where there is a total timeout */
    sttp__calls *list;             /* the one that `entry` is in; NULL for none */
    sttp_pool *pool;
    sttp__link *link;     /* whose slot it has; NULL: it waits in a queue */
    sttp_call_done *done; /* NULL: it has its result, or nobody wants it */
    void *context;
    uint64_t began;
    uint64_t since; /* when it was queued, or given to its link */
    sttp_action action;
    bool sent;     /* a byte of it, over its link */
    bool repeated; /* it was sent before, and was the oldest of a link that was closed */
    uint16_t line_size;
    uint16_t origin_size;
    uint16_t path_at; /* in the line, behind the origin */
    uint16_t path_size;
    size_t capacity;
    char line[];
};

/* Whether a server holds the later requests of its connection back for it (docs/protocol.md,
 * section 1: they see its effect; a LIST runs alone in sttpd). */
static inline bool sttp__action_holds(sttp_action action)
{
    return action != STTP_ACTION_SHOW;
}

/* Its action, origin and path: slices into its line. */
sttp_request sttp__call_request(const sttp_call *call);
/* Out of the list that it is in, if any, and its slot, to the end of `to`. */
void sttp__call_move(sttp_call *call, sttp__calls *to);
void sttp__call_unlist(sttp_call *call);
/* Calls `done`, if there is one; the call stays where it is. */
void sttp__call_tell(sttp_call *call, const sttp_response *response, const sttp_error *error);
/* Takes it out of its list and frees it. */
void sttp__call_release(sttp_call *call);
/* Takes it out of its list, tells it, frees it. */
void sttp__call_end(sttp_call *call, const sttp_response *response, const sttp_error *error);

/* ---- links: async_link.c ---- */

/* Idle for longer, a connection is looked at before it is used, and that it has ended says nothing
 * of the peer. */
enum { STTP__STALE_TIME = 5 * 1000 };

struct sttp__link {
    sttp_watch watch; /* fd -1: closed */
    sttp__timer timer;
    sttp_pool *pool;
    TAILQ_ENTRY(sttp__link) entry; /* of pool->links, or pool->closed */
    TAILQ_ENTRY(sttp__link) dirty; /* of async->dirty */
    bool is_dirty;

    sttp__calls slots;
    size_t slot_count;
    size_t holding;       /* those of them that hold later ones back */
    size_t window;        /* the most slots there may be now */
    size_t waiting;       /* slots whose call has no result yet and is not given up */
    sttp_call *next;      /* the first that is not wholly written */
    size_t next_bytes;    /* what is written of it */
    size_t preamble_sent; /* bytes */
    bool full;            /* the socket takes no more for now */
    bool write_failed;

    char *input;
    size_t input_capacity;
    size_t input_start;
    size_t input_end;
    sttp_parser parser;

    uint64_t answers;
    uint64_t used_at; /* when it was made, or the last answer came */
    bool retired;     /* takes no more requests; closed when no call waits for it */
    bool ended;       /* no more bytes will come */
    bool failed;      /* that, or a write, was no orderly end: system_errno */
    int system_errno;
    sttp__inet_address peer; /* of TCP; else its family is 0 */
    char address[STTP__PLACE_TEXT];
};

/* `peer` is NULL for a Unix socket. Takes `fd` over; NULL where memory is out, and `fd` is the
 * caller's. */
sttp__link *sttp__link_create(sttp_pool *pool, int fd, const sttp__inet_address *peer);
bool sttp__link_is_open(const sttp__link *link);
void sttp__link_add(sttp__link *link, sttp_call *call);
/* Writes what the socket takes. Calls no callback. */
void sttp__link_flush(sttp__link *link);
/* Has its timer wake it in time for its oldest request, or for the end of its idle time. */
void sttp__link_schedule(sttp__link *link);
/* Asks for a flush at the end of the turn. */
void sttp__link_touch(sttp__link *link);
/* Closes it; the slots stay. Its memory is freed by sttp__link_free, within the outermost leave. */
void sttp__link_close(sttp__link *link);
void sttp__link_free(sttp__link *link);
void sttp__link_expired(sttp__timer *timer);

/* ---- answers: async_answer.c ---- */

void sttp__link_ready(sttp_watch *watch, unsigned ready);
/* One read, and all answers that are whole then. */
void sttp__link_read(sttp__link *link);
sttp_slice sttp__link_unread(const sttp__link *link);

/* ---- lost and late links: async_lost.c ---- */

/* The peer has closed or reset it. */
void sttp__link_lost(sttp__link *link);
/* Closes it because of `error`, the result of its oldest call. */
void sttp__link_broken(sttp__link *link, const sttp_error *error);
/* What was not sent goes elsewhere; nothing new is taken; it is closed when no call waits. */
void sttp__link_retire(sttp__link *link);
/* Its oldest requests whose time is over. */
void sttp__link_late(sttp__link *link);

/* ---- from addresses to a connection: async_race.c ---- */

typedef struct sttp__attempt {
    sttp_watch watch;
    struct sttp__race *race;
    sttp__inet_address address;
    bool denied;
    bool local; /* pool->socket_path, not `address` */
    int system_errno;
} sttp__attempt;

typedef struct sttp__race {
    sttp_pool *pool;
    sttp__timer timer; /* the next attempt, or the deadline */
    sttp__attempt *attempts[STTP__ADDRESSES_MAX];
    size_t count;
    size_t started;
    size_t under_way;
    uint64_t next_start;
    uint64_t deadline;
    bool more; /* addresses may follow */
    bool running;
} sttp__race;

void sttp__race_begin(sttp__race *race, uint64_t deadline);
/* Adds those that it has not got yet; the pool's Unix socket where `addresses` is NULL. False where
 * memory is out. */
bool sttp__race_add(sttp__race *race, const sttp__inet_address *addresses, size_t count);
bool sttp__same_address(const sttp__inet_address *a, const sttp__inet_address *b);
/* Tries the next ones as it is time. Ends the race where it is lost or won. */
void sttp__race_go_on(sttp__race *race);
void sttp__race_stop(sttp__race *race);
void sttp__race_expired(sttp__timer *timer);

/* ---- when to connect: async_connect.c ---- */

/* Opens a connection where one is wanted and may be tried now. */
void sttp__connect_if_wanted(sttp_pool *pool);
void sttp__connect_won(sttp_pool *pool, int fd, const sttp__inet_address *peer);
void sttp__connect_failed(sttp_pool *pool, const sttp_error *error);
/* Has the next attempt wait. */
void sttp__connect_back_off(sttp_pool *pool);
/* Begins to follow the pool's name, or ends it, as there are connections or none. */
void sttp__connect_follow(sttp_pool *pool);
void sttp__connect_looked_up(sttp__lookup *lookup, const sttp__answer *answer);
void sttp__connect_stop(sttp_pool *pool);

/* ---- pools: async_pool.c ---- */

typedef struct sttp__given {
    sttp__inet_address *items;
    size_t count;
} sttp__given;

struct sttp_pool {
    sttp_async *async;
    TAILQ_ENTRY(sttp_pool) entry;    /* of async->pools, or async->destroyed */
    TAILQ_ENTRY(sttp_pool) dirty;    /* of async->dirty_pools */
    TAILQ_ENTRY(sttp_pool) littered; /* of async->littered_pools */
    bool is_dirty;
    uint64_t dirty_turn; /* in which it was touched */
    bool destroyed;

    /* From the options; durations in microseconds. */
    char *host;
    char *socket_path;
    uint16_t port;
    int family;
    sttp__given given;
    size_t min_connections;
    size_t max_connections;
    size_t max_in_flight;
    size_t max_queued;
    size_t max_contents;
    uint64_t connect_timeout;
    uint64_t queue_timeout;
    uint64_t request_timeout;
    uint64_t total_timeout; /* 0 for none */
    uint64_t idle_timeout;
    uint64_t backoff_min;
    uint64_t backoff_max;
    bool parsed;
    bool no_repeat;
    size_t (*may_repeat)(void *context, size_t count); /* NULL: all may be */
    void *may_repeat_context;
    char *preamble;
    size_t preamble_size;
    bool (*permit)(void *context, const struct sockaddr *address);
    void *permit_context;
    void (*event)(void *context, const sttp_pool_event *event);
    void *event_context;

    sttp__links links;
    sttp__links closed; /* with slots whose calls are being ended, or memory in use */
    size_t link_count;
    sttp__calls again; /* those that were given to a link before, first; each is ordered by time */
    sttp__calls queue;
    sttp__calls ending; /* on their way to their errors */
    sttp__calls by_age;
    size_t queued; /* in `again` and `queue` */
    sttp__timer timer;

    sttp__lookup lookup;
    bool following;     /* the lookup was started and is not over */
    uint64_t follow_at; /* not before: it was over without an address */
    bool connecting;
    bool crowded; /* all connections had something in flight when one more was given to them */
    sttp__race race;
    unsigned failures; /* to connect or to get a first answer, in a row */
    uint64_t retry_at;
    uint64_t connect_began;
    sttp__inet_address *known; /* the addresses that the name had last, while following */
    size_t known_count;

    unsigned one_answer_each; /* so many connections more are not used after their first answer, as
                                 the peer was seen to close one then */
    bool keeps_open;          /* the peer was seen to give two answers */
};

/* Has the pool looked after at the end of the turn. */
void sttp__pool_touch(sttp_pool *pool);
void sttp__pool_work(sttp_pool *pool);
/* Behind those that wait already; `again`: it was given to a link before. */
void sttp__pool_queue(sttp_pool *pool, sttp_call *call, bool again);
/* The link that takes a request now; NULL where none does. */
sttp__link *sttp__pool_pick(sttp_pool *pool, sttp_action action);
void sttp__pool_wake_at(sttp_pool *pool, uint64_t at);
void sttp__pool_expired(sttp__timer *timer);
void sttp__pool_tell(sttp_pool *pool, sttp_pool_event_kind kind, const char *address,
                     const sttp_error *error, size_t in_flight);
void sttp__pool_free(sttp_pool *pool);

/* ---- options: async_options.c ---- */

bool sttp__async_options_read(sttp_async_options *known, const sttp_async_options *given);
bool sttp__pool_options_read(sttp_pool_options *known, const sttp_pool_options *given);
sttp_status sttp__pool_options_apply(sttp_pool *pool, const sttp_pool_options *options);

/* ---- the client: async.c ---- */

enum {
    STTP__SMALL_LINE = 176,   /* bytes of a request line whose call comes from the free list */
    STTP__SCRATCH = 64 * 1024 /* bytes that one write sends */
};

struct sttp_async {
    sttp_allocator memory;
    sttp_loop loop;
    sttp__resolver *resolver;
    TAILQ_HEAD(, sttp_pool) pools;
    TAILQ_HEAD(, sttp_pool) destroyed_pools;
    TAILQ_HEAD(, sttp_pool) dirty_pools;
    TAILQ_HEAD(, sttp_pool) littered_pools; /* those with closed links */
    sttp__links dirty;
    unsigned depth; /* of sttp__async_enter */
    bool destroyed;
    bool soon; /* the end of the turn was asked for */
    uint64_t now;
    uint64_t turn; /* counts the ends of turns */
    uint64_t random;

    sttp__timer **timers; /* a heap */
    size_t timer_count;
    size_t timer_capacity;
    size_t timers_reserved;
    uint64_t told; /* when the loop will call */

    sttp__calls free_calls;
    size_t free_count;
    char *scratch;
};

void sttp__async_enter(sttp_async *async);
void sttp__async_leave(sttp_async *async);
/* Asks for the end of the turn. */
void sttp__async_soon(sttp_async *async);
/* Random numbers for jitter: nobody's secrets hang on them. */
uint64_t sttp__async_random(sttp_async *async, uint64_t below);

/* ---- timers: async_timer.c ---- */

/* Calls what is due. */
void sttp__timers_run(sttp_async *async);
void sttp__timers_tell_loop(sttp_async *async);

/* ---- errors: async_error.c ---- */

const char *sttp__pool_destination(const sttp_pool *pool);
/* Of the Unix socket where `address` is NULL. */
void sttp__place_write(const sttp_pool *pool, const sttp__inet_address *address,
                       char text[STTP__PLACE_TEXT]);

/* A sentence. `call` may be NULL; then `began` is the time from which the duration counts. */
void sttp__fault(sttp_error *error, const sttp_pool *pool, sttp_status status, sttp_phase phase,
                 int system_errno, const char *address, uint64_t began);
void sttp__fault_cancelled(sttp_error *error, const sttp_call *call);
void sttp__fault_late(sttp_error *error, const sttp_call *call, const char *deadline);
void sttp__fault_lost(sttp_error *error, const sttp__link *link);
void sttp__fault_bad_answer(sttp_error *error, const sttp__link *link, sttp_status status,
                            const sttp_problem *problem);
void sttp__fault_wrong_answer(sttp_error *error, const sttp__link *link,
                              const sttp_response *response);
void sttp__fault_unasked(sttp_error *error, const sttp__link *link);
void sttp__fault_resolve(sttp_error *error, const sttp_pool *pool, const char *why);
void sttp__fault_race(sttp_error *error, const sttp__race *race, bool late);
/* For a change that was sent: `error` becomes STTP_ERR_OUTCOME_UNKNOWN with its cause. */
void sttp__fault_outcome_unknown(sttp_error *error, const sttp_call *call);

#endif
