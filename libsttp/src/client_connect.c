/* Opening and closing the one connection. All of opening (resolve, connect, handshake) shares one
 * deadline. */
#include "client_private.h"

#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "memory.h"

/* A server that closes after each answer does so right behind it; one that closes later, or after
 * it was seen to keep a connection, has other reasons: it is idle too long, or restarted. */
enum { PROMPT_CLOSE = 1000 * 1000 };

static sttp__deadline connect_deadline(const sttp_client *client)
{
    sttp__deadline deadline = {sttp__now() + client->connect_timeout, "connect timeout"};

    return deadline.at < client->deadline.at ? deadline : client->deadline;
}

static sttp__address unix_address(const char *path)
{
    sttp__address address = {.size = sizeof(struct sockaddr_un)};
    struct sockaddr_un *socket = (struct sockaddr_un *)&address.socket;

    socket->sun_family = AF_UNIX;
    memcpy(socket->sun_path, path, strlen(path) + 1); /* its length was checked with the options */
    return address;
}

static sttp_status connect_somewhere(sttp_client *client, const sttp__deadline *deadline)
{
    sttp__address local;
    sttp__addresses addresses = {0};
    sttp_status status;

    if (client->socket_path) {
        local = unix_address(client->socket_path);
        return sttp__race(client, &(sttp__addresses){&local, 1}, deadline);
    }
    if (client->given.count > 0)
        return sttp__race(client, &client->given, deadline);
    status = sttp__resolve(client, deadline, &addresses);
    if (status == STTP_OK)
        status = sttp__race(client, &addresses, deadline);
    sttp__release(&client->memory, addresses.items);
    return status;
}

static sttp_status handshake_failed(sttp_client *client)
{
    sttp__text text = sttp__error_begin(client, STTP_ERR_TRANSPORT, STTP_PHASE_HANDSHAKE, 0);
    char why[sizeof client->connection.why];

    client->transport.explain(client->connection.session, why, sizeof why);
    sttp__text_add(&text, client->origin ? "the handshake with proxy " : "the handshake with ");
    sttp__text_add(&text, client->connection.address);
    sttp__text_add(&text, " failed: ");
    sttp__text_add(&text, why);
    return sttp__error_end(client, &text);
}

static sttp_status handshake(sttp_client *client, const sttp__deadline *deadline)
{
    sttp__connection *c = &client->connection;
    short wants = 0;

    c->session =
        client->transport.open(client->transport.context, c->fd, client->host ? client->host : "");
    if (!c->session)
        return sttp__error(client, STTP_ERR_MEMORY, STTP_PHASE_HANDSHAKE, 0);
    while (client->transport.handshake(c->session, &wants) != 1) {
        if (wants == 0)
            return handshake_failed(client);
        if (!sttp__wait(c->fd, wants, deadline->at))
            return sttp__error_timeout(client, STTP_PHASE_HANDSHAKE, deadline->name);
        wants = 0;
    }
    return STTP_OK;
}

sttp_status sttp__open(sttp_client *client)
{
    const sttp__deadline deadline = connect_deadline(client);
    sttp_status status;

    client->connection = (sttp__connection){.fd = -1};
    client->parser = (sttp_parser){0};
    sttp__input_clear(&client->input);
    status = connect_somewhere(client, &deadline);
    if (status != STTP_OK)
        return status;
    status = handshake(client, &deadline);
    if (status != STTP_OK)
        sttp__close(client, status);
    return status;
}

void sttp__close(sttp_client *client, sttp_status why)
{
    sttp__connection *c = &client->connection;

    if (c->fd < 0)
        return;
    if (c->ended && c->answers == 1 && !client->keeps_open &&
        sttp__now() - c->answered_at < PROMPT_CLOSE)
        client->closes_each_time = true;
    if (c->session)
        client->transport.close(c->session);
    c->session = NULL;
    close(c->fd);
    c->fd = -1;
    sttp__trace(client,
                (sttp_trace){.kind = STTP_TRACE_CLOSED, .address = c->address, .status = why});
}
