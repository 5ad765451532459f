#include "sttp-proxy/check.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "sttp-proxy/destination.h"
#include "sttp-proxy/route.h"

/* ---- the proxy itself ---- */

/* An address as IPv6, IPv4 mapped. False where the host is a name. */
static bool read_host(const char *host, struct in6_addr *address)
{
    char mapped[sizeof "::ffff:" + INET_ADDRSTRLEN];
    char bare[INET6_ADDRSTRLEN];
    struct in_addr ipv4;
    size_t size = strcspn(host, "%"); /* of a zone nothing is known */

    if (inet_pton(AF_INET, host, &ipv4) == 1) {
        snprintf(mapped, sizeof mapped, "::ffff:%s", host);
        return inet_pton(AF_INET6, mapped, address) == 1;
    }
    if (size >= sizeof bare)
        return false;
    memcpy(bare, host, size);
    bare[size] = '\0';
    return inet_pton(AF_INET6, bare, address) == 1;
}

static bool is_ipv4(const struct in6_addr *address)
{
    return IN6_IS_ADDR_V4MAPPED(address);
}

/* The rest of an IPv4 address that is mapped. */
static uint32_t ipv4_of(const struct in6_addr *address)
{
    uint32_t ipv4;

    memcpy(&ipv4, address->s6_addr + 12, sizeof ipv4);
    return ntohl(ipv4);
}

static bool is_any(const struct in6_addr *address)
{
    return is_ipv4(address) ? ipv4_of(address) == INADDR_ANY : IN6_IS_ADDR_UNSPECIFIED(address);
}

static bool is_loopback(const struct in6_addr *address)
{
    return is_ipv4(address) ? ipv4_of(address) >> 24 == IN_LOOPBACKNET
                            : IN6_IS_ADDR_LOOPBACK(address);
}

static bool is_of_interface(const struct ifaddrs *interface, const struct in6_addr *address)
{
    const struct sockaddr *of = interface->ifa_addr;

    if (of == NULL)
        return false;
    if (of->sa_family == AF_INET)
        return is_ipv4(address) &&
               ntohl(((const struct sockaddr_in *)(const void *)of)->sin_addr.s_addr) ==
                   ipv4_of(address);
    return of->sa_family == AF_INET6 &&
           IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)(const void *)of)->sin6_addr, address);
}

/* Where this proxy listens. */
struct own {
    const char *socket_path; /* NULL where it is an address */
    struct in6_addr address;
    unsigned port; /* 0: a free one, which nobody knows yet */
};

struct self {
    struct ifaddrs *interfaces; /* NULL where they cannot be told */
    struct own *owns;
    size_t count;
};

static struct own read_own(const char *listener)
{
    char host[LISTEN_MAX_HOST + 2];
    bool in_brackets = listener[0] == '[';
    struct own own = {0};

    if (strncmp(listener, "unix:", 5) == 0) {
        own.socket_path = listener + 5;
        return own;
    }
    const char *colon = strrchr(listener, ':'); /* the settings were read: there is one */
    size_t size = (size_t)(colon - listener) - 2 * (size_t)in_brackets;
    memcpy(host, listener + in_brackets, size);
    host[size] = '\0';
    if (read_host(host, &own.address))
        own.port = (unsigned)strtoul(colon + 1, NULL, 10);
    return own;
}

static bool self_init(struct self *self, const settings_records *listen)
{
    const struct listener *listeners = listen->items;

    *self = (struct self){.owns = calloc(listen->count + 1, sizeof *self->owns)};
    if (self->owns == NULL)
        return false;
    for (size_t i = 0; i < listen->count; i++) {
        if (listeners[i].address != NULL)
            self->owns[self->count++] = read_own(listeners[i].address);
    }
    if (getifaddrs(&self->interfaces) != 0)
        self->interfaces = NULL;
    return true;
}

static void self_release(struct self *self)
{
    if (self->interfaces != NULL)
        freeifaddrs(self->interfaces);
    free(self->owns);
}

static bool is_of_machine(const struct self *self, const struct in6_addr *address)
{
    if (is_loopback(address))
        return true;
    for (const struct ifaddrs *next = self->interfaces; next != NULL; next = next->ifa_next) {
        if (is_of_interface(next, address))
            return true;
    }
    return false;
}

/* Whether a connection to `address` comes to who listens on `own`. */
static bool leads_to(const struct self *self, const struct own *own, const struct in6_addr *address)
{
    if (is_any(&own->address))
        return is_ipv4(&own->address) == is_ipv4(address) && is_of_machine(self, address);
    return IN6_ARE_ADDR_EQUAL(&own->address, address);
}

static bool is_own_port(const struct self *self, const char *host, unsigned port)
{
    struct in6_addr address;

    if (!read_host(host, &address))
        return false;
    if (is_any(&address)) /* which leads to the loopback address */
        return is_own_port(self, is_ipv4(&address) ? "127.0.0.1" : "::1", port);
    for (size_t i = 0; i < self->count; i++) {
        const struct own *own = &self->owns[i];
        if (own->socket_path == NULL && own->port != 0 && own->port == port &&
            leads_to(self, own, &address))
            return true;
    }
    return false;
}

