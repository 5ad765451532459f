/* What the resolver's tests are made of: the loop with DNS servers on it, and somebody who looks
 * names up. */
#ifndef RESOLVE_SUPPORT_H
#define RESOLVE_SUPPORT_H

#include "dns_server.h"
#include "libsttp/event/resolve.h"
#include "resolve_loop.h"

/* ---- turns of the loop ---- */

static inline size_t poll_list(struct pollfd *list)
{
    size_t count = 0;

    for (size_t i = 0; i < loop.watch_count; i++) {
        const sttp_watch *watch = loop.watches[i];

        list[count++] = (struct pollfd){
            .fd = watch->fd,
            .events = (short)((watch->interest & STTP_READABLE ? POLLIN : 0) |
                              (watch->interest & STTP_WRITABLE ? POLLOUT : 0)),
        };
    }
    for (size_t i = 0; i < server_count; i++) {
        list[count++] = (struct pollfd){.fd = servers[i].udp, .events = POLLIN};
        list[count++] = (struct pollfd){.fd = servers[i].tcp, .events = POLLIN};
        for (size_t j = 0; j < MOST_STREAMS; j++)
            list[count++] = (struct pollfd){.fd = servers[i].streams[j], .events = POLLIN};
    }
    return count;
}

static inline int wait_time(void)
{
    const sttp__timer *timer = next_timer();
    uint64_t now = now_us();

    if (!timer || timer->at > now + 10 * MILLISECONDS)
        return 10;
    return timer->at <= now ? 0 : 1;
}

/* Waits for 10 ms at most. */
static inline void turn(void)
{
    struct pollfd list[MOST_WATCHES + MOST_SERVERS * (2 + MOST_STREAMS)];
    sttp_watch *watches[MOST_WATCHES];
    size_t count = loop.watch_count;

    memcpy(watches, loop.watches, sizeof watches);
    ck_assert_int_ge(poll(list, poll_list(list), wait_time()), 0);
    for (size_t i = 0; i < count; i++) {
        unsigned ready = (list[i].revents & (POLLIN | POLLHUP | POLLERR) ? STTP_READABLE : 0u) |
                         (list[i].revents & (POLLOUT | POLLHUP | POLLERR) ? STTP_WRITABLE : 0u);
        size_t at = 0;

        while (at < loop.watch_count && loop.watches[at] != watches[i])
            at++;
        if (ready != 0 && at < loop.watch_count)
            watches[i]->_ready(watches[i], ready);
    }
    run_timers();
    dns_serve();
}

