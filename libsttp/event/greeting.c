/* Connections that come by a proxy begin with a header of the PROXY protocol, which tells of the
 * client. Until it is whole, its bytes are all that is read, and the program does not know of the
 * connection: it is refused, or opened as the client's. An event of its own costs the requests
 * behind it nothing. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "engine.h"
#include "proxy_header.h"

/* Receives behind what there is, in a chunk of the standard size. A header is short: to move it for
 * each part of it costs little. */
static void receive(struct sttp__connection *connection)
{
    size_t size = sttp__unparsed(connection);
    struct sttp__chunk *input = sttp__pool_take(&connection->worker->pool);
    if (input == NULL) {
        sttp__connection_fail(connection, STTP_CLOSE_MEMORY, ENOMEM);
        return;
    }
    if (size > 0)
        memcpy(input->data, connection->input->data + connection->input->start, size);
    ssize_t received = recv(connection->fd, input->data + size, input->capacity - size, 0);
    if (received == 0)
        connection->end_of_file = true;
    else if (received < 0 && errno != EAGAIN && errno != EINTR)
        sttp__connection_fail(connection, STTP_CLOSE_RESET, errno);
    input->end = size + (received > 0 ? (size_t)received : 0);
    sttp__drop_input(connection);
    connection->input = input;
}

/* Whoever sends a part of a header and then waits shall not hold a whole chunk by it. */
static void shrink_input(struct sttp__connection *connection)
{
    size_t size = sttp__unparsed(connection);
    struct sttp__chunk *small = NULL;
    if (size > 0) {
        small = sttp__chunk_create(&connection->worker->server->allocator, size);
        if (small == NULL)
            return;
        memcpy(small->data, connection->input->data, size);
        small->end = size;
    }
    sttp__drop_input(connection);
    connection->input = small;
}

static enum sttp__greeted refuse(struct sttp__connection *connection, sttp_close_reason reason)
{
    sttp__connection_close(connection, reason);
    return STTP__GREETING_REFUSED;
}

static enum sttp__greeted refuse_header(struct sttp__connection *connection,
                                        enum sttp__proxy_status status)
{
    connection->refused_header = (uint8_t)status;
    return refuse(connection, STTP_CLOSE_PROXY_HEADER);
}

/* From now on the connection is the client's. */
static enum sttp__greeted open_as(struct sttp__connection *connection,
                                  const struct sttp__proxy_header *header)
{
    const sttp_server *server = connection->worker->server;
    struct sttp__address proxy = connection->peer;
    if (header->told)
        connection->peer = header->client;
    sttp_status status = sttp__count_address(server, &connection->peer, &connection->counted);
    if (status != STTP_OK)
        return refuse(connection,
                      status == STTP_ERR_MEMORY ? STTP_CLOSE_MEMORY : STTP_CLOSE_TOO_MANY);
    event_del(&connection->event);
    if (!sttp__connection_listen(connection, sttp__connection_on_event))
        return refuse(connection, STTP_CLOSE_MEMORY);
    connection->hops = header->hops;
    connection->state = STTP__OPEN;
    connection->consumed = true;
    sttp__connection_announce(connection, header->told ? &proxy : NULL);
    return STTP__GREETED;
}

static enum sttp__greeted wait_for_more(struct sttp__connection *connection)
{
    if (connection->end_of_file)
        return refuse(connection, STTP_CLOSE_BY_CLIENT);
    shrink_input(connection);
    return STTP__GREETING_WAITS;
}

enum sttp__greeted sttp__greet(struct sttp__connection *connection)
{
    receive(connection);
    sttp__worker_tick(connection->worker);
    if (connection->failed)
        return refuse(connection, connection->reason);
    if (sttp__unparsed(connection) == 0)
        return wait_for_more(connection);
    struct sttp__chunk *input = connection->input;
    struct sttp__proxy_header header;
    size_t consumed;
    enum sttp__proxy_status status = sttp__proxy_header_parse(
        input->data + input->start, sttp__unparsed(connection), &consumed, &header);
    if (status == STTP__PROXY_NEED_MORE)
        return wait_for_more(connection);
    if (status != STTP__PROXY_OK)
        return refuse_header(connection, status);
    bool claims = header.told && sttp__address_is_local(&header.client);
    if (claims && !sttp__address_is_local(&connection->peer))
        return refuse_header(connection, STTP__PROXY_LOOPBACK);
    input->start += consumed;
    connection->hungry = false;
    return open_as(connection, &header);
}

void sttp__connection_on_greeting(evutil_socket_t fd, short what, void *argument)
{
    struct sttp__connection *connection = argument;
    (void)fd;
    (void)what;
    sttp__run_ready(connection->worker);
    if (sttp__greet(connection) == STTP__GREETED)
        sttp__connection_run(connection);
}
