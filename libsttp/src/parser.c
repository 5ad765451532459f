/* The parser finds a line's end first, then takes the whole line apart: no state but "how far was
 * looked" lives from call to call, so how the bytes were cut on their way cannot change what they
 * mean. (Path and end of a plain request are found at once.) A request line goes through the checks
 * in the order that docs/protocol.md, section 2, gives them; a response is a status line and, after
 * a 200, a contents line. */
#include <sttp/parser.h>

#include "ascii.h"
#include "problem.h"
#include "rules.h"
#include "utf8.h"
#include "word.h"

#include <string.h>

/* A request line cut at its spaces and at the "?"; none of the parts is judged yet. A part that is
 * not there has data NULL. */
struct request_line {
    sttp_slice whole;
    sttp_slice action;
    sttp_slice echo; /* the target up to its query */
    sttp_slice origin;
    sttp_slice path;
    sttp_slice query;
    sttp_slice rest; /* what follows the space behind the target */
};

/* The size, LF included, of the line at `start`, 0 where there is no LF in its first `limit` bytes.
 */
static size_t find_line(sttp_parser *parser, sttp_slice data, size_t start, size_t limit)
{
    size_t end = data.size < start + limit ? data.size : start + limit;
    size_t from = parser->_scanned > start ? parser->_scanned : start;
    const char *lf = from < end ? memchr(data.data + from, '\n', end - from) : NULL;

    if (lf)
        return (size_t)(lf - data.data) - start + 1;
    parser->_scanned = end;
    return 0;
}

/* The line of `size` bytes at `data` without its LF or CR LF. */
static sttp_slice strip_line_end(const char *data, size_t size)
{
    size--;
    if (size > 0 && data[size - 1] == '\r')
        size--;
    return (sttp_slice){data, size};
}

static void next_line(sttp_parser *parser)
{
    parser->_scanned = 0;
    parser->_head = 0;
    parser->_begun = true;
}

/* Cuts `*from` at the first `separator`: gives the part before it; *from becomes what follows it,
 * with data NULL where there is no separator. */
static sttp_slice cut(sttp_slice *from, char separator)
{
    sttp_slice whole = *from;
    const char *at = memchr(whole.data, separator, whole.size);
    size_t size = at ? (size_t)(at - whole.data) : whole.size;

    *from = at ? (sttp_slice){at + 1, whole.size - size - 1} : (sttp_slice){NULL, 0};
    return (sttp_slice){whole.data, size};
}

static void split_request(sttp_slice whole, bool proxy, struct request_line *line)
{
    *line = (struct request_line){.whole = whole, .rest = whole};
    line->action = cut(&line->rest, ' ');
    if (!line->rest.data)
        return;
    line->query = cut(&line->rest, ' ');
    line->echo = line->path = cut(&line->query, '?');
    if (proxy)
        line->origin = sttp__cut_origin(&line->path);
}

static size_t offset_of(const struct request_line *line, sttp_slice part)
{
    return part.data ? (size_t)(part.data - line->whole.data) : line->whole.size;
}

static sttp_slice echo_of(const struct request_line *line)
{
    if (line->echo.size == 0 || sttp__check_encoding(line->echo, STTP__TEXT_PLAIN, NULL) != STTP_OK)
        return STTP_SLICE("-");
    return line->echo;
}

static sttp_status check_line_encoding(const struct request_line *line, sttp_problem *problem)
{
    size_t head_size = offset_of(line, line->rest);
    sttp_slice head = {line->whole.data, head_size};
    sttp_status status = sttp__check_encoding(head, STTP__TEXT_PLAIN, problem);

    if (status != STTP_OK || !line->rest.data)
        return status;
    status = sttp__check_encoding(line->rest, STTP__TEXT_TAB, problem);
    return sttp__shift(problem, status, head_size);
}

static inline sttp_action read_action(sttp_slice word)
{
    if (word.size == 4 && memcmp(word.data, "SHOW", 4) == 0)
        return STTP_ACTION_SHOW;
    if (word.size == 4 && memcmp(word.data, "LIST", 4) == 0)
        return STTP_ACTION_LIST;
    if (word.size != 6)
        return STTP_ACTION_NONE;
    if (memcmp(word.data, "CREATE", 6) == 0)
        return STTP_ACTION_CREATE;
    if (memcmp(word.data, "UPDATE", 6) == 0)
        return STTP_ACTION_UPDATE;
    return memcmp(word.data, "DELETE", 6) == 0 ? STTP_ACTION_DELETE : STTP_ACTION_NONE;
}

/* A browser, or a scanner: whatever it sends next would be read as requests. Text that somebody
 * stores may end like this too, so CREATE and UPDATE never count. */
