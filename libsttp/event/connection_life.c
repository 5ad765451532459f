/* How connections begin and end. */
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"
#include "memory.h"
#include "proxy_header.h"

sttp_status sttp__connection_open(struct sttp__acceptor *acceptor, int fd,
                                  const struct sttp__address *peer, bool counted)
{
    struct sttp__worker *worker = acceptor->worker;
    sttp_server *server = worker->server;
    struct sttp__connection *connection = sttp__allocate(&server->allocator, sizeof *connection);
    if (connection == NULL)
        return STTP_ERR_MEMORY;
    *connection = (struct sttp__connection){.worker = worker,
                                            .fd = fd,
                                            .listener = acceptor->listener,
                                            .peer = *peer,
                                            .counted = counted,
                                            .hungry = true,
                                            .parser = {.proxy = server->options.proxy},
                                            .timeout = STTP__TIMEOUT_IDLE};
    connection->end = &connection->first;
    bool greets = acceptor->listener->proxy_protocol;
    if (!sttp__connection_listen(connection, greets ? sttp__connection_on_greeting
                                                    : sttp__connection_on_event)) {
        sttp__release(&server->allocator, connection);
        return STTP_ERR_MEMORY;
    }
    sttp__worker_add(connection);
    if (greets) {
        connection->state = STTP__GREETING;
        sttp__worker_set_timeout(connection, STTP__TIMEOUT_REQUEST, true);
    } else {
        sttp__connection_announce(connection, NULL);
    }
    return STTP_OK;
}

bool sttp__connection_listen(struct sttp__connection *connection, event_callback_fn on_event)
{
    event_assign(&connection->event, connection->worker->base, connection->fd, EV_READ | EV_PERSIST,
                 on_event, connection);
    bool listens = event_add(&connection->event, NULL) == 0;
    connection->interest = listens ? EV_READ : 0;
    return listens;
}

void sttp__connection_announce(struct sttp__connection *connection,
                               const struct sttp__address *proxy)
{
    sttp_server *server = connection->worker->server;
    char text[STTP__ADDRESS_TEXT];
    if (proxy != NULL)
        sttp__address_format(proxy, text);
    connection->id = atomic_fetch_add(&server->next_id, 1) + 1;
    sttp__notify(server,
                 &(sttp_notice){.kind = STTP_NOTICE_OPENED,
                                .connection = connection->id,
                                .listener = connection->listener->address,
                                .proxy = proxy != NULL ? text : NULL},
                 &connection->peer);
}

void sttp__connection_fail(struct sttp__connection *connection, sttp_close_reason reason,
                           int system_errno)
{
    if (connection->failed)
        return;
    connection->failed = true;
    connection->reason = reason;
    connection->failure = system_errno;
}

void sttp__connection_close(struct sttp__connection *connection, sttp_close_reason reason)
{
    struct sttp__worker *worker = connection->worker;
    sttp_server *server = worker->server;
    int fd = connection->fd;
    if (connection->interest != 0)
        event_del(&connection->event);
    sttp__reply_orphan_all(connection);
    sttp__output_clear(&connection->output, &worker->pool);
    sttp__drop_input(connection);
    sttp__unsent_count(connection);
    close(fd);
    if (connection->counted)
        sttp__address_count_remove(server->addresses, &connection->peer);
    atomic_fetch_sub(&server->connections, 1);
    sttp__notify(server,
                 &(sttp_notice){.kind = connection->state == STTP__GREETING ? STTP_NOTICE_REFUSED
                                                                            : STTP_NOTICE_CLOSED,
                                .connection = connection->id,
                                .listener = connection->listener->address,
                                .reason = reason,
                                .system_errno = connection->failure,
                                .requests = connection->requests,
                                .detail = sttp__proxy_status_text(connection->refused_header)},
                 &connection->peer);
    sttp__worker_remove(connection);
    sttp__release(&server->allocator, connection);
}

void sttp__connection_reset(struct sttp__connection *connection, sttp_close_reason reason)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    sttp__connection_close(connection, reason);
}

/* A socket is writable again only when much of its queue is gone: a slow peer can take bytes for
 * long before that. */
void sttp__connection_spare_or_reset(struct sttp__connection *connection, sttp_close_reason reason)
{
    if (connection->since < connection->worker->now && sttp__connection_has_taken(connection))
        sttp__worker_set_timeout(connection, STTP__TIMEOUT_SEND, true);
    else
        sttp__connection_reset(connection, reason);
}

void sttp__connection_expire(struct sttp__connection *connection)
{
    switch (connection->timeout) {
    case STTP__TIMEOUT_IDLE:
        if (sttp__connection_has_input(connection))
            sttp__worker_set_timeout(connection, STTP__TIMEOUT_IDLE, true);
        else
            sttp__connection_close(connection, STTP_CLOSE_IDLE_TIMEOUT);
        break;
    case STTP__TIMEOUT_REQUEST:
        if (connection->state == STTP__GREETING) {
            sttp__connection_close(connection, STTP_CLOSE_REQUEST_TIMEOUT);
            break;
        }
        sttp__expire_request(connection);
        sttp__connection_run(connection);
        break;
    case STTP__TIMEOUT_SEND:
        sttp__connection_spare_or_reset(connection, STTP_CLOSE_SEND_TIMEOUT);
        break;
    default:
        sttp__connection_close(connection, connection->reason);
    }
}

/* The server stops: whether the header has come in whole. */
static bool has_greeted(struct sttp__connection *connection)
{
    enum sttp__greeted greeted = sttp__greet(connection);
    if (greeted == STTP__GREETING_WAITS)
        sttp__connection_close(connection, STTP_CLOSE_STOP);
    return greeted == STTP__GREETED;
}

void sttp__connection_stop(struct sttp__connection *connection)
{
    if (connection->state == STTP__GREETING && !has_greeted(connection))
        return;
    if (connection->state != STTP__OPEN)
        return;
    connection->stopping = true;
    if (ioctl(connection->fd, FIONREAD, &connection->last_bytes) != 0)
        connection->last_bytes = 0;
    const struct sttp__worker *worker = connection->worker;
    bool quiet = worker->now - connection->since >= worker->timeouts[STTP__TIMEOUT_LINGER];
    if (connection->timeout == STTP__TIMEOUT_IDLE && connection->last_bytes == 0 && quiet)
        sttp__connection_close(connection, STTP_CLOSE_STOP);
    else
        sttp__worker_schedule(connection);
}
