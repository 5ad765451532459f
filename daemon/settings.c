/* The order of things: defaults, command line (which names the file), file, flags. */
#include <stdlib.h>
#include <string.h>

#include "daemon/settings.h"
#include "daemon/settings_flags.h"
#include "daemon/settings_report.h"
#include "daemon/settings_value.h"

bool settings_defaults(const settings_program *program, void *values, settings_report *report)
{
    char why[SETTINGS_MAX_WHY];
    size_t before = report->count;

    for (size_t i = 0; i < program->option_count; i++) {
        const settings_option *option = &program->options[i];
        if (option->fallback == NULL)
            continue;
        sttp_slice text = {option->fallback, strlen(option->fallback)};
        settings_result result = settings_value_set(option, text, values, why);
        if (result == SETTINGS_WRONG)
            settings_report_line(report, "%s: the default %s", option->key, why);
        else if (result == SETTINGS_NO_MEMORY)
            settings_report_no_memory(report, program->name);
    }
    return report->count == before;
}

int settings_load(const settings_program *program, int argc, char *const *argv, void *values,
                  settings_command *command, settings_report *report)
{
    int status = 1;
    settings_given *given = calloc((size_t)argc + 1, sizeof *given);

    *command = (settings_command){0};
    if (given == NULL) {
        settings_report_no_memory(report, program->name);
        return status;
    }
    if (!settings_defaults(program, values, report))
        goto out;

    size_t before = report->count;
    size_t count = settings_scan_flags(program, argc, argv, command, given, report);
    size_t usage_mistakes = report->count - before;
    if (command->help || command->version) {
        status = usage_mistakes > 0 ? 2 : 0;
        goto out;
    }
    bool file_is_good = command->file == NULL ||
                        settings_read_file(program, command->file, values, command, report);
    before = report->count;
    settings_apply_flags(program, given, count, values, command, report);
    usage_mistakes += report->count - before;
    status = usage_mistakes > 0 ? 2 : file_is_good ? 0 : 1;
    if (report->no_memory)
        status = 1;
out:
    free(given);
    return status;
}

void settings_release(const settings_program *program, void *values)
{
    for (size_t i = 0; i < program->option_count; i++)
        settings_value_clear(&program->options[i], values);
}

settings_source settings_source_of(const settings_program *program, const settings_command *command,
                                   const char *key)
{
    for (size_t i = 0; i < program->option_count; i++) {
        if (strcmp(program->options[i].key, key) == 0)
            return command->sources[i];
    }
    return SETTINGS_FROM_DEFAULT;
}
