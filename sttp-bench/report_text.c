#include "live.h"
#include "report.h"

static double seconds(uint64_t nanoseconds)
{
    return (double)nanoseconds / 1e9;
}

static void print_head(const bench_result *result, FILE *out)
{
    const bench_options *options = result->options;

    fprintf(out, "sttp-bench %s  server %s  seed %llu\n", STTP_VERSION, result->server,
            (unsigned long long)options->seed);
    fprintf(out, "%llu connections, pipeline %llu, %u threads%s, texts of %llu characters\n",
            (unsigned long long)options->connections, (unsigned long long)options->pipeline,
            result->phases[result->first].threads,
            options->connection_per_request ? ", a connection per request" : "",
            (unsigned long long)options->size);
    if (options->rate > 0)
        fprintf(out,
                "open loop: %g requests a second, %s arrivals; latency from when each was due\n",
                options->rate, options->poisson ? "Poisson" : "constant");
    else
        fputs("closed loop: each connection waits for its answers; latency is service time\n", out);
    if (!options->script)
        fprintf(out, "mix %s, %llu keys, %s\n", options->mix_text,
                (unsigned long long)options->keys, options->distribution_text);
}

static void print_phases(const bench_result *result, FILE *out)
{
    fprintf(out, "\n%-10s %12s %10s %12s %12s\n", "phase", "answers", "errors", "time", "a second");
    for (size_t i = 0; i < result->phase_count; i++) {
        const bench_phase_result *phase = &result->phases[i];
        uint64_t answers = tally_answers(phase->tally);
        double time = seconds(phase->elapsed);
        fprintf(out, "%-10s %12llu %10llu %10.3f s %12.0f%s\n", phase->name,
                (unsigned long long)answers, (unsigned long long)tally_failures(phase->tally), time,
                time > 0 ? (double)answers / time : 0,
                phase->gave_up       ? "  given up: nobody answered any more"
                : phase->interrupted ? "  interrupted"
                                     : "");
    }
    if (result->options->script)
        fprintf(out, "%-10s %12llu %10llu %10.3f s %12.0f\n", "all",
                (unsigned long long)result->latency->count,
                (unsigned long long)tally_failures(result->total), seconds(result->elapsed),
                result_rate(result));
}

static void print_latency_line(const char *name, const histogram *h, FILE *out)
{
    static const double percents[] = {50, 90, 99, 99.9, 100};
    char buffer[32];

    if (h->count == 0)
        return;
    fprintf(out, "%-10s %11s", name, live_time(histogram_mean(h), buffer));
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++)
        fprintf(out, " %11s", live_time((double)histogram_percentile(h, percents[i]), buffer));
    fputc('\n', out);
}

static void print_latency(const bench_result *result, FILE *out)
{
    if (result->latency->count == 0)
        return;
    fprintf(out, "\n%-10s %11s %11s %11s %11s %11s %11s\n", "latency", "mean", "p50", "p90", "p99",
            "p99.9", "max");
    for (int action = STTP_ACTION_CREATE; action < PLAN_ACTIONS; action++)
        print_latency_line(sttp_action_name((sttp_action)action), &result->total->response[action],
                           out);
    print_latency_line("all", result->latency, out);
    print_latency_line("service", &result->total->service, out);
    if (result->latency->saturated > 0)
        fprintf(out, "%llu latencies were over 73 minutes\n",
                (unsigned long long)result->latency->saturated);
}

static void print_errors(const bench_result *result, FILE *out)
{
    const bench_tally *total = result->total;

    if (tally_failures(total) == 0) {
        fputs("\nno errors\n", out);
        return;
    }
    fprintf(out, "\nerrors: %.3g%% of all requests\n", result_error_percent(result));
    for (int kind = 0; kind < FAILURE_KINDS; kind++) {
        if (total->failures[kind] > 0)
            fprintf(out, "  %-14s %10llu  first: %s\n", failure_name((failure_kind)kind),
                    (unsigned long long)total->failures[kind], total->samples[kind]);
    }
}

static void print_open_loop(const bench_result *result, FILE *out)
{
    const bench_tally *total = result->total;
    char why[256];

    if (result->options->rate == 0)
        return;
    fprintf(
        out,
        "\nopen loop: asked %g/s, reached %.6g/s; %llu of %llu sent over 1 ms late (%llu of them "
        "by the tester itself), %llu never sent\n",
        result->options->rate, result_rate(result), (unsigned long long)total->late,
        (unsigned long long)total->sent, (unsigned long long)total->late_self,
        (unsigned long long)total->failures[FAILURE_UNSENT]);
    if (result_bottleneck(result, why))
        fprintf(out,
                "THE TESTER WAS THE BOTTLENECK: %s. These figures are its own; use more "
                "threads, another machine or a lower rate.\n",
                why);
    else if (total->failures[FAILURE_UNSENT] > 0 || total->late * 100 > total->sent)
        fputs("the server did not keep up, or there are too few connections for this rate\n", out);
}

static void print_tester(const bench_result *result, FILE *out)
{
    double busy = result_busy_percent(result);

    fprintf(out, "tester: threads busy %.0f%% of the time%s; %llu connections opened\n", busy,
            busy > 90 && result->options->rate == 0
                ? " (it may be what limits the rate; try more threads)"
                : "",
            (unsigned long long)result->total->connections);
}

static void print_verdicts(const bench_result *result, FILE *out)
{
    char value[32];

    if (result->options->verify && result->total->failures[FAILURE_WRONG_CONTENT] == 0)
        fputs("verify: every text belonged to its request\n", out);
    if (result->options->check && result->violations == 0)
        fprintf(out, "check: linearizable (%llu requests)\n", (unsigned long long)result->checked);
    else if (result->options->check)
        fprintf(out, "check: NOT LINEARIZABLE, %llu keys; first: %s\n",
                (unsigned long long)result->violations, result->violation);
    for (size_t i = 0; i < result->options->slo.count; i++) {
        const slo_term *term = &result->options->slo.terms[i];
        fprintf(out, "slo %-20s %s: %s\n", term->text,
                result_slo_holds(result, term) ? "holds" : "MISSED",
                result_slo_text(result, term, value));
    }
    if (result->cleanup_failures > 0)
        fprintf(out, "clean-up: %llu deletes failed; texts may be left below /sttp-bench/\n",
                (unsigned long long)result->cleanup_failures);
}

void report_text(const bench_result *result, FILE *out)
{
    print_head(result, out);
    print_phases(result, out);
    print_latency(result, out);
    print_errors(result, out);
    print_open_loop(result, out);
    print_tester(result, out);
    print_verdicts(result, out);
    if (result->gave_up)
        fputs("THE SERVER STOPPED ANSWERING: what stands above is what was measured until then\n",
              out);
}
