/* From addresses to one connected socket, as RFC 8305 ("Happy Eyeballs") says: the addresses are
 * tried in their order, each 250 ms after the one before, or at once when one before has failed;
 * those under way go on; the first that connects wins and the others are closed. */
#include "async_private.h"

#include <errno.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    ATTEMPT_DELAY = 250 * 1000,
    LOCAL_DELAY = 20 * 1000 /* a Unix socket whose queue is full says so at once */
};

bool sttp__same_address(const sttp__inet_address *a, const sttp__inet_address *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->ipv4.sin_port == b->ipv4.sin_port &&
               a->ipv4.sin_addr.s_addr == b->ipv4.sin_addr.s_addr;
    return a->ipv6.sin6_port == b->ipv6.sin6_port &&
           a->ipv6.sin6_scope_id == b->ipv6.sin6_scope_id &&
           memcmp(&a->ipv6.sin6_addr, &b->ipv6.sin6_addr, sizeof a->ipv6.sin6_addr) == 0;
}

void sttp__race_begin(sttp__race *race, uint64_t deadline)
{
    race->count = race->started = race->under_way = 0;
    race->next_start = 0;
    race->deadline = deadline;
    race->more = false;
    race->running = true;
    sttp__timer_set(&race->timer, deadline);
}

static bool has(const sttp__race *race, const sttp__inet_address *address)
{
    for (size_t i = 0; i < race->count; i++)
        if (sttp__same_address(&race->attempts[i]->address, address))
            return true;
    return false;
}

static void attempt_ready(sttp_watch *watch, unsigned ready);

static bool add(sttp__race *race, const sttp__inet_address *address)
{
    sttp_async *async = race->pool->async;
    sttp__attempt *attempt = sttp__allocate(&async->memory, sizeof *attempt);

    if (attempt == NULL)
        return false;
    *attempt = (sttp__attempt){.watch = {.fd = -1, .async = async, ._ready = attempt_ready},
                               .race = race,
                               .local = address == NULL};
    if (address != NULL)
        attempt->address = *address;
    race->attempts[race->count++] = attempt;
    return true;
}

bool sttp__race_add(sttp__race *race, const sttp__inet_address *addresses, size_t count)
{
    if (addresses == NULL)
        return add(race, NULL);
    for (size_t i = 0; i < count && race->count < STTP__ADDRESSES_MAX; i++)
        if (!has(race, &addresses[i]) && !add(race, &addresses[i]))
            return false;
    return true;
}

/* ---- one attempt ---- */

static int give_away(sttp__attempt *attempt)
{
    int fd = attempt->watch.fd;

    if (fd < 0)
        return fd;
    sttp__watch_set(&attempt->watch, 0);
    attempt->watch.fd = -1;
    attempt->race->under_way--;
    return fd;
}

static void failed(sttp__attempt *attempt, int system_errno)
{
    int fd = give_away(attempt);

    if (fd >= 0)
        close(fd);
    attempt->system_errno = system_errno;
    attempt->race->next_start = 0;
}

/* Where nobody listens on a port of this machine that the kernel may take for ours, it may do so
 * just then: a socket can be connected to itself, and keeps the server from its port. */
static bool is_its_own_peer(const sttp__attempt *attempt)
{
    sttp__inet_address own = {.any.sa_family = AF_UNSPEC};
    socklen_t size = sizeof own;

    return !attempt->local && getsockname(attempt->watch.fd, &own.any, &size) == 0 &&
           sttp__same_address(&own, &attempt->address);
}

static void won(sttp__attempt *attempt)
{
    sttp__race *race = attempt->race;
    const sttp__inet_address peer = attempt->address;
    const bool local = attempt->local;
    int fd = give_away(attempt);

    sttp__race_stop(race);
    sttp__connect_won(race->pool, fd, local ? NULL : &peer);
}

static int connect_local(int fd, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    memcpy(address.sun_path, path, strlen(path) + 1); /* its length was checked with the options */
    return connect(fd, (const struct sockaddr *)&address, sizeof address);
}

