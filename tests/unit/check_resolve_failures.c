/* The resolver where servers fail or lie, memory is out, and callbacks do what they like. */
#include "resolve_support.h"

static const char nobody_could[] = "no DNS server could tell";
static const char nobody_did[] = "no DNS server answered";

static void ask_and_hear(asker *a, const char *host)
{
    ask(a, host);
    hear(a);
}

/* ---- servers ---- */

START_TEST(a_failure_is_kept_for_a_second)
{
    dns_rule *rule = dns_set(&servers[0], "a.test", "127.0.0.5", 60);
    asker a = {0};
    unsigned asked;

    rule->rcode = ns_r_servfail;
    ask_and_hear(&a, "a.test");
    expect_failure(&a, 1, nobody_could);
    ck_assert(!a.gone);
    asked = rule->asked[0];
    ask_and_hear(&a, "a.test");
    expect_failure(&a, 2, nobody_could);
    ck_assert_uint_eq(rule->asked[0], asked);
    rule->rcode = ns_r_noerror;
    pass(1100 * MILLISECONDS);
    ask_and_hear(&a, "a.test");
    expect(&a, 3, "127.0.0.5:80");
}
END_TEST

START_TEST(silence_has_an_end)
{
    asker a = {0};

    servers[0].silent = true;
    ask(&a, "a.test");
    WAIT_FOR(servers[0].packets == 2);
    pass(2 * SECONDS);
    WAIT_FOR(servers[0].packets == 4);
    pass(3 * SECONDS);
    ck_assert_uint_eq(a.calls, 0);
    pass(1 * SECONDS);
    hear(&a);
    expect_failure(&a, 1, nobody_did);
    ck_assert_uint_eq(servers[0].packets, 4);
}
END_TEST

START_TEST(another_server_is_asked)
{
    dns_server *second = dns_open("127.0.0.2", servers[0].port);
    asker a = {0};

    sttp__resolver_destroy(resolver);
    ck_assert_int_eq(create_resolver(false), STTP_OK);
    dns_set(second, "a.test", "127.0.0.5", 60);
    if (_i == 0) {
        dns_set(&servers[0], "a.test", "127.0.0.9", 60)->rcode = ns_r_refused;
    } else if (_i == 1) { /* nobody there */
        close(servers[0].udp);
        servers[0].udp = -1;
    } else {
        servers[0].silent = true;
    }
    ask(&a, "a.test");
    if (_i == 2) {
        WAIT_FOR(servers[0].packets == 2);
        pass(2 * SECONDS);
    }
    hear(&a);
    expect(&a, 1, "127.0.0.5:80");
}
END_TEST

START_TEST(what_was_good_is_used_while_servers_fail)
{
    dns_rule *rule = dns_set(&servers[0], "a.test", "127.0.0.5", 10);
    asker a = {0}, late = {0};

    ask_and_hear(&a, "a.test");
    rule->rcode = ns_r_servfail;
    pass(11 * SECONDS);
    WAIT_FOR(rule->asked[0] > 1);
    quiet();
    ask_and_hear(&late, "a.test");
    expect(&late, 1, "127.0.0.5:80");
    pass(200 * SECONDS);
    quiet();
    expect(&a, 1, "127.0.0.5:80");
    rule->rcode = ns_r_noerror;
    dns_set(&servers[0], "a.test", "127.0.0.6", 10);
    pass(33 * SECONDS);
    hear(&a);
    expect(&a, 2, "127.0.0.6:80");
}
END_TEST

START_TEST(servers_that_fail_are_asked_less_and_less_often)
{
    dns_rule *rule = dns_set(&servers[0], "a.test", "127.0.0.5", 10);
    unsigned rounds = 0;
    asker a = {0};

    ask_and_hear(&a, "a.test");
    rule->rcode = ns_r_servfail;
    for (unsigned second = 0; second < 150; second++) {
        unsigned before = rule->asked[0];

        pass(1 * SECONDS);
        quiet();
        rounds += rule->asked[0] > before;
    }
    ck_assert_uint_ge(rounds, 7); /* at 10, 11, 13, 17, 25, 41, 73, 105, 137 seconds */
    ck_assert_uint_le(rounds, 10);
}
END_TEST

