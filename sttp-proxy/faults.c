/* An answer that is to go wrong is copied and posted to the worker that its reply belongs to, since
 * it may come from another one: the cache gives one answer to all who wait for it. There it is
 * given to the engine in parts, by a timer where it takes its time.
 *
 * Many may be waiting for long: now and then each looks whether its client is still there. */
#include "sttp-proxy/faults.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sttp/serializer.h>

#include "sttp-proxy/random.h"
#include "sttp-proxy/route.h"

enum { LOOK_AFTER = 1000 /* milliseconds */ };

struct fault_rules {
    const struct fault_options *options;
    size_t count;
    route_table *table; /* of the prefixes, each of them once */
    size_t *prefixes;   /* for each rule, which of them it has */
    pthread_mutex_t mutex;
    struct faults *begun;
    uint64_t seeds; /* given to workers */
};

/* An answer on its way. */
struct late {
    TAILQ_ENTRY(late) in_list;
    struct event timer;
    struct faults *faults;
    const struct fault_options *fault;
    sttp_reply *reply;
    uint64_t left; /* milliseconds, beside those of the timer */
    size_t sent;
    size_t size;
    char bytes[];
};

TAILQ_HEAD(late_list, late);

struct faults {
    struct faults *next;
    fault_rules *rules;
    struct event_base *base;
    struct event *wake;
    struct late_list waiting; /* for their timers */

    pthread_mutex_t mutex; /* guards the rest, which belongs to all threads */
    struct late_list posted;
    int wake_fd;
    bool ended;
    uint64_t random;
};

/* ---- rules ---- */

static sttp_slice prefix_of(const struct fault_options *option)
{
    return (sttp_slice){option->prefix, strlen(option->prefix)};
}

/* Fills in which prefixes there are, and who has which; their number. */
static size_t list_prefixes(const fault_rules *rules, sttp_slice *prefixes)
{
    size_t count = 0;

    for (size_t i = 0; i < rules->count; i++) {
        sttp_slice prefix = prefix_of(&rules->options[i]);
        size_t at = 0;
        while (at < count && !route_prefix_equal(prefixes[at], prefix))
            at++;
        if (at == count)
            prefixes[count++] = prefix;
        rules->prefixes[i] = at;
    }
    return count;
}

fault_rules *fault_rules_create(const struct fault_options *options, size_t count)
{
    fault_rules *rules = calloc(1, sizeof *rules);
    sttp_slice *prefixes = calloc(count + 1, sizeof *prefixes);

    if (rules != NULL) {
        *rules =
            (fault_rules){.options = options, .count = count, .mutex = PTHREAD_MUTEX_INITIALIZER};
        rules->prefixes = calloc(count + 1, sizeof *rules->prefixes);
        if (prefixes != NULL && rules->prefixes != NULL)
            rules->table = route_table_create(prefixes, list_prefixes(rules, prefixes));
    }
    free(prefixes);
    if (rules != NULL && rules->table != NULL)
        return rules;
    fault_rules_destroy(rules);
    return NULL;
}

void fault_rules_destroy(fault_rules *rules)
{
    if (rules == NULL)
        return;
    while (rules->begun != NULL) {
        struct faults *faults = rules->begun;
        rules->begun = faults->next;
        free(faults);
    }
    route_table_destroy(rules->table);
    free(rules->prefixes);
    free(rules);
}

const struct fault_options *fault_rules_pick(const fault_rules *rules, sttp_slice path,
                                             uint64_t random)
{
    size_t prefix = route_find(rules->table, path);
    uint64_t left = random * 100 >> 32;

    for (size_t i = 0; i < rules->count && prefix != ROUTE_NONE; i++) {
        const struct fault_options *option = &rules->options[i];
        if (rules->prefixes[i] != prefix)
            continue;
        if (left < option->percent)
            return option;
        left -= option->percent;
    }
    return NULL;
}

static const struct fault_options *pick(struct faults *faults, sttp_slice path)
{
    pthread_mutex_lock(&faults->mutex);
    uint64_t random = random_next(&faults->random);
    pthread_mutex_unlock(&faults->mutex);
    return fault_rules_pick(faults->rules, path, random);
}

