/* The answers of a connection leave in the order of its requests:
 *
 *     first                          last
 *     [unfinished] -> [done, answer] -> [unfinished]
 *
 * The usual answer comes on the worker's thread while its reply is the first: it is serialized
 * straight into the output, and nothing is allocated. One that comes early waits in a chunk of its
 * own, and so does one from another thread, on its way through the mailbox. When the first reply is
 * answered, all that are done behind it leave with it.
 *
 * An answer may also come in parts, which leave one by one, and may be the last of its connection:
 * what is behind it comes to nothing then. */
#include <string.h>

#include <sttp/parser.h>
#include <sttp/serializer.h>

#include "engine.h"
#include "memory.h"

enum {
    FREE_REPLIES = 1024, /* that a worker keeps */
    FRAME = 128          /* bytes of an answer beside echo, message and contents, and enough for a
                            replacement */
};

/* ---- the life of a reply ---- */

/* What is the same for all replies of a worker stays in them while they are free. */
static struct sttp_reply *take_reply(struct sttp__worker *worker)
{
    struct sttp_reply *reply = worker->free_replies;
    if (reply != NULL) {
        worker->free_replies = reply->next;
        worker->free_reply_count--;
        return reply;
    }
    reply = sttp__allocate(&worker->server->allocator, sizeof *reply);
    if (reply != NULL)
        *reply = (struct sttp_reply){
            .message = {.kind = STTP__MESSAGE_REPLY}, .mailbox = worker->mailbox, .worker = worker};
    return reply;
}

static void give_reply(struct sttp__worker *worker, struct sttp_reply *reply)
{
    if (worker->free_reply_count == FREE_REPLIES) {
        sttp__release(&worker->server->allocator, reply);
        return;
    }
    reply->next = worker->free_replies;
    worker->free_replies = reply;
    worker->free_reply_count++;
}

struct sttp_reply *sttp__reply_create(struct sttp__connection *connection)
{
    struct sttp__worker *worker = connection->worker;
    struct sttp_reply *reply = take_reply(worker);
    if (reply == NULL)
        return NULL;
    reply->next = NULL;
    reply->connection = connection;
    reply->connection_id = connection->id;
    reply->answer = NULL;
    reply->counted = 0;
    reply->turn = STTP__TURN_NONE;
    reply->change = false;
    *connection->end = reply;
    connection->end = &reply->next;
    connection->in_flight++;
    connection->unfinished++;
    worker->replies_out++;
    return reply;
}

void sttp__reply_discard(struct sttp_reply *reply)
{
    const sttp_allocator *allocator = &reply->mailbox->allocator;
    if (reply->counted > 0)
        sttp__mailbox_arrived(reply->mailbox, reply->counted);
    sttp__release(allocator, reply->answer);
    sttp__release(allocator, reply);
}

void sttp__reply_orphan_all(struct sttp__connection *connection)
{
    struct sttp__worker *worker = connection->worker;
    while (connection->first != NULL) {
        struct sttp_reply *reply = connection->first;
        connection->first = reply->next;
        reply->connection = NULL;
        if (reply->turn == STTP__TURN_NONE) /* its answer may be another thread's */
            continue;
        sttp__pool_give(&worker->pool, reply->answer);
        reply->answer = NULL;
        if (reply->turn != STTP__TURN_PART)
            give_reply(worker, reply);
    }
    connection->end = &connection->first;
    connection->waiting = 0;
    connection->in_flight = 0;
    connection->unfinished = 0;
}

/* ---- from responses to bytes ---- */

/* What a slice adds to an answer. One over its limit is refused by the serializer: no room. */
static size_t within(sttp_slice slice, size_t limit)
{
    return slice.size <= limit ? slice.size : 0;
}

/* Enough room for the answer, or for the 500 that replaces it. */
static size_t room_for(const sttp_response *response)
{
    return FRAME + within(response->echo, STTP_MAX_STATUS_LINE) +
           within(response->message, STTP_MAX_STATUS_LINE) +
           within(response->contents, STTP_MAX_CONTENTS_LINE);
}

