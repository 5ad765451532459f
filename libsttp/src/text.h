/* Lines for people, written into a buffer of fixed size. What does not fit is cut at a character's
 * start; control characters become "?", so that nothing that came from elsewhere can break a line
 * or a terminal. The buffer always ends with a zero byte. */
#ifndef STTP_SRC_TEXT_H
#define STTP_SRC_TEXT_H

#include <stdint.h>

#include <sttp/base.h>

typedef struct sttp__text {
    char *buffer;
    size_t capacity; /* the zero byte not counted */
    size_t size;
} sttp__text;

/* An empty line in `buffer` of `size` > 0 bytes. */
sttp__text sttp__text_begin(char *buffer, size_t size);

void sttp__text_add(sttp__text *text, const char *string);
void sttp__text_add_slice(sttp__text *text, sttp_slice part);
void sttp__text_add_number(sttp__text *text, uint64_t number);

/* "12 ms", "30.0 s". */
void sttp__text_add_duration(sttp__text *text, uint64_t microseconds);

/* The first bytes of something that may be anything: in double quotes, with whatever is not
 * printable ASCII as "\xNN". */
void sttp__text_add_bytes(sttp__text *text, sttp_slice bytes);

#endif
