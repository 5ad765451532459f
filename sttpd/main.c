/* sttpd: settings, store, engine, signals, in that order; and the way back.
 *
 * Once the store is open, which may take long on a busy disk and has promised nothing to anybody,
 * signals are blocked in every thread. One thread waits for them: the first SIGTERM or SIGINT asks
 * the engine to stop within stop_timeout, a second one to stop at once. The main thread waits for
 * the engine, then for the store. A store may hang in the kernel on a broken disk; so it is closed
 * by a thread of its own, and when that is not done in time the process ends without it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include <sttp/server.h>

#include "sttpd/caching.h"
#include "sttpd/handler.h"
#include "sttpd/notices.h"
#include "sttpd/options.h"
#include "sttpd/store_fs.h"

enum {
    STORE_GRACE = 1000,          /* milliseconds that the store has beyond the engine's deadline */
    DESCRIPTORS_BESIDES = 128,   /* what is open beside the following, about */
    DESCRIPTORS_OF_WORKER = 4,   /* each has a socket of each listener besides */
    LARGE_ALLOCATION = 128 << 10 /* bytes */
};

struct sttpd {
    struct sttpd_options options;
    settings_command command;
    log_sink log;
    struct handler handler;
    struct notices notices;
    store *store;
    struct caching caching;
    sigset_t stop_signals;

    pthread_mutex_t mutex;
    pthread_cond_t changed;  /* one of the following; on CLOCK_MONOTONIC */
    sttp_server *server;     /* NULL as soon as it is to be freed */
    bool is_stopping;        /* a signal came */
    bool is_finished;        /* the signal thread is not needed any more */
    bool is_store_closed;    /* by its thread */
    struct timespec give_up; /* when the store is not waited for any longer; CLOCK_MONOTONIC */
};

/* Where 0, 1 or 2 are closed a socket would get the number, and the log would be written to it. */
static bool open_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            return false;
    }
    return true;
}

static void set_give_up(struct sttpd *sttpd, uint64_t milliseconds)
{
    struct timespec *at = &sttpd->give_up;

    clock_gettime(CLOCK_MONOTONIC, at);
    at->tv_sec += (time_t)(milliseconds / 1000);
    at->tv_nsec += (long)(milliseconds % 1000) * 1000000;
    if (at->tv_nsec >= 1000000000) {
        at->tv_sec++;
        at->tv_nsec -= 1000000000;
    }
}

/* Each connection takes a descriptor: allow as many as the system lets us have, and no more
 * connections than leave the storage what it needs. */
static void fit_descriptor_limit(struct sttpd *sttpd)
{
    const struct sttpd_options *options = &sttpd->options;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t workers = options->threads > 0 ? options->threads : (uint64_t)processors;
    uint64_t besides =
        options->storage_threads * (STORE_FS_DESCRIPTORS + STORE_FS_DESCRIPTORS_TOGETHER) +
        DESCRIPTORS_BESIDES + workers * (DESCRIPTORS_OF_WORKER + options->listen.count);
    uint64_t wanted = options->max_connections + besides;
    uint64_t connections;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max >= wanted)
        return;
    connections = limit.rlim_max > 2 * besides ? limit.rlim_max - besides : limit.rlim_max / 2;
    log_write(&sttpd->log, LOG_LEVEL_WARNING,
              "max_connections is %llu, not %llu: the limit of open files is %llu (raise it to "
              "%llu with ulimit -n, or LimitNOFILE in systemd)",
              (unsigned long long)connections, (unsigned long long)sttpd->options.max_connections,
              (unsigned long long)limit.rlim_max, (unsigned long long)wanted);
    sttpd->options.max_connections = connections;
}

/* What to do about a document root that cannot be used, as far as the store cannot know it. */
static void docroot_advice(const char *docroot, int error, char *advice, size_t capacity)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-";
    bool is_plain = docroot[0] != '-' && docroot[strspn(docroot, plain)] == '\0';

    advice[0] = '\0';
    if (error == ENOENT && is_plain)
        snprintf(advice, capacity, " (mkdir -p %s)", docroot);
    else if (error == EACCES)
        snprintf(advice, capacity, " (sttpd runs as user %u, group %u)", (unsigned)geteuid(),
                 (unsigned)getegid());
}

