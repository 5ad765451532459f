/* Accepting connections within the limits.
 *
 * Each worker accepts from sockets of its own. A new connection passes the limit of its address,
 * then needs a place among max_connections. Where all are taken, one makes room that lingers and
 * whose peer has its last answer, or else the one that is idle for longest, or else, where nobody
 * is idle, one that lingers. What the others have is told by their first_since;
 * whether it can go, only its own worker knows: so the request goes from one to the next, by
 * mailbox, until one has made room or none is left, and comes back. In the meantime the new
 * connection is the worker's guest, and nothing more is accepted. Where none can go, or where
 * descriptors or memory are out, accepting pauses for a moment too: the queue of the kernel is the
 * queue for those who come. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "engine.h"
#include "memory.h"

enum {
    ACCEPTS_PER_EVENT = 64,
    LOOKS = 64, /* connections that are asked whether they can go */
    PAUSE = 100 /* milliseconds */
};

/* ---- making room ---- */

enum room { ROOM_MADE, ROOM_ASKED_FOR, ROOM_NONE };

/* The connection that is under the timeout for longest and of which nothing is on its way; NULL
 * where there is none among the first ones. */
static struct sttp__connection *
first_quiet(const struct sttp__worker *worker, enum sttp__timeout timeout,
            bool (*is_quiet)(const struct sttp__connection *connection))
{
    struct sttp__connection *connection = TAILQ_FIRST(&worker->by_timeout[timeout]);
    int looks = LOOKS;
    while (connection != NULL && !is_quiet(connection))
        connection = --looks > 0 ? TAILQ_NEXT(connection, in_timeouts) : NULL;
    return connection;
}

/* One whose next request has just come is not idle, though the worker has not read it yet. */
static bool is_idle(const struct sttp__connection *connection)
{
    return !sttp__connection_has_input(connection);
}

/* Closing takes nothing from a peer that has its last answer. TCP counts the end as one more. */
static bool has_last_answer(const struct sttp__connection *connection)
{
    return sttp__connection_untaken(connection) <= 1;
}

/* What can go in this step. */
static struct sttp__connection *choose(const struct sttp__worker *worker, enum sttp__room_step step)
{
    if (step == STTP__ROOM_ANSWERED)
        return first_quiet(worker, STTP__TIMEOUT_LINGER, has_last_answer);
    if (step == STTP__ROOM_IDLE)
        return first_quiet(worker, STTP__TIMEOUT_IDLE, is_idle);
    return TAILQ_FIRST(&worker->by_timeout[STTP__TIMEOUT_LINGER]);
}

static bool close_one(struct sttp__worker *worker, enum sttp__room_step step)
{
    struct sttp__connection *goes = choose(worker, step);
    if (goes == NULL)
        return false;
    sttp__connection_close(goes, step == STTP__ROOM_IDLE ? STTP_CLOSE_MAKE_ROOM : goes->reason);
    return true;
}

/* The worker with the lowest rank, at least the request's, that may have what the step asks for;
 * NULL where none is left. Ranks follow the time, and no two workers have the same. */
static struct sttp__worker *next_in_step(struct sttp__room_request *request)
{
    sttp_server *server = request->asker->server;
    struct sttp__worker *found = NULL;
    uint64_t lowest = UINT64_MAX;
    for (unsigned i = 0; i < server->options.workers; i++) {
        struct sttp__worker *worker = &server->workers[i];
        bool idle = request->step == STTP__ROOM_IDLE;
        uint64_t since = atomic_load_explicit(
            &worker->first_since[idle ? STTP__TIMEOUT_IDLE : STTP__TIMEOUT_LINGER],
            memory_order_relaxed);
        if (since == UINT64_MAX)
            continue;
        uint64_t rank = since * server->options.workers + i;
        if (rank >= request->rank && rank < lowest) {
            lowest = rank;
            found = worker;
        }
    }
    request->rank = lowest + 1;
    return found;
}

