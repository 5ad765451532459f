/* Whether an upstream is asked: every step from state to state, and threads that tell at once. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "proxy_support.h"
#include "sttp-proxy/health.h"

enum { START = 1000000, SLOW = 10000 };

static health_record *health;

static void begin(bool checked, unsigned rise, unsigned fall)
{
    health_options options = {.checked = checked, .rise = rise, .fall = fall, .slow_start = SLOW};

    health_destroy(health);
    ck_assert_ptr_nonnull(health = health_create(&options));
}

static void teardown(void)
{
    health_destroy(health);
}

/* What a request that is admitted at `now` leads to. */
static health_change request(health_result result, uint64_t now)
{
    uint32_t epoch;

    ck_assert(health_admit(health, now, &epoch));
    return health_report(health, epoch, result, now);
}

static health_state state(void)
{
    return health_look(health).state;
}

/* Steps are letters: of requests k (ok), t (timeout), i (invalid), c (closed), f (refused), r
 * (reset); in upper case of checks. Then what each led to: "." nothing, "-" went down, "+" came up.
 * A request of an upstream that is not up is one that is late: it was admitted while it was up. */
static void expect_steps(const char *steps, const char *changes)
{
    static const char letters[] = "kticfr";
    uint32_t epoch = health_epoch(health);
    char found[64] = "";

    for (size_t i = 0; steps[i]; i++) {
        char lower = (char)(steps[i] | 0x20);
        health_result result = (health_result)(strchr(letters, lower) - letters);
        health_change change;

        if (health_usable(health, START))
            ck_assert(health_admit(health, START, &epoch));
        change = lower != steps[i] ? health_check(health, result, START)
                                   : health_report(health, epoch, result, START);
        found[i] = ".-+"[change];
        ck_assert(health_usable(health, START) == (state() == HEALTH_UP));
    }
    ck_assert_msg(strcmp(found, changes) == 0, "%s: %s, not %s", steps, found, changes);
}

START_TEST(begins_as_up)
{
    health_view view;

    begin(true, 2, 3);
    view = health_look(health);
    ck_assert_int_eq(view.state, HEALTH_UP);
    ck_assert_int_eq(view.cause, HEALTH_OK);
    ck_assert_uint_eq(view.ejections, 0);
    ck_assert(health_usable(health, 0));
    ck_assert_uint_eq(health_weight(health, 0), 100);
}
END_TEST

/* rise 2, fall 3, active checks. */
START_TEST(steps_with_checks)
{
    static const struct {
        const char *steps, *changes;
    } cases[] = {
        /* up: requests in a row */
        {"kkkk", "...."},
        {"ttt", "..-"},
        {"iii", "..-"},
        {"ccc", "..-"},
        {"tic", "..-"},
        {"ttktt", "....."},
        {"ttkttt", ".....-"},
        {"tktktktk", "........"},
        {"f", "-"},
        {"r", "-"},
        {"ttf", "..-"},
        {"kkr", "..-"},
        /* up: checks in a row */
        {"KKKK", "...."},
        {"TTT", "..-"},
        {"IIC", "..-"},
        {"TTKTT", "....."},
        {"TTKTTT", ".....-"},
        {"F", "-"},
        {"R", "-"},
        {"KKR", "..-"},
        /* up: both, counted apart */
        {"ttTT", "...."},
        {"ttTTt", "....-"},
        {"ttTTT", "....-"},
        {"tKtKt", "....-"},
        {"TkTkT", "....-"},
        /* ejected: only checks count */
        {"fkkkkkk", "-......"},
        {"fttttttfr", "-........"},
        {"fKK", "-.+"},
        {"fKTKK", "-...+"},
        {"fKTKTKFKR", "-........"},
        {"fTTTTTKK", "-......+"},
        {"fKkK", "-..+"},
        {"fKtfrK", "-....+"},
        /* up again: counted from the start */
        {"ttrKKtt", "..-.+.."},
        {"ttrKKttt", "..-.+..-"},
        {"TTRKKTT", "..-.+.."},
        {"fKKf", "-.+-"},
        {"fKKFKK", "-.+-.+"},
        {"fKKFK", "-.+-."},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(true, 2, 3);
        expect_steps(cases[i].steps, cases[i].changes);
    }
}
END_TEST

