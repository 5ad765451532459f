/* The parts of the server engine and how they hang together.
 *
 *     sttp_server ── listeners (addresses)
 *       └ workers[] ── a thread, an event base, a mailbox
 *           ├ acceptors[]   one socket for each listener
 *           └ connections   each in exactly one timeout list
 *               ├ input     bytes that are no whole request yet, or wait for their turn
 *               ├ replies   one for each request under way, in their order
 *               └ output    answers that wait to be sent
 *
 * All that hangs on a worker belongs to its thread. Others reach it by its mailbox alone; what all
 * workers share are the atomic fields of sttp_server and the count of addresses. */
#ifndef STTP_EVENT_ENGINE_H
#define STTP_EVENT_ENGINE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include <sttp/parser.h>
#include <sttp/server.h>

#include "address.h"
#include "address_count.h"
#include "mailbox.h"
#include "output.h"

struct sttp__acceptor;
struct sttp__connection;
struct sttp__listener;
struct sttp__worker;

/* ---- replies: reply.c ---- */

/* What is to be done with a reply when it is the first of its connection. */
enum sttp__turn {
    STTP__TURN_NONE,   /* it is not answered */
    STTP__TURN_PART,   /* a part of its answer was given: as much as there is goes on */
    STTP__TURN_WHOLE,  /* it is answered, and gives way to the next */
    STTP__TURN_CLOSES, /* the same, but it is the last one: the connection closes behind it */
    STTP__TURN_RESETS  /* or is reset */
};

struct sttp_reply {
    struct sttp__message message; /* for the way from another thread to the worker */
    struct sttp_reply *next;      /* in the connection's order, or in the worker's free list */
    struct sttp__mailbox *mailbox;
    struct sttp__worker *worker;         /* worker's thread only, and so the next */
    struct sttp__connection *connection; /* NULL once it is closed */
    uint64_t connection_id;
    struct sttp__chunk *answer; /* where it could not go into the output at once */
    size_t counted;             /* bytes of it among those on the way in the mailbox */
    unsigned char turn;         /* an enum sttp__turn; worker's thread only */
    bool change;                /* the request was one */
};

/* The next place in the connection's order; NULL where memory is out. */
struct sttp_reply *sttp__reply_create(struct sttp__connection *connection);

/* Answers on the worker's thread. */
sttp_status sttp__reply_answer(struct sttp_reply *reply, const sttp_response *response);

/* Answers with bytes as they are, on the worker's thread. */
void sttp__reply_answer_raw(struct sttp_reply *reply, sttp_slice bytes);

/* Takes in a reply that another thread has answered, or whose connection is gone. */
void sttp__reply_arrived(struct sttp_reply *reply);

/* Separates a connection's replies from it: they come to nothing. */
void sttp__reply_orphan_all(struct sttp__connection *connection);

/* Frees a reply that came, or was in the mailbox, when nobody took it any more. */
void sttp__reply_discard(struct sttp_reply *reply);

/* ---- connections: connection.c, connection_life.c ---- */

/* Which timeout a connection is under. Each kind has one length, so a list in the order of entry is
 * in the order of expiry. */
enum sttp__timeout {
    STTP__TIMEOUT_IDLE,
    STTP__TIMEOUT_REQUEST, /* a part of a request has come */
    STTP__TIMEOUT_SEND,    /* the socket takes no more bytes for now */
    STTP__TIMEOUT_LINGER,
    STTP__TIMEOUT_NONE, /* the server itself has work to do */
    STTP__TIMEOUTS
};

enum sttp__state {
    STTP__OPEN,      /* requests are read and answered */
    STTP__DRAINING,  /* no request is read any more; what came before is answered and sent */
    STTP__LINGERING, /* all is sent, our side is shut; what still comes is dropped until the peer
                        closes, since closing with unread bytes would reset the connection and take
                        the last answer from the peer */
    STTP__GREETING   /* the header of the PROXY protocol is not whole yet: see greeting.c */
};

struct sttp__connection {
    struct event event;
    struct sttp__worker *worker;
    TAILQ_ENTRY(sttp__connection) in_timeouts;
    TAILQ_ENTRY(sttp__connection) in_runnable;
    uint64_t since; /* when it entered its timeout list */
    uint64_t linger_since;
    uint64_t last_run; /* which one of its worker that was */
    uint64_t id;
    uint64_t requests;
    struct sttp__listener *listener;
    struct sttp__address peer;