static void begin_step(struct sttp__room_request *request, enum sttp__room_step step)
{
    request->step = step;
    request->rank = 0;
    request->left = request->asker->server->options.workers;
}

static struct sttp__worker *next_worker(struct sttp__room_request *request)
{
    while (request->step < STTP__ROOM_STEPS) {
        struct sttp__worker *worker = request->left > 0 ? next_in_step(request) : NULL;
        if (worker != NULL) {
            request->left--;
            return worker;
        }
        begin_step(request, request->step + 1);
    }
    return NULL;
}

/* Does what the request asks, or passes it on to another worker that may be able to. */
static enum room serve(struct sttp__worker *worker, struct sttp__room_request *request)
{
    struct sttp__worker *next;
    while ((next = next_worker(request)) != NULL) {
        if (next == worker && close_one(worker, request->step))
            return ROOM_MADE;
        if (next != worker && sttp__mailbox_post(next->mailbox, &request->message))
            return ROOM_ASKED_FOR;
    }
    return ROOM_NONE;
}

static enum room make_room(struct sttp__worker *worker)
{
    struct sttp__room_request *request = &worker->room_request;
    if (worker->room_asked)
        return ROOM_ASKED_FOR;
    request->message.kind = STTP__MESSAGE_MAKE_ROOM;
    request->asker = worker;
    begin_step(request, STTP__ROOM_ANSWERED);
    enum room room = serve(worker, request);
    worker->room_asked = room == ROOM_ASKED_FOR;
    return room;
}

/* Where no room could be made, the pause is waited for: who was idle has a request to be read. */
static void room_answered(struct sttp__worker *worker)
{
    worker->room_asked = false;
    if (worker->resume_at != 0 && worker->room_request.made)
        sttp__acceptors_resume(worker);
}

void sttp__room_message(struct sttp__worker *worker, struct sttp__message *message)
{
    struct sttp__room_request *request = (struct sttp__room_request *)message;
    if (message->kind == STTP__MESSAGE_ROOM_ANSWER) {
        room_answered(worker);
        return;
    }
    bool made = close_one(worker, request->step);
    enum room room = made ? ROOM_MADE : serve(worker, request);
    if (room == ROOM_ASKED_FOR)
        return;
    request->made = room == ROOM_MADE;
    message->kind = STTP__MESSAGE_ROOM_ANSWER;
    sttp__mailbox_post(request->asker->mailbox, message);
}

/* ---- pausing ---- */

static void pause_accepting(struct sttp__acceptor *acceptor, enum room room,
                            sttp_close_reason reason, int system_errno)
{
    struct sttp__worker *worker = acceptor->worker;
    for (size_t i = 0; i < worker->acceptor_count; i++)
        event_del(&worker->acceptors[i].event);
    worker->resume_at = worker->now + PAUSE;
    sttp__worker_arm(worker, worker->resume_at);
    if (room != ROOM_NONE || worker->pause_noticed)
        return;
    worker->pause_noticed = true;
    sttp__notify(worker->server,
                 &(sttp_notice){.kind = STTP_NOTICE_ACCEPT_PAUSED,
                                .listener = acceptor->listener->address,
                                .reason = reason,
                                .system_errno = system_errno},
                 NULL);
}

/* ---- admitting ---- */

static bool take_place(sttp_server *server)
{
    unsigned taken = atomic_load(&server->connections);
    while (taken < server->options.max_connections)
        if (atomic_compare_exchange_weak(&server->connections, &taken, taken + 1))
            return true;
    return false;
}

static void refuse(const struct sttp__guest *guest, sttp_close_reason reason)
{
    sttp_server *server = guest->acceptor->worker->server;
    close(guest->fd);
    if (guest->counted)
        sttp__address_count_remove(server->addresses, &guest->peer);
    sttp__notify(server,
                 &(sttp_notice){.kind = STTP_NOTICE_REFUSED,
                                .listener = guest->acceptor->listener->address,
                                .reason = reason},
                 &guest->peer);
}

