/* The resolver: what it asks, when, and what it says. */
#include "resolve_support.h"

/* ---- without a question ---- */

static const struct text {
    const char *host;
    int family;
    const char *addresses; /* NULL: there are none, because of `reason` */
    const char *reason;
} texts[] = {
    {"127.0.0.1", AF_UNSPEC, "127.0.0.1:80", NULL},
    {"127.0.0.1", AF_INET, "127.0.0.1:80", NULL},
    {"127.0.0.1", AF_INET6, NULL, "it has no IPv6 address"},
    {"2001:DB8::1", AF_UNSPEC, "[2001:db8::1]:80", NULL},
    {"::1", AF_INET, NULL, "it has no IPv4 address"},
    {"fe80::1%lo", AF_UNSPEC, "[fe80::1]:80", NULL},
    {"fe80::1%1", AF_UNSPEC, "[fe80::1]:80", NULL},
    {"fe80::1%nonesuch", AF_UNSPEC, NULL, "it is not a host name"},
    {"fe80::1%0", AF_UNSPEC, NULL, "it is not a host name"},
    {"localhost", AF_UNSPEC, "[::1]:80 127.0.0.1:80", NULL},
    {"LocalHost.", AF_INET, "127.0.0.1:80", NULL},
    {"a.localhost", AF_INET6, "[::1]:80", NULL},
    {"", AF_UNSPEC, NULL, "it is not a host name"},
    {".", AF_UNSPEC, NULL, "it is not a host name"},
    {"127.1", AF_UNSPEC, NULL, "it is not a host name"},
    {"0x7f000001", AF_UNSPEC, NULL, "it is not a host name"},
    {"2130706433", AF_UNSPEC, NULL, "it is not a host name"},
    {"1.2.3.4.", AF_UNSPEC, NULL, "it is not a host name"},
    {"a..b", AF_UNSPEC, NULL, "it is not a host name"},
    {"a\\046b", AF_UNSPEC, NULL, "it is not a host name"},
    {"a b", AF_UNSPEC, NULL, "it is not a host name"},
};

START_TEST(texts_that_say_it_all)
{
    const struct text *text = &texts[_i];
    asker a = {0}, again = {0};

    ask_family(&a, text->host, text->family);
    hear(&a);
    if (text->addresses)
        expect(&a, 1, text->addresses);
    else
        expect_failure(&a, 1, text->reason);
    ask_family(&again, text->host, text->family);
    pass(2000 * SECONDS);
    ck_assert_uint_eq(again.calls, 1);
    ck_assert_str_eq(again.addresses, a.addresses);
    ck_assert_uint_eq(a.calls, 1);
    ck_assert_uint_eq(servers[0].packets, 0);
}
END_TEST

START_TEST(host_names_that_are_too_long)
{
    static const size_t sizes[] = {254, 255, 256, 300, 5000};
    char host[5001];

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        asker a = {0};

        for (size_t at = 0; at < sizes[i]; at++)
            host[at] = at % 50 == 49 ? '.' : 'a';
        host[sizes[i]] = '\0';
        ask(&a, host);
        hear(&a);
        expect_failure(&a, 1, "it is not a host name");
    }
    ck_assert_uint_eq(servers[0].packets, 0);
}
END_TEST

/* ---- one name ---- */

START_TEST(both_families_are_asked_at_once)
{
    dns_rule *rule = dns_set(&servers[0], "a.test", "127.0.0.5 ::1", 60);
    asker a = {0};

    servers[0].held_type = ns_t_any;
    ask(&a, "a.test");
    WAIT_FOR(servers[0].held_count == 2);
    dns_release(&servers[0]);
    hear(&a);
    ck_assert_int_eq(a.status, STTP_OK);
    ck_assert_uint_eq(a.count, 2);
    ck_assert_ptr_nonnull(strstr(a.addresses, "127.0.0.5:80"));
    ck_assert_ptr_nonnull(strstr(a.addresses, "[::1]:80"));
    ck_assert(!a.more);
    ck_assert_uint_eq(rule->asked[0], 1);
    ck_assert_uint_eq(rule->asked[1], 1);
}
END_TEST

