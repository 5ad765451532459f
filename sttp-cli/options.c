/* One table holds every option: its letter, its name, its argument and its line of help. The tables
 * that getopt_long wants, --help and the near names for a mistyped option are made from it, so none
 * of them can miss an option. What an option does stands in set_option, what does not go together
 * in check_combination, and what follows the options in operands.c. */
#include "options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "operands.h"
#include "proxy.h"
#include "result.h"
#include "text.h"
#include "values.h"

enum {
    OPTION_CONNECT_TIMEOUT = 256, /* above every letter */
    OPTION_JSON,
    OPTION_PROXY,
    OPTION_RESOLVE,
    OPTION_RETRY,
    OPTION_TIMEOUT,
    OPTION_UNIX,
    OPTION_BATCH,
    OPTION_NAME,
    OPTION_RECURSIVE,
    OPTION_TYPE,
    OPTION_LIMIT,
    OPTION_ALL,
    OPTION_COUNT = 23,
    HELP_WIDTH = 79,
    HELP_INDENT = 25,
    MAX_RETRIES = 1000
};

static const struct option_entry {
    int key; /* the letter, or one of the numbers above */
    const char *name;
    const char *argument; /* NULL: takes none */
    const char *help;
} entries[OPTION_COUNT] = {
    {'a', "address", "HOST", "server for a bare path: a name or an address; default localhost"},
    {'p', "port", "PORT", "port of that server; default 8080"},
    {OPTION_UNIX, "unix", "PATH", "connect to the Unix socket PATH instead"},
    {'4', "ipv4", NULL, "use IPv4 addresses only"},
    {'6', "ipv6", NULL, "use IPv6 addresses only"},
    {OPTION_RESOLVE, "resolve", "HOST:PORT:ADDR[,ADDR...]",
     "use these addresses, tried in this order, for HOST and PORT; an IPv6 address may stand in "
     "brackets; may be given several times, of two for the same server the last one counts"},
    {OPTION_PROXY, "proxy", "URL",
     "send requests through the forward proxy sttp://HOST[:PORT], port 3128 where none is given; "
     "without it the environment variables STTP_PROXY and STTP_NO_PROXY count; an empty URL is no "
     "proxy"},
    {OPTION_CONNECT_TIMEOUT, "connect-timeout", "TIME",
     "give up connecting, resolving the name included, after TIME; default 10s"},
    {OPTION_TIMEOUT, "timeout", "TIME",
     "give up waiting for an answer, connecting included, after TIME; default 30s"},
    {OPTION_RETRY, "retry", "N",
     "after a failure to connect, a timeout or a lost connection try again up to N times, waiting "
     "100ms, 200ms, 400ms and so on up to 10s; create, update and delete only where nothing was "
     "sent"},
    {OPTION_NAME, "name", "PATTERN",
     "list and find: only names that match; * is any run of characters, ? is one of them"},
    {OPTION_RECURSIVE, "recursive", NULL, "list: all below, not the directory alone"},
    {OPTION_TYPE, "type", "TYPE", "list and find: only file, only dir, or all"},
    {OPTION_LIMIT, "limit", "N", "list and find: at most N names, 1 to 10000"},
    {OPTION_ALL, "all", NULL,
     "list and find: page after page of --limit names, 10000 where it is not given, to the end"},
    {OPTION_BATCH, "batch", "FILE",
     "read requests from FILE (- for standard input), one a line as ACTION PATH [CONTENTS], and "
     "print one result line for each"},
    {'o', "output", "FILE",
     "write what was asked for to FILE; a request that fails leaves FILE as it is"},
    {'i', "include", NULL, "print the status line of the answer too"},
    {OPTION_JSON, "json", NULL, "print each result as one JSON object on a line of its own"},
    {'q', "quiet", NULL,
     "print no confirmation of a change, and nothing on standard error about "
     "a request that failed"},
    {'v', "verbose", NULL,
     "show on standard error each address tried, the lines sent and received, and when"},
    {'h', "help", NULL, "print this help"},
    {'V', "version", NULL, "print the version"},
};

static void complain(const char *format, va_list arguments) __attribute__((format(printf, 1, 0)));

static void complain(const char *format, va_list arguments)
{
    char *text = NULL;
    int size = vasprintf(&text, format, arguments);

    if (size < 0)
        return;
    fputs("sttp-cli: ", stderr);
    cli_write_visible(stderr, (sttp_slice){text, (size_t)size});
    putc('\n', stderr);
    free(text);
}

