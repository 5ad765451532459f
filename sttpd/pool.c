/* Two lines, one of listings and one of all else, that take turns; one mutex. Of the idle threads
 * the one that became so last is woken, so that those which are not needed stay idle and end.
 * Places are counted apart, with atomics, so that an operation can have one while it waits
 * elsewhere (behind a change of its path) and is sure to be taken later.
 *
 * A listing may take long and be asked for again and again, so listings never have all the threads.
 * One that waits for another listing's thread needs no wake-up: that thread looks for more itself.
 *
 * Threads that end on their own leave their handle in `ended`; the next one to end joins its
 * predecessor, and pool_stop joins the last. So no thread outlives the pool, and there is never
 * more than one to be joined. */
#include "sttpd/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    NICER = 10,
    STACK_SIZE = 256 << 10 /* operations keep what is large in memory of their own */
};

/* Operations in the order they came. */
struct line {
    store_operation *first;
    store_operation **last;
    unsigned waiting;
};

/* A thread that waits for work; on its stack. */
struct idler {
    struct idler *next;
    pthread_cond_t wake; /* `is_woken`; on CLOCK_MONOTONIC */
    bool is_woken;
};

struct pool {
    struct pool_settings settings;
    pthread_attr_t attributes;
    pthread_condattr_t monotonic;
    atomic_uint taken;
    atomic_uint taken_by_listings;

    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t gone;  /* `running` became 0 */
    struct line others;
    struct line listings;
    bool listings_turn;
    unsigned listing;     /* threads that work on listings */
    unsigned running;     /* threads */
    unsigned idle;        /* of these */
    struct idler *idlers; /* of these, not yet woken; the last one first */
    pthread_t ended;
    bool has_ended;
    bool stopping;
};

static bool is_listing(const store_operation *operation)
{
    return operation->action == STTP_ACTION_LIST;
}

/* One in four is kept free of them, and one at least, unless there is no more than one. */
static unsigned listings_share(unsigned of)
{
    unsigned kept = of >= 4 ? of / 4 : 1;
    return of > 1 ? of - kept : of;
}

static void line_add(struct line *line, store_operation *operation)
{
    operation->next = NULL;
    *line->last = operation;
    line->last = &operation->next;
    line->waiting++;
}

static store_operation *line_take(struct line *line)
{
    store_operation *operation = line->first;
    line->first = operation->next;
    if (line->first == NULL)
        line->last = &line->first;
    line->waiting--;
    operation->next = NULL;
    return operation;
}

static bool init_conditions(pool *self)
{
    if (pthread_condattr_init(&self->monotonic) != 0)
        return false;
    if (pthread_condattr_setclock(&self->monotonic, CLOCK_MONOTONIC) == 0 &&
        pthread_cond_init(&self->gone, NULL) == 0)
        return true;
    pthread_condattr_destroy(&self->monotonic);
    return false;
}

pool *pool_create(const struct pool_settings *settings)
{
    pool *self = calloc(1, sizeof *self);
    if (self == NULL)
        return NULL;
    self->settings = *settings;
    self->others.last = &self->others.first;
    self->listings.last = &self->listings.first;
    if (pthread_attr_init(&self->attributes) != 0)
        goto no_attributes;
    if (pthread_attr_setstacksize(&self->attributes, STACK_SIZE) != 0 ||
        pthread_mutex_init(&self->lock, NULL) != 0)
        goto no_mutex;
    if (init_conditions(self))
        return self;
    pthread_mutex_destroy(&self->lock);
no_mutex:
    pthread_attr_destroy(&self->attributes);
no_attributes:
    free(self);
    return NULL;
}

static bool take_place(atomic_uint *count, unsigned places)
{
    unsigned taken = atomic_load(count);
    do {
        if (taken >= places)
            return false;
    } while (!atomic_compare_exchange_weak(count, &taken, taken + 1));
    return true;
}

bool pool_admit(pool *self, const store_operation *operation)
{
    unsigned places = self->settings.threads + self->settings.queue;
    if (!take_place(&self->taken, places))
        return false;
    if (!is_listing(operation) || take_place(&self->taken_by_listings, listings_share(places)))
        return true;
    atomic_fetch_sub(&self->taken, 1);
    return false;
}

void pool_release(pool *self, const store_operation *operation)
{
    if (is_listing(operation))
        atomic_fetch_sub(&self->taken_by_listings, 1);
    atomic_fetch_sub(&self->taken, 1);
}

/* How many of the listings that wait may begin. The lock is held, here and below. */
static unsigned ready_listings(const pool *self)
{
    unsigned free_threads = listings_share(self->settings.threads) - self->listing;
    return self->listings.waiting < free_threads ? self->listings.waiting : free_threads;
}

