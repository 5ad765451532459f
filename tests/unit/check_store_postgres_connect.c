/* Connections that are lost, and such that do not come. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <glob.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "store_postgres_support.h"

/* ---- lost ones ---- */

static atomic_int epoll_failures;

/* libevent's. */
__attribute__((visibility("default"))) int epoll_ctl(int epoll, int operation, int fd,
                                                     struct epoll_event *event)
{
    int (*next)(int, int, int, struct epoll_event *) =
        (int (*)(int, int, int, struct epoll_event *))dlsym(RTLD_NEXT, "epoll_ctl");
    int result = next(epoll, operation, fd, event);
    if (result == -1)
        atomic_fetch_add(&epoll_failures, 1);
    return result;
}

/* What libpq has closed is not watched any more: its number may be another one's. */
START_TEST(closed_by_libpq)
{
    opened = open_postgres(&(struct store_settings){.postgres_pool = 1});
    ck_assert_int_eq(result_of(CREATE, "/f", "x"), STORE_DONE);
    for (int i = 0; i < 10; i++) {
        sql("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name "
            "= 'sttpd'");
        ck_assert_str_eq(run(SHOW, "/f", NULL).contents, "x");
    }
    opened->close(opened);
    opened = NULL;
    ck_assert_int_eq(atomic_load(&epoll_failures), 0);
}
END_TEST

/* ---- a host that takes connections and says nothing ---- */

static int make_mute_host(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int host = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(host, (struct sockaddr *)&address, size), 0);
    ck_assert_int_eq(getsockname(host, (struct sockaddr *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    return host;
}

/* The threads of this process that connect. */
static unsigned count_connectors(void)
{
    unsigned count = 0;
    glob_t names;
    ck_assert_int_eq(glob("/proc/self/task/*/comm", 0, NULL, &names), 0);
    for (size_t i = 0; i < names.gl_pathc; i++) {
        char name[32] = "";
        FILE *file = fopen(names.gl_pathv[i], "r");
        if (file != NULL && fgets(name, sizeof name, file) != NULL)
            count += strcmp(name, "connect\n") == 0;
        if (file != NULL)
            fclose(file);
    }
    globfree(&names);
    return count;
}

/* Makes a store connect to a host that says nothing, and closes it. Returns the connection. */
static int close_while_it_connects(void)
{
    char both[512];
    int port;
    int host = make_mute_host(&port); /* it refuses connections until it listens */
    snprintf(both, sizeof both, "%s host=127.0.0.1,%s port=%d,%s connect_timeout=60", conninfo(),
             PQhost(direct), port, PQport(direct));
    opened = open_postgres(&(struct store_settings){.postgres_conninfo = both, .postgres_pool = 1});
    ck_assert_int_eq(listen(host, 1), 0);
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sttpd'");
    int connection = accept(host, NULL, NULL);
    ck_assert_int_ne(connection, -1);
    uint64_t started = pg_now();
    opened->close(opened);
    opened = NULL;
    ck_assert_uint_lt(pg_now() - started, 20000);
    close(host);
    return connection;
}

/* Who closes the store does not wait for it, however long it may take to connect; its thread ends
 * when it can, or with the process. */
START_TEST(closed_while_it_connects)
{
    int connection = close_while_it_connects();
    ck_assert_uint_eq(count_connectors(), 1);
    close(connection);
    while (count_connectors() > 0)
        sql("SELECT 1");
    close_while_it_connects();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_postgres_connect");
    TCase *connections = tcase_create("connections");
    tcase_set_timeout(connections, 120);
    tcase_add_checked_fixture(connections, empty_database, leave_database);
    tcase_add_test(connections, closed_by_libpq);
    tcase_add_test(connections, closed_while_it_connects);
    suite_add_tcase(suite, connections);
    return run_suite(suite);
}
