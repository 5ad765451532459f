/* The server as its program sees it: made, told where to listen, started, stopped, waited for. */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"
#include "memory.h"

enum { MAX_WORKERS = 1024 };

/* sttp_server_stop sets it from signal handlers. */
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_LONG_LOCK_FREE == 2, "needs atomics");

/* Not inlined: a guard of its stack, in each answer from a cache, would cost as much as what that
 * does with the time. */
__attribute__((noinline)) uint64_t sttp__server_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

/* ---- memory ---- */

static void *allocate(size_t size, void *context)
{
    (void)context;
    return malloc(size);
}

static void *reallocate(void *memory, size_t size, void *context)
{
    (void)context;
    return realloc(memory, size);
}

static void release(void *memory, void *context)
{
    (void)context;
    free(memory);
}

/* ---- options ---- */

static unsigned count_processors(void)
{
    cpu_set_t set;
    long count = 0;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        count = CPU_COUNT(&set);
    else /* more processors than the set has room for */
        count = sysconf(_SC_NPROCESSORS_ONLN);
    if (count < 1)
        return 1;
    return count < MAX_WORKERS ? (unsigned)count : MAX_WORKERS;
}

static void set_default(unsigned *option, unsigned value)
{
    if (*option == 0)
        *option = value;
}

static sttp_status resolve_options(sttp_server_options *options)
{
    if (options->workers == 0)
        options->workers = count_processors();
    set_default(&options->max_connections, 10000);
    set_default(&options->max_connections_per_address, options->max_connections);
    set_default(&options->max_in_flight, 64);
    set_default(&options->backlog, 1024);
    set_default(&options->idle_timeout, 60000);
    set_default(&options->request_timeout, 10000);
    set_default(&options->send_timeout, 30000);
    set_default(&options->linger_timeout, 30000);
    if (options->max_unsent == 0)
        options->max_unsent = 65536;
    if (options->max_unsent_total == 0)
        options->max_unsent_total = (size_t)64 << 20;
    bool good = options->workers <= MAX_WORKERS && options->max_connections <= INT_MAX &&
                options->backlog <= INT_MAX && options->idle_timeout <= INT_MAX &&
                options->request_timeout <= INT_MAX && options->send_timeout <= INT_MAX &&
                options->linger_timeout <= INT_MAX;
    return good ? STTP_OK : STTP_ERR_ARGUMENT;
}

/* ---- life ---- */

static sttp_status create_address_count(sttp_server *server)
{
    const sttp_server_options *options = &server->options;
    if (options->max_connections_per_address >= options->max_connections)
        return STTP_OK;
    server->addresses =
        sttp__address_count_create(&server->allocator, options->max_connections_per_address);
    if (server->addresses != NULL)
        return STTP_OK;
    return errno == ENOMEM ? STTP_ERR_MEMORY : STTP_ERR_SYSTEM;
}

static sttp_status create_on_the_way(sttp_server *server)
{
    server->on_the_way =
        sttp__on_the_way_create(&server->allocator, server->options.max_unsent_total);
    return server->on_the_way == NULL ? STTP_ERR_MEMORY : STTP_OK;
}

/* Workers start at a boundary of a cache line, which an allocator need not give. */
static sttp_status create_workers(sttp_server *server)
{
    size_t alignment = _Alignof(struct sttp__worker);
    size_t size = server->options.workers * sizeof(struct sttp__worker) + alignment;
    server->worker_memory = sttp__allocate(&server->allocator, size);
    if (server->worker_memory == NULL)
        return STTP_ERR_MEMORY;
    uintptr_t start = (uintptr_t)server->worker_memory + alignment - 1;
    server->workers = (struct sttp__worker *)(start - start % alignment);
    sttp_status status = STTP_OK;
    while (status == STTP_OK && server->created < server->options.workers) {
        status = sttp__worker_create(&server->workers[server->created], server);
        server->created += status == STTP_OK;
    }
    return status;
}

