#include "result.h"

#include <stdarg.h>
#include <stdio.h>

const cli_exit_text cli_exit_texts[] = {
    {CLI_EXIT_OK, "done"},
    {CLI_EXIT_NOT_FOUND, "400 NOT FOUND"},
    {CLI_EXIT_PATH_NOT_FOUND, "410 PATH NOT FOUND"},
    {CLI_EXIT_FILENAME_TOO_LONG, "310 FILENAME TOO LONG"},
    {CLI_EXIT_CLIENT_ERROR, "300 CLIENT ERROR"},
    {CLI_EXIT_CANNOT_CREATE_PATH, "510 CANNOT CREATE PATH"},
    {CLI_EXIT_SERVER_ERROR, "500 SERVER ERROR"},
    {CLI_EXIT_URL, "a URL that cannot be used"},
    {CLI_EXIT_USAGE, "a mistake in options, path or contents; nothing was sent"},
    {CLI_EXIT_RESOLVE, "the name of the server was not resolved"},
    {CLI_EXIT_CONNECT, "connection refused, or server unreachable"},
    {CLI_EXIT_TIMEOUT, "timeout"},
    {CLI_EXIT_ANSWER, "an empty or unreadable answer"},
    {CLI_EXIT_LOST, "connection lost before the answer was whole"},
    {CLI_EXIT_OUTPUT, "the output could not be written, or this machine failed"},
    {0, NULL},
};

static int severity(int exit_status)
{
    int i = 0;

    while (cli_exit_texts[i].meaning && cli_exit_texts[i].status != exit_status)
        i++;
    return i;
}

int cli_worse(int a, int b)
{
    return severity(a) > severity(b) ? a : b;
}

bool cli_fail(cli_result *result, int exit_status, sttp_status status, const char *format, ...)
{
    va_list arguments;

    result->exit_status = exit_status;
    result->response = NULL;
    result->error = (sttp_error){.status = status, .cause = status};
    va_start(arguments, format);
    vsnprintf(result->error.text, sizeof result->error.text, format, arguments);
    va_end(arguments);
    return false;
}

static int exit_of_status(sttp_status status)
{
    if (status >= STTP_ERR_RESPONSE_CODE && status <= STTP_ERR_CONTENTS_LINE_TOO_LONG)
        return CLI_EXIT_ANSWER;
    switch (status) {
    case STTP_ERR_LINE_TOO_LONG: /* with what goes before the path to a proxy */
        return CLI_EXIT_USAGE;
    case STTP_ERR_RESOLVE:
        return CLI_EXIT_RESOLVE;
    case STTP_ERR_CONNECT:
        return CLI_EXIT_CONNECT;
    case STTP_ERR_TIMEOUT:
        return CLI_EXIT_TIMEOUT;
    case STTP_ERR_CONNECTION_LOST:
        return CLI_EXIT_LOST;
    case STTP_ERR_EMPTY_ANSWER:
    case STTP_ERR_BAD_ANSWER:
    case STTP_ERR_WRONG_ANSWER:
    case STTP_ERR_UNASKED_ANSWER:
    case STTP_ERR_UTF8:
    case STTP_ERR_CONTROL_CHARACTER:
        return CLI_EXIT_ANSWER;
    default:
        return CLI_EXIT_OUTPUT;
    }
}

void cli_result_set_error(cli_result *result)
{
    const sttp_error *error = &result->error;
    bool unknown = error->status == STTP_ERR_OUTCOME_UNKNOWN;

    result->response = NULL;
    result->exit_status = exit_of_status(unknown ? error->cause : error->status);
}

void cli_result_set_response(cli_result *result, const sttp_response *response)
{
    result->response = response;
    result->error = (sttp_error){.status = STTP_OK};
    switch (response->code) {
    case STTP_CODE_CLIENT_ERROR:
    case STTP_CODE_FILENAME_TOO_LONG:
    case STTP_CODE_NOT_FOUND:
    case STTP_CODE_PATH_NOT_FOUND:
    case STTP_CODE_SERVER_ERROR:
    case STTP_CODE_CANNOT_CREATE_PATH:
        result->exit_status = (int)response->code / 10;
        return;
    case STTP_CODE_CREATED:
    case STTP_CODE_OK:
    case STTP_CODE_DELETED:
        break;
    }
    result->exit_status = CLI_EXIT_OK;
}
