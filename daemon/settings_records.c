/* Lists of mappings: arrays of the program's structs, each filled by the table of its fields. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/settings_value.h"

static settings_records *records_of(const settings_option *option, void *values)
{
    return (settings_records *)(void *)((char *)values + option->offset);
}

static void *record_at(const settings_option *option, const settings_records *records, size_t index)
{
    return (char *)records->items + index * option->record_size;
}

static void clear_record(const settings_option *option, void *record)
{
    for (size_t i = 0; i < option->field_count; i++)
        settings_value_clear(&option->fields[i], record);
}

static void drop_last(const settings_option *option, settings_records *records)
{
    records->count--;
    clear_record(option, record_at(option, records, records->count));
}

void settings_records_clear(const settings_option *option, settings_records *records)
{
    while (records->count > 0)
        drop_last(option, records);
    free(records->items);
    *records = (settings_records){0};
}

static settings_result set_defaults(const settings_option *option, void *record, char *why)
{
    settings_result result = SETTINGS_SET;

    for (size_t i = 0; i < option->field_count && result == SETTINGS_SET; i++)
        result = settings_value_default(&option->fields[i], record, why);
    return result;
}

settings_result settings_records_add(const settings_option *option, void *values, void **record,
                                     char *why)
{
    settings_records *records = records_of(option, values);

    if (records->count >= option->maximum) {
        snprintf(why, SETTINGS_MAX_WHY, "one too many; expected at most %" PRIu64, option->maximum);
        return SETTINGS_WRONG;
    }
    void *items = reallocarray(records->items, records->count + 1, option->record_size);
    if (items == NULL)
        return SETTINGS_NO_MEMORY;
    records->items = items;
    *record = record_at(option, records, records->count++);
    memset(*record, 0, option->record_size);
    settings_result result = set_defaults(option, *record, why);
    if (result != SETTINGS_SET)
        drop_last(option, records);
    return result;
}

/* The field for which a single value stands. */
static const settings_option *shorthand_of(const settings_option *option)
{
    const settings_option *field = option->fields;

    while (strcmp(field->key, option->shorthand) != 0)
        field++;
    return field;
}

settings_result settings_records_set(const settings_option *option, sttp_slice text,
                                     settings_place place, void *values, char *why)
{
    void *record;
    settings_result result = settings_records_add(option, values, &record, why);

    if (result != SETTINGS_SET)
        return result;
    result = settings_value_set(shorthand_of(option), text, place, record, why);
    if (result == SETTINGS_SET)
        settings_value_place(option, place, values);
    else
        drop_last(option, records_of(option, values));
    return result;
}