static bool is_self(const struct self *self, const struct destination *to)
{
    if (to->socket_path[0] == '\0' && strcmp(to->host, "localhost") == 0)
        return is_own_port(self, "127.0.0.1", to->port) || is_own_port(self, "::1", to->port);
    if (to->socket_path[0] == '\0')
        return is_own_port(self, to->host, to->port);
    for (size_t i = 0; i < self->count; i++) {
        if (self->owns[i].socket_path != NULL &&
            strcmp(self->owns[i].socket_path, to->socket_path) == 0)
            return true;
    }
    return false;
}

/* ---- the settings ---- */

static void check_parent(const struct proxy_options *options, const struct self *self,
                         settings_report *report)
{
    struct destination parent;

    if (options->forward_parent != NULL &&
        destination_parse_parent(options->forward_parent, &parent) && is_self(self, &parent))
        settings_report_place(report, options->parent_place,
                              "forward.parent: '%s' is this proxy itself", options->forward_parent);
}

static bool has_same_prefix(const char *a, const char *b)
{
    return a != NULL && b != NULL &&
           route_prefix_equal((sttp_slice){a, strlen(a)}, (sttp_slice){b, strlen(b)});
}

static bool is_same(const struct destination *a, const struct destination *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0 &&
           strcmp(a->socket_path, b->socket_path) == 0;
}

/* `known` are the upstreams before this one; those that cannot be read are empty. */
static void check_upstream(const struct upstream_options *upstreams, size_t index,
                           struct destination *known, const struct self *self,
                           settings_report *report)
{
    const struct upstream_options *upstream = &upstreams[index];

    if (upstream->address == NULL || !destination_parse(upstream->address, &known[index])) {
        known[index] = (struct destination){.port = 0};
        return;
    }
    if (is_self(self, &known[index]))
        settings_report_place(report, upstream->place,
                              "reverse.upstreams.address: '%s' is this proxy itself",
                              upstream->address);
    for (size_t i = 0; i < index; i++) {
        if (!is_same(&known[i], &known[index]))
            continue;
        settings_report_place(report, upstream->place,
                              "reverse.upstreams.address: '%s' is given twice, in line %zu already",
                              upstream->address,
                              settings_report_line_of(report, upstreams[i].place));
        return;
    }
}

static void check_prefix(const struct route_options *routes, size_t index, settings_report *report)
{
    const char *prefix = routes[index].prefix;

    for (size_t i = 0; i < index; i++) {
        if (!has_same_prefix(routes[i].prefix, prefix))
            continue;
        settings_report_place(report, routes[index].place,
                              "reverse.prefix: '%s' is given twice, in line %zu already", prefix,
                              settings_report_line_of(report, routes[i].place));
        return;
    }
}

/* False where memory is out. */
static bool check_routes(const struct proxy_options *options, const struct self *self,
                         settings_report *report)
{
    const struct route_options *routes = options->reverse.items;

    for (size_t i = 0; i < options->reverse.count; i++) {
        const settings_records *upstreams = &routes[i].upstreams;
        check_prefix(routes, i, report);
        struct destination *known = calloc(upstreams->count + 1, sizeof *known);
        if (known == NULL)
            return false;
        for (size_t j = 0; j < upstreams->count; j++)
            check_upstream(upstreams->items, j, known, self, report);
        free(known);
    }
    return true;
}

/* The rules up to `index` that have its prefix. */
static void check_percent(const struct fault_options *faults, size_t index, settings_report *report)
{
    uint64_t percent = 0;

    for (size_t i = 0; i <= index; i++)
        if (has_same_prefix(faults[i].prefix, faults[index].prefix))
            percent += faults[i].percent;
    if (percent > 100)
        settings_report_place(report, faults[index].place,
                              "faults.percent: %llu in all for the prefix '%s', which is over 100",
                              (unsigned long long)percent, faults[index].prefix);
}

static void check_faults(const struct proxy_options *options, settings_report *report)
{
    for (size_t i = 0; i < options->faults.count; i++)
        check_percent(options->faults.items, i, report);
    if (options->faults.count > 0 && !options->allow_faults)
        settings_report_place(report, options->faults_place,
                              "faults: refused without the flag --allow-faults");
}

static bool is_given(const settings_command *command, const char *key)
{
    return settings_source_of(&proxy_program, command, key) != SETTINGS_FROM_DEFAULT;
}

static void check_use(const struct proxy_options *options, const settings_command *command,
                      settings_report *report)
{
    if (options->forward_enabled && !is_given(command, "forward.allow"))
        settings_report_warning(report, options->forward_place,
                                "forward.allow is empty: no request is forwarded anywhere");
    if (!options->forward_enabled && options->reverse.count == 0 && report->count == 0)
        settings_report_warning(report, options->forward_place,
                                "nothing to do: neither is forward.enabled true, nor is there a "
                                "prefix in reverse");
}

void proxy_check(void *values, const settings_command *command, settings_report *report)
{
    struct proxy_options *options = values;
    struct self self;

    listen_settle(&options->listen, &proxy_program, command, report);
    bool is_good = self_init(&self, &options->listen.listen);
    if (is_good) {
        check_parent(options, &self, report);
        is_good = check_routes(options, &self, report);
        check_faults(options, report);
        check_use(options, command, report);
        self_release(&self);
    }
    if (!is_good)
        settings_report_no_memory(report, proxy_program.name);
}
