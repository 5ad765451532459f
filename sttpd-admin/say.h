/* What is told to the person at the terminal: lines on standard error, and how far the work is. */
#ifndef ADMIN_SAY_H
#define ADMIN_SAY_H

#include <stdint.h>
#include <time.h>

/* "sttpd-admin: ..." on standard error, one line; what a terminal could take for something else is
 * escaped. From the main thread. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* How many of what are done, told every now and then: often to a terminal, in one line that is
 * written over, and every ten seconds to all else. Begins with zero but for `what`. */
struct progress {
    const char *what; /* "copied" */
    uint64_t count;
    struct timespec started, next;
};

/* One more is done. */
void progress_step(struct progress *progress);

/* The line that is written over goes. */
void progress_end(void);

#endif
