/* The file system store with many at once: order on one path, the same directory made by many,
 * links that are swapped in, a full queue, a store that closes. */
#include <errno.h>
#include <semaphore.h>

#include "store_support.h"

enum { CREATORS = 16 };

struct creator {
    pthread_t thread;
    pthread_barrier_t *barrier;
    char path[64];
    char text[16];
    store_result result;
};

static void *create_one(void *argument)
{
    struct creator *creator = argument;
    pthread_barrier_wait(creator->barrier);
    creator->result = result_of(CREATE, creator->path, creator->text);
    return NULL;
}

static void create_together(struct creator *creators)
{
    pthread_barrier_t barrier;
    ck_assert_int_eq(pthread_barrier_init(&barrier, NULL, CREATORS), 0);
    for (int i = 0; i < CREATORS; i++) {
        creators[i].barrier = &barrier;
        snprintf(creators[i].text, sizeof creators[i].text, "text %d", i);
        ck_assert_int_eq(pthread_create(&creators[i].thread, NULL, create_one, &creators[i]), 0);
    }
    for (int i = 0; i < CREATORS; i++)
        ck_assert_int_eq(pthread_join(creators[i].thread, NULL), 0);
    pthread_barrier_destroy(&barrier);
}

/* The directories are missing each time, at different depths. */
START_TEST(same_missing_directory)
{
    struct creator creators[CREATORS];
    open_mode(_i);
    int descriptors = count_descriptors();
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < CREATORS; i++)
            snprintf(creators[i].path, sizeof creators[i].path, "/r%d/m/%s%d", round,
                     i % 2 == 0 ? "" : "deeper/", i);
        create_together(creators);
        for (int i = 0; i < CREATORS; i++) {
            ck_assert_int_eq(creators[i].result, STORE_DONE);
            ck_assert_str_eq(file_text(place("/root%s", creators[i].path)), creators[i].text);
        }
    }
    ck_assert_int_eq(count_entries(), 1 + 4 * (3 + CREATORS));
    ck_assert_int_eq(count_descriptors(), descriptors);
}
END_TEST

/* A directory vanishes whenever it is empty: each CREATE makes it anew. */
static atomic_bool removing;

static void *remove_again_and_again(void *argument)
{
    const char *directory = argument;
    while (atomic_load(&removing))
        rmdir(directory);
    return NULL;
}

static void expect_done(sttp_action action, const char *path, int round)
{
    struct outcome outcome = run(action, path, "x");
    ck_assert_msg(outcome.result == STORE_DONE, "round %d: %s %s gives %d, %s", round,
                  sttp_action_name(action), path, outcome.result, strerror(outcome.error));
}

START_TEST(vanishing_directory)
{
    pthread_t remover;
    char directory[400];
    snprintf(directory, sizeof directory, "%s/d", fixture.docroot);
    open_mode(_i);
    ((struct store_fs *)fixture.store)->durability = STORE_DURABILITY_NONE;
    atomic_store(&removing, true);
    ck_assert_int_eq(pthread_create(&remover, NULL, remove_again_and_again, directory), 0);
    for (int round = 0; round < 1000; round++) {
        const char *path = round % 2 == 0 ? "/d/f" : "/d/e/f";
        expect_done(CREATE, path, round);
        expect_done(DELETE, path, round);
        if (round % 2 == 1)
            expect_done(DELETE, "/d/e/", round);
    }
    atomic_store(&removing, false);
    ck_assert_int_eq(pthread_join(remover, NULL), 0);
}
END_TEST

START_TEST(same_file)
{
    struct creator creators[CREATORS];
    open_mode(_i);
    for (int round = 0; round < 4; round++) {
        int winner = -1;
        for (int i = 0; i < CREATORS; i++)
            snprintf(creators[i].path, sizeof creators[i].path, "/d/f%d", round);
        create_together(creators);
        for (int i = 0; i < CREATORS; i++) {
            ck_assert(creators[i].result == STORE_EXISTS ||
                      (creators[i].result == STORE_DONE && winner == -1));
            if (creators[i].result == STORE_DONE)
                winner = i;
        }
        ck_assert_int_ge(winner, 0);
        ck_assert_str_eq(file_text(place("/root%s", creators[0].path)), creators[winner].text);
    }
}
END_TEST

