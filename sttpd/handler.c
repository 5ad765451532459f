/* What the cache has is answered at once. Each other request becomes one operation, in one piece of
 * memory with a copy of all that it needs of the request, since the request's bytes are gone when
 * the handler returns. The operation completes on a thread of the store (or at once, within
 * submit), sends the reply and frees itself. Of those that would ask the store the same at the same
 * time only one does; the others wait for its response in the cache. Where answers are kept in
 * Redis, too, that one looks there before it asks the store, and puts there what it was told. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sttpd/handler.h"
#include "sttpd/redis_entry.h"

struct call {
    store_operation operation; /* first, so that one is the other */
    struct handler *handler;
    sttp_reply *reply;
    uint64_t connection;
    struct timespec started;
    bool has_lease;
    sttp_cache_lease lease;
    sttp_cache_change change;
    redis_link *link; /* NULL: nothing is kept in Redis of it */
    struct redis_get get;
    uint64_t asked; /* the store, on the cache's clock */
    char bytes[];   /* path, decoded query, text */
};

static sttp_slice slice_of(const char *text)
{
    return (sttp_slice){text, strlen(text)};
}

static const char *is_directory_message(sttp_action action)
{
    switch (action) {
    case STTP_ACTION_CREATE:
        return "is a directory; choose another name";
    case STTP_ACTION_UPDATE:
        return "is a directory; name a file in it";
    case STTP_ACTION_DELETE:
        return "is a directory; add a final / to delete it when it is empty";
    case STTP_ACTION_SHOW:
    case STTP_ACTION_LIST:
    case STTP_ACTION_NONE:
        break;
    }
    return "is a directory; use LIST";
}

static sttp_code code_of(const store_operation *operation)
{
    switch (operation->result) {
    case STORE_DONE:
        return sttp_action_success(operation->action);
    case STORE_NOT_FOUND:
        return STTP_CODE_NOT_FOUND;
    case STORE_PATH_NOT_FOUND:
        return STTP_CODE_PATH_NOT_FOUND;
    case STORE_CANNOT_CREATE_PATH:
        return STTP_CODE_CANNOT_CREATE_PATH;
    case STORE_EXISTS:
    case STORE_IS_DIRECTORY:
    case STORE_IS_FILE:
    case STORE_NOT_A_FILE:
    case STORE_NOT_EMPTY:
    case STORE_IS_ROOT:
    case STORE_TOO_MANY_NAMES:
        return STTP_CODE_CLIENT_ERROR;
    case STORE_INVALID_TEXT:
    case STORE_DENIED:
    case STORE_NO_SPACE:
    case STORE_QUOTA:
    case STORE_READ_ONLY:
    case STORE_NO_MEMORY:
    case STORE_NO_DESCRIPTORS:
    case STORE_BUSY:
    case STORE_TOO_MUCH_WORK:
    case STORE_UNAVAILABLE:
    case STORE_IO:
    case STORE_EARLIER_LOST:
    case STORE_OUTCOME_UNKNOWN:
        break;
    }
    return STTP_CODE_SERVER_ERROR;
}

/* What a response with a message says: what to do about it. NULL where there is no message. */
static const char *message_of(const store_operation *operation)
{
    switch (operation->result) {
    case STORE_DONE:
    case STORE_NOT_FOUND:
    case STORE_PATH_NOT_FOUND:
    case STORE_CANNOT_CREATE_PATH:
        return NULL;
    case STORE_EXISTS:
        return "file already exists; use UPDATE";
    case STORE_IS_DIRECTORY:
        return is_directory_message(operation->action);
    case STORE_IS_FILE:
        return operation->action == STTP_ACTION_DELETE ? "is a file; leave out the final /"
                                                       : "is a file; use SHOW";
    case STORE_NOT_A_FILE:
        return "the name is taken by something that is no text file; choose another name";
    case STORE_NOT_EMPTY:
        return "directory is not empty; delete what is in it first";
    case STORE_IS_ROOT:
        return "the root cannot be deleted; name a directory in it";
    case STORE_TOO_MANY_NAMES:
        return "too many names; use limit and after";
    case STORE_INVALID_TEXT:
        return "stored file is not a valid short text";
    case STORE_DENIED:
        return "permission denied by the storage; ask the server's operator";
    case STORE_NO_SPACE:
        return "no space left in the storage; delete something or try again later";
    case STORE_QUOTA:
        return "the storage's quota is used up; delete something or try again later";
    case STORE_READ_ONLY:
        return "the storage is read-only; SHOW and LIST work";
    case STORE_NO_MEMORY:
        return "out of memory; try again later";
    case STORE_NO_DESCRIPTORS:
        return "out of file descriptors; try again later";
    case STORE_BUSY:
        return "server busy";
    case STORE_TOO_MUCH_WORK:
        return "too much to search in one request; name a directory further down, or fewer files "
               "with name";
    case STORE_UNAVAILABLE:
        return "the database is not available; try again later";
    case STORE_IO:
        return "the storage failed and nothing was changed; try again later";
    case STORE_EARLIER_LOST:
        return "the storage failed to keep earlier changes and nothing was changed now; see "
               "whether they are there";
    case STORE_OUTCOME_UNKNOWN:
        return "outcome unknown";
    }
    return "the storage failed";
}

