#include "memory.h"

#include <stdlib.h>
#include <string.h>

static void *standard_allocate(size_t size, void *context)
{
    (void)context;
    return malloc(size);
}

static void *standard_reallocate(void *block, size_t size, void *context)
{
    (void)context;
    return realloc(block, size);
}

static void standard_release(void *block, void *context)
{
    (void)context;
    free(block);
}

sttp_allocator sttp__standard_allocator(void)
{
    return (sttp_allocator){.allocate = standard_allocate,
                            .reallocate = standard_reallocate,
                            .release = standard_release};
}

void *sttp__allocate(const sttp_allocator *memory, size_t size)
{
    return memory->allocate(size, memory->context);
}

void sttp__release(const sttp_allocator *memory, void *block)
{
    if (block)
        memory->release(block, memory->context);
}

bool sttp__resize(const sttp_allocator *memory, char **block, size_t size)
{
    char *moved = *block ? memory->reallocate(*block, size, memory->context)
                         : memory->allocate(size, memory->context);

    if (!moved)
        return false;
    *block = moved;
    return true;
}

char *sttp__copy_string(const sttp_allocator *memory, const char *string)
{
    size_t size = strlen(string) + 1;
    char *copy = sttp__allocate(memory, size);

    return copy ? memcpy(copy, string, size) : NULL;
}
