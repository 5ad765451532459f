/* The store that keeps all texts in one SQLite database, in WAL mode. Its promises are those of
 * docs/protocol.md, sections 4 and 5; what is in the file: store_sqlite_schema.c. */
#ifndef STTPD_STORE_SQLITE_H
#define STTPD_STORE_SQLITE_H

#include "sttpd/store_module.h"

/* Opens the database `settings->sqlite_path`; makes it where it is not there, and brings one of an
 * older version of sttpd up to date. Locks it against a second server. Refused are: what is no
 * database, one of another program, one of a newer version, one that is damaged (one of more than
 * SQ_WHOLE_CHECK bytes is not read through for that), and one that cannot be written.
 *
 * `settings->threads` read, each with a connection of its own; one thread more writes and another
 * one copies the log into the database. Durability:
 *
 *     always    a commit returns when the log is on disk
 *     interval  the log is synced once a second
 *     none      it is synced before it is copied into the database, so that a crash of the machine
 *               loses changes and never the database
 *
 * On false `error` is one line for the operator, ended by a zero byte. */
bool store_sqlite_open(const struct store_settings *settings, store **opened, char *error,
                       size_t capacity);

/* As store_module's `check`. */
bool store_sqlite_check(const struct store_settings *settings, const struct store_checker *checker,
                        char *error, size_t capacity);

#endif
