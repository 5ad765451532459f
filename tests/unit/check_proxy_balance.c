/* Which upstream a request goes to: turns, loads, draws, the ring, and what is left of each when
 * upstreams come and go. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "proxy_support.h"
#include "sttp-proxy/balance.h"

enum { MAX = 20, PATHS = 50000 };

static balance_candidate candidates[MAX];
static balance_ring *ring;
static balancer *chooser;

static void teardown(void)
{
    balance_destroy(chooser);
    balance_ring_destroy(ring);
}

/* Upstreams named "10.0.0.1:8080" and on, all usable. */
static void begin(balance_kind kind, const uint32_t *weights, size_t count)
{
    static char names[MAX][32];
    balance_place places[MAX];

    teardown();
    ring = NULL;
    for (size_t i = 0; i < count; i++) {
        int size = snprintf(names[i], sizeof names[i], "10.0.0.%zu:8080", i + 1);

        candidates[i] = (balance_candidate){.weight = weights[i], .usable = true};
        places[i] = (balance_place){{names[i], (size_t)size}, weights[i]};
    }
    if (kind == BALANCE_HASH)
        ck_assert_ptr_nonnull(ring = balance_ring_create(places, count));
    ck_assert_ptr_nonnull(chooser = balance_create(kind, ring, count, 0));
}

static void begin_equal(balance_kind kind, size_t count)
{
    static const uint32_t ones[MAX] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

    begin(kind, ones, count);
}

static size_t pick(void)
{
    return balance_pick(chooser, candidates, STTP_SLICE("/a"));
}

static size_t pick_path(size_t number)
{
    char path[32];
    int size = snprintf(path, sizeof path, "/notes/%zu.txt", number);

    return balance_pick(chooser, candidates, (sttp_slice){path, (size_t)size});
}

/* The next picks as letters. */
static void expect_picks(const char *letters)
{
    char picked[64] = "";

    for (size_t i = 0; letters[i]; i++)
        picked[i] = (char)('a' + pick());
    ck_assert_str_eq(picked, letters);
}

START_TEST(none_is_usable)
{
    for (balance_kind kind = BALANCE_LEAST_IN_FLIGHT; kind <= BALANCE_HASH; kind++) {
        begin_equal(kind, 3);
        candidates[0].usable = candidates[1].usable = false;
        candidates[2].weight = 0;
        ck_assert_uint_eq(pick(), BALANCE_NONE);
        candidates[1].usable = true;
        for (int i = 0; i < 5; i++)
            ck_assert_uint_eq(pick(), 1);
    }
}
END_TEST

START_TEST(backups_come_last)
{
    for (balance_kind kind = BALANCE_LEAST_IN_FLIGHT; kind <= BALANCE_HASH; kind++) {
        size_t counts[4] = {0};

        begin_equal(kind, 4);
        candidates[0].backup = candidates[3].backup = true;
        candidates[1].in_flight = candidates[2].in_flight = 1000;
        for (size_t i = 0; i < 400; i++)
            counts[pick_path(i)]++;
        ck_assert_uint_eq(counts[0] + counts[3], 0);
        ck_assert(counts[1] > 100 && counts[2] > 100);
        candidates[1].usable = candidates[2].usable = false;
        for (size_t i = 0; i < 400; i++)
            counts[pick_path(i)]++;
        ck_assert_uint_eq(counts[1] + counts[2], 400);
        ck_assert(counts[0] > 100 && counts[3] > 100);
    }
}
END_TEST

START_TEST(turns_are_smooth)
{
    static const uint32_t weights[] = {5, 1, 1};

    begin(BALANCE_ROUND_ROBIN, weights, 3);
    for (int i = 0; i < 1000; i++)
        expect_picks("aabacaa");
    begin_equal(BALANCE_ROUND_ROBIN, 3);
    for (int i = 0; i < 1000; i++)
        expect_picks("abc");
}
END_TEST

START_TEST(workers_begin_with_different_ones)
{
    begin_equal(BALANCE_ROUND_ROBIN, 3);
    balance_destroy(chooser);
    ck_assert_ptr_nonnull(chooser = balance_create(BALANCE_ROUND_ROBIN, NULL, 3, 7));
    expect_picks("bcabca");
}
END_TEST

