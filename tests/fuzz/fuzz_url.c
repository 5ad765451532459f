/* URLs: what is accepted has a normal form that names the same thing and is its own normal form;
 * what is refused has its place in the text. What is built of any parts and can be read has the
 * same parts. Where liburiparser takes the URL as well, as it stands or its normal form, both must
 * have found the same parts. */
#include <arpa/inet.h>
#include <strings.h>

#include <sttp/url.h>
#include <uriparser/Uri.h>

#include "property.h"

static char *build(const sttp_url *url, size_t *size)
{
    size_t again;
    char *text;

    require(sttp_url_build(url, NULL, 0, size) == STTP_ERR_BUFFER, "the size needed is told");
    text = malloc(*size);
    require(text != NULL, "memory");
    require(sttp_url_build(url, text, *size, &again) == STTP_OK && again == *size,
            "what was parsed can be built");
    return text;
}

/* `depth` counts down to the normal form of the normal form. */
static void check_trip(const sttp_url *url, sttp_slice text, int depth)
{
    size_t size;
    char *normal = build(url, &size);
    char *buffer = malloc(size);
    sttp_url again;

    require(buffer != NULL, "memory");
    require(sttp_url_parse((sttp_slice){normal, size}, buffer, size, &again, NULL) == STTP_OK,
            "what was built can be parsed");
    require(sttp_url_equal(url, &again), "the normal form names the same thing");
    if (depth > 0)
        check_trip(&again, (sttp_slice){normal, size}, depth - 1);
    else
        require(slices_equal(text, (sttp_slice){normal, size}), "the normal form is final");
    free(buffer);
    free(normal);
}

static sttp_slice slice_of(UriTextRangeA range)
{
    return (sttp_slice){range.first, range.first ? (size_t)(range.afterLast - range.first) : 0};
}

static bool same_text(sttp_slice a, sttp_slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Letters of either case are the same. */
static bool same_word(sttp_slice a, sttp_slice b)
{
    return a.size == b.size && (a.size == 0 || strncasecmp(a.data, b.data, a.size) == 0);
}

static void check_host(const sttp_url *url, const UriUriA *uri)
{
    unsigned char address[16];
    char text[STTP_MAX_HOST + 1];

    if (!uri->hostData.ip6) {
        require(same_word(url->host, slice_of(uri->hostText)), "host");
        return;
    }
    require(url->host.size <= STTP_MAX_HOST, "host is short enough");
    memcpy(text, url->host.data, url->host.size);
    text[url->host.size] = '\0';
    require(inet_pton(AF_INET6, text, address) == 1 &&
                memcmp(address, uri->hostData.ip6->data, sizeof address) == 0,
            "IPv6 address");
}

static void check_port(const sttp_url *url, const UriUriA *uri)
{
    sttp_slice text = slice_of(uri->portText);
    unsigned port = 0;

    for (size_t i = 0; i < text.size && port <= UINT16_MAX; i++)
        port = port * 10 + (unsigned)(text.data[i] - '0');
    if (text.size == 0)
        port = url->scheme == STTP_SCHEME_STTPS ? STTP_DEFAULT_TLS_PORT : STTP_DEFAULT_PORT;
    require(port == url->port, "port");
}

/* Puts the segments together again and decodes them. */
static void check_path(const sttp_url *url, const UriUriA *uri, size_t size)
{
    char *path = malloc(size + 2);
    char *end = path;

    require(path != NULL, "memory");
    for (const UriPathSegmentA *segment = uri->pathHead; segment; segment = segment->next) {
        sttp_slice text = slice_of(segment->text);
        *end++ = '/';
        if (text.size > 0)
            memcpy(end, text.data, text.size);
        end += text.size;
    }
    if (end == path)
        *end++ = '/';
    *end = '\0';
    end = (char *)(uintptr_t)uriUnescapeInPlaceA(path);
    require(same_text(url->path, (sttp_slice){path, (size_t)(end - path)}), "path");
    free(path);
}

static void check_parts(const sttp_url *url, const UriUriA *uri, size_t size)
{
    sttp_slice scheme = url->scheme == STTP_SCHEME_STTPS ? STTP_SLICE("sttps") : STTP_SLICE("sttp");

    require(same_word(scheme, slice_of(uri->scheme)), "scheme");
    check_host(url, uri);
    check_port(url, uri);
    check_path(url, uri, size);
    require(!uri->userInfo.first && !uri->fragment.first, "no user and no fragment");
    require(same_text(url->query, slice_of(uri->query)), "query");
    require((url->query.data != NULL) == (uri->query.first != NULL), "a query or none");
}

static void compare(const sttp_url *url, const char *text, size_t size)
{
    const char *error_at;
    UriUriA uri;

    if (uriParseSingleUriExA(&uri, text, text + size, &error_at) != URI_SUCCESS)
        return;
    check_parts(url, &uri, size);
    uriFreeUriMembersA(&uri);
}

static void check_oracle(const sttp_url *url, sttp_slice text)
{
    size_t size;
    char *normal = build(url, &size);

    if (url->scheme != STTP_SCHEME_UNIX) {
        compare(url, text.data, text.size);
        compare(url, normal, size);
    }
    free(normal);
}

/* A URL of these bytes, a scheme, a port and then up to three fields, is refused or read back. */
static void check_made(const char *data, size_t size)
{
    sttp_slice rest = {data + 3, size - 3};
    sttp_url url = {.scheme = (sttp_scheme)((unsigned char)data[0] % 4),
                    .port = (uint16_t)((unsigned char)data[1] << 8 | (unsigned char)data[2])};
    sttp_slice place = take_field(&rest);

    *(url.scheme == STTP_SCHEME_UNIX ? &url.socket : &url.host) = place;
    url.path = take_field(&rest);
    url.query = take_field(&rest);
    if (url.scheme == STTP_SCHEME_UNIX)
        url.port = 0;
    if (sttp_url_build(&url, NULL, 0, &size) == STTP_ERR_BUFFER)
        check_trip(&url, (sttp_slice){NULL, 0}, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = exact_copy(data, size);
    char *buffer = malloc(size > 0 ? size : 1);
    size_t offset = 0;
    sttp_url url;
    sttp_status status;

    require(buffer != NULL, "memory");
    if (size >= 3)
        check_made(text, size);
    status = sttp_url_parse((sttp_slice){text, size}, buffer, size, &url, &offset);
    if (status == STTP_OK) {
        check_trip(&url, (sttp_slice){NULL, 0}, 1);
        check_oracle(&url, (sttp_slice){text, size});
    } else {
        require(offset <= size, "the place of a mistake is in the text");
        require(!url.host.data && !url.path.data, "a refused URL has no parts");
    }
    free(buffer);
    free(text);
    return 0;
}
