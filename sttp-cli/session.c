#include "session.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "proxy.h"
#include "text.h"

static void show_text(char direction, double milliseconds, sttp_slice line)
{
    fprintf(stderr, "%9.3f ms %c ", milliseconds, direction);
    cli_write_visible(stderr, line);
    putc('\n', stderr);
}

static void show_lines(char direction, double milliseconds, sttp_slice lines)
{
    while (lines.size > 0) {
        const char *end = memchr(lines.data, '\n', lines.size);
        size_t size = end ? (size_t)(end - lines.data) : lines.size;

        show_text(direction, milliseconds, (sttp_slice){lines.data, size});
        size += end != NULL;
        lines.data += size;
        lines.size -= size;
    }
}

static double milliseconds_since(const struct timespec *start)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) * 1e3 +
           (double)(now.tv_nsec - start->tv_nsec) / 1e6;
}

/* --verbose: a line for each event. The trace's own time starts anew with each call; the time since
 * the program began goes on through a batch and through retries. */
static void show_event(void *context, const sttp_trace *trace)
{
    const cli_options *options = context;
    double milliseconds = milliseconds_since(&options->started);
    char text[512];

    switch (trace->kind) {
    case STTP_TRACE_RESOLVING:
        snprintf(text, sizeof text, "resolving %s", trace->address);
        break;
    case STTP_TRACE_RESOLVED:
        snprintf(text, sizeof text, "resolved %s, addresses: %zu", trace->address, trace->count);
        break;
    case STTP_TRACE_CONNECTING:
        snprintf(text, sizeof text, "connecting to %s", trace->address);
        break;
    case STTP_TRACE_CONNECT_FAILED:
        snprintf(text, sizeof text, "no connection to %s: %s", trace->address,
                 strerror(trace->system_errno));
        break;
    case STTP_TRACE_CONNECTED:
        snprintf(text, sizeof text, "connected to %s", trace->address);
        break;
    case STTP_TRACE_SENT:
        show_lines('>', milliseconds, trace->data);
        return;
    case STTP_TRACE_RECEIVED:
        show_lines('<', milliseconds, trace->data);
        return;
    case STTP_TRACE_CLOSED:
        snprintf(text, sizeof text, "closed %s%s%s", trace->address,
                 trace->status == STTP_OK ? "" : ": ",
                 trace->status == STTP_OK ? "" : sttp_status_text(trace->status));
        break;
    }
    show_text('*', milliseconds, cli_slice(text));
}

static const cli_resolve *find_resolve(const cli_options *options, const cli_server *server)
{
    for (size_t i = options->resolve_count; i > 0; i--) {
        if (cli_resolve_matches(&options->resolve[i - 1], server->host, server->port))
            return &options->resolve[i - 1];
    }
    return NULL;
}

/* Collects the addresses of --resolve that -4 and -6 allow; `addresses` has room for all. */
static size_t allowed_addresses(const cli_resolve *resolve, int family, const char **addresses)
{
    size_t count = 0;

    for (size_t i = 0; i < resolve->address_count; i++) {
        int own = strchr(resolve->addresses[i], ':') ? AF_INET6 : AF_INET;

        if (family == AF_UNSPEC || family == own)
            addresses[count++] = resolve->addresses[i];
    }
    return count;
}

static void show_proxy(const cli_options *options, const cli_server *proxy)
{
    char url[CLI_MAX_ORIGIN];
    char text[sizeof url + 16];

    cli_proxy_origin(proxy, url);
    snprintf(text, sizeof text, "through proxy %s", url);
    show_text('*', milliseconds_since(&options->started), cli_slice(text));
}

/* Makes the client that connects to `server`: that of the target, or a proxy, which is then told
 * the `origin`. */
static bool open_client(const cli_options *options, const cli_server *server, const char *origin,
                        sttp_client **client, cli_result *result)
{
    bool local = server->scheme == STTP_SCHEME_UNIX;
    const cli_resolve *resolve = local ? NULL : find_resolve(options, server);
    const char *addresses[CLI_MAX_ADDRESSES];
    sttp_client_options made = {
        .size = sizeof made,
        .host = local ? NULL : server->host,
        .port = server->port,
        .socket_path = local ? server->socket_path : NULL,
        .family = options->family,
        .addresses = addresses,
        .address_count = resolve ? allowed_addresses(resolve, options->family, addresses) : 0,
        .connect_timeout_ms = options->connect_timeout_ms,
        .request_timeout_ms = options->timeout_ms,
        .trace = options->verbose ? show_event : NULL,
        .trace_context = (void *)options,
        .origin = origin,
    };
    sttp_status status;

    if (resolve && made.address_count == 0)
        return cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_ARGUMENT,
                        "--resolve has no IPv%c address for %s; leave out -%c or add one",
                        options->family == AF_INET ? '4' : '6', server->host,
                        options->family == AF_INET ? '4' : '6');
    status = sttp_client_create(&made, client);
    if (status == STTP_OK)
        return true;
    return cli_fail(result, status == STTP_ERR_ARGUMENT ? CLI_EXIT_USAGE : CLI_EXIT_OUTPUT, status,
                    "cannot talk to %s: %s", local ? server->socket_path : server->host,
                    sttp_status_text(status));
}

bool cli_session_open(const cli_options *options, const cli_server *server, sttp_client **client,
                      cli_result *result)
{
    char origin[CLI_MAX_ORIGIN];
    cli_server proxy;

    if (!cli_proxy_find(options, server, &proxy, result))
        return false;
    if (!*proxy.host)
        return open_client(options, server, NULL, client, result);
    if (options->verbose)
        show_proxy(options, &proxy);
    cli_proxy_origin(server, origin);
    return open_client(options, &proxy, origin, client, result);
}
