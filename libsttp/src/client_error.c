/* What went wrong, in one line: what failed, where, why, after how long. */
#include "client_private.h"

#include <string.h>

#include "error_text.h"

static void add_hop(sttp__text *text, const sttp_client *client, const char *name)
{
    sttp__text_add(text, client->origin ? "proxy " : "");
    sttp__text_add(text, name);
}

void sttp__add_destination(sttp__text *text, const sttp_client *client)
{
    add_hop(text, client, client->socket_path ? client->socket_path : client->host);
}

/* The far end of the connection. */
static void add_peer(sttp__text *text, const sttp_client *client)
{
    add_hop(text, client, client->connection.address);
}

static void copy_address(sttp_client *client)
{
    _Static_assert(sizeof client->error.address == sizeof client->connection.address, "one size");
    memcpy(client->error.address, client->connection.address, sizeof client->error.address);
}

sttp__text sttp__error_begin(sttp_client *client, sttp_status status, sttp_phase phase,
                             int system_errno)
{
    client->error = (sttp_error){
        .status = status, .cause = status, .phase = phase, .system_errno = system_errno};
    if (phase > STTP_PHASE_RESOLVE)
        copy_address(client);
    return sttp__text_begin(client->error.text, sizeof client->error.text - STTP__END_SIZE);
}

sttp_status sttp__error_end(sttp_client *client, sttp__text *text)
{
    text->capacity = sizeof client->error.text - 1;
    sttp__text_add(text, ", after ");
    sttp__text_add_duration(text, sttp__now() - client->call_began);
    return client->error.status;
}

sttp_status sttp__error(sttp_client *client, sttp_status status, sttp_phase phase, int system_errno)
{
    sttp__text text = sttp__error_begin(client, status, phase, system_errno);

    sttp__text_add(&text, sttp_status_text(status));
    if (system_errno != 0) {
        sttp__text_add(&text, ": ");
        sttp__text_add(&text, strerror(system_errno));
    }
    return sttp__error_end(client, &text);
}

static sttp_request oldest_request(const sttp_client *client)
{
    return sttp__queue_request(&client->queue, sttp__queue_at(&client->queue, 0));
}

static void add_request(sttp__text *text, const sttp_client *client)
{
    sttp_request request = oldest_request(client);

    sttp__text_add_request(text, &request);
}

sttp_status sttp__error_timeout(sttp_client *client, sttp_phase phase, const char *deadline)
{
    sttp__text text = sttp__error_begin(client, STTP_ERR_TIMEOUT, phase, 0);

    if (phase <= STTP_PHASE_CONNECT) {
        sttp__text_add(&text, "cannot resolve ");
        sttp__add_destination(&text, client);
    } else if (phase == STTP_PHASE_HANDSHAKE) {
        sttp__text_add(&text, "the handshake is not done with ");
        add_peer(&text, client);
    } else {
        sttp__text_add(&text, "no answer to ");
        add_request(&text, client);
        sttp__text_add(&text, " from ");
        add_peer(&text, client);
    }
    sttp__text_add(&text, ": the ");
    sttp__text_add(&text, deadline);
    sttp__text_add(&text, " has passed");
    if (phase == STTP_PHASE_RECEIVE)
        sttp__text_add_received(&text, sttp__input_bytes(&client->input));
    return sttp__error_end(client, &text);
}

static sttp_status lost_status(const sttp_client *client)
{
    const sttp__connection *c = &client->connection;

    if (c->failed && !sttp__is_plain(client))
        return STTP_ERR_TRANSPORT;
    if (c->failed || sttp__input_bytes(&client->input).size > 0)
        return STTP_ERR_CONNECTION_LOST;
    return STTP_ERR_EMPTY_ANSWER;
}

sttp_status sttp__error_lost(sttp_client *client)
{
    const sttp__connection *c = &client->connection;
    bool sent = sttp__queue_oldest_sent(&client->queue);
    sttp__text text = sttp__error_begin(
        client, lost_status(client), sent ? STTP_PHASE_RECEIVE : STTP_PHASE_SEND, c->system_errno);

    add_peer(&text, client);
    sttp__text_add(&text, c->failed ? " lost the connection " : " closed the connection ");
    if (!sent)
        sttp__text_add(&text, "before ");
    else if (sttp__input_bytes(&client->input).size > 0)
        sttp__text_add(&text, "in the middle of the answer to ");
    else
        sttp__text_add(&text, "without an answer to ");
    add_request(&text, client);
    if (c->failed) {
        sttp__text_add(&text, ": ");
        sttp__text_add(&text, c->why);
    }
    if (sent)
        sttp__text_add_received(&text, sttp__input_bytes(&client->input));
    return sttp__error_end(client, &text);
}

sttp_status sttp__error_bad_answer(sttp_client *client, sttp_status status,
                                   const sttp_problem *problem)
{
    bool too_long = status == STTP_ERR_CONTENTS_LINE_TOO_LONG;
    sttp_request request = oldest_request(client);
    sttp__text text =
        sttp__error_begin(client, too_long ? status : STTP_ERR_BAD_ANSWER, STTP_PHASE_RECEIVE, 0);

    if (too_long) {
        sttp__text_add_excess(&text, &request, client->max_contents);
    } else {
        add_peer(&text, client);
        sttp__text_add_nonsense(&text, client->connection.answers == 0,
                                sttp__input_bytes(&client->input), problem);
    }
    return sttp__error_end(client, &text);
}

sttp_status sttp__error_wrong_answer(sttp_client *client, const sttp_response *response)
{
    sttp_request request = oldest_request(client);
    sttp__text text = sttp__error_begin(client, STTP_ERR_WRONG_ANSWER, STTP_PHASE_RECEIVE, 0);

    add_peer(&text, client);
    sttp__text_add_wrong_answer(&text, &request, response);
    return sttp__error_end(client, &text);
}

sttp_status sttp__error_unasked(sttp_client *client)
{
    sttp__text text = sttp__error_begin(client, STTP_ERR_UNASKED_ANSWER, STTP_PHASE_RECEIVE, 0);

    add_peer(&text, client);
    sttp__text_add_unasked(&text, sttp__input_bytes(&client->input));
    return sttp__error_end(client, &text);
}

sttp_status sttp__error_outcome_unknown(sttp_client *client)
{
    const sttp_error known = client->error;
    sttp__text text =
        sttp__error_begin(client, STTP_ERR_OUTCOME_UNKNOWN, known.phase, known.system_errno);

    client->error.cause = known.status;
    memcpy(client->error.address, known.address, sizeof known.address);
    add_request(&text, client);
    sttp__text_add(&text, " was sent, outcome unknown: ");
    text.capacity += STTP__END_SIZE; /* what is known ends with its time already */
    sttp__text_add(&text, known.text);
    return STTP_ERR_OUTCOME_UNKNOWN;
}
