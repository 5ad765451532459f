/* The asynchronous client on each loop that an adapter is there for: the same requests, deadlines
 * and ends on all of them, with a server that answers from a thread of its own. */
#include <inttypes.h>

#include <sttp/adapters/libevent.h>
#include <sttp/adapters/libuv.h>
#include <sttp/adapters/poll.h>

#include "client_support.h"

/* ---- the loops ---- */

typedef struct loop {
    sttp_status (*open)(sttp_async **async);
    void (*run)(void); /* waits for something once */
    void (*destroy)(void);
    void (*close)(void);
} loop;

static sttp_poll on_poll;

static sttp_status poll_open(sttp_async **async)
{
    sttp_status status = sttp_poll_create(&on_poll, NULL);

    *async = on_poll.async;
    return status;
}

static void poll_run(void)
{
    ck_assert_int_eq(sttp_poll_run(&on_poll, -1), 0);
}

static void poll_destroy(void)
{
    sttp_poll_destroy(&on_poll);
}

static void poll_close(void)
{
    ck_assert_ptr_null(on_poll.async);
}

static struct event_base *base;
static sttp_libevent on_libevent;

static sttp_status libevent_open(sttp_async **async)
{
    sttp_status status;

    base = event_base_new();
    ck_assert_ptr_nonnull(base);
    status = sttp_libevent_create(&on_libevent, base, NULL);
    *async = on_libevent.async;
    return status;
}

static void libevent_run(void)
{
    ck_assert_int_ge(event_base_loop(base, EVLOOP_ONCE), 0);
}

static void libevent_destroy(void)
{
    sttp_libevent_destroy(&on_libevent);
}

/* Nothing of the client is left on the loop. */
static void libevent_close(void)
{
    ck_assert_int_eq(event_base_loop(base, EVLOOP_NONBLOCK), 1);
    event_base_free(base);
}

static uv_loop_t uv;
static sttp_libuv *on_libuv;

static sttp_status libuv_open(sttp_async **async)
{
    sttp_status status;

    ck_assert_int_eq(uv_loop_init(&uv), 0);
    status = sttp_libuv_create(&on_libuv, &uv, NULL);
    *async = on_libuv->async;
    return status;
}

static void libuv_run(void)
{
    uv_run(&uv, UV_RUN_ONCE);
}

static void libuv_destroy(void)
{
    sttp_libuv_destroy(on_libuv);
}

