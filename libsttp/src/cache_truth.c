/* Which answers a change makes untrue. Three things can change: what stands at a path (nothing, a
 * file with its text, a directory), whether a directory is there, and which names are in it. Each
 * has a counter, a truth, which every change of it raises; by hash, so that two that share one only
 * ask the storage once more than they had to.
 *
 *     CREATE       what stands at the path, the names of its parent; and of each directory that it
 *                  makes, that it is there, what stands at its path, the names of its parent
 *     UPDATE       what stands at the path
 *     DELETE       what stands at the path, the names of its parent; that a directory is there
 *
 *     SHOW         depends on what stands at the path, and on whether its parent is there
 *     LIST         on these, and on the names of the directory
 *
 * A lease notes what its answer depends on; only where all of that is the same in the end, and no
 * change of it was under way, the answer is kept. From the cache a change takes what depends on its
 * path or on the names of a directory by name. What depends on a parent is a 400 or a 410: there
 * may be any number of them, so they note its truth, and are found to be untrue when they are
 * looked at. (While a file is there nothing else can happen to its parent. Where others change the
 * storage, too, a file that this cache knows may be gone, and a directory above it, that is made or
 * removed now: so all that is known below such a directory is looked for.) */
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cache_private.h"

enum role { STANDS_AT, DIRECTORY_AT, NAMES_OF, LISTING_AT };

/* A truth: how often it has changed, and how many changes of it are under way: those of the path
 * itself, for which the storage holds each SHOW of it back, and those that it may show before they
 * end. */
#define HELD ((uint64_t)1)
#define SHOWN ((uint64_t)1 << 16)
#define CHANGED ((uint64_t)1 << 32)

static uint64_t hash(const sttp_cache *cache, enum role role, sttp_slice path)
{
    uint64_t plain =
        XXH3_64bits_withSecret(path.data, path.size, cache->secret, sizeof cache->secret);
    return plain ^ cache->kinds[role];
}

uint64_t sttp__cache_hash(const sttp_cache *cache, sttp_action action, sttp_slice path)
{
    return hash(cache, action == STTP_ACTION_LIST ? LISTING_AT : STANDS_AT, path);
}

/* Without the slash that a directory may have at its end; the root is empty. */
static sttp_slice bare(sttp_slice path)
{
    if (path.size > 0 && path.data[path.size - 1] == '/')
        path.size--;
    return path;
}

/* The parent of a bare path, bare; that of the root is the root. */
static sttp_slice parent_of(sttp_slice path)
{
    while (path.size > 0 && path.data[path.size - 1] != '/')
        path.size--;
    return bare(path);
}

static uint32_t place_of(const sttp_cache *cache, enum role role, sttp_slice path)
{
    uint32_t number = (uint32_t)hash(cache, role, path), count = cache->truth_count;
    return role == DIRECTORY_AT ? count + (number & (count / STTP__DIRECTORIES - 1))
                                : number & (count - 1);
}

static uint64_t truth_at(const sttp_cache *cache, uint32_t place)
{
    return atomic_load(&cache->truths[place]);
}

void sttp__truths_note(const sttp_cache *cache, sttp_cache_lease *lease)
{
    sttp_slice path = bare(lease->path);
    enum role third = lease->action == STTP_ACTION_LIST ? NAMES_OF : STANDS_AT;
    lease->places[0] = place_of(cache, STANDS_AT, path);
    lease->places[1] = place_of(cache, DIRECTORY_AT, parent_of(path));
    lease->places[2] = place_of(cache, third, path);
    for (int i = 0; i < 3; i++)
        lease->truths[i] = truth_at(cache, lease->places[i]);
}

bool sttp__truths_hold(const sttp_cache *cache, const sttp_cache_lease *lease)
{
    bool hold = true;
    for (int i = 0; i < 3; i++)
        hold = hold && truth_at(cache, lease->places[i]) == lease->truths[i];
    return hold;
}

/* Who ends a change first notes when. */
static bool held_since(const sttp_cache *cache, uint32_t place, uint64_t time)
{
    return truth_at(cache, place) % CHANGED == 0 &&
           atomic_load(&cache->changed[place]) + cache->clock_lag < time;
}

