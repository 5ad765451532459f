/* One page with charts. It needs nothing from elsewhere and runs no script. */
#include <stdlib.h>

#include "chart.h"
#include "live.h"
#include "report.h"

static const char head[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<title>sttp-bench</title>\n<style>\n"
    ":root{--paper:#f6f7f9;--card:#fff;--ink:#1b2330;--soft:#667085;--rule:#e4e7ec;"
    "--c1:#2563eb;--c2:#0d9488;--c3:#d97706;--bad:#dc2626}\n"
    "@media(prefers-color-scheme:dark){:root{--paper:#0f141b;--card:#171e28;--ink:#e6eaf0;"
    "--soft:#94a0b3;--rule:#2a3442;--c1:#60a5fa;--c2:#2dd4bf;--c3:#fbbf24;--bad:#f87171}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);"
    "font:15px/1.5 system-ui,sans-serif}\n"
    "main{max-width:1000px;margin:0 auto;padding:32px 20px 56px}\n"
    "h1{font-size:26px;margin:0}h2{font-size:16px;margin:0 0 8px}\n"
    "p{color:var(--soft);margin:4px 0 20px;overflow-wrap:anywhere}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:12px;"
    "margin-bottom:16px}\n"
    ".tile,section{background:var(--card);border:1px solid var(--rule);border-radius:10px;"
    "padding:14px 18px}section{margin-bottom:16px;overflow-x:auto}\n"
    ".tile b{display:block;font-size:24px;font-variant-numeric:tabular-nums}"
    ".tile span{color:var(--soft);font-size:13px}\n"
    ".warn{border-left:4px solid var(--bad)}\n"
    "svg{width:100%;height:auto;display:block;min-width:560px}"
    ".grid{stroke:var(--rule)}.tick{fill:var(--soft);font-size:12px}\n"
    ".line{fill:none;stroke-width:2;stroke-linejoin:round}"
    ".c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}\n"
    ".area{fill:var(--c1);opacity:.14}.bad{fill:var(--bad);opacity:.55}.heat{fill:var(--c1)}\n"
    ".key{float:right;font-size:13px;font-weight:400;color:var(--soft)}"
    ".key i{display:inline-block;width:14px;height:3px;margin:0 6px 3px 14px}\n"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
    "th,td{text-align:right;padding:5px 10px;border-bottom:1px solid var(--rule)}"
    "th{color:var(--soft);font-weight:500}th:first-child,td:first-child,td.text{text-align:left}\n"
    "td.text{overflow-wrap:anywhere}\n"
    "</style>\n</head>\n<body>\n<main>\n";

static void write_html(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '<')
            fputs("&lt;", out);
        else if (*text == '&')
            fputs("&amp;", out);
        else if (*text == '"')
            fputs("&quot;", out);
        else
            fputc(*text, out);
    }
}

static void write_title(const bench_result *result, FILE *out)
{
    const bench_options *o = result->options;

    fputs("<h1>sttp-bench</h1>\n<p>", out);
    write_html(out, result->server);
    fprintf(out, " &middot; %s &middot; %llu connections, pipeline %llu, %u threads &middot; ",
            result->started, (unsigned long long)o->connections, (unsigned long long)o->pipeline,
            result->phases[result->first].threads);
    if (o->rate > 0)
        fprintf(out, "open loop, %g a second, %s", o->rate, o->poisson ? "Poisson" : "constant");
    else
        fputs("closed loop", out);
    if (!o->script) {
        fputs(" &middot; ", out);
        write_html(out, o->mix_text);
        fprintf(out, ", %llu keys, ", (unsigned long long)o->keys);
        write_html(out, o->distribution_text);
    }
    fprintf(out, " &middot; seed %llu</p>\n", (unsigned long long)o->seed);
}

static void tile(const char *value, const char *name, FILE *out)
{
    fprintf(out, "<div class=\"tile\"><b>%s</b><span>%s</span></div>\n", value, name);
}

