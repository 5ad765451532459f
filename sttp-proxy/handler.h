/* From the engine to the ways a request can take. */
#ifndef STTP_PROXY_HANDLER_H
#define STTP_PROXY_HANDLER_H

#include <sttp/server.h>

/* An sttp_handler; `context` is a struct proxy. */
void handler_handle(void *context, const sttp_request *request, sttp_reply *reply);

#endif
