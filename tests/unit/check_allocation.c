/* Every allocation of the library fails once: those that client and engine make with the caller's
 * allocator, those of libevent, and the one that a name lookup makes with calloc. Each call says so
 * as its header promises, the object goes on or is freed, and nothing leaks. */
#include <netdb.h>
#include <stdatomic.h>

#include <event2/event.h>

#include <sttp/client.h>
#include <sttp/parser.h>

#include "server_support.h"

/* ---- allocations, counted ---- */

static struct {
    atomic_size_t calls;
    atomic_size_t fails_at; /* the number of the call that fails; 0 for none */
    atomic_size_t live;     /* blocks */
} ledger;

static bool fails(void)
{
    if (atomic_fetch_add(&ledger.calls, 1) + 1 != atomic_load(&ledger.fails_at))
        return false;
    errno = ENOMEM;
    return true;
}

static bool has_failed(void)
{
    return atomic_load(&ledger.calls) >= atomic_load(&ledger.fails_at);
}

static void fail_at(size_t n)
{
    ck_assert_uint_eq(atomic_load(&ledger.live), 0);
    atomic_store(&ledger.calls, 0);
    atomic_store(&ledger.fails_at, n);
}

static void *count_block(void *block)
{
    if (block != NULL)
        atomic_fetch_add(&ledger.live, 1);
    return block;
}

static void *take(size_t size)
{
    return fails() ? NULL : count_block(malloc(size));
}

static void *retake(void *block, size_t size)
{
    if (block == NULL)
        return take(size);
    return fails() ? NULL : realloc(block, size);
}

static void give(void *block)
{
    if (block != NULL)
        atomic_fetch_sub(&ledger.live, 1);
    free(block);
}

static void *allocate(size_t size, void *context)
{
    (void)context;
    return take(size);
}

static void *reallocate(void *block, size_t size, void *context)
{
    (void)context;
    return retake(block, size);
}

static void release(void *block, void *context)
{
    (void)context;
    give(block);
}

static const sttp_allocator counting = {allocate, reallocate, release, NULL};

/* The linker's --wrap brings the lookup's calloc here. */
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

/* Every name is this machine. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **list)
{
    static struct sockaddr_in address;
    static struct addrinfo found = {.ai_family = AF_INET,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_addr = (struct sockaddr *)&address,
                                    .ai_addrlen = sizeof address};
    (void)node;
    (void)hints;
    address.sin_family = AF_INET;
    address.sin_port = htons((in_port_t)atoi(service));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *list = &found;
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    (void)list;
}

/* ---- the client ---- */

/* Two that are no changes first: the client hesitates with a change that is the second request of a
 * connection. One large answer is enough. */
static sttp_request request_of(unsigned index)
{
    static const sttp_request big = {.action = STTP_ACTION_SHOW, .path = STTP_SLICE("/big")};
    static const sttp_request requests[] = {
        {.action = STTP_ACTION_SHOW, .path = STTP_SLICE("/now")},
        {.action = STTP_ACTION_LIST, .path = STTP_SLICE("/now")},
        {.action = STTP_ACTION_CREATE, .path = STTP_SLICE("/now"), .contents = STTP_SLICE("text")},
        {.action = STTP_ACTION_UPDATE, .path = STTP_SLICE("/now"), .contents = STTP_SLICE("text")},
        {.action = STTP_ACTION_DELETE, .path = STTP_SLICE("/now")},
    };
    return index == 1 ? big : requests[index % (sizeof requests / sizeof *requests)];
}

/* The result of one request: an answer, or want of memory; then a change that was sent has an
 * unknown outcome. */
static void check_result(const sttp_request *request, sttp_status status,
                         const sttp_response *response, const sttp_error *error)
{
    if (status == STTP_OK) {
        ck_assert_int_ne(response->code, STTP_CODE_SERVER_ERROR);
        ck_assert_int_eq(error->status, STTP_OK);
        return;
    }
    ck_assert_int_eq(error->status, status);
    ck_assert(atomic_load(&ledger.fails_at) > 0 && has_failed());
    ck_assert_int_eq(error->cause, STTP_ERR_MEMORY);
    ck_assert_str_ne(error->text, "");
    if (status != STTP_ERR_MEMORY) {
        ck_assert_int_eq(status, STTP_ERR_OUTCOME_UNKNOWN);
        ck_assert(sttp_action_is_change(request->action));
    }
}

static void ask(sttp_client *client, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        sttp_request request = request_of(i);
        sttp_response response;
        sttp_error error;
        sttp_status status = sttp_client_request(client, &request, &response, &error);
        check_result(&request, status, &response, &error);
    }
}

