/* Options come as a struct whose size the caller tells, so that a program and a library of
 * different versions understand each other: what is missing is zero, the default; what is known
 * only to a newer program must be zero, since it cannot be honoured. */
#include "client_private.h"

#include <limits.h>
#include <string.h>

#include "memory.h"
#include "rules.h"
#include "utf8.h"

enum {
    MAX_OPTIONS_SIZE = 4096,
    DEFAULT_CONNECT_TIMEOUT = 10 * 1000, /* milliseconds */
    DEFAULT_REQUEST_TIMEOUT = 30 * 1000,
    DEFAULT_IN_FLIGHT = 1024
};

/* The first version's struct, which no caller's can be smaller than. */
static const size_t min_options_size =
    offsetof(sttp_client_options, trace_context) + sizeof(void *);

static bool is_destination(const char *name, size_t max_size)
{
    size_t size = strlen(name);

    return size > 0 && size <= max_size &&
           sttp__check_encoding((sttp_slice){name, size}, STTP__TEXT_PLAIN, NULL) == STTP_OK;
}

static bool is_origin(const char *origin)
{
    return sttp__check_origin((sttp_slice){origin, strlen(origin)}, NULL) == STTP_OK;
}

static bool is_transport(const sttp_transport *transport)
{
    return transport->open && transport->handshake && transport->read && transport->write &&
           transport->explain && transport->close;
}

static bool is_valid(const sttp_client_options *o)
{
    if (!o->host && !o->socket_path)
        return false;
    if (o->host && !is_destination(o->host, STTP_MAX_HOST))
        return false;
    if (o->socket_path && !is_destination(o->socket_path, STTP_MAX_SOCKET_PATH))
        return false;
    if (o->origin && !is_origin(o->origin))
        return false;
    if (o->family != AF_UNSPEC && o->family != AF_INET && o->family != AF_INET6)
        return false;
    if (o->connect_timeout_ms > INT_MAX || o->request_timeout_ms > INT_MAX ||
        o->total_timeout_ms > INT_MAX || o->max_contents > STTP_MAX_CONTENTS_LINE)
        return false;
    if (o->allocator &&
        (!o->allocator->allocate || !o->allocator->reallocate || !o->allocator->release))
        return false;
    return !o->transport || is_transport(o->transport);
}

bool sttp__options_read(sttp_client_options *known, const sttp_client_options *given)
{
    const char *bytes = (const char *)given;

    if (given->size < min_options_size || given->size > MAX_OPTIONS_SIZE)
        return false;
    for (size_t i = sizeof *known; i < given->size; i++)
        if (bytes[i] != 0)
            return false;
    *known = (sttp_client_options){0};
    memcpy(known, given, given->size < sizeof *known ? given->size : sizeof *known);
    return is_valid(known);
}

static sttp_status copy_addresses(sttp_client *client, const sttp_client_options *o)
{
    if (o->address_count == 0)
        return STTP_OK;
    if (!o->addresses || o->address_count > SIZE_MAX / sizeof *client->given.items)
        return STTP_ERR_ARGUMENT;
    client->given.items =
        sttp__allocate(&client->memory, o->address_count * sizeof *client->given.items);
    if (!client->given.items)
        return STTP_ERR_MEMORY;
    client->given.count = o->address_count;
    for (size_t i = 0; i < o->address_count; i++)
        if (!o->addresses[i] || !sttp__numeric_address(o->addresses[i], client->port,
                                                       client->family, &client->given.items[i]))
            return STTP_ERR_ARGUMENT;
    return STTP_OK;
}

static sttp_status copy_strings(sttp_client *client, const sttp_client_options *o)
{
    if (o->host && !(client->host = sttp__copy_string(&client->memory, o->host)))
        return STTP_ERR_MEMORY;
    if (o->socket_path &&
        !(client->socket_path = sttp__copy_string(&client->memory, o->socket_path)))
        return STTP_ERR_MEMORY;
    if (o->origin && !(client->origin = sttp__copy_string(&client->memory, o->origin)))
        return STTP_ERR_MEMORY;
    return STTP_OK;
}

static uint64_t duration(unsigned milliseconds, unsigned otherwise)
{
    return (uint64_t)(milliseconds ? milliseconds : otherwise) * 1000;
}

sttp_status sttp__options_apply(sttp_client *client, const sttp_client_options *o)
{
    sttp_status status;

    client->port = o->port ? o->port : STTP_DEFAULT_PORT;
    client->family = o->family;
    client->connect_timeout = duration(o->connect_timeout_ms, DEFAULT_CONNECT_TIMEOUT);
    client->request_timeout = duration(o->request_timeout_ms, DEFAULT_REQUEST_TIMEOUT);
    client->total_timeout = duration(o->total_timeout_ms, 0);
    client->max_contents = o->max_contents ? o->max_contents : STTP_MAX_CONTENTS_LINE;
    client->max_in_flight = o->max_in_flight ? o->max_in_flight : DEFAULT_IN_FLIGHT;
    client->transport = o->transport ? *o->transport : sttp__plain_transport(&client->plain);
    client->trace = o->trace;
    client->trace_context = o->trace_context;
    status = copy_strings(client, o);
    return status == STTP_OK ? copy_addresses(client, o) : status;
}