START_TEST(after_five_minutes_it_is_no_good_any_more)
{
    dns_rule *rule = dns_set(&servers[0], "a.test", "127.0.0.5", 10);
    asker a = {0}, late = {0};

    ask_and_hear(&a, "a.test");
    rule->rcode = ns_r_servfail;
    for (unsigned i = 0; i < 30; i++) {
        pass(10 * SECONDS);
        quiet();
    }
    expect(&a, 1, "127.0.0.5:80");
    pass(40 * SECONDS);
    hear(&a);
    expect_failure(&a, 2, nobody_could);
    ask_and_hear(&late, "a.test");
    expect_failure(&late, 1, nobody_could);
}
END_TEST

START_TEST(old_addresses_are_told_where_nothing_newer_comes_soon)
{
    asker a = {0};

    dns_set(&servers[0], "a.test", "127.0.0.5", 10);
    ask_and_hear(&a, "a.test");
    sttp__lookup_cancel(&a.lookup);
    servers[0].silent = true;
    pass(100 * SECONDS);
    ask(&a, "a.test");
    pass(400 * MILLISECONDS);
    ck_assert_uint_eq(a.calls, 1);
    pass(100 * MILLISECONDS);
    hear(&a);
    expect(&a, 2, "127.0.0.5:80");
    ck_assert(a.more);
    pass(2 * SECONDS);
    pass(4 * SECONDS);
    hear(&a);
    expect(&a, 3, "127.0.0.5:80");
    ck_assert(!a.more);
    sttp__lookup_cancel(&a.lookup);
    pass(310 * SECONDS);
    ask(&a, "a.test");
    pass(500 * MILLISECONDS);
    ck_assert_uint_eq(a.calls, 3);
    pass(2 * SECONDS);
    pass(4 * SECONDS);
    hear(&a);
    expect_failure(&a, 4, nobody_did);
}
END_TEST

START_TEST(a_family_that_nobody_can_tell_of_stays_what_it_was)
{
    dns_rule *rule = dns_set(&servers[0], "a.test", "127.0.0.5 ::1", 10);
    asker a = {0};

    ask_and_hear(&a, "a.test");
    ck_assert_uint_eq(a.count, 2);
    dns_set(&servers[0], "a.test", "127.0.0.6 ::2", 10);
    rule->rcode = ns_r_servfail;
    rule->rcode_type = ns_t_aaaa;
    pass(11 * SECONDS);
    hear(&a);
    ck_assert_uint_eq(a.count, 2);
    ck_assert_ptr_nonnull(strstr(a.addresses, "127.0.0.6:80"));
    ck_assert_ptr_nonnull(strstr(a.addresses, "[::1]:80"));
    rule->rcode = ns_r_noerror;
    pass(2 * SECONDS); /* not when the time of the good family is over */
    hear(&a);
    ck_assert_ptr_nonnull(strstr(a.addresses, "[::2]:80"));
}
END_TEST

START_TEST(one_family_is_enough)
{
    dns_rule *rule = dns_set(&servers[0], "a.test", "127.0.0.5", 60);
    asker a = {0};

    rule->rcode = ns_r_servfail;
    rule->rcode_type = ns_t_aaaa;
    ask_and_hear(&a, "a.test");
    if (a.more)
        hear(&a);
    expect(&a, a.calls, "127.0.0.5:80");
}
END_TEST

START_TEST(truncated_answers_are_asked_for_by_tcp)
{
    asker a = {0};

    dns_set(&servers[0], "a.test", "127.0.0.5 127.0.0.6", 60);
    servers[0].truncates = true;
    ask_and_hear(&a, "a.test");
    expect(&a, 1, "127.0.0.5:80 127.0.0.6:80");
    ck_assert_uint_eq(servers[0].streamed, 2);
}
END_TEST

START_TEST(tcp_that_is_reset_or_silent)
{
    asker a = {0};

    dns_set(&servers[0], "a.test", "127.0.0.5", 60);
    servers[0].truncates = true;
    servers[0].resets = _i == 0;
    servers[0].held_type = _i == 0 ? 0 : ns_t_any;
    ask(&a, "a.test");
    if (_i > 0) {
        WAIT_FOR(servers[0].held_count == 2);
        dns_release(&servers[0]);
        servers[0].held_type = ns_t_any;
        WAIT_FOR(servers[0].held_count == 2); /* these are streams */
        close_streams(&servers[0]);
        servers[0].held_count = 0;
        servers[0].held_type = 0;
        servers[0].silent = true;
        turn();
        pass(4 * SECONDS);
        pass(4 * SECONDS);
    }
    hear(&a);
    ck_assert_int_eq(a.status, STTP_ERR_RESOLVE);
}
END_TEST

