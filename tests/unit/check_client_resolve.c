/* Names: this program has a getaddrinfo of its own in place of the C library's, so that a lookup
 * can hang, fail, and be counted, without any name server. */
#include <dlfcn.h>
#include <netdb.h>
#include <signal.h>
#include <stdatomic.h>

#include "client_support.h"

static atomic_int lookups;
static atomic_bool signals_were_blocked;
static sem_t let_go;
static sem_t freed; /* posted for each list */

/* Puts an entry for `ip` in front of the list. */
static int add(const char *ip, const char *service, struct addrinfo **list)
{
    place p = inet_place(ip, (uint16_t)atoi(service));
    struct addrinfo *entry = calloc(1, sizeof *entry + p.size);

    if (!entry)
        return EAI_MEMORY;
    entry->ai_family = p.address.ss_family;
    entry->ai_socktype = SOCK_STREAM;
    entry->ai_addr = memcpy(entry + 1, &p.address, p.size);
    entry->ai_addrlen = p.size;
    entry->ai_next = *list;
    *list = entry;
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    struct addrinfo *next;

    for (; list; list = next) {
        next = list->ai_next;
        free(list);
    }
    sem_post(&freed);
}

static bool all_signals_are_blocked(void)
{
    sigset_t set;

    pthread_sigmask(SIG_SETMASK, NULL, &set);
    return sigismember(&set, SIGTERM) && sigismember(&set, SIGALRM) && sigismember(&set, SIGUSR1);
}

static int look_up(const char *name, const char *service, struct addrinfo **list)
{
    if (strcmp(name, "one.test") == 0)
        return add("127.0.0.1", service, list);
    if (strcmp(name, "slow.test") == 0) {
        while (sem_wait(&let_go) != 0)
            ;
        return add("127.0.0.1", service, list);
    }
    if (strcmp(name, "many.test") == 0)
        return add("127.0.0.3", service, list) || add("127.0.0.2", service, list) ||
               add("127.0.0.1", service, list) || add("::ffff:127.0.0.4", service, list) ||
               add("::1", service, list);
    if (strcmp(name, "broken.test") == 0) {
        errno = ENFILE;
        return EAI_SYSTEM;
    }
    return strcmp(name, "big.test") == 0 ? EAI_MEMORY : EAI_AGAIN;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **list)
{
    struct in6_addr ip;

    *list = NULL;
    if ((inet_pton(AF_INET, node, &ip) == 1 && hints->ai_family != AF_INET6) ||
        (inet_pton(AF_INET6, node, &ip) == 1 && hints->ai_family != AF_INET))
        return add(node, service, list);
    if (hints->ai_flags & AI_NUMERICHOST)
        return EAI_NONAME;
    atomic_fetch_add(&lookups, 1);
    atomic_store(&signals_were_blocked, all_signals_are_blocked());
    return look_up(node, service, list);
}

static sttp_status ask_with(const sttp_client_options *options, sttp_error *error)
{
    const sttp_request request = {.action = STTP_ACTION_SHOW, .path = STTP_SLICE("/a")};
    sttp_response response;
    sttp_client *client;
    sttp_status status;

    ck_assert_int_eq(sttp_client_create(options, &client), STTP_OK);
    status = sttp_client_request(client, &request, &response, error);
    sttp_client_destroy(client);
    return status;
}

static sttp_status show(const char *host, uint16_t port, sttp_error *error)
{
    const sttp_client_options options = {
        .size = sizeof options, .host = host, .port = port, .family = AF_INET};

    return ask_with(&options, error);
}

static uint16_t closed_port(void)
{
    int fd = listening_socket("127.0.0.1", 0);
    uint16_t port = port_of(fd);

    close(fd);
    return port;
}

static const step one_show[] = {{STEP_ACCEPT, 0},
                                {STEP_READ, "SHOW /a\n"},
                                {STEP_WRITE, "200 /a OK\nx\n"},
                                {STEP_AWAIT_CLOSE, 0},
                                {STEP_END, 0}};

START_TEST(a_name_is_looked_up_once_by_a_thread_without_signals)
{
    sttp_error error;
    peer p;

    peer_start(&p, one_show);
    ck_assert_msg(show("one.test", p.port, &error) == STTP_OK, "%s", error.text);
    peer_finish(&p);
    ck_assert_int_eq(lookups, 1);
    ck_assert(signals_were_blocked);
    ck_assert(!all_signals_are_blocked());
}
END_TEST

/* Its thread frees what it found; it needs no allocator of a client that is gone. */
START_TEST(a_lookup_that_hangs_is_left_behind)
{
    meter m = {0};
    const sttp_allocator memory = metered(&m);
    const sttp_client_options options = {.size = sizeof options,
                                         .host = "slow.test",
                                         .connect_timeout_ms = 50,
                                         .allocator = &memory};
    sttp_error error;

    ck_assert_int_eq(ask_with(&options, &error), STTP_ERR_TIMEOUT);
    ck_assert_int_eq(error.phase, STTP_PHASE_RESOLVE);
    ck_assert_ptr_nonnull(strstr(error.text, "slow.test"));
    ck_assert_uint_eq(m.live, 0);
    ck_assert_int_eq(sem_trywait(&freed), -1);
    sem_post(&let_go);
    while (sem_wait(&freed) != 0)
        ;
}
END_TEST

