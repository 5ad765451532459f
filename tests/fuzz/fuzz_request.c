/* Requests: bytes that come one by one mean what they mean in one piece; what is accepted survives
 * the serializer; what is refused is explained. */
#include <sttp/parser.h>
#include <sttp/serializer.h>

#include "property.h"

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
               slices_equal(a->request.contents, b->request.contents);
    return a->problem.status == a->status && b->problem.status == a->status &&
           a->problem.offset == b->problem.offset && a->problem.length == b->problem.length &&
           slices_equal(a->problem.echo, b->problem.echo) &&
           slices_equal(a->problem.word, b->problem.word);
}

static void parse(sttp_parser *parser, const char *data, size_t size, struct result *result)
{
    result->status = sttp_parse_request(parser, data, size, &result->consumed, &result->request,
                                        &result->problem);
}

/* The same bytes from a sender of single bytes. */
static void parse_bytewise(sttp_parser *parser, const char *data, size_t size,
                           struct result *result)
{
    size_t given = 0;

    do {
        given++;
        parse(parser, data, given, result);
        require(result->status != STTP_NEED_MORE || parser->_scanned == given,
                "no byte is looked at twice");
    } while (result->status == STTP_NEED_MORE && given < size);
}

static void check_trip(const sttp_request *request)
{
    char line[STTP_MAX_REQUEST_LINE];
    sttp_parser parser = {0};
    struct result again;
    sttp_problem problem;
    size_t size;
    char *copy;

    require(sttp_check_path(request->action, request->path, &problem) == STTP_OK, "path is valid");
    require(sttp_serialize_request(request, line, sizeof(line), &size, &problem) == STTP_OK,
            "what was parsed can be serialized");
    copy = exact_copy(line, size);
    parse(&parser, copy, size, &again);
    require(again.status == STTP_OK && again.consumed == size, "what was serialized can be parsed");
    require(again.request.action == request->action &&
                slices_equal(again.request.path, request->path) &&
                slices_equal(again.request.query, request->query) &&
                slices_equal(again.request.contents, request->contents),
            "a request survives the trip");
    free(copy);
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *input = exact_copy(data, size);
    sttp_parser whole_parser = {0}, byte_parser = {0};
    struct result whole, bytewise;
    size_t start = 0;

    do {
        parse(&whole_parser, input + start, size - start, &whole);
        if (start < size) {
            parse_bytewise(&byte_parser, input + start, size - start, &bytewise);
            require(results_equal(&whole, &bytewise), "cutting the bytes changes nothing");
        }
        require(whole.consumed <= size - start, "no more consumed than given");
        if (whole.status == STTP_OK) {
            check_trip(&whole.request);
            check_query(whole.request.query);
        } else if (whole.status != STTP_NEED_MORE && whole.status != STTP_END) {
            require_clean(&whole.problem);
            check_echo(whole.problem.echo);
        }
        start += whole.consumed;
    } while (whole.consumed > 0);
    free(input);
    return 0;
}
