/* Two servers with a cache each, one storage, and something that both keep answers in: any order of
 * questions, changes, what is told of them and how late, and lost connections. STTP_FULL has the
 * full count.
 *
 * Each answer has to be one that was true at some moment since the question was asked, or before
 * that within `coherence`; but not before the last change that was acknowledged by the server that
 * gives the answer. The clock is the test's, so that each step can come at any time. */
#include <string.h>

#include "cache_support.h"

enum {
    SERVERS = 2,
    COHERENCE = 400,
    EXPIRATION = 5000,
    STALE = 2500,
    DIRECTORIES = 2,
    FILES = 2,
    NODES = DIRECTORIES * (1 + FILES), /* directory d: d * (1 + FILES), its files behind it */
    QUESTIONS = 2 * NODES,             /* SHOW and LIST of each */
    HISTORY = 4096,
    UNDER_WAY = 6, /* questions of a server, and changes */
    WIRE = 64,     /* notifications on their way to a server */
    KEPT = 3       /* answers to a question, of which others may find any */
};

static uint64_t seed;

static size_t below(size_t bound)
{
    return random_below(&seed, bound);
}

/* ---- the storage ---- */

static char paths[NODES][16], targets[NODES][16]; /* the second with a directory's slash */
static bool is_there[NODES];
static unsigned numbers[NODES]; /* of the text, or of the names of a directory */
static unsigned version;

struct answer {
    sttp_code code;
    unsigned number;
};

/* The answers to a question, each true from its time on until that of the next. */
static struct history {
    struct answer answers[HISTORY];
    uint64_t times[HISTORY];
    size_t first, end;            /* of them, counted from the beginning of all */
    size_t acknowledged[SERVERS]; /* the answer since the last change that a server was told of */
} histories[QUESTIONS];

static struct answer *answer_at(struct history *history, size_t i)
{
    return &history->answers[i % HISTORY];
}

static bool is_directory(int node)
{
    return node % (1 + FILES) == 0;
}

static int parent_of(int node)
{
    return node - node % (1 + FILES);
}

static struct answer true_answer(int question)
{
    int node = question / 2;
    bool is_list = question % 2;
    if (!is_there[parent_of(node)] && !is_directory(node))
        return (struct answer){STTP_CODE_PATH_NOT_FOUND, 0};
    if (!is_there[node])
        return (struct answer){STTP_CODE_NOT_FOUND, 0};
    if (is_directory(node) != is_list)
        return (struct answer){STTP_CODE_CLIENT_ERROR, 0};
    return (struct answer){STTP_CODE_OK, numbers[node]};
}

static bool is_same(struct answer a, struct answer b)
{
    return a.code == b.code && a.number == b.number;
}

/* Notes what is true from now on. `since`: gets the number of each new answer. */
static void note_truth(size_t *since)
{
    for (int i = 0; i < QUESTIONS; i++) {
        struct history *history = &histories[i];
        struct answer now = true_answer(i);
        if (history->end > 0 && is_same(*answer_at(history, history->end - 1), now))
            continue;
        since[i] = history->end;
        history->times[history->end % HISTORY] = clock_now;
        *answer_at(history, history->end++) = now;
        if (history->end - history->first > HISTORY)
            history->first++;
    }
}

/* Whether an answer was true at a moment since a time, and not before the i-th answer. */
static bool was_true_since(struct history *history, uint64_t time, size_t i, struct answer answer)
{
    for (size_t at = history->end; at > i && at > history->first; at--) {
        if (is_same(*answer_at(history, at - 1), answer))
            return true;
        if (history->times[(at - 1) % HISTORY] < time)
            return false;
    }
    return false;
}

/* ---- servers ---- */

/* What is on its way to a server: that a change was made, or a ping of its own. */
struct told {
    bool is_ping;
    uint64_t time; /* when it was sent */
    sttp_action action;
    int node;
    size_t made;
};

struct question {
    sttp_cache_lease lease; /* first */
    enum { FREE, WAITING, ASKING, ANSWERED } state;
    int number;
    uint64_t asked;
    uint64_t since; /* what was true before then, or before this answer, does not do */
    size_t least;
    struct answer answer;
};

struct change {
    bool is_used, is_made;
    sttp_cache_change change;
    int node;
    size_t since[QUESTIONS]; /* the answers from then on, of those that it has changed */
};

