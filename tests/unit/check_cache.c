/* The cache of answers: what is given and kept, within its limits, for how long; without memory;
 * and what it shows of itself. */
#include "cache_support.h"

/* ---- what is given ---- */

static const struct answer {
    sttp_action action;
    const char *path;
    sttp_code code;
    const char *text;
    const char *bytes; /* NULL: it is not kept */
} answers[] = {
    {SHOW, "/a", STTP_CODE_OK, "text", "200 /a OK\ntext\n"},
    {SHOW, "/a", STTP_CODE_OK, "", "200 /a OK\n\n"},
    {SHOW, "/d/a", STTP_CODE_NOT_FOUND, NULL, "400 /d/a NOT FOUND\n"},
    {SHOW, "/d/a", STTP_CODE_PATH_NOT_FOUND, NULL, "410 /d/ PATH NOT FOUND\n"},
    {LIST, "/", STTP_CODE_OK, "a, b/", "200 / OK\na, b/\n"},
    {LIST, "/d", STTP_CODE_OK, "", "200 /d OK\n\n"},
    {LIST, "/d/", STTP_CODE_NOT_FOUND, NULL, "400 /d/ NOT FOUND\n"},
    {LIST, "/d/e/", STTP_CODE_PATH_NOT_FOUND, NULL, "410 /d/ PATH NOT FOUND\n"},
    {SHOW, "/a", STTP_CODE_CLIENT_ERROR, NULL, NULL},
    {SHOW, "/a", STTP_CODE_SERVER_ERROR, NULL, NULL},
};

START_TEST(answer_is_kept)
{
    const struct answer *answer = &answers[_i];
    create(0, 0, 0);
    ck_assert_ptr_null(cached(answer->action, answer->path));
    ask(answer->action, answer->path, answer->code, answer->text);
    const char *got = cached(answer->action, answer->path);
    if (answer->bytes == NULL) {
        ck_assert_ptr_null(got);
        ck_assert_uint_eq(counts().entries, 0);
        return;
    }
    ck_assert_ptr_nonnull(got);
    ck_assert_str_eq(got, answer->bytes);
    ck_assert_uint_eq(counts().entries, 1);
    ck_assert_uint_eq(counts().hits, 1);
    ck_assert_uint_eq(counts().misses, 1);
    ck_assert_uint_eq(counts().fills, 1);
}
END_TEST

/* Neither another action, nor a path that begins or ends alike, nor the same with a slash. */
START_TEST(others_are_not_given)
{
    create(0, 0, 0);
    ask(SHOW, "/dir/ab", STTP_CODE_OK, "x");
    ask(SHOW, "/no/ab", STTP_CODE_PATH_NOT_FOUND, NULL);
    ask(LIST, "/dir", STTP_CODE_OK, "ab");
    static const char *const paths[] = {"/dir/a", "/dir/abc", "/dir/aB", "/",    "/no/",
                                        "/no",    "/no/a",    "/no/abc", "/dir/"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        ck_assert_ptr_null(cached(SHOW, paths[i]));
        ck_assert_ptr_null(cached(LIST, paths[i]));
    }
    ck_assert_ptr_null(cached(LIST, "/dir/ab"));
    ck_assert_ptr_null(cached(SHOW, "/dir"));
    ck_assert_ptr_nonnull(cached(SHOW, "/dir/ab"));
    ck_assert_ptr_nonnull(cached(SHOW, "/no/ab"));
    ck_assert_ptr_nonnull(cached(LIST, "/dir"));
}
END_TEST

/* What a change could not take out is not taken in. */
START_TEST(long_path_is_not_kept)
{
    char path[STTP_MAX_PATH + 2];
    memset(path, 'a', sizeof path);
    path[0] = '/';
    path[STTP_MAX_PATH + 1] = '\0';
    create(0, 0, 0);
    ask(SHOW, path, STTP_CODE_OK, "x");
    ck_assert(!is_cached(SHOW, path));
    path[STTP_MAX_PATH] = '\0';
    ask(SHOW, path, STTP_CODE_OK, "x");
    ck_assert(is_cached(SHOW, path));
}
END_TEST

