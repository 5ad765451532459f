/* One table holds every option: its letter, name, argument, line of help, and how its value is
 * read. What getopt_long wants, --help and the near names for a mistyped option are made from it.
 */
#include "options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <sttp/url.h>

#include "content.h"
#include "result.h"
#include "say.h"
#include "values.h"

enum {
    HELP_WIDTH = 79,
    HELP_INDENT = 28,
    FIRST_LONG = 256, /* above every letter */
    MILLISECOND = 1000000,
    MAX_CONNECTIONS = 100000,
    MAX_PIPELINE = 1024,
    MAX_THREADS = 512,
    MAX_RATE = 100000000
};
static const uint64_t SECOND = 1000000000;

typedef enum value_kind {
    VALUE_FLAG,     /* bool */
    VALUE_TEXT,     /* const char * */
    VALUE_NUMBER,   /* uint64_t */
    VALUE_TIME,     /* uint64_t; bare numbers are seconds */
    VALUE_INTERVAL, /* uint64_t; bare numbers are milliseconds */
    VALUE_RATE,     /* double */
    VALUE_ARRIVALS, /* bool */
    VALUE_MIX,
    VALUE_DISTRIBUTION,
    VALUE_SLO,
    VALUE_HELP,
    VALUE_VERSION
} value_kind;

#define AT(member) offsetof(bench_options, member)

static const struct option_entry {
    char letter; /* 0: none */
    const char *name;
    const char *argument; /* NULL: takes none */
    value_kind kind;
    size_t offset;
    uint64_t min, max; /* of numbers and times */
    bool measures;     /* makes the run a measurement, in place of the default one */
    const char *help;
} entries[] = {
    {'a', "address", "HOST", VALUE_TEXT, AT(address), 0, 0, false,
     "server: a name or an address; default 127.0.0.1"},
    {'p', "port", "PORT", VALUE_NUMBER, AT(port), 1, 65535, false, "its port; default 8080"},
    {0, "unix", "PATH", VALUE_TEXT, AT(unix_path), 0, 0, false,
     "connect to the Unix socket PATH instead"},
    {0, "proxy", "HOST:PORT", VALUE_TEXT, AT(proxy), 0, 0, false,
     "send the requests for that server through this forward proxy"},
    {'i', "interval", "MS", VALUE_INTERVAL, AT(interval), 0, 3600, false,
     "milliseconds that a connection waits between an answer and its next request; default 0"},
    {'c', "concurrency", "N", VALUE_NUMBER, AT(connections), 1, MAX_CONNECTIONS, false,
     "connections at once; default 50. --connections is the same"},
    {0, "connections", "N", VALUE_NUMBER, AT(connections), 1, MAX_CONNECTIONS, false, NULL},
    {0, "threads", "N", VALUE_NUMBER, AT(threads), 1, MAX_THREADS, false,
     "threads of the tester; default: one for each processor"},
    {0, "pipeline", "N", VALUE_NUMBER, AT(pipeline), 1, MAX_PIPELINE, false,
     "requests that a connection may have under way at once; default 1"},
    {0, "connection-per-request", NULL, VALUE_FLAG, AT(connection_per_request), 0, 0, false,
     "open a new connection for each request; its time counts"},
    {0, "duration", "TIME", VALUE_TIME, AT(duration), 1, UINT64_C(604800), true,
     "measure for TIME; default 10s where neither this nor --requests is given"},
    {0, "requests", "N", VALUE_NUMBER, AT(requests), 1, UINT64_MAX / 2, true, "measure N requests"},
    {0, "rate", "N", VALUE_RATE, AT(rate), 0, MAX_RATE, true,
     "open loop: send N requests a second, all threads together, whether answers come or not; "
     "latency counts from the moment a request was due"},
    {0, "arrivals", "WORD", VALUE_ARRIVALS, AT(poisson), 0, 0, false,
     "spacing of an open loop: constant (default) or poisson"},
    {0, "mix", "MIX", VALUE_MIX, AT(mix_text), 0, 0, true,
     "weights of create, show, list, update, delete: show=90,update=10; default show=100"},
    {0, "keys", "N", VALUE_NUMBER, AT(keys), 1, PLAN_MAX_KEYS, true,
     "texts that are there before the measurement; default 1000"},
    {0, "distribution", "D", VALUE_DISTRIBUTION, AT(distribution_text), 0, 0, true,
     "how keys are chosen: uniform (default); zipf:S, the n-th as often as 1/n^S; hot:F, nine in "
     "ten requests to the fraction F of the keys"},
    {0, "size", "N", VALUE_NUMBER, AT(size), 0, STTP_MAX_CONTENTS_CHARS, false,
     "characters of a text; default 100"},
    {0, "seed", "N", VALUE_NUMBER, AT(seed), 0, UINT64_MAX, false,
     "of all random choices and of the names (but those that create makes); default: a random one, "
     "which is printed"},
    {0, "warm-up", "TIME", VALUE_TIME, AT(warm_up), 0, 86400, true,
     "run for TIME before measuring"},
    {0, "ramp", "TIME", VALUE_TIME, AT(ramp), 0, 86400, true,
     "open the connections, and let the rate grow, over TIME; then comes the warm-up"},
    {0, "timeout", "TIME", VALUE_TIME, AT(timeout), 0, 3600, false,
     "a request that is not answered after TIME has failed; default 10s"},
    {0, "connect-timeout", "TIME", VALUE_TIME, AT(connect_timeout), 0, 3600, false,
     "the same for connecting; default 5s"},
    {0, "verify", NULL, VALUE_FLAG, AT(verify), 0, 0, false,
     "check the contents of each answer against what was asked"},
    {0, "check", NULL, VALUE_FLAG, AT(check), 0, 0, true,
     "--verify, and check that the answers of each path fit one order of events "
     "(linearizability); takes 40 bytes of memory a request"},
    {0, "keep", NULL, VALUE_FLAG, AT(keep), 0, 0, false,
     "leave the texts on the server after the measurement"},
    {0, "json", "FILE", VALUE_TEXT, AT(json), 0, 0, false,
     "write the results to FILE as JSON (- for standard output)"},
    {0, "csv", "FILE", VALUE_TEXT, AT(csv), 0, 0, false,
     "write the course of the run to FILE as CSV"},
    {0, "html", "FILE", VALUE_TEXT, AT(html), 0, 0, false,
     "write a page with charts to FILE; it needs nothing from elsewhere"},
    {0, "slo", "TERMS", VALUE_SLO, AT(slo_text), 0, 0, false,
     "what the run has to reach, 'p99<2ms,errors<0.1%,rate>1000'; also max and mean. Decides the "
     "exit status"},
    {'h', "help", NULL, VALUE_HELP, 0, 0, 0, false, "print this help"},
    {'V', "version", NULL, VALUE_VERSION, 0, 0, 0, false, "print the version"},
};

