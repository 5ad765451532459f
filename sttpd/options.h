/* The settings of sttpd. */
#ifndef STTPD_OPTIONS_H
#define STTPD_OPTIONS_H

#include "daemon/caching.h"
#include "daemon/settings.h"

/* Durations are in milliseconds, sizes in bytes. */
struct sttpd_options {
    char *listen_address;
    uint64_t port;
    settings_list listen;

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

/* settings_load for sttpd, and what concerns several settings at once. Afterwards `listen` is what
 * to listen on: where it was not given it is listen_address and port, and so it is where a flag
 * gives one of these and only the file gives `listen`. */
int sttpd_options_load(int argc, char *const *argv, struct sttpd_options *options,
                       settings_command *command, settings_report *report);

#endif
