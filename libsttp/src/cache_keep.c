/* What is kept: answers in memory, how many and for how long; statistics of the cache. */
#include <string.h>

#include <sttp/serializer.h>

#include "cache_private.h"
#include "memory.h"

enum {
    LARGEST_SHARE = 8, /* an answer has one in so many of the bytes at most */
    STEP = 64          /* entries that are looked at before others have their turn */
};

/* ---- limits ---- */

static size_t bytes_of(const struct sttp__answer *answer)
{
    size_t path_size = answer->is_named ? sttp__name_of(answer).path_size : 0;
    return STTP_CACHE_OVERHEAD + answer->size + path_size;
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

struct sttp__answer *sttp__take_out(sttp_cache *cache, struct sttp__shard *shard, uint32_t index)
{
    struct sttp__answer *answer = sttp__entry_answer(&shard->entries[index]);
    give_room(cache, bytes_of(answer));
    sttp__shard_remove(shard, index);
    return answer;
}

bool sttp__answer_take_room(sttp_cache *cache, const struct sttp__answer *answer)
{
    return take_room(cache, bytes_of(answer));
}

static uint64_t oldest_use(const struct sttp__shard *shard)
{
    return atomic_load_explicit(&shard->oldest_used, memory_order_relaxed);
}

/* The table whose oldest answer was not used for longest, and when that was used; NULL where there
 * is no answer. */
static struct sttp__shard *find_oldest(sttp_cache *cache, uint64_t *oldest)
{
    struct sttp__shard *found = NULL;
    for (int i = 0; i < STTP__SHARDS; i++) {
        uint64_t used = oldest_use(&cache->shards[i]);
        bool is_older = found == NULL || (int32_t)((uint32_t)used - (uint32_t)*oldest) < 0;
        if (used == STTP__EMPTY || !is_older)
            continue;
        found = &cache->shards[i];
        *oldest = used;
    }
    return found;
}

/* Gives up the answer that was not used for longest, unless somebody else just did, or has used it.
 * False where there is none. */
static bool evict(sttp_cache *cache)
{
    uint64_t oldest;
    struct sttp__shard *shard = find_oldest(cache, &oldest);
    struct sttp__answer *answer = NULL;
    if (shard == NULL)
        return false;
    sttp__lock_to_change(cache, shard);
    if (oldest_use(shard) == oldest) {
        answer = sttp__take_out(cache, shard, shard->oldest);
        shard->counts.evictions++;
    }
    sttp__unlock_changed(cache, shard);
    sttp__answer_release(cache, answer);
    return true;
}

/* ---- answers ---- */

void sttp__answer_release(sttp_cache *cache, struct sttp__answer *answer)
{
    if (answer == NULL)
        return;
    if (!sttp__is_large(answer))
        sttp__release(&cache->allocator, answer);
    else if (atomic_fetch_sub(sttp__users_of(answer), 1) == 1)
        sttp__release(&cache->allocator, sttp__users_of(answer));
}

/* Memory for an answer whose response has `size` bytes, and `behind` stand behind it. */
static struct sttp__answer *answer_allocate(sttp_cache *cache, size_t size, size_t behind)
{
    size_t before = size > STTP__COPIED_LOCKED ? sizeof(atomic_uint) : 0;
    char *memory =
        sttp__allocate(&cache->allocator, before + sizeof(struct sttp__answer) + size + behind);
    if (memory == NULL)
        return NULL;
    struct sttp__answer *answer = (struct sttp__answer *)(void *)(memory + before);
    answer->size = (uint32_t)size & STTP__MOST_BYTES;
    if (before > 0)
        atomic_init(sttp__users_of(answer), 1);
    return answer;
}

void sttp__answer_discard(sttp_cache *cache, struct sttp__answer *answer)
{
    if (answer != NULL)
        give_room(cache, bytes_of(answer));
    sttp__answer_release(cache, answer);
}

static bool is_absence(const sttp_response *response)
{
    return response->code == STTP_CODE_NOT_FOUND || response->code == STTP_CODE_PATH_NOT_FOUND;
}

static bool may_be_kept(const sttp_cache_lease *lease, const sttp_response *response)
{
    const char *path = lease->path.data + lease->origin_size;
    size_t size = lease->path.size - lease->origin_size;
    return is_absence(response) || (response->code == STTP_CODE_OK && response->echo.size == size &&
                                    memcmp(response->echo.data, path, size) == 0);
}

static bool is_named(const sttp_cache_lease *lease, const sttp_response *response)
{
    return is_absence(response) || lease->origin_size > 0;
}

/* What an answer is counted for whose response has `size` bytes. */
static size_t bytes_for(const sttp_cache_lease *lease, const sttp_response *response, size_t size)
{
    return STTP_CACHE_OVERHEAD + size + (is_named(lease, response) ? lease->path.size : 0);
}

static struct sttp__answer *answer_write(sttp_cache *cache, const sttp_cache_lease *lease,
                                         const sttp_response *response, size_t size)
{
    struct sttp__name name = {sttp__truth_noted(lease), (uint32_t)lease->path.size};
    size_t behind = is_named(lease, response) ? sizeof name + lease->path.size : 0;
    struct sttp__answer *answer = answer_allocate(cache, size, behind);
    if (answer == NULL)
        return NULL;
    answer->is_list = lease->action == STTP_ACTION_LIST;
    answer->is_absence = is_absence(response);
    answer->is_named = behind > 0;
    sttp_serialize_response(response, answer->bytes, size, &size, NULL);
    if (answer->is_named) {
        memcpy(answer->bytes + size, &name, sizeof name);
        memcpy(answer->bytes + size + sizeof name, lease->path.data, lease->path.size);
    }
    return answer;
}

/* The size of a response that may be kept and, where answers are, takes no more than its share;
 * else 0. */
static size_t size_kept(const sttp_cache *cache, const sttp_cache_lease *lease,
                        const sttp_response *response)
{
    size_t size;
    if (!may_be_kept(lease, response) ||
        sttp_serialize_response(response, NULL, 0, &size, NULL) != STTP_ERR_BUFFER)
        return 0;
    bool fits =
        cache->leases_only || bytes_for(lease, response, size) <= cache->max_bytes / LARGEST_SHARE;
    return fits ? size : 0;
}

struct sttp__answer *sttp__answer_write(sttp_cache *cache, const sttp_cache_lease *lease,
                                        const sttp_response *response)
{
    size_t size = size_kept(cache, lease, response);
    return size > 0 ? answer_write(cache, lease, response, size) : NULL;
}

struct sttp__answer *sttp__answer_create(sttp_cache *cache, const sttp_cache_lease *lease,
                                         const sttp_response *response)
{
    size_t size = size_kept(cache, lease, response);
    size_t bytes = bytes_for(lease, response, size);
    if (size == 0)
        return NULL;
    while (!take_room(cache, bytes))
        if (!evict(cache))
            return NULL;
    struct sttp__answer *answer = answer_write(cache, lease, response, size);
    if (answer == NULL)
        give_room(cache, bytes);
    return answer;
}

/* ---- all that there is ---- */

static uint32_t capacity_of(sttp_cache *cache, const struct sttp__shard *shard)
{
    struct sttp__stripe *stripe = sttp__lock_to_read(cache, shard);
    uint32_t capacity = shard->capacity;
    sttp__unlock(&stripe->lock);
    return capacity;
}

/* What is taken out of all. */
struct sweep {
    enum { EXPIRED, EVERYTHING, BELOW } what;
    sttp_slice directory; /* without a slash at its end */
};

static bool is_below(const struct sttp__entry *entry, sttp_slice directory)
{
    sttp_slice path = sttp__is_lease(entry) ? sttp__entry_lease(entry)->path
                                            : sttp__answer_path(sttp__entry_answer(entry));
    return path.size > directory.size && path.data[directory.size] == '/' &&
           memcmp(path.data, directory.data, directory.size) == 0;
}

static bool is_swept(const struct sttp__entry *entry, const struct sweep *sweep, uint32_t now)
{
    if (entry->content == 0)
        return false;
    if (sweep->what == BELOW)
        return is_below(entry, sweep->directory);
    return !sttp__is_lease(entry) && (sweep->what == EVERYTHING || sttp__has_expired(entry, now));
}

/* Takes an entry out: its answer, which is returned, or the place of a lease. */
static struct sttp__answer *sweep_entry(sttp_cache *cache, struct sttp__shard *shard,
                                        uint32_t index, const struct sweep *sweep)
{
    const struct sttp__entry *entry = &shard->entries[index];
    shard->counts.expiries += sweep->what == EXPIRED;
    shard->counts.revocations += sweep->what == BELOW;
    if (!sttp__is_lease(entry))
        return sttp__take_out(cache, shard, index);
    sttp__entry_lease(entry)->listed = false;
    sttp__shard_remove(shard, index);
    return NULL;
}

/* The part of it that is among STEP entries. */
static void sweep_step(sttp_cache *cache, struct sttp__shard *shard, uint32_t first,
                       const struct sweep *sweep)
{
    struct sttp__answer *removed[STEP];
    size_t count = 0;
    uint32_t now = sttp__expiring_now(cache);
    sttp__lock_to_change(cache, shard);
    for (uint32_t i = first; i < shard->capacity && i < first + STEP; i++)
        if (is_swept(&shard->entries[i], sweep, now))
            removed[count++] = sweep_entry(cache, shard, i, sweep);
    sttp__unlock_changed(cache, shard);
    while (count > 0)
        sttp__answer_release(cache, removed[--count]);
}

/* An entry keeps its number, so none is missed though others come and go between the steps. */
static void sweep_all(sttp_cache *cache, const struct sweep *sweep)
{
    for (int i = 0; i < STTP__SHARDS; i++) {
        struct sttp__shard *shard = &cache->shards[i];
        for (uint32_t first = 0; first < capacity_of(cache, shard); first += STEP)
            sweep_step(cache, shard, first, sweep);
    }
}

void sttp_cache_expire(sttp_cache *cache)
{
    sweep_all(cache, &(struct sweep){.what = EXPIRED});
}

void sttp_cache_clear(sttp_cache *cache)
{
    sttp__raise_time(&cache->cleared, sttp__cache_now(cache));
    sttp__truths_end(cache);
    sweep_all(cache, &(struct sweep){.what = EVERYTHING});
}

void sttp__cache_revoke_below(sttp_cache *cache, sttp_slice directory)
{
    sweep_all(cache, &(struct sweep){.what = BELOW, .directory = directory});
}

void sttp_cache_count(sttp_cache *cache, sttp_cache_statistics *statistics)
{
    sttp_cache_statistics sum = {.entries = atomic_load(&cache->entries),
                                 .bytes = atomic_load(&cache->bytes)};
    for (int i = 0; i < STTP__SHARDS; i++) {
        struct sttp__shard *shard = &cache->shards[i];
        sttp__lock_to_change(cache, shard);
        const sttp_cache_statistics *counts = &shard->counts;
        for (unsigned stripe = 0; stripe < cache->stripe_count; stripe++)
            sum.hits += sttp__stripe_of(shard, stripe)->hits;
        sum.misses += counts->misses;
        sum.waiters += counts->waiters;
        sum.fills += counts->fills;
        sum.evictions += counts->evictions;
        sum.expiries += counts->expiries;
        sum.revocations += counts->revocations;
        sttp__unlock_changed(cache, shard);
    }
    *statistics = sum;
}

/* The answer of an entry, copied into memory that grows as needed. */
struct copy {
    char *memory;
    size_t room;
};

static bool make_room(const sttp_cache *cache, struct copy *copy, size_t size)
{
    if (size <= copy->room)
        return true;
    if (!sttp__resize(&cache->allocator, &copy->memory, size))
        return false;
    copy->room = size;
    return true;
}

/* What an answer takes in memory. */
static size_t size_of(const struct sttp__answer *answer)
{
    size_t behind =
        answer->is_named ? sizeof(struct sttp__name) + sttp__name_of(answer).path_size : 0;
    return sizeof *answer + answer->size + behind;
}

/* Copies the answer of an entry, if there is one. Returns the size of what there is, which is not
 * copied where that is more than there is room for. */
static size_t copy_answer(sttp_cache *cache, const struct sttp__shard *shard, uint32_t index,
                          struct copy *copy)
{
    size_t size = 0;
    struct sttp__stripe *stripe = sttp__lock_to_read(cache, shard);
    const struct sttp__entry *entry = &shard->entries[index];
    if (entry->content != 0 && !sttp__is_lease(entry)) {
        size = size_of(sttp__entry_answer(entry));
        if (size <= copy->room)
            memcpy(copy->memory, sttp__entry_answer(entry), size);
    }
    sttp__unlock(&stripe->lock);
    return size;
}

static bool visit_entry(sttp_cache *cache, const struct sttp__shard *shard, uint32_t index,
                        sttp_cache_visit *visit, void *context, struct copy *copy)
{
    size_t size;
    while ((size = copy_answer(cache, shard, index, copy)) > copy->room)
        if (!make_room(cache, copy, size))
            return false;
    if (size == 0)
        return true;
    const struct sttp__answer *answer = (const struct sttp__answer *)(void *)copy->memory;
    sttp_cache_item item = {
        .action = answer->is_list ? STTP_ACTION_LIST : STTP_ACTION_SHOW,
        .path = sttp__answer_path(answer),
        .response = {answer->bytes, answer->size},
        .bytes = bytes_of(answer),
    };
    visit(context, &item);
    return true;
}

sttp_status sttp_cache_each(sttp_cache *cache, sttp_cache_visit *visit, void *context)
{
    struct copy copy = {0};
    bool done = true;
    for (int i = 0; i < STTP__SHARDS && done; i++) {
        const struct sttp__shard *shard = &cache->shards[i];
        for (uint32_t index = 0; done && index < capacity_of(cache, shard); index++)
            done = visit_entry(cache, shard, index, visit, context, &copy);
    }
    sttp__release(&cache->allocator, copy.memory);
    return done ? STTP_OK : STTP_ERR_MEMORY;
}
