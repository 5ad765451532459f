/* The server engine: what a program has on its workers, events of its own among them. */
#include <stdatomic.h>
#include <sys/eventfd.h>

#include <event2/event.h>

#include "server_support.h"

enum { MANY = 100, EACH = 3, TICK = 1000 /* microseconds */ };

/* What the program has on one worker. */
struct program {
    struct test *test;
    struct event_base *base;
    pthread_t thread;
    struct event *signalled; /* the test wants all kept requests to be answered */
    int turn;                /* an eventfd for `next_turn` */
    struct event *next_turn; /* the loop has looked at the sockets once more */
    struct event *tick;      /* never stops by itself */
};

/* Begins with a fixture: the handler's context is both. */
struct test {
    struct fixture *fixture;
    int signal; /* an eventfd for `signalled` */
    unsigned fail_at;
    atomic_uint begun;
    atomic_uint ended;
    atomic_uint ticks;
    atomic_uint sends;      /* of answers, by all workers */
    atomic_uint sent_early; /* of them those before the loop's next turn */
    atomic_uint turns;      /* which have come since an answer */
    atomic_uint strangers;  /* calls on another thread, or for another worker */
    atomic_uint open_at_end;
    atomic_uint stopped_before_end;
    bool quiet;         /* there are no ticks */
    bool keeps_replies; /* and gives them back when its worker ends */
};

static struct test *current_test;

ssize_t __real_send(int fd, const void *bytes, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t size, int flags);

ssize_t __wrap_send(int fd, const void *bytes, size_t size, int flags)
{
    if (current_test != NULL && size >= 4 && memcmp(bytes, "200 ", 4) == 0)
        atomic_fetch_add(&current_test->sends, 1);
    return __real_send(fd, bytes, size, flags);
}

/* ---- the program ---- */

static void release_all(struct fixture *fixture)
{
    unsigned count = current(fixture, &fixture->parked_count);
    for (unsigned i = fixture->released; i < count; i++)
        release_parked(fixture, i);
}

static void on_signal(evutil_socket_t fd, short what, void *argument)
{
    struct program *program = argument;
    uint64_t count;
    (void)what;
    if (read(fd, &count, sizeof count) != sizeof count ||
        write(program->turn, &count, sizeof count) != sizeof count)
        atomic_fetch_add(&program->test->strangers, 1);
    release_all(program->test->fixture);
}

static void on_next_turn(evutil_socket_t fd, short what, void *argument)
{
    struct test *test = ((struct program *)argument)->test;
    uint64_t count;
    (void)what;
    if (read(fd, &count, sizeof count) != sizeof count)
        atomic_fetch_add(&test->strangers, 1);
    atomic_store(&test->sent_early, atomic_load(&test->sends));
    atomic_fetch_add(&test->turns, 1);
}

static void on_tick(evutil_socket_t fd, short what, void *argument)
{
    struct program *program = argument;
    (void)fd;
    (void)what;
    if (!pthread_equal(pthread_self(), program->thread))
        atomic_fetch_add(&program->test->strangers, 1);
    atomic_fetch_add(&program->test->ticks, 1);
}

static void *begin(void *context, struct event_base *base)
{
    const struct timeval tick = {.tv_usec = TICK};
    struct test *test = current_test;
    ck_assert_ptr_eq(context, test->fixture);
    if (atomic_fetch_add(&test->begun, 1) + 1 == test->fail_at)
        return NULL;
    struct program *program = calloc(1, sizeof *program);
    program->test = test;
    program->base = base;
    program->thread = pthread_self();
    program->signalled = event_new(base, test->signal, EV_READ | EV_PERSIST, on_signal, program);
    program->turn = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    program->next_turn =
        event_new(base, program->turn, EV_READ | EV_PERSIST, on_next_turn, program);
    program->tick = event_new(base, -1, EV_PERSIST, on_tick, program);
    event_add(program->signalled, NULL);
    event_add(program->next_turn, NULL);
    if (!test->quiet)
        event_add(program->tick, &tick);
    return program;
}

static void end(void *context, void *worker)
{
    struct program *program = worker;
    struct fixture *fixture = context;
    struct test *test = program->test;
    if (!pthread_equal(pthread_self(), program->thread))
        atomic_fetch_add(&test->strangers, 1);
    pthread_mutex_lock(&fixture->mutex);
    test->open_at_end +=
        fixture->notices[STTP_NOTICE_OPENED] - fixture->notices[STTP_NOTICE_CLOSED];
    test->stopped_before_end += fixture->notices[STTP_NOTICE_STOPPED];
    pthread_mutex_unlock(&fixture->mutex);
    if (test->keeps_replies)
        release_all(fixture);
    event_free(program->signalled);
    event_free(program->next_turn);
    event_free(program->tick);
    close(program->turn);
    free(program);
    atomic_fetch_add(&test->ended, 1);
}

