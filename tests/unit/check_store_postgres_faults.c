/* What libpq or the network does wrong: calls of libpq that fail, connections that end at a moment
 * of the test's choice, memory that is out. The server is a real one. */
#include <errno.h>
#include <stdatomic.h>

#include "store_postgres_support.h"

/* ---- libpq's calls, some of which fail ---- */

enum call { SEND, SYNC, GET, FLUSH, CONSUME, CALLS };

static atomic_int fail_at[CALLS]; /* the call that fails, counted from 1; 0: none */
static atomic_bool armed;         /* only then they count: not while sessions are opened */

static bool fails(enum call call)
{
    return atomic_load(&armed) && atomic_load(&fail_at[call]) > 0 &&
           atomic_fetch_sub(&fail_at[call], 1) == 1;
}

static atomic_int
    commits_that_roll_back; /* so many of the next ones are a ROLLBACK for the server */

static const char *statement_for(const char *name)
{
    static char rollback[8];
    char commit[8];
    pg_statement_name(PG_COMMIT, commit);
    if (atomic_load(&commits_that_roll_back) == 0 || strcmp(name, commit) != 0)
        return name;
    atomic_fetch_sub(&commits_that_roll_back, 1);
    pg_statement_name(PG_ROLLBACK, rollback);
    return rollback;
}

int __real_PQsendQueryPrepared(PGconn *conn, const char *name, int count, const char *const *values,
                               const int *lengths, const int *formats, int format);
int __wrap_PQsendQueryPrepared(PGconn *conn, const char *name, int count, const char *const *values,
                               const int *lengths, const int *formats, int format);
int __wrap_PQsendQueryPrepared(PGconn *conn, const char *name, int count, const char *const *values,
                               const int *lengths, const int *formats, int format)
{
    return fails(SEND) ? 0
                       : __real_PQsendQueryPrepared(conn, statement_for(name), count, values,
                                                    lengths, formats, format);
}

int __real_PQpipelineSync(PGconn *conn);
int __wrap_PQpipelineSync(PGconn *conn);
int __wrap_PQpipelineSync(PGconn *conn)
{
    return fails(SYNC) ? 0 : __real_PQpipelineSync(conn);
}

PGresult *__real_PQgetResult(PGconn *conn);
PGresult *__wrap_PQgetResult(PGconn *conn);
PGresult *__wrap_PQgetResult(PGconn *conn)
{
    PGresult *result = __real_PQgetResult(conn);
    if (!fails(GET))
        return result;
    PQclear(result);
    return NULL;
}

int __real_PQflush(PGconn *conn);
int __wrap_PQflush(PGconn *conn);
int __wrap_PQflush(PGconn *conn)
{
    return fails(FLUSH) ? -1 : __real_PQflush(conn);
}

int __real_PQconsumeInput(PGconn *conn);
int __wrap_PQconsumeInput(PGconn *conn);
int __wrap_PQconsumeInput(PGconn *conn)
{
    return fails(CONSUME) ? 0 : __real_PQconsumeInput(conn);
}

static atomic_bool are_descriptors_out;
static atomic_int duplicates; /* that were asked for meanwhile */

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, int argument);
int __wrap_fcntl(int fd, int command, int argument)
{
    if (!atomic_load(&are_descriptors_out))
        return __real_fcntl(fd, command, argument);
    atomic_fetch_add(&duplicates, 1);
    errno = EMFILE;
    return -1;
}

static atomic_int calloc_fails; /* so many of the store's next ones */

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
    if (atomic_load(&calloc_fails) > 0) {
        atomic_fetch_sub(&calloc_fails, 1);
        return NULL;
    }
    return __real_calloc(count, size);
}

static void arm(enum call call, int number)
{
    atomic_store(&fail_at[call], number);
    atomic_store(&armed, true);
}

static void disarm(void)
{
    atomic_store(&armed, false);
}

/* ---- one connection, so that each call is one of the operation's ---- */

static void open_one(void)
{
    empty_database();
    opened = open_postgres(&(struct store_settings){.postgres_pool = 1});
    ck_assert_int_eq(result_of(CREATE, "/d/f", "old"), STORE_DONE);
}

