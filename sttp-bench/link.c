/* One connection after another: connecting, sending, receiving, ending. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker.h"

static const bench_options *options_of(const struct link *link)
{
    return link->worker->load->phase->options;
}

/* In its ring, of the request `n` behind the first one; `n` is at most the size of the ring. */
static size_t place_of(const struct link *link, size_t n)
{
    size_t place = link->first + n, size = options_of(link)->pipeline;

    return place < size ? place : place - size;
}

static sttp_slice error_text(int error)
{
    const char *text = strerror(error);

    return (sttp_slice){text, strlen(text)};
}

bool link_init(struct link *link, worker *w)
{
    size_t pipeline = w->load->phase->options->pipeline;

    *link = (struct link){.worker = w, .fd = -1};
    link->output = malloc(pipeline * REQUEST_ROOM);
    link->queue = calloc(pipeline, sizeof *link->queue);
    return link->output != NULL && link->queue != NULL;
}

static void close_connection(struct link *link)
{
    if (link->fd >= 0) {
        event_del(&link->readable);
        event_del(&link->writable);
        close(link->fd);
        link->fd = -1;
    }
    free(link->input);
    link->input = NULL;
    link->input_size = link->input_capacity = 0;
    link->output_size = link->output_sent = 0;
    link->parser = (sttp_parser){0};
    link->dirty = false;
}

void link_destroy(struct link *link)
{
    if (link->worker == NULL)
        return;
    close_connection(link);
    free(link->output);
    free(link->queue);
}

/* ---- the end of a connection ---- */

static void wait_until(struct link *link, uint64_t due)
{
    link->state = LINK_WAITING;
    link->due = due;
}

void link_forget(struct link *link)
{
    for (size_t i = 0; i < link->count; i++)
        answer_missing(link->worker, &link->queue[place_of(link, i)]);
    link->worker->pending -= link->count;
    link->first = link->count = 0;
}

void link_fail(struct link *link, failure_kind kind, sttp_slice sample)
{
    worker *w = link->worker;
    bool alone = kind == FAILURE_CONNECT || kind == FAILURE_PROTOCOL || link->state == LINK_ENDING;
    size_t failed = link->count > 0 ? link->count : alone;

    for (size_t i = 0; i < failed; i++)
        worker_count_failure(w, kind, sample);
    link_forget(link);
    worker_remove(w, link);
    close_connection(link);
    wait_until(link, w->now + RETRY_AFTER);
}

/* The server has closed while nothing was under way: it may, so a new connection is made. */
static void closed_by_server(struct link *link)
{
    worker *w = link->worker;

    if (link->count > 0 || link->input_size > 0) {
        link_fail(link, FAILURE_CLOSED, STTP_SLICE("the server closed before it answered"));
        return;
    }
    worker_remove(w, link);
    close_connection(link);
    if (link->state == LINK_ENDING) {
        link->state = LINK_CLOSED;
        worker_set_thinking(w, link);
        return;
    }
    wait_until(link, w->now);
}

/* ---- receiving ---- */

static bool may_take_more(const struct link *link)
{
    return link->state == LINK_OPEN && link->output_size == 0 &&
           link->count < options_of(link)->pipeline;
}

static void after_answers(struct link *link)
{
    worker *w = link->worker;

    if (options_of(link)->connection_per_request) {
        worker_remove(w, link);
        link->state = LINK_ENDING;
        link->due = w->now + options_of(link)->timeout;
        return;
    }
    if (may_take_more(link))
        worker_set_thinking(w, link);
}

static void next_request(struct link *link)
{
    link->first = place_of(link, 1);
    link->count--;
    link->worker->pending--;
}

static size_t take_usual(struct link *link, const char *data, size_t size)
{
    if (link->count == 0)
        return 0;
    size_t taken = answer_usual(link->worker, &link->queue[link->first], data, size);
    if (taken > 0) {
        next_request(link);
        link->parser = (sttp_parser){0}; /* it may have seen a part of it */
    }
    return taken;
}

