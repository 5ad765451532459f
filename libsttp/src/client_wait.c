#include "client_private.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <time.h>

uint64_t sttp__now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

int sttp__poll_timeout(uint64_t until)
{
    uint64_t now = sttp__now();
    uint64_t milliseconds = until > now ? (until - now + 999) / 1000 : 0;

    return milliseconds < INT_MAX ? (int)milliseconds : INT_MAX;
}

bool sttp__wait(int fd, short events, uint64_t until)
{
    struct pollfd entry = {.fd = fd, .events = events};
    int ready = 0;

    while (ready <= 0 && sttp__now() < until)
        ready = poll(&entry, 1, sttp__poll_timeout(until));
    return ready > 0;
}