START_TEST(one_family_alone)
{
    dns_rule *rule = dns_set(&servers[0], "a.test", "127.0.0.5 ::1", 60);
    asker ipv4 = {0}, ipv6 = {0};

    ask_family(&ipv4, "a.test", AF_INET);
    hear(&ipv4);
    expect(&ipv4, 1, "127.0.0.5:80");
    ck_assert_uint_eq(rule->asked[1], 0);
    ask_family(&ipv6, "A.TEST", AF_INET6);
    hear(&ipv6);
    expect(&ipv6, 1, "[::1]:80");
    ck_assert_uint_eq(rule->asked[0], 1);
    ck_assert_uint_eq(rule->asked[1], 1);
}
END_TEST

START_TEST(no_more_addresses_than_there_is_room_for)
{
    char addresses[1024] = "";
    asker a = {0};

    for (unsigned i = 1; i <= 40; i++)
        snprintf(addresses + strlen(addresses), sizeof addresses - strlen(addresses),
                 "127.0.1.%u ::%x ", i, i);
    dns_set(&servers[0], "a.test", addresses, 60);
    ask(&a, "a.test");
    hear(&a);
    ck_assert_int_eq(a.status, STTP_OK);
    ck_assert_uint_eq(a.count, STTP__ADDRESSES_MAX);
    ck_assert_uint_eq(servers[0].streamed, 2); /* they fit into no datagram */
}
END_TEST

START_TEST(aliases_are_followed_and_have_a_time_too)
{
    dns_rule *rule = dns_set(&servers[0], "a.test", "127.0.0.5", 600);
    asker a = {0};

    snprintf(rule->alias, sizeof rule->alias, "b.test");
    rule->alias_ttl = 10;
    ask(&a, "a.test");
    hear(&a);
    expect(&a, 1, "127.0.0.5:80");
    pass(9 * SECONDS);
    ck_assert_uint_eq(rule->asked[0], 1);
    pass(2 * SECONDS);
    WAIT_FOR(rule->asked[0] == 2);
}
END_TEST

START_TEST(what_there_is_not)
{
    dns_rule *rule = dns_set(&servers[0], "empty.test", "", 60);
    asker none = {0}, empty = {0};

    ask(&none, "none.test");
    hear(&none);
    expect_failure(&none, 1, "no such name");
    ck_assert(none.gone);
    ask(&empty, "empty.test");
    hear(&empty);
    expect_failure(&empty, 1, "it has no IPv4 or IPv6 address");
    ask(&empty, "empty.test");
    hear(&empty);
    expect_failure(&empty, 2, "it has no IPv4 or IPv6 address");
    ck_assert_uint_eq(rule->asked[0], 1);
    pass(1100 * MILLISECONDS);
    dns_set(&servers[0], "empty.test", "127.0.0.5", 60);
    ask(&empty, "empty.test");
    hear(&empty);
    expect(&empty, 3, "127.0.0.5:80");
    ck_assert(!empty.gone);
    ck_assert_uint_eq(rule->asked[0], 2);
}
END_TEST

/* ---- time to live, and who else asks ---- */

START_TEST(one_query_for_all_who_ask)
{
    dns_rule *rule = dns_set(&servers[0], "a.test", "127.0.0.5", 60);
    asker askers[20] = {0}, late = {0};

    for (size_t i = 0; i < 20; i++)
        ask(&askers[i], i % 2 ? "a.test" : "A.Test");
    for (size_t i = 0; i < 20; i++) {
        WAIT_FOR(askers[i].calls == 1);
        expect(&askers[i], 1, "127.0.0.5:80");
        sttp__lookup_cancel(&askers[i].lookup);
    }
    pass(58 * SECONDS);
    ask(&late, "a.test");
    hear(&late);
    expect(&late, 1, "127.0.0.5:80");
    ck_assert_uint_eq(rule->asked[0], 1);
    ck_assert_uint_eq(rule->asked[1], 1);
}
END_TEST

static const struct life {
    unsigned ttl, seconds;
} lives[] = {{0, 1},       {1, 1},       {2, 2},        {60, 60},
             {3600, 3600}, {3601, 3600}, {86400, 3600}, {0x80000000u, 1}};