static struct server {
    sttp_cache *cache;
    struct question questions[UNDER_WAY];
    struct change changes[UNDER_WAY];
    struct told wire[WIRE];
    size_t on_wire;
    bool is_cut;  /* from what it is told */
    bool is_away; /* the storage, from it */
} servers[SERVERS];

/* What was put where both find it. */
static struct kept {
    bool is_used;
    uint64_t asked;
    struct answer answer;
} kept[QUESTIONS][KEPT];

static uint64_t allowed; /* how long ago an answer may have been true that is given just now */
static unsigned hits, taken_over, stale_given, behind;

static void check_answer(int number, uint64_t since, size_t least, struct answer answer)
{
    struct history *history = &histories[number];
    if (!was_true_since(history, since, least, answer))
        ck_abort_msg("%s %s, since %llu of %llu: %d %u", number % 2 ? "LIST" : "SHOW",
                     paths[number / 2], (unsigned long long)since, (unsigned long long)clock_now,
                     (int)answer.code, answer.number);
    behind += !is_same(*answer_at(history, history->end - 1), answer);
}

static struct answer read_answer(const sttp_response *response)
{
    struct answer answer = {response->code, 0};
    for (size_t i = 0; i < response->contents.size; i++)
        answer.number = answer.number * 10 + (unsigned)(response->contents.data[i] - '0');
    return answer;
}

static void read_bytes(void *context, sttp_slice bytes)
{
    const char *line = (const char *)memchr(bytes.data, '\n', bytes.size) + 1;
    const char *end = bytes.data + bytes.size - 1;
    sttp_response response = {
        .code = (sttp_code)((bytes.data[0] - '0') * 100 + (bytes.data[1] - '0') * 10),
        .contents = {line, line < end ? (size_t)(end - line) : 0}};
    *(struct answer *)context = read_answer(&response);
}

static void completed(sttp_cache_lease *lease, const sttp_response *response)
{
    struct question *question = (struct question *)lease;
    ck_assert_int_eq(question->state, WAITING);
    question->answer = read_answer(response);
    question->state = ANSWERED;
    if (allowed > COHERENCE)
        question->since = clock_now - allowed;
}

/* ---- changes ---- */

/* Changes of one path are made one after the other. */
static bool is_changed(const struct server *server, int node)
{
    bool is_so = false;
    for (int i = 0; i < UNDER_WAY; i++)
        is_so = is_so || (server->changes[i].is_used && server->changes[i].node == node);
    return is_so;
}

static void begin_change(struct server *server)
{
    struct change *change = &server->changes[below(UNDER_WAY)];
    int node = (int)below(NODES), parent = parent_of(node);
    sttp_action action = STTP_ACTION_CREATE;
    if (change->is_used || is_changed(server, node))
        return;
    if (is_there[node])
        action = is_directory(node) || below(2) == 0 ? STTP_ACTION_DELETE : STTP_ACTION_UPDATE;
    *change = (struct change){.is_used = true, .node = node};
    change->change.action = action;
    change->change.path = slice_of(targets[node]);
    if (action == STTP_ACTION_CREATE && !is_there[parent])
        change->change.made = slice_of(paths[parent]);
    sttp_cache_change_begin(server->cache, &change->change);
}

/* What was found when it was begun may not be there any more, or there by now: then it fails. */
static bool may_be_made(const struct change *change)
{
    int node = change->node;
    for (int i = 1; i <= FILES && is_directory(node); i++)
        if (is_there[node + i])
            return false;
    if (change->change.action != STTP_ACTION_CREATE)
        return is_there[node];
    return !is_there[node] && !is_directory(node) &&
           is_there[parent_of(node)] == (change->change.made.size == 0);
}

static void make(struct change *change)
{
    int node = change->node, parent = parent_of(node);
    sttp_action action = change->change.action;
    version++;
    is_there[parent] = true;
    is_there[node] = action != STTP_ACTION_DELETE;
    numbers[action == STTP_ACTION_DELETE ? parent : node] = version;
    if (action == STTP_ACTION_CREATE)
        numbers[parent] = version;
    note_truth(change->since);
}

static void tell(struct server *to, struct told told)
{
    if (to->on_wire == WIRE)
        to->is_cut = true; /* who falls behind too far */
    if (!to->is_cut)
        to->wire[to->on_wire++] = told;
}

