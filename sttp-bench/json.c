#include "json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 32 };

struct cursor {
    const char *at, *end;
    unsigned depth;
};

static json *parse_value(struct cursor *c);

static void skip_space(struct cursor *c)
{
    while (c->at < c->end && strchr(" \t\r\n", *c->at) != NULL && *c->at != '\0')
        c->at++;
}

static bool take(struct cursor *c, char wanted)
{
    skip_space(c);
    if (c->at == c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

void json_free(json *value)
{
    while (value != NULL) {
        json *next = value->next;
        json_free(value->first);
        free(value->name);
        free(value->text);
        free(value);
        value = next;
    }
}

/* Four hex digits; what is not Latin-1 becomes a question mark. */
static bool parse_code(struct cursor *c, char *out)
{
    char digits[5] = "";
    char *end;

    if (c->end - c->at < 4)
        return false;
    memcpy(digits, c->at, 4);
    unsigned long code = strtoul(digits, &end, 16);
    if (end != digits + 4)
        return false;
    c->at += 4;
    *out = code > 0 && code < 256 ? (char)code : '?';
    return true;
}

static bool parse_escape(struct cursor *c, char *out)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char meant[] = "\"\\/\b\f\n\r\t";

    if (c->at == c->end)
        return false;
    char letter = *c->at++;
    if (letter == 'u')
        return parse_code(c, out);
    const char *found = letter != '\0' ? strchr(letters, letter) : NULL;
    if (found == NULL)
        return false;
    *out = meant[found - letters];
    return true;
}

/* The text behind a quote, which was taken; NULL where it does not end. */
static char *parse_text(struct cursor *c)
{
    const char *close = c->at;

    while (close < c->end && *close != '"')
        close += *close == '\\' ? 2 : 1;
    if (close >= c->end)
        return NULL;
    char *text = malloc((size_t)(close - c->at) + 1);
    size_t size = 0;
    while (text != NULL && c->at < close) {
        text[size] = *c->at++;
        if (text[size] == '\\' && !parse_escape(c, &text[size])) {
            free(text);
            return NULL;
        }
        size++;
    }
    c->at = close + 1;
    if (text != NULL)
        text[size] = '\0';
    return text;
}

/* The members of an object, or the items of an array, up to the closing bracket. */
static bool parse_members(struct cursor *c, json *parent, char close)
{
    json **place = &parent->first;

    if (take(c, close))
        return true;
    do {
        char *name = NULL;
        if (close == '}' && (!take(c, '"') || (name = parse_text(c)) == NULL || !take(c, ':'))) {
            free(name);
            return false;
        }
        *place = parse_value(c);
        if (*place == NULL) {
            free(name);
            return false;
        }
        (*place)->name = name;
        place = &(*place)->next;
    } while (take(c, ','));
    return take(c, close);
}

static bool parse_word(struct cursor *c, json *value)
{
    static const struct {
        const char *word;
        json_kind kind;
        double number;
    } words[] = {{"true", JSON_BOOL, 1}, {"false", JSON_BOOL, 0}, {"null", JSON_NULL, 0}};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t size = strlen(words[i].word);
        if ((size_t)(c->end - c->at) >= size && memcmp(c->at, words[i].word, size) == 0) {
            value->kind = words[i].kind;
            value->number = words[i].number;
            c->at += size;
            return true;
        }
    }
    return false;
}

static bool parse_number(struct cursor *c, json *value)
{
    char *end;

    size_t size = strspn(c->at, "+-.0123456789eE"); /* the text ends with a zero byte */

    value->kind = JSON_NUMBER;
    value->number = strtod(c->at, &end);
    bool good = size > 0 && end == c->at + size && isfinite(value->number);
    c->at = end;
    return good;
}

static bool fill_value(struct cursor *c, json *value)
{
    if (take(c, '{')) {
        value->kind = JSON_OBJECT;
        return parse_members(c, value, '}');
    }
    if (take(c, '[')) {
        value->kind = JSON_ARRAY;
        return parse_members(c, value, ']');
    }
    if (take(c, '"')) {
        value->kind = JSON_TEXT;
        value->text = parse_text(c);
        return value->text != NULL;
    }
    return parse_word(c, value) || parse_number(c, value);
}

static json *parse_value(struct cursor *c)
{
    json *value = c->depth < MAX_DEPTH ? calloc(1, sizeof *value) : NULL;

    if (value == NULL)
        return NULL;
    c->depth++;
    bool good = fill_value(c, value);
    c->depth--;
    if (good)
        return value;
    json_free(value);
    return NULL;
}

json *json_parse(const char *text, size_t size)
{
    struct cursor c = {.at = text, .end = text + size};
    json *value = parse_value(&c);

    skip_space(&c);
    if (value != NULL && c.at != c.end) {
        json_free(value);
        return NULL;
    }
    return value;
}

const json *json_member(const json *object, const char *name)
{
    if (object == NULL || object->kind != JSON_OBJECT)
        return NULL;
    for (const json *member = object->first; member != NULL; member = member->next) {
        if (strcmp(member->name, name) == 0)
            return member;
    }
    return NULL;
}

double json_number(const json *object, const char *name, double fallback)
{
    const json *member = json_member(object, name);

    return member != NULL && member->kind == JSON_NUMBER ? member->number : fallback;
}

const char *json_text(const json *object, const char *name, const char *fallback)
{
    const json *member = json_member(object, name);

    return member != NULL && member->kind == JSON_TEXT ? member->text : fallback;
}
