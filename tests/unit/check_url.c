/* URLs: docs/protocol.md, section 6. Every text that is parsed is a copy in memory of its exact
 * size, and so is every buffer, so that a sanitizer sees one byte too many. */
#include <sttp/url.h>

#include "core_support.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

typedef struct parsed {
    char *text;
    char *buffer;
    size_t size;
    sttp_url url;
    size_t offset;
    sttp_status status;
} parsed;

static char *exact_copy(const char *bytes, size_t size)
{
    char *copy = malloc(size ? size : 1);

    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, size);
    return copy;
}

static parsed parse(const char *text, size_t size)
{
    parsed p = {.size = size, .offset = SIZE_MAX};

    p.text = exact_copy(text, size);
    p.buffer = malloc(size ? size : 1);
    ck_assert_ptr_nonnull(p.buffer);
    p.status = sttp_url_parse((sttp_slice){p.text, size}, p.buffer, size, &p.url, &p.offset);
    return p;
}

static void release(parsed *p)
{
    free(p->text);
    free(p->buffer);
}

static void assert_slice(sttp_slice got, const char *expected, const char *what)
{
    if (!expected) {
        ck_assert_msg(!got.data, "%s: \"%.*s\" where there is none", what, (int)got.size, got.data);
        return;
    }
    ck_assert_msg(
        got.data && got.size == strlen(expected) && memcmp(got.data, expected, got.size) == 0,
        "%s: \"%.*s\", not \"%s\"", what, (int)got.size, got.data ? got.data : "", expected);
}

/* Builds into a buffer of the exact size, and checks that one byte less is refused. */
static char *build_url(const sttp_url *url, size_t *size)
{
    size_t again;
    char *buffer;

    ck_assert_int_eq(sttp_url_build(url, NULL, 0, size), STTP_ERR_BUFFER);
    buffer = malloc(*size);
    ck_assert_ptr_nonnull(buffer);
    ck_assert_int_eq(sttp_url_build(url, buffer, *size - 1, &again), STTP_ERR_BUFFER);
    ck_assert_uint_eq(again, *size);
    ck_assert_int_eq(sttp_url_build(url, buffer, *size, &again), STTP_OK);
    ck_assert_uint_eq(again, *size);
    return buffer;
}

