/* The contents of create and update: where they come from, and whether they can be sent. */
#ifndef CLI_CONTENTS_H
#define CLI_CONTENTS_H

#include "result.h"

enum { CLI_MAX_INPUT = 65536 }; /* far over what can be sent, so that a length can be told */

/* The contents that `argument` stands for: itself; standard input for "-", and for NULL where the
 * input is no terminal. What is read goes to `buffer` of CLI_MAX_INPUT + 1 bytes. False where there
 * are none or they cannot be sent, told in *result. */
bool cli_contents_get(const char *argument, char *buffer, sttp_slice *contents, cli_result *result);

bool cli_contents_check(sttp_slice contents, cli_result *result);

#endif