static void warn_of_docroot(struct sttpd *sttpd, const char *warning)
{
    const char *docroot = sttpd->options.docroot;

    if (warning[0] != '\0')
        log_write(&sttpd->log, LOG_LEVEL_WARNING, "%s", warning);
    if (faccessat(AT_FDCWD, docroot, W_OK, AT_EACCESS) != 0)
        log_write(&sttpd->log, LOG_LEVEL_WARNING,
                  "document root %s: %m; changes will fail (sttpd runs as user %u, group %u)",
                  docroot, (unsigned)geteuid(), (unsigned)getegid());
}

static bool open_store(struct sttpd *sttpd)
{
    char text[PATH_MAX + 1024] = "";
    char advice[PATH_MAX + 32];
    const char *docroot = sttpd->options.docroot;
    bool is_synced = sttpd->options.durability != STORE_DURABILITY_NONE;
    struct store_fs_settings settings = {
        .docroot = docroot,
        .durability = (enum store_durability)sttpd->options.durability,
        .threads = (unsigned)sttpd->options.storage_threads,
        .queue = (unsigned)sttpd->options.storage_queue,
    };

    log_write(&sttpd->log, LOG_LEVEL_INFO, "opening document root %s%s", docroot,
              is_synced ? "; its file system is synced first" : "");
    if (store_fs_open(&settings, &sttpd->store, text, sizeof text)) {
        warn_of_docroot(sttpd, text);
        return true;
    }
    int error = faccessat(AT_FDCWD, docroot, R_OK | X_OK, AT_EACCESS) != 0 ? errno : 0;
    docroot_advice(docroot, error, advice, sizeof advice);
    log_write(&sttpd->log, LOG_LEVEL_ERROR, "%s%s", text, advice);
    return false;
}

/* The engine could not do what `what` says; errno is of STTP_ERR_SYSTEM. */
static void log_engine_failure(struct sttpd *sttpd, const char *what, sttp_status status)
{
    if (status == STTP_ERR_SYSTEM)
        log_write(&sttpd->log, LOG_LEVEL_ERROR, "cannot %s the server: %m", what);
    else
        log_write(&sttpd->log, LOG_LEVEL_ERROR, "cannot %s the server: %s", what,
                  sttp_status_text(status));
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
    };
    sttp_status status = sttp_server_create(&options, &sttpd->server);

    if (status != STTP_OK)
        log_engine_failure(sttpd, "create", status);
    return status == STTP_OK;
}

/* What to do about an address that cannot be listened on. */
static const char *listen_advice(const char *address, int error)
{
    bool is_unix = strncmp(address, "unix:", 5) == 0;

    if (error == EACCES && !is_unix)
        return " (ports below 1024 need root or CAP_NET_BIND_SERVICE)";
    if (is_unix && error == ENOENT)
        return " (the socket's directory is not there)";
    if (is_unix && error == EACCES)
        return " (the server's user has to be able to write the socket's directory, and the file "
               "of the socket's name with .lock behind it where there is one)";
    return "";
}

static void log_listen_failure(struct sttpd *sttpd, const char *address, sttp_status status,
                               int error)
{
    bool is_listed =
        settings_source_of(&sttpd_program, &sttpd->command, "listen") != SETTINGS_FROM_DEFAULT;

    if (status == STTP_ERR_ADDRESS_IN_USE) {
        log_write(&sttpd->log, LOG_LEVEL_ERROR,
                  "address already in use: %s (is another server running? choose another with %s)",
                  address, is_listed ? "--listen" : "-p");
        return;
    }
    errno = error;
    if (status == STTP_ERR_SYSTEM)
        log_write(&sttpd->log, LOG_LEVEL_ERROR, "cannot listen on %s: %m%s", address,
                  listen_advice(address, error));
    else
        log_write(&sttpd->log, LOG_LEVEL_ERROR, "cannot listen on %s: %s%s", address,
                  sttp_status_text(status),
                  status == STTP_ERR_ADDRESS ? " (does this machine have it?)" : "");
}

/* Every address is tried, so that all that fail are told at once. */
static bool listen_on_all(struct sttpd *sttpd)
{
    const settings_list *listen = &sttpd->options.listen;
    bool is_good = true;

    for (size_t i = 0; i < listen->count; i++) {
        sttp_status status = sttp_server_listen(sttpd->server, listen->items[i]);
        if (status != STTP_OK) {
            log_listen_failure(sttpd, listen->items[i], status, errno);
            is_good = false;
        }
    }
    return is_good;
}

