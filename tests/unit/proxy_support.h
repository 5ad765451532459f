/* What the tests of sttp-proxy's parts share: memory that is out. They are linked with calloc
 * wrapped. */
#ifndef STTP_TESTS_PROXY_SUPPORT_H
#define STTP_TESTS_PROXY_SUPPORT_H

#include "core_support.h"

static bool no_memory; /* each calloc fails */

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
    return no_memory ? NULL : __real_calloc(count, size);
}

#endif