START_TEST(names_are_asked_again_when_their_time_is_over)
{
    const struct life *life = &lives[_i];
    dns_rule *rule = dns_set(&servers[0], "a.test", "127.0.0.5", life->ttl);
    asker a = {0};

    ask(&a, "a.test");
    hear(&a);
    pass(life->seconds * SECONDS - 200 * MILLISECONDS);
    ck_assert_uint_eq(rule->asked[0], 1);
    pass(200 * MILLISECONDS);
    WAIT_FOR(rule->asked[0] == 2 && rule->asked[1] == 2);
    clock_offset = 0; /* check wants to tell how long it took */
}
END_TEST

START_TEST(only_what_is_new_is_told)
{
    dns_rule *rule = dns_set(&servers[0], "a.test", "127.0.0.5", 10);
    asker a = {0};

    ask(&a, "a.test");
    hear(&a);
    for (unsigned i = 2; i < 10; i++) {
        pass(10 * SECONDS);
        WAIT_FOR(rule->asked[0] == i && rule->asked[1] == i);
        quiet();
    }
    dns_set(&servers[0], "a.test", "127.0.0.6", 10);
    pass(10 * SECONDS);
    hear(&a);
    expect(&a, 2, "127.0.0.6:80");
}
END_TEST

START_TEST(nobody_asks_for_a_name_that_nobody_follows)
{
    dns_rule *rule = dns_set(&servers[0], "a.test", "127.0.0.5", 10);
    asker a = {0}, other = {0};

    ask(&a, "a.test");
    hear(&a);
    sttp__lookup_cancel(&a.lookup);
    pass(60 * SECONDS);
    ask(&other, "other.test");
    hear(&other);
    ck_assert_uint_eq(rule->asked[0], 1);
    dns_set(&servers[0], "a.test", "127.0.0.6", 10);
    ask(&a, "a.test");
    hear(&a);
    expect(&a, 2, "127.0.0.6:80");
}
END_TEST

START_TEST(old_addresses_are_used_while_new_ones_are_asked_for)
{
    asker a = {0}, late = {0};

    dns_set(&servers[0], "a.test", "127.0.0.5", 10);
    ask(&a, "a.test");
    hear(&a);
    dns_set(&servers[0], "a.test", "127.0.0.6", 10);
    servers[0].held_type = ns_t_any;
    pass(11 * SECONDS);
    WAIT_FOR(servers[0].held_count == 2);
    ask(&late, "a.test");
    hear(&late);
    expect(&late, 1, "127.0.0.5:80");
    ck_assert(late.more);
    ck_assert_uint_eq(a.calls, 1);
    dns_release(&servers[0]);
    hear(&late);
    expect(&late, 2, "127.0.0.6:80");
    expect(&a, 2, "127.0.0.6:80");
    ck_assert(!late.more);
}
END_TEST

START_TEST(who_was_told_that_there_is_more_is_told_also_when_there_is_not)
{
    asker a = {0}, late = {0};

    dns_set(&servers[0], "a.test", "127.0.0.5", 10);
    ask(&a, "a.test");
    hear(&a);
    servers[0].held_type = ns_t_any;
    pass(11 * SECONDS);
    WAIT_FOR(servers[0].held_count == 2);
    ask(&late, "a.test");
    hear(&late);
    ck_assert(late.more);
    dns_release(&servers[0]);
    hear(&late);
    expect(&late, 2, "127.0.0.5:80");
    ck_assert(!late.more);
    expect(&a, 1, "127.0.0.5:80");
}
END_TEST

START_TEST(a_name_that_is_gone_loses_its_addresses)
{
    dns_rule *rule = dns_set(&servers[0], "a.test", "127.0.0.5", 10);
    asker a = {0};

    ask(&a, "a.test");
    hear(&a);
    rule->rcode = ns_r_nxdomain;
    pass(11 * SECONDS);
    hear(&a);
    expect_failure(&a, 2, "no such name");
}
END_TEST

START_TEST(a_name_that_loses_one_family_keeps_the_other)
{
    asker a = {0};

    dns_set(&servers[0], "a.test", "127.0.0.5 ::1", 10);
    ask(&a, "a.test");
    hear(&a);
    ck_assert_uint_eq(a.count, 2);
    dns_set(&servers[0], "a.test", "::1", 10);
    pass(11 * SECONDS);
    hear(&a);
    expect(&a, 2, "[::1]:80");
}
END_TEST

