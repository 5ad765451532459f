/* Protocol text is mostly printable ASCII, so that is skipped eight bytes at a time; the first byte
 * that is anything else is looked at as a character, and skipping goes on behind it. */
#include "utf8.h"
#include "problem.h"

#include <string.h>

static bool is_tail(unsigned char byte)
{
    return (byte & 0xc0) == 0x80;
}

/* The range of the second byte is what keeps out overlong forms, surrogates and code points over
 * U+10FFFF. */
static bool is_second(unsigned char lead, unsigned char second)
{
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;

    return second >= low && second <= high;
}

size_t sttp__character_size(const char *at, size_t left)
{
    const unsigned char *byte = (const unsigned char *)at;
    size_t size;

    if (byte[0] < 0x80)
        return 1;
    if (byte[0] < 0xc2 || byte[0] > 0xf4)
        return 0;
    size = byte[0] < 0xe0 ? 2 : byte[0] < 0xf0 ? 3 : 4;
    if (left < size || !is_second(byte[0], byte[1]))
        return 0;
    if ((size > 2 && !is_tail(byte[2])) || (size > 3 && !is_tail(byte[3])))
        return 0;
    return size;
}

bool sttp__is_control(const char *at, size_t size)
{
    const unsigned char *byte = (const unsigned char *)at;

    if (size == 1)
        return byte[0] < 0x20 || byte[0] == 0x7f;
    return size == 2 && byte[0] == 0xc2 && byte[1] < 0xa0;
}

/* Whether all eight bytes are in 0x20..0x7e. A byte of 0x80 and over shows itself; without one,
 * adding 1 carries 0x7f into the high bit, and subtracting 0x20 borrows into it below 0x20. */
static bool is_printable_word(const char *at)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t word;

    memcpy(&word, at, sizeof(word));
    return ((word | (word + ones) | (word - 0x20 * ones)) & 0x80 * ones) == 0;
}

/* The same of text of any length from eight bytes on; the last words may overlap. Without a branch
 * for each word, and so several at a time. */
static bool is_printable(sttp_slice text)
{
    bool all = is_printable_word(text.data + text.size - sizeof(uint64_t));
    size_t i;

    for (i = 0; i + sizeof(uint64_t) <= text.size; i += sizeof(uint64_t))
        all &= is_printable_word(text.data + i);
    return all;
}

static size_t skip_printable(sttp_slice text, size_t i)
{
    while (text.size - i >= sizeof(uint64_t) && is_printable_word(text.data + i))
        i += sizeof(uint64_t);
    while (i < text.size && text.data[i] >= 0x20 && text.data[i] < 0x7f)
        i++;
    return i;
}

sttp_status sttp__check_encoding(sttp_slice text, sttp__text_rule rule, sttp_problem *problem)
{
    size_t i;

    if (text.size >= sizeof(uint64_t) && is_printable(text))
        return STTP_OK;
    for (i = skip_printable(text, 0); i < text.size; i = skip_printable(text, i)) {
        size_t size = sttp__character_size(text.data + i, text.size - i);
        bool allowed =
            rule == STTP__TEXT_CONTROLS || (rule == STTP__TEXT_TAB && text.data[i] == '\t');

        if (size == 0)
            return sttp__fail(problem, STTP_ERR_UTF8, i, 0);
        if (!allowed && sttp__is_control(text.data + i, size))
            return sttp__fail(problem, STTP_ERR_CONTROL_CHARACTER, i, 0);
        i += size;
    }
    return STTP_OK;
}

size_t sttp__count_valid(sttp_slice text)
{
    size_t count = 0;
    size_t i;

    for (i = 0; i < text.size; i++)
        count += !is_tail((unsigned char)text.data[i]);
    return count;
}

size_t sttp_next_char(sttp_slice text, uint32_t *character)
{
    const unsigned char *byte = (const unsigned char *)text.data;
    size_t size = text.size > 0 ? sttp__character_size(text.data, text.size) : 0;
    uint32_t value;
    size_t i;

    if (size == 0 || !character)
        return size;
    value = size == 1 ? byte[0] : byte[0] & (0x7fu >> size);
    for (i = 1; i < size; i++)
        value = value << 6 | (byte[i] & 0x3f);
    *character = value;
    return size;
}

bool sttp_char_is_unsafe(uint32_t character)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0x00, 0x1f},     {0x7f, 0x9f},     {0x061c, 0x061c}, {0x200e, 0x200f},
        {0x2028, 0x202e}, {0x2066, 0x206f}, {0xfeff, 0xfeff},
    };
    size_t i;

    for (i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        if (character >= ranges[i].first && character <= ranges[i].last)
            return true;
    }
    return false;
}
