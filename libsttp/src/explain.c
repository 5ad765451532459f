/* What to do about a problem, in one line. A text is written from a template: "#" stands for the
 * length that was given, "+" for how far that is over the limit, "<" for the limit, "@" for the
 * place (bytes, from 1), "~" for the word that is meant, "!" for the form of a request. Nothing
 * else of the problem is printed, so no byte of the input reaches the text: a word is a known one,
 * of letters. */
#include <sttp/message.h>

#include "ascii.h"

#include <string.h>

enum { MAX_WORD = 16 };

struct line {
    char *buffer;
    size_t capacity; /* the final zero byte not counted */
    size_t size;
};

static void put_char(struct line *line, char c)
{
    if (line->size < line->capacity)
        line->buffer[line->size++] = c;
}

static void put_number(struct line *line, size_t number)
{
    char digits[20];
    size_t count = 0;

    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (count > 0)
        put_char(line, digits[--count]);
}

/* A word of the protocol has at most MAX_WORD letters and nothing else. */
static void put_word(struct line *line, sttp_slice word)
{
    size_t size = word.size < MAX_WORD ? word.size : MAX_WORD;
    size_t i;

    for (i = 0; i < size && sttp__is_letter(word.data[i]); i++)
        put_char(line, word.data[i]);
}

static void put_text(struct line *line, const char *text)
{
    while (*text)
        put_char(line, *text++);
}

static size_t limit_of(sttp_status status)
{
    switch ((int)status) {
    case STTP_ERR_LINE_TOO_LONG:
        return STTP_MAX_REQUEST_LINE;
    case STTP_ERR_FILENAME_TOO_LONG:
        return STTP_MAX_FILENAME_CHARS;
    case STTP_ERR_PATH_TOO_LONG:
        return STTP_MAX_PATH;
    case STTP_ERR_DIRECTORY_TOO_LONG:
        return STTP_MAX_DIRECTORY_NAME;
    case STTP_ERR_CONTENTS_TOO_LONG:
        return STTP_MAX_CONTENTS_CHARS;
    default:
        return 0;
    }
}

static bool word_is(const sttp_problem *problem, const char *word)
{
    return problem->word.size == strlen(word) &&
           memcmp(problem->word.data, word, problem->word.size) == 0;
}

static bool takes_contents(const sttp_problem *problem)
{
    return word_is(problem, "CREATE") || word_is(problem, "UPDATE");
}

static void put_form(struct line *line, const sttp_problem *problem)
{
    put_text(line, "write ");
    put_word(line, problem->word.size > 0 ? problem->word : STTP_SLICE("SHOW"));
    put_text(line, takes_contents(problem) ? " /path text" : " /path");
}

static const char *action_template(const sttp_problem *problem)
{
    if (problem->word.size == 0)
        return "unknown action; begin the line with CREATE, SHOW, LIST, UPDATE or DELETE";
    if (problem->length > 0) /* more than the case is wrong */
        return "unknown action; did you mean ~?";
    return "unknown action; did you mean ~? An action is in capital letters";
}

static const char *line_template(const sttp_problem *problem)
{
    if (problem->length == 0)
        return "the request line is longer than the limit of < bytes";
    return "the request line has # bytes, + over the limit of <";
}

static const char *final_slash_template(const sttp_problem *problem)
{
    if (word_is(problem, "SHOW"))
        return "SHOW takes the path of a file, with no slash at its end; use LIST for a directory";
    return "give the path of a file, with no slash at its end";
}

static const char *query_key_template(const sttp_problem *problem)
{
    if (problem->word.size == 0)
        return "a query is key=value, joined by &, with the keys q, name, recursive, type, limit "
               "and after";
    return "unknown query key; did you mean ~?";
}

static const char *query_value_template(const sttp_problem *problem)
{
    if (word_is(problem, "limit"))
        return "limit takes a number from 1 to 10000, without a sign or leading zero";
    if (word_is(problem, "recursive"))
        return "recursive takes 0 or 1";
    if (word_is(problem, "type"))
        return "type takes file, dir or all";
    return "the query key ~ takes a value that is not empty";
}

static const char *query_action_template(const sttp_problem *problem)
{
    if (problem->word.size == 0)
        return "only LIST takes a query";
    return "only LIST takes a query: for ~ leave out the question mark and what follows it";
}