/* Makes the guest a connection, or refuses it, or lets it wait; false where it has to wait. */
static bool admit(struct sttp__guest guest)
{
    struct sttp__acceptor *acceptor = guest.acceptor;
    struct sttp__worker *worker = acceptor->worker;
    enum room room = ROOM_MADE;
    bool placed = take_place(worker->server);
    if (!placed) {
        room = make_room(worker);
        placed = room == ROOM_MADE && take_place(worker->server);
    }
    if (!placed) {
        worker->guest = guest;
        pause_accepting(acceptor, room, STTP_CLOSE_TOO_MANY, 0);
        return false;
    }
    worker->pause_noticed = false;
    if (sttp__connection_open(acceptor, guest.fd, &guest.peer, guest.counted) != STTP_OK) {
        atomic_fetch_sub(&worker->server->connections, 1);
        refuse(&guest, STTP_CLOSE_MEMORY);
    }
    return true;
}

sttp_status sttp__count_address(const sttp_server *server, const struct sttp__address *address,
                                bool *counted)
{
    *counted = false;
    if (server->addresses == NULL || address->family == AF_UNIX)
        return STTP_OK;
    sttp_status status = sttp__address_count_add(server->addresses, address);
    *counted = status == STTP_OK;
    return status;
}

/* Counts the guest by its address; false where it was refused. A proxy is not counted, but those it
 * tells of. */
static bool count_address(struct sttp__guest *guest)
{
    const struct sttp__acceptor *acceptor = guest->acceptor;
    if (acceptor->listener->proxy_protocol)
        return true;
    sttp_status status =
        sttp__count_address(acceptor->worker->server, &guest->peer, &guest->counted);
    if (status != STTP_OK)
        refuse(guest, status == STTP_ERR_MEMORY ? STTP_CLOSE_MEMORY : STTP_CLOSE_TOO_MANY);
    return status == STTP_OK;
}

/* Whether the peer may say who its clients are. */
static bool trusts(const struct sttp__listener *listener, const struct sockaddr_storage *peer)
{
    if (peer->ss_family == AF_UNIX)
        return true;
    for (size_t i = 0; i < listener->trusted_count; i++)
        if (sttp_network_contains(&listener->trusted[i], (const struct sockaddr *)peer))
            return true;
    return false;
}

/* accept(2) asks for a descriptor first: without one it fails even where nobody waits. */
static bool somebody_waits(const struct sttp__acceptor *acceptor)
{
    struct pollfd listening = {.fd = acceptor->fd, .events = POLLIN};
    return poll(&listening, 1, 0) == 1;
}

/* Whether to try again at once. */
static bool accept_failed(struct sttp__acceptor *acceptor, int error)
{
    enum room room = ROOM_NONE;
    switch (error) {
    case EAGAIN:
        return false;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        if (!somebody_waits(acceptor))
            return false;
        room = make_room(acceptor->worker);
        if (room == ROOM_MADE)
            return true;
        break;
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case EPERM:
        return true; /* of that one connection, see accept(2) */
    }
    bool memory = error == ENOBUFS || error == ENOMEM;
    pause_accepting(acceptor, room, memory ? STTP_CLOSE_MEMORY : STTP_CLOSE_TOO_MANY, error);
    return false;
}

