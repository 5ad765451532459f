/* The cache in front of a small tree of directories in memory, asked and changed by many threads:
 * everything that can be asked, every kind of change. STTP_FULL has full counts.
 *
 * Each change that succeeds has a version. Whoever was told that a change was made, or was given an
 * answer that it has caused, tells everybody; and no answer to who asks from then on may be one
 * that this change, or a later one, has made untrue. So each question has a history of its answers.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include <sttp/cache.h>

#include "core_support.h"

/* The root, TOPS directories in it, in each SUBS, in each of those FILES. */
enum { TOPS = 2, SUBS = 2, FILES = 2 };
enum {
    FIRST_SUB = 1 + TOPS,
    FIRST_FILE = FIRST_SUB + TOPS * SUBS,
    NODES = FIRST_FILE + TOPS * SUBS * FILES,
    QUESTIONS = 2 * NODES, /* SHOW and LIST of each */
    THREADS = 8,
    ENTRIES = 8
};

static sttp_cache *cache;
static size_t operations; /* of each thread */

/* ---- the tree ---- */

struct answer {
    sttp_code code;
    unsigned number; /* 200: the version of a file's text, or of the names in a directory */
};

struct happened {
    unsigned version;
    struct answer answer;
};

static struct node {
    char path[16];
    int parent;
    pthread_rwlock_t turn; /* changes of the path run alone, and SHOWs wait for them */
    bool is_there;
    unsigned number;
} nodes[NODES];

/* Under `lock`, with `is_there` and `number` of the nodes. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned version;  /* changes until now */
static uint64_t *touched; /* by each version: a bit for each question whose answer it changed */
static struct history {
    struct happened *all;
    size_t count, room;
    unsigned known; /* the last version in it that anybody was told of */
} histories[QUESTIONS];

static bool is_file(int node)
{
    return node >= FIRST_FILE;
}

static struct answer true_answer(int question)
{
    int node = question / 2;
    bool is_list = question % 2;
    if (!nodes[nodes[node].parent].is_there)
        return (struct answer){STTP_CODE_PATH_NOT_FOUND, 0};
    if (!nodes[node].is_there)
        return (struct answer){STTP_CODE_NOT_FOUND, 0};
    if (is_file(node) == is_list)
        return (struct answer){STTP_CODE_CLIENT_ERROR, 0};
    return (struct answer){STTP_CODE_OK, nodes[node].number};
}

static bool is_same(struct answer a, struct answer b)
{
    return a.code == b.code && a.number == b.number;
}

/* Notes the answers that are new. */
static void note_answers(void)
{
    touched[version] = 0;
    for (int i = 0; i < QUESTIONS; i++) {
        struct history *history = &histories[i];
        struct answer answer = true_answer(i);
        if (history->count > 0 && is_same(history->all[history->count - 1].answer, answer))
            continue;
        if (history->count == history->room) {
            history->room = 2 * history->room + 64;
            history->all = realloc(history->all, history->room * sizeof *history->all);
            ck_assert_ptr_nonnull(history->all);
        }
        history->all[history->count++] = (struct happened){version, answer};
        touched[version] |= UINT64_C(1) << i;
    }
}

static void tell(unsigned which)
{
    for (int i = 0; i < QUESTIONS; i++)
        if (touched[which] >> i & 1 && histories[i].known < which)
            histories[i].known = which;
}

/* ---- changes ---- */

static bool is_empty(int directory)
{
    for (int i = 1; i < NODES; i++)
        if (nodes[i].parent == directory && nodes[i].is_there)
            return false;
    return true;
}

static bool is_possible(sttp_action action, int node)
{
    if (action == STTP_ACTION_CREATE)
        return !nodes[node].is_there;
    return nodes[node].is_there && is_empty(node);
}

/* The topmost directory that a CREATE has to make; 0: none. */
static int topmost_missing(int node)
{
    int missing = 0;
    for (int i = nodes[node].parent; !nodes[i].is_there; i = nodes[i].parent)
        missing = i;
    return missing;
}

static void set_there(int node, bool is_there)
{
    nodes[node].is_there = is_there;
    nodes[node].number = nodes[nodes[node].parent].number = version;
}

/* The step that everybody sees. */
static unsigned make_visible(sttp_action action, int node)
{
    version++;
    if (action == STTP_ACTION_UPDATE)
        nodes[node].number = version;
    else
        set_there(node, action == STTP_ACTION_CREATE);
    for (int i = nodes[node].parent; !nodes[i].is_there; i = nodes[i].parent)
        set_there(i, true);
    note_answers();
    return version;
}

