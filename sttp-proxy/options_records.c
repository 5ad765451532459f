/* Routes, their upstreams, and faults. */
#include <string.h>

#include "sttp-proxy/destination.h"
#include "sttp-proxy/options_records.h"
#include "sttp-proxy/route.h"

enum { DAY = 24 * 60 * 60 * 1000 /* milliseconds */ };

/* In the order of balance_kind. */
static const char *const balance_words[] = {"least_in_flight", "round_robin", "random_two", "hash",
                                            NULL};
/* In the order of enum fault. */
static const char *const fault_words[] = {"delay", "reset", "truncate", "dribble", "garbage", NULL};

const char *const send_proxy_words[] = {"none", "v2", NULL};

static bool is_destination(const char *text)
{
    struct destination destination;

    return destination_parse(text, &destination);
}

static bool is_prefix(const char *text)
{
    return route_prefix_valid((sttp_slice){text, strlen(text)});
}

static const settings_option upstream_fields[] = {
    {
        .key = "address",
        .argument = "ADDRESS",
        .help = "HOST:PORT, [IPV6]:PORT or unix:/PATH; a host may be a name",
        .kind = SETTINGS_TEXT,
        .offset = offsetof(struct upstream_options, address),
        .place = offsetof(struct upstream_options, place),
        .valid = is_destination,
        .expected =
            "an address such as 127.0.0.1:8081, [::1]:8082, name:8080 or unix:/run/sttpd.sock",
        .required = true,
    },
    {
        .key = "weight",
        .argument = "NUMBER",
        .help = "its share beside the others",
        .fallback = "1",
        .kind = SETTINGS_NUMBER,
        .offset = offsetof(struct upstream_options, weight),
        .minimum = 1,
        .maximum = 256,
    },
    {
        .key = "backup",
        .argument = "BOOLEAN",
        .help = "it is asked only where no other one can be",
        .fallback = "false",
        .kind = SETTINGS_BOOL,
        .offset = offsetof(struct upstream_options, backup),
    },
    {
        .key = "send_proxy",
        .argument = "WORD",
        .help = "v2 where it is another sttp-proxy that trusts this one: a loop is found then",
        .fallback = "none",
        .kind = SETTINGS_CHOICE,
        .offset = offsetof(struct upstream_options, send_proxy),
        .choices = send_proxy_words,
    },
};

enum { UPSTREAM_FIELD_COUNT = sizeof upstream_fields / sizeof upstream_fields[0] };

const settings_option route_fields[ROUTE_FIELD_COUNT] = {
    {
        .key = "prefix",
        .argument = "PATH",
        .help = "of the paths that go there; the longest one wins",
        .kind = SETTINGS_TEXT,
        .offset = offsetof(struct route_options, prefix),
        .place = offsetof(struct route_options, place),
        .valid = is_prefix,
        .expected = "a path such as / or /notes",
        .required = true,
    },
    {
        .key = "balance",
        .argument = "WORD",
        .help = "which upstream is asked",
        .fallback = "least_in_flight",
        .kind = SETTINGS_CHOICE,
        .offset = offsetof(struct route_options, balance),
        .choices = balance_words,
    },
    {
        .key = "upstreams",
        .argument = "LIST",
        .help = "the servers, each an address or a mapping:",
        .kind = SETTINGS_RECORDS,
        .offset = offsetof(struct route_options, upstreams),
        .maximum = MAX_UPSTREAMS,
        .required = true,
        .fields = upstream_fields,
        .field_count = UPSTREAM_FIELD_COUNT,
        .record_size = sizeof(struct upstream_options),
        .shorthand = "address",
    },
    {
        .key = "health.interval",
        .argument = "DURATION",
        .help = "time between two health checks of an upstream",
        .fallback = "2s",
        .kind = SETTINGS_DURATION,
        .offset = offsetof(struct route_options, health_interval),
        .minimum = 10,
        .maximum = DAY,
        .zero = "off",
    },
    {
        .key = "health.timeout",
        .argument = "DURATION",
        .help = "what takes longer is a check that failed",
        .fallback = "500ms",
        .kind = SETTINGS_DURATION,
        .offset = offsetof(struct route_options, health_timeout),
        .minimum = 10,
        .maximum = DAY,
    },
    {
        .key = "health.rise",
        .argument = "NUMBER",
        .help = "good checks in a row after which an upstream is back",
        .fallback = "2",
        .kind = SETTINGS_NUMBER,
        .offset = offsetof(struct route_options, health_rise),
        .minimum = 1,
        .maximum = 1000,
    },
    {
        .key = "health.fall",
        .argument = "NUMBER",
        .help = "failures in a row, of checks or of requests, after which it is out",
        .fallback = "3",
        .kind = SETTINGS_NUMBER,
        .offset = offsetof(struct route_options, health_fall),
        .minimum = 1,
        .maximum = 1000,
    },
    {
        .key = "slow_start",
        .argument = "DURATION",
        .help = "time in which an upstream that is back comes to its full weight",
        .fallback = "10s",
        .kind = SETTINGS_DURATION,
        .offset = offsetof(struct route_options, slow_start),
        .minimum = 0,
        .maximum = DAY,
    },
};

const settings_option fault_fields[FAULT_FIELD_COUNT] = {
    {
        .key = "prefix",
        .argument = "PATH",
        .help = "of the paths whose answers it concerns",
        .fallback = "/",
        .kind = SETTINGS_TEXT,
        .offset = offsetof(struct fault_options, prefix),
        .valid = is_prefix,
        .expected = "a path such as / or /notes",
    },
    {
        .key = "fault",
        .argument = "WORD",
        .help = "what goes wrong: the answer is late, the connection is reset or closed within it, "
                "its bytes come one by one, or others come in its place",
        .kind = SETTINGS_CHOICE,
        .offset = offsetof(struct fault_options, fault),
        .place = offsetof(struct fault_options, place),
        .choices = fault_words,
        .required = true,
    },
    {
        .key = "percent",
        .argument = "NUMBER",
        .help = "of the answers",
        .fallback = "100",
        .kind = SETTINGS_NUMBER,
        .offset = offsetof(struct fault_options, percent),
        .minimum = 1,
        .maximum = 100,
    },
    {
        .key = "delay",
        .argument = "DURATION",
        .help = "before the answer, or before each byte of a dribble",
        .fallback = "100ms",
        .kind = SETTINGS_DURATION,
        .offset = offsetof(struct fault_options, delay),
        .minimum = 0,
        .maximum = DAY,
    },
    {
        .key = "bytes",
        .argument = "NUMBER",
        .help = "of the answer that come before the end of a reset or truncated one",
        .fallback = "8",
        .kind = SETTINGS_NUMBER,
        .offset = offsetof(struct fault_options, bytes),
        .minimum = 0,
        .maximum = 16777216,
    },
};
