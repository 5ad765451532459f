/* The values of the protocol: actions, codes, limits, requests, responses, queries, and the rules
 * that paths and texts obey. Follows docs/protocol.md, sections 2 to 5. Everything here is pure: no
 * allocation, no I/O, no state; every function may be called from any thread. */
#ifndef STTP_MESSAGE_H
#define STTP_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include <sttp/base.h>
#include <sttp/status.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    STTP_MAX_REQUEST_LINE = 4096,      /* bytes, LF included */
    STTP_MAX_PATH = 1024,              /* bytes */
    STTP_MAX_DIRECTORY_NAME = 255,     /* bytes */
    STTP_MAX_FILENAME_CHARS = 32,      /* characters: Unicode code points */
    STTP_MAX_CONTENTS_CHARS = 160,     /* characters */
    STTP_MAX_CONTENTS_BYTES = 4 * 160, /* what 160 characters take at most */
    STTP_MAX_STATUS_LINE = 8192,       /* bytes, LF included */
    STTP_MAX_CONTENTS_LINE = 16 << 20, /* bytes, LF included */
    STTP_MAX_LIST_LIMIT = 10000,       /* names, the query key `limit` */
    STTP_MAX_MESSAGE = 512,            /* bytes: the longest message that sttp_explain writes */
    STTP_DEFAULT_PORT = 8080,
    STTP_DEFAULT_TLS_PORT = 8443
};

/* The prefix of names that a server keeps for itself: no request can name them. */
#define STTP_RESERVED_PREFIX ".sttp-"

typedef enum sttp_action {
    STTP_ACTION_NONE = 0, /* no or no known action; never in a valid request */
    STTP_ACTION_CREATE,
    STTP_ACTION_SHOW,
    STTP_ACTION_LIST,
    STTP_ACTION_UPDATE,
    STTP_ACTION_DELETE
} sttp_action;

/* "CREATE"; "NONE" for STTP_ACTION_NONE and for values that are not of the enum. Static memory. */
STTP_API const char *sttp_action_name(sttp_action action);

/* The action that `name` spells, in any case; STTP_ACTION_NONE where it spells none. (On the wire
 * only upper case counts: this is for what people type.) */
STTP_API sttp_action sttp_action_from_name(sttp_slice name);

/* Whether the action changes the store: CREATE, UPDATE, DELETE. */
STTP_API bool sttp_action_is_change(sttp_action action);

typedef enum sttp_code {
    STTP_CODE_CREATED = 100,
    STTP_CODE_OK = 200,
    STTP_CODE_CLIENT_ERROR = 300,
    STTP_CODE_FILENAME_TOO_LONG = 310,
    STTP_CODE_NOT_FOUND = 400,
    STTP_CODE_PATH_NOT_FOUND = 410,
    STTP_CODE_SERVER_ERROR = 500,
    STTP_CODE_CANNOT_CREATE_PATH = 510,
    STTP_CODE_DELETED = 600
} sttp_code;

/* "CREATED", "CLIENT ERROR"; NULL where the number is none of the nine codes. Static memory. */
STTP_API const char *sttp_code_phrase(int code);

/* The code that tells that the action was done: 100 of CREATE, 600 of DELETE, 200 of all others. */
STTP_API sttp_code sttp_action_success(sttp_action action);

/* Whether responses with this code carry a message in quotes: 300 and 500. */
STTP_API bool sttp_code_has_message(sttp_code code);

/* A request. In one that the parser made, the slices point into the caller's buffer. */
typedef struct sttp_request {
    sttp_action action;
    sttp_slice path;  /* "/notes/a.txt", never empty */
    sttp_slice query; /* what follows "?", as on the wire; data is NULL where there is no "?" */
    sttp_slice
        contents; /* CREATE and UPDATE: the text, its outer quotes removed; else data is NULL */
    sttp_slice origin; /* to a forward proxy: "sttp://example.org:8080", what stands before the
                          path, see sttp_origin_parse; else data is NULL */
} sttp_request;

/* A response. */
typedef struct sttp_response {
    sttp_code code;
    sttp_slice echo;     /* the path, the parent directory (410, 510), or "-" */
    sttp_slice message;  /* 300 and 500: what to do; else data is NULL */
    sttp_slice contents; /* 200: the text or the names, may be empty; else data is NULL */
    sttp_slice bytes; /* all of a response that the parser has made, as the serializer would write
                         it; data is NULL in others, and where a line ended with CR LF */
} sttp_response;

/* Whether `response` can be the answer to `request` (docs/protocol.md, sections 3 and 7): it echoes
 * the path, or for 410 and 510 the parent directory, or for 300 possibly "-". Where the request has
 * an origin, an answer of a proxy's own (300, 310, 410, 500, 510) echoes the origin and the same
 * behind it. 100, 200 and 600 only tell that the request's own action was done. If not, the
 * connection is of no more use. Of the request only action, path and origin count. */
STTP_API bool sttp_response_speaks_of(const sttp_response *response, const sttp_request *request);

