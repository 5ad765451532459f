/* The server engine: answers in parts, and connections that the program closes.
 *
 * One worker. Requests of a client for /keep... are kept; those of another one, the controller, say
 * what is done with them, on the worker's thread:
 *
 *     CREATE /part/1 te|    adds "te\n" to the answer of the kept request 1 (the first one is 0)
 *     CREATE /large/1 x     adds BIG bytes
 *     CREATE /end/1 whole   ends it; or "close", or "reset"
 *
 * A client's SHOW /cut is answered with a part, and a closed connection, within the handler. */
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

static void *allocate(size_t size, void *context)
{
    (void)context;
    if (atomic_load(&until_failure) == 0)
        return NULL;
    atomic_fetch_add(&open_allocations, 1);
    return malloc(size);
}

static void *reallocate(void *memory, size_t size, void *context)
{
    (void)context;
    return atomic_load(&until_failure) == 0 ? NULL : realloc(memory, size);
}

static void release(void *memory, void *context)
{
    (void)context;
    if (memory != NULL)
        atomic_fetch_sub(&open_allocations, 1);
    free(memory);
}

static const sttp_allocator allocator = {allocate, reallocate, release, NULL};

/* ---- the handler ---- */

static void send_part(sttp_reply *reply, sttp_slice contents)
{
    char bytes[1000];
    for (size_t i = 0; i < contents.size; i++)
        bytes[i] = contents.data[i] == '|' ? '\n' : contents.data[i];
    atomic_store(&last_status,
                 (int)sttp_reply_send_part(reply, (sttp_slice){bytes, contents.size}));
}

static sttp_reply_ending ending_of(sttp_slice contents)
{
    if (begins(contents, "close"))
        return STTP_REPLY_CLOSE;
    return begins(contents, "reset") ? STTP_REPLY_RESET : STTP_REPLY_WHOLE;
}

static void command(struct fixture *fixture, const sttp_request *request)
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

static void handle_parts(void *context, const sttp_request *request, sttp_reply *reply)
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

static void end_all(void)
{
    for (unsigned i = 0; i < atomic_load(&kept_count); i++) {
        send_part(kept[i], STTP_SLICE("200 /keep OK|text|"));
        sttp_reply_end(kept[i], STTP_REPLY_WHOLE);
    }
    atomic_store(&kept_count, 0);
}

static void on_signal(evutil_socket_t fd, short what, void *argument)
{
    uint64_t count;
    (void)what;
    (void)argument;
    if (read(fd, &count, sizeof count) == sizeof count)
        end_all();
}

static void *begin_worker(void *context, struct event_base *base)
{
    (void)context;
    struct event *event = event_new(base, signal_fd, EV_READ | EV_PERSIST, on_signal, NULL);
    event_add(event, NULL);
    return event;
}

static void end_worker(void *context, void *event)
{
    (void)context;
    event_free(event);
    end_all();
}

/* ---- the tests' side ---- */

static struct fixture *begin(sttp_server_options options)
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
static void finish(struct fixture *fixture)
{
    atomic_store(&kept_count, 0);
    stop(fixture);
    close(signal_fd);
    ck_assert_int_eq(atomic_load(&open_allocations), 0);
}

static void wait_handled(struct fixture *fixture, unsigned count)
{
    wait_at_least(fixture, &fixture->handled, count);
}

static void tell(int controller, const char *what, unsigned which, const char *contents)
{
    char line[1000];
    snprintf(line, sizeof line, "CREATE /%s/%u %s\n", what, which, contents);
    send_text(controller, line);
    snprintf(line, sizeof line, "100 /%s/%u CREATED\n", what, which);
    expect(controller, line);
}

static void tell_part(int controller, unsigned which, const char *contents)
{
    tell(controller, "part", which, contents);
    ck_assert_int_eq(atomic_load(&last_status), STTP_OK);
}

