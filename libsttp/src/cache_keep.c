/* What is kept: answers in memory, how many and for how long; life and statistics of the cache. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <sttp/serializer.h>

#include "cache_private.h"
#include "memory.h"

enum {
    DEFAULT_ENTRIES = 100,
    DEFAULT_BYTES = 10 << 20,
    DEFAULT_EXPIRATION = 300000, /* milliseconds */
    LARGEST_SHARE = 8,           /* an answer has one in so many of the bytes at most */
    STEP = 1024                  /* entries that are looked at before others have their turn */
};

/* ---- limits ---- */

static size_t bytes_of(const struct sttp__answer *answer)
{
    sttp_slice path = sttp__answer_path(answer);
    return STTP_CACHE_OVERHEAD + answer->size + (answer->has_path ? path.size : 0);
}

static bool take_place(atomic_size_t *count, size_t amount, size_t most)
{
    size_t before = atomic_load(count);
    do {
        if (amount > most - before)
            return false;
    } while (!atomic_compare_exchange_weak(count, &before, before + amount));
    return true;
}

static bool take_room(sttp_cache *cache, size_t bytes)
{
    if (!take_place(&cache->entries, 1, cache->max_entries))
        return false;
    if (take_place(&cache->bytes, bytes, cache->max_bytes))
        return true;
    atomic_fetch_sub(&cache->entries, 1);
    return false;
}

static void give_room(sttp_cache *cache, size_t bytes)
{
    atomic_fetch_sub(&cache->bytes, bytes);
    atomic_fetch_sub(&cache->entries, 1);
}

struct sttp__answer *sttp__take_out(sttp_cache *cache, struct sttp__shard *shard, uint64_t hash,
                                    uint32_t index)
{
    struct sttp__answer *answer = sttp__entry_answer(&shard->entries[index]);
    give_room(cache, bytes_of(answer));
    sttp__shard_remove(shard, hash, index);
    return answer;
}

/* The table whose oldest answer was not used for longest; NULL where there is no answer. */
static struct sttp__shard *find_oldest(sttp_cache *cache)
{
    uint32_t now = atomic_load(&cache->fills);
    struct sttp__shard *found = NULL;
    uint32_t greatest = 0;
    for (int i = 0; i < STTP__SHARDS; i++) {
        struct sttp__shard *shard = &cache->shards[i];
        uint64_t used = atomic_load_explicit(&shard->oldest_used, memory_order_relaxed);
        uint32_t age = now - (uint32_t)used;
        if (used == STTP__EMPTY || (found != NULL && age <= greatest))
            continue;
        found = shard;
        greatest = age;
    }
    return found;
}

static bool evict(sttp_cache *cache)
{
    struct sttp__shard *shard = find_oldest(cache);
    struct sttp__answer *answer = NULL;
    if (shard == NULL)
        return false;
    sttp__lock(&shard->lock);
    if (shard->oldest != STTP__NONE) {
        uint64_t hash = sttp__entry_hash(cache, &shard->entries[shard->oldest]);
        answer = sttp__take_out(cache, shard, hash, shard->oldest);
        shard->counts.evictions++;
    }
    sttp__unlock(&shard->lock);
    sttp__answer_release(cache, answer);
    return true;
}

/* ---- answers ---- */

void sttp__answer_discard(sttp_cache *cache, struct sttp__answer *answer)
{
    if (answer != NULL)
        give_room(cache, bytes_of(answer));
    sttp__answer_release(cache, answer);
}

static bool may_be_kept(const sttp_response *response)
{
    return response->code == STTP_CODE_OK || response->code == STTP_CODE_NOT_FOUND ||
           response->code == STTP_CODE_PATH_NOT_FOUND;
}

static struct sttp__answer *answer_write(sttp_cache *cache, const sttp_cache_lease *lease,
                                         const sttp_response *response, size_t size, bool has_path)
{
    sttp_slice path = lease->path;
    sttp__path_size path_size = (sttp__path_size)path.size;
    size_t behind = has_path ? sizeof path_size + path.size : 0;
    struct sttp__answer *answer = sttp__allocate(&cache->allocator, sizeof *answer + size + behind);
    if (answer == NULL)
        return NULL;
    atomic_init(&answer->references, 1);
    answer->size = (uint32_t)size & STTP__MOST_BYTES;
    answer->is_list = lease->action == STTP_ACTION_LIST;
    answer->has_path = has_path;
    sttp_serialize_response(response, answer->bytes, size, &size, NULL);
    if (has_path) {
        memcpy(answer->bytes + size, &path_size, sizeof path_size);
        memcpy(answer->bytes + size + sizeof path_size, path.data, path.size);
    }
    return answer;
}

