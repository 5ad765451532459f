/* Text for people out of bytes that nobody vouches for. */
#ifndef DAEMON_TEXT_H
#define DAEMON_TEXT_H

#include <stddef.h>

/* Writes `data` into `buffer` so that it is one line of valid UTF-8 that cannot be mistaken for
 * anything else: control characters, line and direction marks, bytes that are not UTF-8 and the
 * backslash become \xNN (each byte), \n, \t or \\. What does not fit is cut and "..." put in its
 * place. Ends it with a zero byte and returns the length without it; `capacity` is at least 8. */
size_t text_escape(const char *data, size_t size, char *buffer, size_t capacity);

/* The number of characters of `data`; a byte that is not valid UTF-8 counts as one. */
size_t text_count_chars(const char *data, size_t size);

#endif
