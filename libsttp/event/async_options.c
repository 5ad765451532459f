/* Options come as structs whose size the caller tells, as in src/client_options.c. */
#include "async_private.h"

#include <limits.h>
#include <netdb.h>
#include <string.h>

#include <sttp/url.h>

enum {
    MAX_OPTIONS_SIZE = 4096,
    MAX_PREAMBLE = 4096,
    DEFAULT_CONNECTIONS = 4,
    DEFAULT_IN_FLIGHT = 64,
    DEFAULT_QUEUED = 1024,
    DEFAULT_CONNECT_TIMEOUT = 10 * 1000, /* milliseconds */
    DEFAULT_QUEUE_TIMEOUT = 5 * 1000,
    DEFAULT_REQUEST_TIMEOUT = 30 * 1000,
    DEFAULT_IDLE_TIMEOUT = 60 * 1000,
    DEFAULT_BACKOFF_MIN = 100,
    DEFAULT_BACKOFF_MAX = 10 * 1000
};

/* The first version's structs, which no caller's can be smaller than. */
static const size_t min_async_size = offsetof(sttp_async_options, hosts_file) + sizeof(char *);
static const size_t min_pool_size = offsetof(sttp_pool_options, event_context) + sizeof(void *);

/* Makes this version's struct, of `known_size` bytes, of the caller's. */
static bool take_options(void *known, size_t known_size, const void *given, size_t given_size,
                         size_t least)
{
    const char *bytes = given;

    if (given_size < least || given_size > MAX_OPTIONS_SIZE)
        return false;
    for (size_t i = known_size; i < given_size; i++)
        if (bytes[i] != 0)
            return false;
    memset(known, 0, known_size);
    memcpy(known, given, given_size < known_size ? given_size : known_size);
    return true;
}

bool sttp__async_options_read(sttp_async_options *known, const sttp_async_options *given)
{
    if (!take_options(known, sizeof *known, given, given->size, min_async_size))
        return false;
    if (known->allocator != NULL &&
        (known->allocator->allocate == NULL || known->allocator->reallocate == NULL ||
         known->allocator->release == NULL))
        return false;
    return known->loop.watch != NULL && known->loop.timer != NULL && known->loop.soon != NULL;
}

/* No control characters: destinations stand in messages. */
static bool is_destination(const char *name, size_t max_size)
{
    size_t size = strlen(name);

    for (size_t i = 0; i < size; i++)
        if ((unsigned char)name[i] < ' ' || name[i] == 0x7f)
            return false;
    return size > 0 && size <= max_size;
}

static bool are_timeouts(const sttp_pool_options *o)
{
    const unsigned timeouts[] = {o->connect_timeout_ms, o->queue_timeout_ms, o->request_timeout_ms,
                                 o->total_timeout_ms,   o->idle_timeout_ms,  o->backoff_min_ms,
                                 o->backoff_max_ms};

    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++)
        if (timeouts[i] > INT_MAX)
            return false;
    return true;
}

static void fill_defaults(sttp_pool_options *o)
{
    unsigned *const values[] = {
        &o->max_connections,  &o->max_in_flight,      &o->max_queued,      &o->connect_timeout_ms,
        &o->queue_timeout_ms, &o->request_timeout_ms, &o->idle_timeout_ms, &o->backoff_min_ms};
    static const unsigned defaults[] = {DEFAULT_CONNECTIONS,   DEFAULT_IN_FLIGHT,
                                        DEFAULT_QUEUED,        DEFAULT_CONNECT_TIMEOUT,
                                        DEFAULT_QUEUE_TIMEOUT, DEFAULT_REQUEST_TIMEOUT,
                                        DEFAULT_IDLE_TIMEOUT,  DEFAULT_BACKOFF_MIN};

    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        if (*values[i] == 0)
            *values[i] = defaults[i];
    if (o->backoff_max_ms == 0)
        o->backoff_max_ms =
            o->backoff_min_ms > DEFAULT_BACKOFF_MAX ? o->backoff_min_ms : DEFAULT_BACKOFF_MAX;
    if (o->port == 0)
        o->port = STTP_DEFAULT_PORT;
    if (o->max_contents == 0)
        o->max_contents = STTP_MAX_CONTENTS_LINE;
}

