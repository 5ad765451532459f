#include "proxy_header.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include <sttp/proxy_header.h>

/* ---- what both versions share ---- */

static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

/* The address in its one form: an IPv4 one that is mapped into IPv6 is IPv4. */
static struct sttp__address address_from(int family, const void *bytes, uint16_t port)
{
    struct sttp__address address = {.family = (uint16_t)family, .port = port};
    if (family == AF_INET) {
        memcpy(address.bytes, mapped, sizeof mapped);
        memcpy(address.bytes + sizeof mapped, bytes, 4);
    } else {
        memcpy(address.bytes, bytes, 16);
        if (memcmp(address.bytes, mapped, sizeof mapped) == 0)
            address.family = AF_INET;
    }
    return address;
}

/* Whether the bytes begin as the prefix does, as far as there are any. */
static bool may_begin(const char *data, size_t size, const char *prefix, size_t prefix_size)
{
    return memcmp(data, prefix, size < prefix_size ? size : prefix_size) == 0;
}

/* ---- version 1 ---- */

static const char line_prefix[] = "PROXY ";

/* Takes the next word of the line; every one but the last ends at a single space. */
static bool take_word(sttp_slice *rest, bool last, char *word, size_t room)
{
    const char *space = memchr(rest->data, ' ', rest->size);
    if (last != (space == NULL))
        return false;
    size_t size = last ? rest->size : (size_t)(space - rest->data);
    if (size == 0 || size >= room || memchr(rest->data, '\0', size) != NULL)
        return false;
    memcpy(word, rest->data, size);
    word[size] = '\0';
    rest->data += size + !last;
    rest->size -= size + !last;
    return true;
}

static bool take_address(sttp_slice *rest, int family, unsigned char bytes[16])
{
    char word[INET6_ADDRSTRLEN];
    return take_word(rest, false, word, sizeof word) && inet_pton(family, word, bytes) == 1;
}

static bool take_port(sttp_slice *rest, bool last, uint16_t *port)
{
    char word[6];
    unsigned number = 0;
    if (!take_word(rest, last, word, sizeof word) || (word[0] == '0' && word[1] != '\0'))
        return false;
    for (const char *digit = word; *digit != '\0'; digit++) {
        if (*digit < '0' || *digit > '9')
            return false;
        number = number * 10 + (unsigned)(*digit - '0');
    }
    *port = (uint16_t)number;
    return number <= UINT16_MAX;
}

/* "192.0.2.1 198.51.100.1 40000 8080": client and destination. */
static bool parse_addresses(sttp_slice rest, int family, struct sttp__proxy_header *header)
{
    unsigned char client[16], destination[16];
    uint16_t client_port, destination_port;
    if (!take_address(&rest, family, client) || !take_address(&rest, family, destination) ||
        !take_port(&rest, false, &client_port) || !take_port(&rest, true, &destination_port))
        return false;
    header->told = true;
    header->client = address_from(family, client, client_port);
    return true;
}

static bool takes_prefix(sttp_slice *rest, sttp_slice prefix)
{
    if (rest->size < prefix.size || memcmp(rest->data, prefix.data, prefix.size) != 0)
        return false;
    rest->data += prefix.size;
    rest->size -= prefix.size;
    return true;
}

/* What stands between the prefix and the line's end. */
static bool parse_line(sttp_slice rest, struct sttp__proxy_header *header)
{
    if (takes_prefix(&rest, STTP_SLICE("TCP4 ")))
        return parse_addresses(rest, AF_INET, header);
    if (takes_prefix(&rest, STTP_SLICE("TCP6 ")))
        return parse_addresses(rest, AF_INET6, header);
    return takes_prefix(&rest, STTP_SLICE("UNKNOWN")) && (rest.size == 0 || rest.data[0] == ' ');
}

static enum sttp__proxy_status parse_v1(const char *data, size_t size, size_t *consumed,
                                        struct sttp__proxy_header *header)
{
    size_t prefix = sizeof line_prefix - 1;
    size_t looked_at = size < STTP__PROXY_LINE_MAX ? size : STTP__PROXY_LINE_MAX;
    const char *end = memchr(data, '\n', looked_at);
    if (end == NULL)
        return size < STTP__PROXY_LINE_MAX ? STTP__PROXY_NEED_MORE : STTP__PROXY_TOO_LONG;
    *consumed = (size_t)(end - data) + 1;
    if (end[-1] != '\r')
        return STTP__PROXY_LINE;
    sttp_slice rest = {data + prefix, *consumed - prefix - 2};
    return parse_line(rest, header) ? STTP__PROXY_OK : STTP__PROXY_LINE;
}

/* ---- version 2 ---- */

enum {
    FIXED = 16, /* bytes before the addresses: signature, version and command, family, length */
    COMMAND_AT = 12,
    FAMILY_AT = 13,
    LENGTH_AT = 14,
    FIELD_HEAD = 3, /* bytes before a field's value: type, length */
    FIELD_CHECKSUM = 0x03
};

