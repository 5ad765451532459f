/* The asynchronous client under everything at once: random requests, delays, pieces, cancels, calls
 * of each kind from within callbacks, connections that are closed, reset, or say what they should
 * not, pools and clients that are destroyed. Whatever happens: each request has at most one result,
 * exactly one where it was not cancelled; each answer belongs to its request; no change reaches a
 * server twice; and what was told to be unsent has reached none. STTP_FULL has full counts. */
#include "async_support.h"
#include "core_support.h"

enum { POOLS = 3, PEERS = 64, PENDING = 256, REQUESTS = 4000, STEPS = 12000 };

typedef struct question {
    unsigned number;
    sttp_action action;
    unsigned pool;
    sttp_call *call; /* NULL once it has its result, or was cancelled */
    bool cancelled;
    unsigned results;
    unsigned received; /* times that a far end has read it */
    bool unsent;       /* its result says so */
} question;

/* The far end of a connection, with the requests that it has read and not answered. */
typedef struct far_end {
    int fd; /* -1: none */
    char input[8192];
    size_t input_size;
    unsigned pending[PENDING];
    size_t pending_count;
    char output[16384];
    size_t output_size;
    bool lies; /* what it says may be anything */
} far_end;

static struct {
    uint64_t random;
    sttp_pool *pools[POOLS];
    question questions[REQUESTS];
    unsigned asked;
    far_end peers[PEERS];
    bool stops; /* nothing more is asked */
    unsigned answered, failed, unknown;
} world;

static unsigned below(unsigned limit)
{
    return (unsigned)random_below(&world.random, limit);
}

/* ---- the near end ---- */

static void some_deed(void);

/* Where a request can carry its number otherwise, few paths have to do: what was asked tells less
 * of an answer then. */
static void write_path(const question *q, char *path, size_t size)
{
    if (q->action == STTP_ACTION_LIST || q->action == STTP_ACTION_UPDATE)
        snprintf(path, size, "/%c", 'a' + (int)(q->number % 3));
    else
        snprintf(path, size, "/%u", q->number);
}

static void check_right(const question *q, const sttp_response *response)
{
    char path[32], text[32];

    write_path(q, path, sizeof path);
    snprintf(text, sizeof text, "text of %u", q->number);
    ck_assert_uint_eq(response->echo.size, strlen(path));
    ck_assert_int_eq(memcmp(response->echo.data, path, strlen(path)), 0);
    ck_assert_int_eq(response->code, sttp_action_success(q->action));
    if (response->contents.size == 0) /* the far end has closed in front of that line */
        return;
    ck_assert_uint_eq(response->contents.size, strlen(text));
    ck_assert_int_eq(memcmp(response->contents.data, text, strlen(text)), 0);
}

static void finished(void *context, const sttp_response *response, const sttp_error *error)
{
    question *q = context;

    ck_assert_msg(!q->cancelled, "/%u was cancelled", q->number);
    ck_assert_uint_eq(++q->results, 1);
    q->call = NULL;
    if (response != NULL) {
        ck_assert_uint_ge(q->received, 1);
        check_right(q, response);
        world.answered++;
    } else {
        ck_assert_int_ne(error->status, STTP_OK);
        ck_assert((error->status == STTP_ERR_OUTCOME_UNKNOWN) ==
                  (sttp_action_is_change(q->action) && error->phase == STTP_PHASE_RECEIVE));
        q->unsent = error->phase != STTP_PHASE_RECEIVE;
        world.failed++;
        world.unknown += error->status == STTP_ERR_OUTCOME_UNKNOWN;
    }
    for (unsigned i = below(8); i >= 6; i--)
        some_deed();
}

static void ask_one(void)
{
    static const sttp_action actions[] = {STTP_ACTION_SHOW,   STTP_ACTION_SHOW,
                                          STTP_ACTION_SHOW,   STTP_ACTION_CREATE,
                                          STTP_ACTION_UPDATE, STTP_ACTION_DELETE};
    question *q = &world.questions[world.asked];
    sttp_request request;
    sttp_status status;
    char path[32], number[32];

    if (world.asked == REQUESTS || world.stops)
        return;
    *q = (question){
        .number = world.asked, .action = actions[below(COUNT(actions))], .pool = below(POOLS)};
    if (world.pools[q->pool] == NULL)
        return;
    write_path(q, path, sizeof path);
    request = request_for(q->action, path);
    snprintf(number, sizeof number, "after=%u", world.asked);
    if (q->action == STTP_ACTION_LIST)
        request.query = (sttp_slice){number, strlen(number)};
    if (q->action == STTP_ACTION_UPDATE)
        request.contents = (sttp_slice){number, strlen(number)};
    status = sttp_pool_request(world.pools[q->pool], &request, finished, q, &q->call);
    ck_assert(status == STTP_OK || status == STTP_ERR_PIPELINE_FULL || status == STTP_ERR_STATE);
    world.asked += status == STTP_OK;
}

