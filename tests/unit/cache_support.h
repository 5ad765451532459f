/* What the tests of the cache share: one cache, a clock that is the test's, and the storage's part:
 * asking, answering, waiting. For programs that are linked with --wrap=clock_gettime. */
#ifndef STTP_TESTS_CACHE_SUPPORT_H
#define STTP_TESTS_CACHE_SUPPORT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <check.h>

#include <sttp/cache.h>

#include "core_support.h"

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

static inline void create(size_t max_entries, size_t max_bytes, uint64_t expiration)
{
    sttp_cache_options options = {.size = sizeof options,
                                  .max_entries = max_entries,
                                  .max_bytes = max_bytes,
                                  .expiration = expiration};
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_OK);
}

static inline void teardown(void)
{
    sttp_cache_destroy(cache);
    cache = NULL;
}

static inline sttp_cache_statistics counts(void)
{
    sttp_cache_statistics now;
    sttp_cache_count(cache, &now);
    return now;
}

static inline void never(sttp_cache_lease *lease, const sttp_response *response)
{
    (void)lease, (void)response;
    ck_abort_msg("completed");
}

static inline sttp_cache_lease lease_of(sttp_action action, const char *path)
{
    return (sttp_cache_lease){.action = action, .path = slice_of(path), .complete = never};
}

/* The bytes of a hit, in memory that the next one uses again. */
static char hit[70000];

static inline void copy(void *context, sttp_slice response)
{
    ck_assert_ptr_eq(context, &cache);
    snprintf(hit, sizeof hit, "%.*s", (int)response.size, response.data);
}

static inline sttp_cache_turn take_lease(sttp_cache_lease *lease)
{
    return sttp_cache_lease_take(cache, lease, copy, &cache);
}

/* Takes a lease that has to fetch. */
static inline void fetch(sttp_cache_lease *lease)
{
    ck_assert_int_eq(take_lease(lease), STTP_CACHE_FETCH);
}

static inline sttp_response response_of(sttp_code code, sttp_slice path, const char *text)
{
    sttp_response response = {.code = code, .echo = path};
    if (code == STTP_CODE_PATH_NOT_FOUND)
        response.echo = sttp_parent_path(path);
    if (code == STTP_CODE_OK)
        response.contents = slice_of(text);
    if (code == STTP_CODE_CLIENT_ERROR || code == STTP_CODE_SERVER_ERROR)
        response.message = slice_of("no");
    return response;
}

static inline void fill(sttp_cache_lease *lease, sttp_code code, const char *text)
{
    sttp_response response = response_of(code, lease->path, text);
    sttp_cache_fill(cache, lease, &response);
}

/* From the miss to the answer. */
static inline void ask(sttp_action action, const char *path, sttp_code code, const char *text)
{
    sttp_cache_lease lease = lease_of(action, path);
    fetch(&lease);
    fill(&lease, code, text);
}

/* The bytes of a hit; NULL for a miss. */
static inline const char *cached(sttp_action action, const char *path)
{
    return sttp_cache_get(cache, action, slice_of(path), copy, &cache) ? hit : NULL;
}

static inline bool is_cached(sttp_action action, const char *path)
{
    return cached(action, path) != NULL;
}

/* ---- waiting ---- */

struct waiter {
    sttp_cache_lease lease;
    int completed;
    sttp_code code;
};

static inline void note(sttp_cache_lease *lease, const sttp_response *response)
{
    struct waiter *waiter = (struct waiter *)lease;
    waiter->completed++;
    waiter->code = response->code;
}

static inline sttp_cache_turn take(struct waiter *waiter, const char *path)
{
    *waiter = (struct waiter){.lease = lease_of(SHOW, path)};
    waiter->lease.complete = note;
    return take_lease(&waiter->lease);
}

/* ---- memory ---- */

static inline void *plain_allocate(size_t size, void *context)
{
    (void)context;
    return malloc(size);
}

static inline void *plain_reallocate(void *memory, size_t size, void *context)
{
    (void)context;
    return realloc(memory, size);
}

static inline void plain_release(void *memory, void *context)
{
    (void)context;
    free(memory);
}

#endif
