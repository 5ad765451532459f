/* Reading and comparing URLs. One pass from left to right; each part is decoded into the caller's
 * buffer first and judged there, so that what a percent sign hides is judged like what stands
 * openly. `place_of` leads from a decoded byte back to where it came from. */
#include <sttp/url.h>

#include <string.h>

#include "ascii.h"
#include "host.h"
#include "url_rules.h"
#include "utf8.h"

typedef struct reader {
    sttp_slice text;
    size_t at;   /* the next byte to read; after a mistake, where it is */
    char *space; /* the caller's buffer behind what is taken */
} reader;

static sttp_status fail(reader *r, sttp_status status, size_t at)
{
    r->at = at;
    return status;
}

static bool next_is(const reader *r, char c)
{
    return r->at < r->text.size && r->text.data[r->at] == c;
}

/* The place of the first byte from `at` that is one of `set`, or the end. */
static size_t find(const reader *r, size_t at, const char *set)
{
    while (at < r->text.size && (!r->text.data[at] || !strchr(set, r->text.data[at])))
        at++;
    return at;
}

static int hex_value(char c)
{
    if (sttp__is_digit(c))
        return c - '0';
    return sttp__lower(c) >= 'a' && sttp__lower(c) <= 'f' ? sttp__lower(c) - 'a' + 10 : -1;
}

