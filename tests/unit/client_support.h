/* What the client's tests are made of: a peer that plays a script in a thread, one that serves any
 * request, an allocator that counts and fails, a transport that scrambles, a trace as text. */
#ifndef CLIENT_SUPPORT_H
#define CLIENT_SUPPORT_H

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <sttp/client.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* --- Listening sockets ------------------------------------------------------------------------ */

typedef struct place {
    struct sockaddr_storage address;
    socklen_t size;
} place;

static inline place inet_place(const char *ip, uint16_t port)
{
    place p = {.size = sizeof(struct sockaddr_in)};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&p.address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&p.address;

    if (inet_pton(AF_INET, ip, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        return p;
    }
    ck_assert_int_eq(inet_pton(AF_INET6, ip, &v6->sin6_addr), 1);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    p.size = sizeof *v6;
    return p;
}

static inline int bound_socket(const place *p)
{
    int fd = socket(p->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;

    ck_assert_int_ge(fd, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&p->address, p->size), 0);
    return fd;
}

static inline uint16_t port_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;

    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

static inline int listening_socket(const char *ip, uint16_t port)
{
    place p = inet_place(ip, port);
    int fd = bound_socket(&p);

    ck_assert_int_eq(listen(fd, 64), 0);
    return fd;
}

/* A listening socket that accepts no connection: its queue is full. The fillers hold it so. */
typedef struct black_hole {
    int listener;
    int fillers[4];
} black_hole;

static inline black_hole black_hole_open(const char *ip)
{
    place p = inet_place(ip, 0);
    black_hole hole = {.listener = bound_socket(&p)};

    ck_assert_int_eq(listen(hole.listener, 0), 0);
    p = inet_place(ip, port_of(hole.listener));
    for (size_t i = 0; i < COUNT(hole.fillers); i++) {
        hole.fillers[i] = socket(p.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
        ck_assert_int_ge(hole.fillers[i], 0);
        if (connect(hole.fillers[i], (const struct sockaddr *)&p.address, p.size) != 0)
            ck_assert_int_eq(errno, EINPROGRESS);
    }
    return hole;
}

static inline void black_hole_close(black_hole *hole)
{
    for (size_t i = 0; i < COUNT(hole->fillers); i++)
        close(hole->fillers[i]);
    close(hole->listener);
}

/* --- A peer that plays a script --------------------------------------------------------------- */

typedef enum step_kind {
    STEP_END = 0,
    STEP_ACCEPT,
    STEP_READ,  /* exactly this text comes */
    STEP_WRITE, /* this text is sent */
    STEP_FLOOD, /* this text is sent until the client closes */
    STEP_CLOSE,
    STEP_RESET,
    STEP_SILENCE,     /* nothing more has come */
    STEP_AWAIT_CLOSE, /* the client closes, and sends nothing before */
    STEP_POST         /* lets the test go on */
} step_kind;

typedef struct step {
    step_kind kind;
    const char *text;
} step;

typedef struct peer {
    int listener;
    uint16_t port;
    const step *steps;
    unsigned char key; /* all bytes are scrambled with it */
    pthread_t thread;
    sem_t reached;
    char problem[512]; /* checked by the test's own thread */
} peer;

static inline void scramble(char *bytes, size_t size, unsigned char key)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)((unsigned char)bytes[i] ^ key);
}

static inline void peer_problem(peer *p, size_t index, const char *what, const char *got)
{
    if (!p->problem[0])
        snprintf(p->problem, sizeof p->problem, "step %zu: %s: \"%s\"", index, what, got);
}

static inline void peer_read(peer *p, size_t index, int fd, const char *expected)
{
    char got[4200] = "";
    size_t size = 0;
    ssize_t n = 1;

    while (size < strlen(expected) && n > 0) {
        n = recv(fd, got + size, strlen(expected) - size, 0);
        if (n > 0) {
            scramble(got + size, (size_t)n, p->key);
            size += (size_t)n;
        }
    }
    got[size] = '\0';
    if (strcmp(got, expected) != 0)
        peer_problem(p, index, "not what was expected", got);
}

