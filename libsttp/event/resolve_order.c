/* The order of RFC 6724, section 6, without the rules that need to know of deprecated and of home
 * addresses, or of tunnels. Which source address the kernel would take for a destination is what a
 * UDP socket has after connect, for which nothing is sent. */
#include <arpa/inet.h>
#include <string.h>
#include <unistd.h>

#include "resolve_private.h"

enum { SCOPE_LINK = 2, SCOPE_SITE = 5, SCOPE_GLOBAL = 14, SOURCE_PREFIX_BITS = 64 };

typedef struct candidate {
    sttp__inet_address address;
    struct in6_addr destination, source;
    bool reachable; /* there is a source address, and so a route */
    unsigned scope;
    bool same_scope, same_label;
    unsigned precedence;
    unsigned common_bits;
} candidate;

/* The default policy table, section 2.1, the longest prefix first. */
static const struct policy {
    unsigned char prefix[16];
    unsigned bits, precedence, label;
} policies[] = {
    {{[15] = 1}, 128, 50, 0},                /* ::1 */
    {{[10] = 0xff, [11] = 0xff}, 96, 35, 4}, /* IPv4 */
    {{0}, 96, 1, 3},                         /* ::a.b.c.d */
    {{0x20, 0x01}, 32, 5, 5},                /* Teredo */
    {{0x20, 0x02}, 16, 30, 2},               /* 6to4 */
    {{0x3f, 0xfe}, 16, 1, 12},               /* 6bone */
    {{0xfe, 0xc0}, 10, 1, 11},               /* site-local */
    {{0xfc}, 7, 3, 13},                      /* unique local */
    {{0}, 0, 40, 1},
};

static unsigned common_bits(const unsigned char *a, const unsigned char *b)
{
    unsigned bits = 0;

    while (bits < 128 && ((a[bits / 8] ^ b[bits / 8]) & (0x80 >> (bits % 8))) == 0)
        bits++;
    return bits;
}

static const struct policy *policy_of(const struct in6_addr *address)
{
    const struct policy *policy = policies;

    while (common_bits(policy->prefix, address->s6_addr) < policy->bits)
        policy++;
    return policy;
}

static unsigned scope_of(const struct in6_addr *address)
{
    const unsigned char *bytes = address->s6_addr;

    if (IN6_IS_ADDR_V4MAPPED(address))
        return bytes[12] == 127 || (bytes[12] == 169 && bytes[13] == 254) ? SCOPE_LINK
                                                                          : SCOPE_GLOBAL;
    if (IN6_IS_ADDR_MULTICAST(address))
        return bytes[1] & 15;
    if (IN6_IS_ADDR_LINKLOCAL(address) || IN6_IS_ADDR_LOOPBACK(address))
        return SCOPE_LINK;
    return IN6_IS_ADDR_SITELOCAL(address) ? SCOPE_SITE : SCOPE_GLOBAL;
}

/* IPv4 addresses are compared as mapped ones. */
static struct in6_addr as_ipv6(const sttp__inet_address *address)
{
    struct in6_addr mapped = IN6ADDR_ANY_INIT;

    if (address->any.sa_family == AF_INET6)
        return address->ipv6.sin6_addr;
    memset(mapped.s6_addr + 10, 0xff, 2);
    memcpy(mapped.s6_addr + 12, &address->ipv4.sin_addr, 4);
    return mapped;
}

static bool find_source(const sttp__inet_address *to, struct in6_addr *source)
{
    int fd = socket(to->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sttp__inet_address target = *to, own = {.any.sa_family = AF_UNSPEC};
    socklen_t size = sizeof own;
    bool found;

    if (fd < 0)
        return false;
    if (to->any.sa_family == AF_INET6) /* some kernels want a port, any */
        target.ipv6.sin6_port = htons(9);
    else
        target.ipv4.sin_port = htons(9);
    found = connect(fd, &target.any, sizeof target) == 0 && getsockname(fd, &own.any, &size) == 0;
    close(fd);
    if (found)
        *source = as_ipv6(&own);
    return found;
}

static candidate candidate_of(const sttp__inet_address *address)
{
    candidate c = {.address = *address, .destination = as_ipv6(address)};
    const struct policy *policy = policy_of(&c.destination);

    c.scope = scope_of(&c.destination);
    c.precedence = policy->precedence;
    c.reachable = find_source(address, &c.source);
    if (!c.reachable)
        return c;
    c.same_scope = scope_of(&c.source) == c.scope;
    c.same_label = policy_of(&c.source)->label == policy->label;
    if (address->any.sa_family == AF_INET6) {
        c.common_bits = common_bits(c.source.s6_addr, c.destination.s6_addr);
        if (c.common_bits > SOURCE_PREFIX_BITS)
            c.common_bits = SOURCE_PREFIX_BITS;
    }
    return c;
}

static bool goes_before(const candidate *a, const candidate *b)
{
    if (a->reachable != b->reachable)
        return a->reachable;
    if (a->same_scope != b->same_scope)
        return a->same_scope;
    if (a->same_label != b->same_label)
        return a->same_label;
    if (a->precedence != b->precedence)
        return a->precedence > b->precedence;
    if (a->scope != b->scope)
        return a->scope < b->scope;
    return a->address.any.sa_family == b->address.any.sa_family && a->common_bits > b->common_bits;
}

static void insert(candidate *sorted, size_t count, candidate c)
{
    size_t at = count;

    for (; at > 0 && goes_before(&c, &sorted[at - 1]); at--)
        sorted[at] = sorted[at - 1];
    sorted[at] = c;
}

/* The next one from `at` on whose family is `family`, or is not. */
static size_t next_of(const candidate *sorted, size_t at, size_t count, int family, bool same)
{
    while (at < count && (sorted[at].address.any.sa_family == family) != same)
        at++;
    return at;
}

void sttp__addresses_order(sttp__inet_address *addresses, size_t count)
{
    candidate sorted[STTP__ADDRESSES_MAX];
    size_t at[2], to = 0;
    int family;

    if (count < 2)
        return;
    for (size_t i = 0; i < count; i++)
        insert(sorted, i, candidate_of(&addresses[i]));
    family = sorted[0].address.any.sa_family;
    for (size_t turn = 0; turn < 2; turn++)
        at[turn] = next_of(sorted, 0, count, family, turn == 0);
    for (size_t turn = 0; to < count; turn = !turn) {
        if (at[turn] == count)
            continue;
        addresses[to++] = sorted[at[turn]].address;
        at[turn] = next_of(sorted, at[turn] + 1, count, family, turn == 0);
    }
}