START_TEST(answer_for_another_path_is_not_kept)
{
    create(0, 0, 0);
    sttp_cache_lease lease = lease_of(SHOW, "/a");
    sttp_response response = response_of(STTP_CODE_OK, slice_of("/b"), "x");
    fetch(&lease);
    sttp_cache_fill(cache, &lease, &response);
    ck_assert(!is_cached(SHOW, "/a"));
    ck_assert(!is_cached(SHOW, "/b"));
}
END_TEST

/* The cache of a proxy: the same path of two origins, each with an answer as it came. */
START_TEST(origins_are_kept_apart)
{
    static const char *const paths[] = {"sttp://a:1/x/y", "sttp://b:1/x/y", "/x/y"};
    static const char *const texts[] = {"200 /x/y OK\nA\n", "200 /x/y OK\nB\n", "200 /x/y OK\nC\n"};
    static const char *const contents[] = {"A", "B", "C"};
    create(0, 0, 0);
    for (int i = 0; i < 3; i++) {
        sttp_cache_lease lease = lease_of(SHOW, paths[i]);
        lease.origin_size = strlen(paths[i]) - strlen("/x/y");
        fetch(&lease);
        sttp_response response = response_of(STTP_CODE_OK, slice_of("/x/y"), contents[i]);
        sttp_cache_fill(cache, &lease, &response);
    }
    for (int i = 0; i < 3; i++)
        ck_assert_str_eq(cached(SHOW, paths[i]), texts[i]);
    ck_assert_uint_eq(counts().bytes, 3 * (STTP_CACHE_OVERHEAD + strlen(texts[0])) +
                                          strlen(paths[0]) + strlen(paths[1]));
    sttp_cache_change change = {.action = STTP_ACTION_UPDATE, .path = slice_of(paths[0])};
    sttp_cache_change_begin(cache, &change);
    sttp_cache_change_end(cache, &change);
    ck_assert(!is_cached(SHOW, paths[0]));
    ck_assert(is_cached(SHOW, paths[1]));
    ck_assert(is_cached(SHOW, paths[2]));
}
END_TEST

/* The directories of one origin that a change makes end what was not there of it. */
START_TEST(absence_of_an_origin_ends)
{
    const char *path = "sttp://a:1/x/y";
    create(0, 0, 0);
    sttp_cache_lease lease = lease_of(SHOW, path);
    lease.origin_size = strlen("sttp://a:1");
    fetch(&lease);
    sttp_response response = {.code = STTP_CODE_PATH_NOT_FOUND, .echo = slice_of("/x/")};
    sttp_cache_fill(cache, &lease, &response);
    ck_assert_str_eq(cached(SHOW, path), "410 /x/ PATH NOT FOUND\n");
    sttp_cache_change change = {.action = STTP_ACTION_CREATE,
                                .path = slice_of("sttp://a:1/x/z"),
                                .made = slice_of("sttp://a:1/x")};
    sttp_cache_change_begin(cache, &change);
    sttp_cache_change_end(cache, &change);
    ck_assert(!is_cached(SHOW, path));
}
END_TEST

/* ---- limits ---- */

START_TEST(least_recently_used_goes_first)
{
    create(3, 0, 0);
    ask(SHOW, "/a", STTP_CODE_OK, "x");
    ask(SHOW, "/b", STTP_CODE_OK, "x");
    ask(SHOW, "/c", STTP_CODE_OK, "x");
    ck_assert_uint_eq(counts().evictions, 0);
    ck_assert_ptr_nonnull(cached(SHOW, "/a"));
    ask(SHOW, "/d", STTP_CODE_OK, "x");
    ck_assert_uint_eq(counts().entries, 3);
    ck_assert_uint_eq(counts().evictions, 1);
    ck_assert_ptr_null(cached(SHOW, "/b"));
    ck_assert_ptr_nonnull(cached(SHOW, "/c"));
    ck_assert_ptr_nonnull(cached(SHOW, "/a"));
    ck_assert_ptr_nonnull(cached(SHOW, "/d"));
}
END_TEST

static size_t size_of(const char *path, size_t text)
{
    return STTP_CACHE_OVERHEAD + strlen("200  OK\n\n") + strlen(path) + text;
}

