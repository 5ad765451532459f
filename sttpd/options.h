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

    unsigned log_level; /* a log_level */
};

extern const settings_program sttpd_program;

#endif