/* Whether the response says that a change was done: nothing that replaces it may deny that. */
static bool acknowledges(const struct sttp_reply *reply, const sttp_response *response)
{
    return reply->change && (response->code == STTP_CODE_CREATED ||
                             response->code == STTP_CODE_OK || response->code == STTP_CODE_DELETED);
}

/* The 500 that replaces a response. */
static sttp_response replacement(const struct sttp_reply *reply, const sttp_response *response,
                                 sttp_slice message)
{
    if (acknowledges(reply, response))
        message = STTP_SLICE("outcome unknown");
    return (sttp_response){
        .code = STTP_CODE_SERVER_ERROR, .echo = response->echo, .message = message};
}

/* Writes the answer, or the 500 that replaces it, into `room`, which is enough for both. */
static sttp_status serialize(const struct sttp_reply *reply, const sttp_response *response,
                             char *room, size_t capacity, size_t *size)
{
    sttp_status status = sttp_serialize_response(response, room, capacity, size, NULL);
    if (status == STTP_OK)
        return STTP_OK;
    sttp_slice message = STTP_SLICE("the server made an answer that cannot be sent");
    sttp_response other = replacement(reply, response, message);
    if (sttp_serialize_response(&other, room, capacity, size, NULL) != STTP_OK) {
        other.echo = STTP_SLICE("-");
        sttp_serialize_response(&other, room, capacity, size, NULL);
    }
    return status;
}

/* The answer in a chunk of its own, or a 500 where there is no memory for it; *chunk is NULL where
 * there is none even for that. */
static sttp_status make_answer(const struct sttp_reply *reply, const sttp_response *response,
                               struct sttp__chunk **chunk)
{
    const sttp_allocator *allocator = &reply->mailbox->allocator;
    sttp_status status = STTP_OK;
    sttp_response other;
    *chunk = sttp__chunk_create(allocator, room_for(response));
    if (*chunk == NULL) {
        status = STTP_ERR_MEMORY;
        other = replacement(reply, response, STTP_SLICE("out of memory; try again later"));
        response = &other;
        *chunk = sttp__chunk_create(allocator, room_for(response));
    }
    if (*chunk == NULL)
        return status;
    sttp_status refused =
        serialize(reply, response, (*chunk)->data, (*chunk)->capacity, &(*chunk)->end);
    return status != STTP_OK ? status : refused;
}

/* ---- answering ---- */

static inline void remove_first(struct sttp__connection *connection)
{
    struct sttp_reply *reply = connection->first;
    connection->first = reply->next;
    if (reply->next == NULL)
        connection->end = &connection->first;
    connection->in_flight--;
    give_reply(connection->worker, reply);
}

/* Sends on what the first reply has; true where the next one follows it now. Not inlined: most
 * replies are answered while they are the first, and shall not pay for it. */
__attribute__((noinline)) static bool release_first(struct sttp__connection *connection)
{
    struct sttp_reply *reply = connection->first;
    unsigned char turn = reply->turn;
    if (reply->answer != NULL) {
        connection->waiting -= reply->answer->end;
        sttp__output_append(&connection->output, &connection->worker->pool, reply->answer);
        reply->answer = NULL;
    }
    if (turn == STTP__TURN_PART)
        return false;
    remove_first(connection);
    if (turn == STTP__TURN_WHOLE)
        return true;
    connection->resets = turn == STTP__TURN_RESETS;
    sttp__reply_orphan_all(connection);
    return false;
}

/* Sends on all that are answered, up to the first that is not. */
static inline void release_done(struct sttp__connection *connection)
{
    while (connection->first != NULL && connection->first->turn != STTP__TURN_NONE)
        if (!release_first(connection))
            break;
}

/* The first reply is answered, in the output. */
static inline void finish_first(struct sttp__connection *connection)
{
    connection->unfinished--;
    connection->worker->replies_out--;
    remove_first(connection);
    release_done(connection);
    if (!connection->busy)
        sttp__worker_schedule(connection);
}