static void libuv_close(void)
{
    ck_assert_int_eq(uv_run(&uv, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(uv_loop_close(&uv), 0);
}

static const loop loops[] = {{poll_open, poll_run, poll_destroy, poll_close},
                             {libevent_open, libevent_run, libevent_destroy, libevent_close},
                             {libuv_open, libuv_run, libuv_destroy, libuv_close}};

/* ---- the tests ---- */

enum { MANY = 20000, AT_ONCE = 50 };

static struct {
    const loop *loop;
    sttp_pool *pool;
    unsigned asked;
    unsigned answered;
    unsigned failed;
    bool destroys;
} run;

static void done(void *context, const sttp_response *response, const sttp_error *error);

static void ask_one(void)
{
    char path[32];
    sttp_request request = {.action = STTP_ACTION_SHOW, .path = {path, 0}};

    request.path.size = (size_t)snprintf(path, sizeof path, "/%u", run.asked);
    ck_assert_int_eq(
        sttp_pool_request(run.pool, &request, done, (void *)(uintptr_t)run.asked, NULL), STTP_OK);
    run.asked++;
}

static void done(void *context, const sttp_response *response, const sttp_error *error)
{
    char path[32];

    if (response == NULL) {
        run.failed++;
        ck_assert_int_ne(error->status, STTP_OK);
        if (run.destroys && error->status != STTP_ERR_CANCELLED)
            run.loop->destroy();
        return;
    }
    snprintf(path, sizeof path, "/%" PRIuPTR, (uintptr_t)context);
    ck_assert_uint_eq(response->contents.size, strlen(path));
    ck_assert_int_eq(memcmp(response->contents.data, path, strlen(path)), 0);
    run.answered++;
    if (run.asked < MANY)
        ask_one();
}

static void open_run(int index, sttp_pool_options options)
{
    static const char *const addresses[] = {"127.0.0.1"};
    sttp_async *async;

    memset(&run, 0, sizeof run);
    run.loop = &loops[index];
    ck_assert_int_eq(run.loop->open(&async), STTP_OK);
    options.size = sizeof options;
    options.host = "h";
    options.addresses = addresses;
    options.address_count = 1;
    options.max_connections = 1;
    ck_assert_int_eq(sttp_pool_create(async, &options, &run.pool), STTP_OK);
}

START_TEST(test_many)
{
    echo_server server;

    echo_start(&server, _i % 2 == 0 ? 0 : 1000); /* the server closes now and then */
    open_run(_i / 2, (sttp_pool_options){.port = server.port});
    for (int i = 0; i < AT_ONCE; i++)
        ask_one();
    while (run.answered < MANY)
        run.loop->run();
    ck_assert_uint_eq(run.failed, 0);
    run.loop->destroy();
    run.loop->close();
    echo_stop(&server);
    ck_assert_uint_eq(server.connections, _i % 2 == 0 ? 1 : MANY / 1000 + (MANY % 1000 != 0));
}
END_TEST

START_TEST(test_timeout)
{
    black_hole hole = black_hole_open("127.0.0.1");

    open_run(_i, (sttp_pool_options){.port = port_of(hole.listener), .connect_timeout_ms = 30});
    ask_one();
    while (run.failed == 0)
        run.loop->run();
    run.loop->destroy();
    run.loop->close();
    black_hole_close(&hole);
}
END_TEST

START_TEST(test_destroyed_in_callback)
{
    int listener = listening_socket("127.0.0.1", 0);

    open_run(_i, (sttp_pool_options){.port = port_of(listener)});
    close(listener);
    run.destroys = true;
    ask_one();
    ask_one();
    while (run.failed == 0)
        run.loop->run();
    ck_assert_uint_eq(run.failed, 2);
    run.loop->close();
}
END_TEST

/* More is sent than the socket takes at once: the loop has to tell when there is room again. The
 * answers are 300s, which speak of the path. */
static unsigned refused;

static void count_refusal(void *context, const sttp_response *response, const sttp_error *error)
{
    (void)context;
    ck_assert_msg(response != NULL, "%s", error != NULL ? error->text : "");
    ck_assert_int_eq(response->code, STTP_CODE_CLIENT_ERROR);
    refused++;
}

START_TEST(test_full)
{
    enum { COUNT_OF_ALL = 50000 };
    static char text[STTP_MAX_CONTENTS_CHARS];
    sttp_request request = {.action = STTP_ACTION_CREATE, .path = STTP_SLICE("/a")};
    echo_server server;

    echo_start(&server, 0);
    open_run(_i, (sttp_pool_options){.port = server.port,
                                     .max_in_flight = COUNT_OF_ALL,
                                     .max_queued = COUNT_OF_ALL});
    memset(text, 'x', sizeof text);
    request.contents = (sttp_slice){text, sizeof text};
    for (int i = 0; i < COUNT_OF_ALL; i++)
        ck_assert_int_eq(sttp_pool_request(run.pool, &request, count_refusal, NULL, NULL), STTP_OK);
    for (refused = 0; refused < COUNT_OF_ALL;)
        run.loop->run();
    run.loop->destroy();
    run.loop->close();
    echo_stop(&server);
    ck_assert_uint_eq(server.connections, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("async_adapters");
    TCase *cases = tcase_create("adapters");
    SRunner *runner;
    int failed;

    tcase_set_timeout(cases, 60);
    tcase_add_loop_test(cases, test_many, 0, 2 * COUNT(loops));
    tcase_add_loop_test(cases, test_timeout, 0, COUNT(loops));
    tcase_add_loop_test(cases, test_full, 0, COUNT(loops));
    tcase_add_loop_test(cases, test_destroyed_in_callback, 0, COUNT(loops));
    suite_add_tcase(suite, cases);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
