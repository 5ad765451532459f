/* Sockets to listen on.
 *
 * TCP: one socket for each worker, all on one port by SO_REUSEPORT, so that the kernel spreads the
 * connections and no worker waits for another. The first of them is bound and listens without that
 * option, which then fails if anybody listens there already, another server of the same user
 * included, even one that starts at the same moment; the option is set on it only afterwards, for
 * the others to join.
 *
 * Unix: one socket for all workers, each with its own descriptor of it. A file beside the path,
 * PATH.lock, is locked from before the path is looked at until the socket is gone: of two servers
 * that find a stale socket there, or a bound one that does not listen yet, only one can take it. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine.h"
#include "memory.h"

#define UNIX_PREFIX "unix:"
#define LOCK_SUFFIX ".lock"

static bool is_unix(const char *address)
{
    return strncmp(address, UNIX_PREFIX, sizeof UNIX_PREFIX - 1) == 0;
}

/* What bind, listen and their like have failed with. */
static sttp_status status_of(int error)
{
    if (error == EADDRINUSE)
        return STTP_ERR_ADDRESS_IN_USE;
    if (error == EADDRNOTAVAIL)
        return STTP_ERR_ADDRESS;
    return error == ENOMEM ? STTP_ERR_MEMORY : STTP_ERR_SYSTEM;
}

static int set_option(int fd, int level, int option)
{
    int one = 1;
    return setsockopt(fd, level, option, &one, sizeof one);
}

/* ---- TCP ---- */

/* TCP_NODELAY passes on to the connections: an answer is written whole, waiting gains nothing. */
static int prepare_tcp(int fd, int family)
{
    if (set_option(fd, SOL_SOCKET, SO_REUSEADDR) != 0 ||
        set_option(fd, IPPROTO_TCP, TCP_NODELAY) != 0)
        return -1;
    return family == AF_INET6 ? set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY) : 0;
}

static int listen_tcp(int fd, const struct sockaddr_storage *address, socklen_t size,
                      unsigned backlog, bool first)
{
    if (prepare_tcp(fd, address->ss_family) != 0)
        return -1;
    if (!first && set_option(fd, SOL_SOCKET, SO_REUSEPORT) != 0)
        return -1;
    if (bind(fd, (const struct sockaddr *)address, size) != 0 || listen(fd, (int)backlog) != 0)
        return -1;
    return first ? set_option(fd, SOL_SOCKET, SO_REUSEPORT) : 0;
}

/* The first socket of an address with port 0 decides the port for the others. */
static sttp_status open_tcp(sttp_server *server, struct sttp__listener *listener,
                            struct sockaddr_storage *address, socklen_t size)
{
    for (unsigned i = 0; i < server->options.workers; i++) {
        int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
            return status_of(errno);
        listener->sockets[i] = fd;
        if (listen_tcp(fd, address, size, server->options.backlog, i == 0) != 0 ||
            getsockname(fd, (struct sockaddr *)address, &size) != 0)
            return status_of(errno);
    }
    return STTP_OK;
}

/* ---- Unix sockets ---- */

static bool is_file(const char *path, const struct stat *file)
{
    struct stat there;
    return lstat(path, &there) == 0 && there.st_dev == file->st_dev && there.st_ino == file->st_ino;
}

/* Who has the file locked removes it before the lock is given up; so a lock that was waited for may
 * be one of a file that is gone. -1 with errno set: EADDRINUSE where another has the lock. */
static int lock_file(const char *path)
{
    for (;;) {
        struct stat file;
        int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
        if (fd < 0)
            return -1;
        int error = flock(fd, LOCK_EX | LOCK_NB) != 0 || fstat(fd, &file) != 0 ? errno : 0;
        if (error == 0 && is_file(path, &file))
            return fd;
        close(fd);
        if (error != 0) {
            errno = error == EWOULDBLOCK ? EADDRINUSE : error;
            return -1;
        }
    }
}

