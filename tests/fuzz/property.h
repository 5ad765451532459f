/* Properties end the process where they do not hold, in every kind of build. */
#ifndef STTP_TESTS_FUZZ_PROPERTY_H
#define STTP_TESTS_FUZZ_PROPERTY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sttp/message.h>

/* What libFuzzer and replay.c call. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "property does not hold: %s\n", what);
    abort();
}

static inline bool slices_equal(sttp_slice a, sttp_slice b)
{
    return (a.data == NULL) == (b.data == NULL) && a.size == b.size &&
           (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* The bytes at their exact size on the heap, so that the sanitizer sees a read beyond them. */
static inline char *exact_copy(const void *data, size_t size)
{
    char *copy = malloc(size > 0 ? size : 1);

    require(copy != NULL, "memory");
    if (size > 0)
        memcpy(copy, data, size);
    return copy;
}

/* An explanation can stand in a response's message. */
static inline void require_clean(const sttp_problem *problem)
{
    char text[STTP_MAX_MESSAGE + 1];
    size_t size = sttp_explain(problem, text, sizeof(text));
    size_t i;

    require(size > 0 && size < sizeof(text) && text[size] == '\0', "explanation is terminated");
    for (i = 0; i < size; i++)
        require(text[i] >= 0x20 && text[i] < 0x7f && text[i] != '"', "explanation is clean");
}

#endif