sttp_status sttp_server_create(const sttp_server_options *options, sttp_server **server)
{
    static const sttp_allocator standard = {allocate, reallocate, release, NULL};
    *server = NULL;
    if (options->size != sizeof *options || options->handler == NULL)
        return STTP_ERR_ARGUMENT;
    sttp_server_options resolved = *options;
    if (resolve_options(&resolved) != STTP_OK)
        return STTP_ERR_ARGUMENT;
    const sttp_allocator *allocator = options->allocator ? options->allocator : &standard;
    sttp_server *made = sttp__allocate(allocator, sizeof *made);
    if (made == NULL)
        return STTP_ERR_MEMORY;
    *made = (sttp_server){.allocator = *allocator, .options = resolved};
    atomic_init(&made->stop_at, UINT64_MAX);
    sem_init(&made->begun, 0, 0);
    sttp_status status = create_address_count(made);
    if (status == STTP_OK)
        status = create_on_the_way(made);
    if (status == STTP_OK)
        status = create_workers(made);
    if (status == STTP_OK) {
        *server = made;
    } else {
        int error = errno;
        sttp_server_destroy(made);
        errno = error;
    }
    return status;
}

sttp_status sttp_server_listen(sttp_server *server, const char *address)
{
    sttp_listener_options options = {.size = sizeof options, .address = address};
    return sttp_server_listen_with(server, &options);
}

sttp_status sttp_server_listen_with(sttp_server *server, const sttp_listener_options *options)
{
    if (options->size != sizeof *options)
        return STTP_ERR_ARGUMENT;
    if (server->started)
        return STTP_ERR_STATE;
    struct sttp__listener *listener;
    sttp_status status = sttp__listener_create(server, options, &listener);
    if (status != STTP_OK)
        return status;
    struct sttp__listener **end = &server->listeners;
    while (*end != NULL)
        end = &(*end)->next;
    *end = listener;
    server->listener_count++;
    return STTP_OK;
}

const char *sttp_server_address(const sttp_server *server, size_t index)
{
    const struct sttp__listener *listener = server->listeners;
    while (listener != NULL && index-- > 0)
        listener = listener->next;
    return listener == NULL ? NULL : listener->address;
}

static void join_all(sttp_server *server)
{
    while (server->running > 0)
        pthread_join(server->workers[--server->running].thread, NULL);
}

sttp_status sttp_server_start(sttp_server *server)
{
    if (server->started || server->listener_count == 0)
        return STTP_ERR_STATE;
    server->started = true;
    for (unsigned i = 0; i < server->created; i++)
        if (sttp__acceptors_create(&server->workers[i]) != STTP_OK)
            return STTP_ERR_MEMORY;
    while (server->running < server->created) {
        sttp_status status = sttp__worker_start(&server->workers[server->running]);
        if (status != STTP_OK) {
            int error = errno;
            sttp_server_stop(server, 0);
            join_all(server);
            errno = error;
            return status;
        }
        server->running++;
    }
    return STTP_OK;
}

void sttp_server_stop(sttp_server *server, unsigned deadline)
{
    int error = errno;
    uint64_t stop_at = sttp__server_now() + deadline;
    uint64_t before = atomic_load(&server->stop_at);
    while (stop_at < before && !atomic_compare_exchange_weak(&server->stop_at, &before, stop_at))
        ;
    for (unsigned i = 0; i < server->created; i++)
        sttp__mailbox_wake(server->workers[i].mailbox);
    errno = error;
}

sttp_status sttp_server_wait(sttp_server *server)
{
    bool cut = false;
    join_all(server);
    for (unsigned i = 0; i < server->created; i++)
        cut = cut || server->workers[i].cut;
    return cut ? STTP_ERR_TIMEOUT : STTP_OK;
}

void sttp_server_destroy(sttp_server *server)
{
    if (server == NULL)
        return;
    while (server->created > 0)
        sttp__worker_destroy(&server->workers[--server->created]);
    while (server->listeners != NULL) {
        struct sttp__listener *listener = server->listeners;
        server->listeners = listener->next;
        sttp__listener_destroy(server, listener);
    }
    sttp__address_count_destroy(server->addresses);
    sttp__on_the_way_release(server->on_the_way);
    sem_destroy(&server->begun);
    sttp_allocator allocator = server->allocator;
    sttp__release(&allocator, server->worker_memory);
    sttp__release(&allocator, server);
}
