/* Functions in place of the C library's, so that a test can see a client wait, can hold its clock,
 * can break its socket between two calls, and need not measure time. They touch nothing but the
 * thread that says so. */
#ifndef CLIENT_HOLD_H
#define CLIENT_HOLD_H

#include <sys/syscall.h>
#include <time.h>

#include "client_support.h"

static _Thread_local struct {
    diary *waits;           /* where each wait is noted */
    scrambler *ends;        /* its stream ends at the next wait */
    bool breaks;            /* the next socket that is read can be written no more */
    struct timespec frozen; /* the time it is; zero where time passes */
} hold;

int poll(struct pollfd *fds, nfds_t count, int timeout)
{
    const struct timespec limit = {.tv_sec = timeout / 1000,
                                   .tv_nsec = (long)(timeout % 1000) * 1000000};

    if (hold.waits)
        strcat(hold.waits->text, " wait");
    if (hold.ends)
        shutdown(hold.ends->fd, SHUT_RD);
    hold.ends = NULL;
    return ppoll(fds, count, timeout < 0 ? NULL : &limit, NULL);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (hold.frozen.tv_sec == 0)
        return (int)syscall(SYS_clock_gettime, clock, now);
    *now = hold.frozen;
    return 0;
}

ssize_t recv(int fd, void *buffer, size_t size, int flags)
{
    ssize_t result = recvfrom(fd, buffer, size, flags, NULL, NULL);
    int error = errno;

    if (hold.breaks)
        shutdown(fd, SHUT_WR);
    hold.breaks = false;
    errno = error;
    return result;
}

#endif
