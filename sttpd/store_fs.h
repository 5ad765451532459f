/* The store that keeps each text in a file of its own, below a directory (the document root). Its
 * promises are those of docs/protocol.md, sections 4 and 5. */
#ifndef STTPD_STORE_FS_H
#define STTPD_STORE_FS_H

#include <stdbool.h>
#include <stddef.h>

#include "sttpd/store_module.h"

/* Descriptors that an operation has open at once, at most, and each of those that one thread does
 * together beside what the other threads do; the store has one besides. */
enum { STORE_FS_DESCRIPTORS = 5, STORE_FS_DESCRIPTORS_TOGETHER = 2 };

/* What one LIST with q or recursive may look at: so many names, or open so many files and
 * directories, or a part of either. Beyond it STORE_TOO_MUCH_WORK. */
enum { STORE_FS_SEARCH_NAMES = 1000000, STORE_FS_SEARCH_FILES = 50000 };

/* Zero stands for the default in every field but `docroot`. What it points to is copied. */
struct store_fs_settings {
    const char *docroot;
    enum store_durability durability; /* default STORE_DURABILITY_ALWAYS */
    unsigned threads; /* at most so many wait for storage at once; default 64. They are started
                         when there is work for them and end when there is none */
    unsigned queue;   /* operations that may wait besides those that threads work on, for a thread
                         or for an earlier change of their path; beyond it STORE_BUSY at once;
                         default 4,096 */
};

/* Opens the store: locks the document root against a second server, and removes what a server that
 * died left unfinished in it, which is everything whose name begins with STTP_RESERVED_PREFIX. What
 * it left visible and not yet on disk is synced, with all of the file system (not with others that
 * are mounted below), but for STORE_DURABILITY_NONE.
 *
 * On false, `error` is one line for the operator, ended by a zero byte, that says why the document
 * root cannot be used and what to do. On true it is empty, or a warning of the same form: parts of
 * the document root could not be synced, searched or cleared of what was left.
 *
 * A document root that may be read and not written is fine: changes get their error. Call
 * `store->close` after the last operation. */
bool store_fs_open(const struct store_fs_settings *settings, store **store, char *error,
                   size_t capacity);

#endif
