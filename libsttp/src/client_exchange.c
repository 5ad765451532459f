/* One answer. The connection is driven until the oldest request has its result:
 *
 *     an answer in the buffer? -> else read -> nothing there: send what the window allows -> wait
 *
 * Something is sent only when all that came has been read and no whole answer is left over, and
 * while no answer is due only when nothing came at all. So what a peer sends ahead of a request, or
 * a stored text with a line end in it, is not taken for the answer to that request.
 *
 * A connection that fails gives at least one result, an answer or an error: its oldest request is
 * repeated only where the connection has given an answer before, and on the next one nothing was
 * answered yet. So all ends, whatever a peer does. */
#include "client_private.h"

#include <string.h>

/* How long after its answer the end of a connection may come that a server closes at once. */
enum { SETTLE_TIME = 20 * 1000 };

static sttp_slice unread(const sttp_client *client)
{
    return sttp__input_bytes(&client->input);
}

static size_t window(const sttp_client *client)
{
    return client->connection.answers >= 2 ? client->max_in_flight : 1;
}

static void note_failure(sttp_client *client)
{
    sttp__connection *c = &client->connection;

    c->failed = true;
    c->system_errno = sttp__is_plain(client) ? client->plain.system_errno : 0;
    client->transport.explain(c->session, c->why, sizeof c->why);
}

/* One read into the buffer. What came of it is in connection and input; only want of memory is an
 * error. */
static sttp_status read_once(sttp_client *client)
{
    sttp__connection *c = &client->connection;
    sttp__input *input = &client->input;
    short wants = 0;
    ptrdiff_t size;

    if (!sttp__input_reserve(input))
        return sttp__error(client, STTP_ERR_MEMORY, STTP_PHASE_RECEIVE, 0);
    size = client->transport.read(c->session, input->data + input->end,
                                  input->capacity - input->end, &wants);
    c->read_wants = size < 0 ? wants : 0;
    if (size > 0) {
        input->end += (size_t)size;
        return STTP_OK;
    }
    c->ended = size == 0 || wants == 0;
    if (size < 0 && wants == 0)
        note_failure(client);
    return STTP_OK;
}

/* Waits for the end of the connection where it is likely, and says whether it did: then it is worth
 * a read. It is likely where the connection's second request is a change and it is not known yet
 * whether the peer closes after one answer. Such a peer's end of file travels right behind its
 * answer: a moment's patience spares the change from being sent into a closing connection. */
static bool settle(const sttp_client *client)
{
    const sttp__connection *c = &client->connection;
    uint64_t until = c->answered_at + SETTLE_TIME;

    if (c->answers != 1 || client->keeps_open || sttp__queue_oldest_sent(&client->queue) ||
        !sttp_action_is_change(sttp__queue_at(&client->queue, 0)->action) || sttp__now() >= until)
        return false;
    sttp__wait(c->fd, c->read_wants, until < client->deadline.at ? until : client->deadline.at);
    return true;
}

static void trace_sent(const sttp_client *client, size_t from)
{
    for (size_t i = from; i < client->queue.next; i++)
        sttp__trace(client, (sttp_trace){.kind = STTP_TRACE_SENT,
                                         .address = client->connection.address,
                                         .data = sttp__queue_line(
                                             &client->queue, sttp__queue_at(&client->queue, i))});
}

/* Writes as much as the window and the peer take. A failed write is no error yet: answers that the
 * peer gave before may still be there to be read. */
static sttp_status send_lines(sttp_client *client)
{
    sttp__connection *c = &client->connection;
    sttp__queue *queue = &client->queue;
    sttp_slice lines;

    while (!c->write_failed && (lines = sttp__queue_to_send(queue, window(client))).size > 0) {
        size_t before = queue->next;
        ptrdiff_t size;

        c->write_wants = 0;
        size = client->transport.write(c->session, lines.data, lines.size, &c->write_wants);
        if (size < 0 && c->write_wants != 0)
            return STTP_OK;
        if (size <= 0) {
            c->write_failed = true;
            note_failure(client);
            break;
        }
        sttp__queue_sent(queue, (size_t)size);
        trace_sent(client, before);
    }
    return c->write_failed && queue->in_flight == 0 ? sttp__error_lost(client) : STTP_OK;
}

/* An answer was taken: what does it say of the connection? */
static void after_answer(sttp_client *client)
{
    sttp__connection *c = &client->connection;
    bool whole = client->queue.next > 0;

    c->answers++;
    c->answered_at = sttp__now();
    if (c->answers == 2)
        client->keeps_open = true;
    sttp__queue_pop(&client->queue);
    if (client->queue.in_flight == 0 && unread(client).size > 0) {
        sttp__error_unasked(client);
        client->unasked = client->error;
        sttp__close(client, STTP_ERR_UNASKED_ANSWER);
    } else if (!whole || client->closes_each_time || (c->ended && unread(client).size == 0)) {
        sttp__close(client, STTP_OK);
    }
    if (c->fd < 0)
        sttp__queue_rewind(&client->queue, STTP_ERR_EMPTY_ANSWER);
}