/* The byte that "%" and two hex digits stand for; -1 where they are not there. */
static int escaped(const char *at, size_t left)
{
    int high = left >= 3 ? hex_value(at[1]) : -1;
    int low = left >= 3 ? hex_value(at[2]) : -1;

    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Decodes all up to `end` into *part. */
static sttp_status decode(reader *r, size_t end, sttp_slice *part)
{
    size_t size = 0;

    while (r->at < end) {
        char c = r->text.data[r->at];
        int byte = c == '%' ? escaped(r->text.data + r->at, end - r->at) : (unsigned char)c;

        if (byte < 0)
            return STTP_ERR_URL_ESCAPE;
        r->space[size++] = (char)byte;
        r->at += c == '%' ? 3 : 1;
    }
    *part = (sttp_slice){r->space, size};
    r->space += size;
    return STTP_OK;
}

/* Where in the text the byte `offset` of the part that began at `start` came from. */
static size_t place_of(const reader *r, size_t start, size_t offset)
{
    for (; offset > 0; offset--)
        start += r->text.data[start] == '%' ? 3 : 1;
    return start;
}

/* Copies all up to `end` as it stands. */
static sttp_slice copy(reader *r, size_t end)
{
    sttp_slice part = {r->space, end - r->at};

    memcpy(r->space, r->text.data + r->at, part.size);
    r->space += part.size;
    r->at = end;
    return part;
}

static void lower(sttp_slice part, char *bytes)
{
    for (size_t i = 0; i < part.size; i++)
        bytes[i] = (char)sttp__lower(part.data[i]);
}

static sttp_status read_scheme(reader *r, sttp_url *url)
{
    for (sttp_scheme scheme = STTP_SCHEME_STTP; scheme <= STTP_SCHEME_UNIX; scheme++) {
        sttp_slice prefix = sttp__scheme_prefix(scheme);

        if (sttp__begins_fold(r->text, prefix)) {
            url->scheme = scheme;
            r->at = prefix.size;
            return STTP_OK;
        }
    }
    return STTP_ERR_URL_SCHEME;
}

static sttp_status read_name(reader *r, size_t end, sttp_slice *host)
{
    size_t start = r->at;
    size_t at;
    char *bytes = r->space;
    sttp_status status;

    *host = copy(r, end);
    lower(*host, bytes);
    status = sttp__check_host(*host, &at);
    return status == STTP_OK ? STTP_OK : fail(r, status, start + at);
}

/* A percent sign begins a zone, and is itself written as "%25" (RFC 6874). */
static sttp_status read_zone(reader *r, size_t end, sttp_slice *host)
{
    size_t start = r->at;
    sttp_slice zone;

    if (end - start < 3 || memcmp(r->text.data + start, "%25", 3) != 0)
        return STTP_ERR_URL_ZONE;
    *r->space++ = '%';
    r->at += 3;
    if (decode(r, end, &zone) != STTP_OK)
        return STTP_ERR_URL_ZONE;
    host->size += 1 + zone.size;
    return STTP_OK;
}

static sttp_status read_ipv6(reader *r, size_t end, sttp_slice *host)
{
    size_t start = r->at + 1;
    size_t close = find(r, start, "]");
    size_t sign = find(r, start, "%]");
    char *bytes = r->space;
    sttp_status status = STTP_OK;
    size_t at;

    if (close >= end)
        return STTP_ERR_URL_IPV6;
    r->at = start;
    *host = copy(r, sign);
    lower(*host, bytes);
    if (!sttp__host_is_ipv6(*host))
        return fail(r, STTP_ERR_URL_IPV6, start);
    if (sign < close)
        status = read_zone(r, close, host);
    if (status != STTP_OK)
        return status;
    status = sttp__check_host(*host, &at);
    if (status != STTP_OK)
        return fail(r, status, status == STTP_ERR_URL_ZONE ? sign : start + at);
    r->at = close + 1;
    return STTP_OK;
}

/* No leading zero: a port has one way to be written, as everywhere in this protocol. */
static sttp_status read_port(reader *r, size_t end, uint16_t *port)
{
    size_t start = ++r->at;
    unsigned long value = 0;

    if (start == end || r->text.data[start] == '0')
        return STTP_ERR_URL_PORT;
    for (; r->at < end; r->at++) {
        if (!sttp__is_digit(r->text.data[r->at]))
            return STTP_ERR_URL_PORT;
        value = value * 10 + (unsigned long)(r->text.data[r->at] - '0');
        if (value > UINT16_MAX)
            return fail(r, STTP_ERR_URL_PORT, start);
    }
    *port = (uint16_t)value;
    return STTP_OK;
}

static sttp_status read_authority(reader *r, sttp_url *url)
{
    size_t end = find(r, r->at, "/?#");
    sttp_status status;

    if (find(r, r->at, "@") < end)
        return STTP_ERR_URL_USER;
    if (next_is(r, '['))
        status = read_ipv6(r, end, &url->host);
    else
        status = read_name(r, find(r, r->at, ":/?#"), &url->host);
    if (status != STTP_OK)
        return status;
    url->port = sttp__scheme_port(url->scheme);
    if (r->at == end)
        return STTP_OK;
    return next_is(r, ':') ? read_port(r, end, &url->port) : STTP_ERR_URL_HOST;
}

static sttp_status read_socket(reader *r, sttp_url *url)
{
    size_t start = r->at;
    size_t at;
    sttp_status status = decode(r, find(r, start, ":?#"), &url->socket);

    if (status != STTP_OK)
        return status;
    status = sttp__check_socket(url->socket, &at);
    if (status != STTP_OK)
        return fail(r, status, place_of(r, start, at));
    if (!next_is(r, ':'))
        return STTP_OK;
    r->at++;
    return next_is(r, '/') ? STTP_OK : STTP_ERR_URL_PATH;
}

static sttp_status read_path(reader *r, sttp_url *url)
{
    size_t start = r->at;
    size_t end = find(r, start, "?#");
    size_t at;
    sttp_status status;

    if (start == end) {
        *r->space = '/';
        url->path = (sttp_slice){r->space++, 1};
        return STTP_OK;
    }
    status = decode(r, end, &url->path);
    if (status != STTP_OK)
        return status;
    status = sttp__check_url_path(url->path, &at);
    return status == STTP_OK ? STTP_OK : fail(r, status, place_of(r, start, at));
}

static sttp_status read_query(reader *r, sttp_url *url)
{
    size_t start = r->at + 1;
    size_t at;
    sttp_status status;

    if (!next_is(r, '?'))
        return STTP_OK;
    r->at = start;
    url->query = copy(r, find(r, start, "#"));
    status = sttp__check_url_query(url->query, &at);
    return status == STTP_OK ? STTP_OK : fail(r, status, start + at);
}

static sttp_status read_beginning(reader *r, sttp_url *url)
{
    sttp_problem problem;
    sttp_status status = sttp__check_encoding(r->text, STTP__TEXT_CONTROLS, &problem);

    return status == STTP_OK ? read_scheme(r, url) : fail(r, status, problem.offset);
}

static sttp_status read_url(reader *r, sttp_url *url)
{
    sttp_status status = read_beginning(r, url);

    if (status == STTP_OK)
        status = url->scheme == STTP_SCHEME_UNIX ? read_socket(r, url) : read_authority(r, url);
    if (status == STTP_OK)
        status = read_path(r, url);
    if (status == STTP_OK)
        status = read_query(r, url);
    if (status == STTP_OK && r->at < r->text.size)
        status = STTP_ERR_URL_FRAGMENT;
    return status;
}

static sttp_status read_origin(reader *r, sttp_url *url)
{
    sttp_status status = read_beginning(r, url);

    if (status == STTP_OK && url->scheme == STTP_SCHEME_UNIX)
        return fail(r, STTP_ERR_URL_SCHEME, 0);
    if (status == STTP_OK)
        status = read_authority(r, url);
    if (status == STTP_OK && r->at < r->text.size)
        status = next_is(r, '#') ? STTP_ERR_URL_FRAGMENT : STTP_ERR_URL_PATH;
    return status;
}

typedef sttp_status read_function(reader *r, sttp_url *url);

static sttp_status parse(read_function *read, sttp_slice text, char *buffer, size_t capacity,
                         sttp_url *url, size_t *offset)
{
    reader r = {.text = text, .space = buffer};
    sttp_status status = STTP_ERR_BUFFER;

    *url = (sttp_url){0};
    if (capacity >= text.size)
        status = read(&r, url);
    if (status != STTP_OK)
        *url = (sttp_url){0};
    if (offset)
        *offset = r.at;
    return status;
}

sttp_status sttp_url_parse(sttp_slice text, char *buffer, size_t capacity, sttp_url *url,
                           size_t *offset)
{
    return parse(read_url, text, buffer, capacity, url, offset);
}

sttp_status sttp_origin_parse(sttp_slice origin, char *buffer, size_t capacity, sttp_url *url,
                              size_t *offset)
{
    return parse(read_origin, origin, buffer, capacity, url, offset);
}

static bool equal_bytes(sttp_slice a, sttp_slice b)
{
    if (!a.data || !b.data)
        return !a.data && !b.data;
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

static bool equal_hosts(sttp_slice a, sttp_slice b)
{
    unsigned char value_a[STTP__IPV6_SIZE], value_b[STTP__IPV6_SIZE];

    if (sttp__ipv6_value(a, value_a) && sttp__ipv6_value(b, value_b))
        return memcmp(value_a, value_b, sizeof value_a) == 0 &&
               equal_bytes(sttp__ipv6_zone(a), sttp__ipv6_zone(b));
    return a.size == b.size && sttp__equal_fold(a.data, b.data, a.size);
}

bool sttp_url_equal(const sttp_url *a, const sttp_url *b)
{
    bool same_place;

    if (a->scheme != b->scheme)
        return false;
    if (a->scheme == STTP_SCHEME_UNIX)
        same_place = equal_bytes(a->socket, b->socket);
    else
        same_place = a->port == b->port && equal_hosts(a->host, b->host);
    return same_place && equal_bytes(a->path, b->path) && equal_bytes(a->query, b->query);
}
