#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
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

static bool write_report(const bench_result *result, const char *name, report_function *report)
{
    if (name == NULL)
        return true;
    if (strcmp(name, "-") == 0) {
        report(result, stdout);
        return true;
    }
    FILE *out = fopen(name, "we");
    if (out == NULL)
        return complain(name);
    report(result, out);
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed)
        return complain(name);
    return true;
}

static bool takes_stdout(const char *name)
{
    return name && strcmp(name, "-") == 0;
}

static bool write_reports(const bench_result *result)
{
    const bench_options *options = result->options;
    bool elsewhere =
        takes_stdout(options->json) || takes_stdout(options->csv) || takes_stdout(options->html);

    report_text(result, elsewhere ? stderr : stdout);
    bool good = write_report(result, options->json, report_json);
    good = write_report(result, options->csv, report_csv) && good;
    return write_report(result, options->html, report_html) && good;
}

static int run(const bench_options *options)
{
    bench_target target;
    bench_result result = {0};

    if (!raise_descriptor_limit(options))
        return BENCH_EXIT_USAGE;
    int status = target_find(options, &target);
    if (status != BENCH_EXIT_OK)
        return status;
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    status = run_bench(options, &target, &result);
    if (status == BENCH_EXIT_OK)
        status = write_reports(&result) ? result_exit_status(&result) : BENCH_EXIT_OUTPUT;
    run_destroy(&result);
    return status;
}

static int finish_output(int status)
{
    bool failed = ferror(stdout) != 0;

    if (fflush(stdout) == 0 && !failed)
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