START_TEST(one_of_each_is_enough)
{
    begin(true, 1, 1);
    expect_steps("tKTKcKiKIK", "-+-+-+-+-+");
}
END_TEST

START_TEST(no_trial_where_there_are_checks)
{
    uint32_t epoch;

    begin(true, 1, 1);
    ck_assert_int_eq(request(HEALTH_RESET, START), HEALTH_WENT_DOWN);
    ck_assert(!health_usable(health, START + UINT64_C(1000000000)));
    ck_assert(!health_admit(health, START + UINT64_C(1000000000), &epoch));
}
END_TEST

START_TEST(trial_decides)
{
    uint32_t epoch, other;

    begin(false, 2, 3);
    ck_assert_int_eq(request(HEALTH_REFUSED, START), HEALTH_WENT_DOWN);
    ck_assert(!health_usable(health, START + 999));
    ck_assert(!health_admit(health, START + 999, &epoch));
    ck_assert(health_usable(health, START + 1000));
    ck_assert_int_eq(state(), HEALTH_EJECTED);
    ck_assert(health_admit(health, START + 1000, &epoch));
    ck_assert_int_eq(state(), HEALTH_TRIAL);
    ck_assert(!health_usable(health, START + 1001)); /* one at a time */
    ck_assert(!health_admit(health, START + 1001, &other));
    ck_assert_int_eq(health_report(health, epoch, HEALTH_OK, START + 1002), HEALTH_CAME_UP);
    ck_assert(health_usable(health, START + 1002));
    ck_assert_uint_eq(health_weight(health, START + 1002), 10);
}
END_TEST

/* Any failure ends it: there are no three trials. */
START_TEST(trial_that_fails)
{
    for (health_result result = HEALTH_TIMEOUT; result <= HEALTH_RESET; result++) {
        begin(false, 2, 3);
        ck_assert_int_eq(request(HEALTH_REFUSED, START), HEALTH_WENT_DOWN);
        ck_assert_int_eq(request(result, START + 1000), HEALTH_WENT_DOWN);
        ck_assert_int_eq(state(), HEALTH_EJECTED);
        ck_assert(!health_usable(health, START + 2999));
        ck_assert(health_usable(health, START + 3000));
    }
}
END_TEST

START_TEST(trial_of_which_nothing_is_heard)
{
    uint32_t lost, epoch;

    begin(false, 1, 1);
    ck_assert_int_eq(request(HEALTH_RESET, START), HEALTH_WENT_DOWN);
    ck_assert(health_admit(health, START + 1000, &lost));
    ck_assert(!health_admit(health, START + 1999, &epoch));
    ck_assert(health_admit(health, START + 2000, &epoch));
    ck_assert_int_eq(health_report(health, lost, HEALTH_RESET, START + 2001), HEALTH_SAME);
    ck_assert_int_eq(health_report(health, lost, HEALTH_OK, START + 2001), HEALTH_SAME);
    ck_assert_int_eq(state(), HEALTH_TRIAL);
    ck_assert_int_eq(health_report(health, epoch, HEALTH_OK, START + 2002), HEALTH_CAME_UP);
}
END_TEST

/* The time until the next trial. */
static uint64_t ejected_for(uint64_t now)
{
    uint64_t time = 0;

    while (!health_usable(health, now + time))
        time += 500;
    return time;
}

START_TEST(ejections_grow_up_to_a_limit)
{
    uint64_t expected = HEALTH_MIN_EJECTION, now = START;

    begin(false, 1, 1);
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(request(HEALTH_TIMEOUT, now), HEALTH_WENT_DOWN);
        ck_assert_uint_eq(ejected_for(now), expected);
        now += expected;
        expected = expected * 2 < HEALTH_MAX_EJECTION ? expected * 2 : HEALTH_MAX_EJECTION;
    }
    ck_assert_uint_eq(expected, HEALTH_MAX_EJECTION);
    ck_assert_uint_eq(health_look(health).ejections, 10);
}
END_TEST

