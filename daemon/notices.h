/* What the server engine tells about itself, in the log. */
#ifndef DAEMON_NOTICES_H
#define DAEMON_NOTICES_H

#include <stdatomic.h>

#include <sttp/server.h>

#include "daemon/log.h"

struct notices {
    log_sink *log;
    atomic_ullong refused; /* connections, since the start */
    atomic_ullong trimmed; /* those reset for max_unsent_total */
    /* When such a line was written last; seconds on the monotonic clock. */
    atomic_llong refused_logged;
    atomic_llong paused_logged;
    atomic_llong trimmed_logged;
};

/* The engine's `notice` function; `context` is a struct notices. */
void notices_log(void *context, const sttp_notice *notice);

#endif
