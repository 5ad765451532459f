/* The asynchronous client, cancelled in each state, and called from within its own callbacks. */
#include "async_support.h"

/* ---- cancelled ---- */

START_TEST(test_cancel_queued)
{
    result *r[2];
    int fd;

    open_test((sttp_pool_options){0});
    r[0] = show("/a");
    sttp_call_cancel(r[0]->call);
    ck_assert_uint_eq(counts().queued, 0);
    turns();
    hear_nothing(test.listener);
    r[0] = show("/a");
    r[1] = show("/b");
    fd = accept_peer(); /* connected, and its request sent */
    sttp_call_cancel(r[1]->call);
    hear(fd, "SHOW /a\n");
    say(fd, "200 /a OK\na\n");
    hear_nothing(fd);
    check_answer(r[0], "a");
    ck_assert_uint_eq(r[1]->times, 0);
    close(fd);
    close_test();
}
END_TEST

START_TEST(test_cancel_connecting)
{
    result *r;
    int fd;

    open_test((sttp_pool_options){0});
    r = show("/a");
    turn();
    ck_assert_uint_eq(counts().connecting + counts().connections, 1);
    sttp_call_cancel(r->call);
    fd = accept_peer();
    hear_nothing(fd);
    show("/b");
    hear(fd, "SHOW /b\n");
    ck_assert_uint_eq(r->times, 0);
    close(fd);
    close_test();
}
END_TEST

/* Given to a connection and not sent yet: nobody will hear of it. */
START_TEST(test_cancel_unsent)
{
    result *r[3];
    int fd;

    open_test((sttp_pool_options){0});
    fd = warm_up();
    for (int i = 0; i < 3; i++)
        r[i] = show((const char *[]){"/a", "/b", "/c"}[i]);
    sttp_call_cancel(r[_i]->call);
    hear(fd,
         (const char *[]){"SHOW /b\nSHOW /c\n", "SHOW /a\nSHOW /c\n", "SHOW /a\nSHOW /b\n"}[_i]);
    hear_nothing(fd);
    ck_assert_uint_eq(counts().in_flight, 2);
    ck_assert_uint_eq(counts().abandoned, 0);
    close(fd);
    close_test();
}
END_TEST

static void cancel_first(result *r)
{
    (void)r;
    sttp_call_cancel(test.results[0].call);
}

/* Between being given to a connection and being written: its place is another one's. */
START_TEST(test_cancel_makes_room)
{
    sttp_pool *pool;
    int fd;

    open_test((sttp_pool_options){.min_connections = 1});
    fd = accept_peer();
    show("/a");
    show("/b");
    pool = test.pool;
    test.pool = make_pool((sttp_pool_options){.socket_path = "/nonexistent/socket"});
    ask_then(STTP_ACTION_SHOW, "/c", cancel_first);
    turn();
    ck_assert_uint_eq(test.finished, 1);
    test.pool = pool;
    turns();
    ck_assert_uint_eq(counts().queued, 0);
    hear(fd, "SHOW /b\n");
    close(fd);
    close_test();
}
END_TEST

/* Its answer is read and dropped; the next one's is the next one's. */
START_TEST(test_cancel_sent)
{
    result *r[3];
    int fd;

    open_test((sttp_pool_options){0});
    fd = warm_up();
    for (int i = 0; i < 3; i++)
        r[i] = show("/a");
    hear(fd, "SHOW /a\nSHOW /a\nSHOW /a\n");
    sttp_call_cancel(r[0]->call);
    sttp_call_cancel(r[1]->call);
    ck_assert_uint_eq(counts().in_flight, 1);
    ck_assert_uint_eq(counts().abandoned, 2);
    say(fd, "200 /a OK\n1\n200 /a OK\n2\n200 /a OK\n3\n");
    check_answer(r[2], "3");
    ck_assert_uint_eq(r[0]->times + r[1]->times, 0);
    ck_assert_uint_eq(counts().abandoned, 0);
    r[0] = show("/b");
    hear(fd, "SHOW /b\n");
    sttp_call_cancel(r[0]->call);
    close(fd);
    turns();
    ck_assert_uint_eq(r[0]->times, 0);
    hear_nothing(test.listener);
    close_test();
}
END_TEST

