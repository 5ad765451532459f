/* Numbers are digits and a unit, nothing else: no sign, no leading zero (which YAML 1.1 takes for
 * octal), no fraction, no underscore. What is meant by "010" or "1e3" is for its writer to say. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "daemon/settings_value.h"
#include "daemon/text.h"

typedef struct unit {
    const char *name;
    uint64_t factor;
} unit;

/* Each table from the smallest to the largest unit; the first of a factor is the one written. */
static const unit size_units[] = {
    {"B", 1},       {"KiB", 1 << 10}, {"K", 1 << 10}, {"MiB", 1 << 20},
    {"M", 1 << 20}, {"GiB", 1 << 30}, {"G", 1 << 30}, {NULL, 0},
};
static const unit duration_units[] = {
    {"ms", 1},      {"s", 1000},     {"m", 60000}, {"min", 60000},
    {"h", 3600000}, {"d", 86400000}, {NULL, 0},
};

static const char *const true_words[] = {"true", "yes", "on", NULL};
static const char *const false_words[] = {"false", "no", "off", NULL};

static const unit *units_of(const settings_option *option)
{
    if (option->kind == SETTINGS_SIZE)
        return size_units;
    return option->kind == SETTINGS_DURATION ? duration_units : NULL;
}

static void *member(const settings_option *option, void *values)
{
    return (char *)values + option->offset;
}

static bool equals(sttp_slice text, const char *word)
{
    return text.size == strlen(word) && strncasecmp(text.data, word, text.size) == 0;
}

static bool is_one_of(sttp_slice text, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (equals(text, *words))
            return true;
    }
    return false;
}

bool settings_has_flag(const settings_option *option)
{
    return option->kind != SETTINGS_RECORDS || option->shorthand != NULL;
}

bool settings_has_key(const settings_option *option)
{
    return option->kind != SETTINGS_BOOL || option->argument != NULL;
}

size_t settings_flag_name(const settings_option *option, char *buffer, size_t capacity)
{
    int length = snprintf(buffer, capacity, "%s", option->key);

    for (char *at = buffer; *at != '\0'; at++) {
        if (*at == '.' || *at == '_')
            *at = '-';
    }
    return (size_t)length;
}

/* An amount as one would write it: in the largest unit that divides it. */
static void format_amount(const settings_option *option, uint64_t amount, char *buffer,
                          size_t capacity)
{
    const unit *units = units_of(option);
    const unit *best = units;

    if (units == NULL || amount == 0) {
        snprintf(buffer, capacity, "%" PRIu64, amount);
        return;
    }
    for (; units->name != NULL; units++) {
        if (amount % units->factor == 0 && units->factor > best->factor)
            best = units;
    }
    snprintf(buffer, capacity, "%" PRIu64 "%s", amount / best->factor, best->name);
}

static void expected_amount(const settings_option *option, char *buffer, size_t capacity)
{
    char low[32];
    char high[32];
    const char *what = option->kind == SETTINGS_SIZE ? "a size in bytes, or with KiB, MiB or GiB,"
                       : option->kind == SETTINGS_DURATION
                           ? "a duration in seconds, or with ms, s, m, h or d,"
                           : "a whole number";

    format_amount(option, option->minimum, low, sizeof low);
    format_amount(option, option->maximum, high, sizeof high);
    snprintf(buffer, capacity, "%s%s%s from %s to %s", option->zero != NULL ? option->zero : "",
             option->zero != NULL ? " or " : "", what, low, high);
}

static void expected_choice(const settings_option *option, char *buffer, size_t capacity)
{
    size_t size = 0;

    for (const char *const *word = option->choices; *word != NULL && size < capacity; word++) {
        const char *separator = word == option->choices ? "" : word[1] == NULL ? " or " : ", ";
        size += (size_t)snprintf(buffer + size, capacity - size, "%s%s", separator, *word);
    }
}

