/* What the tests of the server engine share: a server whose handler does what the path says, and
 * blocking clients that give up after ten seconds.
 *
 *     /now...      answered at once
 *     /park...     kept until the test releases it, from the test's thread
 *     /block...    answered when the test says so; until then the worker waits, too
 *     /release...  answered at once, after the first kept one was answered on the worker's thread
 *     /big...      answered at once with BIG bytes
 *     /bad...      answered with contents that no response can carry
 *     /id...       answered with the connection's number */
#ifndef STTP_TESTS_SERVER_SUPPORT_H
#define STTP_TESTS_SERVER_SUPPORT_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <check.h>
#include <sttp/server.h>

enum { PATIENCE = 10, BIG = 1000000, MAX_PARKED = 20000 };

struct parked {
    sttp_reply *reply;
    sttp_action action;
    char path[64];
};

struct fixture {
    sttp_server *server;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    unsigned notices[STTP_NOTICE_STOPPED + 1];
    unsigned reasons[STTP_CLOSE_STOP + 1]; /* of closed and refused connections */
    int pause_errno;
    uint64_t last_opened;
    uint64_t requests; /* of the connection that was closed last */
    char last_peer[96];
    pthread_t last_worker; /* that opened it */
    unsigned handled;
    unsigned parked_count; /* parked so far, in the order of the handler's calls */
    unsigned released;
    unsigned blocked;
    unsigned unblocked;
    struct parked *parked;
    sttp_status bad_status;
    char *big;
};

/* ---- waiting ---- */

static inline struct timespec deadline(void)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += PATIENCE;
    return end;
}

static inline void wait_at_least(struct fixture *fixture, const unsigned *counter, unsigned count)
{
    struct timespec end = deadline();
    int error = 0;
    pthread_mutex_lock(&fixture->mutex);
    while (*counter < count && error == 0)
        error = pthread_cond_timedwait(&fixture->changed, &fixture->mutex, &end);
    unsigned reached = *counter;
    pthread_mutex_unlock(&fixture->mutex);
    ck_assert_uint_ge(reached, count);
}

static inline unsigned current(struct fixture *fixture, const unsigned *counter)
{
    pthread_mutex_lock(&fixture->mutex);
    unsigned value = *counter;
    pthread_mutex_unlock(&fixture->mutex);
    return value;
}

static inline void wait_parked(struct fixture *fixture, unsigned count)
{
    wait_at_least(fixture, &fixture->parked_count, count);
}

static inline void wait_reason(struct fixture *fixture, sttp_close_reason reason, unsigned count)
{
    wait_at_least(fixture, &fixture->reasons[reason], count);
}

/* ---- the handler ---- */

static inline sttp_status answer_with(sttp_reply *reply, sttp_action action, sttp_slice path,
                                      sttp_slice contents)
{
    sttp_response response = {.code = STTP_CODE_OK, .echo = path};
    if (action == STTP_ACTION_CREATE)
        response.code = STTP_CODE_CREATED;
    else if (action == STTP_ACTION_DELETE)
        response.code = STTP_CODE_DELETED;
    else
        response.contents = contents;
    return sttp_reply_send(reply, &response);
}

static inline sttp_status answer(sttp_reply *reply, sttp_action action, sttp_slice path)
{
    return answer_with(reply, action, path, STTP_SLICE("text"));
}

/* Answers the kept request `index`, on whatever thread this runs. Check's assertions are for the
 * test's own thread, so a failure is only noted. */
static inline void release_parked(struct fixture *fixture, unsigned index)
{
    pthread_mutex_lock(&fixture->mutex);
    bool there = index < fixture->parked_count;
    struct parked parked = fixture->parked[index];
    fixture->released += there;
    pthread_mutex_unlock(&fixture->mutex);
    if (!there)
        return;
    sttp_status status =
        answer(parked.reply, parked.action, (sttp_slice){parked.path, strlen(parked.path)});
    pthread_mutex_lock(&fixture->mutex);
    if (status != STTP_OK)
        fixture->bad_status = status;
    pthread_mutex_unlock(&fixture->mutex);
}

static inline void park(struct fixture *fixture, const sttp_request *request, sttp_reply *reply)
{
    pthread_mutex_lock(&fixture->mutex);
    struct parked *parked = &fixture->parked[fixture->parked_count++];
    parked->reply = reply;
    parked->action = request->action;
    snprintf(parked->path, sizeof parked->path, "%.*s", (int)request->path.size,
             request->path.data);
    pthread_cond_broadcast(&fixture->changed);
    pthread_mutex_unlock(&fixture->mutex);
}

static inline void block(struct fixture *fixture)
{
    pthread_mutex_lock(&fixture->mutex);
    fixture->blocked++;
    pthread_cond_broadcast(&fixture->changed);
    while (fixture->unblocked < fixture->blocked)
        pthread_cond_wait(&fixture->changed, &fixture->mutex);
    pthread_mutex_unlock(&fixture->mutex);
}

