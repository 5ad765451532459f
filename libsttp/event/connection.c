/* One connection. Everything that happens to it ends in sttp__connection_run:
 *
 *     receive ── one read, if there is room for what it may bring
 *     process ── whole lines become requests, as long as the answers have room
 *     flush   ── one write for all answers that are ready
 *     settle  ── what to wait for next: computed from the state, never toggled
 *
 * A handler that answers at once comes back here only by way of its reply, which puts the answer
 * into the output and no more, so nothing recurses.
 *
 * The amount of work in one run is bounded; what is left is done after the other connections had
 * their turn. A connection that waits for bytes owns no buffer. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"
#include "memory.h"

enum {
    REQUESTS_PER_RUN = 256,
    LINGER_READS_PER_RUN = 16,
    LINGER_TOTAL = 30000 /* milliseconds */
};

static void on_event(evutil_socket_t fd, short what, void *argument);

static int socket_of(const struct sttp__connection *connection)
{
    return event_get_fd(&connection->event);
}

/* ---- what it may do ---- */

static bool has_room(const struct sttp__connection *connection)
{
    const sttp_server_options *options = &connection->worker->server->options;
    bool held = connection->barrier && connection->unfinished > 0;
    return !held && connection->in_flight < options->max_in_flight &&
           connection->output.size + connection->waiting < options->max_unsent;
}

static bool wants_bytes(const struct sttp__connection *connection)
{
    return connection->state == STTP__OPEN && connection->hungry && !connection->end_of_file &&
           !(connection->stopping && connection->last_bytes == 0) && has_room(connection);
}

static bool takes_requests(const struct sttp__connection *connection)
{
    return connection->state == STTP__OPEN && !connection->hungry && !connection->failed &&
           has_room(connection);
}

static size_t unparsed(const struct sttp__connection *connection)
{
    return connection->input == NULL ? 0 : connection->input->end - connection->input->start;
}

bool sttp__connection_has_input(const struct sttp__connection *connection)
{
    int bytes = 0;
    return ioctl(socket_of(connection), FIONREAD, &bytes) == 0 && bytes > 0;
}

bool sttp__connection_is_unfinished(const struct sttp__connection *connection)
{
    return connection->in_flight > 0 || connection->output.size > 0 ||
           (connection->state == STTP__OPEN && !connection->hungry);
}

/* ---- receive ---- */

static void drop_input(struct sttp__connection *connection)
{
    sttp__pool_give(&connection->worker->pool, connection->input);
    connection->input = NULL;
}

/* Room for a read: less than one line is left over where it is needed, so moving that is cheap. */
static bool make_room(struct sttp__connection *connection)
{
    struct sttp__chunk *input = connection->input;
    if (input == NULL) {
        connection->input = sttp__pool_take(&connection->worker->pool);
        return connection->input != NULL;
    }
    memmove(input->data, input->data + input->start, input->end - input->start);
    input->end -= input->start;
    input->start = 0;
    return true;
}

static void receive(struct sttp__connection *connection)
{
    if (!make_room(connection)) {
        sttp__connection_fail(connection, STTP_CLOSE_MEMORY, ENOMEM);
        return;
    }
    struct sttp__chunk *input = connection->input;
    size_t room = input->capacity - input->end;
    if (connection->stopping && room > (size_t)connection->last_bytes)
        room = (size_t)connection->last_bytes;
    ssize_t received = recv(socket_of(connection), input->data + input->end, room, 0);
    if (received > 0) {
        input->end += (size_t)received;
        connection->hungry = false;
        if (connection->stopping)
            connection->last_bytes -= (int)received;
    } else if (received == 0) {
        connection->end_of_file = true;
    } else if (errno == EAGAIN || errno == EINTR) {
        connection->last_bytes = 0;
    } else {
        sttp__connection_fail(connection, STTP_CLOSE_RESET, errno);
    }
}

/* ---- process ---- */

static void end_input(struct sttp__connection *connection, sttp_close_reason reason)
{
    connection->state = STTP__DRAINING;
    if (!connection->failed)
        connection->reason = reason;
    drop_input(connection);
}

/* The next place in the order of answers; NULL where the connection has failed for want of it. */
static struct sttp_reply *next_reply(struct sttp__connection *connection)
{
    struct sttp_reply *reply = sttp__reply_create(connection);
    connection->requests++;
    connection->consumed = true;
    if (reply == NULL)
        sttp__connection_fail(connection, STTP_CLOSE_MEMORY, ENOMEM);
    return reply;
}

