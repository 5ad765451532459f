/* c-ares: one channel, which is its sockets, its queries and their timeouts. It gets sockets of our
 * own making, so that a server which closes its connection raises no SIGPIPE. */
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "resolve_private.h"

enum { QUERY_TIMEOUT = 2000, QUERY_TRIES = 2, MOST_AT_ONCE = 64 };

#define SECOND UINT64_C(1000000)
/* ---- sockets ---- */

typedef struct sttp__resolver_socket {
    sttp_watch watch;
    sttp__resolver *resolver;
    TAILQ_ENTRY(sttp__resolver_socket) entry;
} resolver_socket;

static resolver_socket *socket_of(sttp__resolver *resolver, int fd)
{
    resolver_socket *found;

    TAILQ_FOREACH(found, &resolver->sockets, entry)
    {
        if (found->watch.fd == fd)
            break;
    }
    return found;
}

static void socket_ready(sttp_watch *watch, unsigned ready)
{
    sttp__resolver *resolver = ((resolver_socket *)watch)->resolver;
    int fd = watch->fd;

    resolver->budget = MOST_AT_ONCE;
    ares_process_fd(resolver->channel, ready & STTP_READABLE ? fd : ARES_SOCKET_BAD,
                    ready & STTP_WRITABLE ? fd : ARES_SOCKET_BAD);
    sttp__channel_used(resolver);
    sttp__names_settle(resolver);
}

static int open_socket(int family, int type, int protocol, void *context)
{
    sttp__resolver *resolver = context;
    const int on = 1;
    resolver_socket *made;
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);

    if (fd < 0)
        return -1;
    made = sttp__allocate(resolver->memory, sizeof *made);
    if (!made) {
        close(fd);
        errno = ENOMEM;
        return -1;
    }
    if (type == SOCK_STREAM)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    *made = (resolver_socket){
        .watch = {.fd = fd, .async = resolver->async, ._ready = socket_ready},
        .resolver = resolver,
    };
    TAILQ_INSERT_HEAD(&resolver->sockets, made, entry);
    return fd;
}

static int close_socket(int fd, void *context)
{
    sttp__resolver *resolver = context;
    resolver_socket *closed = socket_of(resolver, fd);

    sttp__watch_set(&closed->watch, 0);
    TAILQ_REMOVE(&resolver->sockets, closed, entry);
    sttp__release(resolver->memory, closed);
    return close(fd);
}

static int connect_socket(int fd, const struct sockaddr *address, socklen_t size, void *context)
{
    (void)context;
    return connect(fd, address, size);
}

/* c-ares reads a datagram socket until nothing is there. */
static ssize_t receive(int fd, void *bytes, size_t size, int flags, struct sockaddr *from,
                       socklen_t *from_size, void *context)
{
    sttp__resolver *resolver = context;

    if (resolver->budget == 0) {
        errno = EAGAIN;
        return -1;
    }
    resolver->budget--;
    return recvfrom(fd, bytes, size, flags, from, from_size);
}

static ssize_t send_parts(int fd, const struct iovec *parts, int count, void *context)
{
    struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count};

    (void)context;
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

static const struct ares_socket_functions socket_functions = {open_socket, close_socket,
                                                              connect_socket, receive, send_parts};

static void watch_socket(void *context, int fd, int readable, int writable)
{
    sttp__resolver *resolver = context;
    unsigned interest = (readable ? STTP_READABLE : 0) | (writable ? STTP_WRITABLE : 0);
    resolver_socket *watched = socket_of(resolver, fd);

    if (watched && !sttp__watch_set(&watched->watch, interest))
        resolver->broken = true;
}

/* ---- the channel ---- */

static void set_timer(sttp__resolver *resolver)
{
    uint64_t now = sttp__async_now(resolver->async);
    struct timeval buffer;
    struct timeval *left = NULL;

    if (resolver->channel)
        left = ares_timeout(resolver->channel, NULL, &buffer);
    /* c-ares cuts its times to milliseconds. */
    sttp__timer_set(&resolver->channel_timer,
                    left ? now + (uint64_t)left->tv_sec * SECOND + (uint64_t)left->tv_usec + 1000
                         : STTP__NEVER);
}

void sttp__channel_used(sttp__resolver *resolver)
{
    if (resolver->broken)
        sttp__channel_close(resolver);
    set_timer(resolver);
}

void sttp__channel_expired(sttp__timer *timer)
{
    sttp__resolver *resolver =
        (sttp__resolver *)((char *)timer - offsetof(sttp__resolver, channel_timer));

    ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    sttp__channel_used(resolver);
    sttp__names_settle(resolver);
}

static void initialize(void)
{
    ares_library_init(ARES_LIB_INIT_ALL);
}

static int make_channel(sttp__resolver *resolver, ares_channel *channel)
{
    struct ares_options options = {
        .timeout = QUERY_TIMEOUT,
        .tries = QUERY_TRIES,
        .ndots = 1,
        .udp_port = resolver->dns_port,
        .tcp_port = resolver->dns_port,
        .resolvconf_path = resolver->resolv_conf,
        .sock_state_cb = watch_socket,
        .sock_state_cb_data = resolver,
    };
    int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | ARES_OPT_RESOLVCONF;

    if (resolver->dns_port != 0)
        mask |= ARES_OPT_UDP_PORT | ARES_OPT_TCP_PORT;
    if (resolver->dns_servers)
        mask |= ARES_OPT_DOMAINS | ARES_OPT_NDOTS;
    return ares_init_options(channel, &options, mask);
}

static bool set_up(sttp__resolver *resolver, ares_channel channel)
{
    int mask;

    ares_set_socket_functions(channel, &socket_functions, resolver);
    if (resolver->dns_servers &&
        ares_set_servers_ports_csv(channel, resolver->dns_servers) != ARES_SUCCESS)
        return false;
    if (ares_save_options(channel, &resolver->config, &mask) == ARES_SUCCESS)
        return true;
    ares_destroy_options(&resolver->config);
    return false;
}

bool sttp__channel_open(sttp__resolver *resolver)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    ares_channel channel;

    pthread_once(&once, initialize);
    if (make_channel(resolver, &channel) != ARES_SUCCESS)
        return false;
    if (set_up(resolver, channel)) {
        resolver->channel = channel;
        return true;
    }
    ares_destroy(channel);
    return false;
}

void sttp__channel_close(sttp__resolver *resolver)
{
    ares_channel channel = resolver->channel;

    if (!channel)
        return;
    resolver->channel = NULL;
    ares_destroy(channel);
    ares_destroy_options(&resolver->config);
    resolver->broken = false;
    set_timer(resolver);
}

void sttp__channel_renew(sttp__resolver *resolver)
{
    ares_channel old = resolver->channel;
    struct ares_options old_config = resolver->config;

    if (!old)
        return;
    if (!sttp__channel_open(resolver)) {
        resolver->config = old_config;
        memset(&resolver->resolv_stamp, 0, sizeof resolver->resolv_stamp);
        return;
    }
    ares_destroy(old);
    ares_destroy_options(&old_config);
}