    struct sttp__chunk *input; /* NULL where no byte waits to be parsed */
    sttp_parser parser;
    struct sttp_reply *first; /* the replies in their order */
    struct sttp_reply **end;  /* where the next one goes */
    unsigned in_flight;       /* replies in that queue */
    unsigned unfinished;      /* those of them that are not answered */
    struct sttp__output output;
    size_t waiting; /* bytes of answers that wait for earlier ones */
    size_t unsent;  /* what of its answers is counted in worker and server */
    int fd;
    int last_bytes; /* what is still to be read of a stopping server's connection */
    int untaken;    /* bytes given to the socket, less those that the peer had taken when its time
                       to take more began */
    int failure;    /* errno, for the notice */

    enum sttp__state state;
    enum sttp__timeout timeout;
    sttp_close_reason reason; /* why its input has ended */
    short interest;           /* the event is registered for this */
    bool ready;               /* in the worker's list of those whose sockets are */
    bool readable;            /* what it is ready for: else it is writable only */
    bool busy;                /* within a run: answers are sent at its end */
    bool surplus;             /* bytes have come in it that are not wanted */
    bool runnable;            /* in the worker's list of those that have work */
    bool hungry;              /* the input holds no whole line: more bytes are needed */
    bool barrier;             /* later requests wait until all that are under way are answered */
    bool end_of_file;
    bool socket_full;
    bool failed;            /* to be closed at once */
    bool resets;            /* when all is sent */
    bool stopping;          /* the server stops: nothing is read but last_bytes */
    bool counted;           /* by address */
    bool consumed;          /* requests were taken since the timeout was set */
    bool sent;              /* bytes were sent since the timeout was set */
    bool took;              /* the peer took enough of them since then */
    uint8_t hops;           /* proxies on the way */
    uint8_t refused_header; /* an enum sttp__proxy_status */
};

TAILQ_HEAD(sttp__connections, sttp__connection);

/* Takes over an accepted socket. STTP_OK, or STTP_ERR_MEMORY: the socket is the caller's then. */
sttp_status sttp__connection_open(struct sttp__acceptor *acceptor, int fd,
                                  const struct sttp__address *peer, bool counted);

/* It is the program's from now on: `proxy` is who has told of its peer, or NULL. */
void sttp__connection_announce(struct sttp__connection *connection,
                               const struct sttp__address *proxy);

/* Its socket is ready: it runs with the others that are. */
void sttp__connection_on_event(evutil_socket_t fd, short what, void *argument);

/* Does what there is to do but read: parses, sends; may close the connection. Not while others are
 * ready. */
void sttp__connection_run(struct sttp__connection *connection);

/* Begins to call that when its socket is ready to be read; false where memory is out. */
bool sttp__connection_listen(struct sttp__connection *connection, event_callback_fn on_event);

/* Runs the connections that are ready; they may be closed. Each callback of the engine but that of
 * a connection's event calls it first; when the loop waits, none is ready. */
void sttp__run_ready(struct sttp__worker *worker);

/* Marks a connection as broken: its run closes it at the end. */
void sttp__connection_fail(struct sttp__connection *connection, sttp_close_reason reason,
                           int system_errno);

/* Closes the socket and frees the connection now. Not from within its run. */
void sttp__connection_close(struct sttp__connection *connection, sttp_close_reason reason);

/* The same, but the kernel drops what the peer has not taken yet. */
void sttp__connection_reset(struct sttp__connection *connection, sttp_close_reason reason);

/* One whose socket is full: its time to take bytes begins anew if the peer has taken enough of them
 * since that began; else, or if it began at this very moment, it is reset. */
void sttp__connection_spare_or_reset(struct sttp__connection *connection, sttp_close_reason reason);

/* What its timeout says to do. */
void sttp__connection_expire(struct sttp__connection *connection);

/* The server stops: takes note of what has come in so far; may close the connection. One that was
 * busy a moment ago is closed by way of lingering: its next request may be on its way. */
void sttp__connection_stop(struct sttp__connection *connection);

/* Whether bytes have come that nobody has read. */
bool sttp__connection_has_input(const struct sttp__connection *connection);

/* Bytes that were given to the socket and that the peer has not acknowledged. */
int sttp__connection_untaken(const struct sttp__connection *connection);

/* Whether the peer has taken enough since its time began: that time begins anew then. Single bytes
 * now and then shall not hold a connection for ever. */
bool sttp__connection_has_taken(struct sttp__connection *connection);

/* Whether closing it now takes an answer from the peer. */
bool sttp__connection_is_unfinished(const struct sttp__connection *connection);

/* ---- before the first request: greeting.c ---- */

enum sttp__greeted {
    STTP__GREETED, /* it is open, and has to run */
    STTP__GREETING_WAITS,
    STTP__GREETING_REFUSED /* it is gone */
};

/* Takes what has come of the header. Not while others are ready. */
enum sttp__greeted sttp__greet(struct sttp__connection *connection);

