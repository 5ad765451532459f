/* What the command line calls STORE, and the store behind it. */
#ifndef ADMIN_PLACE_H
#define ADMIN_PLACE_H

#include <stdbool.h>

#include "sttpd/storage.h"

struct place {
    struct sttpd_options options; /* zero before it is read */
    log_sink log;
    store *store; /* NULL unless it is open */
};

/* Reads "fs:DIRECTORY", "sqlite:FILE", "postgres:CONNINFO" or "settings:FILE", what a settings file
 * of sttpd names; NULL is what sttpd has by default. Returns 0, or the exit status after what is
 * wrong was told. To be closed whatever is returned. */
int place_read(struct place *place, const char *text);

/* Whether both are document roots and one is the other or in it, so that a copy would read what it
 * has written. */
bool place_overlaps(const struct place *a, const struct place *b);

/* Opens the store; a database in a file is made where it is not there. False where it cannot be
 * used, which was told. */
bool place_open(struct place *place);

/* The same for a store that is only read: a file that is not there is told, and not made, so that a
 * mistyped name is not taken for an empty store. */
bool place_open_source(struct place *place);

/* False where the store has lost something, which was told. */
bool place_close(struct place *place);

#endif