/* What a light one owes for a request, it owes as a request: not as the weight that all had. */
START_TEST(no_long_wait_when_a_heavy_one_goes)
{
    static const uint32_t weights[] = {100, 1, 1};
    size_t steps = 0;

    begin(BALANCE_ROUND_ROBIN, weights, 3);
    while (pick() != 1)
        ck_assert_uint_lt(++steps, 102);
    candidates[0].usable = false;
    expect_picks("cbcbcb");
}
END_TEST

START_TEST(no_catching_up_after_a_return)
{
    begin_equal(BALANCE_ROUND_ROBIN, 2);
    expect_picks("ab");
    candidates[0].usable = false;
    expect_picks("bbbbbbbb");
    candidates[0].usable = true;
    expect_picks("abababab");
}
END_TEST

/* Whoever comes and goes, and whatever happens to weights: what each had is what it was entitled
 * to, but for a few requests. */
START_TEST(turns_do_not_drift)
{
    enum { COUNT = 6 };
    static const uint32_t weights[COUNT] = {1, 1, 2, 10, 100, 3};
    double owed[COUNT] = {0};
    uint64_t state = random_seed();

    begin(BALANCE_ROUND_ROBIN, weights, COUNT);
    for (int step = 0; step < 200000; step++) {
        double all = 0;
        size_t changed = random_below(&state, COUNT);

        if (random_below(&state, 4) == 0)
            candidates[changed].usable = !candidates[changed].usable;
        if (random_below(&state, 50) == 0)
            candidates[changed].weight = weights[changed] * (1 + random_below(&state, 100));
        for (size_t i = 0; i < COUNT; i++)
            all += candidates[i].usable ? candidates[i].weight : 0;
        for (size_t i = 0; i < COUNT && all > 0; i++)
            owed[i] += candidates[i].usable ? candidates[i].weight / all : 0;
        changed = pick();
        ck_assert((changed == BALANCE_NONE) == (all == 0));
        if (all > 0)
            owed[changed] -= 1;
        for (size_t i = 0; i < COUNT; i++)
            ck_assert_msg(fabs(owed[i]) < 3, "step %d: upstream %zu is owed %f", step, i, owed[i]);
    }
}
END_TEST

START_TEST(least_for_its_weight)
{
    static const struct {
        uint32_t weights[2], in_flight[2];
        size_t picked;
    } cases[] = {
        {{1, 1}, {3, 2}, 1},
        {{1, 1}, {2, 3}, 0},
        {{2, 1}, {2, 1}, 0}, /* 3/2 and 2 */
        {{2, 1}, {4, 1}, 1}, /* 5/2 and 2 */
        {{3, 1}, {1, 0}, 0}, /* 2/3 and 1 */
        {{3, 1}, {3, 0}, 1}, /* 4/3 and 1 */
        {{100, 10}, {8, 0}, 0},
        {{100, 10}, {10, 0}, 1},
        {{BALANCE_MAX_WEIGHT, BALANCE_MAX_WEIGHT}, {UINT32_MAX, UINT32_MAX - 1}, 1},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(BALANCE_LEAST_IN_FLIGHT, cases[i].weights, 2);
        candidates[0].in_flight = cases[i].in_flight[0];
        candidates[1].in_flight = cases[i].in_flight[1];
        for (int again = 0; again < 3; again++)
            ck_assert_msg(pick() == cases[i].picked, "case %zu", i);
    }
}
END_TEST

START_TEST(equals_have_turns)
{
    static const uint32_t weights[] = {3, 1}, tenfold[] = {100, 10};

    begin_equal(BALANCE_LEAST_IN_FLIGHT, 3);
    expect_picks("abcabcabc");
    for (size_t i = 0; i < 3; i++)
        candidates[i].in_flight = 7;
    candidates[1].in_flight = 8;
    expect_picks("acacac");
    begin(BALANCE_LEAST_IN_FLIGHT, weights, 2);
    expect_picks("aabaaaba"); /* nothing in flight: by weight */
    begin(BALANCE_LEAST_IN_FLIGHT, tenfold, 2);
    candidates[0].in_flight = 9;
    expect_picks("aaaaab");
}
END_TEST

