#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <sttp/server.h>

#include "sttpd/redis_private.h"

enum { PATIENCE = 1000, GREETING = 4096 };

/* ---- addresses ---- */

static void set_unix(struct redis_address *address, const char *path)
{
    struct sockaddr_un *name = (struct sockaddr_un *)&address->name;

    name->sun_family = AF_UNIX;
    memcpy(name->sun_path, path, strlen(path) + 1);
    address->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
}

/* The text has been checked: it is one of the forms in redis.h, but may be of no address. */
static bool set_address(struct redis_address *address, const char *text)
{
    struct sockaddr_in *ipv4 = (struct sockaddr_in *)&address->name;
    struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)&address->name;
    bool in_brackets = text[0] == '[';
    char host[128];

    *address = (struct redis_address){0};
    if (strncmp(text, "unix:", 5) == 0) {
        set_unix(address, text + 5);
        return true;
    }
    const char *colon = strrchr(text, ':');
    size_t size = (size_t)(colon - text) - 2 * (size_t)in_brackets;
    if (size >= sizeof host)
        return false;
    memcpy(host, text + in_brackets, size);
    host[size] = '\0';
    in_port_t port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    if (in_brackets) {
        ipv6->sin6_family = AF_INET6;
        ipv6->sin6_port = port;
        address->size = sizeof *ipv6;
        return inet_pton(AF_INET6, host, &ipv6->sin6_addr) == 1;
    }
    ipv4->sin_family = AF_INET;
    ipv4->sin_port = port;
    address->size = sizeof *ipv4;
    return inet_pton(AF_INET, host, &ipv4->sin_addr) == 1;
}

int redis_connect(const redis *client)
{
    const struct redis_address *address = &client->address;
    int family = address->name.ss_family, on = 1;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd == -1)
        return -1;
    if (family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (const struct sockaddr *)&address->name, address->size) == 0 ||
        errno == EINPROGRESS)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* ---- what the log is told ---- */

void redis_tell_away(redis *client, const char *reason)
{
    if (!atomic_exchange(&client->is_away, true))
        log_write(client->settings.log, LOG_LEVEL_WARNING,
                  "Redis at %s: %s; the storage is asked instead until it is back",
                  client->settings.address, reason);
}

void redis_tell_refusal(redis *client, sttp_slice text)
{
    if (!atomic_exchange(&client->is_refusing, true))
        log_write(client->settings.log, LOG_LEVEL_WARNING,
                  "Redis at %s refuses, now and perhaps again: %.*s", client->settings.address,
                  (int)text.size, text.data);
}

void redis_tell_back(redis *client)
{
    atomic_store(&client->is_refusing, false);
    if (atomic_exchange(&client->is_away, false))
        log_write(client->settings.log, LOG_LEVEL_INFO, "Redis at %s: connected again",
                  client->settings.address);
}

/* ---- the first talk ---- */

/* Waits until the socket is ready; false where that takes until `until`. */
static bool wait_for(int fd, short events, uint64_t until)
{
    struct pollfd waited = {.fd = fd, .events = events};
    uint64_t now = sttp_server_now();

    return now < until && poll(&waited, 1, (int)(until - now)) == 1;
}

