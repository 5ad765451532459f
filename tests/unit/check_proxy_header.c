/* The header of the PROXY protocol: reading and writing. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include <check.h>
#include <sttp/proxy_header.h>

#include "libsttp/event/proxy_header.h"

#include "proxy_header_support.h"

/* From single bytes, each time at their exact size on the heap: what is said must not change. */
static enum sttp__proxy_status parse(const void *data, size_t size, size_t *consumed,
                                     struct sttp__proxy_header *header)
{
    enum sttp__proxy_status status = STTP__PROXY_NEED_MORE;
    for (size_t given = 0; given <= size && status == STTP__PROXY_NEED_MORE; given++) {
        char *copy = malloc(given + 1);
        memcpy(copy, data, given);
        copy = realloc(copy, given > 0 ? given : 1);
        status = sttp__proxy_header_parse(copy, given, consumed, header);
        free(copy);
    }
    size_t whole_consumed;
    struct sttp__proxy_header whole;
    ck_assert_int_eq(sttp__proxy_header_parse(data, size, &whole_consumed, &whole), status);
    if (status == STTP__PROXY_OK) {
        ck_assert_uint_eq(whole_consumed, *consumed);
        ck_assert_uint_eq(whole.told, header->told);
        ck_assert_uint_eq(whole.hops, header->hops);
        ck_assert_mem_eq(&whole.client, &header->client, sizeof whole.client);
    }
    return status;
}

static enum sttp__proxy_status status_of(const void *data, size_t size)
{
    size_t consumed;
    struct sttp__proxy_header header;
    return parse(data, size, &consumed, &header);
}

static enum sttp__proxy_status status_of_v2(const struct v2 *header)
{
    return status_of(header->bytes, header->size);
}

/* Accepted, all of it; what follows is not taken. `client` is NULL where none is told. */
static void expect_client(const void *data, size_t size, const char *client, unsigned hops)
{
    size_t consumed;
    struct sttp__proxy_header header;
    char text[STTP__ADDRESS_TEXT];
    static char longer[80000];
    memcpy(longer, data, size);
    memcpy(longer + size, "SHOW /a\n", 8);
    ck_assert_int_eq(parse(data, size, &consumed, &header), STTP__PROXY_OK);
    ck_assert_uint_eq(consumed, size);
    ck_assert_int_eq(parse(longer, size + 8, &consumed, &header), STTP__PROXY_OK);
    ck_assert_uint_eq(consumed, size);
    ck_assert_uint_eq(header.hops, hops);
    ck_assert_uint_eq(header.told, client != NULL);
    if (client == NULL)
        return;
    sttp__address_format(&header.client, text);
    ck_assert_str_eq(text, client);
}

static void expect_client_v2(struct v2 *header, const char *client, unsigned hops)
{
    v2_end(header);
    expect_client(header->bytes, header->size, client, hops);
}

/* ---- version 1 ---- */

