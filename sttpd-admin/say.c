#include "say.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/text.h"

enum {
    LONGEST_MESSAGE = 8192,
    LOOK_EVERY = 64, /* steps between two looks at the clock */
    OFTEN = 200,     /* milliseconds */
    SELDOM = 10000
};

static bool is_shown; /* a line that is to be written over */

void say(const char *format, ...)
{
    char message[LONGEST_MESSAGE], line[2 * LONGEST_MESSAGE];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    text_escape(message, strlen(message), line, sizeof line);
    progress_end();
    fprintf(stderr, "sttpd-admin: %s\n", line);
}

static double seconds_since(const struct timespec *then, const struct timespec *now)
{
    return (double)(now->tv_sec - then->tv_sec) + (double)(now->tv_nsec - then->tv_nsec) / 1e9;
}

static void plan(struct progress *progress, const struct timespec *now, bool is_terminal)
{
    long milliseconds = is_terminal ? OFTEN : SELDOM;
    long nanoseconds = now->tv_nsec + milliseconds % 1000 * 1000000;

    progress->next.tv_sec = now->tv_sec + milliseconds / 1000 + nanoseconds / 1000000000;
    progress->next.tv_nsec = nanoseconds % 1000000000;
}

void progress_step(struct progress *progress)
{
    struct timespec now;

    if (progress->count++ % LOOK_EVERY != 0)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    bool is_terminal = isatty(STDERR_FILENO);
    if (progress->count == 1) {
        progress->started = now;
        plan(progress, &now, is_terminal);
    }
    if (seconds_since(&progress->next, &now) < 0)
        return;
    plan(progress, &now, is_terminal);
    progress_end();
    fprintf(stderr, "sttpd-admin: %s %llu, %.0f a second%s", progress->what,
            (unsigned long long)progress->count,
            (double)progress->count / seconds_since(&progress->started, &now),
            is_terminal ? "" : "\n");
    is_shown = is_terminal;
}

void progress_end(void)
{
    if (is_shown)
        fputs("\r\x1b[K", stderr);
    is_shown = false;
}
