/* Three lines that take turns: of listings, of what is done together, and of all else; one mutex.
 * Of the idle threads the one that became so last is woken, so that those which are not needed stay
 * idle and end.
 * Places are counted apart, with atomics, so that an operation can have one while it waits
 * elsewhere (behind a change of its path) and is sure to be taken later.
 *
 * A listing may take long and be asked for again and again, so listings never have all the threads.
 * One that waits for another listing's thread needs no wake-up: that thread looks for more itself.
 *
 * Operations that are done together are so the more, the fewer threads do them; but storage may be
 * slow for one of them and not for others. So few threads begin with them, more than twice as many
 * whenever some wait and none was taken for a while, and few again when none waits. One idle
 * thread, the watch, looks after that.
 *
 * Threads that end on their own leave their handle in `ended`; the next one to end joins its
 * predecessor, and pool_stop joins the last. So no thread outlives the pool, and there is never
 * more than one to be joined. */
#include "sttpd/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000) /* in nanoseconds */

enum {
    NICER = 16,
    FEW = 2,                /* threads that do operations together while none is slow */
    PATIENCE = 5 * 1000000, /* nanoseconds for which none of those that wait was taken */
    STACK_SIZE = 256 << 10  /* operations keep what is large in memory of their own */
};

/* Operations in the order they came. */
struct line {
    store_operation *first;
    store_operation **last;
    unsigned waiting;
};

/* On the thread's stack. */
struct pool_thread {
    struct pool_thread *next; /* while it is idle */
    pthread_cond_t wake;      /* `is_woken`; on CLOCK_MONOTONIC */
    bool is_woken;
    unsigned joined; /* operations that it does together */
};

enum { OTHERS, LISTINGS, JOINING, LINES };

struct pool {
    struct pool_settings settings;
    pthread_attr_t attributes;
    int nice; /* of its threads */
    pthread_condattr_t monotonic;
    atomic_uint taken;
    atomic_uint taken_by_listings;

    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t gone;  /* `running` became 0 */
    struct line lines[LINES];
    int turn;                   /* of the line that is looked at first */
    unsigned listing;           /* threads that work on listings */
    unsigned joining;           /* threads that do operations together */
    unsigned most_joining;      /* of them, for now */
    unsigned joined;            /* operations that they do */
    int64_t joined_at;          /* nanoseconds: when one was taken last, or the first one came */
    bool watched;               /* a thread waits to see whether another is */
    unsigned running;           /* threads */
    unsigned idle;              /* of these, also where it has just been started */
    struct pool_thread *idlers; /* of these, not called yet; the last one first */
    unsigned asleep;            /* of them */
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
    self->nice = getpriority(PRIO_PROCESS, (id_t)gettid()) + NICER;
    self->most_joining = FEW;
    for (int i = 0; i < LINES; i++)
        self->lines[i].last = &self->lines[i].first;
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

static unsigned least(unsigned one, unsigned other)
{
    return one < other ? one : other;
}

static int line_of(const store_operation *operation)
{
    if (is_listing(operation))
        return LISTINGS;
    return operation->joins ? JOINING : OTHERS;
}

/* How many threads the operations of a line may have now. The lock is held, here and below. */
static unsigned ready_of(const pool *self, int line)
{
    unsigned threads = self->settings.threads;
    unsigned waiting = self->lines[line].waiting;
    if (line == LISTINGS)
        return least(waiting, listings_share(threads) - self->listing);
    if (line == OTHERS)
        return waiting;
    bool may = self->joining < self->most_joining;
    return may ? least(waiting, self->most_joining - self->joining) : 0;
}

static unsigned ready(const pool *self)
{
    unsigned all = 0;
    for (int i = 0; i < LINES; i++)
        all += ready_of(self, i);
    return all;
}

static bool needs_watch(const pool *self)
{
    return self->lines[JOINING].waiting > 0 && ready_of(self, JOINING) == 0 && !self->watched;
}

static int64_t monotonic_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND + now.tv_nsec;
}

/* Waits to be woken; 0, or ETIMEDOUT. */
static int wait_idle(pool *self, struct pool_thread *thread, int64_t until)
{
    struct timespec time = {.tv_sec = until / SECOND, .tv_nsec = until % SECOND};
    int waited = 0;
    thread->is_woken = false;
    thread->next = self->idlers;
    self->idlers = thread;
    self->asleep++;
    while (!thread->is_woken && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&thread->wake, &self->lock, &time);
    if (thread->is_woken)
        return 0;
    struct pool_thread **link = &self->idlers;
    while (*link != thread)
        link = &(*link)->next;
    *link = thread->next;
    self->asleep--;
    return ETIMEDOUT;
}

