/* The line on standard error that shows how a run is getting on; only where that is a terminal. */
#ifndef BENCH_LIVE_H
#define BENCH_LIVE_H

#include "result.h"

/* `done` from 0 to 1; `newest` is NULL where no interval is over yet. */
void live_show(const char *phase, double done, const series_point *newest, uint64_t width,
               uint64_t errors);

/* Takes the line away. */
void live_clear(void);

/* A length of time for people: "812 us", "1.23 ms", "2.10 s". `buffer` has 32 bytes. */
const char *live_time(double nanoseconds, char *buffer);

#endif
