/* Hosts as sttp_url.host holds them: "example.org", "192.0.2.1", "fe80::1%eth0". */
#ifndef STTP_SRC_HOST_H
#define STTP_SRC_HOST_H

#include <sttp/message.h>

enum {
    STTP__IPV4_SIZE = 4, /* bytes of an address */
    STTP__IPV6_SIZE = 16,
    STTP__IPV6_TEXT_SIZE = 40, /* the longest text, its zero byte included */
};

/* Whether `host` is an IPv6 address rather than a name or an IPv4 address. */
bool sttp__host_is_ipv6(sttp_slice host);

/* STTP_OK, STTP_ERR_URL_HOST, STTP_ERR_URL_IPV6 or STTP_ERR_URL_ZONE; *at is the place. */
sttp_status sttp__check_host(sttp_slice host, size_t *at);

/* The address that four decimal numbers spell; false where `host` is no such. */
bool sttp__ipv4_value(sttp_slice host, unsigned char value[STTP__IPV4_SIZE]);

/* The address itself, whatever zone follows; false where it is none. */
bool sttp__ipv6_value(sttp_slice host, unsigned char value[STTP__IPV6_SIZE]);

/* "%eth0" of "fe80::1%eth0", or an empty slice. */
sttp_slice sttp__ipv6_zone(sttp_slice host);

/* Writes the address as RFC 5952 has it, ended by a zero byte; returns its length. */
size_t sttp__ipv6_text(const unsigned char value[STTP__IPV6_SIZE], char text[STTP__IPV6_TEXT_SIZE]);

#endif
