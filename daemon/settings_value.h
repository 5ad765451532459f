/* One value of one option: from its text, and in words. Private to daemon/settings*.c. */
#ifndef DAEMON_SETTINGS_VALUE_H
#define DAEMON_SETTINGS_VALUE_H

#include "daemon/settings.h"

enum { SETTINGS_MAX_WHY = 512 };

typedef enum settings_result { SETTINGS_SET, SETTINGS_WRONG, SETTINGS_NO_MEMORY } settings_result;

/* Gives the option the value that `text` says; a list gets one item more. SETTINGS_WRONG where it
 * says none: `why` (SETTINGS_MAX_WHY bytes) is then the offending text and what was expected. Where
 * it is not set the value is as before. */
settings_result settings_value_set(const settings_option *option, sttp_slice text, void *values,
                                   char *why);

/* Sets a text or a list to nothing, and frees what it held. */
void settings_value_clear(const settings_option *option, void *values);

/* "a whole number from 0 to 65535", "true or false". */
void settings_value_expected(const settings_option *option, char *buffer, size_t capacity);

/* The flag of the option without its dashes: "cache-max-files". Returns its length. */
size_t settings_flag_name(const settings_option *option, char *buffer, size_t capacity);

#endif
