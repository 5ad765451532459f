#include "engine.h"

const char *sttp_close_reason_text(sttp_close_reason reason)
{
    switch (reason) {
    case STTP_CLOSE_NONE:
        return "none";
    case STTP_CLOSE_BY_CLIENT:
        return "closed by client";
    case STTP_CLOSE_RESET:
        return "connection failed";
    case STTP_CLOSE_IDLE_TIMEOUT:
        return "idle timeout";
    case STTP_CLOSE_REQUEST_TIMEOUT:
        return "request timeout";
    case STTP_CLOSE_SEND_TIMEOUT:
        return "send timeout";
    case STTP_CLOSE_LINE_TOO_LONG:
        return "line too long";
    case STTP_CLOSE_HTTP:
        return "HTTP request";
    case STTP_CLOSE_MAKE_ROOM:
        return "closed to make room";
    case STTP_CLOSE_TOO_MANY:
        return "too many connections";
    case STTP_CLOSE_UNSENT:
        return "too many unsent bytes";
    case STTP_CLOSE_MEMORY:
        return "out of memory";
    case STTP_CLOSE_UNTRUSTED:
        return "not a trusted proxy";
    case STTP_CLOSE_PROXY_HEADER:
        return "PROXY header refused";
    case STTP_CLOSE_BY_PROGRAM:
        return "closed by the program";
    case STTP_CLOSE_STOP:
        return "server stops";
    }
    return "unknown reason";
}

void sttp__notify(const sttp_server *server, sttp_notice *notice, const struct sttp__address *peer)
{
    if (server->options.notice == NULL)
        return;
    char text[STTP__ADDRESS_TEXT];
    if (peer != NULL) {
        sttp__address_format(peer, text);
        notice->peer = text;
    }
    server->options.notice(server->options.notice_context, notice);
}
