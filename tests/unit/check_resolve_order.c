/* The order of addresses: the examples of RFC 6724, section 10, with the source addresses that they
 * name in place of the machine's; and the families in turns. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libsttp/event/resolve_private.h"

/* ---- which source address the kernel would take ---- */

static const struct route {
    const char *destination, *source;
} * routes; /* what is in none of them has no route */

static const char *source; /* of the socket that was connected last */

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size);
int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *size);

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size)
{
    const sttp__inet_address *to = (const sttp__inet_address *)address;
    char text[INET6_ADDRSTRLEN];

    (void)fd;
    (void)size;
    inet_ntop(to->any.sa_family,
              to->any.sa_family == AF_INET ? (const void *)&to->ipv4.sin_addr : &to->ipv6.sin6_addr,
              text, sizeof text);
    source = NULL;
    for (const struct route *route = routes; route->destination; route++) {
        if (strcmp(route->destination, text) == 0)
            source = route->source;
    }
    errno = ENETUNREACH;
    return source ? 0 : -1;
}

int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *size)
{
    (void)fd;
    ck_assert_uint_ge(*size, sizeof(sttp__inet_address));
    ck_assert(sttp__inet_address_parse(source, (sttp__inet_address *)address));
    return 0;
}

/* ---- orders ---- */

static const struct order {
    const char *why;
    const char *given, *sorted;
    struct route routes[8];
} orders[] = {
    {"matching scope",
     "2001:db8:1::1 198.51.100.121",
     "2001:db8:1::1 198.51.100.121",
     {{"2001:db8:1::1", "2001:db8:1::2"}, {"198.51.100.121", "169.254.13.78"}}},
    {"matching scope, the other way",
     "2001:db8:1::1 198.51.100.121",
     "198.51.100.121 2001:db8:1::1",
     {{"2001:db8:1::1", "fe80::1"}, {"198.51.100.121", "198.51.100.117"}}},
    {"precedence",
     "10.1.2.3 2001:db8:1::1",
     "2001:db8:1::1 10.1.2.3",
     {{"2001:db8:1::1", "2001:db8:1::2"}, {"10.1.2.3", "10.1.2.4"}}},
    {"smaller scope",
     "2001:db8:1::1 fe80::1",
     "fe80::1 2001:db8:1::1",
     {{"2001:db8:1::1", "2001:db8:1::2"}, {"fe80::1", "fe80::2"}}},
    {"matching label: 6to4",
     "2001:db8:1::1 2002:c633:6401::1",
     "2002:c633:6401::1 2001:db8:1::1",
     {{"2001:db8:1::1", "2002:c633:6401::2"}, {"2002:c633:6401::1", "2002:c633:6401::2"}}},
    {"matching label: no unique local source for a global address",
     "2001:db8:1::1 192.0.2.1",
     "192.0.2.1 2001:db8:1::1",
     {{"2001:db8:1::1", "fd00::2"}, {"192.0.2.1", "192.0.2.2"}}},
    {"higher precedence than 6to4",
     "2002:c633:6401::1 2001:db8:1::1",
     "2001:db8:1::1 2002:c633:6401::1",
     {{"2001:db8:1::1", "2001:db8:1::2"}, {"2002:c633:6401::1", "2002:c633:6401::2"}}},
    {"no route",
     "2001:db8:1::1 192.0.2.1",
     "192.0.2.1 2001:db8:1::1",
     {{"192.0.2.1", "192.0.2.2"}}},
    {"no route at all", "192.0.2.1 2001:db8:1::1", "2001:db8:1::1 192.0.2.1", {{0}}},
    {"longest prefix",
     "2001:db8:2::1 2001:db8:1::1",
     "2001:db8:1::1 2001:db8:2::1",
     {{"2001:db8:1::1", "2001:db8:1::2"}, {"2001:db8:2::1", "2001:db8:1::2"}}},
    {"a prefix is 64 bits long",
     "2001:db8:1::ffff:1 2001:db8:1::3",
     "2001:db8:1::ffff:1 2001:db8:1::3",
     {{"2001:db8:1::3", "2001:db8:1::2"}, {"2001:db8:1::ffff:1", "2001:db8:1::2"}}},
    {"the servers' order of IPv4",
     "203.0.113.9 192.0.2.1 192.0.2.77",
     "203.0.113.9 192.0.2.1 192.0.2.77",
     {{"203.0.113.9", "192.0.2.2"}, {"192.0.2.1", "192.0.2.2"}, {"192.0.2.77", "192.0.2.2"}}},
    {"loopback", "127.0.0.1 ::1", "::1 127.0.0.1", {{"127.0.0.1", "127.0.0.1"}, {"::1", "::1"}}},
    {"in turns",
     "192.0.2.1 192.0.2.3 192.0.2.5 2001:db8:1::1 2001:db8:1::3",
     "2001:db8:1::1 192.0.2.1 2001:db8:1::3 192.0.2.3 192.0.2.5",
     {{"192.0.2.1", "192.0.2.2"},
      {"192.0.2.3", "192.0.2.2"},
      {"192.0.2.5", "192.0.2.2"},
      {"2001:db8:1::1", "2001:db8:1::2"},
      {"2001:db8:1::3", "2001:db8:1::2"}}},
    {"in turns, IPv4 first",
     "2001:db8:1::1 192.0.2.1 2001:db8:1::3 2001:db8:1::5 192.0.2.3",
     "192.0.2.1 2001:db8:1::1 192.0.2.3 2001:db8:1::3 2001:db8:1::5",
     {{"192.0.2.1", "192.0.2.2"}, {"192.0.2.3", "192.0.2.2"}}},
    {"one", "192.0.2.1", "192.0.2.1", {{0}}},
};

static size_t read_list(const char *text, sttp__inet_address *list)
{
    char copy[256], *rest = copy, *word;
    size_t count = 0;

    snprintf(copy, sizeof copy, "%s", text);
    while ((word = strsep(&rest, " ")))
        ck_assert(sttp__inet_address_parse(word, &list[count++]));
    return count;
}

START_TEST(addresses_are_sorted)
{
    const struct order *order = &orders[_i];
    sttp__inet_address list[16], wanted[16];
    size_t count = read_list(order->given, list);

    routes = order->routes;
    ck_assert_uint_eq(read_list(order->sorted, wanted), count);
    sttp__addresses_order(list, count);
    ck_assert_msg(memcmp(list, wanted, count * sizeof *list) == 0, "%s", order->why);
}
END_TEST

START_TEST(as_many_as_there_may_be)
{
    static const struct route none[] = {{0}};
    sttp__inet_address list[STTP__ADDRESSES_MAX];

    routes = none;
    for (size_t i = 0; i < STTP__ADDRESSES_MAX; i++) {
        char text[16];

        snprintf(text, sizeof text, "192.0.2.%zu", i);
        ck_assert(sttp__inet_address_parse(text, &list[i]));
    }
    sttp__addresses_order(list, STTP__ADDRESSES_MAX);
    for (size_t i = 0; i < STTP__ADDRESSES_MAX; i++)
        ck_assert_uint_eq(ntohl(list[i].ipv4.sin_addr.s_addr) & 255, i);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("resolve_order");
    TCase *all = tcase_create("resolve_order");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(all, addresses_are_sorted, 0, sizeof orders / sizeof *orders);
    tcase_add_test(all, as_many_as_there_may_be);
    suite_add_tcase(suite, all);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
