/* The course of a run: what happened in each of many intervals of one width. Threads hand in what
 * they have seen of an interval when it is over, so that a request costs no lock. */
#ifndef BENCH_SERIES_H
#define BENCH_SERIES_H

#include <pthread.h>
#include <stdbool.h>

#include "histogram.h"

enum {
    HEAT_PER_DOUBLING = 4,
    HEAT_FIRST_BIT = 10, /* the lowest row begins at 1 << 10 ns, about 1 us */
    HEAT_ROWS = 26 * HEAT_PER_DOUBLING
};

/* The row of a latency, and where a row begins, in nanoseconds. What is below the lowest or above
 * the highest row counts as that. */
size_t heat_row(uint64_t nanoseconds);
double heat_row_low(size_t row);

typedef struct series_point {
    uint64_t answers, errors;
    uint64_t p50, p90, p99, max; /* nanoseconds */
    uint32_t heat[HEAT_ROWS];
} series_point;

enum { SERIES_OPEN = 4 }; /* intervals that threads may still hand in to */

typedef struct bench_series {
    uint64_t width; /* nanoseconds */
    pthread_mutex_t lock;
    size_t first_open; /* the index of the first interval that is open; those before are points */
    size_t end;        /* one more than the last that was handed in */
    histogram *open;   /* SERIES_OPEN of them, by index modulo that */
    uint64_t open_errors[SERIES_OPEN];
    series_point *points;
    size_t capacity;
    bool no_memory; /* points are missing */
} bench_series;

bool series_init(bench_series *series, uint64_t width);
void series_destroy(bench_series *series);

/* Adds what a thread saw in the interval `index`. Thread-safe. */
void series_add(bench_series *series, size_t index, const histogram *seen, uint64_t errors);

/* The newest interval that is over; false where there is none yet. Thread-safe. */
bool series_latest(bench_series *series, series_point *point);

/* Makes points of all that was handed in; series->first_open is their number. */
void series_finish(bench_series *series);

#endif