sttp_response handler_response(const store_operation *operation)
{
    sttp_response response = {.code = code_of(operation), .echo = operation->path};
    const char *message = message_of(operation);

    if (response.code == STTP_CODE_PATH_NOT_FOUND || response.code == STTP_CODE_CANNOT_CREATE_PATH)
        response.echo = sttp_parent_path(operation->path);
    if (message != NULL)
        response.message = slice_of(message);
    if (response.code == STTP_CODE_OK)
        response.contents = operation->contents;
    return response;
}

/* Whether the operator should hear of it: it is not what the client asked that failed it. */
static bool is_failure(const store_operation *operation)
{
    int error = operation->system_errno;

    if (operation->result == STORE_CANNOT_CREATE_PATH)
        return error == EACCES || error == EPERM || error == EROFS;
    return code_of(operation) == STTP_CODE_SERVER_ERROR;
}

static double milliseconds_since(const struct timespec *start)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) * 1e3 +
           (double)(now.tv_nsec - start->tv_nsec) / 1e6;
}

static void log_failure(const struct call *call)
{
    const store_operation *operation = &call->operation;
    const char *message = message_of(operation);

    if (!log_limit_admits(&call->handler->failures, call->handler->log))
        return;
    errno = operation->system_errno; /* for %m, which is thread-safe where strerror is not */
    log_write(call->handler->log, LOG_LEVEL_WARNING,
              operation->system_errno != 0
                  ? "connection %llu: %s %.*s failed after %.1f ms: %s (%m)"
                  : "connection %llu: %s %.*s failed after %.1f ms: %s",
              (unsigned long long)call->connection, sttp_action_name(operation->action),
              (int)operation->path.size, operation->path.data, milliseconds_since(&call->started),
              message != NULL ? message : "a directory could not be made");
}

static void end_call(struct call *call)
{
    struct handler *handler = call->handler;

    free(call->operation.names);
    free(call);
    atomic_fetch_sub(&handler->outstanding, 1);
}

/* Sends the response and ends the call. */
static void finish(struct call *call, const sttp_response *response)
{
    const store_operation *operation = &call->operation;
    struct handler *handler = call->handler;
    sttp_status status = sttp_reply_send(call->reply, response);

    if (status != STTP_OK && log_limit_admits(&handler->failures, handler->log))
        log_write(handler->log, LOG_LEVEL_WARNING,
                  "connection %llu: %s %.*s: answered with 500 instead: %s",
                  (unsigned long long)call->connection, sttp_action_name(operation->action),
                  (int)operation->path.size, operation->path.data, sttp_status_text(status));
    end_call(call);
}

static void send_hit(void *reply, sttp_slice response)
{
    sttp_reply_send_bytes(reply, response);
}

/* Puts what the store has said where other servers find it, and this one later. */
static void keep_in_redis(const struct call *call, const sttp_response *response)
{
    char *entry = malloc(REDIS_ENTRY_MOST);

    if (entry == NULL)
        return;
    size_t size = redis_entry_write(call->handler->coherence, response, call->asked, entry);
    if (size > 0)
        redis_link_set(call->link, call->operation.action, call->operation.path,
                       (sttp_slice){entry, size});
    free(entry);
}

static void complete(store_operation *operation)
{
    struct call *call = (struct call *)operation;
    sttp_cache *cache = call->handler->cache;
    sttp_response response = handler_response(operation);

    if (is_failure(operation))
        log_failure(call);
    if (call->link != NULL)
        keep_in_redis(call, &response);
    if (call->has_lease && operation->result == STORE_UNAVAILABLE) {
        if (sttp_cache_fill_unavailable(cache, &call->lease, &response, send_hit, call->reply)) {
            end_call(call);
            return;
        }
    } else if (call->has_lease) {
        sttp_cache_fill(cache, &call->lease, &response);
    }
    finish(call, &response);
}

/* ---- cache ---- */

/* Another call has got the response. */
static void complete_waiting(sttp_cache_lease *lease, const sttp_response *response)
{
    finish((struct call *)((char *)lease - offsetof(struct call, lease)), response);
}

static void begin_change(store_operation *operation, size_t made)
{
    struct call *call = (struct call *)operation;

    call->change = (sttp_cache_change){
        .action = operation->action, .path = operation->path, .made = {operation->path.data, made}};
    sttp_cache_change_begin(call->handler->cache, &call->change);
}

static void end_change(store_operation *operation)
{
    struct call *call = (struct call *)operation;

    sttp_cache_change_end(call->handler->cache, &call->change);
}

/* A listing with a query is not kept: it would be one of many of the same directory. */
static bool is_kept(const struct handler *handler, const sttp_request *request)
{
    return handler->cache != NULL &&
           (request->action == STTP_ACTION_SHOW ||
            (request->action == STTP_ACTION_LIST && request->query.data == NULL));
}