enum { VERSION_2 = 0x20, COMMAND_LOCAL = 0, COMMAND_PROXY = 1 };

enum { UNSPECIFIED = 0x00, TCP_IPV4 = 0x11, TCP_IPV6 = 0x21, UNIX_STREAM = 0x31 };

static const char signature[] = "\r\n\r\n\0\r\nQUIT\n";

static unsigned byte_at(const char *data, size_t at)
{
    return (unsigned char)data[at];
}

static unsigned number_at(const char *data, size_t at)
{
    return byte_at(data, at) << 8 | byte_at(data, at + 1);
}

/* The size of both addresses with their ports; -1 where the family is none that a connection of
 * ours can have. */
static int addresses_size(unsigned family)
{
    switch (family) {
    case UNSPECIFIED:
        return 0;
    case TCP_IPV4:
        return 2 * (4 + 2);
    case TCP_IPV6:
        return 2 * (16 + 2);
    case UNIX_STREAM:
        return 2 * 108;
    default:
        return -1;
    }
}

/* CRC-32C (Castagnoli), bit by bit: a connection has one header. */
static uint32_t add_to_checksum(uint32_t sum, const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        sum ^= byte_at(data, i);
        for (int bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ (sum & 1 ? UINT32_C(0x82f63b78) : 0);
    }
    return sum;
}

/* Of the whole header, with zeros in place of the checksum, which is at `at`. */
static bool checksum_holds(const char *data, size_t size, size_t at)
{
    static const char zeros[4];
    uint32_t told = (uint32_t)number_at(data, at) << 16 | number_at(data, at + 2);
    uint32_t sum = add_to_checksum(UINT32_MAX, data, at);
    sum = add_to_checksum(sum, zeros, sizeof zeros);
    sum = add_to_checksum(sum, data + at + sizeof zeros, size - at - sizeof zeros);
    return ~sum == told;
}

static enum sttp__proxy_status parse_fields(const char *data, size_t size, size_t at,
                                            struct sttp__proxy_header *header)
{
    while (at < size) {
        if (size - at < FIELD_HEAD)
            return STTP__PROXY_LENGTH;
        unsigned type = byte_at(data, at);
        size_t length = number_at(data, at + 1);
        at += FIELD_HEAD;
        if (length > size - at)
            return STTP__PROXY_LENGTH;
        if ((type == FIELD_CHECKSUM && length != 4) ||
            (type == STTP_PROXY_HEADER_HOPS && length != 1))
            return STTP__PROXY_FIELD;
        if (type == FIELD_CHECKSUM && !checksum_holds(data, size, at))
            return STTP__PROXY_CHECKSUM;
        if (type == STTP_PROXY_HEADER_HOPS && byte_at(data, at) > header->hops)
            header->hops = (unsigned char)byte_at(data, at);
        at += length;
    }
    return STTP__PROXY_OK;
}

static void read_client(const char *data, struct sttp__proxy_header *header)
{
    unsigned family = byte_at(data, FAMILY_AT);
    header->told = family != UNSPECIFIED;
    if (family == TCP_IPV4)
        header->client =
            address_from(AF_INET, data + FIXED, (uint16_t)number_at(data, FIXED + 2 * 4));
    else if (family == TCP_IPV6)
        header->client =
            address_from(AF_INET6, data + FIXED, (uint16_t)number_at(data, FIXED + 2 * 16));
    else if (family == UNIX_STREAM)
        header->client.family = AF_UNIX;
}

/* What there is of the first bytes. */
static enum sttp__proxy_status check_fixed(const char *data, size_t size)
{
    if (size <= COMMAND_AT)
        return STTP__PROXY_NEED_MORE;
    unsigned command = byte_at(data, COMMAND_AT);
    if ((command & 0xf0) != VERSION_2)
        return STTP__PROXY_VERSION;
    if (command > VERSION_2 + COMMAND_PROXY)
        return STTP__PROXY_COMMAND;
    if (size < FIXED)
        return STTP__PROXY_NEED_MORE;
    size_t length = number_at(data, LENGTH_AT);
    if (length > STTP__PROXY_HEADER_MAX - FIXED)
        return STTP__PROXY_TOO_LONG;
    if (command == VERSION_2 + COMMAND_LOCAL)
        return STTP__PROXY_OK;
    int addresses = addresses_size(byte_at(data, FAMILY_AT));
    if (addresses < 0)
        return STTP__PROXY_FAMILY;
    return length < (size_t)addresses ? STTP__PROXY_LENGTH : STTP__PROXY_OK;
}

