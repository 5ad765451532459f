/* Headers of the PROXY protocol, version 2, piece by piece, as a test wants them. */
#ifndef STTP_TESTS_PROXY_HEADER_SUPPORT_H
#define STTP_TESTS_PROXY_HEADER_SUPPORT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define V2_SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

enum { V2_LOCAL = 0x20, V2_PROXY = 0x21 };

struct v2 {
    size_t size;
    unsigned char bytes[70000];
};

static inline void v2_add(struct v2 *header, const void *bytes, size_t size)
{
    memcpy(header->bytes + header->size, bytes, size);
    header->size += size;
}

static inline void v2_add_byte(struct v2 *header, unsigned byte)
{
    header->bytes[header->size++] = (unsigned char)byte;
}

static inline void v2_add_number(struct v2 *header, size_t number)
{
    v2_add_byte(header, (unsigned)(number >> 8 & 0xff));
    v2_add_byte(header, (unsigned)(number & 0xff));
}

/* Begins one; its length is told by v2_end. */
static inline void v2_begin(struct v2 *header, unsigned command, unsigned family)
{
    header->size = 0;
    v2_add(header, V2_SIGNATURE, sizeof V2_SIGNATURE - 1);
    v2_add_byte(header, command);
    v2_add_byte(header, family);
    v2_add_number(header, 0);
}

static inline void v2_end(struct v2 *header)
{
    size_t length = header->size - 16;
    header->bytes[14] = (unsigned char)(length >> 8);
    header->bytes[15] = (unsigned char)length;
}

static inline void v2_field(struct v2 *header, unsigned type, const void *value, size_t size)
{
    v2_add_byte(header, type);
    v2_add_number(header, size);
    v2_add(header, value, size);
}

/* Client 192.0.2.1 port 40000, destination 198.51.100.7 port 8080. */
static inline void v2_begin_ipv4(struct v2 *header)
{
    v2_begin(header, V2_PROXY, 0x11);
    v2_add(header, "\xc0\x00\x02\x01\xc6\x33\x64\x07\x9c\x40\x1f\x90", 12);
}

/* Client 2001:db8::1 port 40000, destination 2001:db8::2 port 8080. */
static inline void v2_begin_ipv6(struct v2 *header)
{
    static const unsigned char client[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
    static const unsigned char destination[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 2};
    v2_begin(header, V2_PROXY, 0x21);
    v2_add(header, client, 16);
    v2_add(header, destination, 16);
    v2_add(header, "\x9c\x40\x1f\x90", 4);
}

static inline void v2_begin_unix(struct v2 *header)
{
    static const unsigned char paths[216] = "/client";
    v2_begin(header, V2_PROXY, 0x31);
    v2_add(header, paths, sizeof paths);
}

#endif