static inline bool peer_write(const peer *p, int fd, const char *text)
{
    size_t size = strlen(text);
    size_t at = 0;
    ssize_t n = 1;

    while (at < size && n > 0) {
        char piece[512];
        size_t length = size - at < sizeof piece ? size - at : sizeof piece;

        memcpy(piece, text + at, length);
        scramble(piece, length, p->key);
        n = send(fd, piece, length, MSG_NOSIGNAL);
        if (n > 0)
            at += (size_t)n;
    }
    return n > 0;
}

static inline int peer_accept(peer *p, size_t index)
{
    const struct timeval limit = {.tv_sec = 10};
    struct pollfd entry = {.fd = p->listener, .events = POLLIN};
    int fd = poll(&entry, 1, 10000) == 1 ? accept(p->listener, NULL, NULL) : -1;

    if (fd < 0)
        peer_problem(p, index, "no connection", "");
    else
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

static inline void peer_await_close(peer *p, size_t index, int fd)
{
    char got[256] = "";
    ssize_t n = recv(fd, got, sizeof got - 1, 0);

    if (n > 0)
        peer_problem(p, index, "bytes where the client had to close", got);
    else if (n < 0 && errno != ECONNRESET)
        peer_problem(p, index, "the client does not close", strerror(errno));
}

static inline int peer_end(int fd, bool reset)
{
    const struct linger now = {.l_onoff = 1};

    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    if (fd >= 0)
        close(fd);
    return -1;
}

static inline void *peer_run(void *argument)
{
    peer *p = argument;
    int fd = -1;

    for (size_t i = 0; p->steps[i].kind != STEP_END && !p->problem[0]; i++) {
        const char *text = p->steps[i].text;

        switch (p->steps[i].kind) {
        case STEP_ACCEPT:
            peer_end(fd, false);
            fd = peer_accept(p, i);
            break;
        case STEP_READ:
            peer_read(p, i, fd, text);
            break;
        case STEP_WRITE:
            peer_write(p, fd, text);
            break;
        case STEP_FLOOD:
            while (peer_write(p, fd, text))
                ;
            break;
        case STEP_CLOSE:
        case STEP_RESET:
            fd = peer_end(fd, p->steps[i].kind == STEP_RESET);
            break;
        case STEP_SILENCE:
            if (recv(fd, &(char){0}, 1, MSG_PEEK | MSG_DONTWAIT) >= 0)
                peer_problem(p, i, "more than was to come", "");
            break;
        case STEP_AWAIT_CLOSE:
            peer_await_close(p, i, fd);
            break;
        case STEP_POST:
            sem_post(&p->reached);
            break;
        case STEP_END:
            break;
        }
    }
    peer_end(fd, false);
    sem_post(&p->reached); /* a script that failed leaves no test waiting */
    return NULL;
}

static inline void peer_start_on(peer *p, int listener, const step *steps, unsigned char key)
{
    *p = (peer){.listener = listener, .steps = steps, .key = key};
    ck_assert_int_eq(sem_init(&p->reached, 0, 0), 0);
    ck_assert_int_eq(pthread_create(&p->thread, NULL, peer_run, p), 0);
}

static inline void peer_start(peer *p, const step *steps)
{
    int listener = listening_socket("127.0.0.1", 0);
    uint16_t port = port_of(listener);

    peer_start_on(p, listener, steps, 0);
    p->port = port;
}

/* Waits for the end of the script, which must have gone as written. */
static inline void peer_finish(peer *p)
{
    ck_assert_int_eq(pthread_join(p->thread, NULL), 0);
    close(p->listener);
    sem_destroy(&p->reached);
    ck_assert_msg(!p->problem[0], "the peer, %s", p->problem);
}

/* --- A server that answers SHOW with the path as the text, and all else with 300 ----------------
 */

typedef struct echo_server {
    int listener;
    uint16_t port;
    unsigned answers_per_connection; /* then it closes; 0 for any number */
    unsigned connections;
    pthread_t thread;
} echo_server;

static inline void echo_answer(FILE *out, char *line)
{
    char *path = strchr(line, ' ');
    char *end = path ? strpbrk(path + 1, " ?\n") : NULL;

    if (!end)
        return;
    *end = '\0';
    if (strncmp(line, "SHOW ", 5) == 0)
        fprintf(out, "200 %s OK\n%s\n", path + 1, path + 1);
    else
        fprintf(out, "300 %s CLIENT ERROR \"no\"\n", path + 1);
}

/* Answers all whole lines of what came at once, then sends the answers. */
static inline void echo_connection(const echo_server *server, int fd)
{
    char buffer[16384];
    size_t used = 0;
    unsigned answers = 0;
    bool done = false;
    ssize_t n;
    FILE *out = fdopen(fd, "w");

    while (out && !done && (n = recv(fd, buffer + used, sizeof buffer - used, 0)) > 0) {
        char *line = buffer;
        char *end;

        used += (size_t)n;
        while (!done && (end = memchr(line, '\n', used - (size_t)(line - buffer)))) {
            echo_answer(out, line);
            done = ++answers == server->answers_per_connection;
            line = end + 1;
        }
        used -= (size_t)(line - buffer);
        memmove(buffer, line, used);
        fflush(out);
    }
    if (out)
        fclose(out);
}

static inline void *echo_run(void *argument)
{
    echo_server *server = argument;
    int fd;

    while ((fd = accept(server->listener, NULL, NULL)) >= 0) {
        server->connections++;
        echo_connection(server, fd);
    }
    return NULL;
}

static inline void echo_start(echo_server *server, unsigned answers_per_connection)
{
    *server = (echo_server){.listener = listening_socket("127.0.0.1", 0),
                            .answers_per_connection = answers_per_connection};
    server->port = port_of(server->listener);
    ck_assert_int_eq(pthread_create(&server->thread, NULL, echo_run, server), 0);
}

/* Call it when no client is connected any more. */
static inline void echo_stop(echo_server *server)
{
    shutdown(server->listener, SHUT_RDWR);
    ck_assert_int_eq(pthread_join(server->thread, NULL), 0);
    close(server->listener);
}

/* --- An allocator that counts, and fails once ---------------------------------------------------
 */

typedef struct meter {
    size_t live; /* bytes */
    size_t peak;
    size_t calls;
    size_t fails_at; /* the number of the call that fails, from 1; 0 for none */
    bool failed;
} meter;

enum { METER_HEAD = 16 };

static inline bool meter_fails(meter *m)
{
    bool fails = ++m->calls == m->fails_at;

    m->failed = m->failed || fails;
    return fails;
}

static inline void *meter_reallocate(void *block, size_t size, void *context)
{
    meter *m = context;
    char *old = block ? (char *)block - METER_HEAD : NULL;
    size_t old_size = old ? *(size_t *)(void *)old : 0;
    char *made = meter_fails(m) ? NULL : realloc(old, METER_HEAD + size);

    if (!made)
        return NULL;
    *(size_t *)(void *)made = size;
    m->live += size - old_size;
    if (m->live > m->peak)
        m->peak = m->live;
    return made + METER_HEAD;
}

static inline void *meter_allocate(size_t size, void *context)
{
    return meter_reallocate(NULL, size, context);
}

static inline void meter_release(void *block, void *context)
{
    meter *m = context;
    char *made;

    if (!block)
        return; /* as free has it */
    made = (char *)block - METER_HEAD;
    m->live -= *(size_t *)(void *)made;
    free(made);
}

static inline sttp_allocator metered(meter *m)
{
    return (sttp_allocator){.allocate = meter_allocate,
                            .reallocate = meter_reallocate,
                            .release = meter_release,
                            .context = m};
}

/* --- A transport that scrambles, shakes hands and gives at most so many bytes at once -----------
 */

typedef struct scrambler {
    unsigned char key;
    size_t at_once;
    bool refuses; /* the handshake */
    unsigned opened;
    unsigned closed;
    size_t bytes_read;
    size_t bytes_written;
    size_t largest_write; /* that was asked for */
    char host[64];
    int fd;
    bool greeted;
} scrambler;

static inline void *scrambler_open(void *context, int fd, const char *host)
{
    scrambler *s = context;

    s->opened++;
    s->fd = fd;
    s->greeted = false;
    snprintf(s->host, sizeof s->host, "%s", host);
    return s;
}

static inline ptrdiff_t scrambler_read(void *session, char *buffer, size_t size, short *wants)
{
    scrambler *s = session;
    ssize_t n = recv(s->fd, buffer, size < s->at_once ? size : s->at_once, 0);

    *wants = n < 0 && errno == EAGAIN ? POLLIN : 0;
    if (n > 0) {
        scramble(buffer, (size_t)n, s->key);
        s->bytes_read += (size_t)n;
    }
    return n;
}

static inline ptrdiff_t scrambler_write(void *session, const char *data, size_t size, short *wants)
{
    scrambler *s = session;
    char part[16];
    ssize_t n;

    size = size < s->at_once ? size : s->at_once;
    size = size < sizeof part ? size : sizeof part;
    memcpy(part, data, size);
    scramble(part, size, s->key);
    n = send(s->fd, part, size, MSG_NOSIGNAL);
    *wants = n < 0 && errno == EAGAIN ? POLLOUT : 0;
    s->bytes_written += n > 0 ? (size_t)n : 0;
    return n;
}

/* Says "H", waits for "h". */
static inline int scrambler_handshake(void *session, short *wants)
{
    scrambler *s = session;
    char answer[16]; /* gcc believes that recv may give more than it was asked for */

    if (s->refuses)
        return -1;
    if (!s->greeted && scrambler_write(s, "H", 1, wants) != 1)
        return -1;
    s->greeted = true;
    return scrambler_read(s, answer, 1, wants) == 1 && answer[0] == 'h' ? 1 : -1;
}

static inline void scrambler_explain(void *session, char *buffer, size_t capacity)
{
    (void)session;
    snprintf(buffer, capacity, "the scrambler is broken");
}

static inline void scrambler_close(void *session)
{
    ((scrambler *)session)->closed++;
}

static inline sttp_transport scrambling(scrambler *s)
{
    return (sttp_transport){.open = scrambler_open,
                            .handshake = scrambler_handshake,
                            .read = scrambler_read,
                            .write = scrambler_write,
                            .explain = scrambler_explain,
                            .close = scrambler_close,
                            .context = s};
}

/* --- A trace as one line of text -----------------------------------------------------------------
 */

typedef struct diary {
    char text[1024];
} diary;

static inline void diary_write(void *context, const sttp_trace *trace)
{
    static const char *const names[] = {"resolving", "resolved", "connecting", "failed",
                                        "connected", "sent",     "received",   "closed"};
    diary *d = context;
    size_t size = strlen(d->text);

    ck_assert_ptr_nonnull(trace->address);
    snprintf(d->text + size, sizeof d->text - size, "%s%s", size ? " " : "", names[trace->kind]);
    size = strlen(d->text);
    if (trace->data.size > 0)
        snprintf(d->text + size, sizeof d->text - size, "(%.*s)", (int)trace->data.size - 1,
                 trace->data.data);
    if (trace->kind == STTP_TRACE_CLOSED && trace->status != STTP_OK)
        snprintf(d->text + size, sizeof d->text - size, "(%s)", sttp_status_name(trace->status));
}

#endif
