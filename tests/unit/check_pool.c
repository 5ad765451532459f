/* The threads of a store. Nothing here depends on time but the end of idle threads, which is waited
 * for. See check_pool_joins.c for what they do together. */
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "pool_support.h"

static void create(unsigned idle_timeout)
{
    create_with(THREADS, idle_timeout);
}

static bool is_of_pool(const char *task)
{
    char path[64], name[16] = "";
    snprintf(path, sizeof path, "/proc/self/task/%.20s/comm", task);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    char *line = fgets(name, sizeof name, file);
    fclose(file);
    return line != NULL && strcmp(name, "store\n") == 0;
}

static int count_threads(void)
{
    int count = 0;
    struct dirent *entry;
    DIR *stream = opendir("/proc/self/task");
    while ((entry = readdir(stream)) != NULL)
        count += is_of_pool(entry->d_name);
    closedir(stream);
    return count;
}

START_TEST(runs_all)
{
    store_operation operations[THREADS + QUEUE] = {0};
    create(10000);
    add(operations, THREADS + QUEUE);
    wait_for(&begun, THREADS);
    open_gate(THREADS + QUEUE);
    wait_for(&ended, THREADS + QUEUE);
    ck_assert_int_eq(atomic_load(&most), THREADS);
    ck_assert_int_eq(atomic_load(&unblocked), 0);
    ck_assert_ptr_null(pool_stop(tested));
    for (int i = 0; i < THREADS + QUEUE; i++)
        ck_assert_int_eq(operations[i].result, STORE_EXISTS);
    pool_destroy(tested);
}
END_TEST

START_TEST(places)
{
    store_operation operations[THREADS + QUEUE] = {0};
    create(10000);
    add(operations, THREADS + QUEUE);
    ck_assert(!pool_admit(tested, &operations[0]));
    open_gate(1);
    wait_for(&ended, 1);
    ck_assert(pool_admit(tested, &operations[0]));
    ck_assert(!pool_admit(tested, &operations[0]));
    pool_release(tested, &operations[0]);
    open_gate(THREADS + QUEUE);
    wait_for(&ended, THREADS + QUEUE - 1);
    ck_assert_ptr_null(pool_stop(tested));
    ck_assert(!pool_admit(tested, &operations[0]));
    pool_destroy(tested);
}
END_TEST

/* No more threads than operations; and all end when there is nothing to do, and come back. */
START_TEST(threads_come_and_go)
{
    create(20);
    for (int round = 0; round < 3; round++) {
        store_operation operations[2] = {0};
        add(operations, 2);
        wait_for(&begun, 2);
        ck_assert_int_eq(count_threads(), 2);
        open_gate(2);
        wait_for(&ended, 2);
        for (int i = 0; i < 20000 && count_threads() > 0; i++)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        ck_assert_int_eq(count_threads(), 0);
    }
    ck_assert_ptr_null(pool_stop(tested));
    pool_destroy(tested);
}
END_TEST

/* What no thread had begun comes back, in its order. */
START_TEST(stop_returns_the_rest)
{
    store_operation operations[THREADS + 3] = {0};
    store_operation *left = NULL;
    pthread_t stopper;
    create(10000);
    add(operations, THREADS + 3);
    wait_for(&begun, THREADS);
    ck_assert_int_eq(pthread_create(&stopper, NULL, stop, &left), 0);
    while (pool_admit(tested, &operations[0]))
        pool_release(tested, &operations[0]);
    open_gate(THREADS);
    ck_assert_int_eq(pthread_join(stopper, NULL), 0);
    for (int i = 0; i < 3; i++, left = left->next) {
        ck_assert_ptr_eq(left, &operations[THREADS + i]);
        ck_assert_int_eq(left->result, STORE_DONE);
    }
    ck_assert_ptr_null(left);
    ck_assert(!pool_add(tested, &operations[0]));
    pool_destroy(tested);
}
END_TEST

/* Three in four threads, and three in four places. */
START_TEST(listings_leave_room)
{
    store_operation listings[10], others[THREADS + QUEUE - 9] = {0};
    for (int i = 0; i < 10; i++)
        listings[i] = (store_operation){.action = STTP_ACTION_LIST};
    create(10000);
    add(listings, 9);
    ck_assert(!pool_admit(tested, &listings[9]));
    wait_for(&begun, THREADS - 1);
    add(others, THREADS + QUEUE - 9);
    wait_for(&begun, 1);
    ck_assert_int_eq(others[0].system_errno, THREADS - 1);
    ck_assert(!pool_admit(tested, &others[0]));
    open_gate(THREADS + QUEUE);
    wait_for(&ended, THREADS + QUEUE);
    ck_assert(pool_admit(tested, &listings[9]));
    ck_assert_ptr_null(pool_stop(tested));
    pool_destroy(tested);
}
END_TEST

/* Not even where there are two threads. */
START_TEST(listings_leave_one_of_two)
{
    store_operation listings[2], other = {0};
    for (int i = 0; i < 2; i++)
        listings[i] = (store_operation){.action = STTP_ACTION_LIST};
    create_with(2, 10000);
    add(listings, 2);
    add(&other, 1);
    wait_for(&begun, 2);
    open_gate(3);
    wait_for(&ended, 3);
    ck_assert_int_lt(other.system_errno, 2);
    ck_assert_ptr_null(pool_stop(tested));
    pool_destroy(tested);
}
END_TEST

