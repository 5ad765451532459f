/* The mirror of parser.c: the same checks in the same order, then the size, then the bytes. Places
 * in a problem are counted in the line that would have been written. */
#include <sttp/serializer.h>

#include "problem.h"
#include "rules.h"
#include "utf8.h"

#include <string.h>

static char *put(char *at, sttp_slice part)
{
    if (part.size > 0)
        memcpy(at, part.data, part.size);
    return at + part.size;
}

/* Both serializers end like this: the size is told, the buffer has room or not. */
static sttp_status claim(size_t needed, size_t capacity, size_t *size, sttp_problem *problem)
{
    *size = needed;
    if (needed > capacity)
        return sttp__fail(problem, STTP_ERR_BUFFER, 0, needed);
    return STTP_OK;
}

/* Where the parts of a request line begin, the opening quote of the contents left out. */
struct request_layout {
    size_t origin;
    size_t path;
    size_t query;
    size_t contents;
    size_t size;
};

static struct request_layout lay_out_request(const sttp_request *request)
{
    struct request_layout layout;
    const char *action = sttp_action_name(request->action);

    layout.origin = strlen(action) + strlen(" ");
    layout.path = layout.origin + request->origin.size;
    layout.query = layout.path + request->path.size + (request->query.data ? strlen("?") : 0);
    layout.contents = layout.query + request->query.size + strlen(" \"");
    layout.size = layout.query + request->query.size + strlen("\n");
    if (request->contents.data)
        layout.size = layout.contents + request->contents.size + strlen("\"\n");
    return layout;
}

static sttp_status check_request_encoding(const sttp_request *request,
                                          const struct request_layout *layout,
                                          sttp_problem *problem)
{
    sttp_status status = sttp__check_encoding(request->origin, STTP__TEXT_PLAIN, problem);

    if (status != STTP_OK)
        return sttp__shift(problem, status, layout->origin);
    status = sttp__check_encoding(request->path, STTP__TEXT_PLAIN, problem);
    if (status != STTP_OK)
        return sttp__shift(problem, status, layout->path);
    status = sttp__check_encoding(request->query, STTP__TEXT_PLAIN, problem);
    if (status != STTP_OK)
        return sttp__shift(problem, status, layout->query);
    status = sttp__check_encoding(request->contents, STTP__TEXT_TAB, problem);
    return sttp__shift(problem, status, layout->contents);
}

static sttp_status check_request_contents(const sttp_request *request, sttp_problem *problem)
{
    bool takes_contents =
        request->action == STTP_ACTION_CREATE || request->action == STTP_ACTION_UPDATE;
    sttp_slice word = sttp__action_word(request->action);

    if (takes_contents && !request->contents.data)
        return sttp__fail_word(problem, STTP_ERR_CONTENTS_MISSING, 0, word);
    if (!takes_contents && request->contents.data)
        return sttp__fail_word(problem, STTP_ERR_CONTENTS_UNEXPECTED, 0, word);
    return sttp__check_text_length(request->contents, problem);
}

static sttp_status check_request_target(const sttp_request *request,
                                        const struct request_layout *layout, sttp_problem *problem)
{
    sttp_slice word = sttp__action_word(request->action);
    sttp_status status = STTP_OK;

    if (word.size == 0)
        return sttp__fail(problem, STTP_ERR_ACTION, 0, 0);
    if (request->origin.data)
        status = sttp__check_origin(request->origin, problem);
    if (status == STTP_OK && request->origin.data && request->path.size == 0)
        status = sttp__fail(problem, STTP_ERR_URL_PATH, request->origin.size, 0);
    if (status == STTP_OK)
        return sttp__shift(problem, sttp_check_path(request->action, request->path, problem),
                           layout->path);
    if (problem)
        problem->word = word;
    return sttp__shift(problem, status, layout->origin);
}

static sttp_status check_request(const sttp_request *request, const struct request_layout *layout,
                                 sttp_problem *problem)
{
    sttp_status status;

    if (layout->size > STTP_MAX_REQUEST_LINE)
        return sttp__fail(problem, STTP_ERR_LINE_TOO_LONG, STTP_MAX_REQUEST_LINE, layout->size);
    status = check_request_encoding(request, layout, problem);
    if (status != STTP_OK)
        return status;
    status = check_request_target(request, layout, problem);
    if (status != STTP_OK)
        return status;
    status = sttp__check_query(request->action, request->query, problem);
    if (status != STTP_OK)
        return sttp__shift(problem, status, layout->query);
    status = check_request_contents(request, problem);
    return sttp__shift(problem, status, layout->contents);
}

static void write_request(const sttp_request *request, char *at)
{
    at = put(at, sttp__action_word(request->action));
    at = put(at, STTP_SLICE(" "));
    at = put(at, request->origin);
    at = put(at, request->path);
    if (request->query.data)
        at = put(at, STTP_SLICE("?"));
    at = put(at, request->query);
    if (request->contents.data) {
        at = put(at, STTP_SLICE(" \""));
        at = put(at, request->contents);
        at = put(at, STTP_SLICE("\""));
    }
    put(at, STTP_SLICE("\n"));
}

