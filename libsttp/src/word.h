/* Eight bytes of text in one machine word, the first byte lowest. */
#ifndef STTP_SRC_WORD_H
#define STTP_SRC_WORD_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define STTP__WORD_ONES UINT64_C(0x0101010101010101)
#define STTP__WORD_HIGH UINT64_C(0x8080808080808080)

enum { STTP__WORD_SIZE = sizeof(uint64_t) };

static inline uint64_t sttp__word(const char *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof(word));
    return le64toh(word);
}

/* Whether the bytes are equal; for few, without a call. */
static inline bool sttp__words_equal(const char *a, const char *b, size_t size)
{
    size_t i;

    if (size < STTP__WORD_SIZE)
        return memcmp(a, b, size) == 0;
    for (i = size - STTP__WORD_SIZE; i > STTP__WORD_SIZE; i -= STTP__WORD_SIZE) {
        if (sttp__word(a + i) != sttp__word(b + i))
            return false;
    }
    return sttp__word(a + i) == sttp__word(b + i) && sttp__word(a) == sttp__word(b);
}

#endif
