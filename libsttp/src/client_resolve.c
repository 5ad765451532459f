/* From a host to addresses. An address needs no lookup and is read at once, nor does localhost. Any
 * other name is given to getaddrinfo, which blocks for as long as it likes and cannot be stopped;
 * so it runs in a thread of its own, and the client waits for that thread only until its deadline.
 *
 * The two share a `lookup` with two references; whoever lets go last frees it. It is made with
 * malloc, not with the client's allocator, which may be gone when an abandoned thread ends. */
#include "client_private.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ascii.h"
#include "memory.h"

enum { PORT_SIZE = 6 };

typedef struct lookup {
    pthread_mutex_t lock;
    pthread_cond_t finished;
    unsigned references;
    bool done;
    int result; /* of getaddrinfo */
    int system_errno;
    struct addrinfo *list;
    int family;
    char port[PORT_SIZE];
    char host[]; /* ended by a zero byte */
} lookup;

static void port_text(uint16_t port, char text[PORT_SIZE])
{
    sttp__text line = sttp__text_begin(text, PORT_SIZE);

    sttp__text_add_number(&line, port);
}

bool sttp__numeric_address(const char *text, uint16_t port, int family, sttp__address *address)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                                   .ai_family = family,
                                   .ai_socktype = SOCK_STREAM};
    char service[PORT_SIZE];
    struct addrinfo *found;

    port_text(port, service);
    if (getaddrinfo(text, service, &hints, &found) != 0)
        return false;
    memcpy(&address->socket, found->ai_addr, found->ai_addrlen);
    address->size = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

static void lookup_release(lookup *shared)
{
    bool last;

    pthread_mutex_lock(&shared->lock);
    last = --shared->references == 0;
    pthread_mutex_unlock(&shared->lock);
    if (!last)
        return;
    if (shared->list)
        freeaddrinfo(shared->list);
    pthread_cond_destroy(&shared->finished);
    pthread_mutex_destroy(&shared->lock);
    free(shared);
}

static void *lookup_run(void *argument)
{
    lookup *shared = argument;
    const struct addrinfo hints = {
        .ai_flags = AI_NUMERICSERV, .ai_family = shared->family, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int result = getaddrinfo(shared->host, shared->port, &hints, &list);
    int system_errno = errno;

    pthread_mutex_lock(&shared->lock);
    shared->done = true;
    shared->result = result;
    shared->system_errno = result == EAI_SYSTEM ? system_errno : 0;
    shared->list = result == 0 ? list : NULL;
    pthread_cond_signal(&shared->finished);
    pthread_mutex_unlock(&shared->lock);
    lookup_release(shared);
    return NULL;
}

static lookup *lookup_create(const sttp_client *client)
{
    size_t host_size = strlen(client->host) + 1;
    lookup *shared = calloc(1, sizeof *shared + host_size);
    pthread_condattr_t attributes;

    if (!shared)
        return NULL;
    shared->references = 1;
    shared->family = client->family;
    port_text(client->port, shared->port);
    memcpy(shared->host, client->host, host_size);
    pthread_mutex_init(&shared->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&shared->finished, &attributes);
    pthread_condattr_destroy(&attributes);
    return shared;
}

/* Starts the thread with all signals blocked: they are for the program's own threads. Returns an
 * errno. */
static int lookup_start(lookup *shared)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    int result = pthread_attr_init(&attributes);

    if (result != 0)
        return result;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    shared->references++;
    result = pthread_create(&thread, &attributes, lookup_run, shared);
    if (result != 0)
        shared->references--;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return result;
}

static bool lookup_wait(lookup *shared, uint64_t until)
{
    const struct timespec limit = {.tv_sec = (time_t)(until / 1000000),
                                   .tv_nsec = (long)(until % 1000000) * 1000};
    int result = 0;
    bool done;

    pthread_mutex_lock(&shared->lock);
    while (!shared->done && result == 0)
        result = pthread_cond_timedwait(&shared->finished, &shared->lock, &limit);
    done = shared->done;
    pthread_mutex_unlock(&shared->lock);
    return done;
}

static bool is_usable(const struct addrinfo *entry)
{
    return (entry->ai_family == AF_INET || entry->ai_family == AF_INET6) &&
           entry->ai_addrlen <= sizeof(struct sockaddr_storage);
}

/* The next usable entry from `entry` on whose family is `family`, or is not. */
static const struct addrinfo *next_of(const struct addrinfo *entry, int family, bool same)
{
    while (entry && !(is_usable(entry) && (entry->ai_family == family) == same))
        entry = entry->ai_next;
    return entry;
}

/* Copies the list with its families taking turns, the first one as the resolver sorted it
 * (RFC 8305, section 4). */
