/* What sttp-bench asks for: mixes, distributions, names, texts, and the values that people type. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "sttp-bench/content.h"
#include "sttp-bench/plan.h"
#include "sttp-bench/values.h"

enum { DRAWS = 50000, KEYS = 100 };

static bench_random generator;

static void setup(void)
{
    random_seed(&generator, 1, 0);
}

START_TEST(mix_is_read)
{
    bench_mix mix;
    ck_assert(mix_parse("show=90,update=10", &mix));
    ck_assert_uint_eq(mix.weights[STTP_ACTION_SHOW], 90);
    ck_assert_uint_eq(mix.weights[STTP_ACTION_UPDATE], 10);
    ck_assert_uint_eq(mix.total, 100);
    ck_assert(mix_parse("LIST=1", &mix));
    ck_assert_uint_eq(mix.total, 1);
}
END_TEST

static const char *const bad_mixes[] = {"",       "show",           "show=",   "=1",
                                        "show=0", "show=1,",        "show=-1", "show=1,show=2",
                                        "get=1",  "show=1.5",       ",show=1", "show=1000001",
                                        "none=1", "show=1;update=1"};

START_TEST(bad_mix_is_refused)
{
    bench_mix mix;
    ck_assert_msg(!mix_parse(bad_mixes[_i], &mix), "%s", bad_mixes[_i]);
}
END_TEST

START_TEST(actions_come_as_their_weights_say)
{
    bench_mix mix;
    unsigned seen[PLAN_ACTIONS] = {0};

    ck_assert(mix_parse("create=1,show=6,list=0,update=2,delete=1", &mix));
    for (int i = 0; i < DRAWS; i++)
        seen[mix_draw(&mix, &generator)]++;
    for (int action = 1; action < PLAN_ACTIONS; action++)
        ck_assert_double_eq_tol(seen[action], DRAWS / 10.0 * mix.weights[action], DRAWS / 100.0);
    ck_assert_uint_eq(seen[STTP_ACTION_LIST], 0);
}
END_TEST

static void draw_all(const char *text, unsigned *seen)
{
    bench_distribution distribution;

    ck_assert(distribution_parse(text, &distribution));
    distribution_prepare(&distribution, KEYS);
    memset(seen, 0, KEYS * sizeof *seen);
    for (int i = 0; i < DRAWS; i++) {
        uint64_t key = distribution_draw(&distribution, &generator);
        ck_assert_uint_lt(key, KEYS);
        seen[key]++;
    }
}

START_TEST(uniform_takes_all_alike)
{
    unsigned seen[KEYS];
    draw_all("uniform", seen);
    for (int i = 0; i < KEYS; i++)
        ck_assert_double_eq_tol(seen[i], DRAWS / (double)KEYS, DRAWS / (double)KEYS / 5);
}
END_TEST

static const double exponents[] = {0.5, 1, 1.2, 3};

START_TEST(zipf_follows_its_law)
{
    unsigned seen[KEYS];
    char text[32];
    double sum = 0;

    snprintf(text, sizeof text, "zipf:%g", exponents[_i]);
    draw_all(text, seen);
    for (int i = 0; i < KEYS; i++)
        sum += pow(i + 1, -exponents[_i]);
    for (int i = 0; i < KEYS; i++) {
        double expected = DRAWS * pow(i + 1, -exponents[_i]) / sum;
        ck_assert_double_eq_tol(seen[i], expected, 6 * sqrt(expected) + 1);
    }
}
END_TEST

START_TEST(hot_keys_get_nine_tenths)
{
    unsigned seen[KEYS];
    unsigned hot = 0;

    draw_all("hot:0.2", seen);
    for (int i = 0; i < 20; i++)
        hot += seen[i];
    ck_assert_double_eq_tol(hot, 0.9 * DRAWS, DRAWS / 100.0);
    ck_assert_uint_gt(seen[KEYS - 1], 0);
}
END_TEST

START_TEST(one_key_is_enough)
{
    static const char *const texts[] = {"uniform", "zipf:1", "hot:0.5"};
    bench_distribution distribution;

    for (int i = 0; i < 3; i++) {
        ck_assert(distribution_parse(texts[i], &distribution));
        distribution_prepare(&distribution, 1);
        ck_assert_uint_eq(distribution_draw(&distribution, &generator), 0);
    }
}
END_TEST

static const char *const bad_distributions[] = {"",        "zipf",      "zipf:",   "zipf:0",
                                                "zipf:-1", "zipf:inf",  "zipf:11", "hot:0",
                                                "hot:1",   "uniform:1", "normal",  "hot:0x1"};

START_TEST(bad_distribution_is_refused)
{
    bench_distribution distribution;
    ck_assert_msg(!distribution_parse(bad_distributions[_i], &distribution), "%s",
                  bad_distributions[_i]);
}
END_TEST

START_TEST(a_seed_repeats_and_streams_differ)
{
    bench_random a, b, c;

    random_seed(&a, 42, 1);
    random_seed(&b, 42, 1);
    random_seed(&c, 42, 2);
    uint64_t first = random_next(&a);
    ck_assert_uint_eq(first, random_next(&b));
    ck_assert_uint_ne(first, random_next(&c));
}
END_TEST

START_TEST(names)
{
    char path[CONTENT_MAX_PATH];
    bench_names script = content_names(true, 0, 0);
    bench_names zero = content_names(false, 0, 0), short_one = content_names(false, 0x10a, 0);
    bench_names own = content_names(false, UINT64_MAX, UINT32_MAX);

    content_path(&script, 0, path);
    ck_assert_str_eq(path, "/snippets/snippet_1.txt");
    content_path(&zero, 0, path);
    ck_assert_str_eq(path, "/sttp-bench/0/key_0.txt");
    content_path(&short_one, CONTENT_DIRECTORY, path);
    ck_assert_str_eq(path, "/sttp-bench/10a/");
    content_path(&own, 12, path);
    ck_assert_str_eq(path, "/sttp-bench/ffffffffffffffff/key_12.txt");
    size_t size = content_path(&own, content_fresh_key(1023, 9999999999), path);
    ck_assert_str_eq(path, "/sttp-bench/ffffffffffffffff/new_ffffffff_1023_9999999999.txt");
    ck_assert_uint_eq(size, strlen(path));
    ck_assert_int_eq(sttp_check_path(STTP_ACTION_CREATE, (sttp_slice){path, size}, NULL), STTP_OK);
}
END_TEST

START_TEST(a_text_tells_whether_it_is_the_right_one)
{
    char text[160];
    uint64_t nonce;

    content_write(1, 2, 3, sizeof text, text);
    sttp_slice all = {text, sizeof text};
    ck_assert_int_eq(sttp_check_text(all, NULL), STTP_OK);
    ck_assert(content_read(1, 2, sizeof text, all, &nonce));
    ck_assert_uint_eq(nonce, 3);
    ck_assert(!content_read(9, 2, sizeof text, all, &nonce));
    ck_assert(!content_read(1, 9, sizeof text, all, &nonce));
    ck_assert(!content_read(1, 2, sizeof text, (sttp_slice){text, 159}, &nonce));
    for (size_t i = 0; i < sizeof text; i++) { /* any byte that is changed shows */
        text[i] ^= 1;
        ck_assert(!content_read(1, 2, sizeof text, all, &nonce));
        text[i] ^= 1;
    }
}
END_TEST

