/* Changes that the threads of a store do together. Time passes only where a test waits for some to
 * be slow. */
#include <sched.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "pool_support.h"

static atomic_int joined;      /* to the one that ended joining last */
static atomic_bool is_patient; /* the clock is an hour ahead: until then no change is slow */

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    int done = __real_clock_gettime(clock, now);
    if (clock == CLOCK_MONOTONIC && atomic_load(&is_patient))
        now->tv_sec += 3600;
    return done;
}

static void set_up_patiently(void)
{
    setup();
    atomic_store(&is_patient, true);
}

/* Each has a thread while all the others do. */
static void do_at_once(store_operation *operations, int count)
{
    add(operations, count);
    wait_for(&begun, count);
    open_gate(count);
    wait_for(&ended, count);
    ck_assert_ptr_null(pool_stop(tested));
    pool_destroy(tested);
}

/* Changes whose storage takes long get all threads, though few would do them together else. */
START_TEST(slow_changes_hold_up_no_other)
{
    store_operation operations[THREADS + 2] = {0};
    atomic_store(&is_patient, false);
    create_with(THREADS, 10000);
    for (int i = 0; i < THREADS + 2; i++)
        operations[i].joins = true;
    add(operations, THREADS + 2);
    wait_for(&begun, THREADS);
    open_gate(THREADS + 2);
    wait_for(&ended, THREADS + 2);
    ck_assert_int_eq(atomic_load(&most), THREADS);
    ck_assert_ptr_null(pool_stop(tested));
    pool_destroy(tested);
}
END_TEST

enum { NICER = 16, NICEST = 19 };

static void hold_if_stepped_back(void *context, store_operation *operation,
                                 struct pool_thread *thread)
{
    int nice = getpriority(PRIO_PROCESS, (id_t)getpid()) + NICER;
    ck_assert_int_eq(getpriority(PRIO_PROCESS, (id_t)gettid()), nice < NICEST ? nice : NICEST);
    ck_assert_int_eq(sched_getscheduler(0), SCHED_BATCH);
    hold(context, operation, thread);
}

/* All threads step back as far, though where changes are slow one of them starts the next. */
START_TEST(all_step_back_alike)
{
    store_operation operations[THREADS] = {0};
    struct pool_settings settings = {
        .threads = THREADS, .queue = QUEUE, .idle_timeout = 10000, .run = hold_if_stepped_back};
    atomic_store(&is_patient, false);
    tested = pool_create(&settings);
    ck_assert_ptr_nonnull(tested);
    for (int i = 0; i < THREADS; i++)
        operations[i].joins = true;
    do_at_once(operations, THREADS);
}
END_TEST

enum { MORE = 2 * THREADS };

/* Two begin while none is slow, also where some were slow before; the other threads are there for
 * all else. */
START_TEST(few_begin)
{
    store_operation slow[MORE] = {0}, changes[MORE - 2] = {0}, others[MORE - 2] = {0};
    create_with(MORE, 10000);
    for (int i = 0; i < MORE; i++)
        slow[i].joins = true;
    if (_i == 1) {
        atomic_store(&is_patient, false);
        add(slow, MORE);
        wait_for(&begun, MORE);
        open_gate(MORE);
        wait_for(&ended, MORE);
    }
    atomic_store(&is_patient, true);
    atomic_store(&begins, 0);
    for (int i = 0; i < MORE - 2; i++) {
        changes[i].joins = true;
        others[i].action = STTP_ACTION_SHOW;
    }
    add(changes, MORE - 2);
    add(others, MORE - 2);
    wait_for(&begun, MORE);
    open_gate(2 * (MORE - 2));
    wait_for(&ended, 2 * (MORE - 2));
    for (int i = 0; i < MORE - 2; i++)
        ck_assert_int_lt(others[i].system_errno, MORE);
    ck_assert_ptr_null(pool_stop(tested));
    pool_destroy(tested);
}
END_TEST

static sem_t has_joined, may_end;

