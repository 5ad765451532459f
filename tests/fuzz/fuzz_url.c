/* URLs: what is accepted has a normal form that names the same thing and is its own normal form;
 * what is refused has its place in the text. Where liburiparser is there and takes the URL as well,
 * both must have found the same parts. */
#include <sttp/url.h>

#ifdef HAVE_URIPARSER
#include <uriparser/Uri.h>
#endif

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

#ifdef HAVE_URIPARSER
static bool same_range(sttp_slice part, UriTextRangeA range)
{
    size_t size = range.first ? (size_t)(range.afterLast - range.first) : 0;

    return part.size == size && (size == 0 || memcmp(part.data, range.first, size) == 0);
}

/* The normal form is compared, since in it host and scheme are in lower case. */
static void check_oracle(const sttp_url *url)
{
    size_t size;
    char *normal = build(url, &size);
    const char *error_at;
    UriUriA uri;

    if (url->scheme != STTP_SCHEME_UNIX &&
        uriParseSingleUriExA(&uri, normal, normal + size, &error_at) == URI_SUCCESS) {
        bool ip6 = uri.hostData.ip6 != NULL;

        require(ip6 == (memchr(url->host.data, ':', url->host.size) != NULL), "kind of host");
        require(ip6 || uri.hostText.afterLast - uri.hostText.first == (ptrdiff_t)url->host.size,
                "host");
        require(!uri.userInfo.first && !uri.fragment.first, "no user and no fragment");
        require(same_range(url->query, uri.query), "query");
        require((url->query.data != NULL) == (uri.query.first != NULL), "a query or none");
        uriFreeUriMembersA(&uri);
    }
    free(normal);
}
#else
static void check_oracle(const sttp_url *url)
{
    (void)url;
}
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = exact_copy(data, size);
    char *buffer = malloc(size > 0 ? size : 1);
    size_t offset = 0;
    sttp_url url;
    sttp_status status;

    require(buffer != NULL, "memory");
    status = sttp_url_parse((sttp_slice){text, size}, buffer, size, &url, &offset);
    if (status == STTP_OK) {
        check_trip(&url, (sttp_slice){NULL, 0}, 1);
        check_oracle(&url);
    } else {
        require(offset <= size, "the place of a mistake is in the text");
        require(!url.host.data && !url.path.data, "a refused URL has no parts");
    }
    free(buffer);
    free(text);
    return 0;
}
