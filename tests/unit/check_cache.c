/* The cache of answers: what is given, kept, made untrue, and counted. The clock is the test's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <check.h>

#include <sttp/cache.h>

#define SHOW STTP_ACTION_SHOW
#define LIST STTP_ACTION_LIST

static sttp_cache *cache;
static uint64_t clock_now = 1000000; /* milliseconds */

int __wrap_clock_gettime(clockid_t clock, struct timespec *time);

int __wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
    (void)clock;
    time->tv_sec = (time_t)(clock_now / 1000);
    time->tv_nsec = (long)(clock_now % 1000) * 1000000;
    return 0;
}

static sttp_slice slice(const char *text)
{
    return (sttp_slice){text, strlen(text)};
}

static void create(size_t max_entries, size_t max_bytes, uint64_t expiration)
{
    sttp_cache_options options = {.size = sizeof options,
                                  .max_entries = max_entries,
                                  .max_bytes = max_bytes,
                                  .expiration = expiration};
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_OK);
}

static void teardown(void)
{
    sttp_cache_destroy(cache);
    cache = NULL;
}

static sttp_cache_statistics counts(void)
{
    sttp_cache_statistics now;
    sttp_cache_count(cache, &now);
    return now;
}

static void never(sttp_cache_lease *lease, const sttp_response *response)
{
    (void)lease, (void)response;
    ck_abort_msg("completed");
}

static sttp_cache_lease lease_of(sttp_action action, const char *path)
{
    return (sttp_cache_lease){.action = action, .path = slice(path), .complete = never};
}

/* The bytes of a hit, in memory that the next one uses again. */
static char hit[70000];

static void copy(void *context, sttp_slice response)
{
    ck_assert_ptr_eq(context, &cache);
    snprintf(hit, sizeof hit, "%.*s", (int)response.size, response.data);
}

static sttp_cache_turn take_lease(sttp_cache_lease *lease)
{
    return sttp_cache_lease_take(cache, lease, copy, &cache);
}

/* Takes a lease that has to fetch. */
static void fetch(sttp_cache_lease *lease)
{
    ck_assert_int_eq(take_lease(lease), STTP_CACHE_FETCH);
}

static sttp_response response_of(sttp_code code, sttp_slice path, const char *text)
{
    sttp_response response = {.code = code, .echo = path};
    if (code == STTP_CODE_PATH_NOT_FOUND)
        response.echo = sttp_parent_path(path);
    if (code == STTP_CODE_OK)
        response.contents = slice(text);
    if (code == STTP_CODE_CLIENT_ERROR || code == STTP_CODE_SERVER_ERROR)
        response.message = slice("no");
    return response;
}

static void fill(sttp_cache_lease *lease, sttp_code code, const char *text)
{
    sttp_response response = response_of(code, lease->path, text);
    sttp_cache_fill(cache, lease, &response);
}

/* From the miss to the answer. */
static void ask(sttp_action action, const char *path, sttp_code code, const char *text)
{
    sttp_cache_lease lease = lease_of(action, path);
    fetch(&lease);
    fill(&lease, code, text);
}

/* The bytes of a hit; NULL for a miss. */
static const char *cached(sttp_action action, const char *path)
{
    return sttp_cache_get(cache, action, slice(path), copy, &cache) ? hit : NULL;
}

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
    sttp_cache_change change = {.action = STTP_ACTION_UPDATE, .path = slice("/9")};
    sttp_cache_change_begin(cache, &change);
    sttp_cache_change_end(cache, &change);
    text[sizeof text - 1] = 'x';
    sttp_cache_lease lease = lease_of(SHOW, "/9");
    fetch(&lease);
    sttp_response response = {STTP_CODE_OK, lease.path, {0}, {text, sizeof text}};
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

/* ---- changes ---- */

static void change(sttp_action action, const char *path, const char *made)
{
    sttp_cache_change change = {.action = action, .path = slice(path), .made = slice(made)};
    sttp_cache_change_begin(cache, &change);
    sttp_cache_change_end(cache, &change);
}