static int connection_error(int fd)
{
    int error = 0;
    socklen_t size = sizeof error;

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

/* The next reply. Nothing where none comes in time, or the connection ends: `gone` says so. */
static redis_found await_reply(int fd, struct redis_input *input, uint64_t until)
{
    char bytes[GREETING];
    redis_found found;

    while ((found = redis_input_read(input)) == REDIS_NO_MORE) {
        if (!wait_for(fd, POLLIN, until))
            return REDIS_NO_MORE;
        ssize_t got = recv(fd, bytes, sizeof bytes, 0);
        if (got <= 0)
            return REDIS_NO_MORE;
        if (!redis_input_feed(input, bytes, (size_t)got))
            return REDIS_GARBAGE;
    }
    return found;
}

/* Refusals that end by themselves, or when somebody mends that Redis. */
static bool is_passing(sttp_slice refusal)
{
    static const char *const words[] = {"LOADING",     "BUSY",    "MASTERDOWN",
                                        "CLUSTERDOWN", "MISCONF", "ERR max number of clients"};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (refusal.size >= strlen(words[i]) &&
            memcmp(refusal.data, words[i], strlen(words[i])) == 0)
            return true;
    return false;
}

/* What is wrong with whom we talk to, for ever; NULL where nothing is, or that cannot be said. */
static const char *judge(redis_found found, const struct redis_reply *reply, enum redis_kind kind)
{
    if (found == REDIS_NO_MORE)
        return NULL;
    if (found == REDIS_GARBAGE)
        return "it is no Redis server; see cache.redis.address";
    if (reply->kind == REDIS_REFUSAL && is_passing(reply->text))
        return NULL;
    if (reply->kind == REDIS_REFUSAL)
        return "it lets nobody in without a password, or refuses GET: sttpd needs a Redis, not of "
               "a "
               "cluster, that asks for none";
    if (reply->kind != kind && reply->kind != REDIS_NOTHING)
        return "it is no Redis server; see cache.redis.address";
    return NULL;
}

/* Says what was answered, too: it is an operator who reads it. */
static void tell_wrong(const redis *client, const char *what, const struct redis_reply *reply)
{
    bool is_told = reply->kind == REDIS_REFUSAL;

    log_write(client->settings.log, LOG_LEVEL_ERROR, "Redis at %s: %s%s%.*s%s",
              client->settings.address, what, is_told ? " (it says: " : "",
              is_told ? (int)reply->text.size : 0, reply->text.data, is_told ? ")" : "");
}

static bool greet(const redis *client, int fd, struct redis_input *input, uint64_t until)
{
    static const enum redis_kind kinds[] = {REDIS_STATUS, REDIS_VALUE};
    const char *key = client->settings.prefix; /* we may be let in for no others than such */
    char ask[REDIS_MAX_PREFIX + 64];
    int size = snprintf(ask, sizeof ask, "*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n",
                        strlen(key), key);

    if (send(fd, ask, (size_t)size, MSG_NOSIGNAL) != size)
        return true;
    for (int i = 0; i < 2; i++) {
        redis_found found = await_reply(fd, input, until);
        const char *wrong = judge(found, &input->reply, kinds[i]);
        if (wrong != NULL) {
            tell_wrong(client, wrong, &input->reply);
            return false;
        }
        if (found == REDIS_NO_MORE)
            log_write(client->settings.log, LOG_LEVEL_WARNING,
                      "Redis at %s does not answer; the storage is asked until it does",
                      client->settings.address);
        if (found == REDIS_NO_MORE)
            return true;
    }
    return true;
}

/* Whether there is, or may be later, a Redis that we can use. */
static bool look(const redis *client)
{
    uint64_t until = sttp_server_now() + PATIENCE;
    struct redis_input input;
    int fd = redis_connect(client);
    bool is_good = true;

    errno = fd == -1 ? errno : wait_for(fd, POLLOUT, until) ? connection_error(fd) : ETIMEDOUT;
    if (errno != 0)
        log_write(client->settings.log, LOG_LEVEL_WARNING,
                  "Redis at %s: cannot connect: %m; the storage is asked until it is there",
                  client->settings.address);
    else if (redis_input_open(&input)) {
        is_good = greet(client, fd, &input, until);
        redis_input_close(&input);
    }
    if (fd != -1)
        close(fd);
    return is_good;
}

/* ---- life ---- */

redis *redis_create(const struct redis_settings *settings)
{
    redis *client = calloc(1, sizeof *client);
    bool is_good = client != NULL;

    if (client == NULL) {
        log_write(settings->log, LOG_LEVEL_ERROR, "out of memory");
        return NULL;
    }
    client->settings = *settings;
    pthread_mutex_init(&client->lock, NULL);
    if (strlen(settings->prefix) > REDIS_MAX_PREFIX) {
        log_write(settings->log, LOG_LEVEL_ERROR, "cache.redis.prefix has more than %d bytes",
                  REDIS_MAX_PREFIX);
        is_good = false;
    } else if (!set_address(&client->address, settings->address)) {
        log_write(settings->log, LOG_LEVEL_ERROR, "cache.redis.address: cannot use %s",
                  settings->address);
        is_good = false;
    }
    if (is_good && look(client))
        return client;
    redis_destroy(client);
    return NULL;
}

void redis_destroy(redis *client)
{
    if (client == NULL)
        return;
    while (client->links != NULL) {
        redis_link *next = client->links->next;
        pthread_mutex_destroy(&client->links->lock);
        free(client->links);
        client->links = next;
    }
    pthread_mutex_destroy(&client->lock);
    free(client);
}
