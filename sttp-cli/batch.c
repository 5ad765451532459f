/* A batch: requests from a file or a pipe, one a line, pipelined over one connection.
 *
 *     input --> buffer --> lines --> entries (a ring) --> results, in the order of the lines
 *                                       |      ^
 *                                       v      |
 *                                     client: sent, not yet answered
 *
 * Every line has a result. One that is not sent becomes an entry that needs no answer, with its
 * error or, for an empty line and a comment, none; so results keep the order of the lines. The ring
 * and the buffer have fixed sizes: input of any length takes the same memory.
 *
 * The input may come from a program that waits for the answer before it writes the next line. So
 * the input is only waited for when no answer is outstanding; while one is, the loop looks whether
 * more input is there, and receives an answer where none is. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contents.h"
#include "output.h"
#include "session.h"
#include "target.h"
#include "text.h"

enum {
    WINDOW = 1024,    /* lines under way */
    MAX_LINE = 16384, /* a request line whose path is percent-encoded throughout fits well */
    BUFFER_SIZE = 4 * MAX_LINE
};

/* A line whose result is not printed yet. */
typedef struct entry {
    uint64_t line;
    sttp_action action;
    char *path; /* owned; with its size, since a hostile line may hold zero bytes */
    size_t path_size;
    bool sent;
    sttp_error *error; /* owned; NULL where the line has none of its own */
    int exit_status;   /* with an error */
} entry;

typedef struct batch {
    const cli_options *options;
    cli_server server;
    sttp_client *client;
    cli_output output;
    int input;
    bool ended;    /* no more input */
    bool skipping; /* within a line that is too long */
    uint64_t line;
    size_t first, count; /* the ring */
    size_t start, used;  /* the unread part of the buffer */
    int exit_status;
    entry ring[WINDOW];
    char buffer[BUFFER_SIZE];
} batch;

static void print_result(batch *b, const cli_result *result)
{
    b->exit_status = cli_worse(b->exit_status, result->exit_status);
    cli_print_result(&b->output, b->options, result);
}

/* Prints the result of the oldest line, waiting for its answer where it was sent. */
static void finish_oldest(batch *b)
{
    entry *oldest = &b->ring[b->first];
    cli_result result = {.line = oldest->line,
                         .action = oldest->action,
                         .path = {oldest->path, oldest->path_size},
                         .exit_status = oldest->exit_status};
    sttp_response response;

    if (oldest->error)
        result.error = *oldest->error;
    else if (!oldest->sent)
        result.skipped = true;
    else if (sttp_client_receive(b->client, &response, &result.error) == STTP_OK)
        cli_result_set_response(&result, &response);
    else
        cli_result_set_error(&result);
    print_result(b, &result);
    free(oldest->path);
    free(oldest->error);
    b->first = (b->first + 1) % WINDOW;
    b->count--;
}

/* Makes the entry of a line; its error, if it has one, is in *result. False where memory is out. */
static bool add_entry(batch *b, const cli_result *result)
{
    entry *added = &b->ring[(b->first + b->count) % WINDOW];
    bool failed = result->exit_status != CLI_EXIT_OK;

    *added = (entry){.line = result->line,
                     .action = result->action,
                     .path = malloc(result->path.size + 1),
                     .path_size = result->path.size,
                     .sent = !failed && !result->skipped,
                     .error = failed ? malloc(sizeof *added->error) : NULL,
                     .exit_status = result->exit_status};
    if (!added->path || (failed && !added->error)) {
        free(added->path);
        free(added->error);
        return false;
    }
    if (result->path.size > 0)
        memcpy(added->path, result->path.data, result->path.size);
    if (failed)
        *added->error = result->error;
    b->count++;
    return true;
}

static sttp_slice cut_word(sttp_slice *line)
{
    const char *space = memchr(line->data, ' ', line->size);
    sttp_slice word = *line;

    if (!space) {
        *line = (sttp_slice){0};
        return word;
    }
    word.size = (size_t)(space - line->data);
    *line = (sttp_slice){space + 1, line->size - word.size - 1};
    return word;
}