static const struct good {
    const char *text;
    sttp_scheme scheme;
    const char *host;
    unsigned port;
    const char *socket;
    const char *path;
    const char *query;
    const char *normal;
} good[] = {
    {"sttp://localhost/notes/a.txt", STTP_SCHEME_STTP, "localhost", 8080, NULL, "/notes/a.txt",
     NULL, "sttp://localhost/notes/a.txt"},
    {"sttps://localhost/a", STTP_SCHEME_STTPS, "localhost", 8443, NULL, "/a", NULL,
     "sttps://localhost/a"},
    {"STTP://ExAmPlE.Org:8080/A", STTP_SCHEME_STTP, "example.org", 8080, NULL, "/A", NULL,
     "sttp://example.org/A"},
    {"sttps://h:8080/", STTP_SCHEME_STTPS, "h", 8080, NULL, "/", NULL, "sttps://h:8080/"},
    {"sttp://h:1/", STTP_SCHEME_STTP, "h", 1, NULL, "/", NULL, "sttp://h:1/"},
    {"sttp://h:65535/", STTP_SCHEME_STTP, "h", 65535, NULL, "/", NULL, "sttp://h:65535/"},
    {"sttp://h:10203/", STTP_SCHEME_STTP, "h", 10203, NULL, "/", NULL, "sttp://h:10203/"},
    {"sttp://proxy:3128", STTP_SCHEME_STTP, "proxy", 3128, NULL, "/", NULL, "sttp://proxy:3128/"},
    {"sttp://h", STTP_SCHEME_STTP, "h", 8080, NULL, "/", NULL, "sttp://h/"},
    {"sttp://h?limit=1", STTP_SCHEME_STTP, "h", 8080, NULL, "/", "limit=1", "sttp://h/?limit=1"},
    {"sttp://h/?", STTP_SCHEME_STTP, "h", 8080, NULL, "/", "", "sttp://h/?"},
    {"sttp://h/d?q=a%20b&name=*?", STTP_SCHEME_STTP, "h", 8080, NULL, "/d", "q=a%20b&name=*?",
     "sttp://h/d?q=a%20b&name=*?"},
    {"sttp://under_score.example./a", STTP_SCHEME_STTP, "under_score.example.", 8080, NULL, "/a",
     NULL, "sttp://under_score.example./a"},
    {"sttp://xn--bcher-kva.example/a", STTP_SCHEME_STTP, "xn--bcher-kva.example", 8080, NULL, "/a",
     NULL, "sttp://xn--bcher-kva.example/a"},
    {"sttp://127.0.0.1/a", STTP_SCHEME_STTP, "127.0.0.1", 8080, NULL, "/a", NULL,
     "sttp://127.0.0.1/a"},
    {"sttp://1.2.3.4.example/a", STTP_SCHEME_STTP, "1.2.3.4.example", 8080, NULL, "/a", NULL,
     "sttp://1.2.3.4.example/a"},
    {"sttp://[::1]:81/a", STTP_SCHEME_STTP, "::1", 81, NULL, "/a", NULL, "sttp://[::1]:81/a"},
    {"sttp://[::]", STTP_SCHEME_STTP, "::", 8080, NULL, "/", NULL, "sttp://[::]/"},
    {"sttp://[0000:0000:0000:0000:0000:ffff:255.255.255.255]/", STTP_SCHEME_STTP,
     "0000:0000:0000:0000:0000:ffff:255.255.255.255", 8080, NULL, "/", NULL,
     "sttp://[::ffff:255.255.255.255]/"},
    {"sttp://[FE80::1%25Eth0]/a", STTP_SCHEME_STTP, "fe80::1%Eth0", 8080, NULL, "/a", NULL,
     "sttp://[fe80::1%25Eth0]/a"},
    {"sttp://[fe80::1%25a%40b%7E]/a", STTP_SCHEME_STTP, "fe80::1%a@b~", 8080, NULL, "/a", NULL,
     "sttp://[fe80::1%25a%40b~]/a"},
    {"sttp://h/a%2Fb", STTP_SCHEME_STTP, "h", 8080, NULL, "/a/b", NULL, "sttp://h/a/b"},
    {"sttp://h/%25%23", STTP_SCHEME_STTP, "h", 8080, NULL, "/%#", NULL, "sttp://h/%25%23"},
    {"sttp://h/a%252e", STTP_SCHEME_STTP, "h", 8080, NULL, "/a%2e", NULL, "sttp://h/a%252e"},
    {"sttp://h/%41\"<>[]\\^`{|}", STTP_SCHEME_STTP, "h", 8080, NULL, "/A\"<>[]\\^`{|}", NULL,
     "sttp://h/A%22%3C%3E%5B%5D%5C%5E%60%7B%7C%7D"},
    {"sttp://h/-._~!$&'()*+,;=:@", STTP_SCHEME_STTP, "h", 8080, NULL, "/-._~!$&'()*+,;=:@", NULL,
     "sttp://h/-._~!$&'()*+,;=:@"},
    {"sttp://h/%d0%b6\xd0\xb6", STTP_SCHEME_STTP, "h", 8080, NULL, "/\xd0\xb6\xd0\xb6", NULL,
     "sttp://h/\xd0\xb6\xd0\xb6"},
    {"sttp+unix:/run/sttpd.sock:/notes/a.txt", STTP_SCHEME_UNIX, NULL, 0, "/run/sttpd.sock",
     "/notes/a.txt", NULL, "sttp+unix:/run/sttpd.sock:/notes/a.txt"},
    {"STTP+Unix:/s", STTP_SCHEME_UNIX, NULL, 0, "/s", "/", NULL, "sttp+unix:/s:/"},
    {"sttp+unix:/s?limit=1", STTP_SCHEME_UNIX, NULL, 0, "/s", "/", "limit=1",
     "sttp+unix:/s:/?limit=1"},
    {"sttp+unix:/a%3Ab%20c d:/x:y", STTP_SCHEME_UNIX, NULL, 0, "/a:b c d", "/x:y", NULL,
     "sttp+unix:/a%3Ab%20c%20d:/x:y"},
};

START_TEST(test_good)
{
    const struct good *g = &good[_i];
    parsed p = parse(g->text, strlen(g->text));
    size_t size;
    char *normal;

    ck_assert_msg(p.status == STTP_OK, "%s: %s at %zu", g->text, sttp_status_name(p.status),
                  p.offset);
    ck_assert_int_eq(p.url.scheme, g->scheme);
    assert_slice(p.url.host, g->host, "host");
    ck_assert_uint_eq(p.url.port, g->port);
    assert_slice(p.url.socket, g->socket, "socket");
    assert_slice(p.url.path, g->path, "path");
    assert_slice(p.url.query, g->query, "query");
    normal = build_url(&p.url, &size);
    assert_slice((sttp_slice){normal, size}, g->normal, "normal form");
    free(normal);
    release(&p);
}
END_TEST

