/* Which answers go wrong, and what becomes of them when their client or their worker goes. */
#include <stdatomic.h>

#include <event2/event.h>

#include "server_support.h"
#include "sttp-proxy/faults.h"

enum { DAY = 24 * 60 * 60 * 1000, HERE = 1000 /* of 100,000 numbers: a percent */ };

static _Thread_local int until_failure; /* which of the next allocations fails, from 1; 0: none */
static atomic_int no_timers;            /* each event_add with a time fails */
static void *_Atomic watched;           /* memory whose end is waited for */
static atomic_int watched_freed;

/* ---- memory ---- */

static bool fails(void)
{
    return until_failure > 0 && --until_failure == 0;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void __real_free(void *memory);
void __wrap_free(void *memory);
int __real_event_add(struct event *event, const struct timeval *timeout);
int __wrap_event_add(struct event *event, const struct timeval *timeout);

static _Thread_local bool watches; /* the next malloc */

void *__wrap_malloc(size_t size)
{
    void *memory = fails() ? NULL : __real_malloc(size);
    if (watches)
        atomic_store(&watched, memory);
    watches = false;
    return memory;
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void __wrap_free(void *memory)
{
    if (memory != NULL && memory == atomic_load(&watched)) {
        atomic_store(&watched, NULL);
        atomic_store(&watched_freed, 1);
    }
    __real_free(memory);
}

int __wrap_event_add(struct event *event, const struct timeval *timeout)
{
    if (timeout != NULL && atomic_load(&no_timers))
        return -1;
    return __real_event_add(event, timeout);
}

/* ---- picking ---- */

static sttp_slice slice_of(const char *text)
{
    return (sttp_slice){text, strlen(text)};
}

static char root[] = "/", a[] = "/a", a_slash[] = "/a/", a_b[] = "/a/b";

static const struct fault_options options[] = {
    {.prefix = a, .fault = FAULT_RESET, .percent = 10},
    {.prefix = root, .fault = FAULT_DELAY, .percent = 1},
    {.prefix = a_slash, .fault = FAULT_GARBAGE, .percent = 20},
    {.prefix = a_b, .fault = FAULT_DRIBBLE, .percent = 100},
};
enum { COUNT = sizeof options / sizeof options[0] };

/* Of numbers that are spread evenly, how many percent give each rule; the last one is none. */
static void assert_shares(const fault_rules *rules, const char *path, const unsigned *percents)
{
    unsigned got[COUNT + 1] = {0};
    for (uint64_t i = 0; i < 100 * HERE; i++) {
        uint64_t random = (i << 32) / (100 * HERE);
        const struct fault_options *fault = fault_rules_pick(rules, slice_of(path), random);
        got[fault == NULL ? COUNT : fault - options]++;
    }
    for (unsigned i = 0; i <= COUNT; i++)
        ck_assert_msg(got[i] + 1 >= percents[i] * HERE && got[i] <= percents[i] * HERE + 1,
                      "%s: %u of rule %u", path, got[i], i);
}

START_TEST(shares)
{
    fault_rules *rules = fault_rules_create(options, COUNT);
    ck_assert_ptr_nonnull(rules);
    assert_shares(rules, "/", (const unsigned[]){0, 1, 0, 0, 99});
    assert_shares(rules, "/ab", (const unsigned[]){0, 1, 0, 0, 99});
    assert_shares(rules, "/a", (const unsigned[]){10, 0, 20, 0, 70});
    assert_shares(rules, "/a/c", (const unsigned[]){10, 0, 20, 0, 70});
    assert_shares(rules, "/a/b", (const unsigned[]){0, 0, 0, 100, 0});
    assert_shares(rules, "/a/b/c", (const unsigned[]){0, 0, 0, 100, 0});
    fault_rules_destroy(rules);
}
END_TEST

START_TEST(no_rule_for_the_path)
{
    fault_rules *rules = fault_rules_create(options, 1);
    ck_assert_ptr_null(fault_rules_pick(rules, slice_of("/b"), 0));
    ck_assert_ptr_eq(fault_rules_pick(rules, slice_of("/a"), 0), options);
    ck_assert_ptr_null(fault_rules_pick(rules, slice_of("/a"), UINT32_MAX));
    fault_rules_destroy(rules);
}
END_TEST

START_TEST(no_memory_for_rules)
{
    fault_rules *rules;
    int n = 0;
    do {
        until_failure = ++n;
        rules = fault_rules_create(options, COUNT);
    } while (rules == NULL && n < 100);
    until_failure = 0;
    ck_assert_ptr_nonnull(rules);
    ck_assert_int_gt(n, 3);
    fault_rules_destroy(rules);
    fault_rules_destroy(NULL);
}
END_TEST

/* ---- answers ---- */

static fault_rules *current_rules;
static struct faults *current_faults; /* of the only worker */
static atomic_int worker_fails_at;

static void *begin(void *context, struct event_base *base)
{
    (void)context;
    until_failure = atomic_load(&worker_fails_at);
    current_faults = faults_begin(current_rules, base);
    until_failure = 0;
    return current_faults;
}

static void end(void *context, void *faults)
{
    (void)context;
    faults_end(faults);
}

static struct fixture *start_with(const struct fault_options *option)
{
    current_rules = fault_rules_create(option, 1);
    ck_assert_ptr_nonnull(current_rules);
    return start((sttp_server_options){.worker_begin = begin, .worker_end = end});
}

static void stop_and_destroy(struct fixture *fixture)
{
    stop(fixture);
    fault_rules_destroy(current_rules);
}

/* Answers a kept request, as another worker does that has what it waits for. */
static sttp_status send_answer(struct fixture *fixture, unsigned index, const char *contents)
{
    sttp_response response = {
        .code = STTP_CODE_OK, .echo = STTP_SLICE("/park"), .contents = slice_of(contents)};
    return faults_send(current_faults, fixture->parked[index].reply, response.echo, &response);
}

static sttp_status send_bytes_of(struct fixture *fixture, unsigned index, const char *bytes)
{
    return faults_send_bytes(current_faults, fixture->parked[index].reply, STTP_SLICE("/park"),
                             slice_of(bytes));
}

static int ask(struct fixture *fixture, unsigned count)
{
    int fd = client(fixture);
    for (unsigned i = 0; i < count; i++)
        send_text(fd, "SHOW /park\n");
    wait_parked(fixture, count);
    return fd;
}

static const struct fault_options late = {
    .prefix = root, .fault = FAULT_DELAY, .percent = 100, .delay = 20};
static const struct fault_options too_late = {
    .prefix = root, .fault = FAULT_DELAY, .percent = 100, .delay = DAY};
static const struct fault_options slow = {
    .prefix = root, .fault = FAULT_DRIBBLE, .percent = 100, .delay = DAY};

START_TEST(from_another_thread)
{
    struct fixture *fixture = start_with(&late);
    int fd = ask(fixture, 2);
    ck_assert_int_eq(send_bytes_of(fixture, 1, "200 /park OK\nsecond\n"), STTP_OK);
    ck_assert_int_eq(send_answer(fixture, 0, "first"), STTP_OK);
    expect(fd, "200 /park OK\nfirst\n200 /park OK\nsecond\n");
    close(fd);
    stop_and_destroy(fixture);
}
END_TEST

/* It is sent as it should be. */
START_TEST(no_memory_for_an_answer)
{
    struct fixture *fixture = start_with(&too_late);
    int fd = ask(fixture, 2);
    until_failure = 1;
    sttp_status first = send_answer(fixture, 0, "first");
    until_failure = 1;
    sttp_status second = send_bytes_of(fixture, 1, "200 /park OK\nsecond\n");
    ck_assert_int_eq(first, STTP_OK);
    ck_assert_int_eq(second, STTP_OK);
    expect(fd, "200 /park OK\nfirst\n200 /park OK\nsecond\n");
    close(fd);
    stop_and_destroy(fixture);
}
END_TEST

START_TEST(no_memory_for_a_timer)
{
    struct fixture *fixture = start_with(_i == 0 ? &too_late : &slow);
    int fd = ask(fixture, 1);
    atomic_store(&no_timers, 1);
    ck_assert_int_eq(send_answer(fixture, 0, "text"), STTP_OK);
    expect(fd, "200 /park OK\ntext\n");
    atomic_store(&no_timers, 0);
    round_trip(fd);
    close(fd);
    stop_and_destroy(fixture);
}
END_TEST

/* What the serializer refuses is for the engine to replace. */
START_TEST(no_answer)
{
    struct fixture *fixture = start_with(&too_late);
    int fd = ask(fixture, 1);
    ck_assert_int_eq(send_answer(fixture, 0, "two\nlines"), STTP_ERR_CONTROL_CHARACTER);
    expect(fd, "500 /park SERVER ERROR \"the server made an answer that cannot be sent\"\n");
    close(fd);
    stop_and_destroy(fixture);
}
END_TEST

/* Its answer is freed long before its time. */
START_TEST(client_is_gone)
{
    struct linger reset = {.l_onoff = 1};
    struct timespec last = deadline(), now;
    struct fixture *fixture = start_with(_i == 0 ? &too_late : &slow);
    int fd = ask(fixture, 1);
    watches = true;
    ck_assert_int_eq(send_answer(fixture, 0, "text"), STTP_OK);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    close(fd);
    wait_reason(fixture, STTP_CLOSE_RESET, 1);
    do {
        ck_assert(clock_gettime(CLOCK_REALTIME, &now) == 0 && now.tv_sec < last.tv_sec);
        poll(NULL, 0, 10);
    } while (!atomic_load(&watched_freed));
    stop_and_destroy(fixture);
}
END_TEST

/* The worker ends with an answer that waits; what others send it later comes to nothing. */
START_TEST(worker_is_gone)
{
    struct fixture *fixture = start_with(&too_late);
    int fd = ask(fixture, 3);
    ck_assert_int_eq(send_answer(fixture, 0, "text"), STTP_OK);
    sttp_server_stop(fixture->server, 0);
    ck_assert_int_eq(sttp_server_wait(fixture->server), STTP_ERR_TIMEOUT);
    ck_assert(ends_in_reset(fd));
    ck_assert_int_eq(send_answer(fixture, 1, "text"), STTP_OK);
    ck_assert_int_eq(send_bytes_of(fixture, 2, "200 /park OK\ntext\n"), STTP_OK);
    sttp_server_destroy(fixture->server);
    free_fixture(fixture);
    fault_rules_destroy(current_rules);
}
END_TEST

START_TEST(no_memory_for_a_worker)
{
    struct fixture *fixture = make_fixture();
    sttp_server_options server =
        with_fixture(fixture, (sttp_server_options){.worker_begin = begin, .worker_end = end});
    current_rules = fault_rules_create(&late, 1);
    ck_assert_int_eq(sttp_server_create(&server, &fixture->server), STTP_OK);
    ck_assert_int_eq(sttp_server_listen(fixture->server, "127.0.0.1:0"), STTP_OK);
    atomic_store(&worker_fails_at, 1);
    ck_assert_int_eq(sttp_server_start(fixture->server), STTP_ERR_MEMORY);
    sttp_server_destroy(fixture->server);
    fault_rules_destroy(current_rules);
    free_fixture(fixture);
}
END_TEST

static Suite *faults_suite(void)
{
    Suite *suite = suite_create("proxy_faults");
    TCase *rules = tcase_create("rules");
    TCase *answers = tcase_create("answers");
    tcase_add_test(rules, shares);
    tcase_add_test(rules, no_rule_for_the_path);
    tcase_add_test(rules, no_memory_for_rules);
    tcase_set_timeout(answers, 60);
    tcase_add_test(answers, from_another_thread);
    tcase_add_test(answers, no_memory_for_an_answer);
    tcase_add_loop_test(answers, no_memory_for_a_timer, 0, 2);
    tcase_add_test(answers, no_answer);
    tcase_add_loop_test(answers, client_is_gone, 0, 2);
    tcase_add_test(answers, worker_is_gone);
    tcase_add_test(answers, no_memory_for_a_worker);
    suite_add_tcase(suite, rules);
    suite_add_tcase(suite, answers);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(faults_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
