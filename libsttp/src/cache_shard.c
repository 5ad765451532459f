/* One table: entries in one array, found through chains of a hash, ordered by their use. All links
 * are numbers of entries, which are half as long as pointers and survive that the array moves. */
#include <string.h>

#include "cache_private.h"
#include "memory.h"

enum { FIRST_BUCKETS = 8, FIRST_ENTRIES = 8 };

/* ---- locks ---- */

void sttp__lock_to_change(sttp_cache *cache, const struct sttp__shard *shard)
{
    for (unsigned i = 0; i < cache->stripe_count; i++)
        sttp__lock(&sttp__stripe_of(shard, i)->lock);
}

void sttp__unlock_changed(sttp_cache *cache, const struct sttp__shard *shard)
{
    for (unsigned i = 0; i < cache->stripe_count; i++)
        sttp__unlock(&sttp__stripe_of(shard, i)->lock);
}

/* ---- what an entry holds ---- */

sttp_slice sttp__answer_path(const struct sttp__answer *answer)
{
    const char *start = answer->bytes + STTP__ECHO_START;
    if (!answer->is_named)
        return (sttp_slice){
            start,
            (size_t)((const char *)memchr(start, ' ', answer->size - STTP__ECHO_START) - start)};
    struct sttp__name name = sttp__name_of(answer);
    return (sttp_slice){answer->bytes + answer->size + sizeof name, name.path_size};
}

/* ---- chains ---- */

static void link_entry(struct sttp__shard *shard, uint32_t index)
{
    uint32_t *bucket = sttp__bucket_of(shard, shard->entries[index].hash);
    shard->entries[index].chain = *bucket;
    *bucket = index;
}

/* ---- growth ---- */

/* Twice as many buckets as soon as there are as many entries. */
static bool grow_buckets(sttp_cache *cache, struct sttp__shard *shard)
{
    uint32_t count = shard->bucket_count == 0 ? FIRST_BUCKETS : 2 * shard->bucket_count;
    uint32_t *buckets = sttp__allocate(&cache->allocator, count * sizeof *buckets);
    if (buckets == NULL)
        return false;
    memset(buckets, 0xff, count * sizeof *buckets);
    sttp__release(&cache->allocator, shard->buckets);
    shard->buckets = buckets;
    shard->bucket_count = count;
    for (uint32_t i = 0; i < shard->capacity; i++)
        if (shard->entries[i].content != 0)
            link_entry(shard, i);
    return true;
}

/* An eighth more at a time: half an array that is empty would cost more than the moves. */
static bool grow_entries(sttp_cache *cache, struct sttp__shard *shard)
{
    uint32_t capacity = shard->capacity + shard->capacity / 8 + FIRST_ENTRIES;
    char *moved = (char *)shard->entries;
    if (!sttp__resize(&cache->allocator, &moved, capacity * sizeof *shard->entries))
        return false;
    shard->entries = (struct sttp__entry *)(void *)moved;
    for (uint32_t i = capacity; i > shard->capacity; i--) {
        shard->entries[i - 1] = (struct sttp__entry){.chain = shard->free};
        shard->free = i - 1;
    }
    shard->capacity = capacity;
    return true;
}

uint32_t sttp__shard_add(sttp_cache *cache, struct sttp__shard *shard, uint64_t hash,
                         uintptr_t content)
{
    if (shard->entry_count >= shard->bucket_count && !grow_buckets(cache, shard) &&
        shard->bucket_count == 0)
        return STTP__NONE;
    if (shard->free == STTP__NONE && !grow_entries(cache, shard))
        return STTP__NONE;
    uint32_t index = shard->free;
    shard->free = shard->entries[index].chain;
    shard->entries[index].content = content;
    shard->entries[index].hash = (uint32_t)hash;
    shard->entry_count++;
    link_entry(shard, index);
    return index;
}

/* ---- the order of use ---- */

static void publish_oldest(struct sttp__shard *shard)
{
    uint64_t used = shard->oldest == STTP__NONE ? STTP__EMPTY : shard->entries[shard->oldest].used;
    atomic_store_explicit(&shard->oldest_used, used, memory_order_relaxed);
}

static void unlink_used(struct sttp__shard *shard, uint32_t index)
{
    const struct sttp__entry *entry = &shard->entries[index];
    *(entry->newer == STTP__NONE ? &shard->newest : &shard->entries[entry->newer].older) =
        entry->older;
    *(entry->older == STTP__NONE ? &shard->oldest : &shard->entries[entry->older].newer) =
        entry->newer;
}

void sttp__shard_use(const sttp_cache *cache, struct sttp__shard *shard, uint32_t index,
                     bool is_new)
{
    struct sttp__entry *entry = &shard->entries[index];
    bool was_oldest = shard->oldest == index || shard->oldest == STTP__NONE;
    entry->used = atomic_load_explicit(&cache->fills, memory_order_relaxed);
    if (shard->newest != index) {
        if (!is_new)
            unlink_used(shard, index);
        entry->newer = STTP__NONE;
        entry->older = shard->newest;
        *(shard->newest == STTP__NONE ? &shard->oldest : &shard->entries[shard->newest].newer) =
            index;
        shard->newest = index;
    }
    if (was_oldest)
        publish_oldest(shard);
}

void sttp__shard_remove(struct sttp__shard *shard, uint32_t index)
{
    struct sttp__entry *entry = &shard->entries[index];
    uint32_t *link = sttp__bucket_of(shard, entry->hash);
    while (*link != index)
        link = &shard->entries[*link].chain;
    *link = entry->chain;
    if (!sttp__is_lease(entry)) {
        unlink_used(shard, index);
        publish_oldest(shard);
    }
    entry->content = 0;
    entry->chain = shard->free;
    shard->free = index;
    shard->entry_count--;
}

void sttp__shard_free(sttp_cache *cache, struct sttp__shard *shard)
{
    sttp__release(&cache->allocator, shard->buckets);
    sttp__release(&cache->allocator, shard->entries);
}
