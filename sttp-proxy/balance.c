/* Turns are kept as credits. Each request is worth ONE, which all who could have had it are given
 * in shares by their weights; who gets it pays all of it. So credits add up to zero, and the one
 * with the most is next. In units of requests, not of weights, they stay small whoever comes and
 * goes: credits of a heavy upstream's weight would keep a light one waiting for long when the heavy
 * one is gone. */
#include "sttp-proxy/balance.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "sttp-proxy/random.h"

enum { POINTS_OF_WEIGHT = 256, MAX_POINTS = 1 << 18 };

/* The value of a request: large enough for small shares, small enough for the credits of all. */
#define ONE (UINT64_C(1) << 48)

struct point {
    uint64_t position;
    uint32_t owner;
};

struct balance_ring {
    size_t count;
    struct point points[];
};

struct turn {
    int64_t credit;
    bool taking_part;
};

struct balancer {
    balance_kind kind;
    const balance_ring *ring;
    uint64_t random;
    size_t first; /* of equals, which differs between workers */
    size_t count;
    struct turn turns[];
};

/* Those that may be chosen: the usable primaries, or else the usable backups. */
struct tier {
    bool backup;
    size_t count;
    uint64_t weight;
    uint64_t in_flight;
};

/* By position. Two at the same one, which never happens: the order is that of the list. */
static int compare_points(const void *a, const void *b)
{
    const struct point *x = a, *y = b;

    if (x->position != y->position)
        return x->position < y->position ? -1 : 1;
    return x->owner < y->owner ? -1 : x->owner > y->owner;
}

static size_t points_of(const balance_place *place, unsigned shift)
{
    size_t points = (place->weight ? place->weight : 1) * (size_t)POINTS_OF_WEIGHT >> shift;

    return points ? points : 1;
}

/* A unit of weight has always as many points, so that the places of one upstream do not depend on
 * the others; unless that would be too many: then each has a half, a quarter, ... of the same. */
static unsigned choose_shift(const balance_place *places, size_t count, size_t *total)
{
    unsigned shift = 0;

    for (;; shift++) {
        *total = 0;
        for (size_t i = 0; i < count; i++)
            *total += points_of(&places[i], shift);
        if (*total <= MAX_POINTS)
            return shift;
    }
}

balance_ring *balance_ring_create(const balance_place *places, size_t count)
{
    size_t total;
    unsigned shift = choose_shift(places, count, &total);
    balance_ring *ring = calloc(1, sizeof *ring + total * sizeof ring->points[0]);

    if (!ring)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        size_t points = points_of(&places[i], shift);

        for (size_t j = 0; j < points; j++) {
            uint64_t position =
                XXH3_64bits_withSeed(places[i].address.data, places[i].address.size, j);
            ring->points[ring->count++] = (struct point){position, (uint32_t)i};
        }
    }
    qsort(ring->points, ring->count, sizeof ring->points[0], compare_points);
    return ring;
}

void balance_ring_destroy(balance_ring *ring)
{
    free(ring);
}

/* The first point at or behind the position of `path`; the number of points where all are before.
 */
