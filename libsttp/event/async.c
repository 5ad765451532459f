/* A client on a loop, and its turns: the loop tells what is ready, callbacks ask for more, and at
 * the end of the turn it is sent. */
#include "async_private.h"

#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

/* ---- memory where the caller gives no allocator ---- */

static void *standard_allocate(size_t size, void *context)
{
    (void)context;
    return malloc(size);
}

static void *standard_reallocate(void *block, size_t size, void *context)
{
    (void)context;
    return realloc(block, size);
}

static void standard_release(void *block, void *context)
{
    (void)context;
    free(block);
}

static const sttp_allocator standard = {standard_allocate, standard_reallocate, standard_release,
                                        NULL};

/* ---- for all parts ---- */

static uint64_t clock_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t sttp__async_now(const sttp_async *async)
{
    return async->now;
}

const sttp_allocator *sttp__async_memory(const sttp_async *async)
{
    return &async->memory;
}

bool sttp__watch_set(sttp_watch *watch, unsigned interest)
{
    const sttp_loop *loop = &watch->async->loop;
    unsigned before = watch->interest;

    if (interest == before)
        return true;
    watch->interest = interest;
    if (loop->watch(loop->context, watch) == 0)
        return true;
    watch->interest = before;
    return false;
}

/* ---- turns ---- */

/* Where the end of a turn was asked for, it has begun, and the clock was read. */
void sttp__async_enter(sttp_async *async)
{
    if (async->depth++ == 0 && !async->soon)
        async->now = clock_now();
}

static void free_closed_links(sttp_pool *pool)
{
    sttp__link *link;

    while ((link = TAILQ_FIRST(&pool->closed)) != NULL)
        sttp__link_free(link);
}

static void free_garbage(sttp_async *async)
{
    sttp_pool *pool;

    while ((pool = TAILQ_FIRST(&async->littered_pools)) != NULL) {
        TAILQ_REMOVE(&async->littered_pools, pool, littered);
        free_closed_links(pool);
    }
    while ((pool = TAILQ_FIRST(&async->destroyed_pools)) != NULL) {
        TAILQ_REMOVE(&async->destroyed_pools, pool, entry);
        sttp__pool_free(pool);
    }
}

static void free_async(sttp_async *async)
{
    sttp_allocator memory = async->memory;
    sttp_call *call;

    while ((call = TAILQ_FIRST(&async->free_calls)) != NULL) {
        TAILQ_REMOVE(&async->free_calls, call, entry);
        sttp__release(&memory, call);
    }
    if (async->timers != NULL)
        sttp__release(&memory, async->timers);
    if (async->scratch != NULL)
        sttp__release(&memory, async->scratch);
    sttp__release(&memory, async);
}

void sttp__async_leave(sttp_async *async)
{
    if (--async->depth > 0)
        return;
    free_garbage(async);
    if (async->destroyed)
        free_async(async);
    else
        sttp__timers_tell_loop(async);
}

void sttp__async_soon(sttp_async *async)
{
    if (async->soon || async->destroyed)
        return;
    if (async->depth == 0)
        async->now = clock_now();
    async->soon = true;
    async->loop.soon(async->loop.context);
}

static void write_lines(sttp_async *async)
{
    sttp__link *link;

    while ((link = TAILQ_FIRST(&async->dirty)) != NULL)
        sttp__link_flush(link);
}

/* What is touched meanwhile waits for the next turn. */
static void work(sttp_async *async)
{
    sttp_pool *pool;

    async->turn++;
    while ((pool = TAILQ_FIRST(&async->dirty_pools)) != NULL && pool->dirty_turn != async->turn)
        sttp__pool_work(pool);
}

void sttp_async_ready(sttp_watch *watch, unsigned ready)
{
    sttp_async *async = watch->async;

    sttp__async_enter(async);
    watch->_ready(watch, ready);
    sttp__async_leave(async);
}

void sttp_async_expire(sttp_async *async)
{
    bool within = async->depth > 0;

    sttp__async_enter(async);
    async->now = clock_now();
    async->told = STTP__NEVER;
    if (!within)
        sttp__timers_run(async);
    sttp__async_leave(async);
}

void sttp_async_flush(sttp_async *async)
{
    bool within = async->depth > 0;

    sttp__async_enter(async);
    if (!within) {
        async->now = clock_now(); /* the program may have taken its time */
        async->soon = false;
        work(async);
    }
    write_lines(async);
    sttp__async_leave(async);
}

/* ---- the client ---- */

/* xorshift64*. */
uint64_t sttp__async_random(sttp_async *async, uint64_t below)
{
    async->random ^= async->random >> 12;
    async->random ^= async->random << 25;
    async->random ^= async->random >> 27;
    return (async->random * 2685821657736338717U >> 16) % below;
}

static void seed(sttp_async *async)
{
    if (getrandom(&async->random, sizeof async->random, GRND_NONBLOCK) != sizeof async->random ||
        async->random == 0)
        async->random = async->now | 1;
}

static sttp_status set_up(sttp_async *async, const sttp_async_options *options)
{
    const sttp__resolver_options names = {.dns_servers = options->dns_servers,
                                          .hosts_file = options->hosts_file};

    async->scratch = sttp__allocate(&async->memory, STTP__SCRATCH);
    if (async->scratch == NULL)
        return STTP_ERR_MEMORY;
    return sttp__resolver_create(async, &names, &async->resolver);
}

sttp_status sttp_async_create(const sttp_async_options *given, sttp_async **async)
{
    sttp_async_options options;
    sttp_allocator memory;
    sttp_async *made;
    sttp_status status;

    *async = NULL;
    if (!sttp__async_options_read(&options, given))
        return STTP_ERR_ARGUMENT;
    memory = options.allocator != NULL ? *options.allocator : standard;
    made = sttp__allocate(&memory, sizeof *made);
    if (made == NULL)
        return STTP_ERR_MEMORY;
    *made = (sttp_async){.memory = memory, .loop = options.loop, .told = STTP__NEVER};
    TAILQ_INIT(&made->pools);
    TAILQ_INIT(&made->destroyed_pools);
    TAILQ_INIT(&made->dirty_pools);
    TAILQ_INIT(&made->littered_pools);
    TAILQ_INIT(&made->dirty);
    TAILQ_INIT(&made->free_calls);
    sttp__async_enter(made);
    seed(made);
    status = set_up(made, &options);
    made->destroyed = status != STTP_OK;
    if (status == STTP_OK)
        *async = made;
    sttp__async_leave(made);
    return status;
}

void sttp_async_destroy(sttp_async *async)
{
    sttp_pool *pool;

    if (async == NULL || async->destroyed)
        return;
    sttp__async_enter(async);
    async->destroyed = true;
    while ((pool = TAILQ_FIRST(&async->pools)) != NULL)
        sttp_pool_destroy(pool);
    sttp__resolver_destroy(async->resolver);
    async->loop.timer(async->loop.context, UINT64_MAX);
    sttp__async_leave(async);
}
