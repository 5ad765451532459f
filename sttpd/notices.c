#include <errno.h>
#include <time.h>

#include "sttpd/notices.h"

/* Whoever floods the server with connections must not fill the log: one line a second at most says
 * how many were refused. */
static void log_refused(struct notices *notices, const sttp_notice *notice)
{
    struct timespec now;
    unsigned long long count = atomic_fetch_add(&notices->refused, 1) + 1;
    long long last = atomic_load(&notices->last_refused_log);

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec == last ||
        !atomic_compare_exchange_strong(&notices->last_refused_log, &last, now.tv_sec))
        return;
    log_write(notices->log, LOG_LEVEL_WARNING,
              "refused a connection from %s on %s: %s (%llu refused since the start)", notice->peer,
              notice->listener, sttp_close_reason_text(notice->reason), count);
}

static void log_closed(struct notices *notices, const sttp_notice *notice)
{
    errno = notice->system_errno;
    log_write(notices->log, LOG_LEVEL_DEBUG,
              notice->system_errno != 0 ? "connection %llu from %s closed: %s, %llu requests (%m)"
                                        : "connection %llu from %s closed: %s, %llu requests",
              (unsigned long long)notice->connection, notice->peer,
              sttp_close_reason_text(notice->reason), (unsigned long long)notice->requests);
}

void notices_log(void *context, const sttp_notice *notice)
{
    struct notices *notices = context;

    switch (notice->kind) {
    case STTP_NOTICE_OPENED:
        log_write(notices->log, LOG_LEVEL_DEBUG, "connection %llu from %s opened on %s",
                  (unsigned long long)notice->connection, notice->peer, notice->listener);
        return;
    case STTP_NOTICE_CLOSED:
        log_closed(notices, notice);
        return;
    case STTP_NOTICE_REFUSED:
        log_refused(notices, notice);
        return;
    case STTP_NOTICE_ACCEPT_PAUSED:
        errno = notice->system_errno;
        log_write(notices->log, LOG_LEVEL_WARNING,
                  "no connections are accepted on %s for a moment: %m", notice->listener);
        return;
    case STTP_NOTICE_STOPPED:
        log_write(notices->log, LOG_LEVEL_DEBUG, "a worker has ended");
        return;
    }
}