/* What a change does to an answer. The list of docs/protocol.md, section 8. */
static const struct effect {
    sttp_action change;
    const char *path;
    const char *made;
    sttp_action action;
    const char *answered;
    sttp_code code;
    bool goes;
} effects[] = {
    /* its own path */
    {STTP_ACTION_CREATE, "/d/a", "", SHOW, "/d/a", STTP_CODE_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/a", "", LIST, "/d/a", STTP_CODE_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/a", "", LIST, "/d/a/", STTP_CODE_NOT_FOUND, true},
    {STTP_ACTION_UPDATE, "/d/a", "", SHOW, "/d/a", STTP_CODE_OK, true},
    {STTP_ACTION_DELETE, "/d/a", "", SHOW, "/d/a", STTP_CODE_OK, true},
    {STTP_ACTION_DELETE, "/d/", "", LIST, "/d", STTP_CODE_OK, true},
    {STTP_ACTION_DELETE, "/d/", "", LIST, "/d/", STTP_CODE_OK, true},
    {STTP_ACTION_CREATE, "/d/a", "", SHOW, "/d/b", STTP_CODE_NOT_FOUND, false},
    {STTP_ACTION_UPDATE, "/d/a", "", SHOW, "/d/b", STTP_CODE_OK, false},
    {STTP_ACTION_DELETE, "/d/a", "", SHOW, "/d/b", STTP_CODE_OK, false},
    /* the listing of its parent */
    {STTP_ACTION_CREATE, "/d/a", "", LIST, "/d", STTP_CODE_OK, true},
    {STTP_ACTION_CREATE, "/d/a", "", LIST, "/d/", STTP_CODE_OK, true},
    {STTP_ACTION_CREATE, "/a", "", LIST, "/", STTP_CODE_OK, true},
    {STTP_ACTION_DELETE, "/d/a", "", LIST, "/d", STTP_CODE_OK, true},
    {STTP_ACTION_DELETE, "/a", "", LIST, "/", STTP_CODE_OK, true},
    {STTP_ACTION_DELETE, "/d/", "", LIST, "/", STTP_CODE_OK, true},
    {STTP_ACTION_UPDATE, "/d/a", "", LIST, "/d", STTP_CODE_OK, false},
    {STTP_ACTION_CREATE, "/d/a", "", LIST, "/", STTP_CODE_OK, false},
    {STTP_ACTION_CREATE, "/d/a", "", LIST, "/d/e", STTP_CODE_OK, false},
    /* the listing of the parent of each directory that it makes */
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", LIST, "/", STTP_CODE_OK, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d/e", LIST, "/d", STTP_CODE_OK, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d/e", LIST, "/", STTP_CODE_OK, false},
    /* 400s and 410s of these directories, and of what is in them */
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", SHOW, "/d", STTP_CODE_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", LIST, "/d/", STTP_CODE_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", LIST, "/d/e/f", STTP_CODE_PATH_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", SHOW, "/d/x", STTP_CODE_PATH_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", LIST, "/d/x/", STTP_CODE_PATH_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", SHOW, "/d/e/x", STTP_CODE_PATH_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", SHOW, "/d/e/f/x", STTP_CODE_PATH_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", SHOW, "/d/e/f/a", STTP_CODE_PATH_NOT_FOUND, true},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d", SHOW, "/d/y/z", STTP_CODE_PATH_NOT_FOUND, false},
    {STTP_ACTION_CREATE, "/d/e/f/a", "/d/e", SHOW, "/d/x", STTP_CODE_NOT_FOUND, false},
    {STTP_ACTION_DELETE, "/d/e/", "", SHOW, "/d/e/x", STTP_CODE_NOT_FOUND, true},
    {STTP_ACTION_DELETE, "/d/e/", "", LIST, "/d/e/x/", STTP_CODE_NOT_FOUND, true},
    {STTP_ACTION_DELETE, "/d/e/", "", SHOW, "/d/x", STTP_CODE_NOT_FOUND, false},
};

static bool is_cached(sttp_action action, const char *path)
{
    return cached(action, path) != NULL;
}

/* Two paths may share a truth by chance, so an answer that should stay may go, and is asked for
 * with other chances then. */
enum { CHANCES = 4 };

/* Whether the answer is there after a change of it, or of something else. */
static bool outlives(const struct effect *effect)
{
    create(0, 0, 0);
    ask(effect->action, effect->answered, effect->code, "x");
    ck_assert(is_cached(effect->action, effect->answered));
    change(effect->change, effect->path, effect->made);
    return is_cached(effect->action, effect->answered);
}