/* With answers that take as long everywhere, the load follows the weights. */
START_TEST(least_in_flight_follows_weights)
{
    static const uint32_t weights[] = {1, 2, 4, 9};

    begin(BALANCE_LEAST_IN_FLIGHT, weights, 4);
    for (int i = 0; i < 160; i++)
        candidates[pick()].in_flight++;
    for (size_t i = 0; i < 4; i++)
        ck_assert_uint_eq(candidates[i].in_flight, 10 * weights[i]);
}
END_TEST

/* The chance of the first draw is the weight; so it is of the pick, where nothing is in flight. */
START_TEST(draws_follow_weights)
{
    enum { DRAWS = 80000 };
    static const uint32_t weights[] = {1, 2, 5};
    size_t counts[3] = {0};

    begin(BALANCE_RANDOM_TWO, weights, 3);
    for (int i = 0; i < DRAWS; i++)
        counts[pick()]++;
    for (size_t i = 0; i < 3; i++)
        ck_assert_double_eq_tol((double)counts[i] / DRAWS, weights[i] / 8.0, 0.01);
}
END_TEST

/* Of two different ones the one with fewer: so the one with most is never picked, the one with
 * least in two of three draws. */
START_TEST(two_different_ones_are_drawn)
{
    size_t counts[3] = {0};

    begin_equal(BALANCE_RANDOM_TWO, 3);
    candidates[0].in_flight = 5;
    candidates[1].in_flight = 4;
    candidates[2].in_flight = 3;
    for (int i = 0; i < 30000; i++)
        counts[pick()]++;
    ck_assert_uint_eq(counts[0], 0);
    ck_assert_double_eq_tol(counts[1] / 30000.0, 1 / 3.0, 0.01);
}
END_TEST

START_TEST(seeds_draw_differently)
{
    size_t same = 0;
    balancer *other;

    begin_equal(BALANCE_RANDOM_TWO, 10);
    ck_assert_ptr_nonnull(other = balance_create(BALANCE_RANDOM_TWO, NULL, 10, 1));
    for (int i = 0; i < 1000; i++)
        same += pick() == balance_pick(other, candidates, STTP_SLICE("/a"));
    ck_assert_uint_lt(same, 300);
    balance_destroy(other);
}
END_TEST

START_TEST(places_follow_weights)
{
    static const uint32_t weights[] = {1, 2, 3, 4};
    size_t counts[4] = {0};

    begin(BALANCE_HASH, weights, 4);
    for (size_t i = 0; i < PATHS; i++)
        counts[pick_path(i)]++;
    for (size_t i = 0; i < 4; i++)
        ck_assert_double_eq_tol((double)counts[i] / PATHS, weights[i] / 10.0, weights[i] / 50.0);
}
END_TEST

/* Standard deviation of a share with 256 points: a sixteenth of it. */
START_TEST(removing_one_moves_its_paths_only)
{
    enum { COUNT = 10 };
    static size_t before[PATHS];

    begin_equal(BALANCE_HASH, COUNT);
    for (size_t i = 0; i < PATHS; i++)
        before[i] = pick_path(i);
    for (size_t gone = 0; gone < COUNT; gone++) {
        size_t moved = 0, to[COUNT] = {0};

        candidates[gone].usable = false;
        for (size_t i = 0; i < PATHS; i++) {
            size_t after = pick_path(i);

            ck_assert_uint_ne(after, gone);
            if (before[i] != gone)
                ck_assert_uint_eq(after, before[i]);
            else
                moved++, to[after]++;
        }
        candidates[gone].usable = true;
        ck_assert_double_eq_tol((double)moved / PATHS, 1.0 / COUNT, 0.25 / COUNT);
        for (size_t i = 0; i < COUNT; i++) /* spread over all, not heaped upon a neighbour */
            ck_assert(i == gone || to[i] > moved / COUNT / 2);
    }
    for (size_t i = 0; i < PATHS; i++)
        ck_assert_uint_eq(pick_path(i), before[i]);
}
END_TEST

