/* The settings of sttpd. */
#ifndef STTPD_OPTIONS_H
#define STTPD_OPTIONS_H

#include "daemon/caching.h"
#include "daemon/listen.h"

/* Durations are in milliseconds, sizes in bytes. */
struct sttpd_options {
    struct listen_options listen;

    char *docroot;
    unsigned durability; /* an enum store_durability */
    uint64_t storage_threads;
    uint64_t storage_queue;
    unsigned backend; /* an enum storage_backend */
    char *sqlite_path;
    char *postgres_conninfo;
    uint64_t postgres_pool;

    uint64_t threads; /* 0: as many as there are processors */
    uint64_t max_connections;
    uint64_t max_connections_per_address; /* 0: as max_connections */
    uint64_t max_in_flight;
    uint64_t max_unsent_total;
    uint64_t idle_timeout;
    uint64_t request_timeout;
    uint64_t send_timeout;
    uint64_t stop_timeout;

    struct caching_settings cache;
    unsigned cache_backend; /* an enum cache_backend */
    char *redis_address;
    char *redis_prefix;
    uint64_t redis_timeout;
    uint64_t coherence;
    uint64_t stale_if_error;

    unsigned log_level; /* a log_level */
};

/* What `cache_backend` counts. */
enum cache_backend { CACHE_MEMORY = 0, CACHE_REDIS, CACHE_BOTH };

extern const settings_program sttpd_program;

/* The names of the stores, by `backend`; ended by NULL. */
extern const char *const storage_backend_words[];

#endif
