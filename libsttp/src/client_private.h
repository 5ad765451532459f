/* The inside of the blocking client.
 *
 *     client.c           public calls
 *     client_options.c   options: checked and copied
 *     client_exchange.c  one answer: send, wait, receive, check
 *     client_queue.c     requests that wait for their results
 *     client_input.c     bytes that came and are not read yet
 *     client_connect.c   a connection: opened (resolve, race, handshake) and closed
 *     client_resolve.c   a name to addresses, in a thread
 *     client_race.c      addresses to one connected socket
 *     client_transport.c the plain socket behind sttp_transport
 *     client_error.c     what went wrong, in words
 *
 * Functions that return an sttp_status have filled client->error when it is not STTP_OK. */
#ifndef STTP_SRC_CLIENT_PRIVATE_H
#define STTP_SRC_CLIENT_PRIVATE_H

#include <sys/socket.h>

#include <sttp/client.h>
#include <sttp/parser.h>

#include "client_queue.h"
#include "text.h"

/* Points in time and durations are in microseconds of CLOCK_MONOTONIC. */
#define STTP__NEVER UINT64_MAX

enum { STTP__ADDRESS_TEXT = sizeof((sttp_error *)0)->address };

typedef struct sttp__deadline {
    uint64_t at;
    const char *name; /* "request timeout" */
} sttp__deadline;

typedef struct sttp__address {
    struct sockaddr_storage socket;
    socklen_t size;
} sttp__address;

typedef struct sttp__addresses {
    sttp__address *items;
    size_t count;
} sttp__addresses;

/* The session of the built-in transport. */
typedef struct sttp__plain {
    int fd;
    int system_errno; /* of the last call */
} sttp__plain;

typedef struct sttp__input {
    const sttp_allocator *memory;
    char *data;
    size_t capacity;
    size_t start; /* the first byte that is not consumed */
    size_t end;
} sttp__input;

typedef struct sttp__connection {
    int fd; /* -1 where there is none */
    void *session;
    char address[STTP__ADDRESS_TEXT];
    uint64_t answers;
    uint64_t answered_at; /* when the last one was taken */
    short read_wants;     /* the last read asked to wait for this; 0 where reading is worth a try */
    short write_wants;
    bool ended;        /* no more bytes will come */
    bool write_failed; /* no more bytes will leave */
    bool failed;       /* one of the two was no orderly end; what follows says why */
    int system_errno;
    char why[128];
} sttp__connection;

struct sttp_client {
    sttp_allocator memory;

    /* From the options; durations in microseconds. */
    char *host;
    char *socket_path;
    char *origin;
    uint16_t port;
    int family;
    sttp__addresses given; /* of options.addresses */
    uint64_t connect_timeout;
    uint64_t request_timeout;
    uint64_t total_timeout; /* 0 for none */
    size_t max_contents;
    size_t max_in_flight;
    sttp_transport transport;
    void (*trace)(void *context, const sttp_trace *trace);
    void *trace_context;

    sttp__plain plain;
    sttp__connection connection;
    sttp__queue queue;
    sttp__input input;
    sttp_parser parser;
    uint64_t call_began;
    uint64_t life_ends;      /* 0 before the first request, STTP__NEVER where there is no limit */
    sttp__deadline deadline; /* of the call: the request's or the client's, whichever is first */
    bool closes_each_time;   /* the peer was seen to close after one answer */
    bool keeps_open;         /* the peer was seen to give two answers */
    sttp_error error;
    sttp_error unasked; /* came behind the last answer: what the next request ends with */
};

/* client_options.c */
/* Makes this version's struct of the caller's; false where an option is out of its range. */
bool sttp__options_read(sttp_client_options *known, const sttp_client_options *given);
sttp_status sttp__options_apply(sttp_client *client, const sttp_client_options *options);

/* client_exchange.c: the result of the oldest outstanding request, which stays in the queue. */
sttp_status sttp__exchange(sttp_client *client, sttp_response *response);

/* client_connect.c */
sttp_status sttp__open(sttp_client *client);
/* Closes the connection, if there is one. What is in the input buffer stays where it is, since the
 * caller's response may point there, but will not be read as an answer. */
void sttp__close(sttp_client *client, sttp_status why);

/* client_resolve.c. Gives at least one address; release them with sttp__release. */
sttp_status sttp__resolve(sttp_client *client, const sttp__deadline *deadline,
                          sttp__addresses *addresses);
/* The address that `text` is, without asking anybody; false where it is none. */
bool sttp__numeric_address(const char *text, uint16_t port, int family, sttp__address *address);

/* client_race.c: connection.fd and connection.address. */
sttp_status sttp__race(sttp_client *client, const sttp__addresses *addresses,
                       const sttp__deadline *deadline);
void sttp__address_text(const sttp__address *address, char text[STTP__ADDRESS_TEXT]);

/* client_transport.c */
sttp_transport sttp__plain_transport(sttp__plain *session);
bool sttp__is_plain(const sttp_client *client);

/* client_input.c */
sttp_slice sttp__input_bytes(const sttp__input *input);
/* Room for more bytes behind those that are there; false where memory is out. */
bool sttp__input_reserve(sttp__input *input);
void sttp__input_consume(sttp__input *input, size_t size);
void sttp__input_clear(sttp__input *input);
/* Gives back what an unusually long answer took. */
void sttp__input_shrink(sttp__input *input);

/* client_wait.c */
uint64_t sttp__now(void);
/* Waits until `fd` is ready for `events`; false where `until` came first, also where that was
 * before the call: a peer that always has something ready must not hold up a deadline. */
bool sttp__wait(int fd, short events, uint64_t until);
/* Whole milliseconds from now to `until`, rounded up, as poll takes them. */
int sttp__poll_timeout(uint64_t until);

/* client_error.c. Between _begin and _end the text is added to. */
sttp__text sttp__error_begin(sttp_client *client, sttp_status status, sttp_phase phase,
                             int system_errno);
sttp_status sttp__error_end(sttp_client *client, sttp__text *text);
/* For what needs no more than a sentence. */
sttp_status sttp__error(sttp_client *client, sttp_status status, sttp_phase phase,
                        int system_errno);
sttp_status sttp__error_timeout(sttp_client *client, sttp_phase phase, const char *deadline);
sttp_status sttp__error_lost(sttp_client *client);
sttp_status sttp__error_bad_answer(sttp_client *client, sttp_status status,
                                   const sttp_problem *problem);
sttp_status sttp__error_wrong_answer(sttp_client *client, const sttp_response *response);
sttp_status sttp__error_unasked(sttp_client *client);
/* Turns the error into STTP_ERR_OUTCOME_UNKNOWN, with what it was as its cause. */
sttp_status sttp__error_outcome_unknown(sttp_client *client);
/* The name of the place that the client talks to, and whether that is a proxy. */
void sttp__add_destination(sttp__text *text, const sttp_client *client);

static inline void sttp__trace(const sttp_client *client, sttp_trace trace)
{
    if (!client->trace)
        return;
    trace.elapsed = sttp__now() - client->call_began;
    client->trace(client->trace_context, &trace);
}

#endif
