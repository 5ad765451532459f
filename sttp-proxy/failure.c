#include "sttp-proxy/failure.h"

#include <errno.h>

static enum proxy_count timeout_of(sttp_phase phase)
{
    switch (phase) {
    case STTP_PHASE_RESOLVE:
    case STTP_PHASE_CONNECT:
    case STTP_PHASE_HANDSHAKE:
        return COUNT_CONNECT_TIMEOUT;
    case STTP_PHASE_RECEIVE:
        return COUNT_RESPONSE_TIMEOUT;
    case STTP_PHASE_QUEUE:
    case STTP_PHASE_NONE:
    case STTP_PHASE_SEND:
        break;
    }
    return COUNT_QUEUE_TIMEOUT;
}

/* What the system lacks for a connection here, whoever is at its other end. */
static enum proxy_count unreachable(int system_errno)
{
    switch (system_errno) {
    case ENOMEM:
    case ENOBUFS:
        return COUNT_MEMORY;
    case EMFILE:
    case ENFILE:
        return COUNT_DESCRIPTORS;
    default:
        return COUNT_UNREACHABLE;
    }
}

static enum proxy_count count_of(const sttp_error *error)
{
    const sttp_phase phase = error->phase;

    switch (error->cause) {
    case STTP_ERR_CANCELLED:
        return COUNT_STOPPED;
    case STTP_ERR_TIMEOUT:
        return timeout_of(phase);
    case STTP_ERR_PIPELINE_FULL:
        return COUNT_QUEUE_FULL;
    case STTP_ERR_BUSY:
        return COUNT_ORIGINS_FULL;
    case STTP_ERR_MEMORY:
        return COUNT_MEMORY;
    case STTP_ERR_BAD_ANSWER:
    case STTP_ERR_WRONG_ANSWER:
    case STTP_ERR_UNASKED_ANSWER:
    case STTP_ERR_CONTENTS_LINE_TOO_LONG:
        return error->behind ? COUNT_LOST : COUNT_INVALID;
    default:
        return phase == STTP_PHASE_RECEIVE ? COUNT_LOST : unreachable(error->system_errno);
    }
}

/* What is lacking here says nothing about the server behind it. A connection that ends is one
 * failure, however many requests were under way on it; a reset, which is told of each, counts once
 * anyhow. */
static bool tells(const sttp_error *error, enum proxy_count count)
{
    if (error->behind && error->system_errno == 0)
        return false;
    return count == COUNT_CONNECT_TIMEOUT || count == COUNT_RESPONSE_TIMEOUT ||
           count == COUNT_UNREACHABLE || count == COUNT_LOST || count == COUNT_INVALID;
}

static health_result result_of(enum proxy_count count, const sttp_error *error)
{
    if (count == COUNT_CONNECT_TIMEOUT || count == COUNT_RESPONSE_TIMEOUT ||
        count == COUNT_QUEUE_TIMEOUT)
        return HEALTH_TIMEOUT;
    if (count == COUNT_INVALID)
        return HEALTH_INVALID;
    if (count == COUNT_UNREACHABLE)
        return error->cause == STTP_ERR_RESOLVE ? HEALTH_UNRESOLVED : HEALTH_REFUSED;
    return error->system_errno != 0 ? HEALTH_RESET : HEALTH_CLOSED;
}

static const char *message_of(enum proxy_count count)
{
    switch (count) {
    case COUNT_QUEUE_FULL:
        return "too many requests wait for it (max_queued); try again later";
    case COUNT_ORIGINS_FULL:
        return "requests to too many hosts are under way; try again later";
    case COUNT_QUEUE_TIMEOUT:
        return "no connection to it was free in time (queue_timeout); try again later";
    case COUNT_CONNECT_TIMEOUT:
        return "it did not accept a connection in time (connect_timeout)";
    case COUNT_RESPONSE_TIMEOUT:
        return "it did not answer in time (response_timeout)";
    case COUNT_UNREACHABLE:
        return "it cannot be connected to";
    case COUNT_LOST:
        return "it closed the connection without an answer";
    case COUNT_INVALID:
        return "invalid answer from upstream";
    case COUNT_MEMORY:
        return "out of memory; try again later";
    case COUNT_DESCRIPTORS:
        return "the proxy has no descriptor left; try again later";
    case COUNT_STOPPED:
        return "the proxy was stopped";
    case COUNT_RETRIES:
    case COUNT_DENIED:
    case COUNT_LOOPS:
    case COUNT_NO_UPSTREAM:
    case COUNT_NO_BUDGET:
    case PROXY_COUNTS:
        break;
    }
    return "it failed";
}

static bool is_of_hop(enum proxy_count count)
{
    return count != COUNT_INVALID && count != COUNT_ORIGINS_FULL && count != COUNT_MEMORY &&
           count != COUNT_DESCRIPTORS && count != COUNT_STOPPED;
}

struct failure failure_of(const sttp_error *error)
{
    enum proxy_count count = count_of(error);
    bool unknown = error->status == STTP_ERR_OUTCOME_UNKNOWN;

    return (struct failure){
        .count = count,
        .message = unknown ? "outcome unknown" : message_of(count),
        .of_hop = !unknown && is_of_hop(count),
        .was_sent = error->phase == STTP_PHASE_RECEIVE,
        .tells = tells(error, count),
        .result = result_of(count, error),
    };
}

const char *failure_name(enum proxy_count count)
{
    static const char *const names[PROXY_COUNTS] = {
        [COUNT_RETRIES] = "retries",
        [COUNT_DENIED] = "destinations not allowed",
        [COUNT_LOOPS] = "proxy loops",
        [COUNT_NO_UPSTREAM] = "no upstream available",
        [COUNT_QUEUE_FULL] = "queue full (max_queued)",
        [COUNT_ORIGINS_FULL] = "too many hosts at once",
        [COUNT_QUEUE_TIMEOUT] = "queue timeouts",
        [COUNT_CONNECT_TIMEOUT] = "connect timeouts",
        [COUNT_RESPONSE_TIMEOUT] = "response timeouts",
        [COUNT_NO_BUDGET] = "retries over budget",
        [COUNT_UNREACHABLE] = "unreachable",
        [COUNT_LOST] = "connections lost",
        [COUNT_INVALID] = "invalid answers",
        [COUNT_MEMORY] = "out of memory",
        [COUNT_DESCRIPTORS] = "out of descriptors",
        [COUNT_STOPPED] = "requests cut off by the stop",
    };

    return names[count];
}
