/* A program whose settings have lists of mappings: what check_settings_records and fuzz_settings
 * read. */
#ifndef STTP_TESTS_RECORDS_PROGRAM_H
#define STTP_TESTS_RECORDS_PROGRAM_H

#include <string.h>

#include "daemon/settings.h"

struct upstream {
    char *address;
    settings_place address_place;
    uint64_t weight;
    bool backup;
};

struct route {
    char *prefix;
    settings_place prefix_place;
    unsigned balance;
    settings_records upstreams;
    uint64_t health_interval;
    uint64_t health_rise;
};

struct record_listener {
    char *address;
    settings_place address_place;
    bool proxy;
    settings_list trusted;
};

struct records_options {
    uint64_t port;
    settings_place port_place;
    settings_records listen;
    settings_place listen_place;
    settings_records routes;
    bool allow;
};

static const char *const balance_words[] = {"turns", "least", NULL};

static inline bool is_path(const char *text)
{
    return text[0] == '/';
}

static const settings_option upstream_fields[] = {
    {
        .key = "address",
        .argument = "ADDRESS",
        .help = "of the server",
        .kind = SETTINGS_TEXT,
        .offset = offsetof(struct upstream, address),
        .place = offsetof(struct upstream, address_place),
        .expected = "an address",
        .required = true,
    },
    {
        .key = "weight",
        .argument = "NUMBER",
        .help = "its share",
        .fallback = "1",
        .kind = SETTINGS_NUMBER,
        .offset = offsetof(struct upstream, weight),
        .minimum = 1,
        .maximum = 256,
    },
    {
        .key = "backup",
        .argument = "BOOLEAN",
        .help = "whether it has requests only where no other can",
        .fallback = "false",
        .kind = SETTINGS_BOOL,
        .offset = offsetof(struct upstream, backup),
    },
};

static const settings_option route_fields[] = {
    {
        .key = "prefix",
        .argument = "PATH",
        .help = "of the paths that go there",
        .kind = SETTINGS_TEXT,
        .offset = offsetof(struct route, prefix),
        .place = offsetof(struct route, prefix_place),
        .valid = is_path,
        .expected = "a path",
        .required = true,
    },
    {
        .key = "balance",
        .argument = "WORD",
        .help = "who is next",
        .fallback = "turns",
        .kind = SETTINGS_CHOICE,
        .offset = offsetof(struct route, balance),
        .choices = balance_words,
    },
    {
        .key = "upstreams",
        .argument = "LIST",
        .help = "the servers, each with",
        .kind = SETTINGS_RECORDS,
        .offset = offsetof(struct route, upstreams),
        .maximum = 4,
        .required = true,
        .fields = upstream_fields,
        .field_count = sizeof upstream_fields / sizeof upstream_fields[0],
        .record_size = sizeof(struct upstream),
        .shorthand = "address",
    },
    {
        .key = "health.interval",
        .argument = "DURATION",
        .help = "time between two checks",
        .fallback = "2s",
        .kind = SETTINGS_DURATION,
        .offset = offsetof(struct route, health_interval),
        .minimum = 10,
        .maximum = 60000,
    },
    {
        .key = "health.rise",
        .argument = "NUMBER",
        .help = "good checks before it is back",
        .fallback = "2",
        .kind = SETTINGS_NUMBER,
        .offset = offsetof(struct route, health_rise),
        .minimum = 1,
        .maximum = 100,
    },
};

static const settings_option listener_fields[] = {
    {
        .key = "address",
        .argument = "ADDRESS",
        .help = "where to listen",
        .kind = SETTINGS_TEXT,
        .offset = offsetof(struct record_listener, address),
        .place = offsetof(struct record_listener, address_place),
        .expected = "an address",
        .required = true,
    },
    {
        .key = "proxy",
        .argument = "BOOLEAN",
        .help = "whether connections begin with a header",
        .fallback = "false",
        .kind = SETTINGS_BOOL,
        .offset = offsetof(struct record_listener, proxy),
    },
    {
        .key = "trusted",
        .argument = "LIST",
        .help = "who may send one",
        .fallback = "::1",
        .kind = SETTINGS_LIST,
        .offset = offsetof(struct record_listener, trusted),
        .maximum = 3,
        .expected = "at most 3 networks",
    },
};

static const settings_option records_table[] = {
    {
        .key = "port",
        .letter = 'p',
        .group = "Listening",
        .argument = "PORT",
        .help = "to listen on",
        .fallback = "80",
        .kind = SETTINGS_NUMBER,
        .offset = offsetof(struct records_options, port),
        .place = offsetof(struct records_options, port_place),
        .maximum = 65535,
    },
    {
        .key = "listen",
        .letter = 'l',
        .group = "Listening",
        .argument = "ADDRESS",
        .help = "listen here, too",
        .kind = SETTINGS_RECORDS,
        .offset = offsetof(struct records_options, listen),
        .place = offsetof(struct records_options, listen_place),
        .maximum = 4,
        .fields = listener_fields,
        .field_count = sizeof listener_fields / sizeof listener_fields[0],
        .record_size = sizeof(struct record_listener),
        .shorthand = "address",
    },
    {
        .key = "routes",
        .group = "Routes",
        .argument = "LIST",
        .help = "in the file alone: where the paths go, each with",
        .kind = SETTINGS_RECORDS,
        .offset = offsetof(struct records_options, routes),
        .maximum = 3,
        .fields = route_fields,
        .field_count = sizeof route_fields / sizeof route_fields[0],
        .record_size = sizeof(struct route),
    },
    {
        .key = "allow_it",
        .group = "Routes",
        .help = "allow it",
        .fallback = "false",
        .kind = SETTINGS_BOOL,
        .offset = offsetof(struct records_options, allow),
    },
};

/* The same prefix twice is a mistake, the same address of two listeners, too; port 1 deserves a
 * warning. */
static inline void check_records(void *values, const settings_command *command,
                                 settings_report *report)
{
    const struct records_options *options = values;
    const struct route *routes = options->routes.items;
    const struct record_listener *listen = options->listen.items;

    (void)command;
    for (size_t i = 1; i < options->routes.count; i++) {
        const char *prefix = routes[i].prefix;
        if (prefix != NULL && routes[0].prefix != NULL && strcmp(prefix, routes[0].prefix) == 0)
            settings_report_place(report, routes[i].prefix_place,
                                  "routes.prefix: as in line %zu already",
                                  settings_report_line_of(report, routes[0].prefix_place));
    }
    for (size_t i = 1; i < options->listen.count; i++) {
        const char *address = listen[i].address;
        if (address != NULL && listen[0].address != NULL && strcmp(address, listen[0].address) == 0)
            settings_report_place(report, listen[i].address_place, "listen: given twice");
    }
    if (options->port == 1)
        settings_report_warning(report, options->port_place, "port: 1 is strange");
}

static const settings_program records_program = {
    .name = "records",
    .summary = "Reads records.",
    .notes = "That is all.\n",
    .options = records_table,
    .option_count = sizeof records_table / sizeof records_table[0],
    .check = check_records,
};

#endif