START_TEST(lies_are_ignored)
{
    asker a = {0};

    dns_set(&servers[0], "a.test", "127.0.0.5 ::1", 60);
    servers[0].lies = true;
    ask_and_hear(&a, "a.test");
    ck_assert_int_eq(a.status, STTP_OK);
    ck_assert_uint_eq(a.count, 2);
}
END_TEST

START_TEST(malformed_answers)
{
    asker a = {0};

    dns_set(&servers[0], "a.test", "127.0.0.5 ::1", 60);
    servers[0].malformed = true;
    ask_and_hear(&a, "a.test");
    expect_failure(&a, 1, nobody_could);
}
END_TEST

static const char *const bad_lists[] = {
    "",
    ",",
    "x",
    "127.0.0.1:x",
    "127.0.0.1:0",
    "127.0.0.1:65536",
    "[::1",
    "[::1]:",
    "[::1]53",
    "fe80::1%1",
    "[127.0.0.1]",
    "127.0.0.1,",
    "127.0.0.1, ::1",
    "a.test:1",
    "127.0.0.256",
    "127.0.0.1:1 ",
    "127.0.0.1:000001",
};

static const char *const good_lists[] = {
    "127.0.0.1",
    "127.0.0.1:1,::1,[::1],[::1]:65535",
    "0:0:0:0:0:ffff:255.255.255.255",
    "[0000:0000:0000:0000:0000:ffff:255.255.255.255]:65535",
};

START_TEST(servers_that_can_and_cannot_be_read)
{
    sttp__resolver_options options = {0};
    sttp__resolver *made = resolver;

    for (size_t i = 0; i < sizeof bad_lists / sizeof *bad_lists; i++) {
        options.dns_servers = bad_lists[i];
        ck_assert_int_eq(sttp__resolver_create(&loop, &options, &made), STTP_ERR_ARGUMENT);
        ck_assert_ptr_null(made);
    }
    for (size_t i = 0; i < sizeof good_lists / sizeof *good_lists; i++) {
        options.dns_servers = good_lists[i];
        ck_assert_int_eq(sttp__resolver_create(&loop, &options, &made), STTP_OK);
        sttp__resolver_destroy(made);
    }
}
END_TEST

/* ---- callbacks ---- */

static void cancel_own(asker *a)
{
    sttp__lookup_cancel(&a->lookup);
    sttp__lookup_cancel(&a->lookup);
}

static void cancel_other(asker *a)
{
    sttp__lookup_cancel(&((asker *)a->context)->lookup);
}

static void destroy_all(asker *a)
{
    (void)a;
    sttp__resolver_destroy(resolver);
    resolver = NULL;
}

static void ask_again(asker *a)
{
    if (a->calls < 1000) {
        sttp__lookup_cancel(&a->lookup);
        ask(a, "a.test");
    }
}

START_TEST(a_cancelled_lookup_is_told_nothing)
{
    dns_rule *rule = dns_set(&servers[0], "a.test", "127.0.0.5", 60);
    asker a = {0}, b = {0};

    sttp__lookup_cancel(&a.lookup);
    ask(&a, "a.test");
    sttp__lookup_cancel(&a.lookup);
    WAIT_FOR(servers[0].packets == 2);
    quiet();
    ask(&b, "a.test"); /* what came is kept all the same */
    ask(&a, "a.test");
    sttp__lookup_cancel(&a.lookup);
    hear(&b);
    expect(&b, 1, "127.0.0.5:80");
    ck_assert_uint_eq(a.calls, 0);
    ck_assert_uint_eq(rule->asked[0], 1);
}
END_TEST