static inline void unblock(struct fixture *fixture)
{
    pthread_mutex_lock(&fixture->mutex);
    fixture->unblocked++;
    pthread_cond_broadcast(&fixture->changed);
    pthread_mutex_unlock(&fixture->mutex);
}

static inline bool begins(sttp_slice text, const char *start)
{
    return text.size >= strlen(start) && memcmp(text.data, start, strlen(start)) == 0;
}

static inline void handle(void *context, const sttp_request *request, sttp_reply *reply)
{
    struct fixture *fixture = context;
    char id[32];
    pthread_mutex_lock(&fixture->mutex);
    fixture->handled++;
    pthread_cond_broadcast(&fixture->changed);
    pthread_mutex_unlock(&fixture->mutex);
    if (begins(request->path, "/park")) {
        park(fixture, request, reply);
        return;
    }
    sttp_slice contents = STTP_SLICE("text");
    if (begins(request->path, "/block"))
        block(fixture);
    if (begins(request->path, "/release"))
        release_parked(fixture, 0);
    if (begins(request->path, "/big"))
        contents = (sttp_slice){fixture->big, BIG};
    if (begins(request->path, "/bad"))
        contents = STTP_SLICE("two\nlines");
    if (begins(request->path, "/id")) {
        snprintf(id, sizeof id, "%llu", (unsigned long long)sttp_reply_connection(reply));
        contents = (sttp_slice){id, strlen(id)};
    }
    sttp_status status = answer_with(reply, request->action, request->path, contents);
    pthread_mutex_lock(&fixture->mutex);
    if (status != STTP_OK)
        fixture->bad_status = status;
    pthread_mutex_unlock(&fixture->mutex);
}

static inline void take_notice(void *context, const sttp_notice *notice)
{
    struct fixture *fixture = context;
    pthread_mutex_lock(&fixture->mutex);
    fixture->notices[notice->kind]++;
    if (notice->kind == STTP_NOTICE_CLOSED || notice->kind == STTP_NOTICE_REFUSED)
        fixture->reasons[notice->reason]++;
    if (notice->kind == STTP_NOTICE_CLOSED)
        fixture->requests = notice->requests;
    if (notice->kind == STTP_NOTICE_ACCEPT_PAUSED)
        fixture->pause_errno = notice->system_errno;
    if (notice->kind == STTP_NOTICE_OPENED) {
        fixture->last_opened = notice->connection;
        fixture->last_worker = pthread_self();
        snprintf(fixture->last_peer, sizeof fixture->last_peer, "%s", notice->peer);
    }
    pthread_cond_broadcast(&fixture->changed);
    pthread_mutex_unlock(&fixture->mutex);
}

/* ---- the server ---- */

static inline struct fixture *make_fixture(void)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->parked = calloc(MAX_PARKED, sizeof *fixture->parked);
    fixture->big = malloc(BIG);
    memset(fixture->big, 'x', BIG);
    pthread_mutex_init(&fixture->mutex, NULL);
    pthread_cond_init(&fixture->changed, NULL);
    return fixture;
}

static inline void free_fixture(struct fixture *fixture)
{
    pthread_cond_destroy(&fixture->changed);
    pthread_mutex_destroy(&fixture->mutex);
    free(fixture->parked);
    free(fixture->big);
    free(fixture);
}

/* The options that every server of the tests has; one worker, unless the test says otherwise. */
static inline sttp_server_options with_fixture(struct fixture *fixture, sttp_server_options options)
{
    options.size = sizeof options;
    if (options.handler == NULL)
        options.handler = handle;
    options.handler_context = fixture;
    options.notice = take_notice;
    options.notice_context = fixture;
    if (options.workers == 0)
        options.workers = 1;
    return options;
}

static inline struct fixture *start(sttp_server_options options)
{
    struct fixture *fixture = make_fixture();
    options = with_fixture(fixture, options);
    ck_assert_int_eq(sttp_server_create(&options, &fixture->server), STTP_OK);
    ck_assert_int_eq(sttp_server_listen(fixture->server, "127.0.0.1:0"), STTP_OK);
    ck_assert_int_eq(sttp_server_start(fixture->server), STTP_OK);
    return fixture;
}

static inline void stop(struct fixture *fixture)
{
    sttp_server_stop(fixture->server, PATIENCE * 1000);
    ck_assert_int_eq(sttp_server_wait(fixture->server), STTP_OK);
    sttp_server_destroy(fixture->server);
    ck_assert_int_eq(fixture->bad_status, STTP_OK);
    free_fixture(fixture);
}

/* ---- clients ---- */