/* The fixture's handler, on the worker whose program this is. */
static void handle_on_worker(void *context, const sttp_request *request, sttp_reply *reply)
{
    const struct program *program = sttp_reply_worker(reply);
    if (program == NULL || !pthread_equal(pthread_self(), program->thread))
        atomic_fetch_add(&current_test->strangers, 1);
    handle(context, request, reply);
}

/* ---- the server ---- */

static sttp_server_options options_of(struct test *test, unsigned workers)
{
    return with_fixture(test->fixture, (sttp_server_options){.workers = workers,
                                                             .handler = handle_on_worker,
                                                             .worker_begin = begin,
                                                             .worker_end = end});
}

static void make_test(struct test *test, unsigned workers)
{
    test->fixture = make_fixture();
    test->signal = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ck_assert_int_ge(test->signal, 0);
    current_test = test;
    sttp_server_options options = options_of(test, workers);
    ck_assert_int_eq(sttp_server_create(&options, &test->fixture->server), STTP_OK);
    ck_assert_int_eq(sttp_server_listen(test->fixture->server, "127.0.0.1:0"), STTP_OK);
}

static void start_test(struct test *test, unsigned workers)
{
    make_test(test, workers);
    ck_assert_int_eq(sttp_server_start(test->fixture->server), STTP_OK);
    ck_assert_uint_eq(test->begun, workers);
}

static void end_test(struct test *test, unsigned workers)
{
    stop(test->fixture);
    close(test->signal);
    current_test = NULL;
    ck_assert_uint_eq(test->ended, workers);
    ck_assert_uint_eq(test->strangers, 0);
    ck_assert_uint_eq(test->open_at_end, 0);
}

static void send_signal(const struct test *test)
{
    uint64_t one = 1;
    ck_assert_int_eq(write(test->signal, &one, sizeof one), sizeof one);
}

static void wait_atomic(const atomic_uint *counter, unsigned count)
{
    struct timespec end = deadline(), now;
    do {
        ck_assert(clock_gettime(CLOCK_REALTIME, &now) == 0 && now.tv_sec < end.tv_sec);
        sched_yield();
    } while (atomic_load(counter) < count);
}

/* ---- tests ---- */

START_TEST(test_program_on_each_worker)
{
    struct test test = {0};
    start_test(&test, 3);
    int fds[10];
    for (int i = 0; i < 10; i++) {
        fds[i] = client(test.fixture);
        round_trip(fds[i]);
    }
    wait_atomic(&test.ticks, 10);
    sttp_server_stop(test.fixture->server, PATIENCE * 1000);
    for (int i = 0; i < 10; i++)
        expect_end_and_close(fds[i]);
    ck_assert_int_eq(sttp_server_wait(test.fixture->server), STTP_OK);
    ck_assert_uint_eq(test.fixture->notices[STTP_NOTICE_STOPPED], 3);
    sttp_server_destroy(test.fixture->server);
    test.fixture->server = NULL;
    ck_assert_uint_eq(test.ended, 3);
    ck_assert_uint_eq(test.strangers, 0);
    free_fixture(test.fixture);
    close(test.signal);
}
END_TEST

START_TEST(test_program_does_not_begin)
{
    struct test test = {.fail_at = (unsigned)_i};
    make_test(&test, 3);
    int fd = client(test.fixture);
    ck_assert_int_eq(sttp_server_start(test.fixture->server), STTP_ERR_MEMORY);
    ck_assert_uint_eq(test.begun, (unsigned)_i);
    ck_assert_uint_eq(test.ended, (unsigned)_i - 1);
    sttp_server_destroy(test.fixture->server);
    ends_in_reset(fd);
    free_fixture(test.fixture);
    close(test.signal);
}
END_TEST

START_TEST(test_no_program)
{
    struct fixture *fixture = start((sttp_server_options){0});
    int fd = client(fixture);
    exchange(fd, "SHOW /worker\n", "200 /worker OK\ntext\n");
    close(fd);
    stop(fixture);
}
END_TEST

/* One event of the program's answers many requests of many connections: one send for each, and all
 * of them before the loop turns. */
START_TEST(test_answers_leave_together)
{
    struct test test = {0};
    start_test(&test, 1);
    int fds[MANY];
    for (int i = 0; i < MANY; i++) {
        fds[i] = client(test.fixture);
        send_text(fds[i], "SHOW /park\nSHOW /park\nSHOW /park\n");
    }
    wait_parked(test.fixture, MANY * EACH);
    send_signal(&test);
    wait_atomic(&test.turns, 1);
    ck_assert_uint_eq(test.sent_early, MANY);
    for (int i = 0; i < MANY; i++) {
        expect(fds[i], "200 /park OK\ntext\n200 /park OK\ntext\n200 /park OK\ntext\n");
        close(fds[i]);
    }
    ck_assert_uint_eq(test.sends, MANY);
    end_test(&test, 1);
}
END_TEST

/* The program's event is the last of those that are active: connections that became ready before it
 * have their turn all the same, and only one, before the loop looks again. */