START_TEST(callbacks_cancel)
{
    asker a = {.then = cancel_own}, b = {.then = cancel_other}, c = {0}, d = {0};

    b.context = &c;
    dns_set(&servers[0], "a.test", "127.0.0.5", 10);
    ask(&a, "a.test");
    ask(&b, "a.test");
    ask(&c, "a.test");
    ask(&d, "a.test");
    hear(&d);
    ck_assert_uint_eq(a.calls, 1);
    ck_assert_uint_eq(b.calls, 1);
    ck_assert_uint_eq(c.calls, 0);
    dns_set(&servers[0], "a.test", "127.0.0.6", 10);
    pass(10 * SECONDS);
    hear(&d);
    ck_assert_uint_eq(a.calls, 1);
    ck_assert_uint_eq(b.calls, 2);
    ck_assert_uint_eq(c.calls, 0);
}
END_TEST

START_TEST(callbacks_destroy_the_resolver)
{
    asker a = {0}, b = {.then = destroy_all}, c = {0}, other = {0};

    dns_set(&servers[0], "a.test", "127.0.0.5", 10);
    ask(&other, "other.test");
    servers[0].silent = _i == 1;
    ask(&a, _i == 0 ? "a.test" : "127.0.0.1");
    ask(&b, _i == 0 ? "a.test" : "127.0.0.1");
    ask(&c, _i == 0 ? "a.test" : "127.0.0.1");
    hear(&b);
    ck_assert_uint_eq(a.calls, 1);
    ck_assert_uint_eq(c.calls, 0);
    ck_assert_ptr_null(c.lookup.name);
    ck_assert_uint_eq(loop.timer_count, 0);
    ck_assert_uint_eq(live_blocks, 0);
    sttp__lookup_cancel(&c.lookup);
}
END_TEST

START_TEST(a_callback_that_asks_again_and_again_keeps_nobody_waiting)
{
    asker a = {.then = ask_again}, b = {0};

    dns_set(&servers[0], "a.test", "127.0.0.5", 10);
    if (_i == 1)
        dns_set(&servers[0], "a.test", "127.0.0.5", 10)->rcode = ns_r_nxdomain;
    ask(&a, "a.test");
    hear(&a);
    ask(&b, "127.0.0.1");
    hear(&b);
    ck_assert_uint_lt(a.calls, 10);
    WAIT_FOR(a.calls == 1000);
    ck_assert_uint_eq(servers[0].packets, 2);
}
END_TEST

START_TEST(destroyed_with_everything_under_way)
{
    asker askers[6] = {0};

    servers[0].held_type = ns_t_aaaa;
    dns_set(&servers[0], "a.test", "127.0.0.5", 10);
    ask_and_hear(&askers[0], "a.test");
    ask(&askers[1], "a.test");
    ask(&askers[2], "b.test");
    ask(&askers[3], "127.0.0.1");
    ask(&askers[4], "localhost");
    ask(&askers[5], "a.test");
    sttp__lookup_cancel(&askers[5].lookup);
    sttp__resolver_destroy(resolver);
    resolver = NULL;
    for (size_t i = 0; i < 6; i++)
        ck_assert_ptr_null(askers[i].lookup.name);
}
END_TEST

/* ---- limits ---- */

START_TEST(names_that_nobody_follows_are_forgotten_one_by_one)
{
    asker a = {0};
    char host[16];

    for (unsigned i = 0; i < 3000; i++) {
        snprintf(host, sizeof host, "127.0.%u.%u", i / 250, i % 250);
        ask(&a, host);
        sttp__lookup_cancel(&a.lookup);
    }
    ck_assert_uint_le(loop.timer_count, 1024 + 2);
    ck_assert_uint_gt(loop.timer_count, 1000);
}
END_TEST

START_TEST(no_more_names_than_so_many_are_asked_for_at_once)
{
    enum { MANY = 1030 };
    static asker askers[MANY];
    unsigned refused = 0;
    char host[16];

    servers[0].silent = true;
    for (unsigned i = 0; i < MANY; i++) {
        askers[i] = (asker){0};
        snprintf(host, sizeof host, "n%u.test", i);
        ask(&askers[i], host);
    }
    hear(&askers[MANY - 1]);
    for (unsigned i = 0; i < MANY; i++)
        refused += askers[i].calls == 1;
    ck_assert_uint_eq(refused, MANY - 1024);
    expect_failure(&askers[MANY - 1], 1, "too many names are being looked up");
}
END_TEST