/* What is there after a change of unknown outcome: one text or the other. */
static void expect_either(const char *path, const char *one, const char *other)
{
    struct outcome shown = run(SHOW, path, NULL);
    ck_assert_int_eq(shown.result, STORE_DONE);
    ck_assert_msg(strcmp(shown.contents, one) == 0 || strcmp(shown.contents, other) == 0, "%s",
                  shown.contents);
}

/* A statement that cannot be sent: nothing was done, and it is done on another connection. */
START_TEST(not_sent)
{
    /* BEGIN, UPDATE, the notification, COMMIT */
    for (int i = 1; i <= 4; i++) {
        char text[8];
        snprintf(text, sizeof text, "%d", i);
        arm(SEND, i);
        ck_assert_int_eq(result_of(UPDATE, "/d/f", text), STORE_DONE);
        ck_assert_int_eq(atomic_load(&fail_at[SEND]), 0);
        disarm();
        ck_assert_str_eq(run(SHOW, "/d/f", NULL).contents, text);
    }
    for (int i = 1; i <= 9; i++) {
        char path[32];
        snprintf(path, sizeof path, "/new%d/dir/f", i);
        arm(SEND, i);
        ck_assert_int_eq(result_of(CREATE, path, "x"), STORE_DONE);
        disarm();
        ck_assert_int_eq(result_of(CREATE, path, "x"), STORE_EXISTS);
    }
    arm(SEND, 1);
    ck_assert_str_eq(run(SHOW, "/d/f", NULL).contents, "4");
    arm(SEND, 3);
    ck_assert_str_eq(run(LIST, "/d", NULL).contents, "f");
    arm(SEND, 4);
    ck_assert_int_eq(result_of(DELETE, "/d/", NULL), STORE_NOT_EMPTY);
}
END_TEST

/* What was given up may be done after that: waits until only the connection of now is there. */
static void settle(void)
{
    do
        ck_assert_int_eq(run(SHOW, "/d/f", NULL).result, STORE_DONE);
    while (strcmp(sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sttpd'"),
                  "1") != 0);
}

/* Where COMMIT may be on its way, nobody knows. The store may make the call that fails before it
 * has the change, at the end of what it did last: then it is done on another connection. */
static void expect_unknown(enum call call)
{
    struct outcome outcome = {.result = STORE_DONE};
    for (int i = 0; i < 100 && outcome.result == STORE_DONE; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d.%d", (int)call, i);
        struct outcome before = run(SHOW, "/d/f", NULL);
        arm(call, 1);
        outcome = run(UPDATE, "/d/f", text);
        disarm();
        settle();
        expect_either("/d/f", outcome.result == STORE_DONE ? text : before.contents, text);
    }
    ck_assert_int_eq(outcome.result, STORE_OUTCOME_UNKNOWN);
}

START_TEST(unknown_outcome)
{
    expect_unknown(SYNC);
    expect_unknown(FLUSH);
    expect_unknown(CONSUME);
    ck_assert_int_eq(result_of(UPDATE, "/d/f", "z"), STORE_DONE);
    ck_assert_str_eq(run(SHOW, "/d/f", NULL).contents, "z");
    /* Nobody has seen it begin and not end; a text that was not acknowledged is never half. */
    for (int i = 1; i <= 4; i++) {
        struct outcome before = run(SHOW, "/d/f", NULL);
        char text[16];
        snprintf(text, sizeof text, "get %d", i);
        arm(GET, 2 * i - 1);
        struct outcome outcome = run(UPDATE, "/d/f", text);
        disarm();
        ck_assert(outcome.result == STORE_OUTCOME_UNKNOWN || outcome.result == STORE_DONE);
        settle();
        expect_either("/d/f", before.contents, text);
    }
}
END_TEST

/* The first COMMIT is one for the store alone. */
static void expect_done_again(sttp_action action, const char *path, const char *is_done)
{
    ck_assert_str_eq(sql(is_done), "f");
    atomic_store(&commits_that_roll_back, 1);
    ck_assert_int_eq(result_of(action, path, "new"), STORE_DONE);
    ck_assert_int_eq(atomic_load(&commits_that_roll_back), 0);
    ck_assert_msg(strcmp(sql(is_done), "t") == 0, "%s: acknowledged and lost", path);
}

