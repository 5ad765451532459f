/* Responses: bytes that come one by one mean what they mean in one piece; what is accepted survives
 * the serializer, but for the carriage returns that the serializer refuses; what is refused is
 * explained. */
#include <sttp/parser.h>
#include <sttp/serializer.h>

#include "property.h"

enum { MAX_CONTENTS = 1000 };

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
    return a->problem.status == a->status && b->problem.status == a->status &&
           a->problem.offset == b->problem.offset;
}

static void parse(sttp_parser *parser, const char *data, size_t size, bool closed,
                  struct result *result)
{
    result->status = sttp_parse_response(parser, data, size, MAX_CONTENTS, closed,
                                         &result->consumed, &result->response, &result->problem);
}

/* The same bytes from a sender of single bytes, who then closes. */
static void parse_bytewise(sttp_parser *parser, const char *data, size_t size,
                           struct result *result)
{
    size_t given = 0;

    do {
        given++;
        parse(parser, data, given, false, result);
        require(result->status != STTP_NEED_MORE || parser->_scanned == given,
                "no byte is looked at twice");
    } while (result->status == STTP_NEED_MORE && given < size);
    if (result->status == STTP_NEED_MORE)
        parse(parser, data, size, true, result);
}

static void check_trip(const sttp_response *response)
{
    char line[STTP_MAX_STATUS_LINE + MAX_CONTENTS];
    bool has_cr = response->contents.size > 0 &&
                  memchr(response->contents.data, '\r', response->contents.size);
    sttp_parser parser = {0};
    struct result again;
    sttp_problem problem;
    size_t size;
    char *copy;
    sttp_status status = sttp_serialize_response(response, line, sizeof(line), &size, &problem);

    if (has_cr) {
        require(status == STTP_ERR_CONTROL_CHARACTER, "a carriage return is refused");
        return;
    }
    require(status == STTP_OK, "what was parsed can be serialized");
    copy = exact_copy(line, size);
    parse(&parser, copy, size, false, &again);
    require(again.status == STTP_OK && again.consumed == size &&
                responses_equal(response, &again.response),
            "a response survives the trip");
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *input = exact_copy(data, size);
    sttp_parser whole_parser = {0}, byte_parser = {0};
    struct result whole, bytewise;
    size_t start = 0;

    do {
        parse(&whole_parser, input + start, size - start, true, &whole);
        if (start < size) {
            parse_bytewise(&byte_parser, input + start, size - start, &bytewise);
            require(results_equal(&whole, &bytewise), "cutting the bytes changes nothing");
        }
        require(whole.consumed <= size - start, "no more consumed than given");
        if (whole.status == STTP_OK)
            check_trip(&whole.response);
        else if (whole.status != STTP_NEED_MORE)
            require_clean(&whole.problem);
        start += whole.consumed;
    } while (whole.consumed > 0);
    free(input);
    return 0;
}
