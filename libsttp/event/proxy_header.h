/* Reading the header of the PROXY protocol, versions 1 and 2, as its specification by the HAProxy
 * project says. Pure. */
#ifndef STTP_EVENT_PROXY_HEADER_H
#define STTP_EVENT_PROXY_HEADER_H

#include <stdbool.h>
#include <stddef.h>

#include "address.h"

enum sttp__proxy_status {
    STTP__PROXY_OK,
    STTP__PROXY_NEED_MORE,
    STTP__PROXY_NO_HEADER, /* and all below: the connection is to be closed */
    STTP__PROXY_TOO_LONG,
    STTP__PROXY_LINE, /* of version 1 */
    STTP__PROXY_VERSION,
    STTP__PROXY_COMMAND,
    STTP__PROXY_FAMILY,
    STTP__PROXY_LENGTH,
    STTP__PROXY_FIELD,
    STTP__PROXY_CHECKSUM,
    STTP__PROXY_LOOPBACK /* what the header says is fine, but not from there: never by the parser */
};

enum {
    STTP__PROXY_LINE_MAX = 107, /* bytes of a header of version 1, with CR LF */
    STTP__PROXY_HEADER_MAX = 4096
};

struct sttp__proxy_header {
    bool told; /* it tells the client's address: else that of the connection itself counts */
    struct sttp__address client;
    unsigned char hops; /* 0 where it does not tell */
};

/* Looks at the first `size` bytes of a connection. STTP__PROXY_OK: *header is filled, *consumed is
 * its size. STTP__PROXY_NEED_MORE: call again with the same bytes and more of them; never said of
 * STTP__PROXY_HEADER_MAX bytes. */
enum sttp__proxy_status sttp__proxy_header_parse(const char *data, size_t size, size_t *consumed,
                                                 struct sttp__proxy_header *header);

/* What is wrong; NULL for the first two. Static memory. */
const char *sttp__proxy_status_text(enum sttp__proxy_status status);

#endif
