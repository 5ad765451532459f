/* What the tests of the core share: slices, memory in front of a page that must not be touched,
 * and random numbers that can be had again. */
#ifndef STTP_TESTS_CORE_SUPPORT_H
#define STTP_TESTS_CORE_SUPPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <check.h>
#include <sttp/message.h>

static inline sttp_slice slice_of(const char *text)
{
    return (sttp_slice){text, strlen(text)};
}

/* Equal bytes, and given or not given alike. */
static inline bool slices_equal(sttp_slice a, sttp_slice b)
{
    return (a.data == NULL) == (b.data == NULL) && a.size == b.size &&
           (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool slice_is(sttp_slice slice, const char *text)
{
    return slice.data && slices_equal(slice, slice_of(text));
}

static inline bool requests_equal(const sttp_request *a, const sttp_request *b)
{
    return a->action == b->action && slices_equal(a->path, b->path) &&
           slices_equal(a->query, b->query) && slices_equal(a->contents, b->contents) &&
           slices_equal(a->origin, b->origin);
}

static inline bool responses_equal(const sttp_response *a, const sttp_response *b)
{
    return a->code == b->code && slices_equal(a->echo, b->echo) &&
           slices_equal(a->message, b->message) && slices_equal(a->contents, b->contents);
}

/* Memory whose last byte is followed by a page that cannot be read. */
struct guarded {
    char *memory;
    size_t usable;
    size_t page;
};

static inline struct guarded guarded_create(size_t size)
{
    struct guarded guarded;

    guarded.page = (size_t)sysconf(_SC_PAGESIZE);
    guarded.usable = (size / guarded.page + 1) * guarded.page;
    guarded.memory = mmap(NULL, guarded.usable + guarded.page, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(guarded.memory != MAP_FAILED);
    ck_assert_int_eq(mprotect(guarded.memory + guarded.usable, guarded.page, PROT_NONE), 0);
    return guarded;
}

static inline void guarded_destroy(struct guarded *guarded)
{
    munmap(guarded->memory, guarded->usable + guarded->page);
}

/* A copy of the bytes, flush against the guard page. */
static inline char *guarded_copy(const struct guarded *guarded, const char *data, size_t size)
{
    char *copy = guarded->memory + guarded->usable - size;

    ck_assert_uint_le(size, guarded->usable);
    if (size > 0)
        memcpy(copy, data, size);
    return copy;
}

/* xorshift64*. The seed is STTP_SEED, or the time; it is printed, so that a failure can be had
 * again. */
static inline uint64_t random_seed(void)
{
    const char *given = getenv("STTP_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);

    printf("STTP_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

static inline size_t random_below(uint64_t *state, size_t bound)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (size_t)(*state * UINT64_C(0x2545f4914f6cdd1d) >> 33) % bound;
}

/* Up to `max` characters of every size, none of them a control character or of `without`; returns
 * the number of bytes written. */
static inline size_t random_text(uint64_t *state, char *buffer, size_t max, const char *without)
{
    static const char *const characters[] = {"a",
                                             "Z",
                                             "0",
                                             ".",
                                             "-",
                                             "%",
                                             "*",
                                             "&",
                                             "=",
                                             " ",
                                             "?",
                                             "\"",
                                             "/",
                                             "~",
                                             "\xc2\xa0",
                                             "\xc3\xa9",
                                             "\xd0\xb6",
                                             "\xe0\xa0\x80",
                                             "\xed\x9f\xbf",
                                             "\xef\xbf\xbd",
                                             "\xf0\x9f\x98\x80",
                                             "\xf4\x8f\xbf\xbf"};
    size_t count = random_below(state, max + 1);
    size_t size = 0;

    while (count-- > 0) {
        const char *next = characters[random_below(state, sizeof(characters) / sizeof(char *))];

        if (next[1] == '\0' && strchr(without, next[0]))
            continue;
        memcpy(buffer + size, next, strlen(next));
        size += strlen(next);
    }
    return size;
}

/* `count` times `unit`, ended by a zero byte. */
static inline const char *repeat(char *buffer, const char *unit, size_t count)
{
    size_t size = strlen(unit);
    size_t i;

    for (i = 0; i < count; i++)
        memcpy(buffer + i * size, unit, size);
    buffer[count * size] = '\0';
    return buffer;
}

/* Writes before, `count` times `unit`, after. */
static inline sttp_slice build(char *buffer, const char *before, const char *unit, size_t count,
                               const char *after)
{
    size_t size = (size_t)sprintf(buffer, "%s", before);

    while (count-- > 0)
        size += (size_t)sprintf(buffer + size, "%s", unit);
    size += (size_t)sprintf(buffer + size, "%s", after);
    return (sttp_slice){buffer, size};
}

static inline int run_suite(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
