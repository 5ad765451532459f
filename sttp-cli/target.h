/* Where a request goes and what it names: a URL, or a bare path on the server that the options
 * name. */
#ifndef CLI_TARGET_H
#define CLI_TARGET_H

#include <sttp/url.h>

#include "options.h"
#include "result.h"

/* The server of a connection. `host` is empty for a Unix socket, `socket_path` for all else. */
typedef struct cli_server {
    sttp_scheme scheme;
    char host[STTP_MAX_HOST + 1];
    uint16_t port;
    char socket_path[STTP_MAX_SOCKET_PATH + 1];
} cli_server;

typedef struct cli_target {
    bool from_url;
    sttp_url url;  /* of a bare path only `path` and `query` are set */
    char *storage; /* owned; what the slices of a URL point into */
} cli_target;

/* Reads a URL or a path; the slices of a path point into `text`. False where it is a URL that
 * cannot be used, told in *result; `target` may be destroyed in both cases. */
bool cli_target_parse(sttp_slice text, cli_target *target, cli_result *result);
void cli_target_destroy(cli_target *target);

/* Whether `action` can name the target: all rules of a request but those of its contents. */
bool cli_target_check(const cli_target *target, sttp_action action, cli_result *result);

/* The server that --address and --port or --unix name. */
bool cli_server_from_options(const cli_options *options, cli_server *server, cli_result *result);
void cli_server_from_url(const sttp_url *url, cli_server *server);

/* Whether `url` names this server. */
bool cli_server_is(const cli_server *server, const sttp_url *url);

#endif
