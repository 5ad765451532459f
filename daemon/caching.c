#include "daemon/caching.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum {
    KEPT_SHARE = 8,       /* sttp_cache keeps no answer over one in so many of its bytes */
    SHORTEST_USEFUL = 200 /* milliseconds; it keeps up to 80 less */
};

static const size_t longest_answer =
    STTP_MAX_PATH + STTP_MAX_CONTENTS_BYTES + sizeof "200  OK\n\n" - 1;

/* Whether anything would be kept; says where that is less than it seems. */
static bool is_useful(const struct caching_settings *settings, log_sink *log)
{
    uint64_t most = settings->max_size / KEPT_SHARE;

    if (!settings->enabled || (settings->max_files == 0 && !settings->leases_only))
        return false;
    if (settings->expiration == 0) {
        log_write(log, LOG_LEVEL_WARNING,
                  "cache.expiration is 0: nothing is kept in the cache (set enabled to false to "
                  "mean that)");
        return false;
    }
    if (settings->expiration < SHORTEST_USEFUL)
        log_write(log, LOG_LEVEL_WARNING,
                  "cache.expiration is %llu ms: little or nothing is kept in the cache, which "
                  "counts in steps of up to 80 ms",
                  (unsigned long long)settings->expiration);
    if (most < STTP_CACHE_OVERHEAD + longest_answer && !settings->leases_only)
        log_write(log, LOG_LEVEL_WARNING,
                  "cache.max_size is %llu bytes: answers over %llu bytes are not kept in the cache",
                  (unsigned long long)settings->max_size,
                  (unsigned long long)(most - STTP_CACHE_OVERHEAD));
    return true;
}

static void *expire(void *argument)
{
    struct caching *caching = argument;
    struct timespec until;

    pthread_mutex_lock(&caching->mutex);
    while (!caching->is_ending) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec++;
        while (!caching->is_ending &&
               pthread_cond_timedwait(&caching->ending, &caching->mutex, &until) != ETIMEDOUT)
            ;
        pthread_mutex_unlock(&caching->mutex);
        sttp_cache_expire(caching->cache);
        pthread_mutex_lock(&caching->mutex);
    }
    pthread_mutex_unlock(&caching->mutex);
    return NULL;
}

static int start_thread(struct caching *caching)
{
    pthread_condattr_t monotonic;
    int error = pthread_condattr_init(&monotonic);

    if (error != 0)
        return error;
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    error = pthread_cond_init(&caching->ending, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (error != 0)
        return error;
    pthread_mutex_init(&caching->mutex, NULL);
    error = pthread_create(&caching->thread, NULL, expire, caching);
    if (error == 0)
        return 0;
    pthread_mutex_destroy(&caching->mutex);
    pthread_cond_destroy(&caching->ending);
    return error;
}

bool caching_start(struct caching *caching, const struct caching_settings *settings, log_sink *log)
{
    sttp_cache_options options = {
        .size = sizeof options,
        .max_entries = (size_t)settings->max_files,
        .max_bytes = (size_t)settings->max_size,
        .expiration = settings->expiration,
        .clock = sttp_server_now,
        .coherence = settings->coherence,
        .stale_if_error = settings->stale_if_error,
        .leases_only = settings->leases_only,
        .counters = settings->counters,
    };

    *caching = (struct caching){0};
    if (!is_useful(settings, log))
        return true;
    sttp_status status = sttp_cache_create(&options, &caching->cache);
    if (status != STTP_OK) {
        log_write(log, LOG_LEVEL_ERROR, "cannot create the cache: %s",
                  status == STTP_ERR_SYSTEM ? strerror(errno) : sttp_status_text(status));
        return false;
    }
    errno = start_thread(caching);
    if (errno == 0)
        return true;
    log_write(log, LOG_LEVEL_ERROR, "cannot start a thread for the cache: %m");
    sttp_cache_destroy(caching->cache);
    caching->cache = NULL;
    return false;
}

void caching_stop(struct caching *caching)
{
    if (caching->cache == NULL)
        return;
    pthread_mutex_lock(&caching->mutex);
    caching->is_ending = true;
    pthread_cond_signal(&caching->ending);
    pthread_mutex_unlock(&caching->mutex);
    pthread_join(caching->thread, NULL);
    pthread_mutex_destroy(&caching->mutex);
    pthread_cond_destroy(&caching->ending);
    sttp_cache_destroy(caching->cache);
    caching->cache = NULL;
}
