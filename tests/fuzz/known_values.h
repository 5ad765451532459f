/* Values of settings that the bytes of a fuzzer's input choose, and how they may be spelled. */
#ifndef STTP_TESTS_FUZZ_KNOWN_VALUES_H
#define STTP_TESTS_FUZZ_KNOWN_VALUES_H

#include <inttypes.h>

#include "property.h"
#include "sttpd/options.h"

enum {
    MAX_ITEMS = 3,
    MAX_VALUE = 256 /* bytes */
};

struct unit {
    const char *name;
    uint64_t factor;
};

/* A value that the bytes choose. Items of a list end with LF. */
struct known {
    char spelled[MAX_VALUE];
    char meant[MAX_VALUE];
    bool wrong;
};

static const struct unit number_units[] = {{"", 1}};
static const struct unit size_units[] = {
    {"", 1},        {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30},
    {"K", 1 << 10}, {"M", 1 << 20},   {"G", 1 << 30},
};
static const struct unit duration_units[] = {
    {"", 1000},     {"ms", 1},      {"s", 1000},     {"m", 60000},
    {"min", 60000}, {"h", 3600000}, {"d", 86400000},
};

/* A number below `count`, and 0 where the bytes are at their end. */
static inline unsigned choose(sttp_slice *bytes, unsigned count)
{
    if (bytes->size == 0)
        return 0;
    bytes->size--;
    return (unsigned char)*bytes->data++ % count;
}

static inline uint64_t choose_between(sttp_slice *bytes, uint64_t low, uint64_t high)
{
    uint64_t number = 0;

    switch (choose(bytes, 4)) {
    case 0:
        return low;
    case 1:
        return high;
    default:
        for (int i = 0; i < 6; i++)
            number = number << 8 | choose(bytes, 256);
        return low + number % (high - low + 1);
    }
}

static inline void change_case(sttp_slice *bytes, char *word)
{
    unsigned upper = choose(bytes, 256);

    for (unsigned i = 0; word[i] != '\0'; i++) {
        if (upper >> i % 8 & 1 && word[i] >= 'a' && word[i] <= 'z')
            word[i] = (char)(word[i] - 'a' + 'A');
        else if (upper >> i % 8 & 1 && word[i] >= 'A' && word[i] <= 'Z')
            word[i] = (char)(word[i] - 'A' + 'a');
    }
}

static inline const struct unit *choose_unit(sttp_slice *bytes, settings_kind kind)
{
    if (kind == SETTINGS_SIZE)
        return &size_units[choose(bytes, sizeof size_units / sizeof *size_units)];
    if (kind == SETTINGS_DURATION)
        return &duration_units[choose(bytes, sizeof duration_units / sizeof *duration_units)];
    return number_units;
}

static inline void make_amount(sttp_slice *bytes, const settings_option *option,
                               struct known *known)
{
    const struct unit *unit = choose_unit(bytes, option->kind);
    uint64_t low = (option->minimum + unit->factor - 1) / unit->factor;
    uint64_t high = option->maximum / unit->factor;
    uint64_t number;

    require(low <= high, "the unit suits the range");
    if (option->zero && choose(bytes, 4) == 0) {
        snprintf(known->spelled, MAX_VALUE, "%s", option->zero);
        change_case(bytes, known->spelled);
        snprintf(known->meant, MAX_VALUE, "0");
        return;
    }
    number = choose_between(bytes, low, high);
    snprintf(known->spelled, MAX_VALUE, "%" PRIu64 "%s", number, unit->name);
    change_case(bytes, known->spelled);
    snprintf(known->meant, MAX_VALUE, "%" PRIu64, number * unit->factor);
}

/* An amount out of its range, also one that a multiplication beyond 64 bits brings back into it. */
static inline void make_wrong_range(sttp_slice *bytes, const settings_option *option,
                                    struct known *known)
{
    const struct unit *unit = choose_unit(bytes, option->kind);
    uint64_t low = (option->minimum + unit->factor - 1) / unit->factor;
    uint64_t high = option->maximum / unit->factor;
    unsigned way = choose(bytes, 3);

    if (way == 0)
        snprintf(known->spelled, MAX_VALUE, "%" PRIu64 "%s", high + 1, unit->name);
    else if (way == 1 && low > 0)
        snprintf(known->spelled, MAX_VALUE, "%" PRIu64 "%s", low - 1, unit->name);
    else if (unit->factor > 1)
        snprintf(known->spelled, MAX_VALUE, "%" PRIu64 "%s", UINT64_MAX / unit->factor + 1 + low,
                 unit->name);
    else
        snprintf(known->spelled, MAX_VALUE, "%s", "18446744073709551716"); /* 2^64 + 100 */
}

