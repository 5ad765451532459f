/* Properties end the process where they do not hold, in every kind of build. */
#ifndef STTP_TESTS_FUZZ_PROPERTY_H
#define STTP_TESTS_FUZZ_PROPERTY_H

#include <signal.h>
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

/* libFuzzer's timer goes off every ten minutes: the calls that it interrupts go on. */
static inline void outlive_alarms(void)
{
    struct sigaction action;

    require(sigaction(SIGALRM, NULL, &action) == 0, "the timer's action");
    action.sa_flags |= SA_RESTART;
    require(sigaction(SIGALRM, &action, NULL) == 0, "the timer's action");
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

static inline bool is_inside(sttp_slice slice, const char *data, size_t size)
{
    uintptr_t first = (uintptr_t)slice.data, begin = (uintptr_t)data;

    return slice.data == NULL || (first >= begin && first + slice.size <= begin + size);
}

/* How many bytes a sender of single bytes sends next: coarser where a line is very long, since each
 * step makes a copy of all. */
static inline size_t next_step(size_t given, size_t size)
{
    size_t step = given < 600 ? 1 : 97;

    return step < size - given ? step : size - given;
}

/* Takes the field off that ends at the next zero byte. No field at all has data NULL. */
static inline sttp_slice take_field(sttp_slice *rest)
{
    const char *end = rest->size > 0 ? memchr(rest->data, '\0', rest->size) : NULL;
    sttp_slice field = *rest;

    if (!end) {
        *rest = (sttp_slice){0};
        return field;
    }
    field.size = (size_t)(end - field.data);
    rest->data += field.size + 1;
    rest->size -= field.size + 1;
    return field;
}

/* Takes the next line off, without its LF; the last one may have none. */
static inline sttp_slice take_line(sttp_slice *text)
{
    const char *end = memchr(text->data, '\n', text->size);
    sttp_slice line = *text;

    if (end)
        line.size = (size_t)(end - line.data);
    text->data += line.size + (end != NULL);
    text->size -= line.size + (end != NULL);
    return line;
}

/* Nothing that a terminal could act upon, TAB aside. */
static inline void require_printable(sttp_slice text, bool with_tabs)
{
    while (text.size > 0) {
        uint32_t character = 0;
        size_t size = sttp_next_char(text, &character);
        require(size > 0, "what is said is UTF-8");
        require(!sttp_char_is_unsafe(character) || (character == '\t' && with_tabs),
                "nothing comes out that a terminal could act upon");
        text.data += size;
        text.size -= size;
    }
}

static inline bool problems_equal(const sttp_problem *a, const sttp_problem *b)
{
    return a->status == b->status && a->offset == b->offset && a->length == b->length &&
           slices_equal(a->echo, b->echo) && slices_equal(a->word, b->word);
}

/* An explanation can stand in a response's message, and is cut where there is less room. */
static inline void require_clean(const sttp_problem *problem)
{
    char text[STTP_MAX_MESSAGE + 1], cut[STTP_MAX_MESSAGE + 1];
    size_t size = sttp_explain(problem, text, sizeof(text));
    size_t i;

    require(size > 0 && size < sizeof(text) && text[size] == '\0', "explanation is terminated");
    for (i = 0; i < size; i++)
        require(text[i] >= 0x20 && text[i] < 0x7f && text[i] != '"', "explanation is clean");
    for (i = 1; i <= size; i *= 2) {
        require(sttp_explain(problem, cut, i) == i - 1 && cut[i - 1] == '\0' &&
                    memcmp(cut, text, i - 1) == 0,
                "explanation is cut to its room");
    }
}

#endif
