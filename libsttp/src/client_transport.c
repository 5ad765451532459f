/* The plain socket, as a transport like any other. Its session is a part of the client, so opening
 * one cannot fail. */
#include "client_private.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

static void *plain_open(void *context, int fd, const char *host)
{
    sttp__plain *session = context;

    (void)host;
    *session = (sttp__plain){.fd = fd};
    return session;
}

static int plain_handshake(void *session, short *wants)
{
    (void)session;
    (void)wants;
    return 1;
}

static ptrdiff_t finish(sttp__plain *session, ssize_t result, short event, short *wants)
{
    session->system_errno = result < 0 ? errno : 0;
    *wants = result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? event : 0;
    return result;
}

static ptrdiff_t plain_read(void *context, char *buffer, size_t size, short *wants)
{
    sttp__plain *session = context;
    ssize_t result;

    do {
        result = recv(session->fd, buffer, size, 0);
    } while (result < 0 && errno == EINTR);
    return finish(session, result, POLLIN, wants);
}

static ptrdiff_t plain_write(void *context, const char *data, size_t size, short *wants)
{
    sttp__plain *session = context;
    ssize_t result;

    do {
        result = send(session->fd, data, size, MSG_NOSIGNAL);
    } while (result < 0 && errno == EINTR);
    return finish(session, result, POLLOUT, wants);
}

static void plain_explain(void *context, char *buffer, size_t capacity)
{
    const sttp__plain *session = context;
    sttp__text text = sttp__text_begin(buffer, capacity);

    sttp__text_add(&text, strerror(session->system_errno));
}

static void plain_close(void *session)
{
    (void)session;
}

sttp_transport sttp__plain_transport(sttp__plain *session)
{
    return (sttp_transport){
        .open = plain_open,
        .handshake = plain_handshake,
        .read = plain_read,
        .write = plain_write,
        .explain = plain_explain,
        .close = plain_close,
        .context = session,
    };
}

bool sttp__is_plain(const sttp_client *client)
{
    return client->transport.open == plain_open;
}
