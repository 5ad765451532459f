/* The settings of sttp-proxy. */
#ifndef STTP_PROXY_OPTIONS_H
#define STTP_PROXY_OPTIONS_H

#include "daemon/caching.h"
#include "daemon/listen.h"
#include "daemon/settings.h"

enum send_proxy { SEND_PROXY_NONE = 0, SEND_PROXY_V2 };

enum fault { FAULT_DELAY = 0, FAULT_RESET, FAULT_TRUNCATE, FAULT_DRIBBLE, FAULT_GARBAGE };

/* Durations are in milliseconds, sizes in bytes. A `place` says where the member above it stands in
 * the settings. */

struct upstream_options {
    char *address; /* as destination_parse reads it */
    settings_place place;
    uint64_t weight;
    bool backup;
    unsigned send_proxy; /* an enum send_proxy */
};

struct route_options {
    char *prefix;
    settings_place place;
    unsigned balance;           /* a balance_kind */
    settings_records upstreams; /* of struct upstream_options; one at least */
    uint64_t health_interval;   /* 0: no checks */
    uint64_t health_timeout;
    uint64_t health_rise;
    uint64_t health_fall;
    uint64_t slow_start;
};

/* What goes wrong on purpose with answers to paths that begin with the prefix, as a route's do. */
struct fault_options {
    char *prefix;
    unsigned fault; /* an enum fault */
    settings_place place;
    uint64_t percent; /* of the answers; together at most 100 for each prefix */
    uint64_t delay;   /* FAULT_DELAY: before the answer; FAULT_DRIBBLE: before each byte */
    uint64_t bytes;   /* of the answer, before FAULT_RESET and FAULT_TRUNCATE happen */
};

struct proxy_options {
    struct listen_options listen;

    bool forward_enabled;
    settings_place forward_place;
    settings_list forward_clients; /* as sttp_network_parse reads them */
    settings_list forward_allow;   /* as guard_rule_mistake wants them */
    char *forward_parent;          /* as destination_parse_parent reads it; NULL: none */
    settings_place parent_place;
    unsigned forward_send_proxy; /* an enum send_proxy; to the parent */

    settings_records reverse; /* of struct route_options */

    uint64_t max_upstream_connections; /* of a worker to each upstream, parent or host */
    uint64_t max_upstream_in_flight;   /* of each such connection */
    uint64_t max_queued;               /* of a worker and upstream, parent or host */
    uint64_t connect_timeout;
    uint64_t queue_timeout;
    uint64_t response_timeout;
    uint64_t upstream_idle_timeout;
    char *dns_servers; /* as sttp_async_options has them; NULL: the system's */

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

    settings_records faults; /* of struct fault_options */
    settings_place faults_place;
    bool allow_faults;

    unsigned log_level; /* a log_level */
};

/* To be read by settings_load, which checks all that concerns several settings, too (check.h). */
extern const settings_program proxy_program;

#endif
