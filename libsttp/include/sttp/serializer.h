/* From messages to bytes: the mirror of parser.h. What it writes, the parser reads back as the same
 * message; what the parser would refuse, it refuses with the same status. Pure and thread-safe. */
#ifndef STTP_SERIALIZER_H
#define STTP_SERIALIZER_H

#include <sttp/message.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Writes `request` as one line with its LF to `buffer`. Contents are always put in quotes, so that
 * every text survives the trip unchanged. An origin is written before the path, as it stands.
 *
 *   STTP_OK          *size is the number of bytes written (no zero byte is added).
 *   STTP_ERR_BUFFER  `capacity` is too small; *size is what is needed; the buffer's bytes are
 *                    unspecified. `buffer` may be NULL where `capacity` is 0.
 *   STTP_ERR_*       the request breaks a rule (23 to 44, an origin 80 to 87, or
 *                    STTP_ERR_LINE_TOO_LONG), told in *problem where `problem` is not NULL. *size
 * is 0.
 *
 * STTP_MAX_REQUEST_LINE bytes are always enough. */
STTP_API sttp_status sttp_serialize_request(const sttp_request *request, char *buffer,
                                            size_t capacity, size_t *size, sttp_problem *problem);

/* The same of a request as sttp_parse_request has made it, without its origin or with it: nothing
 * is checked again but the room. STTP_OK or STTP_ERR_BUFFER. */
STTP_API sttp_status sttp_serialize_parsed_request(const sttp_request *request, char *buffer,
                                                   size_t capacity, size_t *size);

/* Writes `response`, its contents line included, in the same manner. Refused with 60 to 65,
 * STTP_ERR_UTF8 or STTP_ERR_CONTROL_CHARACTER: a code that is none, an echo that is empty or has a
 * space, "?" or a control character, a message or contents where the code has none or the other way
 * round, a double quote or a control character in a message, a LF or CR in contents, a line over
 * its limit. */
STTP_API sttp_status sttp_serialize_response(const sttp_response *response, char *buffer,
                                             size_t capacity, size_t *size, sttp_problem *problem);

#ifdef __cplusplus
}
#endif

#endif
