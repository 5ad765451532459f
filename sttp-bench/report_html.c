/* One page with charts. It needs nothing from elsewhere and runs no script. */
#include <stdlib.h>
#include <string.h>

#include "chart.h"
#include "live.h"
#include "report.h"
#include "say.h"

static const char head[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<title>sttp-bench</title>\n<style>\n"
    ":root{color-scheme:light dark;--paper:#f5f6f8;--card:#fff;--ink:#18202c;--soft:#5d6b7e;"
    "--rule:#e3e7ed;--c1:#2563eb;--c2:#0d9488;--c3:#d97706;--bad:#dc2626;--good:#15803d}\n"
    "@media(prefers-color-scheme:dark){:root{--paper:#0e131a;--card:#161d27;--ink:#e6eaf0;"
    "--soft:#98a5b8;--rule:#2a3442;--c1:#60a5fa;--c2:#2dd4bf;--c3:#fbbf24;--bad:#f87171;"
    "--good:#4ade80}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);"
    "font:15px/1.5 system-ui,sans-serif}\n"
    "main{max-width:1040px;margin:0 auto;padding:32px 20px 56px}\n"
    "h1{font-size:26px;line-height:1.2;margin:0}h2{font-size:16px;margin:0 0 10px}\n"
    "p{color:var(--soft);margin:4px 0 14px;overflow-wrap:anywhere}\n"
    "code{font:13px/1.6 ui-monospace,monospace}"
    ".command{display:block;background:var(--card);border:1px solid var(--rule);"
    "border-radius:10px;padding:10px 18px;margin-bottom:16px;overflow-wrap:anywhere}"
    ".command span{display:inline-block;max-width:100%}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(148px,1fr));gap:12px;"
    "margin-bottom:16px}\n"
    ".tile,section{background:var(--card);border:1px solid var(--rule);border-radius:10px;"
    "padding:14px 18px}section{margin-bottom:16px;overflow-x:auto}\n"
    ".tile b{display:block;font-size:21px;white-space:nowrap;font-variant-numeric:tabular-nums}"
    ".tile span{color:var(--soft);font-size:13px}\n"
    ".warn{border-left:4px solid var(--bad)}.yes{color:var(--good)}.no{color:var(--bad)}\n"
    "svg{width:100%;height:auto;display:block;min-width:640px}"
    ".grid{stroke:var(--rule)}.tick{fill:var(--soft);font-size:12px}"
    ".phase{fill:var(--ink);font-size:12px}.mark{fill:var(--ink);font-size:12px;"
    "paint-order:stroke;stroke:var(--card);stroke-width:4px}\n"
    ".line{fill:none;stroke-width:1.8;stroke-linejoin:round}.c1{stroke:var(--c1)}"
    ".c2{stroke:var(--c2)}.c3{stroke:var(--c3)}.c4{stroke:var(--bad)}.dot{fill:var(--c1)}\n"
    ".area{fill:var(--c1);opacity:.13}.bad{fill:var(--bad);opacity:.25}"
    ".heat{fill:var(--c1);shape-rendering:crispEdges}\n"
    ".head{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 20px}"
    ".key{font-size:13px;color:var(--soft)}.key i{display:inline-block;width:14px;height:3px;"
    "margin:0 6px 3px 14px}.key .scale{width:90px;height:10px;margin:0 6px;border-radius:2px;"
    "background:linear-gradient(90deg,transparent,var(--c1))}\n"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
    "th,td{text-align:right;padding:5px 10px;border-bottom:1px solid var(--rule);"
    "vertical-align:top;white-space:nowrap}tr:last-child td{border-bottom:0}"
    "th{color:var(--soft);font-weight:500}th:first-child,td:first-child,.text{text-align:left}\n"
    "td.text{overflow-wrap:anywhere;white-space:normal;width:100%}\n"
    "</style>\n</head>\n<body>\n<main>\n";

static void write_html(const char *text, FILE *out)
{
    for (; *text != '\0'; text++) {
        if (*text == '<')
            fputs("&lt;", out);
        else if (*text == '>')
            fputs("&gt;", out);
        else if (*text == '&')
            fputs("&amp;", out);
        else if (*text == '"')
            fputs("&quot;", out);
        else
            fputc(*text, out);
    }
}

/* With commas between thousands. `text` has 32 bytes. */
static const char *grouped(uint64_t number, char *text)
{
    char digits[24];
    size_t size = (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
    char *at = text;

    for (size_t i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            *at++ = ',';
        *at++ = digits[i];
    }
    *at = '\0';
    return text;
}

/* An argument as a shell takes it. */
static void write_argument(const char *argument, FILE *out)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_./:=,%+@";
    char visible[512];
    bool bare;

    say_visible((sttp_slice){argument, strlen(argument)}, visible, sizeof visible);
    bare = *visible != '\0' && visible[strspn(visible, plain)] == '\0';
    fputs(bare ? " <span>" : " <span>'", out);
    for (const char *at = visible; *at != '\0'; at++)
        write_html(*at == '\'' ? "'\\''" : (char[2]){*at, '\0'}, out);
    fputs(bare ? "</span>" : "'</span>", out);
}

static void write_title(const bench_result *result, FILE *out)
{
    const bench_options *o = result->options;

    fputs("<h1>sttp-bench</h1>\n<p>", out);
    write_html(result->server, out);
    fprintf(out, " &middot; %s</p>\n<code class=\"command\">sttp-bench", result->started);
    for (int i = 1; i < o->argument_count; i++)
        write_argument(o->arguments[i], out);
    if (!o->seed_given)
        fprintf(out, " <span>--seed</span> <span>%llu</span>", (unsigned long long)o->seed);
    fputs("</code>\n", out);
}

static void tile(const char *value, const char *name, FILE *out)
{
    fprintf(out, "<div class=\"tile\"><b>%s</b><span>%s</span></div>\n", value, name);
}

static void latency_tile(const histogram *h, double percent, const char *name, FILE *out)
{
    char value[32];

    tile(h->count > 0 ? live_time((double)histogram_percentile(h, percent), value) : "–", name,
         out);
}

static void write_tiles(const bench_result *result, FILE *out)
{
    const histogram *h = result->latency;
    char value[48];

    fputs("<div class=\"tiles\">\n", out);
    tile(grouped((uint64_t)(result_rate(result) + 0.5), value), "answers a second", out);
    tile(grouped(h->count, value), "answers", out);
    latency_tile(h, 50, "p50", out);
    latency_tile(h, 99, "p99", out);
    latency_tile(h, 100, "maximum", out);
    snprintf(value, sizeof value, "%.3g%%", result_error_percent(result));
    tile(value, "errors", out);
    fputs("</div>\n", out);
}

static void warning(const char *text, FILE *out)
{
    fputs("<section class=\"warn\">", out);
    write_html(text, out);
    fputs("</section>\n", out);
}

static void write_warnings(const bench_result *result, FILE *out)
{
    char why[256], text[512];

    if (result_bottleneck(result, why)) {
        snprintf(text, sizeof text,
                 "The tester was the bottleneck, so these figures are its own: %s.", why);
        warning(text, out);
    }
    if (result->gave_up)
        warning("The server stopped answering; this is what was measured until then.", out);
    if (result->interrupted)
        warning("The run was interrupted; this is what was measured until then.", out);
}

static void verdict(const char *what, bool holds, const char *found, FILE *out)
{
    fputs("<tr><td>", out);
    write_html(what, out);
    fprintf(out, "</td><td class=\"%s\">%s</td><td class=\"text\">", holds ? "yes" : "no",
            holds ? "holds" : "MISSED");
    write_html(found, out);
    fputs("</td></tr>\n", out);
}

static void write_verdicts(const bench_result *result, FILE *out)
{
    const bench_options *o = result->options;
    uint64_t wrong = result->total->failures[FAILURE_WRONG_CONTENT];
    char text[64];

    if (!o->verify && !o->check && o->slo.count == 0)
        return;
    fputs("<section><h2>Verdicts</h2>\n<table>\n", out);
    for (size_t i = 0; i < o->slo.count; i++)
        verdict(o->slo.terms[i].text, result_slo_holds(result, &o->slo.terms[i]),
                result_slo_text(result, &o->slo.terms[i], text), out);
    if (o->verify) {
        snprintf(text, sizeof text, "%llu texts that do not belong there",
                 (unsigned long long)wrong);
        verdict("verify", wrong == 0, text, out);
    }
    if (o->check)
        verdict("check", result->violations == 0,
                result->violations > 0 ? result->violation : "linearizable", out);
    fputs("</table>\n</section>\n", out);
}

typedef void chart_function(const chart_data *data, FILE *out);

static void write_chart(const char *title, const char *key, chart_function *chart,
                        const chart_data *data, FILE *out)
{
    fprintf(out, "<section><div class=\"head\"><h2>%s</h2><span class=\"key\">%s</span></div>\n",
            title, key);
    chart(data, out);
    fputs("</section>\n", out);
}

#define KEY(colour, name) "<i style=\"background:var(--" colour ")\"></i>" name

static void write_heat(const chart_data *data, FILE *out)
{
    char most[32], key[128];

    snprintf(key, sizeof key, "1<i class=\"scale\"></i>%s answers",
             grouped((uint64_t)data->most_heat, most));
    write_chart("Heat map: how many answers took how long", key, chart_heat, data, out);
}

static void write_charts(const bench_result *result, FILE *out)
{
    chart_data *data = malloc(sizeof *data);

    if (data == NULL) {
        warning("There was no memory for the charts.", out);
        return;
    }
    chart_collect(result, data);
    if (data->count > 0)
        write_chart("Throughput", KEY("c1", "answers a second") KEY("bad", "errors a second"),
                    chart_throughput, data, out);
    if (data->count > 0 && data->latency->count > 0) {
        write_chart("Latency over time", KEY("c1", "p50") KEY("c2", "p90") KEY("c3", "p99"),
                    chart_latency, data, out);
        write_chart("Latency by percentile", "", chart_percentiles, data, out);
        write_heat(data, out);
    }
    free(data);
}

static void write_row(const char *name, const histogram *h, FILE *out)
{
    static const double percents[] = {50, 90, 99, 99.9, 100};
    char value[32], count[32];

    if (h->count == 0)
        return;
    fprintf(out, "<tr><td>%s</td><td>%s</td><td>%s</td>", name, grouped(h->count, count),
            live_time(histogram_mean(h), value));
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++)
        fprintf(out, "<td>%s</td>", live_time((double)histogram_percentile(h, percents[i]), value));
    fputs("</tr>\n", out);
}

