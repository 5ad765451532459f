#include "client_private.h"

#include <string.h>

#include "memory.h"

sttp_status sttp_client_create(const sttp_client_options *options, sttp_client **client)
{
    sttp_client_options known;
    sttp_allocator memory;
    sttp_client *made;
    sttp_status status;

    *client = NULL;
    if (!sttp__options_read(&known, options))
        return STTP_ERR_ARGUMENT;
    memory = known.allocator ? *known.allocator : sttp__standard_allocator();
    made = sttp__allocate(&memory, sizeof *made);
    if (!made)
        return STTP_ERR_MEMORY;
    *made = (sttp_client){.memory = memory, .connection = {.fd = -1}};
    made->queue.memory = made->input.memory = &made->memory;
    status = sttp__options_apply(made, &known);
    if (status != STTP_OK)
        sttp_client_destroy(made);
    else
        *client = made;
    return status;
}

void sttp_client_destroy(sttp_client *client)
{
    sttp_allocator memory;

    if (!client)
        return;
    memory = client->memory;
    client->call_began = sttp__now();
    sttp__close(client, STTP_OK);
    sttp__queue_free(&client->queue);
    sttp__release(&memory, client->input.data);
    sttp__release(&memory, client->given.items);
    sttp__release(&memory, client->origin);
    sttp__release(&memory, client->socket_path);
    sttp__release(&memory, client->host);
    sttp__release(&memory, client);
}

static void begin_call(sttp_client *client)
{
    uint64_t now = sttp__now();

    client->call_began = now;
    if (client->life_ends == 0)
        client->life_ends = client->total_timeout ? now + client->total_timeout : STTP__NEVER;
    client->deadline = (sttp__deadline){now + client->request_timeout, "request timeout"};
    if (client->life_ends < client->deadline.at)
        client->deadline = (sttp__deadline){client->life_ends, "total timeout"};
}

/* Hands the result of a call to the caller. */
static sttp_status finish(const sttp_client *client, sttp_status status, sttp_error *error)
{
    if (error)
        *error = status == STTP_OK ? (sttp_error){0} : client->error;
    return status;
}

/* Nothing was done, so there is no place and no duration to tell. */
static sttp_status refuse(sttp_client *client, sttp_status status, const char *why)
{
    sttp__text text;

    client->error = (sttp_error){.status = status, .cause = status};
    text = sttp__text_begin(client->error.text, sizeof client->error.text);
    sttp__text_add(&text, why);
    return status;
}

static sttp_status take_request(sttp_client *client, const sttp_request *request)
{
    char why[STTP_MAX_MESSAGE + 1];
    sttp_request whole = *request;
    sttp_problem problem;
    sttp_status status = STTP_ERR_PIPELINE_FULL;

    if (client->origin && !whole.origin.data)
        whole.origin = (sttp_slice){client->origin, strlen(client->origin)};
    if (client->queue.count < client->max_in_flight)
        status = sttp__queue_add(&client->queue, &whole, &problem);
    if (status == STTP_OK)
        return STTP_OK;
    if (status == STTP_ERR_PIPELINE_FULL || status == STTP_ERR_MEMORY)
        return refuse(client, status, sttp_status_text(status));
    sttp_explain(&problem, why, sizeof why);
    return refuse(client, status, why);
}

static sttp_status give_result(sttp_client *client, sttp_response *response)
{
    sttp_status status = STTP_ERR_NOTHING_SENT;

    if (client->queue.count == 0)
        return refuse(client, status, sttp_status_text(status));
    sttp__input_shrink(&client->input);
    status = sttp__exchange(client, response);
    if (status == STTP_OK)
        return STTP_OK;
    *response = (sttp_response){0};
    sttp__queue_pop(&client->queue);
    return status;
}

sttp_status sttp_client_send(sttp_client *client, const sttp_request *request, sttp_error *error)
{
    begin_call(client);
    return finish(client, take_request(client, request), error);
}

sttp_status sttp_client_receive(sttp_client *client, sttp_response *response, sttp_error *error)
{
    *response = (sttp_response){0};
    begin_call(client);
    return finish(client, give_result(client, response), error);
}

sttp_status sttp_client_request(sttp_client *client, const sttp_request *request,
                                sttp_response *response, sttp_error *error)
{
    sttp_status status = STTP_ERR_STATE;

    *response = (sttp_response){0};
    begin_call(client);
    if (client->queue.count > 0)
        refuse(client, status, "take the outstanding answers first");
    else
        status = take_request(client, request);
    if (status == STTP_OK)
        status = give_result(client, response);
    return finish(client, status, error);
}

size_t sttp_client_outstanding(const sttp_client *client)
{
    return client->queue.count;
}

const char *sttp_phase_name(sttp_phase phase)
{
    switch (phase) {
    case STTP_PHASE_NONE:
        return "none";
    case STTP_PHASE_RESOLVE:
        return "resolve";
    case STTP_PHASE_CONNECT:
        return "connect";
    case STTP_PHASE_HANDSHAKE:
        return "handshake";
    case STTP_PHASE_SEND:
        return "send";
    case STTP_PHASE_RECEIVE:
        return "receive";
    case STTP_PHASE_QUEUE:
        return "queue";
    }
    return "none";
}
