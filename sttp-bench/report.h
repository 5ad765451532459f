/* The results in writing. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdio.h>

#include "result.h"

/* The version of the JSON: it grows when a member changes its meaning or goes. */
enum { REPORT_SCHEMA = 1 };

void report_text(const bench_result *result, FILE *out);
void report_json(const bench_result *result, FILE *out);
void report_csv(const bench_result *result, FILE *out);
void report_html(const bench_result *result, FILE *out);

#endif