/* Up to the last byte nothing goes; with one more the oldest does. */
START_TEST(bytes_are_exact)
{
    char text[101];
    memset(text, 'x', sizeof text);
    size_t each = size_of("/0", sizeof text - 1);
    create(0, 10 * each + 1, 0);
    for (int i = 0; i < 10; i++) {
        char path[] = {'/', (char)('0' + i), '\0'};
        text[sizeof text - 1] = '\0';
        ask(SHOW, path, STTP_CODE_OK, text);
    }
    ck_assert_uint_eq(counts().bytes, 10 * each);
    ck_assert_uint_eq(counts().evictions, 0);
    sttp_cache_change change = {.action = STTP_ACTION_UPDATE, .path = slice_of("/9")};
    sttp_cache_change_begin(cache, &change);
    sttp_cache_change_end(cache, &change);
    text[sizeof text - 1] = 'x';
    sttp_cache_lease lease = lease_of(SHOW, "/9");
    fetch(&lease);
    sttp_response response = {
        .code = STTP_CODE_OK, .echo = lease.path, .contents = {text, sizeof text}};
    sttp_cache_fill(cache, &lease, &response);
    ck_assert_uint_eq(counts().bytes, 10 * each + 1);
    ck_assert_uint_eq(counts().evictions, 0);
    ask(SHOW, "/x", STTP_CODE_NOT_FOUND, NULL);
    ck_assert_uint_eq(counts().evictions, 1);
    ck_assert_ptr_null(cached(SHOW, "/0"));
}
END_TEST

START_TEST(one_eighth_is_the_most)
{
    size_t most = size_of("/a", 100);
    char text[102] = {0};
    create(0, 8 * most, 0);
    memset(text, 'x', 100);
    ask(SHOW, "/a", STTP_CODE_OK, text);
    ck_assert_ptr_nonnull(cached(SHOW, "/a"));
    text[100] = 'x';
    ask(SHOW, "/b", STTP_CODE_OK, text);
    ck_assert_ptr_null(cached(SHOW, "/b"));
    ck_assert_ptr_nonnull(cached(SHOW, "/a"));
}
END_TEST

START_TEST(options_out_of_range)
{
    sttp_cache_options options = {.size = sizeof options - 1};
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_ERR_ARGUMENT);
    options = (sttp_cache_options){.size = sizeof options, .expiration = ((uint64_t)1 << 36) + 1};
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_ERR_ARGUMENT);
    options = (sttp_cache_options){.size = sizeof options, .max_entries = ((size_t)1 << 31) + 1};
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_ERR_ARGUMENT);
    ck_assert_ptr_null(cache);
}
END_TEST

/* ---- age ---- */

/* Counted from when the storage was asked; up to 64 milliseconds too early, never too late. */
START_TEST(expired_is_not_given)
{
    create(0, 0, 10000);
    sttp_cache_lease lease = lease_of(SHOW, "/a");
    fetch(&lease);
    clock_now += 4000;
    fill(&lease, STTP_CODE_OK, "x");
    clock_now += 6000 - 64 - 2;
    ck_assert_ptr_nonnull(cached(SHOW, "/a"));
    clock_now += 64 + 2;
    ck_assert_ptr_null(cached(SHOW, "/a"));
    fetch(&lease);
    fill(&lease, STTP_CODE_SERVER_ERROR, NULL);
    ck_assert_uint_eq(counts().expiries, 1);
    ck_assert_uint_eq(counts().entries, 0);
    ck_assert_uint_eq(counts().bytes, 0);
}
END_TEST

START_TEST(expired_is_removed)
{
    create(5000, 0, 10000);
    char path[16];
    for (int i = 0; i < 3000; i++) {
        snprintf(path, sizeof path, "/%d", i);
        ask(i % 2 ? LIST : SHOW, path, STTP_CODE_OK, "x");
    }
    clock_now += 5000;
    ask(SHOW, "/young", STTP_CODE_OK, "x");
    sttp_cache_expire(cache);
    ck_assert_uint_eq(counts().entries, 3001);
    clock_now += 5000;
    sttp_cache_expire(cache);
    ck_assert_uint_eq(counts().entries, 1);
    ck_assert_uint_eq(counts().expiries, 3000);
    ck_assert_uint_eq(counts().bytes, size_of("/young", 1));
}
END_TEST