void cli_complain(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    complain(format, arguments);
    va_end(arguments);
}

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

        if (column + size > HELP_WIDTH) {
            printf("\n%*s", HELP_INDENT, "");
            column = HELP_INDENT;
        }
        column += size + 1;
        printf("%.*s", (int)size, text);
        text += size;
        text += strspn(text, " ");
        if (*text && column + strcspn(text, " ") <= HELP_WIDTH)
            putchar(' ');
    }
    putchar('\n');
}

static void print_option(const struct option_entry *entry)
{
    int column;

    if (entry->key < OPTION_CONNECT_TIMEOUT)
        column = printf("  -%c, --%s", entry->key, entry->name);
    else
        column = printf("      --%s", entry->name);
    if (entry->argument)
        column += printf(" %s", entry->argument);
    print_wrapped(entry->help, (size_t)column);
}

void cli_print_help(void)
{
    puts("Usage: sttp-cli [OPTION...] ACTION URL-OR-PATH [CONTENTS]\n"
         "       sttp-cli [OPTION...] find [URL-OR-PATH] TEXT\n"
         "       sttp-cli [OPTION...] URL-OR-PATH\n"
         "       sttp-cli [OPTION...] --batch FILE\n"
         "\n"
         "Reads and changes short texts on an STTP server. ACTION is create, show, list,\n"
         "update or delete; without one, what ends in / is listed and all else is shown.\n"
         "URL-OR-PATH is sttp://HOST[:PORT]/PATH, sttp+unix:/SOCKET:/PATH, or a path that\n"
         "begins with /, taken as it stands. CONTENTS of create and update are one line of\n"
         "up to 160 characters, read from standard input where they are - or not given.\n"
         "find lists the files below URL-OR-PATH, which is / where it is not given, whose\n"
         "text holds TEXT; capital and small letters from A to Z are the same to it.\n"
         "\n"
         "Options (a TIME is 250ms, 2s, 1m or 1h; a bare number is in seconds):");
    for (size_t i = 0; i < OPTION_COUNT; i++)
        print_option(&entries[i]);
    puts("\nExit status (of a batch: the worst of its lines, the last one here being worst):");
    for (const cli_exit_text *text = cli_exit_texts; text->meaning; text++)
        printf("  %2d  %s\n", text->status, text->meaning);
}

bool cli_usage(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    complain(format, arguments);
    va_end(arguments);
    fputs("Try 'sttp-cli --help' for all options.\n", stderr);
    return false;
}

static bool add_resolve(cli_options *options, const char *argument)
{
    cli_resolve *grown =
        reallocarray(options->resolve, options->resolve_count + 1, sizeof *options->resolve);
    const char *mistake;

    if (!grown)
        return cli_usage("out of memory");
    options->resolve = grown;
    mistake = cli_resolve_parse(argument, &grown[options->resolve_count++]);
    if (mistake)
        return cli_usage("--resolve %s: %s; the form is HOST:PORT:ADDR[,ADDR...]", argument,
                         mistake);
    return true;
}

static bool set_duration(const char *option, const char *argument, unsigned *milliseconds)
{
    if (!cli_parse_duration(argument, milliseconds))
        return cli_usage("--%s %s: give a time from 1ms to 596h, like 250ms, 2s or 1m", option,
                         argument);
    return true;
}

static bool set_family(cli_options *options, int family)
{
    if (options->family != 0 && options->family != family)
        return cli_usage("-4 and -6 exclude each other; leave both out to use both");
    options->family = family;
    return true;
}

static bool set_port(cli_options *options, const char *argument)
{
    if (!cli_parse_number(argument, 1, UINT16_MAX, &options->port))
        return cli_usage("--port %s: give a number from 1 to 65535", argument);
    return true;
}

static bool set_proxy(cli_options *options, const char *argument)
{
    cli_server proxy;
    const char *mistake = *argument ? cli_proxy_parse(argument, &proxy) : NULL;

    options->proxy = argument;
    return !mistake ||
           cli_usage("--proxy %s: %s; the form is sttp://HOST[:PORT]", argument, mistake);
}

static bool set_type(cli_options *options, const char *argument)
{
    options->type = argument;
    return strcmp(argument, "file") == 0 || strcmp(argument, "dir") == 0 ||
           strcmp(argument, "all") == 0 ||
           cli_usage("--type %s: it is one of file, dir and all", argument);
}

static bool set_limit(cli_options *options, const char *argument)
{
    return cli_parse_number(argument, 1, STTP_MAX_LIST_LIMIT, &options->limit) ||
           cli_usage("--limit %s: give a number from 1 to %d; --all goes on behind it", argument,
                     STTP_MAX_LIST_LIMIT);
}

