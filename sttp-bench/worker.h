/* A thread of the tester and its connections. Private to load.c, worker.c, link.c and answer.c.
 *
 * A link is a place for a connection; it outlives the connections that it has one after another. */
#ifndef BENCH_WORKER_H
#define BENCH_WORKER_H

#include <semaphore.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sttp/parser.h>

#include "load.h"

enum {
    REQUEST_ROOM = 768,        /* bytes: the longest request that is made, a proxy's URL included */
    INPUT_SIZE = 256 * 1024,   /* bytes read at once */
    TICK = 20 * 1000,          /* microseconds */
    LATE = 1000 * 1000,        /* nanoseconds after which a request counts as sent late */
    GRACE = 100 * 1000 * 1000, /* nanoseconds after the end in which an open loop catches up */
    RETRY_AFTER = 100 * 1000 * 1000 /* nanoseconds between two attempts of a link to connect */
};

#define NEVER UINT64_MAX

/* What all threads of a phase share. */
struct load {
    const load_phase *phase;
    uint64_t begin, measure_from, end; /* nanoseconds of the monotonic clock; `end` may be NEVER */
    uint64_t count;                    /* requests to measure; NEVER where time decides */
    atomic_uint_fast64_t issued;       /* of `count` */
    atomic_bool stop;                  /* at once */
    atomic_uint finished;              /* threads */
    sem_t ended;                       /* posted by each thread that has finished */
    bench_series *series;
};

/* A request under way. */
typedef struct pending {
    sttp_action action;
    bool counted; /* it belongs to the measured time */
    uint64_t key, nonce;
    uint64_t intended, sent; /* nanoseconds */
} pending;

typedef enum link_state {
    LINK_CLOSED,     /* a request makes it connect (--connection-per-request) */
    LINK_WAITING,    /* until `due`; then it connects */
    LINK_CONNECTING, /* until `due` at most */
    LINK_OPEN,
    LINK_ENDING /* --connection-per-request: all was answered, the server is to close, by `due` */
} link_state;

struct worker;

struct link {
    struct worker *worker;
    link_state state;
    int fd;
    struct event readable, writable;
    sttp_parser parser;
    char *input; /* what is left of an answer that is not whole */
    size_t input_size, input_capacity;
    char *output; /* room for a pipeline of requests */
    size_t output_size, output_sent;
    pending *queue; /* a ring of options->pipeline requests, in the order of sending */
    size_t first, count;
    uint64_t due;
    enum { LINK_NOWHERE, LINK_READY, LINK_THINKING } place; /* the list that it is in */
    bool dirty;                                             /* has requests to send */
    TAILQ_ENTRY(link) in_list;
};

TAILQ_HEAD(link_list, link);

typedef struct worker {
    struct load *load;
    unsigned index, threads;
    pthread_t thread;
    struct event_base *base;
    struct event tick, alarm;
    uint64_t now;
    bench_random random;
    struct link *links;
    size_t link_count;
    struct link_list ready;    /* may take one more request */
    struct link_list thinking; /* wait for --interval, in the order of their due times */
    size_t pending;            /* requests under way */
    uint64_t next_due;         /* open loop: when the next request is due */
    double due_fraction;       /* of a nanosecond */
    double gap;                /* open loop: nanoseconds between two requests of this thread */
    bool starved;              /* no link is ready */
    uint64_t starved_until;    /* the last time that was so */
    struct link **dirty;       /* links that have requests to send */
    size_t dirty_count;
    uint64_t nonces, fresh; /* that were given out */
    key_list created;       /* and may be deleted */
    history history;
    uint64_t interval_index, interval_end; /* of the series */
    histogram *interval;
    uint64_t interval_errors;
    uint64_t last_answer;
    uint64_t busy_before; /* what the thread had used when the measured time began */
    bool measuring;
    bench_tally *tally;
    atomic_uint_fast64_t answers, failures; /* for whoever watches; all the time */
    char *scratch;                          /* INPUT_SIZE bytes */
    char path[CONTENT_MAX_PATH];            /* of an answer that is looked at */
    bool no_memory;
} worker;

/* ---- worker.c ---- */

bool worker_init(worker *w, struct load *load, unsigned index, unsigned threads);
void worker_destroy(worker *w);

/* The thread's function; `argument` is the worker. */
void *worker_main(void *argument);

/* Gives requests to the links that are ready, as many as are due, and sends them. */
void worker_pump(worker *w);

/* Whether no further request will be made. */
bool worker_exhausted(const worker *w);

void worker_set_ready(worker *w, struct link *link);
void worker_set_thinking(worker *w, struct link *link);
void worker_remove(worker *w, struct link *link);
void worker_tick_clock(worker *w);

/* Puts a good answer, or a failure, into the books. */
void worker_count_answer(worker *w, const pending *request);
void worker_count_failure(worker *w, failure_kind kind, sttp_slice sample);

/* ---- request.c ---- */

/* Decides what to ask next, as is due at `due`; false where nothing is left. */
bool request_choose(worker *w, uint64_t due, pending *request);

/* Writes a request to `buffer` of REQUEST_ROOM bytes; returns its size. */
size_t request_write(worker *w, const pending *request, char *buffer);

/* ---- link.c ---- */

bool link_init(struct link *link, worker *w);
void link_destroy(struct link *link);
void link_connect(struct link *link);

/* Adds a request; link_flush sends it. */
void link_add(struct link *link, const pending *request);
void link_flush(struct link *link);

/* What is due by the clock: connecting, deadlines. */
void link_tick(struct link *link);

/* Ends the connection; every request under way fails. `sample` is what happened. */
void link_fail(struct link *link, failure_kind kind, sttp_slice sample);

/* Gives up all requests under way, uncounted. */
void link_forget(struct link *link);

/* ---- answer.c ---- */

/* Notes for --check that a request may have been done, or may not. */
void answer_missing(worker *w, const pending *request);

/* Counts the answer that is hoped for, known by its bytes: one without quirks to a SHOW, CREATE,
 * UPDATE or DELETE that was done. Returns its size; 0 where it is not whole or not that, so the
 * parser and answer_take are to look. */
size_t answer_usual(worker *w, const pending *request, const char *data, size_t size);

/* Judges the answer to a request and counts it. False where the connection is of no more use. */
bool answer_take(worker *w, const pending *request, const sttp_response *response);

#endif
