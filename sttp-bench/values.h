/* What people type: numbers and times. All parsers take the whole text or nothing. */
#ifndef BENCH_VALUES_H
#define BENCH_VALUES_H

#include <stdbool.h>
#include <stdint.h>

/* A plain decimal number without sign, from `min` to `max`. */
bool value_number(const char *text, uint64_t min, uint64_t max, uint64_t *number);

/* Digits and at most one point: "0.99". No sign, exponent, "inf" or "nan". */
bool value_decimal(const char *text, double *number);

/* "250us", "250ms", "2s", "1.5m", "1h", into nanoseconds; a bare number is in `bare` nanoseconds.
 * At most 24 days, so that nothing made of it overflows. */
bool value_time(const char *text, uint64_t bare, uint64_t *nanoseconds);

#endif
