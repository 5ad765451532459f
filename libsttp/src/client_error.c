/* What went wrong, in one line: what failed, where, why, after how long. */
#include "client_private.h"

#include <string.h>

enum { MAX_SHOWN_TARGET = 100, END_SIZE = 24 /* ", after 4294967295.9 s" */ };

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
    return sttp__text_begin(client->error.text, sizeof client->error.text - END_SIZE);
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

/* "SHOW /notes/a.txt", of the oldest request. */
static void add_request(sttp__text *text, const sttp_client *client)
{
    sttp_request request = sttp__queue_request(&client->queue, sttp__queue_at(&client->queue, 0));
    sttp_slice target = request.path;
    bool cut;

    if (request.origin.data)
        target = (sttp_slice){request.origin.data, request.origin.size + request.path.size};
    cut = target.size > MAX_SHOWN_TARGET;
    target.size = cut ? MAX_SHOWN_TARGET : target.size;
    while (cut && ((unsigned char)target.data[target.size] & 0xc0) == 0x80)
        target.size--; /* to the start of a character */
    sttp__text_add(text, sttp_action_name(request.action));
    sttp__text_add(text, " ");
    sttp__text_add_slice(text, target);
    sttp__text_add(text, cut ? "..." : "");
}

/* What came of an answer that is not whole, so that a peer of another protocol can be told. */
static void add_received(sttp__text *text, const sttp_client *client)
{
    sttp_slice received = sttp__input_bytes(&client->input);

    if (received.size == 0)
        return;
    sttp__text_add(text, "; what came begins with ");
    sttp__text_add_bytes(text, received);
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
        add_received(&text, client);
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
        add_received(&text, client);
    return sttp__error_end(client, &text);
}

sttp_status sttp__error_bad_answer(sttp_client *client, sttp_status status,
                                   const sttp_problem *problem)
{
    bool too_long = status == STTP_ERR_CONTENTS_LINE_TOO_LONG;
    char why[STTP_MAX_MESSAGE + 1];
    sttp__text text =
        sttp__error_begin(client, too_long ? status : STTP_ERR_BAD_ANSWER, STTP_PHASE_RECEIVE, 0);

    if (too_long) {
        sttp__text_add(&text, "the answer to ");
        add_request(&text, client);
        sttp__text_add(&text, " has more than ");
        sttp__text_add_number(&text, client->max_contents);
        sttp__text_add(&text, " bytes of contents");
        return sttp__error_end(client, &text);
    }
    add_peer(&text, client);
    sttp__text_add(&text, client->connection.answers == 0 ? " is no STTP server; it answered: "
                                                          : " sent what is no STTP response: ");
    sttp__text_add_bytes(&text, sttp__input_bytes(&client->input));
    sttp_explain(problem, why, sizeof why);
    sttp__text_add(&text, " (");
    sttp__text_add(&text, why);
    sttp__text_add(&text, ")");
    return sttp__error_end(client, &text);
}

sttp_status sttp__error_wrong_answer(sttp_client *client, const sttp_response *response)
{
    sttp__text text = sttp__error_begin(client, STTP_ERR_WRONG_ANSWER, STTP_PHASE_RECEIVE, 0);

    add_peer(&text, client);
    sttp__text_add(&text, " answered ");
    add_request(&text, client);
    sttp__text_add(&text, " with a response that speaks of ");
    sttp__text_add_bytes(&text, response->echo);
    sttp__text_add(&text, " (");
    sttp__text_add_number(&text, (uint64_t)response->code);
    sttp__text_add(&text, " ");
    sttp__text_add(&text, sttp_code_phrase((int)response->code));
    sttp__text_add(&text, ")");
    return sttp__error_end(client, &text);
}

sttp_status sttp__error_unasked(sttp_client *client)
{
    sttp__text text = sttp__error_begin(client, STTP_ERR_UNASKED_ANSWER, STTP_PHASE_RECEIVE, 0);

    add_peer(&text, client);
    sttp__text_add(&text, " sent what no request asked for: ");
    sttp__text_add_bytes(&text, sttp__input_bytes(&client->input));
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
    text.capacity += END_SIZE; /* what is known ends with its time already */
    sttp__text_add(&text, known.text);
    return STTP_ERR_OUTCOME_UNKNOWN;
}
