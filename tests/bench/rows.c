/* What a program reaches that inserts rows into an SQLite database, each in a transaction of its
 * own that is on disk when it returns: with a log (WAL) and a table like those of sttpd's store.
 * Prints how many it made in which time: rows FILE SECONDS */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sqlite3.h>

enum { SIZE = 100 };

static sqlite3 *db;

static void check(int code)
{
    if (code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW)
        return;
    fprintf(stderr, "rows: %s\n", sqlite3_errmsg(db));
    exit(1);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    char path[32], text[SIZE];
    sqlite3_stmt *insert;
    unsigned long count = 0;
    double seconds = argc == 3 ? atof(argv[2]) : 0, begin, end;

    if (seconds <= 0)
        return 2;
    memset(text, 'x', sizeof text);
    check(sqlite3_open(argv[1], &db));
    check(sqlite3_exec(db,
                       "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                       "CREATE TABLE entry (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE,"
                       " text TEXT) STRICT",
                       NULL, NULL, NULL));
    check(sqlite3_prepare_v2(db, "INSERT INTO entry (path, text) VALUES (?1, ?2)", -1, &insert,
                             NULL));
    begin = now();
    do {
        int size = snprintf(path, sizeof path, "/run_0000/plain_%lu", 100000000 + count++);
        check(sqlite3_bind_text(insert, 1, path, size, SQLITE_STATIC));
        check(sqlite3_bind_text(insert, 2, text, SIZE, SQLITE_STATIC));
        check(sqlite3_step(insert));
        check(sqlite3_reset(insert));
        end = now();
    } while (end - begin < seconds);
    printf("changes %lu seconds %.6f\n", count, end - begin);
    sqlite3_finalize(insert);
    return sqlite3_close(db) == SQLITE_OK ? 0 : 1;
}
