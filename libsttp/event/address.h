/* Addresses as text and as the kernel has them. */
#ifndef STTP_EVENT_ADDRESS_H
#define STTP_EVENT_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include <sttp/status.h>

/* The far or the near end of a connection, small enough to be kept with each. */
struct sttp__address {
    unsigned char bytes[16]; /* IPv6, or IPv4 mapped into it: one address has one form */
    uint32_t scope;          /* of an IPv6 address, 0 for none */
    uint16_t port;
    uint16_t family; /* AF_UNIX: all else is zero */
};

enum { STTP__ADDRESS_TEXT = 80 }; /* bytes that are enough for any sttp__address_format */

struct sttp__address sttp__address_of(const struct sockaddr_storage *from);

/* The other way round. */
void sttp__address_to(const struct sttp__address *address, struct sockaddr_storage *to);

/* Whether it is one of this host, whatever host that is: a loopback address or a Unix socket. */
bool sttp__address_is_local(const struct sttp__address *address);

/* "127.0.0.1:8080", "[::1]:8080", "[fe80::1%2]:8080", "unix". */
void sttp__address_format(const struct sttp__address *address, char *text);

/* Reads "127.0.0.1:8080" or "[::1]:8080". STTP_OK or STTP_ERR_ADDRESS. */
sttp_status sttp__address_parse(const char *text, struct sockaddr_storage *address,
                                socklen_t *size);

#endif
