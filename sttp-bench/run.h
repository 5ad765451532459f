/* A whole run: its phases one after another. */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include "result.h"
#include "target.h"

/* Runs what the options ask for. Returns BENCH_EXIT_OK where *result is filled, whatever came out;
 * else a message is on standard error and the exit status returned. */
int run_bench(const bench_options *options, const bench_target *target, bench_result *result);

void run_destroy(bench_result *result);

#endif
