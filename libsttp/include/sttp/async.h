/* An asynchronous client in libsttp-event: pools of connections, requests whose answers come by a
 * callback. It runs on any event loop; adapters for libevent, libuv and poll are in
 * <sttp/adapters/...>, each a header that needs no more than this one and its loop's.
 *
 *     static void done(void *context, const sttp_response *response, const sttp_error *error)
 *     {
 *         if (response) ... else fprintf(stderr, "%s\n", error->text);
 *     }
 *
 *     sttp_libevent adapter;
 *     sttp_libevent_create(base, NULL, &adapter);               // sets adapter.async
 *     sttp_pool_options options = {.size = sizeof options, .host = "example.org"};
 *     sttp_pool_create(adapter.async, &options, &pool);
 *     sttp_request request = {.action = STTP_ACTION_SHOW, .path = STTP_SLICE("/notes/a.txt")};
 *     sttp_pool_request(pool, &request, done, NULL, NULL);
 *     event_base_dispatch(base);
 *     sttp_libevent_destroy(&adapter);
 *
 * Nothing here blocks. All objects of one sttp_async belong to one thread. Any function may be
 * called from within any callback, also those that free the object whose callback it is; memory
 * that is still in use is freed when the outermost function returns. The library raises no signal,
 * writes nothing anywhere and keeps no global state.
 *
 * What the answers mean, how they are checked and what is repeated is as <sttp/client.h> says: a
 * 300 or 500 is an answer; a wrong or an unasked one closes its connection; servers that close
 * after each answer work. A pool has several connections: what is under way at the same time may be
 * done in any order. Who needs an order waits for the answer. */
#ifndef STTP_ASYNC_H
#define STTP_ASYNC_H

#include <stdbool.h>
#include <stdint.h>

#include <sttp/client.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sttp_async sttp_async; /* one for a loop */
typedef struct sttp_pool sttp_pool;   /* connections to one destination */
typedef struct sttp_call sttp_call;   /* one request under way */

/* ---- The loop: what an adapter gives, and what it calls. Programs with one need no more of it. */

enum { STTP_READABLE = 1, STTP_WRITABLE = 2 };

/* A descriptor that the loop shall watch. The client owns it. */
typedef struct sttp_watch {
    int fd;
    unsigned interest; /* STTP_READABLE, STTP_WRITABLE, both; 0: the loop is to forget it */
    void *handle;      /* the adapter's own, NULL at first */
    sttp_async *async; /* whose it is */
    void (*_ready)(struct sttp_watch *watch, unsigned ready); /* the client's own */
} sttp_watch;

/* What a loop can do. None of the functions calls back into the client. */
typedef struct sttp_loop {
    /* watch->interest has changed: level-triggered, as poll does. 0 comes once before the
     * descriptor is closed, and the watch must not be used afterwards: the adapter frees `handle`.
     * Returns 0, or -1 where the loop has no memory for it (never asked with interest 0). */
    int (*watch)(void *context, sttp_watch *watch);
    /* Calls sttp_async_expire once, `delay` microseconds from now, in place of what was asked
     * before. UINT64_MAX: not at all. It cannot fail. */
    void (*timer)(void *context, uint64_t delay);
    /* Calls sttp_async_flush once, as soon as what is ready now has been told. It cannot fail. */
    void (*soon)(void *context);
    void *context;
} sttp_loop;

/* The descriptor is ready: STTP_READABLE, STTP_WRITABLE or both. An error or a hang-up is both. For
 * the loop alone: never from within a callback, in which no loop can be run either. */
STTP_API void sttp_async_ready(sttp_watch *watch, unsigned ready);

/* The time that `timer` was told of has come. Early or surplus calls are harmless; from within a
 * callback it only has the loop call again. */
STTP_API void sttp_async_expire(sttp_async *async);

/* ---- A client on a loop. */

/* Zero stands for the default in every field but `size` and `loop`. What pointers point to is
 * copied, but for contexts. */
