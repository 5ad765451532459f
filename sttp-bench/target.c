#include "target.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <sttp/url.h>

#include "result.h"
#include "say.h"
#include "values.h"

int target_connect(const bench_target *target)
{
    int fd = socket(target->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0)
        return -1;
    if (target->address.ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (const struct sockaddr *)&target->address, target->size) == 0 ||
        errno == EINPROGRESS)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* 0, or the errno of a connection that was tried and closed again. */
static int try_connecting(const bench_target *target, uint64_t timeout)
{
    int fd = target_connect(target);
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    int error = 0;
    socklen_t size = sizeof error;

    if (fd < 0)
        return errno;
    if (poll(&poll_fd, 1, (int)(timeout / 1000000)) == 0)
        error = ETIMEDOUT;
    else
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    close(fd);
    return error;
}

static int cannot_connect(const bench_target *target, int error)
{
    say_error("cannot connect to %s: %s; is the server running there?", target->name,
              strerror(error));
    return BENCH_EXIT_NO_SERVER;
}

static void name_target(const struct addrinfo *info, bench_target *target)
{
    char host[NI_MAXHOST] = "?", port[NI_MAXSERV] = "?";
    bool ipv6 = info->ai_family == AF_INET6;

    getnameinfo(info->ai_addr, info->ai_addrlen, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(target->name, sizeof target->name, "%s%.120s%s:%s", ipv6 ? "[" : "", host,
             ipv6 ? "]" : "", port);
}

static int find_tcp(const char *host, const char *port, uint64_t timeout, bench_target *target)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *list;
    int error = getaddrinfo(host, port, &hints, &list);

    if (error != 0) {
        say_error("cannot resolve %s: %s", host,
                  error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
        return BENCH_EXIT_NO_SERVER;
    }
    error = ECONNREFUSED;
    for (struct addrinfo *info = list; info && error != 0; info = info->ai_next) {
        memcpy(&target->address, info->ai_addr, info->ai_addrlen);
        target->size = info->ai_addrlen;
        name_target(info, target);
        error = try_connecting(target, timeout);
    }
    freeaddrinfo(list);
    return error == 0 ? BENCH_EXIT_OK : cannot_connect(target, error);
}

static int find_unix(const bench_options *options, bench_target *target)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    memcpy(address.sun_path, options->unix_path, strlen(options->unix_path));
    memcpy(&target->address, &address, sizeof address);
    target->size = sizeof address;
    memcpy(target->name, "unix:", 6);
    say_visible((sttp_slice){options->unix_path, strlen(options->unix_path)}, target->name + 5,
                sizeof target->name - 5);
    int error = try_connecting(target, options->connect_timeout);
    return error == 0 ? BENCH_EXIT_OK : cannot_connect(target, error);
}

/* What stands before each path in a request to a proxy. */
static int write_prefix(const bench_options *options, bench_target *target)
{
    bool ipv6 = strchr(options->address, ':') != NULL;
    char buffer[sizeof target->prefix];
    sttp_url url;
    sttp_status status;
    int size = snprintf(target->prefix, sizeof target->prefix, "sttp://%s%s%s:%u", ipv6 ? "[" : "",
                        options->address, ipv6 ? "]" : "", (unsigned)options->port);

    if (size < 0 || (size_t)size >= sizeof target->prefix)
        status = STTP_ERR_URL_HOST;
    else
        status = sttp_origin_parse((sttp_slice){target->prefix, (size_t)size}, buffer,
                                   sizeof buffer, &url, NULL);
    if (status == STTP_OK)
        return BENCH_EXIT_OK;
    say_error("--address %s: a proxy cannot be asked for it: %s", options->address,
              sttp_status_text(status));
    return BENCH_EXIT_USAGE;
}

/* "HOST:PORT", "[IPV6]:PORT" */
static int find_proxy(const bench_options *options, bench_target *target)
{
    const char *colon = strrchr(options->proxy, ':');
    char host[256];
    uint64_t port;
    size_t size = colon ? (size_t)(colon - options->proxy) : 0;
    bool in_brackets = size > 2 && options->proxy[0] == '[' && colon[-1] == ']';

    if (size == 0 || size >= sizeof host || !value_number(colon + 1, 1, 65535, &port)) {
        say_error("--proxy %s: give HOST:PORT", options->proxy);
        return BENCH_EXIT_USAGE;
    }
    snprintf(host, sizeof host, "%.*s", (int)size - 2 * in_brackets, options->proxy + in_brackets);
    if (write_prefix(options, target) != BENCH_EXIT_OK)
        return BENCH_EXIT_USAGE;
    return find_tcp(host, colon + 1, options->connect_timeout, target);
}

int target_find(const bench_options *options, bench_target *target)
{
    char port[8];

    *target = (bench_target){0};
    if (options->unix_path)
        return find_unix(options, target);
    if (options->proxy)
        return find_proxy(options, target);
    snprintf(port, sizeof port, "%u", (unsigned)options->port);
    return find_tcp(options->address, port, options->connect_timeout, target);
}
