/* What a server knows of others, and the entries that they leave for each other. The clocks are the
 * test's. */
#include <errno.h>
#include <sys/random.h>

#include "core_support.h"
#include "sttpd/redis_entry.h"

enum { BOUND = 1000, EXPIRATION = 10000 }; /* milliseconds */

static int64_t own = 100000000, ahead; /* microseconds: CLOCK_MONOTONIC, and the database's */
static bool no_random;

int __wrap_clock_gettime(clockid_t clock, struct timespec *time);
ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned flags);
ssize_t __real_getrandom(void *bytes, size_t size, unsigned flags);

int __wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
    (void)clock;
    time->tv_sec = own / 1000000;
    time->tv_nsec = own % 1000000 * 1000;
    return 0;
}

ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned flags)
{
    errno = ENOSYS;
    return no_random ? -1 : __real_getrandom(bytes, size, flags);
}

static struct coherence here, there;
static const unsigned char identity[STORE_IDENTITY] = "this database";

static void look(struct coherence *coherence)
{
    coherence->watcher.clock(coherence->watcher.context, ahead - 300, ahead + 200);
}

static void set_up(void)
{
    ck_assert(coherence_init(&here, BOUND, EXPIRATION));
    ck_assert(coherence_init(&there, BOUND, EXPIRATION));
    coherence_begin(&here, NULL, identity);
    coherence_begin(&there, NULL, identity);
    ahead = INT64_C(1700000000000000);
}

static uint64_t now(void)
{
    return (uint64_t)own / 1000;
}

/* ---- clocks ---- */

/* What one server has read at a time is that old for the other, or a few milliseconds older. */
START_TEST(times_are_not_late)
{
    int64_t stamp;
    uint64_t asked = now(), read;

    look(&there);
    ck_assert(coherence_stamp(&there, asked, &stamp));
    own += 100000;
    look(&here);
    ck_assert(coherence_time(&here, stamp, &read));
    ck_assert_uint_le(read, asked);
    ck_assert_uint_ge(read, asked - 5);
}
END_TEST

START_TEST(times_without_a_clock)
{
    int64_t stamp;
    uint64_t read;

    ck_assert(!coherence_stamp(&here, now(), &stamp));
    ck_assert(!coherence_time(&here, ahead + own, &read));
    here.watcher.clock(&here, 5, 4);
    ck_assert(!coherence_stamp(&here, now(), &stamp));
    look(&here);
    ck_assert(coherence_stamp(&here, now(), &stamp));
    own += BOUND * 1000 + 1000;
    ck_assert(!coherence_stamp(&here, now(), &stamp));
    look(&here);
    ck_assert(coherence_stamp(&here, now(), &stamp));
    ck_assert(!coherence_time(&here, INT64_MIN, &read));
    ck_assert(!coherence_time(&here, INT64_MAX, &read));
    ck_assert(!coherence_time(&here, ahead - 1000000, &read)); /* before this machine was there */
}
END_TEST

/* The database's clock is put forward or back by some time. Somebody may know before this server
 * does, or later. Whatever it is taken for, it is never newer than it is. */
START_TEST(a_clock_that_steps)
{
    static const int64_t steps[] = {500000, -500000, 3000000,  -3000000,   20000,
                                    -20000, 1000000, -1000000, 3600000000, -3600000000};
    uint64_t state = random_seed();

    for (int i = 0; i < 20000; i++) {
        int64_t stamp;
        uint64_t asked, read;
        if (i % 50 == 0) {
            ck_assert(coherence_init(&here, BOUND, EXPIRATION));
            ck_assert(coherence_init(&there, BOUND, EXPIRATION));
            look(&here);
            look(&there);
        }
        if (random_below(&state, 4) == 0)
            ahead += steps[random_below(&state, sizeof steps / sizeof steps[0])];
        own += (int64_t)random_below(&state, 300000);
        if (random_below(&state, 3) == 0)
            look(&there);
        asked = now();
        if (!coherence_stamp(&there, asked, &stamp))
            continue;
        for (int turns = 0; turns < 5; turns++) {
            own += (int64_t)random_below(&state, 300000);
            if (random_below(&state, 3) == 0)
                look(&here);
            if (coherence_time(&here, stamp, &read))
                ck_assert_uint_le(read, asked);
        }
        look(&here);
    }
}
END_TEST