START_TEST(test_program_event_is_last)
{
    struct test test = {.quiet = true};
    start_test(&test, 1);
    int blocked = client(test.fixture);
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = client(test.fixture);
        round_trip(fds[i]);
    }
    unsigned before = test.sends;
    send_text(blocked, "SHOW /block\n");
    wait_at_least(test.fixture, &test.fixture->blocked, 1);
    for (int i = 0; i < 3; i++) {
        send_text(fds[i], "SHOW /now\n");
        ck_assert_int_eq(shutdown(fds[i], SHUT_WR), 0);
    }
    send_signal(&test);
    unblock(test.fixture);
    expect(blocked, "200 /block OK\ntext\n");
    for (int i = 0; i < 3; i++) {
        expect(fds[i], "200 /now OK\ntext\n");
        expect_end_and_close(fds[i]);
    }
    wait_atomic(&test.turns, 1);
    ck_assert_uint_eq(test.sent_early, before + 1 + 3);
    close(blocked);
    end_test(&test, 1);
}
END_TEST

/* More work than one run does, and more connections than one group has. */
START_TEST(test_long_pipelines)
{
    enum { LINES = 2000 };
    struct test test = {0};
    start_test(&test, 1);
    int fds[MANY];
    static char requests[LINES * 10 + 1];
    for (int i = 0; i < LINES; i++)
        memcpy(requests + (size_t)i * 10, "SHOW /now\n", 10);
    for (int i = 0; i < MANY; i++)
        fds[i] = client(test.fixture);
    send_text(fds[0], requests);
    for (int i = 1; i < MANY; i++)
        send_text(fds[i], "SHOW /now\n");
    for (int i = 1; i < MANY; i++)
        expect(fds[i], "200 /now OK\ntext\n");
    for (int i = 0; i < LINES; i++)
        expect(fds[0], "200 /now OK\ntext\n");
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    end_test(&test, 1);
}
END_TEST

/* What the program has not answered is cut by the deadline; it gives the replies back at the end.
 */
START_TEST(test_replies_at_the_end)
{
    struct test test = {.keeps_replies = true};
    start_test(&test, 1);
    int fd = client(test.fixture);
    send_text(fd, "SHOW /park\nSHOW /park\n");
    wait_parked(test.fixture, 2);
    sttp_server_stop(test.fixture->server, 0);
    ck_assert_int_eq(sttp_server_wait(test.fixture->server), STTP_ERR_TIMEOUT);
    ck_assert_uint_eq(test.ended, 1);
    ck_assert_uint_eq(test.open_at_end, 0);
    ck_assert_uint_eq(test.stopped_before_end, 0);
    ck_assert_uint_eq(test.fixture->released, 2);
    sttp_server_destroy(test.fixture->server);
    ck_assert(ends_in_reset(fd));
    free_fixture(test.fixture);
    close(test.signal);
}
END_TEST

/* A stopping worker still answers what the program's own events answer. */
START_TEST(test_program_answers_while_stopping)
{
    struct test test = {0};
    start_test(&test, 1);
    int fd = client(test.fixture);
    send_text(fd, "SHOW /park\n");
    wait_parked(test.fixture, 1);
    sttp_server_stop(test.fixture->server, PATIENCE * 1000);
    send_signal(&test);
    expect(fd, "200 /park OK\ntext\n");
    expect_end_and_close(fd);
    end_test(&test, 1);
}
END_TEST

/* The worker's own events do not tell the program's what time it is: the last one may be long ago.
 */
static void ask_time(void *context, const sttp_request *request, sttp_reply *reply)
{
    struct timespec end = deadline(), now = {0};
    uint64_t before = sttp_server_now();
    while (sttp_server_now() == before && now.tv_sec < end.tv_sec)
        clock_gettime(CLOCK_REALTIME, &now);
    if (sttp_server_now() == before)
        atomic_fetch_add(&current_test->strangers, 1);
    handle(context, request, reply);
}

START_TEST(test_time)
{
    struct test test = {0};
    test.fixture = make_fixture();
    test.signal = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    current_test = &test;
    sttp_server_options options = options_of(&test, 1);
    options.handler = ask_time;
    ck_assert_int_eq(sttp_server_create(&options, &test.fixture->server), STTP_OK);
    ck_assert_int_eq(sttp_server_listen(test.fixture->server, "127.0.0.1:0"), STTP_OK);
    ck_assert_int_eq(sttp_server_start(test.fixture->server), STTP_OK);
    int fd = client(test.fixture);
    round_trip(fd);
    close(fd);
    end_test(&test, 1);
}
END_TEST

static Suite *worker_suite(void)
{
    Suite *suite = suite_create("server_worker");
    TCase *tests = tcase_create("program");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, test_program_on_each_worker);
    tcase_add_loop_test(tests, test_program_does_not_begin, 1, 4);
    tcase_add_test(tests, test_no_program);
    tcase_add_test(tests, test_answers_leave_together);
    tcase_add_test(tests, test_program_event_is_last);
    tcase_add_test(tests, test_long_pipelines);
    tcase_add_test(tests, test_replies_at_the_end);
    tcase_add_test(tests, test_program_answers_while_stopping);
    tcase_add_test(tests, test_time);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(worker_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
