/* Judging text: UTF-8 as RFC 3629 has it (no overlong form, no surrogate, nothing over U+10FFFF),
 * and the control characters of C0, C1 and DEL. */
#ifndef STTP_SRC_UTF8_H
#define STTP_SRC_UTF8_H

#include <sttp/message.h>

typedef enum sttp__text_rule {
    STTP__TEXT_PLAIN,   /* no control character at all */
    STTP__TEXT_TAB,     /* none but TAB */
    STTP__TEXT_CONTROLS /* any: only the encoding counts */
} sttp__text_rule;

/* STTP_OK, STTP_ERR_CONTROL_CHARACTER or STTP_ERR_UTF8 for the first byte that breaks the rule, its
 * place told in *problem where that is not NULL. */
sttp_status sttp__check_encoding(sttp_slice text, sttp__text_rule rule, sttp_problem *problem);

/* The number of characters of `text`, which is known to be valid UTF-8. */
size_t sttp__count_valid(sttp_slice text);

/* The size in bytes of the character that the `left` > 0 bytes at `at` begin with; 0 where they
 * begin with no valid one. */
size_t sttp__character_size(const char *at, size_t left);

/* Whether the valid character of `size` bytes is one of U+0000..U+001F, U+007F..U+009F. */
bool sttp__is_control(const char *at, size_t size);

#endif
