/* One value of one option: from its text, and in words. Private to daemon/. */
#ifndef DAEMON_SETTINGS_VALUE_H
#define DAEMON_SETTINGS_VALUE_H

#include "daemon/settings.h"

enum { SETTINGS_MAX_WHY = 512 };

typedef enum settings_result { SETTINGS_SET, SETTINGS_WRONG, SETTINGS_NO_MEMORY } settings_result;

/* Gives the option the value that `text` says, and `place` as its place; a list gets one item more,
 * records one whose field `shorthand` has that value. SETTINGS_WRONG where the text says none:
 * `why` (SETTINGS_MAX_WHY bytes) is then the offending text and what was expected. Where it is not
 * set the value is as before. */
settings_result settings_value_set(const settings_option *option, sttp_slice text,
                                   settings_place place, void *values, char *why);

/* Gives the option its default, if it has one. */
settings_result settings_value_default(const settings_option *option, void *values, char *why);

/* Notes where the value of the option stands. */
void settings_value_place(const settings_option *option, settings_place place, void *values);

/* Sets a text, a list or records to nothing, and frees what they held. */
void settings_value_clear(const settings_option *option, void *values);

/* Adds a record with the defaults of its fields; *record points to it until the next one is added.
 * SETTINGS_WRONG, with `why`, where there are as many as there may be. */
settings_result settings_records_add(const settings_option *option, void *values, void **record,
                                     char *why);

/* Adds a record, and gives its field `shorthand` the value. */
settings_result settings_records_set(const settings_option *option, sttp_slice text,
                                     settings_place place, void *values, char *why);

/* Frees all records. */
void settings_records_clear(const settings_option *option, settings_records *records);

/* "a whole number from 0 to 65535", "true or false". */
void settings_value_expected(const settings_option *option, char *buffer, size_t capacity);

/* Whether the option has a flag: records without a shorthand have none. */
bool settings_has_flag(const settings_option *option);

/* Whether the option has a key in the file: a flag without a value has none. */
bool settings_has_key(const settings_option *option);

/* The flag of the option without its dashes: "cache-max-files". Returns its length. */
size_t settings_flag_name(const settings_option *option, char *buffer, size_t capacity);

#endif