/* Takes one signal; false where there is nothing more to wait for. */
static bool take_signal(struct sttpd *sttpd)
{
    int signal_number;

    if (sigwait(&sttpd->stop_signals, &signal_number) != 0)
        return true;
    pthread_mutex_lock(&sttpd->mutex);
    bool goes_on = !sttpd->is_finished;
    bool is_first = !sttpd->is_stopping;
    unsigned deadline = is_first ? (unsigned)sttpd->options.stop_timeout : 0;
    if (goes_on) {
        sttpd->is_stopping = true;
        set_give_up(sttpd, (uint64_t)deadline + STORE_GRACE);
        pthread_cond_broadcast(&sttpd->changed);
        log_write(&sttpd->log, LOG_LEVEL_INFO, is_first ? "stopping" : "stopping at once");
        if (sttpd->server != NULL)
            sttp_server_stop(sttpd->server, deadline);
    }
    pthread_mutex_unlock(&sttpd->mutex);
    return goes_on;
}

static void *wait_for_signals(void *context)
{
    while (take_signal(context))
        ;
    return NULL;
}

static void *close_store(void *context)
{
    struct sttpd *sttpd = context;

    errno = sttpd->store->close(sttpd->store);
    if (errno != 0)
        log_write(&sttpd->log, LOG_LEVEL_ERROR,
                  "document root %s: the last changes may be lost: %m; see whether its file system "
                  "works",
                  sttpd->options.docroot);
    pthread_mutex_lock(&sttpd->mutex);
    sttpd->is_store_closed = true;
    pthread_cond_broadcast(&sttpd->changed);
    pthread_mutex_unlock(&sttpd->mutex);
    return NULL;
}

/* Closes the store. False where that did not end in time: then its threads are still there. */
static bool close_store_in_time(struct sttpd *sttpd)
{
    pthread_t closer;
    int error = pthread_create(&closer, NULL, close_store, sttpd);

    if (error != 0) {
        close_store(sttpd);
        return true;
    }
    error = 0;
    pthread_mutex_lock(&sttpd->mutex);
    while (!sttpd->is_store_closed && error != ETIMEDOUT)
        error = pthread_cond_timedwait(&sttpd->changed, &sttpd->mutex, &sttpd->give_up);
    bool is_closed = sttpd->is_store_closed;
    pthread_mutex_unlock(&sttpd->mutex);
    if (is_closed)
        pthread_join(closer, NULL);
    return is_closed;
}

/* The signal thread may be about to use the server. */
static void destroy_server(struct sttpd *sttpd)
{
    pthread_mutex_lock(&sttpd->mutex);
    sttp_server *server = sttpd->server;
    sttpd->server = NULL;
    pthread_mutex_unlock(&sttpd->mutex);
    sttp_server_destroy(server);
}

static void end_signal_thread(struct sttpd *sttpd, pthread_t thread)
{
    pthread_mutex_lock(&sttpd->mutex);
    sttpd->is_finished = true;
    pthread_mutex_unlock(&sttpd->mutex);
    pthread_kill(thread, SIGTERM);
    pthread_join(thread, NULL);
}

