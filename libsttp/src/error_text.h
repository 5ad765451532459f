/* What both clients say of requests and answers in the lines of their errors (sttp_error.text). */
#ifndef STTP_SRC_ERROR_TEXT_H
#define STTP_SRC_ERROR_TEXT_H

#include <stdbool.h>

#include <sttp/message.h>

#include "text.h"

/* What a line leaves for its end: ", after 4294967295.9 s". */
enum { STTP__END_SIZE = 24 };

/* "SHOW /notes/a.txt", long targets cut. */
void sttp__text_add_request(sttp__text *text, const sttp_request *request);

/* What came of an answer that is not whole, so that a peer of another protocol can be told. Nothing
 * where nothing came. */
void sttp__text_add_received(sttp__text *text, sttp_slice received);

/* "the answer to SHOW /a has more than 640 bytes of contents" */
void sttp__text_add_excess(sttp__text *text, const sttp_request *request, uint64_t most);

/* The following go on behind the name of the peer. What was received is no response; `first`: the
 * peer has not sent any before. */
void sttp__text_add_nonsense(sttp__text *text, bool first, sttp_slice received,
                             const sttp_problem *problem);

/* A response that cannot be the answer to the request. */
void sttp__text_add_wrong_answer(sttp__text *text, const sttp_request *request,
                                 const sttp_response *response);

/* What was received while no request waited. */
void sttp__text_add_unasked(sttp__text *text, sttp_slice received);

#endif