/* Operations of one path that are handed over together run in their order and complete in it. */
enum { MANY = 90 };

static int completed[MANY];
static atomic_int completions;
static sem_t all_done;
static store_operation many[MANY];

static void note_completion(store_operation *operation)
{
    int position = atomic_fetch_add(&completions, 1);
    completed[position] = (int)(operation - many);
    if (position == MANY - 1)
        sem_post(&all_done);
}

START_TEST(order_on_one_path)
{
    static char texts[MANY][16];
    put_file(place("/root/a"), "start");
    open_mode(_i);
    sem_init(&all_done, 0, 0);
    for (int i = 0; i < MANY; i++) {
        snprintf(texts[i], sizeof texts[i], "%d", i);
        many[i] = (store_operation){.action = i % 3 == 2 ? SHOW : UPDATE,
                                    .path = STTP_SLICE("/a"),
                                    .text = {texts[i], strlen(texts[i])},
                                    .complete = note_completion};
        fixture.store->submit(fixture.store, &many[i]);
    }
    sem_wait(&all_done);
    for (int i = 0; i < MANY; i++) {
        ck_assert_int_eq(completed[i], i);
        ck_assert_int_eq(many[i].result, STORE_DONE);
        const char *expected = texts[many[i].action == SHOW ? i - 1 : i];
        ck_assert_uint_eq(many[i].contents.size, strlen(expected));
        ck_assert_mem_eq(many[i].contents.data, expected, strlen(expected));
    }
    ck_assert_str_eq(file_text(place("/root/a")), texts[MANY - 2]);
}
END_TEST

/* One writes ever larger numbers, others read: nobody sees an older one than was acknowledged
 * before, or than somebody saw before. */
enum { NUMBERS = 60, READERS = 3 };

static atomic_int acknowledged, seen;
static atomic_bool writing;

static void *read_numbers(void *argument)
{
    bool *in_order = argument;
    *in_order = true;
    while (atomic_load(&writing)) {
        int before = atomic_load(&acknowledged), others = atomic_load(&seen);
        struct outcome outcome = run(SHOW, "/n", NULL);
        int now = outcome.result == STORE_DONE ? atoi(outcome.contents) : -1;
        *in_order = *in_order && now >= before && now >= others;
        while (others < now && !atomic_compare_exchange_weak(&seen, &others, now))
            ;
    }
    forget_contents();
    return NULL;
}

START_TEST(reads_and_changes)
{
    pthread_t readers[READERS];
    bool in_order[READERS];
    put_file(place("/root/n"), "0");
    open_mode(_i);
    atomic_store(&writing, true);
    for (int i = 0; i < READERS; i++)
        ck_assert_int_eq(pthread_create(&readers[i], NULL, read_numbers, &in_order[i]), 0);
    for (int i = 1; i <= NUMBERS; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        ck_assert_int_eq(result_of(UPDATE, "/n", text), STORE_DONE);
        atomic_store(&acknowledged, i);
    }
    atomic_store(&writing, false);
    for (int i = 0; i < READERS; i++) {
        ck_assert_int_eq(pthread_join(readers[i], NULL), 0);
        ck_assert(in_order[i]);
    }
}
END_TEST

/* A directory and a link to one outside change places all the time. */
static atomic_bool swapping;
static atomic_int swaps;

static void *swap(void *argument)
{
    (void)argument;
    char directory[400], link[400];
    snprintf(directory, sizeof directory, "%s/swap", fixture.docroot);
    snprintf(link, sizeof link, "%s/link", fixture.docroot);
    while (atomic_load(&swapping)) {
        if (renameat2(AT_FDCWD, directory, AT_FDCWD, link, RENAME_EXCHANGE) == 0)
            atomic_fetch_add(&swaps, 1);
    }
    return NULL;
}