static void write_tiles(const bench_result *result, FILE *out)
{
    const histogram *h = result->latency;
    char value[48];

    fputs("<div class=\"tiles\">\n", out);
    snprintf(value, sizeof value, "%.0f", result_rate(result));
    tile(value, "answers a second", out);
    snprintf(value, sizeof value, "%llu", (unsigned long long)h->count);
    tile(value, "answers", out);
    tile(live_time((double)histogram_percentile(h, 50), value), "p50", out);
    tile(live_time((double)histogram_percentile(h, 99), value), "p99", out);
    tile(live_time((double)h->max, value), "maximum", out);
    snprintf(value, sizeof value, "%.3g%%", result_error_percent(result));
    tile(value, "errors", out);
    fputs("</div>\n", out);
}

static void warning(const char *text, FILE *out)
{
    fputs("<section class=\"warn\">", out);
    write_html(out, text);
    fputs("</section>\n", out);
}

static void write_warnings(const bench_result *result, FILE *out)
{
    char why[256];

    if (result_bottleneck(result, why)) {
        warning("The tester was the bottleneck, so these figures are its own:", out);
        warning(why, out);
    }
    if (result->gave_up)
        warning("The server stopped answering; this is what was measured until then.", out);
    if (result->violations > 0)
        warning(result->violation, out);
}

typedef void chart_function(const chart_data *data, FILE *out);

static void write_chart(const char *title, const char *key, chart_function *chart,
                        const chart_data *data, FILE *out)
{
    fprintf(out, "<section><h2>%s%s</h2>\n", title, key);
    chart(data, out);
    fputs("</section>\n", out);
}

static void write_charts(const bench_result *result, FILE *out)
{
    chart_data *data = malloc(sizeof *data);

    if (data == NULL)
        return;
    chart_collect(result, data);
    if (data->count > 0) {
        write_chart("Throughput",
                    "<span class=\"key\"><i style=\"background:var(--c1)\"></i>answers"
                    "<i style=\"background:var(--bad)\"></i>errors a second</span>",
                    chart_throughput, data, out);
        write_chart("Latency over time",
                    "<span class=\"key\"><i style=\"background:var(--c1)\"></i>p50"
                    "<i style=\"background:var(--c2)\"></i>p90"
                    "<i style=\"background:var(--c3)\"></i>p99</span>",
                    chart_latency, data, out);
    }
    if (data->count > 0 && data->latency->count > 0) {
        write_chart("Latency by percentile", "", chart_percentiles, data, out);
        write_chart("Heat map", "<span class=\"key\">stronger: more answers took so long</span>",
                    chart_heat, data, out);
    }
    free(data);
}

static void write_row(const char *name, const histogram *h, FILE *out)
{
    static const double percents[] = {50, 90, 99, 99.9, 100};
    char value[32];

    if (h->count == 0)
        return;
    fprintf(out, "<tr><td>%s</td><td>%llu</td><td>%s</td>", name, (unsigned long long)h->count,
            live_time(histogram_mean(h), value));
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++)
        fprintf(out, "<td>%s</td>", live_time((double)histogram_percentile(h, percents[i]), value));
    fputs("</tr>\n", out);
}

static void write_latencies(const bench_result *result, FILE *out)
{
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

    if (tally_failures(total) == 0)
        return;
    fputs("<section><h2>Errors</h2>\n<table>\n<tr><th>kind</th><th>count</th><th>first</th></tr>\n",
          out);
    for (int kind = 0; kind < FAILURE_KINDS; kind++) {
        if (total->failures[kind] == 0)
            continue;
        fprintf(out, "<tr><td>%s</td><td>%llu</td><td class=\"text\">",
                failure_name((failure_kind)kind), (unsigned long long)total->failures[kind]);
        write_html(out, total->samples[kind]);
        fputs("</td></tr>\n", out);
    }
    fputs("</table>\n</section>\n", out);
}

void report_html(const bench_result *result, FILE *out)
{
    fputs(head, out);
    write_title(result, out);
    write_tiles(result, out);
    write_warnings(result, out);
    write_charts(result, out);
    write_latencies(result, out);
    write_errors(result, out);
    fputs("</main>\n</body>\n</html>\n", out);
}
