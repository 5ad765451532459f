/* All that is decided is decided under a mutex. What most callers ask is published in three
 * atomics, of which each is true by itself: the word (epoch, up, spotless), the time of the next
 * trial, and the time when the weight is whole again. */
#include "sttp-proxy/health.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* The lowest bits of the word; the epoch is above them. */
enum { UP = 1, SPOTLESS = 2, EPOCH_SHIFT = 2, FIRST_PERCENT = 10 };

struct health_record {
    atomic_uint_least32_t word;
    _Atomic uint64_t trial_at; /* of one that is not up; UINT64_MAX: never */
    _Atomic uint64_t whole_at; /* the end of slow start */
    health_options options;

    pthread_mutex_t lock; /* of all that follows, and of changes of what stands before */
    uint64_t ejection;    /* how long the last one lasted at least; 0: none counts any more */
    unsigned failed_requests, failed_checks, good_checks; /* in a row */
    health_view view;
};

const char *health_result_text(health_result result)
{
    switch (result) {
    case HEALTH_OK:
        return "ok";
    case HEALTH_TIMEOUT:
        return "timed out";
    case HEALTH_INVALID:
        return "invalid answer";
    case HEALTH_CLOSED:
        return "connection closed";
    case HEALTH_REFUSED:
        return "connection refused";
    case HEALTH_UNRESOLVED:
        return "its name cannot be resolved";
    case HEALTH_RESET:
        return "connection reset";
    }
    return "";
}

const char *health_state_text(health_state state)
{
    switch (state) {
    case HEALTH_UP:
        return "up";
    case HEALTH_EJECTED:
        return "ejected";
    case HEALTH_TRIAL:
        return "on trial";
    }
    return "";
}

static uint32_t epoch_of(uint32_t word)
{
    return word >> EPOCH_SHIFT;
}

static uint32_t load_word(const health_record *health)
{
    return atomic_load_explicit(&health->word, memory_order_relaxed);
}

/* The epoch stays, or begins anew. */
static void publish(health_record *health, uint32_t epoch)
{
    bool up = health->view.state == HEALTH_UP;
    bool spotless = up && health->failed_requests == 0;

    atomic_store_explicit(&health->word,
                          epoch << EPOCH_SHIFT | (spotless ? SPOTLESS : 0) | (up ? UP : 0),
                          memory_order_relaxed);
}

static void enter(health_record *health, health_state state, uint64_t now)
{
    health->view.state = state;
    health->view.since = now;
    health->failed_requests = health->failed_checks = health->good_checks = 0;
    publish(health, epoch_of(load_word(health)) + 1);
}

health_record *health_create(const health_options *options)
{
    health_record *health = calloc(1, sizeof *health);

    if (!health)
        return NULL;
    health->options = *options;
    pthread_mutex_init(&health->lock, NULL);
    atomic_init(&health->word, UP | SPOTLESS);
    atomic_init(&health->trial_at, UINT64_MAX);
    atomic_init(&health->whole_at, 0);
    return health;
}

void health_destroy(health_record *health)
{
    if (!health)
        return;
    pthread_mutex_destroy(&health->lock);
    free(health);
}

bool health_usable(const health_record *health, uint64_t now)
{
    return load_word(health) & UP ||
           now >= atomic_load_explicit(&health->trial_at, memory_order_relaxed);
}

unsigned health_weight(const health_record *health, uint64_t now)
{
    uint64_t whole_at = atomic_load_explicit(&health->whole_at, memory_order_relaxed);
    uint64_t left = whole_at > now ? whole_at - now : 0;
    uint64_t all = health->options.slow_start;

    if (left > all) /* the caller's clock is behind */
        left = all;
    if (left == 0)
        return 100;
    return (unsigned)(100 - (100 - FIRST_PERCENT) * left / all);
}

/* The earliest time of the next trial, or of another one where nothing is heard of this. */
static void set_trial(health_record *health, uint64_t now)
{
    atomic_store_explicit(&health->trial_at, now + health->ejection, memory_order_relaxed);
}

