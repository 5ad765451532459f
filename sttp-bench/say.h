/* Messages on standard error, and what others wrote made fit to be shown. */
#ifndef BENCH_SAY_H
#define BENCH_SAY_H

#include <stdarg.h>
#include <stddef.h>

#include <sttp/base.h>

/* "sttp-bench: ..." on standard error, one line of visible characters. */
void say_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void say_error_list(const char *format, va_list arguments) __attribute__((format(printf, 1, 0)));

/* Writes `text` to `buffer` with everything but printable ASCII as \xNN, cut where it does not fit,
 * and a zero byte. It cannot do anything to a terminal. Returns its length. */
size_t say_visible(sttp_slice text, char *buffer, size_t capacity);

#endif
