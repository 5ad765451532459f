#include "chart.h"

#include <math.h>

#include "live.h"

/* Where the drawing area is, in units of the view box. */
enum { WIDTH = 900, HEIGHT = 280, LEFT = 62, RIGHT = 16, TOP = 20, BOTTOM = 34 };
enum { LABEL_SIZE = 32 };
enum { INNER_WIDTH = WIDTH - LEFT - RIGHT, INNER_HEIGHT = HEIGHT - TOP - BOTTOM };

/* An axis from `low` to `high`, linear or logarithmic. */
typedef struct axis {
    double low, high;
    bool logarithmic;
} axis;

/* ---- data ---- */

static size_t point_count(const bench_result *result)
{
    size_t count = 0;

    for (size_t p = result->first; p < result->first + result->count; p++)
        count += result->phases[p].series.first_open;
    return count;
}

/* Percentiles of a column are those of its worst interval: a mean would hide what is looked for. */
static void add_point(chart_column *column, const series_point *point)
{
    column->answers += (double)point->answers;
    column->errors += (double)point->errors;
    column->p50 = fmax(column->p50, (double)point->p50);
    column->p90 = fmax(column->p90, (double)point->p90);
    column->p99 = fmax(column->p99, (double)point->p99);
    for (size_t row = 0; row < HEAT_ROWS; row++)
        column->heat[row] += point->heat[row];
}

/* What is left of an interval at the end of a phase is too short for a rate of its own. */
static bool is_remainder(const bench_phase_result *phase, size_t i)
{
    return i > 0 && result_interval(phase, i) < 0.5 * (double)phase->series.width / 1e9;
}

void chart_collect(const bench_result *result, chart_data *data)
{
    size_t stride = point_count(result) / CHART_COLUMNS + 1, in_column = stride;

    *data = (chart_data){.latency = result->latency, .most_heat = 1};
    for (size_t p = result->first; p < result->first + result->count; p++) {
        const bench_phase_result *phase = &result->phases[p];
        data->phases[data->phase_count].at = data->seconds;
        data->phases[data->phase_count++].name = phase->name;
        for (size_t i = 0; i < phase->series.first_open; i++) {
            if (in_column >= stride && !is_remainder(phase, i)) {
                data->columns[data->count++].from = data->seconds;
                in_column = 0;
            }
            in_column++;
            data->seconds += result_interval(phase, i);
            data->columns[data->count - 1].to = data->seconds;
            add_point(&data->columns[data->count - 1], &phase->series.points[i]);
        }
    }
    for (size_t i = 0; i < data->count; i++) {
        for (size_t row = 0; row < HEAT_ROWS; row++)
            data->most_heat = fmax(data->most_heat, data->columns[i].heat[row]);
    }
}

/* ---- axes ---- */

static double place(const axis *a, double value)
{
    if (a->logarithmic)
        return (log(fmax(value, a->low)) - log(a->low)) / (log(a->high) - log(a->low));
    return (value - a->low) / (a->high - a->low);
}

static double y_of(const axis *a, double value)
{
    return TOP + INNER_HEIGHT * (1 - fmin(place(a, value), 1));
}

static double x_of(const chart_data *data, double seconds)
{
    return LEFT + INNER_WIDTH * seconds / data->seconds;
}

/* The step of 1, 2 or 5 times a power of ten that is at least `value`. */
static double round_up(double value)
{
    double power = pow(10, floor(log10(value)));
    double factor = value / power;

    return power * (factor <= 1.0001 ? 1 : factor <= 2.0001 ? 2 : factor <= 5.0001 ? 5 : 10);
}

static double round_down(double value)
{
    double power = pow(10, floor(log10(value)));
    double factor = value / power;

    return power * (factor < 2 ? 1 : factor < 5 ? 2 : 5);
}

static axis time_axis(double least, double most)
{
    axis a = {.logarithmic = true};

    a.low = round_down(fmax(least, 1000));
    a.high = fmax(round_up(fmax(most, 1000)), a.low * 10);
    return a;
}

static void begin(const char *label, FILE *out)
{
    fprintf(out,
            "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\" "
            "xmlns=\"http://www.w3.org/2000/svg\">\n",
            WIDTH, HEIGHT, label);
}

static void grid_line(double y, const char *label, FILE *out)
{
    fprintf(out,
            "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
            "<text class=\"tick\" text-anchor=\"end\" x=\"%d\" y=\"%.1f\">%s</text>\n",
            LEFT, WIDTH - RIGHT, y, y, LEFT - 8, y + 4, label);
}

static const char *tick_label(double nanoseconds, char *label)
{
    if (nanoseconds < 0.9999e6)
        snprintf(label, LABEL_SIZE, "%g us", nanoseconds / 1e3);
    else if (nanoseconds < 0.9999e9)
        snprintf(label, LABEL_SIZE, "%g ms", nanoseconds / 1e6);
    else
        snprintf(label, LABEL_SIZE, "%g s", nanoseconds / 1e9);
    return label;
}