/* At the gate, and then with all that may join it, until it may end. */
static void hold_and_join(void *context, store_operation *operation, struct pool_thread *thread)
{
    store_operation *all[THREADS + QUEUE];
    int count = 0;
    (void)context;
    sem_post(&begun);
    sem_wait(&gate);
    for (; operation != NULL; operation = pool_join(tested, thread)) {
        operation->system_errno = atomic_fetch_add(&begins, 1);
        all[count++] = operation;
    }
    atomic_store(&joined, count - 1);
    sem_post(&has_joined);
    sem_wait(&may_end);
    while (count-- > 0) {
        pool_release(tested, all[count]);
        sem_post(&ended);
    }
}

/* Two threads have one of these each, the rest waits. */
static void hold_two(store_operation *changes, int count)
{
    sem_init(&has_joined, 0, 0);
    sem_init(&may_end, 0, 0);
    struct pool_settings settings = {
        .threads = THREADS, .queue = QUEUE, .idle_timeout = 10000, .run = hold_and_join};
    tested = pool_create(&settings);
    ck_assert_ptr_nonnull(tested);
    for (int i = 0; i < count; i++)
        changes[i].joins = true;
    add(changes, count);
    wait_for(&begun, 2);
}

/* With those who join them, the threads have no more than `threads` changes; each that ends makes
 * room for another one. They come in their order. */
START_TEST(so_many_join)
{
    store_operation changes[THREADS + 3] = {0};
    hold_two(changes, THREADS + 3);
    open_gate(1);
    wait_for(&has_joined, 1);
    ck_assert_int_eq(atomic_load(&joined), THREADS - 2);
    ck_assert_int_lt(changes[2].system_errno, changes[3].system_errno);
    open_gate(1);
    wait_for(&has_joined, 1);
    ck_assert_int_eq(atomic_load(&joined), 0);
    sem_post(&may_end);
    sem_post(&may_end);
    wait_for(&ended, THREADS);
    wait_for(&begun, 2);
    open_gate(1);
    wait_for(&has_joined, 1);
    ck_assert_int_eq(atomic_load(&joined), 1);
    ck_assert_int_eq(atomic_load(&begins), THREADS + 2);
    open_gate(1);
    wait_for(&has_joined, 1);
    ck_assert_int_eq(atomic_load(&joined), 0);
    sem_post(&may_end);
    sem_post(&may_end);
    wait_for(&ended, 3);
    ck_assert_ptr_null(pool_stop(tested));
    pool_destroy(tested);
}
END_TEST

/* However many one thread has taken: what waits behind them has the other threads. */
START_TEST(many_slow_ones_hold_up_no_other)
{
    store_operation changes[THREADS + 2] = {0};
    atomic_store(&is_patient, false);
    hold_two(changes, THREADS + 2);
    open_gate(1);
    wait_for(&has_joined, 1);
    wait_for(&begun, THREADS - 2);
    open_gate(THREADS + 1);
    for (int i = 0; i < THREADS + 2; i++)
        sem_post(&may_end);
    wait_for(&ended, THREADS + 2);
    ck_assert_ptr_null(pool_stop(tested));
    pool_destroy(tested);
}
END_TEST

/* Neither a change that is to be done alone, nor anything where none waits. */
START_TEST(only_those_join_that_may)
{
    store_operation changes[2] = {0}, others[] = {{.action = STTP_ACTION_DELETE},
                                                  {.action = STTP_ACTION_SHOW},
                                                  {.action = STTP_ACTION_LIST}};
    hold_two(changes, 2);
    add(others, 3);
    wait_for(&begun, 2);
    open_gate(5);
    for (int i = 0; i < 5; i++) {
        wait_for(&has_joined, 1);
        ck_assert_int_eq(atomic_load(&joined), 0);
        sem_post(&may_end);
    }
    wait_for(&ended, 5);
    ck_assert_ptr_null(pool_stop(tested));
    pool_destroy(tested);
}
END_TEST