/* A slot whose caller has gone has its deadline all the same. */
START_TEST(test_cancelled_and_late)
{
    result *r;
    int fd, other;

    open_test((sttp_pool_options){.request_timeout_ms = 1000});
    fd = warm_up();
    r = show("/a");
    hear(fd, "SHOW /a\n");
    sttp_call_cancel(r->call);
    pass_time(500);
    turns();
    r = show("/b");
    hear(fd, "SHOW /b\n");
    pass_time(500);
    turns();
    hear_nothing(fd);
    sttp_call_cancel(r->call);
    hear_end(fd);
    r = show("/c");
    other = accept_peer();
    hear(other, "SHOW /c\n");
    say(other, "200 /c OK\nc\n");
    check_answer(r, "c");
    close(other);
    close_test();
}
END_TEST

/* Half of it was sent. */
START_TEST(test_cancel_half_sent)
{
    static char path[STTP_MAX_PATH + 1];
    sttp_request request = {.action = STTP_ACTION_LIST};
    result *r = &test.results[2];
    size_t size = 0;
    int fd;

    open_client(NULL);
    setsockopt(test.listener, SOL_SOCKET, SO_RCVBUF, &(const int){1}, sizeof(int));
    test.pool = make_pool((sttp_pool_options){.max_in_flight = 100000});
    fd = warm_up();
    for (size_t i = 0; i < STTP_MAX_PATH; i++)
        path[i] = i % 20 == 0 ? '/' : 'p';
    request.path = (sttp_slice){path, STTP_MAX_PATH};
    for (int i = 0; i < 10000; i++) {
        sttp_call *call;

        ck_assert_int_eq(sttp_pool_request(test.pool, &request, done, r, &call), STTP_OK);
        turn();
        sttp_call_cancel(call);
    }
    ck_assert_uint_gt(counts().abandoned, 10);
    ck_assert_uint_lt(counts().abandoned, 10000);
    size = counts().abandoned * (STTP_MAX_PATH + strlen("LIST \n"));
    while (size > 0) {
        char bytes[4096];
        ssize_t n;

        ck_assert_msg(run_until_news(fd), "%zu bytes are missing", size);
        n = recv(fd, bytes, sizeof bytes, 0);
        ck_assert_int_gt(n, 0);
        size -= (size_t)n;
    }
    hear_nothing(fd);
    close(fd);
    close_test();
}
END_TEST

/* ---- within callbacks ---- */

static void cancel_itself(result *r)
{
    sttp_call_cancel(r->call);
}

static void cancel_others(result *r)
{
    (void)r;
    for (size_t i = 0; i < test.asked; i++)
        if (test.results[i].times == 0)
            sttp_call_cancel(test.results[i].call);
}

/* Refused where the pool is being destroyed. */
static void ask_more(result *r)
{
    sttp_request request = request_for(STTP_ACTION_SHOW, "/more");
    sttp_status status;

    r = &test.results[test.asked];
    r->then = ask_more;
    if (test.asked == 100)
        return;
    status = sttp_pool_request(test.pool, &request, done, r, &r->call);
    test.asked += status == STTP_OK;
    ck_assert(status == STTP_OK || status == STTP_ERR_STATE);
}

static void destroy_pool(result *r)
{
    (void)r;
    sttp_pool_destroy(test.pool);
}

/* It has ended all when it returns, but within itself. */
static void destroy_pool_and_ask(result *r)
{
    static bool within;
    sttp_request request = request_for(STTP_ACTION_SHOW, "/a");
    bool outermost = !within;

    within = true;
    sttp_pool_destroy(test.pool);
    ck_assert(!outermost || counts().queued + counts().in_flight == 0);
    ck_assert_int_eq(sttp_pool_request(test.pool, &request, done, r, NULL), STTP_ERR_STATE);
}

static void destroy_all(result *r)
{
    (void)r;
    sttp_poll_destroy(&test.loop);
}

static void flush(result *r)
{
    (void)r;
    sttp_async_flush(test.loop.async);
}

