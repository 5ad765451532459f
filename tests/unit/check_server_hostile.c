/* The server engine: clients that mean harm, each with what bounds it. */
#include <linux/sockios.h>
#include <malloc.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "libsttp/event/address_count.h"
#include "server_support.h"

/* ---- who takes no answers, or hardly any ---- */

static atomic_int taken_each_time; /* bytes, while it is not zero, that a peer has taken */
static atomic_int times;           /* that the engine has asked */

/* In place of the kernel's, whose windows open in steps that no test can choose. */
int ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    int *result = va_arg(arguments, int *);
    va_end(arguments);
    int taken = atomic_load(&taken_each_time);
    if (request != SIOCOUTQ || taken == 0)
        return (int)syscall(SYS_ioctl, fd, request, result);
    static atomic_int untaken = 1 << 30;
    *result = atomic_fetch_sub(&untaken, taken) - taken;
    atomic_fetch_add(&times, 1);
    return 0;
}

/* Some bytes now and then are not enough to stay; 4,096 in each send_timeout are. */
START_TEST(test_trickle_is_reset)
{
    enum { ENOUGH = 5, SEND_TIMEOUT = 50 };
    struct fixture *fixture = start((sttp_server_options){.send_timeout = SEND_TIMEOUT});
    atomic_store(&taken_each_time, 4096);
    int fd = slow_client(fixture);
    ask_for_big(fd, 20);
    for (int i = 0; i < 1000 && atomic_load(&times) < ENOUGH; i++)
        poll(NULL, 0, 10);
    ck_assert_int_ge(atomic_load(&times), ENOUGH);
    ck_assert_uint_eq(current(fixture, &fixture->reasons[STTP_CLOSE_SEND_TIMEOUT]), 0);
    atomic_store(&taken_each_time, 4095);
    wait_reason(fixture, STTP_CLOSE_SEND_TIMEOUT, 1);
    ck_assert(ends_in_reset(fd));
    stop(fixture);
}
END_TEST

static atomic_size_t in_use; /* bytes */
static atomic_size_t most_in_use;

static void *allocate_counted(size_t size, void *context)
{
    (void)context;
    void *memory = malloc(size);
    size_t now = atomic_fetch_add(&in_use, malloc_usable_size(memory)) + size;
    size_t most = atomic_load(&most_in_use);
    while (now > most && !atomic_compare_exchange_weak(&most_in_use, &most, now))
        ;
    return memory;
}

static void release_counted(void *memory, void *context)
{
    (void)context;
    atomic_fetch_sub(&in_use, malloc_usable_size(memory));
    free(memory);
}

static void *reallocate_counted(void *memory, size_t size, void *context)
{
    (void)memory;
    (void)size;
    (void)context;
    abort(); /* the engine does not resize */
}

static const sttp_allocator counting = {allocate_counted, reallocate_counted, release_counted,
                                        NULL};

/* Asks for more than the kernel takes from the server. */
static int staller(struct fixture *fixture)
{
    int fd = slow_client(fixture);
    ask_for_big(fd, 20);
    return fd;
}

/* However many connections take nothing: what is kept for all of them is bounded. */
static void check_unsent_total(unsigned workers)
{
    enum { COUNT = 40, TOTAL = 8 * BIG, OVER = 3 * BIG };
    struct fixture *fixture = start((sttp_server_options){
        .allocator = &counting, .max_unsent_total = TOTAL, .workers = workers});
    atomic_store(&most_in_use, 0);
    int fds[COUNT];
    int other = client(fixture);
    for (int i = 0; i < COUNT; i++) {
        fds[i] = staller(fixture);
        round_trip(other);
    }
    wait_reason(fixture, STTP_CLOSE_UNSENT, COUNT / 8);
    for (int i = 0; i < 100; i++)
        round_trip(other);
    ck_assert_uint_lt(atomic_load(&most_in_use), TOTAL + workers * OVER);
    ck_assert_uint_lt(current(fixture, &fixture->reasons[STTP_CLOSE_UNSENT]), COUNT);
    close(other);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    stop(fixture);
    ck_assert_uint_eq(atomic_load(&in_use), 0);
}

START_TEST(test_unsent_total)
{
    check_unsent_total(1);
}
END_TEST

START_TEST(test_unsent_total_of_several_workers)
{
    check_unsent_total(3);
}
END_TEST

