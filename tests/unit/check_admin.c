/* The parts of sttpd-admin that other stores and files than those of the integration test concern:
 * walks through stores that refuse large listings, fail or forget, and lines of JSON there and
 * back. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sttpd-admin/ndjson.h"
#include "sttpd-admin/walk.h"

enum { MAX_NAMES = 12000, NAME = 200, LARGE = 25000 };

/* A store that has but names, and answers LIST. */
struct fake {
    store base;   /* first, so that one is the other */
    char **paths; /* sorted, directories with their slash */
    size_t count;
    size_t most;         /* names below a directory that it lists with all that is below */
    size_t lists;        /* so many were asked for */
    size_t fails_at;     /* that one fails, counted from 1 */
    store_result result; /* in this way */
};

/* ---- failing allocations ---- */

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
static int callocs_left = -1; /* -1: none fails */

void *__wrap_calloc(size_t count, size_t size)
{
    if (callocs_left == 0)
        return NULL;
    callocs_left -= callocs_left > 0;
    return __real_calloc(count, size);
}

/* ---- the store ---- */

static bool is_listed(const store_operation *list, const char *path)
{
    const char *name = path + list->path.size;

    if (strncmp(path, list->path.data, list->path.size) != 0 || *name == '\0')
        return false;
    if (list->query.after.data != NULL) {
        size_t size = list->query.after.size < strlen(name) ? list->query.after.size : strlen(name);
        int order = memcmp(name, list->query.after.data, size);
        if (order < 0 || (order == 0 && strlen(name) <= list->query.after.size))
            return false;
    }
    const char *slash = strchr(name, '/');
    return list->query.recursive || slash == NULL || slash[1] == '\0';
}

static void answer(const struct fake *fake, store_operation *list)
{
    size_t size = 0, below = 0, names = 0;

    list->names = malloc(fake->count * (NAME + 2) + 1);
    ck_assert_ptr_nonnull(list->names);
    for (size_t i = 0; i < fake->count; i++) {
        below += strncmp(fake->paths[i], list->path.data, list->path.size) == 0;
        if (!is_listed(list, fake->paths[i]) || names == list->query.limit)
            continue;
        names++;
        size += (size_t)sprintf(list->names + size, "%s%s", size > 0 ? ", " : "",
                                fake->paths[i] + list->path.size);
    }
    list->contents = (sttp_slice){list->names, size};
    list->result = list->query.recursive && below > fake->most ? STORE_TOO_MUCH_WORK : STORE_DONE;
}