static void expect_nothing(int fd)
{
    char byte;
    ck_assert_int_eq(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    ck_assert_int_eq(errno, EAGAIN);
}

/* ---- parts ---- */

START_TEST(test_parts_of_the_first)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /now\n");
    wait_handled(fixture, 2);
    tell_part(controller, 0, "2");
    expect(fd, "2");
    tell_part(controller, 0, "00 /keep OK|te");
    expect(fd, "00 /keep OK\nte");
    tell_part(controller, 0, "xt|");
    expect(fd, "xt\n");
    expect_nothing(fd);
    tell(controller, "end", 0, "whole");
    expect(fd, "200 /now OK\ntext\n");
    round_trip(fd);
    close(fd);
    close(controller);
    finish(fixture);
}
END_TEST

START_TEST(test_parts_wait_for_their_turn)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /keep\nSHOW /keep\nSHOW /now\n");
    wait_handled(fixture, 4);
    for (int i = 0; i < 200; i++)
        tell_part(controller, 1, i % 10 == 9 ? "|" : "b");
    tell_part(controller, 2, "third|");
    tell(controller, "end", 2, "whole");
    tell_part(controller, 0, "first");
    expect(fd, "first");
    expect_nothing(fd);
    tell(controller, "end", 0, "whole");
    for (int i = 0; i < 20; i++)
        expect(fd, "bbbbbbbbb\n");
    expect_nothing(fd);
    tell_part(controller, 1, "more|");
    expect(fd, "more\n");
    tell(controller, "end", 1, "whole");
    expect(fd, "third\n200 /now OK\ntext\n");
    round_trip(fd);
    close(fd);
    close(controller);
    finish(fixture);
}
END_TEST

/* An answer that has no part takes no byte. */
START_TEST(test_no_parts)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /keep\nSHOW /now\n");
    wait_handled(fixture, 3);
    tell(controller, "end", 1, "whole");
    expect_nothing(fd);
    tell(controller, "end", 0, "whole");
    expect(fd, "200 /now OK\ntext\n");
    close(fd);
    close(controller);
    finish(fixture);
}
END_TEST

/* A request that runs alone does so until its answer is ended, and others wait for it. */
START_TEST(test_barrier)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nLIST /keep\nSHOW /now\n");
    wait_handled(fixture, 1);
    tell_part(controller, 0, "first|");
    expect(fd, "first\n");
    ck_assert_uint_eq(atomic_load(&kept_count), 1);
    tell(controller, "end", 0, "whole");
    wait_handled(fixture, 4);
    ck_assert_uint_eq(atomic_load(&kept_count), 2);
    tell_part(controller, 1, "second|");
    expect(fd, "second\n");
    expect_nothing(fd);
    tell(controller, "end", 1, "whole");
    expect(fd, "200 /now OK\ntext\n");
    close(fd);
    close(controller);
    finish(fixture);
}
END_TEST

START_TEST(test_max_in_flight)
{
    struct fixture *fixture = begin((sttp_server_options){.max_in_flight = 2});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /keep\nSHOW /keep\n");
    wait_handled(fixture, 2);
    tell_part(controller, 0, "first");
    expect(fd, "first");
    tell(controller, "end", 1, "whole");
    round_trip(controller);
    ck_assert_uint_eq(atomic_load(&kept_count), 2); /* the second still waits for the first */
    tell(controller, "end", 0, "whole");
    wait_handled(fixture, 7);
    ck_assert_uint_eq(atomic_load(&kept_count), 3);
    tell(controller, "end", 2, "whole");
    round_trip(fd);
    close(fd);
    close(controller);
    finish(fixture);
}
END_TEST

/* ---- what is not sent ---- */