/* What the cache says to do for a call. */
static sttp_cache_turn take_lease(struct call *call)
{
    call->lease = (sttp_cache_lease){.action = call->operation.action,
                                     .path = call->operation.path,
                                     .complete = complete_waiting};
    call->has_lease = true;
    return sttp_cache_lease_take(call->handler->cache, &call->lease, send_hit, call->reply);
}

/* ---- Redis ---- */

static void ask_store(struct call *call)
{
    call->asked = sttp_server_now();
    call->handler->store->submit(call->handler->store, &call->operation);
}

/* What was found does, where no change is known that was made since, and it is not too old; then it
 * may do if the store is not available. */
static void take_found(struct redis_get *get, sttp_slice value)
{
    struct call *call = (struct call *)((char *)get - offsetof(struct call, get));
    const store_operation *operation = &call->operation;
    sttp_request request = {.action = operation->action, .path = operation->path};
    sttp_response response;
    uint64_t asked;

    if (value.data == NULL ||
        !redis_entry_read(call->handler->coherence, value, &request, &response, &asked)) {
        ask_store(call);
        return;
    }
    if (!sttp_cache_lease_holds(call->handler->cache, &call->lease, asked)) {
        sttp_cache_lease_spare(call->handler->cache, &call->lease, &response, asked);
        ask_store(call);
        return;
    }
    sttp_cache_fill(call->handler->cache, &call->lease, &response);
    finish(call, &response);
}

/* Whoever has a lease looks for the answer. */
static void fetch(struct call *call)
{
    const store_operation *operation = &call->operation;

    if (call->has_lease && call->handler->redis != NULL) {
        call->link = sttp_reply_worker(call->reply);
        call->get.complete = take_found;
        if (redis_link_get(call->link, &call->get, operation->action, operation->path))
            return;
    }
    ask_store(call);
}

void *handler_worker_begin(void *context, struct event_base *base)
{
    const struct handler *handler = context;

    return redis_link_open(handler->redis, base);
}

void handler_worker_end(void *context, void *worker)
{
    (void)context;
    redis_link_close(worker);
}

/* ---- requests ---- */

static sttp_slice copy(char **room, sttp_slice from)
{
    sttp_slice made = {from.data != NULL ? *room : NULL, from.size};

    if (from.size > 0)
        memcpy(*room, from.data, from.size);
    *room += from.size;
    return made;
}

/* A call for the request; NULL where memory is out. */
static struct call *call_create(const sttp_request *request)
{
    size_t size = request->path.size + request->query.size + request->contents.size;
    struct call *call = calloc(1, sizeof *call + size);

    if (call == NULL)
        return NULL;
    char *room = call->bytes;
    call->operation.action = request->action;
    call->operation.path = copy(&room, request->path);
    call->operation.text = copy(&room, request->contents);
    call->operation.complete = complete;
    clock_gettime(CLOCK_MONOTONIC, &call->started);
    /* The parser has checked the query: this decodes it, and cannot fail. */
    (void)sttp_query_parse(request->query, room, &call->operation.query, NULL);
    return call;
}

static void refuse(struct handler *handler, const sttp_request *request, sttp_reply *reply)
{
    uint64_t connection = sttp_reply_connection(reply);
    sttp_response response = {.code = STTP_CODE_SERVER_ERROR,
                              .echo = request->path,
                              .message = STTP_SLICE("out of memory; try again later")};

    sttp_reply_send(reply, &response);
    log_write(handler->log, LOG_LEVEL_WARNING, "connection %llu: %s %.*s: out of memory",
              (unsigned long long)connection, sttp_action_name(request->action),
              (int)request->path.size, request->path.data);
}

/* What the cache does not have. Not inlined: a hit shall not pay for what this one keeps. */
__attribute__((noinline)) static void ask(struct handler *handler, const sttp_request *request,
                                          sttp_reply *reply, bool kept)
{
    struct call *call = call_create(request);

    if (call == NULL) {
        refuse(handler, request, reply);
        return;
    }
    call->handler = handler;
    call->reply = reply;
    call->connection = sttp_reply_connection(reply);
    if (handler->cache != NULL) {
        call->operation.begin = begin_change;
        call->operation.end = end_change;
    }
    atomic_fetch_add(&handler->outstanding, 1);
    sttp_cache_turn turn = kept ? take_lease(call) : STTP_CACHE_FETCH;
    if (turn == STTP_CACHE_FETCH)
        fetch(call);
    if (turn != STTP_CACHE_HIT)
        return;
    free(call);
    atomic_fetch_sub(&handler->outstanding, 1);
}

void handler_handle(void *context, const sttp_request *request, sttp_reply *reply)
{
    struct handler *handler = context;
    bool kept = is_kept(handler, request);

    if (!(kept && sttp_cache_get(handler->cache, request->action, request->path, send_hit, reply)))
        ask(handler, request, reply, kept);
}
