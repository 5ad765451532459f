/* A thread of the tester: when to send what over which link. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "say.h"
#include "worker.h"

static const bench_options *options_of(const worker *w)
{
    return w->load->phase->options;
}

static bool is_open_loop(const worker *w)
{
    return w->load->phase->source == LOAD_PLAN && options_of(w)->rate > 0;
}

void worker_tick_clock(worker *w)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    w->now = (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* What an open loop has due at the end, and no connection is free for, may be sent a little later.
 */
static bool is_time_over(const worker *w)
{
    uint64_t end = w->load->end;

    if (w->now < end)
        return false;
    return !is_open_loop(w) || w->next_due >= end || w->now - end >= GRACE;
}

bool worker_exhausted(const worker *w)
{
    const struct load *load = w->load;

    return is_time_over(w) || atomic_load_explicit(&load->stop, memory_order_relaxed) ||
           (load->count != NEVER &&
            atomic_load_explicit(&load->issued, memory_order_relaxed) >= load->count);
}

/* ---- lists ---- */

void worker_remove(worker *w, struct link *link)
{
    if (link->place == LINK_READY)
        TAILQ_REMOVE(&w->ready, link, in_list);
    else if (link->place == LINK_THINKING)
        TAILQ_REMOVE(&w->thinking, link, in_list);
    link->place = LINK_NOWHERE;
}

void worker_set_ready(worker *w, struct link *link)
{
    worker_remove(w, link);
    TAILQ_INSERT_TAIL(&w->ready, link, in_list);
    link->place = LINK_READY;
}

void worker_set_thinking(worker *w, struct link *link)
{
    uint64_t interval = options_of(w)->interval;

    if (interval == 0) {
        worker_set_ready(w, link);
        return;
    }
    worker_remove(w, link);
    link->due = w->now + interval;
    TAILQ_INSERT_TAIL(&w->thinking, link, in_list);
    link->place = LINK_THINKING;
}

static void wake_thinking(worker *w)
{
    struct link *link;

    while ((link = TAILQ_FIRST(&w->thinking)) != NULL && link->due <= w->now)
        worker_set_ready(w, link);
}

/* ---- books ---- */

/* Hands in what was seen of an interval when another one has begun. */
static void roll_interval(worker *w)
{
    uint64_t begin = w->load->measure_from, width = w->load->series->width;

    if (w->now < w->interval_end)
        return;
    series_add(w->load->series, w->interval_index, w->interval, w->interval_errors);
    histogram_clear(w->interval);
    w->interval_errors = 0;
    w->interval_index = (w->now - begin) / width;
    w->interval_end = begin + (w->interval_index + 1) * width;
}

static void publish(atomic_uint_fast64_t *counter)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

    atomic_store_explicit(counter, value + 1, memory_order_relaxed);
}

void worker_count_answer(worker *w, const pending *request)
{
    uint64_t response = w->now - request->intended;

    publish(&w->answers);
    if (!request->counted) {
        w->tally->unmeasured++;
        return;
    }
    roll_interval(w);
    histogram_add(&w->tally->response[request->action], response);
    histogram_add(w->interval, response);
    if (is_open_loop(w))
        histogram_add(&w->tally->service, w->now - request->sent);
    w->last_answer = w->now;
}

void worker_count_failure(worker *w, failure_kind kind, sttp_slice sample)
{
    if (w->tally->failures[kind]++ == 0)
        say_visible(sample, w->tally->samples[kind], SAMPLE_SIZE);
    publish(kind >= FAILURE_WRONG_CONTENT ? &w->answers : &w->failures);
    roll_interval(w);
    w->interval_errors += w->now >= w->load->measure_from;
}

/* Nanoseconds that this thread has run, or waited for a processor. */
static uint64_t busy_time(void)
{
    char line[128] = "", *rest;
    FILE *file = fopen("/proc/thread-self/schedstat", "re");

    if (file == NULL)
        return 0;
    if (fgets(line, sizeof line, file) == NULL)
        line[0] = '\0';
    fclose(file);
    uint64_t ran = strtoull(line, &rest, 10);
    return ran + strtoull(rest, NULL, 10);
}

/* ---- sending ---- */

/* How long it takes from `at`, counted from the beginning, until `steps` more requests are due. In
 * the ramp the rate grows with the time, and so the number of requests with its square. */
