/* A queue of chunks:
 *
 *     head                                             tail
 *     [sent|waiting........] -> [one large answer] -> [waiting....|room]
 *
 * Small answers are serialized straight into the tail's room and share a chunk. A large one is a
 * chunk of its own, which nobody copies. A chunk goes back to its pool once it is sent, so that a
 * connection without waiting answers owns none. */
#include "output.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "memory.h"

enum {
    POOL_LIMIT = 65,      /* chunks that a pool keeps: one for each that is ready, one to read */
    PIECES_PER_SEND = 64, /* chunks that one system call sends */
    COPY_LIMIT = 2 << 10  /* bytes that are cheaper to copy than to send as a piece */
};

struct sttp__chunk *sttp__chunk_create(const sttp_allocator *allocator, size_t capacity)
{
    struct sttp__chunk *chunk = sttp__allocate(allocator, sizeof *chunk + capacity);
    if (chunk == NULL)
        return NULL;
    chunk->next = NULL;
    chunk->capacity = capacity;
    chunk->start = 0;
    chunk->end = 0;
    return chunk;
}

struct sttp__chunk *sttp__pool_take(struct sttp__pool *pool)
{
    struct sttp__chunk *chunk = pool->free;
    if (chunk == NULL)
        return sttp__chunk_create(pool->allocator, STTP__CHUNK_CAPACITY);
    pool->free = chunk->next;
    pool->count--;
    chunk->next = NULL;
    chunk->start = 0;
    chunk->end = 0;
    return chunk;
}

void sttp__pool_give(struct sttp__pool *pool, struct sttp__chunk *chunk)
{
    if (chunk == NULL)
        return;
    if (chunk->capacity != STTP__CHUNK_CAPACITY || pool->count == POOL_LIMIT) {
        sttp__release(pool->allocator, chunk);
        return;
    }
    chunk->next = pool->free;
    pool->free = chunk;
    pool->count++;
}

void sttp__pool_clear(struct sttp__pool *pool)
{
    while (pool->free != NULL) {
        struct sttp__chunk *chunk = pool->free;
        pool->free = chunk->next;
        sttp__release(pool->allocator, chunk);
    }
    pool->count = 0;
}

static void link_chunk(struct sttp__output *output, struct sttp__chunk *chunk)
{
    output->memory += chunk->capacity;
    if (output->tail != NULL)
        output->tail->next = chunk;
    else
        output->head = chunk;
    output->tail = chunk;
}

char *sttp__output_extend(struct sttp__output *output, struct sttp__pool *pool, size_t size)
{
    struct sttp__chunk *chunk = size <= STTP__CHUNK_CAPACITY
                                    ? sttp__pool_take(pool)
                                    : sttp__chunk_create(pool->allocator, size);
    if (chunk == NULL)
        return NULL;
    link_chunk(output, chunk);
    return chunk->data;
}

void sttp__output_append(struct sttp__output *output, struct sttp__pool *pool,
                         struct sttp__chunk *chunk)
{
    size_t size = chunk->end - chunk->start;
    char *room = size <= COPY_LIMIT ? sttp__output_reserve(output, pool, size) : NULL;
    if (room == NULL) {
        link_chunk(output, chunk);
        output->size += size;
        return;
    }
    memcpy(room, chunk->data + chunk->start, size);
    sttp__output_commit(output, size);
    sttp__pool_give(pool, chunk);
}

/* Takes `sent` bytes off the front, and every chunk that has become empty. */
static void consume(struct sttp__output *output, struct sttp__pool *pool, size_t sent)
{
    output->size -= sent;
    while (output->head != NULL) {
        struct sttp__chunk *chunk = output->head;
        size_t size = chunk->end - chunk->start;
        if (sent < size) {
            chunk->start += sent;
            return;
        }
        sent -= size;
        output->head = chunk->next;
        output->memory -= chunk->capacity;
        sttp__pool_give(pool, chunk);
    }
    output->tail = NULL;
}

/* Not inlined: one chunk, which is the usual case, shall not pay for the pieces. */
__attribute__((noinline)) static ssize_t send_chunks(const struct sttp__output *output, int fd)
{
    struct iovec pieces[PIECES_PER_SEND];
    struct msghdr message = {.msg_iov = pieces};
    for (struct sttp__chunk *chunk = output->head;
         chunk != NULL && message.msg_iovlen < PIECES_PER_SEND; chunk = chunk->next) {
        pieces[message.msg_iovlen].iov_base = chunk->data + chunk->start;
        pieces[message.msg_iovlen].iov_len = chunk->end - chunk->start;
        message.msg_iovlen++;
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

ptrdiff_t sttp__output_send(struct sttp__output *output, struct sttp__pool *pool, int fd)
{
    const struct sttp__chunk *first = output->head;
    ssize_t sent;
    if (first == output->tail)
        sent = send(fd, first->data + first->start, first->end - first->start, MSG_NOSIGNAL);
    else
        sent = send_chunks(output, fd);
    if (sent >= 0)
        consume(output, pool, (size_t)sent);
    return sent;
}

void sttp__output_clear(struct sttp__output *output, struct sttp__pool *pool)
{
    consume(output, pool, output->size);
}