START_TEST(test_parts_are_unsent_bytes)
{
    struct fixture *fixture = begin((sttp_server_options){.max_unsent = 1000});
    int controller = client(fixture), fd = client(fixture);
    char *answer = malloc(BIG + 1);
    send_text(fd, "SHOW /keep\nSHOW /keep\n");
    wait_handled(fixture, 2);
    tell(controller, "large", 1, "x");
    ck_assert_int_eq(atomic_load(&last_status), STTP_OK);
    send_text(fd, "SHOW /keep\n");
    round_trip(controller);
    round_trip(controller);
    ck_assert_uint_eq(atomic_load(&kept_count), 2); /* no more is read */
    tell(controller, "end", 0, "whole");
    tell(controller, "end", 1, "whole");
    ck_assert_int_eq(recv(fd, answer, BIG, MSG_WAITALL), BIG);
    ck_assert_int_eq(memcmp(answer, fixture->big, BIG), 0);
    wait_handled(fixture, 8);
    ck_assert_uint_eq(atomic_load(&kept_count), 3);
    tell(controller, "end", 2, "whole");
    round_trip(fd);
    free(answer);
    close(fd);
    close(controller);
    finish(fixture);
}
END_TEST

START_TEST(test_unsent_parts_of_all)
{
    enum { SOME = 10 };
    struct fixture *fixture = begin((sttp_server_options){.max_unsent_total = 3 * BIG});
    int controller = client(fixture), fd = slow_client(fixture);
    send_text(fd, "SHOW /keep\n");
    wait_handled(fixture, 1);
    for (int i = 0; i < SOME; i++)
        tell(controller, "large", 0, "x");
    wait_reason(fixture, STTP_CLOSE_UNSENT, 1);
    tell(controller, "part", 0, "x");
    ck_assert_int_eq(atomic_load(&last_status), STTP_ERR_CONNECTION_LOST);
    tell(controller, "end", 0, "whole");
    ck_assert(ends_in_reset(fd));
    close(controller);
    finish(fixture);
}
END_TEST

/* Others are closed for being idle; who waits for the next part is not, but when it has come. */
START_TEST(test_no_timeout_between_parts)
{
    struct fixture *fixture = begin(
        (sttp_server_options){.idle_timeout = 200, .request_timeout = 200, .send_timeout = 200});
    int fd = client(fixture);
    send_text(fd, "SHOW /keep\n");
    wait_handled(fixture, 1);
    for (unsigned i = 1; i <= 3; i++) {
        int controller = client(fixture);
        tell_part(controller, 0, "part|");
        expect(fd, "part\n");
        wait_reason(fixture, STTP_CLOSE_IDLE_TIMEOUT, i);
        expect_end_and_close(controller);
    }
    int controller = client(fixture);
    tell(controller, "end", 0, "whole");
    round_trip(fd);
    wait_reason(fixture, STTP_CLOSE_IDLE_TIMEOUT, 5);
    expect_end_and_close(fd);
    close(controller);
    finish(fixture);
}
END_TEST

/* A part has no memory: the connection is lost, and not as if the answer were whole. */
START_TEST(test_no_memory_for_a_part)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /keep\n");
    wait_handled(fixture, 2);
    tell_part(controller, 0, "200 /");
    expect(fd, "200 /");
    atomic_store(&until_failure, 0);
    tell(controller, "large", (unsigned)_i, "x");
    ck_assert_int_eq(atomic_load(&last_status), STTP_ERR_MEMORY);
    wait_reason(fixture, STTP_CLOSE_MEMORY, 1);
    atomic_store(&until_failure, -1);
    ck_assert(ends_in_reset(fd));
    tell(controller, "end", 0, "whole");
    tell(controller, "end", 1, "close");
    round_trip(controller);
    close(controller);
    finish(fixture);
}
END_TEST

/* The client is gone: its parts are dropped, and the program is told. */
START_TEST(test_client_is_gone)
{
    static const char *const endings[] = {"whole", "close", "reset"};
    struct linger reset = {.l_onoff = 1};
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /keep\nSHOW /keep\n");
    wait_handled(fixture, 3);
    tell_part(controller, 0, "first");
    tell_part(controller, 1, "second");
    expect(fd, "first");
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    close(fd);
    wait_reason(fixture, STTP_CLOSE_RESET, 1);
    for (unsigned i = 0; i < 3; i++) {
        tell(controller, "part", i, "lost");
        ck_assert_int_eq(atomic_load(&last_status), STTP_ERR_CONNECTION_LOST);
        tell(controller, "end", i, endings[i]);
    }
    round_trip(controller);
    close(controller);
    finish(fixture);
}
END_TEST