/* Where the axis is long, its ticks are powers of ten alone. */
static void draw_time_axis(const axis *a, FILE *out)
{
    bool wide = a->high / a->low > 300;
    char label[LABEL_SIZE];

    double tick = wide ? pow(10, ceil(log10(a->low) - 1e-6)) : a->low;
    while (tick <= a->high * 1.0001) {
        grid_line(y_of(a, tick), tick_label(tick, label), out);
        tick = wide ? tick * 10 : round_up(tick * 1.5);
    }
}

static void draw_rate_axis(const axis *a, double step, FILE *out)
{
    char label[LABEL_SIZE];

    for (int i = 0; i * step <= a->high * 1.0001; i++) {
        double tick = i * step;
        if (i == 0)
            snprintf(label, sizeof label, "0");
        else if (a->high >= 1e6)
            snprintf(label, sizeof label, "%gM", tick / 1e6);
        else if (a->high >= 1e4)
            snprintf(label, sizeof label, "%gk", tick / 1e3);
        else
            snprintf(label, sizeof label, "%g", tick);
        grid_line(y_of(a, tick), label, out);
    }
}

static void x_label(double x, const char *label, FILE *out)
{
    fprintf(out, "<text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%d\">%s</text>\n", x,
            HEIGHT - 12, label);
}

static void upright(double x, FILE *out)
{
    fprintf(out, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n", x, x, TOP,
            HEIGHT - BOTTOM);
}

/* Time since the beginning; where there are several phases, where each begins. */
static void draw_run_axis(const chart_data *data, FILE *out)
{
    bool is_short = data->seconds < 1;
    double step = round_up(fmax(data->seconds, 1e-6) / 8);
    char label[LABEL_SIZE];

    int steps = (int)(data->seconds * 1.0001 / step);
    for (int i = 0; i <= steps; i++) {
        snprintf(label, sizeof label, "%.4g %s", i * step * (is_short ? 1e3 : 1),
                 is_short ? "ms" : "s");
        x_label(x_of(data, i * step), label, out);
    }
    for (size_t i = 0; data->phase_count > 1 && i < data->phase_count; i++) {
        double x = x_of(data, data->phases[i].at);
        upright(x, out);
        fprintf(out, "<text class=\"phase\" x=\"%.1f\" y=\"%d\">%s</text>\n", x + 4, TOP - 4,
                data->phases[i].name);
    }
}

/* ---- lines ---- */

/* A value in steps, one for each column, so that a run of a single column shows, too. A column of
 * value 0 interrupts a line on a logarithmic axis. */
static void draw_steps(const chart_data *data, const axis *a, double (*value)(const chart_column *),
                       FILE *out)
{
    bool pen_down = false;

    for (size_t i = 0; i < data->count; i++) {
        const chart_column *column = &data->columns[i];
        bool skip = a->logarithmic && value(column) <= 0;
        if (!skip && !pen_down)
            fprintf(out, "M%.1f %.1f", x_of(data, column->from), y_of(a, value(column)));
        if (!skip)
            fprintf(out, "V%.1fH%.1f", y_of(a, value(column)), x_of(data, column->to));
        pen_down = !skip;
    }
}

static void draw_line(const chart_data *data, const axis *a, double (*value)(const chart_column *),
                      const char *class, FILE *out)
{
    fprintf(out, "<path class=\"line %s\" d=\"", class);
    draw_steps(data, a, value, out);
    fputs("\"/>\n", out);
}

static void draw_area(const chart_data *data, const axis *a, double (*value)(const chart_column *),
                      const char *class, FILE *out)
{
    fprintf(out, "<path class=\"%s\" d=\"", class);
    draw_steps(data, a, value, out);
    fprintf(out, "V%dH%dZ\"/>\n", HEIGHT - BOTTOM, LEFT);
}

static double answer_rate(const chart_column *column)
{
    return column->answers / (column->to - column->from);
}

static double error_rate(const chart_column *column)
{
    return column->errors / (column->to - column->from);
}

static double p50_of(const chart_column *column)
{
    return column->p50;
}

static double p90_of(const chart_column *column)
{
    return column->p90;
}

static double p99_of(const chart_column *column)
{
    return column->p99;
}

