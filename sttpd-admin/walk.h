/* All that is in a store, in the order of a recursive listing: byte by byte, a directory with its
 * final slash before what is in it. Memory is that of a page of names, and of one more for each
 * directory above that has too much in it for the store to list in one request. */
#ifndef ADMIN_WALK_H
#define ADMIN_WALK_H

#include <stdbool.h>

#include "sttpd/store.h"

struct entry {
    char path[STTP_MAX_PATH + 2]; /* "/notes/a.txt", "/notes/" */
    size_t size;
    bool is_directory;
    bool is_empty; /* a directory with nothing in it that is listed */
};

struct walk_level;

struct walk {
    store *store;
    struct walk_level *level; /* the innermost */
    struct entry ahead;       /* the entry behind the one that was given last */
    bool has_ahead;
    bool has_failed; /* told on standard error */
    const char *name;
};

/* Begins at the root. `name` is what messages call the store: "the source". */
void walk_start(struct walk *walk, store *asked, const char *name);

/* The next entry. False at the end, and after a failure. */
bool walk_next(struct walk *walk, struct entry *entry);

void walk_end(struct walk *walk);

/* The order of the entries. */
int entry_compare(const struct entry *a, const struct entry *b);

#endif