sttp_status sttp_serialize_request(const sttp_request *request, char *buffer, size_t capacity,
                                   size_t *size, sttp_problem *problem)
{
    struct request_layout layout = lay_out_request(request);
    sttp_status status = check_request(request, &layout, problem);

    *size = 0;
    if (status == STTP_OK)
        status = claim(layout.size, capacity, size, problem);
    if (status == STTP_OK)
        write_request(request, buffer);
    return status;
}

sttp_status sttp_serialize_parsed_request(const sttp_request *request, char *buffer,
                                          size_t capacity, size_t *size)
{
    const struct request_layout layout = lay_out_request(request);
    sttp_status status = claim(layout.size, capacity, size, NULL);

    if (status == STTP_OK)
        write_request(request, buffer);
    return status;
}

/* Where the parts of a response begin: the message behind its quote. */
struct response_layout {
    sttp_slice phrase;
    size_t echo;
    size_t message;
    size_t status_line;
    size_t size;
};

static struct response_layout lay_out_response(const sttp_response *response, const char *phrase)
{
    struct response_layout layout;

    layout.phrase = (sttp_slice){phrase, strlen(phrase)};
    layout.echo = strlen("300 ");
    layout.message =
        layout.echo + response->echo.size + strlen(" ") + layout.phrase.size + strlen(" \"");
    layout.status_line = layout.message - strlen(" \"") + strlen("\n");
    if (response->message.data)
        layout.status_line = layout.message + response->message.size + strlen("\"\n");
    layout.size = layout.status_line;
    if (response->contents.data)
        layout.size += response->contents.size + strlen("\n");
    return layout;
}

static bool has_any(sttp_slice text, const char *bytes)
{
    for (; *bytes; bytes++) {
        if (text.size > 0 && memchr(text.data, *bytes, text.size))
            return true;
    }
    return false;
}

static sttp_status check_status_line(const sttp_response *response,
                                     const struct response_layout *layout, sttp_problem *problem)
{
    sttp_status status;

    if (layout->status_line > STTP_MAX_STATUS_LINE)
        return sttp__fail(problem, STTP_ERR_STATUS_LINE_TOO_LONG, STTP_MAX_STATUS_LINE,
                          layout->status_line);
    status = sttp__check_encoding(response->echo, STTP__TEXT_PLAIN, problem);
    if (status != STTP_OK)
        return sttp__shift(problem, status, layout->echo);
    status = sttp__check_encoding(response->message, STTP__TEXT_PLAIN, problem);
    if (status != STTP_OK)
        return sttp__shift(problem, status, layout->message);
    if (response->echo.size == 0 || has_any(response->echo, " ?"))
        return sttp__fail(problem, STTP_ERR_RESPONSE_ECHO, layout->echo, 0);
    if ((response->message.data != NULL) != sttp_code_has_message(response->code) ||
        has_any(response->message, "\""))
        return sttp__fail(problem, STTP_ERR_RESPONSE_MESSAGE, layout->message, 0);
    return STTP_OK;
}

static sttp_status check_contents_line(const sttp_response *response,
                                       const struct response_layout *layout, sttp_problem *problem)
{
    sttp_slice contents = response->contents;
    sttp_status status;

    if ((contents.data != NULL) != (response->code == STTP_CODE_OK))
        return sttp__fail(problem, STTP_ERR_RESPONSE_MESSAGE, layout->status_line, 0);
    if (contents.size >= STTP_MAX_CONTENTS_LINE)
        return sttp__fail(problem, STTP_ERR_CONTENTS_LINE_TOO_LONG,
                          layout->status_line + STTP_MAX_CONTENTS_LINE, contents.size + 1);
    status = sttp__check_encoding(contents, STTP__TEXT_CONTROLS, problem);
    if (status == STTP_OK && has_any(contents, "\n\r"))
        status = sttp__fail(problem, STTP_ERR_CONTROL_CHARACTER, 0, 0);
    return sttp__shift(problem, status, layout->status_line);
}

static void write_response(const sttp_response *response, const struct response_layout *layout,
                           char *at)
{
    const int code = (int)response->code;
    const char digits[] = {(char)('0' + code / 100), (char)('0' + code / 10 % 10),
                           (char)('0' + code % 10), ' '};

    at = put(at, (sttp_slice){digits, sizeof(digits)});
    at = put(at, response->echo);
    at = put(at, STTP_SLICE(" "));
    at = put(at, layout->phrase);
    if (response->message.data) {
        at = put(at, STTP_SLICE(" \""));
        at = put(at, response->message);
        at = put(at, STTP_SLICE("\""));
    }
    at = put(at, STTP_SLICE("\n"));
    if (response->contents.data) {
        at = put(at, response->contents);
        put(at, STTP_SLICE("\n"));
    }
}

sttp_status sttp_serialize_response(const sttp_response *response, char *buffer, size_t capacity,
                                    size_t *size, sttp_problem *problem)
{
    const char *phrase = sttp_code_phrase(response->code);
    struct response_layout layout;
    sttp_status status;

    *size = 0;
    if (!phrase)
        return sttp__fail(problem, STTP_ERR_RESPONSE_CODE, 0, 0);
    layout = lay_out_response(response, phrase);
    status = check_status_line(response, &layout, problem);
    if (status == STTP_OK)
        status = check_contents_line(response, &layout, problem);
    if (status == STTP_OK)
        status = claim(layout.size, capacity, size, problem);
    if (status == STTP_OK)
        write_response(response, &layout, buffer);
    return status;
}
