/* The charts of --html, as inline SVG. Colours come from the style sheet of the page. */
#ifndef BENCH_CHART_H
#define BENCH_CHART_H

#include <stddef.h>
#include <stdio.h>

#include "result.h"

enum { CHART_COLUMNS = 120 };

/* A stretch of the run, in seconds since the first measured phase began. */
typedef struct chart_column {
    double from, to;
    double answers, errors;
    double p50, p90, p99; /* nanoseconds; 0 where there was no answer */
    double heat[HEAT_ROWS];
} chart_column;

typedef struct chart_data {
    chart_column columns[CHART_COLUMNS];
    size_t count;
    double seconds;   /* all columns together */
    double most_heat; /* the largest number in a cell of the heat map */
    struct {
        double at; /* seconds */
        const char *name;
    } phases[MAX_PHASES]; /* the measured ones */
    size_t phase_count;
    const histogram *latency;
} chart_data;

/* Puts the intervals of the measured phases together to columns. */
void chart_collect(const bench_result *result, chart_data *data);

void chart_throughput(const chart_data *data, FILE *out);
void chart_latency(const chart_data *data, FILE *out);
void chart_percentiles(const chart_data *data, FILE *out);
void chart_heat(const chart_data *data, FILE *out);

#endif
