/* --help, made from the table: flags on the left, what they do on the right, 80 columns. */
#include <string.h>

#include "daemon/settings_flags.h"
#include "daemon/settings_value.h"

enum { COLUMN = 30, WIDTH = 80 };

/* Writes `text` from COLUMN on, broken at spaces; the cursor stands at `at`. */
static void wrap(FILE *out, size_t at, const char *text)
{
    if (at + 2 > COLUMN) {
        fputc('\n', out);
        at = 0;
    }
    fprintf(out, "%*s", (int)(COLUMN - at), "");
    at = COLUMN;
    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        if (at > COLUMN && at + 1 + word > WIDTH) {
            fprintf(out, "\n%*s", COLUMN, "");
            at = COLUMN;
        } else if (at > COLUMN) {
            fputc(' ', out);
            at++;
        }
        fwrite(text, 1, word, out);
        at += word;
        text += word;
        text += *text == ' ';
    }
    fputc('\n', out);
}

static size_t write_flag(FILE *out, char letter, const char *name, const char *argument)
{
    int size =
        letter != 0 ? fprintf(out, "  -%c, --%s", letter, name) : fprintf(out, "      --%s", name);

    if (argument != NULL)
        size += fprintf(out, " %s", argument);
    return size > 0 ? (size_t)size : 0;
}

/* What it does, what is expected, and its default. */
static void describe(const settings_option *option, char *text, size_t capacity)
{
    char expected[256];
    bool is_long = option->kind == SETTINGS_TEXT || option->kind == SETTINGS_LIST ||
                   option->kind == SETTINGS_RECORDS || !settings_has_key(option);

    settings_value_expected(option, expected, sizeof expected);
    snprintf(text, capacity, "%s%s%s%s%s%s", option->help, is_long ? "" : "; ",
             is_long ? "" : expected, option->fallback != NULL ? " [" : "",
             option->fallback != NULL ? option->fallback : "", option->fallback != NULL ? "]" : "");
}

/* The keys of records, each level further in. */
static void write_fields(FILE *out, const settings_option *records, int depth)
{
    char text[1024];

    for (size_t i = 0; i < records->field_count; i++) {
        const settings_option *field = &records->fields[i];
        describe(field, text, sizeof text);
        int size = fprintf(out, "%*s%s: %s", 6 + 2 * depth, "", field->key, field->argument);
        wrap(out, size > 0 ? (size_t)size : 0, text);
        if (field->kind == SETTINGS_RECORDS)
            write_fields(out, field, depth + 1);
    }
}

static void write_option(FILE *out, const settings_option *option)
{
    char name[64];
    char text[1024];

    settings_flag_name(option, name, sizeof name);
    describe(option, text, sizeof text);
    if (!settings_has_flag(option)) {
        int size = fprintf(out, "      %s: %s", option->key, option->argument);
        wrap(out, size > 0 ? (size_t)size : 0, text);
        return;
    }
    size_t at = write_flag(out, option->letter, option->alias != NULL ? option->alias : name,
                           option->argument);
    if (option->alias != NULL && strcmp(option->alias, name) != 0) {
        fputc('\n', out);
        at = write_flag(out, 0, name, option->argument);
    }
    wrap(out, at, text);
}

void settings_help(const settings_program *program, FILE *out)
{
    const char *group = "";

    fprintf(out, "Usage: %s [FLAG]...\n%s\n", program->name, program->summary);
    for (size_t i = 0; i < program->option_count; i++) {
        const settings_option *option = &program->options[i];
        if (strcmp(group, option->group) != 0) {
            group = option->group;
            fprintf(out, "\n%s\n", group);
        }
        write_option(out, option);
        if (option->kind == SETTINGS_RECORDS)
            write_fields(out, option, 1);
    }
    fputs("\nGeneral\n", out);
    for (const settings_common_flag *common = settings_common_flags; common->name; common++)
        wrap(out, write_flag(out, common->letter, common->name, common->argument), common->help);
    fprintf(out, "\n%s", program->notes);
}
