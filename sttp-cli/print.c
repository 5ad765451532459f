/* The forms of a result.
 *
 *   a request alone   what was asked for; a failure is a diagnosis on standard error
 *   a batch           NUMBER <TAB> STATUS LINE [<TAB> CONTENTS], or
 *                     NUMBER <TAB> "error" <SPACE> EXIT STATUS <TAB> TEXT, or
 *                     NUMBER <TAB> "skipped" for an empty line and a comment
 *   --json            one object a line, see print_json
 *
 * A status line holds no TAB, so a reader of a batch splits at the first two. */
#include "output.h"

#include <errno.h>
#include <string.h>

#include "proxy.h"
#include "text.h"

static void put(const cli_output *output, sttp_slice text)
{
    if (output->visible)
        cli_write_visible(output->stream, text);
    else if (text.size > 0)
        fwrite(text.data, 1, text.size, output->stream);
}

static void put_status_line(const cli_output *output, const sttp_response *response)
{
    fprintf(output->stream, "%d ", response->code);
    put(output, response->echo);
    fprintf(output->stream, " %s", sttp_code_phrase(response->code));
    if (response->message.data) {
        fputs(" \"", output->stream);
        put(output, response->message);
        putc('"', output->stream);
    }
}

static void put_names(const cli_output *output, sttp_slice names)
{
    while (names.size > 0) {
        put(output, cli_next_name(&names));
        putc('\n', output->stream);
    }
}

static void print_line(const cli_output *output, const cli_result *result)
{
    const sttp_response *response = result->response;

    fprintf(output->stream, "%llu\t", (unsigned long long)result->line);
    if (result->skipped) {
        fputs("skipped", output->stream);
    } else if (!response) {
        fprintf(output->stream, "error %d\t", result->exit_status);
        cli_write_visible(output->stream, cli_slice(result->error.text));
    } else {
        put_status_line(output, response);
        if (response->contents.data) {
            putc('\t', output->stream);
            put(output, response->contents);
        }
    }
    putc('\n', output->stream);
}

static void complain_of_response(const sttp_response *response)
{
    bool message = response->message.data != NULL;

    cli_complain("%s%d %.*s %s%s%.*s%s", cli_proxy_answered(response) ? "the proxy answered " : "",
                 response->code, (int)response->echo.size, response->echo.data,
                 sttp_code_phrase(response->code), message ? " \"" : "",
                 message ? (int)response->message.size : 0, message ? response->message.data : "",
                 message ? "\"" : "");
}

static void print_failure(const cli_output *output, const cli_options *options,
                          const cli_result *result)
{
    if (result->response && options->include && !options->output) {
        put_status_line(output, result->response);
        putc('\n', output->stream);
    } else if (options->quiet) {
        return;
    } else if (result->response) {
        complain_of_response(result->response);
    } else {
        cli_complain("%s", result->error.text);
    }
}

static void print_success(const cli_output *output, const cli_options *options,
                          const cli_result *result)
{
    const sttp_response *response = result->response;
    bool change = sttp_action_is_change(result->action);

    if (options->include || (change && !options->quiet)) {
        put_status_line(output, response);
        putc('\n', output->stream);
    }
    if (result->action == STTP_ACTION_LIST) {
        put_names(output, response->contents);
    } else if (response->contents.data && (options->include || !change)) {
        put(output, response->contents);
        putc('\n', output->stream);
    }
}

static void put_member(FILE *stream, const char *name, sttp_slice text)
{
    fprintf(stream, ",\"%s\":", name);
    cli_write_json_string(stream, text);
}

static void put_json_names(FILE *stream, sttp_slice names)
{
    const char *separator = "";

    fputs(",\"names\":[", stream);
    while (names.size > 0) {
        fputs(separator, stream);
        cli_write_json_string(stream, cli_next_name(&names));
        separator = ",";
    }
    putc(']', stream);
}

static void put_json_response(FILE *stream, sttp_action action, const sttp_response *response)
{
    fprintf(stream, ",\"code\":%d", response->code);
    put_member(stream, "echo", response->echo);
    put_member(stream, "phrase", cli_slice(sttp_code_phrase(response->code)));
    if (response->message.data)
        put_member(stream, "message", response->message);
    if (cli_proxy_answered(response))
        fputs(",\"proxy\":true", stream);
    if (!response->contents.data)
        return;
    if (action == STTP_ACTION_LIST)
        put_json_names(stream, response->contents);
    else
        put_member(stream, "contents", response->contents);
}

static void put_json_error(FILE *stream, const sttp_error *error)
{
    fputs(",\"error\":{\"name\":", stream);
    cli_write_json_string(stream, cli_slice(sttp_status_name(error->status)));
    put_member(stream, "cause", cli_slice(sttp_status_name(error->cause)));
    put_member(stream, "phase", cli_slice(sttp_phase_name(error->phase)));
    put_member(stream, "address", cli_slice(error->address));
    put_member(stream, "text", cli_slice(error->text));
    putc('}', stream);
}

static void print_json(FILE *stream, const cli_result *result)
{
    putc('{', stream);
    if (result->line > 0)
        fprintf(stream, "\"line\":%llu,", (unsigned long long)result->line);
    fputs("\"action\":", stream);
    if (result->action == STTP_ACTION_NONE)
        fputs("null", stream);
    else
        cli_write_json_string(stream, cli_slice(sttp_action_name(result->action)));
    put_member(stream, "path", result->path);
    if (result->skipped)
        fputs(",\"skipped\":true", stream);
    else if (result->response)
        put_json_response(stream, result->action, result->response);
    else
        put_json_error(stream, &result->error);
    fprintf(stream, ",\"exit\":%d}\n", result->exit_status);
}

/* --output takes no failure: the object of one goes where it would go without. */
static void print_single_json(const cli_output *output, const cli_options *options,
                              const cli_result *result)
{
    bool failed = result->exit_status != CLI_EXIT_OK;

    print_json(failed ? stdout : output->stream, result);
    if (failed && !options->include)
        print_failure(output, options, result);
}

void cli_print_result(cli_output *output, const cli_options *options, const cli_result *result)
{
    if (options->batch && options->json)
        print_json(output->stream, result);
    else if (options->batch)
        print_line(output, result);
    else if (options->json)
        print_single_json(output, options, result);
    else if (result->exit_status != CLI_EXIT_OK)
        print_failure(output, options, result);
    else
        print_success(output, options, result);
    if (ferror(output->stream) && output->system_errno == 0)
        output->system_errno = errno;
}
