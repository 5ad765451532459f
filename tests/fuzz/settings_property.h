/* What fuzz_settings and fuzz_proxy_settings share: any bytes as a settings file and flags. They
 * are read or refused, with something said where they are refused. What is said is plain lines of
 * UTF-8, and each mistake of the file has a place that is in the file, shown with a caret. Of lists
 * no more items are made than the table allows, and numbers are in their ranges.
 *
 * The file ends at the first 0xff, which no text has; behind it stand the flags, each up to a zero
 * byte. */
#ifndef STTP_TESTS_FUZZ_SETTINGS_PROPERTY_H
#define STTP_TESTS_FUZZ_SETTINGS_PROPERTY_H

#include <sys/mman.h>
#include <unistd.h>

#include "daemon/settings_flags.h"
#include "property.h"

enum { END_OF_FILE = 0xff, MAX_ARGUMENTS = 32, OWN_ARGUMENTS = 3 };

static int file = -1; /* in memory */
static char name[64];

static inline void write_file(const char *text, size_t size)
{
    if (file < 0) {
        file = memfd_create("settings", MFD_CLOEXEC);
        snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    }
    require(file >= 0 && ftruncate(file, 0) == 0 && pwrite(file, text, size, 0) == (ssize_t)size,
            "a file");
}

/* ---- what is said ---- */

/* A byte that is no part of a character counts as one, as in an editor. */
static inline size_t count_chars(const char *data, size_t size)
{
    size_t count = 0;

    for (size_t at = 0; at < size; count++) {
        size_t length = sttp_next_char((sttp_slice){data + at, size - at}, NULL);
        at += length > 0 ? length : 1;
    }
    return count;
}

/* Lines end with LF, CR LF or CR. The place behind the last character is one, too. */
static inline void check_place(sttp_slice text, size_t line, size_t column)
{
    size_t at = 0, end;

    for (size_t i = 1;; i++) {
        for (end = at; end < text.size && text.data[end] != '\n' && text.data[end] != '\r'; end++)
            ;
        if (i == line)
            break;
        require(end < text.size, "the line of a mistake is in the file");
        at = end + 1;
        if (text.data[end] == '\r' && at < text.size && text.data[at] == '\n')
            at++;
    }
    require(column >= 1 && column <= count_chars(text.data + at, end - at) + 1,
            "the column of a mistake is in its line");
}

static inline void check_caret(sttp_slice *said)
{
    sttp_slice quoted = take_line(said);
    sttp_slice caret = take_line(said);

    require_printable(quoted, false);
    require(quoted.size >= 4 && memcmp(quoted.data, "    ", 4) == 0, "the line is shown");
    require(caret.size >= 5 && strspn(caret.data, " ") == caret.size - 1 &&
                caret.data[caret.size - 1] == '^',
            "a caret stands below");
    require(caret.size - 1 <= count_chars(quoted.data, quoted.size), "the caret is in the line");
}

/* "file:line:column: message" and two lines that show the place, or a message alone. */
static inline void check_mistake(sttp_slice *said, sttp_slice text)
{
    sttp_slice line = take_line(said);
    size_t size = strlen(name);
    size_t number, column;
    int end = 0;

    require_printable(line, false);
    require(line.size > 0 && line.data[0] != ' ', "a message begins its line");
    if (line.size <= size || memcmp(line.data, name, size) != 0)
        return;
    require(sscanf(line.data + size, ":%zu:%zu: %n", &number, &column, &end) == 2 && end > 0 &&
                line.size > size + (size_t)end,
            "a mistake of the file has its place and a message");
    check_place(text, number, column);
    check_caret(said);
}

/* ---- what is read ---- */

static inline void check_table(const settings_option *options, size_t count, const char *values);

static inline void check_member(const settings_option *option, const char *member)
{
    settings_records records;
    settings_list list;
    uint64_t number;

    if (option->kind == SETTINGS_RECORDS) {
        memcpy(&records, member, sizeof records);
        require(records.count <= option->maximum, "records are not too many");
        for (size_t i = 0; i < records.count; i++)
            check_table(option->fields, option->field_count,
                        (const char *)records.items + i * option->record_size);
    } else if (option->kind == SETTINGS_LIST) {
        memcpy(&list, member, sizeof list);
        require(list.count <= option->maximum, "items are not too many");
    } else if (option->kind == SETTINGS_NUMBER || option->kind == SETTINGS_SIZE ||
               option->kind == SETTINGS_DURATION) {
        memcpy(&number, member, sizeof number);
        require((number >= option->minimum && number <= option->maximum) ||
                    (number == 0 && option->zero != NULL),
                "values are in their ranges");
    }
}

static inline void check_table(const settings_option *options, size_t count, const char *values)
{
    for (size_t i = 0; i < count; i++)
        check_member(&options[i], values + options[i].offset);
}

/* Whether the flags name a file of their own, which could be anything. */
static inline bool names_file(const settings_program *program, int count, char **flags)
{
    char *argv[MAX_ARGUMENTS + 1] = {name};
    settings_given given[MAX_ARGUMENTS + 1];
    settings_command command = {0};
    char *said = NULL;
    size_t size = 0;
    settings_report report = {.out = open_memstream(&said, &size)};

    require(report.out != NULL, "memory");
    memcpy(argv + 1, flags, (size_t)count * sizeof *argv);
    settings_scan_flags(program, count + 1, argv, &command, given, &report);
    fclose(report.out);
    free(said);
    return command.file != NULL;
}

static inline void check_report(int status, const settings_report *report, sttp_slice said,
                                sttp_slice text)
{
    require(status >= 0 && status <= 2, "the exit status is a known one");
    require((status == 0) == (report->count == 0), "mistakes are counted");
    require(status == 0 || said.size > 0, "mistakes are told");
    require(said.size == 0 || said.data[said.size - 1] == '\n', "the report has whole lines");
    while (said.size > 0)
        check_mistake(&said, text);
}

/* Cuts the flags into arguments of their own, behind those that are there. */
static inline int add_flags(sttp_slice flags, int argc, char **argv)
{
    while (flags.size > 0 && argc < OWN_ARGUMENTS + MAX_ARGUMENTS) {
        sttp_slice flag = take_field(&flags);
        argv[argc] = strndup(flag.data, flag.size);
        require(argv[argc++] != NULL, "memory");
    }
    return argc;
}

/* Hands the bytes, as arguments and as the text of the file that these name, to `check`, which
 * reads settings of the program. */
static inline void with_input(const uint8_t *data, size_t size, const settings_program *program,
                              void (*check)(int argc, char **argv, sttp_slice text))
{
    char self[] = "program", config[] = "-c";
    char *argv[OWN_ARGUMENTS + MAX_ARGUMENTS + 1] = {self, config, name};
    char *input = exact_copy(data, size);
    const char *end = size > 0 ? memchr(input, END_OF_FILE, size) : NULL;
    sttp_slice text = {input, end ? (size_t)(end - input) : size};
    int argc = OWN_ARGUMENTS;

    write_file(text.data, text.size);
    if (end)
        argc = add_flags((sttp_slice){end + 1, size - text.size - 1}, argc, argv);
    if (!names_file(program, argc - OWN_ARGUMENTS, argv + OWN_ARGUMENTS))
        check(argc, argv, text);
    for (int i = OWN_ARGUMENTS; i < argc; i++)
        free(argv[i]);
    free(input);
}

#endif