/* Whether to go on accepting. */
static bool accept_one(struct sttp__acceptor *acceptor)
{
    struct sockaddr_storage peer = {.ss_family = AF_UNIX};
    socklen_t size = sizeof peer;
    int fd = accept4(acceptor->fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return accept_failed(acceptor, errno);
    struct sttp__guest guest = {.acceptor = acceptor, .peer = sttp__address_of(&peer), .fd = fd};
    if (acceptor->listener->proxy_protocol && !trusts(acceptor->listener, &peer)) {
        refuse(&guest, STTP_CLOSE_UNTRUSTED);
        return true;
    }
    return !count_address(&guest) || admit(guest);
}

static void on_connection(evutil_socket_t fd, short what, void *argument)
{
    struct sttp__acceptor *acceptor = argument;
    (void)fd;
    (void)what;
    sttp__run_ready(acceptor->worker);
    sttp__worker_tick(acceptor->worker);
    for (int left = ACCEPTS_PER_EVENT; left > 0 && accept_one(acceptor); left--)
        ;
}

/* ---- life ---- */

void sttp__acceptors_resume(struct sttp__worker *worker)
{
    struct sttp__guest guest = worker->guest;
    worker->resume_at = 0;
    worker->guest.acceptor = NULL;
    if (guest.acceptor != NULL && !admit(guest))
        return;
    for (size_t i = 0; i < worker->acceptor_count; i++) {
        struct sttp__acceptor *acceptor = &worker->acceptors[i];
        if (event_add(&acceptor->event, NULL) != 0) {
            pause_accepting(acceptor, ROOM_NONE, STTP_CLOSE_MEMORY, errno);
            return;
        }
    }
}

static void close_acceptor(struct sttp__acceptor *acceptor)
{
    event_del(&acceptor->event);
    close(acceptor->fd);
    acceptor->fd = -1;
}

void sttp__acceptors_stop(struct sttp__worker *worker)
{
    struct sttp__guest guest = worker->guest;
    bool more = true;
    worker->guest.acceptor = NULL;
    if (guest.acceptor != NULL)
        more = admit(guest);
    for (size_t i = 0; i < worker->acceptor_count; i++) {
        struct sttp__acceptor *acceptor = &worker->acceptors[i];
        if (acceptor->fd < 0)
            continue;
        unsigned left = worker->server->options.backlog + 1; /* which a full queue holds */
        while (more && left-- > 0)
            more = accept_one(acceptor);
        close_acceptor(acceptor);
        more = worker->guest.acceptor == NULL;
    }
    worker->resume_at = 0;
    if (worker->guest.acceptor != NULL)
        refuse(&worker->guest, STTP_CLOSE_STOP);
    worker->guest.acceptor = NULL;
}

static sttp_status listen_on(struct sttp__worker *worker, struct sttp__listener *listener)
{
    unsigned index = (unsigned)(worker - worker->server->workers);
    struct sttp__acceptor *acceptor = &worker->acceptors[worker->acceptor_count++];
    *acceptor = (struct sttp__acceptor){
        .worker = worker, .listener = listener, .fd = listener->sockets[index]};
    listener->sockets[index] = -1;
    event_assign(&acceptor->event, worker->base, acceptor->fd, EV_READ | EV_PERSIST, on_connection,
                 acceptor);
    return event_add(&acceptor->event, NULL) == 0 ? STTP_OK : STTP_ERR_MEMORY;
}

sttp_status sttp__acceptors_create(struct sttp__worker *worker)
{
    sttp_server *server = worker->server;
    sttp_status status = STTP_OK;
    worker->acceptors =
        sttp__allocate(&server->allocator, server->listener_count * sizeof *worker->acceptors);
    if (worker->acceptors == NULL)
        return STTP_ERR_MEMORY;
    for (struct sttp__listener *listener = server->listeners; status == STTP_OK && listener != NULL;
         listener = listener->next)
        status = listen_on(worker, listener);
    return status;
}

void sttp__acceptors_destroy(struct sttp__worker *worker)
{
    for (size_t i = 0; i < worker->acceptor_count; i++)
        if (worker->acceptors[i].fd >= 0)
            close_acceptor(&worker->acceptors[i]);
    sttp__release(&worker->server->allocator, worker->acceptors);
    worker->acceptors = NULL;
    worker->acceptor_count = 0;
}
