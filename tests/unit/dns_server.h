/* DNS servers for the resolver's tests, which do what a test tells them to. They run on the test's
 * thread: somebody calls dns_serve. */
#ifndef DNS_SERVER_H
#define DNS_SERVER_H

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <check.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST_RULES = 8, MOST_HELD = 16, MOST_STREAMS = 8, PACKET = 1024, MOST_SERVERS = 4 };

typedef struct dns_rule {
    char name[64];
    char addresses[1024]; /* of both families, with spaces between */
    char alias[64];       /* what a CNAME says, "" for none */
    unsigned ttl, alias_ttl;
    int rcode;
    int rcode_type;    /* ns_t_a, ns_t_aaaa: only there; 0: both */
    unsigned asked[2]; /* for A, for AAAA */
} dns_rule;

typedef struct dns_query {
    unsigned char bytes[PACKET];
    size_t size;
    int stream; /* a descriptor, -1: UDP */
    struct sockaddr_storage from;
    socklen_t from_size;
} dns_query;

typedef struct dns_server {
    int udp, tcp;
    int streams[MOST_STREAMS]; /* -1: none */
    uint16_t port;
    dns_rule rules[MOST_RULES]; /* what is in none of them is NXDOMAIN */
    size_t rule_count;
    int held_type; /* queries of that type (ns_t_any: all) wait for dns_release */
    dns_query held[MOST_HELD];
    size_t held_count;
    bool silent, truncates, lies, malformed, resets;
    unsigned packets, streamed; /* queries by UDP, by TCP */
} dns_server;

static dns_server servers[MOST_SERVERS];
static size_t server_count;

static inline struct sockaddr_in ipv4_address(const char *ip, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};

    ck_assert_int_eq(inet_pton(AF_INET, ip, &address.sin_addr), 1);
    return address;
}

/* Both sockets on one port; false where another program has it for TCP. */
static inline bool bind_both(dns_server *server, const char *ip, uint16_t port)
{
    struct sockaddr_in address = ipv4_address(ip, port);
    socklen_t size = sizeof address;
    const int on = 1;

    server->udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    server->tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(server->tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(server->udp, (struct sockaddr *)&address, size) == 0 &&
        getsockname(server->udp, (struct sockaddr *)&address, &size) == 0 &&
        bind(server->tcp, (struct sockaddr *)&address, size) == 0 && listen(server->tcp, 8) == 0) {
        server->port = ntohs(address.sin_port);
        return true;
    }
    close(server->udp);
    close(server->tcp);
    return false;
}

static inline dns_server *dns_open(const char *ip, uint16_t port)
{
    dns_server *server = &servers[server_count++];

    ck_assert_uint_le(server_count, MOST_SERVERS);
    memset(server, 0, sizeof *server);
    for (size_t i = 0; i < MOST_STREAMS; i++)
        server->streams[i] = -1;
    for (int tries = 0; !bind_both(server, ip, port); tries++)
        ck_assert_int_lt(tries, 100);
    return server;
}

static inline void close_streams(dns_server *server)
{
    for (size_t i = 0; i < MOST_STREAMS; i++) {
        if (server->streams[i] >= 0)
            close(server->streams[i]);
        server->streams[i] = -1;
    }
}

static inline dns_rule *dns_find(dns_server *server, const char *name)
{
    for (size_t i = 0; i < server->rule_count; i++) {
        if (strcasecmp(server->rules[i].name, name) == 0)
            return &server->rules[i];
    }
    return NULL;
}

/* What a name has from now on. */
static inline dns_rule *dns_set(dns_server *server, const char *name, const char *addresses,
                                unsigned ttl)
{
    dns_rule *rule = dns_find(server, name);

    if (!rule) {
        ck_assert_uint_lt(server->rule_count, MOST_RULES);
        rule = &server->rules[server->rule_count++];
        memset(rule, 0, sizeof *rule);
        snprintf(rule->name, sizeof rule->name, "%s", name);
    }
    snprintf(rule->addresses, sizeof rule->addresses, "%s", addresses);
    rule->ttl = ttl;
    rule->rcode = ns_r_noerror;
    rule->rcode_type = 0;
    return rule;
}