static void write_latencies(const bench_result *result, FILE *out)
{
    if (result->latency->count == 0)
        return;
    fputs("<section><h2>Latency</h2>\n<table>\n<tr><th>action</th><th>answers</th><th>mean</th>"
          "<th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>\n",
          out);
    for (int action = STTP_ACTION_CREATE; action < PLAN_ACTIONS; action++)
        write_row(sttp_action_name((sttp_action)action), &result->total->response[action], out);
    write_row("all", result->latency, out);
    write_row("from sending", &result->total->service, out);
    fputs("</table>\n</section>\n", out);
}

static void write_errors(const bench_result *result, FILE *out)
{
    const bench_tally *total = result->total;
    char count[32];

    if (tally_failures(total) == 0)
        return;
    fputs("<section><h2>Errors</h2>\n<table>\n<tr><th>kind</th><th>count</th><th "
          "class=\"text\">first</th></tr>\n",
          out);
    for (int kind = 0; kind < FAILURE_KINDS; kind++) {
        if (total->failures[kind] == 0)
            continue;
        fprintf(out, "<tr><td>%s</td><td>%s</td><td class=\"text\">",
                failure_name((failure_kind)kind), grouped(total->failures[kind], count));
        write_html(total->samples[kind], out);
        fputs("</td></tr>\n", out);
    }
    fputs("</table>\n</section>\n", out);
}

