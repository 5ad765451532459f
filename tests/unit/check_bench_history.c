/* --check, against a search through all orders; the terms of --slo; the reader of JSON. */
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "sttp-bench/history.h"
#include "sttp-bench/json.h"
#include "sttp-bench/random.h"
#include "sttp-bench/slo.h"

enum { INITIAL = 100, UNANSWERED = -1 };

static uint64_t initial(uint64_t key)
{
    (void)key;
    return INITIAL;
}

static history_step step(bool write, uint64_t nonce, uint64_t invoked, int64_t answered)
{
    return (history_step){.nonce = nonce,
                          .invoked = invoked,
                          .answered = answered == UNANSWERED ? UINT64_MAX : (uint64_t)answered,
                          .write = write};
}

static bool fits(const history_step *steps, size_t count)
{
    history h = {0};
    char why[256] = "";

    for (size_t i = 0; i < count; i++)
        history_add(&h, steps[i]);
    size_t wrong = history_check(&h, initial, why, sizeof why);
    ck_assert(!h.no_memory);
    ck_assert_int_eq(wrong > 0, why[0] != '\0');
    history_destroy(&h);
    return wrong == 0;
}

#define FITS(...)                                                                                  \
    fits((history_step[]){__VA_ARGS__},                                                            \
         sizeof((history_step[]){__VA_ARGS__}) / sizeof(history_step))

START_TEST(histories_that_fit)
{
    ck_assert(fits(NULL, 0));
    ck_assert(FITS(step(false, INITIAL, 1, 2)));
    ck_assert(FITS(step(true, 1, 1, 2), step(false, 1, 3, 4)));
    /* beside a write either text may be shown */
    ck_assert(FITS(step(true, 1, 1, 9), step(false, INITIAL, 2, 3), step(false, 1, 4, 5)));
    /* two writes at once, in either order */
    ck_assert(FITS(step(true, 1, 1, 5), step(true, 2, 1, 5), step(false, 1, 6, 7)));
    ck_assert(FITS(step(true, 1, 1, 5), step(true, 2, 1, 5), step(false, 2, 6, 7)));
    /* one without an answer happened long after, or never */
    ck_assert(FITS(step(true, 1, 1, UNANSWERED), step(true, 2, 3, 4), step(false, 1, 8, 9)));
    ck_assert(FITS(step(true, 1, 1, UNANSWERED), step(false, INITIAL, 8, 9)));
}
END_TEST

START_TEST(histories_that_do_not_fit)
{
    ck_assert(!FITS(step(false, 1, 1, 2)));                      /* nobody wrote it */
    ck_assert(!FITS(step(false, 1, 1, 2), step(true, 1, 3, 4))); /* shown before it was written */
    ck_assert(!FITS(step(true, 1, 1, 2), step(false, INITIAL, 3, 4))); /* stale */
    ck_assert(!FITS(step(true, 1, 1, 2), step(true, 2, 3, 4), step(false, 1, 5, 6)));
    /* new, then old */
    ck_assert(!FITS(step(true, 1, 1, 9), step(false, 1, 2, 3), step(false, INITIAL, 4, 5)));
    /* two readers see two writes in different orders */
    ck_assert(!FITS(step(true, 1, 1, 20), step(true, 2, 1, 20), step(false, 1, 2, 3),
                    step(false, 2, 4, 5), step(false, 1, 6, 7)));
    /* a write that is over falls into the time of another text */
    ck_assert(!FITS(step(true, 1, 1, 2), step(true, 2, 4, 5), step(false, 1, 7, 8)));
}
END_TEST

START_TEST(deleted_texts)
{
    const uint64_t gone = HISTORY_DELETED;

    ck_assert(FITS(step(true, 1, 1, 2), step(true, gone, 3, 4), step(false, gone, 5, 6)));
    ck_assert(FITS(step(true, gone, 1, 9), step(false, gone, 2, 3), step(true, 1, 1, 9)));
    ck_assert(FITS(step(true, gone, 1, UNANSWERED), step(false, INITIAL, 5, 6)));
    ck_assert(!FITS(step(true, gone, 1, 2), step(false, INITIAL, 3, 4)));  /* still shown */
    ck_assert(!FITS(step(true, gone, 1, 2), step(true, 1, 3, 4)));         /* changed later */
    ck_assert(!FITS(step(false, gone, 1, 2), step(true, gone, 3, 4)));     /* missing before */
    ck_assert(!FITS(step(false, gone, 1, 2), step(false, INITIAL, 1, 2))); /* nobody did it */
    ck_assert(!FITS(step(true, gone, 1, 9), step(false, gone, 2, 3), step(false, INITIAL, 4, 5)));
}
END_TEST

START_TEST(keys_are_apart)
{
    history_step one = step(true, 1, 1, 2), stale = step(false, INITIAL, 3, 4);
    stale.key = 5;
    ck_assert(FITS(one, stale));
    one.key = 5;
    ck_assert(!FITS(one, stale));
}
END_TEST

