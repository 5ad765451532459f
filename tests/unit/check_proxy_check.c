/* Settings of sttp-proxy: what is wrong between several of them. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include "settings_run.h"
#include "sttp-proxy/options.h"

static void run_file(struct said *said, const char *text)
{
    struct proxy_options options = {0};
    char *const none[] = {NULL};

    load(&proxy_program, &options, said, text, none);
    settings_release(&proxy_program, &options);
}

/* All in one run, each with its place, beside what is wrong with single values. */
START_TEST(all_together)
{
    static const char text[] = "forward:\n"
                               "  enabled: true\n"
                               "  parent: \"sttp://localhost\"\n"
                               "  clients: [nobody]\n"
                               "reverse:\n"
                               "  - prefix: /a\n"
                               "    upstreams: [\"127.0.0.1:3128\", name, {address: NAME:8080},\n"
                               "      \"x y\"]\n"
                               "  - {upstreams: [b], prefix: /a/}\n"
                               "prot: 1\n";
    static const char *const parts[] = {
        ":4:13: forward.clients: 'nobody' is not valid",
        ":8:7: reverse.upstreams: 'x y' is not valid",
        ":10:1: unknown key 'prot'",
        ":3:11: forward.parent: 'sttp://localhost' is this proxy itself\n"
        "      parent: \"sttp://localhost\"\n"
        "              ^\n",
        ":7:17: reverse.upstreams.address: '127.0.0.1:3128' is this proxy itself\n",
        ":7:51: reverse.upstreams.address: 'NAME:8080' is given twice, in line 7 already\n",
        ":9:30: reverse.prefix: '/a/' is given twice, in line 6 already\n",
        ":2:12: warning: forward.allow is empty: no request is forwarded anywhere\n",
    };
    struct said said;

    run_file(&said, text);
    ck_assert_int_eq(said.status, 1);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        assert_says(&said, parts[i]);
    ck_assert_uint_eq(said.report.count, sizeof parts / sizeof parts[0] - 1);
    free(said.text);
}
END_TEST

static const struct self {
    const char *listen;
    const char *upstream;
    bool is_self;
} selves[] = {
    {"127.0.0.1:4000", "127.0.0.1:4000", true},
    {"127.0.0.1:4000", "127.0.0.1:4001", false},
    {"127.0.0.1:4000", "127.0.0.2:4000", false},
    {"127.0.0.1:4000", "[::1]:4000", false},
    {"127.0.0.1:4000", "[::ffff:127.0.0.1]:4000", true},
    {"127.0.0.1:4000", "localhost:4000", true},
    {"127.0.0.1:4000", "LOCALHOST:4000", true},
    {"127.0.0.1:4000", "localhost:4001", false},
    {"127.0.0.1:4000", "0.0.0.0:4000", true},
    {"127.0.0.1:4000", "name:4000", false},
    {"127.0.0.1:8080", "127.0.0.1", true},
    {"127.0.0.1:0", "127.0.0.1:1", false},
    {"0.0.0.0:4000", "127.0.0.1:4000", true},
    {"0.0.0.0:4000", "127.1.2.3:4000", true},
    {"0.0.0.0:4000", "localhost:4000", true},
    {"0.0.0.0:4000", "192.0.2.1:4000", false},
    {"0.0.0.0:4000", "[::1]:4000", false},
    {"0.0.0.0:4000", "0.0.0.0:4000", true},
    {"[::]:4000", "[::1]:4000", true},
    {"[::]:4000", "localhost:4000", true},
    {"[::]:4000", "[::]:4000", true},
    {"[::]:4000", "127.0.0.1:4000", false},
    {"[::]:4000", "[2001:db8::1]:4000", false},
    {"[::1]:4000", "[0:0::0:1]:4000", true},
    {"[::1]:4000", "localhost:4000", true},
    {"[fe80::1%eth0]:4000", "[fe80::1%25eth0]:4000", true},
    {"[fe80::1%eth0]:4000", "[fe80::2%25eth0]:4000", false},
    {"unix:/run/p", "unix:/run/p", true},
    {"unix:/run/p", "unix:/run/q", false},
    {"unix:/run/p", "127.0.0.1:4000", false},
};

/* Whether an upstream, and where it can be one a parent, is told to be the proxy that listens so.
 */
static void assert_self(const char *listen, const char *upstream, bool is_self)
{
    char text[512];
    struct said said;

    snprintf(text, sizeof text,
             "listen: [9.9.9.9:9, '%s']\nreverse: {prefix: /, upstreams: '%s'}\n", listen,
             upstream);
    run_file(&said, text);
    ck_assert_msg(said.status == is_self, "%s, %s: %s", listen, upstream, said.text);
    ck_assert((strstr(said.text, "is this proxy itself") != NULL) == is_self);
    free(said.text);
    if (upstream[0] == 'u' || strrchr(upstream, ':') == NULL)
        return;
    snprintf(text, sizeof text, "listen: '%s'\nforward: {parent: 'sttp://%s'}\n", listen, upstream);
    run_file(&said, text);
    ck_assert_msg((strstr(said.text, ":2:19: forward.parent: ") != NULL) == is_self, "%s",
                  said.text);
    free(said.text);
}

