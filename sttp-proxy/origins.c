#include "sttp-proxy/origins.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <sttp/server.h>

#include "sttp-proxy/worker.h"

enum {
    FIRST_BUCKETS = 16,
    MOST_ORIGINS = 4096,    /* of a worker */
    KEPT_UNUSED = 60 * 1000 /* milliseconds */
};

struct origin {
    struct origin *next; /* of its bucket */
    TAILQ_ENTRY(origin) by_use;
    const guard_rules *guard;
    sttp_pool *pool;
    uint64_t hash;
    uint64_t used; /* sttp_server_now */
    uint16_t port;
    guard_verdict verdict;
    char host[];
};

void origins_init(struct origins *origins)
{
    *origins = (struct origins){.by_use = TAILQ_HEAD_INITIALIZER(origins->by_use)};
}

/* The pools are gone with their client. */
void origins_release(struct origins *origins)
{
    struct origin *origin;

    while ((origin = TAILQ_FIRST(&origins->by_use)) != NULL) {
        TAILQ_REMOVE(&origins->by_use, origin, by_use);
        free(origin);
    }
    free(origins->buckets);
}

static uint64_t hash_of(const char *host, uint16_t port)
{
    return XXH3_64bits_withSeed(host, strlen(host), port);
}

static struct origin **bucket_of(const struct origins *origins, uint64_t hash)
{
    return &origins->buckets[hash & (origins->bucket_count - 1)];
}

static void remove_origin(struct origins *origins, struct origin *origin)
{
    struct origin **place = bucket_of(origins, origin->hash);

    while (*place != origin)
        place = &(*place)->next;
    *place = origin->next;
    TAILQ_REMOVE(&origins->by_use, origin, by_use);
    origins->count--;
    sttp_pool_destroy(origin->pool);
    free(origin);
}

static bool is_idle(const struct origin *origin)
{
    sttp_pool_counts counts;

    sttp_pool_count(origin->pool, &counts);
    return counts.in_flight == 0 && counts.queued == 0;
}

static struct origin *longest_idle(const struct origins *origins)
{
    struct origin *origin = TAILQ_FIRST(&origins->by_use);

    while (origin != NULL && !is_idle(origin))
        origin = TAILQ_NEXT(origin, by_use);
    return origin;
}

/* For one more: forgets the one that nothing was asked of for a while, or any that is idle where
 * there are too many. False where there is no room. */
static bool make_room(struct origins *origins, uint64_t now)
{
    bool is_full = origins->count >= MOST_ORIGINS;
    struct origin *origin = longest_idle(origins);

    if (origin == NULL || (!is_full && now - origin->used < KEPT_UNUSED))
        return !is_full;
    remove_origin(origins, origin);
    return true;
}

static bool grow(struct origins *origins)
{
    size_t count = origins->bucket_count > 0 ? origins->bucket_count * 2 : FIRST_BUCKETS;
    struct origin **buckets = calloc(count, sizeof(struct origin *));
    struct origin *origin;

    if (buckets == NULL)
        return origins->bucket_count > 0;
    free(origins->buckets);
    origins->buckets = buckets;
    origins->bucket_count = count;
    TAILQ_FOREACH(origin, &origins->by_use, by_use)
    {
        struct origin **bucket = bucket_of(origins, origin->hash);
        origin->next = *bucket;
        *bucket = origin;
    }
    return true;
}

static struct origin *find(const struct origins *origins, uint64_t hash, const char *host,
                           uint16_t port)
{
    struct origin *origin = origins->count > 0 ? *bucket_of(origins, hash) : NULL;

    while (origin != NULL &&
           (origin->hash != hash || origin->port != port || strcmp(origin->host, host) != 0))
        origin = origin->next;
    return origin;
}

/* The rules judge the very address that is connected to. */
static bool permit(void *context, const struct sockaddr *address)
{
    const struct origin *origin = context;

    return guard_admits_address(origin->guard, origin->verdict, address, origin->port);
}

static bool open_pool(struct worker *worker, struct origin *origin)
{
    const struct proxy_options *from = worker->proxy->options;
    sttp_pool_options options = {
        .size = sizeof options,
        .host = origin->host,
        .port = origin->port,
        .max_connections = (unsigned)from->max_upstream_connections,
        .max_in_flight = (unsigned)from->max_upstream_in_flight,
        .max_queued = (unsigned)from->max_queued,
        .connect_timeout_ms = (unsigned)from->connect_timeout,
        .queue_timeout_ms = (unsigned)from->queue_timeout,
        .request_timeout_ms = (unsigned)from->response_timeout,
        .parsed = true,
        .backoff_max_ms = WORKER_MAX_BACKOFF,
        .idle_timeout_ms = (unsigned)from->upstream_idle_timeout,
        .permit = permit,
        .permit_context = origin,
        .may_repeat = proxy_repeat_forwarded,
        .may_repeat_context = worker->proxy,
    };

    return sttp_pool_create(worker->loop.async, &options, &origin->pool) == STTP_OK;
}

static struct origin *create(struct worker *worker, uint64_t hash, const char *host, uint16_t port,
                             guard_verdict verdict)
{
    size_t size = strlen(host) + 1;
    struct origin *origin = calloc(1, sizeof *origin + size);

    if (origin == NULL)
        return NULL;
    origin->guard = worker->proxy->guard;
    origin->hash = hash;
    origin->port = port;
    origin->verdict = verdict;
    memcpy(origin->host, host, size);
    if (open_pool(worker, origin))
        return origin;
    free(origin);
    return NULL;
}

static void insert(struct origins *origins, struct origin *origin)
{
    struct origin **bucket = bucket_of(origins, origin->hash);

    origin->next = *bucket;
    *bucket = origin;
    TAILQ_INSERT_TAIL(&origins->by_use, origin, by_use);
    origins->count++;
}

sttp_status origins_get(struct worker *worker, const char *host, uint16_t port,
                        guard_verdict verdict, sttp_pool **pool)
{
    struct origins *origins = &worker->origins;
    uint64_t hash = hash_of(host, port);
    struct origin *origin = find(origins, hash, host, port);

    *pool = NULL;
    if (origin == NULL) {
        if (origins->count >= origins->bucket_count && !grow(origins))
            return STTP_ERR_MEMORY;
        if (!make_room(origins, sttp_server_now()))
            return STTP_ERR_BUSY;
        origin = create(worker, hash, host, port, verdict);
        if (origin == NULL)
            return STTP_ERR_MEMORY;
        insert(origins, origin);
    }
    origin->used = sttp_server_now();
    TAILQ_REMOVE(&origins->by_use, origin, by_use);
    TAILQ_INSERT_TAIL(&origins->by_use, origin, by_use);
    *pool = origin->pool;
    return STTP_OK;
}
