/* What to ask for: the mix of actions, and which keys are asked for how often. */
#ifndef BENCH_PLAN_H
#define BENCH_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sttp/message.h>

#include "random.h"

enum { PLAN_ACTIONS = STTP_ACTION_DELETE + 1, PLAN_MAX_KEYS = 100000000 };

/* Weights, by action. */
typedef struct bench_mix {
    unsigned weights[PLAN_ACTIONS];
    unsigned total;
} bench_mix;

/* "show=90,update=10": each of create, show, list, update, delete at most once, weights 0 to
 * 1,000,000, not all of them 0. */
bool mix_parse(const char *text, bench_mix *mix);

sttp_action mix_draw(const bench_mix *mix, bench_random *random);

typedef enum distribution_kind {
    DISTRIBUTION_UNIFORM = 0,
    DISTRIBUTION_ZIPF, /* the n-th key as often as 1 / n to the power of `value` */
    DISTRIBUTION_HOT   /* nine in ten requests go to the first `value` of the keys */
} distribution_kind;

typedef struct bench_distribution {
    distribution_kind kind;
    double value;
    uint64_t keys;
    /* Zipf: by rejection-inversion (Hoermann, Derflinger 1996), which needs no table. */
    double first, last, shortcut;
} bench_distribution;

/* "uniform", "zipf:S" with S above 0 up to 10, "hot:F" with F above 0 below 1. Keys are to be set
 * by distribution_prepare. */
bool distribution_parse(const char *text, bench_distribution *distribution);
void distribution_prepare(bench_distribution *distribution, uint64_t keys);

/* A key, from 0 below the number of keys. */
uint64_t distribution_draw(const bench_distribution *distribution, bench_random *random);

#endif
