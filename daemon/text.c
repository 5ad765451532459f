/* Escaping for log lines and error messages. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <sttp/message.h>

#include "daemon/text.h"

size_t text_count_chars(const char *data, size_t size)
{
    size_t count = 0;

    for (size_t at = 0; at < size; count++) {
        size_t length = sttp_next_char((sttp_slice){data + at, size - at}, NULL);
        at += length > 0 ? length : 1;
    }
    return count;
}

/* One character of the input as it is to be written, into `piece` (16 bytes and a zero byte). */
static size_t escape_one(const unsigned char *data, size_t length, char *piece)
{
    static const char hex[] = "0123456789abcdef";
    size_t size = 0;

    if (data[0] == '\\' || data[0] == '\n' || data[0] == '\t') {
        piece[0] = '\\';
        piece[1] = data[0] == '\\' ? '\\' : data[0] == '\n' ? 'n' : 't';
        return 2;
    }
    for (size_t i = 0; i < length; i++) {
        piece[size++] = '\\';
        piece[size++] = 'x';
        piece[size++] = hex[data[i] >> 4];
        piece[size++] = hex[data[i] & 15];
    }
    return size;
}

size_t text_escape(const char *data, size_t size, char *buffer, size_t capacity)
{
    const unsigned char *bytes = (const unsigned char *)data;
    size_t written = 0;
    size_t room_for_dots = 0; /* the last length at which "..." still fits */

    for (size_t at = 0; at < size;) {
        char piece[16];
        uint32_t character = 0;
        size_t length = sttp_next_char((sttp_slice){data + at, size - at}, &character);
        size_t piece_size = length;

        if (length == 0 || character == '\\' || sttp_char_is_unsafe(character)) {
            length = length > 0 ? length : 1;
            piece_size = escape_one(bytes + at, length, piece);
        } else {
            memcpy(piece, data + at, length);
        }
        if (written + piece_size + 1 > capacity) {
            memcpy(buffer + room_for_dots, "...", 4);
            return room_for_dots + 3;
        }
        memcpy(buffer + written, piece, piece_size);
        written += piece_size;
        at += length;
        if (written + 4 <= capacity)
            room_for_dots = written;
    }
    buffer[written] = '\0';
    return written;
}
