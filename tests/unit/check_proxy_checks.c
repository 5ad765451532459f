/* Active health checks, against a peer that the test plays. */
#include <errno.h>

#include "proxy_running.h"
#include "sttp-proxy/checks.h"

#include <sttp/proxy_header.h>

static struct checks checks;
static bool no_thread;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *context), void *context);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *context), void *context);

/* The thread is not to see that allocations fail. */
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *context), void *context)
{
    is_loading = false;
    return no_thread ? EAGAIN : __real_pthread_create(thread, attributes, run, context);
}

static health_state state(void)
{
    return health_look(running.proxy.groups->upstreams->health).state;
}

/* One check: it is answered, and closes. */
static void answer_check(int listener, const char *asked, const char *answer)
{
    int peer = accept_one(listener);

    hear(peer, asked);
    say(peer, answer);
    hear_end(peer);
}

/* Down after `fall` bad answers, up after `rise` good ones; a loop is for the clients to be told.
 * What came of a check was noted when its connection ends. */
START_TEST(answers_decide)
{
    static const char asked[] = "LIST /?limit=1\n";
    unsigned port;
    int listener = listener_on(AF_INET, 8, &port);

    set_up("reverse: [{prefix: /, upstreams: [\"127.0.0.1:%u\"],\n"
           "  health: {interval: 10ms, timeout: 10s, fall: 2, rise: 2}}]\n",
           port);
    ck_assert(proxy_init(&running.proxy, &running.options, &running.log));
    ck_assert(checks_start(&checks, &running.proxy));
    answer_check(listener, asked, "500 / SERVER ERROR \"disk\"\n");
    answer_check(listener, asked, "400 / NOT FOUND\n");
    answer_check(listener, asked, "500 / SERVER ERROR \"disk\"\n");
    answer_check(listener, asked, "what?\n");
    answer_check(listener, asked, "what?\n");
    ck_assert_int_eq(state(), HEALTH_EJECTED);
    answer_check(listener, asked, "500 / SERVER ERROR \"proxy loop\"\n");
    answer_check(listener, asked, "200 / OK\na/\n");
    int peer = accept_one(listener);
    ck_assert_int_eq(state(), HEALTH_UP);
    checks_stop(&checks);
    close(peer);
    close(listener);
    release();
}
END_TEST

/* A connection that is closed without an answer is a failure: nothing is asked twice. A proxy that
 * is told of hops is told of the first. */
START_TEST(hops_are_told)
{
    char header[STTP_PROXY_HEADER_ROOM], got[STTP_PROXY_HEADER_ROOM];
    size_t size = sttp_proxy_header_write(header, NULL, NULL, 1);
    unsigned port;
    int listener = listener_on(AF_INET, 8, &port);

    set_up("reverse: [{prefix: /, upstreams: [{address: \"127.0.0.1:%u\", send_proxy: v2}],\n"
           "  health: {interval: 10ms, timeout: 10s, fall: 1, rise: 1}}]\n",
           port);
    ck_assert(proxy_init(&running.proxy, &running.options, &running.log));
    ck_assert(checks_start(&checks, &running.proxy));
    int peer = accept_one(listener);
    ck_assert_int_eq(recv(peer, got, size, MSG_WAITALL), (ssize_t)size);
    ck_assert_int_eq(memcmp(got, header, size), 0);
    hear(peer, "LIST /?limit=1\n");
    close(peer);
    peer = accept_one(listener);
    ck_assert_int_eq(state(), HEALTH_EJECTED);
    checks_stop(&checks);
    close(peer);
    close(listener);
    release();
}
END_TEST

/* Nor without a thread. */
START_TEST(start_without_memory)
{
    size_t n = 1;
    unsigned port;
    int listener = listener_on(AF_INET, 8, &port);

    set_up("reverse: [{prefix: /, upstreams: [\"127.0.0.1:%u\"], health: {interval: 1d}}]\n", port);
    ck_assert(proxy_init(&running.proxy, &running.options, &running.log));
    for (;; n++) {
        allocations = 0;
        fails_at = n;
        is_loading = true;
        no_thread = true;
        ck_assert(!checks_start(&checks, &running.proxy));
        if (!is_loading)
            break; /* it has come to the thread */
    }
    ck_assert_uint_gt(n, 3);
    no_thread = false;
    ck_assert(checks_start(&checks, &running.proxy));
    checks_stop(&checks);
    close(listener);
    release();
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, answers_decide);
    tcase_add_test(tests, hops_are_told);
    tcase_add_test(tests, start_without_memory);
}

int main(void)
{
    return run_suite("proxy_checks", add_tests);
}
