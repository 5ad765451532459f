/* Standard output, or the file that --output names.
 *
 * A regular file is written beside its place under another name and moved there by
 * cli_output_commit, so it holds what it held or all of the new text, whatever happens between.
 * What is no regular file (/dev/null, a pipe) is written as it is. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdio.h>

#include "options.h"
#include "result.h"

typedef struct cli_output {
    FILE *stream;
    bool visible;     /* a terminal: what it could act upon is written visibly */
    char *place;      /* owned; NULL for standard output and what is no regular file */
    char *temporary;  /* owned; as above */
    int system_errno; /* of the first failure, 0 where there was none */
} cli_output;

/* Opens `path`, standard output where it is NULL or "-". False after telling why not. */
bool cli_output_open(cli_output *output, const char *path);

/* Sends on what is buffered. False where this or anything written before has failed. */
bool cli_output_flush(cli_output *output);

/* Puts what was written in its place. False after telling why not. The output is closed. */
bool cli_output_commit(cli_output *output);

/* Leaves the place as it was. The output is closed. */
void cli_output_discard(cli_output *output);

/* One result in the form that the options ask for; what is a diagnosis goes to standard error. */
void cli_print_result(cli_output *output, const cli_options *options, const cli_result *result);

#endif