static void log_ready(struct sttpd *sttpd)
{
    const char *address;

    for (size_t i = 0; (address = sttp_server_address(sttpd->server, i)) != NULL; i++)
        log_write(&sttpd->log, LOG_LEVEL_INFO, "listening on %s", address);
    log_write(&sttpd->log, LOG_LEVEL_INFO, "ready");
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

static bool start(struct sttpd *sttpd, pthread_t *signal_thread)
{
    sttp_status status = sttp_server_start(sttpd->server);

    if (status != STTP_OK) {
        log_engine_failure(sttpd, "start", status);
        return false;
    }
    int error = pthread_create(signal_thread, NULL, wait_for_signals, sttpd);
    if (error == 0)
        return true;
    errno = error;
    log_write(&sttpd->log, LOG_LEVEL_ERROR, "cannot start a thread: %m");
    sttp_server_stop(sttpd->server, 0);
    sttp_server_wait(sttpd->server);
    return false;
}

/* From the start of the workers to the end of all. */
static bool serve(struct sttpd *sttpd)
{
    pthread_t signal_thread;

    if (!start(sttpd, &signal_thread))
        return false;
    log_ready(sttpd);
    if (sttp_server_wait(sttpd->server) == STTP_ERR_TIMEOUT)
        log_write(&sttpd->log, LOG_LEVEL_WARNING, "connections were cut: stop_timeout is over");
    destroy_server(sttpd);
    finish(sttpd);
    end_signal_thread(sttpd, signal_thread);
    return true;
}

/* libevent would write to standard error in a form of its own. The engine's notices tell the
 * operator all that matters; libevent's own words are for debugging. */
static log_sink *libevent_log;

static void log_libevent(int severity, const char *message)
{
    (void)severity;
    log_write(libevent_log, LOG_LEVEL_DEBUG, "libevent: %s", message);
}

static bool prepare(struct sttpd *sttpd)
{
    pthread_condattr_t attributes;
    int level = (int)sttpd->options.log_level + sttpd->command.verbosity;

    sttpd->log.level = level < LOG_LEVEL_ERROR   ? LOG_LEVEL_ERROR
                       : level > LOG_LEVEL_DEBUG ? LOG_LEVEL_DEBUG
                                                 : (log_level)level;
    sttpd->handler.log = &sttpd->log;
    sttpd->notices.log = &sttpd->log;
    libevent_log = &sttpd->log;
    event_set_log_callback(log_libevent);
    if (pthread_condattr_init(&attributes) != 0)
        return false;
    bool is_good = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
                   pthread_cond_init(&sttpd->changed, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&sttpd->stop_signals);
    sigaddset(&sttpd->stop_signals, SIGTERM);
    sigaddset(&sttpd->stop_signals, SIGINT);
    return is_good;
}

static int run(struct sttpd *sttpd)
{
    bool is_good = false;

    if (!prepare(sttpd)) {
        log_write(&sttpd->log, LOG_LEVEL_ERROR, "cannot prepare threads and signals");
        return EXIT_FAILURE;
    }
    fit_descriptor_limit(sttpd);
    /* A listing has up to 16 MiB, and each time another storage thread makes it. Left to itself
     * malloc would raise its threshold for such blocks, and keep in each thread's heap what was
     * freed; with a fixed one they go back to the system at once. */
    mallopt(M_MMAP_THRESHOLD, LARGE_ALLOCATION);
    if (open_store(sttpd)) {
        sttpd->handler.store = sttpd->store;
        pthread_sigmask(SIG_BLOCK, &sttpd->stop_signals, NULL);
        is_good = caching_start(&sttpd->caching, &sttpd->options, &sttpd->log);
        sttpd->handler.cache = sttpd->caching.cache;
        is_good = is_good && create_server(sttpd) && listen_on_all(sttpd) && serve(sttpd);
    }
    destroy_server(sttpd);
    if (sttpd->store != NULL)
        sttpd->store->close(sttpd->store);
    caching_stop(&sttpd->caching);
    pthread_cond_destroy(&sttpd->changed);
    return is_good ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* --help, --version and -T: what was asked for is on the standard output, or the status says that
 * it is not. */
static int answer(const settings_command *command)
{
    if (command->help)
        settings_help(&sttpd_program, stdout);
    else if (command->version)
        printf("sttpd %s\n", sttp_version());
    else
        puts("settings ok");
    return fflush(stdout) == 0 && !ferror(stdout) ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct sttpd sttpd = {
        .log = {.fd = STDERR_FILENO, .mutex = PTHREAD_MUTEX_INITIALIZER},
        .mutex = PTHREAD_MUTEX_INITIALIZER,
    };
    settings_report report = {.out = stderr};

    if (!open_standard_descriptors())
        return EXIT_FAILURE;
    int status = sttpd_options_load(argc, argv, &sttpd.options, &sttpd.command, &report);
    if (status == 2)
        fputs("try 'sttpd --help'\n", stderr);
    if (status == 0) {
        const settings_command *command = &sttpd.command;
        status = command->help || command->version || command->test ? answer(command) : run(&sttpd);
    }
    settings_release(&sttpd_program, &sttpd.options);
    return status;
}
