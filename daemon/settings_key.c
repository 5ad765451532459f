/* The keys of a table: which is meant, and what is said of one that is unknown. */
#include <string.h>

#include "daemon/settings_file.h"
#include "daemon/settings_report.h"
#include "daemon/settings_value.h"
#include "daemon/text.h"

const char *settings_key_within(const settings_option *option, const char *section, size_t *size)
{
    size_t prefix = strlen(section);

    *size = 0;
    if (!settings_has_key(option) || strncmp(option->key, section, prefix) != 0 ||
        (prefix > 0 && option->key[prefix] != '.'))
        return NULL;
    const char *name = option->key + (prefix > 0 ? prefix + 1 : 0);
    *size = strcspn(name, ".");
    return name;
}

size_t settings_key_find(const settings_scope *scope, const char *section, sttp_slice key)
{
    for (size_t i = 0; i < scope->count; i++) {
        size_t size;
        const char *name = settings_key_within(&scope->options[i], section, &size);
        if (name != NULL && size == key.size && memcmp(name, key.data, size) == 0)
            return i;
    }
    return scope->count;
}

void settings_key_list(const settings_scope *scope, const char *section, char *buffer,
                       size_t capacity)
{
    size_t written = 0;

    buffer[0] = '\0';
    for (size_t i = 0; i < scope->count && written < capacity; i++) {
        size_t size;
        const char *name = settings_key_within(&scope->options[i], section, &size);
        if (name != NULL && settings_key_find(scope, section, (sttp_slice){name, size}) == i)
            written += (size_t)snprintf(buffer + written, capacity - written, "%s%.*s",
                                        written > 0 ? ", " : "", (int)size, name);
    }
}

/* The right place of a key that stands in a wrong one. */
struct elsewhere {
    const char *key;
    sttp_slice section; /* empty: the top level of the table */
};

static bool is_key(const char *name, sttp_slice key)
{
    return strlen(name) == key.size && memcmp(name, key.data, key.size) == 0;
}

/* Whether `key` is the option's, with or without its section. */
static bool is_of(const settings_option *option, sttp_slice key, struct elsewhere *elsewhere)
{
    const char *dot = strrchr(option->key, '.');
    const char *leaf = dot != NULL ? dot + 1 : option->key;

    if (!settings_has_key(option) || (!is_key(leaf, key) && !is_key(option->key, key)))
        return false;
    *elsewhere =
        (struct elsewhere){leaf, {option->key, dot != NULL ? (size_t)(dot - option->key) : 0}};
    return true;
}

/* Also in the records of the table, for whose keys people forget to indent. */
static bool find_elsewhere(const settings_scope *scope, sttp_slice key, struct elsewhere *elsewhere)
{
    for (size_t i = 0; i < scope->count; i++) {
        if (is_of(&scope->options[i], key, elsewhere))
            return true;
    }
    for (size_t i = 0; i < scope->count; i++) {
        const settings_option *option = &scope->options[i];
        for (size_t j = 0; j < option->field_count; j++) {
            if (is_key(option->fields[j].key, key)) {
                *elsewhere =
                    (struct elsewhere){option->fields[j].key, {option->key, strlen(option->key)}};
                return true;
            }
        }
    }
    return false;
}

static void guess_key(const settings_scope *scope, const char *section, settings_guess *guess)
{
    for (size_t i = 0; i < scope->count; i++) {
        size_t size;
        const char *name = settings_key_within(&scope->options[i], section, &size);
        if (name != NULL)
            settings_guess_try(guess, name, size);
    }
}

void settings_key_unknown(const settings_scope *scope, const char *section, sttp_slice key,
                          size_t offset, settings_report *report)
{
    char shown[128];
    char keys[1024];
    struct elsewhere elsewhere;
    settings_guess guess = {.word = key};

    text_escape(key.data, key.size, shown, sizeof shown);
    guess_key(scope, section, &guess);
    if (find_elsewhere(scope, key, &elsewhere) && elsewhere.section.size > 0) {
        settings_report_at(report, offset, "unknown key '%s'; did you mean '%s' inside '%.*s:'?",
                           shown, elsewhere.key, (int)elsewhere.section.size,
                           elsewhere.section.data);
    } else if (find_elsewhere(scope, key, &elsewhere)) {
        settings_report_at(report, offset, "unknown key '%s'; did you mean '%s' %s%s%s?", shown,
                           elsewhere.key, scope->path[0] != '\0' ? "outside '" : "at the top level",
                           scope->path[0] != '\0' ? section : "",
                           scope->path[0] != '\0' ? ":'" : "");
    } else if (settings_guess_is_near(&guess)) {
        settings_report_at(report, offset, "unknown key '%s'; did you mean '%s'?", shown,
                           guess.nearest);
    } else {
        settings_key_list(scope, section, keys, sizeof keys);
        settings_report_at(report, offset,
                           "unknown key '%s'; the nearest known key is '%s', of: %s", shown,
                           guess.nearest, keys);
    }
}
