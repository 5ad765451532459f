/* The cache of a daemon and its thread: when they are there, what is said, and what is left. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core_support.h"
#include "daemon/caching.h"

static struct caching caching;
static log_sink sink;
static int ends[2];

static void setup(void)
{
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    sink =
        (log_sink){.fd = ends[1], .level = LOG_LEVEL_WARNING, .mutex = PTHREAD_MUTEX_INITIALIZER};
}

static void teardown(void)
{
    close(ends[0]);
    close(ends[1]);
}

/* What was logged, as a string. */
static const char *logged(void)
{
    static char text[4096];
    ssize_t size = read(ends[0], text, sizeof text - 1);
    text[size > 0 ? size : 0] = '\0';
    return text;
}

static struct caching_settings defaults(void)
{
    return (struct caching_settings){
        .enabled = true, .max_files = 100, .max_size = 10 << 20, .expiration = 300000};
}

/* ---- what it uses ---- */

static sttp_status refusal; /* of the next cache, with EPERM in errno; STTP_OK: there is none */
static int caches;
static bool no_thread;
static atomic_int threads; /* that were started */
static atomic_int waits;   /* of the thread for its next turn */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t expired = PTHREAD_COND_INITIALIZER;
static int expirations; /* calls of sttp_cache_expire */

sttp_status __real_sttp_cache_create(const sttp_cache_options *options, sttp_cache **cache);
sttp_status __wrap_sttp_cache_create(const sttp_cache_options *options, sttp_cache **cache);
void __real_sttp_cache_destroy(sttp_cache *cache);
void __wrap_sttp_cache_destroy(sttp_cache *cache);
void __real_sttp_cache_expire(sttp_cache *cache);
void __wrap_sttp_cache_expire(sttp_cache *cache);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument);
int __real_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *lock,
                                  const struct timespec *until);
int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *lock,
                                  const struct timespec *until);

sttp_status __wrap_sttp_cache_create(const sttp_cache_options *options, sttp_cache **cache)
{
    *cache = NULL;
    errno = EPERM;
    if (refusal != STTP_OK)
        return refusal;
    caches++;
    return __real_sttp_cache_create(options, cache);
}

void __wrap_sttp_cache_destroy(sttp_cache *cache)
{
    ck_assert_ptr_nonnull(cache);
    caches--;
    __real_sttp_cache_destroy(cache);
}

void __wrap_sttp_cache_expire(sttp_cache *cache)
{
    __real_sttp_cache_expire(cache);
    pthread_mutex_lock(&mutex);
    expirations++;
    pthread_cond_signal(&expired);
    pthread_mutex_unlock(&mutex);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument)
{
    if (no_thread)
        return EAGAIN;
    atomic_fetch_add(&threads, 1);
    return __real_pthread_create(thread, attributes, run, argument);
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *lock,
                                  const struct timespec *until)
{
    if (condition == &caching.ending)
        atomic_fetch_add(&waits, 1);
    return __real_pthread_cond_timedwait(condition, lock, until);
}

static void start(const struct caching_settings *options)
{
    ck_assert(caching_start(&caching, options, &sink));
}

static void check_nothing_is_left(void)
{
    ck_assert_ptr_null(caching.cache);
    ck_assert_int_eq(caches, 0);
}

static void stop(void)
{
    caching_stop(&caching);
    check_nothing_is_left();
}

/* ---- the thread ---- */

static double seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void wait_for_expirations(int count)
{
    struct timespec until;
    int error = 0;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    pthread_mutex_lock(&mutex);
    while (expirations < count && error == 0)
        error = pthread_cond_timedwait(&expired, &mutex, &until);
    pthread_mutex_unlock(&mutex);
    ck_assert_int_eq(error, 0);
}

static void never(sttp_cache_lease *lease, const sttp_response *response)
{
    (void)lease, (void)response;
    ck_abort_msg("completed");
}