static inline unsigned char *put16(unsigned char *to, unsigned value)
{
    to[0] = (unsigned char)(value >> 8);
    to[1] = (unsigned char)value;
    return to + 2;
}

static inline unsigned char *put_name(unsigned char *to, const char *name)
{
    while (*name != '\0') {
        size_t size = strcspn(name, ".");

        *to++ = (unsigned char)size;
        memcpy(to, name, size);
        to += size;
        name += size + (name[size] == '.');
    }
    *to++ = 0;
    return to;
}

static inline unsigned char *put_head(unsigned char *to, const char *owner, int type, unsigned ttl)
{
    to = put_name(to, owner);
    to = put16(to, (unsigned)type);
    to = put16(to, ns_c_in);
    to = put16(to, ttl >> 16);
    return put16(to, ttl & 0xffff);
}

static inline unsigned char *put_alias(unsigned char *to, const dns_rule *rule)
{
    unsigned char *size;

    size = put_head(to, rule->name, ns_t_cname, rule->alias_ttl);
    to = put_name(size + 2, rule->alias);
    put16(size, (unsigned)(to - size - 2));
    return to;
}

/* The addresses of one type; *count grows. */
static inline unsigned char *put_addresses(unsigned char *to, const dns_rule *rule, int type,
                                           unsigned *count)
{
    char text[sizeof rule->addresses];
    unsigned char value[16];
    char *rest = text, *word;

    memcpy(text, rule->addresses, sizeof text);
    while ((word = strsep(&rest, " "))) {
        if (inet_pton(type == ns_t_a ? AF_INET : AF_INET6, word, value) != 1)
            continue;
        to = put_head(to, rule->alias[0] ? rule->alias : rule->name, type, rule->ttl);
        to = put16(to, type == ns_t_a ? 4 : 16);
        memcpy(to, value, type == ns_t_a ? 4 : 16);
        to += type == ns_t_a ? 4 : 16;
        ++*count;
    }
    return to;
}

/* The question's name; its end is returned. */
static inline const unsigned char *get_name(const unsigned char *at, char name[64])
{
    size_t size = 0;

    while (*at != 0) {
        ck_assert_uint_lt(size + *at, 63);
        if (size > 0)
            name[size++] = '.';
        memcpy(name + size, at + 1, *at);
        size += *at;
        at += 1 + *at;
    }
    name[size] = '\0';
    return at + 1;
}

static inline void dns_send(const dns_server *server, const dns_query *query,
                            const unsigned char *bytes, size_t size)
{
    unsigned char framed[2 + 16 * PACKET];

    if (query->stream < 0) {
        sendto(server->udp, bytes, size, 0, (const struct sockaddr *)&query->from,
               query->from_size);
        return;
    }
    put16(framed, (unsigned)size);
    memcpy(framed + 2, bytes, size);
    ck_assert_int_eq(send(query->stream, framed, size + 2, MSG_NOSIGNAL), (ssize_t)size + 2);
}