static double time_of_steps(const worker *w, double at, double steps)
{
    double ramp = (double)options_of(w)->ramp;

    if (at >= ramp)
        return steps * w->gap;
    double square = at * at + 2 * ramp * w->gap * steps;
    if (square <= ramp * ramp)
        return sqrt(square) - at;
    return ramp - at + (square - ramp * ramp) / (2 * ramp);
}

static void advance_due(worker *w)
{
    double steps = options_of(w)->poisson ? -log(1 - random_fraction(&w->random)) : 1;

    w->due_fraction += time_of_steps(w, (double)(w->next_due - w->load->begin), steps);
    uint64_t whole = (uint64_t)w->due_fraction;
    w->due_fraction -= (double)whole;
    w->next_due += whole;
}

static bool is_due(const worker *w)
{
    if (worker_exhausted(w))
        return false;
    return !is_open_loop(w) || (w->next_due <= w->now && w->next_due < w->load->end);
}

/* Was a link free when the request was due, then it is the tester who is late. */
static void count_sent(worker *w, const pending *request)
{
    if (!request->counted)
        return;
    w->tally->sent++;
    if (request->sent - request->intended <= LATE)
        return;
    w->tally->late++;
    w->tally->late_self += request->intended > w->starved_until;
}

static bool give_request(worker *w, struct link *link)
{
    pending request;
    bool open = is_open_loop(w);

    if (!request_choose(w, open ? w->next_due : w->now, &request))
        return false;
    if (open)
        advance_due(w);
    count_sent(w, &request);
    if (!link->dirty)
        w->dirty[w->dirty_count++] = link;
    link_add(link, &request);
    if (link->count == options_of(w)->pipeline)
        worker_remove(w, link);
    else if (open)
        worker_set_ready(w, link); /* behind the others: each gets its turn */
    return true;
}

static void set_alarm(worker *w)
{
    struct link *thinking = TAILQ_FIRST(&w->thinking);
    uint64_t at = NEVER;

    if (thinking != NULL)
        at = thinking->due;
    if (is_open_loop(w) && !TAILQ_EMPTY(&w->ready) && w->next_due < at)
        at = w->next_due;
    if (at == NEVER || worker_exhausted(w))
        return;
    uint64_t delay = at > w->now ? (at - w->now) / 1000 : 0;
    struct timeval interval = {.tv_sec = (time_t)(delay / 1000000),
                               .tv_usec = (suseconds_t)(delay % 1000000)};
    event_add(&w->alarm, &interval);
}

static void leave_if_done(worker *w)
{
    if (w->no_memory)
        atomic_store(&w->load->stop, true); /* of all threads: the run has failed */
    bool stopped = atomic_load_explicit(&w->load->stop, memory_order_relaxed);
    if (stopped || (w->pending == 0 && worker_exhausted(w)))
        event_base_loopbreak(w->base);
}

void worker_pump(worker *w)
{
    struct link *link;

    if (w->starved)
        w->starved_until = w->now;
    w->dirty_count = 0;
    while ((link = TAILQ_FIRST(&w->ready)) != NULL && is_due(w) && give_request(w, link))
        continue;
    for (size_t i = 0; i < w->dirty_count; i++)
        link_flush(w->dirty[i]);
    w->starved = TAILQ_EMPTY(&w->ready);
    set_alarm(w);
    leave_if_done(w);
}

/* ---- the thread ---- */

static void on_alarm(evutil_socket_t fd, short events, void *argument)
{
    worker *w = argument;

    (void)fd, (void)events;
    worker_tick_clock(w);
    wake_thinking(w);
    worker_pump(w);
}

static void on_tick(evutil_socket_t fd, short events, void *argument)
{
    worker *w = argument;

    (void)fd, (void)events;
    worker_tick_clock(w);
    if (!w->measuring && w->now >= w->load->measure_from) {
        w->measuring = true;
        w->busy_before = busy_time();
    }
    roll_interval(w);
    for (size_t i = 0; i < w->link_count; i++)
        link_tick(&w->links[i]);
    wake_thinking(w);
    worker_pump(w);
}

/* How many of `wanted` requests are left to be made, which they are then not any more. */
static uint64_t take_issue(struct load *load, uint64_t wanted)
{
    if (load->count == NEVER)
        return wanted;
    uint64_t issued = atomic_fetch_add(&load->issued, wanted);
    uint64_t left = issued < load->count ? load->count - issued : 0;
    return wanted < left ? wanted : left;
}

/* What was due in the measured time and not sent has failed: to leave it out would leave out those
 * who waited longest. */