static void cancel_one(void)
{
    question *q = &world.questions[world.asked > 0 ? below(world.asked) : 0];

    for (unsigned i = 0; i < 50 && q->call == NULL && world.asked > 0; i++)
        q = &world.questions[below(world.asked)];
    if (q->call == NULL)
        return;
    q->cancelled = true;
    sttp_call_cancel(q->call);
    q->call = NULL;
}

/* When it is done no call of it is left; others may be, where this is within another destruction.
 */
static void destroy_one(void)
{
    static unsigned depth;
    unsigned at = below(POOLS);
    sttp_pool *pool = world.pools[at];

    world.pools[at] = NULL;
    depth++;
    sttp_pool_destroy(pool);
    depth--;
    if (depth > 0 || pool == NULL || world.pools[at] != NULL || test.loop.async == NULL)
        return;
    for (unsigned i = 0; i < world.asked; i++)
        ck_assert(world.questions[i].pool != at || world.questions[i].call == NULL);
}

static void make_one(void)
{
    unsigned at = below(POOLS);

    if (world.pools[at] != NULL || test.loop.async == NULL || world.stops)
        return;
    world.pools[at] = make_pool((sttp_pool_options){.max_connections = 1 + below(4),
                                                    .min_connections = below(2),
                                                    .max_in_flight = 1 + below(20),
                                                    .max_queued = 1 + below(40),
                                                    .connect_timeout_ms = 100,
                                                    .queue_timeout_ms = 1 + below(400),
                                                    .request_timeout_ms = 1 + below(400),
                                                    .total_timeout_ms = below(2) * 700,
                                                    .idle_timeout_ms = 1 + below(300),
                                                    .backoff_min_ms = 1,
                                                    .backoff_max_ms = 50,
                                                    .no_repeat = below(2) == 0});
}

static void some_deed(void)
{
    unsigned deed = below(100);

    if (deed < 60)
        ask_one();
    else if (deed < 85)
        cancel_one();
    else if (deed < 95 && test.loop.async != NULL)
        sttp_async_flush(test.loop.async);
    else if (deed < 97)
        destroy_one();
    else
        make_one();
}

/* ---- the far end ---- */

static void hang_up(far_end *far, bool rudely)
{
    peer_end(far->fd, rudely);
    far->fd = -1;
}

static void accept_some(void)
{
    while (has_news(test.listener)) {
        int fd = accept(test.listener, NULL, NULL);
        far_end *far = world.peers;

        ck_assert_int_ge(fd, 0);
        while (far < world.peers + PEERS && far->fd >= 0)
            far++;
        if (far == world.peers + PEERS) {
            peer_end(fd, true);
            continue;
        }
        *far = (far_end){.fd = fd};
    }
}

/* A change comes once, whatever became of its connection. */
static void read_line(far_end *far, const char *line)
{
    question *q;
    unsigned number;
    char action[16];

    ck_assert_int_eq(sscanf(line, "%15s", action), 1);
    ck_assert_msg(sscanf(line + strcspn(line, "0123456789"), "%u", &number) == 1, "%s", line);
    ck_assert_uint_lt(number, world.asked);
    q = &world.questions[number];
    ck_assert_int_eq(sttp_action_from_name((sttp_slice){action, strlen(action)}), q->action);
    q->received++;
    ck_assert_msg(!sttp_action_is_change(q->action) || q->received == 1, "%s came twice", line);
    ck_assert_uint_lt(far->pending_count, PENDING);
    far->pending[far->pending_count++] = number;
}

static void read_some(far_end *far)
{
    char *line = far->input;
    char *end;
    ssize_t n = recv(far->fd, far->input + far->input_size, sizeof far->input - 1 - far->input_size,
                     MSG_DONTWAIT);

    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            hang_up(far, false);
        return;
    }
    far->input_size += (size_t)n;
    far->input[far->input_size] = '\0';
    while ((end = strchr(line, '\n')) != NULL) {
        *end = '\0';
        read_line(far, line);
        line = end + 1;
    }
    far->input_size -= (size_t)(line - far->input);
    memmove(far->input, line, far->input_size);
}

static void compose_answer(far_end *far)
{
    const question *q = &world.questions[far->pending[0]];
    char *at = far->output + far->output_size;
    size_t room = sizeof far->output - far->output_size;
    sttp_code code = sttp_action_success(q->action);
    char path[32];

    if (room < 200)
        return;
    far->pending_count--;
    memmove(far->pending, far->pending + 1, far->pending_count * sizeof *far->pending);
    write_path(q, path, sizeof path);
    snprintf(at, room, "%d %s %s\n", (int)code, path, sttp_code_phrase((int)code));
    if (code == STTP_CODE_OK)
        snprintf(at + strlen(at), room - strlen(at), "text of %u\n", q->number);
    far->output_size += strlen(at);
}

