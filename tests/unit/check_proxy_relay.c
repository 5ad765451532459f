/* Requests on their way through a running sttp-proxy: what becomes of them where the other side, or
 * this one, does not do as it should. */
#include "proxy_running.h"

/* ---- connections ---- */

/* Answers two requests of a client: with the second one a connection is known to stay. */
static int warm_up(int client, int listener, const char *target, const char *line)
{
    char text[256], answer[256];
    int peer = -1;

    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof text, "SHOW %s\n", target);
        say(client, text);
        if (peer < 0)
            peer = accept_one(listener);
        snprintf(text, sizeof text, "SHOW %s\n", line);
        hear(peer, text);
        snprintf(answer, sizeof answer, "200 /warm OK\nx\n");
        say(peer, answer);
        hear(client, answer);
    }
    return peer;
}

/* The setting counts for upstreams, and for hosts that are forwarded to. */
START_TEST(idle_connections_are_closed)
{
    unsigned port;
    int listener = listener_on(AF_INET, 8, &port);
    char target[64];

    set_up("upstream_idle_timeout: 50ms\n"
           "forward: {enabled: true, allow: [\"127.0.0.1:*\"]}\n"
           "reverse: [{prefix: /, upstreams: [\"127.0.0.1:%u\"], health: {interval: off}}]\n",
           port);
    start();
    int client = connect_client();
    hear_end(warm_up(client, listener, "/warm", "/warm"));
    snprintf(target, sizeof target, "sttp://127.0.0.1:%u/warm", port);
    hear_end(warm_up(client, listener, target, "/warm"));
    close(client);
    close(listener);
    stop();
    release();
}
END_TEST

/* A parent may close a connection just when it is used again. */
START_TEST(parent_is_asked_again)
{
    static const char target[] = "sttp://example.org:8080/warm";
    unsigned port;
    int listener = listener_on(AF_INET, 8, &port);

    set_up(
        "forward: {enabled: true, allow: [\"example.org:*\"], parent: \"sttp://127.0.0.1:%u\"}\n",
        port);
    start();
    int client = connect_client();
    int peer = warm_up(client, listener, target, target);
    say(client, "SHOW sttp://example.org:8080/warm\n");
    hear(peer, "SHOW sttp://example.org:8080/warm\n");
    close(peer);
    peer = accept_one(listener);
    hear(peer, "SHOW sttp://example.org:8080/warm\n");
    say(peer, "200 /warm OK\nagain\n");
    hear(client, "200 /warm OK\nagain\n");
    close(peer);
    close(client);
    close(listener);
    stop();
    release();
}
END_TEST

/* ---- failures ---- */

/* One answer is none: those behind it on its connection are asked for again, and the upstream, the
 * only one, stays up. */
START_TEST(bad_answer_harms_one)
{
    int clients[4];
    char line[64];
    unsigned port;
    int listener = listener_on(AF_INET, 8, &port);

    set_up(
        "max_upstream_connections: 1\n"
        "reverse: [{prefix: /, upstreams: [\"127.0.0.1:%u\"], health: {interval: off, fall: 2}}]\n",
        port);
    start();
    clients[0] = connect_client();
    int peer = warm_up(clients[0], listener, "/warm", "/warm");
    for (int i = 0; i < 4; i++) {
        if (i > 0)
            clients[i] = connect_client();
        snprintf(line, sizeof line, "SHOW /%d\n", i);
        say(clients[i], line);
        hear(peer, line);
    }
    say(peer, "what?\n");
    hear(clients[0], "500 /0 SERVER ERROR \"invalid answer from upstream\"\n");
    hear_end(peer);
    peer = accept_one(listener);
    for (int i = 1; i < 4; i++) {
        char answer[64];
        snprintf(line, sizeof line, "SHOW /%d\n", i);
        hear(peer, line);
        snprintf(answer, sizeof answer, "200 /%d OK\n%d\n", i, i);
        say(peer, answer);
        hear(clients[i], answer);
        close(clients[i]);
    }
    ck_assert_int_eq(health_look(running.proxy.groups->upstreams->health).state, HEALTH_UP);
    close(clients[0]);
    close(peer);
    close(listener);
    stop();
    release();
}
END_TEST

/* A host that takes no connection goes down by requests alone, though the queue's timeout comes
 * first, and says nothing else of it. */
