#include "say.h"

#include <stdio.h>
#include <string.h>

enum { MAX_LINE = 1024 };

size_t say_visible(sttp_slice text, char *buffer, size_t capacity)
{
    size_t used = 0;

    for (size_t i = 0; i < text.size && used + 5 <= capacity; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c >= ' ' && c < 0x7f)
            buffer[used++] = (char)c;
        else
            used += (size_t)snprintf(buffer + used, 5, "\\x%02x", c);
    }
    buffer[used] = '\0';
    return used;
}

void say_error_list(const char *format, va_list arguments)
{
    char text[MAX_LINE];
    char visible[MAX_LINE];
    int size = vsnprintf(text, sizeof text, format, arguments);

    if (size < 0)
        return;
    say_visible((sttp_slice){text, strlen(text)}, visible, sizeof visible);
    fprintf(stderr, "sttp-bench: %s\n", visible);
}

void say_error(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say_error_list(format, arguments);
    va_end(arguments);
}
