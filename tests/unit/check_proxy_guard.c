/* Where the forward proxy goes, and for whom. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <check.h>
#include <sttp/network.h>

#include "proxy_support.h"
#include "sttp-proxy/guard.h"

enum { PORT = 8080 };

static guard_rules *guard;

static void teardown(void)
{
    guard_destroy(guard);
}

static size_t split(char *text, char **items)
{
    size_t count = 0;
    char *rest = NULL;

    for (char *item = strtok_r(text, " ", &rest); item; item = strtok_r(NULL, " ", &rest))
        items[count++] = item;
    return count;
}

/* Rules and ranges of clients that are separated by spaces. */
static void begin(const char *allow, const char *clients)
{
    char *texts[] = {strdup(allow), strdup(clients)}, *items[2][16];
    size_t counts[] = {split(texts[0], items[0]), split(texts[1], items[1])};

    for (size_t i = 0; i < counts[0]; i++)
        ck_assert_msg(!guard_rule_mistake(slice_of(items[0][i])), "%s", items[0][i]);
    teardown();
    guard = guard_create(items[0], counts[0], items[1], counts[1]);
    ck_assert_ptr_nonnull(guard);
    free(texts[0]); /* copies are kept */
    free(texts[1]);
}

static struct sockaddr_storage address_of(const char *text)
{
    struct sockaddr_storage address = {0};
    bool ipv6 = strchr(text, ':') != NULL;
    void *value = ipv6 ? (void *)&((struct sockaddr_in6 *)&address)->sin6_addr
                       : (void *)&((struct sockaddr_in *)&address)->sin_addr;

    address.ss_family = ipv6 ? AF_INET6 : AF_INET;
    ck_assert_msg(inet_pton(address.ss_family, text, value) == 1, "%s", text);
    return address;
}

static void expect(const char *host, uint16_t port, guard_verdict verdict)
{
    guard_verdict found = guard_judge(guard, slice_of(host), port);

    ck_assert_msg(found == verdict, "%s:%u: %d, not %d", host, port, found, verdict);
}

static bool admits(guard_verdict verdict, const char *text, uint16_t port)
{
    struct sockaddr_storage address = address_of(text);

    return guard_admits_address(guard, verdict, (struct sockaddr *)&address, port);
}

static bool admits_client(const char *text)
{
    struct sockaddr_storage address = address_of(text);

    return guard_admits_client(guard, (struct sockaddr *)&address);
}

START_TEST(nothing_is_allowed)
{
    begin("", "");
    expect("example.org", PORT, GUARD_NO_RULE);
    expect("93.184.216.34", PORT, GUARD_NO_RULE);
    expect("2606:2800:220:1::1", PORT, GUARD_NO_RULE);
    ck_assert(!admits_client("127.0.0.1"));
    begin("*:* 0.0.0.0/0:*", "");
    for (guard_verdict verdict = GUARD_NO_HOST; verdict <= GUARD_NO_RULE; verdict++)
        ck_assert(!admits(verdict, "93.184.216.34", PORT));
    ck_assert(admits(GUARD_BY_ADDRESS, "93.184.216.34", PORT));
}
END_TEST

START_TEST(names)
{
    begin("example.org:8080 *.example.net:* Sub.Example.COM.:90", "");
    expect("example.org", 8080, GUARD_BY_NAME);
    expect("EXAMPLE.ORG", 8080, GUARD_BY_NAME);
    expect("example.org.", 8080, GUARD_BY_NAME);
    expect("example.org", 8081, GUARD_NO_RULE);
    expect("www.example.org", 8080, GUARD_NO_RULE);
    expect("xexample.org", 8080, GUARD_NO_RULE);
    expect("example.org.evil.net", 8080, GUARD_NO_RULE);
    expect("org", 8080, GUARD_NO_RULE);
    expect("a.example.net", 1, GUARD_BY_NAME);
    expect("a.b.example.net.", 65535, GUARD_BY_NAME);
    expect("A.B.C.example.NET", 8080, GUARD_BY_NAME);
    expect("example.net", 8080, GUARD_NO_RULE);
    expect("xexample.net", 8080, GUARD_NO_RULE);
    expect("sub.example.com", 90, GUARD_BY_NAME);
    begin("*:8080", "");
    expect("localhost", 8080, GUARD_BY_NAME);
    expect("a.b", 8080, GUARD_BY_NAME);
    expect("a.b", 8081, GUARD_NO_RULE);
    expect("93.184.216.34", 8080, GUARD_NO_RULE);
    expect("2606:2800:220:1::1", 8080, GUARD_NO_RULE);
}
END_TEST

