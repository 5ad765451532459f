/* A change of the cache's contents does not wait for who copies a large answer. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include <sttp/cache.h>

enum { LARGE = 100000 };

static sttp_cache *cache;
static const sttp_slice path = {"/large", 6};
static char text[LARGE];

static void nothing(void *context, sttp_slice response)
{
    (void)context, (void)response;
    ck_abort_msg("found");
}

static sttp_cache_lease lease(void)
{
    return (sttp_cache_lease){.action = STTP_ACTION_SHOW, .path = path};
}

static void setup(void)
{
    sttp_cache_options options = {.size = sizeof options};
    sttp_cache_lease fetched = lease();
    sttp_response response = {.code = STTP_CODE_OK, .echo = path, .contents = {text, LARGE}};

    memset(text, 'x', sizeof text);
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_OK);
    ck_assert_int_eq(sttp_cache_lease_take(cache, &fetched, nothing, NULL), STTP_CACHE_FETCH);
    sttp_cache_fill(cache, &fetched, &response);
}

static void teardown(void)
{
    sttp_cache_destroy(cache);
}

static void *change(void *argument)
{
    const sttp_cache_change update = {.action = STTP_ACTION_UPDATE, .path = path};

    (void)argument;
    sttp_cache_change_begin(cache, &update);
    sttp_cache_change_end(cache, &update);
    return NULL;
}

/* Takes the answer when another thread has taken it out of the cache. */
static void take_late(void *context, sttp_slice response)
{
    static const char status[] = "200 /large OK\n";
    const size_t head = sizeof status - 1;
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, change, NULL), 0);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(response.size, head + LARGE + 1);
    ck_assert_mem_eq(response.data, status, head);
    ck_assert_mem_eq(response.data + head, text, LARGE);
    *(bool *)context = true;
}

START_TEST(get_does_not_hold_up_changes)
{
    bool taken = false;

    ck_assert(sttp_cache_get(cache, STTP_ACTION_SHOW, path, take_late, &taken));
    ck_assert(taken);
    ck_assert(!sttp_cache_get(cache, STTP_ACTION_SHOW, path, nothing, NULL));
}
END_TEST

START_TEST(lease_does_not_hold_up_changes)
{
    sttp_cache_lease late = lease();
    bool taken = false;

    ck_assert_int_eq(sttp_cache_lease_take(cache, &late, take_late, &taken), STTP_CACHE_HIT);
    ck_assert(taken);
    ck_assert(!sttp_cache_get(cache, STTP_ACTION_SHOW, path, nothing, NULL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("large hits");
    TCase *tests = tcase_create("large hits");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, get_does_not_hold_up_changes);
    tcase_add_test(tests, lease_does_not_hold_up_changes);
    suite_add_tcase(suite, tests);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
