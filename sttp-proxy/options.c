/* The table of sttp-proxy's settings: the keys, flags, defaults, ranges and help. */
#include <string.h>

#include <sttp/message.h>
#include <sttp/url.h>

#include "sttp-proxy/check.h"
#include "sttp-proxy/destination.h"
#include "sttp-proxy/guard.h"
#include "sttp-proxy/options_records.h"

#define MEMBER(name) offsetof(struct proxy_options, name)
#define LISTEN_ADDRESS "127.0.0.1"
#define LISTEN_PORT "3128"

enum { DAY = 24 * 60 * 60 * 1000 /* milliseconds */ };

static const char *const log_level_words[] = {"error", "warning", "info", "debug", NULL};

static bool is_parent(const char *text)
{
    struct destination destination;

    return destination_parse_parent(text, &destination);
}

/* Numeric addresses, each with or without a port. */
static bool are_dns_servers(const char *text)
{
    char server[LISTEN_MAX_HOST + sizeof "[]:65535"];
    size_t size;

    for (;; text += size + 1) {
        size = strcspn(text, ",");
        if (size >= sizeof server)
            return false;
        memcpy(server, text, size);
        server[size] = '\0';
        if (!listen_is_host(server) && (!listen_is_listener(server) || server[0] == 'u'))
            return false;
        if (text[size] == '\0')
            return true;
    }
}

