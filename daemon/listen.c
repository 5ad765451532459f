#include "daemon/listen.h"

#include <arpa/inet.h>
#include <string.h>

#include <sttp/network.h>
#include <sttp/url.h>

#include "daemon/settings_value.h"

static bool is_ipv4(const char *text)
{
    struct in_addr address;

    return inet_pton(AF_INET, text, &address) == 1;
}

/* With or without a zone, "fe80::1%eth0"; whether there is such an interface shows later. */
static bool is_ipv6(const char *text)
{
    char host[INET6_ADDRSTRLEN];
    struct in6_addr address;
    size_t size = strcspn(text, "%");

    if (size >= sizeof host || (text[size] == '%' && text[size + 1] == '\0'))
        return false;
    memcpy(host, text, size);
    host[size] = '\0';
    return inet_pton(AF_INET6, host, &address) == 1;
}

bool listen_is_host(const char *text)
{
    return strlen(text) < LISTEN_MAX_HOST && (is_ipv4(text) || is_ipv6(text));
}

static bool is_port(const char *text)
{
    unsigned port = 0;
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > 5 || text[digits] != '\0' || (digits > 1 && text[0] == '0'))
        return false;
    for (; *text != '\0'; text++)
        port = port * 10 + (unsigned)(*text - '0');
    return port <= 65535;
}

static bool is_unix(const char *text)
{
    return strncmp(text, "unix:", 5) == 0;
}

bool listen_is_listener(const char *text)
{
    char host[LISTEN_MAX_HOST];
    bool in_brackets = text[0] == '[';

    if (is_unix(text))
        return text[5] == '/' && text[6] != '\0' && strlen(text + 5) <= STTP_MAX_SOCKET_PATH;
    const char *end = strrchr(text, in_brackets ? ']' : ':');
    if (end == NULL || (in_brackets && end[1] != ':'))
        return false;
    size_t size = (size_t)(end - text) - in_brackets;
    if (size >= sizeof host)
        return false;
    memcpy(host, text + in_brackets, size);
    host[size] = '\0';
    return (in_brackets ? is_ipv6(host) : is_ipv4(host)) && is_port(end + 1 + in_brackets);
}

bool listen_is_network(const char *text)
{
    sttp_network network;

    return sttp_network_parse((sttp_slice){text, strlen(text)}, &network) == STTP_OK;
}

const settings_option listen_fields[LISTEN_FIELD_COUNT] = {
    {
        .key = "address",
        .argument = "ADDRESS",
        .help = "HOST:PORT, [IPV6]:PORT or unix:/PATH",
        .kind = SETTINGS_TEXT,
        .offset = offsetof(struct listener, address),
        .place = offsetof(struct listener, place),
        .valid = listen_is_listener,
        .expected = "an address such as 127.0.0.1:8080, [::1]:8080 or unix:/run/sttpd.sock",
        .required = true,
    },
    {
        .key = "proxy_protocol",
        .argument = "BOOLEAN",
        .help = "connections begin with a PROXY protocol header, version 1 or 2",
        .fallback = "false",
        .kind = SETTINGS_BOOL,
        .offset = offsetof(struct listener, proxy_protocol),
    },
    {
        .key = "trusted_proxies",
        .argument = "LIST",
        .help = "addresses and ranges that may send the header; others are closed",
        .kind = SETTINGS_LIST,
        .offset = offsetof(struct listener, trusted_proxies),
        .place = offsetof(struct listener, trusted_proxies_place),
        .maximum = 1024,
        .valid = listen_is_network,
        .expected = "at most 1024 addresses or ranges such as 10.0.0.0/8 or ::1",
    },
};

static const settings_option *option_of(const settings_program *program, const char *key)
{
    const settings_option *option = program->options;

    while (strcmp(option->key, key) != 0)
        option++;
    return option;
}

static bool by_flag(const settings_program *program, const settings_command *command,
                    const char *key)
{
    return settings_source_of(program, command, key) == SETTINGS_FROM_FLAG;
}

static bool copy_list(const settings_list *from, settings_list *to)
{
    for (size_t i = 0; i < from->count; i++) {
        if (!settings_list_add(to, from->items[i], strlen(from->items[i])))
            return false;
    }
    return true;
}

/* Makes one listener of listen_address and port. */
static bool add_default(struct listen_options *options, const settings_option *listen)
{
    char address[LISTEN_MAX_HOST + sizeof "[]:65535"];
    char why[SETTINGS_MAX_WHY];
    bool in_brackets = strchr(options->listen_address, ':') != NULL;
    int size = snprintf(address, sizeof address, "%s%s%s:%u", in_brackets ? "[" : "",
                        options->listen_address, in_brackets ? "]" : "", (unsigned)options->port);
    void *values = (char *)&options->listen - listen->offset; /* the program's struct */

    if (settings_value_set(listen, (sttp_slice){address, (size_t)size},
                           options->proxy_protocol_place, values, why) != SETTINGS_SET)
        return false;
    struct listener *listener = options->listen.items;
    listener->proxy_protocol = options->proxy_protocol;
    listener->trusted_proxies_place = options->trusted_proxies_place;
    return copy_list(&options->trusted_proxies, &listener->trusted_proxies);
}

static void check_twice(const struct listener *listeners, size_t index, settings_report *report)
{
    const char *address = listeners[index].address;
    const char *colon = strrchr(address, ':');

    if (strcmp(colon, ":0") == 0)
        return;
    for (size_t i = 0; i < index; i++) {
        if (listeners[i].address != NULL && strcmp(listeners[i].address, address) == 0) {
            settings_report_place(report, listeners[index].place, "listen: '%s' is given twice",
                                  address);
            return;
        }
    }
}

static void check_listener(const struct listener *listener, settings_report *report)
{
    if (listener->proxy_protocol && listener->trusted_proxies.count == 0 &&
        !is_unix(listener->address))
        settings_report_place(report, listener->place,
                              "proxy_protocol: nobody may connect to '%s'; give the addresses of "
                              "the proxies before it as trusted_proxies",
                              listener->address);
    if (!listener->proxy_protocol && listener->trusted_proxies.count > 0)
        settings_report_place(report, listener->trusted_proxies_place,
                              "trusted_proxies: '%s' takes no header from them without "
                              "proxy_protocol: true",
                              listener->address);
}

void listen_settle(struct listen_options *options, const settings_program *program,
                   const settings_command *command, settings_report *report)
{
    const settings_option *listen = option_of(program, "listen");

    if (!by_flag(program, command, "listen") &&
        (by_flag(program, command, "listen_address") || by_flag(program, command, "port")))
        settings_records_clear(listen, &options->listen);
    if (options->listen.count == 0 && !add_default(options, listen))
        settings_report_no_memory(report, program->name);
    const struct listener *listeners = options->listen.items;
    for (size_t i = 0; i < options->listen.count; i++) {
        if (listeners[i].address == NULL)
            continue; /* which was told */
        check_twice(listeners, i, report);
        check_listener(&listeners[i], report);
    }
}
