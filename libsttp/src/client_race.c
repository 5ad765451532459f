/* From addresses to one connected socket, as RFC 8305 ("Happy Eyeballs") says: the addresses are
 * tried in their order, each 250 ms after the one before, or at once when one before has failed;
 * those under way go on; the first that connects wins and the others are closed. */
#include "client_private.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "memory.h"

enum { ATTEMPT_DELAY = 250 * 1000 };

typedef struct attempt {
    int fd;           /* -1 where it is not under way */
    int system_errno; /* why it failed; 0 where it has not */
} attempt;

typedef struct race {
    sttp_client *client;
    const sttp__addresses *addresses;
    const sttp__deadline *deadline;
    attempt *attempts;
    struct pollfd *polled; /* one for each attempt under way */
    size_t started;
    size_t under_way;
    uint64_t next_start;
    bool won;
} race;

void sttp__address_text(const sttp__address *address, char buffer[STTP__ADDRESS_TEXT])
{
    const struct sockaddr *socket = (const struct sockaddr *)&address->socket;
    bool ipv6 = socket->sa_family == AF_INET6;
    char host[INET6_ADDRSTRLEN + 1 + IF_NAMESIZE];
    char port[6];
    sttp__text text = sttp__text_begin(buffer, STTP__ADDRESS_TEXT);

    if (socket->sa_family == AF_UNIX) {
        sttp__text_add(&text, "unix:");
        sttp__text_add(&text, ((const struct sockaddr_un *)socket)->sun_path);
        return;
    }
    if (getnameinfo(socket, address->size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    sttp__text_add(&text, ipv6 ? "[" : "");
    sttp__text_add(&text, host);
    sttp__text_add(&text, ipv6 ? "]:" : ":");
    sttp__text_add(&text, port);
}

static void trace(const race *r, sttp_trace_kind kind, int system_errno)
{
    sttp__trace(r->client, (sttp_trace){.kind = kind,
                                        .address = r->client->connection.address,
                                        .system_errno = system_errno});
}

static void attempt_failed(race *r, size_t index, int system_errno)
{
    attempt *failed = &r->attempts[index];

    if (failed->fd >= 0) {
        close(failed->fd);
        failed->fd = -1;
        r->under_way--;
    }
    failed->system_errno = system_errno;
    r->next_start = 0;
    sttp__address_text(&r->addresses->items[index], r->client->connection.address);
    trace(r, STTP_TRACE_CONNECT_FAILED, system_errno);
}

static void attempt_won(race *r, size_t index)
{
    const sttp__address *address = &r->addresses->items[index];
    const int on = 1;

    r->won = true;
    r->client->connection.fd = r->attempts[index].fd;
    r->attempts[index].fd = -1;
    if (address->socket.ss_family != AF_UNIX)
        setsockopt(r->client->connection.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sttp__address_text(address, r->client->connection.address);
    trace(r, STTP_TRACE_CONNECTED, 0);
}

/* A Unix socket whose queue is full does not connect later, as TCP does, but says EAGAIN; only a
 * blocking connect waits for room. So it gets the time that is left as its timeout. */
static int connect_unix(int fd, const sttp__address *address, uint64_t until)
{
    int milliseconds, result;

    do {
        milliseconds = sttp__poll_timeout(until);
        const struct timeval left = {.tv_sec = milliseconds / 1000,
                                     .tv_usec = milliseconds % 1000 * 1000L};

        if (milliseconds == 0)
            return ETIMEDOUT;
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof left) != 0)
            return errno;
        result = connect(fd, (const struct sockaddr *)&address->socket, address->size);
    } while (result != 0 && errno == EINTR);
    if (result != 0)
        return errno;
    return fcntl(fd, F_SETFL, O_NONBLOCK) == 0 ? 0 : errno;
}

static int connect_inet(int fd, const sttp__address *address)
{
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
        return errno;
    if (connect(fd, (const struct sockaddr *)&address->socket, address->size) != 0)
        return errno;
    return 0;
}

static void start_next(race *r)
{
    size_t index = r->started++;
    const sttp__address *address = &r->addresses->items[index];
    int family = address->socket.ss_family;
    int fd, result;

    sttp__address_text(address, r->client->connection.address);
    trace(r, STTP_TRACE_CONNECTING, 0);
    fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        attempt_failed(r, index, errno);
        return;
    }
    r->attempts[index].fd = fd;
    r->under_way++;
    r->next_start = sttp__now() + ATTEMPT_DELAY;
    result =
        family == AF_UNIX ? connect_unix(fd, address, r->deadline->at) : connect_inet(fd, address);
    if (result == 0)
        attempt_won(r, index);
    else if (result != EINPROGRESS)
        attempt_failed(r, index, result);
}

