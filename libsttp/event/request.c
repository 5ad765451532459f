/* From bytes to requests: takes whole lines out of a connection's input and gives them to the
 * handler, or answers in its place what is no request.
 *
 * The order (docs/protocol.md, section 1). SHOWs of one connection run together. A change begins
 * when everything before it is answered, and what comes behind it stays unparsed until it is
 * answered itself: the barrier. So does a LIST: its answer may be large, and shall neither be one
 * of many that a client takes none of, nor wait for the answer to a slow request before it, where
 * no reset of a stalling client could free it. Unparsed stays, too, what comes when too many
 * requests or answers wait. */
#include <errno.h>

#include "engine.h"

enum { REQUESTS_PER_RUN = 256 };

void sttp__drop_input(struct sttp__connection *connection)
{
    sttp__pool_give(&connection->worker->pool, connection->input);
    connection->input = NULL;
}

static void end_input(struct sttp__connection *connection, sttp_close_reason reason)
{
    connection->state = STTP__DRAINING;
    if (!connection->failed)
        connection->reason = reason;
    sttp__drop_input(connection);
}

/* The next place in the order of answers; NULL where the connection has failed for want of it. */
static inline struct sttp_reply *next_reply(struct sttp__connection *connection)
{
    struct sttp_reply *reply = sttp__reply_create(connection);
    connection->requests++;
    connection->consumed = true;
    if (reply == NULL)
        sttp__connection_fail(connection, STTP_CLOSE_MEMORY, ENOMEM);
    return reply;
}

/* Answers what is not a request. */
static void refuse(struct sttp__connection *connection, const sttp_problem *problem)
{
    char message[STTP_MAX_MESSAGE + 1];
    sttp_response response = {.code = STTP_CODE_FILENAME_TOO_LONG, .echo = problem->echo};
    if (problem->status != STTP_ERR_FILENAME_TOO_LONG) {
        response.code = STTP_CODE_CLIENT_ERROR;
        response.message.size = sttp_explain(problem, message, sizeof message);
        response.message.data = message;
    }
    struct sttp_reply *reply = next_reply(connection);
    if (reply != NULL)
        sttp__reply_answer(reply, &response);
}

#define HTTP_BODY                                                                                  \
    "This port speaks STTP, the Short Text Transfer Protocol, not HTTP.\n"                         \
    "Its requests are lines such as: SHOW /notes/reminder.txt\n"

_Static_assert(sizeof HTTP_BODY - 1 == 124, "the Content-Length below");

static void refuse_http(struct sttp__connection *connection)
{
    static const char answer[] = "HTTP/1.1 400 Bad Request\r\n"
                                 "Content-Type: text/plain\r\n"
                                 "Content-Length: 124\r\n"
                                 "Connection: close\r\n"
                                 "\r\n" HTTP_BODY;
    struct sttp_reply *reply = next_reply(connection);
    if (reply != NULL)
        sttp__reply_answer_raw(reply, STTP_SLICE(answer));
    end_input(connection, STTP_CLOSE_HTTP);
}

/* Whether it waits for all requests before it, and all behind it wait for it. */
static bool runs_alone(const sttp_request *request)
{
    return request->action != STTP_ACTION_SHOW;
}

static void dispatch(struct sttp__connection *connection, const sttp_request *request)
{
    const sttp_server_options *options = &connection->worker->server->options;
    struct sttp_reply *reply = next_reply(connection);
    if (reply == NULL)
        return;
    connection->barrier = runs_alone(request);
    reply->change = connection->barrier && sttp_action_is_change(request->action);
    options->handler(options->handler_context, request, reply);
}

/* Takes one line out of the input. A request that runs alone and comes while others are under way
 * stays where it is and is parsed again when they are answered. */
static void take_line(struct sttp__connection *connection)
{
    struct sttp__chunk *input = connection->input;
    sttp_parser before = connection->parser;
    sttp_request request;
    sttp_problem problem;
    size_t consumed = 0;
    sttp_status status =
        sttp_parse_request(&connection->parser, input->data + input->start,
                           input->end - input->start, &consumed, &request, &problem);
    if (status == STTP_OK && connection->unfinished > 0 && runs_alone(&request)) {
        connection->parser = before;
        connection->barrier = true;
        return;
    }
    input->start += consumed;
    switch (status) {
    case STTP_OK:
        dispatch(connection, &request);
        break;
    case STTP_NEED_MORE:
        connection->hungry = true;
        break;
    case STTP_END:
        end_input(connection, STTP_CLOSE_BY_CLIENT);
        break;
    case STTP_ERR_HTTP:
        refuse_http(connection);
        break;
    case STTP_ERR_LINE_TOO_LONG:
        refuse(connection, &problem);
        end_input(connection, STTP_CLOSE_LINE_TOO_LONG);
        break;
    default:
        refuse(connection, &problem);
    }
}

/* All whole lines are taken and no byte will come any more. */
static void take_end(struct sttp__connection *connection)
{
    if (connection->end_of_file) {
        if (sttp__unparsed(connection) > 0)
            refuse(connection, &(sttp_problem){.status = STTP_ERR_UNFINISHED_LINE,
                                               .length = sttp__unparsed(connection),
                                               .echo = STTP_SLICE("-")});
        end_input(connection, STTP_CLOSE_BY_CLIENT);
    } else if (connection->stopping && connection->last_bytes == 0) {
        end_input(connection, STTP_CLOSE_STOP);
    }
}

/* Not inlined: it and what it is called by would have to share the registers. */
__attribute__((noinline)) void sttp__process(struct sttp__connection *connection)
{
    int left = REQUESTS_PER_RUN;
    while (left-- > 0 && sttp__unparsed(connection) > 0 && sttp__takes_requests(connection))
        take_line(connection);
    if (sttp__unparsed(connection) == 0)
        connection->hungry = true;
    if (connection->state == STTP__OPEN && connection->hungry)
        take_end(connection);
}

/* The request does not get finished: answered in its place, then closed. */
void sttp__expire_request(struct sttp__connection *connection)
{
    sttp_response response = {.code = STTP_CODE_CLIENT_ERROR,
                              .echo = STTP_SLICE("-"),
                              .message = STTP_SLICE("request timeout")};
    connection->busy = true;
    struct sttp_reply *reply = next_reply(connection);
    if (reply != NULL)
        sttp__reply_answer(reply, &response);
    connection->busy = false;
    end_input(connection, STTP_CLOSE_REQUEST_TIMEOUT);
}
