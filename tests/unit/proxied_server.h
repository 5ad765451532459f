/* A server whose clients come by proxies, and what it tells of them. */
#ifndef STTP_TESTS_PROXIED_SERVER_H
#define STTP_TESTS_PROXIED_SERVER_H

#include "proxy_header_support.h"
#include "server_support.h"

#define V1_BEGIN "PROXY TCP4 192.0.2.1"
#define V1_END " 198.51.100.7 40000 8080\r\n"
#define V1 V1_BEGIN V1_END

/* What was told last, guarded by the fixture's mutex. */
static char opened[400];
static char refused[400];
static char closed[400];

static inline const char *or_dash(const char *text)
{
    return text != NULL ? text : "-";
}

static inline void note(void *context, const sttp_notice *notice)
{
    struct fixture *fixture = context;
    pthread_mutex_lock(&fixture->mutex);
    if (notice->kind == STTP_NOTICE_OPENED)
        snprintf(opened, sizeof opened, "%s by %s", notice->peer, or_dash(notice->proxy));
    if (notice->kind == STTP_NOTICE_REFUSED)
        snprintf(refused, sizeof refused, "%s: %s: %s", notice->peer,
                 sttp_close_reason_text(notice->reason), or_dash(notice->detail));
    if (notice->kind == STTP_NOTICE_CLOSED)
        snprintf(closed, sizeof closed, "%s: %s: %s", notice->peer,
                 sttp_close_reason_text(notice->reason), or_dash(notice->detail));
    pthread_mutex_unlock(&fixture->mutex);
    take_notice(context, notice);
}

/* Answers with the client's address and the hops. */
static inline void tell_peer(void *context, const sttp_request *request, sttp_reply *reply)
{
    char text[200], host[INET6_ADDRSTRLEN] = "";
    sttp_peer peer;
    if (!begins(request->path, "/peer")) {
        handle(context, request, reply);
        return;
    }
    sttp_reply_peer(reply, &peer);
    const struct sockaddr_in *in = (const struct sockaddr_in *)&peer.address;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&peer.address;
    unsigned port = 0;
    if (peer.address.ss_family == AF_INET) {
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        port = ntohs(in->sin_port);
    } else if (peer.address.ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        port = ntohs(in6->sin6_port);
    } else if (peer.address.ss_family == AF_UNIX) {
        strcpy(host, "unix");
    }
    snprintf(text, sizeof text, "%s %u, %u hops", host, port, peer.hops);
    answer_with(reply, request->action, request->path, (sttp_slice){text, strlen(text)});
}

static inline sttp_status listen_to(struct fixture *fixture, const char *address,
                                    const char *trusted)
{
    sttp_network network;
    sttp_listener_options options = {
        .size = sizeof options, .address = address, .proxy_protocol = true, .trusted = &network};
    if (trusted != NULL)
        ck_assert_int_eq(sttp_network_parse((sttp_slice){trusted, strlen(trusted)}, &network),
                         STTP_OK);
    options.trusted_count = trusted != NULL;
    sttp_status status = sttp_server_listen_with(fixture->server, &options);
    memset(&network, 0xff, sizeof network); /* it is the caller's again */
    return status;
}

static inline struct fixture *create(sttp_server_options options)
{
    struct fixture *fixture = make_fixture();
    if (options.handler == NULL)
        options.handler = tell_peer;
    options = with_fixture(fixture, options);
    options.notice = note;
    opened[0] = refused[0] = closed[0] = '\0';
    ck_assert_int_eq(sttp_server_create(&options, &fixture->server), STTP_OK);
    return fixture;
}

static inline struct fixture *start_proxied(sttp_server_options options, const char *trusted)
{
    struct fixture *fixture = create(options);
    ck_assert_int_eq(listen_to(fixture, "127.0.0.1:0", trusted), STTP_OK);
    ck_assert_int_eq(sttp_server_start(fixture->server), STTP_OK);
    return fixture;
}

static inline void wait_refused(struct fixture *fixture, unsigned count)
{
    wait_at_least(fixture, &fixture->notices[STTP_NOTICE_REFUSED], count);
}

static inline void expect_text(struct fixture *fixture, const char *text, const char *expected)
{
    pthread_mutex_lock(&fixture->mutex);
    ck_assert_str_eq(text, expected);
    pthread_mutex_unlock(&fixture->mutex);
}

static inline void send_header(int fd, struct v2 *header)
{
    v2_end(header);
    send_bytes(fd, (const char *)header->bytes, header->size);
}

static struct v2 v2;

#endif
