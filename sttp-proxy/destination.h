/* Where a server is, as the settings say it. */
#ifndef STTP_PROXY_DESTINATION_H
#define STTP_PROXY_DESTINATION_H

#include <stdbool.h>

#include <sttp/url.h>

enum { DESTINATION_PARENT_PORT = 3128 };

struct destination {
    char host[STTP_MAX_HOST + 1]; /* a name in lower case, or an address without brackets */
    char socket_path[STTP_MAX_SOCKET_PATH + 1]; /* empty where there is a host */
    uint16_t port;
};

/* Reads "127.0.0.1:8081", "[::1]:8082", "name:8080", "name" (port 8080) or "unix:/path". False
 * where it is none of these; *destination is unspecified then. */
bool destination_parse(const char *text, struct destination *destination);

/* The same of another proxy's URL: "sttp://10.0.0.2:3128", "sttp://name" (port 3128). */
bool destination_parse_parent(const char *text, struct destination *destination);

#endif
