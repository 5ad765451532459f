/* Where a daemon listens: the settings `listen_address` and `port`, or `listen` in their place. */
#ifndef DAEMON_LISTEN_H
#define DAEMON_LISTEN_H

#include "daemon/settings.h"

enum {
    LISTEN_MAX_LISTENERS = 64,
    LISTEN_MAX_HOST = 80 /* bytes: an IPv6 address with its zone, and a zero byte */
};

/* A record of `listen`. */
struct listener {
    char *address; /* as sttp_server_listen takes it */
    settings_place place;
    bool proxy_protocol;
    settings_list trusted_proxies; /* as sttp_network_parse reads them */
    settings_place trusted_proxies_place;
};

/* The members of a program's options that the following keys fill: listen_address, port,
 * proxy_protocol, trusted_proxies, and listen, whose records have the fields below and the
 * shorthand "address". */
struct listen_options {
    char *listen_address;
    uint64_t port;
    bool proxy_protocol;
    settings_place proxy_protocol_place;
    settings_list trusted_proxies;
    settings_place trusted_proxies_place;
    settings_records listen; /* of struct listener */
};

enum { LISTEN_FIELD_COUNT = 3 };
extern const settings_option listen_fields[LISTEN_FIELD_COUNT];

/* For `valid`: "127.0.0.1", "::1", "fe80::1%eth0"; "127.0.0.1:8080", "[::1]:8080" or
 * "unix:/run/sttpd.sock"; "10.0.0.0/8", "::1". */
bool listen_is_host(const char *text);
bool listen_is_listener(const char *text);
bool listen_is_network(const char *text);

/* What is to be done once all is read, for the program's `check`. Afterwards options->listen is
 * where to listen: where it was not given it is listen_address and port, and so it is where a flag
 * gives one of these and only the file gives `listen`. Reports an address that is given twice,
 * which could only fail with "address in use", a listener that nobody could connect to, and
 * trusted proxies that are not asked for a header. */
void listen_settle(struct listen_options *options, const settings_program *program,
                   const settings_command *command, settings_report *report);

#endif
