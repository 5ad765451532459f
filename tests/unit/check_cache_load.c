/* The cache under load: what it counts after many operations, whom it gives up compared with an
 * exact LRU, and many threads at once. STTP_FULL has full counts. */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include <sttp/cache.h>

#include "core_support.h"

static sttp_cache *cache;

static size_t full(size_t reduced, size_t full)
{
    return getenv("STTP_FULL") != NULL ? full : reduced;
}

static void create(size_t max_entries, size_t max_bytes)
{
    sttp_cache_options options = {
        .size = sizeof options, .max_entries = max_entries, .max_bytes = max_bytes};
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_OK);
}

struct request {
    sttp_cache_lease lease; /* first */
    atomic_bool done;
};

static void finish(sttp_cache_lease *lease, const sttp_response *response)
{
    (void)response;
    atomic_store(&((struct request *)lease)->done, true);
}

static void ignore(void *context, sttp_slice response)
{
    (void)context, (void)response;
}

/* A request that is answered from the cache, or else puts an answer there: `text`, or that nothing
 * is there. Whether the storage was not asked for it: a hit, or another thread asks just then. */
static bool ask(sttp_action action, sttp_slice path, sttp_slice text)
{
    if (sttp_cache_get(cache, action, path, ignore, NULL))
        return true;
    struct request request = {.lease = {.action = action, .path = path, .complete = finish}};
    sttp_response response = {.code = STTP_CODE_NOT_FOUND, .echo = path};
    if (text.data != NULL)
        response = (sttp_response){.code = STTP_CODE_OK, .echo = path, .contents = text};
    sttp_cache_turn turn = sttp_cache_lease_take(cache, &request.lease, ignore, NULL);
    if (turn == STTP_CACHE_FETCH)
        sttp_cache_fill(cache, &request.lease, &response);
    while (turn == STTP_CACHE_WAIT && !atomic_load(&request.done))
        sched_yield();
    return turn != STTP_CACHE_FETCH;
}

/* ---- accounting ---- */

struct sum {
    size_t entries, bytes;
};

static void add(void *context, const sttp_cache_item *item)
{
    struct sum *sum = context;
    sum->entries++;
    sum->bytes += item->bytes;
}

static void check_counts(size_t max_entries, size_t max_bytes)
{
    struct sum sum = {0};
    sttp_cache_statistics counts;
    ck_assert_int_eq(sttp_cache_each(cache, add, &sum), STTP_OK);
    sttp_cache_count(cache, &counts);
    ck_assert_uint_eq(sum.entries, counts.entries);
    ck_assert_uint_eq(sum.bytes, counts.bytes);
    ck_assert_uint_le(counts.entries, max_entries);
    ck_assert_uint_le(counts.bytes, max_bytes);
    ck_assert_uint_eq(counts.fills,
                      counts.evictions + counts.expiries + counts.entries + counts.revocations);
}

START_TEST(counts_are_the_sum_of_the_entries)
{
    enum { ENTRIES = 500, BYTES = 100000 };
    static const sttp_action changes[] = {STTP_ACTION_CREATE, STTP_ACTION_UPDATE,
                                          STTP_ACTION_DELETE};
    uint64_t state = random_seed();
    char path[32], text[161];
    memset(text, 'x', sizeof text);
    create(ENTRIES, BYTES);
    for (size_t i = full(100000, 1000000); i > 0; i--) {
        int size = snprintf(path, sizeof path, "/%zu/%zu", random_below(&state, 20),
                            random_below(&state, 100));
        sttp_slice name = {path, (size_t)size};
        if (random_below(&state, 8) > 0) {
            sttp_slice answer = {text, random_below(&state, sizeof text)};
            if (random_below(&state, 4) == 0)
                answer.data = NULL;
            ask(random_below(&state, 4) == 0 ? STTP_ACTION_LIST : STTP_ACTION_SHOW, name, answer);
        } else {
            sttp_cache_change change = {.action = changes[random_below(&state, 3)], .path = name};
            sttp_cache_change_begin(cache, &change);
            sttp_cache_change_end(cache, &change);
        }
        if (i % 10000 == 0)
            check_counts(ENTRIES, BYTES);
    }
    check_counts(ENTRIES, BYTES);
}
END_TEST

/* ---- whom it gives up ---- */

/* An exact LRU of numbers, as a ring through `newer` and `older`; 0 is its head. */
struct exact {
    uint32_t *newer, *older;
    size_t held, limit;
};

static void take_off(struct exact *exact, uint32_t key)
{
    exact->newer[exact->older[key]] = exact->newer[key];
    exact->older[exact->newer[key]] = exact->older[key];
    exact->newer[key] = exact->older[key] = key;
}

/* Whether it was held. */
static bool use(struct exact *exact, uint32_t key)
{
    bool held = exact->newer[key] != key;
    if (!held && exact->held == exact->limit)
        take_off(exact, exact->newer[0]);
    else
        exact->held += !held;
    take_off(exact, key);
    exact->newer[key] = 0;
    exact->older[key] = exact->older[0];
    exact->newer[exact->older[0]] = key;
    exact->older[0] = key;
    return held;
}

