/* How many requests are sent a second time. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "proxy_support.h"
#include "sttp-proxy/budget.h"

enum { START = 123456 * 1000, ALWAYS = BUDGET_FLOOR * BUDGET_SECONDS };

static retry_budget *budget;

static void setup(void)
{
    ck_assert_ptr_nonnull(budget = budget_create());
}

static void teardown(void)
{
    budget_destroy(budget);
}

/* How many retries there are at a time, up to a million. */
static size_t take_all(uint64_t now)
{
    size_t count = 0;

    while (count < 1000000 && budget_take(budget, now))
        count++;
    return count;
}

START_TEST(floor_without_load)
{
    ck_assert_uint_eq(take_all(START), ALWAYS);
    ck_assert_uint_eq(take_all(START + 9999), 0);
    ck_assert_uint_eq(take_all(START + 10000), ALWAYS);
    ck_assert_uint_eq(take_all(START + 1000000000000), ALWAYS);
}
END_TEST

/* Ten in each second, for ever. */
START_TEST(floor_in_each_second)
{
    for (unsigned second = 0; second < 100; second++) {
        for (unsigned i = 0; i < BUDGET_FLOOR; i++)
            ck_assert(budget_take(budget, START + second * 1000 + i));
        if (second >= BUDGET_SECONDS - 1)
            ck_assert_uint_eq(take_all(START + second * 1000 + 999), 0);
    }
}
END_TEST

START_TEST(a_fifth_of_the_load)
{
    for (unsigned i = 0; i < 1000; i++)
        budget_add(budget, 1, START + 5 * i);
    budget_add(budget, 1000, START + 5000);
    ck_assert_uint_eq(take_all(START + 5000), 400 + ALWAYS);
    budget_add(budget, 4, START + 5000);
    ck_assert_uint_eq(take_all(START + 5000), 0);
    budget_add(budget, 1, START + 5000);
    ck_assert_uint_eq(take_all(START + 5000), 1);
}
END_TEST

/* 1,000 requests in each of 20 seconds: what the window has lost is allowed no longer, and what was
 * taken in it counts no longer. */
START_TEST(window_moves_by_seconds)
{
    for (unsigned second = 0; second < 20; second++) {
        budget_add(budget, 1000, START + second * 1000);
        if (second == 4)
            ck_assert_uint_eq(take_all(START + second * 1000), 1000 + ALWAYS);
        if (second >= 5 && second < 9)
            ck_assert_uint_eq(take_all(START + second * 1000), 200);
    }
    ck_assert_uint_eq(take_all(START + 19 * 1000), 2000 + ALWAYS);
    ck_assert_uint_eq(take_all(START + 20 * 1000), 0);
    ck_assert_uint_eq(take_all(START + 28 * 1000), 0); /* 1,000 requests are left, all retries */
    ck_assert_uint_eq(take_all(START + 29 * 1000), ALWAYS);
}
END_TEST

START_TEST(grant_is_beside_the_window)
{
    budget_grant(budget, 500, START);
    ck_assert_uint_eq(take_all(START), 500 + ALWAYS);
    ck_assert_uint_eq(take_all(START + 4999), 0);
}
END_TEST

START_TEST(grant_lapses)
{
    budget_grant(budget, 500, START);
    for (unsigned i = 0; i < 200; i++)
        ck_assert(budget_take(budget, START + BUDGET_GRANT_LASTS - 1));
    ck_assert_uint_eq(take_all(START + BUDGET_GRANT_LASTS), ALWAYS);
}
END_TEST

/* The larger of two that are there at the same time; a lapsed one does not count. */
START_TEST(grants_are_of_one_upstream)
{
    budget_grant(budget, 500, START);
    budget_grant(budget, 300, START + 1000);
    ck_assert_uint_eq(take_all(START + 5500), 500 + ALWAYS);
    budget_grant(budget, 300, START + 5500);
    ck_assert_uint_eq(take_all(START + 5500), 300);
    budget_grant(budget, 500, START + 5500);
    budget_grant(budget, 20, START + 20000);
    ck_assert_uint_eq(take_all(START + 20000), 20 + ALWAYS);
}
END_TEST

/* Workers read their clocks at different times. */
START_TEST(clock_that_is_behind)
{
    budget_add(budget, 100, START + 3000);
    budget_add(budget, 100, START + 1000);
    ck_assert_uint_eq(take_all(START + 2000), 40 + ALWAYS);
    ck_assert_uint_eq(take_all(START + 12999), 0);
    ck_assert_uint_eq(take_all(START + 13000), ALWAYS);
}
END_TEST

enum { THREADS = 4, ROUNDS = 20000 };

static void *ask_and_retry(void *taken)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        budget_add(budget, 1, START + i % 3000);
        *(size_t *)taken += budget_take(budget, START + i % 3000);
    }
    return NULL;
}

START_TEST(many_threads_take_no_more)
{
    pthread_t threads[THREADS];
    size_t taken[THREADS] = {0}, all = 0;

    budget_grant(budget, 50, START);
    for (size_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_and_retry, &taken[i]), 0);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        all += taken[i];
    }
    ck_assert_uint_le(all, THREADS * ROUNDS / 5 + ALWAYS + 50);
    ck_assert_uint_eq(all + take_all(START + 3000), THREADS * ROUNDS / 5 + ALWAYS + 50);
}
END_TEST

START_TEST(memory_is_out)
{
    no_memory = true;
    ck_assert_ptr_null(budget_create());
    no_memory = false;
    budget_destroy(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_budget");
    TCase *tests = tcase_create("budget");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, floor_without_load);
    tcase_add_test(tests, floor_in_each_second);
    tcase_add_test(tests, a_fifth_of_the_load);
    tcase_add_test(tests, window_moves_by_seconds);
    tcase_add_test(tests, grant_is_beside_the_window);
    tcase_add_test(tests, grant_lapses);
    tcase_add_test(tests, grants_are_of_one_upstream);
    tcase_add_test(tests, clock_that_is_behind);
    tcase_add_test(tests, many_threads_take_no_more);
    tcase_add_test(tests, memory_is_out);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