/* Also where all of them ask at once: what one makes is counted before the next one's turn. */
START_TEST(test_unsent_total_of_ready_together)
{
    enum { COUNT = 16, TOTAL = 8 * BIG, EACH = 6 * BIG };
    struct fixture *fixture = start((sttp_server_options){
        .allocator = &counting, .max_unsent_total = TOTAL, .max_unsent = EACH, .workers = 1});
    atomic_store(&most_in_use, 0);
    int fds[COUNT];
    int other = client(fixture);
    for (int i = 0; i < COUNT; i++) {
        fds[i] = slow_client(fixture);
        round_trip(fds[i]);
    }
    send_text(other, "SHOW /block\n");
    wait_at_least(fixture, &fixture->blocked, 1);
    for (int i = 0; i < COUNT; i++)
        ask_for_big(fds[i], 20);
    unblock(fixture);
    expect(other, "200 /block OK\ntext\n");
    wait_reason(fixture, STTP_CLOSE_UNSENT, COUNT / 2);
    ck_assert_uint_lt(atomic_load(&most_in_use), TOTAL + 2 * EACH);
    close(other);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    stop(fixture);
}
END_TEST

/* A worker that has nothing else to do gives up what another needs. */
START_TEST(test_workers_share_unsent_total)
{
    enum { COUNT = 60, NEEDED = 3 };
    struct fixture *fixture =
        start((sttp_server_options){.max_unsent_total = 8 * BIG, .workers = 2});
    int fds[2 * COUNT];
    unsigned count = 0;
    fds[count++] = client(fixture);
    round_trip(fds[0]);
    pthread_t full = worker_of_last(fixture);
    int others[COUNT];
    unsigned other_count = 0;
    while (current(fixture, &fixture->reasons[STTP_CLOSE_UNSENT]) == 0 || other_count < NEEDED) {
        ck_assert_uint_lt(count, 2 * COUNT);
        ck_assert_uint_lt(other_count, COUNT);
        int fd = slow_client(fixture);
        round_trip(fd);
        if (!pthread_equal(worker_of_last(fixture), full)) {
            others[other_count++] = fd;
            continue;
        }
        ask_for_big(fd, 20);
        fds[count++] = fd;
    }
    for (int i = 0; i < 100; i++)
        round_trip(fds[0]);
    unsigned before = current(fixture, &fixture->reasons[STTP_CLOSE_UNSENT]);
    for (unsigned i = 0; i < NEEDED; i++)
        ask_for_big(others[i], 20);
    wait_reason(fixture, STTP_CLOSE_UNSENT, before + 1);
    while (count > 0)
        close(fds[--count]);
    while (other_count > 0)
        close(others[--other_count]);
    stop(fixture);
}
END_TEST

/* Who takes its bytes outlives those who take nothing, though it keeps more than each of them. */
START_TEST(test_reader_outlives_stallers)
{
    enum { COUNT = 40, LATER = 1, PIECES = 20 };
    struct fixture *fixture =
        start((sttp_server_options){.max_unsent_total = 12 * BIG, .max_unsent = 4 * BIG});
    int fds[COUNT + LATER];
    int count = 0;
    int other = client(fixture);
    while (current(fixture, &fixture->reasons[STTP_CLOSE_UNSENT]) == 0) {
        ck_assert_int_lt(count, COUNT);
        fds[count] = slow_client(fixture);
        ask_for_big(fds[count++], 6);
        round_trip(other);
    }
    close(other);
    poll(NULL, 0, 1000); /* for which they have taken nothing by now */
    int reader = slow_client(fixture);
    ask_for_big(reader, 20);
    for (int i = 0; i < LATER; i++) {
        static char bytes[BIG / LATER];
        fds[count] = slow_client(fixture);
        ask_for_big(fds[count++], 6);
        for (int j = 0; j < PIECES; j++)
            ck_assert_int_gt(recv(reader, bytes, sizeof bytes, MSG_WAITALL), 0);
    }
    wait_reason(fixture, STTP_CLOSE_UNSENT, LATER);
    shutdown(reader, SHUT_WR);
    ck_assert(!ends_in_reset(reader));
    while (count > 0)
        close(fds[--count]);
    stop(fixture);
}
END_TEST