/* The chance of each key up to the n-th, by Zipf's law with exponent 1. */
static double *zipf_table(size_t keys)
{
    double *table = malloc(keys * sizeof *table);
    double sum = 0;
    ck_assert_ptr_nonnull(table);
    for (size_t i = 0; i < keys; i++)
        table[i] = sum += 1.0 / (double)(i + 1);
    for (size_t i = 0; i < keys; i++)
        table[i] /= sum;
    return table;
}

/* A key from 1 on. */
static uint32_t zipf(const double *table, size_t keys, uint64_t *state)
{
    double chance = (double)random_below(state, (size_t)1 << 31) / (double)((size_t)1 << 31);
    size_t low = 0, high = keys - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (table[middle] < chance)
            low = middle + 1;
        else
            high = middle;
    }
    return (uint32_t)low + 1;
}

/* What one of the threads asks for. */
struct trace {
    uint32_t *keys;
    size_t count;
    size_t hits;
};

static void *follow(void *argument)
{
    struct trace *trace = argument;
    for (size_t i = 0; i < trace->count; i++) {
        char path[16];
        int size = snprintf(path, sizeof path, "/%u", trace->keys[i]);
        trace->hits += ask(STTP_ACTION_SHOW, (sttp_slice){path, (size_t)size}, STTP_SLICE("x"));
    }
    return NULL;
}

/* Hits of an exact LRU that is asked for the same, by each thread in turn. */
static size_t exact_hits(struct trace *traces, size_t threads, size_t keys, size_t limit)
{
    size_t hits = 0;
    struct exact exact = {malloc((keys + 1) * 4), malloc((keys + 1) * 4), 0, limit};
    ck_assert(exact.newer != NULL && exact.older != NULL);
    for (uint32_t i = 0; i <= keys; i++)
        exact.newer[i] = exact.older[i] = i;
    for (size_t i = 0; i < traces[0].count; i++)
        for (size_t thread = 0; thread < threads; thread++)
            hits += use(&exact, traces[thread].keys[i]);
    ck_assert_uint_eq(exact.held, limit);
    free(exact.newer);
    free(exact.older);
    return hits;
}

