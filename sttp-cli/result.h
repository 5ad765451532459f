/* What became of one request, and the exit status that says it. */
#ifndef CLI_RESULT_H
#define CLI_RESULT_H

#include <sttp/client.h>

enum {
    CLI_EXIT_OK = 0,
    CLI_EXIT_OUTPUT = 1,
    CLI_EXIT_USAGE = 2,
    CLI_EXIT_URL = 3,
    CLI_EXIT_RESOLVE = 6,
    CLI_EXIT_CONNECT = 7,
    CLI_EXIT_TIMEOUT = 28,
    CLI_EXIT_CLIENT_ERROR = 30,
    CLI_EXIT_FILENAME_TOO_LONG = 31,
    CLI_EXIT_NOT_FOUND = 40,
    CLI_EXIT_PATH_NOT_FOUND = 41,
    CLI_EXIT_SERVER_ERROR = 50,
    CLI_EXIT_CANNOT_CREATE_PATH = 51,
    CLI_EXIT_ANSWER = 52,
    CLI_EXIT_LOST = 56
};

/* The exit statuses and their meaning, from the mildest to the worst: of the lines of a batch the
 * worst one counts. Ended by a NULL meaning. */
typedef struct cli_exit_text {
    int status;
    const char *meaning;
} cli_exit_text;

extern const cli_exit_text cli_exit_texts[];

int cli_worse(int a, int b);

/* One request's end: an answer, or an error where `response` is NULL. In a batch also the end of a
 * line that holds no request. */
typedef struct cli_result {
    uint64_t line; /* of the batch; 0 outside of one */
    bool skipped;  /* an empty line or a comment: neither an answer nor an error */
    sttp_action action;
    sttp_slice path; /* what was asked for, as it was given where it could not be read */
    int exit_status;
    const sttp_response *response;
    sttp_error error;
} cli_result;

/* Makes an error of this program's own. Returns false, to be passed on. */
bool cli_fail(cli_result *result, int exit_status, sttp_status status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The library returned an error, told in result->error. */
void cli_result_set_error(cli_result *result);

/* An answer came. A code that is no answer to the action (a SHOW that is DELETED) makes an error.
 */
void cli_result_set_response(cli_result *result, const sttp_response *response);

#endif