static void make_other_pool(result *r)
{
    (void)r;
    sttp_pool_destroy(make_pool((sttp_pool_options){.min_connections = 1}));
}

static void (*const deeds[])(result *r) = {cancel_itself, cancel_others,        ask_more,
                                           destroy_pool,  destroy_pool_and_ask, destroy_all,
                                           flush,         make_other_pool};

enum { DEEDS = COUNT(deeds) };

static void ask_all(void (*deed)(result *r))
{
    ask(STTP_ACTION_UPDATE, "/a");
    ask_then(STTP_ACTION_SHOW, "/b", deed);
    ask(STTP_ACTION_SHOW, "/c");
    ask_then(STTP_ACTION_CREATE, "/d", deed);
    ask(STTP_ACTION_SHOW, "/e");
}

static void expire(result *r)
{
    size_t finished = test.finished;

    pass_time(5000);
    sttp_async_expire(test.loop.async);
    ck_assert_uint_eq(test.finished, finished);
    (void)r;
}

/* What the response points to is not moved, nor anything else done, before `done` returns. */
START_TEST(test_expire_in_callback)
{
    result *r;
    int fd;

    open_test((sttp_pool_options){.request_timeout_ms = 1000});
    fd = warm_up();
    ask_then(STTP_ACTION_SHOW, "/a", expire);
    r = show("/b");
    hear(fd, "SHOW /a\nSHOW /b\n");
    say(fd, "200 /a OK\na\n");
    check_error(r, STTP_ERR_TIMEOUT, STTP_PHASE_RECEIVE, "SHOW /b");
    close(fd);
    close_test();
}
END_TEST

START_TEST(test_deed_on_answer)
{
    int fd;

    open_test((sttp_pool_options){.max_in_flight = 4});
    fd = warm_up();
    ask_all(deeds[_i]);
    hear(fd, "UPDATE /a \"x\"\nSHOW /b\nSHOW /c\nCREATE /d \"x\"\n");
    send(fd, "200 /a OK\nx\n200 /b OK\nx\n200 /c OK\nx\n100 /d CREATED\n", 51, 0);
    turns();
    ck_assert_uint_eq(test.results[2].times, 1);
    ck_assert_uint_eq(test.results[3].times, 1);
    close(fd);
    turns();
    close_test();
}
END_TEST

START_TEST(test_deed_on_loss)
{
    int fd;

    open_test((sttp_pool_options){.max_in_flight = 4, .no_repeat = true});
    fd = warm_up();
    ask_all(deeds[_i]);
    hear(fd, "UPDATE /a \"x\"\nSHOW /b\nSHOW /c\nCREATE /d \"x\"\n");
    close(fd);
    turns();
    ck_assert_uint_eq(test.results[2].times, 1);
    ck_assert_uint_eq(test.results[3].times, 1);
    turns();
    close_test();
}
END_TEST

START_TEST(test_deed_on_refusal)
{
    open_test((sttp_pool_options){0});
    close(test.listener);
    ask_all(deeds[_i]);
    for (int i = 0; i < 1000 && test.finished < 2 && test.loop.async != NULL; i++)
        sttp_poll_run(&test.loop, 10);
    ck_assert_uint_ge(test.finished, 2);
    turns();
    test.listener = -1;
    close_test();
}
END_TEST

START_TEST(test_deed_on_timeout)
{
    int fd;

    open_test((sttp_pool_options){
        .max_in_flight = 4, .queue_timeout_ms = 900, .request_timeout_ms = 1000});
    fd = warm_up();
    ask_all(deeds[_i]);
    ask_then(STTP_ACTION_SHOW, "/f", deeds[_i]);
    hear(fd, "UPDATE /a \"x\"\nSHOW /b\nSHOW /c\nCREATE /d \"x\"\n");
    pass_time(900);
    turns();
    pass_time(100);
    turns();
    ck_assert_uint_ge(test.finished, 3);
    close(fd);
    turns();
    close_test();
}
END_TEST