/* Until it is true, for at most a minute. */
#define WAIT_FOR(condition)                                                                        \
    do {                                                                                           \
        for (int turns = 0; !(condition); turns++) {                                               \
            ck_assert_msg(turns < 6000, "not within %d turns: %s", turns, #condition);             \
            turn();                                                                                \
        }                                                                                          \
    } while (false)

/* Until nothing is asked any more: c-ares closes its sockets then. */
static inline void quiet(void)
{
    WAIT_FOR(loop.watch_count == 0);
}

/* Time passes; what is due happens. (More than 35 minutes are more than check can count.) */
static inline void pass(uint64_t microseconds)
{
    clock_offset += microseconds;
    turn();
}

/* ---- who looks names up ---- */

typedef struct asker {
    sttp__lookup lookup;
    unsigned calls, heard; /* heard: what hear() has waited for */
    sttp_status status;
    char reason[80];
    char addresses[4096]; /* "192.0.2.1:80 [2001:db8::1]:80", in their order */
    size_t count;
    bool more, gone;
    void (*then)(struct asker *asker); /* called at the end of `done` */
    void *context;
} asker;

static sttp__resolver *resolver;

static inline void looked_up(sttp__lookup *lookup, const sttp__answer *answer)
{
    asker *a = (asker *)lookup;
    size_t size = 0;

    a->calls++;
    a->status = answer->status;
    a->more = answer->more;
    a->gone = answer->gone;
    a->count = answer->count;
    snprintf(a->reason, sizeof a->reason, "%s", answer->reason ? answer->reason : "");
    a->addresses[0] = '\0';
    for (size_t i = 0; i < answer->count; i++) {
        const sttp__inet_address *address = &answer->addresses[i];
        bool ipv6 = address->any.sa_family == AF_INET6;
        char text[INET6_ADDRSTRLEN];

        inet_ntop(address->any.sa_family,
                  ipv6 ? (const void *)&address->ipv6.sin6_addr : &address->ipv4.sin_addr, text,
                  sizeof text);
        size += (size_t)snprintf(a->addresses + size, sizeof a->addresses - size, "%s%s%s%s:%u",
                                 i > 0 ? " " : "", ipv6 ? "[" : "", text, ipv6 ? "]" : "",
                                 ntohs(ipv6 ? address->ipv6.sin6_port : address->ipv4.sin_port));
    }
    ck_assert_int_eq(answer->status == STTP_OK, answer->count > 0);
    ck_assert_int_eq(answer->status == STTP_OK, answer->reason == NULL);
    if (a->then)
        a->then(a);
}

static inline void ask_family(asker *a, const char *host, int family)
{
    unsigned calls = a->calls;

    a->lookup.done = looked_up;
    ck_assert_int_eq(sttp__lookup_start(resolver, &a->lookup, host, 80, family), STTP_OK);
    ck_assert_uint_eq(a->calls, calls);
}

static inline void ask(asker *a, const char *host)
{
    ask_family(a, host, AF_UNSPEC);
}

/* Waits until it is told something that was not heard yet. */
static inline void hear(asker *a)
{
    WAIT_FOR(a->calls > a->heard);
    a->heard = a->calls;
}

static inline void expect(const asker *a, unsigned calls, const char *addresses)
{
    ck_assert_uint_eq(a->calls, calls);
    ck_assert_str_eq(a->addresses, addresses);
    ck_assert_int_eq(a->status, STTP_OK);
    ck_assert_ptr_nonnull(a->lookup.name);
}

static inline void expect_failure(const asker *a, unsigned calls, const char *reason)
{
    ck_assert_uint_eq(a->calls, calls);
    ck_assert_str_eq(a->reason, reason);
    ck_assert_int_eq(a->status, STTP_ERR_RESOLVE);
    ck_assert_ptr_null(a->lookup.name);
    ck_assert(!a->more);
}

/* ---- each test ---- */

static char hosts_path[64], resolv_path[64];

static inline void write_file(const char *path, const char *text)
{
    char fresh[80];
    FILE *file;

    snprintf(fresh, sizeof fresh, "%s.new", path);
    file = fopen(fresh, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(rename(fresh, path), 0);
}

/* A resolver that asks the servers that are open, or those of the file resolv.conf. */
static inline sttp_status create_resolver(bool from_file)
{
    char list[MOST_SERVERS * 32] = "";
    sttp__resolver_options options = {.hosts_file = hosts_path, .dns_servers = list};

    for (size_t i = 0; i < server_count; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s127.0.0.%zu:%u",
                 i > 0 ? "," : "", i + 1, servers[i].port);
    if (from_file) {
        options.dns_servers = NULL;
        options.resolv_conf = resolv_path;
        options.dns_port = servers[0].port;
    }
    return sttp__resolver_create(&loop, &options, &resolver);
}

static inline void set_up(void)
{
    snprintf(hosts_path, sizeof hosts_path, "/tmp/sttp-check-hosts-%d", (int)getpid());
    snprintf(resolv_path, sizeof resolv_path, "/tmp/sttp-check-resolv-%d", (int)getpid());
    write_file(hosts_path, "");
    dns_open("127.0.0.1", 0);
    ck_assert_int_eq(create_resolver(false), STTP_OK);
}

static inline void tear_down(void)
{
    sttp__resolver_destroy(resolver);
    ck_assert_uint_eq(loop.watch_count, 0);
    ck_assert_uint_eq(loop.timer_count, 0);
    ck_assert_uint_eq(live_blocks, 0);
    for (size_t i = 0; i < server_count; i++) {
        close_streams(&servers[i]);
        close(servers[i].udp);
        close(servers[i].tcp);
    }
    server_count = 0;
    unlink(hosts_path);
    unlink(resolv_path);
}

#endif
