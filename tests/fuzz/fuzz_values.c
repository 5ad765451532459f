/* The bytes choose values for settings, and how a file and flags spell them, in all the ways that
 * the manual has. What is read is what was meant: flags win over the file, and the file over the
 * defaults. Of the numbers some are no numbers or out of their range: each of these is told. */
#include <inttypes.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include "known_values.h"
#include "sttpd/options.h"

enum { MAX_ARGUMENTS = 160, MAX_SECTIONS = 8 };

/* A part of the file: what stands at its top, or in a section. */
struct section {
    const char *key; /* of an option in it */
    size_t size;     /* bytes of that which name the section, "cache" or "cache.redis" */
    FILE *out;
    char *text;
    size_t text_size;
};

/* A file and flags of known values, and what they mean. */
struct made {
    sttp_slice bytes;
    struct section sections[MAX_SECTIONS]; /* the first one is the top, an inner one is behind its
                                              outer one */
    size_t section_count;
    bool in_flow; /* sections are "cache: {...}" */
    char *argv[MAX_ARGUMENTS + 1];
    int argc;
    size_t wrong; /* how many values are spelled wrongly */
    bool by_flag[SETTINGS_MAX_OPTIONS];
    char meant[SETTINGS_MAX_OPTIONS][MAX_VALUE];
};

/* ---- a file of them ---- */

static struct section *add_section(struct made *made, const char *key, size_t size)
{
    struct section *section = &made->sections[made->section_count++];

    require(made->section_count <= MAX_SECTIONS, "there is room for all sections");
    section->key = key;
    section->size = size;
    section->out = open_memstream(&section->text, &section->text_size);
    require(section->out != NULL, "memory");
    return section;
}

/* The section of the first `size` bytes of a key; made where it is not there, with those around it.
 */
static struct section *section_of(struct made *made, const char *key, size_t size)
{
    for (size_t i = 0; i < made->section_count; i++) {
        struct section *section = &made->sections[i];
        if (section->size == size && memcmp(section->key, key, size) == 0)
            return section;
    }
    const char *dot = memrchr(key, '.', size);
    if (dot != NULL)
        section_of(made, key, (size_t)(dot - key));
    return add_section(made, key, size);
}

static int depth_of(const struct section *section)
{
    int depth = section->size > 0;

    for (size_t i = 0; i < section->size; i++)
        depth += section->key[i] == '.';
    return depth;
}

static bool is_inner(const struct section *inner, const struct section *outer)
{
    return depth_of(inner) == depth_of(outer) + 1 &&
           memcmp(inner->key, outer->key, outer->size) == 0;
}

/* A section with all that are in it. */
static void write_section(const struct made *made, const struct section *section, FILE *out)
{
    int depth = depth_of(section);
    const char *name = section->key + section->size;
    bool in_flow = made->in_flow && depth > 0;

    while (name > section->key && name[-1] != '.')
        name--;
    if (depth > 0)
        fprintf(out, "%*s%.*s:%s", made->in_flow ? 0 : 2 * (depth - 1), "",
                (int)(section->key + section->size - name), name, in_flow ? " {" : "\n");
    fwrite(section->text, 1, section->text_size, out);
    for (const struct section *inner = section + 1; inner < made->sections + made->section_count;
         inner++)
        if (is_inner(inner, section))
            write_section(made, inner, out);
    if (in_flow)
        fputs(depth > 1 ? "}, " : "}\n", out);
}