static inline socklen_t parse_address(const char *text, struct sockaddr_storage *address)
{
    memset(address, 0, sizeof *address);
    if (strncmp(text, "unix:", 5) == 0) {
        struct sockaddr_un *local = (struct sockaddr_un *)address;
        local->sun_family = AF_UNIX;
        snprintf(local->sun_path, sizeof local->sun_path, "%s", text + 5);
        return sizeof *local;
    }
    in_port_t port = htons((in_port_t)atoi(strrchr(text, ':') + 1));
    if (text[0] == '[') {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)address;
        *in6 = (struct sockaddr_in6){
            .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback, .sin6_port = port};
        return sizeof *in6;
    }
    struct sockaddr_in *in = (struct sockaddr_in *)address;
    *in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port};
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof *in;
}

static inline int make_socket(int family)
{
    struct timeval patience = {.tv_sec = PATIENCE};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience), 0);
    return fd;
}

static inline void connect_socket(int fd, const char *text)
{
    struct sockaddr_storage address;
    socklen_t size = parse_address(text, &address);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, size), 0);
}

static inline int connect_to(const char *text)
{
    struct sockaddr_storage address;
    parse_address(text, &address);
    int fd = make_socket(address.ss_family);
    connect_socket(fd, text);
    return fd;
}

static inline int client(struct fixture *fixture)
{
    return connect_to(sttp_server_address(fixture->server, 0));
}

static inline void send_bytes(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent <= 0)
            ck_abort_msg("send: %s", strerror(errno));
        bytes += sent;
        size -= (size_t)sent;
    }
}

static inline void send_text(int fd, const char *text)
{
    send_bytes(fd, text, strlen(text));
}

/* A client that takes little at a time. */
static inline int slow_client(struct fixture *fixture)
{
    int size = 4096;
    int fd = make_socket(AF_INET);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
    connect_socket(fd, sttp_server_address(fixture->server, 0));
    return fd;
}

/* In one piece: a client's kernel may keep small pieces back. */
static inline void ask_for_big(int fd, unsigned count)
{
    char requests[1000] = "";
    for (unsigned i = 0; i < count; i++)
        strcat(requests, "SHOW /big\n");
    send_text(fd, requests);
}

/* Reads exactly what is expected. (An assertion that holds is not free in Check.) */
static inline void expect(int fd, const char *text)
{
    char buffer[4096];
    size_t size = strlen(text);
    size_t got = 0;
    ssize_t received = 1;
    while (got < size && got < sizeof buffer - 1 && received > 0) {
        received = recv(fd, buffer + got, size - got, 0);
        got += received > 0 ? (size_t)received : 0;
    }
    buffer[got] = '\0';
    if (strcmp(buffer, text) != 0)
        ck_assert_str_eq(buffer, text);
}

static inline void expect_end(int fd)
{
    char byte;
    ssize_t received = recv(fd, &byte, 1, 0);
    ck_assert_msg(received == 0, "no end of file: %zd, %s", received, strerror(errno));
}

static inline void expect_end_and_close(int fd)
{
    expect_end(fd);
    close(fd);
}

static inline void exchange(int fd, const char *request, const char *response)
{
    send_text(fd, request);
    expect(fd, response);
}

/* One whole exchange on a connection: with one worker, all that came before it is processed then.
 */
static inline void round_trip(int fd)
{
    exchange(fd, "SHOW /now\n", "200 /now OK\ntext\n");
}

/* Reads until the connection ends; whether it was reset. */
static inline bool ends_in_reset(int fd)
{
    char buffer[65536];
    ssize_t got;
    while ((got = recv(fd, buffer, sizeof buffer, 0)) > 0)
        ;
    ck_assert_msg(got == 0 || errno == ECONNRESET, "recv: %s", strerror(errno));
    close(fd);
    return got < 0;
}

static inline pthread_t worker_of_last(struct fixture *fixture)
{
    pthread_mutex_lock(&fixture->mutex);
    pthread_t worker = fixture->last_worker;
    pthread_mutex_unlock(&fixture->mutex);
    return worker;
}

/* A slow client whose connection is on that worker, or on another one. */
static inline int on_worker(struct fixture *fixture, pthread_t worker, bool same)
{
    for (int i = 0; i < 100; i++) {
        int fd = slow_client(fixture);
        round_trip(fd);
        if ((pthread_equal(worker_of_last(fixture), worker) != 0) == same)
            return fd;
        unsigned before = current(fixture, &fixture->notices[STTP_NOTICE_CLOSED]);
        close(fd);
        wait_at_least(fixture, &fixture->notices[STTP_NOTICE_CLOSED], before + 1);
    }
    ck_abort_msg("all connections came to one worker");
}

/* So that the peer's kernel, which takes bytes on its own and in steps, takes no more later. */
static inline void let_windows_fill(const int *fds, int count)
{
    for (int i = 0; i < count; i++)
        ask_for_big(fds[i], 1);
    poll(NULL, 0, 1000);
}

#endif