typedef struct sttp_async_options {
    size_t size; /* sizeof(sttp_async_options), so that later versions can add fields at the end */
    const sttp_allocator *allocator;
    sttp_loop loop;
    const char *dns_servers; /* "127.0.0.1:5353,[::1]:53"; default: those of resolv.conf */
    const char *hosts_file;  /* default: the system's */
} sttp_async_options;

/* STTP_OK; STTP_ERR_MEMORY, or STTP_ERR_ARGUMENT where an option is out of its range: *async is
 * NULL then. */
STTP_API sttp_status sttp_async_create(const sttp_async_options *options, sttp_async **async);

/* Destroys all pools, as sttp_pool_destroy does, and the client. When it returns the loop has been
 * told to forget everything and is not called any more. NULL is allowed. */
STTP_API void sttp_async_destroy(sttp_async *async);

/* Connects and sends what has been asked for since. That happens by itself as soon as the loop has
 * told of all that is ready, so that requests of one turn leave together. From within a callback it
 * only sends what has a connection. */
STTP_API void sttp_async_flush(sttp_async *async);

/* ---- Pools. */

typedef enum sttp_pool_event_kind {
    STTP_POOL_CONNECTED,   /* a connection is there */
    STTP_POOL_UNREACHABLE, /* none could be made: error.status says whether the name had no address,
                              each one refused or did not answer, or was not permitted */
    STTP_POOL_LOST, /* a connection has ended that the pool had not given up: closed or reset by the
                       peer (error.system_errno), or closed for what came (STTP_ERR_BAD_ANSWER,
                       STTP_ERR_WRONG_ANSWER, STTP_ERR_UNASKED_ANSWER, ...). STTP_ERR_EMPTY_ANSWER
                       with nothing in flight is no failure: servers close idle connections */
    STTP_POOL_LATE  /* an answer has not come in its time */
} sttp_pool_event_kind;

typedef struct sttp_pool_event {
    sttp_pool_event_kind kind;
    const char *address;     /* of the connection or the last address tried; may be empty */
    const sttp_error *error; /* NULL for STTP_POOL_CONNECTED */
    size_t in_flight;        /* requests that were sent over the connection and have no answer */
} sttp_pool_event;

/* As above. Timeouts are in milliseconds, at most INT_MAX; each is finite but `total_timeout_ms`.
 */
typedef struct sttp_pool_options {
    size_t size; /* sizeof(sttp_pool_options) */

    /* Where to, as in sttp_client_options: a host (a name or an address) with a port, or a Unix
     * socket. Names are looked up again when their time is over, without disturbing what is under
     * way; localhost is the loopback addresses. */
    const char *host;
    uint16_t port;           /* default 8080 */
    const char *socket_path; /* where it is not NULL, host and port are not used for connecting */
    int family;              /* AF_INET or AF_INET6 to use only those; default both */
    const char *const *addresses; /* numeric ones, in place of resolving `host`; default none */
    size_t address_count;

    unsigned min_connections; /* kept open, also where nothing is asked; default none */
    unsigned max_connections; /* default 4 */
    unsigned max_in_flight;   /* of each connection; default 64 */
    unsigned max_queued;      /* requests that wait for a connection; default 1,024 */
    size_t max_contents;      /* bytes that the contents line of an answer may have; default and at
                                 most STTP_MAX_CONTENTS_LINE */

    unsigned connect_timeout_ms; /* of one attempt, name and all addresses together; default
                                    10,000 */
    unsigned queue_timeout_ms;   /* until a connection takes the request; default 5,000 */
    unsigned request_timeout_ms; /* from then to the whole answer; default 30,000 */
    unsigned total_timeout_ms; /* from the call to its result, repetition included; default none */
    unsigned idle_timeout_ms;  /* of a connection that carries nothing; default 60,000 */
    unsigned backoff_min_ms;   /* after a failure to connect; default 100. It doubles with each, */
    unsigned backoff_max_ms;   /* to at most this, default 10,000, and a random part of it is waited
                                  for; the first answer of a connection resets it */

    /* Requests are as sttp_parse_request has made them, with or without their origin: they are not
     * checked again. */
    bool parsed;

    /* A request that was sent is never repeated; otherwise SHOW and LIST are, as client.h says,
     * within what `may_repeat` allows. */
    bool no_repeat;

    /* Sent first on each connection, at most 4,096 bytes: a PROXY protocol header, for instance. */
    const void *preamble;
    size_t preamble_size;

    /* Asked for each address, just before it is connected to; false: it is not tried. Where none
     * is permitted, requests end as STTP_ERR_DENIED. Default: all are. */
    bool (*permit)(void *context, const struct sockaddr *address);
    void *permit_context;

    void (*event)(void *context, const sttp_pool_event *event); /* default: nobody is told */
    void *event_context;

    /* Asked when a connection has ended with `count` requests that were sent and would be repeated:
     * how many of them, the first ones, may be. Default: all. Called within the client; it must
     * not call it. */
    size_t (*may_repeat)(void *context, size_t count);
    void *may_repeat_context;
} sttp_pool_options;

