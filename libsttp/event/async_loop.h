/* The loop as the parts of the asynchronous client see it: descriptors and timers. Points in time
 * are in microseconds of CLOCK_MONOTONIC. */
#ifndef STTP_EVENT_ASYNC_LOOP_H
#define STTP_EVENT_ASYNC_LOOP_H

#include <sttp/async.h>

#define STTP__NEVER UINT64_MAX

/* Watches are members of what they belong to, zero but for `fd`, `async` and `_ready`. Sets the
 * interest; what it is already costs nothing. 0 forgets the descriptor, which the caller then
 * closes. False: the loop has no memory, and the interest is what it was. */
bool sttp__watch_set(sttp_watch *watch, unsigned interest);

/* Timers are members of what they belong to, and zero at first but for the last two fields. */
typedef struct sttp__timer {
    uint64_t at;  /* STTP__NEVER: not set */
    size_t place; /* in the heap */
    sttp_async *async;
    void (*expired)(struct sttp__timer *timer); /* it is not set any more when this is called */
} sttp__timer;

/* Reserves what the timer needs for its life, so that setting it cannot fail. False where memory is
 * out; then it must not be used, nor released. */
bool sttp__timer_reserve(sttp__timer *timer);
void sttp__timer_release(sttp__timer *timer);

/* In place of what was set before; a time that has passed already is told at the next turn.
 * STTP__NEVER stops it. */
void sttp__timer_set(sttp__timer *timer, uint64_t at);

/* The time at which the present turn of the loop began, more or less. */
uint64_t sttp__async_now(const sttp_async *async);

const sttp_allocator *sttp__async_memory(const sttp_async *async);

#endif
