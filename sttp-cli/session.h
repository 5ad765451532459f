/* A client of the library, made from the options. */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include "options.h"
#include "target.h"

/* Makes the client that talks to `server`, through a proxy where one is to be used. False where it
 * cannot be made, told in *result. `options` must outlive it. */
bool cli_session_open(const cli_options *options, const cli_server *server, sttp_client **client,
                      cli_result *result);

#endif