/* The reply is answered, by what it has. */
static void finish(struct sttp_reply *reply, enum sttp__turn turn)
{
    struct sttp__connection *connection = reply->connection;
    reply->turn = (unsigned char)turn;
    connection->unfinished--;
    connection->worker->replies_out--;
    release_done(connection);
    if (!connection->busy)
        sttp__worker_schedule(connection);
}

/* The reply is answered by a chunk; NULL where there was no memory for it. */
static void finish_with(struct sttp_reply *reply, struct sttp__chunk *answer)
{
    struct sttp__connection *connection = reply->connection;
    if (answer == NULL)
        sttp__connection_fail(connection, STTP_CLOSE_MEMORY, 0);
    else
        connection->waiting += answer->end;
    reply->answer = answer;
    finish(reply, STTP__TURN_WHOLE);
}

sttp_status sttp__reply_answer(struct sttp_reply *reply, const sttp_response *response)
{
    struct sttp__connection *connection = reply->connection;
    struct sttp__worker *worker = connection->worker;
    char *room = NULL;
    size_t capacity = room_for(response);
    if (reply == connection->first)
        room = sttp__output_reserve(&connection->output, &worker->pool, capacity);
    if (room == NULL) {
        struct sttp__chunk *answer;
        sttp_status status = make_answer(reply, response, &answer);
        finish_with(reply, answer);
        return status;
    }
    size_t size;
    sttp_status status = serialize(reply, response, room, capacity, &size);
    sttp__output_commit(&connection->output, size);
    finish_first(connection);
    return status;
}

void sttp__reply_answer_raw(struct sttp_reply *reply, sttp_slice bytes)
{
    const sttp_allocator *allocator = &reply->connection->worker->server->allocator;
    struct sttp__chunk *answer = sttp__chunk_create(allocator, bytes.size);
    if (answer != NULL) {
        memcpy(answer->data, bytes.data, bytes.size);
        answer->end = bytes.size;
    }
    finish_with(reply, answer);
}

void sttp__reply_arrived(struct sttp_reply *reply)
{
    struct sttp__worker *worker = reply->worker;
    worker->taken_in += reply->counted;
    if (reply->connection != NULL) {
        finish_with(reply, reply->answer);
        return;
    }
    worker->replies_out--;
    sttp__pool_give(&worker->pool, reply->answer);
    give_reply(worker, reply);
}

/* Whether an answer may set out to its worker. Small ones are not counted: there are no more of
 * them than requests under way. */
static bool may_set_out(struct sttp_reply *reply, size_t size)
{
    if (size <= STTP__CHUNK_CAPACITY)
        return true;
    if (!sttp__mailbox_set_out(reply->mailbox, size))
        return false;
    reply->counted = size;
    return true;
}

static sttp_status send_from_elsewhere(sttp_reply *reply, const sttp_response *response)
{
    struct sttp__mailbox *mailbox = reply->mailbox;
    sttp_status status = STTP_OK;
    sttp_response other;
    if (!may_set_out(reply, room_for(response))) {
        status = STTP_ERR_BUSY;
        other = replacement(reply, response, STTP_SLICE("server busy"));
        response = &other;
    }
    sttp_status made = make_answer(reply, response, &reply->answer);
    if (status == STTP_OK)
        status = made;
    if (!sttp__mailbox_post(mailbox, &reply->message)) {
        sttp__reply_discard(reply);
        sttp__mailbox_release(mailbox);
    }
    return status;
}

sttp_status sttp_reply_send(sttp_reply *reply, const sttp_response *response)
{
    if (reply->mailbox != sttp__mailbox_of_thread)
        return send_from_elsewhere(reply, response);
    if (reply->connection != NULL)
        return sttp__reply_answer(reply, response);
    sttp__reply_arrived(reply);
    return STTP_OK;
}

/* Where the answer of an unfinished request goes right now; NULL where it has to wait, or there is
 * no memory. */
static char *reserve_now(sttp_reply *reply, size_t size)
{
    if (reply->mailbox != sttp__mailbox_of_thread)
        return NULL;
    struct sttp__connection *connection = reply->connection;
    if (connection == NULL || reply != connection->first)
        return NULL;
    return sttp__output_reserve(&connection->output, &connection->worker->pool, size);
}