static const settings_option options[] = {
#include "daemon/options_listen.inc"
    {
        .key = "forward.enabled",
        .group = "Forward proxy",
        .argument = "BOOLEAN",
        .help = "requests whose target is a URL go to its host",
        .fallback = "false",
        .kind = SETTINGS_BOOL,
        .offset = MEMBER(forward_enabled),
        .place = MEMBER(forward_place),
    },
    {
        .key = "forward.clients",
        .group = "Forward proxy",
        .argument = "RANGE",
        .help = "address or range of clients that may have requests forwarded; repeat for several",
        .fallback = "127.0.0.0/8, ::1",
        .kind = SETTINGS_LIST,
        .offset = MEMBER(forward_clients),
        .maximum = 1024,
        .valid = listen_is_network,
        .expected = "at most 1024 addresses or ranges such as 10.0.0.0/8 or ::1",
    },
    {
        .key = "forward.allow",
        .group = "Forward proxy",
        .argument = "RULE",
        .help = "where requests may go: NAME:PORT, *.NAME:PORT or RANGE:PORT, * is any port; "
                "addresses that are not global need a rule by address; repeat for several",
        .kind = SETTINGS_LIST,
        .offset = MEMBER(forward_allow),
        .maximum = 4096,
        .expected =
            "at most 4096 rules such as example.org:8080, *.example.org:* or 10.0.0.0/8:8080",
        .mistake = guard_rule_mistake,
    },
    {
        .key = "forward.parent",
        .group = "Forward proxy",
        .argument = "URL",
        .help = "another proxy that all forwarded requests go to",
        .kind = SETTINGS_TEXT,
        .offset = MEMBER(forward_parent),
        .place = MEMBER(parent_place),
        .valid = is_parent,
        .expected = "the URL of a proxy such as sttp://10.0.0.2:3128",
    },
    {
        .key = "forward.send_proxy",
        .group = "Forward proxy",
        .argument = "WORD",
        .help =
            "v2 where the parent is another sttp-proxy that trusts this one: a loop is found then",
        .fallback = "none",
        .kind = SETTINGS_CHOICE,
        .offset = MEMBER(forward_send_proxy),
        .choices = send_proxy_words,
    },
    {
        .key = "reverse",
        .group = "Reverse proxy",
        .argument = "LIST",
        .help = "in the file only: what is done with paths, by their prefix",
        .kind = SETTINGS_RECORDS,
        .offset = MEMBER(reverse),
        .maximum = 256,
        .fields = route_fields,
        .field_count = ROUTE_FIELD_COUNT,
        .record_size = sizeof(struct route_options),
    },
    {
        .key = "max_upstream_connections",
        .group = "Upstreams, parent and hosts",
        .argument = "NUMBER",
        .help = "connections of each thread to one of them",
        .fallback = "4",
        .kind = SETTINGS_NUMBER,
        .offset = MEMBER(max_upstream_connections),
        .minimum = 1,
        .maximum = 1024,
    },
    {
        .key = "max_upstream_in_flight",
        .group = "Upstreams, parent and hosts",
        .argument = "NUMBER",
        .help = "requests under way at once on such a connection",
        .fallback = "256",
        .kind = SETTINGS_NUMBER,
        .offset = MEMBER(max_upstream_in_flight),
        .minimum = 1,
        .maximum = 65536,
    },
    {
        .key = "max_queued",
        .group = "Upstreams, parent and hosts",
        .argument = "NUMBER",
        .help = "requests of each thread that may wait for a connection to one of them",
        .fallback = "1024",
        .kind = SETTINGS_NUMBER,
        .offset = MEMBER(max_queued),
        .minimum = 1,
        .maximum = 1000000,
    },
    {
        .key = "connect_timeout",
        .group = "Upstreams, parent and hosts",
        .argument = "DURATION",
        .help = "time for a connection to be made, name and all addresses together",
        .fallback = "5s",
        .kind = SETTINGS_DURATION,
        .offset = MEMBER(connect_timeout),
        .minimum = 10,
        .maximum = DAY,
    },
    {
        .key = "queue_timeout",
        .group = "Upstreams, parent and hosts",
        .argument = "DURATION",
        .help = "time that a request waits for a connection",
        .fallback = "5s",
        .kind = SETTINGS_DURATION,
        .offset = MEMBER(queue_timeout),
        .minimum = 10,
        .maximum = DAY,
    },
    {
        .key = "response_timeout",
        .group = "Upstreams, parent and hosts",
        .argument = "DURATION",
        .help = "time from sending a request to the end of its answer",
        .fallback = "30s",
        .kind = SETTINGS_DURATION,
        .offset = MEMBER(response_timeout),
        .minimum = 10,
        .maximum = DAY,
    },
    {
        .key = "upstream_idle_timeout",
        .group = "Upstreams, parent and hosts",
        .argument = "DURATION",
        .help = "close a connection that carries nothing for so long",
        .fallback = "50s",
        .kind = SETTINGS_DURATION,
        .offset = MEMBER(upstream_idle_timeout),
        .minimum = 10,
        .maximum = DAY,
    },
    {
        .key = "dns_servers",
        .group = "Upstreams, parent and hosts",
        .argument = "ADDRESSES",
        .help = "where names are looked up, with commas between them, in place of the system's",
        .kind = SETTINGS_TEXT,
        .offset = MEMBER(dns_servers),
        .valid = are_dns_servers,
        .expected =
            "addresses such as 127.0.0.1, 127.0.0.1:5353 or [::1]:53, with commas between them",
    },
#include "daemon/options_connections.inc"
    {
        .key = "cache.enabled",
        .group = "Cache",
        .argument = "BOOLEAN",
        .help = "keep answers to SHOW and LIST in memory",
        .fallback = "false",
        .kind = SETTINGS_BOOL,
        .offset = MEMBER(cache.enabled),
    },
    {
        .key = "cache.max_files",
        .group = "Cache",
        .argument = "NUMBER",
        .help = "answers in the cache, 0 for no cache",
        .fallback = "10000",
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
        .fallback = "64MiB",
        .kind = SETTINGS_SIZE,
        .offset = MEMBER(cache.max_size),
        .minimum = 1024,
        .maximum = 1ULL << 40,
    },
    {
        .key = "cache.expiration",
        .group = "Cache",
        .argument = "DURATION",
        .help = "age at which an answer leaves the cache: so long others may see what was there "
                "before a change that did not pass through here",
        .fallback = "5s",
        .kind = SETTINGS_DURATION,
        .offset = MEMBER(cache.expiration),
        .minimum = 0,
        .maximum = 365ULL * DAY,
    },
    {
        .key = "faults",
        .group = "Faults, for tests",
        .argument = "LIST",
        .help = "in the file only, refused without the flag below: what goes wrong with answers",
        .kind = SETTINGS_RECORDS,
        .offset = MEMBER(faults),
        .place = MEMBER(faults_place),
        .maximum = 64,
        .fields = fault_fields,
        .field_count = FAULT_FIELD_COUNT,
        .record_size = sizeof(struct fault_options),
    },
    {
        .key = "allow_faults",
        .group = "Faults, for tests",
        .help = "make things go wrong as the settings file says",
        .kind = SETTINGS_BOOL,
        .offset = MEMBER(allow_faults),
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

const settings_program proxy_program = {
    .name = "sttp-proxy",
    .summary = "Forward and reverse proxy of the Short Text Transfer Protocol. Runs in the\n"
               "foreground and logs to standard error; SIGTERM and SIGINT stop it, a second one\n"
               "stops it at once.",
    .notes = "The key of a setting in the file is its long flag with '_' in place of '-';\n"
             "--cache-max-files is max_files inside 'cache:'. A flag wins over the file.\n"
             "Defaults stand in [brackets]. See sttp-proxy(1) and sttp-proxy.conf(5).\n"
             "\n"
             "Exit status: 0 after a stop, 1 where the settings file or the system is at\n"
             "fault, 2 where the command line is.\n",
    .options = options,
    .option_count = OPTION_COUNT,
    .check = proxy_check,
};
