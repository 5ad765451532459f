/* The client of Redis, and a server that answers late, wrongly, or not at all. */
#include "redis_server.h"

#define GET_A "*2\r\n$3\r\nGET\r\n$5\r\np:S/a\r\n"
#define GET_B "*2\r\n$3\r\nGET\r\n$5\r\np:S/b\r\n"
#define GET_PREFIX "*2\r\n$3\r\nGET\r\n$2\r\np:\r\n"
#define SET_A "*5\r\n$3\r\nSET\r\n$5\r\np:S/a\r\n$3\r\nxyz\r\n$2\r\nPX\r\n$4\r\n5000\r\n"

enum { TIMEOUT = 60, NEVER = 60000 }; /* milliseconds */

/* ---- questions and values ---- */

START_TEST(asked_together_in_one_write)
{
    struct question a, b, c;
    char got[1024];

    begin(NEVER);
    ck_assert(ask(&a, "/a"));
    ck_assert(ask(&b, "/b"));
    ck_assert(ask(&c, "/a"));
    ck_assert(!is_ready(served));
    turn();
    ssize_t size = recv(served, got, sizeof got, 0);
    ck_assert_int_eq(size, strlen(GET_A GET_B GET_A));
    ck_assert_mem_eq(got, GET_A GET_B GET_A, (size_t)size);
    answer("$3\r\none\r\n$-1\r\n$0\r\n\r\n");
    wait_for(&c);
    ck_assert_str_eq(a.value, "one");
    ck_assert(a.is_there && !b.is_there && c.is_there);
    ck_assert_str_eq(c.value, "");
    ck_assert_int_eq(a.completed + b.completed, 2);
    end();
}
END_TEST

START_TEST(answers_in_parts)
{
    struct question a;
    static const char text[] = "$5\r\nhello\r\n";

    begin(NEVER);
    ck_assert(ask(&a, "/a"));
    turn();
    expect(GET_A);
    for (size_t i = 0; i < sizeof text - 1; i++) {
        ck_assert_int_eq(a.completed, 0);
        say(text + i, 1);
        turn();
    }
    wait_for(&a);
    ck_assert_str_eq(a.value, "hello");
    end();
}
END_TEST

static void *set_from_thread(void *argument)
{
    (void)argument;
    redis_link_set(link_, STTP_ACTION_SHOW, slice_of("/a"), slice_of("xyz"));
    return NULL;
}

/* From the worker's thread, and from another one, which wakes the loop. */
START_TEST(values_are_set)
{
    pthread_t thread;
    struct question b;

    begin(NEVER);
    if (_i == 0) {
        set_from_thread(NULL);
    } else {
        ck_assert_int_eq(pthread_create(&thread, NULL, set_from_thread, NULL), 0);
        pthread_join(thread, NULL);
        turn();
    }
    turn();
    expect(SET_A);
    redis_link_set(link_, STTP_ACTION_LIST, slice_of("/"), slice_of(""));
    ck_assert(ask(&b, "/b"));
    turn();
    expect("*5\r\n$3\r\nSET\r\n$4\r\np:L/\r\n$0\r\n\r\n$2\r\nPX\r\n$4\r\n5000\r\n" GET_B);
    answer("+OK\r\n-OOM command not allowed\r\n$1\r\nx\r\n");
    wait_for(&b);
    ck_assert_str_eq(b.value, "x");
    ck_assert_ptr_nonnull(strstr(logged(), "refuses, now and perhaps again: OOM command"));
    end();
}
END_TEST

static const char *const refusals[] = {"-LOADING wait\r\n", "-MOVED 1 10.0.0.1:1\r\n", "-ERR\r\n",
                                       "-\r\n"};

/* It may serve the next one. It is told once. */
START_TEST(refusals_are_nothing)
{
    struct question a, b;

    begin(NEVER);
    ck_assert(ask(&a, "/a"));
    ck_assert(ask(&b, "/b"));
    turn();
    answer(refusals[_i]);
    answer(refusals[_i]);
    wait_for(&b);
    ck_assert(!a.is_there && !b.is_there);
    const char *text = strstr(logged(), "refuses");
    ck_assert(text != NULL && strstr(text + 1, "refuses") == NULL);
    ck_assert(ask(&a, "/a"));
    turn();
    expect(GET_A GET_B GET_A);
    answer("$1\r\nx\r\n");
    wait_for(&a);
    ck_assert_str_eq(a.value, "x");
    end();
}
END_TEST

/* ---- nonsense ---- */