START_TEST(test_deed_on_destruction)
{
    int fd;

    open_test((sttp_pool_options){.max_in_flight = 4});
    fd = warm_up();
    ask(STTP_ACTION_UPDATE, "/a");
    turns();
    ask_then(STTP_ACTION_SHOW, "/b", deeds[_i]);
    ask(STTP_ACTION_SHOW, "/c");
    sttp_pool_destroy(test.pool);
    check_unknown(&test.results[2], STTP_ERR_CANCELLED);
    ck_assert_uint_eq(test.results[3].times, 1);
    ck_assert_int_eq(test.results[3].status, STTP_ERR_CANCELLED);
    ck_assert_uint_eq(test.results[4].times, deeds[_i] != cancel_others);
    turns();
    close(fd);
    close_test();
}
END_TEST

/* ---- in the pool's other callbacks ---- */

static void (*event_deed)(result *r);

static void event_destroys(void *context, const sttp_pool_event *event)
{
    (void)event;
    event_deed(context);
    event_deed = flush;
}

static bool permit_destroys(void *context, const struct sockaddr *address)
{
    (void)address;
    event_deed(context);
    return true;
}

/* Each time when the pool tells of something: connected, lost, late, unreachable. */
START_TEST(test_deed_on_event)
{
    sttp_pool_options options = {.size = sizeof options,
                                 .socket_path = "/nowhere/at/all",
                                 .event = event_destroys,
                                 .event_context = &test.results[MAX_RESULTS - 1],
                                 .request_timeout_ms = 1000};
    const char *address = "127.0.0.1";
    int kind = _i / DEEDS;
    int fd = -1;

    open_client(NULL);
    event_deed = kind == 0 || kind == 3 ? deeds[_i % DEEDS] : flush;
    if (kind < 3) {
        options.socket_path = NULL;
        options.host = "h";
        options.addresses = &address;
        options.address_count = 1;
        options.port = test.port;
    }
    ck_assert_int_eq(sttp_pool_create(test.loop.async, &options, &test.pool), STTP_OK);
    show("/a");
    ask(STTP_ACTION_DELETE, "/b");
    if (kind < 3 && run_until_news(test.listener))
        fd = accept(test.listener, NULL, NULL);
    turns();
    event_deed = deeds[_i % DEEDS];
    if (kind == 1)
        reset(fd);
    else if (kind == 2)
        pass_time(1000);
    turns();
    turns();
    if (fd >= 0 && kind != 1)
        close(fd);
    turns();
    close_test();
}
END_TEST

START_TEST(test_deed_on_permit)
{
    sttp_pool_options options = {.permit = permit_destroys,
                                 .permit_context = &test.results[MAX_RESULTS - 1]};

    open_client(NULL);
    event_deed = deeds[_i];
    test.pool = make_pool(options);
    show("/a");
    ask(STTP_ACTION_DELETE, "/b");
    turns();
    event_deed = flush;
    turns();
    close_test();
}
END_TEST

int main(void)
{
    TCase *cases = tcase_create("callbacks");

    tcase_add_test(cases, test_cancel_queued);
    tcase_add_test(cases, test_cancel_connecting);
    tcase_add_loop_test(cases, test_cancel_unsent, 0, 3);
    tcase_add_test(cases, test_cancel_makes_room);
    tcase_add_test(cases, test_cancel_sent);
    tcase_add_test(cases, test_cancelled_and_late);
    tcase_add_test(cases, test_cancel_half_sent);
    tcase_add_test(cases, test_expire_in_callback);
    tcase_add_loop_test(cases, test_deed_on_answer, 0, DEEDS);
    tcase_add_loop_test(cases, test_deed_on_loss, 0, DEEDS);
    tcase_add_loop_test(cases, test_deed_on_refusal, 0, DEEDS);
    tcase_add_loop_test(cases, test_deed_on_timeout, 0, DEEDS);
    tcase_add_loop_test(cases, test_deed_on_destruction, 0, DEEDS);
    tcase_add_loop_test(cases, test_deed_on_event, 0, 4 * DEEDS);
    tcase_add_loop_test(cases, test_deed_on_permit, 0, DEEDS);
    return run_cases("async_callbacks", cases);
}