START_TEST(change_takes_out)
{
    const struct effect *effect = &effects[_i];
    bool stays = outlives(effect);
    if (effect->goes) {
        ck_assert(!stays);
        sttp_cache_lease lease = lease_of(effect->action, effect->answered);
        fetch(&lease);
        fill(&lease, STTP_CODE_SERVER_ERROR, NULL);
        ck_assert_uint_eq(counts().entries, 0);
        ck_assert_uint_eq(counts().revocations, 1);
        return;
    }
    for (int i = 1; !stays && i < CHANCES; i++) {
        teardown();
        stays = outlives(effect);
    }
    ck_assert(stays);
    ck_assert_uint_eq(counts().entries, 1);
    ck_assert_uint_eq(counts().revocations, 0);
}
END_TEST

/* Whether what was asked of the storage before the change is kept while it is under way. */
static bool is_kept_during(const struct effect *effect, const sttp_cache_change *begun)
{
    create(0, 0, 0);
    sttp_cache_lease before = lease_of(effect->action, effect->answered);
    fetch(&before);
    sttp_cache_change_begin(cache, begun);
    if (effect->goes) {
        sttp_cache_lease during = lease_of(effect->action, effect->answered);
        fetch(&during);
        fill(&during, effect->code, "old");
        ck_assert(!is_cached(effect->action, effect->answered));
    }
    fill(&before, effect->code, "old");
    return is_cached(effect->action, effect->answered);
}

START_TEST(change_revokes)
{
    const struct effect *effect = &effects[_i];
    sttp_cache_change begun = {
        .action = effect->change, .path = slice(effect->path), .made = slice(effect->made)};
    bool is_kept = is_kept_during(effect, &begun);
    for (int i = 1; !effect->goes && !is_kept && i < CHANCES; i++) {
        teardown();
        is_kept = is_kept_during(effect, &begun);
    }
    ck_assert_int_eq(is_kept, !effect->goes);
    sttp_cache_change_end(cache, &begun);
    ck_assert_int_eq(is_cached(effect->action, effect->answered), !effect->goes);
    if (effect->goes) {
        sttp_cache_lease after = lease_of(effect->action, effect->answered);
        fetch(&after);
        fill(&after, effect->code, "new");
        ck_assert(is_cached(effect->action, effect->answered));
    }
}
END_TEST

/* Asked while the change is under way, answered after it: what was read may be from before. */
START_TEST(lease_from_within_a_change)
{
    sttp_cache_change begun = {.action = STTP_ACTION_UPDATE, .path = slice("/a")};
    create(0, 0, 0);
    sttp_cache_lease lease = lease_of(SHOW, "/a");
    sttp_cache_change_begin(cache, &begun);
    fetch(&lease);
    sttp_cache_change_end(cache, &begun);
    fill(&lease, STTP_CODE_OK, "old");
    ck_assert(!is_cached(SHOW, "/a"));
}
END_TEST

/* What is not there stays known, whatever changes at other paths. */
START_TEST(absence_outlives_other_changes)
{
    enum { ABSENT = 2000 };
    char path[32];
    create(2 * ABSENT, 0, 0);
    for (int i = 0; i < ABSENT; i++) {
        snprintf(path, sizeof path, "/d%d/a", i);
        ask(SHOW, path, i % 2 ? STTP_CODE_NOT_FOUND : STTP_CODE_PATH_NOT_FOUND, NULL);
    }
    for (int i = 0; i < 20000; i++) {
        snprintf(path, sizeof path, "/d%d/b%d", i % ABSENT, i);
        change(i % 2 ? STTP_ACTION_UPDATE : STTP_ACTION_CREATE, path, "");
        change(STTP_ACTION_DELETE, path, "");
    }
    for (int i = 0; i < ABSENT; i++) {
        snprintf(path, sizeof path, "/d%d/a", i);
        ck_assert(is_cached(SHOW, path));
    }
}
END_TEST

/* Whoever finds the old answer gone asks the storage, whose answer may be old as well. */
static bool is_removing;

static void refill(void *memory, void *context)
{
    (void)context;
    free(memory);
    if (!is_removing)
        return;
    is_removing = false;
    ask(SHOW, "/a", STTP_CODE_OK, "old");
}

static void *plain_allocate(size_t size, void *context)
{
    (void)context;
    return malloc(size);
}

static void *plain_reallocate(void *memory, size_t size, void *context)
{
    (void)context;
    return realloc(memory, size);
}

START_TEST(refilled_while_it_is_removed)
{
    static const sttp_allocator allocator = {plain_allocate, plain_reallocate, refill, NULL};
    sttp_cache_options options = {.size = sizeof options, .allocator = &allocator};
    sttp_cache_change begun = {.action = STTP_ACTION_UPDATE, .path = slice("/a")};
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_OK);
    ask(SHOW, "/a", STTP_CODE_OK, "old");
    is_removing = true;
    sttp_cache_change_begin(cache, &begun);
    ck_assert(!is_removing);
    ck_assert(!is_cached(SHOW, "/a"));
    sttp_cache_change_end(cache, &begun);
    ck_assert(!is_cached(SHOW, "/a"));
}
END_TEST

