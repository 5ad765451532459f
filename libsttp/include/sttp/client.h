/* A blocking client: one connection to one server, kept open between requests.
 *
 *     sttp_client_options options = {.size = sizeof options, .host = "localhost"};
 *     sttp_client *client;
 *     sttp_error error;
 *     if (sttp_client_create(&options, &client) != STTP_OK) ...
 *     sttp_request request = {.action = STTP_ACTION_SHOW, .path = STTP_SLICE("/notes/a.txt")};
 *     sttp_response response;
 *     if (sttp_client_request(client, &request, &response, &error) != STTP_OK)
 *         fprintf(stderr, "%s\n", error.text);
 *     sttp_client_destroy(client);
 *
 * Every call returns within its deadlines; none is infinite. A response of 300 or 500 is an answer,
 * not an error: the functions return STTP_OK and response.code says it.
 *
 * Answers are checked (docs/protocol.md, section 3): each must speak of what was asked and none may
 * come unasked. If one does not, the connection is closed, so a late or a wrong answer never
 * reaches another request. Bytes that come while no answer is due are told once: the next request
 * ends as STTP_ERR_UNASKED_ANSWER, and nothing of it was sent; an answer that was given before
 * stays good.
 *
 * Retries: the client repeats by itself only what cannot hurt: SHOW and LIST, and a change of which
 * no byte was sent, where the connection had given an answer before and was closed without a byte
 * of this one. Any connection gives at least one result, an answer or an error, so a peer that
 * closes again and again ends each request at some point. A change that was sent and whose answer
 * did not come ends as STTP_ERR_OUTCOME_UNKNOWN. A request that needed a connection and got none
 * ends with the error of connecting; the next one tries again.
 *
 * Servers that close after each answer work, too: once one was seen to do so, each request gets a
 * connection of its own. So that no change is lost on the way to that knowledge, a change that
 * comes as the second request of a connection is held back until 20 ms after the first answer,
 * unless the server was seen before to give two answers on one.
 *
 * A client may be used by one thread at a time; different clients by different threads at once. It
 * raises no signal, writes nothing anywhere, and keeps no global state. Name resolution runs in a
 * thread of its own, so that the deadlines hold for it too. Where a deadline comes first, that
 * thread is left to itself: it ends when the C library's resolver returns, and may outlive the
 * client. It blocks all signals and takes its memory from malloc, never from `allocator`. The
 * shared library stays loaded for it; a plugin that links the static one must not be unloaded. */
#ifndef STTP_CLIENT_H
#define STTP_CLIENT_H

#include <sttp/message.h>
#include <sttp/url.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sockaddr;

typedef struct sttp_client sttp_client;

/* What a client was doing when something failed. */
typedef enum sttp_phase {
    STTP_PHASE_NONE = 0,
    STTP_PHASE_RESOLVE,
    STTP_PHASE_CONNECT,
    STTP_PHASE_HANDSHAKE, /* of a transport module */
    STTP_PHASE_SEND,
    STTP_PHASE_RECEIVE,
    STTP_PHASE_QUEUE /* waiting for a connection of a pool, see async.h */
} sttp_phase;

/* "resolve", "connect", ...; "none". Static memory. */
STTP_API const char *sttp_phase_name(sttp_phase phase);

/* Everything that is known of a failure. */
typedef struct sttp_error {
    sttp_status status; /* what the call returned */
    sttp_status cause;  /* why; differs from status only for STTP_ERR_OUTCOME_UNKNOWN */
    sttp_phase phase;
    int system_errno;  /* 0 where no system call failed */
    char address[128]; /* "127.0.0.1:8080", "[::1]:8080", "unix:/run/s"; the last one tried; may be
                          empty */
    char text[512]; /* one line: what failed, at which address or addresses, why, after how long */
    bool behind;    /* asynchronous client: the connection has ended because of an older request, of
                       whose answer status and cause speak; of this one nothing came */
} sttp_error;

/* What sttp_client_options.trace is told. `elapsed` is in microseconds since the call began that
 * does the work. */
typedef enum sttp_trace_kind {
    STTP_TRACE_RESOLVING,      /* address: the name; not told of a numeric host */
    STTP_TRACE_RESOLVED,       /* address: the name; count: the number of addresses */
    STTP_TRACE_CONNECTING,     /* address */
    STTP_TRACE_CONNECT_FAILED, /* address, system_errno */
    STTP_TRACE_CONNECTED,      /* address; the handshake of a transport follows */
    STTP_TRACE_SENT,           /* data: a request line, LF included */
    STTP_TRACE_RECEIVED,       /* data: a response, its contents line included */
    STTP_TRACE_CLOSED          /* address; status: why */
} sttp_trace_kind;

typedef struct sttp_trace {
    sttp_trace_kind kind;
    uint64_t elapsed;
    const char *address;
    sttp_slice data;
    size_t count;
    int system_errno;
    sttp_status status;
} sttp_trace;

/* How bytes travel over a connected socket, so that TLS can come as a module that is loaded on use.
 * The client keeps the socket non-blocking, waits for it and watches the deadlines; a transport
 * never blocks. Each function returns a number of bytes (for `handshake` 1 = done), 0 for the end
 * of the stream (read only), or -1: then *wants is POLLIN or POLLOUT where the call is to be
 * repeated when the socket is ready for it, and 0 where the connection has failed. A stream that is
 * cut off has failed; only one that the peer closed in good order has ended. No function raises a
 * signal, SIGPIPE not either. */