/* Neither listings nor all else has to wait until nothing of the other kind waits. */
START_TEST(kinds_take_turns)
{
    store_operation listings[3], others[3] = {0};
    create_with(1, 10000);
    add(others, 1);
    wait_for(&begun, 1);
    for (int i = 0; i < 3; i++)
        listings[i] = (store_operation){.action = STTP_ACTION_LIST};
    add(listings, 3);
    add(others + 1, 2);
    open_gate(6);
    wait_for(&ended, 6);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(others[i].system_errno, 2 * i);
        ck_assert_int_eq(listings[i].system_errno, 2 * i + 1);
    }
    ck_assert_ptr_null(pool_stop(tested));
    pool_destroy(tested);
}
END_TEST

/* Threads that end as soon as they have nothing to do, and new ones in their place; then a stop in
 * the midst of it. Nothing waits for ever, and nothing is lost. */
enum { PRODUCERS = 4, EACH = 5000, BURST = 16, STOP_AT = PRODUCERS * EACH * 3 / 4 };

static atomic_int produced, refused, ran, joined, ran_of[PRODUCERS];
static store_operation many[PRODUCERS][EACH];

static void count_one(store_operation *operation)
{
    pool_release(tested, operation);
    atomic_fetch_add(&ran, 1);
    atomic_fetch_add(&ran_of[(operation - many[0]) / EACH], 1);
}

/* With those that join it, which all begin before the first of them ends. */
static void count(void *context, store_operation *operation, struct pool_thread *thread)
{
    store_operation *first = operation, **end = &first;
    bool joins = operation->joins;
    int together = 0;
    (void)context;
    operation->next = NULL;
    while (operation != NULL) {
        together++;
        int now = joins ? atomic_fetch_add(&running, 1) + 1 : 0;
        int before = atomic_load(&most);
        while (before < now && !atomic_compare_exchange_weak(&most, &before, now))
            ;
        *end = operation;
        end = &operation->next;
        operation = joins ? pool_join(tested, thread) : NULL;
    }
    atomic_fetch_add(&joined, together - 1);
    if (joins)
        atomic_fetch_sub(&running, together);
    while (first != NULL) {
        store_operation *next = first->next;
        count_one(first);
        first = next;
    }
}

/* False where the pool stops: it admits nothing then, and does not run all. */
static bool yield(void)
{
    sched_yield();
    return atomic_load(&produced) < STOP_AT;
}

static void *produce(void *argument)
{
    store_operation *operations = argument;
    const atomic_int *mine = &ran_of[(operations - many[0]) / EACH];
    int taken = 0;
    for (int i = 0; i < EACH; i++) {
        operations[i].action = i % 5 == 0 ? STTP_ACTION_LIST : STTP_ACTION_SHOW;
        operations[i].joins = i % 5 > 1;
        while (!pool_admit(tested, &operations[i]))
            if (!yield())
                return NULL;
        bool is_taken = pool_add(tested, &operations[i]);
        taken += is_taken;
        atomic_fetch_add(&refused, !is_taken);
        atomic_fetch_add(&produced, 1);
        while (i % BURST == 0 && atomic_load(mine) < taken && yield())
            ;
    }
    return NULL;
}

START_TEST(none_is_lost)
{
    struct pool_settings settings = {
        .threads = THREADS, .queue = QUEUE, .idle_timeout = (unsigned)_i, .run = count};
    pthread_t producers[PRODUCERS];
    produced = refused = ran = joined = 0;
    for (int i = 0; i < PRODUCERS; i++)
        ran_of[i] = 0;
    tested = pool_create(&settings);
    ck_assert_ptr_nonnull(tested);
    for (int i = 0; i < PRODUCERS; i++)
        ck_assert_int_eq(pthread_create(&producers[i], NULL, produce, many[i]), 0);
    while (atomic_load(&produced) < STOP_AT)
        sched_yield();
    store_operation *left = pool_stop(tested);
    for (int i = 0; i < PRODUCERS; i++)
        ck_assert_int_eq(pthread_join(producers[i], NULL), 0);
    int back = 0;
    for (; left != NULL; left = left->next)
        back++;
    ck_assert_int_eq(atomic_load(&ran) + atomic_load(&refused) + back, atomic_load(&produced));
    ck_assert_int_ge(atomic_load(&ran), STOP_AT - PRODUCERS - THREADS - QUEUE);
    ck_assert_int_gt(atomic_load(&joined), 0);
    ck_assert_int_lt(atomic_load(&most), 2 * THREADS);
    pool_destroy(tested);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool");
    TCase *tests = tcase_create("threads");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, runs_all);
    tcase_add_test(tests, places);
    tcase_add_test(tests, threads_come_and_go);
    tcase_add_test(tests, stop_returns_the_rest);
    tcase_add_test(tests, listings_leave_room);
    tcase_add_test(tests, listings_leave_one_of_two);
    tcase_add_test(tests, kinds_take_turns);
    tcase_add_loop_test(tests, none_is_lost, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
