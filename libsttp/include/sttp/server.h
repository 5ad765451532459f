/* A server engine in libsttp-event: listeners, workers, connections, timeouts. The program gives
 * one handler that answers requests. Follows docs/protocol.md, section 1.
 *
 *     static void handle(void *context, const sttp_request *request, sttp_reply *reply)
 *     {
 *         sttp_response response = {.code = STTP_CODE_OK, .echo = request->path};
 *         response.contents = STTP_SLICE("hello");
 *         sttp_reply_send(reply, &response);
 *     }
 *
 *     sttp_server_options options = {.size = sizeof options, .handler = handle};
 *     sttp_server_create(&options, &server);
 *     sttp_server_listen(server, "127.0.0.1:8080");
 *     sttp_server_start(server);
 *     ... sttp_server_stop(server, 10000); sttp_server_wait(server); sttp_server_destroy(server);
 *
 * Each connection belongs to one worker (a thread with an event loop of its own) until it closes.
 * The engine parses, answers what is not a request (300, 310) itself, keeps the answers in the
 * order of the requests, and holds a connection's later requests back while a change of its own is
 * under way, so that a handler that answers each request from the state of the moment gives every
 * connection the effects of its own earlier requests. A LIST runs alone in the same way, so that a
 * connection pins no more than one answer of that size, and that one can be sent.
 *
 * The engine installs no signal handler, raises no signal and writes to no stream; libevent warns
 * on standard error where the program has not called event_set_log_callback. */
#ifndef STTP_SERVER_H
#define STTP_SERVER_H

#include <sys/socket.h>

#include <sttp/message.h>
#include <sttp/network.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sttp_server sttp_server;

struct event_base; /* libevent's */

/* The place of one answer in the order of its connection. */
typedef struct sttp_reply sttp_reply;

/* Answers one request: must lead to exactly one sttp_reply_send (_bytes, or sttp_reply_end) for
 * `reply`, before it returns or later, from any thread. It runs on a worker's thread: it must not
 * block, nor let the thread be cancelled, which is disabled there. `request` and its slices live
 * until the handler returns. */
typedef void (*sttp_handler)(void *context, const sttp_request *request, sttp_reply *reply);

/* Sends the answer and gives up `reply`, which must not be used afterwards. What `response` points
 * to is copied before it returns. Thread-safe. Where the connection is gone by now, nothing
 * happens. A response that the serializer refuses, or for which there is no memory
 * (STTP_ERR_MEMORY), or no room among those on their way to the workers (STTP_ERR_BUSY, see
 * max_unsent_total), is replaced by a 500, which says "outcome unknown" where the response told
 * that a change was done; where even that fails, the connection is closed. Returns STTP_OK, or why
 * the response was replaced. */
STTP_API sttp_status sttp_reply_send(sttp_reply *reply, const sttp_response *response);

/* The same for an answer that is serialized already, as a cache has it: one whole response, status
 * line and contents line, which is not checked. */
STTP_API sttp_status sttp_reply_send_bytes(sttp_reply *reply, sttp_slice answer);

/* Answers that go wrong on purpose, to test clients with: bytes that are not checked, given one
 * part after the other, and closed connections. What is not a whole response makes the answers
 * behind it unreadable. */

/* Adds bytes, which are copied, to an answer that goes on: instead of sttp_reply_send, and on the
 * worker's thread alone, as in the handler. They leave as soon as `reply` is the first of its
 * connection; until then, and while the peer takes none, they count as its other answers do (see
 * max_unsent). An answer that is not whole is under no timeout but send_timeout. STTP_OK;
 * STTP_ERR_CONNECTION_LOST where the connection is gone, and STTP_ERR_MEMORY where it will be:
 * nothing was added. No bytes are allowed: that only tells whether the connection is there. In each
 * case `reply` is still to be ended, with sttp_reply_end. */
STTP_API sttp_status sttp_reply_send_part(sttp_reply *reply, sttp_slice bytes);

