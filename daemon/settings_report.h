/* How mistakes in settings are told. Private to daemon/settings*.c. */
#ifndef DAEMON_SETTINGS_REPORT_H
#define DAEMON_SETTINGS_REPORT_H

#include "daemon/settings.h"

/* Reports a mistake in the file of the report as "name:line:column: message", followed by the line
 * and a caret below the byte at `offset`. */
void settings_report_at(settings_report *report, size_t offset, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Whether so many mistakes were told that looking for more is of no use. */
bool settings_report_full(const settings_report *report);

/* The offset of the character with this index, from 0, in the file of the report. */
size_t settings_offset_of(const settings_report *report, size_t index);

/* A search for the word that an unknown one was meant to be. Begin with {.word = ...}. */
typedef struct settings_guess {
    sttp_slice word;
    char nearest[64];
    size_t distance; /* of `nearest`, where it is not empty */
} settings_guess;

void settings_guess_try(settings_guess *guess, const char *candidate, size_t size);

/* Whether the nearest candidate is close enough to ask "did you mean". */
bool settings_guess_is_near(const settings_guess *guess);

#endif