/* ---- connections that the program closes ---- */

START_TEST(test_close)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /now\nSHOW /keep\nSHOW /park\n");
    wait_parked(fixture, 1);
    tell_part(controller, 1, "never sent");
    tell_part(controller, 0, "200 /ke");
    tell(controller, "end", 0, "close");
    expect(fd, "200 /ke");
    expect_end(fd);
    send_text(fd, "SHOW /keep\n"); /* it lingers, so this is no reset */
    tell(controller, "part", 1, "lost");
    ck_assert_int_eq(atomic_load(&last_status), STTP_ERR_CONNECTION_LOST);
    tell(controller, "end", 1, "whole");
    release_parked(fixture, 0);
    close(fd);
    wait_reason(fixture, STTP_CLOSE_BY_PROGRAM, 1);
    ck_assert_uint_eq(fixture->requests, 4);
    round_trip(controller);
    close(controller);
    finish(fixture);
}
END_TEST

/* What is before it is still answered, and nothing is read any more. */
START_TEST(test_close_waits_for_its_turn)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /keep\nSHOW /keep\n");
    wait_handled(fixture, 3);
    tell_part(controller, 1, "second");
    tell(controller, "end", 1, "close");
    send_text(fd, "SHOW /keep\n");
    tell_part(controller, 0, "first");
    expect(fd, "first");
    tell_part(controller, 0, "|");
    tell(controller, "end", 0, "whole");
    expect(fd, "\nsecond");
    expect_end_and_close(fd);
    wait_reason(fixture, STTP_CLOSE_BY_PROGRAM, 1);
    ck_assert_uint_eq(atomic_load(&kept_count), 3);
    tell(controller, "end", 2, "whole");
    close(controller);
    finish(fixture);
}
END_TEST

/* The client has said that it sends no more: there is nobody to linger for. */
START_TEST(test_close_after_end_of_file)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\n");
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
    wait_handled(fixture, 1);
    tell_part(controller, 0, "200");
    tell(controller, "end", 0, "close");
    expect(fd, "200");
    expect_end(fd);
    wait_reason(fixture, STTP_CLOSE_BY_PROGRAM, 1);
    close(fd);
    close(controller);
    finish(fixture);
}
END_TEST

/* Within the handler: what the client has sent behind it is dropped. */
START_TEST(test_close_within_the_handler)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int fd = client(fixture);
    send_text(fd, "SHOW /now\nSHOW /cut\nSHOW /now\nSHOW /ha");
    expect(fd, "200 /now OK\ntext\n200 ");
    expect_end_and_close(fd);
    wait_reason(fixture, STTP_CLOSE_BY_PROGRAM, 1);
    ck_assert_uint_eq(fixture->requests, 2);
    ck_assert_int_eq(atomic_load(&last_status), STTP_OK);
    finish(fixture);
}
END_TEST

START_TEST(test_reset)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /keep\nSHOW /park\n");
    wait_parked(fixture, 1);
    tell_part(controller, 1, "200 /ke");
    tell(controller, "end", 1, "reset");
    tell_part(controller, 0, "first|");
    expect(fd, "first\n");
    expect_nothing(fd);
    tell(controller, "end", 0, "whole");
    expect(fd, "200 /ke");
    ck_assert(ends_in_reset(fd));
    wait_reason(fixture, STTP_CLOSE_BY_PROGRAM, 1);
    release_parked(fixture, 0);
    round_trip(controller);
    close(controller);
    finish(fixture);
}
END_TEST

START_TEST(test_reset_without_parts)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\n");
    wait_handled(fixture, 1);
    tell(controller, "end", 0, "reset");
    ck_assert(ends_in_reset(fd));
    close(controller);
    finish(fixture);
}
END_TEST