static bool is_http(const struct request_line *line)
{
    static const char mark[] = " HTTP/";
    const size_t tail = sizeof(mark) - 1 + 3;
    const char *end = line->whole.data + line->whole.size;
    sttp_action action;

    if (line->whole.size < tail || !sttp__is_digit(end[-1]) || end[-2] != '.' ||
        !sttp__is_digit(end[-3]) || memcmp(end - tail, mark, sizeof(mark) - 1) != 0)
        return false;
    action = read_action(line->action);
    return action != STTP_ACTION_CREATE && action != STTP_ACTION_UPDATE;
}

static sttp_status unknown_action(sttp_slice word, sttp_problem *problem)
{
    static const char *const known[] = {"CREATE", "SHOW", "LIST", "UPDATE", "DELETE"};

    sttp_slice near = sttp_nearest_word(word, known, sizeof(known) / sizeof(known[0]));

    sttp__fail_word(problem, STTP_ERR_ACTION, 0, near);
    if (problem && near.size > 0)
        problem->length = sttp_word_distance(word, near);
    return STTP_ERR_ACTION;
}

static sttp_status check_line_origin(const struct request_line *line, sttp_problem *problem)
{
    sttp_status status = STTP_OK;

    if (line->origin.data)
        status = sttp__check_origin(line->origin, problem);
    if (status != STTP_OK)
        return sttp__shift(problem, status, offset_of(line, line->origin));
    if (line->origin.data && line->path.size == 0)
        return sttp__fail(problem, STTP_ERR_URL_PATH, offset_of(line, line->path), 0);
    return STTP_OK;
}

static sttp_status check_line_path(const struct request_line *line, sttp_action action,
                                   sttp_problem *problem)
{
    sttp_status status = sttp__check_path_form(line->path, problem);

    if (status == STTP_OK)
        status = sttp__check_path_names(action, line->path, problem);
    return sttp__shift(problem, status, offset_of(line, line->path));
}

static bool takes_no_contents(sttp_action action)
{
    return action == STTP_ACTION_SHOW || action == STTP_ACTION_LIST || action == STTP_ACTION_DELETE;
}

static bool is_quoted(sttp_slice text)
{
    return text.size >= 2 && text.data[0] == '"' && text.data[text.size - 1] == '"';
}

static sttp_status read_contents(const struct request_line *line, sttp_slice *contents,
                                 sttp_problem *problem)
{
    sttp_slice text = line->rest;

    if (text.size == 0)
        return sttp__fail(problem, STTP_ERR_CONTENTS_MISSING, 0, 0);
    if (is_quoted(text))
        text = (sttp_slice){text.data + 1, text.size - 2};
    *contents = text;
    return sttp__check_text_length(text, problem);
}

static sttp_status read_no_contents(const struct request_line *line, sttp_problem *problem)
{
    size_t i;

    for (i = 0; i < line->rest.size; i++) {
        if (line->rest.data[i] != ' ')
            return sttp__fail(problem, STTP_ERR_CONTENTS_UNEXPECTED, i, 0);
    }
    return STTP_OK;
}

static sttp_status check_line_contents(const struct request_line *line, sttp_request *request,
                                       sttp_problem *problem)
{
    bool takes_contents =
        request->action == STTP_ACTION_CREATE || request->action == STTP_ACTION_UPDATE;
    sttp_status status;

    request->contents = (sttp_slice){NULL, 0};
    if (takes_contents)
        status = read_contents(line, &request->contents, problem);
    else
        status = read_no_contents(line, problem);
    if (status != STTP_OK)
        problem->word = sttp__action_word(request->action);
    return sttp__shift(problem, status, offset_of(line, line->rest));
}

static sttp_status read_request(const struct request_line *line, sttp_request *request,
                                sttp_problem *problem)
{
    sttp_status status = check_line_encoding(line, problem);

    if (status != STTP_OK)
        return status;
    request->action = read_action(line->action);
    if (request->action == STTP_ACTION_NONE)
        return unknown_action(line->action, problem);
    status = check_line_origin(line, problem);
    if (status == STTP_OK)
        status = check_line_path(line, request->action, problem);
    if (status != STTP_OK) {
        problem->word = sttp__action_word(request->action);
        return status;
    }
    request->path = line->path;
    request->query = line->query;
    request->origin = line->origin;
    status = sttp__check_query(request->action, line->query, problem);
    if (status != STTP_OK)
        return sttp__shift(problem, status, offset_of(line, line->query));
    return check_line_contents(line, request, problem);
}

/* The size of the line end at `at`; 0 where there is none, or not all of it. */
static size_t line_end_size(sttp_slice data, size_t at)
{
    if (data.data[at] == '\n')
        return 1;
    return data.data[at] == '\r' && at + 1 < data.size && data.data[at + 1] == '\n' ? 2 : 0;
}

