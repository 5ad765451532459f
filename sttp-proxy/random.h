/* Numbers that look random and can be repeated. */
#ifndef STTP_PROXY_RANDOM_H
#define STTP_PROXY_RANDOM_H

#include <stdint.h>

/* 32 bits from a state that may begin with any value. SplitMix64, by Steele, Lea and Flood; the
 * upper half of it. */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) >> 32;
}

#endif
