/* What other threads tell a worker. */
#ifndef STTP_EVENT_MAILBOX_H
#define STTP_EVENT_MAILBOX_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <sttp/base.h>

enum sttp__message_kind {
    STTP__MESSAGE_REPLY,      /* an answer from another thread: embedded in an sttp_reply */
    STTP__MESSAGE_MAKE_ROOM,  /* close a connection, or pass it on to who can */
    STTP__MESSAGE_ROOM_ANSWER /* the answer to it, the same message sent back */
};

/* Embedded in what is sent, so that sending needs no memory. */
struct sttp__message {
    struct sttp__message *next;
    enum sttp__message_kind kind;
};

/* Bytes of large answers on their way to the workers of one server, those included that a worker
 * has taken and not yet counted among its connections' unsent ones. Each mailbox holds a reference.
 */
struct sttp__on_the_way {
    sttp_allocator allocator;
    atomic_size_t bytes;
    size_t most; /* never changed */
    atomic_uint references;
};

/* NULL where memory is out. It holds one reference: its creator's. */
struct sttp__on_the_way *sttp__on_the_way_create(const sttp_allocator *allocator, size_t most);

/* Gives up one reference. NULL is allowed. */
void sttp__on_the_way_release(struct sttp__on_the_way *all);

/* It outlives its worker and its server as long as replies are out: after it is closed each of them
 * holds a reference. */
struct sttp__mailbox {
    sttp_allocator allocator;
    pthread_mutex_t mutex;
    struct sttp__message *head; /* guarded by mutex, like all to `references` */
    struct sttp__message *tail;
    bool closed;
    size_t references;
    int wake;                 /* an eventfd, readable when there is something to look at */
    atomic_size_t on_the_way; /* bytes: what of `all` is on its way to this worker */
    struct sttp__on_the_way *all;
};

/* NULL with errno set where memory or descriptors are out. It holds one reference: its creator's.
 */
struct sttp__mailbox *sttp__mailbox_create(const sttp_allocator *allocator,
                                           struct sttp__on_the_way *all);

/* Gives up one reference; the last one frees the mailbox. NULL is allowed. */
void sttp__mailbox_release(struct sttp__mailbox *mailbox);

/* False where the mailbox is closed: the message was not taken. */
bool sttp__mailbox_post(struct sttp__mailbox *mailbox, struct sttp__message *message);

/* Makes the worker look: async-signal-safe. */
void sttp__mailbox_wake(struct sttp__mailbox *mailbox);

/* All messages, in the order they came. */
struct sttp__message *sttp__mailbox_take(struct sttp__mailbox *mailbox);

/* Takes no more messages and returns the last ones. `out` is the number of replies that are given
 * out, those among the returned messages included: the others hold a reference each from now on. */
struct sttp__message *sttp__mailbox_close(struct sttp__mailbox *mailbox, size_t out);

/* Whether an answer of `size` bytes may set out: it is counted then. One by itself always may. */
bool sttp__mailbox_set_out(struct sttp__mailbox *mailbox, size_t size);

/* So many bytes that had set out are on their way no more. */
void sttp__mailbox_arrived(struct sttp__mailbox *mailbox, size_t size);

/* The one whose worker's thread this is; NULL in other threads, and when it is closed. */
extern _Thread_local const struct sttp__mailbox *sttp__mailbox_of_thread;

#endif