static inline void dns_answer(dns_server *server, const dns_query *query)
{
    unsigned char answer[16 * PACKET], *end;
    char name[64];
    const unsigned char *at = get_name(query->bytes + NS_HFIXEDSZ, name);
    int type = at[0] << 8 | at[1];
    size_t question_size = (size_t)(at + 4 - query->bytes);
    dns_rule *rule = dns_find(server, name);
    bool fails = rule && (rule->rcode_type == 0 || rule->rcode_type == type);
    int rcode = rule ? (fails ? rule->rcode : ns_r_noerror) : ns_r_nxdomain;
    bool truncated = server->truncates && query->stream < 0;
    unsigned count = 0;

    if (rule)
        rule->asked[type == ns_t_aaaa]++;
    memcpy(answer, query->bytes, question_size);
    end = answer + question_size;
    if (rcode == ns_r_noerror && !truncated) {
        if (rule->alias[0] && ++count)
            end = put_alias(end, rule);
        end = put_addresses(end, rule, type, &count);
    }
    put16(answer + 2, 0x8180u | (truncated ? 0x200u : 0) | (unsigned)rcode);
    put16(answer + 6, count);
    put16(answer + 8, 0);
    put16(answer + 10, 0);
    if (server->malformed)
        end -= 3;
    if (server->lies) { /* another id, no header, another question */
        answer[0] ^= 1;
        dns_send(server, query, answer, (size_t)(end - answer));
        answer[0] ^= 1;
        dns_send(server, query, answer, 5);
        answer[NS_HFIXEDSZ + 1] ^= 1;
        dns_send(server, query, answer, (size_t)(end - answer));
        answer[NS_HFIXEDSZ + 1] ^= 1;
    }
    dns_send(server, query, answer, (size_t)(end - answer));
}

static inline void dns_take(dns_server *server, const dns_query *query)
{
    char name[64];
    const unsigned char *at = get_name(query->bytes + NS_HFIXEDSZ, name);
    int type = at[0] << 8 | at[1];

    ck_assert_uint_gt(query->size, NS_HFIXEDSZ);
    if (query->stream < 0)
        server->packets++;
    else
        server->streamed++;
    if (server->silent)
        return;
    if (server->held_type == ns_t_any || server->held_type == type) {
        ck_assert_uint_lt(server->held_count, MOST_HELD);
        server->held[server->held_count++] = *query;
    } else {
        dns_answer(server, query);
    }
}

static inline void dns_release(dns_server *server)
{
    server->held_type = 0;
    for (size_t i = 0; i < server->held_count; i++)
        dns_answer(server, &server->held[i]);
    server->held_count = 0;
}

static inline void read_udp(dns_server *server)
{
    dns_query query = {.stream = -1};
    ssize_t size;

    for (;;) {
        query.from_size = sizeof query.from;
        size = recvfrom(server->udp, query.bytes, sizeof query.bytes, 0,
                        (struct sockaddr *)&query.from, &query.from_size);
        if (size < 0)
            return;
        query.size = (size_t)size;
        dns_take(server, &query);
    }
}

static inline void accept_stream(dns_server *server)
{
    const struct linger now = {.l_onoff = 1};
    int fd = accept4(server->tcp, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    size_t i = 0;

    if (fd < 0)
        return;
    if (server->resets) {
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(fd);
        return;
    }
    while (i < MOST_STREAMS && server->streams[i] >= 0)
        i++;
    ck_assert_uint_lt(i, MOST_STREAMS);
    server->streams[i] = fd;
}

/* Whole queries come in one piece here: c-ares writes them so. */
static inline void read_stream(dns_server *server, int *stream)
{
    unsigned char bytes[8 * PACKET];
    ssize_t size = recv(*stream, bytes, sizeof bytes, 0);

    if (size <= 0) {
        close(*stream);
        *stream = -1;
        return;
    }
    for (ssize_t at = 0; at < size;) {
        dns_query query = {.stream = *stream, .size = (size_t)(bytes[at] << 8 | bytes[at + 1])};

        ck_assert_int_le(at + 2 + (ssize_t)query.size, size);
        memcpy(query.bytes, bytes + at + 2, query.size);
        dns_take(server, &query);
        at += 2 + (ssize_t)query.size;
    }
}

static inline void dns_serve(void)
{
    for (size_t i = 0; i < server_count; i++) {
        read_udp(&servers[i]);
        accept_stream(&servers[i]);
        for (size_t j = 0; j < MOST_STREAMS; j++) {
            struct pollfd stream = {.fd = servers[i].streams[j], .events = POLLIN};

            if (stream.fd >= 0 && poll(&stream, 1, 0) == 1)
                read_stream(&servers[i], &servers[i].streams[j]);
        }
    }
}

#endif