#define LABEL_63 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"

static const struct bad {
    const char *text;
    sttp_status status;
    size_t offset;
} bad[] = {
    {"", STTP_ERR_URL_SCHEME, 0},
    {"http://h/a", STTP_ERR_URL_SCHEME, 0},
    {"sttp:/h/a", STTP_ERR_URL_SCHEME, 0},
    {"sttp", STTP_ERR_URL_SCHEME, 0},
    {" sttp://h/a", STTP_ERR_URL_SCHEME, 0},
    {"/notes/a.txt", STTP_ERR_URL_SCHEME, 0},
    {"sttp://user@h/a", STTP_ERR_URL_USER, 7},
    {"sttp://user:secret@h/a", STTP_ERR_URL_USER, 7},
    {"sttp://", STTP_ERR_URL_HOST, 7},
    {"sttp:///a", STTP_ERR_URL_HOST, 7},
    {"sttp://:80/a", STTP_ERR_URL_HOST, 7},
    {"sttp://a b/a", STTP_ERR_URL_HOST, 8},
    {"sttp://a%41/a", STTP_ERR_URL_HOST, 8},
    {"sttp://b\xc3\xbc"
     "cher/a",
     STTP_ERR_URL_HOST, 8},
    {"sttp://a..b/a", STTP_ERR_URL_HOST, 9},
    {"sttp://.a/a", STTP_ERR_URL_HOST, 7},
    {"sttp://" LABEL_63 "x/a", STTP_ERR_URL_HOST, 70},
    {"sttp://127.1/a", STTP_ERR_URL_HOST, 7},
    {"sttp://2130706433/a", STTP_ERR_URL_HOST, 7},
    {"sttp://0x7F000001/a", STTP_ERR_URL_HOST, 7},
    {"sttp://a.0x/a", STTP_ERR_URL_HOST, 7},
    {"sttp://256.1.1.1/a", STTP_ERR_URL_HOST, 7},
    {"sttp://1.2.3.4./a", STTP_ERR_URL_HOST, 7},
    {"sttp://[::1]x/a", STTP_ERR_URL_HOST, 12},
    {"sttp://[::1/a", STTP_ERR_URL_IPV6, 7},
    {"sttp://[]/a", STTP_ERR_URL_IPV6, 8},
    {"sttp://[1.2.3.4]/a", STTP_ERR_URL_IPV6, 8},
    {"sttp://[::1::2]/a", STTP_ERR_URL_IPV6, 8},
    {"sttp://[12345::]/a", STTP_ERR_URL_IPV6, 8},
    {"sttp://[0000:0000:0000:0000:0000:0ffff:255.255.255.255]/a", STTP_ERR_URL_IPV6, 8},
    {"sttp://[v1.a:b]/a", STTP_ERR_URL_IPV6, 8},
    {"sttp://[fe80::1%eth0]/a", STTP_ERR_URL_ZONE, 15},
    {"sttp://[fe80::1%25]/a", STTP_ERR_URL_ZONE, 15},
    {"sttp://[fe80::1%25%2F]/a", STTP_ERR_URL_ZONE, 15},
    {"sttp://[fe80::1%25%20]/a", STTP_ERR_URL_ZONE, 15},
    {"sttp://[fe80::1%25a%]/a", STTP_ERR_URL_ZONE, 19},
    {"sttp://h:/a", STTP_ERR_URL_PORT, 9},
    {"sttp://h:0/a", STTP_ERR_URL_PORT, 9},
    {"sttp://h:080/a", STTP_ERR_URL_PORT, 9},
    {"sttp://h:65536/a", STTP_ERR_URL_PORT, 9},
    {"sttp://h:99999999999999999999/a", STTP_ERR_URL_PORT, 9},
    {"sttp://h:8x/a", STTP_ERR_URL_PORT, 10},
    {"sttp://h:-1/a", STTP_ERR_URL_PORT, 9},
    {"sttp://::1/a", STTP_ERR_URL_HOST, 7},
    {"sttp+unix:/s:", STTP_ERR_URL_PATH, 13},
    {"sttp+unix:/s:a", STTP_ERR_URL_PATH, 13},
    {"sttp://h/a#b", STTP_ERR_URL_FRAGMENT, 10},
    {"sttp://h#", STTP_ERR_URL_FRAGMENT, 8},
    {"sttp://h/a?q=1#b", STTP_ERR_URL_FRAGMENT, 14},
    {"sttp://h/a%", STTP_ERR_URL_ESCAPE, 10},
    {"sttp://h/a%4", STTP_ERR_URL_ESCAPE, 10},
    {"sttp://h/a%4g", STTP_ERR_URL_ESCAPE, 10},
    {"sttp://h/a%?23", STTP_ERR_URL_ESCAPE, 10},
    {"sttp://h/a b", STTP_ERR_URL_CHARACTER, 10},
    {"sttp://h/a%2fb%20", STTP_ERR_URL_CHARACTER, 14},
    {"sttp://h/%3f", STTP_ERR_URL_CHARACTER, 9},
    {"sttp://h/%41%0a", STTP_ERR_URL_CHARACTER, 12},
    {"sttp://h/%00", STTP_ERR_URL_CHARACTER, 9},
    {"sttp://h/%C2%85", STTP_ERR_URL_CHARACTER, 9},
    {"sttp://h/a\n", STTP_ERR_URL_CHARACTER, 10},
    {"sttp://h/?q=a b", STTP_ERR_URL_CHARACTER, 13},
    {"sttp://h/?q=\x01", STTP_ERR_URL_CHARACTER, 12},
    {"sttp://h/%41%ff", STTP_ERR_UTF8, 12},
    {"sttp://h/%C3", STTP_ERR_UTF8, 9},
    {"sttp://h/%ED%A0%80", STTP_ERR_UTF8, 9},
    {"sttp://h/a\xff", STTP_ERR_UTF8, 10},
    {"sttp+unix:s:/a", STTP_ERR_URL_SOCKET, 10},
    {"sttp+unix::/a", STTP_ERR_URL_SOCKET, 10},
    {"sttp+unix:/%41%00:/a", STTP_ERR_URL_SOCKET, 14},
    {"sttp+unix:/s%:/a", STTP_ERR_URL_ESCAPE, 12},
};