/* ---- on the worker's thread ---- */

/* Ends the answer behind `part`, which is the last of it. */
static void end(struct late *late, sttp_slice part, sttp_reply_ending how)
{
    (void)sttp_reply_send_part(late->reply, part);
    sttp_reply_end(late->reply, how);
    free(late);
}

static sttp_slice begin_of(const struct late *late)
{
    size_t bytes = (size_t)late->fault->bytes;

    return (sttp_slice){late->bytes, bytes < late->size ? bytes : late->size};
}

/* Bytes that begin no answer, and end a line. */
static sttp_slice garbage_for(struct late *late)
{
    arc4random_buf(late->bytes, late->size);
    late->bytes[0] = (char)0xff;
    late->bytes[late->size - 1] = '\n';
    return (sttp_slice){late->bytes, late->size};
}

/* Without memory for a timer the rest comes at once. */
static void wait_on(struct late *late)
{
    uint64_t step = late->left < LOOK_AFTER ? late->left : LOOK_AFTER;
    struct timeval delay = {.tv_sec = (time_t)(step / 1000),
                            .tv_usec = (suseconds_t)(step % 1000 * 1000)};

    late->left -= step;
    if (event_add(&late->timer, &delay) == 0)
        return;
    TAILQ_REMOVE(&late->faults->waiting, late, in_list);
    end(late, (sttp_slice){late->bytes + late->sent, late->size - late->sent}, STTP_REPLY_WHOLE);
}

/* The bytes whose time has come; none of them where it only looks for the client. */
static size_t due(const struct late *late)
{
    if (late->left > 0)
        return 0;
    return late->fault->fault == FAULT_DRIBBLE ? 1 : late->size;
}

static void on_time(evutil_socket_t fd, short what, void *argument)
{
    struct late *late = argument;
    sttp_slice part = {late->bytes + late->sent, due(late)};

    (void)fd, (void)what;
    sttp_status status = sttp_reply_send_part(late->reply, part);
    late->sent += part.size;
    if (status != STTP_OK || late->sent == late->size) {
        TAILQ_REMOVE(&late->faults->waiting, late, in_list);
        end(late, (sttp_slice){NULL, 0}, STTP_REPLY_WHOLE);
        return;
    }
    if (part.size > 0)
        late->left = late->fault->delay;
    wait_on(late);
}

static void begin_waiting(struct late *late)
{
    event_assign(&late->timer, late->faults->base, -1, 0, on_time, late);
    TAILQ_INSERT_TAIL(&late->faults->waiting, late, in_list);
    late->left = late->fault->delay;
    wait_on(late);
}

static void begin(struct late *late)
{
    switch ((enum fault)late->fault->fault) {
    case FAULT_DELAY:
    case FAULT_DRIBBLE:
        begin_waiting(late);
        break;
    case FAULT_RESET:
        end(late, begin_of(late), STTP_REPLY_RESET);
        break;
    case FAULT_TRUNCATE:
        end(late, begin_of(late), STTP_REPLY_CLOSE);
        break;
    case FAULT_GARBAGE:
        end(late, garbage_for(late), STTP_REPLY_WHOLE);
    }
}

/* Takes the first that was posted; NULL where there is none. */
static struct late *take_posted(struct faults *faults)
{
    pthread_mutex_lock(&faults->mutex);
    struct late *late = TAILQ_FIRST(&faults->posted);
    if (late != NULL)
        TAILQ_REMOVE(&faults->posted, late, in_list);
    pthread_mutex_unlock(&faults->mutex);
    return late;
}

static void on_wake(evutil_socket_t fd, short what, void *argument)
{
    struct faults *faults = argument;
    struct late *late;
    uint64_t count;

    (void)what;
    (void)!read(fd, &count, sizeof count);
    while ((late = take_posted(faults)) != NULL)
        begin(late);
}

/* ---- from any thread ---- */