/* Waits while those that wait are taken. Where none was, storage is slow: more threads may join. */
static void watch(pool *self, struct pool_thread *thread)
{
    int64_t before = self->joined_at;
    self->watched = true;
    int waited = wait_idle(self, thread, before + PATIENCE);
    self->watched = false;
    if (waited == ETIMEDOUT && self->joined_at == before)
        self->most_joining = 2 * self->joining + FEW;
}

static void wake_idler(pool *self)
{
    struct pool_thread *thread = self->idlers;
    self->idlers = thread->next;
    self->asleep--;
    thread->is_woken = true;
    pthread_cond_signal(&thread->wake);
}

static store_operation *take_joining(pool *self, struct pool_thread *thread)
{
    struct line *line = &self->lines[JOINING];
    self->joining += thread->joined == 0;
    thread->joined++;
    self->joined++;
    self->joined_at = monotonic_now();
    if (line->waiting == 1)
        self->most_joining = FEW;
    return line_take(line);
}

static store_operation *take_in_turn(pool *self, struct pool_thread *thread)
{
    int line = self->turn;
    while (ready_of(self, line) == 0)
        line = (line + 1) % LINES;
    self->turn = (line + 1) % LINES;
    self->listing += line == LISTINGS;
    return line == JOINING ? take_joining(self, thread) : line_take(&self->lines[line]);
}

static void call_thread(pool *self);

/* The next operation, or NULL where the thread is to end; it is idle before, and no more then. */
static store_operation *take(pool *self, struct pool_thread *thread)
{
    int64_t until = monotonic_now() + (int64_t)self->settings.idle_timeout * (SECOND / 1000);
    int waited = 0;
    while (!self->stopping && ready(self) == 0 && waited != ETIMEDOUT) {
        if (needs_watch(self))
            watch(self, thread);
        else
            waited = wait_idle(self, thread, until);
    }
    self->idle--;
    if (self->stopping || ready(self) == 0)
        return NULL;
    store_operation *operation = take_in_turn(self, thread);
    call_thread(self); /* it may have been the watch */
    return operation;
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

/* The workers go before: many changes at a time shall not make those wait who only look. A thread
 * for batches does not take the processor from another one when it wakes. How nice it is does not
 * depend on who started it, which may be one that has stepped back itself. */
static void step_back(const pool *self)
{
    sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0});
    setpriority(PRIO_PROCESS, (id_t)gettid(), self->nice);
}

static void note_done(pool *self, struct pool_thread *thread, bool listing)
{
    self->listing -= listing;
    self->joined -= thread->joined;
    self->joining -= thread->joined > 0;
    thread->joined = 0;
    self->idle++;
}

static void *work(void *argument)
{
    pool *self = argument;
    store_operation *operation;
    struct pool_thread thread = {.joined = 0};
    pthread_setname_np(pthread_self(), "store");
    step_back(self);
    pthread_cond_init(&thread.wake, &self->monotonic);
    pthread_mutex_lock(&self->lock);
    while ((operation = take(self, &thread)) != NULL) {
        bool listing = is_listing(operation);
        pthread_mutex_unlock(&self->lock);
        self->settings.run(self->settings.context, operation, &thread);
        pthread_mutex_lock(&self->lock);
        note_done(self, &thread, listing);
    }
    pthread_cond_destroy(&thread.wake);
    end_thread(self);
    return NULL;
}

static void start_thread(pool *self)
{
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, &self->attributes, work, self) == 0) {
        self->running++;
        self->idle++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Calls one more where those that are about to look for work are too few. */
static void call_thread(pool *self)
{
    unsigned called = self->idle - self->asleep;
    if (ready(self) + needs_watch(self) <= called)
        return;
    if (self->idlers != NULL)
        wake_idler(self);
    else if (!self->stopping && self->running < self->settings.threads)
        start_thread(self);
}

bool pool_add(pool *self, store_operation *operation)
{
    pthread_mutex_lock(&self->lock);
    if (self->running == 0 && !self->stopping)
        start_thread(self);
    bool taken = self->running > 0;
    if (taken) {
        struct line *line = &self->lines[line_of(operation)];
        if (line == &self->lines[JOINING] && line->waiting == 0)
            self->joined_at = monotonic_now();
        line_add(line, operation);
        call_thread(self);
    }
    pthread_mutex_unlock(&self->lock);
    return taken;
}

store_operation *pool_join(pool *self, struct pool_thread *thread)
{
    pthread_mutex_lock(&self->lock);
    bool may = !self->stopping && self->lines[JOINING].waiting > 0 &&
               self->joined < self->settings.threads;
    store_operation *operation = may ? take_joining(self, thread) : NULL;
    pthread_mutex_unlock(&self->lock);
    return operation;
}

store_operation *pool_stop(pool *self)
{
    store_operation *left = NULL, **end = &left;
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
    for (int i = 0; i < LINES; i++) {
        *end = self->lines[i].first;
        if (*end != NULL)
            end = self->lines[i].last;
    }
    return left;
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