static void ignore(void *context, sttp_slice response)
{
    (void)context, (void)response;
}

static void keep_an_answer(void)
{
    sttp_cache_lease lease = {
        .action = STTP_ACTION_SHOW, .path = STTP_SLICE("/a"), .complete = never};
    sttp_response response = {
        .code = STTP_CODE_OK, .echo = lease.path, .contents = STTP_SLICE("x")};
    ck_assert_int_eq(sttp_cache_lease_take(caching.cache, &lease, ignore, NULL), STTP_CACHE_FETCH);
    sttp_cache_fill(caching.cache, &lease, &response);
}

static bool is_kept(void)
{
    return sttp_cache_get(caching.cache, STTP_ACTION_SHOW, STTP_SLICE("/a"), ignore, NULL);
}

static size_t entries(void)
{
    sttp_cache_statistics counts;
    sttp_cache_count(caching.cache, &counts);
    return (size_t)counts.entries;
}

/* An answer that may be given for as long as two turns take may be gone after the second, and is
 * after the third. */
START_TEST(once_a_second_what_has_expired_is_removed)
{
    struct caching_settings options = defaults();
    double started = seconds();
    options.expiration = 2000;
    start(&options);
    keep_an_answer();
    ck_assert_uint_eq(entries(), 1);
    wait_for_expirations(3);
    ck_assert(seconds() - started >= 3.0);
    ck_assert_uint_eq(entries(), 0);
    stop();
    ck_assert_str_eq(logged(), "");
}
END_TEST

/* A stop that waited for the thread's next turn would take most of a second each time. */
START_TEST(it_stops_at_once)
{
    struct caching_settings options = defaults();
    double shortest = 1000;
    for (int i = 0; i < 5; i++) {
        start(&options);
        while (atomic_load(&waits) <= i)
            sched_yield();
        double started = seconds();
        stop();
        double took = seconds() - started;
        if (took < shortest)
            shortest = took;
    }
    ck_assert_double_lt(shortest, 0.5);
    ck_assert_int_eq(atomic_load(&threads), 5);
}
END_TEST

/* ---- settings ---- */

static const struct setting {
    bool enabled;
    uint64_t max_files, max_size, expiration;
    bool is_there;
    const char *warning; /* NULL: none */
} settings[] = {
    {true, 100, 10 << 20, 300000, true, NULL},
    {true, 1, 10 << 20, 200, true, NULL},
    {false, 100, 10 << 20, 300000, false, NULL},
    {false, 100, 1024, 0, false, NULL},
    {true, 0, 10 << 20, 300000, false, NULL},
    {true, 0, 1024, 0, false, NULL},
    {true, 100, 10 << 20, 0, false, "cache.expiration is 0: nothing is kept"},
    {true, 100, 1024, 0, false, "cache.expiration is 0: nothing is kept"},
    {true, 100, 10 << 20, 199, true, "cache.expiration is 199 ms: little or nothing is kept"},
    {true, 100, 10 << 20, 1, true, "cache.expiration is 1 ms: little or nothing is kept"},
    {true, 100, 1024, 300000, true,
     "cache.max_size is 1024 bytes: answers over 64 bytes are not kept"},
};

START_TEST(settings_are_judged)
{
    const struct setting *setting = &settings[_i];
    struct caching_settings options = {.enabled = setting->enabled,
                                       .max_files = setting->max_files,
                                       .max_size = setting->max_size,
                                       .expiration = setting->expiration};
    start(&options);
    ck_assert_int_eq(caching.cache != NULL, setting->is_there);
    ck_assert_int_eq(caches, setting->is_there);
    ck_assert_int_eq(atomic_load(&threads), setting->is_there);
    stop();
    const char *text = logged();
    if (setting->warning == NULL) {
        ck_assert_str_eq(text, "");
        return;
    }
    const char *warning = strstr(text, " warning ");
    ck_assert_msg(warning != NULL, "%s", text);
    warning += strlen(" warning ");
    ck_assert_msg(strncmp(warning, setting->warning, strlen(setting->warning)) == 0, "%s", text);
    ck_assert_msg(strchr(text, '\n')[1] == '\0', "%s", text);
}
END_TEST

