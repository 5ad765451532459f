/* One table: entries in one array, found through chains of a hash, ordered by their use. All links
 * are numbers of entries, which are half as long as pointers and survive that the array moves. */
#include <string.h>

#include "cache_private.h"
#include "memory.h"

enum { FIRST_BUCKETS = 8, FIRST_ENTRIES = 8 };

/* ---- what an entry holds ---- */

sttp_slice sttp__answer_path(const struct sttp__answer *answer)
{
    const char *start = answer->bytes + STTP__ECHO_START;
    const char *end = answer->bytes + answer->size;
    sttp__path_size size;
    if (!answer->has_path)
        return (sttp_slice){
            start, (size_t)((const char *)memchr(start, ' ', (size_t)(end - start)) - start)};
    memcpy(&size, end, sizeof size);
    return (sttp_slice){end + sizeof size, size};
}

uint64_t sttp__entry_hash(const sttp_cache *cache, const struct sttp__entry *entry)
{
    if (sttp__is_lease(entry))
        return sttp__entry_lease(entry)->hash;
    const struct sttp__answer *answer = sttp__entry_answer(entry);
    return sttp__cache_hash(cache, answer->is_list ? STTP_ACTION_LIST : STTP_ACTION_SHOW,
                            sttp__answer_path(answer));
}

/* ---- chains ---- */

static void link_entry(struct sttp__shard *shard, uint64_t hash, uint32_t index)
{
    uint32_t *bucket = sttp__bucket_of(shard, hash);
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
            link_entry(shard, sttp__entry_hash(cache, &shard->entries[i]), i);
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
    if (shard->entry_count == shard->bucket_count && !grow_buckets(cache, shard) &&
        shard->bucket_count == 0)
        return STTP__NONE;
    if (shard->free == STTP__NONE && !grow_entries(cache, shard))
        return STTP__NONE;
    uint32_t index = shard->free;
    shard->free = shard->entries[index].chain;
    shard->entries[index].content = content;
    shard->entry_count++;
    link_entry(shard, hash, index);
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

void sttp__shard_reorder(struct sttp__shard *shard, uint32_t index, uint32_t fills, bool is_new)
{
    struct sttp__entry *entry = &shard->entries[index];
    bool was_oldest = shard->oldest == index || shard->oldest == STTP__NONE;
    entry->used = fills;
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

void sttp__shard_remove(struct sttp__shard *shard, uint64_t hash, uint32_t index)
{
    struct sttp__entry *entry = &shard->entries[index];
    uint32_t *link = sttp__bucket_of(shard, hash);
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
