/* Requests: bytes that come in pieces mean what they mean in one; what is accepted survives the
 * serializer; what is refused is explained; what the serializer takes, the parser reads back. */
#include <sttp/parser.h>
#include <sttp/serializer.h>
#include <sttp/url.h>

#include "property.h"

enum { MAX_SPLIT = 256 }; /* bytes of input that are cut in two at every place */

struct result {
    sttp_status status;
    size_t consumed;
    sttp_request request;
    sttp_problem problem;
};

static bool results_equal(const struct result *a, const struct result *b)
{
    if (a->status != b->status || a->consumed != b->consumed)
        return false;
    if (a->status == STTP_NEED_MORE || a->status == STTP_END)
        return true;
    if (a->status == STTP_OK)
        return a->request.action == b->request.action &&
               slices_equal(a->request.path, b->request.path) &&
               slices_equal(a->request.query, b->request.query) &&
               slices_equal(a->request.contents, b->request.contents) &&
               slices_equal(a->request.origin, b->request.origin);
    return a->problem.status == a->status && problems_equal(&a->problem, &b->problem);
}

static void parse(sttp_parser *parser, const char *data, size_t size, struct result *result)
{
    result->status = sttp_parse_request(parser, data, size, &result->consumed, &result->request,
                                        &result->problem);
}

/* The same bytes from a sender of single bytes, each time at another place in memory. */
static void check_bytewise(sttp_parser *parser, const char *data, size_t size,
                           const struct result *whole)
{
    struct result result;
    size_t given = 0;

    do {
        given += next_step(given, size);
        char *copy = exact_copy(data, given);
        parse(parser, copy, given, &result);
        require(result.status != STTP_NEED_MORE || parser->_scanned == given,
                "no byte is looked at twice");
        require(result.status == STTP_NEED_MORE || results_equal(whole, &result),
                "single bytes change nothing");
        free(copy);
    } while (result.status == STTP_NEED_MORE && given < size);
    require(result.status == whole->status, "single bytes change nothing");
}

/* The same bytes cut in two at each place. */
static void check_splits(sttp_parser before, const char *data, size_t size,
                         const struct result *whole)
{
    for (size_t given = 0; given < size && size <= MAX_SPLIT; given++) {
        sttp_parser parser = before;
        struct result result;
        char *copy = exact_copy(data, given);
        parse(&parser, copy, given, &result);
        if (result.status == STTP_NEED_MORE)
            parse(&parser, data, size, &result);
        require(results_equal(whole, &result), "cutting in two changes nothing");
        free(copy);
    }
}

static void check_slices(const struct result *result, const char *data)
{
    const sttp_request *request = &result->request;
    size_t size = result->consumed;

    require(is_inside(request->path, data, size) && is_inside(request->query, data, size) &&
                is_inside(request->contents, data, size) && is_inside(request->origin, data, size),
            "slices are in the line");
}

static void check_problem(const struct result *result, const char *data, size_t size)
{
    const sttp_problem *problem = &result->problem;
    bool none = problem->echo.size == 1 && problem->echo.data[0] == '-';

    require(problem->offset <= size, "the place of a mistake is in the line");
    require(is_inside(problem->echo, data, size) || none, "the echo is in the line, or none");
    require(none || result->status != STTP_ERR_LINE_TOO_LONG, "a line too long has no echo");
    require_clean(problem);
}

/* Serializes into exactly the room that it needs. */
static char *serialize(const sttp_request *request, size_t *size)
{
    size_t needed, again;
    char *line;

    require(sttp_serialize_request(request, NULL, 0, &needed, NULL) == STTP_ERR_BUFFER &&
                needed <= STTP_MAX_REQUEST_LINE,
            "the size needed is told");
    line = malloc(needed);
    require(line != NULL, "memory");
    require(sttp_serialize_request(request, line, needed - 1, &again, NULL) == STTP_ERR_BUFFER &&
                again == needed,
            "too little room is told");
    require(sttp_serialize_request(request, line, needed, size, NULL) == STTP_OK && *size == needed,
            "what was parsed can be serialized");
    return line;
}

static void check_trip(const sttp_request *request)
{
    sttp_parser parser = {.proxy = true};
    struct result again;
    sttp_problem problem;
    size_t size;
    char *copy;

    require(sttp_check_path(request->action, request->path, &problem) == STTP_OK, "path is valid");
    copy = serialize(request, &size);
    parse(&parser, copy, size, &again);
    require(again.status == STTP_OK && again.consumed == size, "what was serialized can be parsed");
    require(again.request.action == request->action &&
                slices_equal(again.request.path, request->path) &&
                slices_equal(again.request.query, request->query) &&
                slices_equal(again.request.contents, request->contents) &&
                slices_equal(again.request.origin, request->origin),
            "a request survives the trip");
    free(copy);
}

