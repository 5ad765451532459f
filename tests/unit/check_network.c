/* Ranges of addresses, and which addresses are global. */
#include <sttp/network.h>

#include <arpa/inet.h>
#include <sys/un.h>

#include "core_support.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* What a program has from the kernel: "192.0.2.1" or "2001:db8::1". */
static struct sockaddr_storage address_of(const char *text)
{
    struct sockaddr_storage storage = {0};
    struct sockaddr_in *ipv4 = (struct sockaddr_in *)&storage;
    struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)&storage;

    if (strchr(text, ':')) {
        ipv6->sin6_family = AF_INET6;
        ipv6->sin6_port = htons(8080);
        ck_assert_msg(inet_pton(AF_INET6, text, &ipv6->sin6_addr) == 1, "%s", text);
    } else {
        ipv4->sin_family = AF_INET;
        ipv4->sin_port = htons(8080);
        ck_assert_msg(inet_pton(AF_INET, text, &ipv4->sin_addr) == 1, "%s", text);
    }
    return storage;
}

static bool is_global(const char *text)
{
    struct sockaddr_storage address = address_of(text);

    return sttp_address_is_global((struct sockaddr *)&address);
}

/* In memory of the exact size, so that a sanitizer sees one byte too many. */
static sttp_status parse_bytes(const char *bytes, size_t size, sttp_network *network)
{
    char *copy = malloc(size ? size : 1);
    sttp_status status;

    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, size);
    status = sttp_network_parse((sttp_slice){copy, size}, network);
    free(copy);
    return status;
}

static sttp_network parsed(const char *text)
{
    sttp_network network;
    sttp_status status = parse_bytes(text, strlen(text), &network);

    ck_assert_msg(status == STTP_OK, "%s: %s", text, sttp_status_name(status));
    return network;
}

static const struct good {
    const char *text;
    const char *bytes; /* as an address */
    unsigned prefix;
    bool ipv6;
} good[] = {
    {"0.0.0.0/0", "0.0.0.0", 0, false},
    {"10.0.0.0/8", "10.0.0.0", 8, false},
    {"10.128.0.0/9", "10.128.0.0", 9, false},
    {"192.0.2.1", "192.0.2.1", 32, false},
    {"192.0.2.1/32", "192.0.2.1", 32, false},
    {"255.255.255.254/31", "255.255.255.254", 31, false},
    {"::/0", "::", 0, true},
    {"::", "::", 128, true},
    {"::1", "::1", 128, true},
    {"[::1]", "::1", 128, true},
    {"fd00::/8", "fd00::", 8, true},
    {"[fd00::]/8", "fd00::", 8, true},
    {"[2001:DB8::8000:0:0:0]/65", "2001:db8::8000:0:0:0", 65, true},
    {"::1.2.3.4", "::1.2.3.4", 128, true},
    {"::ffff:10.0.0.0/104", "10.0.0.0", 8, false},
    {"[::ffff:192.0.2.1]", "192.0.2.1", 32, false},
    {"::ffff:0:0/96", "0.0.0.0", 0, false},
    {"::fffe:0:0/95", "::fffe:0:0", 95, true},
};

START_TEST(test_good)
{
    const struct good *g = &good[_i];
    sttp_network network = parsed(g->text);
    struct sockaddr_storage address = address_of(g->bytes);
    static const unsigned char zeros[12];

    ck_assert_uint_eq(network.prefix, g->prefix);
    ck_assert_int_eq(network.ipv6, g->ipv6);
    if (g->ipv6) {
        ck_assert_mem_eq(network.bytes, &((struct sockaddr_in6 *)&address)->sin6_addr, 16);
    } else {
        ck_assert_mem_eq(network.bytes, &((struct sockaddr_in *)&address)->sin_addr, 4);
        ck_assert_mem_eq(network.bytes + 4, zeros, 12);
    }
}
END_TEST