START_TEST(adding_one_moves_paths_to_it_only)
{
    static size_t before[PATHS];
    size_t moved = 0;

    begin_equal(BALANCE_HASH, 9);
    for (size_t i = 0; i < PATHS; i++)
        before[i] = pick_path(i);
    begin_equal(BALANCE_HASH, 10);
    for (size_t i = 0; i < PATHS; i++) {
        size_t after = pick_path(i);

        moved += after != before[i];
        ck_assert(after == before[i] || after == 9);
    }
    ck_assert_double_eq_tol((double)moved / PATHS, 0.1, 0.025);
}
END_TEST

START_TEST(order_of_the_list_does_not_matter)
{
    static const balance_place places[] = {
        {{"a:1", 3}, 1}, {{"b:1", 3}, 3}, {{"unix:/run/c", 11}, 2}};
    balance_ring *backwards;
    balancer *other;

    ring = balance_ring_create(places, 3);
    backwards = balance_ring_create((balance_place[]){places[2], places[1], places[0]}, 3);
    ck_assert(ring && backwards);
    ck_assert_ptr_nonnull(chooser = balance_create(BALANCE_HASH, ring, 3, 1));
    ck_assert_ptr_nonnull(other = balance_create(BALANCE_HASH, backwards, 3, 2));
    for (size_t i = 0; i < 3; i++)
        candidates[i] = (balance_candidate){.weight = 1, .usable = true};
    for (size_t i = 0; i < 1000; i++) {
        char path[16];
        sttp_slice slice = {path, (size_t)snprintf(path, sizeof path, "/%zu", i)};

        ck_assert_uint_eq(balance_pick(chooser, candidates, slice),
                          2 - balance_pick(other, candidates, slice));
    }
    balance_destroy(other);
    balance_ring_destroy(backwards);
}
END_TEST

/* Another version of the program, and a proxy beside this one, must place the same. */
START_TEST(places_stay_the_same_for_ever)
{
    char picked[33] = "";

    begin_equal(BALANCE_HASH, 5);
    for (size_t i = 0; i < 32; i++)
        picked[i] = (char)('a' + pick_path(i));
    ck_assert_str_eq(picked, "ebcacacebbeababaeeaedbbceaceeaab");
}
END_TEST

START_TEST(points_have_a_limit)
{
    uint32_t weights[] = {BALANCE_MAX_WEIGHT, BALANCE_MAX_WEIGHT / 2, 0, 1};
    size_t counts[4] = {0};

    begin(BALANCE_HASH, weights, 4);
    for (size_t i = 0; i < PATHS; i++)
        counts[pick_path(i)]++;
    ck_assert_double_eq_tol((double)counts[0] / PATHS, 2 / 3.0, 0.02);
    ck_assert_double_eq_tol((double)counts[1] / PATHS, 1 / 3.0, 0.02);
    candidates[0].usable = candidates[1].usable = false; /* each has a point at least */
    ck_assert_uint_eq(pick(), 3);
    candidates[2].weight = 1;
    candidates[3].usable = false;
    ck_assert_uint_eq(pick(), 2);
}
END_TEST

/* The most that an upstream may have of `all` in flight. */
static uint32_t bound(uint64_t all, uint64_t weight, uint64_t weights)
{
    return (uint32_t)((5 * all * weight + 4 * weights - 1) / (4 * weights));
}

/* Few paths are most of the load, some upstreams are away. Requests come and end. */
START_TEST(loads_are_bounded)
{
    enum { COUNT = 7, IN_FLIGHT = 400 };
    static const uint32_t weights[COUNT] = {1, 1, 2, 3, 5, 1, 10};
    size_t owners[IN_FLIGHT];
    uint64_t state = random_seed();

    begin(BALANCE_HASH, weights, COUNT);
    for (size_t i = 0; i < IN_FLIGHT; i++)
        owners[i] = BALANCE_NONE;
    for (int step = 0; step < 100000; step++) {
        size_t slot = random_below(&state, 1 + (size_t)step / 300 % IN_FLIGHT);
        size_t at = random_below(&state, COUNT);
        uint64_t all = 1, weight = 0;

        if (random_below(&state, 100) == 0)
            candidates[at].usable = !candidates[at].usable;
        if (owners[slot] != BALANCE_NONE)
            candidates[owners[slot]].in_flight--;
        for (size_t i = 0; i < COUNT; i++) {
            all += candidates[i].usable ? candidates[i].in_flight : 0;
            weight += candidates[i].usable ? weights[i] : 0;
        }
        owners[slot] = at = pick_path(random_below(&state, 1 + random_below(&state, 100)));
        ck_assert((at == BALANCE_NONE) == (weight == 0));
        if (at == BALANCE_NONE)
            continue;
        ck_assert(candidates[at].usable);
        ck_assert_uint_le(++candidates[at].in_flight, bound(all, weights[at], weight));
    }
}
END_TEST

