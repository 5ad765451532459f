/* What the main program of every daemon does alike. In this order:
 *
 *     service_open_standard_descriptors
 *     settings_load, and service_answer where nothing is to be run
 *     service_prepare
 *     service_fit_connections
 *     what may take long and need not stop in an orderly way (a store that is opened)
 *     service_block_signals, before there is any other thread
 *     service_create_server, sttp_server_listen..., service_start: from here on signals stop it
 *     service_wait: until the engine has ended
 *     what the program has to close, which may look at `deadline`
 *     service_end
 *
 * Where a step fails, a line in the log or on standard error says so. */
#ifndef DAEMON_SERVICE_H
#define DAEMON_SERVICE_H

#include <pthread.h>
#include <signal.h>

#include <sttp/server.h>

#include "daemon/listen.h"
#include "daemon/log.h"
#include "daemon/settings.h"

struct service {
    log_sink *log;
    unsigned stop_timeout; /* milliseconds that the first signal gives to what is under way */

    /* Of service.c; zero at first, but for `mutex`. */
    sigset_t signals;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;   /* what follows, or the program's own; on CLOCK_MONOTONIC */
    sttp_server *server;      /* NULL as soon as it is to be freed */
    bool is_stopping;         /* a signal came */
    bool is_finished;         /* no signal is waited for any more */
    struct timespec deadline; /* of the engine, as the last signal set it; CLOCK_MONOTONIC */
};

/* Where 0, 1 or 2 are closed a socket or a file would get the number, and the log would be written
 * to it: opens /dev/null in their place, so that to use them fails, as of the closed ones. */
bool service_open_standard_descriptors(void);

/* Gives what --help, --version or -T ask for. Returns the exit status: 1 where it could not be
 * written. */
int service_answer(const settings_program *program, const settings_command *command);

/* Sets the level of the log, `level` as in the settings and as much more as -v and -q say; hands
 * libevent's own words to the log as debugging; ignores SIGPIPE. */
bool service_prepare(struct service *service, unsigned level, int verbosity);

/* Raises the limit of open files as far as it goes. Returns how many connections there can be, with
 * a warning where these are fewer than `wanted`; the program needs `besides` other descriptors. */
uint64_t service_fit_connections(log_sink *log, uint64_t wanted, uint64_t besides);

/* SIGTERM and SIGINT wait from here on, in this thread and those it starts. */
void service_block_signals(const struct service *service);

bool service_create_server(struct service *service, const sttp_server_options *options);

/* Listens where the settings say. Every address is tried, so that all that fail are told at once.
 * `flag` is the one that gives another address. */
bool service_listen(struct service *service, const struct listen_options *options,
                    const char *flag);

/* Starts the engine and the thread that waits for signals; logs where the server listens, and then
 * "ready". The first signal stops the engine within stop_timeout, the next one at once. */
bool service_start(struct service *service);

/* Waits for the engine to end, and frees it. */
void service_wait(struct service *service);

/* Ends the thread that waits for signals, after service_start has returned true. */
void service_end(struct service *service);

/* Frees what service_prepare made, and the server where there still is one. */
void service_release(struct service *service);

/* Tells the log why there is nobody listening on `address`; errno `error` is of STTP_ERR_SYSTEM.
 * `flag` is the one that gives another address. */
void service_log_listen_failure(log_sink *log, const char *address, sttp_status status, int error,
                                const char *flag);

#endif