/* Who has asked looks at the clock again before the answer is there, others do not. */
START_TEST(a_clock_that_steps_before_the_answer)
{
    int64_t stamp;
    uint64_t asked, read;

    look(&there);
    asked = now();
    own += 100000;
    look(&here);
    ahead += 50000;
    look(&there);
    ck_assert(coherence_stamp(&there, asked, &stamp));
    ck_assert(coherence_time(&here, stamp, &read));
    ck_assert_uint_le(read, asked);
    look(&there);
    ck_assert(!coherence_stamp(&there, asked, &stamp));
}
END_TEST

/* After a step back everything seems older; until it cannot be there any more. */
START_TEST(a_clock_that_was_put_back)
{
    int64_t stamp;
    uint64_t read;

    look(&here);
    look(&there);
    ahead -= 60000000;
    own += 100000;
    look(&there);
    ck_assert(coherence_stamp(&there, now(), &stamp));
    own += 100000;
    look(&here);
    ck_assert(coherence_time(&here, stamp, &read));
    ck_assert_uint_le(read, now() - 60000);
    for (int i = 0; i < 2 * (EXPIRATION + BOUND) / 100 + 4; i++) {
        own += 100000;
        look(&here);
    }
    look(&there);
    ck_assert(coherence_stamp(&there, now(), &stamp));
    own += 100000;
    look(&here);
    ck_assert(coherence_time(&here, stamp, &read));
    ck_assert_uint_ge(read, now() - 110);
}
END_TEST

START_TEST(no_random_bytes)
{
    no_random = true;
    ck_assert(!coherence_init(&here, BOUND, EXPIRATION));
    ck_assert_int_eq(errno, ENOSYS);
}
END_TEST

/* ---- what the cache is told ---- */

static void ignore(void *context, sttp_slice response)
{
    (void)context, (void)response;
}

static bool is_cached(sttp_cache *cache)
{
    return sttp_cache_get(cache, STTP_ACTION_SHOW, slice_of("/d/a"), ignore, NULL);
}

static void fill(sttp_cache *cache)
{
    sttp_cache_lease lease = {.action = STTP_ACTION_SHOW, .path = slice_of("/d/a")};
    sttp_response response = {
        .code = STTP_CODE_OK, .echo = lease.path, .contents = STTP_SLICE("x")};
    ck_assert_int_eq(sttp_cache_lease_take(cache, &lease, ignore, NULL), STTP_CACHE_FETCH);
    sttp_cache_fill(cache, &lease, &response);
    ck_assert(is_cached(cache));
}

START_TEST(the_cache_is_told)
{
    sttp_cache_options options = {.size = sizeof options, .coherence = BOUND};
    const struct store_watcher *watcher = &here.watcher;
    sttp_cache *cache;

    ck_assert_uint_eq(watcher->interval, BOUND / 4);
    watcher->changed(watcher->context, STTP_ACTION_UPDATE, slice_of("/d/a"), 0);
    watcher->lost(watcher->context);
    watcher->vouched(watcher->context, now());
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_OK);
    coherence_begin(&here, cache, identity);
    fill(cache);
    watcher->changed(watcher->context, STTP_ACTION_UPDATE, slice_of("/d/b"), 0);
    ck_assert(is_cached(cache));
    watcher->changed(watcher->context, STTP_ACTION_CREATE, slice_of("/d/b"), 2);
    ck_assert(!is_cached(cache));
    fill(cache);
    watcher->changed(watcher->context, STTP_ACTION_UPDATE, slice_of("/d/a"), 0);
    ck_assert(!is_cached(cache));
    fill(cache);
    watcher->lost(watcher->context);
    ck_assert(!is_cached(cache));
    fill(cache);
    own += BOUND * 1000;
    ck_assert(!is_cached(cache));
    watcher->vouched(watcher->context, now() - 100);
    ck_assert(is_cached(cache));
    sttp_cache_destroy(cache);
}
END_TEST

