#include "sttp-proxy/relay.h"

#include <stdlib.h>
#include <string.h>

#include "sttp-proxy/worker.h"

static sttp_slice slice_of(const char *text)
{
    return (sttp_slice){text, strlen(text)};
}

enum {
    SMALL = 256,       /* bytes, of a relay that is kept for another request */
    FREE_RELAYS = 1024 /* that a worker keeps */
};

/* ---- memory ---- */

static struct relay *allocate(struct worker *worker, size_t capacity)
{
    struct relay *relay = worker->free_relays;

    if (capacity > SMALL || relay == NULL) {
        capacity = capacity > SMALL ? capacity : SMALL;
        relay = malloc(sizeof *relay + capacity);
        if (relay != NULL)
            relay->capacity = capacity;
        return relay;
    }
    worker->free_relays = relay->next;
    worker->free_relay_count--;
    return relay;
}

/* On the worker's thread. */
static void give_back(struct relay *relay)
{
    struct worker *worker = relay->worker;

    if (relay->capacity > SMALL || worker->free_relay_count == FREE_RELAYS) {
        free(relay);
        return;
    }
    relay->next = worker->free_relays;
    worker->free_relays = relay;
    worker->free_relay_count++;
}

void relay_free_all(struct worker *worker)
{
    struct relay *relay;

    while ((relay = worker->free_relays) != NULL) {
        worker->free_relays = relay->next;
        free(relay);
    }
}

/* ---- copying ---- */

static sttp_slice copy(char **room, sttp_slice from)
{
    sttp_slice made = {from.data != NULL ? *room : NULL, from.size};

    if (from.size > 0)
        memcpy(*room, from.data, from.size);
    *room += from.size;
    return made;
}

/* The path stands behind `key`, so that both together are what the cache knows it by; where there
 * is an origin, once more behind that. */
static void copy_request(struct relay *relay, const sttp_request *request, sttp_slice key)
{
    char *room = relay->bytes;

    relay->request.action = request->action;
    copy(&room, key);
    relay->request.path = copy(&room, request->path);
    relay->request.query = copy(&room, request->query);
    relay->request.contents = copy(&room, request->contents);
    relay->echo = relay->request.path;
    if (request->origin.data != NULL) {
        relay->echo = (sttp_slice){room, request->origin.size + request->path.size};
        relay->request.origin = copy(&room, request->origin);
        copy(&room, request->path);
    }
    relay->tried = (unsigned char *)room;
}

static size_t size_of(const sttp_request *request, const struct group *group, sttp_slice key)
{
    size_t size = key.size + request->path.size + request->query.size + request->contents.size;

    if (request->origin.data != NULL)
        size += request->origin.size + request->path.size;
    if (group != NULL)
        size += (group->count + 7) / 8;
    return size;
}

static void answer_without_memory(struct proxy *proxy, const sttp_request *request,
                                  sttp_reply *reply)
{
    char target[STTP_MAX_REQUEST_LINE];
    char *room = target;
    sttp_response response = {.code = STTP_CODE_SERVER_ERROR,
                              .message = STTP_SLICE("out of memory; try again later")};

    copy(&room, request->origin);
    copy(&room, request->path);
    response.echo = (sttp_slice){target, (size_t)(room - target)};
    proxy_count(proxy, COUNT_MEMORY);
    sttp_reply_send(reply, &response);
}

struct relay *relay_create(struct worker *worker, const sttp_request *request, sttp_reply *reply,
                           struct group *group, sttp_slice key)
{
    size_t size = size_of(request, group, key);
    struct relay *relay = allocate(worker, size);
    sttp_peer peer;

    if (relay == NULL) {
        answer_without_memory(worker->proxy, request, reply);
        return NULL;
    }
    sttp_reply_peer(reply, &peer);
    *relay = (struct relay){
        .capacity = relay->capacity,
        .worker = worker,
        .reply = reply,
        .faults = worker->faults,
        .connection = sttp_reply_connection(reply),
        .started = sttp_server_now(),
        .hops = peer.hops,
        .group = group,
    };
    copy_request(relay, request, key);
    memset(relay->tried, 0, size - (size_t)((char *)relay->tried - relay->bytes));
    relay->lease.path = (sttp_slice){relay->bytes, key.size + request->path.size};
    relay->lease.origin_size = key.size;
    return relay;
}

/* ---- sending, as the rules for faults have it ---- */

static sttp_status send_bytes(const struct hit *hit, sttp_slice answer)
{
    if (hit->faults != NULL)
        return faults_send_bytes(hit->faults, hit->reply, hit->path, answer);
    return sttp_reply_send_bytes(hit->reply, answer);
}

