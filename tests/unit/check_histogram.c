/* The histogram of times: precision, percentiles, merging. */
#include <stdlib.h>

#include <check.h>

#include "sttp-bench/histogram.h"

static histogram *one, *other;

static void setup(void)
{
    one = calloc(1, sizeof *one);
    other = calloc(1, sizeof *other);
    ck_assert(one && other);
}

static void teardown(void)
{
    free(one);
    free(other);
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 22; /* 42 bits */
}

START_TEST(slots_follow_each_other_without_gap_or_overlap)
{
    for (size_t i = 0; i + 1 < HISTOGRAM_SLOTS; i++) {
        ck_assert_uint_eq(histogram_slot(histogram_slot_low(i)), i);
        ck_assert_uint_eq(histogram_slot(histogram_slot_high(i)), i);
        ck_assert_uint_eq(histogram_slot_high(i) + 1, histogram_slot_low(i + 1));
    }
    ck_assert_uint_eq(histogram_slot(((uint64_t)1 << HISTOGRAM_MAX_BITS) - 1), HISTOGRAM_SLOTS - 1);
}
END_TEST

START_TEST(three_significant_digits_from_a_microsecond_to_an_hour)
{
    for (size_t i = histogram_slot(1000); i < histogram_slot(3600ull * 1000000000); i++) {
        uint64_t low = histogram_slot_low(i);
        ck_assert_uint_le((histogram_slot_high(i) - low) * 1000, low);
    }
}
END_TEST

START_TEST(empty_one_has_zeros)
{
    ck_assert_uint_eq(histogram_percentile(one, 50), 0);
    ck_assert_uint_eq(histogram_percentile(one, 100), 0);
    ck_assert_double_eq(histogram_mean(one), 0);
    histogram_merge(one, other);
    ck_assert_uint_eq(one->count, 0);
}
END_TEST

START_TEST(percentiles_of_known_values)
{
    for (uint64_t i = 1; i <= 1000; i++)
        histogram_add(one, i);
    ck_assert_uint_eq(histogram_percentile(one, 0), 1);
    ck_assert_uint_eq(histogram_percentile(one, 50), 500);
    ck_assert_uint_eq(histogram_percentile(one, 99), 990);
    ck_assert_uint_eq(histogram_percentile(one, 99.9), 999);
    ck_assert_uint_eq(histogram_percentile(one, 100), 1000);
    ck_assert_double_eq(histogram_mean(one), 500.5);
}
END_TEST

START_TEST(a_single_value_is_every_percentile)
{
    histogram_add(one, 123456789);
    for (int percent = 0; percent <= 100; percent += 10)
        ck_assert_uint_eq(histogram_percentile(one, percent), 123456789);
}
END_TEST

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

START_TEST(percentiles_are_within_a_thousandth_of_the_exact_ones)
{
    enum { COUNT = 10000 };
    static uint64_t values[COUNT];
    uint64_t state = 1;

    for (size_t i = 0; i < COUNT; i++) {
        values[i] = (next_random(&state) >> (next_random(&state) % 30)) + 1000;
        histogram_add(one, values[i]);
    }
    qsort(values, COUNT, sizeof *values, by_value);
    for (unsigned percent = 1; percent <= 100; percent++) {
        uint64_t exact = values[COUNT / 100 * percent - 1];
        uint64_t found = histogram_percentile(one, percent);
        ck_assert_uint_ge(found, exact);
        ck_assert_uint_le((found - exact) * 1000, exact);
    }
}
END_TEST

START_TEST(merging_is_the_same_as_adding_to_one)
{
    histogram *all = calloc(1, sizeof *all);
    uint64_t state = 7;

    ck_assert_ptr_nonnull(all);
    for (int i = 0; i < 5000; i++) {
        uint64_t value = next_random(&state) >> (i % 40);
        histogram_add(i % 3 ? one : other, value);
        histogram_add(all, value);
    }
    histogram_merge(one, other);
    ck_assert_mem_eq(one, all, sizeof *all);
    free(all);
}
END_TEST

START_TEST(what_is_too_long_counts_as_the_longest_and_is_told)
{
    histogram_add(one, UINT64_MAX / 2);
    histogram_add(one, 5000);
    ck_assert_uint_eq(one->saturated, 1);
    ck_assert_uint_eq(histogram_percentile(one, 100), UINT64_MAX / 2);
    ck_assert_uint_eq(one->slots[HISTOGRAM_SLOTS - 1], 1);
}
END_TEST

START_TEST(cleared_one_is_as_new)
{
    histogram_add(one, 5);
    histogram_add(one, UINT64_MAX / 2);
    histogram_clear(one);
    ck_assert_mem_eq(one, other, sizeof *one);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("histogram");
    TCase *tests = tcase_create("histogram");
    SRunner *runner = srunner_create(suite);

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, slots_follow_each_other_without_gap_or_overlap);
    tcase_add_test(tests, three_significant_digits_from_a_microsecond_to_an_hour);
    tcase_add_test(tests, empty_one_has_zeros);
    tcase_add_test(tests, percentiles_of_known_values);
    tcase_add_test(tests, a_single_value_is_every_percentile);
    tcase_add_test(tests, percentiles_are_within_a_thousandth_of_the_exact_ones);
    tcase_add_test(tests, merging_is_the_same_as_adding_to_one);
    tcase_add_test(tests, what_is_too_long_counts_as_the_longest_and_is_told);
    tcase_add_test(tests, cleared_one_is_as_new);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