/* Reads one answer from the buffer. STTP_NEED_MORE where it is not all there. Only a peer that
 * closed in good order may have left out a contents line: a connection that broke has lost it. */
static sttp_status take_answer(sttp_client *client, sttp_response *response)
{
    sttp_slice bytes = unread(client);
    bool closed = client->connection.ended && !client->connection.failed;
    sttp_status status = STTP_NEED_MORE;
    sttp_request asked;
    sttp_problem problem;
    size_t size;

    if (bytes.size > 0 && !sttp__queue_oldest_sent(&client->queue))
        return sttp__error_unasked(client);
    if (bytes.size > 0)
        status = sttp_parse_response(&client->parser, bytes.data, bytes.size, client->max_contents,
                                     closed, &size, response, &problem);
    if (status == STTP_NEED_MORE)
        return client->connection.ended ? sttp__error_lost(client) : STTP_NEED_MORE;
    if (status != STTP_OK)
        return sttp__error_bad_answer(client, status, &problem);
    asked = sttp__queue_request(&client->queue, sttp__queue_at(&client->queue, 0));
    if (!sttp_response_speaks_of(response, &asked))
        return sttp__error_wrong_answer(client, response);
    sttp__input_consume(&client->input, size);
    sttp__trace(client, (sttp_trace){.kind = STTP_TRACE_RECEIVED,
                                     .address = client->connection.address,
                                     .data = {bytes.data, size}});
    after_answer(client);
    return STTP_OK;
}

static void wait_for_peer(sttp_client *client)
{
    sttp__connection *c = &client->connection;

    sttp__wait(c->fd, (short)(c->read_wants | c->write_wants), client->deadline.at);
    c->read_wants = 0;
    c->write_wants = 0;
}

static sttp_status late_answer(sttp_client *client)
{
    bool sent = sttp__queue_oldest_sent(&client->queue);

    return sttp__error_timeout(client, sent ? STTP_PHASE_RECEIVE : STTP_PHASE_SEND,
                               client->deadline.name);
}

/* When the deadline has passed, what came in time is still read, once, and nothing more is sent. */
static sttp_status converse(sttp_client *client, sttp_response *response)
{
    sttp__connection *c = &client->connection;
    bool late = false;

    for (;;) {
        sttp_status status = take_answer(client, response);

        if (status != STTP_NEED_MORE)
            return status;
        if (late)
            return late_answer(client);
        late = sttp__now() >= client->deadline.at;
        if (c->read_wants == 0 || settle(client)) {
            status = read_once(client);
        } else if (!late) {
            status = send_lines(client);
            if (status == STTP_OK)
                wait_for_peer(client);
        }
        if (status != STTP_OK && status != STTP_NEED_MORE)
            return status;
    }
}

static sttp_status result_of_lost(sttp_client *client, sttp_status why)
{
    sttp__error(client, why, STTP_PHASE_RECEIVE, 0);
    return sttp__error_outcome_unknown(client);
}

/* A kept connection was closed before a byte of the answer came: the peer had given it up. */
static bool may_repeat(const sttp_client *client, bool unknown)
{
    const sttp__connection *c = &client->connection;

    return (c->ended || c->write_failed) && c->answers > 0 && unread(client).size == 0 && !unknown;
}

sttp_status sttp__exchange(sttp_client *client, sttp_response *response)
{
    const sttp__outstanding *oldest = sttp__queue_at(&client->queue, 0);

    if (oldest->lost != STTP_OK)
        return result_of_lost(client, oldest->lost);
    if (client->unasked.status != STTP_OK) {
        client->error = client->unasked;
        client->unasked = (sttp_error){0};
        return client->error.status;
    }
    for (;;) {
        bool repeat, unknown;
        sttp_status status = client->connection.fd < 0 ? sttp__open(client) : STTP_OK;

        if (status != STTP_OK)
            return status;
        status = converse(client, response);
        if (status == STTP_OK)
            return STTP_OK;
        unknown = sttp_action_is_change(oldest->action) && sttp__queue_oldest_sent(&client->queue);
        repeat = may_repeat(client, unknown);
        sttp__close(client, status);
        sttp__queue_rewind(&client->queue, status);
        if (!repeat)
            return unknown ? sttp__error_outcome_unknown(client) : status;
    }
}
