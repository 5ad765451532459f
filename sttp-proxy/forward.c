/* To the host of the request's URL, or to the parent. The client reads no more of a refusal than
 * that; the log has the reason. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "sttp-proxy/relay.h"
#include "sttp-proxy/worker.h"

enum { ORIGIN_TEXT = STTP_MAX_HOST + 32 };

/* Where the request goes, as its URL says. */
struct target {
    char host[STTP_MAX_HOST + 1]; /* in lower case, without brackets */
    uint16_t port;
    sttp_scheme scheme;
    char key[ORIGIN_TEXT]; /* the same for all ways to write it, but for a name's final dot */
};

static sttp_slice slice_of(const char *text)
{
    return (sttp_slice){text, strlen(text)};
}

/* One text for all ways to write an IPv6 address, and for an IPv4 address that is mapped into it.
 */
static void normalize(char host[STTP_MAX_HOST + 1])
{
    struct in6_addr address;
    bool ipv6 = inet_pton(AF_INET6, host, &address) == 1;

    if (ipv6 && IN6_IS_ADDR_V4MAPPED(&address))
        inet_ntop(AF_INET, address.s6_addr + 12, host, STTP_MAX_HOST + 1);
    else if (ipv6)
        inet_ntop(AF_INET6, &address, host, STTP_MAX_HOST + 1);
}

/* The parser has judged the origin: it can be read. */
static void read_target(const sttp_request *request, struct target *target)
{
    char buffer[ORIGIN_TEXT];
    sttp_url url = {.port = 0};

    (void)sttp_origin_parse(request->origin, buffer, sizeof buffer, &url, NULL);
    memcpy(target->host, url.host.data, url.host.size);
    target->host[url.host.size] = '\0';
    normalize(target->host);
    target->port = url.port;
    target->scheme = url.scheme;
    snprintf(target->key, sizeof target->key, "sttp://%s:%u", target->host, (unsigned)url.port);
}

static void deny(struct relay *relay, const char *why)
{
    proxy_count(relay->worker->proxy, COUNT_DENIED);
    relay_refuse(relay, STTP_CODE_CLIENT_ERROR, "destination not allowed", why);
}

/* A parent resolves the name: here it has to have a rule. */
static bool is_admitted(const struct proxy *proxy, guard_verdict verdict)
{
    if (proxy->parent != NULL)
        return verdict == GUARD_BY_NAME || verdict == GUARD_LITERAL;
    return verdict != GUARD_NO_HOST && verdict != GUARD_NO_RULE;
}

/* Whether the request may go on; else it is answered. */
static bool judge(struct relay *relay, const struct target *target, guard_verdict verdict)
{
    const struct proxy *proxy = relay->worker->proxy;
    sttp_peer peer;

    sttp_reply_peer(relay->reply, &peer);
    if (proxy->guard == NULL)
        deny(relay, "forward.enabled is off");
    else if (!guard_admits_client(proxy->guard, (const struct sockaddr *)&peer.address))
        deny(relay, "forward.clients does not have the client's address");
    else if (target->scheme != STTP_SCHEME_STTP)
        relay_refuse(relay, STTP_CODE_CLIENT_ERROR, "no sttps:// through this proxy; use sttp://",
                     "TLS is not supported");
    else if (relay->hops >= PROXY_MAX_HOPS)
        relay_refuse_loop(relay);
    else if (!is_admitted(proxy, verdict))
        deny(relay, guard_reason(verdict));
    else
        return true;
    return false;
}

static void refuse(struct relay *relay, const struct failure *failure, const char *why)
{
    char message[STTP_MAX_MESSAGE];
    const char *hop = relay->upstream != NULL ? "the parent proxy failed: " : "the origin failed: ";

    proxy_count(relay->worker->proxy, failure->count);
    snprintf(message, sizeof message, "%s%s", failure->of_hop ? hop : "", failure->message);
    relay_refuse(relay, STTP_CODE_SERVER_ERROR, message, why);
}

static void done(void *context, const sttp_response *response, const sttp_error *error)
{
    struct relay *relay = context;

    if (relay->upstream != NULL)
        atomic_fetch_sub_explicit(&relay->upstream->in_flight, 1, memory_order_relaxed);
    if (response != NULL) {
        relay_answer(relay, response);
    } else if (error->status == STTP_ERR_DENIED) {
        deny(relay, error->text);
    } else {
        struct failure failure = failure_of(error);
        refuse(relay, &failure, error->text);
    }
}

static void fail(struct relay *relay, sttp_status status)
{
    sttp_error error = {.status = status, .cause = status};
    struct failure failure = failure_of(&error);

    refuse(relay, &failure,
           status == STTP_ERR_BUSY ? "no host can be forgotten" : sttp_status_text(status));
}

/* `status` is of the pool, which is NULL where there is none. */
static void submit(struct relay *relay, sttp_pool *pool, sttp_status status)
{
    if (pool != NULL)
        status = sttp_pool_request(pool, &relay->request, done, relay, NULL);
    if (status == STTP_OK) {
        if (relay->upstream != NULL)
            atomic_fetch_add_explicit(&relay->upstream->in_flight, 1, memory_order_relaxed);
        return;
    }
    fail(relay, status);
}

void relay_forward(struct worker *worker, const sttp_request *request, sttp_reply *reply)
{
    struct target target;
    sttp_status status;
    sttp_pool *pool;
    guard_verdict verdict = GUARD_NO_RULE;

    read_target(request, &target);
    if (worker->proxy->guard != NULL)
        verdict = guard_judge(worker->proxy->guard, slice_of(target.host), target.port);
    struct relay *relay = relay_create(worker, request, reply, NULL, slice_of(target.key));
    if (relay == NULL || !judge(relay, &target, verdict) || relay_is_cached(relay))
        return;
    budget_add(worker->proxy->forwarded, 1, relay->started);
    relay->upstream = worker->proxy->parent;
    if (relay->upstream != NULL) {
        submit(relay, worker_pool(worker, relay->upstream, relay->hops), STTP_ERR_MEMORY);
        return;
    }
    relay->request.origin = (sttp_slice){NULL, 0};
    status = origins_get(worker, target.host, target.port, verdict, &pool);
    submit(relay, pool, status);
}
