#include "proxy.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include <sttp/network.h>

#include "text.h"
#include "values.h"

enum { PROXY_PORT = 3128 };

/* Whether a port stands behind the host of an origin that is in order. */
static bool has_port(const char *origin)
{
    const char *colon = strrchr(origin, ':');

    return colon[1] != '/' && !strchr(colon, ']');
}

const char *cli_proxy_parse(const char *text, cli_server *proxy)
{
    char buffer[CLI_MAX_ORIGIN];
    sttp_url url;
    sttp_status status = sttp_origin_parse(cli_slice(text), buffer, sizeof buffer, &url, NULL);

    if (status == STTP_ERR_URL_SCHEME)
        return "the URL of a proxy begins with sttp://";
    if (status == STTP_ERR_URL_PATH)
        return "the URL of a proxy ends with its host or port";
    if (status == STTP_ERR_BUFFER)
        status = STTP_ERR_URL_HOST; /* none is so long */
    if (status != STTP_OK)
        return sttp_status_text(status);
    if (url.scheme == STTP_SCHEME_STTPS)
        return "this build has no TLS, so sttps:// cannot be used";
    cli_server_from_url(&url, proxy);
    if (!has_port(text))
        proxy->port = PROXY_PORT;
    return NULL;
}

void cli_proxy_origin(const cli_server *server, char origin[CLI_MAX_ORIGIN])
{
    const sttp_url url = {.scheme = server->scheme,
                          .host = cli_slice(server->host),
                          .port = server->port,
                          .path = STTP_SLICE("/")};
    size_t size = 0;

    /* The host was read by the library, and is short enough. */
    sttp_url_build(&url, origin, CLI_MAX_ORIGIN, &size);
    origin[--size] = '\0';
    if (server->port == STTP_DEFAULT_PORT)
        snprintf(origin + size, CLI_MAX_ORIGIN - size, ":%d", STTP_DEFAULT_PORT);
}

bool cli_proxy_answered(const sttp_response *response)
{
    return response->echo.data[0] != '/' && response->echo.data[0] != '-';
}

/* One item of STTP_NO_PROXY, taken apart. */
typedef struct exception {
    char pattern[STTP_MAX_HOST + 8];
    unsigned port; /* 0: any */
    sttp_network network;
    bool is_network;
} exception;

/* Cuts ":PORT" off, which may follow a name, brackets, or what has no other colon. */
static bool take_port(exception *e)
{
    char *colon = strchr(*e->pattern == '[' ? strchrnul(e->pattern, ']') : e->pattern, ':');

    if (!colon || (*e->pattern != '[' && strchr(colon + 1, ':')))
        return true;
    *colon = '\0';
    return cli_parse_number(colon + 1, 1, UINT16_MAX, &e->port);
}

/* A name that a URL may have, maybe with "*." or "." before it. */
static bool is_name(const char *pattern)
{
    char text[sizeof((exception *)0)->pattern + 8];
    char buffer[sizeof text];
    sttp_url url;

    pattern += *pattern == '*' && pattern[1] == '.';
    pattern += *pattern == '.';
    snprintf(text, sizeof text, "sttp://%s", pattern);
    return sttp_origin_parse(cli_slice(text), buffer, sizeof buffer, &url, NULL) == STTP_OK;
}

static bool read_exception(sttp_slice item, exception *e)
{
    *e = (exception){0};
    if (item.size >= sizeof e->pattern || memchr(item.data, '\0', item.size))
        return false;
    memcpy(e->pattern, item.data, item.size);
    if (!take_port(e))
        return false;
    e->is_network = sttp_network_parse(cli_slice(e->pattern), &e->network) == STTP_OK;
    return e->is_network || strcmp(e->pattern, "*") == 0 ||
           (!strpbrk(e->pattern, "/[]:") && is_name(e->pattern));
}

static bool is_in(const sttp_network *network, const char *host)
{
    struct sockaddr_in ipv4 = {.sin_family = AF_INET};
    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6};
    char text[STTP_MAX_HOST + 1];

    snprintf(text, sizeof text, "%.*s", (int)strcspn(host, "%"), host);
    if (inet_pton(AF_INET, text, &ipv4.sin_addr) == 1)
        return sttp_network_contains(network, (const struct sockaddr *)&ipv4);
    return inet_pton(AF_INET6, text, &ipv6.sin6_addr) == 1 &&
           sttp_network_contains(network, (const struct sockaddr *)&ipv6);
}

/* The size of a name without the dot that may end it. */
static size_t name_size(const char *name)
{
    size_t size = strlen(name);

    return size > 1 && name[size - 1] == '.' ? size - 1 : size;
}

static bool matches_name(const char *pattern, const char *host)
{
    size_t host_size = name_size(host);
    size_t size;

    pattern += *pattern == '*';
    size = name_size(pattern);
    if (*pattern != '.')
        return host_size == size && strncasecmp(host, pattern, size) == 0;
    return host_size > size && strncasecmp(host + host_size - size, pattern, size) == 0;
}

static bool matches(const exception *e, const cli_server *server)
{
    if (e->port != 0 && e->port != server->port)
        return false;
    if (e->is_network)
        return is_in(&e->network, server->host);
    return strcmp(e->pattern, "*") == 0 || matches_name(e->pattern, server->host);
}

/* Takes the next item off a list. */
static sttp_slice next_item(const char **list)
{
    const char *start = *list + strspn(*list, ", \t");
    size_t size = strcspn(start, ", \t");

    *list = start + size;
    return (sttp_slice){start, size};
}

/* Every item is read, so that a mistake is told whatever the server is: one that is passed over
 * would lead to the proxy what is not meant for it. */
static bool is_exempt(const char *list, const cli_server *server, bool *exempt, cli_result *result)
{
    char excerpt[CLI_EXCERPT];
    sttp_slice item;
    exception e;

    *exempt = false;
    while ((item = next_item(&list)).size > 0) {
        if (!read_exception(item, &e))
            return cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_ARGUMENT,
                            "STTP_NO_PROXY: %s is no name, .suffix, address, range or *, each "
                            "maybe with :PORT",
                            cli_excerpt(item, excerpt));
        *exempt = *exempt || matches(&e, server);
    }
    return true;
}

bool cli_proxy_find(const cli_options *options, const cli_server *server, cli_server *proxy,
                    cli_result *result)
{
    const char *text = options->proxy ? options->proxy : getenv("STTP_PROXY");
    const char *list = options->proxy ? NULL : getenv("STTP_NO_PROXY");
    const char *mistake;
    char excerpt[CLI_EXCERPT];
    bool exempt = false;

    *proxy = (cli_server){0};
    if (!text || !*text || server->scheme == STTP_SCHEME_UNIX)
        return true;
    if (list && !is_exempt(list, server, &exempt, result))
        return false;
    if (exempt)
        return true;
    mistake = cli_proxy_parse(text, proxy);
    return !mistake || cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_ARGUMENT, "%s %s: %s",
                                options->proxy ? "--proxy" : "STTP_PROXY",
                                cli_excerpt(cli_slice(text), excerpt), mistake);
}