/* What a proxy does with a request: it finds out whom to ask, and asks in the path form. */
static void check_origin(const sttp_request *request)
{
    char buffer[STTP_MAX_REQUEST_LINE];
    sttp_request rewritten = *request;
    size_t size, offset;
    sttp_url url;

    if (!request->origin.data)
        return;
    require(sttp_origin_parse(request->origin, buffer, request->origin.size, &url, &offset) ==
                    STTP_OK &&
                !url.path.data,
            "the parser has checked the origin");
    url.path = STTP_SLICE("/");
    require(sttp_url_build(&url, NULL, 0, &size) == STTP_ERR_BUFFER, "the origin has all parts");
    rewritten.origin = (sttp_slice){NULL, 0};
    require(sttp_serialize_request(&rewritten, NULL, 0, &size, NULL) == STTP_ERR_BUFFER,
            "what stands behind the origin is a request");
    check_trip(&rewritten);
}

static void check_query(sttp_slice encoded)
{
    char *buffer = malloc(encoded.size + 1);
    sttp_problem problem;
    sttp_query query;

    require(buffer != NULL, "memory");
    require(sttp_query_parse(encoded, buffer, &query, &problem) == STTP_OK,
            "the parser has checked the query");
    require(query.limit <= STTP_MAX_LIST_LIMIT, "limit is in range");
    require(sttp_count_chars(query.text) != SIZE_MAX && sttp_count_chars(query.name) != SIZE_MAX &&
                sttp_count_chars(query.after) != SIZE_MAX,
            "decoded values are UTF-8");
    if (query.name.data)
        sttp_name_matches(query.name, query.text.data ? query.text : query.name);
    free(buffer);
}

static void check_echo(sttp_slice echo)
{
    char line[STTP_MAX_STATUS_LINE];
    sttp_response response = {
        .code = STTP_CODE_CLIENT_ERROR, .echo = echo, .message = STTP_SLICE("no")};
    size_t size;

    require(sttp_serialize_response(&response, line, sizeof(line), &size, NULL) == STTP_OK,
            "an echo can be answered with");
}

/* A request of these bytes, an action and then up to four fields, is refused or read back. */
static void check_made(const char *data, size_t size)
{
    sttp_slice rest = {data, size};
    sttp_request request = {0};
    sttp_problem problem;

    if (size > 0)
        request.action = (sttp_action)((unsigned char)*rest.data % (STTP_ACTION_DELETE + 1));
    rest.data += size > 0;
    rest.size -= size > 0;
    request.path = take_field(&rest);
    request.query = take_field(&rest);
    request.contents = take_field(&rest);
    request.origin = take_field(&rest);
    switch (sttp_serialize_request(&request, NULL, 0, &size, &problem)) {
    case STTP_ERR_BUFFER:
        check_trip(&request);
        break;
    case STTP_OK:
        require(false, "a request takes room");
        break;
    default:
        require(size == 0, "what is refused has no size");
        require_clean(&problem);
    }
}

/* Requests that a server takes, or a proxy. */
static void check_parser(const char *input, size_t size, bool proxy)
{
    sttp_parser whole_parser = {.proxy = proxy}, byte_parser = whole_parser;
    struct result whole;
    size_t start = 0;

    do {
        parse(&whole_parser, input + start, size - start, &whole);
        if (start < size) {
            check_splits(byte_parser, input + start, size - start, &whole);
            check_bytewise(&byte_parser, input + start, size - start, &whole);
        }
        require(whole.consumed <= size - start, "no more consumed than given");
        if (whole.status == STTP_OK) {
            check_slices(&whole, input + start);
            check_trip(&whole.request);
            check_origin(&whole.request);
            check_query(whole.request.query);
        } else if (whole.status != STTP_NEED_MORE && whole.status != STTP_END) {
            check_problem(&whole, input + start, size - start);
            check_echo(whole.problem.echo);
        }
        start += whole.consumed;
    } while (whole.consumed > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *input = exact_copy(data, size);

    check_made(input, size);
    check_parser(input, size, false);
    check_parser(input, size, true);
    free(input);
    return 0;
}
