/* What a store tells of changes that others make. */
#include <time.h>

#include "store_postgres_support.h"

enum { DEADLINE = 30 /* seconds */ };

/* What the watcher was told, in its order: "lost", "vouched", "C3 /a/b", ... */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t more;
    char text[8192];
    uint64_t vouched;
    int64_t earliest, latest;
    unsigned vouches, losses, clocks;
} told = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

static void tell(const char *word, sttp_slice path, size_t made)
{
    size_t used = strlen(told.text);
    snprintf(told.text + used, sizeof told.text - used, "%s%s%zu %.*s", used == 0 ? "" : ", ", word,
             made, (int)path.size, path.data);
}

static void on_changed(void *context, sttp_action action, sttp_slice path, size_t made)
{
    (void)context;
    pthread_mutex_lock(&told.lock);
    tell(action == CREATE ? "C" : action == UPDATE ? "U" : "D", path, made);
    pthread_cond_broadcast(&told.more);
    pthread_mutex_unlock(&told.lock);
}

static void on_lost(void *context)
{
    (void)context;
    pthread_mutex_lock(&told.lock);
    told.losses++;
    pthread_cond_broadcast(&told.more);
    pthread_mutex_unlock(&told.lock);
}

static void on_vouched(void *context, uint64_t time)
{
    (void)context;
    pthread_mutex_lock(&told.lock);
    ck_assert_uint_ge(told.losses, 1);
    ck_assert_uint_ge(time, told.vouched);
    told.vouched = time;
    told.vouches++;
    pthread_cond_broadcast(&told.more);
    pthread_mutex_unlock(&told.lock);
}

static void on_clock(void *context, int64_t earliest, int64_t latest)
{
    (void)context;
    pthread_mutex_lock(&told.lock);
    told.earliest = earliest;
    told.latest = latest;
    told.clocks++;
    pthread_mutex_unlock(&told.lock);
}

static const struct store_watcher watcher = {.interval = 20,
                                             .changed = on_changed,
                                             .lost = on_lost,
                                             .vouched = on_vouched,
                                             .clock = on_clock};

/* Waits until a condition on what was told is met. */
static void await_told(bool (*is_met)(uint64_t), uint64_t wanted)
{
    struct timespec deadline;
    int error = 0;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += DEADLINE;
    pthread_mutex_lock(&told.lock);
    while (!is_met(wanted) && error == 0)
        error = pthread_cond_timedwait(&told.more, &told.lock, &deadline);
    pthread_mutex_unlock(&told.lock);
    ck_assert_msg(error == 0, "told: %s", told.text);
}

static bool is_vouched(uint64_t since)
{
    return told.vouched > since;
}

static bool has_lost(uint64_t times)
{
    return told.losses >= times;
}

/* All that was committed until now has been told. */
static void catch_up(void)
{
    await_told(is_vouched, pg_now());
}

static void expect_told(const char *text)
{
    catch_up();
    pthread_mutex_lock(&told.lock);
    ck_assert_str_eq(told.text, text);
    told.text[0] = '\0';
    pthread_mutex_unlock(&told.lock);
}

static store *other;

static store_result by_other(sttp_action action, const char *path, const char *text)
{
    return run_query(other, action, path, text, NULL).result;
}

static void open_both(void)
{
    empty_database();
    opened = open_postgres(&(struct store_settings){.watcher = &watcher, .postgres_pool = 2});
    other = open_postgres(&(struct store_settings){.postgres_pool = 2});
    catch_up();
}

static void close_both(void)
{
    other->close(other);
    leave_database();
}

START_TEST(changes_by_others)
{
    ck_assert_uint_eq(told.losses, 1);
    ck_assert_int_eq(by_other(CREATE, "/a/b/c", "x"), STORE_DONE);
    /* The first attempt found no directory: what is tried is told with it, which harms nobody. */
    expect_told("C0 /a/b/c, C2 /a/b/c");
    ck_assert_int_eq(by_other(CREATE, "/a/d", "x"), STORE_DONE);
    ck_assert_int_eq(by_other(UPDATE, "/a/d", "y"), STORE_DONE);
    ck_assert_int_eq(by_other(DELETE, "/a/d", NULL), STORE_DONE);
    ck_assert_int_eq(by_other(DELETE, "/a/b/c", NULL), STORE_DONE);
    ck_assert_int_eq(by_other(DELETE, "/a/b/", NULL), STORE_DONE);
    expect_told("C0 /a/d, U0 /a/d, D0 /a/d, D0 /a/b/c, D0 /a/b/");
    ck_assert_uint_eq(told.losses, 1);
}
END_TEST

START_TEST(own_changes)
{
    ck_assert_int_eq(result_of(CREATE, "/a/b/c", "x"), STORE_DONE);
    ck_assert_int_eq(result_of(UPDATE, "/a/b/c", "y"), STORE_DONE);
    expect_told("");
    ck_assert_uint_eq(told.losses, 1);
}
END_TEST

