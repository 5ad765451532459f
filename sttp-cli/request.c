/* One request: everything about it is checked, and the output is opened, before anything is sent.
 */
#include "run.h"

#include <time.h>

#include "contents.h"
#include "output.h"
#include "search.h"
#include "session.h"
#include "target.h"
#include "text.h"

enum { FIRST_PAUSE_MS = 100, LAST_PAUSE_MS = 10000 };

/* Whether there is no answer and to send again cannot hurt. A change that may have been made is
 * STTP_ERR_OUTCOME_UNKNOWN; with every other status of these nothing of it was sent. */
static bool may_repeat(const cli_result *result)
{
    switch (result->error.status) {
    case STTP_ERR_RESOLVE:
    case STTP_ERR_CONNECT:
    case STTP_ERR_TIMEOUT:
    case STTP_ERR_CONNECTION_LOST:
    case STTP_ERR_EMPTY_ANSWER:
        return true;
    default:
        return false;
    }
}

static void pause_for(unsigned milliseconds)
{
    struct timespec left = {.tv_sec = milliseconds / 1000,
                            .tv_nsec = (long)(milliseconds % 1000) * 1000000};

    while (nanosleep(&left, &left) != 0)
        ;
}

static void exchange(sttp_client *client, const sttp_request *request, sttp_response *response,
                     cli_result *result)
{
    if (sttp_client_request(client, request, response, &result->error) == STTP_OK)
        cli_result_set_response(result, response);
    else
        cli_result_set_error(result);
}

static void exchange_with_retries(const cli_options *options, sttp_client *client,
                                  const sttp_request *request, sttp_response *response,
                                  cli_result *result)
{
    unsigned pause = FIRST_PAUSE_MS;

    exchange(client, request, response, result);
    for (unsigned i = 1; i <= options->retries && may_repeat(result); i++) {
        if (!options->quiet)
            cli_complain("%s; trying again in %u ms (%u of %u)", result->error.text, pause, i,
                         options->retries);
        pause_for(pause);
        pause = pause * 2 < LAST_PAUSE_MS ? pause * 2 : LAST_PAUSE_MS;
        exchange(client, request, response, result);
    }
}

/* Fills the request from the target, the options and the contents. `buffer` is for contents that
 * are read, `search` for the query of a LIST. */
static bool prepare(const cli_options *options, cli_target *target, char *buffer,
                    cli_search *search, sttp_request *request, cli_result *result)
{
    if (!cli_target_check(target, result->action, result))
        return false;
    if (result->action == STTP_ACTION_LIST && !cli_search_begin(options, target, search, result))
        return false;
    *request = (sttp_request){
        .action = result->action, .path = target->url.path, .query = target->url.query};
    if (result->action != STTP_ACTION_CREATE && result->action != STTP_ACTION_UPDATE)
        return true;
    return cli_contents_get(options->contents, buffer, &request->contents, result);
}

/* The options name the server of a bare path. With a URL they may say what it says; where they say
 * something else, nobody knows which server is meant. */
static bool check_options_agree(const cli_options *options, const cli_server *server,
                                const sttp_url *url, cli_result *result)
{
    cli_server named = *server;

    if (options->socket_path)
        return cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_ARGUMENT,
                        "a URL names its server itself: leave out --unix, or give a path alone");
    if (options->address && !cli_server_from_options(options, &named, result))
        return false;
    named.port = server->port;
    return ((!options->port || options->port == server->port) && cli_server_is(&named, url)) ||
           cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_ARGUMENT,
                    "the URL names another server than the options: leave out --address and "
                    "--port, or give a path alone");
}

static bool find_server(const cli_options *options, const cli_target *target, cli_server *server,
                        cli_result *result)
{
    if (!target->from_url)
        return cli_server_from_options(options, server, result);
    cli_server_from_url(&target->url, server);
    return check_options_agree(options, server, &target->url, result);
}

static sttp_action default_action(const sttp_url *url)
{
    bool directory = url->path.size > 0 && url->path.data[url->path.size - 1] == '/';

    return directory || url->query.data ? STTP_ACTION_LIST : STTP_ACTION_SHOW;
}

/* Runs the request as far as it comes; its end is in *result, whose response points into the
 * client. */
static void run(const cli_options *options, cli_target *target, cli_search *search,
                sttp_client **client, sttp_response *response, cli_result *result)
{
    char buffer[CLI_MAX_INPUT + 1];
    sttp_request request;
    cli_server server = {0};

    if (!cli_target_parse(cli_slice(options->target), target, result))
        return;
    if (result->action == STTP_ACTION_NONE)
        result->action = default_action(&target->url);
    if (find_server(options, target, &server, result) &&
        prepare(options, target, buffer, search, &request, result) &&
        cli_session_open(options, &server, client, result))
        exchange_with_retries(options, *client, &request, response, result);
}

/* Asks for what comes behind the listing in *result. False where nothing does; else the end of it
 * is in *result. */
static bool run_next(const cli_options *options, cli_target *target, cli_search *search,
                     sttp_client *client, sttp_response *response, cli_result *result)
{
    sttp_request request = {.action = STTP_ACTION_LIST, .path = target->url.path};

    if (!cli_search_next(search, target, result))
        return result->exit_status != CLI_EXIT_OK;
    request.query = target->url.query;
    exchange_with_retries(options, client, &request, response, result);
    return true;
}

int cli_run_request(const cli_options *options)
{
    cli_result result = {.action = options->action};
    cli_target target = {0};
    cli_search search;
    sttp_client *client = NULL;
    sttp_response response;
    cli_output output;
    int exit_status = CLI_EXIT_OUTPUT;

    if (!cli_output_open(&output, options->output))
        return exit_status;
    run(options, &target, &search, &client, &response, &result);
    cli_print_result(&output, options, &result);
    while (options->all && result.exit_status == CLI_EXIT_OK && cli_output_flush(&output) &&
           run_next(options, &target, &search, client, &response, &result))
        cli_print_result(&output, options, &result);
    if (result.exit_status != CLI_EXIT_OK && options->output) {
        cli_output_discard(&output);
        exit_status = result.exit_status;
    } else if (cli_output_commit(&output)) {
        exit_status = result.exit_status;
    }
    sttp_client_destroy(client);
    cli_target_destroy(&target);
    return exit_status;
}