/* The limit of the warning is the longest answer that there is: it is kept. */
/* Where answers are kept elsewhere its limits say nothing; it is there, and keeps none. */
START_TEST(leases_alone)
{
    struct caching_settings options = {.enabled = true,
                                       .max_files = 0,
                                       .max_size = 1024,
                                       .expiration = 300000,
                                       .leases_only = true};
    start(&options);
    ck_assert_ptr_nonnull(caching.cache);
    keep_an_answer();
    ck_assert_uint_eq(entries(), 0);
    stop();
    ck_assert_str_eq(logged(), "");
}
END_TEST

START_TEST(others_change_the_storage_too)
{
    struct caching_settings options = defaults();
    options.coherence = 1000;
    start(&options);
    keep_an_answer();
    double started = seconds();
    while (is_kept())
        sched_yield();
    ck_assert(seconds() - started <= 1.1);
    stop();
}
END_TEST

START_TEST(no_warning_where_the_longest_answer_fits)
{
    static char path[STTP_MAX_PATH], text[STTP_MAX_CONTENTS_BYTES];
    struct caching_settings options = defaults();
    size_t longest = sizeof path + sizeof text + strlen("200  OK\n\n") + STTP_CACHE_OVERHEAD;
    for (int i = 0; i < 2; i++) {
        options.max_size = 8 * longest - (unsigned)i;
        start(&options);
        memset(path, 'a', sizeof path);
        memset(text, 'x', sizeof text);
        path[0] = '/';
        sttp_cache_lease lease = {
            .action = STTP_ACTION_SHOW, .path = {path, sizeof path}, .complete = never};
        sttp_response response = {
            .code = STTP_CODE_OK, .echo = lease.path, .contents = {text, sizeof text}};
        ck_assert_int_eq(sttp_cache_lease_take(caching.cache, &lease, ignore, NULL),
                         STTP_CACHE_FETCH);
        sttp_cache_fill(caching.cache, &lease, &response);
        ck_assert_uint_eq(entries(), i == 0);
        stop();
        ck_assert_int_eq(strstr(logged(), "cache.max_size") == NULL, i == 0);
    }
}
END_TEST

/* ---- failures ---- */

static void check_failure(const char *text)
{
    struct caching_settings options = defaults();
    ck_assert(!caching_start(&caching, &options, &sink));
    ck_assert_int_eq(atomic_load(&threads), 0);
    check_nothing_is_left();
    const char *line = logged();
    ck_assert_msg(strstr(line, text) != NULL, "%s", line);
    stop(); /* as main does */
}

START_TEST(no_memory)
{
    refusal = STTP_ERR_MEMORY;
    check_failure(" error cannot create the cache: out of memory\n");
}
END_TEST

START_TEST(no_random_bytes)
{
    refusal = STTP_ERR_SYSTEM;
    check_failure(" error cannot create the cache: Operation not permitted\n");
}
END_TEST

START_TEST(no_thread_for_it)
{
    no_thread = true;
    check_failure(" error cannot start a thread for the cache: Resource temporarily unavailable\n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("caching");
    TCase *tests = tcase_create("caching");
    tcase_set_timeout(tests, 90);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, once_a_second_what_has_expired_is_removed);
    tcase_add_test(tests, it_stops_at_once);
    tcase_add_loop_test(tests, settings_are_judged, 0, sizeof settings / sizeof settings[0]);
    tcase_add_test(tests, leases_alone);
    tcase_add_test(tests, others_change_the_storage_too);
    tcase_add_test(tests, no_warning_where_the_longest_answer_fits);
    tcase_add_test(tests, no_memory);
    tcase_add_test(tests, no_random_bytes);
    tcase_add_test(tests, no_thread_for_it);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
