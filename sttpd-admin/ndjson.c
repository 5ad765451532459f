#include "ndjson.h"

#include <jansson.h>
#include <stdarg.h>
#include <string.h>

/* ---- writing ---- */

/* Paths and texts are UTF-8, which stands for itself, and TAB is the only control character. */
static void write_string(FILE *out, sttp_slice text)
{
    putc_unlocked('"', out);
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (c == '"' || c == '\\')
            putc_unlocked('\\', out);
        if (c == '\t')
            fputs("\\t", out);
        else
            putc_unlocked(c, out);
    }
    putc_unlocked('"', out);
}

void ndjson_write_text(FILE *out, sttp_slice path, sttp_slice text)
{
    fputs("{\"path\": ", out);
    write_string(out, path);
    fputs(", \"text\": ", out);
    write_string(out, text);
    fputs("}\n", out);
}

void ndjson_write_directory(FILE *out, sttp_slice path)
{
    fputs("{\"directory\": ", out);
    write_string(out, path);
    fputs("}\n", out);
}

/* ---- reading ---- */

struct reader {
    char *mistake;
    size_t capacity;
};

__attribute__((format(printf, 2, 3))) static bool fail(const struct reader *reader,
                                                       const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reader->mistake, reader->capacity, format, arguments);
    va_end(arguments);
    return false;
}

static bool fail_by(const struct reader *reader, const char *key, const sttp_problem *problem)
{
    char text[STTP_MAX_MESSAGE + 1];

    sttp_explain(problem, text, sizeof text);
    return fail(reader, "\"%s\": %s", key, text);
}

/* The string of a member; data is NULL where there is no such member, or no string in it. */
static sttp_slice string_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_string(value))
        return (sttp_slice){NULL, 0};
    return (sttp_slice){json_string_value(value), json_string_length(value)};
}

/* A directory's path is checked as that of a LIST. */
static bool take_path(const struct reader *reader, const char *key, sttp_slice path,
                      struct ndjson_item *item)
{
    sttp_problem problem;
    sttp_action action = item->is_directory ? STTP_ACTION_LIST : STTP_ACTION_CREATE;

    if (item->is_directory && (path.size == 0 || path.data[path.size - 1] != '/'))
        return fail(reader, "\"%s\": the path of a directory ends with /", key);
    if (sttp_check_path(action, path, &problem) != STTP_OK)
        return fail_by(reader, key, &problem);
    memcpy(item->path, path.data, path.size);
    item->path_size = path.size;
    return true;
}

static bool take_text(const struct reader *reader, sttp_slice text, struct ndjson_item *item)
{
    sttp_problem problem;

    if (sttp_check_text(text, &problem) != STTP_OK)
        return fail_by(reader, "text", &problem);
    memcpy(item->text, text.data, text.size);
    item->text_size = text.size;
    return true;
}

static bool take_object(const struct reader *reader, const json_t *object, struct ndjson_item *item)
{
    sttp_slice path = string_of(object, "path"), text = string_of(object, "text");
    sttp_slice directory = string_of(object, "directory");

    item->text_size = 0;
    item->is_directory = directory.data != NULL;
    if (directory.data != NULL && json_object_size(object) == 1)
        return take_path(reader, "directory", directory, item);
    if (path.data != NULL && text.data != NULL && json_object_size(object) == 2)
        return take_path(reader, "path", path, item) && take_text(reader, text, item);
    return fail(reader, "expected {\"path\": \"/...\", \"text\": \"...\"} or {\"directory\": "
                        "\"/.../\"}, and nothing else");
}

bool ndjson_read(const char *line, size_t size, struct ndjson_item *item, char *mistake,
                 size_t capacity)
{
    struct reader reader = {mistake, capacity};
    json_error_t error;
    json_t *value = json_loadb(line, size, JSON_REJECT_DUPLICATES, &error);

    if (value == NULL)
        return fail(&reader, "column %d: is no JSON: %s", error.column, error.text);
    bool is_good = take_object(&reader, value, item);
    json_decref(value);
    return is_good;
}