void settings_value_expected(const settings_option *option, char *buffer, size_t capacity)
{
    switch (option->kind) {
    case SETTINGS_BOOL:
        snprintf(buffer, capacity, "true or false");
        return;
    case SETTINGS_NUMBER:
    case SETTINGS_SIZE:
    case SETTINGS_DURATION:
        expected_amount(option, buffer, capacity);
        return;
    case SETTINGS_CHOICE:
        expected_choice(option, buffer, capacity);
        return;
    case SETTINGS_TEXT:
    case SETTINGS_LIST:
        snprintf(buffer, capacity, "%s", option->expected);
        return;
    case SETTINGS_RECORDS:
        snprintf(buffer, capacity, "a list of mappings");
        return;
    }
}

/* The digits at the start of `text`: how many, and their value; UINT64_MAX where it is larger. */
static size_t read_digits(sttp_slice text, uint64_t *number)
{
    size_t count = 0;

    *number = 0;
    for (; count < text.size && text.data[count] >= '0' && text.data[count] <= '9'; count++) {
        uint64_t digit = (uint64_t)(text.data[count] - '0');
        if (*number > (UINT64_MAX - digit) / 10)
            *number = UINT64_MAX;
        else
            *number = *number * 10 + digit;
    }
    return count;
}

/* The factor of the unit that `text` names, 0 where it names none. */
static uint64_t unit_factor(const settings_option *option, sttp_slice text)
{
    const unit *units = units_of(option);

    if (text.size == 0)
        return option->kind == SETTINGS_DURATION ? 1000 : 1;
    if (units == NULL)
        return 0;
    if (text.data[0] == ' ')
        text = (sttp_slice){text.data + 1, text.size - 1};
    for (; units->name != NULL; units++) {
        if (equals(text, units->name))
            return units->factor;
    }
    return 0;
}

/* Returns NULL, or in a few words what is wrong with the text. */
static const char *read_amount(const settings_option *option, sttp_slice text, uint64_t *amount)
{
    if (option->zero != NULL && equals(text, option->zero)) {
        *amount = 0;
        return NULL;
    }
    size_t digits = read_digits(text, amount);
    if (digits == 0)
        return text.size > 0 && text.data[0] == '-' ? "is negative" : "is not a number";
    if (digits > 1 && text.data[0] == '0')
        return "has a leading zero";
    uint64_t factor = unit_factor(option, (sttp_slice){text.data + digits, text.size - digits});
    if (factor == 0)
        return units_of(option) == NULL ? "is not a whole number" : "has no known unit";
    *amount = *amount > UINT64_MAX / factor ? UINT64_MAX : *amount * factor;
    if (*amount < option->minimum)
        return "is too small";
    return *amount > option->maximum ? "is too large" : NULL;
}

static const char *set_amount(const settings_option *option, sttp_slice text, void *values)
{
    uint64_t amount;
    const char *wrong = read_amount(option, text, &amount);

    if (wrong == NULL)
        *(uint64_t *)member(option, values) = amount;
    return wrong;
}

static const char *set_bool(const settings_option *option, sttp_slice text, void *values)
{
    bool is_true = is_one_of(text, true_words);

    if (!is_true && !is_one_of(text, false_words))
        return "is neither";
    *(bool *)member(option, values) = is_true;
    return NULL;
}

static const char *set_choice(const settings_option *option, sttp_slice text, void *values)
{
    for (unsigned i = 0; option->choices[i] != NULL; i++) {
        if (equals(text, option->choices[i])) {
            *(unsigned *)member(option, values) = i;
            return NULL;
        }
    }
    return "is no known word";
}

static const char not_valid[] = "is not valid";

/* Returns NULL where `text` can be what the option holds. */
static const char *check_text(const settings_option *option, sttp_slice text)
{
    char copy[PATH_MAX];

    if (text.size == 0)
        return "is empty";
    if (text.size >= sizeof copy)
        return "is too long";
    if (memchr(text.data, '\0', text.size) != NULL)
        return "holds a zero byte";
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    if (option->mistake != NULL)
        return option->mistake(text) == NULL ? NULL : not_valid;
    return option->valid == NULL || option->valid(copy) ? NULL : not_valid;
}

