/* What follows the options on a command line. */
#ifndef CLI_OPERANDS_H
#define CLI_OPERANDS_H

#include "options.h"

/* Reads action, target and contents, or for find a text. False after telling a mistake, also one of
 * options that do not go with them. */
bool cli_read_operands(int count, char **operands, cli_options *options);

#endif
