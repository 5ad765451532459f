/* In place of the client where there was no hiredis to build it with. */
#include "sttpd/redis.h"

redis *redis_create(const struct redis_settings *settings)
{
    log_write(settings->log, LOG_LEVEL_ERROR,
              "cache.backend: this sttpd was built without Redis; set it to memory");
    return NULL;
}

/* What follows is never called: there is no client. */

void redis_destroy(redis *client)
{
    (void)client;
}

redis_link *redis_link_open(redis *client, struct event_base *base)
{
    (void)client, (void)base;
    return NULL;
}

void redis_link_close(redis_link *link)
{
    (void)link;
}

bool redis_link_get(redis_link *link, struct redis_get *get, sttp_action action, sttp_slice path)
{
    (void)link, (void)get, (void)action, (void)path;
    return false;
}

void redis_link_set(redis_link *link, sttp_action action, sttp_slice path, sttp_slice value)
{
    (void)link, (void)action, (void)path, (void)value;
}
