#include "result.h"

#include <stdio.h>
#include <string.h>

static const char *plain_words(const store_operation *operation)
{
    switch (operation->result) {
    case STORE_DONE:
        return "done";
    case STORE_NOT_FOUND:
    case STORE_PATH_NOT_FOUND:
        return "is not there any more";
    case STORE_CANNOT_CREATE_PATH:
        return "a directory that it needs cannot be made: a file has its name, or it is forbidden";
    case STORE_EXISTS:
        return "is there already";
    case STORE_IS_DIRECTORY:
        return "a directory has its name";
    case STORE_IS_FILE:
        return "a file has its name";
    case STORE_NOT_A_FILE:
        return "something that is neither file nor directory has its name";
    case STORE_NOT_EMPTY:
        return "is not empty";
    case STORE_IS_ROOT:
        return "is the root";
    case STORE_TOO_MANY_NAMES:
    case STORE_TOO_MUCH_WORK:
        return "there are too many names in one directory";
    case STORE_INVALID_TEXT:
        return "is not a valid short text";
    case STORE_DENIED:
        return "may not be read or written";
    case STORE_NO_SPACE:
        return "no space is left";
    case STORE_QUOTA:
        return "the quota is used up";
    case STORE_READ_ONLY:
        return "the store is read-only";
    case STORE_NO_MEMORY:
        return "out of memory";
    case STORE_NO_DESCRIPTORS:
        return "out of file descriptors";
    case STORE_BUSY:
        return "too many operations wait";
    case STORE_UNAVAILABLE:
        return "the database is not available";
    case STORE_IO:
        return "the store failed";
    case STORE_EARLIER_LOST:
        return "earlier changes may be lost";
    case STORE_OUTCOME_UNKNOWN:
        return "it may be there now, or not";
    }
    return "failed";
}

const char *result_words(const store_operation *operation)
{
    static char text[512];
    const char *words = plain_words(operation);

    if (operation->system_errno == 0)
        return words;
    snprintf(text, sizeof text, "%s (%s)", words, strerror(operation->system_errno));
    return text;
}

bool result_is_general(store_result result)
{
    return result >= STORE_NO_SPACE;
}
