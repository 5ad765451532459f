/* A loop for the resolver's tests, whose clock and memory are the test's.
 *
 * The clock is also that of c-ares: the program has its own clock_gettime, and whole minutes pass
 * at once. */
#ifndef RESOLVE_LOOP_H
#define RESOLVE_LOOP_H

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "libsttp/event/async_loop.h"

#define MILLISECONDS UINT64_C(1000)
#define SECONDS UINT64_C(1000000)

/* ---- the clock ---- */

static uint64_t clock_offset; /* microseconds */

/* c-ares must find it, too. */
__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *now)
{
    long result = syscall(SYS_clock_gettime, clock, now);

    if (result == 0 && clock == CLOCK_MONOTONIC) {
        uint64_t part = (uint64_t)now->tv_nsec / 1000 + clock_offset % SECONDS;
        now->tv_sec += (time_t)(clock_offset / SECONDS + part / SECONDS);
        now->tv_nsec = (long)(part % SECONDS) * 1000;
    }
    return (int)result;
}

static inline uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECONDS + (uint64_t)now.tv_nsec / 1000;
}

/* ---- memory that can fail ---- */

static size_t allocations, failing_allocation, live_blocks; /* failing: its number, 0 for none */

static inline void *take_memory(size_t size, void *context)
{
    void *block;

    (void)context;
    if (++allocations == failing_allocation)
        return NULL;
    block = malloc(size);
    ck_assert_ptr_nonnull(block);
    live_blocks++;
    return block;
}

static inline void *retake_memory(void *block, size_t size, void *context)
{
    (void)block;
    (void)size;
    (void)context;
    ck_abort_msg("the resolver reallocates nothing");
}

static inline void give_memory(void *block, void *context)
{
    (void)context;
    live_blocks -= block != NULL;
    free(block);
}

static const sttp_allocator memory = {take_memory, retake_memory, give_memory, NULL};

/* ---- the loop ---- */

enum { MOST_WATCHES = 64, MOST_TIMERS = 4096 };

struct sttp_async {
    sttp_watch *watches[MOST_WATCHES];
    size_t watch_count;
    sttp__timer *timers[MOST_TIMERS]; /* those that are reserved */
    size_t timer_count;
    bool refuses; /* to watch anything new */
};

static struct sttp_async loop;

bool sttp__watch_set(sttp_watch *watch, unsigned interest)
{
    size_t at = 0;

    while (at < loop.watch_count && loop.watches[at] != watch)
        at++;
    if (interest == 0) {
        if (at < loop.watch_count)
            loop.watches[at] = loop.watches[--loop.watch_count];
    } else if (at == loop.watch_count) {
        if (loop.refuses)
            return false;
        ck_assert_uint_lt(loop.watch_count, MOST_WATCHES);
        loop.watches[loop.watch_count++] = watch;
    }
    watch->interest = interest;
    return true;
}

bool sttp__timer_reserve(sttp__timer *timer)
{
    ck_assert_uint_lt(loop.timer_count, MOST_TIMERS);
    if (++allocations == failing_allocation)
        return false;
    timer->at = STTP__NEVER;
    timer->place = loop.timer_count;
    loop.timers[loop.timer_count++] = timer;
    return true;
}

void sttp__timer_release(sttp__timer *timer)
{
    ck_assert_ptr_eq(loop.timers[timer->place], timer);
    loop.timers[timer->place] = loop.timers[--loop.timer_count];
    loop.timers[timer->place]->place = timer->place;
}

void sttp__timer_set(sttp__timer *timer, uint64_t at)
{
    ck_assert_ptr_eq(loop.timers[timer->place], timer);
    timer->at = at;
}

uint64_t sttp__async_now(const sttp_async *async)
{
    (void)async;
    return now_us();
}

const sttp_allocator *sttp__async_memory(const sttp_async *async)
{
    (void)async;
    return &memory;
}

static inline sttp__timer *next_timer(void)
{
    sttp__timer *first = NULL;

    for (size_t i = 0; i < loop.timer_count; i++) {
        if (loop.timers[i]->at != STTP__NEVER && (!first || loop.timers[i]->at < first->at))
            first = loop.timers[i];
    }
    return first;
}

static inline void run_timers(void)
{
    uint64_t now = now_us();
    sttp__timer *timer;

    while ((timer = next_timer()) && timer->at <= now) {
        timer->at = STTP__NEVER;
        timer->expired(timer);
    }
}

#endif
