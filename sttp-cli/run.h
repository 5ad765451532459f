/* The two ways to run: one request, or a batch of them. Each prints its results and returns the
 * exit status. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include "options.h"

int cli_run_request(const cli_options *options);
int cli_run_batch(const cli_options *options);

#endif
