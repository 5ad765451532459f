/* The table of sttpd's settings: the keys, flags, defaults, ranges and help of the server. */
#include <limits.h>
#include <string.h>

#include <sttp/url.h>

#include "sttpd/options.h"

#define MEMBER(name) offsetof(struct sttpd_options, name)

enum {
    SECOND = 1000, /* milliseconds */
    DAY = 24 * 60 * 60 * SECOND,
    MAX_CONNECTIONS = 1000000
};

static const char *const durability_words[] = {"always", "interval", "none", NULL};
static const char *const log_level_words[] = {"error", "warning", "info", "debug", NULL};

static const settings_option options[] = {
    {
        .key = "listen_address",
        .alias = "address",
        .letter = 'a',
        .group = "Listening",
        .argument = "ADDRESS",
        .help = "IPv4 or IPv6 address to listen on",
        .fallback = "0.0.0.0",
        .kind = SETTINGS_TEXT,
        .offset = MEMBER(listen.listen_address),
        .valid = listen_is_host,
        .expected = "a numeric IPv4 or IPv6 address such as 127.0.0.1 or ::1",
    },
    {
        .key = "port",
        .letter = 'p',
        .group = "Listening",
        .argument = "PORT",
        .help = "TCP port to listen on, 0 takes a free one",
        .fallback = "8080",
        .kind = SETTINGS_NUMBER,
        .offset = MEMBER(listen.port),
        .maximum = 65535,
    },
    {
        .key = "proxy_protocol",
        .group = "Listening",
        .argument = "BOOLEAN",
        .help = "connections to this address begin with a PROXY protocol header, version 1 or 2",
        .fallback = "false",
        .kind = SETTINGS_BOOL,
        .offset = MEMBER(listen.proxy_protocol),
        .place = MEMBER(listen.proxy_protocol_place),
    },
    {
        .key = "trusted_proxies",
        .group = "Listening",
        .argument = "RANGE",
        .help = "address or range that may send the header, others are closed; repeat for several",
        .kind = SETTINGS_LIST,
        .offset = MEMBER(listen.trusted_proxies),
        .place = MEMBER(listen.trusted_proxies_place),
        .maximum = 1024,
        .valid = listen_is_network,
        .expected = "at most 1024 addresses or ranges such as 10.0.0.0/8 or ::1",
    },
    {
        .key = "listen",
        .group = "Listening",
        .argument = "ADDRESS",
        .help = "listen here in place of the address and the port above: HOST:PORT, [IPV6]:PORT or "
                "unix:/PATH; repeat for several; in the file each may be a mapping:",
        .kind = SETTINGS_RECORDS,
        .offset = MEMBER(listen.listen),
        .maximum = LISTEN_MAX_LISTENERS,
        .fields = listen_fields,
        .field_count = LISTEN_FIELD_COUNT,
        .record_size = sizeof(struct listener),
        .shorthand = "address",
    },
    {
        .key = "docroot",
        .letter = 'd',
        .group = "Storage",
        .argument = "DIRECTORY",
        .help = "where the texts are stored",
        .fallback = "/var/sttp/files",
        .kind = SETTINGS_TEXT,
        .offset = MEMBER(docroot),
        .expected = "the path of a directory",
    },
    {
        .key = "durability",
        .group = "Storage",
        .argument = "WORD",
        .help = "when an acknowledged change is on disk: before its answer, within about a second, "
                "or when the kernel likes",
        .fallback = "always",
        .kind = SETTINGS_CHOICE,
        .offset = MEMBER(durability),
        .choices = durability_words,
    },
    {
        .key = "storage_threads",
        .group = "Storage",
        .argument = "NUMBER",
        .help = "storage operations under way at once",
        .fallback = "64",
        .kind = SETTINGS_NUMBER,
        .offset = MEMBER(storage_threads),
        .minimum = 1,
        .maximum = 1024,
    },
    {
        .key = "storage_queue",
        .group = "Storage",
        .argument = "NUMBER",
        .help = "storage operations that may wait, beyond it requests get 'server busy'",
        .fallback = "4096",
        .kind = SETTINGS_NUMBER,
        .offset = MEMBER(storage_queue),
        .minimum = 1,
        .maximum = 1000000,
    },
    {
        .key = "threads",
        .letter = 't',
        .group = "Connections",
        .argument = "NUMBER",
        .help = "threads that serve connections, auto is one for each processor",
        .fallback = "auto",
        .kind = SETTINGS_NUMBER,
        .offset = MEMBER(threads),
        .maximum = 1024,
        .zero = "auto",
    },
    {
        .key = "max_connections",
        .group = "Connections",
        .argument = "NUMBER",
        .help = "connections at once, beyond it the one that is idle for longest makes room",
        .fallback = "10000",
        .kind = SETTINGS_NUMBER,
        .offset = MEMBER(max_connections),
        .minimum = 1,
        .maximum = MAX_CONNECTIONS,
    },
    {
        .key = "max_connections_per_address",
        .group = "Connections",
        .argument = "NUMBER",
        .help = "connections of one client address at once, auto is as max_connections",
        .fallback = "auto",
        .kind = SETTINGS_NUMBER,
        .offset = MEMBER(max_connections_per_address),
        .minimum = 1,
        .maximum = MAX_CONNECTIONS,
        .zero = "auto",
    },
    {
        .key = "max_in_flight",
        .group = "Connections",
        .argument = "NUMBER",
        .help = "requests of one connection under way at once",
        .fallback = "64",
        .kind = SETTINGS_NUMBER,
        .offset = MEMBER(max_in_flight),
        .minimum = 1,
        .maximum = 65536,
    },
    {
        .key = "max_unsent_total",
        .group = "Connections",
        .argument = "SIZE",
        .help = "memory for the answers of all connections that wait to be taken, beyond it the "
                "connection that keeps the most for the longest is reset",
        .fallback = "64MiB",
        .kind = SETTINGS_SIZE,
        .offset = MEMBER(max_unsent_total),
        .minimum = 2ULL * STTP_MAX_CONTENTS_LINE, /* one reader of the longest listing may stay */
        .maximum = SIZE_MAX < 1ULL << 40 ? SIZE_MAX : 1ULL << 40,
    },
    {
        .key = "idle_timeout",
        .group = "Connections",
        .argument = "DURATION",
        .help = "close a connection that asks nothing for so long",
        .fallback = "60s",
        .kind = SETTINGS_DURATION,
        .offset = MEMBER(idle_timeout),
        .minimum = 10,
        .maximum = DAY,
    },
    {
        .key = "request_timeout",
        .group = "Connections",
        .argument = "DURATION",
        .help = "close a connection that takes longer to send one request",
        .fallback = "10s",
        .kind = SETTINGS_DURATION,
        .offset = MEMBER(request_timeout),
        .minimum = 10,
        .maximum = DAY,
    },
    {
        .key = "send_timeout",
        .group = "Connections",
        .argument = "DURATION",
        .help = "reset a connection that takes less than 4 KiB of its waiting answers in that time",
        .fallback = "30s",
        .kind = SETTINGS_DURATION,
        .offset = MEMBER(send_timeout),
        .minimum = 10,
        .maximum = DAY,
    },
    {
        .key = "stop_timeout",
        .group = "Connections",
        .argument = "DURATION",
        .help = "at SIGTERM, time for what is under way before connections are cut",
        .fallback = "10s",
        .kind = SETTINGS_DURATION,
        .offset = MEMBER(stop_timeout),
        .minimum = 0,
        .maximum = DAY,
    },
    {
        .key = "cache.enabled",
        .group = "Cache",
        .argument = "BOOLEAN",
        .help = "keep answers to SHOW and LIST in memory",
        .fallback = "true",
        .kind = SETTINGS_BOOL,
        .offset = MEMBER(cache.enabled),
    },
    {
        .key = "cache.max_files",
        .group = "Cache",
        .argument = "NUMBER",
        .help = "answers in the cache, 0 for no cache",
        .fallback = "100",
        .kind = SETTINGS_NUMBER,
        .offset = MEMBER(cache.max_files),
        .minimum = 0,
        .maximum = 100000000,
    },
    {
        .key = "cache.max_size",
        .group = "Cache",
        .argument = "SIZE",
        .help = "memory of the cache",
        .fallback = "10485760",
        .kind = SETTINGS_SIZE,
        .offset = MEMBER(cache.max_size),
        .minimum = 1024,
        .maximum = 1ULL << 40,
    },
    {
        .key = "cache.expiration",
        .group = "Cache",
        .argument = "DURATION",
        .help = "age at which an answer leaves the cache",
        .fallback = "300",
        .kind = SETTINGS_DURATION,
        .offset = MEMBER(cache.expiration),
        .minimum = 0,
        .maximum = 365ULL * DAY,
    },
    {
        .key = "log_level",
        .group = "Log",
        .argument = "WORD",
        .help = "what is logged to standard error, and all that is more urgent",
        .fallback = "info",
        .kind = SETTINGS_CHOICE,
        .offset = MEMBER(log_level),
        .choices = log_level_words,
    },
};

enum { OPTION_COUNT = sizeof options / sizeof options[0] };

_Static_assert((int)OPTION_COUNT <= (int)SETTINGS_MAX_OPTIONS,
               "the table is longer than the settings allow");

static void check_options(void *values, const settings_command *command, settings_report *report)
{
    struct sttpd_options *given = values;

    listen_settle(&given->listen, &sttpd_program, command, report);
}

const settings_program sttpd_program = {
    .name = "sttpd",
    .summary = "Server of the Short Text Transfer Protocol. Runs in the foreground and logs to\n"
               "standard error; SIGTERM and SIGINT stop it, a second one stops it at once.",
    .notes = "The key of a setting in the file is its long flag with '_' in place of '-';\n"
             "--cache-max-files is max_files inside 'cache:'. A flag wins over the file.\n"
             "Defaults stand in [brackets]. See sttpd(1) and sttpd.conf(5).\n"
             "\n"
             "Exit status: 0 after a stop, 1 where the settings file or the system is at\n"
             "fault, 2 where the command line is.\n",
    .options = options,
    .option_count = OPTION_COUNT,
    .check = check_options,
};