enum { ENTRY_COUNT = sizeof entries / sizeof *entries };

/* ---- help ---- */

/* Prints words from column HELP_INDENT on, broken at spaces. `column` is where the line stands. */
static void print_wrapped(const char *text, size_t column)
{
    if (column >= HELP_INDENT - 1) {
        putchar('\n');
        column = 0;
    }
    printf("%*s", (int)(HELP_INDENT - column), "");
    column = HELP_INDENT;
    while (*text) {
        size_t size = strcspn(text, " ");
        if (column > HELP_INDENT && column + 1 + size > HELP_WIDTH) {
            printf("\n%*s", HELP_INDENT, "");
            column = HELP_INDENT;
        }
        column += (size_t)printf("%s%.*s", column > HELP_INDENT ? " " : "", (int)size, text);
        text += size;
        text += strspn(text, " ");
    }
    putchar('\n');
}

static void print_option(const struct option_entry *entry)
{
    int column = entry->letter ? printf("  -%c, --%s", entry->letter, entry->name)
                               : printf("      --%s", entry->name);

    if (entry->argument)
        column += printf(" %s", entry->argument);
    print_wrapped(entry->help, (size_t)column);
}

void options_help(void)
{
    puts("Usage: sttp-bench [OPTION...]\n"
         "       sttp-bench compare A.json B.json\n"
         "\n"
         "Puts load on an STTP server and measures it. Without options: 1,000 CREATEs of\n"
         "/snippets/snippet_N.txt, a SHOW of each with every tenth twice, 1,000 DELETEs.\n"
         "--duration, --requests, --rate, --mix, --keys, --distribution, --warm-up, --ramp\n"
         "or --check makes it a measurement of its own, on texts below /sttp-bench/.\n"
         "\n"
         "Options (a TIME is 250us, 250ms, 2s, 1m or 1h; a bare number is in seconds):");
    for (size_t i = 0; i < ENTRY_COUNT; i++) {
        if (entries[i].help)
            print_option(&entries[i]);
    }
    puts("\nExit status:");
    for (const bench_exit_text *text = bench_exit_texts; text->meaning; text++)
        printf("  %2d  %s\n", text->status, text->meaning);
}

/* ---- mistakes ---- */

static bool usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

static bool usage(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say_error_list(format, arguments);
    va_end(arguments);
    fputs("Try 'sttp-bench --help' for all options.\n", stderr);
    return false;
}