typedef enum sttp_reply_ending {
    STTP_REPLY_WHOLE, /* the next answer follows */
    /* When the answers before it and what was added are sent, the connection is closed in good
     * order. No request behind this one is read any more; those that were are not answered. */
    STTP_REPLY_CLOSE,
    /* The same, but the connection is reset when all was given to the socket: the peer may never
     * see the last of it. On a Unix socket it is closed. */
    STTP_REPLY_RESET
} sttp_reply_ending;

/* Ends the answer and gives up `reply`, which must not be used afterwards: on the worker's thread
 * alone, after any number of parts, also none. Where the connection is gone by now, nothing
 * happens. */
STTP_API void sttp_reply_end(sttp_reply *reply, sttp_reply_ending how);

/* Milliseconds of CLOCK_MONOTONIC_COARSE. Within a handler that the server has called: read when
 * the request had been received, without asking again, unless there is a worker_begin.
 * Thread-safe. */
STTP_API uint64_t sttp_server_now(void);

/* The id of the connection that the reply belongs to, as in notices: for log lines. Only before
 * sttp_reply_send. */
STTP_API uint64_t sttp_reply_connection(const sttp_reply *reply);

/* What worker_begin has returned for the worker that called the handler; NULL where there is none.
 * Only on that worker's thread and before sttp_reply_send. */
STTP_API void *sttp_reply_worker(const sttp_reply *reply);

/* Who has sent a request. */
typedef struct sttp_peer {
    /* Of the connection, or where its listener speaks the PROXY protocol and the header tells one,
     * of that header; AF_UNIX without a path, AF_UNSPEC where the connection is closed by now. */
    struct sockaddr_storage address;
    unsigned
        hops; /* proxies on the way, as a header's field STTP_PROXY_HEADER_HOPS tells; else 0 */
} sttp_peer;

/* Tells who has sent the request: on the worker's thread alone, as in the handler, and before
 * sttp_reply_send. */
STTP_API void sttp_reply_peer(const sttp_reply *reply, sttp_peer *peer);

/* What the engine tells about itself. */
typedef enum sttp_notice_kind {
    STTP_NOTICE_OPENED,  /* a connection was accepted: connection, peer, listener, proxy */
    STTP_NOTICE_CLOSED,  /* connection, peer, reason, requests */
    STTP_NOTICE_REFUSED, /* a connection was closed at once, or where its listener speaks the PROXY
                            protocol, before its header was whole: peer, listener, reason, detail */
    STTP_NOTICE_ACCEPT_PAUSED, /* listener, reason, system_errno: no connections are accepted for a
                                  moment */
    STTP_NOTICE_STOPPED        /* a worker has closed its last connection */
} sttp_notice_kind;

/* Why a connection was closed or refused. */
typedef enum sttp_close_reason {
    STTP_CLOSE_NONE = 0,
    STTP_CLOSE_BY_CLIENT, /* end of file or an empty line, everything answered */
    STTP_CLOSE_RESET,     /* the connection failed; system_errno */
    STTP_CLOSE_IDLE_TIMEOUT,
    STTP_CLOSE_REQUEST_TIMEOUT,
    STTP_CLOSE_SEND_TIMEOUT,
    STTP_CLOSE_LINE_TOO_LONG,
    STTP_CLOSE_HTTP,      /* an HTTP request */
    STTP_CLOSE_MAKE_ROOM, /* idle for longest when another connection needed its place */
    STTP_CLOSE_TOO_MANY,  /* over the limit of its address; of a pause: no place or no descriptor is
                             free, and no connection is idle */
    STTP_CLOSE_UNSENT,    /* see max_unsent_total */
    STTP_CLOSE_MEMORY,    /* out of memory */
    STTP_CLOSE_UNTRUSTED, /* no trusted proxy, and the listener speaks the PROXY protocol */
    STTP_CLOSE_PROXY_HEADER, /* the header of the PROXY protocol is missing or refused: detail */
    STTP_CLOSE_BY_PROGRAM,   /* see sttp_reply_end */
    STTP_CLOSE_STOP          /* the server stops */
} sttp_close_reason;