bool health_admit(health_record *health, uint64_t now, uint32_t *epoch)
{
    uint32_t word = load_word(health);
    bool admitted = true;

    if (!(word & UP)) {
        pthread_mutex_lock(&health->lock);
        admitted = health_usable(health, now);
        if (admitted && health->view.state != HEALTH_UP) {
            enter(health, HEALTH_TRIAL, now);
            set_trial(health, now);
        }
        word = load_word(health);
        pthread_mutex_unlock(&health->lock);
    }
    *epoch = epoch_of(word);
    return admitted;
}

uint32_t health_epoch(const health_record *health)
{
    return epoch_of(load_word(health));
}

/* The first one is short; who fails again soon after its return, or in its trial, is out for twice
 * as long as before. */
static void lengthen_ejection(health_record *health, uint64_t now)
{
    bool long_up =
        health->view.state == HEALTH_UP && now >= health->view.since + HEALTH_MAX_EJECTION;

    if (health->ejection == 0 || long_up)
        health->ejection = HEALTH_MIN_EJECTION;
    else if (health->ejection < HEALTH_MAX_EJECTION / 2)
        health->ejection *= 2;
    else
        health->ejection = HEALTH_MAX_EJECTION;
}

static health_change eject(health_record *health, health_result cause, unsigned in_a_row,
                           bool by_check, uint64_t now)
{
    lengthen_ejection(health, now);
    if (!health->options.checked)
        set_trial(health, now);
    health->view.cause = cause;
    health->view.in_a_row = in_a_row;
    health->view.by_check = by_check;
    health->view.ejections++;
    enter(health, HEALTH_EJECTED, now);
    return HEALTH_WENT_DOWN;
}

static health_change take_back(health_record *health, uint64_t now)
{
    atomic_store_explicit(&health->whole_at, now + health->options.slow_start,
                          memory_order_relaxed);
    enter(health, HEALTH_UP, now);
    return HEALTH_CAME_UP;
}

/* A failure of one that is up; `failed` counts those of its kind in a row. */
static health_change fail(health_record *health, unsigned *failed, health_result cause,
                          uint64_t now)
{
    bool at_once = cause >= HEALTH_REFUSED;

    if (!at_once && ++*failed < health->options.fall)
        return HEALTH_SAME;
    return eject(health, cause, at_once ? 1 : *failed, failed == &health->failed_checks, now);
}

/* Of a request of this epoch. */
static health_change weigh(health_record *health, health_result result, uint64_t now)
{
    health_change change = HEALTH_SAME;

    switch (health->view.state) {
    case HEALTH_UP:
        if (result == HEALTH_OK)
            health->failed_requests = 0;
        else
            change = fail(health, &health->failed_requests, result, now);
        break;
    case HEALTH_TRIAL:
        change =
            result == HEALTH_OK ? take_back(health, now) : eject(health, result, 1, false, now);
        break;
    case HEALTH_EJECTED:
        break;
    }
    publish(health, epoch_of(load_word(health)));
    return change;
}

health_change health_report(health_record *health, uint32_t epoch, health_result result,
                            uint64_t now)
{
    health_change change = HEALTH_SAME;
    uint32_t word = load_word(health);

    if (epoch_of(word) != epoch || (word & SPOTLESS && result == HEALTH_OK))
        return HEALTH_SAME;
    pthread_mutex_lock(&health->lock);
    if (epoch_of(load_word(health)) == epoch)
        change = weigh(health, result, now);
    pthread_mutex_unlock(&health->lock);
    return change;
}

health_change health_check(health_record *health, health_result result, uint64_t now)
{
    health_change change = HEALTH_SAME;

    pthread_mutex_lock(&health->lock);
    if (health->view.state == HEALTH_UP) {
        if (result == HEALTH_OK)
            health->failed_checks = 0;
        else
            change = fail(health, &health->failed_checks, result, now);
    } else if (result != HEALTH_OK) {
        health->good_checks = 0;
    } else if (++health->good_checks >= health->options.rise) {
        change = take_back(health, now);
    }
    pthread_mutex_unlock(&health->lock);
    return change;
}

health_view health_look(health_record *health)
{
    health_view view;

    pthread_mutex_lock(&health->lock);
    view = health->view;
    pthread_mutex_unlock(&health->lock);
    return view;
}
