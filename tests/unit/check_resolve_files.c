/* The resolver's files: hosts and resolv.conf, and what it makes of them when they change. */
#include <sys/stat.h>

#include "resolve_support.h"

/* ---- the hosts file ---- */

START_TEST(the_hosts_file_goes_first)
{
    asker a = {0}, b = {0}, c = {0};

    write_file(hosts_path, "# 127.0.0.1 a.test\n"
                           "nonsense a.test\n"
                           "\t127.0.0.5\tother A.Test more # b.test\r\n"
                           "127.0.0.6 a.testing xa.test\n"
                           "127.0.0.7 a.test a.test\n"
                           "::2 b.test");
    dns_set(&servers[0], "a.test", "127.0.0.9 ::1", 60);
    pass(2 * SECONDS);
    ask(&a, "a.test.");
    hear(&a);
    expect(&a, 1, "127.0.0.5:80 127.0.0.7:80");
    ask(&b, "B.test");
    hear(&b);
    expect(&b, 1, "[::2]:80");
    ck_assert_uint_eq(servers[0].packets, 0);
    ask_family(&c, "a.test", AF_INET6);
    hear(&c);
    expect(&c, 1, "[::1]:80");
}
END_TEST

START_TEST(a_changed_hosts_file_is_read_again)
{
    asker a = {0};

    write_file(hosts_path, "127.0.0.5 a.test\n");
    dns_set(&servers[0], "a.test", "127.0.0.9", 60);
    ask(&a, "a.test");
    hear(&a);
    write_file(hosts_path, "127.0.0.5 a.test\n127.0.0.6 a.test\n");
    pass(6 * SECONDS);
    hear(&a);
    expect(&a, 2, "127.0.0.5:80 127.0.0.6:80");
    write_file(hosts_path, "");
    pass(6 * SECONDS);
    hear(&a);
    expect(&a, 3, "127.0.0.9:80");
    write_file(hosts_path, "127.0.0.7 a.test\n");
    pass(61 * SECONDS);
    hear(&a);
    expect(&a, 4, "127.0.0.7:80");
    ck_assert_uint_eq(servers[0].packets, 2);
}
END_TEST

START_TEST(a_changed_hosts_file_is_noticed_when_somebody_asks)
{
    dns_rule *rule = dns_set(&servers[0], "a.test", "127.0.0.5", 3600);
    asker a = {0}, kept = {0}, other = {0};

    dns_set(&servers[0], "kept.test", "127.0.0.8", 3600);
    ask(&a, "a.test");
    hear(&a);
    ask(&kept, "kept.test");
    hear(&kept);
    write_file(hosts_path, "127.0.0.6 a.test other.test\n");
    pass(2 * SECONDS);
    ask(&other, "other.test");
    hear(&other);
    expect(&other, 1, "127.0.0.6:80");
    WAIT_FOR(a.calls == 2);
    expect(&a, 2, "127.0.0.6:80");
    expect(&kept, 1, "127.0.0.8:80");
    ck_assert_uint_eq(servers[0].packets, 4);
    ck_assert_uint_eq(rule->asked[0], 1);
}
END_TEST

START_TEST(long_lines_and_words_in_the_hosts_file)
{
    static char text[40000];
    asker a = {0};
    size_t size = 0;

    while (size < 20000)
        size += (size_t)snprintf(text + size, sizeof text - size, "127.0.0.%zu n%zu.test ",
                                 size % 250 + 1, size);
    memset(text + size, 'x', 5000);
    size += 5000;
    snprintf(text + size, sizeof text - size, "\n127.0.0.5 %0500d a.test\n", 1);
    write_file(hosts_path, text);
    ask(&a, "a.test");
    hear(&a);
    expect(&a, 1, "127.0.0.5:80");
}
END_TEST

START_TEST(no_hosts_file)
{
    asker a = {0}, b = {0};

    unlink(hosts_path);
    dns_set(&servers[0], "a.test", "127.0.0.5", 60);
    dns_set(&servers[0], "b.test", "127.0.0.6", 60);
    ask(&a, "a.test");
    hear(&a);
    expect(&a, 1, "127.0.0.5:80");
    ck_assert_int_eq(mkfifo(hosts_path, 0600), 0);
    pass(2 * SECONDS);
    ask(&b, "b.test");
    hear(&b);
    expect(&b, 1, "127.0.0.6:80");
}
END_TEST

