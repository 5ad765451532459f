/* Writing URLs, and the rules of their parts. The one place that knows what needs a percent sign:
 * whatever RFC 3986 does not let stand in a path, in ASCII. Other characters stay as they are,
 * which is what people read and what RFC 3987 allows. */
#include <sttp/url.h>

#include <string.h>

#include "ascii.h"
#include "host.h"
#include "url_rules.h"
#include "utf8.h"

typedef struct writer {
    char *buffer;
    size_t capacity;
    size_t size; /* what is needed, which may be more than there is room for */
} writer;

sttp_slice sttp__scheme_prefix(sttp_scheme scheme)
{
    switch (scheme) {
    case STTP_SCHEME_STTP:
        return STTP_SLICE("sttp://");
    case STTP_SCHEME_STTPS:
        return STTP_SLICE("sttps://");
    case STTP_SCHEME_UNIX:
        return STTP_SLICE("sttp+unix:");
    }
    return (sttp_slice){0};
}

uint16_t sttp__scheme_port(sttp_scheme scheme)
{
    switch (scheme) {
    case STTP_SCHEME_STTP:
        return STTP_DEFAULT_PORT;
    case STTP_SCHEME_STTPS:
        return STTP_DEFAULT_TLS_PORT;
    case STTP_SCHEME_UNIX:
        return 0;
    }
    return 0;
}

/* Whether every character is valid UTF-8, no control character and none of `forbidden`. */
static sttp_status check_characters(sttp_slice part, const char *forbidden, size_t *at)
{
    size_t size;

    for (*at = 0; *at < part.size; *at += size) {
        size = sttp__character_size(part.data + *at, part.size - *at);
        if (size == 0)
            return STTP_ERR_UTF8;
        if (sttp__is_control(part.data + *at, size) || strchr(forbidden, part.data[*at]))
            return STTP_ERR_URL_CHARACTER;
    }
    return STTP_OK;
}

sttp_status sttp__check_socket(sttp_slice socket, size_t *at)
{
    sttp_status status;

    *at = 0;
    if (socket.size == 0 || socket.data[0] != '/' || socket.size > STTP_MAX_SOCKET_PATH)
        return STTP_ERR_URL_SOCKET;
    status = check_characters(socket, "", at);
    return status == STTP_ERR_URL_CHARACTER ? STTP_ERR_URL_SOCKET : status;
}

sttp_status sttp__check_url_path(sttp_slice path, size_t *at)
{
    *at = 0;
    if (path.size == 0 || path.data[0] != '/')
        return STTP_ERR_URL_PATH;
    return check_characters(path, " ?", at);
}

sttp_status sttp__check_url_query(sttp_slice query, size_t *at)
{
    sttp_status status = check_characters(query, " #", at);

    if (status == STTP_ERR_URL_CHARACTER && query.data[*at] == '#')
        status = STTP_ERR_URL_FRAGMENT;
    return status;
}

static sttp_status check_url(const sttp_url *url)
{
    size_t at;
    sttp_status status = STTP_OK;

    if (sttp__scheme_prefix(url->scheme).size == 0)
        return STTP_ERR_URL_SCHEME;
    if (url->scheme == STTP_SCHEME_UNIX)
        status = sttp__check_socket(url->socket, &at);
    else
        status = sttp__check_host(url->host, &at);
    if (status == STTP_OK && url->scheme != STTP_SCHEME_UNIX && url->port == 0)
        status = STTP_ERR_URL_PORT;
    if (status == STTP_OK)
        status = sttp__check_url_path(url->path, &at);
    if (status == STTP_OK && url->query.data)
        status = sttp__check_url_query(url->query, &at);
    return status;
}

static void put(writer *w, char c)
{
    if (w->size < w->capacity)
        w->buffer[w->size] = c;
    w->size++;
}

static void put_all(writer *w, sttp_slice part)
{
    for (size_t i = 0; i < part.size; i++)
        put(w, part.data[i]);
}

static void put_lower(writer *w, sttp_slice part)
{
    for (size_t i = 0; i < part.size; i++)
        put(w, (char)sttp__lower(part.data[i]));
}

/* Puts a percent sign before whatever is ASCII and neither a letter, a digit nor one of `plain`. */
static void put_escaped(writer *w, sttp_slice part, const char *plain)
{
    for (size_t i = 0; i < part.size; i++) {
        unsigned char c = (unsigned char)part.data[i];
        unsigned char small = sttp__lower(part.data[i]);

        if (c >= 0x80 || (small >= 'a' && small <= 'z') || (c >= '0' && c <= '9') ||
            strchr(plain, c)) {
            put(w, (char)c);
            continue;
        }
        put(w, '%');
        put(w, "0123456789ABCDEF"[c >> 4]);
        put(w, "0123456789ABCDEF"[c & 15]);
    }
}

static void put_ipv6(writer *w, sttp_slice host)
{
    unsigned char value[STTP__IPV6_SIZE];
    char text[STTP__IPV6_TEXT_SIZE];
    sttp_slice zone = sttp__ipv6_zone(host);

    put(w, '[');
    if (sttp__ipv6_value(host, value))
        put_all(w, (sttp_slice){text, sttp__ipv6_text(value, text)});
    put_escaped(w, zone, "-._~");
    put(w, ']');
}

static void put_port(writer *w, uint16_t port)
{
    unsigned divisor = 10000;

    put(w, ':');
    while (divisor > port)
        divisor /= 10;
    for (; divisor > 0; divisor /= 10)
        put(w, (char)('0' + port / divisor % 10));
}

static void put_authority(writer *w, const sttp_url *url)
{
    if (sttp__host_is_ipv6(url->host))
        put_ipv6(w, url->host);
    else
        put_lower(w, url->host);
    if (url->port != sttp__scheme_port(url->scheme))
        put_port(w, url->port);
}

sttp_status sttp_url_build(const sttp_url *url, char *buffer, size_t capacity, size_t *size)
{
    writer w = {.buffer = buffer, .capacity = capacity};
    sttp_status status = check_url(url);

    *size = 0;
    if (status != STTP_OK)
        return status;
    put_all(&w, sttp__scheme_prefix(url->scheme));
    if (url->scheme == STTP_SCHEME_UNIX) {
        put_escaped(&w, url->socket, "-._~!$&'()*+,;=@/");
        put(&w, ':');
    } else {
        put_authority(&w, url);
    }
    put_escaped(&w, url->path, "-._~!$&'()*+,;=:@/");
    if (url->query.data) {
        put(&w, '?');
        put_all(&w, url->query);
    }
    *size = w.size;
    return w.size <= capacity ? STTP_OK : STTP_ERR_BUFFER;
}