static void interleave(const struct addrinfo *list, sttp__addresses *addresses)
{
    int family = list->ai_family;
    const struct addrinfo *turn[2] = {next_of(list, family, true), next_of(list, family, false)};

    addresses->count = 0;
    for (int i = 0; turn[0] || turn[1]; i = !i) {
        const struct addrinfo *entry = turn[i];

        if (!entry)
            continue;
        memcpy(&addresses->items[addresses->count].socket, entry->ai_addr, entry->ai_addrlen);
        addresses->items[addresses->count++].size = entry->ai_addrlen;
        turn[i] = next_of(entry->ai_next, family, i == 0);
    }
}

static sttp_status no_address(sttp_client *client, const char *why, int system_errno)
{
    sttp__text text = sttp__error_begin(client, STTP_ERR_RESOLVE, STTP_PHASE_RESOLVE, system_errno);

    sttp__text_add(&text, "cannot resolve ");
    sttp__add_destination(&text, client);
    sttp__text_add(&text, ": ");
    sttp__text_add(&text, why);
    return sttp__error_end(client, &text);
}

static sttp_status take_result(sttp_client *client, lookup *shared, sttp__addresses *addresses)
{
    size_t count = 0;

    if (shared->result == EAI_MEMORY)
        return sttp__error(client, STTP_ERR_MEMORY, STTP_PHASE_RESOLVE, 0);
    if (shared->result == EAI_SYSTEM)
        return no_address(client, strerror(shared->system_errno), shared->system_errno);
    if (shared->result != 0)
        return no_address(client, gai_strerror(shared->result), 0);
    for (const struct addrinfo *entry = shared->list; entry; entry = entry->ai_next)
        count += is_usable(entry);
    if (count == 0)
        return no_address(client, "it has no IPv4 or IPv6 address", 0);
    addresses->items = sttp__allocate(&client->memory, count * sizeof *addresses->items);
    if (!addresses->items)
        return sttp__error(client, STTP_ERR_MEMORY, STTP_PHASE_RESOLVE, 0);
    interleave(shared->list, addresses);
    return STTP_OK;
}

static sttp_status resolve_name(sttp_client *client, const sttp__deadline *deadline,
                                sttp__addresses *addresses)
{
    lookup *shared = lookup_create(client);
    sttp_status status;
    int result;

    if (!shared)
        return sttp__error(client, STTP_ERR_MEMORY, STTP_PHASE_RESOLVE, 0);
    result = lookup_start(shared);
    if (result != 0)
        status = sttp__error(client, STTP_ERR_SYSTEM, STTP_PHASE_RESOLVE, result);
    else if (!lookup_wait(shared, deadline->at))
        status = sttp__error_timeout(client, STTP_PHASE_RESOLVE, deadline->name);
    else
        status = take_result(client, shared, addresses);
    lookup_release(shared);
    return status;
}

/* "localhost", and all names below it, are the loopback addresses wherever a machine's own files do
 * not even say so (RFC 6761, section 6.3). */
static bool is_localhost(const char *host)
{
    static const char name[] = "localhost";
    size_t size = strlen(host);
    const size_t name_size = sizeof name - 1;

    if (size > 0 && host[size - 1] == '.')
        size--;
    return size >= name_size && sttp__equal_fold(host + size - name_size, name, name_size) &&
           (size == name_size || host[size - name_size - 1] == '.');
}

static sttp_status resolve_localhost(sttp_client *client, sttp__addresses *addresses)
{
    static const char *const loopback[] = {"::1", "127.0.0.1"};

    addresses->items = sttp__allocate(&client->memory, 2 * sizeof *addresses->items);
    if (!addresses->items)
        return sttp__error(client, STTP_ERR_MEMORY, STTP_PHASE_RESOLVE, 0);
    addresses->count = 0;
    for (size_t i = 0; i < 2; i++)
        addresses->count += sttp__numeric_address(loopback[i], client->port, client->family,
                                                  &addresses->items[addresses->count]);
    return STTP_OK;
}

sttp_status sttp__resolve(sttp_client *client, const sttp__deadline *deadline,
                          sttp__addresses *addresses)
{
    const char *name = client->host;
    sttp__address numeric;
    sttp_status status;

    if (sttp__numeric_address(client->host, client->port, client->family, &numeric)) {
        addresses->items = sttp__allocate(&client->memory, sizeof *addresses->items);
        if (!addresses->items)
            return sttp__error(client, STTP_ERR_MEMORY, STTP_PHASE_RESOLVE, 0);
        addresses->items[0] = numeric;
        addresses->count = 1;
        return STTP_OK;
    }
    sttp__trace(client, (sttp_trace){.kind = STTP_TRACE_RESOLVING, .address = name});
    if (is_localhost(client->host))
        status = resolve_localhost(client, addresses);
    else
        status = resolve_name(client, deadline, addresses);
    if (status == STTP_OK)
        sttp__trace(
            client,
            (sttp_trace){.kind = STTP_TRACE_RESOLVED, .address = name, .count = addresses->count});
    return status;
}
