#include "text.h"

#include <string.h>

#include <sttp/message.h>

size_t cli_next_char(sttp_slice text, uint32_t *character)
{
    size_t size = sttp_next_char(text, character);

    if (size > 0)
        return size;
    *character = CLI_NO_CHAR;
    return 1;
}

void cli_write_visible(FILE *stream, sttp_slice text)
{
    while (text.size > 0) {
        uint32_t character;
        size_t size = cli_next_char(text, &character);

        if (character == CLI_NO_CHAR)
            fprintf(stream, "\\x{%02x}", (unsigned char)text.data[0]);
        else if (character != '\t' && sttp_char_is_unsafe(character))
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
        else if (sttp_char_is_unsafe(character))
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

sttp_slice cli_next_name(sttp_slice *names)
{
    const char *end = memmem(names->data, names->size, ", ", 2);
    sttp_slice name = *names;
    size_t step = names->size;

    if (end) {
        name.size = (size_t)(end - names->data);
        step = name.size + 2;
    }
    names->data += step;
    names->size -= step;
    return name;
}
