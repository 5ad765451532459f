/* One phase of a run: starts the threads, watches them, puts together what they found. */
#include "load.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "live.h"
#include "worker.h"

enum {
    WATCH = 100 * 1000 * 1000 /* nanoseconds between two looks at the threads */
};
static const uint64_t SECOND = 1000000000;
static const uint64_t PATIENCE = 2000000000; /* nanoseconds without an answer while requests fail */
enum { FAILURES_TO_GIVE_UP = 3 };

volatile sig_atomic_t load_interrupted;

bool key_list_add(key_list *list, uint64_t key)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 256;
        uint64_t *grown = reallocarray(list->keys, capacity, sizeof *grown);
        if (grown == NULL)
            return false;
        list->keys = grown;
        list->capacity = capacity;
    }
    list->keys[list->count++] = key;
    return true;
}

void key_list_destroy(key_list *list)
{
    free(list->keys);
    *list = (key_list){0};
}

static uint64_t clock_now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

/* Of a measurement a hundred intervals or more, none shorter than people can see. The phases of the
 * default run are short. */
static uint64_t series_width(const load_phase *phase)
{
    uint64_t width = phase->options->duration / 100, tenth = SECOND / 10;

    if (phase->source != LOAD_PLAN)
        return tenth / 5;
    return width > tenth ? (width + tenth - 1) / tenth * tenth : tenth;
}

static uint64_t count_of(const load_phase *phase)
{
    if (phase->source == LOAD_PLAN)
        return phase->options->requests > 0 ? phase->options->requests : NEVER;
    if (phase->source == LOAD_SHOW)
        return phase->keys + phase->keys / 10;
    if (phase->source == LOAD_DIRECTORY)
        return 1;
    return phase->keys + (phase->extra ? phase->extra->count - phase->extra->first : 0);
}

static void load_init(struct load *load, const load_phase *phase, bench_series *series)
{
    const bench_options *options = phase->options;

    *load = (struct load){.phase = phase, .series = series, .end = NEVER};
    load->begin = load->measure_from = clock_now();
    load->count = count_of(phase);
    if (phase->source == LOAD_PLAN)
        load->measure_from += options->ramp + options->warm_up;
    if (phase->source == LOAD_PLAN && options->duration > 0)
        load->end = load->measure_from + options->duration;
    sem_init(&load->ended, 0, 0);
}

/* ---- watching ---- */

struct watch {
    struct load *load;
    worker *workers;
    unsigned count;
    uint64_t answers, failures;    /* so far */
    uint64_t progress_at;          /* when the last answer was seen */
    uint64_t failures_at_progress; /* that there were then */
    bench_phase_result *result;
};

static void look(struct watch *watch, uint64_t now)
{
    uint64_t answers = 0, failures = 0;

    for (unsigned i = 0; i < watch->count; i++) {
        answers += atomic_load_explicit(&watch->workers[i].answers, memory_order_relaxed);
        failures += atomic_load_explicit(&watch->workers[i].failures, memory_order_relaxed);
    }
    if (answers > watch->answers || watch->progress_at == 0) {
        watch->progress_at = now;
        watch->failures_at_progress = failures;
    }
    watch->answers = answers;
    watch->failures = failures;
}

static double share_done(const struct watch *watch, uint64_t now)
{
    const struct load *load = watch->load;
    double by_count = 0, by_time = 0;

    if (load->count != NEVER && load->count > 0)
        by_count = (double)atomic_load(&load->issued) / (double)load->count;
    if (load->end != NEVER)
        by_time = (double)(now - load->begin) / (double)(load->end - load->begin);
    double done = by_count > by_time ? by_count : by_time;
    return done < 1 ? done : 1;
}

static void show(const struct watch *watch, uint64_t now)
{
    series_point point;
    bool any = series_latest(watch->load->series, &point);

    live_show(watch->load->phase->name, share_done(watch, now), any ? &point : NULL,
              watch->load->series->width, watch->failures);
}