START_TEST(a_failed_lookup_says_why)
{
    sttp_error error;

    ck_assert_int_eq(show("away.test", 1, &error), STTP_ERR_RESOLVE);
    ck_assert_int_eq(error.phase, STTP_PHASE_RESOLVE);
    ck_assert_ptr_nonnull(strstr(error.text, "away.test"));
    ck_assert_ptr_nonnull(strstr(error.text, gai_strerror(EAI_AGAIN)));
    ck_assert_int_eq(show("broken.test", 1, &error), STTP_ERR_RESOLVE);
    ck_assert_int_eq(error.system_errno, ENFILE);
    ck_assert_ptr_nonnull(strstr(error.text, strerror(ENFILE)));
    ck_assert_int_eq(show("big.test", 1, &error), STTP_ERR_MEMORY);
}
END_TEST

/* RFC 8305, section 4. */
START_TEST(families_take_turns)
{
    static const char *const order[] = {
        "[::1]:", ", 127.0.0.1:", ", [::ffff:127.0.0.4]:", ", 127.0.0.2:", ", 127.0.0.3:"};
    const sttp_client_options options = {
        .size = sizeof options, .host = "many.test", .port = closed_port()};
    const char *at;
    sttp_error error;

    ck_assert_int_eq(ask_with(&options, &error), STTP_ERR_CONNECT);
    at = error.text;
    for (size_t i = 0; i < COUNT(order); i++) {
        at = strstr(at, order[i]);
        ck_assert_msg(at != NULL, "\"%s\" has no \"%s\" in its place", error.text, order[i]);
    }
}
END_TEST

START_TEST(each_allocation_fails_once)
{
    const uint16_t port = closed_port();
    bool failed = true;
    size_t n = 0;

    while (failed) {
        meter m = {.fails_at = ++n};
        const sttp_allocator memory = metered(&m);
        const sttp_client_options options = {
            .size = sizeof options, .host = "many.test", .port = port, .allocator = &memory};
        const sttp_request request = {.action = STTP_ACTION_SHOW, .path = STTP_SLICE("/a")};
        sttp_response response;
        sttp_client *client;
        sttp_status status = sttp_client_create(&options, &client);

        if (status == STTP_OK)
            status = sttp_client_request(client, &request, &response, NULL);
        failed = m.failed;
        ck_assert_int_eq(status, failed ? STTP_ERR_MEMORY : STTP_ERR_CONNECT);
        sttp_client_destroy(client);
        ck_assert_uint_eq(m.live, 0);
    }
    ck_assert_int_gt(lookups, 2);
}
END_TEST

static const char *const own_names[] = {"localhost", "LocalHost", "localhost.", "a.localhost"};

START_TEST(localhost_is_not_looked_up)
{
    sttp_error error;

    ck_assert_int_eq(show(own_names[_i], closed_port(), &error), STTP_ERR_CONNECT);
    ck_assert_int_eq(lookups, 0);
    ck_assert_ptr_nonnull(strstr(error.text, "127.0.0.1:"));
}
END_TEST

START_TEST(what_only_ends_like_localhost_is)
{
    sttp_error error;

    ck_assert_int_eq(show("notlocalhost", 1, &error), STTP_ERR_RESOLVE);
    ck_assert_int_eq(show("host", 1, &error), STTP_ERR_RESOLVE);
    ck_assert_int_eq(lookups, 2);
}
END_TEST

/* What an abandoned thread runs must not be unmapped below it. */
START_TEST(the_library_stays_while_a_lookup_hangs)
{
    void *library = dlopen(STTP_LIBRARY, RTLD_NOW | RTLD_LOCAL);

    ck_assert_msg(library != NULL, "%s", dlerror());
    dlclose(library);
    ck_assert_ptr_nonnull(dlopen(STTP_LIBRARY, RTLD_NOW | RTLD_NOLOAD));
}
END_TEST

static void setup(void)
{
    sem_init(&let_go, 0, 0);
    sem_init(&freed, 0, 0);
}

int main(void)
{
    Suite *suite = suite_create("client_resolve");
    TCase *tests = tcase_create("client_resolve");
    SRunner *runner = srunner_create(suite);

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, a_name_is_looked_up_once_by_a_thread_without_signals);
    tcase_add_test(tests, a_lookup_that_hangs_is_left_behind);
    tcase_add_test(tests, a_failed_lookup_says_why);
    tcase_add_test(tests, families_take_turns);
    tcase_add_test(tests, each_allocation_fails_once);
    tcase_add_test(tests, the_library_stays_while_a_lookup_hangs);
    tcase_add_loop_test(tests, localhost_is_not_looked_up, 0, (int)COUNT(own_names));
    tcase_add_test(tests, what_only_ends_like_localhost_is);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
