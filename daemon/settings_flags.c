/* The command line: "-p 80", "-p80", "--port 80", "--port=80", "-vv". Written here and not with
 * getopt, which stops being able to say what is wrong where one flag is unknown, guesses at
 * shortened names, and keeps its state in globals.
 *
 * Scanning comes first, since the file has to be read before the flags can override it. */
#include <string.h>

#include "daemon/settings_flags.h"
#include "daemon/settings_report.h"
#include "daemon/settings_value.h"
#include "daemon/text.h"

const settings_common_flag settings_common_flags[] = {
    {"config", 'c', "FILE", "read settings from this YAML file; without it there is none"},
    {"test-config", 'T', NULL, "check the settings, tell every mistake, and exit"},
    {"verbose", 'v', NULL, "log more; may be repeated"},
    {"quiet", 'q', NULL, "log less; may be repeated"},
    {"help", 'h', NULL, "show this help and exit"},
    {"version", 'V', NULL, "show the version and exit"},
    {NULL, 0, NULL, NULL},
};

/* What a flag's name leads to: one of the two, or neither. */
typedef struct flag {
    const settings_option *option;
    const settings_common_flag *common;
} flag;

struct scan {
    const settings_program *program;
    int argc;
    char *const *argv;
    int next; /* the argument that comes next */
    settings_command *command;
    settings_given *given;
    size_t given_count;
    settings_report *report;
};

static bool is_name(sttp_slice text, const char *name)
{
    return name != NULL && strlen(name) == text.size && memcmp(name, text.data, text.size) == 0;
}

static flag find_long(const settings_program *program, sttp_slice name)
{
    char own[64];

    for (size_t i = 0; i < program->option_count; i++) {
        const settings_option *option = &program->options[i];
        if (!settings_has_flag(option))
            continue;
        settings_flag_name(option, own, sizeof own);
        if (is_name(name, own) || is_name(name, option->alias))
            return (flag){.option = option};
    }
    for (const settings_common_flag *common = settings_common_flags; common->name; common++) {
        if (is_name(name, common->name))
            return (flag){.common = common};
    }
    return (flag){0};
}

static flag find_short(const settings_program *program, char letter)
{
    for (size_t i = 0; i < program->option_count; i++) {
        if (program->options[i].letter == letter)
            return (flag){.option = &program->options[i]};
    }
    for (const settings_common_flag *common = settings_common_flags; common->name; common++) {
        if (common->letter == letter)
            return (flag){.common = common};
    }
    return (flag){0};
}

static void guess_long(const settings_program *program, settings_guess *guess)
{
    char own[64];

    for (size_t i = 0; i < program->option_count; i++) {
        const settings_option *option = &program->options[i];
        if (settings_has_flag(option))
            settings_guess_try(guess, own, settings_flag_name(option, own, sizeof own));
        if (option->alias != NULL)
            settings_guess_try(guess, option->alias, strlen(option->alias));
    }
    for (const settings_common_flag *common = settings_common_flags; common->name; common++)
        settings_guess_try(guess, common->name, strlen(common->name));
}

static void report_unknown_long(struct scan *scan, sttp_slice name)
{
    char shown[128];
    settings_guess guess = {.word = name};

    guess_long(scan->program, &guess);
    text_escape(name.data, name.size, shown, sizeof shown);
    if (settings_guess_is_near(&guess))
        settings_report_line(scan->report, "--%s: unknown flag; did you mean '--%s'?", shown,
                             guess.nearest);
    else
        settings_report_line(scan->report, "--%s: unknown flag", shown);
}

static void take_common(struct scan *scan, const settings_common_flag *common, const char *value)
{
    settings_command *command = scan->command;

    switch (common->letter) {
    case 'c':
        if (command->file != NULL)
            settings_report_line(scan->report, "--config: given twice; one settings file is read");
        command->file = value;
        break;
    case 'T':
        command->test = true;
        break;
    case 'v':
        command->verbosity++;
        break;
    case 'q':
        command->verbosity--;
        break;
    case 'h':
        command->help = true;
        break;
    case 'V':
        command->version = true;
        break;
    }
}

/* A known flag with its value, NULL where it takes none. */
static void take(struct scan *scan, flag found, sttp_slice label, const char *value)
{
    if (found.common != NULL) {
        take_common(scan, found.common, value);
        return;
    }
    size_t index = (size_t)(found.option - scan->program->options);
    scan->given[scan->given_count++] = (settings_given){index, label, value};
}

