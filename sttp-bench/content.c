#include "content.h"

#include <string.h>

uint64_t content_fresh_key(unsigned thread, uint64_t n)
{
    return CONTENT_FRESH | (uint64_t)thread << 40 | n;
}

static char *write_word(char *at, const char *word)
{
    size_t size = strlen(word);

    memcpy(at, word, size);
    return at + size;
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
static char *write_directory(const bench_names *names, char *at)
{
    unsigned shift = names->seed > 0 ? (63 - (unsigned)__builtin_clzll(names->seed)) / 4 * 4 : 0;

    if (names->script)
        return write_word(at, "/snippets/");
    at = write_word(at, "/sttp-bench/");
    for (int left = (int)shift; left >= 0; left -= 4)
        *at++ = "0123456789abcdef"[names->seed >> left & 15];
    return write_word(at, "/");
}

size_t content_path(const bench_names *names, uint64_t key, char *path)
{
    char *at = write_directory(names, path);

    if (key == CONTENT_DIRECTORY) {
        *at = '\0';
        return (size_t)(at - path);
    }
    if (key & CONTENT_FRESH) {
        at = write_word(at, "new_");
        at = write_number(at, (key & ~CONTENT_FRESH) >> 40);
        at = write_word(at, "_");
        at = write_number(at, key & (((uint64_t)1 << 40) - 1));
    } else {
        at = write_word(at, names->script ? "snippet_" : "key_");
        at = write_number(at, key + names->script);
    }
    at = write_word(at, ".txt");
    *at = '\0';
    return (size_t)(at - path);
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