/* Answers what is not a request. */
static void refuse(struct sttp__connection *connection, const sttp_problem *problem)
{
    char message[STTP_MAX_MESSAGE + 1];
    sttp_response response = {.code = STTP_CODE_FILENAME_TOO_LONG, .echo = problem->echo};
    if (problem->status != STTP_ERR_FILENAME_TOO_LONG) {
        response.code = STTP_CODE_CLIENT_ERROR;
        response.message.size = sttp_explain(problem, message, sizeof message);
        response.message.data = message;
    }
    struct sttp_reply *reply = next_reply(connection);
    if (reply != NULL)
        sttp__reply_answer(reply, &response);
}

#define HTTP_BODY                                                                                  \
    "This port speaks STTP, the Short Text Transfer Protocol, not HTTP.\n"                         \
    "Its requests are lines such as: SHOW /notes/reminder.txt\n"

_Static_assert(sizeof HTTP_BODY - 1 == 124, "the Content-Length below");

static void refuse_http(struct sttp__connection *connection)
{
    static const char answer[] = "HTTP/1.1 400 Bad Request\r\n"
                                 "Content-Type: text/plain\r\n"
                                 "Content-Length: 124\r\n"
                                 "Connection: close\r\n"
                                 "\r\n" HTTP_BODY;
    struct sttp_reply *reply = next_reply(connection);
    if (reply != NULL)
        sttp__reply_answer_raw(reply, STTP_SLICE(answer));
    end_input(connection, STTP_CLOSE_HTTP);
}

static void dispatch(struct sttp__connection *connection, const sttp_request *request)
{
    const sttp_server_options *options = &connection->worker->server->options;
    struct sttp_reply *reply = next_reply(connection);
    if (reply == NULL)
        return;
    connection->barrier = sttp_action_is_change(request->action);
    options->handler(options->handler_context, request, reply);
}

/* Takes one line out of the input. A change that comes while others are under way stays where it is
 * and is parsed again when they are answered. */
static void take_line(struct sttp__connection *connection)
{
    struct sttp__chunk *input = connection->input;
    sttp_parser before = connection->parser;
    sttp_request request;
    sttp_problem problem;
    size_t consumed = 0;
    sttp_status status =
        sttp_parse_request(&connection->parser, input->data + input->start,
                           input->end - input->start, &consumed, &request, &problem);
    if (status == STTP_OK && connection->unfinished > 0 && sttp_action_is_change(request.action)) {
        connection->parser = before;
        connection->barrier = true;
        return;
    }
    input->start += consumed;
    switch (status) {
    case STTP_OK:
        dispatch(connection, &request);
        break;
    case STTP_NEED_MORE:
        connection->hungry = true;
        break;
    case STTP_END:
        end_input(connection, STTP_CLOSE_BY_CLIENT);
        break;
    case STTP_ERR_HTTP:
        refuse_http(connection);
        break;
    case STTP_ERR_LINE_TOO_LONG:
        refuse(connection, &problem);
        end_input(connection, STTP_CLOSE_LINE_TOO_LONG);
        break;
    default:
        refuse(connection, &problem);
    }
}

/* All whole lines are taken and no byte will come any more. */
static void take_end(struct sttp__connection *connection)
{
    if (connection->end_of_file) {
        if (unparsed(connection) > 0)
            refuse(connection, &(sttp_problem){.status = STTP_ERR_UNFINISHED_LINE,
                                               .length = unparsed(connection),
                                               .echo = STTP_SLICE("-")});
        end_input(connection, STTP_CLOSE_BY_CLIENT);
    } else if (connection->stopping && connection->last_bytes == 0) {
        end_input(connection, STTP_CLOSE_STOP);
    }
}

static void process(struct sttp__connection *connection)
{
    int left = REQUESTS_PER_RUN;
    while (left-- > 0 && unparsed(connection) > 0 && takes_requests(connection))
        take_line(connection);
    if (unparsed(connection) == 0)
        connection->hungry = true;
    if (connection->state == STTP__OPEN && connection->hungry)
        take_end(connection);
}

/* ---- flush ---- */

static void flush(struct sttp__connection *connection)
{
    if (connection->output.size == 0 || connection->socket_full || connection->failed)
        return;
    ptrdiff_t sent =
        sttp__output_send(&connection->output, &connection->worker->pool, socket_of(connection));
    if (sent > 0)
        connection->sent = true;
    else if (sent < 0 && errno != EAGAIN && errno != EINTR)
        sttp__connection_fail(connection, STTP_CLOSE_RESET, errno);
    connection->socket_full = connection->output.size > 0;
}

/* ---- linger ---- */

