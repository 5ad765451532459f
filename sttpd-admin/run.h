/* What the program does, one function for each of its commands; and how it ends. */
#ifndef ADMIN_RUN_H
#define ADMIN_RUN_H

#include <stdbool.h>
#include <stdio.h>

#include "place.h"

enum {
    ADMIN_DONE = 0,
    ADMIN_FAILED = 1, /* something is not as it should be, and it was told what */
    ADMIN_USAGE = 2   /* the command line is at fault */
};

/* Each takes open stores and returns ADMIN_DONE or ADMIN_FAILED. `overwrites`: a text that differs
 * at the target is replaced. */
int run_copy(struct place *source, struct place *target, bool overwrites);
int run_export(struct place *source, FILE *out);
int run_import(struct place *target, FILE *in, bool overwrites);
int run_check(struct place *place);

#endif
