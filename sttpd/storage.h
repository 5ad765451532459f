/* The store that the settings name. */
#ifndef STTPD_STORAGE_H
#define STTPD_STORAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sttpd/options.h"
#include "sttpd/store_module.h"

/* What the options' `backend` counts. */
enum storage_backend { STORAGE_FS = 0, STORAGE_SQLITE, STORAGE_POSTGRES };

/* Opens it, with lines in the log about what is wrong. False where it cannot be used. */
bool storage_open(const struct sttpd_options *options, log_sink *log,
                  const struct store_watcher *watcher, store **opened);

/* Tells `checker` of what is wrong in the database that storage_open has opened, and no operation
 * tells of. False where it cannot look, with a line in the log. Not for a document root. */
bool storage_check(const struct sttpd_options *options, log_sink *log,
                   const struct store_checker *checker);

/* Descriptors that it has open at once, at most. */
uint64_t storage_descriptors(const struct sttpd_options *options);

/* How a message names what is stored: "document root /var/sttp/files". Returns `text`. */
const char *storage_name(const struct sttpd_options *options, char *text, size_t capacity);

#endif