static const char *const bad[] = {
    "",
    "/",
    "/8",
    "localhost",
    "example.org/8",
    "10",
    "10.0.0",
    "10.0.0.0.0",
    "10.1",
    "010.0.0.0",
    "0x0a.0.0.0",
    "167772160",
    "256.0.0.0",
    "10.0.0.0/",
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/+8",
    "10.0.0.0/08",
    "10.0.0.0/8 ",
    " 10.0.0.0/8",
    "10.0.0.0/8/8",
    "10.0.0.0/8x",
    "10.0.0.0/0x8",
    "10.0.0.0/4294967304",
    "10.0.0.0/255.0.0.0",
    "10.0.0.0:8080",
    "10.0.0.1/31",
    "10.0.0.1/0",
    "10.0.0.0/6",
    "[10.0.0.0]/8",
    "[10.0.0.0]",
    "[]",
    "[",
    "]",
    "[]/0",
    "[::",
    "::]",
    "[::]]",
    "[[::]]",
    "[::/0]",
    "::/129",
    "::/999",
    "::/1000",
    "::1/127",
    "fd00::1/8",
    "fe80::1%eth0",
    "[fe80::1%eth0]",
    "fe80::1%25eth0",
    "fe80::%/10",
    "12345::",
    "::1::",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "::ffff:10.0.0.1/104",
    "::ffff:10.0.0.0/8",
    "*",
    "\xef\xbc\x91.0.0.0",
};

START_TEST(test_bad)
{
    sttp_network network;
    sttp_status status = parse_bytes(bad[_i], strlen(bad[_i]), &network);

    ck_assert_msg(status == STTP_ERR_ADDRESS, "%s: %s", bad[_i], sttp_status_name(status));
}
END_TEST

START_TEST(test_zero_bytes)
{
    sttp_network network;

    ck_assert_int_eq(parse_bytes("10.0.0.0\0/8", 11, &network), STTP_ERR_ADDRESS);
    ck_assert_int_eq(parse_bytes("10.0.0.0/8\0", 11, &network), STTP_ERR_ADDRESS);
    ck_assert_int_eq(parse_bytes("::1\0", 4, &network), STTP_ERR_ADDRESS);
    ck_assert_int_eq(sttp_network_parse((sttp_slice){NULL, 0}, &network), STTP_ERR_ADDRESS);
}
END_TEST

static const struct member {
    const char *network;
    const char *address;
    bool in;
} members[] = {
    {"10.0.0.0/8", "10.0.0.0", true},
    {"10.0.0.0/8", "10.255.255.255", true},
    {"10.0.0.0/8", "11.0.0.0", false},
    {"10.0.0.0/8", "9.255.255.255", false},
    {"10.0.0.0/8", "::ffff:10.1.2.3", true},
    {"10.0.0.0/8", "::ffff:11.1.2.3", false},
    {"10.0.0.0/8", "::10.1.2.3", false},
    {"10.0.0.0/8", "64:ff9b::10.1.2.3", false},
    {"10.0.0.0/8", "a00::", false},
    {"::ffff:10.0.0.0/104", "10.1.2.3", true},
    {"::ffff:10.0.0.0/104", "::ffff:10.1.2.3", true},
    {"0.0.0.0/0", "0.0.0.0", true},
    {"0.0.0.0/0", "255.255.255.255", true},
    {"0.0.0.0/0", "::ffff:255.255.255.255", true},
    {"0.0.0.0/0", "::", false},
    {"::/0", "::", true},
    {"::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true},
    {"::/0", "::127.0.0.1", true},
    {"::/0", "127.0.0.1", false},
    {"::/0", "::ffff:127.0.0.1", false},
    {"::/64", "::ffff:127.0.0.1", false},
    {"192.0.2.1", "192.0.2.1", true},
    {"192.0.2.1", "192.0.2.0", false},
    {"192.0.2.1", "::ffff:192.0.2.1", true},
    {"192.0.2.4/31", "192.0.2.5", true},
    {"192.0.2.4/31", "192.0.2.6", false},
    {"172.16.0.0/12", "172.31.255.255", true},
    {"172.16.0.0/12", "172.32.0.0", false},
    {"172.16.0.0/12", "172.15.255.255", false},
    {"::1", "::1", true},
    {"::1", "::2", false},
    {"::1", "127.0.0.1", false},
    {"127.0.0.0/8", "::1", false},
    {"fe80::/10", "febf:ffff::1", true},
    {"fe80::/10", "fec0::", false},
    {"fd00::/8", "fdff::", true},
    {"fd00::/8", "fc00::", false},
    {"2001:db8::/127", "2001:db8::1", true},
    {"2001:db8::/127", "2001:db8::2", false},
};

START_TEST(test_contains)
{
    const struct member *m = &members[_i];
    sttp_network network = parsed(m->network);
    struct sockaddr_storage address = address_of(m->address);

    ck_assert_msg(sttp_network_contains(&network, (struct sockaddr *)&address) == m->in, "%s %s",
                  m->network, m->address);
}
END_TEST

/* Each prefix length: the first and the last address are in, their neighbours are not. */
START_TEST(test_every_prefix)
{
    unsigned prefix = (unsigned)_i;
    struct sockaddr_in first = {.sin_family = AF_INET};
    struct sockaddr_in last = first;
    uint32_t size_less_one = (uint32_t)(UINT64_C(0xffffffff) >> prefix);
    uint32_t start = 0xc0a85a5a & ~size_less_one;
    sttp_network network;
    char text[32];

    snprintf(text, sizeof text, "%u.%u.%u.%u/%u", start >> 24, start >> 16 & 255, start >> 8 & 255,
             start & 255, prefix);
    network = parsed(text);
    first.sin_addr.s_addr = htonl(start);
    last.sin_addr.s_addr = htonl(start + size_less_one);
    ck_assert(sttp_network_contains(&network, (struct sockaddr *)&first));
    ck_assert(sttp_network_contains(&network, (struct sockaddr *)&last));
    if (prefix == 0)
        return;
    first.sin_addr.s_addr = htonl(start - 1);
    last.sin_addr.s_addr = htonl(start + size_less_one + 1);
    ck_assert(!sttp_network_contains(&network, (struct sockaddr *)&first));
    ck_assert(!sttp_network_contains(&network, (struct sockaddr *)&last));
}
END_TEST

START_TEST(test_other_families)
{
    const sttp_network all[] = {parsed("0.0.0.0/0"), parsed("::/0")};
    struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "/run/sttpd.sock"};
    struct sockaddr_storage none = {.ss_family = AF_UNSPEC};
    size_t i;

    for (i = 0; i < COUNT(all); i++) {
        ck_assert(!sttp_network_contains(&all[i], (struct sockaddr *)&local));
        ck_assert(!sttp_network_contains(&all[i], (struct sockaddr *)&none));
    }
    ck_assert(!sttp_address_is_global((struct sockaddr *)&local));
    ck_assert(!sttp_address_is_global((struct sockaddr *)&none));
}
END_TEST

