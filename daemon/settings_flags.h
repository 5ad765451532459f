/* The flags that every daemon has. Private to daemon/settings*.c. */
#ifndef DAEMON_SETTINGS_FLAGS_H
#define DAEMON_SETTINGS_FLAGS_H

#include "daemon/settings.h"

typedef struct settings_common_flag {
    const char *name;
    char letter;
    const char *argument; /* NULL where it takes none */
    const char *help;
} settings_common_flag;

/* Ended by an entry without a name. */
extern const settings_common_flag settings_common_flags[];

/* A flag of the table as it was given. */
typedef struct settings_given {
    size_t index;     /* in the table */
    sttp_slice label; /* as it was written: "-p", "--port" */
    const char *value;
} settings_given;

/* Reads the command line into *command, and the flags of the table into `given`, which has room for
 * `argc` of them; returns how many those are. Mistakes are reported. */
size_t settings_scan_flags(const settings_program *program, int argc, char *const *argv,
                           settings_command *command, settings_given *given,
                           settings_report *report);

/* Gives the options the values of the flags. */
void settings_apply_flags(const settings_program *program, const settings_given *given,
                          size_t count, void *values, settings_command *command,
                          settings_report *report);

#endif