static void start_lingering(struct sttp__connection *connection)
{
    if (shutdown(socket_of(connection), SHUT_WR) != 0) {
        sttp__connection_fail(connection, connection->reason, 0);
        return;
    }
    connection->state = STTP__LINGERING;
    connection->linger_since = connection->worker->now;
}

/* Reads and drops; closes when the peer does or when it has been given enough time. */
static void linger(struct sttp__connection *connection)
{
    char dropped[STTP__CHUNK_CAPACITY];
    for (int i = 0; i < LINGER_READS_PER_RUN; i++) {
        ssize_t received = recv(socket_of(connection), dropped, sizeof dropped, 0);
        if (received < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (received <= 0) {
            sttp__connection_fail(connection, connection->reason, 0);
            return;
        }
        connection->consumed = true;
    }
    if (connection->worker->now - connection->linger_since >= LINGER_TOTAL)
        sttp__connection_fail(connection, connection->reason, 0);
}

/* ---- settle ---- */

/* Registers the event for just what is wanted. Read interest that is not wanted for the moment is
 * left alone until bytes do come: most often it is wanted again by then. */
static void listen_for(struct sttp__connection *connection, short wanted, bool exactly)
{
    struct event *event = &connection->event;
    if (!exactly && (wanted | EV_READ) == connection->interest)
        return;
    if (wanted == connection->interest)
        return;
    if (connection->interest != 0)
        event_del(event);
    connection->interest = wanted;
    if (wanted == 0)
        return;
    event_assign(event, connection->worker->base, socket_of(connection), wanted | EV_PERSIST,
                 on_event, connection);
    if (event_add(event, NULL) == 0)
        return;
    connection->interest = 0;
    sttp__connection_fail(connection, STTP_CLOSE_MEMORY, errno);
}

static short wanted_interest(const struct sttp__connection *connection)
{
    bool reads = connection->state == STTP__LINGERING || wants_bytes(connection);
    return (short)((reads ? EV_READ : 0) | (connection->socket_full ? EV_WRITE : 0));
}

static enum sttp__timeout wanted_timeout(const struct sttp__connection *connection)
{
    if (connection->state == STTP__LINGERING)
        return STTP__TIMEOUT_LINGER;
    if (connection->socket_full)
        return STTP__TIMEOUT_SEND;
    if (!wants_bytes(connection))
        return STTP__TIMEOUT_NONE;
    if (unparsed(connection) > 0)
        return STTP__TIMEOUT_REQUEST;
    return connection->in_flight > 0 ? STTP__TIMEOUT_NONE : STTP__TIMEOUT_IDLE;
}

static void watch_time(struct sttp__connection *connection)
{
    enum sttp__timeout timeout = wanted_timeout(connection);
    bool restart = timeout == STTP__TIMEOUT_SEND ? connection->sent : connection->consumed;
    if (timeout == STTP__TIMEOUT_IDLE)
        restart = connection->sent || connection->consumed;
    sttp__worker_set_timeout(connection, timeout, restart);
    connection->sent = false;
    connection->consumed = false;
}

/* Closes a connection whose work is done; true where it has failed, or is finished. */
static bool is_over(struct sttp__connection *connection)
{
    bool answered = connection->state == STTP__DRAINING && connection->in_flight == 0 &&
                    connection->output.size == 0;
    if (answered && !connection->failed) {
        if (connection->end_of_file)
            sttp__connection_fail(connection, connection->reason, 0);
        else
            start_lingering(connection);
    }
    return connection->failed;
}

static void settle(struct sttp__connection *connection, bool surplus_bytes)
{
    if (!is_over(connection))
        listen_for(connection, wanted_interest(connection), surplus_bytes);
    if (connection->failed) {
        sttp__connection_close(connection, connection->reason);
        return;
    }
    if (unparsed(connection) == 0)
        drop_input(connection);
    if (takes_requests(connection) || (connection->stopping && wants_bytes(connection)))
        sttp__worker_schedule(connection);
    watch_time(connection);
}

void sttp__connection_run(struct sttp__connection *connection, bool readable)
{
    bool wanted = wants_bytes(connection);
    bool surplus_bytes = readable && !wanted && connection->state != STTP__LINGERING;
    connection->busy = true;
    if (connection->state == STTP__LINGERING && readable) {
        linger(connection);
    } else if (!connection->failed) {
        if (wanted && (readable || connection->stopping))
            receive(connection);
        process(connection);
        flush(connection);
    }
    connection->busy = false;
    settle(connection, surplus_bytes);
}

static void on_event(evutil_socket_t fd, short what, void *argument)
{
    struct sttp__connection *connection = argument;
    (void)fd;
    sttp__worker_tick(connection->worker);
    if (what & EV_WRITE)
        connection->socket_full = false;
    sttp__connection_run(connection, what & EV_READ);
}

/* ---- life ---- */

sttp_status sttp__connection_open(struct sttp__acceptor *acceptor, int fd,
                                  const struct sttp__address *peer, bool counted)
{
    struct sttp__worker *worker = acceptor->worker;
    sttp_server *server = worker->server;
    struct sttp__connection *connection = sttp__allocate(&server->allocator, sizeof *connection);
    if (connection == NULL)
        return STTP_ERR_MEMORY;
    *connection = (struct sttp__connection){.worker = worker,
                                            .listener = acceptor->listener,
                                            .peer = *peer,
                                            .counted = counted,
                                            .hungry = true,
                                            .interest = EV_READ,
                                            .timeout = STTP__TIMEOUT_IDLE};
    event_assign(&connection->event, worker->base, fd, EV_READ | EV_PERSIST, on_event, connection);
    if (event_add(&connection->event, NULL) != 0) {
        sttp__release(&server->allocator, connection);
        return STTP_ERR_MEMORY;
    }
    connection->id = atomic_fetch_add(&server->next_id, 1) + 1;
    sttp__worker_add(connection);
    sttp__notify(server,
                 &(sttp_notice){.kind = STTP_NOTICE_OPENED,
                                .connection = connection->id,
                                .listener = acceptor->listener->address},
                 peer);
    return STTP_OK;
}

void sttp__connection_fail(struct sttp__connection *connection, sttp_close_reason reason,
                           int system_errno)
{
    if (connection->failed)
        return;
    connection->failed = true;
    connection->reason = reason;
    connection->failure = system_errno;
}

void sttp__connection_close(struct sttp__connection *connection, sttp_close_reason reason)
{
    struct sttp__worker *worker = connection->worker;
    sttp_server *server = worker->server;
    int fd = socket_of(connection);
    if (connection->interest != 0)
        event_del(&connection->event);
    sttp__reply_orphan_all(connection);
    sttp__output_clear(&connection->output, &worker->pool);
    drop_input(connection);
    close(fd);
    if (connection->counted)
        sttp__address_count_remove(server->addresses, &connection->peer);
    atomic_fetch_sub(&server->connections, 1);
    sttp__notify(server,
                 &(sttp_notice){.kind = STTP_NOTICE_CLOSED,
                                .connection = connection->id,
                                .listener = connection->listener->address,
                                .reason = reason,
                                .system_errno = connection->failure,
                                .requests = connection->requests},
                 &connection->peer);
    sttp__worker_remove(connection);
    sttp__release(&server->allocator, connection);
}

void sttp__connection_reset(struct sttp__connection *connection, sttp_close_reason reason)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(socket_of(connection), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    sttp__connection_close(connection, reason);
}

/* The request does not get finished: answered in its place, then closed. */
static void expire_request(struct sttp__connection *connection)
{
    sttp_response response = {.code = STTP_CODE_CLIENT_ERROR,
                              .echo = STTP_SLICE("-"),
                              .message = STTP_SLICE("request timeout")};
    connection->busy = true;
    struct sttp_reply *reply = next_reply(connection);
    if (reply != NULL)
        sttp__reply_answer(reply, &response);
    connection->busy = false;
    end_input(connection, STTP_CLOSE_REQUEST_TIMEOUT);
    sttp__connection_run(connection, false);
}

void sttp__connection_expire(struct sttp__connection *connection)
{
    switch (connection->timeout) {
    case STTP__TIMEOUT_IDLE:
        if (sttp__connection_has_input(connection))
            sttp__worker_set_timeout(connection, STTP__TIMEOUT_IDLE, true);
        else
            sttp__connection_close(connection, STTP_CLOSE_IDLE_TIMEOUT);
        break;
    case STTP__TIMEOUT_REQUEST:
        expire_request(connection);
        break;
    case STTP__TIMEOUT_SEND:
        sttp__connection_reset(connection, STTP_CLOSE_SEND_TIMEOUT);
        break;
    default:
        sttp__connection_close(connection, connection->reason);
    }
}

void sttp__connection_stop(struct sttp__connection *connection)
{
    if (connection->state != STTP__OPEN)
        return;
    connection->stopping = true;
    if (ioctl(socket_of(connection), FIONREAD, &connection->last_bytes) != 0)
        connection->last_bytes = 0;
    if (connection->timeout == STTP__TIMEOUT_IDLE && connection->last_bytes == 0)
        sttp__connection_close(connection, STTP_CLOSE_STOP);
    else
        sttp__worker_schedule(connection);
}
