/* What the tests of a running sttp-proxy share: one that is made of settings, without a program
 * around it, and peers that the test plays itself. */
#ifndef STTP_TESTS_PROXY_RUNNING_H
#define STTP_TESTS_PROXY_RUNNING_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <sttp/server.h>

#include "settings_run.h"
#include "sttp-proxy/handler.h"
#include "sttp-proxy/worker.h"

enum { PATIENCE = 10 /* seconds */ };

static struct {
    struct proxy_options options;
    log_sink log;
    struct proxy proxy;
    sttp_server *server;
} running = {.log = {.fd = -1, .mutex = PTHREAD_MUTEX_INITIALIZER}};

/* The settings of a format like printf's. */
__attribute__((format(printf, 1, 2))) static void set_up(const char *format, ...)
{
    char text[4096];
    char *const none[] = {NULL};
    struct said said;
    va_list values;

    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    fails_at = 0;
    load(&proxy_program, &running.options, &said, text, none);
    ck_assert_msg(said.status == 0, "%s", said.text);
    free(said.text);
    if (running.log.fd < 0)
        running.log.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
}

static inline void start(void)
{
    sttp_server_options options = {.size = sizeof options,
                                   .handler = handler_handle,
                                   .handler_context = &running.proxy,
                                   .proxy = true,
                                   .worker_begin = worker_begin,
                                   .worker_end = worker_end,
                                   .workers = 1};

    ck_assert(proxy_init(&running.proxy, &running.options, &running.log));
    ck_assert_int_eq(sttp_server_create(&options, &running.server), STTP_OK);
    ck_assert_int_eq(sttp_server_listen(running.server, "127.0.0.1:0"), STTP_OK);
    ck_assert_int_eq(sttp_server_start(running.server), STTP_OK);
}

/* What is under way is cut off. */
static inline void stop(void)
{
    sttp_server_stop(running.server, 0);
    sttp_server_wait(running.server);
    sttp_server_destroy(running.server);
}

static void release(void)
{
    proxy_release(&running.proxy);
    settings_release(&proxy_program, &running.options);
}

static inline unsigned long long counted(enum proxy_count count)
{
    return atomic_load(&running.proxy.counts[count]);
}

/* ---- peers ---- */

static inline int patient(int fd)
{
    const struct timeval patience = {.tv_sec = PATIENCE};

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    return fd;
}

/* A listener of `family` on loopback; *port is its. */
static inline int listener_on(int family, int backlog, unsigned *port)
{
    union {
        struct sockaddr any;
        struct sockaddr_in ipv4;
        struct sockaddr_in6 ipv6;
    } address = {.any.sa_family = (sa_family_t)family};
    socklen_t size = family == AF_INET ? sizeof address.ipv4 : sizeof address.ipv6;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (family == AF_INET)
        address.ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        address.ipv6.sin6_addr = in6addr_loopback;
    ck_assert_int_eq(bind(fd, &address.any, size), 0);
    ck_assert_int_eq(listen(fd, backlog), 0);
    ck_assert_int_eq(getsockname(fd, &address.any, &size), 0);
    *port = ntohs(family == AF_INET ? address.ipv4.sin_port : address.ipv6.sin6_port);
    return patient(fd);
}

static inline int accept_one(int listener)
{
    return patient(accept(listener, NULL, NULL));
}

static inline int connect_client(void)
{
    const char *text = strrchr(sttp_server_address(running.server, 0), ':') + 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)strtoul(text, NULL, 10)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = patient(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));

    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static inline void say(int fd, const char *bytes)
{
    ck_assert_int_eq(send(fd, bytes, strlen(bytes), MSG_NOSIGNAL), (ssize_t)strlen(bytes));
}

/* The next bytes are these. */
static inline void hear(int fd, const char *bytes)
{
    char heard[4096] = "";
    size_t size = strlen(bytes);

    ck_assert_int_ge(recv(fd, heard, size, MSG_WAITALL), 0);
    ck_assert_str_eq(heard, bytes);
}

static inline void hear_end(int fd)
{
    char byte;

    ck_assert_int_eq(recv(fd, &byte, 1, 0), 0);
    close(fd);
}

#endif
