/* What people type on a command line: numbers, durations, misspelt words. */
#ifndef CLI_VALUES_H
#define CLI_VALUES_H

#include <stdbool.h>
#include <stddef.h>

#include <sttp/base.h>

/* A plain decimal number, no sign, from `min` to `max`. */
bool cli_parse_number(const char *text, unsigned min, unsigned max, unsigned *number);

/* "250ms", "2s", "1.5m", "1h"; a bare number is in seconds. From 1 ms to INT_MAX ms. */
bool cli_parse_duration(const char *text, unsigned *milliseconds);

/* The word of `words` (ended by NULL) that `text` is most likely meant to be, NULL where none is
 * near. Case does not count. */
const char *cli_nearest(sttp_slice text, const char *const *words);

#endif
