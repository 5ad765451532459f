/* What a run found. */
#ifndef BENCH_RESULT_H
#define BENCH_RESULT_H

#include "histogram.h"
#include "options.h"
#include "series.h"

/* Exit statuses; where several apply, the one that stands first in bench_exit_texts. */
enum {
    BENCH_EXIT_OK = 0,
    BENCH_EXIT_OUTPUT = 1,
    BENCH_EXIT_USAGE = 2,
    BENCH_EXIT_ERRORS = 3,
    BENCH_EXIT_BOTTLENECK = 4,
    BENCH_EXIT_SLO = 5,
    BENCH_EXIT_LIE = 6,
    BENCH_EXIT_NO_SERVER = 7
};

typedef struct bench_exit_text {
    int status;
    const char *meaning; /* NULL at the end of the list */
} bench_exit_text;

extern const bench_exit_text bench_exit_texts[];

/* Why a request failed. */
typedef enum failure_kind {
    FAILURE_CONNECT = 0,
    FAILURE_RESET,
    FAILURE_CLOSED,
    FAILURE_TIMEOUT,
    FAILURE_UNSENT,        /* open loop: due, and no connection was free until the end */
    FAILURE_PROTOCOL,      /* what came is no STTP answer */
    FAILURE_WRONG_ANSWER,  /* it speaks of something else than was asked */
    FAILURE_WRONG_CONTENT, /* --verify: the text is not one that belongs there */
    FAILURE_300,           /* refused with this code */
    FAILURE_310,
    FAILURE_400,
    FAILURE_410,
    FAILURE_500,
    FAILURE_510,
    FAILURE_KINDS
} failure_kind;

/* "connect", "refused 500". */
const char *failure_name(failure_kind kind);

enum { SAMPLE_SIZE = 256 };

/* What one thread, or all of them, counted in one phase. */
typedef struct bench_tally {
    histogram response[PLAN_ACTIONS]; /* of good answers, from the moment they were due */
    histogram service;                /* open loop: from the moment they were sent */
    uint64_t unmeasured;  /* good answers that belong to the time before the measured one */
    uint64_t sent;        /* in the measured time, like all that follows */
    uint64_t late;        /* of them: over a millisecond after they were due */
    uint64_t late_self;   /* of these: though a connection was free */
    uint64_t connections; /* that were opened; all the time */
    uint64_t failures[FAILURE_KINDS];         /* all the time */
    char samples[FAILURE_KINDS][SAMPLE_SIZE]; /* the first of each kind, visible characters */
    uint64_t bytes_sent, bytes_received;      /* all the time */
    uint64_t existing;                        /* CREATE answered with "already exists" */
    uint64_t busy; /* nanoseconds that threads used or waited for a processor */
} bench_tally;

void tally_merge(bench_tally *to, const bench_tally *from);
uint64_t tally_failures(const bench_tally *tally);
uint64_t tally_answers(const bench_tally *tally);

typedef struct bench_phase_result {
    const char *name;
    bench_tally *tally;
    bench_series series;
    uint64_t elapsed; /* nanoseconds of the measured time */
    unsigned threads;
    bool gave_up;     /* nobody answered any more */
    bool interrupted; /* by a signal */
    bool no_memory;
} bench_phase_result;

enum { MAX_PHASES = 5 }; /* prepare, replace, measure, clean up, directory */

typedef struct bench_result {
    const bench_options *options;
    char server[160]; /* where the connections went */
    char started[32]; /* by the wall clock, RFC 3339 */
    bench_phase_result phases[MAX_PHASES];
    size_t phase_count;
    size_t first, count; /* those that were measured */
    bench_tally *total;  /* of these */
    histogram *latency;  /* all actions of `total` */
    uint64_t elapsed;    /* of these */
    bool gave_up, interrupted;
    uint64_t cleanup_failures;
    bool cleanup_failed;          /* for want of memory or threads */
    uint64_t checked, violations; /* --check: requests, paths with a violation */
    char violation[512];          /* the first one */
} bench_result;

/* Fills `total`, `latency`, `elapsed` from the phases; false where memory is out. */
bool result_total(bench_result *result);

/* Seconds that interval `i` of the series lasted: the last one ends with the phase. */
double result_interval(const bench_phase_result *phase, size_t i);

/* Good answers a second. */
double result_rate(const bench_result *result);

/* Failed requests, percent of all; both from the beginning of the phase. */
double result_error_percent(const bench_result *result);

/* Whether what was measured is the tester, not the server. Only of an open loop. `why` (256 bytes)
 * says how that shows. */
bool result_bottleneck(const bench_result *result, char *why);

/* The share of their time that the tester's threads were busy, percent. */
double result_busy_percent(const bench_result *result);

/* What a term is about, in its unit, and whether it holds. */
double result_slo_value(const bench_result *result, const slo_term *term);
bool result_slo_holds(const bench_result *result, const slo_term *term);

/* The value for people; `text` has 32 bytes. */
const char *result_slo_text(const bench_result *result, const slo_term *term, char *text);

int result_exit_status(const bench_result *result);

#endif
