/* The thread of a worker, and what the program has on it. */
#include <errno.h>
#include <signal.h>

#include "engine.h"

static _Thread_local const struct sttp__worker *worker_of_thread;

uint64_t sttp_server_now(void)
{
    return worker_of_thread != NULL ? worker_of_thread->now : sttp__server_now();
}

static void close_mailbox(struct sttp__worker *worker)
{
    struct sttp__message *message = sttp__mailbox_close(worker->mailbox, worker->replies_out);
    while (message != NULL) {
        struct sttp__message *next = message->next;
        if (message->kind == STTP__MESSAGE_REPLY)
            sttp__reply_discard((struct sttp_reply *)message);
        message = next;
    }
}

/* False where the program cannot. The time of the worker's own events is none for the program's:
 * they would find that of the last one. */
static bool begin_program(struct sttp__worker *worker)
{
    sttp_server *server = worker->server;
    const sttp_server_options *options = &server->options;
    if (options->worker_begin == NULL) {
        worker_of_thread = worker;
        return true;
    }
    worker->program = options->worker_begin(options->handler_context, worker->base);
    bool begun = worker->program != NULL;
    sem_post(&server->begun);
    return begun;
}

/* Before the mailbox is closed: the program gives its replies back. */
static void end_program(struct sttp__worker *worker)
{
    const sttp_server_options *options = &worker->server->options;
    if (worker->program != NULL && options->worker_end != NULL)
        options->worker_end(options->handler_context, worker->program);
}

static void serve(struct sttp__worker *worker)
{
    event_base_loop(worker->base, EVLOOP_NO_EXIT_ON_EMPTY);
    sttp__worker_cut(worker); /* nothing is left, unless the loop itself has failed */
    end_program(worker);
    close_mailbox(worker);
    sttp__notify(worker->server, &(sttp_notice){.kind = STTP_NOTICE_STOPPED}, NULL);
}

static void *run_worker(void *argument)
{
    struct sttp__worker *worker = argument;
    int before;
    /* Nobody cancels a worker: the type has no effect but that the C library, which makes it that
     * of each call that waits, finds it so. */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
    sttp__mailbox_of_thread = worker->mailbox;
    if (begin_program(worker))
        serve(worker);
    return NULL;
}

/* The program's signals are the program's: a worker takes none, but those that its own instructions
 * raise. */
static int create_thread(struct sttp__worker *worker)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        sigdelset(&blocked, own[i]);
    sttp__worker_tick(worker);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int error = pthread_create(&worker->thread, NULL, run_worker, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

sttp_status sttp__worker_start(struct sttp__worker *worker)
{
    sttp_server *server = worker->server;
    int error = create_thread(worker);
    if (error != 0) {
        errno = error;
        return STTP_ERR_SYSTEM;
    }
    if (server->options.worker_begin == NULL)
        return STTP_OK;
    while (sem_wait(&server->begun) != 0)
        ; /* a signal came */
    if (worker->program != NULL)
        return STTP_OK;
    pthread_join(worker->thread, NULL);
    return STTP_ERR_MEMORY;
}
