/* A mutex of four bytes. What nobody else holds is taken and given back without a call, which on
 * the way of a hit is a tenth of all instructions. (The third one in Drepper, "Futexes Are
 * Tricky".) */
#ifndef STTP_SRC_LOCK_H
#define STTP_SRC_LOCK_H

#include <stdatomic.h>

enum sttp__lock_state {
    STTP__LOCK_FREE,
    STTP__LOCK_HELD,
    STTP__LOCK_AWAITED /* held, and others may sleep until it is free */
};

/* All zero is free; nothing has to be done to begin or to end. */
struct sttp__lock {
    atomic_uint state;
};

/* The ways of those who have to wait, and to wake. They may change errno. */
void sttp__lock_wait(struct sttp__lock *lock);
void sttp__lock_wake(struct sttp__lock *lock);

/* Waits until nobody has the lock, and takes it. It may not be taken twice. */
static inline void sttp__lock(struct sttp__lock *lock)
{
    unsigned found = STTP__LOCK_FREE;

    if (!atomic_compare_exchange_strong_explicit(&lock->state, &found, STTP__LOCK_HELD,
                                                 memory_order_acquire, memory_order_relaxed))
        sttp__lock_wait(lock);
}

/* Gives it back. */
static inline void sttp__unlock(struct sttp__lock *lock)
{
    if (atomic_exchange_explicit(&lock->state, STTP__LOCK_FREE, memory_order_release) ==
        STTP__LOCK_AWAITED)
        sttp__lock_wake(lock);
}

#endif