static struct late *create(struct faults *faults, sttp_reply *reply,
                           const struct fault_options *fault, size_t size)
{
    struct late *late = malloc(sizeof *late + size);

    if (late != NULL) {
        late->faults = faults;
        late->fault = fault;
        late->reply = reply;
        late->sent = 0;
        late->size = size;
    }
    return late;
}

/* The worker is woken under the mutex: behind it, it may end. */
static void post(struct late *late)
{
    const uint64_t one = 1;
    struct faults *faults = late->faults;

    pthread_mutex_lock(&faults->mutex);
    bool ended = faults->ended;
    if (!ended) {
        TAILQ_INSERT_TAIL(&faults->posted, late, in_list);
        (void)!write(faults->wake_fd, &one, sizeof one);
    }
    pthread_mutex_unlock(&faults->mutex);
    if (!ended)
        return;
    sttp_reply_send_bytes(late->reply, (sttp_slice){late->bytes, late->size});
    free(late);
}

/* What cannot be copied, or is no answer, goes on to the engine, which knows what to do. */
sttp_status faults_send(struct faults *faults, sttp_reply *reply, sttp_slice path,
                        const sttp_response *response)
{
    const struct fault_options *fault = pick(faults, path);
    struct late *late = NULL;
    size_t size = 0;

    if (fault != NULL && sttp_serialize_response(response, NULL, 0, &size, NULL) == STTP_ERR_BUFFER)
        late = create(faults, reply, fault, size);
    if (late == NULL)
        return sttp_reply_send(reply, response);
    (void)sttp_serialize_response(response, late->bytes, size, &size, NULL);
    post(late);
    return STTP_OK;
}

sttp_status faults_send_bytes(struct faults *faults, sttp_reply *reply, sttp_slice path,
                              sttp_slice answer)
{
    const struct fault_options *fault = pick(faults, path);
    struct late *late = fault != NULL ? create(faults, reply, fault, answer.size) : NULL;

    if (late == NULL)
        return sttp_reply_send_bytes(reply, answer);
    memcpy(late->bytes, answer.data, answer.size);
    post(late);
    return STTP_OK;
}

/* ---- life ---- */

static bool listen_for_posted(struct faults *faults)
{
    faults->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (faults->wake_fd < 0)
        return false;
    faults->wake = event_new(faults->base, faults->wake_fd, EV_READ | EV_PERSIST, on_wake, faults);
    if (faults->wake != NULL && event_add(faults->wake, NULL) == 0)
        return true;
    if (faults->wake != NULL)
        event_free(faults->wake);
    close(faults->wake_fd);
    return false;
}

/* Each worker has numbers of its own, the same ones in each run. */
static void enter(struct faults *faults)
{
    fault_rules *rules = faults->rules;

    pthread_mutex_lock(&rules->mutex);
    faults->random = ++rules->seeds;
    faults->next = rules->begun;
    rules->begun = faults;
    pthread_mutex_unlock(&rules->mutex);
}

struct faults *faults_begin(fault_rules *rules, struct event_base *base)
{
    struct faults *faults = calloc(1, sizeof *faults);

    if (faults == NULL)
        return NULL;
    *faults = (struct faults){.rules = rules, .base = base, .mutex = PTHREAD_MUTEX_INITIALIZER};
    TAILQ_INIT(&faults->waiting);
    TAILQ_INIT(&faults->posted);
    if (!listen_for_posted(faults)) {
        free(faults);
        return NULL;
    }
    enter(faults);
    return faults;
}

static void drop(struct late *late)
{
    end(late, (sttp_slice){NULL, 0}, STTP_REPLY_WHOLE);
}

void faults_end(struct faults *faults)
{
    struct late *late;

    if (faults == NULL)
        return;
    pthread_mutex_lock(&faults->mutex);
    faults->ended = true;
    pthread_mutex_unlock(&faults->mutex);
    while ((late = take_posted(faults)) != NULL)
        drop(late);
    while ((late = TAILQ_FIRST(&faults->waiting)) != NULL) {
        TAILQ_REMOVE(&faults->waiting, late, in_list);
        event_del(&late->timer);
        drop(late);
    }
    event_free(faults->wake);
    close(faults->wake_fd);
}
