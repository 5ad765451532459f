/* A bound on how often the log is told of what others cause: whoever asks again and again for what
 * fails must not fill it. */
#ifndef DAEMON_LOG_LIMIT_H
#define DAEMON_LOG_LIMIT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "daemon/log.h"

/* Ten lines in each second of the monotonic clock. Zero at first. */
struct log_limit {
    atomic_llong second;
    atomic_uint lines;    /* asked for in that second */
    atomic_uint unlogged; /* since the last one that was admitted */
};

/* Whether a line may be written now. Where others were not since the last one, a line tells how
 * many. Thread-safe. */
bool log_limit_admits(struct log_limit *limit, log_sink *log);

#endif
