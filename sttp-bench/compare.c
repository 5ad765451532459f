/* What is a difference between two runs, and what is noise.
 *
 * The intervals of a run are put together to blocks, so that a busy moment is in one or two of
 * them. Blocks are drawn again and again with replacement from each run (bootstrap), which shows
 * what the ratio of the means could as well have been. Where 1 is outside of 99% of these ratios,
 * and the ratio differs from it by 2% at least, there is a difference; else it is noise. */
#include "compare.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "random.h"
#include "report.h"
#include "result.h"
#include "say.h"

enum {
    BLOCKS = 20,
    MIN_BLOCKS = 5,
    DRAWS = 4000,
    NAME_SIZE = 64,
    MAX_FILE = 256 << 20 /* bytes */
};
static const double LEAST = 0.02; /* what nobody would call a difference */

typedef struct metric {
    const char *name, *member;
    bool more_is_better;
} metric;

static const metric metrics[] = {{"answers a second", "answers", true},
                                 {"p50", "p50_us", false},
                                 {"p90", "p90_us", false},
                                 {"p99", "p99_us", false}};

typedef struct blocks {
    double means[BLOCKS];
    size_t count;
    double mean;
} blocks;

/* ---- files ---- */

static char *read_file(const char *name, size_t *size)
{
    FILE *file = fopen(name, "re");
    long length = -1;
    char *text = NULL;

    if (file == NULL) {
        say_error("%s: %s", name, strerror(errno));
        return NULL;
    }
    if (fseek(file, 0, SEEK_END) == 0)
        length = ftell(file);
    if (length >= 0 && length <= MAX_FILE)
        text = malloc((size_t)length + 1);
    rewind(file);
    if (text == NULL || fread(text, 1, (size_t)length, file) != (size_t)length) {
        say_error("%s: cannot be read, or has over %d MiB", name, MAX_FILE >> 20);
        free(text);
        text = NULL;
    } else {
        text[length] = '\0';
        *size = (size_t)length;
    }
    fclose(file);
    return text;
}

static size_t count_of(const json *result, const char *name)
{
    const json *list = json_member(result, name);
    size_t count = 0;

    for (const json *item = list ? list->first : NULL; item; item = item->next)
        count++;
    return count;
}

static bool has_phases(const json *result)
{
    size_t count = count_of(result, "phases");

    return count > 0 && count <= MAX_PHASES;
}

static json *read_result(const char *name)
{
    size_t size = 0;
    char *text = read_file(name, &size);

    if (text == NULL)
        return NULL;
    json *result = json_parse(text, size);
    free(text);
    if (strcmp(json_text(result, "schema", ""), "sttp-bench") != 0)
        say_error("%s: no result of sttp-bench --json, or a damaged one", name);
    else if (json_number(result, "version", 0) != REPORT_SCHEMA)
        say_error("%s: its schema has version %g; this sttp-bench reads %d", name,
                  json_number(result, "version", 0), REPORT_SCHEMA);
    else if (!has_phases(result))
        say_error("%s: no phases of a run are in it", name);
    else
        return result;
    json_free(result);
    return NULL;
}

/* ---- statistics ---- */

/* The values of a phase, but for its last interval, which may be cut short. NaN-free: an interval
 * without an answer has no latency and is left out of those. */
static size_t take_values(const json *result, const char *phase, const metric *m, double *values,
                          size_t capacity)
{
    const json *series = json_member(result, "series");
    size_t count = 0;

    for (const json *point = series ? series->first : NULL; point; point = point->next) {
        bool is_last =
            point->next == NULL || strcmp(json_text(point->next, "phase", ""), phase) != 0;
        if (strcmp(json_text(point, "phase", ""), phase) != 0 || is_last || count == capacity)
            continue;
        double value = json_number(point, m->member, 0);
        if (m->more_is_better)
            values[count++] = value / fmax(json_number(point, "width_s", 1), 1e-3);
        else if (value > 0)
            values[count++] = value;
    }
    return count;
}

static bool make_blocks(const json *result, const char *phase, const metric *m, blocks *b)
{
    size_t capacity = count_of(result, "series");
    double *values = calloc(capacity + 1, sizeof *values);
    size_t count = values ? take_values(result, phase, m, values, capacity) : 0;
    size_t wanted = count < BLOCKS ? count : BLOCKS;

    *b = (blocks){.count = wanted};
    for (size_t i = 0; i < wanted; i++) {
        size_t from = i * count / wanted, to = (i + 1) * count / wanted;
        for (size_t k = from; k < to; k++)
            b->means[i] += values[k] / (double)(to - from);
        b->mean += b->means[i] / (double)wanted;
    }
    free(values);
    return b->count >= MIN_BLOCKS && b->mean > 0 && isfinite(b->mean);
}

