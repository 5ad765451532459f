/* Random numbers that a seed repeats: xoshiro256**, by Blackman and Vigna. */
#ifndef BENCH_RANDOM_H
#define BENCH_RANDOM_H

#include <stdint.h>

typedef struct bench_random {
    uint64_t s[4];
} bench_random;

/* The generator of a seed; `stream` tells those of several threads apart. */
void random_seed(bench_random *random, uint64_t seed, uint64_t stream);

uint64_t random_next(bench_random *random);

/* From 0, below 1. */
double random_fraction(bench_random *random);

/* From 0, below `limit`, which is not 0. */
uint64_t random_below(bench_random *random, uint64_t limit);

#endif