/* ---- resolv.conf ---- */

static void use_resolv_conf(const char *text)
{
    sttp__resolver_destroy(resolver);
    write_file(resolv_path, text);
    ck_assert_int_eq(create_resolver(true), STTP_OK);
}

START_TEST(the_search_list)
{
    dns_rule *plain = dns_set(&servers[0], "host", "127.0.0.5", 60);
    dns_rule *second = dns_set(&servers[0], "host.b.test", "127.0.0.6", 60);
    dns_rule *dotted = dns_set(&servers[0], "x.host", "127.0.0.7", 60);
    dns_rule *found = dns_set(&servers[0], "y.host.b.test", "127.0.0.8", 60);
    asker a = {0}, b = {0}, c = {0}, d = {0}, e = {0};

    use_resolv_conf("nameserver 127.0.0.1\nsearch a.test b.test\n");
    ask(&a, "host");
    hear(&a);
    expect(&a, 1, "127.0.0.6:80");
    ck_assert_uint_eq(plain->asked[0], 0);
    ck_assert_uint_eq(second->asked[0], 1);
    ck_assert_uint_eq(servers[0].packets, 4);
    ask(&b, "host.");
    hear(&b);
    expect(&b, 1, "127.0.0.5:80");
    ask(&c, "x.host");
    hear(&c);
    expect(&c, 1, "127.0.0.7:80");
    ck_assert_uint_eq(dotted->asked[0], 1);
    ask(&d, "y.host");
    hear(&d);
    expect(&d, 1, "127.0.0.8:80");
    ck_assert_uint_eq(found->asked[1], 1);
    ask(&e, "z.host");
    hear(&e);
    expect_failure(&e, 1, "no such name");
}
END_TEST

START_TEST(a_changed_resolv_conf_is_used)
{
    dns_server *other = dns_open("127.0.0.2", servers[0].port);
    asker a = {0}, b = {0};

    dns_set(&servers[0], "a.test", "127.0.0.5", 60);
    dns_set(other, "a.test", "127.0.0.6", 60);
    use_resolv_conf("nameserver 127.0.0.1\n");
    ask(&a, "a.test");
    hear(&a);
    expect(&a, 1, "127.0.0.5:80");
    write_file(resolv_path, "nameserver 127.0.0.2\n");
    pass(61 * SECONDS);
    hear(&a);
    expect(&a, 2, "127.0.0.6:80");
    ck_assert_uint_eq(servers[0].packets, 2);
    ask(&b, "b.test");
    hear(&b);
    ck_assert_uint_eq(servers[0].packets, 2);
    ck_assert_uint_eq(other->packets, 4);
}
END_TEST

START_TEST(lookups_under_way_survive_a_changed_resolv_conf)
{
    dns_server *other = dns_open("127.0.0.2", servers[0].port);
    asker a = {0}, b = {0};

    servers[0].silent = true;
    dns_set(other, "a.test", "127.0.0.6 ::1", 60);
    dns_set(other, "b.test", "127.0.0.7", 60);
    use_resolv_conf("nameserver 127.0.0.1\n");
    ask(&a, "a.test");
    WAIT_FOR(servers[0].packets == 2);
    write_file(resolv_path, "nameserver 127.0.0.2\n");
    pass(1100 * MILLISECONDS);
    ask(&b, "b.test");
    hear(&b);
    expect(&b, 1, "127.0.0.7:80");
    WAIT_FOR(a.calls == 1);
    ck_assert_uint_eq(a.count, 2);
    ck_assert_uint_eq(servers[0].packets, 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("resolve_files");
    TCase *all = tcase_create("resolve");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_set_timeout(all, 60);
    tcase_add_test(all, the_hosts_file_goes_first);
    tcase_add_test(all, a_changed_hosts_file_is_read_again);
    tcase_add_test(all, a_changed_hosts_file_is_noticed_when_somebody_asks);
    tcase_add_test(all, long_lines_and_words_in_the_hosts_file);
    tcase_add_test(all, no_hosts_file);
    tcase_add_test(all, the_search_list);
    tcase_add_test(all, a_changed_resolv_conf_is_used);
    tcase_add_test(all, lookups_under_way_survive_a_changed_resolv_conf);
    suite_add_tcase(suite, all);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
