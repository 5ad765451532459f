/* One thread waits for signals, which are blocked in all: so none interrupts a system call, and
 * what is done about it may take locks. */
#include "daemon/service.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

bool service_open_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return false;
    }
    return true;
}

int service_answer(const settings_program *program, const settings_command *command)
{
    if (command->help)
        settings_help(program, stdout);
    else if (command->version)
        printf("%s %s\n", program->name, sttp_version());
    else
        puts("settings ok");
    return fflush(stdout) == 0 && !ferror(stdout) ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* libevent would write to standard error in a form of its own. The engine's notices tell the
 * operator all that matters; libevent's own words are for debugging. */
static log_sink *libevent_log;

static void log_libevent(int severity, const char *message)
{
    (void)severity;
    log_write(libevent_log, LOG_LEVEL_DEBUG, "libevent: %s", message);
}

static void prepare_log(log_sink *log, int level)
{
    log->level = level < LOG_LEVEL_ERROR   ? LOG_LEVEL_ERROR
                 : level > LOG_LEVEL_DEBUG ? LOG_LEVEL_DEBUG
                                           : (log_level)level;
    libevent_log = log;
    event_set_log_callback(log_libevent);
}

bool service_prepare(struct service *service, unsigned level, int verbosity)
{
    pthread_condattr_t attributes;

    prepare_log(service->log, (int)level + verbosity);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&service->signals);
    sigaddset(&service->signals, SIGTERM);
    sigaddset(&service->signals, SIGINT);
    bool is_good = pthread_condattr_init(&attributes) == 0;
    if (is_good) {
        is_good = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
                  pthread_cond_init(&service->changed, &attributes) == 0;
        pthread_condattr_destroy(&attributes);
    }
    if (!is_good)
        log_write(service->log, LOG_LEVEL_ERROR, "cannot prepare threads and signals");
    return is_good;
}

uint64_t service_fit_connections(log_sink *log, uint64_t wanted, uint64_t besides)
{
    uint64_t needed = wanted + besides;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return wanted;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max >= needed)
        return wanted;
    uint64_t connections =
        limit.rlim_max > 2 * besides ? limit.rlim_max - besides : limit.rlim_max / 2;
    log_write(log, LOG_LEVEL_WARNING,
              "max_connections is %llu, not %llu: the limit of open files is %llu (raise it to "
              "%llu with ulimit -n, or LimitNOFILE in systemd)",
              (unsigned long long)connections, (unsigned long long)wanted,
              (unsigned long long)limit.rlim_max, (unsigned long long)needed);
    return connections;
}

void service_block_signals(const struct service *service)
{
    pthread_sigmask(SIG_BLOCK, &service->signals, NULL);
}

/* The engine could not do what `what` says; errno is of STTP_ERR_SYSTEM. */
static void log_engine_failure(struct service *service, const char *what, sttp_status status)
{
    if (status == STTP_ERR_SYSTEM)
        log_write(service->log, LOG_LEVEL_ERROR, "cannot %s the server: %m", what);
    else
        log_write(service->log, LOG_LEVEL_ERROR, "cannot %s the server: %s", what,
                  sttp_status_text(status));
}

bool service_create_server(struct service *service, const sttp_server_options *options)
{
    sttp_status status = sttp_server_create(options, &service->server);

    if (status != STTP_OK)
        log_engine_failure(service, "create", status);
    return status == STTP_OK;
}

static void set_deadline(struct timespec *at, uint64_t milliseconds)
{
    clock_gettime(CLOCK_MONOTONIC, at);
    at->tv_sec += (time_t)(milliseconds / 1000);
    at->tv_nsec += (long)(milliseconds % 1000) * 1000000;
    if (at->tv_nsec >= 1000000000) {
        at->tv_sec++;
        at->tv_nsec -= 1000000000;
    }
}

/* Takes one signal; false where there is nothing more to wait for. */
static bool take_signal(struct service *service)
{
    int signal_number;

    if (sigwait(&service->signals, &signal_number) != 0)
        return true;
    pthread_mutex_lock(&service->mutex);
    bool goes_on = !service->is_finished;
    bool is_first = !service->is_stopping;
    unsigned timeout = is_first ? service->stop_timeout : 0;
    if (goes_on) {
        service->is_stopping = true;
        set_deadline(&service->deadline, timeout);
        pthread_cond_broadcast(&service->changed);
        log_write(service->log, LOG_LEVEL_INFO, is_first ? "stopping" : "stopping at once");
        if (service->server != NULL)
            sttp_server_stop(service->server, timeout);
    }
    pthread_mutex_unlock(&service->mutex);
    return goes_on;
}

static void *wait_for_signals(void *context)
{
    while (take_signal(context))
        ;
    return NULL;
}

static void log_ready(struct service *service)
{
    const char *address;

    for (size_t i = 0; (address = sttp_server_address(service->server, i)) != NULL; i++)
        log_write(service->log, LOG_LEVEL_INFO, "listening on %s", address);
    log_write(service->log, LOG_LEVEL_INFO, "ready");
}

bool service_start(struct service *service)
{
    sttp_status status = sttp_server_start(service->server);

    if (status != STTP_OK) {
        log_engine_failure(service, "start", status);
        return false;
    }
    errno = pthread_create(&service->thread, NULL, wait_for_signals, service);
    if (errno != 0) {
        log_write(service->log, LOG_LEVEL_ERROR, "cannot start a thread: %m");
        sttp_server_stop(service->server, 0);
        sttp_server_wait(service->server);
        return false;
    }
    log_ready(service);
    return true;
}

/* The signal thread may be about to use the server. */
static void destroy_server(struct service *service)
{
    pthread_mutex_lock(&service->mutex);
    sttp_server *server = service->server;
    service->server = NULL;
    pthread_mutex_unlock(&service->mutex);
    sttp_server_destroy(server);
}

void service_wait(struct service *service)
{
    if (sttp_server_wait(service->server) == STTP_ERR_TIMEOUT)
        log_write(service->log, LOG_LEVEL_WARNING, "connections were cut: stop_timeout is over");
    destroy_server(service);
}

void service_end(struct service *service)
{
    pthread_mutex_lock(&service->mutex);
    service->is_finished = true;
    pthread_mutex_unlock(&service->mutex);
    pthread_kill(service->thread, SIGTERM);
    pthread_join(service->thread, NULL);
}

void service_release(struct service *service)
{
    destroy_server(service);
    pthread_cond_destroy(&service->changed);
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

void service_log_listen_failure(log_sink *log, const char *address, sttp_status status, int error,
                                const char *flag)
{
    errno = error;
    if (status == STTP_ERR_ADDRESS_IN_USE)
        log_write(log, LOG_LEVEL_ERROR,
                  "address already in use: %s (is another server running? choose another with %s)",
                  address, flag);
    else if (status == STTP_ERR_SYSTEM)
        log_write(log, LOG_LEVEL_ERROR, "cannot listen on %s: %m%s", address,
                  listen_advice(address, error));
    else
        log_write(log, LOG_LEVEL_ERROR, "cannot listen on %s: %s%s", address,
                  sttp_status_text(status),
                  status == STTP_ERR_ADDRESS ? " (does this machine have it?)" : "");
}
