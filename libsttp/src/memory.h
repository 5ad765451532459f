/* Memory from the caller's allocator. */
#ifndef STTP_SRC_MEMORY_H
#define STTP_SRC_MEMORY_H

#include <stdbool.h>

#include <sttp/base.h>

/* What NULL in place of an allocator stands for: malloc, realloc and free. */
sttp_allocator sttp__standard_allocator(void);

void *sttp__allocate(const sttp_allocator *memory, size_t size);

/* NULL is allowed. */
void sttp__release(const sttp_allocator *memory, void *block);

/* Makes *block hold `size` bytes. Where that fails it keeps its size and its bytes. */
bool sttp__resize(const sttp_allocator *memory, char **block, size_t size);

/* A copy ended by a zero byte; NULL where memory is out. */
char *sttp__copy_string(const sttp_allocator *memory, const char *string);

#endif
