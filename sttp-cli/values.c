#include "values.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

bool cli_parse_number(const char *text, unsigned min, unsigned max, unsigned *number)
{
    unsigned long long value = 0;
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || text[digits] != '\0')
        return false;
    value = strtoull(text, NULL, 10); /* the largest one where there are too many digits */
    if (value < min || value > max)
        return false;
    *number = (unsigned)value;
    return true;
}

/* Milliseconds in a unit, 0 where it is none. */
static double unit_factor(const char *unit)
{
    static const struct {
        const char *name;
        double factor;
    } units[] = {{"", 1e3}, {"ms", 1}, {"s", 1e3}, {"m", 60e3}, {"h", 3600e3}};

    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(unit, units[i].name) == 0)
            return units[i].factor;
    }
    return 0;
}

bool cli_parse_duration(const char *text, unsigned *milliseconds)
{
    size_t length = strspn(text, "0123456789.");
    char *end;
    double value;

    /* strtod alone would also take "inf", "0x10" and leading spaces. */
    if (!isdigit((unsigned char)*text))
        return false;
    value = strtod(text, &end) * unit_factor(text + length);
    if (end != text + length || value < 1 || value > INT_MAX)
        return false;
    *milliseconds = (unsigned)value;
    return true;
}