static inline void make_wrong_amount(sttp_slice *bytes, const settings_option *option,
                                     struct known *known)
{
    static const char *const around[][2] = {{"0", ""}, {"-", ""},  {"+", ""},  {"0x", ""},
                                            {"", "x"}, {"", ".0"}, {"", " 1"}, {"", "_"}};
    char good[64] = "";

    known->wrong = true;
    if (choose(bytes, 2) == 0) {
        make_wrong_range(bytes, option, known);
        return;
    }
    memcpy(good, known->spelled, sizeof good - 1);
    const char *const *form = around[choose(bytes, sizeof around / sizeof *around)];
    snprintf(known->spelled, MAX_VALUE, "%s%s%s", form[0], good, form[1]);
}

static inline void make_word(sttp_slice *bytes, const char *const *words, struct known *known)
{
    unsigned count = 0, index;

    while (words[count])
        count++;
    index = choose(bytes, count);
    snprintf(known->spelled, MAX_VALUE, "%s", words[index]);
    change_case(bytes, known->spelled);
    snprintf(known->meant, MAX_VALUE, "%u", index);
}

static inline void make_bool(sttp_slice *bytes, struct known *known)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", NULL};

    make_word(bytes, words, known);
    known->meant[0] = (char)('0' + (known->meant[0] - '0') % 2);
}

/* Addresses to listen on, or ranges of them, all different: their numbers are. */
static inline void make_list(sttp_slice *bytes, const settings_option *option, struct known *known)
{
    static const char *const addresses[] = {"127.0.0.1:", "[::1]:", "unix:/run/s "};
    static const char *const ranges[] = {"10.0.0.0/", "0.0.0.0/", "::/"};
    bool is_listen = option->kind == SETTINGS_RECORDS;
    unsigned count = 1 + choose(bytes, MAX_ITEMS);
    size_t size = 0;

    for (unsigned i = 0; i < count; i++) {
        unsigned form = choose(bytes, 3);
        size += (size_t)snprintf(known->spelled + size, MAX_VALUE - size, "%s%u\n",
                                 is_listen ? addresses[form] : ranges[form],
                                 is_listen ? 1 + i + MAX_ITEMS * choose(bytes, 256)
                                           : 8 + i + MAX_ITEMS * choose(bytes, 7));
    }
    memcpy(known->meant, known->spelled, MAX_VALUE);
}

static inline void make_text(sttp_slice *bytes, const settings_option *option, struct known *known)
{
    static const char *const addresses[] = {"127.0.0.1", "0.0.0.0", "::1", "::"};
    bool has_port = option->valid == listen_is_listener;
    static const char *const parts[] = {
        "a",  "/",        "'",  "\"",           "\\", " #",           ": ", "%",
        "{",  "\xc3\xa9", "&",  "\xe2\x82\xac", "\t", "\x01",         "\n", "\x7f",
        "- ", "\xc2\x85", ", ", "\r",           "~",  "\xe2\x80\xa8", "Z",  "\xf0\x9f\x98\x80"};
    unsigned count;
    size_t size;

    if (option->valid) {
        unsigned index = choose(bytes, 4);
        bool in_brackets = has_port && index >= 2;
        snprintf(known->spelled, MAX_VALUE, "%s%s%s%s", in_brackets ? "[" : "", addresses[index],
                 in_brackets ? "]" : "", has_port ? ":6379" : "");
    } else {
        count = choose(bytes, 32);
        size = (size_t)snprintf(known->spelled, MAX_VALUE, "/");
        for (unsigned i = 0; i < count; i++)
            size += (size_t)snprintf(known->spelled + size, MAX_VALUE - size, "%s",
                                     parts[choose(bytes, sizeof parts / sizeof *parts)]);
    }
    memcpy(known->meant, known->spelled, MAX_VALUE);
}

static inline void make_value(sttp_slice *bytes, const settings_option *option, struct known *known)
{
    *known = (struct known){0};
    switch (option->kind) {
    case SETTINGS_BOOL:
        make_bool(bytes, known);
        break;
    case SETTINGS_NUMBER:
    case SETTINGS_SIZE:
    case SETTINGS_DURATION:
        make_amount(bytes, option, known);
        if (choose(bytes, 24) == 1)
            make_wrong_amount(bytes, option, known);
        break;
    case SETTINGS_CHOICE:
        make_word(bytes, option->choices, known);
        break;
    case SETTINGS_TEXT:
        make_text(bytes, option, known);
        break;
    case SETTINGS_LIST:
    case SETTINGS_RECORDS:
        make_list(bytes, option, known);
        break;
    }
}

#endif
