/* Ranges of addresses. An IPv4 address that is mapped into IPv6 is made an IPv4 address wherever
 * one comes in, since a socket that connects to it connects to the IPv4 address. */
#include <sttp/network.h>

#include <netinet/in.h>
#include <string.h>

#include "ascii.h"
#include "host.h"

enum { IPV4_BITS = 32, IPV6_BITS = 128, MAPPED_BITS = 96 };

/* The IANA registry of special-purpose IPv4 addresses, and multicast. What the registry takes out
 * of 192.0.0.0/24 are services of the network, not hosts. */
static const sttp_network special_ipv4[] = {
    {.bytes = {0}, .prefix = 8},             /* this network */
    {.bytes = {10}, .prefix = 8},            /* private */
    {.bytes = {100, 64}, .prefix = 10},      /* shared */
    {.bytes = {127}, .prefix = 8},           /* loopback */
    {.bytes = {169, 254}, .prefix = 16},     /* link-local */
    {.bytes = {172, 16}, .prefix = 12},      /* private */
    {.bytes = {192, 0, 0}, .prefix = 24},    /* protocol assignments */
    {.bytes = {192, 0, 2}, .prefix = 24},    /* documentation */
    {.bytes = {192, 88, 99}, .prefix = 24},  /* 6to4 relays */
    {.bytes = {192, 168}, .prefix = 16},     /* private */
    {.bytes = {198, 18}, .prefix = 15},      /* benchmarking */
    {.bytes = {198, 51, 100}, .prefix = 24}, /* documentation */
    {.bytes = {203, 0, 113}, .prefix = 24},  /* documentation */
    {.bytes = {224}, .prefix = 4},           /* multicast */
    {.bytes = {240}, .prefix = 4},           /* reserved, broadcast */
};

/* Within 2000::/3. */
static const sttp_network special_ipv6[] = {
    {.bytes = {0x20, 0x01}, .prefix = 23, .ipv6 = true},             /* protocols; Teredo */
    {.bytes = {0x20, 0x01, 0x0d, 0xb8}, .prefix = 32, .ipv6 = true}, /* documentation */
    {.bytes = {0x3f, 0xff}, .prefix = 20, .ipv6 = true},             /* documentation */
};

static const sttp_network global_ipv6 = {.bytes = {0x20}, .prefix = 3, .ipv6 = true};
static const sttp_network mapped = {
    .bytes = {[10] = 0xff, [11] = 0xff}, .prefix = MAPPED_BITS, .ipv6 = true};
static const sttp_network nat64 = {.bytes = {0x00, 0x64, 0xff, 0x9b}, .prefix = 96, .ipv6 = true};
static const sttp_network six_to_four = {.bytes = {0x20, 0x02}, .prefix = 16, .ipv6 = true};

/* Whether the first `bits` bits are equal. */
static bool bits_equal(const unsigned char *a, const unsigned char *b, unsigned bits)
{
    unsigned whole = bits / 8;
    unsigned rest = bits % 8;

    return memcmp(a, b, whole) == 0 && (rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0);
}

/* Whether `part` is within `network`. */
static bool covers(const sttp_network *network, const sttp_network *part)
{
    return network->ipv6 == part->ipv6 && network->prefix <= part->prefix &&
           bits_equal(network->bytes, part->bytes, network->prefix);
}

static bool any_covers(const sttp_network *networks, size_t count, const sttp_network *part)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (covers(&networks[i], part))
            return true;
    }
    return false;
}

/* The IPv4 address that stands in an IPv6 one from byte `at`. */
static sttp_network embedded(const sttp_network *address, size_t at)
{
    sttp_network ipv4 = {.prefix = IPV4_BITS};

    memcpy(ipv4.bytes, address->bytes + at, IPV4_BITS / 8);
    return ipv4;
}

static sttp_network unmapped(const sttp_network *network)
{
    sttp_network ipv4;

    if (!covers(&mapped, network))
        return *network;
    ipv4 = embedded(network, MAPPED_BITS / 8);
    ipv4.prefix = network->prefix - MAPPED_BITS;
    return ipv4;
}

