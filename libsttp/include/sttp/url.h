/* URLs: parse, build, normalise, compare. Follows docs/protocol.md, section 6, and RFC 3986
 * (syntax), RFC 6874 (IPv6 zones). Pure and thread-safe.
 *
 *     sttp://host[:port]/path[?query]          TCP, default port 8080
 *     sttps://host[:port]/path[?query]         the same inside TLS, default port 8443
 *     sttp+unix:/socket/path:/path[?query]     a Unix socket */
#ifndef STTP_URL_H
#define STTP_URL_H

#include <sttp/message.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sttp_scheme { STTP_SCHEME_STTP = 0, STTP_SCHEME_STTPS, STTP_SCHEME_UNIX } sttp_scheme;

enum {
    STTP_MAX_HOST = 255,       /* bytes of a host name, or of an IPv6 address with its zone */
    STTP_MAX_SOCKET_PATH = 107 /* bytes: what sockaddr_un holds */
};

/* The parts of a URL, decoded: what goes into a request and into a connection. */
typedef struct sttp_url {
    sttp_scheme scheme;
    sttp_slice host;   /* lower case; an IPv6 address without brackets, its zone behind "%":
                          "fe80::1%eth0";   data is NULL for sttp+unix */
    uint16_t port;     /* the scheme's default where none is given; 0 for sttp+unix */
    sttp_slice socket; /* sttp+unix: the socket's path; else data is NULL */
    sttp_slice path;   /* percent-decoded once; "/" where a URL has none ("sttp://host") */
    sttp_slice query;  /* as it stands, not decoded; data is NULL where there is no "?" */
} sttp_url;

/* Reads `text`, as a person gives it, into *url. The parts are written to `buffer` of `capacity`
 * bytes and *url points into it; `text.size` bytes are always enough, less is STTP_ERR_BUFFER.
 * Every mistake has a status of its own, STTP_ERR_URL_*; STTP_ERR_UTF8 for bytes that are not valid
 * UTF-8. *offset (may be NULL) is where in `text` it stands. The path is decoded, and checked only
 * for what could not stand in any request target (a space, a control character, "?", invalid
 * UTF-8): its further rules depend on the action, see sttp_check_path. */
STTP_API sttp_status sttp_url_parse(sttp_slice text, char *buffer, size_t capacity, sttp_url *url,
                                    size_t *offset);

/* Reads what a request to a forward proxy has before its path (sttp_request.origin): a scheme, a
 * host, maybe a port, and nothing behind them. As sttp_url_parse does it, but for the path, which
 * stays without data, and for sttp+unix:, which is STTP_ERR_URL_SCHEME. */
STTP_API sttp_status sttp_origin_parse(sttp_slice origin, char *buffer, size_t capacity,
                                       sttp_url *url, size_t *offset);

/* Writes the normal form of `url`: scheme and host in lower case, no default port, an IPv6 address
 * as RFC 5952 writes it, its zone behind "%25", and percent signs only where the path needs them.
 * Returns STTP_OK, STTP_ERR_BUFFER (*size is what is needed; `buffer` may be NULL where `capacity`
 * is 0), or what sttp_url_parse would say of such a part. No zero byte is added. sttp_url_parse of
 * the result gives an equal URL. */
STTP_API sttp_status sttp_url_build(const sttp_url *url, char *buffer, size_t capacity,
                                    size_t *size);

/* Whether two URLs name the same thing: scheme, host (case-insensitive; IPv6 by value, zones
 * literally), port or socket, path and query byte for byte. */
STTP_API bool sttp_url_equal(const sttp_url *a, const sttp_url *b);

#ifdef __cplusplus
}
#endif

#endif
