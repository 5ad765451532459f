/* The log of a daemon: one line for each event, on one descriptor. */
#ifndef DAEMON_LOG_H
#define DAEMON_LOG_H

#include <pthread.h>
#include <stdint.h>

typedef enum log_level {
    LOG_LEVEL_ERROR = 0,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG
} log_level;

/* Where lines go, passed to whoever writes some. */
typedef struct log_sink {
    int fd;
    const char *name; /* of a program that is no daemon: its lines begin with that alone; or NULL */
    log_level level;  /* what is less urgent is not written; set before threads share the sink */
    uint64_t lost;    /* lines since the last one that was written, under `mutex` */
    pthread_mutex_t mutex;
} log_sink;

/* Writes "2026-11-21T10:00:00.123Z info listening on 127.0.0.1:43211\n" with one write(2). The
 * line is escaped (text_escape) and cut where it is too long, so it is always one line. It does not
 * wait for a reader: where the descriptor takes nothing at the moment the line is lost, and the
 * next one that gets through is preceded by a line that says how many were. Thread-safe. */
void log_write(log_sink *log, log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