static double draw_mean(const blocks *b, bench_random *random)
{
    double sum = 0;

    for (size_t i = 0; i < b->count; i++)
        sum += b->means[random_below(random, b->count)];
    return sum / (double)b->count;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The range that holds 99% of the ratios B to A. */
static void ratio_range(const blocks *a, const blocks *b, double *low, double *high)
{
    static double ratios[DRAWS];
    bench_random random;

    random_seed(&random, 1, 0);
    for (size_t i = 0; i < DRAWS; i++)
        ratios[i] = draw_mean(b, &random) / fmax(draw_mean(a, &random), 1e-9);
    qsort(ratios, DRAWS, sizeof *ratios, by_value);
    *low = ratios[DRAWS / 200];
    *high = ratios[DRAWS - 1 - DRAWS / 200];
}

/* ---- verdicts ---- */

/* Whether B is worse. */
static bool compare_metric(const json *a, const json *b, const char *phase, const metric *m)
{
    blocks of_a, of_b;
    double low, high;
    bool enough = make_blocks(a, phase, m, &of_a);

    enough = make_blocks(b, phase, m, &of_b) && enough;
    printf("  %-18s", m->name);
    if (!enough) {
        printf("too short to tell: a run needs %d intervals with answers\n", MIN_BLOCKS + 1);
        return false;
    }
    double unit = m->more_is_better ? 1 : 1000; /* milliseconds */
    double ratio = of_b.mean / of_a.mean;
    ratio_range(&of_a, &of_b, &low, &high);
    bool differs = (low > 1 || high < 1) && fabs(ratio - 1) >= LEAST;
    bool worse = differs && (ratio < 1) == m->more_is_better;
    printf("%12.6g %12.6g%-3s %+7.1f%%  (%+.1f%% to %+.1f%%)  %s\n", of_a.mean / unit,
           of_b.mean / unit, m->more_is_better ? "" : " ms", (ratio - 1) * 100, (low - 1) * 100,
           (high - 1) * 100,
           !differs ? "noise"
           : worse  ? "WORSE"
                    : "better");
    return worse;
}

/* Errors count from the beginning, so all answers do. */
static double all_answers(const json *result)
{
    return json_number(result, "answers", 0) + json_number(result, "warm_up_answers", 0);
}

/* A test of two proportions, at 99%. */
static bool compare_errors(const json *a, const json *b)
{
    double errors_a = json_number(a, "errors", 0), errors_b = json_number(b, "errors", 0);
    double all_a = fmax(errors_a + all_answers(a), 1), all_b = fmax(errors_b + all_answers(b), 1);
    double share_a = errors_a / all_a, share_b = errors_b / all_b;
    double both = (errors_a + errors_b) / (all_a + all_b);
    double spread = sqrt(both * (1 - both) * (1 / all_a + 1 / all_b));
    bool differs = share_a != share_b && (spread == 0 || fabs(share_a - share_b) > 2.576 * spread);
    bool worse = differs && share_b > share_a;

    printf("  %-18s%11.4g%% %11.4g%%     %s\n", "errors", share_a * 100, share_b * 100,
           !differs ? "noise"
           : worse  ? "WORSE"
                    : "better");
    return worse;
}

static const char *visible(const char *name, char *buffer)
{
    say_visible((sttp_slice){name, strlen(name)}, buffer, NAME_SIZE);
    return buffer;
}

static void warn_of_options(const json *a, const json *b)
{
    const json *of_a = json_member(a, "options"), *of_b = json_member(b, "options");
    char name[NAME_SIZE];

    if (of_a == NULL || of_a->kind != JSON_OBJECT)
        return;
    for (const json *option = of_a->first; option; option = option->next) {
        const json *other = json_member(of_b, option->name);
        bool same = other && other->kind == option->kind && other->number == option->number &&
                    strcmp(other->text ? other->text : "", option->text ? option->text : "") == 0;
        if (!same && strcmp(option->name, "seed") != 0)
            printf("note: the runs differ in %s\n", visible(option->name, name));
    }
}

static bool compare_results(const json *a, const json *b)
{
    const json *phases = json_member(a, "phases");
    bool worse = false;
    char shown[NAME_SIZE];

    warn_of_options(a, b);
    for (const json *phase = phases ? phases->first : NULL; phase; phase = phase->next) {
        const json *measured = json_member(phase, "measured");
        const char *name = json_text(phase, "name", "");
        if (measured == NULL || measured->number == 0)
            continue;
        printf("%-20s%12s %12s     change     (99%% of what it could be)\n", visible(name, shown),
               "A", "B");
        for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
            worse |= compare_metric(a, b, name, &metrics[i]);
    }
    worse |= compare_errors(a, b);
    puts("A and B are means over the intervals of the runs, not figures of the whole runs.\n"
         "Two runs on one machine differ by more than their intervals do: repeat them in turns\n"
         "before a small difference is believed.");
    return worse;
}

int compare_files(int count, char **names)
{
    if (count != 2) {
        say_error("compare takes two files that --json has written: compare A.json B.json");
        return BENCH_EXIT_USAGE;
    }
    json *a = read_result(names[0]);
    json *b = a ? read_result(names[1]) : NULL;
    int status = BENCH_EXIT_USAGE;
    if (b)
        status = compare_results(a, b) ? BENCH_EXIT_SLO : BENCH_EXIT_OK;
    json_free(a);
    json_free(b);
    return status;
}
