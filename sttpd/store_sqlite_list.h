/* What the two ways to list share: see store_sqlite_list.c. */
#ifndef STTPD_STORE_SQLITE_LIST_H
#define STTPD_STORE_SQLITE_LIST_H

#include "sttpd/store_fs_names.h"
#include "sttpd/store_sqlite_private.h"

struct sq_listing {
    struct store_sqlite *sqlite;
    struct sq_connection *connection;
    const sttp_query *query;
    sttp_slice directory;  /* the listed one's path, with its final slash */
    struct fs_names names; /* relative to it */
    size_t kept;           /* of them, the first ones: what is behind them is not wanted */
    size_t joined;         /* bytes of the answer so far, each name with what follows it */
    uint64_t rows;         /* that were looked at */
    uint64_t budget;       /* at which the way that is taken gives up for now */
    size_t from_size, end_size;
    char from[SQ_PATH_ROOM + 2]; /* where the next row is looked for */
    char end[SQ_PATH_ROOM];      /* what comes behind all that is below the directory */
};

/* What came of a way to list. */
enum sq_progress {
    SQ_FINISHED, /* the names are all that the answer needs */
    SQ_BUDGET,   /* more rows would have to be looked at */
    SQ_FAILED    /* with a result and errno */
};

/* Whether a row is in the answer. `text` is looked at where the query has one. */
bool sq_is_wanted(const struct sq_listing *listing, sttp_slice path, sttp_slice text);

/* Adds a row's name. STORE_DONE, STORE_TOO_MANY_NAMES or STORE_NO_MEMORY. */
store_result sq_add_name(struct sq_listing *listing, sttp_slice path);

/* Counts a row; SQ_FINISHED where it may be looked at. */
enum sq_progress sq_count_row(struct sq_listing *listing, store_result *result);

/* Looks at the rows in their order, from where the last call ended. */
enum sq_progress sq_scan(struct sq_listing *listing, store_result *result);

/* Whether the index can find the texts that the query wants. */
bool sq_can_match(const sttp_query *query);

/* Finds the texts by the index, from the beginning with each call; `again`: in a way that does not
 * count on luck. */
enum sq_progress sq_match(struct sq_listing *listing, bool again, store_result *result);

#endif
