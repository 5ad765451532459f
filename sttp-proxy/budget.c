/* A slot for each second. A thread whose clock is behind that of another counts into the second
 * that has begun already. */
#include "sttp-proxy/budget.h"

#include <pthread.h>
#include <stdlib.h>

struct slot {
    uint64_t requests;
    uint64_t retries;
};

struct retry_budget {
    pthread_mutex_t lock; /* of everything */
    uint64_t second;      /* the latest one */
    struct slot slots[BUDGET_SECONDS];
    uint64_t granted; /* and not yet taken */
    uint64_t grant_ends;
};

retry_budget *budget_create(void)
{
    retry_budget *budget = calloc(1, sizeof *budget);

    if (budget)
        pthread_mutex_init(&budget->lock, NULL);
    return budget;
}

void budget_destroy(retry_budget *budget)
{
    if (!budget)
        return;
    pthread_mutex_destroy(&budget->lock);
    free(budget);
}

/* The slot of now; what is older than the window is cleared. */
static struct slot *present(retry_budget *budget, uint64_t now)
{
    uint64_t second = now / 1000;
    unsigned cleared = 0;

    while (budget->second < second && cleared++ < BUDGET_SECONDS)
        budget->slots[++budget->second % BUDGET_SECONDS] = (struct slot){0};
    if (budget->second < second)
        budget->second = second;
    return &budget->slots[budget->second % BUDGET_SECONDS];
}

void budget_add(retry_budget *budget, uint64_t count, uint64_t now)
{
    pthread_mutex_lock(&budget->lock);
    present(budget, now)->requests += count;
    pthread_mutex_unlock(&budget->lock);
}

static bool take_granted(retry_budget *budget, uint64_t now)
{
    if (budget->granted == 0 || now >= budget->grant_ends)
        return false;
    budget->granted--;
    return true;
}

static bool take_from_window(retry_budget *budget, uint64_t now)
{
    struct slot *slot = present(budget, now);
    uint64_t requests = 0, retries = 0;
    uint64_t allowed = (uint64_t)BUDGET_FLOOR * BUDGET_SECONDS;

    for (unsigned i = 0; i < BUDGET_SECONDS; i++) {
        requests += budget->slots[i].requests;
        retries += budget->slots[i].retries;
    }
    allowed += requests * BUDGET_PERCENT / 100;
    if (retries >= allowed)
        return false;
    slot->retries++;
    return true;
}

bool budget_take(retry_budget *budget, uint64_t now)
{
    bool taken;

    pthread_mutex_lock(&budget->lock);
    taken = take_granted(budget, now) || take_from_window(budget, now);
    pthread_mutex_unlock(&budget->lock);
    return taken;
}

void budget_grant(retry_budget *budget, uint64_t in_flight, uint64_t now)
{
    pthread_mutex_lock(&budget->lock);
    if (now >= budget->grant_ends || in_flight > budget->granted)
        budget->granted = in_flight;
    budget->grant_ends = now + BUDGET_GRANT_LASTS;
    pthread_mutex_unlock(&budget->lock);
}