/* "idle timeout", "request timeout", ... Static memory. */
STTP_API const char *sttp_close_reason_text(sttp_close_reason reason);

typedef struct sttp_notice {
    sttp_notice_kind kind;
    uint64_t connection;  /* unique in this server, counted from 1 */
    const char *peer;     /* "127.0.0.1:40000", "[::1]:40000", "unix"; until the callback returns */
    const char *listener; /* the address that it came in on, as sttp_server_address gives it */
    sttp_close_reason reason;
    int system_errno;
    uint64_t requests;  /* requests that the connection has made */
    const char *proxy;  /* the proxy whose header tells of the peer; NULL where there is none */
    const char *detail; /* what is wrong with a header: "its checksum is wrong"; else NULL */
} sttp_notice;

/* Zero stands for the default in every field but `size` and `handler`. Timeouts are in
 * milliseconds. */
typedef struct sttp_server_options {
    size_t size; /* sizeof(sttp_server_options), so that later versions can add fields at the end */
    const sttp_allocator *allocator;

    sttp_handler handler;
    void *handler_context;
    /* Told from workers' threads; must not block. Default: nobody is told. */
    void (*notice)(void *context, const sttp_notice *notice);
    void *notice_context;

    unsigned workers;         /* default: the processors this process may run on; 1 to 1,024 */
    unsigned max_connections; /* default 10,000 */
    unsigned max_connections_per_address; /* default: as max_connections. An IPv6 address is counted
                                             with all of its /64, which one host may have and
                                             the hosts of one network share (those of link-local
                                             addresses, too); Unix sockets are not counted */
    unsigned max_in_flight; /* requests of one connection under way at once; default 64 */
    size_t max_unsent; /* bytes of a connection's answers waiting to be taken, beyond which no more
                          of its requests are read; default 65,536 */
    unsigned backlog;  /* of listen(2), for each worker; default 1,024 */
    unsigned idle_timeout;    /* nothing in flight; default 60,000 */
    unsigned request_timeout; /* from a request's first byte to its last; default 10,000 */
    unsigned send_timeout;    /* a full socket whose peer takes less than 4,096 bytes in this time;
                                 default 30,000. On a Unix socket the kernel counts no byte as
                                 taken before all of its piece are, 36 KiB at most */
    unsigned linger_timeout;  /* after the last answer, before the peer closes: what still comes is
                                 read and dropped, so that no reset takes the answer from the peer.
                                 Silent peers get 5,000 at most; default 30,000. Where a place is
                                 needed, who has the answer goes at once, and who has not does
                                 where nobody is idle */
    /* Bytes of memory for the answers of all connections that wait to be taken. Beyond it that
     * connection is reset which has kept the most for the longest (bytes times milliseconds since
     * its peer took 4,096 bytes), and the next, until it is enough; of one worker's, the 256 whose
     * peers have taken nothing for longest are considered. Who takes its bytes goes last, but it
     * goes, where nobody else can: an answer that is larger than this by itself may never arrive.
     * A quarter comes on top of it for a moment, until the worker of that connection has its turn.
     * So do answers that other threads have made and no worker has taken in yet: up to as much
     * again for all workers together, and one more for each worker; what would be more is replaced
     * by a 500 "server busy". Default: 64 MiB. */
    size_t max_unsent_total;

    /* What the program has on each worker: clients of its own on the worker's loop, say. Called on
     * the worker's thread before it takes its first connection, with handler_context. Where it
     * returns NULL, sttp_server_start fails with STTP_ERR_MEMORY. The program may have events on
     * `base`, from the worker's thread alone; it has no locks. Answers that are sent in their
     * callbacks leave when all that has become ready together has had its turn, those of one
     * connection in one piece. A callback must not block, nor free or break the loop. Default:
     * there is nothing. */
    void *(*worker_begin)(void *context, struct event_base *base);
    /* Called on that thread with what worker_begin has returned, when the last connection is closed
     * and no event will be called any more: frees it, and its events, whatever they wait for.
     * Replies that it still has may be sent in here: nothing happens. */
    void (*worker_end)(void *context, void *worker);

    /* A forward proxy's: the target of a request may be a URL, sttp_request.origin has what stands
     * before its path. */
    bool proxy;
} sttp_server_options;