struct sttp__answer *sttp__answer_create(sttp_cache *cache, const sttp_cache_lease *lease,
                                         const sttp_response *response)
{
    size_t size;
    if (!may_be_kept(response) ||
        sttp_serialize_response(response, NULL, 0, &size, NULL) != STTP_ERR_BUFFER)
        return NULL;
    bool has_path = response->echo.size != lease->path.size ||
                    memcmp(response->echo.data, lease->path.data, lease->path.size) != 0;
    size_t bytes = STTP_CACHE_OVERHEAD + size + (has_path ? lease->path.size : 0);
    if (bytes > cache->max_bytes / LARGEST_SHARE)
        return NULL;
    while (!take_room(cache, bytes))
        if (!evict(cache))
            return NULL;
    struct sttp__answer *answer = answer_write(cache, lease, response, size, has_path);
    if (answer == NULL)
        give_room(cache, bytes);
    return answer;
}

/* ---- life ---- */

static bool set_options(sttp_cache *cache, const sttp_cache_options *options)
{
    cache->max_entries = options->max_entries ? options->max_entries : DEFAULT_ENTRIES;
    cache->max_bytes = options->max_bytes ? options->max_bytes : DEFAULT_BYTES;
    uint64_t expiration = options->expiration ? options->expiration : DEFAULT_EXPIRATION;
    cache->expiration = expiration * 1000000;
    return cache->max_entries <= (size_t)1 << 31 && expiration <= (uint64_t)1 << 36;
}

static void init(sttp_cache *cache)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    cache->birth = sttp__nanoseconds(&time);
    clock_getres(CLOCK_MONOTONIC_COARSE, &time);
    cache->clock_lag = sttp__nanoseconds(&time);
    for (int i = 0; i < STTP__SHARDS; i++) {
        struct sttp__shard *shard = &cache->shards[i];
        *shard =
            (struct sttp__shard){.free = STTP__NONE, .newest = STTP__NONE, .oldest = STTP__NONE};
        atomic_init(&shard->oldest_used, STTP__EMPTY);
    }
}

static bool draw(void *bytes, size_t size)
{
    ssize_t got;
    do
        got = getrandom(bytes, size, 0);
    while (got == -1 && errno == EINTR);
    return got == (ssize_t)size;
}

sttp_status sttp_cache_create(const sttp_cache_options *options, sttp_cache **cache)
{
    sttp_allocator allocator =
        options->allocator ? *options->allocator : sttp__standard_allocator();
    *cache = NULL;
    if (options->size != sizeof *options)
        return STTP_ERR_ARGUMENT;
    void *memory = sttp__allocate(&allocator, sizeof(sttp_cache) + _Alignof(sttp_cache));
    if (memory == NULL)
        return STTP_ERR_MEMORY;
    uintptr_t start = (uintptr_t)memory + _Alignof(sttp_cache) - 1;
    sttp_cache *made = (sttp_cache *)(start - start % _Alignof(sttp_cache));
    memset(made, 0, sizeof *made);
    made->memory = memory;
    made->allocator = allocator;
    sttp_status status = set_options(made, options) ? STTP_OK : STTP_ERR_ARGUMENT;
    if (status == STTP_OK &&
        !(draw(made->secret, sizeof made->secret) && draw(made->kinds, sizeof made->kinds)))
        status = STTP_ERR_SYSTEM;
    if (status != STTP_OK) {
        sttp__release(&allocator, memory);
        return status;
    }
    init(made);
    *cache = made;
    return STTP_OK;
}

void sttp_cache_destroy(sttp_cache *cache)
{
    if (cache == NULL)
        return;
    sttp_cache_clear(cache);
    for (int i = 0; i < STTP__SHARDS; i++)
        sttp__shard_free(cache, &cache->shards[i]);
    sttp_allocator allocator = cache->allocator;
    sttp__release(&allocator, cache->memory);
}

/* ---- all that there is ---- */