static void write_phases(const bench_result *result, FILE *out)
{
    char count[32];

    fputs("<section><h2>Phases</h2>\n<table>\n<tr><th>phase</th><th>answers</th><th>errors</th>"
          "<th>time</th><th>answers a second</th></tr>\n",
          out);
    for (size_t i = 0; i < result->phase_count; i++) {
        const bench_phase_result *phase = &result->phases[i];
        uint64_t answers = tally_answers(phase->tally);
        double time = (double)phase->elapsed / 1e9;
        fprintf(out, "<tr><td>%s</td><td>%s</td>", phase->name, grouped(answers, count));
        fprintf(out, "<td>%s</td><td>%.3f s</td>", grouped(tally_failures(phase->tally), count),
                time);
        fprintf(out, "<td>%s</td></tr>\n",
                grouped(time > 0 ? (uint64_t)((double)answers / time + 0.5) : 0, count));
    }
    fputs("</table>\n</section>\n", out);
}

static void option(const char *name, const char *value, FILE *out)
{
    fprintf(out, "<tr><td>%s</td><td class=\"text\">", name);
    write_html(value, out);
    fputs("</td></tr>\n", out);
}

static void number_option(const char *name, uint64_t value, FILE *out)
{
    char text[32];

    option(name, grouped(value, text), out);
}