START_TEST(silent_host_is_ejected)
{
    unsigned port;
    int listener = listener_on(AF_INET, 0, &port), fill[4];
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    for (int i = 0; i < 4; i++) { /* no more than one of them is let in */
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(fill[i], (const struct sockaddr *)&address, sizeof address);
    }
    set_up(
        "queue_timeout: 20ms\n"
        "connect_timeout: 1h\n"
        "reverse: [{prefix: /, upstreams: [\"127.0.0.1:%u\"], health: {interval: off, fall: 2}}]\n",
        port);
    start();
    int client = connect_client();
    for (int i = 0; i < 2; i++) {
        say(client, "SHOW /a\n");
        hear(client, "500 /a SERVER ERROR \"the upstream failed: no connection to it was free in "
                     "time (queue_timeout); try again later\"\n");
    }
    health_view view = health_look(running.proxy.groups->upstreams->health);
    ck_assert_int_eq(view.state, HEALTH_EJECTED);
    ck_assert_int_eq(view.cause, HEALTH_TIMEOUT);
    for (int i = 0; i < 4; i++)
        close(fill[i]);
    close(client);
    close(listener);
    stop();
    release();
}
END_TEST

/* However often a host has refused, it is found so at once, not by a wait for the next attempt. */
START_TEST(dead_host_is_told_soon)
{
    char line[64], answer[128];
    unsigned port;

    close(listener_on(AF_INET, 8, &port));
    set_up("queue_timeout: 2s\n"
           "forward: {enabled: true, allow: [\"127.0.0.1:*\"]}\n");
    start();
    int client = connect_client();
    snprintf(line, sizeof line, "SHOW sttp://127.0.0.1:%u/a\n", port);
    snprintf(answer, sizeof answer,
             "500 sttp://127.0.0.1:%u/a SERVER ERROR \"the origin failed: it cannot be connected "
             "to\"\n",
             port);
    for (int i = 0; i < 12; i++) {
        say(client, line);
        hear(client, answer);
    }
    close(client);
    stop();
    release();
}
END_TEST

/* What the proxy's end cuts off is no failure of the upstream. */
START_TEST(stop_blames_nobody)
{
    unsigned port;
    int listener = listener_on(AF_INET, 8, &port);

    set_up(
        "reverse: [{prefix: /, upstreams: [\"127.0.0.1:%u\"], health: {interval: off, fall: 1}}]\n",
        port);
    start();
    int client = connect_client();
    say(client, "SHOW /a\nUPDATE /b x\n");
    int peer = accept_one(listener);
    hear(peer, "SHOW /a\n");
    stop();
    ck_assert_int_eq(health_look(running.proxy.groups->upstreams->health).state, HEALTH_UP);
    ck_assert_uint_eq(counted(COUNT_STOPPED), 1);
    ck_assert_uint_eq(counted(COUNT_LOST), 0);
    ck_assert_uint_eq(atomic_load(&running.proxy.groups->upstreams->in_flight), 0);
    close(peer);
    close(client);
    close(listener);
    release();
}
END_TEST

/* ---- answers of the proxy's own ---- */

/* The prefix is named as far as a message can: without double quotes, and whole characters. */
START_TEST(prefix_is_named)
{
    static const struct {
        const char *part;
        int times;
        const char *told;
    } prefixes[] = {{"a\"b", 1, "a'b"}, {"/x\xc3\xa4\xc3\xa4\xc3\xa4", 100, NULL}};
    char prefix[1024] = "/", line[2048], start_of[2048], got[4096];
    unsigned port;
    int listener = listener_on(AF_INET, 8, &port);

    close(listener);
    for (int i = 0; i < prefixes[_i].times; i++)
        strcat(prefix, prefixes[_i].part + (i == 0 && prefixes[_i].part[0] == '/'));
    set_up("reverse: [{prefix: '%s', upstreams: [\"127.0.0.1:%u\"], health: {interval: off}}]\n",
           prefix, port);
    start();
    int client = connect_client();
    snprintf(line, sizeof line, "SHOW %s/t\n", prefix);
    say(client, line);
    shutdown(client, SHUT_WR);
    ssize_t size = recv(client, got, sizeof got - 1, MSG_WAITALL);
    ck_assert_int_gt(size, 0);
    got[size] = '\0';
    snprintf(start_of, sizeof start_of, "500 %s/t SERVER ERROR \"no upstream available for /%.*s",
             prefix, prefixes[_i].told != NULL ? 99 : 400,
             prefixes[_i].told != NULL ? prefixes[_i].told : prefix + 1);
    ck_assert_msg(strncmp(got, start_of, strlen(start_of)) == 0, "%s", got);
    ck_assert_str_eq(got + size - 2, "\"\n");
    close(client);
    stop();
    release();
}
END_TEST

