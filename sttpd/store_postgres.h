/* A store in a PostgreSQL database, which any number of servers may share.
 *
 * Files and directories are rows, and each of them names its parent, so that one index serves SHOW,
 * LIST and what is below a directory. Nothing in the database but tables, keys and transactions is
 * needed for answers to be right: the engine may be another one that speaks PostgreSQL's language.
 *
 * One thread drives all connections and never blocks; another one connects, since names are
 * resolved there. An operation that finds no connection for STORE_POSTGRES_WAIT ms is
 * STORE_UNAVAILABLE, and from then on so are all at once, until a connection is there again. */
#ifndef STTPD_STORE_POSTGRES_H
#define STTPD_STORE_POSTGRES_H

#include "sttpd/store_module.h"

enum {
    STORE_POSTGRES_WAIT = 5000,    /* ms: for a connection */
    STORE_POSTGRES_ANSWER = 10000, /* ms: for the database's answer; then the connection is given
                                      up, and a change's outcome is unknown */
    STORE_POSTGRES_SEARCH = 5000,  /* ms: of the database's work for one page of a search */
    STORE_POSTGRES_LIST = 10000    /* ms: for all pages of a listing together */
};

/* As store_module's `open`: connects, makes the tables where there are none, and refuses those of a
 * newer sttpd. Takes postgres_conninfo, postgres_pool (0: 8), durability, queue, log and watcher.
 * Waits for the database as long as the conninfo's connect_timeout (5 s where it has none) says for
 * each of its addresses.
 *
 * The store's `close` waits a second at most for a connection that is being made. The thread that
 * makes it then outlives the store, as long as the conninfo lets it wait, and runs in this module,
 * which so must not be unloaded; when the process calls exit() meanwhile, output is flushed, and
 * what was registered by atexit() before is not called. */
bool store_postgres_open(const struct store_settings *settings, store **opened, char *error,
                         size_t capacity);

/* As store_module's `check`. */
bool store_postgres_check(const struct store_settings *settings,
                          const struct store_checker *checker, char *error, size_t capacity);

#endif