/* What a server has sent goes on as it came. */
static sttp_status send_answer(const struct relay *relay, const sttp_response *response)
{
    struct hit answer = {relay->reply, relay->faults, relay->request.path};

    if (response->bytes.data != NULL)
        return send_bytes(&answer, response->bytes);
    if (relay->faults != NULL)
        return faults_send(relay->faults, relay->reply, relay->request.path, response);
    return sttp_reply_send(relay->reply, response);
}

/* ---- cache ---- */

void relay_send_hit(void *hit, sttp_slice response)
{
    send_bytes(hit, response);
}

/* Sends the answer that another relay has got, maybe on its thread. One of the proxy's own speaks
 * of that one's target.
 */
static void complete_waiting(sttp_cache_lease *lease, const sttp_response *response)
{
    struct relay *relay = (struct relay *)((char *)lease - offsetof(struct relay, lease));
    sttp_response answer = *response;

    if (answer.echo.size > relay->request.path.size) {
        answer.echo = relay->echo;
        answer.bytes = (sttp_slice){NULL, 0}; /* which echo that one's */
    }
    send_answer(relay, &answer);
    free(relay);
}

/* The directories that a CREATE makes are not known here: any of the path may be new. */
static sttp_slice most_made(const struct relay *relay)
{
    sttp_slice path = relay->lease.path;
    const char *from = path.data + relay->lease.origin_size + 1;
    const char *slash = memchr(from, '/', (size_t)(path.data + path.size - from));

    if (relay->request.action != STTP_ACTION_CREATE || slash == NULL)
        return (sttp_slice){path.data, 0};
    return (sttp_slice){path.data, (size_t)(slash - path.data)};
}

static void begin_change(struct relay *relay)
{
    relay->kept = RELAY_CHANGE;
    relay->change = (sttp_cache_change){
        .action = relay->request.action, .path = relay->lease.path, .made = most_made(relay)};
    sttp_cache_change_begin(relay->worker->proxy->cache, &relay->change);
}

bool relay_is_cached(struct relay *relay)
{
    sttp_cache *cache = relay->worker->proxy->cache;
    struct hit hit = {relay->reply, relay->faults, relay->request.path};

    if (cache == NULL)
        return false;
    if (sttp_action_is_change(relay->request.action)) {
        begin_change(relay);
        return false;
    }
    if (relay->request.query.data != NULL)
        return false;
    relay->kept = RELAY_LEASE;
    relay->lease.action = relay->request.action;
    relay->lease.complete = complete_waiting;
    switch (sttp_cache_lease_take(cache, &relay->lease, relay_send_hit, &hit)) {
    case STTP_CACHE_FETCH:
        return false;
    case STTP_CACHE_HIT:
        give_back(relay);
        break;
    case STTP_CACHE_WAIT:
        break;
    }
    return true;
}

/* ---- the end ---- */

void relay_answer(struct relay *relay, const sttp_response *response)
{
    struct proxy *proxy = relay->worker->proxy;

    if (relay->kept == RELAY_CHANGE)
        sttp_cache_change_end(proxy->cache, &relay->change);
    if (relay->kept == RELAY_LEASE)
        sttp_cache_fill(proxy->cache, &relay->lease, response);
    sttp_status status = send_answer(relay, response);
    if (status != STTP_OK && log_limit_admits(&proxy->failures, proxy->log))
        log_write(proxy->log, LOG_LEVEL_WARNING,
                  "connection %llu: %s %.*s: answered with 500 instead: %s",
                  (unsigned long long)relay->connection, sttp_action_name(relay->request.action),
                  (int)relay->echo.size, relay->echo.data, sttp_status_text(status));
    give_back(relay);
}

void relay_refuse(struct relay *relay, sttp_code code, const char *message, const char *why)
{
    struct proxy *proxy = relay->worker->proxy;
    sttp_response response = {.code = code, .echo = relay->echo, .message = slice_of(message)};

    if (log_limit_admits(&proxy->failures, proxy->log))
        log_write(proxy->log, LOG_LEVEL_WARNING, "connection %llu: %s %.*s: %s after %llu ms: %s",
                  (unsigned long long)relay->connection, sttp_action_name(relay->request.action),
                  (int)relay->echo.size, relay->echo.data, message,
                  (unsigned long long)(sttp_server_now() - relay->started), why);
    relay_answer(relay, &response);
}

void relay_refuse_loop(struct relay *relay)
{
    proxy_count(relay->worker->proxy, COUNT_LOOPS);
    relay_refuse(relay, STTP_CODE_SERVER_ERROR, "proxy loop", "it came by too many proxies");
}
