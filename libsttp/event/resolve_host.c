#include <arpa/inet.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include <sttp/url.h>

#include "resolve_private.h"

enum { LONGEST_NAME = 253 }; /* without the dot at its end */

static bool parse_zone(const char *zone, sttp__inet_address *address)
{
    char *end;
    unsigned long number = strtoul(zone, &end, 10);

    address->ipv6.sin6_scope_id = if_nametoindex(zone);
    if (address->ipv6.sin6_scope_id == 0 && *zone >= '0' && *zone <= '9' && *end == '\0' &&
        number <= UINT32_MAX)
        address->ipv6.sin6_scope_id = (uint32_t)number;
    return address->ipv6.sin6_scope_id != 0;
}

bool sttp__inet_address_parse(const char *text, sttp__inet_address *address)
{
    const char *zone = strchr(text, '%');
    size_t size = zone ? (size_t)(zone - text) : strlen(text);
    char host[INET6_ADDRSTRLEN];

    memset(address, 0, sizeof *address);
    if (size >= sizeof host)
        return false;
    memcpy(host, text, size);
    host[size] = '\0';
    if (!zone && inet_pton(AF_INET, host, &address->ipv4.sin_addr) == 1) {
        address->ipv4.sin_family = AF_INET;
        return true;
    }
    address->ipv6.sin6_family = AF_INET6;
    return inet_pton(AF_INET6, host, &address->ipv6.sin6_addr) == 1 &&
           (!zone || parse_zone(zone + 1, address));
}

bool sttp__host_is_localhost(const char *host)
{
    static const char name[] = "localhost";
    const size_t name_size = sizeof name - 1;
    size_t size = strlen(host);

    if (size > 0 && host[size - 1] == '.')
        size--;
    return size >= name_size && memcmp(host + size - name_size, name, name_size) == 0 &&
           (size == name_size || host[size - name_size - 1] == '.');
}

bool sttp__host_is_name(const char *host)
{
    const sttp_url url = {.scheme = STTP_SCHEME_STTP,
                          .host = {host, strlen(host)},
                          .port = 1,
                          .path = STTP_SLICE("/")};
    size_t size = url.host.size;

    if (size > 0 && host[size - 1] == '.')
        size--;
    return size <= LONGEST_NAME && strchr(host, ':') == NULL &&
           sttp_url_build(&url, NULL, 0, &size) == STTP_ERR_BUFFER;
}

/* ":53", or nothing. */
static bool is_port(const char *text)
{
    size_t digits = *text == ':' ? strspn(text + 1, "0123456789") : 0;
    unsigned long port;

    if (*text == '\0')
        return true;
    port = digits > 0 && digits <= 5 ? strtoul(text + 1, NULL, 10) : 0;
    return port > 0 && port <= UINT16_MAX && text[1 + digits] == '\0';
}

/* "192.0.2.1:53", "[::1]:53", "::1". */
static bool is_server(char *text)
{
    char *colon = strchr(text, ':'), *bracket = strchr(text, ']');
    sttp__inet_address address;

    if (strchr(text, '%')) /* c-ares has no zones */
        return false;
    if (*text == '[') {
        if (!bracket || !is_port(bracket + 1))
            return false;
        *bracket = '\0';
        return sttp__inet_address_parse(text + 1, &address) && address.any.sa_family == AF_INET6;
    }
    if (colon && !strchr(colon + 1, ':')) {
        if (!is_port(colon))
            return false;
        *colon = '\0';
    }
    return sttp__inet_address_parse(text, &address);
}

bool sttp__dns_servers_are_good(const char *list)
{
    char server[INET6_ADDRSTRLEN + sizeof "[]:65535"];
    size_t size;

    for (;; list += size + 1) {
        size = strcspn(list, ",");
        if (size >= sizeof server)
            return false;
        memcpy(server, list, size);
        server[size] = '\0';
        if (!is_server(server))
            return false;
        if (list[size] == '\0')
            return true;
    }
}
