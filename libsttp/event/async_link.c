/* A connection: opened, written to, closed. Lines are written from where their calls keep them; the
 * connection only knows how far it has come. */
#include "async_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

enum {
    PROMPT_CLOSE = 1000 * 1000, /* as in src/client_connect.c */
    ONE_ANSWER_EACH = 64        /* connections until it is looked whether the peer still does so */
};

bool sttp__link_is_open(const sttp__link *link)
{
    return link->watch.fd >= 0;
}

sttp__link *sttp__link_create(sttp_pool *pool, int fd, const sttp__inet_address *peer)
{
    sttp_async *async = pool->async;
    sttp__link *link = sttp__allocate(&async->memory, sizeof *link);

    if (link == NULL)
        return NULL;
    *link = (sttp__link){.watch = {.fd = fd, .async = async, ._ready = sttp__link_ready},
                         .timer = {.async = async, .expired = sttp__link_expired},
                         .pool = pool,
                         .window = 1,
                         .used_at = async->now};
    TAILQ_INIT(&link->slots);
    if (!sttp__timer_reserve(&link->timer))
        goto no_timer;
    if (!sttp__watch_set(&link->watch, STTP_READABLE))
        goto no_watch;
    if (peer != NULL) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(const int){1}, sizeof(int));
        link->peer = *peer;
    }
    sttp__place_write(pool, peer, link->address);
    TAILQ_INSERT_TAIL(&pool->links, link, entry);
    pool->link_count++;
    sttp__link_schedule(link);
    return link;
no_watch:
    sttp__timer_release(&link->timer);
no_timer:
    sttp__release(&async->memory, link);
    return NULL;
}

void sttp__link_touch(sttp__link *link)
{
    sttp_async *async = link->pool->async;

    if (link->is_dirty)
        return;
    link->is_dirty = true;
    TAILQ_INSERT_TAIL(&async->dirty, link, dirty);
    sttp__async_soon(async);
}

void sttp__link_add(sttp__link *link, sttp_call *call)
{
    sttp__call_move(call, &link->slots);
    call->link = link;
    call->since = link->pool->async->now;
    link->slot_count++;
    link->holding += sttp__action_holds(call->action);
    link->waiting++;
    if (link->next == NULL)
        link->next = call;
    sttp__link_touch(link);
    sttp__link_schedule(link);
}

/* ---- writing ---- */

static size_t unsent_preamble(const sttp__link *link)
{
    return link->pool->preamble_size - link->preamble_sent;
}

/* Fills the scratch buffer with what comes next; returns its size. */
static size_t compose(const sttp__link *link, char *scratch)
{
    size_t size = unsent_preamble(link);
    size_t from = link->next_bytes;

    if (size > 0)
        memcpy(scratch, link->pool->preamble + link->preamble_sent, size);
    for (const sttp_call *call = link->next; call != NULL; call = TAILQ_NEXT(call, entry)) {
        size_t left = call->line_size - from;

        if (left > STTP__SCRATCH - size)
            break;
        memcpy(scratch + size, call->line + from, left);
        size += left;
        from = 0;
    }
    return size;
}

/* `size` bytes of it were written. */
static void advance(sttp__link *link, size_t size)
{
    size_t preamble = unsent_preamble(link);

    if (preamble > size)
        preamble = size;
    link->preamble_sent += preamble;
    size -= preamble;
    while (size > 0) {
        sttp_call *call = link->next;
        size_t left = call->line_size - link->next_bytes;

        call->sent = true;
        if (size < left) {
            link->next_bytes += size;
            return;
        }
        size -= left;
        link->next_bytes = 0;
        link->next = TAILQ_NEXT(call, entry);
    }
}

/* No error yet: answers that the peer gave before may still be there to be read. Behind them comes
 * the end, by which all is settled. */
static void note_failed_write(sttp__link *link, int system_errno)
{
    link->write_failed = true;
    link->failed = true;
    link->system_errno = system_errno;
    link->window = 0;
    shutdown(link->watch.fd, SHUT_RDWR);
}

