/* Taking memory from a caller's allocator. */
#ifndef STTP_EVENT_MEMORY_H
#define STTP_EVENT_MEMORY_H

#include <sttp/base.h>

static inline void *sttp__allocate(const sttp_allocator *allocator, size_t size)
{
    return allocator->allocate(size, allocator->context);
}

static inline void sttp__release(const sttp_allocator *allocator, void *memory)
{
    allocator->release(memory, allocator->context);
}

#endif