/* Clearing ends what was asked before, as a change of everything would. */
START_TEST(clearing_revokes)
{
    create(0, 0, 0);
    sttp_cache_lease before = lease_of(SHOW, "/a");
    fetch(&before);
    sttp_cache_clear(cache);
    sttp_cache_lease after = lease_of(SHOW, "/a");
    fetch(&after);
    fill(&before, STTP_CODE_OK, "old");
    ck_assert(!is_cached(SHOW, "/a"));
    fill(&after, STTP_CODE_OK, "new");
    ck_assert_str_eq(cached(SHOW, "/a"), "200 /a OK\nnew\n");
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
    sttp_response response = response_of(STTP_CODE_OK, slice("/b"), "x");
    fetch(&lease);
    sttp_cache_fill(cache, &lease, &response);
    ck_assert(!is_cached(SHOW, "/a"));
    ck_assert(!is_cached(SHOW, "/b"));
}
END_TEST

/* ---- single flight ---- */

struct waiter {
    sttp_cache_lease lease;
    int completed;
    sttp_code code;
};

static void note(sttp_cache_lease *lease, const sttp_response *response)
{
    struct waiter *waiter = (struct waiter *)lease;
    waiter->completed++;
    waiter->code = response->code;
}

static sttp_cache_turn take(struct waiter *waiter, const char *path)
{
    *waiter = (struct waiter){.lease = lease_of(SHOW, path)};
    waiter->lease.complete = note;
    return take_lease(&waiter->lease);
}

/* Whatever comes of it, a failure included, all that asked meanwhile are told. */
START_TEST(the_storage_is_asked_once)
{
    enum { MANY = 10000 };
    static struct waiter waiters[MANY];
    static const sttp_code codes[] = {STTP_CODE_OK, STTP_CODE_NOT_FOUND, STTP_CODE_SERVER_ERROR};
    create(0, 0, 0);
    ck_assert_int_eq(take(&waiters[0], "/a"), STTP_CACHE_FETCH);
    for (int i = 1; i < MANY; i++)
        ck_assert_int_eq(take(&waiters[i], "/a"), STTP_CACHE_WAIT);
    fill(&waiters[0].lease, codes[_i], "x");
    ck_assert_int_eq(waiters[0].completed, 0);
    for (int i = 1; i < MANY; i++) {
        ck_assert_int_eq(waiters[i].completed, 1);
        ck_assert_int_eq(waiters[i].code, codes[_i]);
    }
    ck_assert_uint_eq(counts().misses, 1);
    ck_assert_uint_eq(counts().waiters, MANY - 1);
    ck_assert_uint_eq(counts().entries, codes[_i] != STTP_CODE_SERVER_ERROR);
}
END_TEST

/* Who asks after a change does not get what was read before it. */
START_TEST(nobody_joins_across_a_change)
{
    struct waiter first, joined, second, last;
    create(0, 0, 0);
    ck_assert_int_eq(take(&first, "/a"), STTP_CACHE_FETCH);
    ck_assert_int_eq(take(&joined, "/a"), STTP_CACHE_WAIT);
    change(STTP_ACTION_UPDATE, "/a", "");
    ck_assert_int_eq(take(&second, "/a"), STTP_CACHE_FETCH);
    ck_assert_int_eq(take(&last, "/a"), STTP_CACHE_WAIT);
    fill(&first.lease, STTP_CODE_OK, "old");
    ck_assert_int_eq(joined.completed, 1);
    ck_assert_int_eq(last.completed, 0);
    ck_assert(!is_cached(SHOW, "/a"));
    fill(&second.lease, STTP_CODE_OK, "new");
    ck_assert_int_eq(last.completed, 1);
    ck_assert_str_eq(cached(SHOW, "/a"), "200 /a OK\nnew\n");
}
END_TEST

/* The storage holds a SHOW back until a change of its path has ended; so all wait for one. A LIST
 * it may answer at once, and differently from the one before. */
