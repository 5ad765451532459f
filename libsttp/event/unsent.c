/* A bound for the memory of the answers that wait to be taken, of all connections together.
 *
 * What a connection's answers take is counted at the end of each of its runs, in its worker and in
 * the server. Whichever worker makes the server's count too large looks at its own connections
 * after that run, and wakes the others to do the same: at least one of them all has more than its
 * share then, and resets connections until it has not, or the whole is small enough. Only a
 * connection whose socket is full can go: all others are about to be sent, or wait for the server
 * itself. Whoever takes its bytes, if slowly, goes after those that keep as much and take nothing.
 */
#include "engine.h"

static bool is_too_much(sttp_server *server)
{
    return atomic_load_explicit(&server->unsent, memory_order_relaxed) >
           server->options.max_unsent_total;
}

void sttp__unsent_count(struct sttp__connection *connection)
{
    struct sttp__worker *worker = connection->worker;
    sttp_server *server = worker->server;
    size_t before = connection->unsent;
    size_t now = connection->output.memory + connection->waiting;
    if (now == before)
        return;
    connection->unsent = now;
    worker->unsent += now - before; /* which wraps where it is less, as unsigned numbers do */
    atomic_fetch_add_explicit(&server->unsent, now - before, memory_order_relaxed);
    if (now < before || !is_too_much(server))
        return;
    for (unsigned i = 0; i < server->created; i++)
        if (&server->workers[i] != worker)
            sttp__mailbox_wake(server->workers[i].mailbox);
}

static struct sttp__connection *keeps_most(struct sttp__worker *worker)
{
    struct sttp__connection *found = NULL;
    struct sttp__connection *connection;
    uint64_t most = 0;
    TAILQ_FOREACH(connection, &worker->by_timeout[STTP__TIMEOUT_SEND], in_timeouts)
    {
        uint64_t kept = connection->unsent * (worker->now - connection->since + 1);
        if (kept > most) {
            found = connection;
            most = kept;
        }
    }
    return found;
}

void sttp__unsent_trim(struct sttp__worker *worker)
{
    sttp_server *server = worker->server;
    size_t share = server->options.max_unsent_total / server->options.workers;
    struct sttp__connection *connection;
    while (is_too_much(server) && worker->unsent > share &&
           (connection = keeps_most(worker)) != NULL)
        sttp__connection_reset(connection, STTP_CLOSE_UNSENT);
}