static bool take_answer(struct link *link, const sttp_response *response)
{
    pending request = link->queue[link->first];

    next_request(link);
    if (answer_take(link->worker, &request, response))
        return true;
    link_fail(link, FAILURE_WRONG_ANSWER, STTP_SLICE("outstanding behind a wrong answer"));
    return false;
}

static void no_answer(struct link *link, const char *data, size_t size, const char *what)
{
    char sample[SAMPLE_SIZE];
    int length = snprintf(sample, sizeof sample, "%s: %.*s", what, (int)(size < 80 ? size : 80),
                          size > 0 ? data : "");

    link_fail(link, FAILURE_PROTOCOL, (sttp_slice){sample, (size_t)length});
}

/* Takes all whole answers out of `data`; returns the bytes that they were, or SIZE_MAX where the
 * connection has ended. */
static size_t parse_answers(struct link *link, const char *data, size_t size, bool closed)
{
    size_t start = 0, consumed;
    sttp_response response;
    sttp_problem problem;

    while (start < size) {
        size_t taken = take_usual(link, data + start, size - start);
        if (taken > 0) {
            start += taken;
            continue;
        }
        sttp_status status =
            sttp_parse_response(&link->parser, data + start, size - start, STTP_MAX_CONTENTS_LINE,
                                closed, &consumed, &response, &problem);
        if (status == STTP_NEED_MORE)
            break;
        if (status != STTP_OK) {
            no_answer(link, data + start, size - start, sttp_status_text(status));
            return SIZE_MAX;
        }
        if (link->count == 0) {
            no_answer(link, data + start, size - start, "an answer that no request asked for");
            return SIZE_MAX;
        }
        if (!take_answer(link, &response))
            return SIZE_MAX;
        start += consumed;
    }
    return start;
}

/* Keeps what is not parsed yet at the beginning of link->input. */
static bool keep_rest(struct link *link, const char *data, size_t size)
{
    if (size == 0) {
        free(link->input);
        link->input = NULL;
        link->input_size = link->input_capacity = 0;
        return true;
    }
    if (link->input == NULL) {
        link->input = malloc(size + INPUT_SIZE);
        link->input_capacity = size + INPUT_SIZE;
    }
    if (link->input == NULL)
        return false;
    memmove(link->input, data, size);
    link->input_size = size;
    return true;
}

/* Makes room behind what is kept. */
static bool grow_input(struct link *link)
{
    if (link->input_capacity - link->input_size >= INPUT_SIZE / 2)
        return true;
    char *grown = realloc(link->input, link->input_capacity * 2);
    if (grown == NULL)
        return false;
    link->input = grown;
    link->input_capacity *= 2;
    return true;
}

static void out_of_memory(struct link *link)
{
    link->worker->no_memory = true;
    link_fail(link, FAILURE_CLOSED, STTP_SLICE("out of memory"));
}

/* False where the connection has ended for want of memory. */
static bool listen_for(struct link *link, struct event *event)
{
    if (event_add(event, NULL) == 0)
        return true;
    out_of_memory(link);
    return false;
}

static void take_bytes(struct link *link, const char *data, size_t size, bool closed)
{
    size_t answered = link->count;
    size_t parsed = parse_answers(link, data, size, closed);

    if (parsed == SIZE_MAX)
        return;
    if (!keep_rest(link, data + parsed, size - parsed))
        out_of_memory(link);
    else if (link->count < answered && !closed)
        after_answers(link);
}

static void take_end(struct link *link, ssize_t received)
{
    if (received < 0) {
        link_fail(link, errno == ECONNRESET || errno == EPIPE ? FAILURE_RESET : FAILURE_CLOSED,
                  error_text(errno));
        return;
    }
    if (link->input_size > 0)
        take_bytes(link, link->input, link->input_size, true);
    if (link->fd >= 0)
        closed_by_server(link);
}

