#include "result.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "live.h"

const bench_exit_text bench_exit_texts[] = {
    {BENCH_EXIT_OUTPUT, "the results could not be written, or this machine failed"},
    {BENCH_EXIT_USAGE, "a mistake in the options"},
    {BENCH_EXIT_LIE, "--verify or --check found an answer that cannot be right"},
    {BENCH_EXIT_NO_SERVER, "no connection, or the server went away: what was measured is printed"},
    {BENCH_EXIT_BOTTLENECK, "open loop: the tester was the bottleneck, so the figures are its own"},
    {BENCH_EXIT_SLO, "a term of --slo was missed; in compare: B is worse"},
    {BENCH_EXIT_ERRORS, "requests failed (not with --slo)"},
    {BENCH_EXIT_OK, "done"},
    {0, NULL},
};

const char *failure_name(failure_kind kind)
{
    static const char *const names[FAILURE_KINDS] = {
        "connect",     "reset",        "closed",        "timeout",     "not sent",
        "protocol",    "wrong answer", "wrong content", "refused 300", "refused 310",
        "refused 400", "refused 410",  "refused 500",   "refused 510"};

    return names[kind];
}

void tally_merge(bench_tally *to, const bench_tally *from)
{
    for (int action = 0; action < PLAN_ACTIONS; action++)
        histogram_merge(&to->response[action], &from->response[action]);
    histogram_merge(&to->service, &from->service);
    to->unmeasured += from->unmeasured;
    to->sent += from->sent;
    to->late += from->late;
    to->late_self += from->late_self;
    to->connections += from->connections;
    to->bytes_sent += from->bytes_sent;
    to->bytes_received += from->bytes_received;
    to->existing += from->existing;
    to->busy += from->busy;
    for (int kind = 0; kind < FAILURE_KINDS; kind++) {
        if (to->failures[kind] == 0)
            memcpy(to->samples[kind], from->samples[kind], SAMPLE_SIZE);
        to->failures[kind] += from->failures[kind];
    }
}

uint64_t tally_failures(const bench_tally *tally)
{
    uint64_t sum = 0;

    for (int kind = 0; kind < FAILURE_KINDS; kind++)
        sum += tally->failures[kind];
    return sum;
}

uint64_t tally_answers(const bench_tally *tally)
{
    uint64_t sum = 0;

    for (int action = 0; action < PLAN_ACTIONS; action++)
        sum += tally->response[action].count;
    return sum;
}

bool result_total(bench_result *result)
{
    result->total = calloc(1, sizeof *result->total);
    result->latency = calloc(1, sizeof *result->latency);
    if (result->total == NULL || result->latency == NULL)
        return false;
    for (size_t i = result->first; i < result->first + result->count; i++) {
        tally_merge(result->total, result->phases[i].tally);
        result->elapsed += result->phases[i].elapsed;
    }
    for (int action = 0; action < PLAN_ACTIONS; action++)
        histogram_merge(result->latency, &result->total->response[action]);
    return true;
}

double result_interval(const bench_phase_result *phase, size_t i)
{
    uint64_t width = phase->series.width, begin = i * width;

    if (phase->elapsed > begin && phase->elapsed < begin + width)
        width = phase->elapsed - begin;
    return (double)width / 1e9;
}

double result_rate(const bench_result *result)
{
    if (result->elapsed == 0)
        return 0;
    return (double)result->latency->count / ((double)result->elapsed / 1e9);
}

double result_error_percent(const bench_result *result)
{
    double failures = (double)tally_failures(result->total);
    double all = failures + (double)(result->latency->count + result->total->unmeasured);

    return all > 0 ? failures / all * 100 : 100;
}

double result_busy_percent(const bench_result *result)
{
    unsigned threads = result->phases[result->first].threads;
    double available = (double)result->elapsed * threads;

    return available > 0 ? (double)result->total->busy / available * 100 : 0;
}

bool result_bottleneck(const bench_result *result, char *why)
{
    const bench_tally *total = result->total;
    double busy = result_busy_percent(result);
    double asked = result->options->rate;

    if (asked == 0)
        return false;
    if (total->late_self * 100 > total->sent) {
        snprintf(why, 256,
                 "%llu of %llu requests were sent over 1 ms late though a connection was "
                 "free",
                 (unsigned long long)total->late_self, (unsigned long long)total->sent);
        return true;
    }
    if (busy > 90 && result_rate(result) < asked * 0.95) {
        snprintf(why, 256, "its threads were busy %.0f%% of the time and did not reach the rate",
                 busy);
        return true;
    }
    return false;
}

double result_slo_value(const bench_result *result, const slo_term *term)
{
    switch (term->kind) {
    case SLO_PERCENTILE:
        return (double)histogram_percentile(result->latency, term->percent);
    case SLO_MAXIMUM:
        return (double)result->latency->max;
    case SLO_MEAN:
        return histogram_mean(result->latency);
    case SLO_ERRORS:
        return result_error_percent(result);
    case SLO_RATE:
        return result_rate(result);
    }
    return 0;
}

/* Without a single answer nothing was reached: latencies of zero would look like the best ones. */
bool result_slo_holds(const bench_result *result, const slo_term *term)
{
    double value = result_slo_value(result, term);

    if (result->latency->count == 0)
        return false;
    return term->below ? value < term->limit : value > term->limit;
}

const char *result_slo_text(const bench_result *result, const slo_term *term, char *text)
{
    double value = result_slo_value(result, term);

    if (term->kind == SLO_ERRORS)
        snprintf(text, 32, "%.3g%%", value);
    else if (term->kind == SLO_RATE)
        snprintf(text, 32, "%.0f/s", value);
    else
        live_time(value, text);
    return text;
}

static bool misses_slo(const bench_result *result)
{
    const bench_slo *slo = &result->options->slo;

    for (size_t i = 0; i < slo->count; i++) {
        if (!result_slo_holds(result, &slo->terms[i]))
            return true;
    }
    return false;
}

int result_exit_status(const bench_result *result)
{
    char why[256];

    if (result->cleanup_failed)
        return BENCH_EXIT_OUTPUT;
    if (result->total->failures[FAILURE_WRONG_CONTENT] > 0 || result->violations > 0)
        return BENCH_EXIT_LIE;
    if (result->gave_up)
        return BENCH_EXIT_NO_SERVER;
    if (result_bottleneck(result, why))
        return BENCH_EXIT_BOTTLENECK;
    if (result->options->slo.count > 0)
        return misses_slo(result) ? BENCH_EXIT_SLO : BENCH_EXIT_OK;
    return tally_failures(result->total) > 0 ? BENCH_EXIT_ERRORS : BENCH_EXIT_OK;
}