static void write_limits(const bench_options *o, FILE *out)
{
    char text[32];

    if (o->duration > 0)
        option("duration", live_time((double)o->duration, text), out);
    if (o->requests > 0)
        number_option("requests", o->requests, out);
    if (o->warm_up > 0)
        option("warm-up", live_time((double)o->warm_up, text), out);
    if (o->ramp > 0)
        option("ramp", live_time((double)o->ramp, text), out);
    if (o->interval > 0)
        option("interval", live_time((double)o->interval, text), out);
}

/* What the run was, what nobody gave included. */
static void write_options(const bench_result *result, FILE *out)
{
    const bench_options *o = result->options;
    const bench_tally *total = result->total;
    char text[128];

    fputs("<section><h2>Run</h2>\n<table>\n", out);
    if (o->rate > 0) {
        snprintf(text, sizeof text, "open: %g requests a second, %s arrivals", o->rate,
                 o->poisson ? "Poisson" : "constant");
        option("loop", text, out);
        snprintf(text, sizeof text, "%llu of %llu over 1 ms late, %llu of them by the tester",
                 (unsigned long long)total->late, (unsigned long long)total->sent,
                 (unsigned long long)total->late_self);
        option("sent", text, out);
    } else {
        option("loop", "closed: each connection waits for its answers", out);
    }
    number_option("connections", o->connections, out);
    option("a connection per request", o->connection_per_request ? "yes" : "no", out);
    number_option("pipeline", o->pipeline, out);
    number_option("threads", result->phases[result->first].threads, out);
    snprintf(text, sizeof text, "%.0f%%", result_busy_percent(result));
    option("threads busy", text, out);
    if (!o->script) {
        option("mix", o->mix_text, out);
        number_option("keys", o->keys, out);
        option("distribution", o->distribution_text, out);
    }
    number_option("characters of a text", o->size, out);
    write_limits(o, out);
    snprintf(text, sizeof text, "%llu", (unsigned long long)o->seed);
    option("seed", text, out);
    fputs("</table>\n</section>\n", out);
}

void report_html(const bench_result *result, FILE *out)
{
    fputs(head, out);
    write_title(result, out);
    write_tiles(result, out);
    write_warnings(result, out);
    write_verdicts(result, out);
    write_errors(result, out);
    write_charts(result, out);
    write_latencies(result, out);
    write_phases(result, out);
    write_options(result, out);
    fprintf(out, "<p>sttp-bench %s</p>\n</main>\n</body>\n</html>\n", STTP_VERSION);
}