static void wait_for_room(sttp__link *link)
{
    link->full = sttp__watch_set(&link->watch, STTP_READABLE | STTP_WRITABLE);
    if (!link->full)
        note_failed_write(link, ENOMEM);
}

/* A connection that was idle may have been closed, or the peer may have sent what nobody asked for.
 * Then the loop is about to tell so, and nothing more is sent. */
static bool has_news(const sttp__link *link)
{
    const sttp_call *oldest = TAILQ_FIRST(&link->slots);

    if (oldest == NULL || oldest->sent || link->pool->async->now - link->used_at < STTP__STALE_TIME)
        return false;
    return recv(link->watch.fd, &(char){0}, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
           (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

void sttp__link_flush(sttp__link *link)
{
    sttp_async *async = link->pool->async;
    size_t size;

    TAILQ_REMOVE(&async->dirty, link, dirty);
    link->is_dirty = false;
    if (link->full || link->write_failed || has_news(link))
        return;
    while ((size = compose(link, async->scratch)) > 0) {
        ssize_t written = send(link->watch.fd, async->scratch, size, MSG_NOSIGNAL);

        if (written > 0) {
            advance(link, (size_t)written);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            wait_for_room(link);
            return;
        } else if (errno != EINTR) {
            note_failed_write(link, errno);
            return;
        }
    }
}

/* ---- time ---- */

/* Of a link that takes no more requests those do not count that nobody waits for. */
void sttp__link_schedule(sttp__link *link)
{
    const sttp_pool *pool = link->pool;
    const sttp_call *call = TAILQ_FIRST(&link->slots);
    uint64_t at;

    while (call != NULL && link->retired && call->done == NULL)
        call = TAILQ_NEXT(call, entry);
    if (call != NULL)
        at = call->since + pool->request_timeout;
    else if (!link->retired)
        at = link->used_at + pool->idle_timeout;
    else
        return;
    if (at < link->timer.at)
        sttp__timer_set(&link->timer, at);
}

static void rest(sttp__link *link)
{
    sttp_pool *pool = link->pool;
    uint64_t now = pool->async->now;

    if (now < link->used_at + pool->idle_timeout)
        return;
    if (pool->link_count > pool->min_connections)
        sttp__link_close(link);
    else
        link->used_at = now;
}

void sttp__link_expired(sttp__timer *timer)
{
    sttp__link *link = (sttp__link *)((char *)timer - offsetof(sttp__link, timer));

    if (TAILQ_EMPTY(&link->slots))
        rest(link);
    else
        sttp__link_late(link);
    if (sttp__link_is_open(link))
        sttp__link_schedule(link);
}

/* ---- the end ---- */

void sttp__link_close(sttp__link *link)
{
    sttp_pool *pool = link->pool;
    sttp_async *async = pool->async;

    if (link->ended && link->answers == 1 && !pool->keeps_open &&
        async->now - link->used_at < PROMPT_CLOSE)
        pool->one_answer_each = ONE_ANSWER_EACH;
    sttp__watch_set(&link->watch, 0);
    close(link->watch.fd);
    link->watch.fd = -1;
    sttp__timer_release(&link->timer);
    if (link->is_dirty)
        TAILQ_REMOVE(&async->dirty, link, dirty);
    link->is_dirty = false;
    TAILQ_REMOVE(&pool->links, link, entry);
    if (TAILQ_EMPTY(&pool->closed))
        TAILQ_INSERT_TAIL(&async->littered_pools, pool, littered);
    TAILQ_INSERT_TAIL(&pool->closed, link, entry);
    pool->link_count--;
    sttp__pool_touch(pool);
}

void sttp__link_free(sttp__link *link)
{
    const sttp_allocator *memory = &link->pool->async->memory;

    TAILQ_REMOVE(&link->pool->closed, link, entry);
    if (link->input != NULL)
        sttp__release(memory, link->input);
    sttp__release(memory, link);
}