/* Of a local connection, a proxy's own, nothing is looked at: so says the specification. */
static enum sttp__proxy_status parse_v2(const char *data, size_t size, size_t *consumed,
                                        struct sttp__proxy_header *header)
{
    enum sttp__proxy_status status = check_fixed(data, size);
    if (status != STTP__PROXY_OK)
        return status;
    size_t whole = FIXED + number_at(data, LENGTH_AT);
    if (size < whole)
        return STTP__PROXY_NEED_MORE;
    *consumed = whole;
    if (byte_at(data, COMMAND_AT) == VERSION_2 + COMMAND_LOCAL)
        return STTP__PROXY_OK;
    read_client(data, header);
    size_t fields = FIXED + (size_t)addresses_size(byte_at(data, FAMILY_AT));
    return parse_fields(data, whole, fields, header);
}

/* ---- reading ---- */

enum sttp__proxy_status sttp__proxy_header_parse(const char *data, size_t size, size_t *consumed,
                                                 struct sttp__proxy_header *header)
{
    *consumed = 0;
    *header = (struct sttp__proxy_header){0};
    if (size == 0)
        return STTP__PROXY_NEED_MORE;
    if (may_begin(data, size, line_prefix, sizeof line_prefix - 1))
        return parse_v1(data, size, consumed, header);
    if (may_begin(data, size, signature, sizeof signature - 1))
        return parse_v2(data, size, consumed, header);
    return STTP__PROXY_NO_HEADER;
}

const char *sttp__proxy_status_text(enum sttp__proxy_status status)
{
    switch (status) {
    case STTP__PROXY_OK:
    case STTP__PROXY_NEED_MORE:
        return NULL;
    case STTP__PROXY_NO_HEADER:
        return "the connection does not begin with one";
    case STTP__PROXY_TOO_LONG:
        return "it is too long";
    case STTP__PROXY_LINE:
        return "its line is malformed";
    case STTP__PROXY_VERSION:
        return "its version is not known";
    case STTP__PROXY_COMMAND:
        return "its command is not known";
    case STTP__PROXY_FAMILY:
        return "its address family is not known, or not that of a stream";
    case STTP__PROXY_LENGTH:
        return "its length is wrong";
    case STTP__PROXY_FIELD:
        return "the length of one of its fields is wrong";
    case STTP__PROXY_CHECKSUM:
        return "its checksum is wrong";
    case STTP__PROXY_LOOPBACK:
        return "it tells of a client on this host, and the proxy is on another";
    }
    return NULL;
}

/* ---- writing ---- */

static bool is_internet(const struct sockaddr *address)
{
    return address != NULL && (address->sa_family == AF_INET || address->sa_family == AF_INET6);
}

/* The address's bytes, 4 or 16, behind `at`; returns their number. IPv4 is mapped where the other
 * address is IPv6. */
static size_t write_address(char *at, const struct sockaddr *address, bool ipv6)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
    if (!ipv6) {
        memcpy(at, &in->sin_addr, 4);
        return 4;
    }
    if (address->sa_family == AF_INET) {
        memcpy(at, mapped, sizeof mapped);
        memcpy(at + sizeof mapped, &in->sin_addr, 4);
    } else {
        memcpy(at, &in6->sin6_addr, 16);
    }
    return 16;
}

static size_t write_port(char *at, const struct sockaddr *address)
{
    in_port_t port = address->sa_family == AF_INET
                         ? ((const struct sockaddr_in *)address)->sin_port
                         : ((const struct sockaddr_in6 *)address)->sin6_port;
    memcpy(at, &port, 2);
    return 2;
}

static size_t write_addresses(char *at, const struct sockaddr *source,
                              const struct sockaddr *destination, bool ipv6)
{
    size_t size = write_address(at, source, ipv6);
    size += write_address(at + size, destination, ipv6);
    size += write_port(at + size, source);
    return size + write_port(at + size, destination);
}

static size_t write_hops(char *at, uint8_t hops)
{
    const unsigned char field[] = {STTP_PROXY_HEADER_HOPS, 0, 1, hops};
    memcpy(at, field, sizeof field);
    return sizeof field;
}

_Static_assert(STTP_PROXY_HEADER_ROOM == FIXED + 2 * (16 + 2) + FIELD_HEAD + 1, "room for IPv6");

size_t sttp_proxy_header_write(char *buffer, const struct sockaddr *source,
                               const struct sockaddr *destination, uint8_t hops)
{
    size_t size = FIXED;
    unsigned char family = UNSPECIFIED;
    if (is_internet(source) && is_internet(destination)) {
        bool ipv6 = source->sa_family == AF_INET6 || destination->sa_family == AF_INET6;
        family = ipv6 ? TCP_IPV6 : TCP_IPV4;
        size += write_addresses(buffer + size, source, destination, ipv6);
    }
    size += write_hops(buffer + size, hops);
    /* No header is longer than a byte can tell. */
    const unsigned char rest[] = {VERSION_2 + COMMAND_PROXY, family, 0,
                                  (unsigned char)(size - FIXED)};
    memcpy(buffer, signature, sizeof signature - 1);
    memcpy(buffer + COMMAND_AT, rest, sizeof rest);
    return size;
}
