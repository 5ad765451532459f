/* What went wrong, in one line, in the words of the blocking client (src/client_error.c). */
#include "async_private.h"

#include <net/if.h>
#include <netdb.h>
#include <string.h>

#include "../src/error_text.h"

const char *sttp__pool_destination(const sttp_pool *pool)
{
    return pool->socket_path != NULL ? pool->socket_path : pool->host;
}

void sttp__place_write(const sttp_pool *pool, const sttp__inet_address *address,
                       char buffer[STTP__PLACE_TEXT])
{
    char host[INET6_ADDRSTRLEN + 1 + IF_NAMESIZE];
    char port[6];
    bool ipv6 = address != NULL && address->any.sa_family == AF_INET6;
    sttp__text text = sttp__text_begin(buffer, STTP__PLACE_TEXT);

    if (address == NULL) {
        sttp__text_add(&text, "unix:");
        sttp__text_add(&text, pool->socket_path);
        return;
    }
    if (getnameinfo(&address->any, ipv6 ? sizeof address->ipv6 : sizeof address->ipv4, host,
                    sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    sttp__text_add(&text, ipv6 ? "[" : "");
    sttp__text_add(&text, host);
    sttp__text_add(&text, ipv6 ? "]:" : ":");
    sttp__text_add(&text, port);
}

/* Between begin and end the text is added to. */
static sttp__text begin(sttp_error *error, sttp_status status, sttp_phase phase, int system_errno,
                        const char *address)
{
    sttp__text place;

    *error = (sttp_error){
        .status = status, .cause = status, .phase = phase, .system_errno = system_errno};
    place = sttp__text_begin(error->address, sizeof error->address);
    sttp__text_add(&place, address);
    return sttp__text_begin(error->text, sizeof error->text - STTP__END_SIZE);
}

static void end(sttp_error *error, sttp__text *text, const sttp_pool *pool, uint64_t began)
{
    text->capacity = sizeof error->text - 1;
    sttp__text_add(text, ", after ");
    sttp__text_add_duration(text, pool->async->now - began);
}

static void add_request(sttp__text *text, const sttp_call *call)
{
    sttp_request request = sttp__call_request(call);

    sttp__text_add_request(text, &request);
}

/* The far end, which is a proxy's where the call has an origin. */
static void add_peer(sttp__text *text, const sttp__link *link, const sttp_call *call)
{
    sttp__text_add(text, call != NULL && call->origin_size > 0 ? "proxy " : "");
    sttp__text_add(text, link->address);
}

static void add_peer_of_oldest(sttp__text *text, const sttp__link *link)
{
    add_peer(text, link, TAILQ_FIRST(&link->slots));
}

/* What a connection's error counts from: its oldest call, or its last use. */
static uint64_t began(const sttp__link *link)
{
    const sttp_call *oldest = TAILQ_FIRST(&link->slots);

    return oldest != NULL ? oldest->began : link->used_at;
}

void sttp__fault(sttp_error *error, const sttp_pool *pool, sttp_status status, sttp_phase phase,
                 int system_errno, const char *address, uint64_t since)
{
    sttp__text text = begin(error, status, phase, system_errno, address);

    sttp__text_add(&text, sttp_status_text(status));
    if (system_errno != 0) {
        sttp__text_add(&text, ": ");
        sttp__text_add(&text, strerror(system_errno));
    }
    end(error, &text, pool, since);
}

void sttp__fault_cancelled(sttp_error *error, const sttp_call *call)
{
    sttp__fault(error, call->pool, STTP_ERR_CANCELLED,
                call->sent ? STTP_PHASE_RECEIVE : STTP_PHASE_QUEUE, 0,
                call->link != NULL ? call->link->address : "", call->began);
    if (call->sent && sttp_action_is_change(call->action))
        sttp__fault_outcome_unknown(error, call);
}

static sttp_phase phase_of(const sttp_call *call)
{
    if (call->link == NULL)
        return STTP_PHASE_QUEUE;
    return call->sent ? STTP_PHASE_RECEIVE : STTP_PHASE_SEND;
}

void sttp__fault_late(sttp_error *error, const sttp_call *call, const char *deadline)
{
    const sttp__link *link = call->link;
    const sttp_pool *pool = call->pool;
    sttp__text text =
        begin(error, STTP_ERR_TIMEOUT, phase_of(call), 0, link != NULL ? link->address : "");

    sttp__text_add(&text, link != NULL ? "no answer to " : "no connection for ");
    add_request(&text, call);
    sttp__text_add(&text, link != NULL ? " from " : " to ");
    if (link != NULL)
        add_peer(&text, link, call);
    else
        sttp__text_add(&text, sttp__pool_destination(pool));
    sttp__text_add(&text, ": the ");
    sttp__text_add(&text, deadline);
    sttp__text_add(&text, " has passed");
    if (link != NULL && call == TAILQ_FIRST(&link->slots))
        sttp__text_add_received(&text, sttp__link_unread(link));
    end(error, &text, pool, call->began);
}

static void add_what_for(sttp__text *text, const sttp__link *link)
{
    const sttp_call *oldest = TAILQ_FIRST(&link->slots);

    if (oldest == NULL)
        return;
    if (!oldest->sent)
        sttp__text_add(text, " before ");
    else if (sttp__link_unread(link).size > 0)
        sttp__text_add(text, " in the middle of the answer to ");
    else
        sttp__text_add(text, " without an answer to ");
    add_request(text, oldest);
}

void sttp__fault_lost(sttp_error *error, const sttp__link *link)
{
    const sttp_call *oldest = TAILQ_FIRST(&link->slots);
    bool cut = link->failed || sttp__link_unread(link).size > 0;
    sttp__text text = begin(error, cut ? STTP_ERR_CONNECTION_LOST : STTP_ERR_EMPTY_ANSWER,
                            oldest != NULL ? phase_of(oldest) : STTP_PHASE_NONE, link->system_errno,
                            link->address);

    add_peer_of_oldest(&text, link);
    sttp__text_add(&text, link->failed ? " lost the connection" : " closed the connection");
    add_what_for(&text, link);
    if (link->failed) {
        sttp__text_add(&text, ": ");
        sttp__text_add(&text, strerror(link->system_errno));
    }
    sttp__text_add_received(&text, sttp__link_unread(link));
    end(error, &text, link->pool, began(link));
}

void sttp__fault_bad_answer(sttp_error *error, const sttp__link *link, sttp_status status,
                            const sttp_problem *problem)
{
    bool too_long = status == STTP_ERR_CONTENTS_LINE_TOO_LONG;
    sttp__text text =
        begin(error, too_long ? status : STTP_ERR_BAD_ANSWER, STTP_PHASE_RECEIVE, 0, link->address);

    if (too_long) {
        sttp_request request = sttp__call_request(TAILQ_FIRST(&link->slots));
        sttp__text_add_excess(&text, &request, link->pool->max_contents);
    } else {
        add_peer_of_oldest(&text, link);
        sttp__text_add_nonsense(&text, link->answers == 0, sttp__link_unread(link), problem);
    }
    end(error, &text, link->pool, began(link));
}

void sttp__fault_wrong_answer(sttp_error *error, const sttp__link *link,
                              const sttp_response *response)
{
    sttp_request request = sttp__call_request(TAILQ_FIRST(&link->slots));
    sttp__text text = begin(error, STTP_ERR_WRONG_ANSWER, STTP_PHASE_RECEIVE, 0, link->address);

    add_peer_of_oldest(&text, link);
    sttp__text_add_wrong_answer(&text, &request, response);
    end(error, &text, link->pool, began(link));
}

/* Nothing of the oldest call was sent, if there is one. */
void sttp__fault_unasked(sttp_error *error, const sttp__link *link)
{
    sttp__text text = begin(error, STTP_ERR_UNASKED_ANSWER, STTP_PHASE_SEND, 0, link->address);

    add_peer_of_oldest(&text, link);
    sttp__text_add_unasked(&text, sttp__link_unread(link));
    end(error, &text, link->pool, began(link));
}

void sttp__fault_resolve(sttp_error *error, const sttp_pool *pool, const char *why)
{
    sttp__text text = begin(error, STTP_ERR_RESOLVE, STTP_PHASE_RESOLVE, 0, "");

    sttp__text_add(&text, "cannot resolve ");
    sttp__text_add(&text, pool->host);
    sttp__text_add(&text, ": ");
    sttp__text_add(&text, why);
    end(error, &text, pool, pool->connect_began);
}

/* ---- a race that was lost ---- */

static const char *reason(const sttp__attempt *attempt)
{
    if (attempt->denied)
        return "not permitted";
    return attempt->system_errno != 0 ? strerror(attempt->system_errno) : "no answer";
}

/* "192.0.2.1:80 (Connection refused), [::1]:80 (no answer) and 3 more" */
static void add_attempts(sttp__text *text, const sttp__race *race)
{
    const size_t reserve = 80; /* for the end of the line */
    char address[STTP__PLACE_TEXT];
    size_t i;

    for (i = 0; i < race->started && text->size + sizeof address + reserve < text->capacity; i++) {
        const sttp__attempt *attempt = race->attempts[i];

        sttp__place_write(race->pool, attempt->local ? NULL : &attempt->address, address);
        sttp__text_add(text, i > 0 ? ", " : "");
        sttp__text_add(text, address);
        sttp__text_add(text, " (");
        sttp__text_add(text, reason(attempt));
        sttp__text_add(text, ")");
    }
    if (i < race->count) {
        sttp__text_add(text, i > 0 ? " and " : "");
        sttp__text_add_number(text, race->count - i);
        sttp__text_add(text, i < race->started ? " more" : " not tried");
    }
}

static bool all_denied(const sttp__race *race)
{
    for (size_t i = 0; i < race->count; i++)
        if (!race->attempts[i]->denied)
            return false;
    return race->count > 0;
}

/* The one that was tried last. */
static const sttp__attempt *last_tried(const sttp__race *race)
{
    for (size_t i = race->started; i > 0; i--)
        if (!race->attempts[i - 1]->denied)
            return race->attempts[i - 1];
    return NULL;
}

void sttp__fault_race(sttp_error *error, const sttp__race *race, bool late)
{
    const sttp_pool *pool = race->pool;
    const sttp__attempt *last = last_tried(race);
    sttp_status status = all_denied(race) ? STTP_ERR_DENIED : STTP_ERR_CONNECT;
    char address[STTP__PLACE_TEXT] = "";
    sttp__text text;

    if (last != NULL)
        sttp__place_write(pool, last->local ? NULL : &last->address, address);
    text = begin(error, late ? STTP_ERR_TIMEOUT : status,
                 race->count > 0 ? STTP_PHASE_CONNECT : STTP_PHASE_RESOLVE,
                 late || last == NULL ? 0 : last->system_errno, address);
    sttp__text_add(&text, race->count > 0 ? "cannot connect to " : "cannot resolve ");
    sttp__text_add(&text, sttp__pool_destination(pool));
    if (race->count > 0) {
        sttp__text_add(&text, ": ");
        add_attempts(&text, race);
    }
    if (late)
        sttp__text_add(&text, ": the connect timeout has passed");
    end(error, &text, pool, pool->connect_began);
}

void sttp__fault_outcome_unknown(sttp_error *error, const sttp_call *call)
{
    const sttp_error known = *error;
    sttp__text text =
        begin(error, STTP_ERR_OUTCOME_UNKNOWN, known.phase, known.system_errno, known.address);

    error->cause = known.status;
    error->phase = STTP_PHASE_RECEIVE;
    error->behind = known.behind;
    add_request(&text, call);
    sttp__text_add(&text, " was sent, outcome unknown: ");
    text.capacity += STTP__END_SIZE; /* what is known ends with its time already */
    sttp__text_add(&text, known.text);
}