static uint64_t own_time;

static uint64_t own_clock(void)
{
    return own_time;
}

/* A program may have read the time already. */
START_TEST(clock_is_the_one_that_is_given)
{
    sttp_cache_options options = {.size = sizeof options, .expiration = 10000, .clock = own_clock};
    own_time = 7;
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_OK);
    ask(SHOW, "/a", STTP_CODE_OK, "x");
    clock_now += 20000;
    ck_assert_ptr_nonnull(cached(SHOW, "/a"));
    own_time += 10000;
    ck_assert_ptr_null(cached(SHOW, "/a"));
}
END_TEST

/* The clock may be late by what it is precise to: here the last moment is the end of a step of 64
 * milliseconds. */
START_TEST(late_clock_is_allowed_for)
{
    create(0, 0, 6400);
    ask(SHOW, "/a", STTP_CODE_OK, "x");
    clock_now += 6400 - 64;
    ck_assert_ptr_nonnull(cached(SHOW, "/a"));
    clock_now += 63;
    ck_assert_ptr_null(cached(SHOW, "/a"));
}
END_TEST

/* After eight years the numbers of the steps begin again. */
START_TEST(steps_begin_again)
{
    create(0, 0, 10000);
    clock_now += ((uint64_t)1 << 32) * 64 - 5000;
    ask(SHOW, "/a", STTP_CODE_OK, "x");
    ck_assert_ptr_nonnull(cached(SHOW, "/a"));
    clock_now += 9000;
    ck_assert_ptr_nonnull(cached(SHOW, "/a"));
    clock_now += 1000;
    ck_assert_ptr_null(cached(SHOW, "/a"));
}
END_TEST

/* An answer that took longer than it may be given is not kept, for which nothing has to go. */
START_TEST(storage_was_too_slow)
{
    create(1, 0, 10000);
    sttp_cache_lease slow = lease_of(SHOW, "/a");
    fetch(&slow);
    clock_now += 9990;
    ask(SHOW, "/b", STTP_CODE_OK, "x");
    clock_now += 10;
    fill(&slow, STTP_CODE_OK, "old");
    ck_assert_ptr_null(cached(SHOW, "/a"));
    ck_assert_ptr_nonnull(cached(SHOW, "/b"));
    ck_assert_uint_eq(counts().evictions, 0);
}
END_TEST

/* ---- without memory ---- */

static int allocations, failing; /* the n-th fails, from 1; 0: none */

static void *allocate(size_t size, void *context)
{
    (void)context;
    return ++allocations == failing ? NULL : malloc(size);
}

static void *reallocate(void *memory, size_t size, void *context)
{
    (void)context;
    return ++allocations == failing ? NULL : realloc(memory, size);
}

/* What finds no memory is not kept; whoever asked, and who waits for it, has the answer. */
START_TEST(each_allocation_fails)
{
    static const sttp_allocator allocator = {allocate, reallocate, plain_release, NULL};
    sttp_cache_options options = {.size = sizeof options, .allocator = &allocator};
    int last = 0;
    for (failing = 1; failing == last + 1; failing++) {
        allocations = 0;
        if (sttp_cache_create(&options, &cache) != STTP_OK) {
            ck_assert_ptr_null(cache);
            last = failing;
            continue;
        }
        char path[16];
        for (int i = 0; i < 700; i++) {
            struct waiter waiter;
            snprintf(path, sizeof path, "/%d", i);
            ck_assert_int_eq(take(&waiter, path), STTP_CACHE_FETCH);
            fill(&waiter.lease, STTP_CODE_OK, "x");
        }
        ck_assert_uint_le(counts().entries, 100);
        if (allocations >= failing)
            last = failing;
        teardown();
    }
    ck_assert_int_gt(failing, 700);
}
END_TEST

/* Tables that could not grow once grow later: else every chain would get long. Those of chains have
 * as many bytes as a power of two, which over 256 nothing else here has. */
static size_t refused, granted;

