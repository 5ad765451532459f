#include "target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sttp/serializer.h>

#include "text.h"

static const char begins_with[] = "a URL begins with sttp:// or sttp+unix:, a path with /";

/* A scheme stands before the first slash; a path begins with one. */
static bool is_url(sttp_slice text)
{
    for (size_t i = 0; i < text.size && text.data[i] != '/'; i++) {
        if (text.data[i] == ':')
            return true;
    }
    return false;
}

static bool parse_url(sttp_slice text, cli_target *target, cli_result *result)
{
    char excerpt[CLI_EXCERPT];
    size_t offset = 0;
    sttp_status status;

    target->from_url = true;
    target->storage = malloc(text.size + 1);
    if (!target->storage)
        return cli_fail(result, CLI_EXIT_OUTPUT, STTP_ERR_MEMORY, "out of memory");
    status = sttp_url_parse(text, target->storage, text.size, &target->url, &offset);
    if (status == STTP_ERR_URL_SCHEME)
        return cli_fail(result, CLI_EXIT_URL, status, "%s: %s", cli_excerpt(text, excerpt),
                        begins_with);
    if (status != STTP_OK)
        return cli_fail(result, CLI_EXIT_URL, status, "%s: %s (byte %zu)",
                        cli_excerpt(text, excerpt), sttp_status_text(status), offset + 1);
    if (target->url.scheme == STTP_SCHEME_STTPS)
        return cli_fail(result, CLI_EXIT_URL, STTP_ERR_URL_SCHEME,
                        "%s: this build has no TLS, so sttps:// cannot be used; sttp:// is the "
                        "same without encryption",
                        cli_excerpt(text, excerpt));
    return true;
}

bool cli_target_parse(sttp_slice text, cli_target *target, cli_result *result)
{
    const char *mark;

    *target = (cli_target){0};
    result->path = text;
    if (is_url(text)) {
        if (!parse_url(text, target, result))
            return false;
        result->path = target->url.path;
        return true;
    }
    target->url.path = text;
    mark = memchr(text.data, '?', text.size);
    if (mark) {
        target->url.path.size = (size_t)(mark - text.data);
        target->url.query = (sttp_slice){mark + 1, text.size - target->url.path.size - 1};
    }
    result->path = target->url.path;
    return true;
}

void cli_target_destroy(cli_target *target)
{
    free(target->storage);
}

bool cli_target_check(const cli_target *target, sttp_action action, cli_result *result)
{
    bool takes = action == STTP_ACTION_CREATE || action == STTP_ACTION_UPDATE;
    sttp_request request = {.action = action,
                            .path = target->url.path,
                            .query = target->url.query,
                            .contents = takes ? STTP_SLICE("") : (sttp_slice){0}};
    char line[STTP_MAX_REQUEST_LINE];
    char text[STTP_MAX_MESSAGE + 1];
    char excerpt[CLI_EXCERPT];
    sttp_problem problem = {0};
    size_t prefix = strlen(sttp_action_name(action)) + 1; /* a person counts from the path on */
    size_t size;
    sttp_status status = sttp_serialize_request(&request, line, sizeof line, &size, &problem);

    if (status == STTP_OK)
        return true;
    if (status == STTP_ERR_FILENAME_TOO_LONG)
        return cli_fail(
            result, CLI_EXIT_FILENAME_TOO_LONG, status,
            "310 %s FILENAME TOO LONG: %zu characters, %zu over the limit of %d; nothing "
            "was sent",
            cli_excerpt(target->url.path, excerpt), problem.length,
            problem.length - STTP_MAX_FILENAME_CHARS, STTP_MAX_FILENAME_CHARS);
    problem.offset -= problem.offset < prefix ? problem.offset : prefix;
    if (status == STTP_ERR_PATH_RELATIVE) /* perhaps a URL was meant */
        snprintf(text, sizeof text, "%s", begins_with);
    else
        sttp_explain(&problem, text, sizeof text);
    return cli_fail(result, target->from_url ? CLI_EXIT_URL : CLI_EXIT_USAGE, status, "%s: %s",
                    cli_excerpt(target->url.path, excerpt), text);
}

static void copy_slice(sttp_slice from, char *to, size_t capacity)
{
    size_t size = from.size < capacity ? from.size : capacity - 1;

    if (size > 0)
        memcpy(to, from.data, size);
    to[size] = '\0';
}

void cli_server_from_url(const sttp_url *url, cli_server *server)
{
    server->scheme = url->scheme;
    server->port = url->port;
    copy_slice(url->host, server->host, sizeof server->host);
    copy_slice(url->socket, server->socket_path, sizeof server->socket_path);
}

/* Writes the server as a URL, so that one parser judges hosts wherever they come from. An IPv6
 * address may be given without its brackets, and then its zone behind a plain "%". */
static int write_server_url(const char *host, unsigned port, char *text, size_t capacity)
{
    const char *colon = strchr(host, ':');
    size_t size = strcspn(host, "%");

    if (*host == '[' || !colon || !strchr(colon + 1, ':'))
        return snprintf(text, capacity, "sttp://%s:%u/", host, port);
    return snprintf(text, capacity, "sttp://[%.*s%s%s]:%u/", (int)size, host,
                    host[size] ? "%25" : "", host[size] ? host + size + 1 : "", port);
}

static bool server_from_socket(const char *path, cli_server *server, cli_result *result)
{
    size_t size = strlen(path);

    if (size == 0 || size > STTP_MAX_SOCKET_PATH)
        return cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_URL_SOCKET,
                        "--unix: the path of a socket has 1 to %d bytes, this one %zu",
                        STTP_MAX_SOCKET_PATH, size);
    *server = (cli_server){.scheme = STTP_SCHEME_UNIX};
    memcpy(server->socket_path, path, size);
    return true;
}

bool cli_server_from_options(const cli_options *options, cli_server *server, cli_result *result)
{
    const char *host = options->address ? options->address : "localhost";
    unsigned port = options->port ? options->port : STTP_DEFAULT_PORT;
    char text[STTP_MAX_HOST + 64];
    char buffer[sizeof text];
    char excerpt[CLI_EXCERPT];
    sttp_url url;
    int size;
    sttp_status status = STTP_ERR_URL_HOST;

    if (options->socket_path)
        return server_from_socket(options->socket_path, server, result);
    if (strpbrk(host, "/?#@"))
        return cli_fail(result, CLI_EXIT_USAGE, status,
                        "--address %s: give a name or an address alone; a URL goes where the path "
                        "stands",
                        cli_excerpt(cli_slice(host), excerpt));
    size = write_server_url(host, port, text, sizeof text);
    if (size > 0 && (size_t)size < sizeof text)
        status =
            sttp_url_parse((sttp_slice){text, (size_t)size}, buffer, sizeof buffer, &url, NULL);
    if (status != STTP_OK)
        return cli_fail(result, CLI_EXIT_USAGE, status,
                        "--address %s: %s; give a name or an address alone, a port goes to --port",
                        cli_excerpt(cli_slice(host), excerpt), sttp_status_text(status));
    cli_server_from_url(&url, server);
    return true;
}

bool cli_server_is(const cli_server *server, const sttp_url *url)
{
    sttp_url own = {.scheme = server->scheme,
                    .host = cli_slice(server->host),
                    .port = server->port,
                    .socket = cli_slice(server->socket_path),
                    .path = STTP_SLICE("/")};
    sttp_url other = *url;

    other.path = own.path;
    other.query = (sttp_slice){0};
    return sttp_url_equal(&own, &other);
}
