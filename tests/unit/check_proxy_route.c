/* Which prefix a path belongs to. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "proxy_support.h"
#include "sttp-proxy/route.h"

static route_table *table;

static void teardown(void)
{
    route_table_destroy(table);
}

/* A table of prefixes that are separated by spaces. */
static void begin(const char *prefixes)
{
    sttp_slice list[16];
    size_t count = 0;

    teardown();
    for (const char *at = prefixes; *at; at += *at == ' ') {
        list[count++] = (sttp_slice){at, strcspn(at, " ")};
        at += list[count - 1].size;
    }
    ck_assert_ptr_nonnull(table = route_table_create(list, count));
}

static void expect(const char *path, size_t index)
{
    ck_assert_msg(route_find(table, slice_of(path)) == index, "%s", path);
}

START_TEST(longest_prefix_wins)
{
    begin("/a /a/b/c /a/b /d/");
    expect("/a", 0);
    expect("/a/", 0);
    expect("/a/x", 0);
    expect("/a/b", 2);
    expect("/a/b/", 2);
    expect("/a/b/x.txt", 2);
    expect("/a/b/c", 1);
    expect("/a/b/c/d/e/f", 1);
    expect("/d", 3);
    expect("/d/", 3);
    expect("/d/a", 3);
    expect("/", ROUTE_NONE);
    expect("/e", ROUTE_NONE);
}
END_TEST

START_TEST(prefix_ends_with_a_segment)
{
    begin("/a /a-b/c /a.b /a/b");
    expect("/ab", ROUTE_NONE);
    expect("/a-", ROUTE_NONE);
    expect("/a-b", ROUTE_NONE);
    expect("/a-b/c", 1);
    expect("/a-b/cd", ROUTE_NONE);
    expect("/a.b/x", 2);
    expect("/a/bc", 0);
    expect("/a/b", 3);
    expect("/a/b-c/d", 0);
    expect("/A", ROUTE_NONE);
    expect("/%61", ROUTE_NONE);
}
END_TEST

START_TEST(root_has_all)
{
    begin("/x /");
    expect("/", 1);
    expect("/y", 1);
    expect("/xy", 1);
    expect("/x", 0);
    expect("/\xc3\xa9/\xf0\x9f\x98\x80", 1);
    begin("/");
    expect("/", 0);
    expect("/a/b", 0);
}
END_TEST

START_TEST(no_prefix_at_all)
{
    begin("");
    expect("/", ROUTE_NONE);
    expect("/a", ROUTE_NONE);
}
END_TEST

START_TEST(valid_prefixes)
{
    static const char *const good[] = {"/", "/a", "/a/", "/a/b c"},
                             *const bad[] = {"",     "a",    "//",    "/a//b",    "/./",      "/..",
                                             "/a?b", "/a\n", "/\xff", "/.sttp-x", "sttp://a/"};

    for (size_t i = 0; i < 3; i++)
        ck_assert(route_prefix_valid(slice_of(good[i])));
    ck_assert(!route_prefix_valid(slice_of(good[3]))); /* no path has a space */
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!route_prefix_valid(slice_of(bad[i])), "%s", bad[i]);
}
END_TEST

START_TEST(equal_prefixes)
{
    ck_assert(route_prefix_equal(STTP_SLICE("/a"), STTP_SLICE("/a/")));
    ck_assert(route_prefix_equal(STTP_SLICE("/"), STTP_SLICE("/")));
    ck_assert(route_prefix_equal(STTP_SLICE("/a/b"), STTP_SLICE("/a/b")));
    ck_assert(!route_prefix_equal(STTP_SLICE("/"), STTP_SLICE("/a")));
    ck_assert(!route_prefix_equal(STTP_SLICE("/a"), STTP_SLICE("/b")));
    ck_assert(!route_prefix_equal(STTP_SLICE("/a"), STTP_SLICE("/A")));
}
END_TEST

/* Paths of few letters, so that they often contain each other. */
static sttp_slice random_path(uint64_t *state, char *buffer)
{
    size_t segments = random_below(state, 5), size = 0;

    while (segments-- > 0) {
        buffer[size++] = '/';
        for (size_t letters = 1 + random_below(state, 2); letters > 0; letters--)
            buffer[size++] = "a-0\xc3"[random_below(state, 4)];
    }
    if (size == 0 || random_below(state, 3) == 0)
        buffer[size++] = '/';
    return (sttp_slice){buffer, size};
}

/* What the header says, word by word. */
static size_t find_slowly(const sttp_slice *prefixes, size_t count, sttp_slice path)
{
    size_t best = ROUTE_NONE, best_size = 0;

    for (size_t i = 0; i < count; i++) {
        size_t size = prefixes[i].size - (prefixes[i].data[prefixes[i].size - 1] == '/');

        if (path.size < size || memcmp(path.data, prefixes[i].data, size) != 0)
            continue;
        if (path.size > size && path.data[size] != '/')
            continue;
        if (best == ROUTE_NONE || size > best_size) {
            best = i;
            best_size = size;
        }
    }
    return best;
}

START_TEST(same_as_a_slow_search)
{
    enum { MOST = 40 };
    uint64_t state = random_seed();

    for (int round = 0; round < 2000; round++) {
        static char space[MOST][32];
        sttp_slice prefixes[MOST];
        size_t count = 0;

        for (size_t wanted = random_below(&state, MOST); wanted > 0; wanted--) {
            size_t same = 0;

            prefixes[count] = random_path(&state, space[count]);
            while (same < count && !route_prefix_equal(prefixes[same], prefixes[count]))
                same++;
            count += same == count;
        }
        teardown();
        ck_assert_ptr_nonnull(table = route_table_create(prefixes, count));
        for (int i = 0; i < 100; i++) {
            char buffer[32];
            sttp_slice path = random_path(&state, buffer);

            ck_assert_msg(route_find(table, path) == find_slowly(prefixes, count, path), "%.*s",
                          (int)path.size, path.data);
        }
    }
}
END_TEST

START_TEST(memory_is_out)
{
    sttp_slice root = STTP_SLICE("/");

    no_memory = true;
    ck_assert_ptr_null(route_table_create(&root, 1));
    no_memory = false;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_route");
    TCase *tests = tcase_create("route");

    tcase_add_checked_fixture(tests, NULL, teardown);
    tcase_add_test(tests, longest_prefix_wins);
    tcase_add_test(tests, prefix_ends_with_a_segment);
    tcase_add_test(tests, root_has_all);
    tcase_add_test(tests, no_prefix_at_all);
    tcase_add_test(tests, valid_prefixes);
    tcase_add_test(tests, equal_prefixes);
    tcase_add_test(tests, same_as_a_slow_search);
    tcase_add_test(tests, memory_is_out);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
