/* Headers of the PROXY protocol: bytes that come in pieces mean what they mean in one, what follows
 * a header changes nothing, the bounds of its size hold, and what is accepted survives the writer.
 */
#include <arpa/inet.h>
#include <netinet/in.h>

#include <sttp/proxy_header.h>

#include "libsttp/event/proxy_header.h"

#include "property.h"

struct result {
    enum sttp__proxy_status status;
    size_t consumed;
    struct sttp__proxy_header header;
};

static struct result parse(const char *data, size_t size)
{
    struct result result;
    char *copy = exact_copy(data, size);

    result.status = sttp__proxy_header_parse(copy, size, &result.consumed, &result.header);
    free(copy);
    return result;
}

static bool headers_equal(const struct sttp__proxy_header *a, const struct sttp__proxy_header *b)
{
    return a->told == b->told && a->hops == b->hops && a->client.family == b->client.family &&
           a->client.port == b->client.port && a->client.scope == b->client.scope &&
           memcmp(a->client.bytes, b->client.bytes, sizeof(a->client.bytes)) == 0;
}

static bool results_equal(const struct result *a, const struct result *b)
{
    return a->status == b->status &&
           (a->status != STTP__PROXY_OK ||
            (a->consumed == b->consumed && headers_equal(&a->header, &b->header)));
}

static void check_bytewise(const char *data, size_t size, const struct result *whole)
{
    struct result result = {.status = STTP__PROXY_NEED_MORE};

    for (size_t given = 0; given < size && result.status == STTP__PROXY_NEED_MORE;) {
        given += next_step(given, size);
        result = parse(data, given);
    }
    require(results_equal(whole, &result), "single bytes change nothing");
}

static void check_size(const struct result *result, const char *data, size_t size)
{
    bool v1 = data[0] == 'P';

    require(result->consumed <= size, "no more is consumed than there is");
    require(result->consumed <= (v1 ? STTP__PROXY_LINE_MAX : STTP__PROXY_HEADER_MAX),
            "a header has a bound");
    require(!v1 || memcmp(data + result->consumed - 2, "\r\n", 2) == 0, "a line ends as it should");
    struct result alone = parse(data, result->consumed);
    require(results_equal(result, &alone), "what follows changes nothing");
    alone = parse(data, result->consumed - 1);
    require(alone.status == STTP__PROXY_NEED_MORE, "all bytes are needed");
}

static struct sockaddr_storage socket_address(const struct sttp__address *address)
{
    struct sockaddr_storage made = {.ss_family = address->family};
    struct sockaddr_in *in = (struct sockaddr_in *)&made;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&made;

    if (address->family == AF_INET) {
        memcpy(&in->sin_addr, address->bytes + 12, 4);
        in->sin_port = htons(address->port);
    } else if (address->family == AF_INET6) {
        memcpy(&in6->sin6_addr, address->bytes, 16);
        in6->sin6_port = htons(address->port);
    }
    return made;
}

static void check_trip(const struct sttp__proxy_header *header, int destination_family)
{
    struct sockaddr_storage source = socket_address(&header->client);
    struct sockaddr_storage destination = {.ss_family = (sa_family_t)destination_family};
    char buffer[STTP_PROXY_HEADER_ROOM];
    size_t size = sttp_proxy_header_write(buffer, (struct sockaddr *)&source,
                                          (struct sockaddr *)&destination, header->hops);
    struct result again = parse(buffer, size);

    require(size <= sizeof(buffer), "there is room");
    require(again.status == STTP__PROXY_OK && again.consumed == size, "what is written is read");
    require(again.header.hops == header->hops, "hops survive");
    if (header->told && header->client.family != AF_UNIX)
        require(headers_equal(&again.header, header), "addresses survive");
    else
        require(!again.header.told, "no address is told");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *data = (const char *)bytes;
    struct result result = parse(data, size);

    require(result.status != STTP__PROXY_LOOPBACK, "the parser knows no peer");
    require(result.status != STTP__PROXY_NEED_MORE || size < STTP__PROXY_HEADER_MAX,
            "it is known in time");
    require((sttp__proxy_status_text(result.status) == NULL) ==
                (result.status == STTP__PROXY_OK || result.status == STTP__PROXY_NEED_MORE),
            "what is refused is explained");
    check_bytewise(data, size, &result);
    if (result.status != STTP__PROXY_OK)
        return 0;
    check_size(&result, data, size);
    check_trip(&result.header, AF_INET);
    check_trip(&result.header, AF_INET6);
    return 0;
}
