/* The command line. One table in options.c gives the parser and --help. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <sttp/message.h>

#include "resolve.h"

typedef struct cli_options {
    sttp_action action; /* STTP_ACTION_NONE: show, or list for what ends in "/" */
    const char *target; /* a URL or a path; NULL with --batch */
    const char *contents;
    const char *find; /* the text that files are to hold; NULL without the action find */

    const char *address; /* NULL where it was not given */
    unsigned port;       /* 0 where it was not given */
    const char *socket_path;
    int family;
    cli_resolve *resolve;
    size_t resolve_count;
    const char *proxy; /* NULL where it was not given; "" for none */

    unsigned timeout_ms;
    unsigned connect_timeout_ms;
    unsigned retries;

    /* Of list and find. */
    const char *name; /* NULL where it was not given, as `type` */
    const char *type;
    unsigned limit; /* 0 where it was not given */
    bool recursive;
    bool all;

    const char *batch;
    const char *output;
    bool include;
    bool json;
    bool quiet;
    bool verbose;
    struct timespec started; /* by the monotonic clock: what --verbose counts from */
} cli_options;

typedef enum cli_parsed {
    CLI_PARSED_RUN,
    CLI_PARSED_HELP,
    CLI_PARSED_VERSION,
    CLI_PARSED_ERROR
} cli_parsed;

/* Reads the arguments. A mistake is told on standard error. `options` is to be destroyed whatever
 * is returned; its strings point into `argv`. */
cli_parsed cli_options_parse(int argc, char **argv, cli_options *options);
void cli_options_destroy(cli_options *options);

void cli_print_help(void);

/* The action of a request that is near to a misspelt one, in lower case; empty where none is. */
sttp_slice cli_nearest_action(sttp_slice text);

/* "sttp-cli: ..." on standard error, one line. What cannot be shown on a terminal is made visible,
 * wherever it goes: a message may quote what others wrote, and logs are read on terminals. */
void cli_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same of a mistake on the command line. Returns false, to be passed on. */
bool cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