bool sttp__pool_options_read(sttp_pool_options *o, const sttp_pool_options *given)
{
    if (!take_options(o, sizeof *o, given, given->size, min_pool_size))
        return false;
    fill_defaults(o);
    if (o->host == NULL && o->socket_path == NULL)
        return false;
    if (o->host != NULL && !is_destination(o->host, STTP_MAX_HOST))
        return false;
    if (o->socket_path != NULL && !is_destination(o->socket_path, STTP_MAX_SOCKET_PATH))
        return false;
    if (o->family != AF_UNSPEC && o->family != AF_INET && o->family != AF_INET6)
        return false;
    if (o->max_contents > STTP_MAX_CONTENTS_LINE || o->min_connections > o->max_connections ||
        o->backoff_min_ms > o->backoff_max_ms)
        return false;
    if (o->address_count > STTP__ADDRESSES_MAX || (o->address_count > 0 && o->addresses == NULL) ||
        (o->preamble_size > 0 && o->preamble == NULL) || o->preamble_size > MAX_PREAMBLE)
        return false;
    return are_timeouts(o);
}

static bool read_address(const char *text, uint16_t port, int family, sttp__inet_address *address)
{
    const struct addrinfo hints = {
        .ai_flags = AI_NUMERICHOST, .ai_family = family, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;

    if (text == NULL || getaddrinfo(text, NULL, &hints, &found) != 0)
        return false;
    memset(address, 0, sizeof *address);
    memcpy(address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (address->any.sa_family == AF_INET6)
        address->ipv6.sin6_port = htons(port);
    else
        address->ipv4.sin_port = htons(port);
    return true;
}

static sttp_status copy_addresses(sttp_pool *pool, const sttp_pool_options *o)
{
    if (o->address_count == 0)
        return STTP_OK;
    pool->given.items =
        sttp__allocate(&pool->async->memory, o->address_count * sizeof *pool->given.items);
    if (pool->given.items == NULL)
        return STTP_ERR_MEMORY;
    for (size_t i = 0; i < o->address_count; i++)
        if (!read_address(o->addresses[i], o->port, o->family, &pool->given.items[i]))
            return STTP_ERR_ARGUMENT;
    pool->given.count = o->address_count;
    return STTP_OK;
}

static bool copy(const sttp_pool *pool, char **to, const void *from, size_t size)
{
    if (from == NULL || size == 0)
        return true;
    *to = sttp__allocate(&pool->async->memory, size);
    if (*to != NULL)
        memcpy(*to, from, size);
    return *to != NULL;
}

static void copy_numbers(sttp_pool *pool, const sttp_pool_options *o)
{
    const uint64_t millisecond = 1000;

    pool->port = o->port;
    pool->family = o->family;
    pool->min_connections = o->min_connections;
    pool->max_connections = o->max_connections;
    pool->max_in_flight = o->max_in_flight;
    pool->max_queued = o->max_queued;
    pool->max_contents = o->max_contents;
    pool->connect_timeout = o->connect_timeout_ms * millisecond;
    pool->queue_timeout = o->queue_timeout_ms * millisecond;
    pool->request_timeout = o->request_timeout_ms * millisecond;
    pool->total_timeout = o->total_timeout_ms * millisecond;
    pool->idle_timeout = o->idle_timeout_ms * millisecond;
    pool->backoff_min = o->backoff_min_ms * millisecond;
    pool->backoff_max = o->backoff_max_ms * millisecond;
    pool->parsed = o->parsed;
    pool->no_repeat = o->no_repeat;
    pool->may_repeat = o->may_repeat;
    pool->may_repeat_context = o->may_repeat_context;
    pool->preamble_size = o->preamble_size;
    pool->permit = o->permit;
    pool->permit_context = o->permit_context;
    pool->event = o->event;
    pool->event_context = o->event_context;
}

sttp_status sttp__pool_options_apply(sttp_pool *pool, const sttp_pool_options *o)
{
    copy_numbers(pool, o);
    if (!copy(pool, &pool->host, o->host, o->host != NULL ? strlen(o->host) + 1 : 0) ||
        !copy(pool, &pool->socket_path, o->socket_path,
              o->socket_path != NULL ? strlen(o->socket_path) + 1 : 0) ||
        !copy(pool, &pool->preamble, o->preamble, o->preamble_size))
        return STTP_ERR_MEMORY;
    return copy_addresses(pool, o);
}
