#include "series.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

size_t heat_row(uint64_t nanoseconds)
{
    if (nanoseconds < (uint64_t)1 << HEAT_FIRST_BIT)
        return 0;
    unsigned bit = 63 - (unsigned)__builtin_clzll(nanoseconds);
    size_t part = (size_t)(nanoseconds >> (bit - 2)) & (HEAT_PER_DOUBLING - 1);
    size_t row = (size_t)(bit - HEAT_FIRST_BIT) * HEAT_PER_DOUBLING + part;
    return row < HEAT_ROWS ? row : HEAT_ROWS - 1;
}

double heat_row_low(size_t row)
{
    double part = 1 + (double)(row % HEAT_PER_DOUBLING) / HEAT_PER_DOUBLING;

    return ldexp(part, HEAT_FIRST_BIT + (int)(row / HEAT_PER_DOUBLING));
}

bool series_init(bench_series *series, uint64_t width)
{
    *series = (bench_series){.width = width};
    pthread_mutex_init(&series->lock, NULL);
    series->open = calloc(SERIES_OPEN, sizeof *series->open);
    return series->open != NULL;
}

void series_destroy(bench_series *series)
{
    pthread_mutex_destroy(&series->lock);
    free(series->open);
    free(series->points);
}

static series_point *new_point(bench_series *series)
{
    if (series->first_open == series->capacity) {
        size_t capacity = series->capacity ? series->capacity * 2 : 128;
        series_point *grown = reallocarray(series->points, capacity, sizeof *grown);
        if (grown == NULL)
            return NULL;
        series->points = grown;
        series->capacity = capacity;
    }
    return &series->points[series->first_open];
}

static void summarize(const histogram *h, uint64_t errors, series_point *point)
{
    *point = (series_point){
        .answers = h->count,
        .errors = errors,
        .p50 = histogram_percentile(h, 50),
        .p90 = histogram_percentile(h, 90),
        .p99 = histogram_percentile(h, 99),
        .max = h->max,
    };
    if (h->count == 0)
        return;
    size_t last = histogram_slot(h->max);
    for (size_t i = histogram_slot(h->min); i <= last; i++) {
        if (h->slots[i] > 0)
            point->heat[heat_row(histogram_slot_low(i))] += (uint32_t)h->slots[i];
    }
}

static void close_first(bench_series *series)
{
    size_t place = series->first_open % SERIES_OPEN;
    series_point *point = new_point(series);

    if (point == NULL)
        series->no_memory = true;
    else
        summarize(&series->open[place], series->open_errors[place], point);
    histogram_clear(&series->open[place]);
    series->open_errors[place] = 0;
    series->first_open += point != NULL;
}

void series_add(bench_series *series, size_t index, const histogram *seen, uint64_t errors)
{
    pthread_mutex_lock(&series->lock);
    while (!series->no_memory && index >= series->first_open + SERIES_OPEN)
        close_first(series);
    if (index < series->first_open)
        index = series->first_open;
    if (index >= series->end)
        series->end = index + 1;
    histogram_merge(&series->open[index % SERIES_OPEN], seen);
    series->open_errors[index % SERIES_OPEN] += errors;
    pthread_mutex_unlock(&series->lock);
}

bool series_latest(bench_series *series, series_point *point)
{
    pthread_mutex_lock(&series->lock);
    bool found = series->first_open > 0;
    if (found)
        *point = series->points[series->first_open - 1];
    pthread_mutex_unlock(&series->lock);
    return found;
}

void series_finish(bench_series *series)
{
    while (!series->no_memory && series->first_open < series->end)
        close_first(series);
}