static int missing_now(int node)
{
    pthread_mutex_lock(&lock);
    int missing = topmost_missing(node);
    pthread_mutex_unlock(&lock);
    return missing;
}

/* False where directories have come or gone meanwhile: then it is to be tried again. */
static bool try_change(sttp_action action, int node, const char *path)
{
    int missing = action == STTP_ACTION_CREATE ? missing_now(node) : 0;
    sttp_cache_change change = {.action = action, .path = slice_of(path)};
    if (missing > 0)
        change.made = (sttp_slice){path, strlen(nodes[missing].path)};
    unsigned made = 0;
    sttp_cache_change_begin(cache, &change);
    sched_yield();
    pthread_mutex_lock(&lock);
    bool again = action == STTP_ACTION_CREATE && topmost_missing(node) != missing;
    if (!again && is_possible(action, node))
        made = make_visible(action, node);
    pthread_mutex_unlock(&lock);
    sched_yield();
    sttp_cache_change_end(cache, &change);
    pthread_mutex_lock(&lock);
    tell(made);
    pthread_mutex_unlock(&lock);
    return !again;
}

static void change(sttp_action action, int node)
{
    char path[20];
    snprintf(path, sizeof path, "%s%s", nodes[node].path, is_file(node) ? "" : "/");
    pthread_rwlock_wrlock(&nodes[node].turn);
    while (!try_change(action, node, path))
        ;
    pthread_rwlock_unlock(&nodes[node].turn);
}

/* ---- questions ---- */

struct asked {
    sttp_cache_lease lease; /* first */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
    struct answer answer;
};

static unsigned number_of(const char *digits)
{
    return (unsigned)strtoul(digits, NULL, 10);
}

static void complete(sttp_cache_lease *lease, const sttp_response *response)
{
    struct asked *asked = (struct asked *)lease;
    pthread_mutex_lock(&asked->lock);
    asked->answer.code = response->code;
    if (response->code == STTP_CODE_OK)
        asked->answer.number = number_of(response->contents.data);
    asked->done = true;
    pthread_cond_signal(&asked->changed);
    pthread_mutex_unlock(&asked->lock);
}

static void take(void *answer, sttp_slice response)
{
    struct answer *taken = answer;
    taken->code = (sttp_code)number_of(response.data);
    if (taken->code == STTP_CODE_OK)
        taken->number = number_of((const char *)memchr(response.data, '\n', response.size) + 1);
}

static struct answer ask_storage(int question)
{
    pthread_rwlock_t *turn = &nodes[question / 2].turn;
    bool waits = question % 2 == 0;
    if (waits)
        pthread_rwlock_rdlock(turn);
    pthread_mutex_lock(&lock);
    struct answer answer = true_answer(question);
    pthread_mutex_unlock(&lock);
    if (waits)
        pthread_rwlock_unlock(turn);
    return answer;
}

static void fetch(struct asked *asked, int question)
{
    char text[16];
    asked->answer = ask_storage(question);
    sttp_response response = {.code = asked->answer.code, .echo = asked->lease.path};
    if (response.code == STTP_CODE_OK)
        response.contents =
            (sttp_slice){text, (size_t)snprintf(text, sizeof text, "%u", asked->answer.number)};
    if (response.code == STTP_CODE_PATH_NOT_FOUND)
        response.echo = sttp_parent_path(asked->lease.path);
    if (response.code == STTP_CODE_CLIENT_ERROR)
        response.message = slice_of("no");
    sched_yield();
    sttp_cache_fill(cache, &asked->lease, &response);
}

static struct answer ask(int question)
{
    struct asked asked = {.lease = {.action = question % 2 ? STTP_ACTION_LIST : STTP_ACTION_SHOW,
                                    .path = slice_of(nodes[question / 2].path),
                                    .complete = complete},
                          .lock = PTHREAD_MUTEX_INITIALIZER,
                          .changed = PTHREAD_COND_INITIALIZER};
    if (sttp_cache_get(cache, asked.lease.action, asked.lease.path, take, &asked.answer))
        return asked.answer;
    sttp_cache_turn turn = sttp_cache_lease_take(cache, &asked.lease, take, &asked.answer);
    if (turn == STTP_CACHE_FETCH)
        fetch(&asked, question);
    if (turn != STTP_CACHE_WAIT)
        return asked.answer;
    pthread_mutex_lock(&asked.lock);
    while (!asked.done)
        pthread_cond_wait(&asked.changed, &asked.lock);
    pthread_mutex_unlock(&asked.lock);
    return asked.answer;
}

/* ---- the judge ---- */

static unsigned untrue;