static bool read_sockaddr(const struct sockaddr *from, sttp_network *address)
{
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;

    *address = (sttp_network){.prefix = IPV4_BITS};
    if (from->sa_family == AF_INET) {
        memcpy(&ipv4, from, sizeof ipv4);
        memcpy(address->bytes, &ipv4.sin_addr, sizeof ipv4.sin_addr);
        return true;
    }
    if (from->sa_family != AF_INET6)
        return false;
    memcpy(&ipv6, from, sizeof ipv6);
    memcpy(address->bytes, &ipv6.sin6_addr, sizeof ipv6.sin6_addr);
    address->prefix = IPV6_BITS;
    address->ipv6 = true;
    *address = unmapped(address);
    return true;
}

static bool read_address(sttp_slice text, sttp_network *address)
{
    bool brackets = text.size >= 2 && text.data[0] == '[' && text.data[text.size - 1] == ']';

    *address = (sttp_network){.prefix = IPV4_BITS};
    if (text.size == 0)
        return false;
    if (!brackets && sttp__ipv4_value(text, address->bytes))
        return true;
    if (brackets)
        text = (sttp_slice){text.data + 1, text.size - 2};
    address->prefix = IPV6_BITS;
    address->ipv6 = true;
    return sttp__ipv6_zone(text).size == 0 && sttp__ipv6_value(text, address->bytes);
}

static bool read_prefix(sttp_slice text, unsigned maximum, unsigned *prefix)
{
    size_t i;

    if (text.size == 0 || text.size > 3 || (text.size > 1 && text.data[0] == '0'))
        return false;
    *prefix = 0;
    for (i = 0; i < text.size; i++) {
        if (!sttp__is_digit(text.data[i]))
            return false;
        *prefix = 10 * *prefix + (unsigned)(text.data[i] - '0');
    }
    return *prefix <= maximum;
}

static bool has_host_bits(const sttp_network *network)
{
    unsigned i;

    for (i = network->prefix; i < IPV6_BITS; i++) {
        if (network->bytes[i / 8] >> (7 - i % 8) & 1)
            return true;
    }
    return false;
}

sttp_status sttp_network_parse(sttp_slice text, sttp_network *network)
{
    const char *slash = text.size > 0 ? memchr(text.data, '/', text.size) : NULL;
    size_t size = slash ? (size_t)(slash - text.data) : text.size;

    if (!read_address((sttp_slice){text.data, size}, network))
        return STTP_ERR_ADDRESS;
    if (slash && !read_prefix((sttp_slice){slash + 1, text.size - size - 1}, network->prefix,
                              &network->prefix))
        return STTP_ERR_ADDRESS;
    if (has_host_bits(network))
        return STTP_ERR_ADDRESS;
    *network = unmapped(network);
    return STTP_OK;
}

bool sttp_network_contains(const sttp_network *network, const struct sockaddr *address)
{
    sttp_network single;

    return read_sockaddr(address, &single) && covers(network, &single);
}

static bool ipv4_is_global(const sttp_network *address)
{
    return !any_covers(special_ipv4, sizeof special_ipv4 / sizeof *special_ipv4, address);
}

bool sttp_address_is_global(const struct sockaddr *from)
{
    sttp_network address, ipv4;

    if (!read_sockaddr(from, &address))
        return false;
    if (!address.ipv6)
        return ipv4_is_global(&address);
    if (covers(&nat64, &address)) {
        ipv4 = embedded(&address, 12);
        return ipv4_is_global(&ipv4);
    }
    if (covers(&six_to_four, &address)) {
        ipv4 = embedded(&address, 2);
        return ipv4_is_global(&ipv4);
    }
    return covers(&global_ipv6, &address) &&
           !any_covers(special_ipv6, sizeof special_ipv6 / sizeof *special_ipv6, &address);
}
