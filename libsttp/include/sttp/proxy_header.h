/* The header of the PROXY protocol, version 2, that a proxy sends before the first request of a
 * connection, to a server that trusts it (sttp_listener_options.proxy_protocol). In libsttp-event.
 * Pure and thread-safe. */
#ifndef STTP_PROXY_HEADER_H
#define STTP_PROXY_HEADER_H

#include <stdint.h>

#include <sttp/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sockaddr;

/* The type of the field (TLV), in the range for custom ones, that tells how many proxies the
 * connection has behind it: one byte. */
enum { STTP_PROXY_HEADER_HOPS = 0xe5 };

/* Bytes that are enough for any header that sttp_proxy_header_write makes. */
enum { STTP_PROXY_HEADER_ROOM = 56 };

/* Writes a header with the number of hops into `buffer`, which has STTP_PROXY_HEADER_ROOM bytes.
 * `source` is the client's address and `destination` the one that it has connected to; where they
 * are of different families, both are written as IPv6. Where either is NULL or of another family
 * than AF_INET and AF_INET6, the header tells no addresses, and those of the connection itself
 * count. Returns the header's size. */
STTP_API size_t sttp_proxy_header_write(char *buffer, const struct sockaddr *source,
                                        const struct sockaddr *destination, uint8_t hops);

#ifdef __cplusplus
}
#endif

#endif