/* From the storage's commit to the end. */
static void go_on_with_change(int which)
{
    struct change *change = &servers[which].changes[below(UNDER_WAY)];
    const sttp_cache_change *made = &change->change;
    if (!change->is_used)
        return;
    if (!change->is_made && may_be_made(change)) {
        struct told told = {.action = made->action, .node = change->node, .made = made->made.size};
        make(change);
        change->is_made = true;
        for (int i = 0; i < SERVERS; i++)
            if (i != which)
                tell(&servers[i], told);
        return;
    }
    sttp_cache_change_end(servers[which].cache, made);
    change->is_used = false;
    for (int i = 0; i < QUESTIONS; i++)
        if (histories[i].acknowledged[which] < change->since[i])
            histories[i].acknowledged[which] = change->since[i];
}

/* ---- what servers are told ---- */

static void take_told(struct server *server)
{
    struct told told = server->wire[0];
    if (server->on_wire == 0)
        return;
    server->on_wire--;
    memmove(server->wire, server->wire + 1, server->on_wire * sizeof told);
    if (told.is_ping) {
        sttp_cache_vouch(server->cache, told.time);
        return;
    }
    sttp_cache_change change = {.action = told.action,
                                .path = slice_of(targets[told.node]),
                                .made = {targets[told.node], told.made}};
    sttp_cache_change_begin(server->cache, &change);
    sttp_cache_change_end(server->cache, &change);
}

/* What had come before the cut is still taken, until there is a new connection. */
static void cut_or_mend(struct server *server)
{
    if (server->is_cut) {
        server->on_wire = 0;
        sttp_cache_clear(server->cache);
    } else {
        server->on_wire = below(server->on_wire + 1);
    }
    server->is_cut = !server->is_cut;
}

/* ---- questions ---- */

static void begin_question(int which)
{
    struct server *server = &servers[which];
    struct question *question = &server->questions[below(UNDER_WAY)];
    int number = (int)below(QUESTIONS);
    struct answer answer;
    if (question->state != FREE)
        return;
    *question = (struct question){
        .lease = {.action = number % 2 ? LIST : SHOW,
                  .path = slice_of(paths[number / 2]),
                  .complete = completed},
        .state = WAITING,
        .number = number,
        .asked = clock_now,
        .since = clock_now - COHERENCE,
        .least = histories[number].acknowledged[which],
    };
    sttp_cache_lease *lease = &question->lease;
    sttp_cache_turn turn = STTP_CACHE_HIT;
    if (!sttp_cache_get(server->cache, lease->action, lease->path, read_bytes, &answer))
        turn = sttp_cache_lease_take(server->cache, lease, read_bytes, &answer);
    if (turn == STTP_CACHE_FETCH)
        question->state = ASKING;
    if (turn != STTP_CACHE_HIT)
        return;
    hits++;
    question->state = FREE;
    check_answer(number, question->since, question->least, answer);
}

static sttp_response response_with(struct answer answer, sttp_slice path, char *text, size_t size)
{
    snprintf(text, size, "%u", answer.number);
    return response_of(answer.code, path, text);
}

static void answer_question(int which, struct question *question, struct answer answer)
{
    char text[16];
    sttp_response response = response_with(answer, question->lease.path, text, sizeof text);
    question->answer = answer;
    question->state = ANSWERED;
    sttp_cache_fill(servers[which].cache, &question->lease, &response);
}

/* Any of the answers that were put aside, if it does; if not, it may do while the storage is away.
 */
static bool take_over(int which, struct question *question)
{
    const struct kept *found = &kept[question->number][below(KEPT)];
    if (!found->is_used)
        return false;
    if (!sttp_cache_lease_holds(servers[which].cache, &question->lease, found->asked)) {
        char text[16];
        sttp_response response =
            response_with(found->answer, question->lease.path, text, sizeof text);
        sttp_cache_lease_spare(servers[which].cache, &question->lease, &response, found->asked);
        return false;
    }
    taken_over++;
    answer_question(which, question, found->answer);
    return true;
}

static void fail_question(int which, struct question *question)
{
    struct answer answer;
    sttp_response response = response_of(STTP_CODE_SERVER_ERROR, question->lease.path, NULL);
    question->state = FREE;
    allowed = STALE;
    if (sttp_cache_fill_unavailable(servers[which].cache, &question->lease, &response, read_bytes,
                                    &answer)) {
        stale_given++;
        check_answer(question->number, clock_now - STALE, question->least, answer);
    }
    allowed = 0;
}

