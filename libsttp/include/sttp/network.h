/* Internet addresses as access rules see them: ranges, and which addresses are global. Pure and
 * thread-safe. */
#ifndef STTP_NETWORK_H
#define STTP_NETWORK_H

#include <stdbool.h>

#include <sttp/base.h>
#include <sttp/status.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sockaddr;

/* A range of addresses. */
typedef struct sttp_network {
    unsigned char bytes[16]; /* in network order; IPv4: the first four, the others are zero */
    unsigned prefix;         /* the bits that count: 0 to 32 of IPv4, 0 to 128 of IPv6 */
    bool ipv6;
} sttp_network;

/* Reads "10.0.0.0/8", "192.0.2.1", "::1", "fd00::/8", "[fd00::]/8", "[::1]"; an address alone is
 * the range of that address. An IPv4 range mapped into IPv6, "::ffff:10.0.0.0/104", becomes the
 * IPv4 range.
 *
 *   STTP_OK           *network is filled.
 *   STTP_ERR_ADDRESS  anything else: another form of IPv4 than four decimal numbers, a zone, a
 *                     prefix that is too long, has a sign or a leading zero, or does not cover all
 *                     bits that are set ("10.0.0.1/8"). *network is unspecified. */
STTP_API sttp_status sttp_network_parse(sttp_slice text, sttp_network *network);

/* Whether the address is in the range. An IPv4 address that is mapped into IPv6 counts as IPv4: it
 * is in "10.0.0.0/8" and not in "::/0". false for every other family than AF_INET and AF_INET6. */
STTP_API bool sttp_network_contains(const sttp_network *network, const struct sockaddr *address);

/* Whether the address is global unicast: of a host that anybody could reach on the Internet. The
 * IANA registries of special-purpose addresses (RFC 6890 and what came after it) decide, and where
 * they are in doubt the answer is false. So it is false for
 *
 *   - IPv4: "this network" (0.0.0.0/8), private, shared (100.64.0.0/10), loopback, link-local,
 *     192.0.0.0/24, documentation, benchmarking, 6to4 relays, multicast, reserved, broadcast;
 *   - IPv6: everything outside of 2000::/3 (the unspecified address, loopback, IPv4-compatible,
 *     link-local, site-local, unique local, multicast, discard, NAT64 of local use 64:ff9b:1::/48),
 *     2001::/23 with Teredo in it, documentation;
 *   - IPv4 in IPv6 by mapping (::ffff:0:0/96), NAT64 (64:ff9b::/96) or 6to4 (2002::/16), where it
 * is false for the IPv4 address;
 *   - every other family than AF_INET and AF_INET6. */
STTP_API bool sttp_address_is_global(const struct sockaddr *address);

#ifdef __cplusplus
}
#endif

#endif