START_TEST(hosts_that_are_none)
{
    static const char *const hosts[] = {
        "", ".", "..", "a..b", ".a", "a..", "a b", "a/b", "a@b", "a:b", "a%b", "[::1]", "[a]", "*",
        "*.org", "a\\b", "a\n", "\xc3\xbc.de", "::1%lo", "fe80::1%25eth0", "fe80::1%1", "::1/128",
        "10.0.0.0/8", ":::1", "1::2::3", "12345::",
        /* what inet_aton reads, or nearly */
        "127.1", "127.0.1", "2130706433", "0x7f.1", "0x7f000001", "0X7F000001", "017700000001",
        "0177.0.0.1", "127.0.0.01", "00127.0.0.1", "127.0.0.0x1", "127.0.0.1.", "127.1.", "0", "0x",
        "1.2.3.4.5", "256.1.1.1", "4294967296", "example.1", "example.0x1", "example.org.0",
        "a.0x.", "::ffff:127.1", "::127.0.0.01", "::ffff:0x7f.0.0.1"};
    char labels[260];

    begin("*:* *.org:* 0.0.0.0/0:* [::]/0:*", "");
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        expect(hosts[i], PORT, GUARD_NO_HOST);
    ck_assert_int_eq(guard_judge(guard, (sttp_slice){"a\0b.org", 7}, PORT), GUARD_NO_HOST);
    expect(repeat(labels, "a", 63), PORT, GUARD_BY_NAME);
    expect(repeat(labels, "a", 64), PORT, GUARD_NO_HOST);
    expect(repeat(labels, "a.", 126), PORT, GUARD_BY_NAME);
    strcat(labels, "b"); /* 253 */
    expect(labels, PORT, GUARD_BY_NAME);
    strcat(labels, "b"); /* 254 */
    expect(labels, PORT, GUARD_NO_HOST);
    expect(repeat(labels, "a.", 127), PORT, GUARD_BY_NAME); /* 253 and the dot */
    expect(strcat(labels, "a"), PORT, GUARD_NO_HOST);       /* 255 */
    expect("a1", PORT, GUARD_BY_NAME);
    expect("1.a", PORT, GUARD_BY_NAME);
    expect("0x7f.a", PORT, GUARD_BY_NAME);
    expect("0xg", PORT, GUARD_BY_NAME);
    expect("a_b-c", PORT, GUARD_BY_NAME);
}
END_TEST

/* A host that is an address is admitted by address, whatever names are. */
START_TEST(addresses)
{
    begin("*:* 10.0.0.0/8:* 93.184.216.34:8080 [fd00::]/8:8080 [::1]:* [2001:DB8::1]:*", "");
    expect("10.1.2.3", 1, GUARD_LITERAL);
    expect("11.0.0.1", 1, GUARD_NO_RULE);
    expect("93.184.216.34", 8080, GUARD_LITERAL);
    expect("93.184.216.34", 8081, GUARD_NO_RULE);
    expect("93.184.216.35", 8080, GUARD_NO_RULE);
    expect("fd12::1", 8080, GUARD_LITERAL);
    expect("fd12::1", 80, GUARD_NO_RULE);
    expect("::1", 80, GUARD_LITERAL);
    expect("0:0:0:0:0:0:0:1", 80, GUARD_LITERAL);
    expect("0000:0000:0000:0000:0000:0000:0000:0001", 80, GUARD_LITERAL);
    expect("::0.0.0.1", 80, GUARD_LITERAL);
    expect("2001:db8::1", 80, GUARD_LITERAL);
    expect("2001:DB8:0::1", 80, GUARD_LITERAL);
    expect("::2", 80, GUARD_NO_RULE);
    expect("::ffff:10.1.2.3", 80, GUARD_LITERAL);
    expect("::FFFF:0a01:203", 80, GUARD_LITERAL);
    expect("::ffff:11.1.2.3", 80, GUARD_NO_RULE);
    expect("::10.1.2.3", 80, GUARD_NO_RULE);
    expect("64:ff9b::10.1.2.3", 80, GUARD_NO_RULE);
    expect("2002:a01:203::", 80, GUARD_NO_RULE);
    ck_assert(admits(GUARD_LITERAL, "10.1.2.3", 80));
    ck_assert(!admits(GUARD_LITERAL, "11.1.2.3", 80));
    ck_assert(!admits(GUARD_LITERAL, "93.184.216.34", 8081));
}
END_TEST

