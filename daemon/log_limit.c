#include "daemon/log_limit.h"

#include <time.h>

enum { LOGGED_A_SECOND = 10 };

bool log_limit_admits(struct log_limit *limit, log_sink *log)
{
    struct timespec now;
    long long second = atomic_load(&limit->second);

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec != second && atomic_compare_exchange_strong(&limit->second, &second, now.tv_sec))
        atomic_store(&limit->lines, 0);
    if (atomic_fetch_add(&limit->lines, 1) >= LOGGED_A_SECOND) {
        atomic_fetch_add(&limit->unlogged, 1);
        return false;
    }
    unsigned unlogged = atomic_exchange(&limit->unlogged, 0);
    if (unlogged > 0)
        log_write(log, LOG_LEVEL_WARNING, "%u more failures were not logged", unlogged);
    return true;
}