/* Nor does one go that is alone on its worker, when those who take nothing are on another. */
START_TEST(test_reader_outlives_stallers_elsewhere)
{
    struct fixture *fixture = start((sttp_server_options){
        .max_unsent_total = 16 * BIG, .max_unsent = 79 * BIG / 10, .workers = 2});
    int stalling = slow_client(fixture);
    round_trip(stalling);
    pthread_t worker = worker_of_last(fixture);
    int other = on_worker(fixture, worker, true);
    int reader = on_worker(fixture, worker, false);
    let_windows_fill(&stalling, 1);
    ask_for_big(stalling, 20);
    round_trip(other);
    poll(NULL, 0, 300); /* for which it has taken nothing by now */
    ask_for_big(reader, 20);
    wait_reason(fixture, STTP_CLOSE_UNSENT, 1);
    shutdown(reader, SHUT_WR);
    ck_assert(!ends_in_reset(reader));
    close(other);
    close(stalling);
    stop(fixture);
}
END_TEST

/* Nor one that takes less than makes the socket writable: the kernel knows of it. */
START_TEST(test_slow_reader_outlives_stallers)
{
    enum { COUNT = 20, BITE = 65536 };
    static char bytes[BITE];
    struct fixture *fixture = start((sttp_server_options){.max_unsent_total = 8 * BIG});
    int fds[COUNT];
    int other = client(fixture);
    int reader = slow_client(fixture);
    ask_for_big(reader, 20);
    for (int i = 0; i < COUNT; i++)
        fds[i] = slow_client(fixture);
    let_windows_fill(fds, COUNT);
    ck_assert_int_eq(recv(reader, bytes, BITE, MSG_WAITALL), BITE);
    for (int i = 0; current(fixture, &fixture->reasons[STTP_CLOSE_UNSENT]) == 0; i++) {
        ck_assert_int_lt(i, COUNT);
        ask_for_big(fds[i], 6);
        round_trip(other);
    }
    shutdown(reader, SHUT_WR);
    ck_assert(!ends_in_reset(reader));
    close(other);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    stop(fixture);
}
END_TEST

/* ---- who is cut off and stays ---- */

/* The connection's last answer is sent, and more comes than is read. */
static int lingerer(struct fixture *fixture)
{
    static char line[5000];
    int fd = client(fixture);
    memset(line, 'x', sizeof line);
    send_bytes(fd, line, sizeof line);
    char answer[200];
    ssize_t got = recv(fd, answer, sizeof answer, 0);
    ck_assert_int_gt(got, 0);
    ck_assert_int_eq(strncmp(answer, "300 - CLIENT ERROR", 18), 0);
    expect_end(fd);
    int now = 1; /* tells the server's kernel of it */
    ck_assert_int_eq(setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &now, sizeof now), 0);
    return fd;
}

/* Bytes that keep coming do not put off the end of it. */
START_TEST(test_lingering_ends)
{
    struct fixture *fixture = start((sttp_server_options){.linger_timeout = 300});
    int fd = lingerer(fixture);
    for (int i = 0; i < 500; i++) {
        if (current(fixture, &fixture->reasons[STTP_CLOSE_LINE_TOO_LONG]) > 0)
            break;
        send(fd, "x", 1, MSG_NOSIGNAL);
        poll(NULL, 0, 20);
    }
    ck_assert_uint_eq(current(fixture, &fixture->reasons[STTP_CLOSE_LINE_TOO_LONG]), 1);
    close(fd);
    stop(fixture);
}
END_TEST

/* It is the first to go when a place is needed, on whatever worker it is. */
static void check_lingerer_makes_room(unsigned workers)
{
    enum { LIMIT = 8 };
    struct fixture *fixture =
        start((sttp_server_options){.max_connections = LIMIT, .workers = workers});
    int fds[LIMIT];
    for (int i = 0; i < LIMIT - 1; i++) {
        fds[i] = client(fixture);
        round_trip(fds[i]);
    }
    int last = lingerer(fixture);
    for (int i = 0; i < LIMIT - 1; i++)
        round_trip(fds[i]); /* the worker may have sent the end a moment before it noted it */
    fds[LIMIT - 1] = client(fixture);
    round_trip(fds[LIMIT - 1]);
    wait_reason(fixture, STTP_CLOSE_LINE_TOO_LONG, 1);
    ck_assert_uint_eq(current(fixture, &fixture->reasons[STTP_CLOSE_MAKE_ROOM]), 0);
    for (int i = 0; i < LIMIT; i++) {
        round_trip(fds[i]);
        close(fds[i]);
    }
    close(last);
    stop(fixture);
}

START_TEST(test_lingering_makes_room)
{
    check_lingerer_makes_room(1);
    check_lingerer_makes_room(4);
}
END_TEST

