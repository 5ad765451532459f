/* The order of things: defaults, command line (which names the file), file, flags. */
#include <stdlib.h>
#include <string.h>

#include "daemon/settings_file.h"
#include "daemon/settings_flags.h"
#include "daemon/settings_report.h"
#include "daemon/settings_value.h"

bool settings_defaults(const settings_program *program, void *values, settings_report *report)
{
    char why[SETTINGS_MAX_WHY];
    size_t before = report->count;

    for (size_t i = 0; i < program->option_count; i++) {
        const settings_option *option = &program->options[i];
        settings_result result = settings_value_default(option, values, why);
        if (result == SETTINGS_WRONG)
            settings_report_line(report, "%s: the default %s", option->key, why);
        else if (result == SETTINGS_NO_MEMORY)
            settings_report_no_memory(report, program->name);
    }
    return report->count == before;
}

/* What concerns several values is looked at where all of them could be read. */
static void check_together(const settings_program *program, void *values,
                           const settings_command *command, settings_report *report)
{
    bool is_read = command->file == NULL || report->file != NULL;

    if (program->check != NULL && is_read)
        program->check(values, command, report);
}

/* The file, the flags, and both together. Returns the exit status. */
static int read_all(const settings_program *program, const settings_given *given, size_t count,
                    void *values, settings_command *command, settings_report *report)
{
    sttp_slice text = {0};
    char *buffer = NULL;

    if (command->file != NULL)
        buffer = settings_read_file(command->file, &text.size, report);
    text.data = buffer;
    if (buffer != NULL)
        settings_read_text(program, command->file, text, values, command, report);
    size_t before = report->count;
    settings_apply_flags(program, given, count, values, command, report);
    report->usage += report->count - before;
    check_together(program, values, command, report);
    report->file = NULL;
    free(buffer);
    return report->no_memory ? 1 : report->usage > 0 ? 2 : report->count > 0 ? 1 : 0;
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
    if (settings_defaults(program, values, report)) {
        size_t count = settings_scan_flags(program, argc, argv, command, given, report);
        report->usage = report->count;
        if (command->help || command->version)
            status = report->usage > 0 ? 2 : 0;
        else
            status = read_all(program, given, count, values, command, report);
    }
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
