/* Which of the reverse proxy's prefixes a path belongs to. The longest one wins, and a prefix ends
 * where a segment ends: "/a" has "/a", "/a/" and "/a/b", not "/ab"; "/" has all. A prefix is the
 * same with and without its final slash. Bytes are compared as they stand. */
#ifndef STTP_PROXY_ROUTE_H
#define STTP_PROXY_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sttp/base.h>

#define ROUTE_NONE SIZE_MAX

/* Whether `prefix` can be one: a path as LIST would take it. */
bool route_prefix_valid(sttp_slice prefix);

/* Whether two valid prefixes have the same paths. */
bool route_prefix_equal(sttp_slice a, sttp_slice b);

/* The routes of a proxy. It never changes; any number of threads may use it. */
typedef struct route_table route_table;

/* Keeps copies of `count` valid prefixes, no two of them equal. NULL where memory is out. */
route_table *route_table_create(const sttp_slice *prefixes, size_t count);

/* NULL is allowed. */
void route_table_destroy(route_table *table);

/* The index, in the list that the table was made of, of the prefix that `path` (a request's,
 * without its query) belongs to; ROUTE_NONE where there is none. */
size_t route_find(const route_table *table, sttp_slice path);

#endif
