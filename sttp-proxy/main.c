/* sttp-proxy: settings, rules and upstreams, cache, health checks, engine; and the way back. */
#include <stdlib.h>
#include <unistd.h>

#include "daemon/caching.h"
#include "daemon/listen.h"
#include "daemon/notices.h"
#include "daemon/service.h"
#include "sttp-proxy/checks.h"
#include "sttp-proxy/handler.h"
#include "sttp-proxy/options.h"
#include "sttp-proxy/worker.h"

enum {
    DESCRIPTORS_BESIDES = 128,   /* what is open beside the following, about */
    DESCRIPTORS_OF_WORKER = 8,   /* each has a socket of each listener besides */
    CONNECTIONS_TO_ORIGINS = 256 /* of a worker, about; where there are no more descriptors,
                                    requests fail and nothing else */
};

struct program {
    struct proxy_options options;
    settings_command command;
    log_sink log;
    struct notices notices;
    struct caching caching;
    struct proxy proxy;
    struct checks checks;
    struct service service;
};

/* Each connection takes a descriptor: no more of them than leave the upstreams what they need. */
static void fit_descriptor_limit(struct program *program)
{
    struct proxy_options *options = &program->options;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t workers = options->threads > 0 ? options->threads : (uint64_t)processors;
    uint64_t upstream = program->proxy.upstream_count * options->max_upstream_connections;
    uint64_t of_worker = DESCRIPTORS_OF_WORKER + options->listen.listen.count + upstream;

    if (options->forward_enabled && program->proxy.parent == NULL)
        of_worker += CONNECTIONS_TO_ORIGINS;
    options->max_connections = service_fit_connections(&program->log, options->max_connections,
                                                       DESCRIPTORS_BESIDES + workers * of_worker);
}

static bool create_server(struct program *program)
{
    const struct proxy_options *from = &program->options;
    sttp_server_options options = {
        .size = sizeof options,
        .handler = handler_handle,
        .handler_context = &program->proxy,
        .notice = notices_log,
        .notice_context = &program->notices,
        .proxy = true,
        .worker_begin = worker_begin,
        .worker_end = worker_end,
        .workers = (unsigned)from->threads,
        .max_connections = (unsigned)from->max_connections,
        .max_connections_per_address = (unsigned)from->max_connections_per_address,
        .max_in_flight = (unsigned)from->max_in_flight,
        .idle_timeout = (unsigned)from->idle_timeout,
        .request_timeout = (unsigned)from->request_timeout,
        .send_timeout = (unsigned)from->send_timeout,
        .max_unsent_total = (size_t)from->max_unsent_total,
    };

    return service_create_server(&program->service, &options);
}

static const char *listen_flag(const struct program *program)
{
    bool is_listed =
        settings_source_of(&proxy_program, &program->command, "listen") != SETTINGS_FROM_DEFAULT;

    return is_listed ? "--listen" : "-p";
}

/* From the start of the workers to the end of all. */
static bool serve(struct program *program)
{
    if (!checks_start(&program->checks, &program->proxy))
        return false;
    bool is_good = service_start(&program->service);
    if (is_good) {
        service_wait(&program->service);
        proxy_log_counts(&program->proxy);
        log_write(&program->log, LOG_LEVEL_INFO, "stopped");
        service_end(&program->service);
    }
    checks_stop(&program->checks);
    return is_good;
}

static int run(struct program *program)
{
    bool is_good = false;

    program->notices.log = &program->log;
    program->service.stop_timeout = (unsigned)program->options.stop_timeout;
    if (!service_prepare(&program->service, program->options.log_level, program->command.verbosity))
        return EXIT_FAILURE;
    if (proxy_init(&program->proxy, &program->options, &program->log)) {
        fit_descriptor_limit(program);
        service_block_signals(&program->service);
        is_good = caching_start(&program->caching, &program->options.cache, &program->log);
        program->proxy.cache = program->caching.cache;
        is_good =
            is_good && create_server(program) &&
            service_listen(&program->service, &program->options.listen, listen_flag(program)) &&
            serve(program);
    } else {
        log_write(&program->log, LOG_LEVEL_ERROR, "out of memory");
    }
    service_release(&program->service);
    proxy_release(&program->proxy);
    caching_stop(&program->caching);
    return is_good ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct program program = {
        .log = {.fd = STDERR_FILENO, .mutex = PTHREAD_MUTEX_INITIALIZER},
        .service = {.log = &program.log, .mutex = PTHREAD_MUTEX_INITIALIZER},
    };
    settings_report report = {.out = stderr};

    if (!service_open_standard_descriptors())
        return EXIT_FAILURE;
    int status =
        settings_load(&proxy_program, argc, argv, &program.options, &program.command, &report);
    if (status == 2)
        fputs("try 'sttp-proxy --help'\n", stderr);
    if (status == 0) {
        const settings_command *command = &program.command;
        status = command->help || command->version || command->test
                     ? service_answer(&proxy_program, command)
                     : run(&program);
    }
    settings_release(&proxy_program, &program.options);
    return status;
}
