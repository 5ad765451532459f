/* Names and texts. A text is made of the seed of the run, the key that it belongs to and a nonce,
 * so that whoever reads it knows whether it is whole, of this run and of the path that was asked
 * for. */
#ifndef BENCH_CONTENT_H
#define BENCH_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sttp/message.h>

enum {
    CONTENT_MIN_VERIFIED = 32, /* characters: key and nonce in hexadecimal */
    CONTENT_MAX_PATH = 80      /* bytes, zero byte included */
};

/* A key that no other request of the run was given yet: the n-th one of a thread. */
#define CONTENT_FRESH ((uint64_t)1 << 63)
uint64_t content_fresh_key(unsigned thread, uint64_t n);

/* Stands for the directory that all texts are in. */
#define CONTENT_DIRECTORY UINT64_MAX

typedef struct bench_names {
    bool script; /* /snippets/snippet_N.txt, N from 1 */
    uint32_t run;
    char stem[40]; /* "/sttp-bench/SEED/key_" */
    size_t stem_size, directory_size;
} bench_names;

/* The names of a run. Fresh keys are named by `run`, too: what an earlier run with the same seed
 * has left is not in their way. */
bench_names content_names(bool script, uint64_t seed, uint32_t run);

/* Writes a path and a zero byte; returns its length. */
size_t content_path(const bench_names *names, uint64_t key, char *path);

/* Writes `size` characters, none of them a quote or a space. */
void content_write(uint64_t seed, uint64_t key, uint64_t nonce, size_t size, char *text);

/* Whether `text` is one that content_write made of this seed, key and size; its nonce. */
bool content_read(uint64_t seed, uint64_t key, size_t size, sttp_slice text, uint64_t *nonce);

#endif
