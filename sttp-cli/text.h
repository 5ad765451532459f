/* Texts that come from elsewhere, on their way to a terminal or into JSON. */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdint.h>
#include <stdio.h>

#include <sttp/base.h>

/* What cli_next_char gives for a byte that is no part of valid UTF-8. */
#define CLI_NO_CHAR UINT32_MAX

/* The first character of a text that is not empty, and how many bytes it takes. */
size_t cli_next_char(sttp_slice text, uint32_t *character);

/* Takes the first name off a listing that is not empty. Names have no spaces, so ", " stands
 * between names only. */
sttp_slice cli_next_name(sttp_slice *names);

/* Writes `text` with its unsafe characters but TAB as \u{1b}, and invalid bytes as \x{ff}. */
void cli_write_visible(FILE *stream, sttp_slice text);

/* Writes `text` as a JSON string with its quotes. Unsafe characters are escaped; invalid bytes
 * become U+FFFD, since JSON has no way to say them. */
void cli_write_json_string(FILE *stream, sttp_slice text);

enum { CLI_EXCERPT = 204 };

/* The beginning of a text for a message: at most 200 bytes, whole characters, "..." where something
 * is left out. Written to `buffer` of CLI_EXCERPT bytes, which is returned. */
const char *cli_excerpt(sttp_slice text, char *buffer);

sttp_slice cli_slice(const char *text);

#endif
