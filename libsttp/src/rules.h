/* The rules of docs/protocol.md, section 2, one by one, for the parser and the serializer: the
 * parser has judged the encoding of the whole line before, and does not pay for it twice. */
#ifndef STTP_SRC_RULES_H
#define STTP_SRC_RULES_H

#include <sttp/message.h>

/* All of these take text that is valid UTF-8 without control characters. */

/* The form of a path: missing, URL, relative, empty segment, dot segment, reserved name. */
sttp_status sttp__check_path_form(sttp_slice path, sttp_problem *problem);

/* What of a well-formed path depends on the action: final slash, filename, lengths. */
sttp_status sttp__check_path_names(sttp_action action, sttp_slice path, sttp_problem *problem);

/* The number of characters in contents. */
sttp_status sttp__check_text_length(sttp_slice text, sttp_problem *problem);

/* Tells that only LIST takes a query, or what is wrong with the one given. */
sttp_status sttp__check_query(sttp_action action, sttp_slice query, sttp_problem *problem);

/* The name of the action as a slice. */
sttp_slice sttp__action_word(sttp_action action);

/* The one of `count` known words that somebody who wrote `given` most probably meant: equal but for
 * case, or few letters off. An empty slice where none is near. */
sttp_slice sttp__nearest(sttp_slice given, const char *const *known, size_t count);

#endif