START_TEST(test_bad)
{
    parsed p = parse(bad[_i].text, strlen(bad[_i].text));

    ck_assert_msg(p.status == bad[_i].status, "%s: %s, not %s", bad[_i].text,
                  sttp_status_name(p.status), sttp_status_name(bad[_i].status));
    ck_assert_msg(p.offset == bad[_i].offset, "%s: at %zu, not %zu", bad[_i].text, p.offset,
                  bad[_i].offset);
    ck_assert_ptr_null(p.url.host.data);
    ck_assert_ptr_null(p.url.path.data);
    release(&p);
}
END_TEST

/* RFC 5952, sections 4 and 5. */
static const char *const ipv6_forms[][2] = {
    {"2001:0DB8:0:0:0:0:0:1", "2001:db8::1"},
    {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
    {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
    {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
    {"1:0:0:0:0:0:0:0", "1::"},
    {"0:0:0:0:0:0:0:0", "::"},
    {"0:0:0:0:0:0:0:1", "::1"},
    {"::1.2.3.4", "::102:304"},
    {"::FFFF:102:304", "::ffff:1.2.3.4"},
    {"64:ff9b::1.2.3.4", "64:ff9b::102:304"},
    {"ABCD:EF01:2345:6789:abcd:ef01:2345:6789", "abcd:ef01:2345:6789:abcd:ef01:2345:6789"},
    {"10:200:3000:0:0:6:7:8", "10:200:3000::6:7:8"},
};

START_TEST(test_ipv6_normal_form)
{
    char text[128];
    char expected[128];
    size_t size;
    char *normal;
    parsed p;

    snprintf(text, sizeof text, "sttp://[%s]/", ipv6_forms[_i][0]);
    snprintf(expected, sizeof expected, "sttp://[%s]/", ipv6_forms[_i][1]);
    p = parse(text, strlen(text));
    ck_assert_int_eq(p.status, STTP_OK);
    normal = build_url(&p.url, &size);
    assert_slice((sttp_slice){normal, size}, expected, "normal form");
    free(normal);
    release(&p);
}
END_TEST

static const struct pair {
    const char *a;
    const char *b;
    bool equal;
} pairs[] = {
    {"sttp://Host/a", "STTP://hOST:8080/a", true},
    {"sttp://h/a", "sttps://h:8080/a", false},
    {"sttp://h/a", "sttp://h:8081/a", false},
    {"sttp://h/a", "sttp://h/A", false},
    {"sttp://h/%61", "sttp://h/a", true},
    {"sttp://h", "sttp://h/", true},
    {"sttp://h/", "sttp://h/?", false},
    {"sttp://h/?q=a", "sttp://h/?q=%61", false},
    {"sttp://[::1]/", "sttp://[0:0:0:0:0:0:0:1]/", true},
    {"sttp://[::1]/", "sttp://[::2]/", false},
    {"sttp://[fe80::1%25a]/", "sttp://[FE80:0::1%25%61]/", true},
    {"sttp://[fe80::1%25a]/", "sttp://[fe80::1%25A]/", false},
    {"sttp://[fe80::1%25a]/", "sttp://[fe80::1]/", false},
    {"sttp://[::ffff:1.2.3.4]/", "sttp://1.2.3.4/", false},
    {"sttp+unix:/s:/a", "sttp+unix:%2Fs:/a", true},
    {"sttp+unix:/s:/a", "sttp+unix:/S:/a", false},
    {"sttp://localhost/a", "sttp://localhos/a", false},
};

START_TEST(test_equal)
{
    parsed a = parse(pairs[_i].a, strlen(pairs[_i].a));
    parsed b = parse(pairs[_i].b, strlen(pairs[_i].b));

    ck_assert_int_eq(a.status, STTP_OK);
    ck_assert_int_eq(b.status, STTP_OK);
    ck_assert_int_eq(sttp_url_equal(&a.url, &b.url), pairs[_i].equal);
    ck_assert_int_eq(sttp_url_equal(&b.url, &a.url), pairs[_i].equal);
    ck_assert(sttp_url_equal(&a.url, &a.url));
    release(&a);
    release(&b);
}
END_TEST

START_TEST(test_parse_buffer_too_small)
{
    sttp_slice text = STTP_SLICE("sttp://h/a");
    char buffer[16];
    sttp_url url;

    ck_assert_int_eq(sttp_url_parse(text, buffer, text.size - 1, &url, NULL), STTP_ERR_BUFFER);
    ck_assert_int_eq(sttp_url_parse(text, NULL, 0, &url, NULL), STTP_ERR_BUFFER);
    ck_assert_int_eq(sttp_url_parse(text, buffer, text.size, &url, NULL), STTP_OK);
    ck_assert_int_eq(sttp_url_parse((sttp_slice){0}, NULL, 0, &url, NULL), STTP_ERR_URL_SCHEME);
}
END_TEST

START_TEST(test_limits)
{
    char text[600] = "sttp://";
    char *at = text + 7;
    parsed p;

    for (int i = 0; i < 128; i++)
        at = stpcpy(at, "a.");
    p = parse(text, 7 + STTP_MAX_HOST);
    ck_assert_int_eq(p.status, STTP_OK);
    release(&p);
    p = parse(text, 7 + STTP_MAX_HOST + 1);
    ck_assert_int_eq(p.status, STTP_ERR_URL_HOST);
    release(&p);

    at = stpcpy(text, "sttp+unix:/");
    memset(at, 's', STTP_MAX_SOCKET_PATH);
    p = parse(text, 10 + STTP_MAX_SOCKET_PATH);
    ck_assert_int_eq(p.status, STTP_OK);
    release(&p);
    p = parse(text, 10 + STTP_MAX_SOCKET_PATH + 1);
    ck_assert_int_eq(p.status, STTP_ERR_URL_SOCKET);
    ck_assert_uint_eq(p.offset, 10);
    release(&p);
}
END_TEST

START_TEST(test_build_refuses)
{
    const sttp_url fine = {.host = STTP_SLICE("h"), .port = 8080, .path = STTP_SLICE("/a")};
    sttp_url url = fine;
    char buffer[64];
    size_t size;

    ck_assert_int_eq(sttp_url_build(&url, buffer, sizeof buffer, &size), STTP_OK);
    url.scheme = (sttp_scheme)7;
    ck_assert_int_eq(sttp_url_build(&url, buffer, sizeof buffer, &size), STTP_ERR_URL_SCHEME);
    ck_assert_uint_eq(size, 0);
    url = fine;
    url.host = (sttp_slice){0};
    ck_assert_int_eq(sttp_url_build(&url, buffer, sizeof buffer, &size), STTP_ERR_URL_HOST);
    url.host = STTP_SLICE("a/b");
    ck_assert_int_eq(sttp_url_build(&url, buffer, sizeof buffer, &size), STTP_ERR_URL_HOST);
    url.host = STTP_SLICE("::1%");
    ck_assert_int_eq(sttp_url_build(&url, buffer, sizeof buffer, &size), STTP_ERR_URL_ZONE);
    url.host = STTP_SLICE("::g");
    ck_assert_int_eq(sttp_url_build(&url, buffer, sizeof buffer, &size), STTP_ERR_URL_IPV6);
    url = fine;
    url.port = 0;
    ck_assert_int_eq(sttp_url_build(&url, buffer, sizeof buffer, &size), STTP_ERR_URL_PORT);
    url = fine;
    url.path = STTP_SLICE("a");
    ck_assert_int_eq(sttp_url_build(&url, buffer, sizeof buffer, &size), STTP_ERR_URL_PATH);
    url.path = STTP_SLICE("/a?b");
    ck_assert_int_eq(sttp_url_build(&url, buffer, sizeof buffer, &size), STTP_ERR_URL_CHARACTER);
    url.path = STTP_SLICE("/\xff");
    ck_assert_int_eq(sttp_url_build(&url, buffer, sizeof buffer, &size), STTP_ERR_UTF8);
    url = fine;
    url.query = STTP_SLICE("q=#");
    ck_assert_int_eq(sttp_url_build(&url, buffer, sizeof buffer, &size), STTP_ERR_URL_FRAGMENT);
    url = (sttp_url){.scheme = STTP_SCHEME_UNIX, .path = STTP_SLICE("/")};
    ck_assert_int_eq(sttp_url_build(&url, buffer, sizeof buffer, &size), STTP_ERR_URL_SOCKET);
}
END_TEST

/* Words that URLs are made of, glued together at random: most are nearly URLs, many are. */
static size_t random_url(uint64_t *random, char *text, size_t capacity)
{
    static const char *const words[] = {
        "sttp://",  "sttps://", "sttp+unix:", "/", ":", "/a", "host",  "[::1]",   "[fe80::1%25",
        "%25",      "%2F",      "%20",        "?", "=", "#",  "@",     "8080",    "]",
        "\xd0\xb6", "%d0%b6",   "%3A",        ".", "0", "~",  "1.2.3", "::ffff:", "\\"};
    size_t size = 0;

    for (size_t left = random_below(random, 8) + 1; left > 0; left--) {
        const char *word = words[random_below(random, size == 0 ? 3 : COUNT(words))];

        if (size + strlen(word) > capacity)
            break;
        memcpy(text + size, word, strlen(word));
        size += strlen(word);
    }
    return size;
}

START_TEST(test_round_trip)
{
    uint64_t random = random_seed();
    unsigned accepted = 0;
    char text[256];

    for (int i = 0; i < 20000; i++) {
        parsed first = parse(text, random_url(&random, text, sizeof text));
        parsed second;
        size_t size;
        char *normal;

        ck_assert_uint_le(first.offset, first.size);
        if (first.status == STTP_OK) {
            accepted++;
            normal = build_url(&first.url, &size);
            second = parse(normal, size);
            ck_assert_msg(second.status == STTP_OK && sttp_url_equal(&first.url, &second.url),
                          "\"%.*s\" became \"%.*s\"", (int)first.size, first.text, (int)size,
                          normal);
            free(normal);
            normal = build_url(&second.url, &size);
            ck_assert(size == second.size && memcmp(normal, second.text, size) == 0);
            free(normal);
            release(&second);
        }
        release(&first);
    }
    ck_assert_uint_gt(accepted, 100);
}
END_TEST

static Suite *url_suite(void)
{
    Suite *suite = suite_create("url");
    TCase *parsing = tcase_create("parse");
    TCase *building = tcase_create("build");

    tcase_add_loop_test(parsing, test_good, 0, (int)COUNT(good));
    tcase_add_loop_test(parsing, test_bad, 0, (int)COUNT(bad));
    tcase_add_test(parsing, test_parse_buffer_too_small);
    tcase_add_test(parsing, test_limits);
    tcase_add_loop_test(parsing, test_equal, 0, (int)COUNT(pairs));
    tcase_add_loop_test(building, test_ipv6_normal_form, 0, (int)COUNT(ipv6_forms));
    tcase_add_test(building, test_build_refuses);
    tcase_add_test(building, test_round_trip);
    suite_add_tcase(suite, parsing);
    suite_add_tcase(suite, building);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(url_suite());
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