static const char *const nonsense[] = {
    "hello\r\n",
    "HTTP/1.1 400 Bad Request\r\n",
    ":1\r\n",
    "+OK\r\n",
    "*2\r\n$1\r\na\r\n$1\r\nb\r\n",
    "*0\r\n",
    "*1000000000\r\n",
    "*99999999999999999999\r\n",
    "$99999999999999999999\r\n",
    "$-2\r\n",
    "$1\r\nxyz\r\n",
    "$1\r\nx\r\n$1\r\ny\r\n", /* one that nobody asked for */
    "\r\n",
    "$x\r\n",
    ",1.5\r\n", /* and others that only newer versions say, to who asks for them */
    "#t\r\n",
    "_\r\n*0\r\n",
    "(12345\r\n",
    "=5\r\ntxt:x\r\n",
    ">1\r\n$1\r\nx\r\n",
    "%1\r\n+a\r\n+b\r\n",
    "", /* and a closed connection */
    "$100\r\nhalf",
};

/* Whoever waits gets nothing (or what came before it), and there is another connection. */
START_TEST(nonsense_ends_the_connection)
{
    struct question a, b;

    begin(NEVER);
    ck_assert(ask(&a, "/a"));
    turn();
    expect(GET_A);
    if (nonsense[_i][0] != '\0')
        answer(nonsense[_i]);
    if (_i >= (int)(sizeof nonsense / sizeof nonsense[0]) - 2)
        shutdown(served, SHUT_WR);
    wait_for(&a);
    ck_assert(!a.is_there || strcmp(a.value, "x") == 0);
    while (link_->state != REDIS_DOWN)
        turn();
    ck_assert(!ask(&b, "/b"));
    ck_assert_ptr_nonnull(strstr(logged(), "the storage is asked instead until it is back"));
    welcome();
    ck_assert_ptr_nonnull(strstr(logged(), "connected again"));
    ck_assert(ask(&b, "/b"));
    turn();
    expect(GET_B);
    answer("$1\r\ny\r\n");
    wait_for(&b);
    ck_assert_str_eq(b.value, "y");
    end();
}
END_TEST

static void *flood(void *argument)
{
    char bytes[4096];

    (void)argument;
    memset(bytes, 'x', sizeof bytes);
    while (send(served, bytes, sizeof bytes, MSG_NOSIGNAL) > 0)
        ;
    return NULL;
}

/* Neither a value of a gigabyte nor a line without an end takes more memory than is allowed. */
START_TEST(endless_answers_end_the_connection)
{
    static const char *const beginnings[] = {"$1000000000\r\n", "+", "-", "$300000\r\n",
                                             "$9223372036854775807\r\n"};
    struct question a;
    pthread_t thread;

    begin(NEVER);
    ck_assert(ask(&a, "/a"));
    turn();
    expect(GET_A);
    answer(beginnings[_i]);
    ck_assert_int_eq(pthread_create(&thread, NULL, flood, NULL), 0);
    wait_for(&a);
    pthread_join(thread, NULL);
    ck_assert(!a.is_there);
    ck_assert_int_eq(link_->state, REDIS_DOWN);
    end();
}
END_TEST

/* A value may be as large as one that we put there. */
START_TEST(the_largest_value)
{
    static char value[REDIS_ENTRY_MOST + 64];
    struct question a;
    int size = snprintf(value, sizeof value, "$%d\r\n", REDIS_ENTRY_MOST);

    memset(value + size, 'x', REDIS_ENTRY_MOST);
    memcpy(value + size + REDIS_ENTRY_MOST, "\r\n", 2);
    begin(NEVER);
    ck_assert(ask(&a, "/a"));
    turn();
    say(value, (size_t)size + REDIS_ENTRY_MOST + 2);
    wait_for(&a);
    ck_assert(a.is_there);
    ck_assert_int_eq(link_->state, REDIS_UP);
    end();
}
END_TEST

/* ---- time ---- */

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

/* Who waits, waits no longer than that; until it has caught up nobody waits at all; and what comes
 * late goes to nobody. */
START_TEST(late_answers)
{
    struct question a, b;
    uint64_t begun;

    begin(TIMEOUT);
    begun = now();
    ck_assert(ask(&a, "/a"));
    turn();
    expect(GET_A);
    wait_for(&a);
    ck_assert(!a.is_there);
    ck_assert_uint_ge(now() - begun, TIMEOUT - 10);
    ck_assert(!ask(&b, "/b"));
    redis_link_set(link_, STTP_ACTION_SHOW, slice_of("/a"), slice_of("xyz"));
    answer("$4\r\nlate\r\n");
    while (!ask(&b, "/b"))
        turn();
    turn();
    expect(GET_B);
    answer("$1\r\nb\r\n");
    wait_for(&b);
    ck_assert_str_eq(b.value, "b");
    ck_assert_int_eq(a.completed, 1);
    end();
}
END_TEST

