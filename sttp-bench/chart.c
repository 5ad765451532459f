#include "chart.h"

#include <math.h>

#include "live.h"

/* Where the drawing area is, in units of the view box. */
enum { WIDTH = 900, HEIGHT = 280, LEFT = 70, RIGHT = 16, TOP = 14, BOTTOM = 34 };
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
static void add_point(chart_column *column, const series_point *point, double width)
{
    column->rate += (double)point->answers / width;
    column->errors += (double)point->errors / width;
    column->p50 = fmax(column->p50, (double)point->p50);
    column->p90 = fmax(column->p90, (double)point->p90);
    column->p99 = fmax(column->p99, (double)point->p99);
    for (size_t row = 0; row < HEAT_ROWS; row++)
        column->heat[row] += point->heat[row];
}

void chart_collect(const bench_result *result, chart_data *data)
{
    size_t points = point_count(result), index = 0;
    size_t stride = points / CHART_COLUMNS + (points % CHART_COLUMNS > 0);

    *data = (chart_data){.latency = result->latency};
    for (size_t p = result->first; p < result->first + result->count; p++) {
        const bench_series *series = &result->phases[p].series;
        double width = (double)series->width / 1e9;
        for (size_t i = 0; i < series->first_open; i++, index++) {
            add_point(&data->columns[index / stride], &series->points[i], width);
            data->seconds += width;
        }
    }
    data->count = stride > 0 ? (points + stride - 1) / stride : 0;
    for (size_t i = 0; i < data->count; i++) {
        size_t in_it = i + 1 < data->count ? stride : points - i * stride;
        data->columns[i].rate /= (double)in_it;
        data->columns[i].errors /= (double)in_it;
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

static double x_of(const chart_data *data, double column)
{
    return LEFT + INNER_WIDTH * column / (double)data->count;
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

static void draw_time_axis(const axis *a, FILE *out)
{
    bool wide = a->high / a->low > 1000;
    char label[32];

    double tick = a->low;
    while (tick <= a->high * 1.0001) {
        grid_line(y_of(a, tick), live_time(tick, label), out);
        tick = wide ? tick * 10 : round_up(tick * 1.5);
    }
}

static void draw_rate_axis(const axis *a, FILE *out)
{
    char label[32];

    for (int i = 0; i <= 4; i++) {
        double tick = a->high * i / 4;
        if (tick >= 10000)
            snprintf(label, sizeof label, "%gk", tick / 1000);
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

static void draw_run_axis(const chart_data *data, FILE *out)
{
    double step = round_up(fmax(data->seconds, 1e-3) / 8);
    char label[32];

    int steps = (int)(data->seconds * 1.0001 / step);
    for (int i = 0; i <= steps; i++) {
        double at = i * step;
        snprintf(label, sizeof label, "%.4g s", at);
        x_label(LEFT + INNER_WIDTH * at / data->seconds, label, out);
    }
}

/* ---- lines ---- */

/* Draws the member at `offset` of each column; a column whose value is 0 interrupts a line on a
 * logarithmic axis. */
static void draw_line(const chart_data *data, const axis *a, size_t offset, const char *class,
                      FILE *out)
{
    bool pen_down = false;

    fprintf(out, "<path class=\"line %s\" d=\"", class);
    for (size_t i = 0; i < data->count; i++) {
        double value = *(const double *)((const char *)&data->columns[i] + offset);
        bool skip = a->logarithmic && value <= 0;
        if (!skip)
            fprintf(out, "%c%.1f %.1f", pen_down ? 'L' : 'M', x_of(data, (double)i + 0.5),
                    y_of(a, value));
        pen_down = !skip;
    }
    fputs("\"/>\n", out);
}

static void draw_area(const chart_data *data, const axis *a, FILE *out)
{
    fprintf(out, "<path class=\"area\" d=\"M%.1f %d", x_of(data, 0.5), HEIGHT - BOTTOM);
    for (size_t i = 0; i < data->count; i++)
        fprintf(out, "L%.1f %.1f", x_of(data, (double)i + 0.5), y_of(a, data->columns[i].rate));
    fprintf(out, "L%.1f %dZ\"/>\n", x_of(data, (double)data->count - 0.5), HEIGHT - BOTTOM);
}

void chart_throughput(const chart_data *data, FILE *out)
{
    axis a = {.high = 1};

    for (size_t i = 0; i < data->count; i++)
        a.high = fmax(a.high, fmax(data->columns[i].rate, data->columns[i].errors));
    a.high = round_up(a.high);
    begin("Answers and errors a second over time", out);
    draw_rate_axis(&a, out);
    draw_run_axis(data, out);
    for (size_t i = 0; i < data->count; i++) {
        double y = y_of(&a, data->columns[i].errors);
        if (data->columns[i].errors > 0)
            fprintf(
                out, "<rect class=\"bad\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
                x_of(data, (double)i), y, INNER_WIDTH / (double)data->count, HEIGHT - BOTTOM - y);
    }
    draw_area(data, &a, out);
    draw_line(data, &a, offsetof(chart_column, rate), "c1", out);
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
    draw_line(data, &a, offsetof(chart_column, p50), "c1", out);
    draw_line(data, &a, offsetof(chart_column, p90), "c2", out);
    draw_line(data, &a, offsetof(chart_column, p99), "c3", out);
    fputs("</svg>\n", out);
}

/* ---- the percentile curve: each nine has the same width ---- */

static double nines(const histogram *h)
{
    return fmax(ceil(log10((double)h->count + 1)), 2);
}

void chart_percentiles(const chart_data *data, FILE *out)
{
    static const char *const labels[] = {"0%",     "90%",     "99%",      "99.9%",
                                         "99.99%", "99.999%", "99.9999%", "99.99999%"};
    enum { STEPS = 240, LABELS = sizeof labels / sizeof *labels };
    const histogram *h = data->latency;
    double all = nines(h);
    axis a = time_axis((double)h->min, (double)h->max);

    begin("Latency by percentile", out);
    draw_time_axis(&a, out);
    for (int nine = 0; nine < all && nine < LABELS; nine++)
        x_label(LEFT + INNER_WIDTH * nine / all, labels[nine], out);
    fputs("<path class=\"line c1\" d=\"", out);
    for (int i = 0; i <= STEPS; i++) {
        double percent = 100 - 100 * pow(10, -all * i / STEPS);
        fprintf(out, "%c%.1f %.1f", i > 0 ? 'L' : 'M', LEFT + (double)INNER_WIDTH * i / STEPS,
                y_of(&a, (double)histogram_percentile(h, percent)));
    }
    fputs("\"/>\n</svg>\n", out);
}

/* ---- heat ---- */

static void draw_cell(const chart_data *data, const axis *a, size_t column, size_t row, double most,
                      FILE *out)
{
    double count = data->columns[column].heat[row];
    double top = y_of(a, heat_row_low(row + 1)), bottom = y_of(a, heat_row_low(row));

    if (count <= 0)
        return;
    fprintf(out,
            "<rect class=\"heat\" fill-opacity=\"%.2f\" x=\"%.1f\" y=\"%.1f\" width=\"%.2f\" "
            "height=\"%.2f\"/>\n",
            0.08 + 0.92 * log1p(count) / log1p(most), x_of(data, (double)column), top,
            INNER_WIDTH / (double)data->count + 0.3, bottom - top + 0.3);
}

void chart_heat(const chart_data *data, FILE *out)
{
    axis a = time_axis((double)data->latency->min, (double)data->latency->max);
    double most = 1;

    for (size_t i = 0; i < data->count; i++) {
        for (size_t row = 0; row < HEAT_ROWS; row++)
            most = fmax(most, data->columns[i].heat[row]);
    }
    begin("How many answers took how long, over time", out);
    draw_time_axis(&a, out);
    draw_run_axis(data, out);
    for (size_t i = 0; i < data->count; i++) {
        for (size_t row = 0; row < HEAT_ROWS; row++)
            draw_cell(data, &a, i, row, most, out);
    }
    fputs("</svg>\n", out);
}