static const char *contents_unexpected_template(const sttp_problem *problem)
{
    if (problem->word.size == 0)
        return "nothing but the path may follow the action; a path has no spaces";
    if (word_is(problem, "LIST"))
        return "LIST takes nothing behind the path; a space in a query is written %20; !";
    return "~ takes nothing behind the path, and a path has no spaces; !";
}

static const char *template_of(const sttp_problem *problem)
{
    switch ((int)problem->status) {
    case STTP_ERR_HTTP:
        return "this port speaks STTP, not HTTP; !";
    case STTP_ERR_LINE_TOO_LONG:
        return line_template(problem);
    case STTP_ERR_UNFINISHED_LINE:
        return "the input ended within a line; end each line with a line feed";
    case STTP_ERR_CONTROL_CHARACTER:
        return "byte @ is a control character; only a TAB in contents is allowed";
    case STTP_ERR_UTF8:
        return "byte @ is not valid UTF-8; send every line in UTF-8";
    case STTP_ERR_ACTION:
        return action_template(problem);
    case STTP_ERR_TARGET_MISSING:
        return "the path is missing; !, with one space before the path";
    case STTP_ERR_TARGET_URL:
        return "this server is no proxy and takes a path, not a URL; !";
    case STTP_ERR_URL_PATH:
        return "the URL has no path behind its host; write sttp://host/path";
    case STTP_ERR_PATH_RELATIVE:
        return "the path does not begin with a slash; !";
    case STTP_ERR_PATH_EMPTY_SEGMENT:
        return "two slashes in a row at byte @; write one";
    case STTP_ERR_PATH_DOT_SEGMENT:
        return "a path has no . and no .. between its slashes; write the whole path";
    case STTP_ERR_PATH_RESERVED:
        return "names that begin with .sttp- are the server's own; choose another name";
    case STTP_ERR_PATH_FORBIDDEN:
        return "a path has no space and no question mark; see byte @";
    case STTP_ERR_PATH_FINAL_SLASH:
        return final_slash_template(problem);
    case STTP_ERR_FILENAME_TOO_LONG:
        return "the filename has # characters, + over the limit of <";
    case STTP_ERR_PATH_TOO_LONG:
        return "the path has # bytes, + over the limit of <";
    case STTP_ERR_DIRECTORY_TOO_LONG:
        return "the directory name at byte @ has # bytes, + over the limit of <";
    case STTP_ERR_QUERY_ACTION:
        return query_action_template(problem);
    case STTP_ERR_QUERY_KEY:
        return query_key_template(problem);
    case STTP_ERR_QUERY_TWICE:
        return "the query key ~ is given twice; give it once";
    case STTP_ERR_QUERY_VALUE:
        return query_value_template(problem);
    case STTP_ERR_QUERY_ESCAPE:
        return "bad character in the query at byte @; write a space as %20, a % as %25, and no "
               "control characters";
    case STTP_ERR_CONTENTS_MISSING:
        return "the contents are missing; !, or two double quotes for the empty text";
    case STTP_ERR_CONTENTS_TOO_LONG:
        return "contents have # characters, + over the limit of <";
    case STTP_ERR_CONTENTS_UNEXPECTED:
        return contents_unexpected_template(problem);
    default:
        return NULL;
    }
}

static void expand(struct line *line, const char *text, const sttp_problem *problem)
{
    const size_t limit = limit_of(problem->status);

    for (; *text; text++) {
        if (*text == '#')
            put_number(line, problem->length);
        else if (*text == '+')
            put_number(line, problem->length > limit ? problem->length - limit : 0);
        else if (*text == '<')
            put_number(line, limit);
        else if (*text == '@')
            put_number(line, problem->offset + 1);
        else if (*text == '~')
            put_word(line, problem->word);
        else if (*text == '!')
            put_form(line, problem);
        else
            put_char(line, *text);
    }
}

size_t sttp_explain(const sttp_problem *problem, char *buffer, size_t capacity)
{
    const char *text = template_of(problem);
    struct line line = {buffer, capacity, 0};

    if (capacity == 0)
        return 0;
    line.capacity--;
    if (text)
        expand(&line, text, problem);
    else
        put_text(&line, sttp_status_text(problem->status));
    buffer[line.size] = '\0';
    return line.size;
}
