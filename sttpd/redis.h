/* A client of Redis for the answers that servers keep there. Each worker has one connection, on its
 * loop; all that is asked for in one turn of the loop leaves in one write. It waits for nobody:
 * what Redis does not answer in time is answered with nothing, and while it is away, slow or full,
 * or says something that makes no sense, everything is, at once. */
#ifndef STTPD_REDIS_H
#define STTPD_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sttp/message.h>

#include "daemon/log.h"

struct event_base;

typedef struct redis redis;
typedef struct redis_link redis_link;

struct redis_settings {
    const char *address; /* "127.0.0.1:6379", "[::1]:6379" or "unix:/path" */
    const char *prefix;  /* what keys begin with */
    uint64_t timeout;    /* milliseconds that an answer may take */
    uint64_t expiration; /* milliseconds after which Redis may forget what it was given */
    log_sink *log;
};

enum { REDIS_MAX_PREFIX = 256 };

/* Asks the server at the address who it is, for up to a second, and makes a client, which has no
 * connections yet. Where nobody is there, or nobody answers, that is a warning in the log: it may
 * come later. NULL, with a line in the log, where there is somebody else, or a Redis that does not
 * let us in, or memory is out. What `settings` points to lives as long as the client. */
redis *redis_create(const struct redis_settings *settings);

/* Frees the client and the memory of all links, which have been closed. NULL is allowed. */
void redis_destroy(redis *client);

/* A connection for one worker's loop, on whose thread it is made. NULL where memory or descriptors
 * are out. */
redis_link *redis_link_open(redis *client, struct event_base *base);

/* Ends the connection, on its worker's thread: who still waits for an answer gets nothing. The link
 * stays until redis_destroy, so that redis_link_set can still be called, which then does nothing.
 */
void redis_link_close(redis_link *link);

/* Something asked for, in the caller's memory, until it is complete. */
struct redis_get {
    /* Called once, on the worker's thread and not within redis_link_get. `value` lives until it
     * returns; its data is NULL where there is none: for whatever reason. */
    void (*complete)(struct redis_get *get, sttp_slice value);
};

/* Asks for what is kept for SHOW or LIST of a path, on the worker's thread. False where that is of
 * no use at the moment: `complete` is not called then. */
bool redis_link_get(redis_link *link, struct redis_get *get, sttp_action action, sttp_slice path);

/* Gives Redis a value to keep, from any thread; or does not, where it would have to wait. */
void redis_link_set(redis_link *link, sttp_action action, sttp_slice path, sttp_slice value);

#endif