static size_t find_point(const balance_ring *ring, sttp_slice path)
{
    uint64_t position = XXH3_64bits(path.data, path.size);
    size_t low = 0, high = ring->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (ring->points[middle].position < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

balancer *balance_create(balance_kind kind, const balance_ring *ring, size_t count, uint64_t seed)
{
    balancer *balance = calloc(1, sizeof *balance + count * sizeof balance->turns[0]);

    if (!balance)
        return NULL;
    balance->kind = kind;
    balance->ring = ring;
    balance->random = seed;
    balance->first = seed % count;
    balance->count = count;
    return balance;
}

void balance_destroy(balancer *balance)
{
    free(balance);
}

static bool may_have(const balance_candidate *candidate, bool backup)
{
    return candidate->usable && candidate->weight > 0 && candidate->backup == backup;
}

static struct tier find_tier(const balance_candidate *candidates, size_t count)
{
    struct tier tiers[2] = {{.backup = false}, {.backup = true}};

    for (size_t i = 0; i < count; i++) {
        struct tier *mine = &tiers[candidates[i].backup];

        if (!may_have(&candidates[i], mine->backup))
            continue;
        mine->count++;
        mine->weight += candidates[i].weight;
        mine->in_flight += candidates[i].in_flight;
    }
    return tiers[0].count > 0 ? tiers[0] : tiers[1];
}

/* Below 0 where `a` has fewer in flight for its weight than `b`, the new request counted. */
static int compare_load(const balance_candidate *a, const balance_candidate *b)
{
    uint64_t load_a = ((uint64_t)a->in_flight + 1) * b->weight;
    uint64_t load_b = ((uint64_t)b->in_flight + 1) * a->weight;

    return load_a < load_b ? -1 : load_a > load_b;
}

/* Who of those that take part is next. `weight` is that of all of them. */
static size_t take_turn(balancer *balance, const balance_candidate *candidates, uint64_t weight)
{
    uint64_t unit = ONE / weight;
    size_t next = BALANCE_NONE;

    for (size_t n = 0, i = balance->first; n < balance->count; n++, i++) {
        if (i == balance->count)
            i = 0;
        if (!balance->turns[i].taking_part)
            continue;
        balance->turns[i].credit += (int64_t)(unit * candidates[i].weight);
        if (next == BALANCE_NONE || balance->turns[i].credit > balance->turns[next].credit)
            next = i;
    }
    balance->turns[next].credit -= (int64_t)(unit * weight);
    return next;
}

static size_t pick_in_turn(balancer *balance, const balance_candidate *candidates,
                           const struct tier *tier)
{
    for (size_t i = 0; i < balance->count; i++)
        balance->turns[i].taking_part = may_have(&candidates[i], tier->backup);
    return take_turn(balance, candidates, tier->weight);
}

static size_t pick_least(balancer *balance, const balance_candidate *candidates,
                         const struct tier *tier)
{
    const balance_candidate *least = NULL;
    uint64_t weight = 0;

    for (size_t i = 0; i < balance->count; i++)
        if (may_have(&candidates[i], tier->backup) &&
            (!least || compare_load(&candidates[i], least) < 0))
            least = &candidates[i];
    for (size_t i = 0; i < balance->count; i++) {
        const balance_candidate *each = &candidates[i];

        balance->turns[i].taking_part =
            may_have(each, tier->backup) &&
            (compare_load(each, least) == 0 || (each->in_flight == 0 && least->in_flight == 0));
        if (balance->turns[i].taking_part)
            weight += each->weight;
    }
    return take_turn(balance, candidates, weight);
}

/* One of the tier by weight, but not `except`. `weight` is that of all that may be drawn. */
static size_t draw(balancer *balance, const balance_candidate *candidates, const struct tier *tier,
                   size_t except, uint64_t weight)
{
    uint64_t left = random_next(&balance->random) * weight >> 32;
    size_t i = 0;

    for (;; i++) {
        if (i == except || !may_have(&candidates[i], tier->backup))
            continue;
        if (left < candidates[i].weight)
            return i;
        left -= candidates[i].weight;
    }
}

static size_t pick_of_two(balancer *balance, const balance_candidate *candidates,
                          const struct tier *tier)
{
    size_t one = draw(balance, candidates, tier, BALANCE_NONE, tier->weight);
    size_t other;

    if (tier->count == 1)
        return one;
    other = draw(balance, candidates, tier, one, tier->weight - candidates[one].weight);
    if (candidates[one].in_flight == 0 && candidates[other].in_flight == 0)
        return one;
    return compare_load(&candidates[other], &candidates[one]) < 0 ? other : one;
}

/* in_flight < ceil(5/4 * (all in flight + 1) * weight / all weights), without a division. */
static bool has_room(const balance_candidate *candidate, const struct tier *tier)
{
    return (uint64_t)candidate->in_flight * 4 * tier->weight <
           5 * (tier->in_flight + 1) * candidate->weight;
}

/* There is one with room: the room of all is more than what is in flight on all. */
static size_t pick_by_hash(const balancer *balance, const balance_candidate *candidates,
                           const struct tier *tier, sttp_slice path)
{
    const balance_ring *ring = balance->ring;

    for (size_t at = find_point(ring, path);; at++) {
        const balance_candidate *owner;

        if (at == ring->count)
            at = 0;
        owner = &candidates[ring->points[at].owner];
        if (may_have(owner, tier->backup) && has_room(owner, tier))
            return ring->points[at].owner;
    }
}

size_t balance_pick(balancer *balance, const balance_candidate *candidates, sttp_slice path)
{
    struct tier tier = find_tier(candidates, balance->count);

    if (tier.count == 0)
        return BALANCE_NONE;
    switch (balance->kind) {
    case BALANCE_LEAST_IN_FLIGHT:
        return pick_least(balance, candidates, &tier);
    case BALANCE_ROUND_ROBIN:
        return pick_in_turn(balance, candidates, &tier);
    case BALANCE_RANDOM_TWO:
        return pick_of_two(balance, candidates, &tier);
    case BALANCE_HASH:
        return pick_by_hash(balance, candidates, &tier, path);
    }
    return BALANCE_NONE;
}
