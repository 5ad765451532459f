/* Names: this program has a getaddrinfo of its own in place of the C library's, so that a lookup
 * can hang, fail, and be counted, without any name server. */
#include <netdb.h>
#include <signal.h>
#include <stdatomic.h>

#include "client_support.h"

static atomic_int lookups;
static atomic_bool signals_were_blocked;
static sem_t let_go;
static sem_t gone;

/* An entry for 127.0.0.1 that is given back to the C library's freeaddrinfo: glibc frees each entry
 * together with its address as one block. */
static int answer(const char *service, const struct addrinfo *hints, struct addrinfo **list)
{
    place p = inet_place("127.0.0.1", (uint16_t)atoi(service));
    struct addrinfo *entry = calloc(1, sizeof *entry + p.size);

    if (!entry)
        return EAI_MEMORY;
    entry->ai_family = AF_INET;
    entry->ai_socktype = hints->ai_socktype;
    entry->ai_addr = memcpy(entry + 1, &p.address, p.size);
    entry->ai_addrlen = p.size;
    *list = entry;
    return 0;
}

static bool all_signals_are_blocked(void)
{
    sigset_t set;

    pthread_sigmask(SIG_SETMASK, NULL, &set);
    return sigismember(&set, SIGTERM) && sigismember(&set, SIGALRM) && sigismember(&set, SIGUSR1);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **list)
{
    struct in_addr v4;

    if (inet_pton(AF_INET, node, &v4) == 1 && hints->ai_family != AF_INET6)
        return answer(service, hints, list);
    if (hints->ai_flags & AI_NUMERICHOST)
        return EAI_NONAME;
    atomic_fetch_add(&lookups, 1);
    atomic_store(&signals_were_blocked, all_signals_are_blocked());
    if (strcmp(node, "one.test") == 0)
        return answer(service, hints, list);
    if (strcmp(node, "slow.test") == 0) {
        while (sem_wait(&let_go) != 0)
            ;
        sem_post(&gone);
    }
    return EAI_AGAIN;
}

static sttp_status show(const char *host, uint16_t port, unsigned connect_timeout,
                        sttp_error *error)
{
    const sttp_client_options options = {.size = sizeof options,
                                         .host = host,
                                         .port = port,
                                         .family = AF_INET,
                                         .connect_timeout_ms = connect_timeout};
    const sttp_request request = {.action = STTP_ACTION_SHOW, .path = STTP_SLICE("/a")};
    sttp_response response;
    sttp_client *client;
    sttp_status status;

    ck_assert_int_eq(sttp_client_create(&options, &client), STTP_OK);
    status = sttp_client_request(client, &request, &response, error);
    sttp_client_destroy(client);
    return status;
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
    ck_assert_msg(show("one.test", p.port, 0, &error) == STTP_OK, "%s", error.text);
    peer_finish(&p);
    ck_assert_int_eq(lookups, 1);
    ck_assert(signals_were_blocked);
    ck_assert(!all_signals_are_blocked());
}
END_TEST

START_TEST(a_lookup_that_hangs_is_left_behind)
{
    sttp_error error;

    ck_assert_int_eq(show("slow.test", 1, 50, &error), STTP_ERR_TIMEOUT);
    ck_assert_int_eq(error.phase, STTP_PHASE_RESOLVE);
    ck_assert_ptr_nonnull(strstr(error.text, "slow.test"));
    sem_post(&let_go);
    while (sem_wait(&gone) != 0)
        ;
}
END_TEST

START_TEST(a_failed_lookup_says_why)
{
    sttp_error error;

    ck_assert_int_eq(show("away.test", 1, 0, &error), STTP_ERR_RESOLVE);
    ck_assert_int_eq(error.phase, STTP_PHASE_RESOLVE);
    ck_assert_ptr_nonnull(strstr(error.text, "away.test"));
    ck_assert_ptr_nonnull(strstr(error.text, gai_strerror(EAI_AGAIN)));
}
END_TEST

static const char *const own_names[] = {"localhost", "LocalHost", "localhost.", "a.localhost"};

START_TEST(localhost_is_not_looked_up)
{
    sttp_error error;

    ck_assert_int_eq(show(own_names[_i], closed_port(), 0, &error), STTP_ERR_CONNECT);
    ck_assert_int_eq(lookups, 0);
    ck_assert_ptr_nonnull(strstr(error.text, "127.0.0.1:"));
}
END_TEST

START_TEST(what_only_ends_like_localhost_is)
{
    sttp_error error;

    ck_assert_int_eq(show("notlocalhost", 1, 0, &error), STTP_ERR_RESOLVE);
    ck_assert_int_eq(show("host", 1, 0, &error), STTP_ERR_RESOLVE);
    ck_assert_int_eq(lookups, 2);
}
END_TEST

static void setup(void)
{
    sem_init(&let_go, 0, 0);
    sem_init(&gone, 0, 0);
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
    tcase_add_loop_test(tests, localhost_is_not_looked_up, 0, (int)COUNT(own_names));
    tcase_add_test(tests, what_only_ends_like_localhost_is);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
