/* Answers: read, checked, handed out. They are parsed where they were read to, and the response
 * that a callback gets points there. */
#include "async_private.h"

#include <errno.h>
#include <string.h>

enum {
    SMALL = 16 * 1024, /* the usual capacity */
    ROOM = 4 * 1024,   /* the least worth a read */
    LARGE = 64 * 1024  /* more is given back */
};

sttp_slice sttp__link_unread(const sttp__link *link)
{
    if (link->input_start == link->input_end)
        return (sttp_slice){0};
    return (sttp_slice){link->input + link->input_start, link->input_end - link->input_start};
}

/* ---- the buffer: one linear one, as the parser works in place ---- */

static void move_to_front(sttp__link *link)
{
    sttp_slice unread = sttp__link_unread(link);

    if (unread.size > 0 && link->input_start > 0)
        memmove(link->input, unread.data, unread.size);
    link->input_start = 0;
    link->input_end = unread.size;
}

static bool resize(sttp__link *link, size_t capacity)
{
    const sttp_allocator *memory = &link->pool->async->memory;
    char *moved = link->input != NULL ? memory->reallocate(link->input, capacity, memory->context)
                                      : memory->allocate(capacity, memory->context);

    if (moved == NULL)
        return false;
    link->input = moved;
    link->input_capacity = capacity;
    return true;
}

/* Room for more bytes behind those that are there. */
static bool reserve(sttp__link *link)
{
    move_to_front(link);
    if (link->input_capacity - link->input_end >= ROOM)
        return true;
    return resize(link, link->input_capacity > 0 ? 2 * link->input_capacity : SMALL);
}

/* Gives back what an unusually long answer took. */
static void shrink(sttp__link *link)
{
    if (link->input_capacity <= LARGE || link->input_end - link->input_start > SMALL)
        return;
    move_to_front(link);
    resize(link, SMALL);
}

/* ---- one answer ---- */

static bool is_sent(const sttp_call *call)
{
    return call != NULL && call->sent;
}

/* What an answer says of its connection. */
static void learn(sttp__link *link)
{
    sttp_pool *pool = link->pool;

    link->used_at = pool->async->now;
    link->answers++;
    if (link->answers == 1)
        pool->failures = 0;
    if (link->answers == 2) {
        pool->keeps_open = true;
        if (link->window > 0)
            link->window = pool->max_in_flight;
    }
    if (pool->one_answer_each > 0) {
        pool->one_answer_each--;
        sttp__link_retire(link);
    }
}

/* Before the callback anything that must not be sent over this connection any more is kept from
 * it: a callback may flush. */
static void answered(sttp__link *link, sttp_call *call, const sttp_response *response)
{
    sttp_pool *pool = link->pool;
    bool whole = link->next != call;

    sttp__call_unlist(call);
    learn(link);
    if (sttp__link_unread(link).size > 0 && !is_sent(TAILQ_FIRST(&link->slots))) {
        link->write_failed = true; /* what nobody has asked for comes next */
        link->window = 0;
    } else if (!whole) {
        link->write_failed = true;
        sttp__link_retire(link);
    }
    if (TAILQ_EMPTY(&link->slots))
        sttp__link_schedule(link);
    if (pool->queued > 0 || link->retired)
        sttp__pool_touch(pool);
    sttp__call_end(call, response, NULL);
}

static void bad_answer(sttp__link *link, sttp_status status, const sttp_problem *problem)
{
    sttp_error error;

    sttp__fault_bad_answer(&error, link, status, problem);
    sttp__link_broken(link, &error);
}

static void wrong_answer(sttp__link *link, const sttp_response *response)
{
    sttp_error error;

    sttp__fault_wrong_answer(&error, link, response);
    sttp__link_broken(link, &error);
}

static void unasked(sttp__link *link)
{
    sttp_error error;

    sttp__fault_unasked(&error, link);
    sttp__link_broken(link, &error);
}

/* Takes one answer from the buffer; false where there is none, or the connection was closed. Only a
 * peer that closed in good order may have left out a contents line. */
static bool take_answer(sttp__link *link)
{
    sttp_slice bytes = sttp__link_unread(link);
    sttp_call *call = TAILQ_FIRST(&link->slots);
    sttp_response response;
    sttp_problem problem;
    sttp_request request;
    sttp_status status;
    size_t size;

    if (bytes.size == 0)
        return false;
    if (!is_sent(call)) {
        unasked(link);
        return false;
    }
    status = sttp_parse_response(&link->parser, bytes.data, bytes.size, link->pool->max_contents,
                                 link->ended && !link->failed, &size, &response, &problem);
    if (status == STTP_NEED_MORE)
        return false;
    if (status != STTP_OK) {
        bad_answer(link, status, &problem);
        return false;
    }
    request = sttp__call_request(call);
    if (!sttp_response_speaks_of(&response, &request)) {
        wrong_answer(link, &response);
        return false;
    }
    link->input_start += size;
    answered(link, call, &response);
    return sttp__link_is_open(link);
}

/* ---- the descriptor ---- */

static void no_memory(sttp__link *link)
{
    const sttp_call *oldest = TAILQ_FIRST(&link->slots);
    sttp_error error;

    sttp__fault(&error, link->pool, STTP_ERR_MEMORY, STTP_PHASE_RECEIVE, 0, link->address,
                oldest != NULL ? oldest->began : link->used_at);
    sttp__link_broken(link, &error);
}

/* False where nothing came of it. */
static bool receive(sttp__link *link)
{
    ssize_t size;

    do {
        size = recv(link->watch.fd, link->input + link->input_end,
                    link->input_capacity - link->input_end, MSG_DONTWAIT);
    } while (size < 0 && errno == EINTR);
    if (size > 0) {
        link->input_end += (size_t)size;
        return true;
    }
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return false;
    link->ended = true;
    link->window = 0;
    if (size < 0) {
        link->failed = true;
        link->system_errno = errno;
    }
    return true;
}

void sttp__link_read(sttp__link *link)
{
    if (!reserve(link)) {
        no_memory(link);
        return;
    }
    if (!receive(link))
        return;
    while (take_answer(link))
        ;
    if (!sttp__link_is_open(link))
        return;
    if (link->ended)
        sttp__link_lost(link);
    else
        shrink(link);
}

void sttp__link_ready(sttp_watch *watch, unsigned ready)
{
    sttp__link *link = (sttp__link *)((char *)watch - offsetof(sttp__link, watch));

    if ((ready & STTP_READABLE) != 0)
        sttp__link_read(link);
    if (!sttp__link_is_open(link) || (ready & STTP_WRITABLE) == 0 || !link->full)
        return;
    link->full = false;
    sttp__watch_set(&link->watch, STTP_READABLE);
    sttp__link_touch(link);
}
