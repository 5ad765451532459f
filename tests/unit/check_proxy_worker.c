/* What a worker of sttp-proxy has, and the whole proxy: each allocation fails once; and the hosts
 * that a worker forwards to, of which there are only so many. */
#include <event2/event.h>

#include "proxy_running.h"

enum { MORE_THAN_ENOUGH = 10000 };

static uint64_t later; /* milliseconds that the clock is put forward by */

uint64_t __real_sttp_server_now(void);
uint64_t __wrap_sttp_server_now(void);

uint64_t __wrap_sttp_server_now(void)
{
    return __real_sttp_server_now() + later;
}

/* The `n`th allocation fails from here on, until resume. */
static void fail_from(size_t n)
{
    allocations = 0;
    fails_at = n;
    is_loading = true;
}

/* Whether it did. */
static bool resume(void)
{
    is_loading = false;
    return allocations >= fails_at;
}

static void set_up_all(void)
{
    set_up("forward: {enabled: true, allow: [\"127.0.0.1:*\", \"example.org:*\"], parent: "
           "\"sttp://127.0.0.1:1\"}\n"
           "reverse:\n"
           "  - {prefix: /a, balance: hash, upstreams: [\"127.0.0.1:1\", name, \"unix:/x\"]}\n"
           "  - {prefix: /b, balance: random_two, upstreams: [\"127.0.0.1:1\"]}\n");
}

/* ---- memory ---- */

START_TEST(proxy_without_memory)
{
    size_t n = 1;

    set_up_all();
    for (;; n++) {
        fail_from(n);
        bool is_made = proxy_init(&running.proxy, &running.options, &running.log);
        ck_assert_int_eq(resume(), !is_made);
        if (is_made)
            break;
        proxy_release(&running.proxy);
    }
    ck_assert_uint_gt(n, 10);
    release();
}
END_TEST

START_TEST(worker_without_memory)
{
    struct event_base *base = event_base_new();
    struct worker *worker;
    size_t n = 1;

    set_up_all();
    ck_assert(proxy_init(&running.proxy, &running.options, &running.log));
    for (;; n++) {
        fail_from(n);
        worker = worker_begin(&running.proxy, base);
        ck_assert_int_eq(resume(), worker == NULL);
        if (worker != NULL)
            break;
    }
    ck_assert_uint_gt(n, 6);
    for (n = 1;; n++) {
        fail_from(n);
        const sttp_pool *pool = worker_pool(worker, running.proxy.parent, 0);
        ck_assert_int_eq(resume(), pool == NULL);
        if (pool != NULL)
            break;
    }
    ck_assert_uint_gt(n, 2);
    worker_end(&running.proxy, worker);
    event_base_free(base);
    release();
}
END_TEST

/* ---- hosts ---- */

static struct event_base *base;
static struct worker *worker;

static void open_worker(void)
{
    base = event_base_new();
    set_up("forward: {enabled: true, allow: [\"127.0.0.1:*\"]}\n");
    ck_assert(proxy_init(&running.proxy, &running.options, &running.log));
    worker = worker_begin(&running.proxy, base);
    ck_assert_ptr_nonnull(worker);
}

static void close_worker(void)
{
    worker_end(&running.proxy, worker);
    event_base_free(base);
    release();
}

static sttp_pool *get(unsigned port)
{
    sttp_pool *pool;

    ck_assert_int_eq(origins_get(worker, "127.0.0.1", (uint16_t)port, GUARD_LITERAL, &pool),
                     STTP_OK);
    ck_assert_ptr_nonnull(pool);
    return pool;
}

static void ended(void *context, const sttp_response *response, const sttp_error *error)
{
    unsigned *count = context;

    ck_assert_ptr_null(response);
    ck_assert_int_eq(error->status, STTP_ERR_CANCELLED);
    ++*count;
}

START_TEST(host_without_memory)
{
    sttp_pool *pool;
    size_t n = 1;

    open_worker();
    for (;; n++) {
        fail_from(n);
        sttp_status status = origins_get(worker, "127.0.0.1", 80, GUARD_LITERAL, &pool);
        ck_assert_int_eq(resume(), status != STTP_OK);
        if (status == STTP_OK)
            break;
        ck_assert_int_eq(status, STTP_ERR_MEMORY);
        ck_assert_ptr_null(pool);
        ck_assert_uint_eq(worker->origins.count, 0);
    }
    ck_assert_uint_gt(n, 2);
    ck_assert_ptr_eq(get(80), pool);
    close_worker();
}
END_TEST

/* A host and port have one pool; without memory for a larger table the small one goes on. */
START_TEST(hosts_are_found)
{
    sttp_pool *pools[100], *other;

    open_worker();
    for (unsigned i = 0; i < 100; i++) {
        fail_from(i % 3 == 0 ? MORE_THAN_ENOUGH : 1); /* the table is the first */
        sttp_status status =
            origins_get(worker, "127.0.0.1", (uint16_t)(i + 1), GUARD_LITERAL, &pools[i]);
        if (resume())
            pools[i] = get(i + 1);
        else
            ck_assert_int_eq(status, STTP_OK);
    }
    ck_assert_uint_eq(worker->origins.count, 100);
    for (unsigned i = 0; i < 100; i++)
        ck_assert_ptr_eq(get(i + 1), pools[i]);
    ck_assert_int_eq(origins_get(worker, "127.0.0.2", 1, GUARD_LITERAL, &other), STTP_OK);
    ck_assert_ptr_ne(other, pools[0]);
    close_worker();
}
END_TEST

/* Where there are as many as there may be, the one that is idle for longest goes; where none is,
 * there is no room. */
START_TEST(hosts_are_limited)
{
    sttp_request request = {.action = STTP_ACTION_SHOW, .path = STTP_SLICE("/a")};
    unsigned most = 0, asked = 0, cancelled = 0;
    sttp_pool *pool;

    open_worker();
    while (worker->origins.count == most) {
        pool = get(++most);
        if (most == 1)
            continue; /* idle */
        ck_assert_int_eq(sttp_pool_request(pool, &request, ended, &cancelled, NULL), STTP_OK);
        asked++;
        ck_assert_uint_lt(most, MORE_THAN_ENOUGH);
    }
    most--;
    ck_assert_uint_eq(worker->origins.count, most); /* the last one took the place of the first */
    ck_assert_int_eq(origins_get(worker, "127.0.0.1", 1, GUARD_LITERAL, &pool), STTP_ERR_BUSY);
    ck_assert_ptr_null(pool);
    get(2);
    close_worker();
    ck_assert_uint_eq(cancelled, asked);
}
END_TEST

/* Those that nothing was asked of for a while go when others come. */
START_TEST(hosts_are_forgotten)
{
    open_worker();
    for (unsigned port = 1; port <= 10; port++)
        get(port);
    later = 50000;
    get(1);
    for (unsigned port = 11; port <= 20; port++)
        get(port);
    ck_assert_uint_eq(worker->origins.count, 20);
    later = 61000;
    for (unsigned port = 21; port <= 40; port++)
        get(port);
    ck_assert_uint_eq(worker->origins.count, 40 - 9);
    close_worker();
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, proxy_without_memory);
    tcase_add_test(tests, worker_without_memory);
    tcase_add_test(tests, host_without_memory);
    tcase_add_test(tests, hosts_are_found);
    tcase_add_test(tests, hosts_are_limited);
    tcase_add_test(tests, hosts_are_forgotten);
}

int main(void)
{
    return run_suite("proxy_worker", add_tests);
}