static uint32_t capacity_of(struct sttp__shard *shard)
{
    sttp__lock(&shard->lock);
    uint32_t capacity = shard->capacity;
    sttp__unlock(&shard->lock);
    return capacity;
}

/* Takes out the answers that are among STEP entries, of all or of those that have expired. */
static void sweep_step(sttp_cache *cache, struct sttp__shard *shard, uint32_t first, bool all)
{
    struct sttp__answer *removed[STEP];
    size_t count = 0;
    uint32_t latest = sttp__latest(cache, sttp__cache_now(cache));
    sttp__lock(&shard->lock);
    for (uint32_t i = first; i < shard->capacity && i < first + STEP; i++) {
        const struct sttp__entry *entry = &shard->entries[i];
        if (entry->content == 0 || sttp__is_lease(entry) ||
            !(all || sttp__has_expired(entry, latest)))
            continue;
        removed[count++] = sttp__take_out(cache, shard, sttp__entry_hash(cache, entry), i);
        shard->counts.expiries += !all;
    }
    sttp__unlock(&shard->lock);
    while (count > 0)
        sttp__answer_release(cache, removed[--count]);
}

/* An entry keeps its number, so none is missed though others come and go between the steps. */
static void sweep(sttp_cache *cache, bool all)
{
    for (int i = 0; i < STTP__SHARDS; i++) {
        struct sttp__shard *shard = &cache->shards[i];
        for (uint32_t first = 0; first < capacity_of(shard); first += STEP)
            sweep_step(cache, shard, first, all);
    }
}

void sttp_cache_expire(sttp_cache *cache)
{
    sweep(cache, false);
}

void sttp_cache_clear(sttp_cache *cache)
{
    sweep(cache, true);
}

void sttp_cache_count(sttp_cache *cache, sttp_cache_statistics *statistics)
{
    sttp_cache_statistics sum = {.entries = atomic_load(&cache->entries),
                                 .bytes = atomic_load(&cache->bytes)};
    for (int i = 0; i < STTP__SHARDS; i++) {
        struct sttp__shard *shard = &cache->shards[i];
        sttp__lock(&shard->lock);
        const sttp_cache_statistics *counts = &shard->counts;
        sum.hits += counts->hits;
        sum.misses += counts->misses;
        sum.waiters += counts->waiters;
        sum.fills += counts->fills;
        sum.evictions += counts->evictions;
        sum.expiries += counts->expiries;
        sum.revocations += counts->revocations;
        sttp__unlock(&shard->lock);
    }
    *statistics = sum;
}

/* Pins the answers that are among STEP entries. */
static size_t pin_step(struct sttp__shard *shard, uint32_t first, struct sttp__answer **pinned)
{
    size_t count = 0;
    sttp__lock(&shard->lock);
    for (uint32_t i = first; i < shard->capacity && i < first + STEP; i++) {
        const struct sttp__entry *entry = &shard->entries[i];
        if (entry->content == 0 || sttp__is_lease(entry))
            continue;
        pinned[count] = sttp__entry_answer(entry);
        atomic_fetch_add_explicit(&pinned[count++]->references, 1, memory_order_relaxed);
    }
    sttp__unlock(&shard->lock);
    return count;
}

static void visit_step(sttp_cache *cache, struct sttp__shard *shard, uint32_t first,
                       void (*visit)(void *context, const sttp_cache_item *item), void *context)
{
    struct sttp__answer *pinned[STEP];
    size_t count = pin_step(shard, first, pinned);
    for (size_t i = 0; i < count; i++) {
        sttp_cache_item item = {
            .action = pinned[i]->is_list ? STTP_ACTION_LIST : STTP_ACTION_SHOW,
            .path = sttp__answer_path(pinned[i]),
            .response = {pinned[i]->bytes, pinned[i]->size},
            .bytes = bytes_of(pinned[i]),
        };
        visit(context, &item);
        sttp__answer_release(cache, pinned[i]);
    }
}

void sttp_cache_each(sttp_cache *cache, void (*visit)(void *context, const sttp_cache_item *item),
                     void *context)
{
    for (int i = 0; i < STTP__SHARDS; i++) {
        struct sttp__shard *shard = &cache->shards[i];
        for (uint32_t first = 0; first < capacity_of(shard); first += STEP)
            visit_step(cache, shard, first, visit, context);
    }
}