static bool set_option(cli_options *options, int key, const char *argument)
{
    switch (key) {
    case 'a':
        options->address = argument;
        return true;
    case 'p':
        return set_port(options, argument);
    case OPTION_UNIX:
        options->socket_path = argument;
        return true;
    case '4':
        return set_family(options, AF_INET);
    case '6':
        return set_family(options, AF_INET6);
    case OPTION_RESOLVE:
        return add_resolve(options, argument);
    case OPTION_PROXY:
        return set_proxy(options, argument);
    case OPTION_CONNECT_TIMEOUT:
        return set_duration("connect-timeout", argument, &options->connect_timeout_ms);
    case OPTION_TIMEOUT:
        return set_duration("timeout", argument, &options->timeout_ms);
    case OPTION_RETRY:
        if (!cli_parse_number(argument, 0, MAX_RETRIES, &options->retries))
            return cli_usage("--retry %s: give a number from 0 to %d", argument, MAX_RETRIES);
        return true;
    case OPTION_NAME:
        options->name = argument;
        return *argument || cli_usage("--name: the pattern is empty; * is any name");
    case OPTION_RECURSIVE:
        return options->recursive = true;
    case OPTION_TYPE:
        return set_type(options, argument);
    case OPTION_LIMIT:
        return set_limit(options, argument);
    case OPTION_ALL:
        return options->all = true;
    case OPTION_BATCH:
        options->batch = argument;
        return true;
    case 'o':
        options->output = argument;
        return true;
    case 'i':
        return options->include = true;
    case OPTION_JSON:
        return options->json = true;
    case 'q':
        return options->quiet = true;
    default:
        return options->verbose = true;
    }
}

static bool unknown_option(const char *argument, int letter)
{
    const char *names[OPTION_COUNT];
    sttp_slice near;

    if (letter != 0)
        return cli_usage("unknown option -%c; put -- before a text that begins with -", letter);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        names[i] = entries[i].name;
    near = sttp_nearest_word((sttp_slice){argument + 2, strcspn(argument + 2, "=")}, names,
                             OPTION_COUNT);
    if (near.size > 0)
        return cli_usage("unknown option %s; did you mean --%s?", argument, near.data);
    return cli_usage("unknown option %s; put -- before a text that begins with -", argument);
}

static const struct option_entry *find_entry(int key)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (entries[i].key == key)
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
        return cli_usage("--%s needs a value: %s", entry->name, entry->argument);
    if (entry)
        return cli_usage("--%s takes no value", entry->name);
    return unknown_option(argument, key);
}

static void make_getopt_tables(char *letters, struct option *names)
{
    *letters++ = ':'; /* tell a missing argument from an unknown option */
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option_entry *entry = &entries[i];

        names[i] = (struct option){.name = entry->name,
                                   .has_arg = entry->argument ? required_argument : no_argument,
                                   .val = entry->key};
        if (entry->key >= OPTION_CONNECT_TIMEOUT)
            continue;
        *letters++ = (char)entry->key;
        if (entry->argument)
            *letters++ = ':';
    }
    *letters = '\0';
    names[OPTION_COUNT] = (struct option){.name = NULL};
}

static bool check_combination(const cli_options *options)
{
    if (options->socket_path && (options->address || options->port))
        return cli_usage("--unix names the server, so --address and --port cannot; leave one out");
    if (options->batch && options->retries)
        return cli_usage(
            "--retry does not go with --batch, whose lines are sent without waiting for "
            "each other's answers");
    return true;
}

cli_parsed cli_options_parse(int argc, char **argv, cli_options *options)
{
    char letters[2 * OPTION_COUNT + 2];
    struct option names[OPTION_COUNT + 1];
    int key;

    *options = (cli_options){0};
    clock_gettime(CLOCK_MONOTONIC, &options->started);
    make_getopt_tables(letters, names);
    opterr = 0;
    while ((key = getopt_long(argc, argv, letters, names, NULL)) != -1) {
        if (key == 'h')
            return CLI_PARSED_HELP;
        if (key == 'V')
            return CLI_PARSED_VERSION;
        if (key == '?' || key == ':') {
            refused_option(argv[optind - 1], key, optopt);
            return CLI_PARSED_ERROR;
        }
        if (!set_option(options, key, optarg))
            return CLI_PARSED_ERROR;
    }
    if (!check_combination(options) || !cli_read_operands(argc - optind, argv + optind, options))
        return CLI_PARSED_ERROR;
    return CLI_PARSED_RUN;
}

void cli_options_destroy(cli_options *options)
{
    for (size_t i = 0; i < options->resolve_count; i++)
        cli_resolve_destroy(&options->resolve[i]);
    free(options->resolve);
}