START_TEST(who_stays_up_begins_anew)
{
    uint64_t now = START;

    begin(false, 1, 1);
    ck_assert_int_eq(request(HEALTH_RESET, now), HEALTH_WENT_DOWN);
    ck_assert_int_eq(request(HEALTH_OK, now += 1000), HEALTH_CAME_UP);
    ck_assert_int_eq(request(HEALTH_RESET, now += HEALTH_MAX_EJECTION - 1), HEALTH_WENT_DOWN);
    ck_assert_uint_eq(ejected_for(now), 2000);
    ck_assert_int_eq(request(HEALTH_OK, now += 2000), HEALTH_CAME_UP);
    ck_assert_int_eq(request(HEALTH_RESET, now - 1), HEALTH_WENT_DOWN); /* a clock that is behind */
    ck_assert_uint_eq(ejected_for(now - 1), 4000);
    ck_assert_int_eq(request(HEALTH_OK, now += 4000), HEALTH_CAME_UP);
    ck_assert_int_eq(request(HEALTH_RESET, now += HEALTH_MAX_EJECTION), HEALTH_WENT_DOWN);
    ck_assert_uint_eq(ejected_for(now), 1000);
}
END_TEST

/* What was in flight when the upstream was lost says nothing about it after its return. */
START_TEST(late_reports_are_ignored)
{
    uint32_t early, late;

    begin(true, 1, 3);
    ck_assert(health_admit(health, START, &early));
    ck_assert_int_eq(health_report(health, early, HEALTH_RESET, START), HEALTH_WENT_DOWN);
    for (int i = 0; i < 64; i++)
        ck_assert_int_eq(health_report(health, early, HEALTH_RESET, START), HEALTH_SAME);
    ck_assert_uint_eq(health_look(health).ejections, 1);
    late = health_epoch(health); /* a connection that is attempted meanwhile */
    ck_assert_int_eq(health_check(health, HEALTH_OK, START), HEALTH_CAME_UP);
    ck_assert_int_eq(health_report(health, early, HEALTH_RESET, START), HEALTH_SAME);
    ck_assert_int_eq(health_report(health, late, HEALTH_REFUSED, START), HEALTH_SAME);
    ck_assert_int_eq(request(HEALTH_TIMEOUT, START), HEALTH_SAME);
    ck_assert_int_eq(request(HEALTH_TIMEOUT, START), HEALTH_SAME);
    ck_assert_int_eq(health_report(health, early, HEALTH_OK, START), HEALTH_SAME);
    ck_assert_int_eq(request(HEALTH_TIMEOUT, START), HEALTH_WENT_DOWN);
}
END_TEST

START_TEST(connections_report_without_a_request)
{
    begin(true, 1, 3);
    ck_assert_int_eq(health_report(health, health_epoch(health), HEALTH_REFUSED, START),
                     HEALTH_WENT_DOWN);
}
END_TEST

START_TEST(slow_start)
{
    begin(true, 1, 1);
    ck_assert_int_eq(request(HEALTH_RESET, START), HEALTH_WENT_DOWN);
    ck_assert_int_eq(health_check(health, HEALTH_OK, START), HEALTH_CAME_UP);
    ck_assert_uint_eq(health_weight(health, START - 5), 10);
    ck_assert_uint_eq(health_weight(health, START), 10);
    ck_assert_uint_eq(health_weight(health, START + SLOW / 2), 55);
    ck_assert_uint_lt(health_weight(health, START + SLOW - 1), 101);
    ck_assert_uint_eq(health_weight(health, START + SLOW), 100);
    for (uint64_t at = 0, before = 10; at <= SLOW; at += 7) {
        unsigned weight = health_weight(health, START + at);

        ck_assert(weight >= before && weight <= 100);
        before = weight;
    }
    health_destroy(health);
    health = health_create(&(health_options){.checked = true, .rise = 1, .fall = 1});
    ck_assert_ptr_nonnull(health);
    ck_assert_int_eq(request(HEALTH_RESET, START), HEALTH_WENT_DOWN);
    ck_assert_int_eq(health_check(health, HEALTH_OK, START), HEALTH_CAME_UP);
    ck_assert_uint_eq(health_weight(health, START), 100);
    ck_assert_uint_eq(health_weight(health, START - 1), 100);
}
END_TEST