static void ask_pipelined(sttp_client *client, unsigned count)
{
    sttp_error error;
    for (unsigned i = 0; i < count; i++) {
        sttp_request request = request_of(i);
        sttp_status status = sttp_client_send(client, &request, &error);
        if (status != STTP_OK) { /* nothing was taken */
            check_result(&request, status, NULL, &error);
            ck_assert_int_eq(status, STTP_ERR_MEMORY);
            ck_assert_uint_eq(sttp_client_outstanding(client), i);
            ck_assert_int_eq(sttp_client_send(client, &request, &error), STTP_OK);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        sttp_request request = request_of(i);
        sttp_response response;
        sttp_status status = sttp_client_receive(client, &response, &error);
        check_result(&request, status, &response, &error);
    }
    ck_assert_int_eq(sttp_client_outstanding(client), 0);
}

static void use_client(const sttp_client_options *options)
{
    sttp_client *client;
    sttp_status status = sttp_client_create(options, &client);
    if (status != STTP_OK) {
        ck_assert_int_eq(status, STTP_ERR_MEMORY);
        ck_assert_ptr_null(client);
        return;
    }
    ask(client, 5);
    ask_pipelined(client, 35);
    ask(client, 1);
    sttp_client_destroy(client);
}

/* What the client is told of its server: a number, a name to look up, addresses, a socket. */
static sttp_client_options client_options(struct fixture *fixture, int kind)
{
    static const char *const addresses[] = {"127.0.0.1", "::1"};
    static const char *const hosts[] = {"127.0.0.1", "some.test", "some.test", NULL};
    const char *tcp = sttp_server_address(fixture->server, 0);
    return (sttp_client_options){
        .size = sizeof(sttp_client_options),
        .allocator = &counting,
        .host = hosts[kind],
        .port = (uint16_t)atoi(strrchr(tcp, ':') + 1),
        .addresses = kind == 2 ? addresses : NULL,
        .address_count = kind == 2 ? 2 : 0,
        .socket_path = kind == 3 ? sttp_server_address(fixture->server, 1) + strlen("unix:") : NULL,
    };
}

static void unix_address(char *text, size_t capacity)
{
    snprintf(text, capacity, "unix:/tmp/sttp-check-allocation-%d", (int)getpid());
}

START_TEST(each_allocation_of_a_client_fails_once)
{
    char local[64];
    unix_address(local, sizeof local);
    struct fixture *fixture = make_fixture();
    sttp_server_options options = with_fixture(fixture, (sttp_server_options){0});
    ck_assert_int_eq(sttp_server_create(&options, &fixture->server), STTP_OK);
    ck_assert_int_eq(sttp_server_listen(fixture->server, "127.0.0.1:0"), STTP_OK);
    ck_assert_int_eq(sttp_server_listen(fixture->server, local), STTP_OK);
    ck_assert_int_eq(sttp_server_start(fixture->server), STTP_OK);
    sttp_client_options to = client_options(fixture, _i);
    size_t n = 0;
    bool failed = true;
    while (failed) {
        fail_at(++n);
        use_client(&to);
        failed = has_failed();
    }
    ck_assert_uint_gt(n, 10);
    stop(fixture);
}
END_TEST

/* ---- the server ---- */

/* What a connection has been sent, to its end. */
struct received {
    char bytes[2 * BIG];
    size_t size;
    bool reset;
};

static void receive_all(int fd, struct received *to)
{
    ssize_t got;
    to->size = 0;
    while ((got = recv(fd, to->bytes + to->size, sizeof to->bytes - to->size, 0)) > 0)
        to->size += (size_t)got;
    to->reset = got < 0;
    ck_assert_msg(got == 0 || errno == ECONNRESET, "recv: %s", strerror(errno));
    close(fd);
}

static bool message_is(const sttp_response *response, const char *text)
{
    return response->message.size == strlen(text) &&
           memcmp(response->message.data, text, strlen(text)) == 0;
}

/* All answers are whole and what they should be, or a 500; fewer only where memory was out. */
static void check_answers(const struct received *received, const sttp_code *codes, size_t count)
{
    const char *at = received->bytes;
    size_t left = received->size;
    size_t answers = 0;
    while (left > 0) {
        sttp_parser parser = {0};
        sttp_response response;
        size_t size = 0;
        ck_assert_uint_lt(answers, count);
        sttp_status status =
            sttp_parse_response(&parser, at, left, BIG + 2, true, &size, &response, NULL);
        if (status != STTP_OK && received->reset)
            return;
        ck_assert_int_eq(status, STTP_OK);
        if (response.code != codes[answers]) {
            ck_assert_int_eq(response.code, STTP_CODE_SERVER_ERROR);
            ck_assert(message_is(&response, codes[answers] == STTP_CODE_CREATED
                                                ? "outcome unknown"
                                                : "out of memory; try again later"));
        }
        answers++;
        at += size;
        left -= size;
    }
    ck_assert(answers == count || has_failed());
}

static void talk(struct fixture *fixture, unsigned listener)
{
    static const char requests[] = "SHOW /now\nCREATE /now x\nbad\nSHOW /big\nLIST /now\nSHOW /x";
    static const sttp_code codes[] = {STTP_CODE_OK, STTP_CODE_CREATED, STTP_CODE_CLIENT_ERROR,
                                      STTP_CODE_OK, STTP_CODE_OK,      STTP_CODE_CLIENT_ERROR};
    static struct received received;
    int fd = connect_to(sttp_server_address(fixture->server, listener));
    ssize_t sent = send(fd, requests, strlen(requests), MSG_NOSIGNAL);
    (void)sent; /* it may be refused by now */
    shutdown(fd, SHUT_WR);
    receive_all(fd, &received);
    check_answers(&received, codes, sizeof codes / sizeof *codes);
}

/* Waits until a request is parked, or all `made` connections are gone, which come one by one. */
static bool wait_for_request(struct fixture *fixture, unsigned made)
{
    struct timespec end = deadline();
    const unsigned *notices = fixture->notices;
    int error = 0;
    pthread_mutex_lock(&fixture->mutex);
    while (fixture->parked_count == 0 && error == 0 &&
           notices[STTP_NOTICE_CLOSED] + notices[STTP_NOTICE_REFUSED] < made)
        error = pthread_cond_timedwait(&fixture->changed, &fixture->mutex, &end);
    bool parked = fixture->parked_count > 0;
    pthread_mutex_unlock(&fixture->mutex);
    ck_assert_int_eq(error, 0);
    return parked;
}

/* The answer is given by the test's thread. */
static void talk_from_elsewhere(struct fixture *fixture, unsigned made)
{
    static const sttp_code codes[] = {STTP_CODE_CREATED};
    static const char request[] = "CREATE /park x\n\n";
    static struct received received;
    pthread_mutex_lock(&fixture->mutex);
    fixture->parked_count = 0;
    pthread_mutex_unlock(&fixture->mutex);
    int fd = client(fixture);
    ssize_t sent = send(fd, request, strlen(request), MSG_NOSIGNAL);
    (void)sent;
    if (wait_for_request(fixture, made))
        release_parked(fixture, 0);
    receive_all(fd, &received);
    check_answers(&received, codes, 1);
}

/* A call that wanted memory says so, and can be repeated. */
static void listen_on(struct fixture *fixture, const char *address)
{
    sttp_status status = sttp_server_listen(fixture->server, address);
    if (status == STTP_OK)
        return;
    ck_assert_int_eq(status, STTP_ERR_MEMORY);
    ck_assert(has_failed());
    ck_assert_int_eq(sttp_server_listen(fixture->server, address), STTP_OK);
}

static bool start_server(struct fixture *fixture)
{
    char local[64];
    sttp_server_options options = with_fixture(
        fixture, (sttp_server_options){
                     .allocator = &counting, .workers = 2, .max_connections_per_address = 5});
    unix_address(local, sizeof local);
    sttp_status status = sttp_server_create(&options, &fixture->server);
    if (status != STTP_OK) {
        ck_assert_int_eq(status, STTP_ERR_MEMORY);
        ck_assert_ptr_null(fixture->server);
        return false;
    }
    listen_on(fixture, "127.0.0.1:0");
    listen_on(fixture, local);
    status = sttp_server_start(fixture->server);
    if (status == STTP_OK)
        return true;
    ck_assert_int_eq(status, STTP_ERR_MEMORY);
    sttp_server_destroy(fixture->server);
    return false;
}

START_TEST(each_allocation_of_a_server_fails_once)
{
    event_set_mem_functions(take, retake, give);
    struct fixture *fixture = make_fixture();
    size_t n = 0;
    unsigned served = 0; /* servers, each with four connections */
    bool failed = true;
    while (failed) {
        fail_at(++n);
        if (start_server(fixture)) {
            talk(fixture, 0);
            talk_from_elsewhere(fixture, 4 * served + 2);
            talk(fixture, 1);
            served++;
            failed = has_failed();
            atomic_store(&ledger.fails_at, 0);
            int fd = client(fixture);
            round_trip(fd);
            close(fd);
            sttp_server_stop(fixture->server, PATIENCE * 1000);
            ck_assert_int_eq(sttp_server_wait(fixture->server), STTP_OK);
            sttp_server_destroy(fixture->server);
        }
    }
    ck_assert_uint_gt(served, 10);
    ck_assert_uint_gt(n, served + 10);
    ck_assert_uint_eq(atomic_load(&ledger.live), 0);
    free_fixture(fixture);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("allocation");
    TCase *of_client = tcase_create("client");
    tcase_set_timeout(of_client, 100);
    tcase_add_loop_test(of_client, each_allocation_of_a_client_fails_once, 0, 4);
    suite_add_tcase(suite, of_client);
    TCase *of_server = tcase_create("server");
    tcase_set_timeout(of_server, 100);
    tcase_add_test(of_server, each_allocation_of_a_server_fails_once);
    suite_add_tcase(suite, of_server);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