START_TEST(times)
{
    static const struct {
        const char *text;
        uint64_t nanoseconds;
    } good[] = {{"1", 1000000000},     {"250us", 250000}, {"250ms", 250000000},
                {"1.5m", 90000000000}, {"0", 0},          {"1h", 3600000000000}};
    static const char *const bad[] = {"",    "s",     "-1s", "1 s",    "1d",   "inf",
                                      "1e3", "1..5s", ".5",  "25h30m", "1000h"};
    uint64_t found;

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert(value_time(good[i].text, 1000000000, &found));
        ck_assert_uint_eq(found, good[i].nanoseconds);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!value_time(bad[i], 1000000000, &found), "%s", bad[i]);
}
END_TEST

START_TEST(numbers)
{
    uint64_t number;

    ck_assert(value_number("65535", 1, 65535, &number) && number == 65535);
    ck_assert(!value_number("65536", 1, 65535, &number));
    ck_assert(!value_number("0", 1, 65535, &number));
    ck_assert(!value_number("+1", 1, 65535, &number));
    ck_assert(!value_number("1x", 1, 65535, &number));
    ck_assert(!value_number("99999999999999999999999", 1, 65535, &number));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bench_plan");
    TCase *tests = tcase_create("plan");

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, mix_is_read);
    tcase_add_loop_test(tests, bad_mix_is_refused, 0, sizeof bad_mixes / sizeof *bad_mixes);
    tcase_add_test(tests, actions_come_as_their_weights_say);
    tcase_add_test(tests, uniform_takes_all_alike);
    tcase_add_loop_test(tests, zipf_follows_its_law, 0, sizeof exponents / sizeof *exponents);
    tcase_add_test(tests, hot_keys_get_nine_tenths);
    tcase_add_test(tests, one_key_is_enough);
    tcase_add_loop_test(tests, bad_distribution_is_refused, 0,
                        sizeof bad_distributions / sizeof *bad_distributions);
    tcase_add_test(tests, a_seed_repeats_and_streams_differ);
    tcase_add_test(tests, names);
    tcase_add_test(tests, a_text_tells_whether_it_is_the_right_one);
    tcase_add_test(tests, times);
    tcase_add_test(tests, numbers);
    tcase_set_timeout(tests, 60);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
