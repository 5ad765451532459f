/* From bytes to messages. Follows docs/protocol.md, sections 1 to 3.
 *
 * The caller owns the buffer: it reads bytes behind those that it has, and calls the parser with
 * all bytes that are not yet consumed. What comes back are slices into that buffer, good until the
 * caller moves or overwrites those bytes. The parser allocates nothing, does no I/O, and remembers
 * how far it has looked for a line's end, so a sender of single bytes costs time linear in the
 * bytes.
 *
 *     sttp_parser parser = {0};
 *     for (;;) {
 *         // read into buffer + used, used += n
 *         while ((status = sttp_parse_request(&parser, buffer + start, used - start, &size,
 *                                             &request, &problem)) != STTP_NEED_MORE) {
 *             start += size;
 *             // answer; behind STTP_END, STTP_ERR_LINE_TOO_LONG and STTP_ERR_HTTP nothing is
 * parsed
 *             ...
 *         }
 *     }
 *
 * A parser belongs to one direction of one connection; use it from one thread at a time. */
#ifndef STTP_PARSER_H
#define STTP_PARSER_H

#include <sttp/message.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The memory between two calls. Set it to zero before the first; the fields that begin with an
 * underscore are the parser's own. */
typedef struct sttp_parser {
    size_t _scanned; /* bytes of the unconsumed input known to hold no LF */
    size_t _head;    /* responses: size of the status line, once it is whole */
    bool _begun;     /* a line was consumed */
    bool proxy;      /* a forward proxy's: the target of a request may be a URL */
} sttp_parser;

/* Looks at `size` bytes at `data`, the first of which begins a request line.
 *
 *   STTP_OK                 *request is filled, *consumed is the line's size.
 *   STTP_NEED_MORE          no whole line yet. *consumed is 0. Call again with the same bytes and
 *                           more of them. Where no more will come, any bytes that are there are an
 *                           unfinished line: 300 with "-".
 *   STTP_END                an empty line, *consumed is its size: the session ends, read nothing
 *                           behind it.
 *   STTP_ERR_LINE_TOO_LONG  told as soon as the limit is reached, before the line's end came.
 *                           *consumed is 0; the input cannot be parsed further.
 *   STTP_ERR_HTTP           the first line is an HTTP request. *consumed is the line's size; close
 *                           after answering.
 *   another STTP_ERR_*      the line breaks a rule (23 to 44, for a proxy also 81 to 87).
 *                           *consumed is its size; the next line can be parsed.
 *
 * With parser->proxy a target that begins with "sttp://" or "sttps://", in any case, is cut into
 * request->origin and path and query, which obey the same rules as without; nothing is decoded.
 *
 * For every error *problem tells the rule, the place, and the echo for the answer; for
 * STTP_ERR_LINE_TOO_LONG the echo is "-". *request is unspecified unless STTP_OK is returned. */
STTP_API sttp_status sttp_parse_request(sttp_parser *parser, const char *data, size_t size,
                                        size_t *consumed, sttp_request *request,
                                        sttp_problem *problem);

/* The same for a response. `max_contents` bounds the contents line of a 200, in bytes with its LF:
 * 1 to STTP_MAX_CONTENTS_LINE. `closed` says that the peer has closed and these are all bytes that
 * will ever come: then a 200 whose contents line is missing altogether is a 200 with empty
 * contents.
 *
 *   STTP_OK         *response is filled, *consumed is the size of status line and contents line.
 *   STTP_NEED_MORE  *consumed is 0. With `closed`, bytes that are there are a response cut short.
 *   STTP_ERR_*      not a response (60 to 65, or STTP_ERR_UTF8, STTP_ERR_CONTROL_CHARACTER).
 *                   *consumed is 0. The connection is of no more use: where the next response
 *                   begins cannot be known.
 *
 * A line may end with CR LF; the CR is dropped. Status line and contents must be valid UTF-8; the
 * status line holds no control character. An unknown code, a wrong phrase, a missing or a surplus
 * message are errors. Control characters in contents are passed through: other servers' files are
 * not this library's to judge. */
STTP_API sttp_status sttp_parse_response(sttp_parser *parser, const char *data, size_t size,
                                         size_t max_contents, bool closed, size_t *consumed,
                                         sttp_response *response, sttp_problem *problem);

#ifdef __cplusplus
}
#endif

#endif