START_TEST(every_ipv6_range_is_not_every_ipv4_one)
{
    begin("[::]/0:*", "::/0");
    expect("::ffff:10.1.2.3", 80, GUARD_NO_RULE);
    expect("10.1.2.3", 80, GUARD_NO_RULE);
    ck_assert(!admits(GUARD_BY_ADDRESS, "127.0.0.1", 80));
    ck_assert(!admits_client("::ffff:127.0.0.1"));
    ck_assert(admits_client("::1"));
}
END_TEST

/* What names resolve to, in all clothes. */
START_TEST(name_admits_no_address_that_is_not_global)
{
    static const char *const local[] = {"0.0.0.0",
                                        "10.0.0.1",
                                        "100.64.0.1",
                                        "127.0.0.1",
                                        "127.255.255.254",
                                        "169.254.169.254",
                                        "172.16.0.1",
                                        "172.31.255.255",
                                        "192.168.1.1",
                                        "198.18.0.1",
                                        "224.0.0.1",
                                        "240.0.0.1",
                                        "255.255.255.255",
                                        "::",
                                        "::1",
                                        "fe80::1",
                                        "fc00::1",
                                        "fdff::1",
                                        "ff02::1",
                                        "fec0::1",
                                        "::ffff:127.0.0.1",
                                        "::ffff:10.0.0.1",
                                        "::ffff:169.254.169.254",
                                        "::127.0.0.1",
                                        "64:ff9b::127.0.0.1",
                                        "64:ff9b::a00:1",
                                        "64:ff9b:1::1",
                                        "2002:7f00:1::",
                                        "2002:a00:1::1",
                                        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
                                        "2001:db8::1",
                                        "100::1"};
    static const char *const global[] = {"93.184.216.34", "8.8.8.8", "2606:4700::1111",
                                         "::ffff:8.8.8.8"};

    begin("*:*", "");
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        ck_assert_msg(!admits(GUARD_BY_NAME, local[i], PORT), "%s", local[i]);
    for (size_t i = 0; i < sizeof global / sizeof *global; i++) {
        ck_assert_msg(admits(GUARD_BY_NAME, global[i], PORT), "%s", global[i]);
        ck_assert(!admits(GUARD_BY_ADDRESS, global[i], PORT));
        ck_assert(!admits(GUARD_LITERAL, global[i], PORT));
    }
    ck_assert(!guard_admits_address(guard, GUARD_BY_NAME,
                                    (struct sockaddr *)&(struct sockaddr_un){.sun_family = AF_UNIX},
                                    PORT));
}
END_TEST

START_TEST(address_admits_whatever_led_there)
{
    begin("inside.example:8080 10.0.0.0/8:8080", "");
    expect("inside.example", 8080, GUARD_BY_NAME);
    ck_assert(admits(GUARD_BY_NAME, "10.0.0.1", 8080));
    ck_assert(admits(GUARD_BY_NAME, "8.8.8.8", 8080));
    ck_assert(!admits(GUARD_BY_NAME, "192.168.0.1", 8080));
    expect("other.example", 8080, GUARD_BY_ADDRESS);
    ck_assert(admits(GUARD_BY_ADDRESS, "10.0.0.1", 8080));
    ck_assert(admits(GUARD_BY_ADDRESS, "::ffff:10.0.0.1", 8080));
    ck_assert(!admits(GUARD_BY_ADDRESS, "64:ff9b::a00:1", 8080));
    ck_assert(!admits(GUARD_BY_ADDRESS, "8.8.8.8", 8080));
    expect("other.example", 8081, GUARD_NO_RULE);
    expect("inside.example", 8081, GUARD_NO_RULE);
    ck_assert(!admits(GUARD_BY_ADDRESS, "10.0.0.1", 8081));
}
END_TEST

/* The rule by name is for every port, that by address for one: each port counts by itself. */
START_TEST(ports_of_both_rules_count)
{
    begin("*.example.org:* 127.0.0.1:8080", "");
    ck_assert(admits(GUARD_BY_NAME, "127.0.0.1", 8080));
    ck_assert(!admits(GUARD_BY_NAME, "127.0.0.1", 22));
    ck_assert(admits(GUARD_BY_NAME, "8.8.8.8", 22));
}
END_TEST