/* But not before its last answer has come to it, while another can go. */
START_TEST(test_lingering_keeps_its_answer)
{
    static char line[5000];
    struct fixture *fixture = start((sttp_server_options){.max_connections = 2});
    int idle = client(fixture);
    round_trip(idle);
    int fd = slow_client(fixture);
    memset(line, 'x', sizeof line);
    memcpy(line, "SHOW /big\n", 10);
    send_bytes(fd, line, sizeof line);
    round_trip(idle);
    round_trip(idle);
    int second = client(fixture);
    exchange(second, "SHOW /now\nSHOW /park\n", "200 /now OK\ntext\n");
    wait_reason(fixture, STTP_CLOSE_MAKE_ROOM, 1);
    ck_assert_uint_eq(current(fixture, &fixture->reasons[STTP_CLOSE_LINE_TOO_LONG]), 0);
    wait_parked(fixture, 1);
    int third = client(fixture);
    round_trip(third);
    ck_assert_uint_eq(current(fixture, &fixture->reasons[STTP_CLOSE_LINE_TOO_LONG]), 1);
    release_parked(fixture, 0);
    close(idle);
    close(fd);
    close(second);
    close(third);
    stop(fixture);
}
END_TEST

/* A request that is on its way when the server stops meets no reset, which could take the answer
 * before it from the peer. */
START_TEST(test_stop_takes_no_answer)
{
    struct fixture *fixture = start((sttp_server_options){0});
    int fd = client(fixture);
    int error = -1;
    socklen_t size = sizeof error;
    round_trip(fd);
    sttp_server_stop(fixture->server, PATIENCE * 1000);
    expect_end(fd);
    send_text(fd, "SHOW /now\n");
    ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size), 0);
    ck_assert_int_eq(error, 0);
    close(fd);
    stop(fixture);
}
END_TEST

/* ---- who has many addresses ---- */

static struct sttp__address ipv6(unsigned char network, unsigned char host)
{
    return (struct sttp__address){.family = AF_INET6,
                                  .bytes = {0x20, 1, [7] = network, [15] = host}};
}

static struct sttp__address ipv4(unsigned char host)
{
    return (struct sttp__address){.family = AF_INET, .bytes = {[10] = 0xff, 0xff, 127, 0, 0, host}};
}

START_TEST(test_ipv6_is_counted_by_network)
{
    struct sttp__address_count *count = sttp__address_count_create(&counting, 2);
    struct sttp__address same[] = {ipv6(1, 1), ipv6(1, 2), ipv6(1, 3)};
    struct sttp__address others[] = {ipv6(2, 1), ipv4(1), ipv4(2), ipv4(3)};
    ck_assert_ptr_nonnull(count);
    ck_assert_int_eq(sttp__address_count_add(count, &same[0]), STTP_OK);
    ck_assert_int_eq(sttp__address_count_add(count, &same[1]), STTP_OK);
    ck_assert_int_eq(sttp__address_count_add(count, &same[2]), STTP_ERR_STATE);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        ck_assert_int_eq(sttp__address_count_add(count, &others[i]), STTP_OK);
    sttp__address_count_remove(count, &same[0]);
    ck_assert_int_eq(sttp__address_count_add(count, &same[2]), STTP_OK);
    sttp__address_count_destroy(count);
    ck_assert_uint_eq(atomic_load(&in_use), 0);
}
END_TEST

static Suite *hostile_suite(void)
{
    Suite *suite = suite_create("server_hostile");
    TCase *answers = tcase_create("answers");
    tcase_set_timeout(answers, 60);
    tcase_add_test(answers, test_trickle_is_reset);
    tcase_add_test(answers, test_unsent_total);
    tcase_add_test(answers, test_unsent_total_of_several_workers);
    tcase_add_test(answers, test_unsent_total_of_ready_together);
    tcase_add_test(answers, test_workers_share_unsent_total);
    tcase_add_test(answers, test_reader_outlives_stallers);
    tcase_add_test(answers, test_reader_outlives_stallers_elsewhere);
    tcase_add_test(answers, test_slow_reader_outlives_stallers);
    suite_add_tcase(suite, answers);
    TCase *places = tcase_create("places");
    tcase_set_timeout(places, 60);
    tcase_add_test(places, test_lingering_ends);
    tcase_add_test(places, test_lingering_makes_room);
    tcase_add_test(places, test_lingering_keeps_its_answer);
    tcase_add_test(places, test_stop_takes_no_answer);
    tcase_add_test(places, test_ipv6_is_counted_by_network);
    suite_add_tcase(suite, places);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(hostile_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
