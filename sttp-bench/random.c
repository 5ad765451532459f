#include "random.h"

static uint64_t split_mix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void random_seed(bench_random *random, uint64_t seed, uint64_t stream)
{
    uint64_t state = seed;

    state = split_mix(&state) ^ stream;
    for (int i = 0; i < 4; i++)
        random->s[i] = split_mix(&state);
}

static uint64_t rotate(uint64_t value, int bits)
{
    return (value << bits) | (value >> (64 - bits));
}

uint64_t random_next(bench_random *random)
{
    uint64_t *s = random->s;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate(s[3], 45);
    return result;
}

double random_fraction(bench_random *random)
{
    return (double)(random_next(random) >> 11) * 0x1.0p-53;
}

uint64_t random_below(bench_random *random, uint64_t limit)
{
    uint64_t found = (uint64_t)(random_fraction(random) * (double)limit);

    return found < limit ? found : limit - 1;
}
