#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sttp/base.h>

#include "compare.h"
#include "load.h"
#include "options.h"
#include "report.h"
#include "run.h"
#include "say.h"

/* The first one ends the run, whose results are printed; a second one the program. */
static void on_signal(int number)
{
    load_interrupted = 1;
    signal(number, SIG_DFL);
}

static bool raise_descriptor_limit(const bench_options *options)
{
    struct rlimit limit;
    rlim_t wanted = options->connections + 64;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return true;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= wanted)
        return true;
    say_error("%llu connections need as many file descriptors and some more; %llu are allowed, see "
              "ulimit -n",
              (unsigned long long)options->connections, (unsigned long long)limit.rlim_cur);
    return false;
}

typedef void report_function(const bench_result *result, FILE *out);

static bool complain(const char *name)
{
    say_error("cannot write %s: %s", name, strerror(errno));
    return false;
}

enum { OUTPUTS = 3 };

typedef struct output {
    const char *name; /* NULL: not wanted */
    report_function *report;
    FILE *file;
} output;

/* Before the run, so that nobody waits for results that cannot be written. What a file has stays in
 * it until there are results. */
static bool open_outputs(output *outputs)
{
    for (size_t i = 0; i < OUTPUTS; i++) {
        const char *name = outputs[i].name;
        if (name == NULL)
            continue;
        outputs[i].file = strcmp(name, "-") == 0 ? stdout : fopen(name, "ae");
        if (outputs[i].file == NULL)
            return complain(name);
    }
    return true;
}

static bool write_output(const bench_result *result, const output *o)
{
    struct stat status;
    int fd = fileno(o->file);

    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && ftruncate(fd, 0) != 0)
        return complain(o->name);
    o->report(result, o->file);
    if (fflush(o->file) != 0 || ferror(o->file) != 0)
        return complain(o->name);
    return true;
}

static bool write_reports(const bench_result *result, const output *outputs)
{
    FILE *text = stdout;
    bool good = true;

    for (size_t i = 0; i < OUTPUTS; i++)
        text = outputs[i].file == stdout ? stderr : text;
    report_text(result, text);
    for (size_t i = 0; i < OUTPUTS; i++)
        good = (outputs[i].file == NULL || write_output(result, &outputs[i])) && good;
    return good;
}

static void close_outputs(const output *outputs)
{
    for (size_t i = 0; i < OUTPUTS; i++) {
        if (outputs[i].file != NULL && outputs[i].file != stdout)
            fclose(outputs[i].file); /* all was flushed */
    }
}

static int run(const bench_options *options)
{
    bench_target target;
    bench_result result = {0};
    output outputs[OUTPUTS] = {{.name = options->json, .report = report_json},
                               {.name = options->csv, .report = report_csv},
                               {.name = options->html, .report = report_html}};

    if (!raise_descriptor_limit(options))
        return BENCH_EXIT_USAGE;
    int status = target_find(options, &target);
    if (status != BENCH_EXIT_OK)
        return status;
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    status = open_outputs(outputs) ? run_bench(options, &target, &result) : BENCH_EXIT_OUTPUT;
    if (status == BENCH_EXIT_OK)
        status = write_reports(&result, outputs) ? result_exit_status(&result) : BENCH_EXIT_OUTPUT;
    close_outputs(outputs);
    run_destroy(&result);
    return status;
}

static int finish_output(int status)
{
    if (status == BENCH_EXIT_OUTPUT || (fflush(stdout) == 0 && ferror(stdout) == 0))
        return status;
    complain("the results");
    return BENCH_EXIT_OUTPUT;
}

int main(int argc, char **argv)
{
    bench_options options;
    int status = BENCH_EXIT_OK;

    signal(SIGPIPE, SIG_IGN);
    if (argc > 1 && strcmp(argv[1], "compare") == 0)
        return finish_output(compare_files(argc - 2, argv + 2));
    switch (options_parse(argc, argv, &options)) {
    case BENCH_PARSED_HELP:
        options_help();
        break;
    case BENCH_PARSED_VERSION:
        printf("sttp-bench %s (libsttp %s)\n", STTP_VERSION, sttp_version());
        break;
    case BENCH_PARSED_ERROR:
        return BENCH_EXIT_USAGE;
    case BENCH_PARSED_RUN:
        status = run(&options);
        break;
    }
    return finish_output(status);
}