static bool unknown_option(const char *argument, int letter)
{
    const char *names[ENTRY_COUNT];
    sttp_slice near;

    if (letter != 0)
        return usage("unknown option -%c", letter);
    for (size_t i = 0; i < ENTRY_COUNT; i++)
        names[i] = entries[i].name;
    near = sttp_nearest_word((sttp_slice){argument + 2, strcspn(argument + 2, "=")}, names,
                             ENTRY_COUNT);
    if (near.size > 0)
        return usage("unknown option %s; did you mean --%s?", argument, near.data);
    return usage("unknown option %s", argument);
}

static int key_of(size_t index)
{
    return entries[index].letter ? entries[index].letter : FIRST_LONG + (int)index;
}

static const struct option_entry *find_entry(int key)
{
    for (size_t i = 0; i < ENTRY_COUNT; i++) {
        if (key_of(i) == key)
            return &entries[i];
    }
    return NULL;
}

/* getopt_long has refused an option. `key` is the one it was about, 0 for a long one that it does
 * not know: that is `argument`. */
static bool refused_option(const char *argument, int refusal, int key)
{
    const struct option_entry *entry = find_entry(key);

    if (refusal == ':' && entry)
        return usage("--%s needs a value: %s", entry->name, entry->argument);
    if (entry)
        return usage("--%s takes no value", entry->name);
    return unknown_option(argument, key);
}

/* ---- values ---- */

static bool set_number(const struct option_entry *entry, const char *text, uint64_t *number)
{
    return value_number(text, entry->min, entry->max, number) ||
           usage("--%s %s: give a number from %llu to %llu", entry->name, text,
                 (unsigned long long)entry->min, (unsigned long long)entry->max);
}

static bool set_time(const struct option_entry *entry, const char *text, uint64_t *time)
{
    bool is_interval = entry->kind == VALUE_INTERVAL;
    bool may_be_zero =
        is_interval || strcmp(entry->name, "ramp") == 0 || strcmp(entry->name, "warm-up") == 0;
    uint64_t unit = is_interval ? MILLISECOND : SECOND;

    if (value_time(text, unit, time) && *time <= entry->max * SECOND &&
        (may_be_zero ? true : *time >= MILLISECOND))
        return true;
    return usage("--%s %s: give a time from %s to %llus, like 250ms or 2s", entry->name, text,
                 may_be_zero ? "0" : "1ms", (unsigned long long)entry->max);
}

static bool set_rate(const char *text, double *rate)
{
    return (value_decimal(text, rate) && *rate >= 0.001 && *rate <= MAX_RATE) ||
           usage("--rate %s: give requests a second, from 0.001 to %d", text, MAX_RATE);
}

static bool set_arrivals(const char *text, bool *poisson)
{
    *poisson = strcmp(text, "poisson") == 0;
    return *poisson || strcmp(text, "constant") == 0 ||
           usage("--arrivals %s: it is constant or poisson", text);
}

static bool set_text(const struct option_entry *entry, const char *text, const char **value)
{
    *value = text;
    return *text != '\0' || usage("--%s: its value is empty", entry->name);
}

static bool set_mix(const char *text, bench_options *options)
{
    options->mix_text = text;
    return mix_parse(text, &options->mix) ||
           usage("--mix %s: give weights like show=90,update=10; actions are create, show, list, "
                 "update and delete, each once",
                 text);
}

static bool set_distribution(const char *text, bench_options *options)
{
    options->distribution_text = text;
    return distribution_parse(text, &options->distribution) ||
           usage(
               "--distribution %s: it is uniform, zipf:S with S up to 10, or hot:F with F below 1",
               text);
}

static bool set_slo(const char *text, bench_options *options)
{
    options->slo_text = text;
    return slo_parse(text, &options->slo) ||
           usage("--slo %s: give up to %d terms like p99<2ms, max<1s, mean<1ms, errors<0.1%% or "
                 "rate>1000, with commas between",
                 text, SLO_MAX_TERMS);
}

static bool set_option(const struct option_entry *entry, const char *text, bench_options *options)
{
    void *value = (char *)options + entry->offset;

    if (entry->measures)
        options->script = false;
    options->seed_given |= value == &options->seed;
    switch (entry->kind) {
    case VALUE_FLAG:
        *(bool *)value = true;
        return true;
    case VALUE_TEXT:
        return set_text(entry, text, value);
    case VALUE_NUMBER:
        return set_number(entry, text, value);
    case VALUE_TIME:
    case VALUE_INTERVAL:
        return set_time(entry, text, value);
    case VALUE_RATE:
        return set_rate(text, value);
    case VALUE_ARRIVALS:
        return set_arrivals(text, value);
    case VALUE_MIX:
        return set_mix(text, options);
    case VALUE_DISTRIBUTION:
        return set_distribution(text, options);
    case VALUE_SLO:
        return set_slo(text, options);
    case VALUE_HELP:
    case VALUE_VERSION:
        break;
    }
    return true;
}

