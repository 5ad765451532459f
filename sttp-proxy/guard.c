#include "sttp-proxy/guard.h"

#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <sttp/network.h>

enum { MAX_NAME = 253, MAX_LABEL = 63, EVERY_PORT = 0 };

/* In lower case, without a final dot. */
struct name {
    size_t size;
    char text[MAX_NAME];
};

enum rule_kind { RULE_ALL_NAMES, RULE_NAME, RULE_BELOW_NAME, RULE_NETWORK };

struct rule {
    enum rule_kind kind;
    uint16_t port;
    struct name name;
    sttp_network network;
};

struct guard_rules {
    size_t client_count;
    sttp_network *clients;
    size_t rule_count;
    struct rule rules[];
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'f');
}

static bool is_name_character(char c)
{
    return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z') || c == '-' || c == '_';
}

static bool contains(sttp_slice text, char c)
{
    return memchr(text.data, c, text.size) != NULL;
}

static sttp_slice without_final_dot(sttp_slice text)
{
    if (text.size > 0 && text.data[text.size - 1] == '.')
        text.size--;
    return text;
}

/* Whether the last label is a number, decimal, octal or hexadecimal. inet_aton, with which many
 * resolvers begin, takes nothing else for an address. */
static bool ends_in_number(sttp_slice host)
{
    const char *dot;
    sttp_slice label = without_final_dot(host);
    bool hex;
    size_t i;

    dot = memrchr(label.data, '.', label.size);
    if (dot)
        label = (sttp_slice){dot + 1, label.size - (size_t)(dot + 1 - label.data)};
    hex = label.size >= 2 && label.data[0] == '0' && lower(label.data[1]) == 'x';
    i = hex ? 2 : 0;
    while (i < label.size && (hex ? is_hex(label.data[i]) : is_digit(label.data[i])))
        i++;
    return i == label.size;
}

static bool read_name(sttp_slice text, struct name *name)
{
    size_t label = 0;

    if (ends_in_number(text))
        return false;
    text = without_final_dot(text);
    if (text.size > MAX_NAME)
        return false;
    name->size = text.size;
    for (size_t i = 0; i < text.size; i++) {
        name->text[i] = lower(text.data[i]);
        if (text.data[i] == '.' ? label == 0
                                : !is_name_character(text.data[i]) || label == MAX_LABEL)
            return false;
        label = text.data[i] == '.' ? 0 : label + 1;
    }
    return label > 0;
}

static bool read_port(sttp_slice text, uint16_t *port)
{
    unsigned value = 0;

    *port = EVERY_PORT;
    if (text.size == 1 && text.data[0] == '*')
        return true;
    if (text.size == 0 || text.size > 5 || text.data[0] == '0')
        return false;
    for (size_t i = 0; i < text.size; i++) {
        if (!is_digit(text.data[i]))
            return false;
        value = value * 10 + (unsigned)(text.data[i] - '0');
    }
    *port = (uint16_t)value;
    return value <= UINT16_MAX;
}

static const char *read_network(sttp_slice host, struct rule *rule)
{
    rule->kind = RULE_NETWORK;
    if (sttp_network_parse(host, &rule->network) == STTP_OK)
        return NULL;
    if (host.data[0] == '[')
        return "not an IPv6 address or range as in [fd00::]/8 (without a zone, and with no bit set "
               "behind the prefix)";
    if (contains(host, '/'))
        return "not a range as in 10.0.0.0/8 (with no bit set behind the prefix)";
    return "not an IPv4 address of four decimal numbers";
}

static const char *read_pattern(sttp_slice host, struct rule *rule)
{
    sttp_slice name = host;

    rule->kind = RULE_NAME;
    if (host.size == 1 && host.data[0] == '*') {
        rule->kind = RULE_ALL_NAMES;
        return NULL;
    }
    if (host.size >= 2 && memcmp(host.data, "*.", 2) == 0) {
        rule->kind = RULE_BELOW_NAME;
        name = (sttp_slice){host.data + 2, host.size - 2};
    }
    if (read_name(name, &rule->name))
        return NULL;
    if (contains(host, '*'))
        return "a * stands for whole labels in front of a name, as in *.example.org";
    return "not a host name (letters, digits and hyphens between dots; international names in "
           "their xn-- form)";
}

static const char *read_host(sttp_slice host, struct rule *rule)
{
    if (host.size == 0)
        return "a host is missing";
    if (host.data[0] == '[' || contains(host, '/'))
        return read_network(host, rule);
    if (contains(host, ':'))
        return "an IPv6 address stands in brackets, as in [::1]:8080";
    return ends_in_number(host) ? read_network(host, rule) : read_pattern(host, rule);
}

/* NULL where `text` was read, or what is wrong. */
static const char *read_rule(sttp_slice text, struct rule *rule)
{
    const char *end = text.data + text.size;
    const char *bracket = memrchr(text.data, ']', text.size);
    const char *from = bracket ? bracket : text.data;
    const char *colon = memrchr(from, ':', (size_t)(end - from));

    if (memmem(text.data, text.size, "://", 3))
        return "a rule has no scheme: a host and a port, as in example.org:8080";
    if (!colon)
        return "a port is missing: :8080 behind the host, or :* for every port";
    if (!read_port((sttp_slice){colon + 1, (size_t)(end - colon) - 1}, &rule->port))
        return "the port is a number from 1 to 65535, or * for every port";
    return read_host((sttp_slice){text.data, (size_t)(colon - text.data)}, rule);
}

