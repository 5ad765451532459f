#include "slo.h"

#include <stdint.h>
#include <string.h>

#include "values.h"

static bool parse_time(const char *text, double *limit)
{
    uint64_t nanoseconds;

    if (!value_time(text, 1000000000, &nanoseconds))
        return false;
    *limit = (double)nanoseconds;
    return true;
}

static bool parse_percent(char *text, double *limit)
{
    size_t size = strlen(text);

    if (size == 0 || text[size - 1] != '%')
        return false;
    text[size - 1] = '\0';
    return value_decimal(text, limit);
}

static bool parse_term(const char *name, char *limit, slo_term *term)
{
    if (strcmp(name, "errors") == 0) {
        term->kind = SLO_ERRORS;
        return parse_percent(limit, &term->limit);
    }
    if (strcmp(name, "rate") == 0) {
        term->kind = SLO_RATE;
        return value_decimal(limit, &term->limit);
    }
    if (strcmp(name, "max") == 0)
        term->kind = SLO_MAXIMUM;
    else if (strcmp(name, "mean") == 0)
        term->kind = SLO_MEAN;
    else if (name[0] != 'p' || !value_decimal(name + 1, &term->percent) || term->percent > 100)
        return false;
    return parse_time(limit, &term->limit);
}

static bool add_term(const char *text, size_t size, bench_slo *slo)
{
    slo_term *term = &slo->terms[slo->count];
    char copy[sizeof term->text];

    if (slo->count == SLO_MAX_TERMS || size >= sizeof copy)
        return false;
    memcpy(term->text, text, size);
    memcpy(copy, text, size);
    term->text[size] = copy[size] = '\0';
    char *sign = strpbrk(copy, "<>");
    if (sign == NULL)
        return false;
    term->below = *sign == '<';
    *sign = '\0';
    slo->count++;
    return parse_term(copy, sign + 1, term);
}

bool slo_parse(const char *text, bench_slo *slo)
{
    *slo = (bench_slo){0};
    for (;;) {
        size_t size = strcspn(text, ",");
        if (!add_term(text, size, slo))
            return false;
        if (text[size] == '\0')
            return true;
        text += size + 1;
    }
}
