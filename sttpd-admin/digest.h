/* A number for all that is in a store: XXH3-128 of the lines "path LF" and, for a text, "text LF",
 * in the order of a recursive listing, as `xxhsum -H2` computes it. */
#ifndef ADMIN_DIGEST_H
#define ADMIN_DIGEST_H

#include <stdint.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "sttp/base.h"

enum { DIGEST_TEXT = 33 };

struct digest {
    XXH3_state_t state;
    uint64_t texts, directories; /* that were added */
};

void digest_start(struct digest *digest);
void digest_add_text(struct digest *digest, sttp_slice path, sttp_slice text);
void digest_add_directory(struct digest *digest, sttp_slice path);

/* Writes it as 32 hex digits. Returns `text`. */
const char *digest_end(const struct digest *digest, char text[DIGEST_TEXT]);

#endif