static int shown_in_swap, secrets;

static void use_swapped(int round)
{
    char name[64], deep[64];
    snprintf(name, sizeof name, "/swap/new%d", round);
    snprintf(deep, sizeof deep, "/swap/d%d/e/f", round);
    struct outcome shown = run(SHOW, "/swap/x", NULL);
    shown_in_swap += shown.result == STORE_DONE;
    secrets += shown.result == STORE_DONE && strcmp(shown.contents, "inside") != 0;
    result_of(CREATE, name, "new");
    result_of(CREATE, deep, "new");
    result_of(UPDATE, "/swap/x", "inside");
    result_of(DELETE, "/swap/victim", NULL);
    struct outcome listed = run_query(LIST, "/", NULL, &(sttp_query){.recursive = true});
    secrets += listed.result == STORE_DONE && strstr(listed.contents, "only-outside") != NULL;
}

START_TEST(swapped_links)
{
    pthread_t swapper;
    mkdir(place("/outside"), 0755);
    put_file(place("/outside/x"), "secret");
    put_file(place("/outside/victim"), "secret");
    put_file(place("/outside/only-outside"), "secret");
    mkdir(place("/root/swap"), 0755);
    put_file(place("/root/swap/x"), "inside");
    ck_assert_int_eq(symlink("../outside", place("/root/link")), 0);
    open_mode(_i);
    ((struct store_fs *)fixture.store)->durability = STORE_DURABILITY_NONE;
    atomic_store(&swapping, true);
    ck_assert_int_eq(pthread_create(&swapper, NULL, swap, NULL), 0);
    /* On a busy machine one of the threads may rest for that long. */
    for (int round = 0; round < 100 || shown_in_swap == 0 || atomic_load(&swaps) <= 100; round++)
        use_swapped(round);
    atomic_store(&swapping, false);
    ck_assert_int_eq(pthread_join(swapper, NULL), 0);
    ck_assert_int_eq(secrets, 0);
    int entries = -2;
    DIR *outside = opendir(place("/outside"));
    while (readdir(outside) != NULL)
        entries++;
    closedir(outside);
    ck_assert_int_eq(entries, 3);
    ck_assert_str_eq(file_text(place("/outside/x")), "secret");
    ck_assert_str_eq(file_text(place("/outside/victim")), "secret");
    count_entries();
}
END_TEST

/* An operation whose completion holds its thread, and its path, until the gate opens. */
static sem_t held, gate;

static void hold(store_operation *operation)
{
    sem_post(&held);
    sem_wait(&gate);
    wake_up(operation);
}

static void occupy(struct waiting_operation *waiting)
{
    sem_init(&held, 0, 0);
    sem_init(&gate, 0, 0);
    fixture.store = open_store(0, &(struct store_fs_settings){.threads = 1, .queue = 3});
    prepare(waiting, CREATE, "/a", "1");
    waiting->operation.complete = hold;
    fixture.store->submit(fixture.store, &waiting->operation);
    sem_wait(&held);
}

START_TEST(full_queue)
{
    static const char *const paths[] = {"/a", "/a", "/b", "/c"};
    struct waiting_operation first, waiting[4], over;
    occupy(&first);
    for (int i = 0; i < 4; i++) {
        prepare(&waiting[i], i == 0 ? UPDATE : LIST, paths[i], "2");
        fixture.store->submit(fixture.store, &waiting[i].operation);
    }
    prepare(&over, UPDATE, "/a", "3");
    fixture.store->submit(fixture.store, &over.operation);
    bool at_once = over.done;
    sem_post(&gate);
    await(&first);
    await(&over);
    ck_assert(at_once);
    ck_assert_int_eq(over.operation.result, STORE_BUSY);
    ck_assert_int_eq(first.operation.result, STORE_DONE);
    for (int i = 0; i < 4; i++)
        await(&waiting[i]);
    ck_assert_int_eq(waiting[0].operation.result, STORE_DONE);
    ck_assert_int_eq(waiting[1].operation.result, STORE_IS_FILE);
    ck_assert_int_eq(waiting[2].operation.result, STORE_NOT_FOUND);
    ck_assert_str_eq(file_text(place("/root/a")), "2");
}
END_TEST