START_TEST(clients)
{
    begin("", "127.0.0.0/8 ::1 10.1.0.0/16");
    ck_assert(admits_client("127.0.0.1"));
    ck_assert(admits_client("127.9.9.9"));
    ck_assert(admits_client("::1"));
    ck_assert(admits_client("::ffff:127.0.0.1"));
    ck_assert(admits_client("10.1.255.255"));
    ck_assert(!admits_client("10.2.0.0"));
    ck_assert(!admits_client("::2"));
    ck_assert(!admits_client("::127.0.0.1"));
    ck_assert(guard_admits_client(guard, (struct sockaddr *)&(struct sockaddr_un){AF_UNIX, "/s"}));
    ck_assert(!guard_admits_client(guard, &(struct sockaddr){.sa_family = AF_UNSPEC}));
}
END_TEST

START_TEST(mistakes_are_named)
{
    static const struct {
        const char *rule, *says;
    } cases[] = {
        {"", "a port is missing"},
        {"example.org", "a port is missing"},
        {"[::1]", "a port is missing"},
        {"[fd00::]/8", "a port is missing"},
        {"10.0.0.0/8", "a port is missing"},
        {"example.org:", "the port is"},
        {"example.org:0", "the port is"},
        {"example.org:080", "the port is"},
        {"example.org:65536", "the port is"},
        {"example.org:99999", "the port is"},
        {"example.org:100000", "the port is"},
        {"example.org:4294967376", "the port is"},
        {"example.org:+80", "the port is"},
        {"example.org:80-90", "the port is"},
        {"example.org:http", "the port is"},
        {"example.org:**", "the port is"},
        {"example.org: 80", "the port is"},
        {":8080", "a host is missing"},
        {"sttp://example.org:8080", "no scheme"},
        {"::1:8080", "in brackets"},
        {"fd00::/8:8080", NULL}, /* as good as with brackets */
        {"fe80::1:*", "in brackets"},
        {"[::1%lo]:80", "not an IPv6"},
        {"[fd00::1]/8:80", "not an IPv6"},
        {"[::1:80", "not an IPv6"},
        {"[::1]x:80", "not an IPv6"},
        {"[]:80", "not an IPv6"},
        {"10.0.0.1/8:80", "not a range"},
        {"10.0.0.0/33:80", "not a range"},
        {"10.0.0.0/:80", "not a range"},
        {"example.org/8:80", "not a range"},
        {"127.1:80", "not an IPv4"},
        {"0x7f000001:80", "not an IPv4"},
        {"127.0.0.1.:80", "not an IPv4"},
        {"*.1:80", "not an IPv4"},
        {"*example.org:80", "a * stands"},
        {"a.*.org:80", "a * stands"},
        {"**.org:80", "a * stands"},
        {"*.:80", "a * stands"},
        {"::ffff:1.2.3.4:80", "in brackets"},
        {"a]:80", "not a host name"},
        {"a..b:80", "not a host name"},
        {"\xc3\xbc.de:80", "not a host name"},
        {"a b:80", "not a host name"},
        {"a_b:80", NULL},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *mistake = guard_rule_mistake(slice_of(cases[i].rule));

        if (!cases[i].says)
            ck_assert_msg(!mistake, "%s: %s", cases[i].rule, mistake);
        else
            ck_assert_msg(mistake && strstr(mistake, cases[i].says), "%s: %s", cases[i].rule,
                          mistake);
    }
}
END_TEST

START_TEST(bad_rules_admit_nothing)
{
    char rules[] = "[::1%lo]:80 example.org a.org:80", ranges[] = "10.0.0.1/8", *items[4];
    size_t count = split(rules, items);

    guard = guard_create(items, count, (char *[]){ranges}, 1);
    ck_assert_ptr_nonnull(guard);
    expect("example.org", 80, GUARD_NO_RULE);
    expect("::1", 80, GUARD_NO_RULE);
    expect("a.org", 80, GUARD_BY_NAME);
    ck_assert(!admits_client("10.0.0.1"));
    ck_assert(!admits_client("0.0.0.0"));
}
END_TEST

static size_t put_number(uint64_t *state, char *text, unsigned value)
{
    switch (random_below(state, 4)) {
    case 0:
        return (size_t)sprintf(text, "%u", value);
    case 1:
        return (size_t)sprintf(text, "0%o", value);
    case 2:
        return (size_t)sprintf(text, "0X%X", value);
    default:
        return (size_t)sprintf(text, "0x00%x", value);
    }
}