/* A COMMIT that is answered by "ROLLBACK" has changed nothing: what it was for is done again. */
START_TEST(rolled_back)
{
    expect_done_again(UPDATE, "/d/f", "SELECT contents = 'new' FROM sttp_entry WHERE name = 'f'");
    expect_done_again(CREATE, "/d/g", "SELECT count(*) = 3 FROM sttp_entry");
    expect_done_again(CREATE, "/new/dir/f", "SELECT count(*) = 6 FROM sttp_entry");
    expect_done_again(DELETE, "/new/dir/f", "SELECT count(*) = 5 FROM sttp_entry");
    expect_done_again(DELETE, "/new/dir/", "SELECT count(*) = 4 FROM sttp_entry");
}
END_TEST

/* Reads are asked again. */
START_TEST(reads_go_on)
{
    for (enum call call = SYNC; call < CALLS; call++) {
        arm(call, 1);
        ck_assert_str_eq(run(SHOW, "/d/f", NULL).contents, "old");
        arm(call, 1);
        ck_assert_str_eq(run(LIST, "/", NULL).contents, "d/");
        arm(call, 1);
        ck_assert_str_eq(
            run_query(opened, LIST, "/", NULL, &(sttp_query){.recursive = true}).contents,
            "d/, d/f");
        disarm();
    }
}
END_TEST

START_TEST(no_memory)
{
    struct waiting_operation waiting;
    prepare(&waiting, SHOW, "/d/f", NULL);
    atomic_store(&calloc_fails, 1); /* path_queue's */
    opened->submit(opened, &waiting.operation);
    await(&waiting);
    ck_assert_int_eq(waiting.operation.result, STORE_NO_MEMORY);
    ck_assert_str_eq(run(SHOW, "/d/f", NULL).contents, "old");
    for (int i = 1; i < 12; i++) {
        struct store_settings settings = {.postgres_conninfo = conninfo(), .log = &quiet};
        char error[512];
        store *made;
        atomic_store(&calloc_fails, i);
        bool is_open = store_postgres_open(&settings, &made, error, sizeof error);
        atomic_store(&calloc_fails, 0);
        if (is_open)
            made->close(made);
        else
            ck_assert_uint_gt(strlen(error), 0);
        ck_assert(i > 1 || !is_open);
    }
}
END_TEST

/* A session that cannot be watched is none: the next is made after a pause. */
START_TEST(no_descriptors)
{
    atomic_store(&are_descriptors_out, true);
    sql("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = "
        "'sttpd'");
    ck_assert_int_eq(result_of(SHOW, "/d/f", NULL), STORE_UNAVAILABLE);
    atomic_store(&are_descriptors_out, false);
    ck_assert_int_ge(atomic_load(&duplicates), 2);
    ck_assert_int_lt(atomic_load(&duplicates), 50);
    while (result_of(SHOW, "/d/f", NULL) != STORE_DONE)
        sql("SELECT pg_sleep(0.01)");
}
END_TEST

static atomic_int event_fails_at; /* the allocation of libevent's that fails */

static bool event_fails(void)
{
    return atomic_load(&event_fails_at) > 0 && atomic_fetch_sub(&event_fails_at, 1) == 1;
}

static void *event_malloc(size_t size)
{
    return event_fails() ? NULL : malloc(size);
}

static void *event_realloc(void *block, size_t size)
{
    return event_fails() ? NULL : realloc(block, size);
}

