/* Reads JSON, as much of it as the results of sttp-bench need: no \u beyond Latin-1. */
#ifndef BENCH_JSON_H
#define BENCH_JSON_H

#include <stdbool.h>
#include <stddef.h>

typedef enum json_kind {
    JSON_NULL,
    JSON_BOOL,
    JSON_NUMBER,
    JSON_TEXT,
    JSON_ARRAY,
    JSON_OBJECT
} json_kind;

typedef struct json {
    json_kind kind;
    char *name;         /* within an object; else NULL */
    double number;      /* JSON_BOOL: 0 or 1 */
    char *text;         /* JSON_TEXT */
    struct json *first; /* of an array or object */
    struct json *next;  /* of the one that this is in */
} json;

/* The value of `text`, `size` bytes with a zero byte behind them; NULL where it is none, or where
 * memory is out. To be freed by json_free. */
json *json_parse(const char *text, size_t size);
void json_free(json *value);

/* The member of an object; NULL where there is none, or where `object` is NULL or no object. */
const json *json_member(const json *object, const char *name);

/* The number or text of a member, the default where there is none. */
double json_number(const json *object, const char *name, double fallback);
const char *json_text(const json *object, const char *name, const char *fallback);

#endif