/* One that goes on, if there is any. */
static struct question *begun_question(struct server *server)
{
    size_t first = below(UNDER_WAY), i = 0;
    while (i < UNDER_WAY && server->questions[(first + i) % UNDER_WAY].state == FREE)
        i++;
    return &server->questions[(first + i) % UNDER_WAY];
}

/* The storage holds a SHOW back while its server changes the path. */
static void go_on_with_question(int which)
{
    struct question *question = begun_question(&servers[which]);
    int number = question->number;
    if (question->state == ANSWERED) {
        question->state = FREE;
        if (question->answer.code != STTP_CODE_SERVER_ERROR)
            check_answer(number, question->since, question->least, question->answer);
    }
    if (question->state != ASKING || (below(4) > 0 && take_over(which, question)))
        return;
    if (servers[which].is_away) {
        fail_question(which, question);
    } else if (number % 2 || !is_changed(&servers[which], number / 2)) {
        struct answer answer = true_answer(number);
        kept[number][below(KEPT)] = (struct kept){true, question->asked, answer};
        answer_question(which, question, answer);
    }
}

/* ---- all of it ---- */

static void start_servers(bool leases_only)
{
    sttp_cache_options options = {.size = sizeof options,
                                  .max_entries = 8,
                                  .expiration = EXPIRATION,
                                  .coherence = COHERENCE,
                                  .stale_if_error = STALE,
                                  .leases_only = leases_only};
    for (int i = 0; i < NODES; i++) {
        snprintf(paths[i], sizeof paths[i], is_directory(i) ? "/%d" : "/%d/%d", i / (1 + FILES),
                 i % (1 + FILES));
        snprintf(targets[i], sizeof targets[i], "%s%s", paths[i], is_directory(i) ? "/" : "");
    }
    for (int i = 0; i < SERVERS; i++)
        ck_assert_int_eq(sttp_cache_create(&options, &servers[i].cache), STTP_OK);
    size_t first[QUESTIONS];
    note_truth(first);
}

static void step(int which)
{
    struct server *server = &servers[which];
    size_t choice = below(1000);
    if (choice < 300)
        begin_question(which);
    else if (choice < 600)
        go_on_with_question(which);
    else if (choice < 640)
        begin_change(server);
    else if (choice < 740)
        go_on_with_change(which);
    else if (choice < 800)
        tell(server, (struct told){.is_ping = true, .time = clock_now});
    else if (choice < 950)
        take_told(server);
    else if (choice < 952)
        cut_or_mend(server);
    else if (choice < 960)
        sttp_cache_expire(server->cache);
    else if (choice < 962)
        server->is_away = !server->is_away && below(4) == 0;
    else if (choice < 964)
        clock_now += below(COHERENCE);
    else
        clock_now += below(8);
}

START_TEST(no_answer_is_behind_by_more_than_it_may)
{
    uint64_t begun = clock_now;
    seed = random_seed();
    start_servers(_i == 1);
    for (size_t i = getenv("STTP_FULL") != NULL ? 30000000 : 2000000; i > 0; i--)
        step((int)below(SERVERS));
    printf("%u hits, %u taken over, %u while away; %u of all were behind\n", hits, taken_over,
           stale_given, behind);
    ck_assert_int_eq(hits > 1000, _i == 0);
    ck_assert_uint_gt(taken_over, 1000);
    ck_assert_uint_gt(behind, 1000);
    ck_assert_uint_gt(stale_given, 10);
    sttp_response response = response_of(STTP_CODE_SERVER_ERROR, slice_of("/"), NULL);
    for (int which = 0; which < SERVERS; which++) {
        for (int i = 0; i < UNDER_WAY; i++)
            if (servers[which].questions[i].state == ASKING)
                sttp_cache_fill(servers[which].cache, &servers[which].questions[i].lease,
                                &response);
        sttp_cache_destroy(servers[which].cache);
    }
    clock_now = begun; /* Check takes the time by it, too, and has no room for hours */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache_servers");
    TCase *tests = tcase_create("cache_servers");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, no_answer_is_behind_by_more_than_it_may, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
