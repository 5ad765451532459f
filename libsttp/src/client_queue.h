/* The requests that were taken and whose results are not given yet, oldest first, each with its
 * line, which is kept until the answer has come.
 *
 *        oldest                         next
 *          |  written, not answered      |  to be written
 *          v                             v
 *     [ SHOW /a ][ CREATE /b ][ SHOW /c ][ LIST / ] ...
 *
 * The lines stand behind each other in one buffer, so that many leave in one write. When a
 * connection is lost, `next` goes back to the oldest and everything is written again, but for the
 * changes that were written already: they are marked as lost and passed over. */
#ifndef STTP_SRC_CLIENT_QUEUE_H
#define STTP_SRC_CLIENT_QUEUE_H

#include <sttp/message.h>

typedef struct sttp__outstanding {
    uint64_t line_at; /* where its line begins, counted over the client's life */
    size_t line_size;
    size_t origin_size;
    size_t path_size;
    sttp_action action;
    sttp_status lost; /* a change that was sent: why its answer will never come; else STTP_OK */
} sttp__outstanding;

typedef struct sttp__queue {
    const sttp_allocator *memory;
    sttp__outstanding *items; /* a ring; its capacity is zero or a power of two */
    size_t capacity;
    size_t first;
    size_t count;
    size_t next;       /* counted from the oldest: the first that is not wholly written */
    size_t next_bytes; /* what is written of it */
    size_t in_flight;  /* written, wholly or in part, and not lost */
    char *lines;
    size_t lines_capacity;
    size_t lines_start;
    size_t lines_end;
    uint64_t lines_dropped; /* bytes of lines that are gone */
} sttp__queue;

void sttp__queue_free(sttp__queue *queue);

/* Serializes `request` behind the others. STTP_OK, STTP_ERR_MEMORY, or what the serializer says. */
sttp_status sttp__queue_add(sttp__queue *queue, const sttp_request *request, sttp_problem *problem);

/* Item `index`, counted from the oldest; its line; what of it an answer speaks of: action, origin
 * and path, slices of that line. */
sttp__outstanding *sttp__queue_at(const sttp__queue *queue, size_t index);
sttp_slice sttp__queue_line(const sttp__queue *queue, const sttp__outstanding *item);
sttp_request sttp__queue_request(const sttp__queue *queue, const sttp__outstanding *item);

/* Whether a byte of the oldest has been written on this connection. */
bool sttp__queue_oldest_sent(const sttp__queue *queue);

/* Some bytes to write next, such that at most `window` requests are in flight; empty where there
 * are none. */
sttp_slice sttp__queue_to_send(sttp__queue *queue, size_t window);

/* `size` of these bytes were written. */
void sttp__queue_sent(sttp__queue *queue, size_t size);

/* The oldest has its result. */
void sttp__queue_pop(sttp__queue *queue);

/* The connection is gone, because of `why`. */
void sttp__queue_rewind(sttp__queue *queue, sttp_status why);

#endif