/* What others have put somewhere before a change that nobody told this cache of does not do. */
START_TEST(told_before_the_cache)
{
    sttp_cache_options options = {.size = sizeof options, .coherence = BOUND};
    const struct store_watcher *watcher = &here.watcher;
    sttp_cache_lease lease = {.action = STTP_ACTION_SHOW, .path = slice_of("/d/a")};
    sttp_response response = {.code = STTP_CODE_NOT_FOUND, .echo = lease.path};
    sttp_cache *cache;
    uint64_t before, after;

    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_OK);
    own += 100000;
    before = now();
    watcher->changed(watcher->context, STTP_ACTION_UPDATE, slice_of("/d/a"), 0);
    coherence_begin(&here, cache, identity);
    own += 100000;
    after = now();
    watcher->vouched(watcher->context, after);
    ck_assert_int_eq(sttp_cache_lease_take(cache, &lease, ignore, NULL), STTP_CACHE_FETCH);
    ck_assert(!sttp_cache_lease_holds(cache, &lease, before));
    ck_assert(sttp_cache_lease_holds(cache, &lease, after));
    sttp_cache_fill(cache, &lease, &response);
    sttp_cache_destroy(cache);
}
END_TEST

/* ---- entries ---- */

static char entry[REDIS_ENTRY_MOST];
static const sttp_request show = {.action = STTP_ACTION_SHOW, .path = STTP_SLICE("/d/a")};
static const sttp_request list = {.action = STTP_ACTION_LIST, .path = STTP_SLICE("/d")};

static size_t write_entry(struct coherence *coherence, sttp_code code, const sttp_request *request,
                          const char *text)
{
    sttp_response response = {.code = code, .echo = request->path};
    if (code == STTP_CODE_PATH_NOT_FOUND)
        response.echo = sttp_parent_path(request->path);
    if (code == STTP_CODE_OK)
        response.contents = slice_of(text);
    if (code == STTP_CODE_SERVER_ERROR || code == STTP_CODE_CLIENT_ERROR)
        response.message = slice_of("no");
    return redis_entry_write(coherence, &response, now(), entry);
}

static bool read_entry(struct coherence *coherence, size_t size, const sttp_request *request)
{
    sttp_response response;
    uint64_t asked;
    return redis_entry_read(coherence, (sttp_slice){entry, size}, request, &response, &asked);
}

START_TEST(entries_are_read_as_they_were_written)
{
    static const sttp_code codes[] = {STTP_CODE_OK, STTP_CODE_NOT_FOUND, STTP_CODE_PATH_NOT_FOUND};
    sttp_response response;
    uint64_t asked, written = now();

    look(&here);
    size_t size = write_entry(&here, codes[_i], &show, "text");
    ck_assert_uint_gt(size, REDIS_ENTRY_HEADER);
    own += 200000;
    look(&there);
    for (int i = 0; i < 2; i++) {
        ck_assert(redis_entry_read(i == 0 ? &here : &there, (sttp_slice){entry, size}, &show,
                                   &response, &asked));
        ck_assert_int_eq(response.code, codes[_i]);
        ck_assert(codes[_i] != STTP_CODE_OK || slice_is(response.contents, "text"));
        ck_assert_uint_le(asked, written);
        ck_assert_uint_ge(asked, i == 0 ? written : written - 5);
    }
    ck_assert(!read_entry(&here, size, &list));
}
END_TEST

/* Who has written it needs no clock but its own. */
START_TEST(entries_without_a_clock)
{
    size_t size = write_entry(&here, STTP_CODE_OK, &list, "a, b/");
    ck_assert_uint_gt(size, 0);
    look(&there);
    ck_assert(read_entry(&here, size, &list));
    ck_assert(!read_entry(&there, size, &list));
}
END_TEST