START_TEST(many_ask_during_a_change)
{
    struct waiter first, joined, after, listing, other;
    sttp_cache_change begun = {.action = STTP_ACTION_CREATE, .path = slice("/d/a")};
    create(0, 0, 0);
    sttp_cache_change_begin(cache, &begun);
    ck_assert_int_eq(take(&first, "/d/a"), STTP_CACHE_FETCH);
    ck_assert_int_eq(take(&joined, "/d/a"), STTP_CACHE_WAIT);
    for (int i = 0; i < 2; i++) {
        struct waiter *waiter = i == 0 ? &listing : &other;
        *waiter = (struct waiter){.lease = lease_of(LIST, "/d")};
        ck_assert_int_eq(take_lease(&waiter->lease), STTP_CACHE_FETCH);
    }
    sttp_cache_change_end(cache, &begun);
    ck_assert_int_eq(take(&after, "/d/a"), STTP_CACHE_FETCH);
    fill(&first.lease, STTP_CODE_OK, "x");
    ck_assert_int_eq(joined.completed, 1);
    ck_assert_int_eq(after.completed, 0);
    ck_assert(!is_cached(SHOW, "/d/a"));
    fill(&after.lease, STTP_CODE_OK, "x");
    ck_assert(is_cached(SHOW, "/d/a"));
    fill(&listing.lease, STTP_CODE_OK, "x");
    fill(&other.lease, STTP_CODE_OK, "x");
    ck_assert(!is_cached(LIST, "/d"));
}
END_TEST

/* Nobody gets what was read longer ago than an answer may be given. */
START_TEST(nobody_joins_what_takes_too_long)
{
    struct waiter first, joined, late;
    create(0, 0, 10000);
    ck_assert_int_eq(take(&first, "/a"), STTP_CACHE_FETCH);
    clock_now += 9900;
    ck_assert_int_eq(take(&joined, "/a"), STTP_CACHE_WAIT);
    clock_now += 100;
    ck_assert_int_eq(take(&late, "/a"), STTP_CACHE_FETCH);
    fill(&first.lease, STTP_CODE_OK, "old");
    ck_assert_int_eq(joined.completed, 1);
    ck_assert(!is_cached(SHOW, "/a"));
    fill(&late.lease, STTP_CODE_OK, "new");
    ck_assert_str_eq(cached(SHOW, "/a"), "200 /a OK\nnew\n");
}
END_TEST

/* Somebody was faster between the two looks. */
START_TEST(second_look_may_hit)
{
    create(0, 0, 0);
    sttp_cache_lease lease = lease_of(SHOW, "/a");
    ask(SHOW, "/a", STTP_CODE_OK, "x");
    ck_assert_int_eq(take_lease(&lease), STTP_CACHE_HIT);
    ck_assert_str_eq(hit, "200 /a OK\nx\n");
    ck_assert_uint_eq(counts().hits, 1);
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

static void release(void *memory, void *context)
{
    (void)context;
    free(memory);
}

/* What finds no memory is not kept; whoever asked, and who waits for it, has the answer. */
START_TEST(each_allocation_fails)
{
    static const sttp_allocator allocator = {allocate, reallocate, release, NULL};
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
    static const sttp_allocator allocator = {allocate_answers, plain_reallocate, release, NULL};
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
    static const sttp_allocator allocator = {allocate, reallocate, release, NULL};
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
    tcase_add_test(tests, late_clock_is_allowed_for);
    tcase_add_test(tests, steps_begin_again);
    tcase_add_test(tests, storage_was_too_slow);
    tcase_add_loop_test(tests, change_takes_out, 0, sizeof effects / sizeof effects[0]);
    tcase_add_loop_test(tests, change_revokes, 0, sizeof effects / sizeof effects[0]);
    tcase_add_test(tests, lease_from_within_a_change);
    tcase_add_test(tests, absence_outlives_other_changes);
    tcase_add_test(tests, refilled_while_it_is_removed);
    tcase_add_test(tests, clearing_revokes);
    tcase_add_test(tests, long_path_is_not_kept);
    tcase_add_test(tests, answer_for_another_path_is_not_kept);
    tcase_add_loop_test(tests, the_storage_is_asked_once, 0, 3);
    tcase_add_test(tests, many_ask_during_a_change);
    tcase_add_test(tests, nobody_joins_what_takes_too_long);
    tcase_add_test(tests, nobody_joins_across_a_change);
    tcase_add_test(tests, second_look_may_hit);
    tcase_add_test(tests, each_allocation_fails);
    tcase_add_test(tests, growth_is_tried_again);
    tcase_add_test(tests, visiting_finds_no_memory);
    tcase_add_test(tests, each_is_visited);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
