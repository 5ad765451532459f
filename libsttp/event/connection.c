/* One connection. Everything that happens to it ends in a run:
 *
 *     receive ── one read, if there is room for what it may bring
 *     process ── whole lines become requests, as long as the answers have room
 *     flush   ── one write for all answers that are ready
 *     settle  ── what to wait for next: computed from the state, never toggled
 *
 * Connections whose sockets are ready together run in the order in which they last ran: who did so
 * longest ago is first. They do so in groups, whose runs begin one after the other, up to
 * `process`, and then end: their peers, who may be one program, are woken less often so than where
 * each receive is followed by its write. A group ends when its answers are many: the first one
 * waits for the last.
 *
 * A handler that answers at once comes back here only by way of its reply, which puts the answer
 * into the output and no more, so nothing recurses.
 *
 * The amount of work in one run is bounded; what is left is done after the other connections had
 * their turn. A connection that waits for bytes owns no buffer. */
#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "engine.h"
#include "memory.h"

enum {
    GROUP_ANSWERS = 40 << 10, /* bytes */
    LINGER_READS_PER_RUN = 16,
    SPARE_INPUT = 64,    /* bytes */
    TAKEN_IN_TIME = 4096 /* bytes that a peer has to take within the send timeout */
};

static int socket_of(const struct sttp__connection *connection)
{
    return connection->fd;
}

/* ---- what it may do ---- */

static bool wants_bytes(const struct sttp__connection *connection)
{
    return connection->state == STTP__OPEN && connection->hungry && !connection->end_of_file &&
           !(connection->stopping && connection->last_bytes == 0) && sttp__has_room(connection);
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

/* A chunk with room for a read behind where the `size` bytes of an unfinished line go. They stay
 * where they are for now, unless that is a large chunk already. NULL where memory is out. */
static struct sttp__chunk *make_room(struct sttp__connection *connection, size_t size)
{
    struct sttp__chunk *kept = connection->input;
    if (kept == NULL || kept->capacity < STTP__CHUNK_CAPACITY)
        return sttp__pool_take(&connection->worker->pool);
    memmove(kept->data, kept->data + kept->start, size);
    kept->start = 0;
    kept->end = size;
    return kept;
}

/* Takes in `received` bytes that are in `room`. Few go to the unfinished line: so a sender of
 * single bytes does not have its line moved for each. Else the line goes before them. */
static void take_bytes(struct sttp__connection *connection, struct sttp__chunk *room, size_t size,
                       size_t received)
{
    struct sttp__pool *pool = &connection->worker->pool;
    struct sttp__chunk *kept = connection->input;
    if (kept == room) {
        room->end += received;
    } else if (kept != NULL && received <= kept->capacity - kept->end) {
        memcpy(kept->data + kept->end, room->data + size, received);
        kept->end += received;
        sttp__pool_give(pool, room);
    } else {
        if (kept != NULL)
            memcpy(room->data, kept->data + kept->start, size);
        room->end = size + received;
        connection->input = room;
        sttp__pool_give(pool, kept);
    }
}

/* Whoever sends a part of a line and then waits shall not hold a whole chunk by it. Room for half
 * as many bytes again makes moving cost a share of what was received, however small the parts are.
 */
static void shrink_input(struct sttp__connection *connection)
{
    struct sttp__pool *pool = &connection->worker->pool;
    struct sttp__chunk *input = connection->input;
    size_t size = sttp__unparsed(connection);
    if (size == 0) {
        sttp__drop_input(connection);
        return;
    }
    if (!connection->hungry || input->capacity < STTP__CHUNK_CAPACITY)
        return;
    struct sttp__chunk *small = sttp__chunk_create(pool->allocator, size + size / 2 + SPARE_INPUT);
    if (small == NULL)
        return;
    memcpy(small->data, input->data + input->start, size);
    small->end = size;
    sttp__pool_give(pool, input);
    connection->input = small;
}

static void note_received(struct sttp__connection *connection, int received)
{
    connection->hungry = false;
    if (connection->stopping)
        connection->last_bytes -= received;
}

/* There are none: for ever, for now, or because of an error. */
static void note_no_bytes(struct sttp__connection *connection, int error)
{
    if (error == 0)
        connection->end_of_file = true;
    else if (error == EAGAIN || error == EINTR)
        connection->last_bytes = 0;
    else
        sttp__connection_fail(connection, STTP_CLOSE_RESET, error);
}

static inline void receive(struct sttp__connection *connection)
{
    size_t size = sttp__unparsed(connection);
    struct sttp__chunk *input = make_room(connection, size);
    if (input == NULL) {
        sttp__connection_fail(connection, STTP_CLOSE_MEMORY, ENOMEM);
        return;
    }
    size_t room = input->capacity - size;
    if (connection->stopping && room > (size_t)connection->last_bytes)
        room = (size_t)connection->last_bytes;
    ssize_t received = recv(socket_of(connection), input->data + size, room, 0);
    if (received > 0)
        note_received(connection, (int)received);
    else
        note_no_bytes(connection, received == 0 ? 0 : errno);
    take_bytes(connection, input, size, received > 0 ? (size_t)received : 0);
}

/* ---- flush ---- */

int sttp__connection_untaken(const struct sttp__connection *connection)
{
    int bytes = 0;
    return ioctl(socket_of(connection), SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

bool sttp__connection_has_taken(struct sttp__connection *connection)
{
    int untaken = sttp__connection_untaken(connection);
    if (connection->untaken - untaken < TAKEN_IN_TIME)
        return false;
    connection->untaken = untaken;
    return true;
}

/* The socket takes no more for now. */
__attribute__((noinline)) static void note_full(struct sttp__connection *connection, int sent)
{
    if (connection->timeout != STTP__TIMEOUT_SEND) {
        connection->untaken = sttp__connection_untaken(connection);
        return;
    }
    connection->untaken += sent;
    connection->took = sttp__connection_has_taken(connection);
}

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
    if (connection->socket_full)
        note_full(connection, sent > 0 ? (int)sent : 0);
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
    sttp__drop_input(connection); /* a program that closes leaves requests behind */
}

/* Reads and drops; closes when the peer does or when it has been given enough time. Not inlined: no
 * other run needs so large a stack. */
__attribute__((noinline)) static void linger(struct sttp__connection *connection)
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
    const struct sttp__worker *worker = connection->worker;
    if (worker->now - connection->linger_since >= worker->server->options.linger_timeout)
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
                 sttp__connection_on_event, connection);
    if (event_add(event, NULL) == 0)
        return;
    connection->interest = 0;
    sttp__connection_fail(connection, STTP_CLOSE_MEMORY, errno);
}

