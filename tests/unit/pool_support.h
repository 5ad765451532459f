/* What the tests of a store's threads share: operations that begin, wait for a gate, and end. */
#ifndef STTP_TESTS_POOL_SUPPORT_H
#define STTP_TESTS_POOL_SUPPORT_H

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <check.h>

#include "sttpd/pool.h"

enum { THREADS = 4, QUEUE = 8 };

static pool *tested;
static sem_t begun, gate, ended;
static atomic_int running, most, unblocked, begins;

/* What `run` does with each operation: tells that it began, waits for the gate. */
static void hold(void *context, store_operation *operation, struct pool_thread *thread)
{
    sigset_t blocked;
    (void)context;
    (void)thread;
    int now = atomic_fetch_add(&running, 1) + 1;
    int before = atomic_load(&most);
    while (before < now && !atomic_compare_exchange_weak(&most, &before, now))
        ;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    if (!sigismember(&blocked, SIGTERM) || !sigismember(&blocked, SIGXFSZ))
        atomic_fetch_add(&unblocked, 1);
    operation->system_errno = atomic_fetch_add(&begins, 1);
    sem_post(&begun);
    sem_wait(&gate);
    operation->result = STORE_EXISTS;
    atomic_fetch_sub(&running, 1);
    pool_release(tested, operation);
    sem_post(&ended);
}

static void create_with(unsigned threads, unsigned idle_timeout)
{
    struct pool_settings settings = {
        .threads = threads, .queue = QUEUE, .idle_timeout = idle_timeout, .run = hold};
    tested = pool_create(&settings);
    ck_assert_ptr_nonnull(tested);
}

static void setup(void)
{
    sem_init(&begun, 0, 0);
    sem_init(&gate, 0, 0);
    sem_init(&ended, 0, 0);
    atomic_store(&running, 0);
    atomic_store(&most, 0);
    atomic_store(&unblocked, 0);
    atomic_store(&begins, 0);
}

static void add(store_operation *operations, int count)
{
    for (int i = 0; i < count; i++) {
        ck_assert(pool_admit(tested, &operations[i]));
        ck_assert(pool_add(tested, &operations[i]));
    }
}

static void wait_for(sem_t *semaphore, int count)
{
    while (count-- > 0)
        sem_wait(semaphore);
}

static void open_gate(int count)
{
    while (count-- > 0)
        sem_post(&gate);
}

static void *stop(void *argument)
{
    store_operation **left = argument;
    *left = pool_stop(tested);
    return NULL;
}

static int run_suite(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