static void stop_if_hopeless(struct watch *watch, uint64_t now)
{
    bool hopeless = watch->failures - watch->failures_at_progress >= FAILURES_TO_GIVE_UP &&
                    now - watch->progress_at >= PATIENCE;

    if (load_interrupted)
        watch->result->interrupted = true;
    if (hopeless)
        watch->result->gave_up = true;
    if (hopeless || load_interrupted)
        atomic_store(&watch->load->stop, true);
}

static bool wait_a_while(struct load *load, unsigned threads)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += WATCH;
    until.tv_sec += until.tv_nsec / (long)SECOND;
    until.tv_nsec %= (long)SECOND;
    sem_timedwait(&load->ended, &until);
    return atomic_load(&load->finished) < threads;
}

static void watch_threads(struct watch *watch)
{
    while (wait_a_while(watch->load, watch->count)) {
        uint64_t now = clock_now();
        look(watch, now);
        show(watch, now);
        stop_if_hopeless(watch, now);
    }
    look(watch, clock_now());
    if (watch->answers == 0 && watch->failures > 0)
        watch->result->gave_up = true; /* all that there was to ask was asked before that showed */
    live_clear();
}

/* ---- the result ---- */

static void collect(const struct load *load, worker *w, bench_phase_result *result, uint64_t *last)
{
    const load_phase *phase = load->phase;

    tally_merge(result->tally, w->tally);
    if (w->last_answer > *last)
        *last = w->last_answer;
    result->no_memory |= w->no_memory || w->history.no_memory;
    if (phase->history)
        history_append(phase->history, &w->history);
    if (phase->extra && phase->source == LOAD_PLAN) {
        for (size_t i = w->created.first; i < w->created.count; i++)
            result->no_memory |= !key_list_add(phase->extra, w->created.keys[i]);
    }
}

/* The measured time ends with its last answer, and where it was to be of some length, not before.
 */
static uint64_t elapsed(const struct load *load, uint64_t last)
{
    uint64_t now = clock_now();
    uint64_t end = load->end < now ? load->end : now;

    if (load->end == NEVER && last > 0)
        end = last;
    if (last > end)
        end = last;
    return end > load->measure_from ? end - load->measure_from : 0;
}

static unsigned thread_count(const bench_options *options)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t count = options->threads > 0 ? options->threads
                     : processors > 0     ? (uint64_t)processors
                                          : 1;

    return (unsigned)(count < options->connections ? count : options->connections);
}

static bool run_threads(struct load *load, worker *workers, unsigned count,
                        bench_phase_result *result)
{
    struct watch watch = {.load = load, .workers = workers, .result = result};
    bool good = true;

    for (unsigned i = 0; good && i < count; i++)
        good = worker_init(&workers[i], load, i, count);
    while (good && watch.count < count) {
        worker *w = &workers[watch.count];
        good = pthread_create(&w->thread, NULL, worker_main, w) == 0;
        watch.count += good;
    }
    if (!good)
        atomic_store(&load->stop, true);
    watch_threads(&watch);
    for (unsigned i = 0; i < watch.count; i++)
        pthread_join(workers[i].thread, NULL);
    return good;
}

bool load_run(const load_phase *phase, bench_phase_result *result)
{
    unsigned threads = thread_count(phase->options);
    worker *workers = calloc(threads, sizeof *workers);
    struct load load;
    uint64_t last = 0;

    *result = (bench_phase_result){.name = phase->name, .threads = threads};
    bool good = series_init(&result->series, series_width(phase));
    result->tally = calloc(1, sizeof *result->tally);
    load_init(&load, phase, &result->series);
    good = good && workers != NULL && result->tally != NULL &&
           run_threads(&load, workers, threads, result);
    for (unsigned i = 0; workers != NULL && i < threads; i++) {
        if (good)
            collect(&load, &workers[i], result, &last);
        worker_destroy(&workers[i]);
    }
    result->elapsed = elapsed(&load, last);
    series_finish(&result->series);
    result->no_memory |= result->series.no_memory;
    sem_destroy(&load.ended);
    free(workers);
    return good && !result->no_memory;
}
