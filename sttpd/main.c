/* sttpd: settings, store, engine, signals, in that order; and the way back.
 *
 * Once the store is open, which may take long on a busy disk and has promised nothing to anybody,
 * signals stop the server in an orderly way (daemon/service.h). The main thread waits for the
 * engine, then for the store. A store may hang in the kernel on a broken disk; so it is closed by a
 * thread of its own, and when that is not done in time the process ends without it. */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/caching.h"
#include "daemon/notices.h"
#include "daemon/service.h"
#include "sttpd/handler.h"
#include "sttpd/options.h"
#include "sttpd/storage.h"

enum {
    STORE_GRACE = 1,              /* seconds that the store has beyond the engine's deadline */
    DESCRIPTORS_BESIDES = 128,    /* what is open beside the following, about */
    DESCRIPTORS_OF_WORKER = 6,    /* each has a socket of each listener besides */
    DESCRIPTORS_OF_REDIS = 2,     /* of each worker: the socket, and what wakes it for it */
    LARGE_ALLOCATION = 128 << 10, /* bytes */
    REDIS_COUNTERS = 1 << 18 /* at 1,000 changes a second an entry is good for minutes, as long as
                                it is kept */
};

struct sttpd {
    struct sttpd_options options;
    settings_command command;
    log_sink log;
    struct handler handler;
    struct notices notices;
    store *store;
    struct caching caching;
    struct coherence coherence;
    redis *redis;
    struct service service;
    bool is_store_closed; /* by its thread; under the service's mutex */
};

/* Each connection takes a descriptor: no more of them than leave the storage what it needs. */
static void fit_descriptor_limit(struct sttpd *sttpd)
{
    struct sttpd_options *options = &sttpd->options;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t workers = options->threads > 0 ? options->threads : (uint64_t)processors;
    uint64_t each = DESCRIPTORS_OF_WORKER + options->listen.listen.count +
                    (options->cache_backend != CACHE_MEMORY ? DESCRIPTORS_OF_REDIS : 0);
    uint64_t besides = storage_descriptors(options) + DESCRIPTORS_BESIDES + workers * each;

    options->max_connections =
        service_fit_connections(&sttpd->log, options->max_connections, besides);
}

static bool create_server(struct sttpd *sttpd)
{
    const struct sttpd_options *from = &sttpd->options;
    sttp_server_options options = {
        .size = sizeof options,
        .handler = handler_handle,
        .handler_context = &sttpd->handler,
        .notice = notices_log,
        .notice_context = &sttpd->notices,
        .workers = (unsigned)from->threads,
        .max_connections = (unsigned)from->max_connections,
        .max_connections_per_address = (unsigned)from->max_connections_per_address,
        .max_in_flight = (unsigned)from->max_in_flight,
        .idle_timeout = (unsigned)from->idle_timeout,
        .request_timeout = (unsigned)from->request_timeout,
        .send_timeout = (unsigned)from->send_timeout,
        .max_unsent_total = (size_t)from->max_unsent_total,
        .worker_begin = sttpd->redis != NULL ? handler_worker_begin : NULL,
        .worker_end = sttpd->redis != NULL ? handler_worker_end : NULL,
    };

    return service_create_server(&sttpd->service, &options);
}

static bool listen_on_all(struct sttpd *sttpd)
{
    bool is_listed =
        settings_source_of(&sttpd_program, &sttpd->command, "listen") != SETTINGS_FROM_DEFAULT;

    return service_listen(&sttpd->service, &sttpd->options.listen, is_listed ? "--listen" : "-p");
}

static void *close_store(void *context)
{
    struct sttpd *sttpd = context;

    char name[PATH_MAX + 32];

    storage_name(&sttpd->options, name, sizeof name);
    errno = sttpd->store->close(sttpd->store);
    if (errno != 0)
        log_write(&sttpd->log, LOG_LEVEL_ERROR,
                  "%s: the last changes may be lost: %m; see whether its file system works", name);
    pthread_mutex_lock(&sttpd->service.mutex);
    sttpd->is_store_closed = true;
    pthread_cond_broadcast(&sttpd->service.changed);
    pthread_mutex_unlock(&sttpd->service.mutex);
    return NULL;
}

/* Closes the store. False where that did not end in time: then its threads are still there. */
static bool close_store_in_time(struct sttpd *sttpd)
{
    struct service *service = &sttpd->service;
    pthread_t closer;
    int error = pthread_create(&closer, NULL, close_store, sttpd);

    if (error != 0) {
        close_store(sttpd);
        return true;
    }
    error = 0;
    pthread_mutex_lock(&service->mutex);
    while (!sttpd->is_store_closed && error != ETIMEDOUT) {
        struct timespec give_up = service->deadline;
        give_up.tv_sec += STORE_GRACE;
        error = pthread_cond_timedwait(&service->changed, &service->mutex, &give_up);
    }
    bool is_closed = sttpd->is_store_closed;
    pthread_mutex_unlock(&service->mutex);
    if (is_closed)
        pthread_join(closer, NULL);
    return is_closed;
}