typedef struct sttp_transport {
    /* A session over `fd` to `host`; NULL where memory is out. It does not own the descriptor. */
    void *(*open)(void *context, int fd, const char *host);
    int (*handshake)(void *session, short *wants);
    ptrdiff_t (*read)(void *session, char *buffer, size_t size, short *wants);
    ptrdiff_t (*write)(void *session, const char *data, size_t size, short *wants);
    /* Writes why the last call failed, one line ended by a zero byte. */
    void (*explain)(void *session, char *buffer, size_t capacity);
    void (*close)(void *session);
    void *context; /* the first argument of `open` */
} sttp_transport;

/* Zero stands for the default in every field but `size` and the destination. What pointers point to
 * is copied, but for `allocator`'s context, `transport` and the callbacks' contexts, which must
 * outlive the client. */
typedef struct sttp_client_options {
    size_t size; /* sizeof(sttp_client_options), so that later versions can add fields at the end */
    const sttp_allocator *allocator;

    /* Where to: a host (a name or an address as in sttp_url.host) with a port, or a Unix socket. */
    const char *host;
    uint16_t port;           /* default 8080 */
    const char *socket_path; /* where it is not NULL, host and port are not used for connecting */
    int family;              /* AF_INET or AF_INET6 to use only those; default both */
    /* Numeric addresses to use in place of resolving `host`, tried in this order; default none. */
    const char *const *addresses;
    size_t address_count;

    /* Deadlines in milliseconds, at most INT_MAX. */
    unsigned connect_timeout_ms; /* resolve, connect and handshake together; default 10,000 */
    unsigned
        request_timeout_ms; /* from the call that needs an answer to the answer; default 30,000 */
    unsigned total_timeout_ms; /* of the client's whole life from its first request; default none */

    size_t max_contents;  /* bytes that the contents line of an answer may have; default and at most
                             STTP_MAX_CONTENTS_LINE */
    size_t max_in_flight; /* requests taken and not yet answered; default 1,024 */

    const sttp_transport *transport; /* default: the plain socket */
    void (*trace)(void *context,
                  const sttp_trace *trace); /* called from within the client's calls */
    void *trace_context;

    /* Where the host above is a forward proxy: whom it shall ask, "sttp://example.org:8080", see
     * sttp_request.origin; each request that has no origin of its own goes with it. Answers of the
     * proxy's own echo it. An error of the client is always of the way to the proxy, and its text
     * names the proxy as such. Default none. */
    const char *origin;
} sttp_client_options;

/* Makes a client. Nothing is resolved or connected yet. STTP_OK, STTP_ERR_MEMORY, or
 * STTP_ERR_ARGUMENT where an option is out of its range; *client is NULL then. */
STTP_API sttp_status sttp_client_create(const sttp_client_options *options, sttp_client **client);

/* Closes the connection and frees the client. NULL is allowed. Outstanding answers are given up. */
STTP_API void sttp_client_destroy(sttp_client *client);

/* Sends one request and waits for its answer; connects first where there is no connection.
 * STTP_ERR_STATE where answers are outstanding. `error` may be NULL. The response's slices live
 * until the next call with this client. */
STTP_API sttp_status sttp_client_request(sttp_client *client, const sttp_request *request,
                                         sttp_response *response, sttp_error *error);

/* Pipelining. sttp_client_send takes a request (it copies what it needs) and does not wait; the
 * bytes leave at the latest when sttp_client_receive has to wait for an answer; it returns the
 * answers in the order of the requests. Any number of requests can pass:
 *
 *     while (more requests or outstanding answers)
 *         while (more && (status = sttp_client_send(client, &next, &error)) == STTP_OK) ...
 *         // STTP_ERR_PIPELINE_FULL, or no more: take an answer
 *         status = sttp_client_receive(client, &response, &error);
 *
 * sttp_client_send returns STTP_OK, STTP_ERR_PIPELINE_FULL (nothing was taken: receive first),
 * STTP_ERR_MEMORY, or what the serializer says of the request (nothing was taken).
 *
 * sttp_client_receive returns the answer to the oldest outstanding request, or its error: each
 * request that sttp_client_send took gets exactly one result. After an error the connection is
 * closed and each later outstanding request gives its own result: SHOW and LIST, and changes of
 * which no byte was sent, are sent again on a new connection; changes that were sent end as
 * STTP_ERR_OUTCOME_UNKNOWN. STTP_ERR_NOTHING_SENT where none is outstanding. A connection on which
 * no two answers have come yet carries one request at a time, since some servers close after each
 * answer. */
STTP_API sttp_status sttp_client_send(sttp_client *client, const sttp_request *request,
                                      sttp_error *error);
STTP_API sttp_status sttp_client_receive(sttp_client *client, sttp_response *response,
                                         sttp_error *error);

/* The number of requests taken by sttp_client_send whose result has not been received. */
STTP_API size_t sttp_client_outstanding(const sttp_client *client);

#ifdef __cplusplus
}
#endif

#endif
