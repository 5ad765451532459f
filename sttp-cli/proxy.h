/* Which forward proxy requests go through: that of --proxy, else that of STTP_PROXY, unless
 * STTP_NO_PROXY names the server. */
#ifndef CLI_PROXY_H
#define CLI_PROXY_H

#include "target.h"

/* Reads "sttp://HOST[:PORT]". NULL, or what is wrong with it: static memory. */
const char *cli_proxy_parse(const char *text, cli_server *proxy);

/* Finds the proxy for `server`; its host is empty where there is none. False where the environment
 * cannot be understood, told in *result. */
bool cli_proxy_find(const cli_options *options, const cli_server *server, cli_server *proxy,
                    cli_result *result);

enum { CLI_MAX_ORIGIN = 3 * STTP_MAX_HOST + 32 }; /* a zone may be percent-encoded throughout */

/* Writes "sttp://HOST:PORT", as it stands before the path in a request to a proxy, ended by a zero
 * byte. */
void cli_proxy_origin(const cli_server *server, char origin[CLI_MAX_ORIGIN]);

/* Whether the proxy gave this answer itself: it names the whole target, and the server only the
 * path. */
bool cli_proxy_answered(const sttp_response *response);

#endif
