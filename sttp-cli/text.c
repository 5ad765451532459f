/* Validity is the library's to judge: a run of bytes is one character where sttp_count_chars says
 * so. Here is only what the library has no need of: the number of that character. */
#include "text.h"

#include <string.h>

#include <sttp/message.h>

static size_t sequence_size(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first < 0xe0)
        return 2;
    return first < 0xf0 ? 3 : 4;
}

size_t cli_next_char(sttp_slice text, uint32_t *character)
{
    const unsigned char *bytes = (const unsigned char *)text.data;
    size_t size = sequence_size(bytes[0]);

    if (size == 1) {
        *character = bytes[0];
        return 1;
    }
    if (size > text.size || sttp_count_chars((sttp_slice){text.data, size}) != 1) {
        *character = CLI_NO_CHAR;
        return 1;
    }
    *character = bytes[0] & (0x7fu >> size);
    for (size_t i = 1; i < size; i++)
        *character = *character << 6 | (bytes[i] & 0x3f);
    return size;
}

bool cli_is_unsafe(uint32_t character)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0x00, 0x1f},     {0x7f, 0x9f},     {0x061c, 0x061c}, {0x200e, 0x200f},
        {0x2028, 0x202e}, {0x2066, 0x206f}, {0xfeff, 0xfeff},
    };

    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (character >= ranges[i].first && character <= ranges[i].last)
            return true;
    }
    return false;
}

void cli_write_visible(FILE *stream, sttp_slice text)
{
    while (text.size > 0) {
        uint32_t character;
        size_t size = cli_next_char(text, &character);

        if (character == CLI_NO_CHAR)
            fprintf(stream, "\\x{%02x}", (unsigned char)text.data[0]);
        else if (character != '\t' && cli_is_unsafe(character))
            fprintf(stream, "\\u{%x}", (unsigned)character);
        else
            fwrite(text.data, 1, size, stream);
        text.data += size;
        text.size -= size;
    }
}

void cli_write_json_string(FILE *stream, sttp_slice text)
{
    putc('"', stream);
    while (text.size > 0) {
        uint32_t character;
        size_t size = cli_next_char(text, &character);

        if (character == CLI_NO_CHAR)
            fputs("\\ufffd", stream);
        else if (character == '"' || character == '\\')
            fprintf(stream, "\\%c", (int)character);
        else if (cli_is_unsafe(character))
            fprintf(stream, "\\u%04x", (unsigned)character);
        else
            fwrite(text.data, 1, size, stream);
        text.data += size;
        text.size -= size;
    }
    putc('"', stream);
}

const char *cli_excerpt(sttp_slice text, char *buffer)
{
    size_t limit = CLI_EXCERPT - sizeof "...";
    size_t size = text.size;

    if (size > limit) {
        size = limit;
        while (size > 0 && ((unsigned char)text.data[size] & 0xc0) == 0x80)
            size--;
    }
    if (size > 0)
        memcpy(buffer, text.data, size);
    buffer[size] = '\0';
    if (size < text.size)
        memcpy(buffer + size, "...", sizeof "...");
    return buffer;
}

sttp_slice cli_slice(const char *text)
{
    return (sttp_slice){text, strlen(text)};
}
