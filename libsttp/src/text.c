#include "text.h"

#include <stdbool.h>
#include <string.h>

#include "utf8.h"

enum { MAX_SHOWN_BYTES = 60 };

sttp__text sttp__text_begin(char *buffer, size_t size)
{
    buffer[0] = '\0';
    return (sttp__text){.buffer = buffer, .capacity = size - 1};
}

/* All of `part` or nothing of it. */
static bool put(sttp__text *text, const char *part, size_t size)
{
    if (size > text->capacity - text->size) {
        text->capacity = text->size;
        return false;
    }
    memcpy(text->buffer + text->size, part, size);
    text->size += size;
    text->buffer[text->size] = '\0';
    return true;
}

void sttp__text_add_slice(sttp__text *text, sttp_slice part)
{
    size_t size;

    for (size_t at = 0; at < part.size; at += size) {
        size = sttp__character_size(part.data + at, part.size - at);
        if (size == 0 || sttp__is_control(part.data + at, size)) {
            size = size ? size : 1;
            put(text, "?", 1);
        } else if (!put(text, part.data + at, size)) {
            return;
        }
    }
}

void sttp__text_add(sttp__text *text, const char *string)
{
    sttp__text_add_slice(text, (sttp_slice){string, strlen(string)});
}

void sttp__text_add_number(sttp__text *text, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;

    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    put(text, digits + at, sizeof digits - at);
}

void sttp__text_add_duration(sttp__text *text, uint64_t microseconds)
{
    uint64_t milliseconds = microseconds / 1000;

    if (milliseconds < 10000) {
        sttp__text_add_number(text, milliseconds);
        sttp__text_add(text, " ms");
        return;
    }
    sttp__text_add_number(text, milliseconds / 1000);
    sttp__text_add(text, ".");
    sttp__text_add_number(text, milliseconds / 100 % 10);
    sttp__text_add(text, " s");
}

void sttp__text_add_bytes(sttp__text *text, sttp_slice bytes)
{
    size_t shown = bytes.size < MAX_SHOWN_BYTES ? bytes.size : MAX_SHOWN_BYTES;

    put(text, "\"", 1);
    for (size_t i = 0; i < shown; i++) {
        unsigned char c = (unsigned char)bytes.data[i];
        const char code[4] = {'\\', 'x', "0123456789abcdef"[c >> 4], "0123456789abcdef"[c & 15]};

        if (c == '\n')
            put(text, "\\n", 2);
        else if (c == '\r')
            put(text, "\\r", 2);
        else if (c < ' ' || c > '~' || c == '"' || c == '\\')
            put(text, code, sizeof code);
        else
            put(text, bytes.data + i, 1);
    }
    sttp__text_add(text, shown < bytes.size ? "...\"" : "\"");
}
