/* The results of the library's own functions. What a server answers on the wire is `sttp_code`, in
 * message.h. */
#ifndef STTP_STATUS_H
#define STTP_STATUS_H

#include <sttp/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* STTP_OK, STTP_NEED_MORE and STTP_END are no errors; every other value is one. Values keep their
 * numbers for ever: new ones are added at the end of their group. */
typedef enum sttp_status {
    STTP_OK = 0,
    STTP_NEED_MORE = 1, /* the input ends before the message does: call again with more bytes */
    STTP_END = 2,       /* an empty line: the client ends the session */

    /* Use of the library. */
    STTP_ERR_MEMORY = 10,        /* an allocation failed */
    STTP_ERR_BUFFER = 11,        /* the caller's buffer is too small; the size needed is told */
    STTP_ERR_ARGUMENT = 12,      /* an argument or option out of its range */
    STTP_ERR_PIPELINE_FULL = 13, /* receive an answer before sending the next request */
    STTP_ERR_NOTHING_SENT = 14,  /* receive was called and no request is outstanding */

    /* A request line that breaks a rule of docs/protocol.md, section 2. In the order of the checks.
     */
    STTP_ERR_HTTP = 20,              /* the first line is an HTTP request */
    STTP_ERR_LINE_TOO_LONG = 21,     /* over STTP_MAX_REQUEST_LINE */
    STTP_ERR_UNFINISHED_LINE = 22,   /* the input ended within a line */
    STTP_ERR_CONTROL_CHARACTER = 23, /* U+0000..U+001F but TAB in contents, U+007F..U+009F */
    STTP_ERR_UTF8 = 24,              /* bytes that are not valid UTF-8 */
    STTP_ERR_ACTION = 25,            /* not one of the five actions */
    STTP_ERR_TARGET_MISSING = 26,    /* an action and nothing else */
    STTP_ERR_TARGET_URL = 27,        /* a URL, sent to a server that is no proxy */
    STTP_ERR_PATH_RELATIVE = 28,     /* the path does not begin with a slash */
    STTP_ERR_PATH_EMPTY_SEGMENT = 29,
    STTP_ERR_PATH_DOT_SEGMENT = 30,   /* "." or ".." */
    STTP_ERR_PATH_RESERVED = 31,      /* a segment that begins with ".sttp-" */
    STTP_ERR_PATH_FORBIDDEN = 32,     /* a space or "?" in a path (serializer and URL only) */
    STTP_ERR_PATH_FINAL_SLASH = 33,   /* CREATE, SHOW and UPDATE name a file */
    STTP_ERR_FILENAME_TOO_LONG = 34,  /* over STTP_MAX_FILENAME_CHARS: 310 on the wire */
    STTP_ERR_PATH_TOO_LONG = 35,      /* over STTP_MAX_PATH */
    STTP_ERR_DIRECTORY_TOO_LONG = 36, /* a directory's name over STTP_MAX_DIRECTORY_NAME */
    STTP_ERR_QUERY_ACTION = 37,       /* only LIST takes a query */
    STTP_ERR_QUERY_KEY = 38,          /* unknown key, or no "key=value" */
    STTP_ERR_QUERY_TWICE = 39,        /* a key given twice */
    STTP_ERR_QUERY_VALUE = 40,        /* a value that the key does not take */
    STTP_ERR_QUERY_ESCAPE = 41, /* "%" without two hex digits, or a decoded byte not allowed */
    STTP_ERR_CONTENTS_MISSING = 42,
    STTP_ERR_CONTENTS_TOO_LONG = 43,   /* over STTP_MAX_CONTENTS_CHARS */
    STTP_ERR_CONTENTS_UNEXPECTED = 44, /* SHOW, LIST and DELETE take none */

    /* A response that breaks a rule of docs/protocol.md, section 3. */
    STTP_ERR_RESPONSE_CODE = 60,    /* not one of the nine codes */
    STTP_ERR_RESPONSE_ECHO = 61,    /* no path, or one with a forbidden character */
    STTP_ERR_RESPONSE_PHRASE = 62,  /* not the phrase of its code */
    STTP_ERR_RESPONSE_MESSAGE = 63, /* a message missing, out of place, or bad; contents so too */
    STTP_ERR_STATUS_LINE_TOO_LONG = 64,   /* over STTP_MAX_STATUS_LINE */
    STTP_ERR_CONTENTS_LINE_TOO_LONG = 65, /* over the limit of the reader */

    /* A URL, docs/protocol.md, section 6. */
    STTP_ERR_URL_SCHEME = 80,    /* not sttp://, sttps:// or sttp+unix: */
    STTP_ERR_URL_USER = 81,      /* user information is not allowed */
    STTP_ERR_URL_HOST = 82,      /* empty, or a character that no host has */
    STTP_ERR_URL_IPV6 = 83,      /* a bad address between the brackets */
    STTP_ERR_URL_ZONE = 84,      /* a bad zone behind %25 */
    STTP_ERR_URL_PORT = 85,      /* not a number from 1 to 65535 */
    STTP_ERR_URL_PATH = 86,      /* no path, or one where none may be */
    STTP_ERR_URL_FRAGMENT = 87,  /* a fragment is not allowed */
    STTP_ERR_URL_ESCAPE = 88,    /* "%" without two hex digits */
    STTP_ERR_URL_CHARACTER = 89, /* what the path decodes to cannot stand in a request */
    STTP_ERR_URL_SOCKET =
        90, /* sttp+unix: with a socket path that is relative, empty or too long */

    /* Talking to a server; see sttp_error in client.h. */
    STTP_ERR_RESOLVE = 100,         /* the name has no address */
    STTP_ERR_CONNECT = 101,         /* no address accepted the connection */
    STTP_ERR_TIMEOUT = 102,         /* a deadline passed */
    STTP_ERR_CONNECTION_LOST = 103, /* closed or reset before the answer was whole */
    STTP_ERR_EMPTY_ANSWER = 104,    /* closed without a byte of an answer */
    STTP_ERR_BAD_ANSWER = 105,      /* what came is no STTP response */
    STTP_ERR_WRONG_ANSWER = 106,    /* a response that speaks of something else than was asked */
    STTP_ERR_UNASKED_ANSWER = 107,  /* a response that no request asked for */
    STTP_ERR_OUTCOME_UNKNOWN = 108, /* a change was sent and its answer was lost; see error.cause */
    STTP_ERR_SYSTEM = 109,          /* a system call failed; see error.system_errno */
    STTP_ERR_TRANSPORT = 110,       /* the transport module failed (TLS, say) */
    STTP_ERR_CANCELLED = 111,       /* the pool was destroyed; see async.h */
    STTP_ERR_DENIED = 112,          /* the caller permits none of the addresses */

    /* Running a server; see server.h. */
    STTP_ERR_ADDRESS = 120,        /* not an address, or none that can be used here */
    STTP_ERR_ADDRESS_IN_USE = 121, /* somebody listens there already */
    STTP_ERR_STATE = 122,          /* a call that does not fit the state of the object */
    STTP_ERR_BUSY = 123            /* too many bytes of answers wait to be taken in by workers */
} sttp_status;

/* One sentence for people, without a full stop: "the request line is longer than 4,096 bytes".
 * Static memory, never NULL; a value that is not of the enum gives "unknown status". Thread-safe.
 */
STTP_API const char *sttp_status_text(sttp_status status);

/* The enum's name, "STTP_ERR_LINE_TOO_LONG", for logs and tests. As above. */
STTP_API const char *sttp_status_name(sttp_status status);

#ifdef __cplusplus
}
#endif

#endif
