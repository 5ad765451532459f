/* The bytes of a settings file, and its YAML. libyaml's document API is used since every node of it
 * knows its place, so that all mistakes can be told, each with line and column. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/settings_file.h"
#include "daemon/settings_report.h"
#include "daemon/text.h"

/* libyaml's time grows with the square of what is open at once (flow collections) and of the number
 * of anchors and directives. No settings file comes near this; a hostile one stops here. */
enum { MAX_COSTLY = 1024 };

static void report_syntax(settings_report *report, const yaml_parser_t *parser)
{
    const char *problem = parser->problem != NULL ? parser->problem : "unknown problem";
    size_t offset = parser->error == YAML_READER_ERROR
                        ? parser->problem_offset
                        : settings_offset_of(report, parser->problem_mark.index);
    bool is_tab = offset < report->text.size && report->text.data[offset] == '\t';

    if (parser->error == YAML_MEMORY_ERROR)
        settings_report_no_memory(report, report->file);
    else if (is_tab)
        settings_report_at(report, offset, "not valid YAML: a TAB indents nothing; use spaces");
    else if (parser->context != NULL && parser->context_mark.index < parser->problem_mark.index)
        settings_report_at(
            report, offset, "not valid YAML: %s %s that begins in line %zu", problem,
            parser->context,
            settings_report_line_of(
                report, (settings_place){SETTINGS_FROM_FILE, parser->context_mark.index + 1}));
    else
        settings_report_at(report, offset, "not valid YAML: %s", problem);
}

/* Loads the first document and walks it, then makes sure that there is no second one. False where
 * there is no document. */
static bool load(settings_scope *scope, yaml_parser_t *parser, settings_report *report)
{
    yaml_document_t document;
    settings_walk walk = {report, &document};

    if (!yaml_parser_load(parser, &document)) {
        report_syntax(report, parser);
        return false;
    }
    settings_walk_root(&walk, scope, yaml_document_get_root_node(&document));
    yaml_document_delete(&document);

    if (!yaml_parser_load(parser, &document)) {
        report_syntax(report, parser);
        return true;
    }
    const yaml_node_t *root = yaml_document_get_root_node(&document);
    if (root != NULL)
        settings_report_at(report, settings_offset_of(report, root->start_mark.index),
                           "a second document begins here; a settings file is one document");
    yaml_document_delete(&document);
    return true;
}

/* Refuses what is no settings file before libyaml sees it. */
static bool check_bytes(settings_report *report)
{
    sttp_slice text = report->text;
    const char *zero = memchr(text.data, '\0', text.size);
    size_t costly = 0;

    if (zero != NULL) {
        settings_report_at(report, (size_t)(zero - text.data), "a zero byte: this is no text file");
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        costly += strchr("[{&%", text.data[i]) != NULL;
        if (costly > MAX_COSTLY) {
            settings_report_at(report, i,
                               "more than %d of the characters [ { & %%: this is no settings file",
                               MAX_COSTLY);
            return false;
        }
    }
    return true;
}

/* False where the text is no YAML document. */
static bool parse(settings_scope *scope, settings_report *report)
{
    yaml_parser_t parser;

    if (!check_bytes(report))
        return false;
    if (!yaml_parser_initialize(&parser)) {
        settings_report_no_memory(report, report->file);
        return false;
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)report->text.data,
                                 report->text.size);
    bool is_document = load(scope, &parser, report);
    yaml_parser_delete(&parser);
    return is_document;
}

bool settings_read_text(const settings_program *program, const char *name, sttp_slice text,
                        void *values, settings_command *command, settings_report *report)
{
    static const char byte_order_mark[] = "\xef\xbb\xbf";
    size_t before = report->count;
    settings_scope scope = {
        .options = program->options,
        .count = program->option_count,
        .values = values,
        .sources = command->sources,
        .path = "",
    };

    if (text.size >= 3 && memcmp(text.data, byte_order_mark, 3) == 0)
        text = (sttp_slice){text.data + 3, text.size - 3};
    report->file = name;
    report->text = text;
    if (!parse(&scope, report))
        report->file = NULL;
    return report->count == before;
}

/* Reads until the end of the file or `capacity`; -1 with errno where that fails. */
static ssize_t read_up_to(int fd, char *buffer, size_t capacity)
{
    size_t size = 0;

    while (size < capacity) {
        ssize_t count = read(fd, buffer + size, capacity - size);
        if (count == 0)
            break;
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -1;
        size += (size_t)count;
    }
    return (ssize_t)size;
}

char *settings_read_file(const char *name, size_t *size, settings_report *report)
{
    char shown[256];
    ssize_t count = -1;
    char *buffer = malloc(SETTINGS_MAX_FILE_SIZE + 1);
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd >= 0 && buffer != NULL)
        count = read_up_to(fd, buffer, SETTINGS_MAX_FILE_SIZE + 1);
    text_escape(name, strlen(name), shown, sizeof shown);
    if (buffer == NULL)
        settings_report_no_memory(report, shown);
    else if (count < 0)
        settings_report_line(report, "%s: cannot read the settings file: %s", shown,
                             strerror(errno));
    else if (count > SETTINGS_MAX_FILE_SIZE)
        settings_report_line(report, "%s: larger than 1 MiB: this is no settings file", shown);
    if (fd >= 0)
        close(fd);
    if (count < 0 || count > SETTINGS_MAX_FILE_SIZE) {
        free(buffer);
        return NULL;
    }
    *size = (size_t)count;
    return buffer;
}