/* Makes a server that does not listen yet. STTP_OK, STTP_ERR_MEMORY, STTP_ERR_SYSTEM with errno
 * set, or STTP_ERR_ARGUMENT where an option is out of its range; *server is NULL then. */
STTP_API sttp_status sttp_server_create(const sttp_server_options *options, sttp_server **server);

/* Adds a listener, before sttp_server_start. `address` is "127.0.0.1:8080", "[::1]:8080", "[::]:0"
 * (IPv6 only), or "unix:/path" (a stale socket that nobody listens on is replaced; mode as the
 * umask says; a locked "/path.lock" beside it keeps other servers away; both are removed again by
 * sttp_server_destroy). Addresses are numeric. Port 0 takes a free one. STTP_OK, STTP_ERR_ADDRESS,
 * STTP_ERR_ADDRESS_IN_USE, STTP_ERR_MEMORY, STTP_ERR_STATE, or STTP_ERR_SYSTEM with errno set. */
STTP_API sttp_status sttp_server_listen(sttp_server *server, const char *address);

typedef struct sttp_listener_options {
    size_t size;         /* sizeof(sttp_listener_options) */
    const char *address; /* as of sttp_server_listen */
    /* Each connection begins with a header of the PROXY protocol, version 1 or 2, of 4,096 bytes at
     * most, and whole within request_timeout; the first request stands behind it. The client's
     * address in it is what notices, limits and sttp_reply_peer know; where it tells none (UNKNOWN,
     * LOCAL), that of the connection. Anybody can write one: so each peer that is not in `trusted`
     * is closed before a byte is read, but that of a Unix socket, who is always trusted. A header
     * that is malformed, or that tells of a client on this host (loopback, a Unix socket) and comes
     * from another, closes the connection. Without this option such a header is no request. */
    bool proxy_protocol;
    const sttp_network *trusted; /* copied */
    size_t trusted_count;
} sttp_listener_options;

/* The same with options. STTP_ERR_ARGUMENT, too, where proxy_protocol and trusted do not come
 * together, but on a Unix socket. */
STTP_API sttp_status sttp_server_listen_with(sttp_server *server,
                                             const sttp_listener_options *options);

/* The address of listener `index` (from 0, in the order of the calls) with its real port; NULL
 * where there is none. Lives as long as the server. */
STTP_API const char *sttp_server_address(const sttp_server *server, size_t index);

/* Starts the workers. STTP_OK, STTP_ERR_STATE (no listener, or started before), STTP_ERR_MEMORY, or
 * STTP_ERR_SYSTEM with errno set: then no worker runs and only sttp_server_destroy may be called.
 */
STTP_API sttp_status sttp_server_start(sttp_server *server);

/* Asks the server to stop and returns at once: listeners are closed, what has come in whole is
 * answered, connections are closed when their answers are sent, and after `deadline` milliseconds
 * whatever they do. A second call can only shorten the deadline; 0 closes everything now.
 * Thread-safe, and async-signal-safe. */
STTP_API void sttp_server_stop(sttp_server *server, unsigned deadline);

/* Waits until every worker has ended after sttp_server_stop. STTP_OK, or STTP_ERR_TIMEOUT where the
 * deadline passed and connections were cut. Call it from one thread, once, and not from a handler.
 */
STTP_API sttp_status sttp_server_wait(sttp_server *server);

/* Frees the server. It must not have been started, or sttp_server_wait must have returned. NULL is
 * allowed. Replies that are still out may be sent afterwards: nothing happens, and the last one
 * frees what they share. */
STTP_API void sttp_server_destroy(sttp_server *server);

#ifdef __cplusplus
}
#endif

#endif