/* ---- memory ---- */

START_TEST(a_loop_without_memory)
{
    asker a = {0};

    dns_set(&servers[0], "a.test", "127.0.0.5", 10);
    loop.refuses = true;
    ask_and_hear(&a, "a.test");
    ck_assert_int_eq(a.status, STTP_ERR_MEMORY);
    ck_assert_ptr_null(a.lookup.name);
    loop.refuses = false;
    pass(1100 * MILLISECONDS);
    ask_and_hear(&a, "a.test");
    expect(&a, 2, "127.0.0.5:80");
}
END_TEST

/* Whatever fails: who asks is told so, or gets what there is. */
static void use_it(void)
{
    static const char *const hosts[] = {"a.test", "127.0.0.1", "localhost", "h.test", "bad name"};
    asker askers[sizeof hosts / sizeof *hosts] = {0};

    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        asker *a = &askers[i];
        sttp_status status;

        a->lookup.done = looked_up;
        status = sttp__lookup_start(resolver, &a->lookup, hosts[i], 80, AF_UNSPEC);
        if (status != STTP_OK) {
            ck_assert_int_eq(status, STTP_ERR_MEMORY);
            ck_assert_ptr_null(a->lookup.name);
            continue;
        }
        hear(a);
        if (a->status != STTP_OK)
            ck_assert(a->status == STTP_ERR_MEMORY || i == 4 || failing_allocation > 0);
    }
    pass(11 * SECONDS);
    quiet();
    sttp__resolver_destroy(resolver);
    resolver = NULL;
}

START_TEST(each_allocation_fails_once)
{
    size_t n = 0;

    write_file(hosts_path, "127.0.0.5 h.test\n::5 h.test\n");
    dns_set(&servers[0], "a.test", "127.0.0.5 ::1", 10);
    sttp__resolver_destroy(resolver);
    do {
        sttp_status status;

        ck_assert_uint_eq(live_blocks, 0);
        ck_assert_uint_eq(loop.timer_count, 0);
        allocations = 0;
        failing_allocation = ++n;
        status = create_resolver(false);
        if (status == STTP_OK)
            use_it();
        else
            ck_assert_int_eq(status, STTP_ERR_MEMORY);
    } while (allocations >= failing_allocation);
    ck_assert_uint_gt(n, 20);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("resolve_failures");
    TCase *all = tcase_create("resolve_failures");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_set_timeout(all, 60);
    tcase_add_test(all, a_failure_is_kept_for_a_second);
    tcase_add_test(all, silence_has_an_end);
    tcase_add_loop_test(all, another_server_is_asked, 0, 3);
    tcase_add_test(all, what_was_good_is_used_while_servers_fail);
    tcase_add_test(all, servers_that_fail_are_asked_less_and_less_often);
    tcase_add_test(all, after_five_minutes_it_is_no_good_any_more);
    tcase_add_test(all, old_addresses_are_told_where_nothing_newer_comes_soon);
    tcase_add_test(all, a_family_that_nobody_can_tell_of_stays_what_it_was);
    tcase_add_test(all, one_family_is_enough);
    tcase_add_test(all, truncated_answers_are_asked_for_by_tcp);
    tcase_add_loop_test(all, tcp_that_is_reset_or_silent, 0, 2);
    tcase_add_test(all, lies_are_ignored);
    tcase_add_test(all, malformed_answers);
    tcase_add_test(all, servers_that_can_and_cannot_be_read);
    tcase_add_test(all, a_cancelled_lookup_is_told_nothing);
    tcase_add_test(all, callbacks_cancel);
    tcase_add_loop_test(all, callbacks_destroy_the_resolver, 0, 2);
    tcase_add_loop_test(all, a_callback_that_asks_again_and_again_keeps_nobody_waiting, 0, 2);
    tcase_add_test(all, destroyed_with_everything_under_way);
    tcase_add_test(all, names_that_nobody_follows_are_forgotten_one_by_one);
    tcase_add_test(all, no_more_names_than_so_many_are_asked_for_at_once);
    tcase_add_test(all, a_loop_without_memory);
    tcase_add_test(all, each_allocation_fails_once);
    suite_add_tcase(suite, all);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