/* An IPv4 address in one of the many ways that inet_aton reads. */
static void put_address(uint64_t *state, char *text, uint32_t value)
{
    size_t parts = random_below(state, 4), size = 0;

    for (size_t i = 0; i < parts; i++, value <<= 8, text[size++] = '.')
        size += put_number(state, text + size, value >> 24);
    put_number(state, text + size, value >> 8 * parts);
}

static void expect_no_name(const char *host)
{
    struct in_addr plain;
    guard_verdict found = guard_judge(guard, slice_of(host), PORT);

    if (inet_pton(AF_INET, host, &plain) == 1)
        ck_assert_msg(found == GUARD_LITERAL, "%s: %d", host, found);
    else
        ck_assert_msg(found == GUARD_NO_HOST, "%s: %d", host, found);
}

/* Whatever the C library reads as an address is that address in plain form, or no host. */
START_TEST(no_address_passes_for_a_name)
{
    uint64_t state = random_seed();
    size_t read = 0;

    begin("*:* 0.0.0.0/0:* [::]/0:*", "");
    for (int i = 0; i < 200000; i++) {
        char text[80];
        struct in_addr value;

        put_address(&state, text, (uint32_t)(random_below(&state, 1u << 31) * 2 + 1));
        ck_assert_msg(inet_aton(text, &value), "%s", text);
        expect_no_name(text);
        for (size_t j = strlen(text), k = 1 + random_below(&state, 3); k > 0; k--)
            text[random_below(&state, j)] = "0123456789abcdefxX.."[random_below(&state, 20)];
        if (inet_aton(text, &value)) {
            expect_no_name(text);
            read++;
            strcat(text, ".");
            ck_assert_int_eq(guard_judge(guard, slice_of(text), PORT), GUARD_NO_HOST);
        }
    }
    ck_assert_uint_gt(read, 10000);
}
END_TEST

/* Rules and hosts of anything at all, with nothing readable behind them. */
START_TEST(anything_at_all)
{
    static const char pieces[][8] = {"a",  "*",    ".",    ":",        "[",   "]", "/",
                                     "8",  "80",   "::",   "1",        "%",   "-", "x",
                                     "0x", "fd00", "\xff", "10.0.0.0", "org", ":*"};
    uint64_t state = random_seed();
    struct guarded guarded = guarded_create(256);
    size_t good = 0;

    begin("*:*", "");
    for (int i = 0; i < 300000; i++) {
        char text[256] = "";
        sttp_slice rule;

        for (size_t count = random_below(&state, 8); count > 0; count--)
            strcat(text, pieces[random_below(&state, sizeof pieces / sizeof *pieces)]);
        rule = (sttp_slice){guarded_copy(&guarded, text, strlen(text)), strlen(text)};
        guard_judge(guard, rule, PORT);
        if (guard_rule_mistake(rule))
            continue;
        good++;
        ck_assert_msg(strrchr(text, ':'), "%s", text);
        ck_assert_msg(!strchr(text, '%') && !strchr(text, '\xff'), "%s", text);
    }
    ck_assert_uint_gt(good, 1000);
    guarded_destroy(&guarded);
}
END_TEST

START_TEST(reasons)
{
    for (guard_verdict verdict = GUARD_NO_HOST; verdict <= GUARD_LITERAL; verdict++) {
        ck_assert_str_ne(guard_reason(verdict), "");
        for (guard_verdict other = GUARD_NO_HOST; other < verdict; other++)
            ck_assert_str_ne(guard_reason(verdict), guard_reason(other));
    }
}
END_TEST

START_TEST(memory_is_out)
{
    no_memory = true;
    ck_assert_ptr_null(guard_create(NULL, 0, NULL, 0));
    no_memory = false;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proxy_guard");
    TCase *tests = tcase_create("guard");

    tcase_add_checked_fixture(tests, NULL, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, nothing_is_allowed);
    tcase_add_test(tests, names);
    tcase_add_test(tests, hosts_that_are_none);
    tcase_add_test(tests, addresses);
    tcase_add_test(tests, every_ipv6_range_is_not_every_ipv4_one);
    tcase_add_test(tests, name_admits_no_address_that_is_not_global);
    tcase_add_test(tests, address_admits_whatever_led_there);
    tcase_add_test(tests, ports_of_both_rules_count);
    tcase_add_test(tests, clients);
    tcase_add_test(tests, mistakes_are_named);
    tcase_add_test(tests, bad_rules_admit_nothing);
    tcase_add_test(tests, no_address_passes_for_a_name);
    tcase_add_test(tests, anything_at_all);
    tcase_add_test(tests, reasons);
    tcase_add_test(tests, memory_is_out);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