static void submit(store *base, store_operation *operation)
{
    struct fake *fake = (struct fake *)base;

    ck_assert_int_eq(operation->action, STTP_ACTION_LIST);
    if (++fake->lists == fake->fails_at)
        operation->result = fake->result;
    else
        answer(fake, operation);
    if (operation->result != STORE_DONE) {
        free(operation->names);
        operation->names = NULL;
        operation->contents = (sttp_slice){NULL, 0};
    }
    operation->complete(operation);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add(struct fake *fake, const char *path)
{
    fake->paths[fake->count] = strdup(path);
    ck_assert_ptr_nonnull(fake->paths[fake->count++]);
}

static void settle(struct fake *fake)
{
    size_t kept = 0;

    qsort(fake->paths, fake->count, sizeof *fake->paths, by_bytes);
    for (size_t i = 0; i < fake->count; i++) {
        if (kept > 0 && strcmp(fake->paths[kept - 1], fake->paths[i]) == 0)
            free(fake->paths[i]);
        else
            fake->paths[kept++] = fake->paths[i];
    }
    fake->count = kept;
}

static void make(struct fake *fake, size_t capacity, size_t most)
{
    *fake = (struct fake){
        .base.submit = submit, .paths = calloc(capacity, sizeof *fake->paths), .most = most};
    ck_assert_ptr_nonnull(fake->paths);
}

/* Random names of few letters, some of them on either side of the slash in the order. */
static void grow(struct fake *fake, unsigned seed, size_t names)
{
    static const char letters[] = "-./0a";
    char path[NAME];

    srand(seed);
    for (size_t i = 0; i < names; i++) {
        size_t size = 1 + (size_t)rand() % 16;
        path[0] = '/';
        for (size_t k = 1; k <= size; k++) {
            path[k] = letters[(size_t)rand() % 5];
            if (path[k] != '/')
                continue;
            if (path[k - 1] == '/')
                path[k] = 'b';
            path[k + 1] = '\0';
            if (path[k] == '/')
                add(fake, path);
        }
        path[size + 1] = '\0';
        if (path[size] != '/')
            add(fake, path);
    }
    settle(fake);
}

static void destroy(struct fake *fake)
{
    for (size_t i = 0; i < fake->count; i++)
        free(fake->paths[i]);
    free(fake->paths);
}

/* ---- walks ---- */

static size_t walk_all(struct fake *fake)
{
    struct walk walk;
    struct entry entry;
    size_t seen = 0;

    walk_start(&walk, &fake->base, "the store");
    for (; walk_next(&walk, &entry); seen++) {
        const char *expected = fake->paths[seen];
        size_t size = strlen(expected);
        bool is_directory = expected[size - 1] == '/';
        bool is_empty = is_directory && (seen + 1 == fake->count ||
                                         strncmp(fake->paths[seen + 1], expected, size) != 0);
        ck_assert_uint_lt(seen, fake->count);
        ck_assert_uint_eq(entry.size, size);
        ck_assert_mem_eq(entry.path, expected, size);
        ck_assert_int_eq(entry.is_directory, is_directory);
        ck_assert_int_eq(entry.is_empty, is_empty);
    }
    ck_assert(walk.has_failed || seen == fake->count);
    walk_end(&walk);
    return seen;
}

START_TEST(a_walk_sees_all_in_order_however_little_a_store_lists)
{
    static const size_t mosts[] = {MAX_NAMES, 500, 40, 3, 0};

    for (unsigned seed = 1; seed <= 40; seed++) {
        for (size_t i = 0; i < sizeof mosts / sizeof *mosts; i++) {
            struct fake fake;
            make(&fake, MAX_NAMES, mosts[i]);
            grow(&fake, seed, seed * 15);
            walk_all(&fake);
            destroy(&fake);
        }
    }
}
END_TEST

START_TEST(pages_follow_each_other)
{
    static const size_t mosts[] = {LARGE + 100, LARGE, 10};

    for (size_t i = 0; i < sizeof mosts / sizeof *mosts; i++) {
        struct fake fake;
        char path[NAME];
        make(&fake, LARGE + 10, mosts[i]);
        add(&fake, "/a/");
        add(&fake, "/a/b/");
        add(&fake, "/z");
        for (int k = 0; k < LARGE; k++) {
            snprintf(path, sizeof path, "/a/b/%d", k);
            add(&fake, path);
        }
        settle(&fake);
        ck_assert_uint_eq(walk_all(&fake), LARGE + 3);
        destroy(&fake);
    }
}
END_TEST

/* The store refuses what it listed a page of before: others have put more into it. */
START_TEST(a_listing_that_gets_too_large_goes_on_in_its_parts)
{
    for (size_t at = 2; at <= 3; at++) {
        struct fake fake;
        char path[NAME];
        make(&fake, 2 * LARGE, 2 * LARGE);
        fake.fails_at = at;
        fake.result = STORE_TOO_MUCH_WORK;
        add(&fake, "/a/");
        for (int k = 0; k < LARGE; k++) {
            if (k % 100 == 0) {
                snprintf(path, sizeof path, "/a/%d/", k / 100);
                add(&fake, path);
            }
            snprintf(path, sizeof path, "/a/%d/%d", k / 100, k);
            add(&fake, path);
        }
        settle(&fake);
        ck_assert_uint_eq(walk_all(&fake), fake.count);
        destroy(&fake);
    }
}
END_TEST

START_TEST(a_failure_ends_a_walk_and_a_lost_directory_does_not)
{
    static const struct {
        store_result result;
        bool fails;
    } cases[] = {{STORE_IO, true}, {STORE_DENIED, true}, {STORE_NOT_FOUND, false}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fake fake;
        struct walk walk;
        struct entry entry;
        make(&fake, 10, 0);
        add(&fake, "/a/");
        add(&fake, "/a/b");
        add(&fake, "/c");
        fake.fails_at = 3; /* all, the root, and then "/a/" */
        fake.result = cases[i].result;
        walk_start(&walk, &fake.base, "the store");
        bool has_first = walk_next(&walk, &entry);
        ck_assert_int_eq(has_first, !cases[i].fails);
        ck_assert_int_eq(walk.has_failed, cases[i].fails);
        if (has_first) {
            ck_assert_uint_eq(entry.size, 3);
            ck_assert(entry.is_empty);
            ck_assert(walk_next(&walk, &entry));
            ck_assert_mem_eq(entry.path, "/c", 2);
        }
        ck_assert(!walk_next(&walk, &entry));
        walk_end(&walk);
        destroy(&fake);
    }
}
END_TEST

START_TEST(a_walk_without_memory_fails)
{
    struct fake fake;
    size_t whole;

    make(&fake, MAX_NAMES, 3);
    grow(&fake, 1, 100);
    whole = fake.count;
    for (int left = 0; left < 10; left++) {
        callocs_left = left;
        ck_assert_uint_lt(walk_all(&fake), whole);
        callocs_left = -1;
    }
    ck_assert_uint_eq(walk_all(&fake), whole);
    destroy(&fake);
}
END_TEST

/* ---- lines ---- */

static void write_and_read(bool is_directory, sttp_slice path, sttp_slice text)
{
    struct ndjson_item item;
    char *line = NULL, mistake[STTP_MAX_MESSAGE + 64];
    size_t size = 0;
    FILE *out = open_memstream(&line, &size);

    ck_assert_ptr_nonnull(out);
    if (is_directory)
        ndjson_write_directory(out, path);
    else
        ndjson_write_text(out, path, text);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_uint_le(size, NDJSON_LINE);
    ck_assert_ptr_eq(memchr(line, '\n', size), line + size - 1);
    ck_assert_msg(ndjson_read(line, size - 1, &item, mistake, sizeof mistake), "%s", mistake);
    ck_assert_int_eq(item.is_directory, is_directory);
    ck_assert_uint_eq(item.path_size, path.size);
    ck_assert_mem_eq(item.path, path.data, path.size);
    ck_assert_uint_eq(item.text_size, text.size);
    if (text.size > 0)
        ck_assert_mem_eq(item.text, text.data, text.size);
    free(line);
}

START_TEST(every_character_comes_back)
{
    char text[STTP_MAX_CONTENTS_BYTES];

    for (uint32_t c = 1; c < 0x110000; c = c < 0x3000 ? c + 1 : c + 97) {
        size_t size = 0;
        if (c < 0x80)
            text[size++] = (char)c;
        else if (c < 0x800)
            text[size++] = (char)(0xc0 | c >> 6);
        else if (c < 0x10000)
            text[size++] = (char)(0xe0 | c >> 12);
        else
            text[size++] = (char)(0xf0 | c >> 18);
        if (c >= 0x10000)
            text[size++] = (char)(0x80 | (c >> 12 & 0x3f));
        if (c >= 0x800)
            text[size++] = (char)(0x80 | (c >> 6 & 0x3f));
        if (c >= 0x80)
            text[size++] = (char)(0x80 | (c & 0x3f));
        if (sttp_check_text((sttp_slice){text, size}, NULL) != STTP_OK)
            continue;
        write_and_read(false, STTP_SLICE("/a"), (sttp_slice){text, size});
    }
}
END_TEST

START_TEST(the_longest_come_back)
{
    char path[STTP_MAX_PATH + 1], text[STTP_MAX_CONTENTS_BYTES];

    for (size_t i = 0; i < STTP_MAX_PATH; i++)
        path[i] = i % 2 == 0 ? '/' : '"';
    memset(text, '\\', STTP_MAX_CONTENTS_CHARS);
    write_and_read(false, (sttp_slice){path, STTP_MAX_PATH},
                   (sttp_slice){text, STTP_MAX_CONTENTS_CHARS});
    path[STTP_MAX_PATH - 1] = '/';
    path[STTP_MAX_PATH - 2] = 'x';
    write_and_read(true, (sttp_slice){path, STTP_MAX_PATH}, (sttp_slice){NULL, 0});
    for (size_t i = 0; i < STTP_MAX_CONTENTS_CHARS; i++)
        memcpy(text + 4 * i, "\xf0\x9f\x98\x80", 4);
    write_and_read(false, STTP_SLICE("/a"), (sttp_slice){text, sizeof text});
    write_and_read(false, STTP_SLICE("/a"), STTP_SLICE(""));
    write_and_read(true, STTP_SLICE("/"), (sttp_slice){NULL, 0});
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("admin");
    TCase *tests = tcase_create("admin");

    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_walk_sees_all_in_order_however_little_a_store_lists);
    tcase_add_test(tests, pages_follow_each_other);
    tcase_add_test(tests, a_listing_that_gets_too_large_goes_on_in_its_parts);
    tcase_add_test(tests, a_failure_ends_a_walk_and_a_lost_directory_does_not);
    tcase_add_test(tests, a_walk_without_memory_fails);
    tcase_add_test(tests, every_character_comes_back);
    tcase_add_test(tests, the_longest_come_back);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