/* One that hangs is given up, and not used again before it answers PING. */
START_TEST(overdue_answers_end_the_connection)
{
    struct question a;

    begin(TIMEOUT);
    ck_assert(ask(&a, "/a"));
    while (link_->state != REDIS_DOWN)
        turn();
    ck_assert_ptr_nonnull(strstr(logged(), "it does not answer"));
    meet();
    ck_assert(!ask(&a, "/a"));
    while (link_->state != REDIS_DOWN)
        turn();
    welcome();
    ck_assert(ask(&a, "/a"));
    end();
    ck_assert_int_eq(a.completed, 1);
}
END_TEST

/* ---- bounds ---- */

/* A server that reads nothing: some are asked for, then no more. Closing ends them all. */
START_TEST(questions_are_bounded)
{
    static struct question many[REDIS_MOST_EXPECTED + 1];
    char path[1000];
    int count = 0;

    memset(path, 'x', sizeof path - 1);
    path[0] = '/';
    path[_i == 0 ? 2 : (int)sizeof path - 1] = '\0';
    begin(NEVER);
    while (ask(&many[count], path))
        ck_assert_int_le(++count, REDIS_MOST_EXPECTED);
    ck_assert_int_gt(count, 100);
    ck_assert_uint_le(link_->output_size, REDIS_MOST_UNSENT);
    end();
    for (int i = 0; i < count; i++)
        ck_assert(many[i].completed == 1 && !many[i].is_there);
}
END_TEST

static void *set_many(void *argument)
{
    static char value[10000];

    (void)argument;
    for (int i = 0; i < 1000; i++)
        redis_link_set(link_, STTP_ACTION_SHOW, slice_of("/a"), (sttp_slice){value, sizeof value});
    return NULL;
}

START_TEST(values_are_bounded)
{
    pthread_t thread;

    begin(NEVER);
    ck_assert_int_eq(pthread_create(&thread, NULL, set_many, NULL), 0);
    pthread_join(thread, NULL);
    ck_assert_uint_le(link_->posted_size, REDIS_MOST_POSTED);
    ck_assert_uint_gt(link_->posted_size, REDIS_MOST_POSTED / 2);
    turn();
    ck_assert_uint_le(link_->output_size, REDIS_MOST_UNSENT);
    redis_link_close(link_);
    set_many(NULL); /* to nobody */
    redis_destroy(client);
}
END_TEST

START_TEST(paths_that_are_too_long)
{
    static char path[STTP_MAX_PATH + 3];
    struct question a;

    memset(path, 'x', sizeof path - 1);
    begin(NEVER);
    ck_assert(!ask(&a, path));
    redis_link_set(link_, STTP_ACTION_SHOW, slice_of(path), slice_of("x"));
    path[STTP_MAX_PATH + 1] = '\0';
    ck_assert(ask(&a, path));
    end();
}
END_TEST

/* ---- the start ---- */

static const char *greeting; /* NULL: none */
static bool closes;

static void *greet(void *argument)
{
    char got[256];

    (void)argument;
    served = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ssize_t size = recv(served, got, sizeof got, 0);
    ck_assert_int_eq(size, strlen(PING GET_PREFIX));
    ck_assert_mem_eq(got, PING GET_PREFIX, (size_t)size);
    if (greeting != NULL)
        answer(greeting);
    if (closes)
        server_close();
    return NULL;
}

static const struct first_talk {
    const char *greeting;
    bool closes, is_good;
    const char *logged; /* NULL: nothing */
} first_talks[] = {
    {"+PONG\r\n$-1\r\n", false, true, NULL},
    {"+PONG\r\n$1\r\nx\r\n", false, true, NULL},
    {"-LOADING Redis is loading\r\n-LOADING Redis is loading\r\n", false, true, NULL},
    {"+PONG\r\n-MASTERDOWN x\r\n", false, true, NULL},
    {"-MISCONF Redis is configured to save RDB snapshots\r\n$-1\r\n", false, true, NULL},
    {"-ERR max number of clients reached\r\n", true, true, "does not answer"},
    {NULL, true, true, "does not answer"},
    {NULL, false, true, "does not answer"},
    {"+PONG\r\n", false, true, "does not answer"},
    {"-NOAUTH Authentication required.\r\n-NOAUTH Authentication required.\r\n", false, false,
     "it lets nobody in without a password, or refuses GET: sttpd needs a Redis, not of a cluster, "
     "that asks for none (it says: NOAUTH Authentication required.)"},
    {"+PONG\r\n-MOVED 5461 10.0.0.1:6379\r\n", false, false, "not of a cluster"},
    {"-DENIED Redis is running in protected mode\r\n", false, false, "it says: DENIED"},
    {"300 - CLIENT ERROR \"no\"\n", false, false, "it is no Redis server"},
    {"HTTP/1.1 400 Bad Request\r\n\r\n", true, false, "it is no Redis server"},
    {":1\r\n:1\r\n", false, false, "it is no Redis server"},
    {"$4\r\nPONG\r\n", false, false, "it is no Redis server"},
};