/* The same where its socket is ready, and runs it then. */
void sttp__connection_on_greeting(evutil_socket_t fd, short what, void *argument);

/* ---- the memory of unsent answers: unsent.c ---- */

/* Counts what the connection's answers take now. */
void sttp__unsent_count(struct sttp__connection *connection);

/* Where all connections together keep too much: resets those that have kept the most for the
 * longest, or wakes the worker that has to. Not from within a connection's run. */
void sttp__unsent_reset(struct sttp__worker *worker);

/* ---- requests: request.c ---- */

/* Takes whole lines, as many as may be taken, up to the limit of one run. */
void sttp__process(struct sttp__connection *connection);

/* Answers a request that is not finished in time; nothing is read any more. */
void sttp__expire_request(struct sttp__connection *connection);

/* Gives back the input's memory. */
void sttp__drop_input(struct sttp__connection *connection);

/* ---- listeners: listener.c; accepting: acceptor.c ---- */

struct sttp__listener {
    struct sttp__listener *next;
    char *address;
    int *sockets;     /* one for each worker; -1 where a worker has taken it */
    char *path;       /* of a Unix socket, else NULL */
    char *lock_path;  /* of the file that is locked while this server has the path */
    int lock;         /* its descriptor; -1 where there is none */
    struct stat file; /* of a Unix socket: which file it is */
    bool proxy_protocol;
    sttp_network *trusted;
    size_t trusted_count;
};

sttp_status sttp__listener_create(sttp_server *server, const sttp_listener_options *options,
                                  struct sttp__listener **listener);
void sttp__listener_destroy(sttp_server *server, struct sttp__listener *listener);

struct sttp__acceptor {
    struct event event;
    struct sttp__worker *worker;
    struct sttp__listener *listener;
    int fd; /* -1 where it is closed */
};

/* Counts one more connection of the address, where there is a limit: *counted says whether it was.
 * STTP_OK, or as sttp__address_count_add. */
sttp_status sttp__count_address(const sttp_server *server, const struct sttp__address *address,
                                bool *counted);

/* A connection that was accepted and waits for a place among the others. */
struct sttp__guest {
    struct sttp__acceptor *acceptor; /* NULL where there is none */
    struct sttp__address peer;
    int fd;
    bool counted;
};

/* One acceptor for each listener, with the worker's socket. STTP_OK or STTP_ERR_MEMORY. */
sttp_status sttp__acceptors_create(struct sttp__worker *worker);
void sttp__acceptors_destroy(struct sttp__worker *worker);

/* Accepts again after a pause. */
void sttp__acceptors_resume(struct sttp__worker *worker);

/* Accepts what waits and closes the listeners. */
void sttp__acceptors_stop(struct sttp__worker *worker);

/* A worker was asked for room by another, or gets the answer. */
void sttp__room_message(struct sttp__worker *worker, struct sttp__message *message);

/* ---- workers: worker.c, worker_thread.c ---- */

/* Connections that are put in order, at most. */
enum { STTP__MOST_READY = 64 };

struct sttp__worker {
    sttp_server *server;
    struct event_base *base;
    struct event timer; /* for the earliest of all timeouts */
    int timer_fd;       /* what it waits for; -1 where there is none */
    struct event run;   /* for the runnable connections: after a look at the sockets */
    struct event wake;  /* the mailbox */
    uint64_t now;       /* milliseconds, read once for each event */
    uint64_t timer_at;  /* 0 where the timer is not set */
    struct sttp__connections by_timeout[STTP__TIMEOUTS];
    unsigned timeouts[STTP__TIMEOUTS];
    struct sttp__connections runnable;
    unsigned runnable_count;
    bool collecting; /* the runnable connections run at the end of this event */
    unsigned connections;
    struct sttp__connection *ready[STTP__MOST_READY]; /* in the order in which they last ran */
    unsigned ready_count;
    uint64_t runs; /* so far */
    void *program; /* what worker_begin has returned; NULL where there is none */

    struct sttp__pool pool;
    struct sttp_reply *free_replies;
    unsigned free_reply_count;
    size_t replies_out; /* given to the handler and not come back */
    size_t taken_in;    /* bytes that came and still count as on the way */

    struct sttp__acceptor *acceptors;
    size_t acceptor_count;
    struct sttp__guest guest;
    uint64_t resume_at; /* when accepting goes on; 0 where it is not paused */
    bool pause_noticed; /* this pause was told */
    bool room_asked;    /* room_request is on its way */
    struct sttp__room_request {
        struct sttp__message message;
        struct sttp__worker *asker;
        enum sttp__room_step {
            STTP__ROOM_ANSWERED,  /* who lingers and has its last answer */
            STTP__ROOM_IDLE,      /* where there is none, who is idle for longest */
            STTP__ROOM_LINGERING, /* where nobody is idle, who lingers for longest */
            STTP__ROOM_STEPS
        } step;
        uint64_t rank; /* of the next worker that can be asked in this step */
        unsigned left; /* workers that may still be asked in it */
        bool made;     /* one was closed */
    } room_request;

