/* How many connections each address has; of IPv6, each /64. Thread-safe. */
#ifndef STTP_EVENT_ADDRESS_COUNT_H
#define STTP_EVENT_ADDRESS_COUNT_H

#include <sttp/base.h>

#include "address.h"

struct sttp__address_count;

/* NULL with errno set where memory is out. `allocator` must outlive it. */
struct sttp__address_count *sttp__address_count_create(const sttp_allocator *allocator,
                                                       unsigned limit);
void sttp__address_count_destroy(struct sttp__address_count *count);

/* Counts one more connection. STTP_OK, STTP_ERR_STATE where the address is at the limit, or
 * STTP_ERR_MEMORY: nothing was counted then. */
sttp_status sttp__address_count_add(struct sttp__address_count *count,
                                    const struct sttp__address *address);

/* Takes back one sttp__address_count_add that returned STTP_OK. */
void sttp__address_count_remove(struct sttp__address_count *count,
                                const struct sttp__address *address);

#endif