static short wanted_interest(const struct sttp__connection *connection, bool wants)
{
    bool reads = connection->state == STTP__LINGERING || wants;
    return (short)((reads ? EV_READ : 0) | (connection->socket_full ? EV_WRITE : 0));
}

static enum sttp__timeout wanted_timeout(const struct sttp__connection *connection, bool wants)
{
    if (connection->state == STTP__LINGERING)
        return STTP__TIMEOUT_LINGER;
    if (connection->socket_full)
        return STTP__TIMEOUT_SEND;
    if (!wants)
        return STTP__TIMEOUT_NONE;
    if (sttp__unparsed(connection) > 0)
        return STTP__TIMEOUT_REQUEST;
    return connection->in_flight > 0 ? STTP__TIMEOUT_NONE : STTP__TIMEOUT_IDLE;
}

static void watch_time(struct sttp__connection *connection, bool wants)
{
    enum sttp__timeout timeout = wanted_timeout(connection, wants);
    bool restart = timeout == STTP__TIMEOUT_SEND ? connection->took : connection->consumed;
    if (timeout == STTP__TIMEOUT_IDLE)
        restart = connection->sent || connection->consumed;
    sttp__worker_set_timeout(connection, timeout, restart);
    connection->sent = false;
    connection->took = false;
    connection->consumed = false;
}

/* Closes a connection whose work is done; true where it has failed, or is finished. */
static bool is_over(struct sttp__connection *connection)
{
    bool answered = connection->state == STTP__DRAINING && connection->in_flight == 0 &&
                    connection->output.size == 0;
    if (answered && !connection->failed) {
        if (connection->end_of_file || connection->resets)
            sttp__connection_fail(connection, connection->reason, 0);
        else
            start_lingering(connection);
    }
    return connection->failed;
}

/* Whether a part of an answer was given, and what is behind it is missing. */
static bool is_within_answer(const struct sttp__connection *connection)
{
    return connection->output.size > 0 ||
           (connection->first != NULL && connection->first->turn == STTP__TURN_PART);
}

