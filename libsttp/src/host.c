/* What a host may look like. Names follow the letters, digits, hyphens and dots of DNS (and the
 * underscore that is found in practice); international names come in their "xn--" form, since only
 * that form can be compared without Unicode tables.
 *
 * A name whose last label is a number is not a name: "127.1" or "0x7f000001" would reach a resolver
 * that takes them for 127.0.0.1, behind the back of whoever compares hosts as text. Only the
 * dotted form with four numbers is let through. */
#include "host.h"

#include <arpa/inet.h>
#include <string.h>

#include <sttp/url.h>

#include "ascii.h"

enum { MAX_LABEL = 63 };

static bool is_letter(char c)
{
    return sttp__lower(c) >= 'a' && sttp__lower(c) <= 'z';
}

static bool is_hex(char c)
{
    return sttp__is_digit(c) || (sttp__lower(c) >= 'a' && sttp__lower(c) <= 'f');
}

static bool is_name_character(char c)
{
    return is_letter(c) || sttp__is_digit(c) || c == '-' || c == '_';
}

static bool is_number(sttp_slice label)
{
    bool hex = label.size >= 2 && label.data[0] == '0' && sttp__lower(label.data[1]) == 'x';
    size_t i = hex ? 2 : 0;

    while (i < label.size && (hex ? is_hex(label.data[i]) : sttp__is_digit(label.data[i])))
        i++;
    return i == label.size;
}

/* Reads the labels of a name; *last is the last one that is not empty. */
static sttp_status check_labels(sttp_slice host, sttp_slice *last, size_t *at)
{
    size_t start = 0;

    for (*at = 0; *at < host.size; ++*at) {
        char c = host.data[*at];

        if (c == '.') {
            if (*at == start)
                return STTP_ERR_URL_HOST;
            start = *at + 1;
            continue;
        }
        if (!is_name_character(c) || *at - start == MAX_LABEL)
            return STTP_ERR_URL_HOST;
        *last = (sttp_slice){host.data + start, *at + 1 - start};
    }
    return STTP_OK;
}

static sttp_status check_name(sttp_slice host, size_t *at)
{
    unsigned char value[STTP__IPV4_SIZE];
    sttp_slice last = {0};
    sttp_status status;

    *at = 0;
    if (host.size == 0 || host.size > STTP_MAX_HOST)
        return STTP_ERR_URL_HOST;
    status = check_labels(host, &last, at);
    if (status != STTP_OK)
        return status;
    *at = 0;
    return is_number(last) && !sttp__ipv4_value(host, value) ? STTP_ERR_URL_HOST : STTP_OK;
}

/* The zone is an interface's name or number. What would be read as another part of a URL or as a
 * file's path is in no such name. */
static sttp_status check_zone(sttp_slice host, sttp_slice zone, size_t *at)
{
    *at = host.size - zone.size;
    if (zone.size == 1 || host.size > STTP_MAX_HOST)
        return STTP_ERR_URL_ZONE;
    for (++*at; *at < host.size; ++*at)
        if (host.data[*at] <= ' ' || host.data[*at] > '~' || strchr("%/[]", host.data[*at]))
            return STTP_ERR_URL_ZONE;
    return STTP_OK;
}

bool sttp__host_is_ipv6(sttp_slice host)
{
    return host.size > 0 && memchr(host.data, ':', host.size);
}

sttp_status sttp__check_host(sttp_slice host, size_t *at)
{
    unsigned char value[STTP__IPV6_SIZE];
    sttp_slice zone;

    if (!sttp__host_is_ipv6(host))
        return check_name(host, at);
    *at = 0;
    if (!sttp__ipv6_value(host, value))
        return STTP_ERR_URL_IPV6;
    zone = sttp__ipv6_zone(host);
    return zone.size ? check_zone(host, zone, at) : STTP_OK;
}

bool sttp__ipv4_value(sttp_slice host, unsigned char value[STTP__IPV4_SIZE])
{
    char text[INET_ADDRSTRLEN];

    if (host.size >= sizeof text || memchr(host.data, '\0', host.size))
        return false;
    memcpy(text, host.data, host.size);
    text[host.size] = '\0';
    return inet_pton(AF_INET, text, value) == 1;
}

sttp_slice sttp__ipv6_zone(sttp_slice host)
{
    const char *sign = host.size ? memchr(host.data, '%', host.size) : NULL;

    return sign ? (sttp_slice){sign, (size_t)(host.data + host.size - sign)} : (sttp_slice){0};
}

bool sttp__ipv6_value(sttp_slice host, unsigned char value[STTP__IPV6_SIZE])
{
    char text[INET6_ADDRSTRLEN];
    size_t size = host.size - sttp__ipv6_zone(host).size;

    if (size == 0 || size >= sizeof text || memchr(host.data, '\0', size))
        return false;
    memcpy(text, host.data, size);
    text[size] = '\0';
    return inet_pton(AF_INET6, text, value) == 1;
}

/* Finds the longest run of at least two zero groups, the first of several; RFC 5952, section 4.2.
 */
static size_t longest_zeros(const unsigned groups[8], size_t *length)
{
    size_t best = 0;
    size_t run = 0;

    *length = 1;
    for (size_t i = 0; i < 8; i++) {
        run = groups[i] == 0 ? run + 1 : 0;
        if (run > *length) {
            *length = run;
            best = i + 1 - run;
        }
    }
    if (*length == 1)
        *length = 0;
    return best;
}

static size_t put_hex(unsigned group, char *text)
{
    size_t size = 0;
    int shift = 12;

    while (shift > 0 && group >> shift == 0)
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        text[size++] = "0123456789abcdef"[group >> shift & 15];
    return size;
}

/* RFC 5952, section 5: an IPv4 address inside of IPv6 keeps its dots. */
static bool put_mapped_ipv4(const unsigned char value[STTP__IPV6_SIZE], char *text)
{
    static const unsigned char prefix[12] = {[10] = 0xff, [11] = 0xff};

    if (memcmp(value, prefix, sizeof prefix) != 0)
        return false;
    memcpy(text, "::ffff:", 7);
    return inet_ntop(AF_INET, value + sizeof prefix, text + 7, STTP__IPV6_TEXT_SIZE - 7);
}

size_t sttp__ipv6_text(const unsigned char value[STTP__IPV6_SIZE], char text[STTP__IPV6_TEXT_SIZE])
{
    unsigned groups[8];
    size_t zeros_at, zeros, size = 0;

    if (put_mapped_ipv4(value, text))
        return strlen(text);
    for (size_t i = 0; i < 8; i++)
        groups[i] = (unsigned)value[2 * i] << 8 | value[2 * i + 1];
    zeros_at = longest_zeros(groups, &zeros);
    for (size_t i = 0; i < 8; i++) {
        if (zeros > 0 && i == zeros_at) {
            text[size++] = ':';
            if (i == 0)
                text[size++] = ':';
            i += zeros - 1;
            continue;
        }
        size += put_hex(groups[i], text + size);
        if (i < 7)
            text[size++] = ':';
    }
    text[size] = '\0';
    return size;
}
