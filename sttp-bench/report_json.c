/* The results as JSON, for programs and for `sttp-bench compare`. docs/sttp-bench.1.scd names every
 * member. */
#include "report.h"

static double microseconds(uint64_t nanoseconds)
{
    return (double)nanoseconds / 1e3;
}

static void write_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < ' ' || c >= 0x7f) /* of a file name, say, whose encoding nobody knows */
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

static void write_text(FILE *out, const char *name, const char *text)
{
    fprintf(out, "\"%s\": ", name);
    write_string(out, text);
    fputs(", ", out);
}

static const char *truth(bool value)
{
    return value ? "true" : "false";
}

static void write_latency(const histogram *h, FILE *out)
{
    static const double percents[] = {50, 75, 90, 95, 99, 99.9, 99.99};

    fprintf(out, "{\"count\": %llu, \"mean\": %.3f, \"min\": %.3f", (unsigned long long)h->count,
            histogram_mean(h) / 1e3, microseconds(h->min));
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++)
        fprintf(out, ", \"p%g\": %.3f", percents[i],
                microseconds(histogram_percentile(h, percents[i])));
    fprintf(out, ", \"max\": %.3f}", microseconds(h->max));
}

static void write_options(const bench_result *result, FILE *out)
{
    const bench_options *o = result->options;

    fputs("  \"options\": {", out);
    write_text(out, "run", o->script ? "script" : "measurement");
    write_text(out, "loop", o->rate > 0 ? "open" : "closed");
    write_text(out, "arrivals", o->rate == 0 ? "none" : o->poisson ? "poisson" : "constant");
    write_text(out, "mix", o->script ? "" : o->mix_text);
    write_text(out, "distribution", o->distribution_text);
    fprintf(out,
            "\"connections\": %llu, \"pipeline\": %llu, \"threads\": %u, "
            "\"connection_per_request\": %s, \"rate\": %.17g, \"duration_s\": %g, \"requests\": "
            "%llu, \"warm_up_s\": %g, \"ramp_s\": %g, \"interval_s\": %g, \"keys\": %llu, "
            "\"size\": %llu, \"seed\": %llu, \"verify\": %s, \"check\": %s},\n",
            (unsigned long long)o->connections, (unsigned long long)o->pipeline,
            result->phases[result->first].threads, truth(o->connection_per_request), o->rate,
            (double)o->duration / 1e9, (unsigned long long)o->requests, (double)o->warm_up / 1e9,
            (double)o->ramp / 1e9, (double)o->interval / 1e9, (unsigned long long)o->keys,
            (unsigned long long)o->size, (unsigned long long)o->seed, truth(o->verify),
            truth(o->check));
}

static void write_phases(const bench_result *result, FILE *out)
{
    fputs("  \"phases\": [", out);
    for (size_t i = 0; i < result->phase_count; i++) {
        const bench_phase_result *phase = &result->phases[i];
        bool measured = i >= result->first && i < result->first + result->count;
        fprintf(out,
                "%s\n    {\"name\": \"%s\", \"measured\": %s, \"answers\": %llu, \"errors\": "
                "%llu, \"elapsed_s\": %.9f}",
                i > 0 ? "," : "", phase->name, truth(measured),
                (unsigned long long)tally_answers(phase->tally),
                (unsigned long long)tally_failures(phase->tally), (double)phase->elapsed / 1e9);
    }
    fputs("],\n", out);
}

static void write_latencies(const bench_result *result, FILE *out)
{
    const char *comma = "";

    fputs("  \"latency_us\": ", out);
    write_latency(result->latency, out);
    fputs(",\n  \"service_us\": ", out);
    write_latency(result->options->rate > 0 ? &result->total->service : result->latency, out);
    fputs(",\n  \"actions_us\": {", out);
    for (int action = STTP_ACTION_CREATE; action < PLAN_ACTIONS; action++) {
        if (result->total->response[action].count == 0)
            continue;
        fprintf(out, "%s\n    \"%s\": ", comma, sttp_action_name((sttp_action)action));
        write_latency(&result->total->response[action], out);
        comma = ",";
    }
    fputs("},\n", out);
}

static void write_failures(const bench_result *result, FILE *out)
{
    const char *comma = "";

    fputs("  \"failures\": [", out);
    for (int kind = 0; kind < FAILURE_KINDS; kind++) {
        if (result->total->failures[kind] == 0)
            continue;
        fprintf(out, "%s\n    {\"kind\": \"%s\", \"count\": %llu, \"first\": ", comma,
                failure_name((failure_kind)kind),
                (unsigned long long)result->total->failures[kind]);
        write_string(out, result->total->samples[kind]);
        fputc('}', out);
        comma = ",";
    }
    fputs("],\n", out);
}