/* The store opens, or says why not; what it could not watch it connects again. */
START_TEST(no_memory_for_events)
{
    bool failed = true;
    opened->close(opened);
    opened = NULL;
    event_set_mem_functions(event_malloc, event_realloc, free);
    for (int n = 1; failed; n++) {
        struct store_settings settings = {
            .postgres_conninfo = conninfo(), .postgres_pool = 1, .log = &quiet};
        char error[512];
        atomic_store(&event_fails_at, n);
        bool is_open = store_postgres_open(&settings, &opened, error, sizeof error);
        failed = atomic_exchange(&event_fails_at, 0) <= 0;
        ck_assert_int_eq(is_open, error[0] == '\0');
        if (!is_open)
            continue;
        ck_assert_str_eq(run(SHOW, "/d/f", NULL).contents, "old");
        opened->close(opened);
        opened = NULL;
    }
}
END_TEST

/* ---- the server ends connections ---- */

static void *cut_all_the_time(void *going)
{
    PGconn *cutter = PQconnectdb(conninfo());
    while (atomic_load((atomic_bool *)going)) {
        PQclear(PQexec(cutter, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
                               "application_name = 'sttpd'"));
        PQclear(PQexec(cutter, "SELECT pg_sleep(0.05)"));
    }
    PQfinish(cutter);
    return NULL;
}

/* Each change is acknowledged and there, or of unknown outcome and there or not. */
START_TEST(cut_again_and_again)
{
    enum { WANTED = 300 };
    atomic_bool going = true;
    pthread_t thread;
    int done = 0, unknown = 0;
    ck_assert_int_eq(pthread_create(&thread, NULL, cut_all_the_time, &going), 0);
    for (int i = 0; done < WANTED; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        store_result result = result_of(UPDATE, "/d/f", text);
        ck_assert_msg(result == STORE_DONE || result == STORE_OUTCOME_UNKNOWN ||
                          result == STORE_UNAVAILABLE || result == STORE_BUSY,
                      "%d", (int)result);
        done += result == STORE_DONE;
        unknown += result == STORE_OUTCOME_UNKNOWN;
        struct outcome shown = run(SHOW, "/d/f", NULL);
        if (shown.result != STORE_DONE)
            continue;
        if (result == STORE_DONE)
            ck_assert_str_eq(shown.contents, text);
        else if (result != STORE_OUTCOME_UNKNOWN)
            ck_assert_str_ne(shown.contents, text);
    }
    atomic_store(&going, false);
    pthread_join(thread, NULL);
    printf("%d done, %d of unknown outcome\n", done, unknown);
}
END_TEST

/* ---- what failures mean ---- */

START_TEST(verdicts)
{
    static const struct {
        const char *state;
        enum pg_verdict verdict;
        store_result result;
    } known[] = {
        {"40001", PG_REPEAT, STORE_IO},         {"40P01", PG_REPEAT, STORE_IO},
        {"55P03", PG_PART, STORE_IO},           {"57P01", PG_MOVE, STORE_IO},
        {"57P02", PG_MOVE, STORE_IO},           {"57P03", PG_MOVE, STORE_IO},
        {"25006", PG_MOVE, STORE_READ_ONLY},    {"08006", PG_MOVE, STORE_IO},
        {"26000", PG_MOVE, STORE_IO},           {"53100", PG_GIVE_UP, STORE_NO_SPACE},
        {"53200", PG_GIVE_UP, STORE_NO_MEMORY}, {"53300", PG_GIVE_UP, STORE_UNAVAILABLE},
        {"42501", PG_GIVE_UP, STORE_DENIED},    {"57014", PG_GIVE_UP, STORE_IO},
        {"XX000", PG_GIVE_UP, STORE_IO},        {"42P01", PG_GIVE_UP, STORE_IO},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        ck_assert_msg(pg_verdict_of(known[i].state) == known[i].verdict, "%s", known[i].state);
        ck_assert_msg(pg_result_of(known[i].state) == known[i].result, "%s", known[i].state);
    }
}
END_TEST

