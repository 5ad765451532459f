/* How a store is opened, whichever it is. A store whose library not every server needs is a module:
 * a shared object that is loaded when the settings ask for it. */
#ifndef STTPD_STORE_MODULE_H
#define STTPD_STORE_MODULE_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/log.h"
#include "sttpd/store.h"
#include "sttpd/store_check.h"

/* What an acknowledged change has survived when its answer leaves. */
enum store_durability {
    STORE_DURABILITY_ALWAYS =
        0, /* a crash of the machine: it is on disk, and so is what leads to it */
    STORE_DURABILITY_INTERVAL, /* a crash of the server. Once a second all is synced: a crash of
                                  the machine may lose or empty what changed since. A failure of
                                  that is told by the next change, which is STORE_EARLIER_LOST, or
                                  by `close` */
    STORE_DURABILITY_NONE      /* a crash of the server; the kernel writes when it likes */
};

/* Each store takes what concerns it. What this points to is copied, but for `log` and `watcher`,
 * which live until the store is closed. */
struct store_settings {
    enum store_durability durability;
    unsigned threads;        /* at most so many operations wait for storage at once; 0: 64 */
    unsigned queue;          /* operations that may wait besides; beyond it STORE_BUSY; 0: 4,096 */
    const char *sqlite_path; /* the database file */
    const char *postgres_conninfo;
    unsigned postgres_pool; /* connections */
    log_sink *log;
    const struct store_watcher *watcher; /* NULL: nobody wants to know of others' changes */
};

/* What a module exports, by the name STORE_MODULE_SYMBOL. */
struct store_module {
    /* Opens the store. On false `error` is one line for the operator that says why it cannot be
     * used and what to do; on true it is empty, or a warning of the same form. */
    bool (*open)(const struct store_settings *settings, store **opened, char *error,
                 size_t capacity);
    /* Tells `checker` of what is wrong in a database that `open` has opened; another connection
     * looks. False where it cannot, with one line about that. */
    bool (*check)(const struct store_settings *settings, const struct store_checker *checker,
                  char *error, size_t capacity);
};

#define STORE_MODULE_SYMBOL "sttpd_store_module"

#endif