bool sttp__truths_held_since(const sttp_cache *cache, const sttp_cache_lease *lease, uint64_t time)
{
    sttp_slice above = parent_of(bare(lease->path));
    bool held = true;
    for (int i = 0; i < 3; i++)
        held = held && held_since(cache, lease->places[i], time);
    for (; held && above.size > 0; above = parent_of(above))
        held = held_since(cache, place_of(cache, DIRECTORY_AT, above), time);
    return held;
}

bool sttp__truths_are_settled(const sttp_cache_lease *lease)
{
    return (lease->truths[0] | lease->truths[1] | lease->truths[2]) % CHANGED == 0;
}

bool sttp__truths_were_hidden(const sttp_cache_lease *lease)
{
    return (lease->truths[0] | lease->truths[1] | lease->truths[2]) % CHANGED < SHOWN;
}

void sttp__truths_end(sttp_cache *cache)
{
    for (size_t i = 0; i < sttp__count_truths(cache->truth_count); i++)
        atomic_fetch_add(&cache->truths[i], CHANGED);
}

uint32_t sttp__truth_noted(const sttp_cache_lease *lease)
{
    return (uint32_t)(lease->truths[1] / CHANGED);
}

uint32_t sttp__truth_of_parent(const sttp_cache *cache, sttp_slice path)
{
    sttp_slice parent = parent_of(bare(path));
    return (uint32_t)(truth_at(cache, place_of(cache, DIRECTORY_AT, parent)) / CHANGED);
}

/* ---- changes ---- */

typedef void touch(sttp_cache *cache, enum role role, sttp_slice path, uint64_t step);

static void raise_truth(sttp_cache *cache, enum role role, sttp_slice path, uint64_t step)
{
    atomic_fetch_add(&cache->truths[place_of(cache, role, path)], step);
}

static void end_truth(sttp_cache *cache, enum role role, sttp_slice path, uint64_t step)
{
    uint32_t place = place_of(cache, role, path);
    sttp__raise_time(&cache->changed[place], sttp__cache_now(cache));
    atomic_fetch_add(&cache->truths[place], step);
}

static void remove_answer(sttp_cache *cache, sttp_action action, sttp_slice path)
{
    if (path.size > 0)
        sttp__cache_revoke(cache, action, path);
}

static void remove_answers(sttp_cache *cache, enum role role, sttp_slice path, uint64_t step)
{
    char listed[STTP_MAX_PATH + 2];
    (void)step;
    if (path.size > STTP_MAX_PATH || role == DIRECTORY_AT)
        return;
    memcpy(listed, path.data, path.size);
    listed[path.size] = '/';
    if (role == STANDS_AT)
        remove_answer(cache, STTP_ACTION_SHOW, path);
    remove_answer(cache, STTP_ACTION_LIST, path);
    remove_answer(cache, STTP_ACTION_LIST, (sttp_slice){listed, path.size + 1});
}

/* `own`: the step of the path itself. */
static void touch_all(sttp_cache *cache, const sttp_cache_change *change, touch *act, uint64_t own,
                      uint64_t step)
{
    sttp_slice path = bare(change->path);
    act(cache, STANDS_AT, path, own);
    if (change->action == STTP_ACTION_UPDATE)
        return;
    sttp_slice parent = parent_of(path);
    act(cache, NAMES_OF, parent, step);
    if (path.size < change->path.size)
        act(cache, DIRECTORY_AT, path, step);
    while (change->made.size > 0 && parent.size >= change->made.size) {
        act(cache, STANDS_AT, parent, step);
        act(cache, DIRECTORY_AT, parent, step);
        parent = parent_of(parent);
        act(cache, NAMES_OF, parent, step);
    }
}

void sttp_cache_change_begin(sttp_cache *cache, const sttp_cache_change *change)
{
    touch_all(cache, change, raise_truth, CHANGED + HELD, CHANGED + SHOWN);
    touch_all(cache, change, remove_answers, 0, 0);
}

void sttp_cache_change_end(sttp_cache *cache, const sttp_cache_change *change)
{
    touch_all(cache, change, end_truth, -HELD, -SHOWN);
    if (!cache->is_shared)
        return;
    if (change->action == STTP_ACTION_CREATE && change->made.size > 0)
        sttp__cache_revoke_below(cache, change->made);
    sttp_slice path = bare(change->path);
    if (change->action == STTP_ACTION_DELETE && path.size < change->path.size)
        sttp__cache_revoke_below(cache, path);
}