/* ---- all together ---- */

static bool check_loops(const bench_options *options)
{
    if (options->poisson && options->rate == 0)
        return usage("--arrivals belongs to an open loop: give --rate too");
    if (options->rate > 0 && options->interval > 0)
        return usage("--interval is of a closed loop, --rate of an open one; leave one out");
    if (options->connection_per_request && options->pipeline > 1)
        return usage("--pipeline does not go with --connection-per-request");
    return true;
}

static bool takes_stdout(const char *name)
{
    return name && strcmp(name, "-") == 0;
}

static bool check_combination(const bench_options *options)
{
    if (takes_stdout(options->json) + takes_stdout(options->csv) + takes_stdout(options->html) > 1)
        return usage("only one of --json, --csv and --html can go to standard output");
    if (options->unix_path && options->proxy)
        return usage("--unix and --proxy exclude each other");
    if (options->unix_path && strlen(options->unix_path) > STTP_MAX_SOCKET_PATH)
        return usage("--unix: the path of a socket has at most %d bytes", STTP_MAX_SOCKET_PATH);
    if (options->verify && options->size < CONTENT_MIN_VERIFIED)
        return usage("--verify needs a --size of at least %d, for key and nonce",
                     CONTENT_MIN_VERIFIED);
    if (options->check && options->mix.weights[STTP_ACTION_LIST] > 0)
        return usage("--check looks at texts: leave list out of the --mix");
    return check_loops(options);
}

static void make_getopt_tables(char *letters, struct option *names)
{
    *letters++ = ':'; /* tell a missing argument from an unknown option */
    for (size_t i = 0; i < ENTRY_COUNT; i++) {
        int has_arg = entries[i].argument ? required_argument : no_argument;
        names[i] = (struct option){.name = entries[i].name, .has_arg = has_arg, .val = key_of(i)};
        if (!entries[i].letter)
            continue;
        *letters++ = entries[i].letter;
        if (entries[i].argument)
            *letters++ = ':';
    }
    *letters = '\0';
    names[ENTRY_COUNT] = (struct option){.name = NULL};
}

static uint32_t random_number(void)
{
    uint32_t number;

    if (getrandom(&number, sizeof number, 0) != sizeof number)
        number = (uint32_t)time(NULL);
    return number;
}

static bench_options defaults(void)
{
    return (bench_options){
        .address = "127.0.0.1",
        .port = STTP_DEFAULT_PORT,
        .script = true,
        .connections = 50,
        .pipeline = 1,
        .timeout = 10 * SECOND,
        .connect_timeout = 5 * SECOND,
        .mix = {.weights = {[STTP_ACTION_SHOW] = 100}, .total = 100},
        .mix_text = "show=100",
        .keys = 1000,
        .distribution_text = "uniform",
        .size = 100,
        .seed = random_number(),
        .run = random_number(),
    };
}

static void complete(bench_options *options)
{
    options->verify |= options->check;
    if (!options->script && options->duration == 0 && options->requests == 0)
        options->duration = 10 * SECOND;
    distribution_prepare(&options->distribution, options->keys);
}

bench_parsed options_parse(int argc, char **argv, bench_options *options)
{
    char letters[2 * ENTRY_COUNT + 2];
    struct option names[ENTRY_COUNT + 1];
    int key;

    *options = defaults();
    options->argument_count = argc;
    options->arguments = argv;
    make_getopt_tables(letters, names);
    opterr = 0;
    while ((key = getopt_long(argc, argv, letters, names, NULL)) != -1) {
        const struct option_entry *entry = key == '?' || key == ':' ? NULL : find_entry(key);
        if (entry == NULL) {
            refused_option(argv[optind - 1], key, optopt);
            return BENCH_PARSED_ERROR;
        }
        if (entry->kind == VALUE_HELP || entry->kind == VALUE_VERSION)
            return entry->kind == VALUE_HELP ? BENCH_PARSED_HELP : BENCH_PARSED_VERSION;
        if (!set_option(entry, optarg, options))
            return BENCH_PARSED_ERROR;
    }
    if (optind < argc) {
        usage("unexpected argument %s; the server is named by --address and --port", argv[optind]);
        return BENCH_PARSED_ERROR;
    }
    complete(options);
    return check_combination(options) ? BENCH_PARSED_RUN : BENCH_PARSED_ERROR;
}