static bool read_action(sttp_slice word, cli_result *result)
{
    sttp_slice near = cli_nearest_action(word);
    char excerpt[CLI_EXCERPT];

    if (word.size == 0)
        return cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_ACTION,
                        "the line begins with a space; the form is ACTION PATH [CONTENTS]");
    result->action = sttp_action_from_name(word);
    if (result->action != STTP_ACTION_NONE)
        return true;
    return cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_ACTION, "unknown action %s; %s%s",
                    cli_excerpt(word, excerpt),
                    near.size > 0 ? "did you mean "
                                  : "it is one of create, show, list, update and delete",
                    near.data);
}

/* The contents as they stand in a request: what follows the path, without its outer quotes. */
static bool read_contents(sttp_slice rest, sttp_slice *contents, cli_result *result)
{
    if (rest.size == 0)
        return cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_CONTENTS_MISSING,
                        "the contents are missing behind the path; \"\" stands for an empty text");
    *contents = rest;
    if (rest.size >= 2 && rest.data[0] == '"' && rest.data[rest.size - 1] == '"')
        *contents = (sttp_slice){rest.data + 1, rest.size - 2};
    return cli_contents_check(*contents, result);
}

static bool refuse_contents(sttp_slice rest, cli_result *result)
{
    for (size_t i = 0; i < rest.size; i++) {
        if (rest.data[i] != ' ')
            return cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_CONTENTS_UNEXPECTED,
                            "%s takes no contents: leave out what follows the path",
                            sttp_action_name(result->action));
    }
    return true;
}

static bool read_target(batch *b, sttp_slice word, cli_target *target, cli_result *result)
{
    char excerpt[CLI_EXCERPT];

    if (word.size == 0)
        return cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_TARGET_MISSING,
                        "the path is missing; the form is ACTION PATH [CONTENTS]");
    if (!cli_target_parse(word, target, result))
        return false;
    if (target->from_url && !cli_server_is(&b->server, &target->url))
        return cli_fail(result, CLI_EXIT_URL, STTP_ERR_ARGUMENT,
                        "%s: a batch has one server, and this is another; --address and --port "
                        "or --unix name it",
                        cli_excerpt(word, excerpt));
    return cli_target_check(target, result->action, result);
}

/* Reads a line into a request; its slices point into the line and the target. */
static bool read_request(batch *b, sttp_slice line, cli_target *target, sttp_request *request,
                         cli_result *result)
{
    sttp_slice rest = line;
    sttp_slice action = cut_word(&rest);
    sttp_slice word = rest.data ? cut_word(&rest) : (sttp_slice){0};

    if (!read_action(action, result) || !read_target(b, word, target, result))
        return false;
    *request = (sttp_request){
        .action = result->action, .path = target->url.path, .query = target->url.query};
    if (result->action == STTP_ACTION_CREATE || result->action == STTP_ACTION_UPDATE)
        return read_contents(rest, &request->contents, result);
    return refuse_contents(rest, result);
}

/* Hands the request to the client, which takes it as soon as enough answers have come. */
static void send_request(batch *b, const sttp_request *request, cli_result *result)
{
    sttp_status status;

    while ((status = sttp_client_send(b->client, request, &result->error)) ==
               STTP_ERR_PIPELINE_FULL &&
           b->count > 0)
        finish_oldest(b);
    if (status != STTP_OK)
        cli_result_set_error(result);
}

/* An empty line or a comment is none. */
static bool is_request(sttp_slice line)
{
    size_t blanks = 0;

    while (blanks < line.size && (line.data[blanks] == ' ' || line.data[blanks] == '\t'))
        blanks++;
    return blanks < line.size && line.data[blanks] != '#';
}

static void carry_out(batch *b, sttp_slice line, cli_target *target, cli_result *result)
{
    sttp_request request;

    if (!is_request(line))
        result->skipped = true;
    else if (line.size > MAX_LINE)
        cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_LINE_TOO_LONG, "the line is over %d bytes",
                 MAX_LINE);
    else if (read_request(b, line, target, &request, result))
        send_request(b, &request, result);
}

static bool handle_line(batch *b, sttp_slice line)
{
    cli_result result = {.line = b->line};
    cli_target target = {0};
    bool added;

    if (b->count == WINDOW)
        finish_oldest(b);
    carry_out(b, line, &target, &result);
    added = add_entry(b, &result);
    cli_target_destroy(&target);
    while (b->count > 0 && !b->ring[b->first].sent)
        finish_oldest(b);
    return added;
}