/* The first answer like this that was true at the version `known` or since. */
static const struct happened *find(const struct history *history, unsigned known,
                                   struct answer answer)
{
    size_t i = history->count;
    while (history->all[i - 1].version > known)
        i--;
    for (; i <= history->count; i++)
        if (is_same(history->all[i - 1].answer, answer))
            return &history->all[i - 1];
    return NULL;
}

static void ask_and_judge(int question)
{
    const struct history *history = &histories[question];
    pthread_mutex_lock(&lock);
    unsigned known = history->known;
    pthread_mutex_unlock(&lock);
    struct answer answer = ask(question);
    pthread_mutex_lock(&lock);
    const struct happened *happened = find(history, known, answer);
    if (happened != NULL) {
        tell(happened->version);
    } else if (untrue++ == 0) {
        const struct answer now = history->all[history->count - 1].answer;
        printf("%s %s: %d %u, which was untrue since version %u; now %d %u\n",
               question % 2 ? "LIST" : "SHOW", nodes[question / 2].path, (int)answer.code,
               answer.number, known, (int)now.code, now.number);
    }
    pthread_mutex_unlock(&lock);
}

static void *load(void *argument)
{
    uint64_t state = *(uint64_t *)argument;
    for (size_t i = operations; i > 0; i--) {
        int file = FIRST_FILE + (int)random_below(&state, NODES - FIRST_FILE);
        size_t choice = random_below(&state, 1000);
        if (choice < 100)
            change(STTP_ACTION_CREATE, file);
        else if (choice < 130)
            change(STTP_ACTION_UPDATE, file);
        else if (choice < 230)
            change(STTP_ACTION_DELETE, file);
        else if (choice < 330)
            change(STTP_ACTION_DELETE, 1 + (int)random_below(&state, FIRST_FILE - 1));
        else if (choice == 330)
            sttp_cache_clear(cache);
        else
            ask_and_judge((int)random_below(&state, QUESTIONS));
    }
    return NULL;
}

static void add_node(int node, int parent, int name)
{
    nodes[node].parent = parent;
    size_t size = parent == 0 ? 0 : strlen(nodes[parent].path);
    memcpy(nodes[node].path, nodes[parent].path, size);
    nodes[node].path[size] = '/';
    nodes[node].path[size + 1] = (char)('0' + name);
}

static void plant(void)
{
    sttp_cache_options options = {.size = sizeof options, .max_entries = ENTRIES};
    ck_assert_int_eq(sttp_cache_create(&options, &cache), STTP_OK);
    for (int i = 1; i < NODES; i++) {
        if (i < FIRST_SUB)
            add_node(i, 0, i - 1);
        else if (i < FIRST_FILE)
            add_node(i, 1 + (i - FIRST_SUB) / SUBS, (i - FIRST_SUB) % SUBS);
        else
            add_node(i, FIRST_SUB + (i - FIRST_FILE) / FILES, (i - FIRST_FILE) % FILES);
    }
    for (int i = 0; i < NODES; i++)
        pthread_rwlock_init(&nodes[i].turn, NULL);
    strcpy(nodes[0].path, "/");
    nodes[0].is_there = true;
    operations = getenv("STTP_FULL") != NULL ? 400000 : 20000;
    touched = calloc(THREADS * operations + 1, sizeof *touched);
    ck_assert_ptr_nonnull(touched);
    note_answers();
}

static void fell(void)
{
    for (int i = 0; i < QUESTIONS; i++)
        free(histories[i].all);
    for (int i = 0; i < NODES; i++)
        pthread_rwlock_destroy(&nodes[i].turn);
    free(touched);
    sttp_cache_destroy(cache);
}

START_TEST(no_thread_is_told_what_is_untrue)
{
    pthread_t threads[THREADS];
    uint64_t states[THREADS];
    uint64_t seed = random_seed();
    for (int i = 0; i < THREADS; i++) {
        states[i] = seed + 2 * (uint64_t)i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, load, &states[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    sttp_cache_statistics counts;
    sttp_cache_count(cache, &counts);
    printf("%u changes, %llu hits, %llu misses, %llu waited, %llu revoked\n", version,
           (unsigned long long)counts.hits, (unsigned long long)counts.misses,
           (unsigned long long)counts.waiters, (unsigned long long)counts.revocations);
    ck_assert_uint_eq(untrue, 0);
    ck_assert_uint_gt(counts.hits, 0);
    ck_assert_uint_gt(counts.waiters, 0);
    ck_assert_uint_gt(counts.evictions, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache_tree");
    TCase *tests = tcase_create("tree");
    tcase_set_timeout(tests, 600);
    tcase_add_checked_fixture(tests, plant, fell);
    tcase_add_test(tests, no_thread_is_told_what_is_untrue);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
