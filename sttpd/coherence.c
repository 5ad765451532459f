#include "sttpd/coherence.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum {
    MILLISECOND = 1000, /* microseconds */
    DRIFT = 1000,       /* two clocks differ by one in so many, at most */
    SLACK = MILLISECOND,
    DELAY = 10 * MILLISECOND, /* from a look at the clock until it is told, about */
    PINGS = 4                 /* in the time that the cache may be behind */
};

static int64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

/* ---- what the store tells ---- */

static void changed(void *context, sttp_action action, sttp_slice path, size_t made)
{
    struct coherence *coherence = context;
    sttp_cache *cache = atomic_load(&coherence->cache);
    sttp_cache_change change = {.action = action, .path = path, .made = {path.data, made}};

    if (cache == NULL)
        return;
    sttp_cache_change_begin(cache, &change);
    sttp_cache_change_end(cache, &change);
}

static void lost(void *context)
{
    struct coherence *coherence = context;
    sttp_cache *cache = atomic_load(&coherence->cache);

    if (cache != NULL)
        sttp_cache_clear(cache);
}

static void vouched(void *context, uint64_t time)
{
    struct coherence *coherence = context;
    sttp_cache *cache = atomic_load(&coherence->cache);

    if (cache != NULL)
        sttp_cache_vouch(cache, time);
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* A clock that is put back leaves stamps behind that are ahead of it. So what it was at most is
 * remembered for as long as anything with such a stamp may be used, and those look older than they
 * are until then. */
static void look_at_clock(void *context, int64_t earliest, int64_t latest)
{
    struct coherence *coherence = context;
    int64_t time = now();

    if (latest < earliest)
        return;
    pthread_mutex_lock(&coherence->lock);
    if (!coherence->has_clock) {
        coherence->highest[0] = coherence->highest[1] = latest;
        coherence->turned = coherence->looked[0] = time;
        coherence->earliest[0] = earliest;
    }
    if (time - coherence->turned > (int64_t)coherence->memory) {
        coherence->highest[1] = coherence->highest[0];
        coherence->highest[0] = latest;
        coherence->turned = time;
    }
    coherence->has_clock = true;
    coherence->earliest[1] = coherence->earliest[0];
    coherence->earliest[0] = earliest;
    coherence->looked[1] = coherence->looked[0];
    coherence->looked[0] = time;
    coherence->highest[0] = larger(coherence->highest[0], latest);
    coherence->measured = time - (latest - earliest) - DELAY;
    pthread_mutex_unlock(&coherence->lock);
}

/* ---- life ---- */

bool coherence_init(struct coherence *coherence, uint64_t bound, uint64_t expiration)
{
    *coherence = (struct coherence){
        .watcher = {.context = coherence,
                    .interval = bound / PINGS,
                    .changed = changed,
                    .lost = lost,
                    .vouched = vouched,
                    .clock = look_at_clock},
        .patience = bound * MILLISECOND,
        .memory = (expiration + bound) * MILLISECOND,
    };
    if (getrandom(coherence->server, COHERENCE_NAME, 0) != COHERENCE_NAME)
        return false;
    pthread_mutex_init(&coherence->lock, NULL);
    return true;
}

void coherence_begin(struct coherence *coherence, sttp_cache *cache,
                     const unsigned char identity[STORE_IDENTITY])
{
    memcpy(coherence->stored, identity, STORE_IDENTITY);
    atomic_store(&coherence->cache, cache);
    /* Changes were told to nobody while it was there already. */
    if (cache != NULL)
        sttp_cache_clear(cache);
}

/* ---- the database's clock ---- */

/* By how much it may have got ahead or behind since it was looked at. */
static int64_t drift(const struct coherence *coherence, int64_t time)
{
    return larger(time - coherence->measured, 0) / DRIFT + SLACK;
}

bool coherence_stamp(struct coherence *coherence, uint64_t time, int64_t *stamp)
{
    int64_t current = now();

    pthread_mutex_lock(&coherence->lock);
    int64_t ahead = smaller(coherence->earliest[0], coherence->earliest[1]);
    /* The clock may have been put forward since `time`, and looked at since: what it was then is
     * known from before. */
    bool is_known = coherence->has_clock &&
                    current - coherence->measured <= (int64_t)coherence->patience &&
                    (int64_t)time * MILLISECOND >= coherence->looked[1];
    *stamp = (int64_t)time * MILLISECOND + ahead - drift(coherence, current);
    pthread_mutex_unlock(&coherence->lock);
    return is_known;
}

bool coherence_time(struct coherence *coherence, int64_t stamp, uint64_t *time)
{
    int64_t own, current = now();

    pthread_mutex_lock(&coherence->lock);
    int64_t ahead = larger(coherence->highest[0], coherence->highest[1]);
    bool is_known = coherence->has_clock &&
                    !__builtin_sub_overflow(stamp, ahead + drift(coherence, current), &own) &&
                    own >= 0 && own <= coherence->measured;
    pthread_mutex_unlock(&coherence->lock);
    if (is_known)
        *time = (uint64_t)own / MILLISECOND;
    return is_known;
}
