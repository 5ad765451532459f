/* What an error of the client means for the request that it ends. */
#ifndef STTP_PROXY_FAILURE_H
#define STTP_PROXY_FAILURE_H

#include <sttp/client.h>

#include "sttp-proxy/proxy.h"

struct failure {
    enum proxy_count count;
    const char *message; /* of the 500, static */
    bool of_hop;         /* it says what the next hop did: its name belongs in front of it */
    bool was_sent;       /* a byte of the request was */
    bool tells;          /* of the upstream's health, at any rate; what came of it is this: */
    health_result result;
};

struct failure failure_of(const sttp_error *error);

/* What is counted, in words. */
const char *failure_name(enum proxy_count count);

#endif