/* All orders: a step may come next where none that is left was answered before it began. */
static bool search(const history_step *steps, size_t count, unsigned done, uint64_t holds)
{
    uint64_t first_answer = UINT64_MAX;
    bool all_optional = true;

    for (size_t i = 0; i < count; i++) {
        if (done & 1u << i)
            continue;
        all_optional &= steps[i].answered == UINT64_MAX;
        if (steps[i].answered < first_answer)
            first_answer = steps[i].answered;
    }
    if (all_optional)
        return true;
    for (size_t i = 0; i < count; i++) {
        if (done & 1u << i || steps[i].invoked > first_answer ||
            (!steps[i].write && steps[i].nonce != holds) ||
            (holds == HISTORY_DELETED && steps[i].nonce != holds)) /* nothing comes after it */
            continue;
        if (search(steps, count, done | 1u << i, steps[i].nonce))
            return true;
    }
    return false;
}

START_TEST(the_verdict_is_that_of_a_search_through_all_orders)
{
    enum { ROUNDS = 20000, STEPS = 7 };
    bench_random random;
    int good = 0;

    random_seed(&random, 3, 0);
    for (int round = 0; round < ROUNDS; round++) {
        history_step steps[STEPS];
        size_t count = 2 + random_below(&random, STEPS - 1);
        uint64_t written = 0;
        bool deleted = false;
        for (size_t i = 0; i < count; i++) {
            bool write = random_below(&random, 2);
            uint64_t begin = 1 + random_below(&random, 12);
            int64_t end = (int64_t)(begin + 1 + random_below(&random, 6));
            if (write && random_below(&random, 6) == 0)
                end = UNANSWERED;
            uint64_t nonce = write ? ++written : random_below(&random, 4);
            if (random_below(&random, 5) == 0 && !(write && deleted)) {
                nonce = HISTORY_DELETED; /* once only */
                deleted |= write;
            }
            steps[i] =
                step(write, nonce == 0 ? INITIAL : nonce, 2 * begin, end < 0 ? end : 2 * end + 1);
        }
        bool expected = search(steps, count, 0, INITIAL);
        ck_assert_msg(fits(steps, count) == expected, "round %d: expected %d", round, expected);
        good += expected;
    }
    ck_assert_int_gt(good, ROUNDS / 20); /* both verdicts came up */
    ck_assert_int_lt(good, ROUNDS - ROUNDS / 20);
}
END_TEST

START_TEST(slo_terms)
{
    static const char *const bad[] = {"",         "p99",     "p99<",     "p101<1s",    "p99=1s",
                                      "errors<1", "rate>x",  "p99<2ms,", "median<1ms", ",p99<1s",
                                      "p<1s",     "p99<-1s", "max>1s2"};
    bench_slo slo;

    ck_assert(slo_parse("p99.9<2ms,errors<0.1%,rate>1000", &slo));
    ck_assert_uint_eq(slo.count, 3);
    ck_assert_double_eq(slo.terms[0].percent, 99.9);
    ck_assert_double_eq(slo.terms[0].limit, 2e6);
    ck_assert(slo.terms[0].below && !slo.terms[2].below);
    ck_assert_double_eq_tol(slo.terms[1].limit, 0.1, 1e-9);
    ck_assert_str_eq(slo.terms[2].text, "rate>1000");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!slo_parse(bad[i], &slo), "%s", bad[i]);
}
END_TEST

START_TEST(json_values)
{
    const char *text =
        " {\"a\": [1, -2.5e1, {\"b\": null}], \"c\": \"x\\n\\\"\\u0041\", \"d\": true} ";
    json *value = json_parse(text, strlen(text));

    ck_assert_ptr_nonnull(value);
    ck_assert_str_eq(json_text(value, "c", ""), "x\n\"A");
    ck_assert_double_eq(json_member(value, "a")->first->next->number, -25);
    ck_assert_int_eq(json_member(value, "d")->kind, JSON_BOOL);
    ck_assert_double_eq(json_number(value, "none", 9), 9);
    ck_assert_ptr_null(json_member(json_member(value, "a"), "b"));
    json_free(value);
}
END_TEST

START_TEST(json_cut_anywhere_is_refused)
{
    const char *text = "{\"a\": [1, -2.5e1, {\"b\": null}], \"c\": \"x\\n\\u0041\", \"d\": true}";

    for (size_t size = 0; size < strlen(text); size++) {
        char *copy = strndup(text, size);
        ck_assert_ptr_null(json_parse(copy, size));
        free(copy);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bench_history");
    TCase *tests = tcase_create("history");

    tcase_add_test(tests, histories_that_fit);
    tcase_add_test(tests, histories_that_do_not_fit);
    tcase_add_test(tests, deleted_texts);
    tcase_add_test(tests, keys_are_apart);
    tcase_add_test(tests, the_verdict_is_that_of_a_search_through_all_orders);
    tcase_add_test(tests, slo_terms);
    tcase_add_test(tests, json_values);
    tcase_add_test(tests, json_cut_anywhere_is_refused);
    tcase_set_timeout(tests, 60);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
