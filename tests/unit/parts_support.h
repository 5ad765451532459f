/* What the tests of answers in parts share: a server whose replies the test commands.
 *
 * One worker. Requests of a client for /keep... are kept; those of another one, the controller, say
 * what is done with them, on the worker's thread:
 *
 *     CREATE /part/1 te|    adds "te\n" to the answer of the kept request 1 (the first one is 0)
 *     CREATE /large/1 x     adds BIG bytes
 *     CREATE /end/1 whole   ends it; or "close", or "reset"
 *
 * A client's SHOW /cut is answered with a part, and a closed connection, within the handler. */
#ifndef STTP_TESTS_PARTS_SUPPORT_H
#define STTP_TESTS_PARTS_SUPPORT_H

#include <stdatomic.h>
#include <sys/eventfd.h>

#include <event2/event.h>

#include "server_support.h"

enum { MOST_KEPT = 100 };

static sttp_reply *kept[MOST_KEPT]; /* the worker's */
static atomic_uint kept_count;
static atomic_int last_status;        /* of sttp_reply_send_part */
static atomic_int until_failure = -1; /* allocations that still succeed; negative: all */
static atomic_int open_allocations;
static int signal_fd; /* an eventfd: the worker ends all that are kept */

/* ---- memory ---- */

static inline void *allocate(size_t size, void *context)
{
    (void)context;
    if (atomic_load(&until_failure) == 0)
        return NULL;
    atomic_fetch_add(&open_allocations, 1);
    return malloc(size);
}

static inline void *reallocate(void *memory, size_t size, void *context)
{
    (void)context;
    return atomic_load(&until_failure) == 0 ? NULL : realloc(memory, size);
}

static inline void release(void *memory, void *context)
{
    (void)context;
    if (memory != NULL)
        atomic_fetch_sub(&open_allocations, 1);
    free(memory);
}

static const sttp_allocator allocator = {allocate, reallocate, release, NULL};

/* ---- the handler ---- */

static inline void send_part(sttp_reply *reply, sttp_slice contents)
{
    char bytes[1000];
    for (size_t i = 0; i < contents.size; i++)
        bytes[i] = contents.data[i] == '|' ? '\n' : contents.data[i];
    atomic_store(&last_status,
                 (int)sttp_reply_send_part(reply, (sttp_slice){bytes, contents.size}));
}

static inline sttp_reply_ending ending_of(sttp_slice contents)
{
    if (begins(contents, "close"))
        return STTP_REPLY_CLOSE;
    return begins(contents, "reset") ? STTP_REPLY_RESET : STTP_REPLY_WHOLE;
}

static inline void command(struct fixture *fixture, const sttp_request *request)
{
    const char *last = request->path.data + request->path.size - 1;
    sttp_reply *reply = kept[*last - '0'];
    if (begins(request->path, "/part"))
        send_part(reply, request->contents);
    else if (begins(request->path, "/large"))
        atomic_store(&last_status,
                     (int)sttp_reply_send_part(reply, (sttp_slice){fixture->big, BIG}));
    else if (begins(request->path, "/end"))
        sttp_reply_end(reply, ending_of(request->contents));
}

static inline void handle_parts(void *context, const sttp_request *request, sttp_reply *reply)
{
    struct fixture *fixture = context;
    if (begins(request->path, "/keep")) {
        pthread_mutex_lock(&fixture->mutex);
        kept[atomic_fetch_add(&kept_count, 1)] = reply;
        fixture->handled++;
        pthread_cond_broadcast(&fixture->changed);
        pthread_mutex_unlock(&fixture->mutex);
        return;
    }
    if (begins(request->path, "/cut")) {
        send_part(reply, STTP_SLICE("200 "));
        sttp_reply_end(reply, STTP_REPLY_CLOSE);
        if (request->path.data[1] != 'c') /* the request is still the handler's */
            atomic_store(&last_status, STTP_ERR_STATE);
        return;
    }
    command(fixture, request);
    handle(context, request, reply);
}

static inline void end_all(void)
{
    for (unsigned i = 0; i < atomic_load(&kept_count); i++) {
        send_part(kept[i], STTP_SLICE("200 /keep OK|text|"));
        sttp_reply_end(kept[i], STTP_REPLY_WHOLE);
    }
    atomic_store(&kept_count, 0);
}

static inline void on_signal(evutil_socket_t fd, short what, void *argument)
{
    uint64_t count;
    (void)what;
    (void)argument;
    if (read(fd, &count, sizeof count) == sizeof count)
        end_all();
}

static inline void *begin_worker(void *context, struct event_base *base)
{
    (void)context;
    struct event *event = event_new(base, signal_fd, EV_READ | EV_PERSIST, on_signal, NULL);
    event_add(event, NULL);
    return event;
}

static inline void end_worker(void *context, void *event)
{
    (void)context;
    event_free(event);
    end_all();
}

/* ---- the tests' side ---- */

static inline struct fixture *begin(sttp_server_options options)
{
    atomic_store(&kept_count, 0);
    atomic_store(&last_status, STTP_OK);
    options.handler = handle_parts;
    options.allocator = &allocator;
    options.worker_begin = begin_worker;
    options.worker_end = end_worker;
    signal_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return start(options);
}

/* No reply is kept any more. */
static inline void finish(struct fixture *fixture)
{
    atomic_store(&kept_count, 0);
    stop(fixture);
    close(signal_fd);
    ck_assert_int_eq(atomic_load(&open_allocations), 0);
}

static inline void wait_handled(struct fixture *fixture, unsigned count)
{
    wait_at_least(fixture, &fixture->handled, count);
}

static inline void tell(int controller, const char *what, unsigned which, const char *contents)
{
    char line[1000];
    snprintf(line, sizeof line, "CREATE /%s/%u %s\n", what, which, contents);
    send_text(controller, line);
    snprintf(line, sizeof line, "100 /%s/%u CREATED\n", what, which);
    expect(controller, line);
}

static inline void tell_part(int controller, unsigned which, const char *contents)
{
    tell(controller, "part", which, contents);
    ck_assert_int_eq(atomic_load(&last_status), STTP_OK);
}

static inline void expect_nothing(int fd)
{
    char byte;
    ck_assert_int_eq(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    ck_assert_int_eq(errno, EAGAIN);
}

#endif
