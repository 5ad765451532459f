/* The order of the operations on one path: changes of a path run one at a time and apart from its
 * reads, in the order in which they came. Operations wait here, never threads. A directory's path
 * is the same with and without its final slash. Thread-safe. */
#ifndef STTPD_PATH_QUEUE_H
#define STTPD_PATH_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

#include "sttpd/store.h"

typedef struct path_queue path_queue;

/* An operation's right to run. */
struct path_turn {
    struct path_entry *entry;
    bool change;
};

enum path_queue_result {
    PATH_QUEUE_RUN,  /* it may run now */
    PATH_QUEUE_WAIT, /* a later path_queue_leave returns it */
    PATH_QUEUE_NO_MEMORY
};

/* For about `capacity` paths at once; more are slower. NULL where memory is out. */
path_queue *path_queue_create(size_t capacity);

/* Nothing must be in it. NULL is allowed. */
void path_queue_destroy(path_queue *queue);

/* Takes an operation by its path and action. */
enum path_queue_result path_queue_enter(path_queue *queue, store_operation *operation);

/* The turn of an operation that may run, for path_queue_leave. The operation may be gone by then.
 */
struct path_turn path_queue_turn(path_queue *queue, const store_operation *operation);

/* Ends a turn. Returns the operations that may run now, linked by `next`. */
store_operation *path_queue_leave(path_queue *queue, struct path_turn turn);

/* Whether a change of `path` is under way or waits. Takes no lock where there is no change at all.
 */
bool path_queue_changing(path_queue *queue, sttp_slice path);

#endif