static void compare_with_exact(size_t threads, size_t limit, size_t requests)
{
    size_t keys = 10 * limit, hits = 0;
    uint64_t state = random_seed();
    double *table = zipf_table(keys);
    struct trace traces[4];
    pthread_t ids[4];
    create(limit, (size_t)1 << 30);
    for (size_t i = 0; i < threads; i++) {
        traces[i] = (struct trace){malloc(requests / threads * 4), requests / threads, 0};
        ck_assert_ptr_nonnull(traces[i].keys);
        for (size_t j = 0; j < traces[i].count; j++)
            traces[i].keys[j] = zipf(table, keys, &state);
    }
    for (size_t i = 0; i < threads; i++)
        ck_assert_int_eq(pthread_create(&ids[i], NULL, follow, &traces[i]), 0);
    for (size_t i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    for (size_t i = 0; i < threads; i++)
        hits += traces[i].hits;
    double ours = 100.0 * (double)hits / (double)requests;
    double theirs = 100.0 * (double)exact_hits(traces, threads, keys, limit) / (double)requests;
    printf("%zu threads, %zu entries: %.2f %% hits, an exact LRU %.2f %%\n", threads, limit, ours,
           theirs);
    ck_assert_msg(fabs(ours - theirs) <= 2.0, "%.2f, %.2f", ours, theirs);
    for (size_t i = 0; i < threads; i++)
        free(traces[i].keys);
    free(table);
}

START_TEST(hits_as_an_exact_lru)
{
    size_t threads = _i < 2 ? 1 : 4;
    if (_i % 2 == 0)
        compare_with_exact(threads, 100, full(100000, 1000000));
    else
        compare_with_exact(threads, full(10000, 100000), full(100000, 3000000));
}
END_TEST

/* ---- many threads ---- */

/* Each path has a number that only grows. Whoever was told of a change, or has seen its number,
 * sees it or a later one from then on; the store is a number in memory. */
enum { THREADS = 8, PATHS = 16, ENTRIES = 10 };

static atomic_uint stored[PATHS];
static pthread_mutex_t changing[PATHS];

struct answered {
    sttp_cache_lease lease; /* first */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
    unsigned number;
};

static unsigned number_of(sttp_slice text)
{
    unsigned number = 0;
    for (size_t i = 0; i < text.size; i++)
        number = number * 10 + (unsigned)(text.data[i] - '0');
    return number;
}

static void answer(sttp_cache_lease *lease, const sttp_response *response)
{
    struct answered *answered = (struct answered *)lease;
    pthread_mutex_lock(&answered->lock);
    answered->number = number_of(response->contents);
    answered->done = true;
    pthread_cond_signal(&answered->changed);
    pthread_mutex_unlock(&answered->lock);
}

/* The path has no line end. */
static void take_number(void *number, sttp_slice response)
{
    const char *text = (const char *)memchr(response.data, '\n', response.size) + 1;
    *(unsigned *)number =
        number_of((sttp_slice){text, response.size - (size_t)(text - response.data) - 1});
}

static unsigned read_through(size_t which, sttp_slice path)
{
    struct answered answered = {
        .lease = {.action = STTP_ACTION_SHOW, .path = path, .complete = answer}};
    if (sttp_cache_get(cache, STTP_ACTION_SHOW, path, take_number, &answered.number))
        return answered.number;
    pthread_mutex_init(&answered.lock, NULL);
    pthread_cond_init(&answered.changed, NULL);
    sttp_cache_turn turn =
        sttp_cache_lease_take(cache, &answered.lease, take_number, &answered.number);
    if (turn == STTP_CACHE_HIT)
        return answered.number;
    if (turn == STTP_CACHE_FETCH) {
        char text[16];
        answered.number = atomic_load(&stored[which]);
        int size = snprintf(text, sizeof text, "%u", answered.number);
        sttp_response response = {
            .code = STTP_CODE_OK, .echo = path, .contents = {text, (size_t)size}};
        sched_yield();
        sttp_cache_fill(cache, &answered.lease, &response);
        return answered.number;
    }
    pthread_mutex_lock(&answered.lock);
    while (!answered.done)
        pthread_cond_wait(&answered.changed, &answered.lock);
    pthread_mutex_unlock(&answered.lock);
    return answered.number;
}

static unsigned write_through(size_t which, sttp_slice path)
{
    sttp_cache_change change = {.action = STTP_ACTION_UPDATE, .path = path};
    pthread_mutex_lock(&changing[which]);
    sttp_cache_change_begin(cache, &change);
    unsigned number = atomic_fetch_add(&stored[which], 1) + 1;
    sttp_cache_change_end(cache, &change);
    pthread_mutex_unlock(&changing[which]);
    return number;
}

static atomic_uint known[PATHS]; /* the highest number that anybody was told */
static atomic_uint stale;
static atomic_uint over; /* times that more was kept than may be */

static void tell(size_t which, unsigned number)
{
    unsigned before = atomic_load(&known[which]);
    while (before < number && !atomic_compare_exchange_weak(&known[which], &before, number))
        ;
}

static void *load(void *argument)
{
    uint64_t state = *(uint64_t *)argument;
    for (size_t i = full(20000, 400000); i > 0; i--) {
        size_t which = random_below(&state, PATHS);
        char path[16];
        int size = snprintf(path, sizeof path, "/%zu", which);
        sttp_slice name = {path, (size_t)size};
        unsigned least = atomic_load(&known[which]);
        size_t choice = random_below(&state, 100);
        unsigned number = choice < 10 ? write_through(which, name) : read_through(which, name);
        atomic_fetch_add(&stale, number < least);
        tell(which, number);
        sttp_cache_statistics counts;
        if (choice == 49) {
            sttp_cache_count(cache, &counts);
            atomic_fetch_add(&over, counts.entries > ENTRIES);
        }
        if (choice == 50)
            sttp_cache_expire(cache);
        if (choice == 51)
            sttp_cache_clear(cache);
    }
    return NULL;
}

START_TEST(no_thread_is_shown_what_is_stale)
{
    pthread_t threads[THREADS];
    uint64_t states[THREADS];
    uint64_t seed = random_seed();
    create(ENTRIES, 0);
    for (int i = 0; i < PATHS; i++)
        pthread_mutex_init(&changing[i], NULL);
    for (int i = 0; i < THREADS; i++) {
        states[i] = seed + 2 * (uint64_t)i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, load, &states[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(atomic_load(&stale), 0);
    ck_assert_uint_eq(atomic_load(&over), 0);
    struct sum sum = {0};
    sttp_cache_statistics counts;
    ck_assert_int_eq(sttp_cache_each(cache, add, &sum), STTP_OK);
    sttp_cache_count(cache, &counts);
    ck_assert_uint_eq(sum.entries, counts.entries);
    ck_assert_uint_eq(sum.bytes, counts.bytes);
    ck_assert_uint_gt(counts.hits, 0);
    ck_assert_uint_gt(counts.evictions, 0);
    printf("%llu hits, %llu misses, %llu waited, %llu revoked\n", (unsigned long long)counts.hits,
           (unsigned long long)counts.misses, (unsigned long long)counts.waiters,
           (unsigned long long)counts.revocations);
}
END_TEST

static void teardown(void)
{
    sttp_cache_destroy(cache);
}

int main(void)
{
    Suite *suite = suite_create("cache_load");
    TCase *tests = tcase_create("load");
    tcase_set_timeout(tests, 600);
    tcase_add_checked_fixture(tests, NULL, teardown);
    tcase_add_test(tests, counts_are_the_sum_of_the_entries);
    tcase_add_loop_test(tests, hits_as_an_exact_lru, 0, 4);
    tcase_add_test(tests, no_thread_is_shown_what_is_stale);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