/* Not inlined: an answer that goes right now shall not pay for what this one keeps on the stack. */
__attribute__((noinline)) static sttp_status send_parsed(sttp_reply *reply, sttp_slice answer)
{
    sttp_parser parser = {0};
    sttp_response response = {0};
    size_t consumed;
    sttp_parse_response(&parser, answer.data, answer.size, STTP_MAX_CONTENTS_LINE, false, &consumed,
                        &response, NULL);
    return sttp_reply_send(reply, &response);
}

sttp_status sttp_reply_send_bytes(sttp_reply *reply, sttp_slice answer)
{
    char *room = reserve_now(reply, answer.size);
    if (room == NULL)
        return send_parsed(reply, answer);
    struct sttp__connection *connection = reply->connection;
    memcpy(room, answer.data, answer.size);
    sttp__output_commit(&connection->output, answer.size);
    finish_first(connection);
    return STTP_OK;
}

/* ---- answers in parts ---- */

/* Room for the next part of an answer that waits for its turn; NULL where memory is out. */
static char *reserve_waiting(struct sttp_reply *reply, size_t size)
{
    const sttp_allocator *allocator = &reply->worker->server->allocator;
    struct sttp__chunk *old = reply->answer;
    size_t used = old != NULL ? old->end : 0;
    if (old == NULL || old->capacity - used < size) {
        struct sttp__chunk *larger = sttp__chunk_create(allocator, used + used / 2 + size);
        if (larger == NULL)
            return NULL;
        if (old != NULL)
            memcpy(larger->data, old->data, used);
        larger->end = used;
        sttp__pool_give(&reply->worker->pool, old);
        reply->answer = larger;
    }
    return reply->answer->data + used;
}

sttp_status sttp_reply_send_part(sttp_reply *reply, sttp_slice bytes)
{
    struct sttp__connection *connection = reply->connection;
    if (connection == NULL)
        return STTP_ERR_CONNECTION_LOST;
    if (bytes.size == 0)
        return STTP_OK;
    bool is_first = reply == connection->first;
    char *room =
        is_first ? sttp__output_reserve(&connection->output, &connection->worker->pool, bytes.size)
                 : reserve_waiting(reply, bytes.size);
    if (!connection->busy)
        sttp__worker_schedule(connection);
    if (room == NULL) {
        sttp__connection_fail(connection, STTP_CLOSE_MEMORY, 0);
        return STTP_ERR_MEMORY;
    }
    memcpy(room, bytes.data, bytes.size);
    reply->turn = STTP__TURN_PART;
    if (is_first) {
        sttp__output_commit(&connection->output, bytes.size);
    } else {
        reply->answer->end += bytes.size;
        connection->waiting += bytes.size;
    }
    return STTP_OK;
}

void sttp_reply_end(sttp_reply *reply, sttp_reply_ending how)
{
    static const enum sttp__turn turns[] = {[STTP_REPLY_WHOLE] = STTP__TURN_WHOLE,
                                            [STTP_REPLY_CLOSE] = STTP__TURN_CLOSES,
                                            [STTP_REPLY_RESET] = STTP__TURN_RESETS};
    struct sttp__connection *connection = reply->connection;
    if (connection == NULL) {
        sttp__reply_arrived(reply);
        return;
    }
    if (how != STTP_REPLY_WHOLE) {
        /* What it has read stays: a handler may be in the middle of it. */
        connection->state = STTP__DRAINING;
        if (!connection->failed)
            connection->reason = STTP_CLOSE_BY_PROGRAM;
    }
    finish(reply, turns[how]);
}

uint64_t sttp_reply_connection(const sttp_reply *reply)
{
    return reply->connection_id;
}

void *sttp_reply_worker(const sttp_reply *reply)
{
    return reply->worker->program;
}

void sttp_reply_peer(const sttp_reply *reply, sttp_peer *peer)
{
    const struct sttp__connection *connection = reply->connection;
    *peer = (sttp_peer){.address = {.ss_family = AF_UNSPEC}};
    if (connection == NULL)
        return;
    sttp__address_to(&connection->peer, &peer->address);
    peer->hops = connection->hops;
}