/* After the engine has ended. Does not return where the storage hangs. */
static void finish(struct sttpd *sttpd)
{
    bool is_closed = close_store_in_time(sttpd);

    if (!is_closed)
        log_write(&sttpd->log, LOG_LEVEL_WARNING,
                  "the storage does not answer; %zu operations under way are abandoned",
                  atomic_load(&sttpd->handler.outstanding));
    log_write(&sttpd->log, LOG_LEVEL_INFO, "stopped");
    if (!is_closed)
        _exit(EXIT_SUCCESS);
    sttpd->store = NULL;
}

/* From the start of the workers to the end of all. */
static bool serve(struct sttpd *sttpd)
{
    if (!service_start(&sttpd->service))
        return false;
    service_wait(&sttpd->service);
    finish(sttpd);
    service_end(&sttpd->service);
    return true;
}

/* What is kept in Redis is judged by the cache, so that has to be there: and it is what the
 * settings turn off. */
static bool open_redis(struct sttpd *sttpd)
{
    const struct sttpd_options *from = &sttpd->options;
    struct redis_settings settings = {
        .address = from->redis_address,
        .prefix = from->redis_prefix,
        .timeout = from->redis_timeout,
        .expiration = from->cache.expiration,
        .log = &sttpd->log,
    };

    if (from->cache_backend == CACHE_MEMORY || !from->cache.enabled || from->cache.expiration == 0)
        return true;
    sttpd->redis = redis_create(&settings);
    return sttpd->redis != NULL;
}

/* A database is shared with other servers; and may be away. */
static bool begin_coherence(struct sttpd *sttpd)
{
    struct sttpd_options *options = &sttpd->options;

    options->cache.leases_only = sttpd->redis != NULL && options->cache_backend == CACHE_REDIS;
    options->cache.counters = sttpd->redis != NULL ? REDIS_COUNTERS : 0;
    if (options->backend == STORAGE_POSTGRES) {
        options->cache.coherence = options->coherence;
        options->cache.stale_if_error = options->stale_if_error;
    }
    if (coherence_init(&sttpd->coherence, options->coherence, options->cache.expiration))
        return true;
    log_write(&sttpd->log, LOG_LEVEL_ERROR, "the system gives no random bytes: %m");
    return false;
}

static bool start_cache(struct sttpd *sttpd)
{
    if (!caching_start(&sttpd->caching, &sttpd->options.cache, &sttpd->log))
        return false;
    sttpd->handler.cache = sttpd->caching.cache;
    sttpd->handler.redis = sttpd->caching.cache != NULL ? sttpd->redis : NULL;
    sttpd->handler.coherence = &sttpd->coherence;
    coherence_begin(&sttpd->coherence, sttpd->caching.cache, sttpd->store->identity);
    return true;
}

static bool open_all(struct sttpd *sttpd)
{
    const struct store_watcher *watcher =
        sttpd->options.cache.enabled ? &sttpd->coherence.watcher : NULL;

    return open_redis(sttpd) && begin_coherence(sttpd) &&
           storage_open(&sttpd->options, &sttpd->log, watcher, &sttpd->store);
}

static int run(struct sttpd *sttpd)
{
    bool is_good = false;

    sttpd->handler.log = &sttpd->log;
    sttpd->notices.log = &sttpd->log;
    sttpd->service.stop_timeout = (unsigned)sttpd->options.stop_timeout;
    if (!service_prepare(&sttpd->service, sttpd->options.log_level, sttpd->command.verbosity))
        return EXIT_FAILURE;
    fit_descriptor_limit(sttpd);
    /* A listing has up to 16 MiB, and each time another storage thread makes it. Left to itself
     * malloc would raise its threshold for such blocks, and keep in each thread's heap what was
     * freed; with a fixed one they go back to the system at once. */
    mallopt(M_MMAP_THRESHOLD, LARGE_ALLOCATION);
    if (open_all(sttpd)) {
        sttpd->handler.store = sttpd->store;
        service_block_signals(&sttpd->service);
        is_good =
            start_cache(sttpd) && create_server(sttpd) && listen_on_all(sttpd) && serve(sttpd);
    }
    service_release(&sttpd->service);
    if (sttpd->store != NULL)
        sttpd->store->close(sttpd->store);
    caching_stop(&sttpd->caching);
    redis_destroy(sttpd->redis);
    return is_good ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct sttpd sttpd = {
        .log = {.fd = STDERR_FILENO, .mutex = PTHREAD_MUTEX_INITIALIZER},
        .service = {.log = &sttpd.log, .mutex = PTHREAD_MUTEX_INITIALIZER},
    };
    settings_report report = {.out = stderr};

    if (!service_open_standard_descriptors())
        return EXIT_FAILURE;
    int status = settings_load(&sttpd_program, argc, argv, &sttpd.options, &sttpd.command, &report);
    if (status == 2)
        fputs("try 'sttpd --help'\n", stderr);
    if (status == 0) {
        const settings_command *command = &sttpd.command;
        status = command->help || command->version || command->test
                     ? service_answer(&sttpd_program, command)
                     : run(&sttpd);
    }
    settings_release(&sttpd_program, &sttpd.options);
    return status;
}
