#include "lock.h"

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Who has waited does not know whether others do: it takes the lock as one that is awaited. */
void sttp__lock_wait(struct sttp__lock *lock)
{
    while (atomic_exchange_explicit(&lock->state, STTP__LOCK_AWAITED, memory_order_acquire) !=
           STTP__LOCK_FREE)
        syscall(SYS_futex, &lock->state, FUTEX_WAIT_PRIVATE, STTP__LOCK_AWAITED, NULL, NULL, 0);
}

void sttp__lock_wake(struct sttp__lock *lock)
{
    syscall(SYS_futex, &lock->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
