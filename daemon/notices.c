#include <errno.h>
#include <stdbool.h>
#include <time.h>

#include "daemon/notices.h"

/* Whoever floods the server with connections must not fill the log: lines about that come once a
 * second at most. */
static bool once_a_second(atomic_llong *logged)
{
    struct timespec now;
    long long last = atomic_load(logged);

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec != last && atomic_compare_exchange_strong(logged, &last, now.tv_sec);
}

static void log_opened(struct notices *notices, const sttp_notice *notice)
{
    log_write(notices->log, LOG_LEVEL_DEBUG, "connection %llu from %s opened on %s%s%s",
              (unsigned long long)notice->connection, notice->peer, notice->listener,
              notice->proxy != NULL ? " by proxy " : "",
              notice->proxy != NULL ? notice->proxy : "");
}

/* Proxies open connections only to see whether there is a server: nothing is wrong with that. */
static bool came_to_look(const sttp_notice *notice)
{
    return notice->reason == STTP_CLOSE_BY_CLIENT || notice->reason == STTP_CLOSE_RESET;
}

static void log_refused(struct notices *notices, const sttp_notice *notice)
{
    if (came_to_look(notice)) {
        log_write(notices->log, LOG_LEVEL_DEBUG,
                  "a connection from %s on %s ended before its PROXY header: %s", notice->peer,
                  notice->listener, sttp_close_reason_text(notice->reason));
        return;
    }
    unsigned long long count = atomic_fetch_add(&notices->refused, 1) + 1;
    if (once_a_second(&notices->refused_logged))
        log_write(notices->log, LOG_LEVEL_WARNING,
                  "refused a connection from %s on %s: %s%s%s (%llu refused since the start)",
                  notice->peer, notice->listener, sttp_close_reason_text(notice->reason),
                  notice->detail != NULL ? ": " : "", notice->detail != NULL ? notice->detail : "",
                  count);
}

static void log_paused(struct notices *notices, const sttp_notice *notice)
{
    if (!once_a_second(&notices->paused_logged))
        return;
    errno = notice->system_errno;
    log_write(notices->log, LOG_LEVEL_WARNING,
              notice->system_errno != 0 ? "connections wait to be accepted on %s: %s (%m)"
                                        : "connections wait to be accepted on %s: %s",
              notice->listener, sttp_close_reason_text(notice->reason));
}

static void log_trimmed(struct notices *notices, const sttp_notice *notice)
{
    unsigned long long count = atomic_fetch_add(&notices->trimmed, 1) + 1;

    if (once_a_second(&notices->trimmed_logged))
        log_write(notices->log, LOG_LEVEL_WARNING,
                  "reset connection %llu from %s: all answers that wait to be taken exceed "
                  "max_unsent_total, and its own weigh most by size and time; if it is an honest "
                  "client, raise the limit (%llu reset since the start)",
                  (unsigned long long)notice->connection, notice->peer, count);
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
        log_opened(notices, notice);
        return;
    case STTP_NOTICE_CLOSED:
        if (notice->reason == STTP_CLOSE_UNSENT)
            log_trimmed(notices, notice);
        log_closed(notices, notice);
        return;
    case STTP_NOTICE_REFUSED:
        log_refused(notices, notice);
        return;
    case STTP_NOTICE_ACCEPT_PAUSED:
        log_paused(notices, notice);
        return;
    case STTP_NOTICE_STOPPED:
        log_write(notices->log, LOG_LEVEL_DEBUG, "a worker has ended");
        return;
    }
}