/* Whether `address` is a socket file that nobody listens on any more. */
static bool is_stale(const struct sockaddr_un *address)
{
    struct stat file;
    if (lstat(address->sun_path, &file) != 0 || !S_ISSOCK(file.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool stale = connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 &&
                 errno == ECONNREFUSED;
    close(fd);
    return stale;
}

static int bind_unix(int fd, const struct sockaddr_un *address)
{
    if (bind(fd, (const struct sockaddr *)address, sizeof *address) == 0)
        return 0;
    if (errno != EADDRINUSE)
        return -1;
    if (!is_stale(address)) {
        errno = EADDRINUSE;
        return -1;
    }
    if (unlink(address->sun_path) != 0)
        return -1;
    return bind(fd, (const struct sockaddr *)address, sizeof *address);
}

static sttp_status open_unix(sttp_server *server, struct sttp__listener *listener, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = strlen(path) + 1;
    if (path[0] != '/' || size > sizeof address.sun_path)
        return STTP_ERR_ADDRESS;
    memcpy(address.sun_path, path, size);
    listener->lock = lock_file(listener->lock_path);
    if (listener->lock < 0)
        return status_of(errno);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return status_of(errno);
    listener->sockets[0] = fd;
    if (bind_unix(fd, &address) != 0)
        return status_of(errno);
    listener->path = listener->address + sizeof UNIX_PREFIX - 1;
    if (lstat(path, &listener->file) != 0 || listen(fd, (int)server->options.backlog) != 0)
        return status_of(errno);
    for (unsigned i = 1; i < server->options.workers; i++) {
        listener->sockets[i] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (listener->sockets[i] < 0)
            return status_of(errno);
    }
    return STTP_OK;
}

/* Each only while it is still the one that this server has made. */
static void remove_files(const struct sttp__listener *listener)
{
    struct stat lock;
    if (listener->path != NULL && is_file(listener->path, &listener->file))
        unlink(listener->path);
    if (listener->lock < 0)
        return;
    if (fstat(listener->lock, &lock) == 0 && is_file(listener->lock_path, &lock))
        unlink(listener->lock_path);
    close(listener->lock);
}

/* ---- life ---- */

static struct sttp__listener *allocate_listener(sttp_server *server, size_t text_size)
{
    const sttp_allocator *allocator = &server->allocator;
    struct sttp__listener *listener = sttp__allocate(allocator, sizeof *listener);
    if (listener == NULL)
        return NULL;
    *listener = (struct sttp__listener){.lock = -1};
    listener->address = sttp__allocate(allocator, text_size);
    listener->lock_path = sttp__allocate(allocator, text_size + sizeof LOCK_SUFFIX);
    listener->sockets = sttp__allocate(allocator, server->options.workers * sizeof(int));
    for (unsigned i = 0; listener->sockets != NULL && i < server->options.workers; i++)
        listener->sockets[i] = -1;
    if (listener->address != NULL && listener->lock_path != NULL && listener->sockets != NULL)
        return listener;
    sttp__listener_destroy(server, listener);
    return NULL;
}

static sttp_status open_listener(sttp_server *server, struct sttp__listener *listener,
                                 const char *text)
{
    size_t prefix = sizeof UNIX_PREFIX - 1;
    if (is_unix(text)) {
        memcpy(listener->address, text, strlen(text) + 1);
        sprintf(listener->lock_path, "%s" LOCK_SUFFIX, text + prefix);
        return open_unix(server, listener, text + prefix);
    }
    struct sockaddr_storage address;
    socklen_t size;
    sttp_status status = sttp__address_parse(text, &address, &size);
    if (status == STTP_OK)
        status = open_tcp(server, listener, &address, size);
    if (status == STTP_OK) {
        struct sttp__address real = sttp__address_of(&address);
        sttp__address_format(&real, listener->address);
    }
    return status;
}

static sttp_status copy_trusted(sttp_server *server, struct sttp__listener *listener,
                                const sttp_listener_options *options)
{
    listener->proxy_protocol = options->proxy_protocol;
    if (options->trusted_count == 0)
        return STTP_OK;
    if (options->trusted_count > SIZE_MAX / sizeof *options->trusted)
        return STTP_ERR_MEMORY;
    size_t size = options->trusted_count * sizeof *options->trusted;
    listener->trusted = sttp__allocate(&server->allocator, size);
    if (listener->trusted == NULL)
        return STTP_ERR_MEMORY;
    memcpy(listener->trusted, options->trusted, size);
    listener->trusted_count = options->trusted_count;
    return STTP_OK;
}

/* Nobody trusted is a mistake, and so is trust in those who are not asked. */
static bool is_consistent(const sttp_listener_options *options)
{
    return is_unix(options->address) || options->proxy_protocol == (options->trusted_count > 0);
}

sttp_status sttp__listener_create(sttp_server *server, const sttp_listener_options *options,
                                  struct sttp__listener **listener)
{
    *listener = NULL;
    if (!is_consistent(options))
        return STTP_ERR_ARGUMENT;
    size_t text_size = strlen(options->address) + 1;
    if (text_size < STTP__ADDRESS_TEXT)
        text_size = STTP__ADDRESS_TEXT;
    *listener = allocate_listener(server, text_size);
    if (*listener == NULL)
        return STTP_ERR_MEMORY;
    sttp_status status = copy_trusted(server, *listener, options);
    if (status == STTP_OK)
        status = open_listener(server, *listener, options->address);
    if (status != STTP_OK) {
        int error = errno;
        sttp__listener_destroy(server, *listener);
        errno = error;
        *listener = NULL;
    }
    return status;
}

void sttp__listener_destroy(sttp_server *server, struct sttp__listener *listener)
{
    for (unsigned i = 0; listener->sockets != NULL && i < server->options.workers; i++)
        if (listener->sockets[i] >= 0)
            close(listener->sockets[i]);
    remove_files(listener);
    sttp__release(&server->allocator, listener->trusted);
    sttp__release(&server->allocator, listener->sockets);
    sttp__release(&server->allocator, listener->lock_path);
    sttp__release(&server->allocator, listener->address);
    sttp__release(&server->allocator, listener);
}
