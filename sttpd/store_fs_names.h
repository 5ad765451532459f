/* A growing set of names in one piece of memory: a listing's, or directories still to be read. */
#ifndef STTPD_STORE_FS_NAMES_H
#define STTPD_STORE_FS_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sttp/base.h>

struct fs_name {
    uint32_t start; /* in text */
    uint32_t size;
};

/* All zero: empty. */
struct fs_names {
    char *text;
    size_t used, room; /* of text */
    struct fs_name *names;
    size_t count, slots;
};

/* Adds a copy; false where memory is out. */
bool fs_names_add(struct fs_names *names, sttp_slice name);

/* The name at `index`; until the next call that changes the set. */
sttp_slice fs_names_at(const struct fs_names *names, size_t index);

/* Takes away the name that was added last. Not after fs_names_sort. The slice lives until the next
 * fs_names_add. */
sttp_slice fs_names_pop(struct fs_names *names);

/* Sorts byte by byte, and leaves one of those that are equal. */
void fs_names_sort(struct fs_names *names);

/* Sorts as above, keeps the first `count` and gives back the memory of the others; false where
 * memory is out. */
bool fs_names_keep(struct fs_names *names, size_t count);

/* The names joined by ", ": from malloc, NULL where memory is out. */
char *fs_names_join(const struct fs_names *names, size_t *size);

void fs_names_free(struct fs_names *names);

/* Less than, equal to or greater than 0, as a comes before, with or after b in a listing. */
int fs_names_compare(sttp_slice a, sttp_slice b);

#endif