/* First and last address of each range that is not global, each between two that are; "" where the
 * neighbour is of another such range. */
static const struct range {
    const char *before, *first, *last, *behind;
} special_ipv4[] = {
    {"", "0.0.0.0", "0.255.255.255", "1.0.0.0"},
    {"9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"},
    {"100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"},
    {"126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"},
    {"169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"},
    {"172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"},
    {"191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"},
    {"192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"},
    {"192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"},
    {"192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"},
    {"198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"},
    {"198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"},
    {"203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"},
    {"223.255.255.255", "224.0.0.0", "239.255.255.255", ""},
    {"", "240.0.0.0", "255.255.255.255", ""},
};

/* The forms in which an IPv4 address that is global counts as such. */
static const struct clothes {
    const char *before, *behind;
    bool hexadecimal;
} clothes[] = {
    {"", "", false},       {"::ffff:", "", false},        {"64:ff9b::", "", false},
    {"2002:", "::", true}, {"2002:", ":1:2:3:4:5", true},
};

static void assert_dressed(const char *ipv4, bool expected)
{
    unsigned a, b, c, d;
    char text[64];
    size_t i;

    if (*ipv4 == '\0')
        return;
    ck_assert_int_eq(sscanf(ipv4, "%u.%u.%u.%u", &a, &b, &c, &d), 4);
    for (i = 0; i < COUNT(clothes); i++) {
        const struct clothes *form = &clothes[i];

        if (form->hexadecimal)
            snprintf(text, sizeof text, "%s%x:%x%s", form->before, a << 8 | b, c << 8 | d,
                     form->behind);
        else
            snprintf(text, sizeof text, "%s%s%s", form->before, ipv4, form->behind);
        ck_assert_msg(is_global(text) == expected, "%s", text);
    }
}

START_TEST(test_special_ipv4)
{
    assert_dressed(special_ipv4[_i].before, true);
    assert_dressed(special_ipv4[_i].first, false);
    assert_dressed(special_ipv4[_i].last, false);
    assert_dressed(special_ipv4[_i].behind, true);
}
END_TEST

