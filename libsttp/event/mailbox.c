/* A list under a mutex and an eventfd. The sender wakes the worker only when the list was empty:
 * the worker empties the eventfd before it takes the list, so no message is overlooked.
 *
 * Replies do not count as references while the worker lives, so that an answer given at once costs
 * no atomic operation; the worker knows how many are out, and turns them into references when it
 * closes its mailbox. */
#include "mailbox.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "memory.h"

_Thread_local const struct sttp__mailbox *sttp__mailbox_of_thread;

struct sttp__on_the_way *sttp__on_the_way_create(const sttp_allocator *allocator, size_t most)
{
    struct sttp__on_the_way *all = sttp__allocate(allocator, sizeof *all);
    if (all == NULL)
        return NULL;
    *all = (struct sttp__on_the_way){.allocator = *allocator, .most = most};
    atomic_init(&all->references, 1);
    return all;
}

void sttp__on_the_way_release(struct sttp__on_the_way *all)
{
    if (all == NULL || atomic_fetch_sub(&all->references, 1) > 1)
        return;
    sttp_allocator allocator = all->allocator;
    sttp__release(&allocator, all);
}

struct sttp__mailbox *sttp__mailbox_create(const sttp_allocator *allocator,
                                           struct sttp__on_the_way *all)
{
    struct sttp__mailbox *mailbox = sttp__allocate(allocator, sizeof *mailbox);
    if (mailbox == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    *mailbox = (struct sttp__mailbox){.allocator = *allocator, .references = 1, .all = all};
    mailbox->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (mailbox->wake < 0)
        goto failed;
    int error = pthread_mutex_init(&mailbox->mutex, NULL);
    if (error == 0) {
        atomic_fetch_add(&all->references, 1);
        return mailbox;
    }
    close(mailbox->wake);
    errno = error;
failed:
    sttp__release(allocator, mailbox);
    return NULL;
}

void sttp__mailbox_release(struct sttp__mailbox *mailbox)
{
    if (mailbox == NULL)
        return;
    pthread_mutex_lock(&mailbox->mutex);
    bool last = --mailbox->references == 0;
    pthread_mutex_unlock(&mailbox->mutex);
    if (!last)
        return;
    pthread_mutex_destroy(&mailbox->mutex);
    close(mailbox->wake);
    sttp__on_the_way_release(mailbox->all);
    sttp_allocator allocator = mailbox->allocator;
    sttp__release(&allocator, mailbox);
}

bool sttp__mailbox_post(struct sttp__mailbox *mailbox, struct sttp__message *message)
{
    message->next = NULL;
    pthread_mutex_lock(&mailbox->mutex);
    bool taken = !mailbox->closed;
    bool first = mailbox->head == NULL;
    if (taken && first)
        mailbox->head = message;
    else if (taken)
        mailbox->tail->next = message;
    if (taken)
        mailbox->tail = message;
    /* Under the mutex: as soon as it is free, the worker may take the message, end, and the mailbox
     * go with its server. */
    if (taken && first)
        sttp__mailbox_wake(mailbox);
    pthread_mutex_unlock(&mailbox->mutex);
    return taken;
}

void sttp__mailbox_wake(struct sttp__mailbox *mailbox)
{
    uint64_t one = 1;
    /* It fails only where the counter is full, and then the worker is awake already. */
    ssize_t written = write(mailbox->wake, &one, sizeof one);
    (void)written;
}

struct sttp__message *sttp__mailbox_take(struct sttp__mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    struct sttp__message *first = mailbox->head;
    mailbox->head = NULL;
    mailbox->tail = NULL;
    pthread_mutex_unlock(&mailbox->mutex);
    return first;
}

struct sttp__message *sttp__mailbox_close(struct sttp__mailbox *mailbox, size_t out)
{
    pthread_mutex_lock(&mailbox->mutex);
    struct sttp__message *first = mailbox->head;
    mailbox->head = NULL;
    mailbox->tail = NULL;
    for (struct sttp__message *message = first; message != NULL; message = message->next)
        out -= message->kind == STTP__MESSAGE_REPLY;
    mailbox->references += out;
    mailbox->closed = true;
    sttp__mailbox_of_thread = NULL;
    pthread_mutex_unlock(&mailbox->mutex);
    return first;
}

bool sttp__mailbox_set_out(struct sttp__mailbox *mailbox, size_t size)
{
    size_t own = atomic_fetch_add(&mailbox->on_the_way, size);
    size_t all = atomic_fetch_add(&mailbox->all->bytes, size);
    if (own == 0 || all + size <= mailbox->all->most)
        return true;
    sttp__mailbox_arrived(mailbox, size);
    return false;
}

void sttp__mailbox_arrived(struct sttp__mailbox *mailbox, size_t size)
{
    atomic_fetch_sub(&mailbox->on_the_way, size);
    atomic_fetch_sub(&mailbox->all->bytes, size);
}