/* What is wrong where nothing is but that memory is out. */
static const char no_memory[] = "does not fit into memory";

static const char *set_text(const settings_option *option, sttp_slice text, void *values)
{
    const char *wrong = check_text(option, text);

    if (wrong != NULL)
        return wrong;
    char *copy = strndup(text.data, text.size);
    if (copy == NULL)
        return no_memory;
    settings_value_clear(option, values);
    *(char **)member(option, values) = copy;
    return NULL;
}

static const char *add_item(const settings_option *option, sttp_slice text, void *values)
{
    settings_list *list = member(option, values);
    const char *wrong = check_text(option, text);

    if (wrong != NULL)
        return wrong;
    if (list->count >= option->maximum)
        return "is one too many";
    return settings_list_add(list, text.data, text.size) ? NULL : no_memory;
}

bool settings_list_add(settings_list *list, const char *text, size_t size)
{
    char *copy = strndup(text, size);
    char **items = copy != NULL ? reallocarray(list->items, list->count + 1, sizeof *items) : NULL;

    if (items == NULL) {
        free(copy);
        return false;
    }
    list->items = items;
    items[list->count++] = copy;
    return true;
}

void settings_list_clear(settings_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (settings_list){0};
}

void settings_value_clear(const settings_option *option, void *values)
{
    if (option->kind == SETTINGS_TEXT) {
        char **text = member(option, values);
        free(*text);
        *text = NULL;
    } else if (option->kind == SETTINGS_LIST) {
        settings_list_clear(member(option, values));
    } else if (option->kind == SETTINGS_RECORDS) {
        settings_records_clear(option, member(option, values));
    }
}

void settings_value_place(const settings_option *option, settings_place place, void *values)
{
    if (option->place > 0)
        *(settings_place *)(void *)((char *)values + option->place) = place;
}

static const char *set(const settings_option *option, sttp_slice text, void *values)
{
    switch (option->kind) {
    case SETTINGS_BOOL:
        return set_bool(option, text, values);
    case SETTINGS_NUMBER:
    case SETTINGS_SIZE:
    case SETTINGS_DURATION:
        return set_amount(option, text, values);
    case SETTINGS_CHOICE:
        return set_choice(option, text, values);
    case SETTINGS_TEXT:
        return set_text(option, text, values);
    case SETTINGS_LIST:
        return add_item(option, text, values);
    case SETTINGS_RECORDS: /* settings_records_set */
        break;
    }
    return "has no known kind";
}

settings_result settings_value_set(const settings_option *option, sttp_slice text,
                                   settings_place place, void *values, char *why)
{
    char shown[128];
    char expected[256];

    if (option->kind == SETTINGS_RECORDS)
        return settings_records_set(option, text, place, values, why);
    const char *wrong = set(option, text, values);
    if (wrong == NULL)
        settings_value_place(option, place, values);
    if (wrong == NULL)
        return SETTINGS_SET;
    if (wrong == no_memory)
        return SETTINGS_NO_MEMORY;
    text_escape(text.data, text.size, shown, sizeof shown);
    settings_value_expected(option, expected, sizeof expected);
    if (wrong == not_valid && option->mistake != NULL)
        snprintf(why, SETTINGS_MAX_WHY, "'%s' is not valid: %s", shown, option->mistake(text));
    else
        snprintf(why, SETTINGS_MAX_WHY, "'%s' %s; expected %s", shown, wrong, expected);
    return SETTINGS_WRONG;
}

settings_result settings_value_default(const settings_option *option, void *values, char *why)
{
    static const char separator[] = ", ";
    settings_result result = SETTINGS_SET;
    const char *text = option->fallback;

    while (text != NULL && result == SETTINGS_SET) {
        const char *end = option->kind == SETTINGS_LIST ? strstr(text, separator) : NULL;
        size_t size = end != NULL ? (size_t)(end - text) : strlen(text);
        result =
            settings_value_set(option, (sttp_slice){text, size}, (settings_place){0}, values, why);
        text = end != NULL ? end + sizeof separator - 1 : NULL;
    }
    return result;
}