/* All of IPv4, in steps that meet each last byte, against the table above. */
START_TEST(test_all_ipv4)
{
    uint32_t bounds[COUNT(special_ipv4)][2];
    struct sockaddr_in address = {.sin_family = AF_INET};
    uint64_t value;
    size_t i;

    for (i = 0; i < COUNT(special_ipv4); i++) {
        ck_assert_int_eq(inet_pton(AF_INET, special_ipv4[i].first, &bounds[i][0]), 1);
        ck_assert_int_eq(inet_pton(AF_INET, special_ipv4[i].last, &bounds[i][1]), 1);
    }
    for (value = 0; value <= UINT32_MAX; value += 65281) {
        bool special = false;

        for (i = 0; i < COUNT(special_ipv4); i++)
            special = special || (value >= ntohl(bounds[i][0]) && value <= ntohl(bounds[i][1]));
        address.sin_addr.s_addr = htonl((uint32_t)value);
        ck_assert_msg(sttp_address_is_global((struct sockaddr *)&address) == !special, "%x",
                      (unsigned)value);
    }
}
END_TEST

static const struct range special_ipv6[] = {
    {"", "::", "::", ""},
    {"", "::1", "::1", ""},
    {"", "::8.8.8.8", "::255.255.255.255", ""},       /* IPv4-compatible */
    {"", "::ffff:0:8.8.8.8", "::ffff:0:8.8.8.8", ""}, /* IPv4-translated */
    {"64:ff9b::8.8.8.8", "64:ff9b::1:0:0", "64:ff9b:0:ffff::", ""},
    {"", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:808:808", ""},
    {"", "100::", "100::ffff:ffff:ffff:ffff", ""},
    {"", "100:0:0:1::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2000::"},
    {"2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001::", "2001::ffff:ffff:ffff:ffff:ffff",
     ""}, /* Teredo, of a server and a client that are special */
    {"", "2001:0:808:808:0:ffff:f7f7:f7f7", "2001:0:808:808::f7f7:f7f7",
     ""}, /* Teredo, of a server and a client that are global */
    {"", "2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", ""}, /* benchmarking */
    {"", "2001:10::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"},
    {"2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
     "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"},
    {"2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2002::", "2002:ff:ffff::", "2002:100::"},
    {"2002:dfff:ffff::", "2002:e000::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::"},
    {"3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
     "3fff:1000::"},
    {"3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::", "4000::1", ""},
    {"", "5f00::", "5f00:ffff::", ""},
    {"", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""},
    {"", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""},
    {"", "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""},
    {"", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""},
};

START_TEST(test_special_ipv6)
{
    const struct range *r = &special_ipv6[_i];

    ck_assert_msg(!*r->before || is_global(r->before), "%s", r->before);
    ck_assert_msg(!is_global(r->first), "%s", r->first);
    ck_assert_msg(!is_global(r->last), "%s", r->last);
    ck_assert_msg(!*r->behind || is_global(r->behind), "%s", r->behind);
}
END_TEST

static const char *const global[] = {
    "8.8.8.8",         "93.184.216.34",        "2606:4700:4700::1111",
    "2a00:1450::1",    "2001:4860:4860::8888", "64:ff9b::808:808",
    "2002:808:808::1", "::ffff:8.8.8.8",
};

START_TEST(test_global)
{
    ck_assert_msg(is_global(global[_i]), "%s", global[_i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("network");
    TCase *parse = tcase_create("parse");
    TCase *contains = tcase_create("contains");
    TCase *globals = tcase_create("global");

    tcase_add_loop_test(parse, test_good, 0, COUNT(good));
    tcase_add_loop_test(parse, test_bad, 0, COUNT(bad));
    tcase_add_test(parse, test_zero_bytes);
    suite_add_tcase(suite, parse);
    tcase_add_loop_test(contains, test_contains, 0, COUNT(members));
    tcase_add_loop_test(contains, test_every_prefix, 0, 33);
    tcase_add_test(contains, test_other_families);
    suite_add_tcase(suite, contains);
    tcase_add_loop_test(globals, test_special_ipv4, 0, COUNT(special_ipv4));
    tcase_add_test(globals, test_all_ipv4);
    tcase_add_loop_test(globals, test_special_ipv6, 0, COUNT(special_ipv6));
    tcase_add_loop_test(globals, test_global, 0, COUNT(global));
    suite_add_tcase(suite, globals);
    return run_suite(suite);
}