/* Most requests are an action, of four or six letters, and a plain path, to which no rule but those
 * for names can object: nothing has to be cut, and the bytes are looked at once. Gives the size of
 * the line with its end; or 0, which tells nothing. */
static inline size_t read_plain_request(sttp_slice data, sttp_request *request)
{
    size_t start, size, end;

    if (data.size < STTP__WORD_SIZE)
        return 0;
    if (data.data[4] == ' ')
        start = 5;
    else if (data.data[6] == ' ')
        start = 7;
    else
        return 0;
    request->action = read_action((sttp_slice){data.data, start - 1});
    if (!takes_no_contents(request->action))
        return 0;
    size = sttp__plain_path_size((sttp_slice){data.data + start, data.size - start});
    end = size > 0 ? line_end_size(data, start + size) : 0;
    request->path = (sttp_slice){data.data + start, size};
    memset(&request->query, 0, sizeof *request - offsetof(sttp_request, query)); /* fewer stores */
    if (end == 0 || (!sttp__has_plain_names(request->path) &&
                     sttp__check_path_names(request->action, request->path, NULL) != STTP_OK))
        return 0;
    return start + size + end;
}

static sttp_status read_line(sttp_slice whole, bool is_first, bool proxy, sttp_request *request,
                             sttp_problem *problem)
{
    struct request_line line;
    sttp_status status;

    split_request(whole, proxy, &line);
    if (is_first && is_http(&line))
        status = sttp__fail(problem, STTP_ERR_HTTP, 0, 0);
    else
        status = read_request(&line, request, problem);
    if (status != STTP_OK)
        problem->echo = echo_of(&line);
    return status;
}

/* By all rules. Not inlined: the usual line shall not pay for what this one keeps on the stack. */
__attribute__((noinline)) static sttp_status parse_any_request(sttp_parser *parser, sttp_slice data,
                                                               size_t *consumed,
                                                               sttp_request *request,
                                                               sttp_problem *problem)
{
    bool is_first = !parser->_begun;
    sttp_slice whole;

    *consumed = find_line(parser, data, 0, STTP_MAX_REQUEST_LINE);
    if (*consumed == 0 && data.size < STTP_MAX_REQUEST_LINE)
        return STTP_NEED_MORE;
    if (*consumed == 0) {
        sttp__fail(problem, STTP_ERR_LINE_TOO_LONG, STTP_MAX_REQUEST_LINE, 0);
        problem->echo = STTP_SLICE("-");
        return STTP_ERR_LINE_TOO_LONG;
    }
    next_line(parser);
    whole = strip_line_end(data.data, *consumed);
    if (whole.size == 0)
        return STTP_END;
    return read_line(whole, is_first, parser->proxy, request, problem);
}

sttp_status sttp_parse_request(sttp_parser *parser, const char *data, size_t size, size_t *consumed,
                               sttp_request *request, sttp_problem *problem)
{
    const sttp_slice input = {data, size};
    /* Of a line that was looked at before, the end alone is new. */
    size_t plain = parser->_scanned == 0 ? read_plain_request(input, request) : 0;

    if (plain == 0)
        return parse_any_request(parser, input, consumed, request, problem);
    *consumed = plain;
    parser->_begun = true;
    return STTP_OK;
}

/* The code and the space behind it. */
static bool read_code(sttp_slice line, sttp_code *code)
{
    int number;

    if (line.size < 3 || !sttp__is_digit(line.data[0]) || !sttp__is_digit(line.data[1]) ||
        !sttp__is_digit(line.data[2]) || (line.size > 3 && line.data[3] != ' '))
        return false;
    number = (line.data[0] - '0') * 100 + (line.data[1] - '0') * 10 + (line.data[2] - '0');
    *code = (sttp_code)number;
    return sttp_code_phrase(number) != NULL;
}

/* What stands behind the phrase: nothing, or a space and a message in quotes. */
static bool read_message(sttp_slice tail, sttp_code code, sttp_slice *message)
{
    *message = (sttp_slice){NULL, 0};
    if (!sttp_code_has_message(code))
        return tail.size == 0;
    if (tail.size < 3 || tail.data[0] != ' ' ||
        !is_quoted((sttp_slice){tail.data + 1, tail.size - 1}))
        return false;
    *message = (sttp_slice){tail.data + 2, tail.size - 3};
    return message->size == 0 || memchr(message->data, '"', message->size) == NULL;
}