static void hold_all(struct waiting_operation *waiting, sttp_action action, int count)
{
    static const char *const paths[] = {"/a", "/b", "/c"};
    for (int i = 0; i < count; i++) {
        prepare(&waiting[i], action, paths[i % 3], "1");
        waiting[i].operation.complete = hold;
        fixture.store->submit(fixture.store, &waiting[i].operation);
    }
}

static void let_go(struct waiting_operation *waiting, int count)
{
    for (int i = 0; i < count; i++)
        sem_post(&gate);
    for (int i = 0; i < count; i++)
        await(&waiting[i]);
}

/* Of four threads and eight places three and six are the most that listings have: they hold up each
 * other and nothing else. Those that are held here have given their places back. */
START_TEST(listings_leave_room)
{
    struct waiting_operation waiting[9];
    sem_init(&held, 0, 0);
    sem_init(&gate, 0, 0);
    fixture.store = open_store(0, &(struct store_fs_settings){.threads = 4, .queue = 4});
    hold_all(waiting, LIST, 3);
    for (int i = 0; i < 3; i++)
        sem_wait(&held);
    hold_all(waiting + 3, LIST, 6);
    ck_assert_int_eq(result_of(LIST, "/", NULL), STORE_BUSY);
    ck_assert_int_eq(result_of(CREATE, "/x", "1"), STORE_DONE);
    let_go(waiting, 9);
}
END_TEST

static void *close_store(void *argument)
{
    (void)argument;
    close_fixture();
    return NULL;
}

/* What had begun ends as it does; what waits, for a thread or for its path, ends with STORE_BUSY.
 */
START_TEST(close_completes_all)
{
    static const char *const paths[] = {"/a", "/a", "/b"};
    struct waiting_operation first, waiting[3];
    pthread_t closer;
    occupy(&first);
    for (int i = 0; i < 3; i++) {
        prepare(&waiting[i], CREATE, paths[i], "2");
        fixture.store->submit(fixture.store, &waiting[i].operation);
    }
    pool *threads = ((struct store_fs *)fixture.store)->pool;
    ck_assert_int_eq(pthread_create(&closer, NULL, close_store, NULL), 0);
    while (pool_admit(threads, &waiting[0].operation))
        pool_release(threads, &waiting[0].operation);
    sem_post(&gate);
    ck_assert_int_eq(pthread_join(closer, NULL), 0);
    ck_assert_int_eq(first.operation.result, STORE_DONE);
    for (int i = 0; i < 3; i++) {
        ck_assert(waiting[i].done);
        ck_assert_int_eq(waiting[i].operation.result, STORE_BUSY);
    }
    ck_assert_str_eq(file_text(place("/root/a")), "1");
    ck_assert_int_eq(count_entries(), 2);
}
END_TEST

START_TEST(close_completes_listings)
{
    struct waiting_operation waiting[2];
    pthread_t closer;
    sem_init(&held, 0, 0);
    sem_init(&gate, 0, 0);
    fixture.store = open_store(0, &(struct store_fs_settings){.threads = 1, .queue = 4});
    hold_all(waiting, LIST, 2);
    sem_wait(&held);
    pool *threads = ((struct store_fs *)fixture.store)->pool;
    ck_assert_int_eq(pthread_create(&closer, NULL, close_store, NULL), 0);
    while (pool_admit(threads, &waiting[0].operation))
        pool_release(threads, &waiting[0].operation);
    let_go(waiting, 2);
    ck_assert_int_eq(pthread_join(closer, NULL), 0);
    ck_assert_int_eq(waiting[0].operation.result, STORE_NOT_FOUND);
    ck_assert_int_eq(waiting[1].operation.result, STORE_BUSY);
}
END_TEST