void chart_throughput(const chart_data *data, FILE *out)
{
    double most = 0, errors = 0;

    for (size_t i = 0; i < data->count; i++) {
        errors += data->columns[i].errors;
        most = fmax(most, fmax(answer_rate(&data->columns[i]), error_rate(&data->columns[i])));
    }
    double step = round_up(fmax(most, 1) / 5);
    axis a = {.high = step * ceil(fmax(most, 1) / step - 1e-6)};
    begin("Answers and errors a second over time", out);
    draw_rate_axis(&a, step, out);
    draw_run_axis(data, out);
    draw_area(data, &a, answer_rate, "area", out);
    draw_line(data, &a, answer_rate, "c1", out);
    if (errors > 0) {
        draw_area(data, &a, error_rate, "bad", out);
        draw_line(data, &a, error_rate, "c4", out);
    }
    fputs("</svg>\n", out);
}

void chart_latency(const chart_data *data, FILE *out)
{
    double least = INFINITY, most = 0;

    for (size_t i = 0; i < data->count; i++) {
        if (data->columns[i].p50 > 0)
            least = fmin(least, data->columns[i].p50);
        most = fmax(most, data->columns[i].p99);
    }
    axis a = time_axis(isinf(least) ? 1000 : least, most);
    begin("Latency over time", out);
    draw_time_axis(&a, out);
    draw_run_axis(data, out);
    draw_line(data, &a, p50_of, "c1", out);
    draw_line(data, &a, p90_of, "c2", out);
    draw_line(data, &a, p99_of, "c3", out);
    fputs("</svg>\n", out);
}

/* ---- the percentile curve: each nine has the same width ---- */

static double nines(const histogram *h)
{
    return fmax(ceil(log10((double)h->count + 1)), 2);
}

/* The text is below the curve, which rises: but for the last one to the right. */
static void mark_percentile(const histogram *h, double percent, double x, const axis *a, FILE *out)
{
    double found = (double)histogram_percentile(h, percent);
    double y = y_of(a, found);
    bool last = percent == 100;
    char label[32];

    upright(x, out);
    fprintf(out,
            "<circle class=\"dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"/><text class=\"mark\" "
            "text-anchor=\"%s\" x=\"%.1f\" y=\"%.1f\">%s</text>\n",
            x, y, last ? "end" : "start", last ? x - 4 : x + 6, y + 17, live_time(found, label));
}

void chart_percentiles(const chart_data *data, FILE *out)
{
    static const double marks[] = {50, 90, 99, 99.9, 99.99, 99.999, 99.9999, 99.99999};
    enum { STEPS = 240, MARKS = sizeof marks / sizeof *marks };
    const histogram *h = data->latency;
    double all = nines(h);
    axis a = time_axis((double)h->min, (double)h->max);
    char label[LABEL_SIZE];

    begin("Latency by percentile", out);
    draw_time_axis(&a, out);
    fputs("<path class=\"line c1\" d=\"", out);
    for (int i = 0; i <= STEPS; i++) {
        double percent = 100 - 100 * pow(10, -all * i / STEPS);
        fprintf(out, "%c%.1f %.1f", i > 0 ? 'L' : 'M', LEFT + (double)INNER_WIDTH * i / STEPS,
                y_of(&a, (double)histogram_percentile(h, percent)));
    }
    fputs("\"/>\n", out);
    for (int i = 0; i < MARKS; i++) {
        double nine = -log10(1 - marks[i] / 100);
        if ((all - nine) / all * INNER_WIDTH < 150) /* the last text stands there */
            break;
        snprintf(label, sizeof label, "%.8g%%", marks[i]);
        x_label(LEFT + INNER_WIDTH * nine / all, label, out);
        mark_percentile(h, marks[i], LEFT + INNER_WIDTH * nine / all, &a, out);
    }
    x_label(WIDTH - RIGHT - 8, "max", out);
    mark_percentile(h, 100, WIDTH - RIGHT, &a, out);
    fputs("</svg>\n", out);
}

/* ---- heat ---- */

/* Edges are absolute, so that they are the same number for two cells that touch. */
static void draw_cell(const chart_data *data, const axis *a, const chart_column *column, size_t row,
                      FILE *out)
{
    double count = column->heat[row], left = x_of(data, column->from);
    double top = y_of(a, heat_row_low(row + 1)), bottom = y_of(a, heat_row_low(row));

    if (count <= 0)
        return;
    fprintf(out, "<path class=\"heat\" fill-opacity=\"%.2f\" d=\"M%.1f %.1fV%.1fH%.1fV%.1fZ\"/>\n",
            0.1 + 0.9 * log1p(count) / log1p(data->most_heat), left, bottom, top,
            x_of(data, column->to), bottom);
}

void chart_heat(const chart_data *data, FILE *out)
{
    axis a = time_axis((double)data->latency->min, (double)data->latency->max);

    begin("How many answers took how long, over time", out);
    draw_time_axis(&a, out);
    draw_run_axis(data, out);
    for (size_t i = 0; i < data->count; i++) {
        for (size_t row = 0; row < HEAT_ROWS; row++)
            draw_cell(data, &a, &data->columns[i], row, out);
    }
    fputs("</svg>\n", out);
}
