#include "content.h"

#include <string.h>

uint64_t content_fresh_key(unsigned thread, uint64_t n)
{
    return CONTENT_FRESH | (uint64_t)thread << 40 | n;
}

/* Without leading zeros. */
static char *write_short_hex(char *at, uint64_t number)
{
    unsigned shift = number > 0 ? (63 - (unsigned)__builtin_clzll(number)) / 4 * 4 : 0;

    for (int left = (int)shift; left >= 0; left -= 4)
        *at++ = "0123456789abcdef"[number >> left & 15];
    return at;
}

bench_names content_names(bool script, uint64_t seed, uint32_t run)
{
    bench_names names = {.script = script, .run = run};
    char *at = stpcpy(names.stem, script ? "/snippets/" : "/sttp-bench/");

    if (!script) {
        at = write_short_hex(at, seed);
        *at++ = '/';
    }
    names.directory_size = (size_t)(at - names.stem);
    at = stpcpy(at, script ? "snippet_" : "key_");
    names.stem_size = (size_t)(at - names.stem);
    return names;
}

static char *write_number(char *at, uint64_t number)
{
    char digits[20];
    size_t count = 0;

    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (count > 0)
        *at++ = digits[--count];
    return at;
}

/* By hand: it is done for each request and each answer, and a format takes longer than all else. */
size_t content_path(const bench_names *names, uint64_t key, char *path)
{
    memcpy(path, names->stem, sizeof names->stem);
    char *at = path + names->directory_size;

    if (key == CONTENT_DIRECTORY) {
        *at = '\0';
        return names->directory_size;
    }
    if (key & CONTENT_FRESH) {
        at = write_short_hex(stpcpy(at, "new_"), names->run);
        *at++ = '_';
        at = write_number(at, (key & ~CONTENT_FRESH) >> 40);
        *at++ = '_';
        at = write_number(at, key & (((uint64_t)1 << 40) - 1));
    } else {
        at = write_number(path + names->stem_size, key + names->script);
    }
    memcpy(at, ".txt", 5);
    return (size_t)(at + 4 - path);
}

static void write_hex(uint64_t number, char *text)
{
    for (int i = 15; i >= 0; i--, number >>= 4)
        text[i] = "0123456789abcdef"[number & 15];
}

static bool read_hex(const char *text, uint64_t *number)
{
    *number = 0;
    for (int i = 0; i < 16; i++) {
        const char *digits = "0123456789abcdef";
        const char *found = memchr(digits, text[i], 16);
        if (found == NULL)
            return false;
        *number = *number << 4 | (uint64_t)(found - digits);
    }
    return true;
}

void content_write(uint64_t seed, uint64_t key, uint64_t nonce, size_t size, char *text)
{
    char head[CONTENT_MIN_VERIFIED];
    size_t head_size = size < sizeof head ? size : sizeof head;
    uint64_t state = (seed ^ key * 0x9e3779b97f4a7c15u ^ nonce * 0xbf58476d1ce4e5b9u) | 1;

    write_hex(key, head);
    write_hex(nonce, head + 16);
    memcpy(text, head, head_size);
    for (size_t i = head_size; i < size; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        text[i] = "abcdefghijklmnopqrstuvwxyz012345"[state >> 59];
    }
}

bool content_read(uint64_t seed, uint64_t key, size_t size, sttp_slice text, uint64_t *nonce)
{
    char expected[STTP_MAX_CONTENTS_CHARS];

    if (text.size != size || size < CONTENT_MIN_VERIFIED || size > sizeof expected ||
        !read_hex(text.data + 16, nonce))
        return false;
    content_write(seed, key, *nonce, size, expected);
    return memcmp(text.data, expected, size) == 0;
}