/* A change is seen by nobody before it is acknowledged: not even when it is done. */
START_TEST(show_waits_for_a_change)
{
    struct waiting_operation change, show;
    occupy(&change);
    prepare(&show, SHOW, "/a", NULL);
    fixture.store->submit(fixture.store, &show.operation);
    bool at_once = show.done;
    sem_post(&gate);
    await(&show);
    await(&change);
    ck_assert(!at_once);
    ck_assert_int_eq(show.operation.result, STORE_DONE);
    ck_assert_mem_eq(show.operation.contents.data, "1", 1);
}
END_TEST

/* The names that a directory's reader is told of, joined, and gives them back. */
static const char *replaced_in(struct fs_reading *reading)
{
    static char text[400];
    size_t size;
    fs_names_sort(&reading->replaced);
    char *joined = fs_names_join(&reading->replaced, &size);
    snprintf(text, sizeof text, "%.*s", (int)size, joined);
    free(joined);
    fs_names_free(&reading->replaced);
    return text;
}

/* Whoever reads a directory hears of each file that is replaced in it, from when it begins. */
START_TEST(replaced_while_read)
{
    static const char *const paths[] = {"/a", "/d/a", "/d/b", "/d/e/a", "/dd"};
    open_mode(_i);
    struct store_fs *fs = (struct store_fs *)fixture.store;
    fs->durability = STORE_DURABILITY_NONE;
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(result_of(CREATE, paths[i], "x"), STORE_DONE);
    static const struct fs_path d = {1, "d"}, top = {0, ""};
    static const struct fs_path old = {8, "d/before"}, now = {5, "d/now"}, new = {5, "d/new"};
    struct fs_reading directory = {.directory = &d}, root = {.directory = &top};
    store_operation nobody = {0};
    struct fs_step before = {.operation = &nobody, .path = &old, .replaces = true};
    struct fs_step under_way = {.operation = &nobody, .path = &now, .replaces = true};
    struct fs_step other = {.operation = &nobody, .path = &new};
    fs_step_begin(fs, &before);
    fs_step_begin(fs, &under_way);
    fs_step_end(fs, &before, STORE_DONE);
    fs_reading_begin(fs, &directory);
    fs_reading_begin(fs, &root);
    fs_step_begin(fs, &other); /* replaces nothing */
    for (int i = 0; i < 500; i++)
        ck_assert_int_eq(result_of(UPDATE, paths[i % 5], "y"), STORE_DONE);
    ck_assert_uint_le(directory.replaced.count, 64);
    fs_reading_end(fs, &directory);
    fs_step_end(fs, &under_way, STORE_DONE);
    fs_step_end(fs, &other, STORE_DONE);
    ck_assert_int_eq(result_of(UPDATE, "/dd", "z"), STORE_DONE);
    fs_reading_end(fs, &root);
    ck_assert_str_eq(replaced_in(&directory), "a, b, now");
    ck_assert_str_eq(replaced_in(&root), "a, dd");
    ck_assert_ptr_null(fs->readings);
    ck_assert_ptr_null(fs->steps);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_fs_races");
    TCase *tests = tcase_create("races");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, make_root, remove_root);
    tcase_add_loop_test(tests, same_missing_directory, 0, MODES);
    tcase_add_loop_test(tests, vanishing_directory, 0, MODES);
    tcase_add_loop_test(tests, same_file, 0, MODES);
    tcase_add_loop_test(tests, order_on_one_path, 0, MODES);
    tcase_add_loop_test(tests, reads_and_changes, 0, MODES);
    tcase_add_loop_test(tests, swapped_links, 0, MODES);
    tcase_add_loop_test(tests, replaced_while_read, 0, MODES);
    tcase_add_test(tests, full_queue);
    tcase_add_test(tests, listings_leave_room);
    tcase_add_test(tests, close_completes_all);
    tcase_add_test(tests, close_completes_listings);
    tcase_add_test(tests, show_waits_for_a_change);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
