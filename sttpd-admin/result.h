/* Why an operation failed. */
#ifndef ADMIN_RESULT_H
#define ADMIN_RESULT_H

#include "sttpd/store.h"

/* In words, with what the system said where that is known. Static memory, for one thread. */
const char *result_words(const store_operation *operation);

/* Whether others would fail as well: it is the store that failed, not this path. */
bool result_is_general(store_result result);

#endif