/* ---- the families come one after the other ---- */

static const int types[] = {ns_t_a, ns_t_aaaa};
static const char *const alone[] = {"[::1]:80", "127.0.0.5:80"}; /* while the type is held */

START_TEST(the_second_family_is_waited_for_only_a_moment)
{
    asker a = {0}, late = {0};

    dns_set(&servers[0], "a.test", "127.0.0.5 ::1", 60);
    servers[0].held_type = types[_i];
    ask(&a, "a.test");
    WAIT_FOR(servers[0].held_count == 1 && servers[0].packets == 2);
    hear(&a); /* after 50 ms */
    expect(&a, 1, alone[_i]);
    ck_assert(a.more);
    ask(&late, "a.test");
    hear(&late);
    expect(&late, 1, alone[_i]);
    ck_assert(late.more);
    dns_release(&servers[0]);
    hear(&a);
    ck_assert_uint_eq(a.calls, 2);
    ck_assert_uint_eq(a.count, 2);
    ck_assert(!a.more);
    ck_assert_uint_eq(late.calls, 2);
    ck_assert_uint_eq(late.count, 2);
}
END_TEST

START_TEST(a_moment_is_enough_for_both)
{
    asker a = {0};

    dns_set(&servers[0], "a.test", "127.0.0.5 ::1", 60);
    servers[0].held_type = types[_i];
    ask(&a, "a.test");
    WAIT_FOR(servers[0].held_count == 1 && servers[0].packets == 2);
    dns_release(&servers[0]);
    hear(&a);
    ck_assert_uint_eq(a.count, 2);
    ck_assert(!a.more);
}
END_TEST

/* "There is none" is nothing to tell early. */
START_TEST(a_family_without_addresses_waits_for_the_other)
{
    uint64_t began;
    asker a = {0};

    dns_set(&servers[0], "a.test", types[_i] == ns_t_a ? "127.0.0.5" : "::1", 60);
    servers[0].held_type = types[_i];
    ask(&a, "a.test");
    WAIT_FOR(servers[0].held_count == 1 && servers[0].packets == 2);
    began = now_us();
    WAIT_FOR(now_us() > began + 200 * MILLISECONDS);
    ck_assert_uint_eq(a.calls, 0);
    dns_release(&servers[0]);
    hear(&a);
    expect(&a, 1, alone[!_i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("resolve");
    TCase *all = tcase_create("resolve");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_set_timeout(all, 60);
    tcase_add_loop_test(all, texts_that_say_it_all, 0, sizeof texts / sizeof *texts);
    tcase_add_test(all, host_names_that_are_too_long);
    tcase_add_test(all, both_families_are_asked_at_once);
    tcase_add_test(all, one_family_alone);
    tcase_add_test(all, no_more_addresses_than_there_is_room_for);
    tcase_add_test(all, aliases_are_followed_and_have_a_time_too);
    tcase_add_test(all, what_there_is_not);
    tcase_add_test(all, one_query_for_all_who_ask);
    tcase_add_loop_test(all, names_are_asked_again_when_their_time_is_over, 0,
                        sizeof lives / sizeof *lives);
    tcase_add_test(all, only_what_is_new_is_told);
    tcase_add_test(all, nobody_asks_for_a_name_that_nobody_follows);
    tcase_add_test(all, old_addresses_are_used_while_new_ones_are_asked_for);
    tcase_add_test(all, who_was_told_that_there_is_more_is_told_also_when_there_is_not);
    tcase_add_test(all, a_name_that_is_gone_loses_its_addresses);
    tcase_add_test(all, a_name_that_loses_one_family_keeps_the_other);
    tcase_add_loop_test(all, the_second_family_is_waited_for_only_a_moment, 0, 2);
    tcase_add_loop_test(all, a_moment_is_enough_for_both, 0, 2);
    tcase_add_loop_test(all, a_family_without_addresses_waits_for_the_other, 0, 2);
    suite_add_tcase(suite, all);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
