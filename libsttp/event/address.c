#include "address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

struct sttp__address sttp__address_of(const struct sockaddr_storage *from)
{
    struct sttp__address address = {.family = from->ss_family};
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)from;
        memset(address.bytes + 10, 0xff, 2);
        memcpy(address.bytes + 12, &in->sin_addr, 4);
        address.port = ntohs(in->sin_port);
    } else if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;
        memcpy(address.bytes, &in6->sin6_addr, 16);
        address.scope = in6->sin6_scope_id;
        address.port = ntohs(in6->sin6_port);
    } else {
        address.family = AF_UNIX;
    }
    return address;
}

void sttp__address_to(const struct sttp__address *address, struct sockaddr_storage *to)
{
    memset(to, 0, sizeof *to);
    to->ss_family = address->family;
    if (address->family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)to;
        memcpy(&in->sin_addr, address->bytes + 12, 4);
        in->sin_port = htons(address->port);
    } else if (address->family == AF_INET6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;
        memcpy(&in6->sin6_addr, address->bytes, 16);
        in6->sin6_scope_id = address->scope;
        in6->sin6_port = htons(address->port);
    }
}

bool sttp__address_is_local(const struct sttp__address *address)
{
    if (address->family == AF_INET)
        return address->bytes[12] == 127;
    if (address->family == AF_INET6)
        return memcmp(address->bytes, &in6addr_loopback, sizeof address->bytes) == 0;
    return true;
}

void sttp__address_format(const struct sttp__address *address, char *text)
{
    char host[INET6_ADDRSTRLEN] = "";
    if (address->family == AF_INET) {
        inet_ntop(AF_INET, address->bytes + 12, host, sizeof host);
        snprintf(text, STTP__ADDRESS_TEXT, "%s:%u", host, (unsigned)address->port);
    } else if (address->family == AF_INET6) {
        char scope[16] = "";
        if (address->scope != 0)
            snprintf(scope, sizeof scope, "%%%u", (unsigned)address->scope);
        inet_ntop(AF_INET6, address->bytes, host, sizeof host);
        snprintf(text, STTP__ADDRESS_TEXT, "[%s%s]:%u", host, scope, (unsigned)address->port);
    } else {
        snprintf(text, STTP__ADDRESS_TEXT, "unix");
    }
}

/* A decimal number up to 65,535, nothing else around it. */
static bool parse_port(const char *text, in_port_t *port)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits] != '\0')
        return false;
    unsigned number = 0;
    for (; *text != '\0'; text++)
        number = number * 10 + (unsigned)(*text - '0');
    *port = htons((uint16_t)number);
    return number <= UINT16_MAX;
}

static bool parse_ipv4(const char *host, struct sockaddr_storage *address)
{
    struct sockaddr_in *in = (struct sockaddr_in *)address;
    in->sin_family = AF_INET;
    return inet_pton(AF_INET, host, &in->sin_addr) == 1;
}

/* getaddrinfo, because it alone knows zones: "fe80::1%eth0". */
static bool parse_ipv6(const char *host, struct sockaddr_storage *address)
{
    struct addrinfo hints = {
        .ai_family = AF_INET6, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *found;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return false;
    memcpy(address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return true;
}

sttp_status sttp__address_parse(const char *text, struct sockaddr_storage *address, socklen_t *size)
{
    bool ipv6 = text[0] == '[';
    const char *start = text + ipv6;
    const char *end = ipv6 ? strstr(start, "]:") : strrchr(start, ':');
    char host[INET6_ADDRSTRLEN + 32]; /* with a zone */
    if (end == NULL || (size_t)(end - start) >= sizeof host)
        return STTP_ERR_ADDRESS;
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    memset(address, 0, sizeof *address);
    in_port_t port;
    if (!parse_port(end + 1 + ipv6, &port))
        return STTP_ERR_ADDRESS;
    if (!(ipv6 ? parse_ipv6(host, address) : parse_ipv4(host, address)))
        return STTP_ERR_ADDRESS;
    if (ipv6)
        ((struct sockaddr_in6 *)address)->sin6_port = port;
    else
        ((struct sockaddr_in *)address)->sin_port = port;
    *size = ipv6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    return STTP_OK;
}