static bool is_plain(sttp_slice text)
{
    static const char plain[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz/._";

    for (size_t i = 0; i < text.size; i++) {
        if (!strchr(plain, text.data[i]))
            return false;
    }
    return true;
}

/* What cannot stand in a quoted text as it is, or means a new line there. */
static bool needs_escape(uint32_t character)
{
    return character < 0x20 || (character >= 0x7f && character < 0xa0) || character == 0x2028;
}

static bool can_be_single(sttp_slice text)
{
    uint32_t character;

    for (size_t size; text.size > 0; text.data += size, text.size -= size) {
        size = sttp_next_char(text, &character);
        if (needs_escape(character))
            return false;
    }
    return true;
}

static void write_single(FILE *out, sttp_slice text)
{
    fputc('\'', out);
    for (size_t i = 0; i < text.size; i++)
        fprintf(out, text.data[i] == '\'' ? "''" : "%c", text.data[i]);
    fputc('\'', out);
}

static void write_double(sttp_slice *bytes, FILE *out, sttp_slice text)
{
    unsigned escaped = choose(bytes, 256);
    uint32_t character;

    fputc('"', out);
    for (size_t size; text.size > 0; text.data += size, text.size -= size) {
        size = sttp_next_char(text, &character);
        escaped = (escaped >> 1 | escaped << 7) & 0xff;
        if (!needs_escape(character) && character != '"' && character != '\\' && !(escaped & 1))
            fwrite(text.data, 1, size, out);
        else if (character <= 0xff)
            fprintf(out, "\\x%02" PRIx32, character);
        else if (character <= 0xffff)
            fprintf(out, "\\u%04" PRIx32, character);
        else
            fprintf(out, "\\U%08" PRIX32, character);
    }
    fputc('"', out);
}

static void write_scalar(sttp_slice *bytes, FILE *out, sttp_slice text)
{
    unsigned style = choose(bytes, 3);

    if (style == 0 && is_plain(text))
        fwrite(text.data, 1, text.size, out);
    else if (style <= 1 && can_be_single(text))
        write_single(out, text);
    else
        write_double(bytes, out, text);
}

static void write_line_end(sttp_slice *bytes, FILE *out)
{
    static const char *const ends[] = {"\n", "\r\n", " # 1\n", "\n\n"};

    fputs(ends[choose(bytes, 4)], out);
}

static bool has_items(const settings_option *option)
{
    return option->kind == SETTINGS_LIST || option->kind == SETTINGS_RECORDS;
}

static void write_list(struct made *made, const char *key, sttp_slice items)
{
    bool in_flow = choose(&made->bytes, 2);

    FILE *top = made->sections[0].out;

    fprintf(top, in_flow ? "%s: [" : "%s:\n", key);
    while (items.size > 0) {
        fputs(in_flow ? "" : "  - ", top);
        write_scalar(&made->bytes, top, take_line(&items));
        fputs(in_flow ? ", " : "\n", top);
    }
    fputs(in_flow ? "]\n" : "", top);
}

static void add_to_file(struct made *made, const settings_option *option, const struct known *known)
{
    const char *dot = strrchr(option->key, '.');
    struct section *section =
        section_of(made, option->key, dot != NULL ? (size_t)(dot - option->key) : 0);
    sttp_slice text = {known->spelled, strlen(known->spelled)};

    if (has_items(option)) {
        write_list(made, option->key, text);
        return;
    }
    fprintf(section->out, "%*s%s: ", made->in_flow ? 0 : 2 * depth_of(section), "",
            dot != NULL ? dot + 1 : option->key);
    write_scalar(&made->bytes, section->out, text);
    if (dot != NULL && made->in_flow)
        fputs(", ", section->out);
    else
        write_line_end(&made->bytes, section->out);
}

/* ---- flags of them ---- */

__attribute__((format(printf, 2, 3))) static void add_argument(struct made *made,
                                                               const char *format, ...)
{
    va_list arguments;

    require(made->argc < MAX_ARGUMENTS, "there is room for all flags");
    va_start(arguments, format);
    require(vasprintf(&made->argv[made->argc++], format, arguments) >= 0, "memory");
    va_end(arguments);
}

static void add_flag(struct made *made, const settings_option *option, sttp_slice value)
{
    char flag[64];
    int size = (int)value.size;
    unsigned form = choose(&made->bytes, option->letter ? 4 : 2);

    snprintf(flag, sizeof flag, "--%s", option->key);
    for (char *at = flag; *at != '\0'; at++)
        *at = (char)(*at == '.' || *at == '_' ? '-' : *at);
    switch (form) {
    case 0:
        add_argument(made, "%s=%.*s", flag, size, value.data);
        return;
    case 1:
        add_argument(made, "%s", flag);
        break;
    case 2:
        add_argument(made, "-%c%.*s", option->letter, size, value.data);
        return;
    default:
        add_argument(made, "-%c", option->letter);
    }
    add_argument(made, "%.*s", size, value.data);
}

static void add_to_flags(struct made *made, const settings_option *option,
                         const struct known *known)
{
    sttp_slice text = {known->spelled, strlen(known->spelled)};

    if (!has_items(option))
        add_flag(made, option, text);
    while (has_items(option) && text.size > 0)
        add_flag(made, option, take_line(&text));
}

/* ---- what is read of them ---- */

static void value_text(const settings_option *option, const struct sttpd_options *values,
                       char *buffer)
{
    const void *member = (const char *)values + option->offset;
    const settings_list *list = member;
    const settings_records *records = member;
    const struct listener *listeners = records->items; /* there are no others */
    size_t size = 0;

    buffer[0] = '\0';
    switch (option->kind) {
    case SETTINGS_BOOL:
        snprintf(buffer, MAX_VALUE, "%d", *(const bool *)member);
        return;
    case SETTINGS_NUMBER:
    case SETTINGS_SIZE:
    case SETTINGS_DURATION:
        snprintf(buffer, MAX_VALUE, "%" PRIu64, *(const uint64_t *)member);
        return;
    case SETTINGS_CHOICE:
        snprintf(buffer, MAX_VALUE, "%u", *(const unsigned *)member);
        return;
    case SETTINGS_TEXT:
        snprintf(buffer, MAX_VALUE, "%s", *(char *const *)member);
        return;
    case SETTINGS_LIST:
        for (size_t i = 0; i < list->count && size < MAX_VALUE; i++)
            size += (size_t)snprintf(buffer + size, MAX_VALUE - size, "%s\n", list->items[i]);
        return;
    case SETTINGS_RECORDS:
        for (size_t i = 0; i < records->count && size < MAX_VALUE; i++)
            size += (size_t)snprintf(buffer + size, MAX_VALUE - size, "%s\n", listeners[i].address);
        return;
    }
}

static size_t index_of(const char *key)
{
    size_t i = 0;

    while (strcmp(sttpd_program.options[i].key, key) != 0)
        i++;
    return i;
}

/* Without a list, and where flags win over the file's one, the address and the port are it. Only
 * there does it matter that the PROXY protocol and those who may speak it come together. */
static void settle_listen(struct made *made)
{
    bool has_proxies = made->meant[index_of("trusted_proxies")][0] != '\0';
    bool asks_proxies = made->meant[index_of("proxy_protocol")][0] == '1';
    size_t listen = index_of("listen"), address = index_of("listen_address");
    size_t port = index_of("port");
    bool is_ipv6 = strchr(made->meant[address], ':');
    char host[64] = "", number[8] = "";

    if (made->by_flag[listen] ||
        (made->meant[listen][0] != '\0' && !made->by_flag[address] && !made->by_flag[port]))
        return;
    memcpy(host, made->meant[address], sizeof host - 1);
    memcpy(number, made->meant[port], sizeof number - 1);
    made->wrong += has_proxies != asks_proxies;
    snprintf(made->meant[listen], MAX_VALUE, is_ipv6 ? "[%s]:%s\n" : "%s:%s\n", host, number);
}

static void check_read(struct made *made)
{
    struct sttpd_options values = {0};
    settings_command command;
    char *said = NULL, read[MAX_VALUE];
    size_t size;
    settings_report report = {.out = open_memstream(&said, &size)};
    int status;

    require(report.out != NULL, "memory");
    status = settings_load(&sttpd_program, made->argc, made->argv, &values, &command, &report);
    fclose(report.out);
    require(report.count == made->wrong && (status == 0) == (made->wrong == 0),
            "each value that is spelled wrongly is told, and no other");
    for (size_t i = 0; i < sttpd_program.option_count && status == 0; i++) {
        value_text(&sttpd_program.options[i], &values, read);
        require(strcmp(read, made->meant[i]) == 0, "what is read is what was meant");
    }
    settings_release(&sttpd_program, &values);
    free(said);
}

static void make_option(struct made *made, size_t index)
{
    const settings_option *option = &sttpd_program.options[index];
    unsigned places = choose(&made->bytes, 4);
    struct known known;

    if (places & 1) {
        make_value(&made->bytes, option, &known);
        add_to_file(made, option, &known);
        memcpy(made->meant[index], known.meant, MAX_VALUE);
        made->wrong += known.wrong;
    }
    if (places & 2) {
        make_value(&made->bytes, option, &known);
        add_to_flags(made, option, &known);
        memcpy(made->meant[index], known.meant, MAX_VALUE);
        made->wrong += known.wrong;
        made->by_flag[index] = true;
    }
}

static void make_defaults(struct made *made)
{
    struct sttpd_options values = {0};
    settings_report report = {.out = stderr};

    require(settings_defaults(&sttpd_program, &values, &report), "defaults");
    for (size_t i = 0; i < sttpd_program.option_count; i++)
        value_text(&sttpd_program.options[i], &values, made->meant[i]);
    settings_release(&sttpd_program, &values);
}

static void check_file(struct made *made)
{
    char *text;
    size_t size;
    int file = memfd_create("settings", MFD_CLOEXEC);
    FILE *out = open_memstream(&text, &size);

    require(out != NULL, "memory");
    for (size_t i = 0; i < made->section_count; i++)
        fclose(made->sections[i].out);
    write_section(made, made->sections, out);
    fclose(out);
    require(file >= 0 && write(file, text, size) == (ssize_t)size, "a file");
    add_argument(made, "--config=/proc/self/fd/%d", file);
    check_read(made);
    close(file);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct made made = {.bytes = {(const char *)data, size}};

    add_section(&made, "", 0);
    add_argument(&made, "sttpd");
    make_defaults(&made);
    made.in_flow = choose(&made.bytes, 2);
    for (size_t i = 0; i < sttpd_program.option_count; i++)
        make_option(&made, i);
    settle_listen(&made);
    check_file(&made);
    while (made.argc > 0)
        free(made.argv[--made.argc]);
    while (made.section_count > 0)
        free(made.sections[--made.section_count].text);
    return 0;
}