/* The first on the ring that has room: a path leaves its upstream only where that one is full, and
 * comes back as soon as it is not. */
START_TEST(only_full_ones_are_passed_over)
{
    size_t home, next;

    begin_equal(BALANCE_HASH, 4);
    home = pick();
    for (size_t i = 0; i < 4; i++)
        candidates[i].in_flight = 10;
    candidates[home].in_flight = 14; /* of 44, and the new one: ceil(1.25 * 45 / 4) = 15 */
    ck_assert_uint_eq(pick(), home);
    candidates[home].in_flight = 15; /* ceil(1.25 * 46 / 4) = 15 */
    next = pick();
    ck_assert_uint_ne(next, home);
    candidates[home].usable = false;
    candidates[home].in_flight = 0;
    ck_assert_uint_eq(pick(), next);
}
END_TEST

START_TEST(largest_numbers_fit)
{
    begin_equal(BALANCE_HASH, MAX);
    for (size_t i = 0; i < MAX; i++) {
        candidates[i].weight = BALANCE_MAX_WEIGHT;
        candidates[i].in_flight = i == 3 ? 0 : UINT32_MAX;
    }
    ck_assert_uint_lt(pick(), MAX);
    for (size_t i = 0; i < MAX; i++)
        candidates[i].in_flight = i == 3 ? 1 : 1000000000;
    for (size_t i = 0; i < MAX; i++)
        candidates[i].weight = i == 3 ? BALANCE_MAX_WEIGHT : 1;
    for (size_t i = 0; i < 100; i++)
        ck_assert_uint_eq(pick_path(i), 3);
}
END_TEST

START_TEST(memory_is_out)
{
    static const balance_place place = {{"a:1", 3}, 1};

    no_memory = true;
    ck_assert_ptr_null(balance_ring_create(&place, 1));
    ck_assert_ptr_null(balance_create(BALANCE_ROUND_ROBIN, NULL, 1, 0));
    no_memory = false;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_balance");
    TCase *tests = tcase_create("balance");

    tcase_add_checked_fixture(tests, NULL, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, none_is_usable);
    tcase_add_test(tests, backups_come_last);
    tcase_add_test(tests, turns_are_smooth);
    tcase_add_test(tests, workers_begin_with_different_ones);
    tcase_add_test(tests, no_long_wait_when_a_heavy_one_goes);
    tcase_add_test(tests, no_catching_up_after_a_return);
    tcase_add_test(tests, turns_do_not_drift);
    tcase_add_test(tests, least_for_its_weight);
    tcase_add_test(tests, equals_have_turns);
    tcase_add_test(tests, least_in_flight_follows_weights);
    tcase_add_test(tests, draws_follow_weights);
    tcase_add_test(tests, two_different_ones_are_drawn);
    tcase_add_test(tests, seeds_draw_differently);
    tcase_add_test(tests, places_follow_weights);
    tcase_add_test(tests, removing_one_moves_its_paths_only);
    tcase_add_test(tests, adding_one_moves_paths_to_it_only);
    tcase_add_test(tests, order_of_the_list_does_not_matter);
    tcase_add_test(tests, places_stay_the_same_for_ever);
    tcase_add_test(tests, points_have_a_limit);
    tcase_add_test(tests, loads_are_bounded);
    tcase_add_test(tests, only_full_ones_are_passed_over);
    tcase_add_test(tests, largest_numbers_fit);
    tcase_add_test(tests, memory_is_out);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
