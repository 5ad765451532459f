#include "values.h"

#include <stdlib.h>
#include <string.h>

bool value_number(const char *text, uint64_t min, uint64_t max, uint64_t *number)
{
    size_t digits = strspn(text, "0123456789");
    unsigned long long value;

    if (digits == 0 || text[digits] != '\0')
        return false;
    value = strtoull(text, NULL, 10); /* the largest one where there are too many digits */
    if (value < min || value > max)
        return false;
    *number = value;
    return true;
}

/* strtod alone would take "inf", "0x10" and leading spaces too. Returns what follows the number. */
static const char *leading_decimal(const char *text, double *number)
{
    size_t size = strspn(text, "0123456789.");
    char copy[32];
    char *end;

    if (size == 0 || size >= sizeof copy || *text == '.')
        return NULL;
    memcpy(copy, text, size);
    copy[size] = '\0';
    *number = strtod(copy, &end);
    return *end == '\0' ? text + size : NULL;
}

bool value_decimal(const char *text, double *number)
{
    const char *end = leading_decimal(text, number);

    return end != NULL && *end == '\0';
}

static double unit_of(const char *unit, uint64_t bare)
{
    static const struct {
        const char *name;
        double nanoseconds;
    } units[] = {{"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};

    if (*unit == '\0')
        return (double)bare;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(unit, units[i].name) == 0)
            return units[i].nanoseconds;
    }
    return -1;
}

bool value_time(const char *text, uint64_t bare, uint64_t *nanoseconds)
{
    double number = 0;
    const char *unit = leading_decimal(text, &number);

    if (unit == NULL)
        return false;
    number *= unit_of(unit, bare);
    if (number < 0 || number > 24 * 86400e9)
        return false;
    *nanoseconds = (uint64_t)number;
    return true;
}