static const char *argument_of(flag found)
{
    return found.option != NULL ? found.option->argument : found.common->argument;
}

/* The argument after a flag, as its value; reports where there is none. */
static const char *next_value(struct scan *scan, flag found, sttp_slice label)
{
    if (scan->next < scan->argc)
        return scan->argv[scan->next++];
    settings_report_line(scan->report, "%.*s: needs a value: %s", (int)label.size, label.data,
                         argument_of(found));
    return NULL;
}

static void scan_long(struct scan *scan, const char *argument)
{
    const char *equals = strchr(argument, '=');
    size_t size = equals != NULL ? (size_t)(equals - argument) : strlen(argument);
    sttp_slice label = {argument, size};
    flag found = find_long(scan->program, (sttp_slice){argument + 2, size - 2});

    if (found.option == NULL && found.common == NULL) {
        report_unknown_long(scan, (sttp_slice){argument + 2, size - 2});
        return;
    }
    if (argument_of(found) == NULL) {
        if (equals != NULL)
            settings_report_line(scan->report, "%.*s: takes no value", (int)size, argument);
        take(scan, found, label, NULL);
        return;
    }
    const char *value = equals != NULL ? equals + 1 : next_value(scan, found, label);
    if (value != NULL)
        take(scan, found, label, value);
}

/* Letters without a value may stand together; the first one with a value takes the rest. */
static void scan_short(struct scan *scan, const char *argument)
{
    char shown[32];

    for (const char *letter = argument + 1; *letter != '\0'; letter++) {
        flag found = find_short(scan->program, *letter);
        const char label[] = {'-', *letter, '\0'};
        sttp_slice written = {letter == argument + 1 ? argument : letter,
                              letter == argument + 1 ? 2 : 1};

        if (found.option == NULL && found.common == NULL) {
            text_escape(argument, strlen(argument), shown, sizeof shown);
            settings_report_line(scan->report, "%s: unknown flag", shown);
            return;
        }
        if (argument_of(found) == NULL) {
            take(scan, found, written, NULL);
            continue;
        }
        const char *value = letter[1] != '\0'
                                ? letter + 1
                                : next_value(scan, found, (sttp_slice){label, sizeof label - 1});
        if (value != NULL)
            take(scan, found, written, value);
        return;
    }
}

size_t settings_scan_flags(const settings_program *program, int argc, char *const *argv,
                           settings_command *command, settings_given *given,
                           settings_report *report)
{
    char shown[128];
    struct scan scan = {
        .program = program,
        .argc = argc,
        .argv = argv,
        .next = 1,
        .command = command,
        .given = given,
        .report = report,
    };

    while (scan.next < argc && !command->help && !command->version) {
        const char *argument = argv[scan.next++];
        if (strncmp(argument, "--", 2) == 0 && argument[2] != '\0') {
            scan_long(&scan, argument);
        } else if (argument[0] == '-' && argument[1] != '-' && argument[1] != '\0') {
            scan_short(&scan, argument);
        } else {
            text_escape(argument, strlen(argument), shown, sizeof shown);
            settings_report_line(report, "'%s': unexpected argument; settings are given by flags",
                                 shown);
        }
    }
    return scan.given_count;
}

static void apply_flag(const settings_program *program, const settings_given *given, void *values,
                       settings_command *command, settings_report *report)
{
    char why[SETTINGS_MAX_WHY];
    const settings_option *option = &program->options[given->index];
    settings_source *source = &command->sources[given->index];
    const char *value = given->value != NULL ? given->value : "true";
    bool is_list = option->kind == SETTINGS_LIST || option->kind == SETTINGS_RECORDS;

    /* The items of flags add up; together they replace what the file lists. */
    if (is_list && *source != SETTINGS_FROM_FLAG)
        settings_value_clear(option, values);
    *source = SETTINGS_FROM_FLAG;
    settings_result result =
        settings_value_set(option, (sttp_slice){value, strlen(value)},
                           (settings_place){.source = SETTINGS_FROM_FLAG}, values, why);
    if (result == SETTINGS_WRONG)
        settings_report_line(report, "%s%.*s: %s", given->label.data[0] == '-' ? "" : "-",
                             (int)given->label.size, given->label.data, why);
    else if (result == SETTINGS_NO_MEMORY)
        settings_report_no_memory(report, program->name);
}

void settings_apply_flags(const settings_program *program, const settings_given *given,
                          size_t count, void *values, settings_command *command,
                          settings_report *report)
{
    for (size_t i = 0; i < count; i++)
        apply_flag(program, &given[i], values, command, report);
}
