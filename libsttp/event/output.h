/* The bytes of a connection: chunks, the pool that they come from, and the queue of answers that
 * wait to be sent. All of it belongs to one worker's thread, but for chunks that are not in a queue
 * or a pool. */
#ifndef STTP_EVENT_OUTPUT_H
#define STTP_EVENT_OUTPUT_H

#include <stdbool.h>

#include <sttp/base.h>

/* A run of bytes with room behind it. The used ones are data[start..end). */
struct sttp__chunk {
    struct sttp__chunk *next;
    size_t capacity;
    size_t start;
    size_t end;
    char data[];
};

/* Free chunks of the standard size. It keeps a bounded number, so a burst is not paid for ever. */
struct sttp__pool {
    const sttp_allocator *allocator;
    struct sttp__chunk *free;
    unsigned count;
};

enum { STTP__CHUNK_CAPACITY = (16 << 10) - (int)sizeof(struct sttp__chunk) };

/* A chunk of any size, empty; NULL where memory is out. */
struct sttp__chunk *sttp__chunk_create(const sttp_allocator *allocator, size_t capacity);

/* A chunk of the standard size, empty; NULL where memory is out. */
struct sttp__chunk *sttp__pool_take(struct sttp__pool *pool);

/* Takes back a chunk of any size. NULL is allowed. */
void sttp__pool_give(struct sttp__pool *pool, struct sttp__chunk *chunk);

/* Frees all that the pool keeps. */
void sttp__pool_clear(struct sttp__pool *pool);

/* Answers that wait to be sent, first to last. All zero is an empty queue. */
struct sttp__output {
    struct sttp__chunk *head;
    struct sttp__chunk *tail;
    size_t size;   /* bytes in all chunks */
    size_t memory; /* what the chunks take, used or not */
};

/* What sttp__output_reserve does where the last chunk has no room: takes a new one. */
char *sttp__output_extend(struct sttp__output *output, struct sttp__pool *pool, size_t size);

/* Room for `size` bytes at the queue's end, to be written and then committed; NULL where memory is
 * out. */
static inline char *sttp__output_reserve(struct sttp__output *output, struct sttp__pool *pool,
                                         size_t size)
{
    struct sttp__chunk *chunk = output->tail;
    if (chunk == NULL || chunk->capacity - chunk->end < size)
        return sttp__output_extend(output, pool, size);
    return chunk->data + chunk->end;
}

static inline void sttp__output_commit(struct sttp__output *output, size_t size)
{
    output->tail->end += size;
    output->size += size;
}

/* Puts `chunk` behind what is there and owns it then. Small ones are copied, so that many of them
 * travel in few pieces. */
void sttp__output_append(struct sttp__output *output, struct sttp__pool *pool,
                         struct sttp__chunk *chunk);

/* Sends as much as the socket takes in one system call. Returns the number of bytes, or -1 with
 * errno set. */
ptrdiff_t sttp__output_send(struct sttp__output *output, struct sttp__pool *pool, int fd);

/* Drops all that waits. */
void sttp__output_clear(struct sttp__output *output, struct sttp__pool *pool);

#endif
