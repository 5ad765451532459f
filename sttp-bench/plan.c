#include "plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "values.h"

enum { MAX_WEIGHT = 1000000 };

/* ---- mix ---- */

/* "show=90", `size` bytes. */
static bool parse_weight(const char *text, size_t size, bench_mix *mix, unsigned *seen)
{
    char number[16];
    const char *equals = memchr(text, '=', size);
    if (!equals)
        return false;
    sttp_action action = sttp_action_from_name((sttp_slice){text, (size_t)(equals - text)});
    size_t digits = size - (size_t)(equals + 1 - text);
    uint64_t weight;

    if (action == STTP_ACTION_NONE || (*seen & 1u << action) || digits >= sizeof number)
        return false;
    memcpy(number, equals + 1, digits);
    number[digits] = '\0';
    if (!value_number(number, 0, MAX_WEIGHT, &weight))
        return false;
    *seen |= 1u << action;
    mix->weights[action] = (unsigned)weight;
    mix->total += (unsigned)weight;
    return true;
}

bool mix_parse(const char *text, bench_mix *mix)
{
    unsigned seen = 0;

    *mix = (bench_mix){0};
    for (;;) {
        size_t size = strcspn(text, ",");
        if (!parse_weight(text, size, mix, &seen))
            return false;
        if (text[size] == '\0')
            return mix->total > 0;
        text += size + 1;
    }
}

sttp_action mix_draw(const bench_mix *mix, bench_random *random)
{
    uint64_t drawn = random_below(random, mix->total);

    for (int action = STTP_ACTION_CREATE; action < STTP_ACTION_DELETE; action++) {
        if (drawn < mix->weights[action])
            return (sttp_action)action;
        drawn -= mix->weights[action];
    }
    return STTP_ACTION_DELETE;
}

/* ---- keys ---- */

static bool parse_value(const char *text, double above, double limit, double *value)
{
    return value_decimal(text, value) && *value > above && *value <= limit;
}

bool distribution_parse(const char *text, bench_distribution *distribution)
{
    *distribution = (bench_distribution){0};
    if (strcmp(text, "uniform") == 0)
        return true;
    if (strncmp(text, "zipf:", 5) == 0) {
        distribution->kind = DISTRIBUTION_ZIPF;
        return parse_value(text + 5, 0, 10, &distribution->value);
    }
    distribution->kind = DISTRIBUTION_HOT;
    return strncmp(text, "hot:", 4) == 0 && parse_value(text + 4, 0, 1, &distribution->value) &&
           distribution->value < 1;
}

/* The integral of 1 / x^s, its inverse, and the function itself. */
static double integral(double x, double s)
{
    double logarithm = log(x);
    double t = (1 - s) * logarithm;

    return (fabs(t) > 1e-8 ? expm1(t) / t : 1 + t / 2) * logarithm;
}

static double inverse(double x, double s)
{
    double t = fmax((1 - s) * x, -1);

    return exp((fabs(t) > 1e-8 ? log1p(t) / t : 1 - t / 2) * x);
}

static double density(double x, double s)
{
    return exp(-s * log(x));
}

void distribution_prepare(bench_distribution *distribution, uint64_t keys)
{
    double s = distribution->value;

    distribution->keys = keys;
    if (distribution->kind != DISTRIBUTION_ZIPF)
        return;
    distribution->first = integral(1.5, s) - 1;
    distribution->last = integral((double)keys + 0.5, s);
    distribution->shortcut = 2 - inverse(integral(2.5, s) - density(2, s), s);
}

static uint64_t draw_zipf(const bench_distribution *d, bench_random *random)
{
    for (;;) {
        double u = d->last + random_fraction(random) * (d->first - d->last);
        double x = inverse(u, d->value);
        double k = fmin(fmax(floor(x + 0.5), 1), (double)d->keys);
        if (k - x <= d->shortcut || u >= integral(k + 0.5, d->value) - density(k, d->value))
            return (uint64_t)k - 1;
    }
}

static uint64_t draw_hot(const bench_distribution *d, bench_random *random)
{
    uint64_t hot = (uint64_t)ceil((double)d->keys * d->value);

    if (hot == d->keys || random_below(random, 10) > 0)
        return random_below(random, hot);
    return hot + random_below(random, d->keys - hot);
}

uint64_t distribution_draw(const bench_distribution *distribution, bench_random *random)
{
    switch (distribution->kind) {
    case DISTRIBUTION_ZIPF:
        return draw_zipf(distribution, random);
    case DISTRIBUTION_HOT:
        return draw_hot(distribution, random);
    case DISTRIBUTION_UNIFORM:
        break;
    }
    return random_below(random, distribution->keys);
}
