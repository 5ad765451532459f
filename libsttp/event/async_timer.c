/* Timers: a heap by time. The loop has one timer, which is told only of what is earlier than it
 * knows: a time that is put off costs nothing, the loop then calls too early once. */
#include "async_private.h"

#include <string.h>

static void put(sttp_async *async, size_t place, sttp__timer *timer)
{
    async->timers[place] = timer;
    timer->place = place;
}

static void move_up(sttp_async *async, sttp__timer *timer)
{
    size_t place = timer->place;

    while (place > 0) {
        size_t parent = (place - 1) / 2;

        if (async->timers[parent]->at <= timer->at)
            break;
        put(async, place, async->timers[parent]);
        place = parent;
    }
    put(async, place, timer);
}

static void move_down(sttp_async *async, sttp__timer *timer)
{
    size_t place = timer->place;

    for (;;) {
        size_t child = 2 * place + 1;

        if (child >= async->timer_count)
            break;
        if (child + 1 < async->timer_count &&
            async->timers[child + 1]->at < async->timers[child]->at)
            child++;
        if (async->timers[child]->at >= timer->at)
            break;
        put(async, place, async->timers[child]);
        place = child;
    }
    put(async, place, timer);
}

bool sttp__timer_reserve(sttp__timer *timer)
{
    enum { FIRST_TIMERS = 16 };
    sttp_async *async = timer->async;

    timer->at = STTP__NEVER;
    if (async->timers_reserved == async->timer_capacity) {
        size_t capacity = async->timer_capacity > 0 ? 2 * async->timer_capacity : FIRST_TIMERS;
        sttp__timer **timers = sttp__allocate(&async->memory, capacity * sizeof *timers);

        if (timers == NULL)
            return false;
        if (async->timers != NULL) {
            memcpy(timers, async->timers, async->timer_count * sizeof *timers);
            sttp__release(&async->memory, async->timers);
        }
        async->timers = timers;
        async->timer_capacity = capacity;
    }
    async->timers_reserved++;
    return true;
}

void sttp__timer_release(sttp__timer *timer)
{
    sttp__timer_set(timer, STTP__NEVER);
    timer->async->timers_reserved--;
}

static void take_out(sttp__timer *timer)
{
    sttp_async *async = timer->async;
    sttp__timer *last = async->timers[--async->timer_count];

    timer->at = STTP__NEVER;
    if (last == timer)
        return;
    put(async, timer->place, last);
    move_up(async, last);
    move_down(async, last);
}

void sttp__timer_set(sttp__timer *timer, uint64_t at)
{
    sttp_async *async = timer->async;
    uint64_t before = timer->at;

    if (at == before)
        return;
    if (at == STTP__NEVER) {
        take_out(timer);
        return;
    }
    timer->at = at;
    if (before == STTP__NEVER)
        put(async, async->timer_count++, timer);
    if (at < before)
        move_up(async, timer);
    else
        move_down(async, timer);
}

/* One that is set again meanwhile waits for the next turn, whatever its time. */
void sttp__timers_run(sttp_async *async)
{
    for (size_t left = async->timer_count; left > 0 && async->timer_count > 0; left--) {
        sttp__timer *first = async->timers[0];

        if (first->at > async->now)
            return;
        take_out(first);
        first->expired(first);
    }
}

void sttp__timers_tell_loop(sttp_async *async)
{
    uint64_t at = async->timer_count > 0 ? async->timers[0]->at : STTP__NEVER;

    if (at >= async->told)
        return;
    async->told = at;
    async->loop.timer(async->loop.context, at > async->now ? at - async->now : 0);
}