/* All that was added arrives before the end, also where it takes many sends. */
START_TEST(test_close_after_much)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = slow_client(fixture);
    char *answer = malloc(BIG);
    send_text(fd, "SHOW /keep\nSHOW /now\n");
    wait_handled(fixture, 2);
    tell(controller, "large", 0, "x");
    tell(controller, "end", 0, "close");
    ck_assert_int_eq(recv(fd, answer, BIG, MSG_WAITALL), BIG);
    ck_assert_int_eq(memcmp(answer, fixture->big, BIG), 0);
    expect_end_and_close(fd);
    free(answer);
    close(controller);
    finish(fixture);
}
END_TEST

/* ---- the server stops ---- */

/* It waits for an answer that goes on. */
START_TEST(test_stop_waits_for_parts)
{
    uint64_t one = 1;
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /keep\n");
    wait_handled(fixture, 2);
    tell_part(controller, 1, "100|");
    tell_part(controller, 0, "100|");
    sttp_server_stop(fixture->server, PATIENCE * 1000);
    expect_end_and_close(controller);
    ck_assert_int_eq(write(signal_fd, &one, sizeof one), sizeof one);
    expect(fd, "100\n200 /keep OK\ntext\n100\n200 /keep OK\ntext\n");
    expect_end_and_close(fd);
    finish(fixture);
}
END_TEST

/* The deadline cuts it, and the program gives its replies back. */
START_TEST(test_stop_cuts_parts)
{
    struct fixture *fixture = begin((sttp_server_options){0});
    int controller = client(fixture), fd = client(fixture);
    send_text(fd, "SHOW /keep\nSHOW /keep\n");
    wait_handled(fixture, 2);
    tell_part(controller, 1, "200");
    tell_part(controller, 0, "200");
    expect(fd, "200");
    sttp_server_stop(fixture->server, 0);
    ck_assert_int_eq(sttp_server_wait(fixture->server), STTP_ERR_TIMEOUT);
    ck_assert(ends_in_reset(fd));
    ck_assert_int_eq(atomic_load(&last_status), STTP_ERR_CONNECTION_LOST);
    sttp_server_destroy(fixture->server);
    ck_assert_int_eq(atomic_load(&open_allocations), 0);
    free_fixture(fixture);
    close(signal_fd);
    close(controller);
}
END_TEST

static Suite *parts_suite(void)
{
    Suite *suite = suite_create("server_parts");
    TCase *parts = tcase_create("parts");
    TCase *unsent = tcase_create("unsent");
    TCase *closes = tcase_create("closes");
    tcase_add_test(parts, test_parts_of_the_first);
    tcase_add_test(parts, test_parts_wait_for_their_turn);
    tcase_add_test(parts, test_no_parts);
    tcase_add_test(parts, test_barrier);
    tcase_add_test(parts, test_max_in_flight);
    tcase_set_timeout(unsent, 60);
    tcase_add_test(unsent, test_parts_are_unsent_bytes);
    tcase_add_test(unsent, test_unsent_parts_of_all);
    tcase_add_test(unsent, test_no_timeout_between_parts);
    tcase_add_loop_test(unsent, test_no_memory_for_a_part, 0, 2);
    tcase_add_test(unsent, test_client_is_gone);
    tcase_set_timeout(closes, 60);
    tcase_add_test(closes, test_close);
    tcase_add_test(closes, test_close_waits_for_its_turn);
    tcase_add_test(closes, test_close_after_end_of_file);
    tcase_add_test(closes, test_close_within_the_handler);
    tcase_add_test(closes, test_reset);
    tcase_add_test(closes, test_reset_without_parts);
    tcase_add_test(closes, test_close_after_much);
    tcase_add_test(closes, test_stop_waits_for_parts);
    tcase_add_test(closes, test_stop_cuts_parts);
    suite_add_tcase(suite, parts);
    suite_add_tcase(suite, unsent);
    suite_add_tcase(suite, closes);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(parts_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
