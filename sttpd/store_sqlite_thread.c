/* How the store's own threads begin, and their clock. */
#include <signal.h>
#include <time.h>

#include "sttpd/store_sqlite_private.h"

int sq_init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t monotonic;
    int failure = pthread_condattr_init(&monotonic);

    if (failure != 0)
        return failure;
    failure = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    if (failure == 0)
        failure = pthread_cond_init(condition, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return failure;
}

int sq_start_thread(pthread_t *thread, void *(*run)(void *), void *context)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failure = pthread_create(thread, NULL, run, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failure;
}

int64_t sq_milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

struct timespec sq_time_in(long milliseconds)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_sec += milliseconds / 1000;
    time.tv_nsec += milliseconds % 1000 * 1000000;
    if (time.tv_nsec >= 1000000000) {
        time.tv_sec++;
        time.tv_nsec -= 1000000000;
    }
    return time;
}
