#include "digest.h"

#include <stdio.h>

static void add_line(struct digest *digest, sttp_slice line)
{
    XXH3_128bits_update(&digest->state, line.data, line.size);
    XXH3_128bits_update(&digest->state, "\n", 1);
}

void digest_start(struct digest *digest)
{
    XXH3_128bits_reset(&digest->state);
    digest->texts = digest->directories = 0;
}

void digest_add_text(struct digest *digest, sttp_slice path, sttp_slice text)
{
    add_line(digest, path);
    add_line(digest, text);
    digest->texts++;
}

void digest_add_directory(struct digest *digest, sttp_slice path)
{
    add_line(digest, path);
    digest->directories++;
}

const char *digest_end(const struct digest *digest, char text[DIGEST_TEXT])
{
    XXH128_hash_t hash = XXH3_128bits_digest(&digest->state);

    snprintf(text, DIGEST_TEXT, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
    return text;
}