/* ---- cache ---- */

static sttp_cache *cache;

static void start_with_cache(void)
{
    sttp_cache_options options = {.size = sizeof options, .clock = sttp_server_now};

    start();
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_OK);
    running.proxy.cache = cache;
}

static void stop_with_cache(void)
{
    stop();
    sttp_cache_destroy(cache);
    release();
}

/* All ways to write an address are one: a change by one of them is seen by the others. */
START_TEST(spellings_share_the_cache)
{
    static const struct {
        int family;
        const char *one, *other;
    } pairs[] = {{AF_INET6, "[::1]", "[0:0::0:1]"}, {AF_INET, "127.0.0.1", "[::ffff:127.0.0.1]"}};
    char line[128];
    unsigned port;
    int listener = listener_on(pairs[_i].family, 8, &port);

    set_up("forward: {enabled: true, allow: [\"127.0.0.1:*\", \"[::1]:*\"]}\n");
    start_with_cache();
    int client = connect_client();
    snprintf(line, sizeof line, "SHOW sttp://%s:%u/a\n", pairs[_i].one, port);
    say(client, line);
    int peer = accept_one(listener);
    hear(peer, "SHOW /a\n");
    say(peer, "200 /a OK\nold\n");
    hear(client, "200 /a OK\nold\n");
    snprintf(line, sizeof line, "SHOW sttp://%s:%u/a\n", pairs[_i].other, port);
    say(client, line);
    hear(client, "200 /a OK\nold\n");
    snprintf(line, sizeof line, "UPDATE STTP://%s:%u/a new\n", pairs[_i].other, port);
    say(client, line);
    hear(peer, "UPDATE /a \"new\"\n");
    say(peer, "200 /a OK\nnew\n");
    hear(client, "200 /a OK\nnew\n");
    snprintf(line, sizeof line, "SHOW sttp://%s:%u/a\n", pairs[_i].one, port);
    say(client, line);
    hear(peer, "SHOW /a\n");
    say(peer, "200 /a OK\nnew\n");
    hear(client, "200 /a OK\nnew\n");
    close(peer);
    close(client);
    close(listener);
    stop_with_cache();
}
END_TEST

/* Two that wait for one answer: the parent's own speaks of the target as the first has written it,
 * and each is told of its own. */
START_TEST(waiting_read_their_own_target)
{
    unsigned port;
    int listener = listener_on(AF_INET, 8, &port);

    set_up(
        "forward: {enabled: true, allow: [\"example.org:*\"], parent: \"sttp://127.0.0.1:%u\"}\n",
        port);
    start_with_cache();
    int client = connect_client();
    say(client, "SHOW sttp://Example.org/a\nSHOW sttp://example.ORG:8080/a\n");
    int peer = accept_one(listener);
    hear(peer, "SHOW sttp://Example.org/a\n");
    say(peer, "500 sttp://Example.org/a SERVER ERROR \"no\"\n");
    hear(client, "500 sttp://Example.org/a SERVER ERROR \"no\"\n"
                 "500 sttp://example.ORG:8080/a SERVER ERROR \"no\"\n");
    close(peer);
    close(client);
    close(listener);
    stop_with_cache();
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, idle_connections_are_closed);
    tcase_add_test(tests, parent_is_asked_again);
    tcase_add_test(tests, bad_answer_harms_one);
    tcase_add_test(tests, silent_host_is_ejected);
    tcase_add_test(tests, dead_host_is_told_soon);
    tcase_add_test(tests, stop_blames_nobody);
    tcase_add_loop_test(tests, prefix_is_named, 0, 2);
    tcase_add_loop_test(tests, spellings_share_the_cache, 0, 2);
    tcase_add_test(tests, waiting_read_their_own_target);
}

int main(void)
{
    return run_suite("proxy_relay", add_tests);
}