static sttp_status read_status_line(sttp_slice line, sttp_response *response, sttp_problem *problem)
{
    sttp_status status = sttp__check_encoding(line, STTP__TEXT_PLAIN, problem);
    sttp_slice rest = line;
    size_t phrase_size;
    const char *phrase;

    if (status != STTP_OK)
        return status;
    if (!read_code(line, &response->code))
        return sttp__fail(problem, STTP_ERR_RESPONSE_CODE, 0, 0);
    cut(&rest, ' ');
    if (rest.size == 0)
        return sttp__fail(problem, STTP_ERR_RESPONSE_ECHO, line.size, 0);
    response->echo = cut(&rest, ' ');
    if (response->echo.size == 0 || memchr(response->echo.data, '?', response->echo.size))
        return sttp__fail(problem, STTP_ERR_RESPONSE_ECHO, 4, 0);
    phrase = sttp_code_phrase(response->code);
    phrase_size = strlen(phrase);
    if (rest.size < phrase_size || memcmp(rest.data, phrase, phrase_size) != 0 ||
        (rest.size > phrase_size && rest.data[phrase_size] != ' '))
        return sttp__fail(problem, STTP_ERR_RESPONSE_PHRASE, line.size - rest.size, 0);
    rest = (sttp_slice){rest.data + phrase_size, rest.size - phrase_size};
    if (!read_message(rest, response->code, &response->message))
        return sttp__fail(problem, STTP_ERR_RESPONSE_MESSAGE, line.size - rest.size, 0);
    response->contents = (sttp_slice){NULL, 0};
    return STTP_OK;
}

/* Looks for the status line's end and judges the line as soon as it is whole, so that what is no
 * response is told before anything is waited for. */
static sttp_status find_head(sttp_parser *parser, sttp_slice data, sttp_response *response,
                             sttp_problem *problem)
{
    size_t size = find_line(parser, data, 0, STTP_MAX_STATUS_LINE);
    sttp_status status;

    if (size == 0 && data.size < STTP_MAX_STATUS_LINE)
        return STTP_NEED_MORE;
    if (size == 0)
        return sttp__fail(problem, STTP_ERR_STATUS_LINE_TOO_LONG, STTP_MAX_STATUS_LINE, 0);
    status = read_status_line(strip_line_end(data.data, size), response, problem);
    if (status == STTP_OK)
        parser->_head = parser->_scanned = size;
    return status;
}

static sttp_status read_contents_line(sttp_parser *parser, sttp_slice data, size_t max_contents,
                                      size_t *size, sttp_slice *contents, sttp_problem *problem)
{
    size_t head = parser->_head;
    sttp_status status;

    *size = find_line(parser, data, head, max_contents);
    if (*size == 0 && data.size - head < max_contents)
        return STTP_NEED_MORE;
    if (*size == 0)
        return sttp__fail(problem, STTP_ERR_CONTENTS_LINE_TOO_LONG, head + max_contents, 0);
    *contents = strip_line_end(data.data + head, *size);
    status = sttp__check_encoding(*contents, STTP__TEXT_CONTROLS, problem);
    return sttp__shift(problem, status, head);
}

/* Whether a line, its LF included, has no CR before that. */
static bool is_plain_line(const char *line, size_t size)
{
    return size > 1 && line[size - 2] != '\r';
}

static size_t plain_contents_size(const sttp_response *response)
{
    return response->code == STTP_CODE_OK ? response->contents.size + strlen("\n") : 0;
}

sttp_status sttp_parse_response(sttp_parser *parser, const char *data, size_t size,
                                size_t max_contents, bool closed, size_t *consumed,
                                sttp_response *response, sttp_problem *problem)
{
    const sttp_slice input = {data, size};
    const size_t limit =
        max_contents < STTP_MAX_CONTENTS_LINE ? max_contents : STTP_MAX_CONTENTS_LINE;
    const bool head_known = parser->_head != 0;
    sttp_slice contents = {NULL, 0};
    size_t contents_size = 0;
    sttp_status status = STTP_OK;

    *consumed = 0;
    if (!head_known)
        status = find_head(parser, input, response, problem);
    if (status != STTP_OK)
        return status;
    if (closed && size == parser->_head)
        contents = (sttp_slice){data + size, 0};
    else if (head_known || response->code == STTP_CODE_OK)
        status = read_contents_line(parser, input, limit, &contents_size, &contents, problem);
    /* Slices of an earlier call are of no use: the caller may have moved the bytes. */
    if (status == STTP_OK && head_known)
        status = read_status_line(strip_line_end(data, parser->_head), response, problem);
    if (status != STTP_OK)
        return status;
    if (response->code == STTP_CODE_OK)
        response->contents = contents;
    *consumed = parser->_head + contents_size;
    response->bytes = (sttp_slice){NULL, 0};
    if (is_plain_line(data, parser->_head) && contents_size == plain_contents_size(response))
        response->bytes = (sttp_slice){data, *consumed};
    next_line(parser);
    return STTP_OK;
}