START_TEST(view_tells_why_and_since_when)
{
    health_view view;

    begin(true, 1, 3);
    for (int i = 0; i < 3; i++)
        health_check(health, HEALTH_TIMEOUT, START + i);
    view = health_look(health);
    ck_assert_int_eq(view.state, HEALTH_EJECTED);
    ck_assert_uint_eq(view.since, START + 2);
    ck_assert_int_eq(view.cause, HEALTH_TIMEOUT);
    ck_assert(view.by_check);
    ck_assert_uint_eq(view.in_a_row, 3);
    ck_assert_int_eq(health_check(health, HEALTH_OK, START + 9), HEALTH_CAME_UP);
    view = health_look(health);
    ck_assert_int_eq(view.state, HEALTH_UP);
    ck_assert_uint_eq(view.since, START + 9);
    ck_assert_uint_eq(view.ejections, 1);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(request(HEALTH_TIMEOUT, START + 10), HEALTH_SAME);
    ck_assert_int_eq(request(HEALTH_REFUSED, START + 10), HEALTH_WENT_DOWN);
    view = health_look(health);
    ck_assert_int_eq(view.cause, HEALTH_REFUSED);
    ck_assert(!view.by_check);
    ck_assert_uint_eq(view.in_a_row, 1);
    ck_assert_uint_eq(view.ejections, 2);
}
END_TEST

START_TEST(texts)
{
    for (health_result result = HEALTH_OK; result <= HEALTH_RESET; result++)
        ck_assert_str_ne(health_result_text(result), "");
    for (health_state each = HEALTH_UP; each <= HEALTH_TRIAL; each++)
        ck_assert_str_ne(health_state_text(each), "");
}
END_TEST

enum { THREADS = 4, ROUNDS = 2000 };

static atomic_size_t downs, ups, admitted;
static pthread_barrier_t barrier;

/* Each round: all report a reset of the same epoch, all try for the one trial, who has it reports
 * success. */
static void *tell(void *unused)
{
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        uint64_t now = round * HEALTH_MAX_EJECTION * 10;
        uint32_t epoch;

        ck_assert(health_admit(health, now, &epoch));
        pthread_barrier_wait(&barrier);
        if (health_report(health, epoch, HEALTH_RESET, now) == HEALTH_WENT_DOWN)
            atomic_fetch_add(&downs, 1);
        pthread_barrier_wait(&barrier);
        if (health_admit(health, now + HEALTH_MIN_EJECTION, &epoch)) {
            atomic_fetch_add(&admitted, 1);
            pthread_barrier_wait(&barrier);
            if (health_report(health, epoch, HEALTH_OK, now + HEALTH_MIN_EJECTION) ==
                HEALTH_CAME_UP)
                atomic_fetch_add(&ups, 1);
        } else {
            pthread_barrier_wait(&barrier);
        }
        pthread_barrier_wait(&barrier);
        ck_assert(health_usable(health, now + HEALTH_MIN_EJECTION));
        ck_assert_uint_ge(health_weight(health, now + HEALTH_MIN_EJECTION), 10);
    }
    return unused;
}

START_TEST(one_of_many_threads_is_told)
{
    pthread_t threads[THREADS];

    begin(false, 1, 1);
    ck_assert_int_eq(pthread_barrier_init(&barrier, NULL, THREADS), 0);
    for (size_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, tell, NULL), 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(atomic_load(&downs), ROUNDS);
    ck_assert_uint_eq(atomic_load(&admitted), ROUNDS);
    ck_assert_uint_eq(atomic_load(&ups), ROUNDS);
    pthread_barrier_destroy(&barrier);
}
END_TEST

START_TEST(memory_is_out)
{
    no_memory = true;
    ck_assert_ptr_null(health_create(&(health_options){.rise = 1, .fall = 1}));
    no_memory = false;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_health");
    TCase *tests = tcase_create("health");

    tcase_add_checked_fixture(tests, NULL, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, begins_as_up);
    tcase_add_test(tests, steps_with_checks);
    tcase_add_test(tests, one_of_each_is_enough);
    tcase_add_test(tests, no_trial_where_there_are_checks);
    tcase_add_test(tests, trial_decides);
    tcase_add_test(tests, trial_that_fails);
    tcase_add_test(tests, trial_of_which_nothing_is_heard);
    tcase_add_test(tests, ejections_grow_up_to_a_limit);
    tcase_add_test(tests, who_stays_up_begins_anew);
    tcase_add_test(tests, late_reports_are_ignored);
    tcase_add_test(tests, connections_report_without_a_request);
    tcase_add_test(tests, slow_start);
    tcase_add_test(tests, view_tells_why_and_since_when);
    tcase_add_test(tests, texts);
    tcase_add_test(tests, one_of_many_threads_is_told);
    tcase_add_test(tests, memory_is_out);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
