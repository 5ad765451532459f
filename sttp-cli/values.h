/* What people type on a command line: numbers and durations. */
#ifndef CLI_VALUES_H
#define CLI_VALUES_H

#include <stdbool.h>

/* A plain decimal number, no sign, from `min` to `max`. */
bool cli_parse_number(const char *text, unsigned min, unsigned max, unsigned *number);

/* "250ms", "2s", "1.5m", "1h"; a bare number is in seconds. From 1 ms to INT_MAX ms. */
bool cli_parse_duration(const char *text, unsigned *milliseconds);

#endif