/* Many, with paths of which few go into one notification: all are told. */
START_TEST(many_changes)
{
    enum { MANY = 300 };
    static struct waiting_operation some[MANY];
    static char paths[MANY][1000];
    char name[300];
    memset(name, 'd', 250);
    name[250] = '\0';
    ck_assert_int_eq(by_other(CREATE, "/x", ""), STORE_DONE);
    expect_told("C0 /x");
    snprintf(paths[0], sizeof paths[0], "/%s/%s/%s/first", name, name, name);
    ck_assert_int_eq(by_other(CREATE, paths[0], ""), STORE_DONE);
    catch_up();
    told.text[0] = '\0';
    for (int i = 0; i < MANY; i++) {
        snprintf(paths[i], sizeof paths[i], "/%s/%s/%s/%d", name, name, name, i);
        prepare(&some[i], CREATE, paths[i], "x");
        other->submit(other, &some[i].operation);
    }
    for (int i = 0; i < MANY; i++) {
        await(&some[i]);
        ck_assert_int_eq(some[i].operation.result, STORE_DONE);
    }
    catch_up();
    /* The text is cut; what counts is that nothing was lost, and that it came in parts. */
    ck_assert_uint_eq(strlen(told.text), sizeof told.text - 1);
    ck_assert_uint_eq(told.losses, 1);
}
END_TEST

START_TEST(payloads)
{
    enum { MANY = 40 };
    static char path[STTP_MAX_PATH + 1];
    static struct pg_task tasks[MANY];
    static store_operation operation;
    char payload[PG_PAYLOAD];
    unsigned notifications = 0;
    memset(path, 'p', STTP_MAX_PATH);
    operation = (store_operation){.action = CREATE, .path = {path, STTP_MAX_PATH}};
    for (int i = 0; i < MANY; i++)
        tasks[i] = (struct pg_task){.operation = &operation,
                                    .made = STTP_MAX_PATH,
                                    .next = i + 1 < MANY ? &tasks[i + 1] : NULL};
    size_t bytes = 0;
    for (const struct pg_task *task = tasks; task != NULL; notifications++)
        bytes += pg_payload("0123456789abcdef", &task, payload) - 16;
    ck_assert_uint_eq(bytes, MANY * (STTP_MAX_PATH + strlen(" C1024")));
    ck_assert_uint_eq(notifications, 6);
}
END_TEST

static void notify(const char *payload)
{
    char command[512];
    snprintf(command, sizeof command, "SELECT pg_notify('sttp_' || identity, '%s') FROM sttp_meta",
             payload);
    sql(command);
}

/* What cannot be read may have told of anything. */
START_TEST(foreign_words)
{
    static const char *const wrong[] = {"x Q0/a", "x C/a",     "x C0a", "x C9/a", "x C99999999/a",
                                        "x  ",    "x C0/a C1", "x C",   "x 0/a"};
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        notify(wrong[i]);
        await_told(has_lost, i + 2);
    }
    told.text[0] = '\0';
    notify("");
    notify("x P7");
    notify("x U0/a D0/d/");
    notify("unknown");
    expect_told("U0 /a, D0 /d/");
    ck_assert_uint_eq(told.losses, 1 + sizeof wrong / sizeof *wrong);
}
END_TEST

/* The connection that listens is cut: what was told meanwhile is lost, and that is said before
 * anything is vouched for again. */
START_TEST(cut)
{
    for (uint64_t i = 1; i <= 3; i++) {
        sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
            "'sttpd'");
        await_told(has_lost, 1 + i);
        catch_up();
    }
    while (by_other(CREATE, "/after", "x") != STORE_DONE)
        ; /* its connections were cut, too */
    catch_up();
    ck_assert_ptr_nonnull(strstr(told.text, "/after"));
}
END_TEST

START_TEST(clock_of_the_database)
{
    struct timespec real, monotonic;
    catch_up();
    pthread_mutex_lock(&told.lock);
    clock_gettime(CLOCK_REALTIME, &real);
    clock_gettime(CLOCK_MONOTONIC, &monotonic);
    int64_t ahead = ((int64_t)real.tv_sec - monotonic.tv_sec) * 1000000 +
                    (real.tv_nsec - monotonic.tv_nsec) / 1000;
    ck_assert_uint_ge(told.clocks, 1);
    /* The server is on this machine: it has the same clock. */
    ck_assert_int_le(told.earliest, ahead + 1000);
    ck_assert_int_ge(told.latest, ahead - 1000);
    ck_assert_int_le(told.latest - told.earliest, DEADLINE * 1000000LL);
    pthread_mutex_unlock(&told.lock);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_postgres_watch");
    TCase *both = tcase_create("both");
    tcase_set_timeout(both, 120);
    tcase_add_checked_fixture(both, open_both, close_both);
    tcase_add_test(both, changes_by_others);
    tcase_add_test(both, own_changes);
    tcase_add_test(both, many_changes);
    tcase_add_test(both, payloads);
    tcase_add_test(both, foreign_words);
    tcase_add_test(both, cut);
    tcase_add_test(both, clock_of_the_database);
    suite_add_tcase(suite, both);
    return run_suite(suite);
}