START_TEST(who_is_talked_to_at_the_start)
{
    const struct first_talk *talk = &first_talks[_i];
    pthread_t thread;

    greeting = talk->greeting;
    closes = talk->closes;
    server_listen();
    ck_assert_int_eq(pthread_create(&thread, NULL, greet, NULL), 0);
    client = create_client(TIMEOUT);
    pthread_join(thread, NULL);
    ck_assert_int_eq(client != NULL, talk->is_good);
    const char *text = logged();
    if (talk->logged == NULL)
        ck_assert_str_eq(text, "");
    else
        ck_assert_msg(strstr(text, talk->logged) != NULL, "%s", text);
    ck_assert_int_eq(strstr(text, " error ") != NULL, !talk->is_good);
    redis_destroy(client);
}
END_TEST

START_TEST(nobody_is_there_at_the_start)
{
    struct question a;

    client = create_client(TIMEOUT);
    ck_assert_ptr_nonnull(client);
    ck_assert_ptr_nonnull(strstr(logged(), "warning Redis at unix:/"));
    link_ = redis_link_open(client, base);
    ck_assert_ptr_nonnull(link_);
    ck_assert(!ask(&a, "/a"));
    ck_assert_ptr_nonnull(strstr(logged(), "cannot connect: No such file or directory"));
    server_listen();
    welcome();
    ck_assert(ask(&a, "/a"));
    end();
}
END_TEST

static const struct wrong_setting {
    const char *address;
    size_t prefix;
    const char *logged;
} wrong_settings[] = {
    {"unix:/nowhere", REDIS_MAX_PREFIX + 1, "cache.redis.prefix has more than 256 bytes"},
    {"[fe80::1%eth0]:1", 1, "cache.redis.address: cannot use [fe80::1%eth0]:1"},
    {"1.2.3.4.5:1", 1, "cache.redis.address: cannot use 1.2.3.4.5:1"},
};

START_TEST(settings_that_cannot_be_used)
{
    char prefix[300] = "";
    memset(prefix, 'x', wrong_settings[_i].prefix);
    struct redis_settings settings = {
        .address = wrong_settings[_i].address, .prefix = prefix, .timeout = 1, .log = &sink};

    ck_assert_ptr_null(redis_create(&settings));
    ck_assert_ptr_nonnull(strstr(logged(), wrong_settings[_i].logged));
}
END_TEST

/* ---- memory ---- */

static size_t allocations, fails_at;
static bool is_counting; /* not where Check takes memory */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