static size_t fill_polled(race *r)
{
    size_t count = 0;

    for (size_t i = 0; i < r->started; i++)
        if (r->attempts[i].fd >= 0)
            r->polled[count++] = (struct pollfd){.fd = r->attempts[i].fd, .events = POLLOUT};
    return count;
}

static void settle(race *r, size_t index)
{
    int result = 0;
    socklen_t size = sizeof result;

    if (getsockopt(r->attempts[index].fd, SOL_SOCKET, SO_ERROR, &result, &size) != 0)
        result = errno;
    if (result == 0)
        attempt_won(r, index);
    else
        attempt_failed(r, index, result);
}

/* Waits until an attempt under way has ended, or it is time for the next one. */
static void wait_for_attempts(race *r)
{
    size_t count = fill_polled(r);
    size_t at = 0;
    uint64_t until = r->deadline->at;

    if (r->started < r->addresses->count && r->next_start < until)
        until = r->next_start;
    if (poll(r->polled, count, sttp__poll_timeout(until)) <= 0)
        return;
    for (size_t i = 0; i < r->started && !r->won; i++)
        if (r->attempts[i].fd >= 0 && r->polled[at++].revents != 0)
            settle(r, i);
}

static void run(race *r)
{
    while (!r->won && sttp__now() < r->deadline->at) {
        bool more = r->started < r->addresses->count;

        if (more && (r->under_way == 0 || sttp__now() >= r->next_start))
            start_next(r);
        else if (r->under_way > 0)
            wait_for_attempts(r);
        else
            return;
    }
}

/* "cannot connect to h: 192.0.2.1:80 (Connection refused), [::1]:80 (no answer) and 3 more" */
static sttp_status race_lost(race *r)
{
    bool late = sttp__now() >= r->deadline->at;
    int last_errno = r->started > 0 ? r->attempts[r->started - 1].system_errno : 0;
    sttp__text text = sttp__error_begin(r->client, late ? STTP_ERR_TIMEOUT : STTP_ERR_CONNECT,
                                        STTP_PHASE_CONNECT, late ? 0 : last_errno);
    const size_t reserve = 80; /* for the end of the line */
    char address[STTP__ADDRESS_TEXT];
    size_t i;

    sttp__text_add(&text, "cannot connect to ");
    sttp__add_destination(&text, r->client);
    sttp__text_add(&text, ": ");
    for (i = 0; i < r->started && text.size + sizeof address + reserve < text.capacity; i++) {
        int reason = r->attempts[i].system_errno;

        sttp__address_text(&r->addresses->items[i], address);
        sttp__text_add(&text, i > 0 ? ", " : "");
        sttp__text_add(&text, address);
        sttp__text_add(&text, " (");
        sttp__text_add(&text, reason ? strerror(reason) : "no answer");
        sttp__text_add(&text, ")");
    }
    if (i < r->addresses->count) {
        sttp__text_add(&text, i > 0 ? " and " : "");
        sttp__text_add_number(&text, r->addresses->count - i);
        sttp__text_add(&text, i < r->started ? " more" : " not tried");
    }
    if (late) {
        sttp__text_add(&text, ": the ");
        sttp__text_add(&text, r->deadline->name);
        sttp__text_add(&text, " has passed");
    }
    return sttp__error_end(r->client, &text);
}

sttp_status sttp__race(sttp_client *client, const sttp__addresses *addresses,
                       const sttp__deadline *deadline)
{
    race r = {.client = client, .addresses = addresses, .deadline = deadline};
    size_t count = addresses->count;
    sttp_status status;

    r.attempts = sttp__allocate(&client->memory, count * sizeof *r.attempts);
    r.polled = sttp__allocate(&client->memory, count * sizeof *r.polled);
    if (!r.attempts || !r.polled) {
        status = sttp__error(client, STTP_ERR_MEMORY, STTP_PHASE_CONNECT, 0);
        goto done;
    }
    for (size_t i = 0; i < count; i++)
        r.attempts[i] = (attempt){.fd = -1};
    run(&r);
    status = r.won ? STTP_OK : race_lost(&r);
    for (size_t i = 0; i < count; i++)
        if (r.attempts[i].fd >= 0)
            close(r.attempts[i].fd);
done:
    sttp__release(&client->memory, r.polled);
    sttp__release(&client->memory, r.attempts);
    return status;
}