    bool stopping;
    bool cut; /* connections were closed by the deadline before they were answered */
    struct sttp__mailbox *mailbox;
    pthread_t thread;
    /* Read by others, and so all below. Since when the first connection is under each timeout;
     * UINT64_MAX where there is none. */
    _Alignas(64) atomic_uint_fast64_t first_since[STTP__TIMEOUTS];
    atomic_size_t unsent; /* bytes that the unsent answers of its connections take */
};

sttp_status sttp__worker_create(struct sttp__worker *worker, sttp_server *server);
void sttp__worker_destroy(struct sttp__worker *worker);

/* Starts the thread and lets the program begin on it. STTP_OK, STTP_ERR_SYSTEM with errno set, or
 * STTP_ERR_MEMORY where the program did not begin: no thread runs then. */
sttp_status sttp__worker_start(struct sttp__worker *worker);

/* Closes all connections now. */
void sttp__worker_cut(struct sttp__worker *worker);

/* Runs what is ready and what is runnable when all events that are active now were called. */
void sttp__worker_run_soon(struct sttp__worker *worker);

/* Reads the clock, at the start of each event. */
void sttp__worker_tick(struct sttp__worker *worker);

/* Makes sure that the timer fires at `at` or before. */
void sttp__worker_arm(struct sttp__worker *worker, uint64_t at);

/* Lets the connection run soon, after the other events. On the worker's thread, also from callbacks
 * of the program's own. */
void sttp__worker_schedule(struct sttp__connection *connection);

/* Puts the connection under a timeout: anew if `restart` says so or it was under another. */
void sttp__worker_set_timeout(struct sttp__connection *connection, enum sttp__timeout timeout,
                              bool restart);

/* Takes in a new connection, and gives one up. */
void sttp__worker_add(struct sttp__connection *connection);
void sttp__worker_remove(struct sttp__connection *connection);

/* ---- the server: server.c, notice.c ---- */

struct sttp_server {
    sttp_allocator allocator;
    sttp_server_options options; /* with the defaults filled in */
    struct sttp__listener *listeners;
    size_t listener_count;
    struct sttp__worker *workers;
    void *worker_memory; /* what they are in */
    unsigned created;    /* workers that are to be destroyed */
    unsigned running;    /* workers whose thread is to be joined */
    bool started;
    sem_t begun; /* posted by each worker whose program has begun, or cannot */
    struct sttp__address_count *addresses; /* NULL where there is no limit by address */
    struct sttp__on_the_way *on_the_way;
    atomic_uint connections;
    atomic_size_t unsent; /* bytes that the unsent answers of all connections take */
    atomic_uint_fast64_t next_id;
    atomic_uint_fast64_t stop_at; /* the deadline; UINT64_MAX where nobody has asked to stop */
};

/* Milliseconds of a clock that never goes back; async-signal-safe. */
uint64_t sttp__server_now(void);

/* ---- asked for each request ---- */

/* Whether the answer to one more request may be asked for now. */
static inline bool sttp__has_room(const struct sttp__connection *connection)
{
    const sttp_server_options *options = &connection->worker->server->options;
    bool held = connection->barrier && connection->unfinished > 0;
    return !held && connection->in_flight < options->max_in_flight &&
           connection->output.size + connection->waiting < options->max_unsent;
}

/* Whether lines that may be whole wait and can be taken. */
static inline bool sttp__takes_requests(const struct sttp__connection *connection)
{
    return connection->state == STTP__OPEN && !connection->hungry && !connection->failed &&
           sttp__has_room(connection);
}

/* The number of bytes in the input. */
static inline size_t sttp__unparsed(const struct sttp__connection *connection)
{
    return connection->input == NULL ? 0 : connection->input->end - connection->input->start;
}

/* Asks for that where it is needed. */
static inline void sttp__unsent_trim(struct sttp__worker *worker)
{
    const struct sttp_server *server = worker->server;
    if (atomic_load_explicit(&server->unsent, memory_order_relaxed) >
        server->options.max_unsent_total)
        sttp__unsent_reset(worker);
}

/* Fills in the peer's text, where there is one, and tells the program. */
void sttp__notify(const sttp_server *server, sttp_notice *notice, const struct sttp__address *peer);

#endif