const char *guard_rule_mistake(sttp_slice rule)
{
    struct rule read;

    return read_rule(rule, &read);
}

guard_rules *guard_create(char *const *allow, size_t allow_count, char *const *clients,
                          size_t client_count)
{
    guard_rules *guard = calloc(1, sizeof *guard + allow_count * sizeof guard->rules[0] +
                                       client_count * sizeof guard->clients[0]);

    if (!guard)
        return NULL;
    guard->clients = (sttp_network *)&guard->rules[allow_count];
    for (size_t i = 0; i < allow_count; i++)
        if (!read_rule((sttp_slice){allow[i], strlen(allow[i])}, &guard->rules[guard->rule_count]))
            guard->rule_count++;
    for (size_t i = 0; i < client_count; i++)
        if (sttp_network_parse((sttp_slice){clients[i], strlen(clients[i])},
                               &guard->clients[guard->client_count]) == STTP_OK)
            guard->client_count++;
    return guard;
}

void guard_destroy(guard_rules *guard)
{
    free(guard);
}

bool guard_admits_client(const guard_rules *guard, const struct sockaddr *address)
{
    if (address->sa_family == AF_UNIX)
        return true;
    for (size_t i = 0; i < guard->client_count; i++)
        if (sttp_network_contains(&guard->clients[i], address))
            return true;
    return false;
}

static bool port_matches(const struct rule *rule, uint16_t port)
{
    return rule->port == EVERY_PORT || rule->port == port;
}

static bool name_matches(const struct rule *rule, const struct name *name)
{
    const struct name *wanted = &rule->name;
    size_t front = name->size - wanted->size; /* meaningless where the name is the shorter one */

    if (rule->kind == RULE_ALL_NAMES)
        return true;
    if (rule->kind == RULE_NETWORK || name->size < wanted->size ||
        memcmp(name->text + front, wanted->text, wanted->size) != 0)
        return false;
    return rule->kind == RULE_NAME ? front == 0 : front > 0 && name->text[front - 1] == '.';
}

static bool has_entry(const guard_rules *guard, const struct sockaddr *address, uint16_t port)
{
    for (size_t i = 0; i < guard->rule_count; i++) {
        const struct rule *rule = &guard->rules[i];

        if (rule->kind == RULE_NETWORK && port_matches(rule, port) &&
            sttp_network_contains(&rule->network, address))
            return true;
    }
    return false;
}

/* `network` is a single address. */
static guard_verdict judge_address(const guard_rules *guard, const sttp_network *network,
                                   uint16_t port)
{
    struct sockaddr_in ipv4 = {.sin_family = AF_INET};
    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6};
    const struct sockaddr *address = (const struct sockaddr *)&ipv4;

    memcpy(&ipv4.sin_addr, network->bytes, sizeof ipv4.sin_addr);
    memcpy(&ipv6.sin6_addr, network->bytes, sizeof ipv6.sin6_addr);
    if (network->ipv6)
        address = (const struct sockaddr *)&ipv6;
    return has_entry(guard, address, port) ? GUARD_LITERAL : GUARD_NO_RULE;
}

static guard_verdict judge_name(const guard_rules *guard, const struct name *name, uint16_t port)
{
    guard_verdict verdict = GUARD_NO_RULE;

    for (size_t i = 0; i < guard->rule_count; i++) {
        const struct rule *rule = &guard->rules[i];

        if (!port_matches(rule, port))
            continue;
        if (name_matches(rule, name))
            return GUARD_BY_NAME;
        if (rule->kind == RULE_NETWORK)
            verdict = GUARD_BY_ADDRESS;
    }
    return verdict;
}

guard_verdict guard_judge(const guard_rules *guard, sttp_slice host, uint16_t port)
{
    struct name name;
    sttp_network literal;

    if (read_name(host, &name))
        return judge_name(guard, &name, port);
    if (!contains(host, '/') && !contains(host, '[') &&
        sttp_network_parse(host, &literal) == STTP_OK)
        return judge_address(guard, &literal, port);
    return GUARD_NO_HOST;
}

bool guard_admits_address(const guard_rules *guard, guard_verdict verdict,
                          const struct sockaddr *address, uint16_t port)
{
    if (verdict == GUARD_NO_HOST || verdict == GUARD_NO_RULE)
        return false;
    if (verdict == GUARD_BY_NAME && sttp_address_is_global(address))
        return true;
    return has_entry(guard, address, port);
}

const char *guard_reason(guard_verdict verdict)
{
    switch (verdict) {
    case GUARD_NO_HOST:
        return "neither a host name nor an address in its plain form";
    case GUARD_NO_RULE:
        return "no rule for this host and port";
    case GUARD_BY_ADDRESS:
        return "no rule for the name, and none for its address";
    case GUARD_BY_NAME:
        return "not a global address, and no rule for it by address";
    case GUARD_LITERAL:
        return "no rule for this address";
    }
    return "";
}
