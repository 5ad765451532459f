/* A line is made on the stack and handed to the kernel whole. The descriptor may be a pipe whose
 * reader is stuck, and it is shared with other processes, so it must neither be made non-blocking
 * nor be waited for: a pipe that polls as writable takes PIPE_BUF bytes without waiting, and no
 * batch that is written here is longer. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/text.h"

enum {
    LONGEST_PREFIX = 64,
    LONGEST_MESSAGE = 3072, /* before escaping */
    LONGEST_LINE = 3840,    /* with this and the line about lost ones, one write fits PIPE_BUF */
    LONGEST_NOTE = 192
};

_Static_assert(LONGEST_LINE + LONGEST_NOTE <= PIPE_BUF, "one batch must fit PIPE_BUF");

static const char *level_name(log_level level)
{
    switch (level) {
    case LOG_LEVEL_ERROR:
        return "error";
    case LOG_LEVEL_WARNING:
        return "warning";
    case LOG_LEVEL_INFO:
        return "info";
    case LOG_LEVEL_DEBUG:
        return "debug";
    }
    return "unknown";
}

/* "2026-11-21T10:00:00.123Z info ", or "name: " */
static size_t write_prefix(const log_sink *log, log_level level, char *buffer)
{
    struct timespec now;
    struct tm date;
    char day[32];

    if (log->name != NULL)
        return (size_t)snprintf(buffer, LONGEST_PREFIX, "%s: ", log->name);
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &date);
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &date);
    return (size_t)snprintf(buffer, LONGEST_PREFIX, "%s.%03ldZ %s ", day, now.tv_nsec / 1000000,
                            level_name(level));
}

static size_t write_lost_note(const log_sink *log, char *buffer)
{
    size_t size = write_prefix(log, LOG_LEVEL_WARNING, buffer);

    return size + (size_t)snprintf(buffer + size, LONGEST_NOTE - size,
                                   "%llu log lines were lost: nothing took them\n",
                                   (unsigned long long)log->lost);
}

static void write_line(log_sink *log, const char *line, size_t size)
{
    char batch[LONGEST_NOTE + LONGEST_LINE];
    size_t batch_size = log->lost > 0 ? write_lost_note(log, batch) : 0;
    struct pollfd writable = {.fd = log->fd, .events = POLLOUT};
    ssize_t written;

    memcpy(batch + batch_size, line, size);
    batch_size += size;
    if (poll(&writable, 1, 0) != 1 || (writable.revents & POLLOUT) == 0) {
        log->lost++;
        return;
    }
    do
        written = write(log->fd, batch, batch_size);
    while (written < 0 && errno == EINTR);
    log->lost = written == (ssize_t)batch_size ? 0 : log->lost + 1;
}

void log_write(log_sink *log, log_level level, const char *format, ...)
{
    char message[LONGEST_MESSAGE];
    char line[LONGEST_LINE];
    int saved_errno = errno;
    va_list arguments;

    if (level > log->level)
        return;
    va_start(arguments, format);
    int length = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (length < 0)
        length = snprintf(message, sizeof message, "a log line could not be formatted");
    if ((size_t)length >= sizeof message) {
        length = sizeof message - 1;
        memcpy(message + length - 3, "...", 3);
    }

    size_t size = write_prefix(log, level, line);
    size += text_escape(message, (size_t)length, line + size, sizeof line - size - 1);
    line[size++] = '\n';
    pthread_mutex_lock(&log->mutex);
    write_line(log, line, size);
    pthread_mutex_unlock(&log->mutex);
    errno = saved_errno;
}