/* What is wrong with a message, precise enough to tell a person what to do about it. */
typedef struct sttp_problem {
    sttp_status status; /* the rule that was broken */
    size_t offset;      /* where: bytes from the start of what was given */
    size_t length;      /* for limits: the length that was given, in the limit's unit; of an action:
                           letters in which it differs from `word`, 0 where only the case is wrong */
    sttp_slice echo;    /* requests only: what a response echoes: the target up to "?", or "-" */
    sttp_slice word;    /* the word that is meant (an action, a query key), may be empty */
} sttp_problem;

/* Writes one line for people about `problem` into `buffer`, cut to `capacity` - 1 bytes at a
 * character's start and ended by a zero byte; returns its length. STTP_MAX_MESSAGE + 1 bytes are
 * always enough. The text says what to do (the form, the near action, the limit and the length that
 * was sent), holds no double quote and no control character, and can stand in a response's message.
 */
STTP_API size_t sttp_explain(const sttp_problem *problem, char *buffer, size_t capacity);

/* The number of characters (code points) of `text`, or SIZE_MAX where it is not valid UTF-8. */
STTP_API size_t sttp_count_chars(sttp_slice text);

/* The size in bytes of the character that `text` begins with, and its code point in *character (may
 * be NULL); 0 where `text` is empty or does not begin with valid UTF-8. */
STTP_API size_t sttp_next_char(sttp_slice text, uint32_t *character);

/* Whether a terminal or the reader of a log could take the character for something else than what
 * it looks like: control characters, line separators, marks that change the direction of writing.
 */
STTP_API bool sttp_char_is_unsafe(uint32_t character);

/* How many letters of `a` to insert, remove, replace or swap with a neighbour to get `b`. A to Z
 * equal a to z; SIZE_MAX where a word is longer than 63 bytes. */
STTP_API size_t sttp_word_distance(sttp_slice a, sttp_slice b);

/* For "did you mean": the one of `count` words that is nearest to `text` by that distance, at most
 * a third of its own letters; the first of several. A slice of size 0 where none is so near, or
 * `text` is empty. */
STTP_API sttp_slice sttp_nearest_word(sttp_slice text, const char *const *words, size_t count);

/* Whether `path` can be the target of `action`: the form of the path, the filename's length, the
 * lengths of the path and of its directories, in that order. STTP_OK, or the rule that it breaks,
 * told in *problem where `problem` is not NULL (its echo is left empty). Before all these: the
 * path's encoding, and STTP_ERR_ACTION for an action that is none of the five. */
STTP_API sttp_status sttp_check_path(sttp_action action, sttp_slice path, sttp_problem *problem);

/* Whether `text` can be the contents of a file: valid UTF-8, no control character but TAB, at most
 * STTP_MAX_CONTENTS_CHARS characters. STTP_OK, STTP_ERR_UTF8, STTP_ERR_CONTROL_CHARACTER or
 * STTP_ERR_CONTENTS_TOO_LONG, told in *problem as above. */
STTP_API sttp_status sttp_check_text(sttp_slice text, sttp_problem *problem);

/* The parent directory of a path, with a final slash: "/a/" of "/a/b" and of "/a/b/"; "/" of "/".
 * A slice of `path`. */
STTP_API sttp_slice sttp_parent_path(sttp_slice path);

typedef enum sttp_list_type {
    STTP_LIST_ALL = 0,
    STTP_LIST_FILES,
    STTP_LIST_DIRECTORIES
} sttp_list_type;

/* The query of a LIST, docs/protocol.md section 4.1, decoded. */
typedef struct sttp_query {
    sttp_slice text;     /* `q`; data is NULL where it is not given */
    sttp_slice name;     /* a pattern; data is NULL where it is not given */
    sttp_slice after;    /* data is NULL where it is not given */
    uint32_t limit;      /* 1..STTP_MAX_LIST_LIMIT; 0 where it is not given */
    sttp_list_type type; /* the default is already resolved: files where `q` is given */
    bool recursive;
} sttp_query;

/* Reads a request's query into *query. The decoded values are written to `buffer`, which must have
 * room for `encoded.size` bytes, and *query points into it. An `encoded` with data NULL gives the
 * defaults. `buffer` may be NULL to check only; then the slices of *query are unspecified.
 * Returns STTP_OK or an STTP_ERR_QUERY_*, told in *problem where `problem` is not NULL. */
STTP_API sttp_status sttp_query_parse(sttp_slice encoded, char *buffer, sttp_query *query,
                                      sttp_problem *problem);

/* Whether `name` (a listed name's last segment without its slash) matches the pattern of the key
 * `name`: "*" any run, "?" one character, case counts. Both are valid UTF-8. Linear in space, at
 * most quadratic in time. */
STTP_API bool sttp_name_matches(sttp_slice pattern, sttp_slice name);

/* Whether `text` contains `needle` as the key `q` means it: A to Z equal a to z, every other
 * character only itself. An empty needle is contained in every text. */
STTP_API bool sttp_text_contains(sttp_slice text, sttp_slice needle);

#ifdef __cplusplus
}
#endif

#endif
