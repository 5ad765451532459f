/* What the query keys `name` and `q` compare by, docs/protocol.md, section 4.1. */
#include <string.h>

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

/* Where a byte is next; `end` where it is no more. */
static const char *next_byte(const char *from, const char *end, char byte)
{
    const char *found = memchr(from, byte, (size_t)(end - from));

    return found != NULL ? found : end;
}

bool sttp_text_contains(sttp_slice text, sttp_slice needle)
{
    if (needle.size == 0 || needle.size > text.size)
        return needle.size == 0;
    /* Searches compare many texts, in most of which even the first letter is rare. */
    const char *end = text.data + (text.size - needle.size) + 1;
    char lower = sttp__lower(needle.data[0]);
    char upper = sttp__is_letter(lower) ? (char)(lower - 'a' + 'A') : lower;
    const char *one = next_byte(text.data, end, lower);
    const char *other = upper != lower ? next_byte(text.data, end, upper) : end;
    while (one < end || other < end) {
        const char *first = one < other ? one : other;
        if (sttp__equal_fold(first + 1, needle.data + 1, needle.size - 1))
            return true;
        if (first == one)
            one = next_byte(first + 1, end, lower);
        else
            other = next_byte(first + 1, end, upper);
    }
    return false;
}