START_TEST(entries_that_are_not_written)
{
    static char names[REDIS_ENTRY_MOST];
    memset(names, 'x', sizeof names - 1);
    ck_assert_uint_eq(write_entry(&here, STTP_CODE_SERVER_ERROR, &show, NULL), 0);
    ck_assert_uint_eq(write_entry(&here, STTP_CODE_CLIENT_ERROR, &show, NULL), 0);
    ck_assert_uint_eq(write_entry(&here, STTP_CODE_OK, &list, names), 0);
    names[REDIS_ENTRY_MOST - 100] = '\0';
    ck_assert_uint_gt(write_entry(&here, STTP_CODE_OK, &list, names), 0);
}
END_TEST

/* Each byte that is not as it was, each that is missing or too many, makes it none, or at most one
 * with another text; but for those that only the writer or only others look at. */
START_TEST(entries_that_were_tampered_with)
{
    look(&here);
    size_t size = write_entry(&here, STTP_CODE_NOT_FOUND, &show, NULL);
    for (size_t i = 0; i < size; i++) {
        bool is_time = i >= 40 && i < REDIS_ENTRY_HEADER;
        entry[i] ^= 1;
        ck_assert_msg(is_time || !read_entry(&here, size, &show), "byte %zu", i);
        entry[i] ^= 1;
        ck_assert(!read_entry(&here, i, &show));
    }
    entry[size] = '\n';
    ck_assert(!read_entry(&here, size + 1, &show));
    ck_assert(read_entry(&here, size, &show));
    ck_assert(!read_entry(&here, 0, &show));
}
END_TEST

static const char *const planted[] = {
    "200 /d/a OK\ncontrol \x01 character\n",
    "200 /d/b OK\ntext\n",
    "200 /d/a OK\n",
    "200 /d/a OK\ntwo\nlines\n",
    "300 /d/a CLIENT ERROR \"no\"\n",
    "500 /d/a SERVER ERROR \"no\"\n",
    "100 /d/a CREATED\n",
    "600 /d/a DELETED\n",
    "410 /d/a PATH NOT FOUND\n",
    "400 /d/a NOT FOUND\n400 /d/a NOT FOUND\n",
    "garbage",
    "200 /d/a OK\n\xff\xfe\n",
};

START_TEST(entries_with_other_answers)
{
    ck_assert_uint_gt(write_entry(&here, STTP_CODE_OK, &show, "text"), 0);
    memcpy(entry + REDIS_ENTRY_HEADER, planted[_i], strlen(planted[_i]));
    ck_assert(!read_entry(&here, REDIS_ENTRY_HEADER + strlen(planted[_i]), &show));
}
END_TEST

START_TEST(entries_of_another_database)
{
    static const unsigned char other[STORE_IDENTITY] = "another database";
    size_t size = write_entry(&here, STTP_CODE_OK, &show, "text");
    coherence_begin(&here, NULL, other);
    ck_assert(!read_entry(&here, size, &show));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("coherence");
    TCase *tests = tcase_create("coherence");
    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_test(tests, times_are_not_late);
    tcase_add_test(tests, times_without_a_clock);
    tcase_add_test(tests, a_clock_that_steps);
    tcase_add_test(tests, a_clock_that_steps_before_the_answer);
    tcase_add_test(tests, a_clock_that_was_put_back);
    tcase_add_test(tests, no_random_bytes);
    tcase_add_test(tests, the_cache_is_told);
    tcase_add_test(tests, told_before_the_cache);
    tcase_add_loop_test(tests, entries_are_read_as_they_were_written, 0, 3);
    tcase_add_test(tests, entries_without_a_clock);
    tcase_add_test(tests, entries_that_are_not_written);
    tcase_add_test(tests, entries_that_were_tampered_with);
    tcase_add_loop_test(tests, entries_with_other_answers, 0, sizeof planted / sizeof planted[0]);
    tcase_add_test(tests, entries_of_another_database);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
