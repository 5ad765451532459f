/* Random operations give the same on the SQLite store as on the file system store: the same
 * results, texts and listings; now and then the store is opened again, and the index for search is
 * whatever the writer has got to by then. STTP_SEED=N repeats a run. */
#include "sttpd/store_fs.h"

#include "store_sqlite_support.h"

enum { OPERATIONS = 6000, PATHS = 5 };

static uint64_t state;

static unsigned chance(unsigned below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(state >> 33) % below;
}

static const char *pick(const char *const *words, unsigned count)
{
    return words[chance(count)];
}

#define PICK(words) pick(words, sizeof(words) / sizeof *(words))

static void random_path(char *path, size_t size, bool slash)
{
    static const char *const names[] = {"a", "b", "a-", "a.", "A", "a0", "\u00e4", "name%41"};
    unsigned depth = 1 + chance(3);
    size_t used = 0;
    for (unsigned i = 0; i < depth; i++)
        used += (size_t)snprintf(path + used, size - used, "/%s", PICK(names));
    if (slash)
        snprintf(path + used, size - used, "/");
}

static const char *random_text(char *text, size_t size)
{
    static const char *const words[] = {"milk",       "MILK",      "Buy milk",        "",
                                        "\u00c4pfel", "ap",        "the quick brown", "\"quoted\"",
                                        "a\tb",       "brown milk"};
    snprintf(text, size, "%s%s%s", PICK(words), chance(2) ? " " : "", PICK(words));
    return text;
}

static sttp_query random_query(char *after, size_t size)
{
    static const char *const needles[] = {"milk",     "ilk",      "Mi",  "",   "own m",
                                          "\u00c4pf", "\u00e4pf", "\"q", "xyz"};
    static const char *const patterns[] = {"a*", "?", "*", "a?", "b"};
    sttp_query query = {.recursive = chance(2)};
    if (chance(2)) {
        query.text = slice(PICK(needles));
        query.type = STTP_LIST_FILES;
    } else if (chance(3) == 0) {
        query.type = chance(2) ? STTP_LIST_FILES : STTP_LIST_DIRECTORIES;
    }
    if (chance(4) == 0)
        query.name = slice(PICK(patterns));
    if (chance(3) == 0) {
        random_path(after, size, chance(2));
        query.after = slice(after + 1);
    }
    if (chance(2))
        query.limit = 1 + chance(5);
    return query;
}

/* A random operation on both. */
static void step(store *files, int number)
{
    char path[128], text[64], after[128], *expected = NULL;
    sttp_action action = (sttp_action)(STTP_ACTION_CREATE + chance(5));
    sttp_query query = {.limit = 0};
    bool slash = (action == DELETE || action == LIST) && chance(2);
    random_path(path, sizeof path, slash);
    if (action == LIST && chance(2))
        snprintf(path, sizeof path, "/");
    if (action == LIST)
        query = random_query(after, sizeof after);
    random_text(text, sizeof text);
    struct outcome wanted = run_on(files, action, path, text, &query);
    if (wanted.contents != NULL)
        expected = strdup(wanted.contents);
    struct outcome outcome = run_on(fixture.store, action, path, text, &query);
    ck_assert_msg(outcome.result == wanted.result &&
                      strcmp(expected == NULL ? "" : expected,
                             outcome.contents == NULL ? "" : outcome.contents) == 0,
                  "operation %d: action %d of %s (q %.*s, recursive %d, limit %u, after %.*s): "
                  "%d \"%s\", not %d \"%s\"",
                  number, action, path, (int)query.text.size, query.text.data, query.recursive,
                  query.limit, (int)query.after.size, query.after.data, outcome.result,
                  outcome.contents == NULL ? "" : outcome.contents, wanted.result,
                  expected == NULL ? "" : expected);
    free(expected);
}

START_TEST(same_as_files)
{
    char docroot[300], error[512];
    const char *seed = getenv("STTP_SEED");
    store *files;
    state = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL) * 1000 + (uint64_t)_i;
    printf("STTP_SEED=%llu\n", (unsigned long long)state);
    snprintf(docroot, sizeof docroot, "%s/files", fixture.directory);
    ck_assert_int_eq(mkdir(docroot, 0755), 0);
    struct store_fs_settings settings = {.docroot = docroot, .durability = STORE_DURABILITY_NONE};
    ck_assert(store_fs_open(&settings, &files, error, sizeof error));
    struct store_settings quick = {.durability = STORE_DURABILITY_NONE};
    fixture.store = open_with(&quick);
    for (int i = 0; i < OPERATIONS; i++) {
        step(files, i);
        if (chance(500) == 0)
            wait_for_index();
        if (chance(1000) == 0) {
            close_store();
            fixture.store = open_with(&quick);
        }
    }
    ck_assert_int_eq(files->close(files), 0);
    wait_for_index();
    /* Of all that came and went the index has what is there. */
    sql("CREATE TEMP VIEW texts AS SELECT id FROM entry WHERE text LIKE '%%ilk%%'");
    ck_assert_str_eq(sql("SELECT count(*) FROM (SELECT id FROM texts EXCEPT "
                         "SELECT rowid FROM search WHERE search MATCH '\"ilk\"')"),
                     "0");
    ck_assert_str_eq(sql("SELECT count(*) FROM (SELECT rowid FROM search WHERE search MATCH "
                         "'\"ilk\"' EXCEPT SELECT id FROM texts)"),
                     "0");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_sqlite_property");
    TCase *tests = tcase_create("random");
    tcase_set_timeout(tests, 100);
    tcase_add_checked_fixture(tests, make_directory, remove_directory);
    tcase_add_loop_test(tests, same_as_files, 0, 3);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