static bool fails(void)
{
    return is_counting && ++allocations == fails_at;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return fails() ? NULL : __real_realloc(memory, size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

static void turn_counting(void)
{
    is_counting = true;
    event_base_loop(base, EVLOOP_ONCE);
    is_counting = false;
}

/* A question and a value, with one allocation after the other failing. What was begun is completed
 * in any case. */
START_TEST(without_memory)
{
    static const char value[] = "$3\r\nabc\r\n+OK\r\n";
    struct question a = {0};
    bool is_over = false;

    for (fails_at = 1; !is_over; fails_at++) {
        begin(NEVER);
        allocations = 0;
        is_counting = true;
        bool is_asked = ask(&a, "/a");
        redis_link_set(link_, STTP_ACTION_SHOW, slice_of("/a"), slice_of("xyz"));
        is_counting = false;
        if (is_asked || link_->output_size > 0)
            turn_counting();
        if (is_asked)
            (void)!send(served, value, sizeof value - 1, MSG_NOSIGNAL);
        while (is_asked && a.completed == 0)
            turn_counting();
        is_over = allocations < fails_at;
        ck_assert(!is_over || (is_asked && a.is_there));
        end();
        close(listener);
        server_close();
        ck_assert_uint_lt(fails_at, 100);
    }
    ck_assert_uint_gt(fails_at, 4);
    listener = -1;
}
END_TEST

/* ---- times and events that cannot be noted ---- */

static bool adding_fails;

int __real_event_add(struct event *event, const struct timeval *timeout);
int __wrap_event_add(struct event *event, const struct timeval *timeout);

int __wrap_event_add(struct event *event, const struct timeval *timeout)
{
    return adding_fails ? -1 : __real_event_add(event, timeout);
}

/* Nobody would tell that the answer is late: so nothing is asked for. */
START_TEST(no_question_without_a_timer)
{
    struct question a, b;

    begin(TIMEOUT);
    adding_fails = true;
    ck_assert(!ask(&a, "/a"));
    redis_link_set(link_, STTP_ACTION_SHOW, slice_of("/a"), slice_of("xyz"));
    ck_assert_uint_eq(link_->output_size, 0);
    adding_fails = false;
    ck_assert(ask(&b, "/b"));
    turn();
    expect(GET_B);
    wait_for(&b);
    ck_assert(!b.is_there);
    ck_assert_int_eq(a.completed, 0);
    end();
}
END_TEST

/* The timer was set for the first one, and cannot be for the second one. */
START_TEST(no_timer_for_the_next_question)
{
    struct question a, b;

    begin(TIMEOUT);
    ck_assert(ask(&a, "/a"));
    ck_assert(ask(&b, "/b"));
    link_->expected[(link_->first + 1) % link_->room].since += NEVER; /* later */
    adding_fails = true;
    wait_for(&b);
    ck_assert_int_eq(a.completed, 1);
    ck_assert(!a.is_there && !b.is_there);
    ck_assert_int_eq(link_->state, REDIS_DOWN);
    adding_fails = false;
    end();
}
END_TEST

/* Where it cannot be said when to try again, whoever asks next says so. */
START_TEST(tried_again_when_somebody_asks)
{
    struct question a;

    begin(NEVER);
    adding_fails = true;
    server_close();
    while (link_->state != REDIS_DOWN)
        turn();
    ck_assert(!ask(&a, "/a"));
    ck_assert_uint_eq(link_->timer_at, 0);
    adding_fails = false;
    ck_assert(!ask(&a, "/a"));
    welcome();
    ck_assert(ask(&a, "/a"));
    end();
}
END_TEST

/* What is left of a large one would never be sent. */
START_TEST(what_cannot_be_sent_ends_the_connection)
{
    struct question a;
    int sent = 0;

    begin(NEVER);
    ck_assert(ask(&a, "/a"));
    while (link_->state == REDIS_UP && sent++ < 1000) {
        static char value[60000];
        redis_link_set(link_, STTP_ACTION_SHOW, slice_of("/a"), (sttp_slice){value, sizeof value});
        adding_fails = true;
        turn();
        adding_fails = false;
    }
    ck_assert_int_eq(link_->state, REDIS_DOWN);
    ck_assert(a.completed == 1 && !a.is_there);
    ck_assert_ptr_nonnull(strstr(logged(), "out of memory"));
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis");
    TCase *tests = tcase_create("redis");
    tcase_set_timeout(tests, 30);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, asked_together_in_one_write);
    tcase_add_test(tests, answers_in_parts);
    tcase_add_loop_test(tests, values_are_set, 0, 2);
    tcase_add_loop_test(tests, refusals_are_nothing, 0, sizeof refusals / sizeof refusals[0]);
    tcase_add_loop_test(tests, nonsense_ends_the_connection, 0,
                        sizeof nonsense / sizeof nonsense[0]);
    tcase_add_loop_test(tests, endless_answers_end_the_connection, 0, 5);
    tcase_add_test(tests, the_largest_value);
    tcase_add_test(tests, late_answers);
    tcase_add_test(tests, overdue_answers_end_the_connection);
    tcase_add_loop_test(tests, questions_are_bounded, 0, 2);
    tcase_add_test(tests, values_are_bounded);
    tcase_add_test(tests, paths_that_are_too_long);
    tcase_add_loop_test(tests, who_is_talked_to_at_the_start, 0,
                        sizeof first_talks / sizeof first_talks[0]);
    tcase_add_test(tests, nobody_is_there_at_the_start);
    tcase_add_loop_test(tests, settings_that_cannot_be_used, 0,
                        sizeof wrong_settings / sizeof wrong_settings[0]);
    tcase_add_test(tests, without_memory);
    tcase_add_test(tests, no_question_without_a_timer);
    tcase_add_test(tests, no_timer_for_the_next_question);
    tcase_add_test(tests, tried_again_when_somebody_asks);
    tcase_add_test(tests, what_cannot_be_sent_ends_the_connection);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