START_TEST(test_lines)
{
    static const struct {
        const char *line;
        const char *client;
    } lines[] = {
        {"PROXY TCP4 192.0.2.1 198.51.100.7 40000 8080\r\n", "192.0.2.1:40000"},
        {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"},
        {"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0:0"},
        {"PROXY TCP6 2001:db8::1 2001:db8::2 40000 8080\r\n", "[2001:db8::1]:40000"},
        {"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
        {"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.7 1 2\r\n", "192.0.2.1:1"},
        {"PROXY UNKNOWN\r\n", NULL},
        {"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
         NULL},
        {"PROXY UNKNOWN \x01 what ever\r\n", NULL},
    };
    ck_assert_uint_eq(strlen(lines[7].line), STTP__PROXY_LINE_MAX);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        expect_client(lines[i].line, strlen(lines[i].line), lines[i].client, 0);
}
END_TEST

START_TEST(test_malformed_lines)
{
    static const char *const lines[] = {
        "PROXY \n",
        "PROXY \r\n",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY unknown\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 \r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY TCP4 192.0.2.1  198.51.100.7 1 2\r\n",
        "PROXY TCP4 192.0.2.1\t198.51.100.7 1 2\r\n",
        "PROXY TCP4 192.0.2 198.51.100.7 1 2\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.7 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.x 1 2\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 65536 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 100000 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 -2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 0x2\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY TCP6 fe80::1%1 fe80::2 1 2\r\n",
        "PROXY TCP6 [2001:db8::1] [2001:db8::2] 1 2\r\n",
        "PROXY TCP4 192.0.2.1111111111111111111111111111111111111111111 1.2.3.4 1 2\r\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        ck_assert_msg(status_of(lines[i], strlen(lines[i])) == STTP__PROXY_LINE, "%s", lines[i]);
    static const char zero[] = "PROXY TCP4 192.0.2.1\0 198.51.100.7 1 2\r\n";
    ck_assert_int_eq(status_of(zero, sizeof zero - 1), STTP__PROXY_LINE);
}
END_TEST

START_TEST(test_long_line)
{
    char line[STTP__PROXY_LINE_MAX + 1] = "PROXY UNKNOWN ";
    memset(line + 14, 'x', sizeof line - 14);
    ck_assert_int_eq(status_of(line, STTP__PROXY_LINE_MAX - 1), STTP__PROXY_NEED_MORE);
    ck_assert_int_eq(status_of(line, STTP__PROXY_LINE_MAX), STTP__PROXY_TOO_LONG);
    memcpy(line + sizeof line - 2, "\r\n", 2);
    ck_assert_int_eq(status_of(line, sizeof line), STTP__PROXY_TOO_LONG);
}
END_TEST

START_TEST(test_no_header)
{
    static const char *const others[] = {"SHOW /a\n", "proxy TCP4", "PROXYTCP4", "PROXX",
                                         "\n",        "\r\n\r\nQ",  " PROXY ",   "\r\n\r\n\r"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        ck_assert_msg(status_of(others[i], strlen(others[i])) == STTP__PROXY_NO_HEADER, "%s",
                      others[i]);
    ck_assert_int_eq(status_of("", 0), STTP__PROXY_NEED_MORE);
}
END_TEST

/* ---- version 2 ---- */

static struct v2 v2;

START_TEST(test_v2_addresses)
{
    v2_begin_ipv4(&v2);
    expect_client_v2(&v2, "192.0.2.1:40000", 0);
    v2_begin_ipv6(&v2);
    expect_client_v2(&v2, "[2001:db8::1]:40000", 0);
    v2_begin_unix(&v2);
    expect_client_v2(&v2, "unix", 0);
    v2_begin(&v2, V2_PROXY, 0x00);
    expect_client_v2(&v2, NULL, 0);
    v2_begin(&v2, V2_LOCAL, 0x00);
    expect_client_v2(&v2, NULL, 0);
}
END_TEST

START_TEST(test_v2_mapped)
{
    static const unsigned char address[16] = {[10] = 0xff, 0xff, 127, 0, 0, 1};
    v2_begin(&v2, V2_PROXY, 0x21);
    v2_add(&v2, address, 16);
    v2_add(&v2, address, 16);
    v2_add_number(&v2, 7);
    v2_add_number(&v2, 8);
    expect_client_v2(&v2, "127.0.0.1:7", 0);
}
END_TEST

/* Whatever a local one has behind its length is passed over. */
START_TEST(test_v2_local)
{
    v2_begin(&v2, V2_LOCAL, 0xff);
    v2_add(&v2, "\xe5\x00\x05nonsense", 11);
    expect_client_v2(&v2, NULL, 0);
    v2_begin(&v2, V2_LOCAL, 0x11);
    expect_client_v2(&v2, NULL, 0);
}
END_TEST

START_TEST(test_v2_fields)
{
    char value[300] = {0};
    v2_begin_ipv4(&v2);
    v2_field(&v2, 0x01, "h2", 2);
    v2_field(&v2, 0x04, value, 300);
    v2_field(&v2, 0xe4, "", 0);
    v2_field(&v2, STTP_PROXY_HEADER_HOPS, "\x07", 1);
    v2_field(&v2, 0x02, "example.org", 11);
    expect_client_v2(&v2, "192.0.2.1:40000", 7);
    v2_begin(&v2, V2_PROXY, 0x00);
    v2_field(&v2, STTP_PROXY_HEADER_HOPS, "\xff", 1);
    expect_client_v2(&v2, NULL, 255);
    /* Where it is told twice, a loop must not be hidden by the second. */
    v2_begin(&v2, V2_PROXY, 0x00);
    v2_field(&v2, STTP_PROXY_HEADER_HOPS, "\x09", 1);
    v2_field(&v2, STTP_PROXY_HEADER_HOPS, "\x01", 1);
    expect_client_v2(&v2, NULL, 9);
}
END_TEST

/* The sum was made by another program, which gives "123456789" the published one, e3069283. */
START_TEST(test_v2_checksum)
{
    v2_begin_ipv4(&v2);
    v2_field(&v2, 0x03, "\0\0\0\0", 4);
    v2_field(&v2, STTP_PROXY_HEADER_HOPS, "\x03", 1);
    v2_end(&v2);
    static const unsigned char sum[4] = {0x9c, 0x93, 0x5a, 0x64};
    memcpy(v2.bytes + 31, sum, 4);
    expect_client(v2.bytes, v2.size, "192.0.2.1:40000", 3);
    for (size_t at = 16; at < v2.size; at++) {
        if (at >= 28 && (at < 31 || at >= 35) && at < 38)
            continue; /* types and lengths */
        v2.bytes[at] ^= 0x10;
        ck_assert_int_eq(status_of_v2(&v2), STTP__PROXY_CHECKSUM);
        v2.bytes[at] ^= 0x10;
    }
    ck_assert_int_eq(status_of_v2(&v2), STTP__PROXY_OK);
}
END_TEST

START_TEST(test_v2_fixed_part)
{
    static const struct {
        unsigned command, family;
        enum sttp__proxy_status status;
    } cases[] = {
        {0x11, 0x11, STTP__PROXY_VERSION}, {0x31, 0x11, STTP__PROXY_VERSION},
        {0x01, 0x11, STTP__PROXY_VERSION}, {0x22, 0x11, STTP__PROXY_COMMAND},
        {0x2f, 0x11, STTP__PROXY_COMMAND}, {0x21, 0x12, STTP__PROXY_FAMILY},
        {0x21, 0x22, STTP__PROXY_FAMILY},  {0x21, 0x32, STTP__PROXY_FAMILY},
        {0x21, 0x10, STTP__PROXY_FAMILY},  {0x21, 0x01, STTP__PROXY_FAMILY},
        {0x21, 0x41, STTP__PROXY_FAMILY},  {0x21, 0xff, STTP__PROXY_FAMILY},
    };
    static const char addresses[300];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        v2_begin(&v2, cases[i].command, cases[i].family);
        v2_add(&v2, addresses, sizeof addresses);
        v2_end(&v2);
        ck_assert_int_eq(status_of_v2(&v2), cases[i].status);
    }
}
END_TEST

START_TEST(test_v2_lengths)
{
    /* Each address one byte short. */
    static const struct {
        unsigned family;
        size_t size;
    } short_ones[] = {{0x11, 11}, {0x21, 35}, {0x31, 215}};
    static const char zeros[300];
    for (size_t i = 0; i < 3; i++) {
        v2_begin(&v2, V2_PROXY, short_ones[i].family);
        v2_add(&v2, zeros, short_ones[i].size);
        v2_end(&v2);
        ck_assert_int_eq(status_of_v2(&v2), STTP__PROXY_LENGTH);
    }
    /* A field's head, and its value, cut. */
    for (size_t cut = 1; cut < 6; cut++) {
        v2_begin_ipv4(&v2);
        v2_field(&v2, 0x02, "abc", 3);
        v2.size -= cut;
        v2_end(&v2);
        ck_assert_int_eq(status_of_v2(&v2), STTP__PROXY_LENGTH);
    }
    static const struct {
        unsigned type;
        size_t size;
    } fields[] = {{0x03, 3}, {0x03, 5}, {0x03, 0}, {0xe5, 0}, {0xe5, 2}};
    for (size_t i = 0; i < 5; i++) {
        v2_begin_ipv4(&v2);
        v2_field(&v2, fields[i].type, zeros, fields[i].size);
        v2_end(&v2);
        ck_assert_int_eq(status_of_v2(&v2), STTP__PROXY_FIELD);
    }
}
END_TEST

/* As long as is allowed, and longer: then it is said before all has come. */
START_TEST(test_v2_size)
{
    static const char value[70000];
    v2_begin_ipv4(&v2);
    v2_field(&v2, 0x04, value, STTP__PROXY_HEADER_MAX - 28 - 3);
    ck_assert_uint_eq(v2.size, STTP__PROXY_HEADER_MAX);
    expect_client_v2(&v2, "192.0.2.1:40000", 0);
    for (unsigned command = V2_LOCAL; command <= V2_PROXY; command++) {
        v2_begin(&v2, command, 0);
        v2_add(&v2, value, STTP__PROXY_HEADER_MAX - 16 + 1);
        v2_end(&v2);
        ck_assert_int_eq(status_of(v2.bytes, 16), STTP__PROXY_TOO_LONG);
    }
    v2_begin(&v2, V2_PROXY, 0);
    v2_add(&v2, value, 65535);
    v2_end(&v2);
    ck_assert_int_eq(status_of(v2.bytes, 15), STTP__PROXY_NEED_MORE);
    ck_assert_int_eq(status_of(v2.bytes, 16), STTP__PROXY_TOO_LONG);
}
END_TEST

/* ---- writing ---- */

static struct sockaddr_storage address_of(int family, const char *text, uint16_t port)
{
    struct sockaddr_storage address = {.ss_family = (sa_family_t)family};
    if (family == AF_INET) {
        ((struct sockaddr_in *)&address)->sin_port = htons(port);
        inet_pton(family, text, &((struct sockaddr_in *)&address)->sin_addr);
    } else if (family == AF_INET6) {
        ((struct sockaddr_in6 *)&address)->sin6_port = htons(port);
        inet_pton(family, text, &((struct sockaddr_in6 *)&address)->sin6_addr);
    }
    return address;
}

static size_t write_header(char *buffer, const struct sockaddr_storage *source,
                           const struct sockaddr_storage *destination, uint8_t hops)
{
    return sttp_proxy_header_write(buffer, (const struct sockaddr *)source,
                                   (const struct sockaddr *)destination, hops);
}

START_TEST(test_write)
{
    struct sockaddr_storage ipv4 = address_of(AF_INET, "192.0.2.1", 40000);
    struct sockaddr_storage to_ipv4 = address_of(AF_INET, "198.51.100.7", 8080);
    struct sockaddr_storage ipv6 = address_of(AF_INET6, "2001:db8::1", 40000);
    struct sockaddr_storage to_ipv6 = address_of(AF_INET6, "2001:db8::2", 8080);
    struct sockaddr_storage local = address_of(AF_UNIX, "", 0);
    char buffer[STTP_PROXY_HEADER_ROOM];
    size_t size = write_header(buffer, &ipv4, &to_ipv4, 3);
    v2_begin_ipv4(&v2);
    v2_field(&v2, STTP_PROXY_HEADER_HOPS, "\x03", 1);
    v2_end(&v2);
    ck_assert_uint_eq(size, v2.size);
    ck_assert_mem_eq(buffer, v2.bytes, size);
    expect_client(buffer, size, "192.0.2.1:40000", 3);
    size = write_header(buffer, &ipv6, &to_ipv6, 255);
    v2_begin_ipv6(&v2);
    v2_field(&v2, STTP_PROXY_HEADER_HOPS, "\xff", 1);
    v2_end(&v2);
    ck_assert_uint_eq(size, v2.size);
    ck_assert_uint_eq(size, STTP_PROXY_HEADER_ROOM);
    ck_assert_mem_eq(buffer, v2.bytes, size);
    size = write_header(buffer, &ipv4, &to_ipv6, 0);
    expect_client(buffer, size, "192.0.2.1:40000", 0);
    size = write_header(buffer, &ipv6, &to_ipv4, 1);
    expect_client(buffer, size, "[2001:db8::1]:40000", 1);
    expect_client(buffer, write_header(buffer, NULL, NULL, 8), NULL, 8);
    expect_client(buffer, write_header(buffer, &ipv4, NULL, 8), NULL, 8);
    expect_client(buffer, write_header(buffer, NULL, &ipv6, 8), NULL, 8);
    expect_client(buffer, write_header(buffer, &local, &to_ipv4, 8), NULL, 8);
}
END_TEST

START_TEST(test_texts)
{
    ck_assert_ptr_null(sttp__proxy_status_text(STTP__PROXY_OK));
    ck_assert_ptr_null(sttp__proxy_status_text(STTP__PROXY_NEED_MORE));
    for (int status = STTP__PROXY_NO_HEADER; status <= STTP__PROXY_LOOPBACK; status++)
        ck_assert_ptr_nonnull(sttp__proxy_status_text((enum sttp__proxy_status)status));
}
END_TEST

static Suite *proxy_header_suite(void)
{
    Suite *suite = suite_create("proxy_header");
    TCase *tests = tcase_create("header");
    tcase_add_test(tests, test_lines);
    tcase_add_test(tests, test_malformed_lines);
    tcase_add_test(tests, test_long_line);
    tcase_add_test(tests, test_no_header);
    tcase_add_test(tests, test_v2_addresses);
    tcase_add_test(tests, test_v2_mapped);
    tcase_add_test(tests, test_v2_local);
    tcase_add_test(tests, test_v2_fields);
    tcase_add_test(tests, test_v2_checksum);
    tcase_add_test(tests, test_v2_fixed_part);
    tcase_add_test(tests, test_v2_lengths);
    tcase_add_test(tests, test_v2_size);
    tcase_add_test(tests, test_write);
    tcase_add_test(tests, test_texts);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(proxy_header_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