/* Drops the rest of a line that was too long. False where its end has not come yet. */
static bool skip_rest(batch *b)
{
    const char *end = memchr(b->buffer + b->start, '\n', b->used - b->start);

    b->start = end ? (size_t)(end + 1 - b->buffer) : b->used;
    return end != NULL;
}

/* Takes the next line off the buffer: up to its end, or all that is there where no more will come.
 * A line that is too long is taken as far as it came. */
static bool take_line(batch *b, sttp_slice *line)
{
    const char *data;
    const char *end;
    size_t size;

    if (b->skipping)
        b->skipping = !skip_rest(b);
    data = b->buffer + b->start;
    size = b->used - b->start;
    end = memchr(data, '\n', size);
    if (!end && size <= MAX_LINE && (!b->ended || size == 0))
        return false;
    *line = (sttp_slice){data, end ? (size_t)(end - data) : size};
    b->skipping = !end;
    b->start += line->size + (end != NULL);
    b->line++;
    if (line->size > 0 && data[line->size - 1] == '\r')
        line->size--;
    return true;
}

static bool wait_for_input(batch *b, int timeout)
{
    struct pollfd poll_input = {.fd = b->input, .events = POLLIN};
    int ready;

    do {
        ready = poll(&poll_input, 1, timeout);
    } while (ready < 0 && errno == EINTR);
    return ready != 0; /* an error of poll is one of read too, which tells it */
}

static void read_input(batch *b)
{
    ssize_t count;

    memmove(b->buffer, b->buffer + b->start, b->used - b->start);
    b->used -= b->start;
    b->start = 0;
    count = read(b->input, b->buffer + b->used, BUFFER_SIZE - b->used);
    if (count > 0) {
        b->used += (size_t)count;
    } else if (count == 0) {
        b->ended = true;
    } else if (errno != EINTR && errno != EAGAIN) {
        cli_complain("cannot read %s: %s", b->options->batch, strerror(errno));
        b->exit_status = cli_worse(b->exit_status, CLI_EXIT_USAGE);
        b->used = 0; /* what came of a line may not be all of it */
        b->ended = true;
    }
}

/* One step: a line handled, input read, or an answer received. False at the end. */
static bool step(batch *b)
{
    sttp_slice line;

    if (b->output.system_errno != 0)
        return false;
    if (take_line(b, &line)) {
        if (handle_line(b, line))
            return true;
        cli_complain("out of memory at line %llu", (unsigned long long)b->line);
        b->exit_status = CLI_EXIT_OUTPUT;
        return false;
    }
    if (b->count == 0 && !cli_output_flush(&b->output))
        return false;
    if (!b->ended && wait_for_input(b, b->count > 0 ? 0 : -1)) {
        read_input(b);
    } else if (b->count > 0) {
        cli_output_flush(&b->output);
        finish_oldest(b);
    }
    return !b->ended || b->count > 0 || b->start < b->used;
}

static bool open_input(batch *b)
{
    const char *name = b->options->batch;

    b->input = strcmp(name, "-") == 0 ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC);
    if (b->input >= 0)
        return true;
    cli_complain("cannot read %s: %s", name, strerror(errno));
    return false;
}

static int run(batch *b)
{
    cli_result result = {0};

    if (!open_input(b))
        return CLI_EXIT_USAGE;
    if (!cli_server_from_options(b->options, &b->server, &result) ||
        !cli_session_open(b->options, &b->server, &b->client, &result)) {
        cli_complain("%s", result.error.text);
        return result.exit_status;
    }
    if (!cli_output_open(&b->output, b->options->output))
        return CLI_EXIT_OUTPUT;
    while (step(b))
        ;
    return cli_output_commit(&b->output) ? b->exit_status : CLI_EXIT_OUTPUT;
}

int cli_run_batch(const cli_options *options)
{
    batch *b = calloc(1, sizeof *b);
    int exit_status = CLI_EXIT_OUTPUT;

    if (!b) {
        cli_complain("out of memory");
        return exit_status;
    }
    b->options = options;
    b->input = -1;
    exit_status = run(b);
    for (; b->count > 0; b->count--) {
        free(b->ring[b->first].path);
        free(b->ring[b->first].error);
        b->first = (b->first + 1) % WINDOW;
    }
    sttp_client_destroy(b->client);
    if (b->input > STDIN_FILENO)
        close(b->input);
    free(b);
    return exit_status;
}
