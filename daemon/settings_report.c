/* A mistake is shown where it stands:
 *
 *     sttpd.conf:3:7: port: '99999' is too large; expected a whole number from 0 to 65535
 *         port: 99999
 *               ^
 *
 * What is quoted from the file is escaped, so that it can neither leave its line nor steer a
 * terminal, and cut to a window around the place. */
#include <stdarg.h>
#include <string.h>

#include <sttp/message.h>

#include "daemon/settings_report.h"
#include "daemon/text.h"

enum {
    WINDOW_BEFORE = 60, /* bytes of the line that are shown before the place, at most */
    WINDOW_AFTER = 60
};

typedef struct position {
    size_t line;   /* from 1 */
    size_t column; /* from 1, in characters */
    size_t line_start;
    size_t line_end;
} position;

static bool is_line_end(char c)
{
    return c == '\n' || c == '\r';
}

/* Lines end with LF, CR LF or CR, as an editor counts them. */
static position locate(sttp_slice text, size_t offset)
{
    position at = {.line = 1};

    for (size_t i = 0; i < offset; i++) {
        bool crlf = text.data[i] == '\r' && i + 1 < text.size && text.data[i + 1] == '\n';
        if (is_line_end(text.data[i]) && !crlf) {
            at.line++;
            at.line_start = i + 1;
        }
    }
    at.line_end = offset > at.line_start ? offset : at.line_start;
    while (at.line_end < text.size && !is_line_end(text.data[at.line_end]))
        at.line_end++;
    at.column = 1 + text_count_chars(text.data + at.line_start, offset - at.line_start);
    return at;
}

size_t settings_offset_of(const settings_report *report, size_t index)
{
    sttp_slice text = report->text;
    size_t at = 0;

    for (size_t i = 0; i < index && at < text.size; i++) {
        size_t length = sttp_next_char((sttp_slice){text.data + at, text.size - at}, NULL);
        at += length > 0 ? length : 1;
    }
    return at;
}

size_t settings_report_line_of(const settings_report *report, settings_place place)
{
    if (place.character == 0 || report->file == NULL)
        return 0;
    return locate(report->text, settings_offset_of(report, place.character - 1)).line;
}

/* The first place at or after `from` where a character begins. */
static size_t char_start(sttp_slice text, size_t from)
{
    while (from < text.size && ((unsigned char)text.data[from] & 0xc0) == 0x80)
        from++;
    return from;
}

static void show_line(FILE *out, sttp_slice text, const position *at, size_t offset)
{
    char before[WINDOW_BEFORE * 4 + 1];
    char after[WINDOW_AFTER * 4 + 1];
    size_t start = at->line_start;
    size_t end = at->line_end;
    const char *dots_before = "";
    const char *dots_after = "";

    if (offset - start > WINDOW_BEFORE) {
        start = char_start(text, offset - WINDOW_BEFORE);
        start = start < offset ? start : offset;
        dots_before = "...";
    }
    if (end - offset > WINDOW_AFTER) {
        end = char_start(text, offset + WINDOW_AFTER);
        end = end < at->line_end && end - offset <= WINDOW_AFTER + 3 ? end : offset + WINDOW_AFTER;
        dots_after = "...";
    }
    size_t size = text_escape(text.data + start, offset - start, before, sizeof before);
    text_escape(text.data + offset, end - offset, after, sizeof after);
    int indent = (int)(strlen(dots_before) + text_count_chars(before, size));
    fprintf(out, "    %s%s%s%s\n    %*s^\n", dots_before, before, after, dots_after, indent, "");
}

static bool begin(settings_report *report)
{
    report->count++;
    if (report->count == SETTINGS_MAX_MISTAKES + 1)
        fprintf(report->out, "more mistakes follow; only the first %d are told\n",
                SETTINGS_MAX_MISTAKES);
    return report->count <= SETTINGS_MAX_MISTAKES;
}

bool settings_report_full(const settings_report *report)
{
    return report->count > SETTINGS_MAX_MISTAKES;
}

/* "name:line:column: ", the words, and the line with the place. */
__attribute__((format(printf, 4, 0))) static void write_at(const settings_report *report,
                                                           size_t offset, const char *kind,
                                                           const char *format, va_list arguments)
{
    char name[256];
    sttp_slice text = report->text;

    if (offset > text.size)
        offset = text.size;
    position at = locate(text, offset);
    text_escape(report->file, strlen(report->file), name, sizeof name);
    fprintf(report->out, "%s:%zu:%zu: %s", name, at.line, at.column, kind);
    vfprintf(report->out, format, arguments);
    fputc('\n', report->out);
    show_line(report->out, text, &at, offset);
}

void settings_report_at(settings_report *report, size_t offset, const char *format, ...)
{
    va_list arguments;

    if (!begin(report))
        return;
    va_start(arguments, format);
    write_at(report, offset, "", format, arguments);
    va_end(arguments);
}

__attribute__((format(printf, 4, 0))) static void write_place(const settings_report *report,
                                                              settings_place place,
                                                              const char *kind, const char *format,
                                                              va_list arguments)
{
    if (place.character > 0 && report->file != NULL) {
        write_at(report, settings_offset_of(report, place.character - 1), kind, format, arguments);
        return;
    }
    fputs(kind, report->out);
    vfprintf(report->out, format, arguments);
    fputc('\n', report->out);
}

void settings_report_place(settings_report *report, settings_place place, const char *format, ...)
{
    va_list arguments;

    report->usage += place.source == SETTINGS_FROM_FLAG;
    if (!begin(report))
        return;
    va_start(arguments, format);
    write_place(report, place, "", format, arguments);
    va_end(arguments);
}

void settings_report_warning(settings_report *report, settings_place place, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    write_place(report, place, "warning: ", format, arguments);
    va_end(arguments);
}

void settings_report_line(settings_report *report, const char *format, ...)
{
    va_list arguments;

    if (!begin(report))
        return;
    va_start(arguments, format);
    vfprintf(report->out, format, arguments);
    va_end(arguments);
    fputc('\n', report->out);
}

void settings_report_no_memory(settings_report *report, const char *name)
{
    if (!report->no_memory)
        settings_report_line(report, "%s: out of memory", name);
    report->no_memory = true;
}

void settings_guess_try(settings_guess *guess, const char *candidate, size_t size)
{
    size_t distance = sttp_word_distance(guess->word, (sttp_slice){candidate, size});

    if (size >= sizeof guess->nearest || (guess->nearest[0] != '\0' && distance >= guess->distance))
        return;
    memcpy(guess->nearest, candidate, size);
    guess->nearest[size] = '\0';
    guess->distance = distance;
}

bool settings_guess_is_near(const settings_guess *guess)
{
    return guess->nearest[0] != '\0' && guess->distance <= (guess->word.size + 2) / 3;
}