/* Nothing that could be taken for the right answer. */
static void compose_lie(far_end *far)
{
    static const char *const lies[] = {
        "hello\n", "200 /lie OK\nlie\n",    "500 /lie SERVER ERROR", "200 ",
        "\n",      "100 /4000000 CREATED\n"};
    const char *lie = lies[below(COUNT(lies))];

    if (far->output_size + 100 > sizeof far->output)
        return;
    strcpy(far->output + far->output_size, lie);
    far->output_size += strlen(lie);
}

static void write_some(far_end *far)
{
    size_t size = far->output_size;
    ssize_t n;

    if (size > 1 && below(3) == 0)
        size = 1 + below((unsigned)size);
    n = send(far->fd, far->output, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n <= 0)
        return;
    far->output_size -= (size_t)n;
    memmove(far->output, far->output + n, far->output_size);
}

static void play(far_end *far)
{
    unsigned deed = below(1000);

    if (deed < 500)
        read_some(far);
    else if (deed < 950 && far->pending_count > 0)
        for (unsigned i = 1 + below(10); i > 0 && far->pending_count > 0; i--)
            compose_answer(far);
    else if (deed == 990)
        compose_lie(far);
    else if (deed == 991)
        hang_up(far, true);
    else if (deed == 992)
        hang_up(far, false);
    if (far->fd >= 0 && far->output_size > 0)
        write_some(far);
}

/* ---- both ---- */

static void renew_client(void)
{
    for (unsigned i = 0; i < POOLS; i++)
        world.pools[i] = NULL;
    sttp_poll_destroy(&test.loop);
    for (unsigned i = 0; i < world.asked; i++)
        ck_assert_ptr_null(world.questions[i].call);
    ck_assert_int_eq(sttp_poll_create(&test.loop, NULL), STTP_OK);
}

static void one_step(void)
{
    unsigned deed = below(1000);

    test.events[0] = '\0';
    if (deed < 400)
        some_deed();
    else if (deed < 410)
        pass_time(below(100));
    else if (deed < 411)
        renew_client();
    else if (deed < 500)
        pass_time(1);
    accept_some();
    for (far_end *far = world.peers; far < world.peers + PEERS; far++)
        if (far->fd >= 0)
            play(far);
    turn();
}

/* All that was sent is read, so that it is known what was. */
static void settle(void)
{
    world.stops = true;
    accept_some();
    for (unsigned i = 0; i < POOLS; i++) {
        sttp_pool *pool = world.pools[i];

        world.pools[i] = NULL;
        sttp_pool_destroy(pool);
    }
    for (far_end *far = world.peers; far < world.peers + PEERS; far++)
        while (far->fd >= 0) {
            far->pending_count = 0;
            ck_assert_int_eq(poll(&(struct pollfd){.fd = far->fd, .events = POLLIN}, 1, 10000), 1);
            read_some(far);
        }
    for (unsigned i = 0; i < world.asked; i++) {
        const question *q = &world.questions[i];

        ck_assert_msg(q->results == !q->cancelled, "/%u has %u results", i, q->results);
        ck_assert_msg(!q->unsent || q->received == 0 || !sttp_action_is_change(q->action),
                      "/%u was told to be unsent", i);
    }
}

static void play_once(void)
{
    unsigned steps = STEPS;

    memset(world.questions, 0, sizeof world.questions);
    world.asked = 0;
    world.stops = false;
    for (far_end *far = world.peers; far < world.peers + PEERS; far++)
        far->fd = -1;
    open_client(NULL);
    while (steps-- > 0 && world.asked < REQUESTS)
        one_step();
    settle();
    close_test();
}

START_TEST(test_each_answer_belongs_to_its_request)
{
    unsigned rounds = getenv("STTP_FULL") != NULL ? 150 : 20;

    world.random = random_seed();
    for (unsigned i = 0; i < rounds; i++)
        play_once();
    printf("%u answers, %u errors, %u of them unknown\n", world.answered, world.failed,
           world.unknown);
    ck_assert_uint_gt(world.answered, 100 * rounds);
    ck_assert_uint_gt(world.failed, 10 * rounds);
    ck_assert_uint_gt(world.unknown, rounds);
}
END_TEST

int main(void)
{
    TCase *cases = tcase_create("property");

    tcase_add_test(cases, test_each_answer_belongs_to_its_request);
    return run_cases("async_property", cases);
}