/* Makes a pool; connections are made when they are needed. STTP_OK; STTP_ERR_MEMORY, or
 * STTP_ERR_ARGUMENT where an option is out of its range: *pool is NULL then. */
STTP_API sttp_status sttp_pool_create(sttp_async *async, const sttp_pool_options *options,
                                      sttp_pool **pool);

/* Closes its connections. Each outstanding call ends as STTP_ERR_CANCELLED (a change that was sent:
 * as STTP_ERR_OUTCOME_UNKNOWN): its callback is called before this returns, and none afterwards.
 * NULL is allowed. */
STTP_API void sttp_pool_destroy(sttp_pool *pool);

typedef struct sttp_pool_counts {
    size_t connections; /* open */
    size_t connecting;  /* attempts under way */
    size_t in_flight;   /* requests given to a connection that wait for their answer */
    size_t queued;      /* requests that wait for a connection */
    size_t abandoned;   /* in_flight does not count them: their caller has gone, their answers are
                           still to be read and dropped */
} sttp_pool_counts;

STTP_API void sttp_pool_count(const sttp_pool *pool, sttp_pool_counts *counts);

/* ---- Requests. */

/* The result: either an answer, whose slices live until this returns, or an error. Where
 * error->phase is STTP_PHASE_RECEIVE, the request was sent, wholly or in part; in any other phase
 * not a byte of it. */
typedef void sttp_call_done(void *context, const sttp_response *response, const sttp_error *error);

/* Takes a request, of which it copies what it needs. STTP_OK: `done` will be called once, later,
 * never from within this function. *call (`call` may be NULL) can be used until then.
 * STTP_ERR_PIPELINE_FULL where no connection can take it and max_queued wait already,
 * STTP_ERR_MEMORY, STTP_ERR_STATE where the pool is being destroyed, or what the serializer says of
 * the request: nothing was taken, and *call is NULL.
 *
 * A SHOW goes to the connection that has the most SHOWs in flight and nothing else, since many
 * requests in one write cost least; a change or a LIST, for which a server holds back what is
 * behind it, to the one with the fewest. Where it has to wait for others all the same, and there
 * are fewer than max_connections, another one is opened meanwhile. */
STTP_API sttp_status sttp_pool_request(sttp_pool *pool, const sttp_request *request,
                                       sttp_call_done *done, void *context, sttp_call **call);

/* Gives up a request: `done` is not called any more. Where it was sent, its answer will be read and
 * dropped; what it changes is changed. From within its own `done` it does nothing. NULL is allowed.
 */
STTP_API void sttp_call_cancel(sttp_call *call);

#ifdef __cplusplus
}
#endif

#endif