START_TEST(proxy_itself)
{
    assert_self(selves[_i].listen, selves[_i].upstream, selves[_i].is_self);
}
END_TEST

/* Each address of this machine is the proxy's, where it listens on all. */
START_TEST(addresses_of_the_machine)
{
    struct ifaddrs *interfaces;
    char host[INET6_ADDRSTRLEN], upstream[INET6_ADDRSTRLEN + 16];
    unsigned count = 0;

    ck_assert_int_eq(getifaddrs(&interfaces), 0);
    for (const struct ifaddrs *next = interfaces; next != NULL; next = next->ifa_next) {
        const void *of = next->ifa_addr;
        if (of == NULL)
            continue;
        if (next->ifa_addr->sa_family == AF_INET) {
            inet_ntop(AF_INET, &((const struct sockaddr_in *)of)->sin_addr, host, sizeof host);
            snprintf(upstream, sizeof upstream, "%s:4000", host);
            assert_self("0.0.0.0:4000", upstream, true);
            assert_self("[::]:4000", upstream, false);
            count++;
        } else if (next->ifa_addr->sa_family == AF_INET6) {
            inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)of)->sin6_addr, host, sizeof host);
            snprintf(upstream, sizeof upstream, "[%s]:4000", host);
            assert_self("[::]:4000", upstream, true);
            assert_self("0.0.0.0:4000", upstream, false);
            count++;
        }
    }
    freeifaddrs(interfaces);
    ck_assert_uint_gt(count, 0);
}
END_TEST

/* More than all answers, of one prefix. */
START_TEST(percent_of_faults)
{
    static const char text[] = "reverse: {prefix: /, upstreams: a}\n"
                               "faults:\n"
                               "  - {fault: delay, percent: 60, prefix: /a}\n"
                               "  - {fault: reset, percent: 40, prefix: /a/}\n"
                               "  - {fault: reset, prefix: /}\n"
                               "  - {percent: 1, fault: garbage, prefix: /a}\n";
    struct said said;

    run_file(&said, text);
    assert_says(&said, ":6:25: faults.percent: 101 in all for the prefix '/a', which is over 100");
    assert_says(&said, ":3:3: faults: refused without the flag --allow-faults");
    ck_assert_uint_eq(said.report.count, 2);
    free(said.text);
}
END_TEST

START_TEST(warnings)
{
    struct said said;

    run_file(&said, "port: 1\n");
    ck_assert_int_eq(said.status, 0);
    ck_assert_str_eq(said.text, "warning: nothing to do: neither is forward.enabled true, nor is "
                                "there a prefix in reverse\n");
    free(said.text);
    run_file(&said, "forward: {enabled: true, allow: 'a:1'}\n");
    ck_assert_int_eq(said.status, 0);
    ck_assert_str_eq(said.text, "");
    free(said.text);
    run_file(&said, "reverse: {prefix: /, upstreams: a}\n");
    ck_assert_str_eq(said.text, "");
    free(said.text);

    /* what is meant is known only once it can be read */
    run_file(&said, "forward: {enabled: true, allow: a}\n");
    ck_assert_ptr_null(strstr(said.text, "warning"));
    free(said.text);
    run_file(&said, "reverse: 5\n");
    ck_assert_ptr_null(strstr(said.text, "warning"));
    free(said.text);
}
END_TEST

START_TEST(same_upstream_below_two_prefixes)
{
    struct said said;

    run_file(&said, "reverse: [{prefix: /a, upstreams: [b, 'unix:/b']},\n"
                    "  {prefix: /ab, upstreams: [b, 'unix:/b', 'b:8081']}]\n");
    ck_assert_msg(said.status == 0, "%s", said.text);
    free(said.text);
    run_file(&said, "reverse: [{prefix: /a, upstreams: ['unix:/b', b, 'unix:/b']}]\n");
    ck_assert_int_eq(said.status, 1);
    assert_says(&said, "'unix:/b' is given twice");
    free(said.text);
}
END_TEST

START_TEST(each_allocation_fails_once)
{
    struct proxy_options options = {0};
    char listen[] = "--listen=127.0.0.1:4000";
    char *const flags[] = {listen, NULL};
    char *const none[] = {NULL};
    static const char text[] =
        "reverse: [{prefix: /a, upstreams: [{address: c}, d]}]\n"
        "forward: {enabled: yes, allow: ['a:1', 'b:2']}\n"
        "listen_address: '::'\nproxy_protocol: yes\ntrusted_proxies: ['::1', 10.0.0.0/8]\n";

    ck_assert_uint_gt(fail_each(&proxy_program, &options, text, flags, 0), 20);
    ck_assert_uint_gt(fail_each(&proxy_program, &options, text, none, 0), 20);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, all_together);
    tcase_add_loop_test(tests, proxy_itself, 0, COUNT(selves));
    tcase_add_test(tests, addresses_of_the_machine);
    tcase_add_test(tests, percent_of_faults);
    tcase_add_test(tests, warnings);
    tcase_add_test(tests, same_upstream_below_two_prefixes);
    tcase_add_test(tests, each_allocation_fails_once);
}

int main(void)
{
    return run_suite("proxy_check", add_tests);
}
