/* From the making of the cache to its end. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "cache_private.h"
#include "memory.h"

enum {
    DEFAULT_ENTRIES = 100,
    DEFAULT_BYTES = 10 << 20,
    DEFAULT_EXPIRATION = 300000 /* milliseconds */
};

static uint64_t milliseconds(const struct timespec *time)
{
    return (uint64_t)time->tv_sec * 1000 + (uint64_t)time->tv_nsec / 1000000;
}

static uint64_t read_clock(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return milliseconds(&time);
}

static bool set_options(sttp_cache *cache, const sttp_cache_options *options)
{
    cache->max_entries = options->max_entries ? options->max_entries : DEFAULT_ENTRIES;
    cache->max_bytes = options->max_bytes ? options->max_bytes : DEFAULT_BYTES;
    cache->expiration = options->expiration ? options->expiration : DEFAULT_EXPIRATION;
    cache->clock = options->clock ? options->clock : read_clock;
    cache->leases_only = options->leases_only;
    return cache->max_entries <= (size_t)1 << 31 && cache->expiration <= (uint64_t)1 << 36;
}

static void init(sttp_cache *cache, const sttp_cache_options *options)
{
    struct timespec precision;
    clock_getres(CLOCK_MONOTONIC_COARSE, &precision);
    cache->clock_lag = milliseconds(&precision) + 1; /* of a fraction */
    cache->birth = cache->clock();
    sttp__coherence_set(cache, options);
    for (unsigned i = 0; i < STTP__SHARDS; i++) {
        cache->shards[i] = (struct sttp__shard){.stripes = &cache->stripes[i],
                                                .free = STTP__NONE,
                                                .newest = STTP__NONE,
                                                .oldest = STTP__NONE};
        atomic_init(&cache->shards[i].oldest_used, STTP__EMPTY);
    }
}

/* One for each processor, within limits. */
static unsigned count_stripes(void)
{
    long processors = sysconf(_SC_NPROCESSORS_CONF);
    unsigned count = 1;
    while (count < STTP__MOST_STRIPES && count < processors)
        count *= 2;
    return count;
}

static uint32_t count_truths(const sttp_cache_options *options)
{
    uint32_t count = STTP__LEAST_TRUTHS;
    while (count < options->counters)
        count *= 2;
    return count;
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
    if (options->size != sizeof *options || options->counters > STTP__MOST_TRUTHS)
        return STTP_ERR_ARGUMENT;
    unsigned stripes = count_stripes();
    uint32_t truth_count = count_truths(options);
    size_t truths = sttp__count_truths(truth_count);
    size_t before = sizeof(sttp_cache) + sizeof(struct sttp__stripe) * STTP__SHARDS * stripes;
    size_t size = before + 2 * truths * sizeof(_Atomic uint64_t);
    void *memory = sttp__allocate(&allocator, size + _Alignof(sttp_cache));
    if (memory == NULL)
        return STTP_ERR_MEMORY;
    uintptr_t start = (uintptr_t)memory + _Alignof(sttp_cache) - 1;
    sttp_cache *made = (sttp_cache *)(start - start % _Alignof(sttp_cache));
    memset(made, 0, size);
    made->memory = memory;
    made->allocator = allocator;
    made->stripe_count = stripes;
    made->truth_count = truth_count;
    made->truths = (_Atomic uint64_t *)(void *)((char *)made + before);
    made->changed = made->truths + truths;
    sttp_status status = set_options(made, options) ? STTP_OK : STTP_ERR_ARGUMENT;
    if (status == STTP_OK &&
        !(draw(made->secret, sizeof made->secret) && draw(made->kinds, sizeof made->kinds)))
        status = STTP_ERR_SYSTEM;
    if (status != STTP_OK) {
        sttp__release(&allocator, memory);
        return status;
    }
    for (unsigned i = 0; i < STTP__ROLES; i++) /* no two alike, nor their remainders */
        made->kinds[i] = made->kinds[i] / STTP__ROLES * STTP__ROLES + i;
    init(made, options);
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
