/* Escaping for log lines and error messages, and the edit distance behind "did you mean". */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "daemon/text.h"

/* The code point that `data` begins with, its length in *length; *length is 0 where the bytes are
 * not UTF-8 (surrogates and overlong forms are not). */
static uint32_t decode(const unsigned char *data, size_t size, size_t *length)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};

    *length = 0;
    if (data[0] < 0x80) {
        *length = 1;
        return data[0];
    }
    size_t need = data[0] >= 0xf0 ? 4 : data[0] >= 0xe0 ? 3 : 2;
    if (data[0] < 0xc2 || data[0] > 0xf4 || need > size)
        return 0;
    uint32_t point = data[0] & (0xffU >> (need + 1));
    for (size_t i = 1; i < need; i++) {
        if ((data[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (data[i] & 0x3f);
    }
    if (point < smallest[need] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return 0;
    *length = need;
    return point;
}

size_t text_char_size(const char *data, size_t size)
{
    size_t length = 0;

    if (size > 0)
        decode((const unsigned char *)data, size, &length);
    return length;
}

size_t text_count_chars(const char *data, size_t size)
{
    size_t count = 0;

    for (size_t at = 0; at < size; count++) {
        size_t length = text_char_size(data + at, size - at);
        at += length > 0 ? length : 1;
    }
    return count;
}

/* Whether a terminal or a log reader could take the character for something else than a letter. */
static bool is_unsafe(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point <= 0x9f) || point == '\\' ||
           (point >= 0x200e && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
           (point >= 0x2066 && point <= 0x2069) || point == 0xfeff;
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
        size_t length;
        uint32_t point = decode(bytes + at, size - at, &length);
        size_t piece_size = length;

        if (length == 0 || is_unsafe(point)) {
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

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: three rows of the usual table, since a swap looks two rows back. */
size_t text_distance(const char *a, size_t a_size, const char *b, size_t b_size)
{
    enum { LONGEST = 63 };
    size_t rows[3][LONGEST + 1];

    if (a_size > LONGEST || b_size > LONGEST)
        return SIZE_MAX;
    for (size_t j = 0; j <= b_size; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i - 1) % 3];

        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            row[j] =
                smaller(above[j - 1] + (a[i - 1] != b[j - 1]), smaller(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = smaller(row[j], rows[(i - 2) % 3][j - 2] + 1);
        }
    }
    return rows[a_size % 3][b_size];
}