static void *allocate_answers(size_t size, void *context)
{
    (void)context;
    bool is_table = (size & (size - 1)) == 0;
    if (is_table && size > 256 && refused < 100) {
        refused++;
        return NULL;
    }
    if (is_table && size > granted && size < 1 << 20)
        granted = size;
    return malloc(size);
}

START_TEST(growth_is_tried_again)
{
    static const sttp_allocator allocator = {allocate_answers, plain_reallocate, plain_release,
                                             NULL};
    sttp_cache_options options = {
        .size = sizeof options, .allocator = &allocator, .max_entries = 100000};
    char path[16];
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_OK);
    for (int i = 0; i < 20000; i++) {
        snprintf(path, sizeof path, "/%09d", i);
        ask(SHOW, path, STTP_CODE_OK, "x");
    }
    ck_assert_uint_eq(refused, 100);
    ck_assert_uint_ge(granted, 20000 / 64 / 2 * sizeof(uint32_t));
    ck_assert_uint_eq(counts().entries, 20000);
}
END_TEST

static void count_one(void *context, const sttp_cache_item *item)
{
    ck_assert_uint_gt(item->response.size, 0);
    ++*(int *)context;
}

START_TEST(visiting_finds_no_memory)
{
    static const sttp_allocator allocator = {allocate, reallocate, plain_release, NULL};
    sttp_cache_options options = {.size = sizeof options, .allocator = &allocator};
    int count = 0;
    failing = 0;
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_OK);
    ask(SHOW, "/a", STTP_CODE_OK, "x");
    failing = allocations + 1;
    ck_assert_int_eq(sttp_cache_each(cache, count_one, &count), STTP_ERR_MEMORY);
    ck_assert_int_eq(count, 0);
    ck_assert_int_eq(sttp_cache_each(cache, count_one, &count), STTP_OK);
    ck_assert_int_eq(count, 1);
}
END_TEST

/* ---- all of it ---- */

static size_t visited, visited_bytes;

static void visit(void *context, const sttp_cache_item *item)
{
    (void)context;
    visited++;
    visited_bytes += item->bytes;
    ck_assert_int_eq(item->action, (item->path.data[item->path.size - 1] - '0') % 2 ? LIST : SHOW);
    ck_assert_uint_eq(item->bytes, STTP_CACHE_OVERHEAD + item->response.size);
}

START_TEST(each_is_visited)
{
    char path[16];
    create(10000, 0, 0);
    for (int i = 0; i < 5000; i++) {
        snprintf(path, sizeof path, "/%d", i);
        ask(i % 2 ? LIST : SHOW, path, STTP_CODE_OK, "x");
    }
    ck_assert_int_eq(sttp_cache_each(cache, visit, NULL), STTP_OK);
    ck_assert_uint_eq(visited, 5000);
    ck_assert_uint_eq(visited_bytes, counts().bytes);
    sttp_cache_clear(cache);
    ck_assert_uint_eq(counts().entries, 0);
    ck_assert_uint_eq(counts().bytes, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache");
    TCase *tests = tcase_create("cache");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, NULL, teardown);
    tcase_add_loop_test(tests, answer_is_kept, 0, sizeof answers / sizeof answers[0]);
    tcase_add_test(tests, others_are_not_given);
    tcase_add_test(tests, least_recently_used_goes_first);
    tcase_add_test(tests, bytes_are_exact);
    tcase_add_test(tests, one_eighth_is_the_most);
    tcase_add_test(tests, options_out_of_range);
    tcase_add_test(tests, expired_is_not_given);
    tcase_add_test(tests, expired_is_removed);
    tcase_add_test(tests, clock_is_the_one_that_is_given);
    tcase_add_test(tests, late_clock_is_allowed_for);
    tcase_add_test(tests, steps_begin_again);
    tcase_add_test(tests, storage_was_too_slow);
    tcase_add_test(tests, long_path_is_not_kept);
    tcase_add_test(tests, answer_for_another_path_is_not_kept);
    tcase_add_test(tests, origins_are_kept_apart);
    tcase_add_test(tests, absence_of_an_origin_ends);
    tcase_add_test(tests, each_allocation_fails);
    tcase_add_test(tests, growth_is_tried_again);
    tcase_add_test(tests, visiting_finds_no_memory);
    tcase_add_test(tests, each_is_visited);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
