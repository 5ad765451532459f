/* What the query keys `name` and `q` compare by, docs/protocol.md, section 4.1. */
#include <sttp/message.h>

#include "ascii.h"

static size_t next_character(sttp_slice text, size_t i)
{
    i++;
    while (i < text.size && ((unsigned char)text.data[i] & 0xc0) == 0x80)
        i++;
    return i;
}

/* Only the last "*" is ever tried again: what it does not swallow, an earlier one need not either.
 * That bounds the time by the product of the sizes. */
bool sttp_name_matches(sttp_slice pattern, sttp_slice name)
{
    size_t star = SIZE_MAX; /* behind the last "*" in the pattern */
    size_t swallowed = 0;   /* what of the name that "*" stands for ends here */
    size_t p = 0, n = 0;

    while (n < name.size) {
        if (p < pattern.size && pattern.data[p] == '*') {
            star = ++p;
            swallowed = n;
        } else if (p < pattern.size && pattern.data[p] == '?') {
            p++;
            n = next_character(name, n);
        } else if (p < pattern.size && pattern.data[p] == name.data[n]) {
            p++;
            n++;
        } else if (star != SIZE_MAX) {
            p = star;
            n = swallowed = next_character(name, swallowed);
        } else {
            return false;
        }
    }
    while (p < pattern.size && pattern.data[p] == '*')
        p++;
    return p == pattern.size;
}

bool sttp_text_contains(sttp_slice text, sttp_slice needle)
{
    size_t i;

    for (i = 0; i + needle.size <= text.size; i++) {
        if (sttp__equal_fold(text.data + i, needle.data, needle.size))
            return true;
    }
    return false;
}
