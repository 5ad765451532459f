/* Where a server is, as the settings of the proxy say it. */
#include "proxy_support.h"
#include "sttp-proxy/destination.h"

static const struct {
    const char *text;
    const char *host;
    unsigned port;
    const char *socket_path;
} good[] = {
    {"127.0.0.1:8081", "127.0.0.1", 8081, ""},
    {"[::1]:8082", "::1", 8082, ""},
    {"[::1]", "::1", 8080, ""},
    {"Name.Example:9", "name.example", 9, ""},
    {"name", "name", 8080, ""},
    {"[fe80::1%25eth0]:1", "fe80::1%eth0", 1, ""},
    {"unix:/run/sttpd.sock", "", 0, "/run/sttpd.sock"},
};

static const struct {
    const char *text;
    const char *host;
    unsigned port;
} parents[] = {
    {"sttp://10.0.0.2:4000", "10.0.0.2", 4000},
    {"sttp://10.0.0.2", "10.0.0.2", 3128},
    {"sttp://[::1]", "::1", 3128},
    {"sttp://[::1]:8080", "::1", 8080},
    {"sttp://name:8080", "name", 8080},
};

static const char *const bad[] = {
    "",       ":8080",  "name:",   "name:0", "name:65536", "name:x", "name/path",
    "name?q", "a b",    "a@b:1",   "[::1",   "::1",        "unix:",  "unix:x",
    "unix:/", "name#f", "name%41", "[::1]x", "sttp://a",   "a:1/",   "127.0.0.1:8080 ",
};

static const char *const bad_parents[] = {
    "10.0.0.2:3128", "sttps://a", "sttp://", "sttp://a/", "sttp://a/b", "sttp+unix:/a:/b", "",
};

START_TEST(destination_is_read)
{
    struct destination to;

    ck_assert(destination_parse(good[_i].text, &to));
    ck_assert_str_eq(to.host, good[_i].host);
    ck_assert_uint_eq(to.port, good[_i].port);
    ck_assert_str_eq(to.socket_path, good[_i].socket_path);
}
END_TEST

START_TEST(parent_is_read)
{
    struct destination to;

    ck_assert(destination_parse_parent(parents[_i].text, &to));
    ck_assert_str_eq(to.host, parents[_i].host);
    ck_assert_uint_eq(to.port, parents[_i].port);
    ck_assert_str_eq(to.socket_path, "");
}
END_TEST

START_TEST(others_are_refused)
{
    struct destination to;

    ck_assert_msg(!destination_parse(bad[_i], &to), "%s", bad[_i]);
}
END_TEST

START_TEST(other_parents_are_refused)
{
    struct destination to;

    ck_assert_msg(!destination_parse_parent(bad_parents[_i], &to), "%s", bad_parents[_i]);
}
END_TEST

/* The longest that fit, and one more. */
START_TEST(length_has_a_limit)
{
    char text[STTP_MAX_SOCKET_PATH + 16] = "unix:/";
    struct destination to;

    memset(text + 6, 'a', STTP_MAX_SOCKET_PATH - 1);
    ck_assert(destination_parse(text, &to));
    ck_assert_uint_eq(strlen(to.socket_path), STTP_MAX_SOCKET_PATH);
    strcat(text, "a");
    ck_assert(!destination_parse(text, &to));
    char name[STTP_MAX_HOST + 80];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    ck_assert(!destination_parse(name, &to));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy destination");
    TCase *tests = tcase_create("destination");

    tcase_add_loop_test(tests, destination_is_read, 0, sizeof good / sizeof good[0]);
    tcase_add_loop_test(tests, parent_is_read, 0, sizeof parents / sizeof parents[0]);
    tcase_add_loop_test(tests, others_are_refused, 0, sizeof bad / sizeof bad[0]);
    tcase_add_loop_test(tests, other_parents_are_refused, 0,
                        sizeof bad_parents / sizeof bad_parents[0]);
    tcase_add_test(tests, length_has_a_limit);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
