/* What is wrong in a database, and no operation tells of: rows that somebody else wrote. */
#ifndef STTPD_STORE_CHECK_H
#define STTPD_STORE_CHECK_H

#include <stdbool.h>

#include <sttp/message.h>

/* Who wants to know. */
struct store_checker {
    void *context;
    /* `what` is wrong with what has this path. Both live as long as the call. */
    void (*found)(void *context, sttp_slice path, const char *what);
};

/* A row. */
struct store_row {
    sttp_slice path; /* a directory's with its final slash */
    bool is_directory;
    bool has_text;
    bool has_parent; /* the directory that it is in is there */
};

/* Tells what is wrong with a row, if anything is. */
void store_check_row(const struct store_checker *checker, const struct store_row *row);

#endif