/* After a part of an answer an end of file could pass for the end of that answer. */
__attribute__((noinline)) static void close_failed(struct sttp__connection *connection)
{
    if (connection->resets || is_within_answer(connection))
        sttp__connection_reset(connection, connection->reason);
    else
        sttp__connection_close(connection, connection->reason);
}

static void settle(struct sttp__connection *connection)
{
    bool held = connection->surplus && !sttp__takes_requests(connection);
    bool wants = wants_bytes(connection);
    if (!is_over(connection))
        listen_for(connection, wanted_interest(connection, wants), held);
    if (connection->failed) {
        close_failed(connection);
        return;
    }
    sttp__unsent_count(connection);
    if (sttp__takes_requests(connection) || (connection->stopping && wants))
        sttp__worker_schedule(connection);
    watch_time(connection, wants);
}

/* The first half of a run. */
static void begin_run(struct sttp__connection *connection, bool readable)
{
    bool wanted = wants_bytes(connection);
    connection->surplus = readable && !wanted && connection->state != STTP__LINGERING;
    connection->busy = true;
    connection->last_run = ++connection->worker->runs;
    if (connection->state == STTP__LINGERING && readable) {
        sttp__worker_tick(connection->worker);
        linger(connection);
    } else if (!connection->failed) {
        if (wanted && (readable || connection->stopping))
            receive(connection);
        /* Behind that: what was received was sent before this time. */
        sttp__worker_tick(connection->worker);
        sttp__process(connection);
        /* Before the next one's run begins, which takes the same chunk then. */
        shrink_input(connection);
    }
}

/* The second half; the connection may be gone then. Not inlined: what it consists of is. */
__attribute__((noinline)) static void end_run(struct sttp__connection *connection)
{
    flush(connection);
    connection->busy = false;
    settle(connection);
}

/* Runs connections as a group, from `next` on; returns the first behind it. */
static struct sttp__connection **run_group(struct sttp__connection **next,
                                           struct sttp__connection **end)
{
    struct sttp__connection **first = next;
    size_t answers = 0;
    while (next < end && answers < GROUP_ANSWERS) {
        (*next)->ready = false;
        begin_run(*next, (*next)->readable);
        answers += (*next++)->output.size;
    }
    while (first < next)
        end_run(*first++);
    return next;
}

void sttp__run_ready(struct sttp__worker *worker)
{
    struct sttp__connection **next = worker->ready, **end = next + worker->ready_count;
    if (next == end)
        return;
    while (next < end) {
        next = run_group(next, end);
        sttp__unsent_trim(worker);
    }
    worker->ready_count = 0;
}

static void run_alone(struct sttp__connection *connection, bool readable)
{
    struct sttp__worker *worker = connection->worker;
    begin_run(connection, readable);
    end_run(connection);
    sttp__unsent_trim(worker);
}

/* Puts the connection before those that ran later. The kernel does not: it looks again at sockets
 * that were ready, in their order, and then at those that have become so meanwhile. Where the last
 * active event may be one of the program's own, another is put behind it. */
static void add_ready(struct sttp__worker *worker, struct sttp__connection *connection)
{
    unsigned at = worker->ready_count++;
    for (; at > 0 && worker->ready[at - 1]->last_run > connection->last_run; at--)
        worker->ready[at] = worker->ready[at - 1];
    worker->ready[at] = connection;
    connection->ready = true;
    if (worker->program != NULL)
        sttp__worker_run_soon(worker);
}

void sttp__connection_on_event(evutil_socket_t fd, short what, void *argument)
{
    struct sttp__connection *connection = argument;
    struct sttp__worker *worker = connection->worker;
    (void)fd;
    if (what & EV_WRITE)
        connection->socket_full = false;
    bool is_last = event_base_get_num_events(worker->base, EVENT_BASE_COUNT_ACTIVE) == 0;
    if (is_last && worker->ready_count == 0) {
        run_alone(connection, what & EV_READ);
        return;
    }
    connection->readable = what & EV_READ;
    add_ready(worker, connection);
    if (is_last || worker->ready_count == STTP__MOST_READY)
        sttp__run_ready(worker);
}

void sttp__connection_run(struct sttp__connection *connection)
{
    run_alone(connection, false);
}
