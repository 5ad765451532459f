/* ASCII without locale: what protocol text compares by. */
#ifndef STTP_SRC_ASCII_H
#define STTP_SRC_ASCII_H

#include <stdbool.h>

#include <sttp/base.h>

static inline unsigned char sttp__lower(char c)
{
    unsigned char byte = (unsigned char)c;

    return byte >= 'A' && byte <= 'Z' ? (unsigned char)(byte + ('a' - 'A')) : byte;
}

static inline bool sttp__is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool sttp__is_letter(char c)
{
    return sttp__lower(c) >= 'a' && sttp__lower(c) <= 'z';
}

/* Whether the first `size` bytes of both are equal but for the case of A to Z. */
static inline bool sttp__equal_fold(const char *a, const char *b, size_t size)
{
    size_t i = 0;

    while (i < size && sttp__lower(a[i]) == sttp__lower(b[i]))
        i++;
    return i == size;
}

static inline bool sttp__begins_fold(sttp_slice text, sttp_slice prefix)
{
    return text.size >= prefix.size && sttp__equal_fold(text.data, prefix.data, prefix.size);
}

#endif
