/* Responses: bytes that come in pieces mean what they mean in one; what is accepted survives the
 * serializer, but for the carriage returns that the serializer refuses; what is refused is
 * explained; what the serializer takes, the parser reads back. */
#include <sttp/parser.h>
#include <sttp/serializer.h>

#include "property.h"

enum {
    MAX_CONTENTS = 1000,
    MAX_SPLIT = 256 /* bytes of input that are cut in two at every place */
};

struct result {
    sttp_status status;
    size_t consumed;
    sttp_response response;
    sttp_problem problem;
};

static bool responses_equal(const sttp_response *a, const sttp_response *b)
{
    return a->code == b->code && slices_equal(a->echo, b->echo) &&
           slices_equal(a->message, b->message) && slices_equal(a->contents, b->contents);
}

static bool results_equal(const struct result *a, const struct result *b)
{
    if (a->status != b->status || a->consumed != b->consumed)
        return false;
    if (a->status == STTP_NEED_MORE)
        return true;
    if (a->status == STTP_OK)
        return responses_equal(&a->response, &b->response);
    return a->problem.status == a->status && problems_equal(&a->problem, &b->problem);
}

static void parse(sttp_parser *parser, const char *data, size_t size, bool closed,
                  struct result *result)
{
    result->status = sttp_parse_response(parser, data, size, MAX_CONTENTS, closed,
                                         &result->consumed, &result->response, &result->problem);
}

/* The same bytes from a sender of single bytes, each time at another place in memory, who then
 * closes. */
static void check_bytewise(sttp_parser *parser, const char *data, size_t size,
                           const struct result *whole)
{
    struct result result;
    size_t given = 0;

    do {
        given += next_step(given, size);
        char *copy = exact_copy(data, given);
        parse(parser, copy, given, false, &result);
        require(result.status != STTP_NEED_MORE || parser->_scanned == given,
                "no byte is looked at twice");
        require(result.status == STTP_NEED_MORE || results_equal(whole, &result),
                "single bytes change nothing");
        free(copy);
    } while (result.status == STTP_NEED_MORE && given < size);
    if (result.status == STTP_NEED_MORE) {
        parse(parser, data, size, true, &result);
        require(results_equal(whole, &result), "single bytes change nothing");
    }
}

/* The same bytes cut in two at each place. */
static void check_splits(sttp_parser before, const char *data, size_t size,
                         const struct result *whole)
{
    for (size_t given = 0; given < size && size <= MAX_SPLIT; given++) {
        sttp_parser parser = before;
        struct result result;
        char *copy = exact_copy(data, given);
        parse(&parser, copy, given, false, &result);
        if (result.status == STTP_NEED_MORE)
            parse(&parser, data, size, true, &result);
        require(results_equal(whole, &result), "cutting in two changes nothing");
        free(copy);
    }
}

static void check_slices(const struct result *result, const char *data)
{
    const sttp_response *response = &result->response;
    size_t size = result->consumed;

    require(is_inside(response->echo, data, size) && is_inside(response->message, data, size),
            "slices are in the response");
    require(is_inside(response->contents, data, size) || response->contents.size == 0,
            "contents are in the response, or empty");
}

/* Serializes into exactly the room that it needs. */
static char *serialize(const sttp_response *response, size_t *size)
{
    size_t needed, again;
    char *line;

    require(sttp_serialize_response(response, NULL, 0, &needed, NULL) == STTP_ERR_BUFFER,
            "the size needed is told");
    line = malloc(needed);
    require(line != NULL, "memory");
    require(sttp_serialize_response(response, line, needed - 1, &again, NULL) == STTP_ERR_BUFFER &&
                again == needed,
            "too little room is told");
    require(sttp_serialize_response(response, line, needed, size, NULL) == STTP_OK &&
                *size == needed,
            "what was parsed can be serialized");
    return line;
}

static void check_trip(const sttp_response *response)
{
    sttp_parser parser = {0};
    struct result again;
    size_t size;
    char *copy = serialize(response, &size);

    again.status = sttp_parse_response(&parser, copy, size, STTP_MAX_CONTENTS_LINE, false,
                                       &again.consumed, &again.response, &again.problem);
    require(again.status == STTP_OK && again.consumed == size &&
                responses_equal(response, &again.response),
            "a response survives the trip");
    free(copy);
}

static bool has_cr(const sttp_response *response)
{
    return response->contents.size > 0 &&
           memchr(response->contents.data, '\r', response->contents.size);
}

static void check_parsed(const struct result *result, const char *data)
{
    sttp_problem problem;
    size_t size;

    check_slices(result, data);
    if (!has_cr(&result->response))
        check_trip(&result->response);
    else
        require(sttp_serialize_response(&result->response, NULL, 0, &size, &problem) ==
                    STTP_ERR_CONTROL_CHARACTER,
                "a carriage return is refused");
}

/* A response of these bytes, a code and then up to three fields, is refused or read back. */
static void check_made(const char *data, size_t size)
{
    sttp_slice rest = {data, size};
    sttp_response response = {0};
    sttp_problem problem;

    if (size > 0)
        response.code = (sttp_code)(10 * (unsigned char)*rest.data);
    rest.data += size > 0;
    rest.size -= size > 0;
    response.echo = take_field(&rest);
    response.message = take_field(&rest);
    response.contents = take_field(&rest);
    if (response.message.size == 0)
        response.message.data = NULL;
    switch (sttp_serialize_response(&response, NULL, 0, &size, &problem)) {
    case STTP_ERR_BUFFER:
        check_trip(&response);
        break;
    case STTP_OK:
        require(false, "a response takes room");
        break;
    default:
        require(size == 0, "what is refused has no size");
        require_clean(&problem);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *input = exact_copy(data, size);
    sttp_parser whole_parser = {0}, byte_parser = {0};
    struct result whole;
    size_t start = 0;

    check_made(input, size);
    do {
        parse(&whole_parser, input + start, size - start, true, &whole);
        if (start < size) {
            check_splits(byte_parser, input + start, size - start, &whole);
            check_bytewise(&byte_parser, input + start, size - start, &whole);
        }
        require(whole.consumed <= size - start, "no more consumed than given");
        if (whole.status == STTP_OK)
            check_parsed(&whole, input + start);
        else if (whole.status != STTP_NEED_MORE)
            require_clean(&whole.problem);
        start += whole.consumed;
    } while (whole.consumed > 0);
    free(input);
    return 0;
}
