/* What the tests of the SQLite store share: a directory of their own with the database in it, and a
 * connection beside the store's. */
#ifndef STTP_TESTS_STORE_SQLITE_SUPPORT_H
#define STTP_TESTS_STORE_SQLITE_SUPPORT_H

#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store_operations.h"
#include "sttpd/store_sqlite_private.h"

static struct {
    char directory[256];
    char path[300]; /* of the database */
    store *store;
    sqlite3 *direct; /* the test's own connection; opened when it is needed first */
} fixture;

static inline void make_directory(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(fixture.directory, sizeof fixture.directory, "%s/sttp-sqlite-XXXXXX",
             base == NULL ? "/tmp" : base);
    ck_assert_ptr_nonnull(mkdtemp(fixture.directory));
    snprintf(fixture.path, sizeof fixture.path, "%s/sttp.db", fixture.directory);
    fixture.store = NULL;
    fixture.direct = NULL;
}

static inline store *open_with(const struct store_settings *given)
{
    struct store_settings settings = given == NULL ? (struct store_settings){0} : *given;
    char error[1024];
    store *opened;
    settings.sqlite_path = fixture.path;
    ck_assert_msg(store_sqlite_open(&settings, &opened, error, sizeof error), "%s", error);
    ck_assert_str_eq(error, "");
    return opened;
}

static inline void open_store(void)
{
    fixture.store = open_with(NULL);
}

static inline void open_fixture(void)
{
    make_directory();
    open_store();
}

static inline void close_store(void)
{
    if (fixture.store != NULL)
        ck_assert_int_eq(fixture.store->close(fixture.store), 0);
    fixture.store = NULL;
}

static inline off_t size_of_log(void)
{
    char log[sizeof fixture.path + 8];
    struct stat status;
    snprintf(log, sizeof log, "%s-wal", fixture.path);
    ck_assert_int_eq(stat(log, &status), 0);
    return status.st_size;
}

static inline void leave(void)
{
    sqlite3_close(fixture.direct);
    fixture.direct = NULL;
}

static inline int remove_one(const char *path, const struct stat *status, int type,
                             struct FTW *walk)
{
    (void)status, (void)type, (void)walk;
    return remove(path);
}

static inline void remove_directory(void)
{
    leave();
    close_store();
    nftw(fixture.directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline struct store_sqlite *self(void)
{
    return (struct store_sqlite *)fixture.store;
}

static inline void must(int code)
{
    ck_assert_msg(code == SQLITE_OK, "%s: %s", sqlite3_errstr(code),
                  fixture.direct == NULL ? "" : sqlite3_errmsg(fixture.direct));
}

/* Runs SQL beside the store; the first value of its first row, or "". Static memory. */
__attribute__((format(printf, 1, 2))) static inline const char *sql(const char *format, ...)
{
    static char value[4096];
    sqlite3_stmt *statement = NULL;
    va_list arguments;
    va_start(arguments, format);
    char *command = sqlite3_vmprintf(format, arguments);
    va_end(arguments);
    if (fixture.direct == NULL) {
        must(sqlite3_open(fixture.path, &fixture.direct));
        must(sqlite3_busy_timeout(fixture.direct, 20000));
    }
    value[0] = '\0';
    const char *rest = command;
    while (*rest != '\0') {
        must(sqlite3_prepare_v2(fixture.direct, rest, -1, &statement, &rest));
        if (sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_text(statement, 0) != NULL)
            snprintf(value, sizeof value, "%s", (const char *)sqlite3_column_text(statement, 0));
        must(sqlite3_finalize(statement));
    }
    sqlite3_free(command);
    return value;
}

/* Waits until a query's value is as wanted. */
static inline void wait_until(const char *query, const char *wanted)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int i = 0; i < 60000; i++) {
        if (strcmp(sql("%s", query), wanted) == 0)
            return;
        nanosleep(&pause, NULL);
    }
    ck_abort_msg("%s: is %s, not %s", query, sql("%s", query), wanted);
}

/* Until everything is in the index for search. */
static inline void wait_for_index(void)
{
    wait_until("SELECT indexed >= (SELECT coalesce(max(id), 0) FROM entry) AND "
               "NOT EXISTS (SELECT 1 FROM stale) FROM progress",
               "1");
}

static inline struct outcome run(sttp_action action, const char *path, const char *text)
{
    return run_on(fixture.store, action, path, text, NULL);
}

static inline store_result result_of(sttp_action action, const char *path, const char *text)
{
    return run(action, path, text).result;
}

static inline const char *list(const char *path, sttp_query query)
{
    struct outcome outcome = run_on(fixture.store, LIST, path, NULL, &query);
    ck_assert_int_eq(outcome.result, STORE_DONE);
    return outcome.contents;
}

static inline sttp_slice slice(const char *text)
{
    return (sttp_slice){text, strlen(text)};
}

#define QUERY(...) ((sttp_query){__VA_ARGS__})

#endif
