/* The handler with answers in Redis, where each thing that can fail on the way of a request fails
 * once: memory, what hiredis and libevent take of it, and Redis itself. Two requests for the same
 * each get one answer, which is right; nothing is left behind, and the next one is served. */
#include <sttp/serializer.h>
#include <sttp/server.h>

#include "redis_server.h"
#include "sttpd/handler.h"

enum {
    TIMEOUT = 30,
    NEVER = 60000, /* milliseconds, and so the next */
    COHERENCE = 1000,
    STALE = 30000,
    EXPIRATION = 60000,
    MOST_FAILURES = 200
};

#define TEXT "200 /a OK\ntext\n"
#define NO_MEMORY "500 /a SERVER ERROR \"out of memory; try again later\"\n"
#define AWAY "500 /a SERVER ERROR \"the database is not available; try again later\"\n"

/* ---- what fails ---- */

static size_t calls, fails_at;
static bool is_counting; /* not where the test itself takes memory */

static bool fails(void)
{
    return is_counting && ++calls == fails_at;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void __real_free(void *memory);
void __wrap_free(void *memory);
int __real_event_add(struct event *event, const struct timeval *timeout);
int __wrap_event_add(struct event *event, const struct timeval *timeout);
int __real_redisFormatCommandArgv(char **target, int count, const char **words,
                                  const size_t *sizes);
int __wrap_redisFormatCommandArgv(char **target, int count, const char **words,
                                  const size_t *sizes);
int __real_redisReaderFeed(redisReader *reader, const char *bytes, size_t size);
int __wrap_redisReaderFeed(redisReader *reader, const char *bytes, size_t size);

/* Blocks of our own objects. Check is linked with them, and frees some that were not taken here. */
static void *blocks[1024];
static size_t live;

static void *note_block(void *block)
{
    if (block != NULL && live < sizeof blocks / sizeof blocks[0])
        blocks[live++] = block;
    return block;
}

static void forget_block(const void *block)
{
    for (size_t i = live; block != NULL && i > 0; i--)
        if (blocks[i - 1] == block) {
            blocks[i - 1] = blocks[--live];
            return;
        }
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : note_block(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : note_block(__real_calloc(count, size));
}

void *__wrap_realloc(void *memory, size_t size)
{
    if (fails())
        return NULL;
    forget_block(memory);
    return note_block(__real_realloc(memory, size));
}

void __wrap_free(void *memory)
{
    forget_block(memory);
    __real_free(memory);
}

int __wrap_event_add(struct event *event, const struct timeval *timeout)
{
    return fails() ? -1 : __real_event_add(event, timeout);
}

int __wrap_redisFormatCommandArgv(char **target, int count, const char **words, const size_t *sizes)
{
    return fails() ? -1 : __real_redisFormatCommandArgv(target, count, words, sizes);
}

int __wrap_redisReaderFeed(redisReader *reader, const char *bytes, size_t size)
{
    return fails() ? REDIS_ERR : __real_redisReaderFeed(reader, bytes, size);
}

/* ---- time ---- */

static uint64_t ahead; /* milliseconds */

uint64_t __real_sttp_server_now(void);
uint64_t __wrap_sttp_server_now(void);

uint64_t __wrap_sttp_server_now(void)
{
    return __real_sttp_server_now() + ahead;
}

/* ---- the engine ---- */

struct sttp_reply {
    int count; /* of answers */
    char answer[256];
};

sttp_status __wrap_sttp_reply_send(sttp_reply *reply, const sttp_response *response);
sttp_status __wrap_sttp_reply_send_bytes(sttp_reply *reply, sttp_slice bytes);
uint64_t __wrap_sttp_reply_connection(const sttp_reply *reply);
void *__wrap_sttp_reply_worker(const sttp_reply *reply);

sttp_status __wrap_sttp_reply_send(sttp_reply *reply, const sttp_response *response)
{
    size_t size = 0;

    reply->count++;
    sttp_status status =
        sttp_serialize_response(response, reply->answer, sizeof reply->answer - 1, &size, NULL);
    reply->answer[size] = '\0';
    return status;
}

sttp_status __wrap_sttp_reply_send_bytes(sttp_reply *reply, sttp_slice bytes)
{
    reply->count++;
    snprintf(reply->answer, sizeof reply->answer, "%.*s", (int)bytes.size, bytes.data);
    return STTP_OK;
}

uint64_t __wrap_sttp_reply_connection(const sttp_reply *reply)
{
    (void)reply;
    return 1;
}

void *__wrap_sttp_reply_worker(const sttp_reply *reply)
{
    (void)reply;
    return link_;
}

/* ---- the store, and all that the handler needs ---- */

static store_operation *held; /* what it is asked for */
static int submitted;
static struct coherence coherence;
static struct handler handler;

static void submit(store *asked, store_operation *operation)
{
    (void)asked;
    operation->next = held;
    held = operation;
    submitted++;
}

static void *complete_held(void *result)
{
    store_operation *operation = held;

    held = operation->next;
    operation->result = *(store_result *)result;
    operation->contents = (sttp_slice){"text", operation->result == STORE_DONE ? 4 : 0};
    operation->complete(operation);
    return NULL;
}

static void make_handler(bool leases_only)
{
    static store asked = {.submit = submit};
    sttp_cache_options options = {.size = sizeof options,
                                  .clock = sttp_server_now,
                                  .expiration = EXPIRATION,
                                  .coherence = COHERENCE,
                                  .stale_if_error = STALE,
                                  .leases_only = leases_only};

    handler =
        (struct handler){.store = &asked, .redis = client, .coherence = &coherence, .log = &sink};
    ck_assert_int_eq(sttp_cache_create(&options, &handler.cache), STTP_OK);
    ck_assert(coherence_init(&coherence, COHERENCE, EXPIRATION));
    coherence_begin(&coherence, handler.cache, asked.identity);
    ahead += 100; /* what was asked for when it was made does not count */
}

static void show(sttp_reply *reply)
{
    const sttp_request request = {.action = STTP_ACTION_SHOW, .path = slice_of("/a")};

    *reply = (sttp_reply){0};
    is_counting = true;
    handler_handle(&handler, &request, reply);
    is_counting = false;
}

/* ---- what Redis says ---- */

static const struct scenario {
    const char *reply; /* NULL: an entry; empty: nothing, until it is late */
    uint64_t age;      /* of the entry, milliseconds */
    store_result result;
    bool by_thread; /* the store answers from a thread of its own */
    bool closes;    /* and Redis its connection */
    int submitted;
    const char *answer;
} scenarios[] = {
    {NULL, 0, STORE_DONE, false, false, 0, TEXT},
    {"$-1\r\n", 0, STORE_DONE, false, false, 1, TEXT},
    {"$-1\r\n", 0, STORE_DONE, true, false, 1, TEXT},
    {"$-1\r\n", 0, STORE_UNAVAILABLE, true, false, 1, AWAY},
    {"-ERR no\r\n", 0, STORE_DONE, false, false, 1, TEXT},
    {"$4\r\nlies\r\n", 0, STORE_DONE, false, false, 1, TEXT},
    {"*9\r\n", 0, STORE_DONE, false, false, 1, TEXT},
    {"$100\r\nhalf", 0, STORE_DONE, true, true, 1, TEXT},
    {"", 0, STORE_DONE, false, false, 1, TEXT},
    {NULL, 2 * COHERENCE, STORE_DONE, false, false, 1, TEXT},
    {NULL, 2 * COHERENCE, STORE_UNAVAILABLE, false, false, 1, TEXT},
    {NULL, 2 * COHERENCE, STORE_UNAVAILABLE, true, false, 1, TEXT},
    {NULL, STALE + COHERENCE, STORE_UNAVAILABLE, true, false, 1, AWAY},
};

/* Made before it is asked for. */
static size_t make_reply(const struct scenario *scenario, char *bytes)
{
    static char entry[REDIS_ENTRY_MOST];
    const sttp_response response = {
        .code = STTP_CODE_OK, .echo = slice_of("/a"), .contents = slice_of("text")};

    if (scenario->reply != NULL)
        return (size_t)sprintf(bytes, "%s", scenario->reply);
    size_t size = redis_entry_write(&coherence, &response, sttp_server_now(), entry);
    ck_assert_uint_gt(size, 0);
    size_t before = (size_t)sprintf(bytes, "$%zu\r\n", size);
    memcpy(bytes + before, entry, size);
    memcpy(bytes + before + size, "\r\n", 2);
    ahead += scenario->age;
    return before + size + 2;
}

/* To each command that has come. */
static void answer_commands(const struct scenario *scenario, const char *bytes, size_t size)
{
    char got[REDIS_ENTRY_MOST];
    ssize_t count = recv(served, got, sizeof got - 1, 0);

    got[count > 0 ? count : 0] = '\0';
    if (count <= 0)
        server_close();
    for (const char *at = got; at < got + count; at++)
        if (strncmp(at, "$3\r\nGET", 7) == 0)
            (void)!send(served, bytes, size, MSG_NOSIGNAL);
        else if (strncmp(at, "$3\r\nSET", 7) == 0)
            (void)!send(served, "+OK\r\n", 5, MSG_NOSIGNAL);
    if (scenario->closes)
        shutdown(served, SHUT_WR);
}

/* Until the request has its answer. */
static void wait_for_answer(const struct scenario *scenario, const sttp_reply *reply,
                            const char *bytes, size_t size)
{
    store_result result = scenario->result;
    pthread_t thread;

    while (reply->count == 0) {
        if (held != NULL) {
            is_counting = true;
            if (!scenario->by_thread || pthread_create(&thread, NULL, complete_held, &result) != 0)
                complete_held(&result);
            else
                pthread_join(thread, NULL);
            is_counting = false;
            continue;
        }
        if (is_ready(served))
            answer_commands(scenario, bytes, size);
        is_counting = true;
        event_base_loop(base, EVLOOP_ONCE);
        is_counting = false;
    }
}

/* Where something has failed, an old answer may not be found. */
static bool is_right(const struct scenario *scenario, const char *answer)
{
    return strcmp(answer, scenario->answer) == 0 || strcmp(answer, NO_MEMORY) == 0 ||
           (scenario->result == STORE_UNAVAILABLE && strcmp(answer, AWAY) == 0);
}

/* The call of that number fails, and none after it. Whether there are fewer. */
static bool try_scenario(const struct scenario *scenario, bool leases_only, size_t number)
{
    static char bytes[REDIS_ENTRY_MOST];
    sttp_reply first, second, third;

    live = 0;
    begin(scenario->reply != NULL && scenario->reply[0] == '\0' ? TIMEOUT : NEVER);
    make_handler(leases_only);
    size_t size = make_reply(scenario, bytes);
    submitted = 0;
    calls = 0;
    fails_at = number;
    show(&first);
    show(&second);
    wait_for_answer(scenario, &first, bytes, size);
    wait_for_answer(scenario, &second, bytes, size);
    bool is_over = calls < number;
    const char *one = first.answer, *two = second.answer;
    if (is_over) {
        ck_assert_str_eq(one, scenario->answer);
        ck_assert_str_eq(two, scenario->answer);
        ck_assert_int_eq(submitted, scenario->submitted);
    }
    ck_assert_msg(is_right(scenario, one), "call %zu: %s", number, one);
    ck_assert_msg(is_right(scenario, two), "call %zu: %s", number, two);
    fails_at = 0;
    show(&third);
    wait_for_answer(scenario, &third, bytes, size);
    ck_assert_msg(strcmp(third.answer, NO_MEMORY) != 0, "%s", third.answer);
    ck_assert_int_eq(first.count + second.count + third.count, 3);
    ck_assert_uint_eq(atomic_load(&handler.outstanding), 0);
    end();
    sttp_cache_destroy(handler.cache);
    close(listener);
    server_close();
    listener = -1;
    ck_assert_msg(live == 0, "call %zu: %zu blocks are left", number, live);
    return is_over;
}

START_TEST(each_failure)
{
    const struct scenario *scenario = &scenarios[_i / 2];
    size_t number = 1;

    while (!try_scenario(scenario, _i % 2 == 0, number))
        ck_assert_uint_lt(++number, MOST_FAILURES);
    ck_assert_uint_gt(number, 5);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("handler_redis");
    TCase *tests = tcase_create("handler_redis");

    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_loop_test(tests, each_failure, 0, 2 * (int)(sizeof scenarios / sizeof scenarios[0]));
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