static void write_tester(const bench_result *result, FILE *out)
{
    const bench_tally *total = result->total;
    char why[256];

    fprintf(out,
            "  \"sending\": {\"sent\": %llu, \"late\": %llu, \"late_by_tester\": %llu, \"unsent\": "
            "%llu},\n",
            (unsigned long long)total->sent, (unsigned long long)total->late,
            (unsigned long long)total->late_self,
            (unsigned long long)total->failures[FAILURE_UNSENT]);
    fprintf(out,
            "  \"tester\": {\"busy_percent\": %.1f, \"bottleneck\": %s, \"connections\": %llu, "
            "\"bytes_sent\": %llu, \"bytes_received\": %llu},\n",
            result_busy_percent(result), truth(result_bottleneck(result, why)),
            (unsigned long long)total->connections, (unsigned long long)total->bytes_sent,
            (unsigned long long)total->bytes_received);
}

static void write_verdicts(const bench_result *result, FILE *out)
{
    const bench_slo *slo = &result->options->slo;

    if (result->options->check) {
        fprintf(out, "  \"check\": {\"requests\": %llu, \"violations\": %llu, \"first\": ",
                (unsigned long long)result->checked, (unsigned long long)result->violations);
        write_string(out, result->violation);
        fputs("},\n", out);
    }
    fputs("  \"slo\": [", out);
    for (size_t i = 0; i < slo->count; i++) {
        fprintf(out, "%s\n    {\"term\": ", i > 0 ? "," : "");
        write_string(out, slo->terms[i].text);
        fprintf(out, ", \"holds\": %s}", truth(result_slo_holds(result, &slo->terms[i])));
    }
    fputs("],\n", out);
}

/* All that is needed to add histograms of several runs up. */
static void write_histogram(const histogram *h, FILE *out)
{
    const char *comma = "";

    fprintf(out, "  \"histogram_ns\": {\"slots_per_doubling\": %d, \"slots\": [",
            1 << HISTOGRAM_BITS);
    for (size_t i = 0; i < HISTOGRAM_SLOTS; i++) {
        if (h->slots[i] == 0)
            continue;
        fprintf(out, "%s[%llu, %llu]", comma, (unsigned long long)histogram_slot_low(i),
                (unsigned long long)h->slots[i]);
        comma = ", ";
    }
    fputs("]},\n", out);
}

static void write_point(const bench_phase_result *phase, size_t i, FILE *out)
{
    const series_point *point = &phase->series.points[i];
    double width = (double)phase->series.width / 1e9;

    fprintf(out,
            "{\"phase\": \"%s\", \"at_s\": %.3f, \"width_s\": %.6f, \"answers\": %llu, \"errors\": "
            "%llu, \"p50_us\": %.3f, \"p90_us\": %.3f, \"p99_us\": %.3f, \"max_us\": %.3f}",
            phase->name, (double)i * width, result_interval(phase, i),
            (unsigned long long)point->answers, (unsigned long long)point->errors,
            microseconds(point->p50), microseconds(point->p90), microseconds(point->p99),
            microseconds(point->max));
}

static void write_series(const bench_result *result, FILE *out)
{
    const char *comma = "";

    fputs("  \"series\": [", out);
    for (size_t p = result->first; p < result->first + result->count; p++) {
        for (size_t i = 0; i < result->phases[p].series.first_open; i++) {
            fprintf(out, "%s\n    ", comma);
            write_point(&result->phases[p], i, out);
            comma = ",";
        }
    }
    fputs("],\n", out);
}

void report_json(const bench_result *result, FILE *out)
{
    fprintf(out, "{\n  \"schema\": \"sttp-bench\", \"version\": %d,\n  ", REPORT_SCHEMA);
    write_text(out, "program", STTP_VERSION);
    write_text(out, "started", result->started);
    write_text(out, "server", result->server);
    fputc('\n', out);
    write_options(result, out);
    fprintf(out,
            "  \"elapsed_s\": %.9f, \"answers\": %llu, \"errors\": %llu, \"error_percent\": %.6f, "
            "\"rate\": %.3f, \"warm_up_answers\": %llu,\n",
            (double)result->elapsed / 1e9, (unsigned long long)result->latency->count,
            (unsigned long long)tally_failures(result->total), result_error_percent(result),
            result_rate(result), (unsigned long long)result->total->unmeasured);
    write_phases(result, out);
    write_latencies(result, out);
    write_failures(result, out);
    write_tester(result, out);
    write_verdicts(result, out);
    write_histogram(result->latency, out);
    write_series(result, out);
    fprintf(out, "  \"interrupted\": %s, \"gave_up\": %s, \"exit\": %d\n}\n",
            truth(result->interrupted), truth(result->gave_up), result_exit_status(result));
}

void report_csv(const bench_result *result, FILE *out)
{
    fputs("phase,at_s,width_s,answers,errors,p50_us,p90_us,p99_us,max_us\n", out);
    for (size_t p = result->first; p < result->first + result->count; p++) {
        const bench_series *series = &result->phases[p].series;
        double width = (double)series->width / 1e9;
        for (size_t i = 0; i < series->first_open; i++) {
            const series_point *point = &series->points[i];
            fprintf(out, "%s,%.3f,%.6f,%llu,%llu,%.3f,%.3f,%.3f,%.3f\n", result->phases[p].name,
                    (double)i * width, result_interval(&result->phases[p], i),
                    (unsigned long long)point->answers, (unsigned long long)point->errors,
                    microseconds(point->p50), microseconds(point->p90), microseconds(point->p99),
                    microseconds(point->max));
        }
    }
}
