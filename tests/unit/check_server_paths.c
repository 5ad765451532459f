/* Listeners on Unix sockets: several servers on one path, and whose files are removed. */
#include <sched.h>
#include <stdatomic.h>

#include "server_support.h"

static char directory[64];
static char socket_address[96];

static void make_directory(void)
{
    snprintf(directory, sizeof directory, "/tmp/check_server_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(socket_address, sizeof socket_address, "unix:%s/socket", directory);
}

struct starter {
    pthread_barrier_t *line;
    sttp_status status;
    sttp_server *server;
};

static void *listen_at_once(void *argument)
{
    struct starter *starter = argument;
    pthread_barrier_wait(starter->line);
    starter->status = sttp_server_listen(starter->server, socket_address);
    return NULL;
}

/* Of several that find a stale socket at the same moment one gets the path, and keeps it. */
static void start_together(pthread_barrier_t *line, unsigned count)
{
    struct starter starters[8];
    pthread_t threads[8];
    sttp_server_options options = {.size = sizeof options, .handler = handle, .workers = 1};
    for (unsigned i = 0; i < count; i++) {
        starters[i] = (struct starter){.line = line};
        ck_assert_int_eq(sttp_server_create(&options, &starters[i].server), STTP_OK);
        ck_assert_int_eq(pthread_create(&threads[i], NULL, listen_at_once, &starters[i]), 0);
    }
    unsigned listening = 0;
    for (unsigned i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        listening += starters[i].status == STTP_OK;
        if (starters[i].status != STTP_OK)
            ck_assert_int_eq(starters[i].status, STTP_ERR_ADDRESS_IN_USE);
    }
    ck_assert_uint_eq(listening, 1);
    close(connect_to(socket_address));
    for (unsigned i = 0; i < count; i++)
        sttp_server_destroy(starters[i].server);
}

START_TEST(test_starts_at_once_on_one_path)
{
    enum { TIMES = 300, STARTERS = 4 };
    make_directory();
    pthread_barrier_t line;
    pthread_barrier_init(&line, NULL, STARTERS);
    for (int i = 0; i < TIMES; i++) {
        struct sockaddr_storage address;
        socklen_t size = parse_address(socket_address, &address);
        int stale = make_socket(AF_UNIX);
        if (i % 2 == 0)
            ck_assert_int_eq(bind(stale, (struct sockaddr *)&address, size), 0);
        close(stale);
        start_together(&line, STARTERS);
    }
    pthread_barrier_destroy(&line);
    ck_assert_msg(rmdir(directory) == 0, "something stays behind");
}
END_TEST

/* A lock that another has made meanwhile is that other's. */
START_TEST(test_foreign_lock_stays)
{
    sttp_server_options options = {.size = sizeof options, .handler = handle, .workers = 1};
    sttp_server *server;
    char lock[128];
    make_directory();
    snprintf(lock, sizeof lock, "%s/socket.lock", directory);
    ck_assert_int_eq(sttp_server_create(&options, &server), STTP_OK);
    ck_assert_int_eq(sttp_server_listen(server, socket_address), STTP_OK);
    ck_assert_int_eq(unlink(lock), 0);
    FILE *other = fopen(lock, "w");
    ck_assert_ptr_nonnull(other);
    fclose(other);
    sttp_server_destroy(server);
    ck_assert_int_eq(unlink(lock), 0);
    ck_assert_msg(rmdir(directory) == 0, "something stays behind");
}
END_TEST

static atomic_int holders;
static atomic_int clashes;

static void *hold_again_and_again(void *argument)
{
    sttp_server_options options = {.size = sizeof options, .handler = handle, .workers = 1};
    (void)argument;
    for (int i = 0; i < 2000; i++) {
        sttp_server *server;
        if (sttp_server_create(&options, &server) != STTP_OK)
            continue;
        if (sttp_server_listen(server, socket_address) == STTP_OK) {
            atomic_fetch_add(&clashes, atomic_fetch_add(&holders, 1));
            sched_yield();
            atomic_fetch_sub(&holders, 1);
        }
        sttp_server_destroy(server);
    }
    return NULL;
}

/* Nor do two have it while others give it up. */
START_TEST(test_ends_and_starts_on_one_path)
{
    enum { HOLDERS = 4 };
    pthread_t threads[HOLDERS];
    make_directory();
    for (int i = 0; i < HOLDERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, hold_again_and_again, NULL), 0);
    for (int i = 0; i < HOLDERS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(atomic_load(&clashes), 0);
    ck_assert_msg(rmdir(directory) == 0, "something stays behind");
}
END_TEST

static Suite *paths_suite(void)
{
    Suite *suite = suite_create("server_paths");
    TCase *paths = tcase_create("paths");
    tcase_set_timeout(paths, 60);
    tcase_add_test(paths, test_starts_at_once_on_one_path);
    tcase_add_test(paths, test_foreign_lock_stays);
    tcase_add_test(paths, test_ends_and_starts_on_one_path);
    suite_add_tcase(suite, paths);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(paths_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
