/* The cache that the settings ask for, and the thread that removes from it what has expired. */
#ifndef DAEMON_CACHING_H
#define DAEMON_CACHING_H

#include <pthread.h>

#include <sttp/cache.h>
#include <sttp/server.h>

#include "daemon/log.h"

struct caching_settings {
    bool enabled;
    uint64_t max_files;
    uint64_t max_size;   /* bytes */
    uint64_t expiration; /* milliseconds, and so the next two, which are as in sttp_cache_options */
    uint64_t coherence;
    uint64_t stale_if_error;
    bool leases_only; /* answers are kept elsewhere */
    size_t counters;  /* as there; 0 for the default */
};

struct caching {
    sttp_cache *cache; /* NULL: there is none */
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t ending; /* `is_ending`; on CLOCK_MONOTONIC */
    bool is_ending;
};

/* Makes the cache, where the settings want one and it can keep anything; tells the log of what will
 * not work as somebody may expect. False, with a line in the log, where that fails. */
bool caching_start(struct caching *caching, const struct caching_settings *settings, log_sink *log);

/* Ends the thread and frees the cache, after caching_start has returned true. Nobody may use it any
 * more. */
void caching_stop(struct caching *caching);

#endif