/* One that the database refuses fails alone, whatever it was sent together with. */
START_TEST(one_of_many_is_refused)
{
    enum { MANY = 100 };
    static struct waiting_operation some[MANY];
    static char paths[MANY][32];
    sql("ALTER TABLE sttp_entry ADD CHECK (contents <> 'refuse me')");
    for (int i = 0; i < MANY; i++) {
        snprintf(paths[i], sizeof *paths, "/d/%d", i);
        prepare(&some[i], CREATE, paths[i], i == 50 ? "refuse me" : "fine");
        opened->submit(opened, &some[i].operation);
    }
    for (int i = 0; i < MANY; i++) {
        await(&some[i]);
        ck_assert_msg(some[i].operation.result == (i == 50 ? STORE_IO : STORE_DONE), "%d: %d", i,
                      (int)some[i].operation.result);
    }
    ck_assert_str_eq(sql("SELECT count(*) FROM sttp_entry WHERE contents = 'fine'"), "99");
}
END_TEST

/* A commit that is confirmed with a warning may not be as durable as it should. */
START_TEST(warned)
{
    sql("CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING "
        "'not everywhere'; RETURN NEW; END $$");
    sql("CREATE CONSTRAINT TRIGGER warning AFTER UPDATE ON sttp_entry DEFERRABLE INITIALLY "
        "DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION warn()");
    ck_assert_int_eq(result_of(UPDATE, "/d/f", "new"), STORE_OUTCOME_UNKNOWN);
    sql("DROP FUNCTION warn() CASCADE");
    ck_assert_int_eq(result_of(UPDATE, "/d/f", "newer"), STORE_DONE);
    expect_either("/d/f", "newer", "newer");
}
END_TEST

/* What others have locked holds up nothing but itself, and not for ever. */
START_TEST(locked)
{
    struct waiting_operation waiting;
    leave_database();
    open_one();
    opened->close(opened);
    opened = open_postgres(&(struct store_settings){.postgres_pool = 4});
    ck_assert_int_eq(result_of(CREATE, "/d/other", "x"), STORE_DONE);
    sql("BEGIN");
    sql("SELECT 1 FROM sttp_entry WHERE name = 'f' FOR UPDATE");
    prepare(&waiting, UPDATE, "/d/f", "new");
    opened->submit(opened, &waiting.operation);
    ck_assert_str_eq(run(SHOW, "/d/other", NULL).contents, "x");
    ck_assert_int_eq(result_of(UPDATE, "/d/other", "y"), STORE_DONE);
    sql("ROLLBACK");
    await(&waiting);
    ck_assert_int_eq(waiting.operation.result, STORE_DONE);
}
END_TEST

/* Those that were sent together with one that is locked for too long are done without it. */
START_TEST(locked_for_long)
{
    enum { MANY = 20 };
    static struct waiting_operation some[MANY];
    static char paths[MANY][32];
    sql("BEGIN");
    sql("SELECT 1 FROM sttp_entry WHERE name = 'f' FOR UPDATE");
    for (int i = 0; i < MANY; i++) {
        snprintf(paths[i], sizeof *paths, i == 0 ? "/d/f" : "/d/%d", i);
        prepare(&some[i], i == 0 ? UPDATE : CREATE, paths[i], "new");
        opened->submit(opened, &some[i].operation);
    }
    for (int i = MANY - 1; i >= 0; i--) {
        await(&some[i]);
        ck_assert_msg(some[i].operation.result == (i == 0 ? STORE_BUSY : STORE_DONE), "%d: %d", i,
                      (int)some[i].operation.result);
    }
    sql("ROLLBACK");
    ck_assert_str_eq(run(SHOW, "/d/f", NULL).contents, "old");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_postgres_faults");
    TCase *one = tcase_create("one");
    tcase_set_timeout(one, 120);
    tcase_add_checked_fixture(one, open_one, leave_database);
    tcase_add_test(one, not_sent);
    tcase_add_test(one, unknown_outcome);
    tcase_add_test(one, rolled_back);
    tcase_add_test(one, reads_go_on);
    tcase_add_test(one, no_memory);
    tcase_add_test(one, no_descriptors);
    tcase_add_test(one, no_memory_for_events);
    tcase_add_test(one, cut_again_and_again);
    tcase_add_test(one, verdicts);
    tcase_add_test(one, one_of_many_is_refused);
    tcase_add_test(one, warned);
    tcase_add_test(one, locked);
    tcase_add_test(one, locked_for_long);
    suite_add_tcase(suite, one);
    return run_suite(suite);
}
