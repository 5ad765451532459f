/* How many requests are sent a second time: enough to hide a server that dies, not so many that
 * retries finish off those that are left. Time is passed in: milliseconds of a monotonic clock.
 * Every function may be called from any thread; one budget is meant for all workers.
 *
 * Of the last 10 seconds, the present one included, retries may be a fifth of the requests, and 10
 * for each second. Beside these are those that budget_grant gives.
 *
 * What failed before a byte of it was sent costs nothing: do not ask for it. */
#ifndef STTP_PROXY_BUDGET_H
#define STTP_PROXY_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

enum {
    BUDGET_SECONDS = 10,
    BUDGET_PERCENT = 20,
    BUDGET_FLOOR = 10,        /* retries in each second */
    BUDGET_GRANT_LASTS = 5000 /* milliseconds */
};

typedef struct retry_budget retry_budget;

/* NULL where memory is out. */
retry_budget *budget_create(void);

/* NULL is allowed. */
void budget_destroy(retry_budget *budget);

/* Counts `count` requests that came from clients: not their retries. May be called once for many.
 */
void budget_add(retry_budget *budget, uint64_t count, uint64_t now);

/* Takes a retry out of the budget: out of the grant first, while it lasts. False where nothing is
 * left: the request fails. */
bool budget_take(retry_budget *budget, uint64_t now);

/* An upstream was lost with so many requests in flight on it, over all workers: as many may be sent
 * again within BUDGET_GRANT_LASTS. Call it once for each loss, before the first budget_take that
 * comes of it. A grant that is still there is not added to: what was in flight on one upstream is
 * the most that is granted at a time. */
void budget_grant(retry_budget *budget, uint64_t in_flight, uint64_t now);

#endif
