/* What every other header of libsttp uses: visibility, version, slices, memory. */
#ifndef STTP_BASE_H
#define STTP_BASE_H

#include <stddef.h>

#if defined(__GNUC__)
#define STTP_API __attribute__((visibility("default")))
#else
#define STTP_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define STTP_VERSION_MAJOR 0
#define STTP_VERSION_MINOR 1
#define STTP_VERSION_PATCH 0
#define STTP_VERSION "0.1.0"

/* The version of the library that is running, "0.1.0". It may differ from STTP_VERSION, which is
 * the version that the program was compiled with. Static memory; thread-safe. */
STTP_API const char *sttp_version(void);

/* A run of bytes in somebody else's memory, not terminated by a zero byte. `data` is NULL only
 * where there is nothing at all (an argument that was not given); an empty text has size 0 and a
 * non-NULL `data`. Whoever hands out a slice says how long it lives. */
typedef struct sttp_slice {
    const char *data;
    size_t size;
} sttp_slice;

/* A slice of a string literal. C++ (11 or later) has no compound literals. */
#ifdef __cplusplus
#define STTP_SLICE(literal) (sttp_slice{(literal), sizeof(literal) - 1})
#else
#define STTP_SLICE(literal) ((sttp_slice){(literal), sizeof(literal) - 1})
#endif

/* Where a library object takes its memory from. Each create function takes one; NULL stands for
 * malloc, realloc and free. The three functions behave like those of the C library, with `context`
 * passed through; they must be thread-safe, and must outlive every object made with them.
 * A failed allocation makes the call that needed it return STTP_ERR_MEMORY, or, in the server,
 * fails one request with 500; the library never ends the program. */
typedef struct sttp_allocator {
    void *(*allocate)(size_t size, void *context);
    void *(*reallocate)(void *memory, size_t size, void *context);
    void (*release)(void *memory, void *context);
    void *context;
} sttp_allocator;

#ifdef __cplusplus
}
#endif

#endif
