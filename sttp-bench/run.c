#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "load.h"
#include "say.h"

enum { SCRIPT_KEYS = 1000 };

typedef struct run {
    const bench_options *options;
    const bench_target *target;
    bench_result *result;
    bench_names names;
    key_list created;
    history history;
} run;

static load_phase phase_of(run *r, const char *name, load_source source, uint64_t keys)
{
    return (load_phase){.name = name,
                        .source = source,
                        .keys = keys,
                        .options = r->options,
                        .target = r->target,
                        .names = r->names};
}

static void free_phase(bench_phase_result *phase)
{
    free(phase->tally);
    series_destroy(&phase->series);
}

/* False where the run is over: for want of memory, or because nobody answers or nobody waits. */
static bool run_phase(run *r, const load_phase *phase, bool *failed)
{
    bench_phase_result *result = &r->result->phases[r->result->phase_count++];

    *failed = !load_run(phase, result);
    if (*failed) {
        say_error("%s: out of memory or threads", phase->name);
        free_phase(result);
        r->result->phase_count--;
        return false;
    }
    r->result->gave_up |= result->gave_up;
    r->result->interrupted |= result->interrupted;
    return !result->gave_up && !result->interrupted;
}

static bool run_script(run *r)
{
    load_phase phases[] = {phase_of(r, "CREATE", LOAD_CREATE, SCRIPT_KEYS),
                           phase_of(r, "SHOW", LOAD_SHOW, SCRIPT_KEYS),
                           phase_of(r, "DELETE", LOAD_DELETE, SCRIPT_KEYS)};
    bool failed = false;

    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++) {
        r->result->count++;
        if (!run_phase(r, &phases[i], &failed))
            break;
    }
    return !failed;
}

static bool needs_keys(const bench_options *options)
{
    return options->mix.weights[STTP_ACTION_SHOW] + options->mix.weights[STTP_ACTION_LIST] +
               options->mix.weights[STTP_ACTION_UPDATE] >
           0;
}

/* Puts the texts there that the measurement asks for. Those that an earlier run has left are
 * replaced. */
static bool prepare(run *r, bool *failed)
{
    load_phase create = phase_of(r, "prepare", LOAD_CREATE, r->options->keys);
    load_phase update = phase_of(r, "replace", LOAD_UPDATE, r->options->keys);

    *failed = false;
    if (!needs_keys(r->options))
        return true;
    create.lenient = true;
    if (!run_phase(r, &create, failed))
        return false;
    const bench_tally *tally = r->result->phases[r->result->phase_count - 1].tally;
    return tally->existing == 0 || run_phase(r, &update, failed);
}

static void clean_up(run *r)
{
    load_phase phase =
        phase_of(r, "clean up", LOAD_DELETE, needs_keys(r->options) ? r->options->keys : 0);
    bool failed;

    phase.lenient = true;
    phase.extra = &r->created;
    bool gave_up = r->result->gave_up;
    if (run_phase(r, &phase, &failed)) {
        phase = phase_of(r, "directory", LOAD_DIRECTORY, 0);
        phase.lenient = true;
        run_phase(r, &phase, &failed);
    }
    r->result->gave_up = gave_up; /* the measurement itself was done */
    r->result->cleanup_failed = failed;
    for (size_t i = r->result->first + 1; i < r->result->phase_count; i++)
        r->result->cleanup_failures += tally_failures(r->result->phases[i].tally);
}

static bool run_measurement(run *r)
{
    load_phase phase = phase_of(r, "measure", LOAD_PLAN, r->options->keys);
    bool failed;

    phase.extra = &r->created;
    phase.history = r->options->check ? &r->history : NULL;
    bool prepared = prepare(r, &failed);
    r->result->first = r->result->phase_count;
    if (!prepared) { /* what was done is all there is to tell */
        r->result->first = r->result->phase_count - 1;
        r->result->count = 1;
        return !failed;
    }
    r->result->count = 1;
    bool good = run_phase(r, &phase, &failed);
    if (good && !r->options->keep)
        clean_up(r);
    return !failed;
}

static bool check_history(run *r)
{
    bench_result *result = r->result;

    if (!r->options->check)
        return true;
    result->checked = r->history.count;
    result->violations =
        history_check(&r->history, load_initial_nonce, result->violation, sizeof result->violation);
    if (r->history.no_memory)
        say_error("--check: out of memory");
    return !r->history.no_memory;
}

int run_bench(const bench_options *options, const bench_target *target, bench_result *result)
{
    run r = {.options = options, .target = target, .result = result};
    time_t now = time(NULL);
    struct tm utc;

    *result = (bench_result){.options = options};
    r.names = content_names(options->script, options->seed, options->run);
    snprintf(result->server, sizeof result->server, "%s", target->name);
    strftime(result->started, sizeof result->started, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    bool good = options->script ? run_script(&r) : run_measurement(&r);
    good = good && check_history(&r);
    if (good && !result_total(result)) {
        say_error("out of memory");
        good = false;
    }
    key_list_destroy(&r.created);
    history_destroy(&r.history);
    return good ? BENCH_EXIT_OK : BENCH_EXIT_OUTPUT;
}

void run_destroy(bench_result *result)
{
    for (size_t i = 0; i < result->phase_count; i++)
        free_phase(&result->phases[i]);
    free(result->total);
    free(result->latency);
}
