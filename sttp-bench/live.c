#include "live.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BAR = 10 };

const char *live_time(double nanoseconds, char *buffer)
{
    if (nanoseconds < 999.5e3)
        snprintf(buffer, 32, "%.0f us", nanoseconds / 1e3);
    else if (nanoseconds < 999.5e6)
        snprintf(buffer, 32, "%.2f ms", nanoseconds / 1e6);
    else
        snprintf(buffer, 32, "%.2f s", nanoseconds / 1e9);
    return buffer;
}

void live_show(const char *phase, double done, const series_point *newest, uint64_t width,
               uint64_t errors)
{
    char bar[BAR * 3 + 1] = "";
    char p50[32], p99[32];
    int full = (int)(done * BAR + 0.5);

    if (!isatty(STDERR_FILENO))
        return;
    for (int i = 0; i < BAR; i++)
        strcat(bar, i < full ? "█" : "░");
    /* On a narrow terminal the line is cut off, not continued in the next one. */
    fprintf(stderr, "\r\033[K\033[?7l%-9s %s %3.0f%%  ", phase, bar, done * 100);
    if (newest)
        fprintf(stderr, "%.0f/s  p50 %s  p99 %s  ", (double)newest->answers / ((double)width / 1e9),
                live_time((double)newest->p50, p50), live_time((double)newest->p99, p99));
    fprintf(stderr, "%llu errors\033[?7h", (unsigned long long)errors);
    fflush(stderr);
}

void live_clear(void)
{
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}