static int connect_inet(int fd, const sttp__inet_address *address)
{
    return connect(fd, &address->any,
                   address->any.sa_family == AF_INET6 ? sizeof address->ipv6
                                                      : sizeof address->ipv4);
}

static void start(sttp__attempt *attempt)
{
    sttp__race *race = attempt->race;
    int family = attempt->local ? AF_UNIX : attempt->address.any.sa_family;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int result;

    if (fd < 0) {
        failed(attempt, errno);
        return;
    }
    attempt->watch.fd = fd;
    race->under_way++;
    race->next_start = race->pool->async->now + ATTEMPT_DELAY;
    result = attempt->local ? connect_local(fd, race->pool->socket_path)
                            : connect_inet(fd, &attempt->address);
    if (result == 0 && is_its_own_peer(attempt)) {
        failed(attempt, ECONNREFUSED);
    } else if (result == 0) {
        won(attempt);
    } else if (attempt->local && errno == EAGAIN) {
        failed(attempt, errno);
        race->started--;
        race->next_start = race->pool->async->now + LOCAL_DELAY;
    } else if (errno != EINPROGRESS) {
        failed(attempt, errno);
    } else if (!sttp__watch_set(&attempt->watch, STTP_WRITABLE)) {
        failed(attempt, ENOMEM);
    }
}

static void attempt_ready(sttp_watch *watch, unsigned ready)
{
    sttp__attempt *attempt = (sttp__attempt *)((char *)watch - offsetof(sttp__attempt, watch));
    sttp__race *race = attempt->race;
    int result = 0;
    socklen_t size = sizeof result;

    (void)ready;
    if (getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &result, &size) != 0)
        result = errno;
    if (result == 0 && is_its_own_peer(attempt))
        result = ECONNREFUSED;
    if (result == 0) {
        won(attempt);
    } else {
        failed(attempt, result);
        sttp__race_go_on(race);
    }
}

/* ---- all of them ---- */

static bool is_permitted(const sttp_pool *pool, const sttp__attempt *attempt)
{
    return pool->permit == NULL || attempt->local ||
           pool->permit(pool->permit_context, &attempt->address.any);
}

/* The caller is asked first, who may have destroyed the pool then, and the attempt with it. */
static void start_next(sttp__race *race)
{
    sttp__attempt *attempt = race->attempts[race->started++];
    bool permitted = is_permitted(race->pool, attempt);

    if (!race->running)
        return;
    attempt->denied = !permitted;
    if (permitted)
        start(attempt);
}

static void lose(sttp__race *race, bool late)
{
    sttp_error error;

    sttp__fault_race(&error, race, late);
    sttp__connect_failed(race->pool, &error);
}

void sttp__race_go_on(sttp__race *race)
{
    uint64_t now = race->pool->async->now;
    uint64_t at = race->deadline;

    while (race->running && race->started < race->count && now >= race->next_start)
        start_next(race);
    if (!race->running)
        return;
    if (race->under_way == 0 && race->started == race->count && !race->more) {
        lose(race, false);
        return;
    }
    if (race->started < race->count && race->next_start < at)
        at = race->next_start;
    sttp__timer_set(&race->timer, at);
}

void sttp__race_stop(sttp__race *race)
{
    if (!race->running)
        return;
    race->running = false;
    sttp__timer_set(&race->timer, STTP__NEVER);
    for (size_t i = 0; i < race->count; i++) {
        int fd = give_away(race->attempts[i]);

        if (fd >= 0)
            close(fd);
        sttp__release(&race->pool->async->memory, race->attempts[i]);
    }
    race->count = 0;
}

void sttp__race_expired(sttp__timer *timer)
{
    sttp__race *race = (sttp__race *)((char *)timer - offsetof(sttp__race, timer));

    if (race->pool->async->now >= race->deadline)
        lose(race, true);
    else
        sttp__race_go_on(race);
}
