/* A bound for the memory of the answers that wait to be taken, of all connections together.
 *
 * What a connection's answers take is counted at the end of each of its runs, in its worker and in
 * the server. Where all is too much, one worker is to give up connections: the one that keeps the
 * most bytes, times the time for which one of its peers has taken nothing. Whoever finds that this
 * is another wakes it; so a reader does not have to go only because it is alone on its worker. The
 * other may take a moment: where a quarter more has come together meanwhile, each worker that has
 * more than its share gives up its own, too.
 *
 * Only a connection whose socket is full can go, and has not become ready just now: all others are
 * about to be sent, or wait for the server itself. Whoever takes its bytes, if slowly, goes after
 * those that keep as much and take nothing: the kernel is asked before anybody is reset. */
#include "engine.h"

/* Connections among which the worst is looked for: of so many the ones that have taken nothing for
 * longest. More would make each reset dear where thousands stall. */
enum { LOOKS = 256 };

void sttp__unsent_count(struct sttp__connection *connection)
{
    struct sttp__worker *worker = connection->worker;
    size_t now = connection->output.memory + connection->waiting;
    size_t more = now - connection->unsent; /* which wraps where it is less, as unsigned ones do */
    if (more == 0)
        return;
    connection->unsent = now;
    size_t all = atomic_load_explicit(&worker->unsent, memory_order_relaxed) + more;
    atomic_store_explicit(&worker->unsent, all, memory_order_relaxed);
    atomic_fetch_add_explicit(&worker->server->unsent, more, memory_order_relaxed);
}

/* What these bytes weigh of a peer that has taken nothing for so long. One that has taken some a
 * moment ago weighs less than any other, however many bytes there are. */
static uint64_t weight(size_t bytes, uint64_t milliseconds)
{
    uint64_t kept = ((uint64_t)bytes / 1024 + 1) * (milliseconds + 1);
    return milliseconds == 0 ? kept : kept | UINT64_C(1) << 63;
}

/* NULL where no connection can go. */
static struct sttp__worker *worst_worker(const sttp_server *server, uint64_t now)
{
    struct sttp__worker *found = NULL;
    uint64_t most = 0;
    for (unsigned i = 0; i < server->created; i++) {
        struct sttp__worker *worker = &server->workers[i];
        uint64_t since =
            atomic_load_explicit(&worker->first_since[STTP__TIMEOUT_SEND], memory_order_relaxed);
        size_t unsent = atomic_load_explicit(&worker->unsent, memory_order_relaxed);
        if (since == UINT64_MAX)
            continue;
        uint64_t time = now > since ? now - since : 0; /* its clock may be ahead of ours */
        uint64_t kept = weight(unsent, time);
        if (kept > most) {
            found = worker;
            most = kept;
        }
    }
    return found;
}

static struct sttp__connection *worst_connection(const struct sttp__worker *worker)
{
    struct sttp__connection *found = NULL;
    struct sttp__connection *connection;
    uint64_t most = 0;
    int looks = LOOKS;
    TAILQ_FOREACH(connection, &worker->by_timeout[STTP__TIMEOUT_SEND], in_timeouts)
    {
        uint64_t kept = weight(connection->unsent, worker->now - connection->since);
        if (kept > most && !connection->ready) {
            found = connection;
            most = kept;
        }
        if (--looks == 0)
            break;
    }
    return found;
}

/* Whether a worker that is not the worst has to give up connections, too. */
static bool is_urgent(const struct sttp__worker *worker, size_t excess)
{
    const sttp_server_options *options = &worker->server->options;
    size_t share = options->max_unsent_total / options->workers;
    return excess > options->max_unsent_total / 4 &&
           atomic_load_explicit(&worker->unsent, memory_order_relaxed) > share;
}

void sttp__unsent_reset(struct sttp__worker *worker)
{
    sttp_server *server = worker->server;
    size_t limit = server->options.max_unsent_total;
    size_t unsent;
    while ((unsent = atomic_load_explicit(&server->unsent, memory_order_relaxed)) > limit) {
        struct sttp__worker *worst = worst_worker(server, worker->now);
        if (worst != NULL && worst != worker)
            sttp__mailbox_wake(worst->mailbox);
        if (worst != worker && !is_urgent(worker, unsent - limit))
            return;
        struct sttp__connection *connection = worst_connection(worker);
        if (connection == NULL)
            return;
        sttp__connection_spare_or_reset(connection, STTP_CLOSE_UNSENT);
    }
}
