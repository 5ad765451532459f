/* The command line. One table in options.c gives the parser and --help. Times are in nanoseconds.
 */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "plan.h"
#include "slo.h"

typedef struct bench_options {
    const char *address;
    uint64_t port;
    const char *unix_path; /* NULL: none */
    const char *proxy;     /* HOST:PORT; NULL: none */

    bool script; /* the default run: none of the options that make it a measurement was given */
    uint64_t interval;
    uint64_t connections;
    uint64_t threads; /* 0: as many as there are processors, but no more than connections */
    uint64_t pipeline;
    bool connection_per_request;

    uint64_t duration; /* 0: none */
    uint64_t requests; /* 0: none */
    double rate;       /* 0: closed loop */
    bool poisson;
    uint64_t warm_up;
    uint64_t ramp;
    uint64_t timeout;
    uint64_t connect_timeout;

    bench_mix mix;
    const char *mix_text;
    uint64_t keys;
    bench_distribution distribution;
    const char *distribution_text;
    uint64_t size;
    uint64_t seed;
    bool seed_given;
    uint32_t run; /* names of this run alone are made of it */
    bool verify;
    bool check;
    bool keep;

    const char *json, *csv, *html; /* NULL: none */
    bench_slo slo;
    const char *slo_text;

    int argument_count; /* as main has them */
    char **arguments;
} bench_options;

typedef enum bench_parsed {
    BENCH_PARSED_RUN,
    BENCH_PARSED_HELP,
    BENCH_PARSED_VERSION,
    BENCH_PARSED_ERROR
} bench_parsed;

/* Reads the arguments. A mistake is told on standard error. Strings point into `argv`. */
bench_parsed options_parse(int argc, char **argv, bench_options *options);

void options_help(void);

#endif