static void count_unsent(worker *w)
{
    const sttp_slice sample = STTP_SLICE("due, and no connection was free until the end");
    uint64_t end = w->load->end < w->now ? w->load->end : w->now;
    uint64_t from = w->next_due > w->load->measure_from ? w->next_due : w->load->measure_from;

    if (!is_open_loop(w) || from >= end)
        return;
    uint64_t unsent = take_issue(w->load, (uint64_t)((double)(end - from) / w->gap) + 1);
    if (unsent == 0)
        return;
    say_visible(sample, w->tally->samples[FAILURE_UNSENT], SAMPLE_SIZE);
    w->tally->failures[FAILURE_UNSENT] = unsent;
}

static void finish(worker *w)
{
    count_unsent(w);
    for (size_t i = 0; i < w->link_count; i++)
        link_forget(&w->links[i]);
    if (w->measuring)
        w->tally->busy = busy_time() - w->busy_before;
    if (w->interval->count > 0 || w->interval_errors > 0)
        series_add(w->load->series, w->interval_index, w->interval, w->interval_errors);
}

void *worker_main(void *argument)
{
    worker *w = argument;
    struct timeval tick = {.tv_usec = TICK};

    worker_tick_clock(w);
    w->no_memory = event_add(&w->tick, &tick) != 0;
    on_tick(-1, 0, w);
    if (!w->no_memory)
        event_base_loop(w->base, 0);
    worker_tick_clock(w);
    finish(w);
    atomic_fetch_add(&w->load->finished, 1);
    sem_post(&w->load->ended);
    return NULL;
}

/* ---- life ---- */

static bool make_base(worker *w)
{
    const bench_options *options = options_of(w);
    struct event_config *config = event_config_new();
    int flags = EVENT_BASE_FLAG_NOLOCK;

    if (config == NULL)
        return false;
    /* Costs a system call more for each wake-up, and without it timers are a millisecond late. */
    if (options->rate > 0 || options->interval > 0)
        flags |= EVENT_BASE_FLAG_PRECISE_TIMER;
    event_config_set_flag(config, flags);
    w->base = event_base_new_with_config(config);
    event_config_free(config);
    if (w->base == NULL)
        return false;
    event_assign(&w->tick, w->base, -1, EV_PERSIST, on_tick, w);
    event_assign(&w->alarm, w->base, -1, 0, on_alarm, w);
    return true;
}

static bool make_links(worker *w)
{
    const bench_options *options = options_of(w);
    size_t count = (options->connections - w->index + w->threads - 1) / w->threads;
    uint64_t ramp = w->load->phase->source == LOAD_PLAN ? options->ramp : 0;

    w->links = calloc(count, sizeof *w->links);
    w->dirty = calloc(count, sizeof(struct link *));
    if (w->links == NULL || w->dirty == NULL)
        return false;
    while (w->link_count < count) {
        size_t i = w->link_count++; /* what fails half-way is destroyed, too */
        if (!link_init(&w->links[i], w))
            return false;
        w->links[i].state = LINK_WAITING;
        w->links[i].due = w->load->begin + ramp * i / count;
    }
    return true;
}

bool worker_init(worker *w, struct load *load, unsigned index, unsigned threads)
{
    const bench_options *options = load->phase->options;

    *w = (worker){.load = load, .index = index, .threads = threads, .starved = true};
    TAILQ_INIT(&w->ready);
    TAILQ_INIT(&w->thinking);
    random_seed(&w->random, options->seed, index);
    w->now = load->begin;
    w->next_due = load->begin;
    w->interval_end = load->measure_from + load->series->width;
    if (options->rate > 0) {
        w->gap = 1e9 * threads / options->rate;
        w->next_due += (uint64_t)(w->gap * index / threads);
    }
    w->tally = calloc(1, sizeof *w->tally);
    w->interval = calloc(1, sizeof *w->interval);
    w->scratch = malloc(INPUT_SIZE);
    return w->tally && w->interval && w->scratch && make_base(w) && make_links(w);
}

void worker_destroy(worker *w)
{
    for (size_t i = 0; i < w->link_count; i++)
        link_destroy(&w->links[i]);
    if (w->base != NULL) {
        event_del(&w->tick);
        event_del(&w->alarm);
        event_base_free(w->base);
    }
    free(w->links);
    free(w->dirty);
    free(w->tally);
    free(w->interval);
    free(w->scratch);
    key_list_destroy(&w->created);
    history_destroy(&w->history);
}