static void receive(struct link *link)
{
    worker *w = link->worker;
    char *buffer = w->scratch;
    size_t room = INPUT_SIZE;

    if (link->input_size > 0) {
        if (!grow_input(link)) {
            out_of_memory(link);
            return;
        }
        buffer = link->input + link->input_size;
        room = link->input_capacity - link->input_size;
    }
    ssize_t received = recv(link->fd, buffer, room, 0);
    if (received < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    worker_tick_clock(w);
    if (received <= 0) {
        take_end(link, received);
        return;
    }
    w->tally->bytes_received += (uint64_t)received;
    if (link->input_size > 0)
        take_bytes(link, link->input, link->input_size + (size_t)received, false);
    else
        take_bytes(link, w->scratch, (size_t)received, false);
}

static void on_readable(evutil_socket_t fd, short events, void *argument)
{
    struct link *link = argument;

    (void)fd, (void)events;
    receive(link);
    worker_pump(link->worker);
}

/* ---- connecting and sending ---- */

static void connected(struct link *link)
{
    int error = 0;
    socklen_t size = sizeof error;

    getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
        link_fail(link, FAILURE_CONNECT, error_text(error));
        return;
    }
    link->state = LINK_OPEN;
    link->worker->tally->connections++;
    if (!listen_for(link, &link->readable))
        return;
    if (link->output_size > 0)
        link_flush(link);
    else
        worker_set_ready(link->worker, link);
}

static void on_writable(evutil_socket_t fd, short events, void *argument)
{
    struct link *link = argument;

    (void)fd, (void)events;
    worker_tick_clock(link->worker);
    if (link->state == LINK_CONNECTING) {
        connected(link);
    } else {
        link_flush(link);
        if (may_take_more(link))
            worker_set_ready(link->worker, link);
    }
    worker_pump(link->worker);
}

void link_connect(struct link *link)
{
    worker *w = link->worker;

    link->fd = target_connect(w->load->phase->target);
    if (link->fd < 0) {
        link_fail(link, FAILURE_CONNECT, error_text(errno));
        return;
    }
    link->state = LINK_CONNECTING;
    link->due = w->now + options_of(link)->connect_timeout;
    event_assign(&link->readable, w->base, link->fd, EV_READ | EV_PERSIST, on_readable, link);
    event_assign(&link->writable, w->base, link->fd, EV_WRITE, on_writable, link);
    listen_for(link, &link->writable);
}

void link_add(struct link *link, const pending *request)
{
    worker *w = link->worker;

    link->queue[place_of(link, link->count)] = *request;
    link->output_size += request_write(w, request, link->output + link->output_size);
    link->count++;
    w->pending++;
    link->dirty = true;
}

void link_flush(struct link *link)
{
    link->dirty = false;
    if (link->state == LINK_CLOSED) {
        link_connect(link);
        return;
    }
    if (link->state != LINK_OPEN)
        return;
    size_t left = link->output_size - link->output_sent;
    ssize_t sent = send(link->fd, link->output + link->output_sent, left, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        link_fail(link, FAILURE_RESET, error_text(errno));
        return;
    }
    link->output_sent += sent > 0 ? (size_t)sent : 0;
    link->worker->tally->bytes_sent += sent > 0 ? (uint64_t)sent : 0;
    if (link->output_sent == link->output_size) {
        link->output_size = link->output_sent = 0;
        return;
    }
    worker_remove(link->worker, link);
    listen_for(link, &link->writable);
}

/* ---- time ---- */

void link_tick(struct link *link)
{
    worker *w = link->worker;

    switch (link->state) {
    case LINK_WAITING:
        if (w->now < link->due || worker_exhausted(w))
            break;
        if (options_of(link)->connection_per_request) {
            link->state = LINK_CLOSED;
            worker_set_ready(w, link);
        } else {
            link_connect(link);
        }
        break;
    case LINK_CONNECTING:
        if (w->now >= link->due)
            link_fail(link, FAILURE_CONNECT, STTP_SLICE("no connection within --connect-timeout"));
        break;
    case LINK_OPEN:
        if (link->count > 0 && w->now - link->queue[link->first].sent >= options_of(link)->timeout)
            link_fail(link, FAILURE_TIMEOUT, STTP_SLICE("no answer within --timeout"));
        break;
    case LINK_ENDING:
        if (w->now >= link->due)
            link_fail(link, FAILURE_TIMEOUT,
                      STTP_SLICE("the server did not close at the end of the session"));
        break;
    case LINK_CLOSED:
        break;
    }
}