/* What is under way ends with what it has. */
START_TEST(none_joins_when_the_pool_stops)
{
    store_operation changes[3] = {0};
    store_operation *left = NULL;
    pthread_t stopper;
    hold_two(changes, 3);
    ck_assert_int_eq(pthread_create(&stopper, NULL, stop, &left), 0);
    while (pool_admit(tested, &changes[0]))
        pool_release(tested, &changes[0]);
    open_gate(2);
    wait_for(&has_joined, 2);
    ck_assert_int_eq(atomic_load(&begins), 2);
    sem_post(&may_end);
    sem_post(&may_end);
    pthread_join(stopper, NULL);
    ck_assert_ptr_eq(left, &changes[2]);
    ck_assert_ptr_null(left->next);
    pool_destroy(tested);
}
END_TEST

/* The thread that is to look after those that wait is also one for other work. */
START_TEST(watch_is_replaced)
{
    store_operation changes[THREADS] = {0}, other = {.action = STTP_ACTION_SHOW};
    atomic_store(&is_patient, false);
    create_with(THREADS + 1, 10000);
    for (int i = 0; i < THREADS; i++)
        changes[i].joins = true;
    add(changes, THREADS);
    add(&other, 1);
    wait_for(&begun, THREADS + 1);
    open_gate(THREADS + 1);
    wait_for(&ended, THREADS + 1);
    ck_assert_ptr_null(pool_stop(tested));
    pool_destroy(tested);
}
END_TEST

/* The others are not few. */
START_TEST(what_does_not_join_has_a_thread)
{
    store_operation changes[THREADS] = {0};
    create_with(THREADS, 10000);
    for (int i = 0; i < THREADS; i++)
        changes[i].action = STTP_ACTION_CREATE;
    do_at_once(changes, THREADS);
}
END_TEST

/* Where others are to join there is one thread for them, and no more than it needs. */
START_TEST(one_thread_does_all)
{
    store_operation operations[3] = {
        {.joins = true}, {.action = STTP_ACTION_SHOW}, {.joins = true}};
    create_with(1, 10000);
    add(operations, 3);
    wait_for(&begun, 1);
    open_gate(3);
    wait_for(&ended, 3);
    ck_assert_int_eq(atomic_load(&most), 1);
    ck_assert_ptr_null(pool_stop(tested));
    pool_destroy(tested);
}
END_TEST

/* Those that wait for others when the pool stops come back. */
START_TEST(stop_returns_what_would_join)
{
    store_operation operations[3] = {
        {.joins = true}, {.joins = true}, {.action = STTP_ACTION_LIST}};
    pthread_t stopper;
    store_operation *left = NULL;
    create_with(1, 10000);
    add(operations, 1);
    wait_for(&begun, 1);
    add(operations + 1, 2);
    ck_assert_int_eq(pthread_create(&stopper, NULL, stop, &left), 0);
    while (pool_admit(tested, &operations[0]))
        pool_release(tested, &operations[0]);
    open_gate(1);
    pthread_join(stopper, NULL);
    ck_assert_ptr_eq(left, &operations[2]);
    ck_assert_ptr_eq(left->next, &operations[1]);
    ck_assert_ptr_null(left->next->next);
    pool_destroy(tested);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool_joins");
    TCase *tests = tcase_create("changes together");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up_patiently, NULL);
    tcase_add_test(tests, slow_changes_hold_up_no_other);
    tcase_add_test(tests, all_step_back_alike);
    tcase_add_loop_test(tests, few_begin, 0, 2);
    tcase_add_test(tests, so_many_join);
    tcase_add_test(tests, many_slow_ones_hold_up_no_other);
    tcase_add_test(tests, only_those_join_that_may);
    tcase_add_test(tests, none_joins_when_the_pool_stops);
    tcase_add_test(tests, watch_is_replaced);
    tcase_add_test(tests, what_does_not_join_has_a_thread);
    tcase_add_test(tests, one_thread_does_all);
    tcase_add_test(tests, stop_returns_what_would_join);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