static unsigned ready(const pool *self)
{
    return self->others.waiting + ready_listings(self);
}

static struct timespec end_of_idleness(const pool *self)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += self->settings.idle_timeout / 1000;
    until.tv_nsec += (long)(self->settings.idle_timeout % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    return until;
}

/* Waits to be woken; 0, or ETIMEDOUT. */
static int wait_idle(pool *self, struct idler *idler, const struct timespec *until)
{
    int waited = 0;
    idler->is_woken = false;
    idler->next = self->idlers;
    self->idlers = idler;
    while (!idler->is_woken && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&idler->wake, &self->lock, until);
    if (idler->is_woken)
        return 0;
    struct idler **link = &self->idlers;
    while (*link != idler)
        link = &(*link)->next;
    *link = idler->next;
    return ETIMEDOUT;
}

static void wake_idler(pool *self)
{
    struct idler *idler = self->idlers;
    if (idler == NULL)
        return;
    self->idlers = idler->next;
    idler->is_woken = true;
    pthread_cond_signal(&idler->wake);
}

/* The next operation, or NULL where the thread is to end. */
static store_operation *take(pool *self, struct idler *idler)
{
    struct timespec until = end_of_idleness(self);
    int waited = 0;
    self->idle++;
    while (!self->stopping && ready(self) == 0 && waited != ETIMEDOUT)
        waited = wait_idle(self, idler, &until);
    self->idle--;
    if (self->stopping || ready(self) == 0)
        return NULL;
    bool listing = ready_listings(self) > 0 && (self->listings_turn || self->others.waiting == 0);
    self->listings_turn = !listing;
    self->listing += listing;
    return line_take(listing ? &self->listings : &self->others);
}

/* Ends the calling thread's part in the pool, and gives the lock up. */
static void end_thread(pool *self)
{
    pthread_t predecessor = self->ended;
    bool has_predecessor = self->has_ended;
    self->ended = pthread_self();
    self->has_ended = true;
    if (--self->running == 0)
        pthread_cond_signal(&self->gone);
    pthread_mutex_unlock(&self->lock);
    if (has_predecessor)
        pthread_join(predecessor, NULL);
}

/* The workers go before: many changes at a time shall not make those wait who only look. */
static void step_back(void)
{
    id_t thread = (id_t)gettid();
    setpriority(PRIO_PROCESS, thread, getpriority(PRIO_PROCESS, thread) + NICER);
}

static void *work(void *argument)
{
    pool *self = argument;
    store_operation *operation;
    struct idler idler;
    pthread_setname_np(pthread_self(), "store");
    step_back();
    pthread_cond_init(&idler.wake, &self->monotonic);
    pthread_mutex_lock(&self->lock);
    while ((operation = take(self, &idler)) != NULL) {
        bool listing = is_listing(operation);
        pthread_mutex_unlock(&self->lock);
        self->settings.run(self->settings.context, operation);
        pthread_mutex_lock(&self->lock);
        self->listing -= listing;
    }
    pthread_cond_destroy(&idler.wake);
    end_thread(self);
    return NULL;
}

static void start_thread(pool *self)
{
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, &self->attributes, work, self) == 0)
        self->running++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

bool pool_add(pool *self, store_operation *operation)
{
    pthread_mutex_lock(&self->lock);
    if (!self->stopping && ready(self) >= self->idle && self->running < self->settings.threads)
        start_thread(self);
    bool taken = self->running > 0;
    if (taken) {
        line_add(is_listing(operation) ? &self->listings : &self->others, operation);
        wake_idler(self);
    }
    pthread_mutex_unlock(&self->lock);
    return taken;
}

store_operation *pool_stop(pool *self)
{
    pthread_mutex_lock(&self->lock);
    self->stopping = true;
    atomic_fetch_add(&self->taken, self->settings.threads + self->settings.queue);
    while (self->idlers != NULL)
        wake_idler(self);
    while (self->running > 0)
        pthread_cond_wait(&self->gone, &self->lock);
    pthread_mutex_unlock(&self->lock);
    if (self->has_ended)
        pthread_join(self->ended, NULL);
    *self->others.last = self->listings.first;
    return self->others.first;
}

void pool_destroy(pool *self)
{
    if (self == NULL)
        return;
    pthread_cond_destroy(&self->gone);
    pthread_mutex_destroy(&self->lock);
    pthread_condattr_destroy(&self->monotonic);
    pthread_attr_destroy(&self->attributes);
    free(self);
}
