/* The rules of docs/protocol.md, section 2, one by one, for the parser and the serializer: the
 * parser has judged the encoding of the whole line before, and does not pay for it twice. */
#ifndef STTP_SRC_RULES_H
#define STTP_SRC_RULES_H

#include <sttp/message.h>

/* The size of a path at the start of any text: one that is well-formed, so that
 * sttp__check_path_form need not be asked, holds none but printable ASCII, and neither a space nor
 * a
 * "?". What stands behind it is there and is none of that, or looks unusual. Fast: of a path that
 * is not sure to be like this, or ends with the text, or is short and near its end, it gives 0,
 * which tells nothing. */
size_t sttp__plain_path_size(sttp_slice text);

/* All of these take text that is valid UTF-8 without control characters. */

/* The form of a path: missing, URL, relative, empty segment, dot segment, reserved name. */
sttp_status sttp__check_path_form(sttp_slice path, sttp_problem *problem);

/* Whether sttp__check_path_names cannot object to it, whatever the action: a character takes a byte
 * at least, so that most paths are too short for any limit. */
static inline bool sttp__has_plain_names(sttp_slice path)
{
    return path.size <= STTP_MAX_FILENAME_CHARS && path.data[path.size - 1] != '/';
}

/* Takes the origin off a target that is a URL: all up to its path, which is left, empty where there
 * is none. Gives data NULL, and leaves *target, where it is no such URL. */
sttp_slice sttp__cut_origin(sttp_slice *target);

/* The form of an origin; it is at most as long as a request line. */
sttp_status sttp__check_origin(sttp_slice origin, sttp_problem *problem);

/* What of a well-formed path depends on the action: final slash, filename, lengths. */
sttp_status sttp__check_path_names(sttp_action action, sttp_slice path, sttp_problem *problem);

/* The number of characters in contents. */
sttp_status sttp__check_text_length(sttp_slice text, sttp_problem *problem);

/* Tells that only LIST takes a query, or what is wrong with the one given. */
sttp_status sttp__check_query(sttp_action action, sttp_slice query, sttp_problem *problem);

/* The name of the action as a slice. */
sttp_slice sttp__action_word(sttp_action action);

#endif
