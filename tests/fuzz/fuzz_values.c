/* The bytes choose values for settings, and how a file and flags spell them, in all the ways that
 * the manual has. What is read is what was meant: flags win over the file, and the file over the
 * defaults. Of the numbers some are no numbers or out of their range: each of these is told. */
#include <inttypes.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include "property.h"
#include "sttpd/options.h"

enum {
    MAX_ARGUMENTS = 160,
    MAX_ITEMS = 3,
    MAX_SECTIONS = 8,
    MAX_VALUE = 256 /* bytes */
};

struct unit {
    const char *name;
    uint64_t factor;
};

/* ---- values ---- */

/* A value that the bytes choose. Items of a list end with LF. */
struct known {
    char spelled[MAX_VALUE];
    char meant[MAX_VALUE];
    bool wrong;
};

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

static const struct unit number_units[] = {{"", 1}};
static const struct unit size_units[] = {
    {"", 1},        {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30},
    {"K", 1 << 10}, {"M", 1 << 20},   {"G", 1 << 30},
};
static const struct unit duration_units[] = {
    {"", 1000},     {"ms", 1},      {"s", 1000},     {"m", 60000},
    {"min", 60000}, {"h", 3600000}, {"d", 86400000},
};

/* A number below `count`, and 0 where the bytes are at their end. */
static unsigned choose(sttp_slice *bytes, unsigned count)
{
    if (bytes->size == 0)
        return 0;
    bytes->size--;
    return (unsigned char)*bytes->data++ % count;
}

static uint64_t choose_between(sttp_slice *bytes, uint64_t low, uint64_t high)
{
    uint64_t number = 0;

    switch (choose(bytes, 4)) {
    case 0:
        return low;
    case 1:
        return high;
    default:
        for (int i = 0; i < 6; i++)
            number = number << 8 | choose(bytes, 256);
        return low + number % (high - low + 1);
    }
}

static void change_case(sttp_slice *bytes, char *word)
{
    unsigned upper = choose(bytes, 256);

    for (unsigned i = 0; word[i] != '\0'; i++) {
        if (upper >> i % 8 & 1 && word[i] >= 'a' && word[i] <= 'z')
            word[i] = (char)(word[i] - 'a' + 'A');
        else if (upper >> i % 8 & 1 && word[i] >= 'A' && word[i] <= 'Z')
            word[i] = (char)(word[i] - 'A' + 'a');
    }
}

static const struct unit *choose_unit(sttp_slice *bytes, settings_kind kind)
{
    if (kind == SETTINGS_SIZE)
        return &size_units[choose(bytes, sizeof size_units / sizeof *size_units)];
    if (kind == SETTINGS_DURATION)
        return &duration_units[choose(bytes, sizeof duration_units / sizeof *duration_units)];
    return number_units;
}

static void make_amount(sttp_slice *bytes, const settings_option *option, struct known *known)
{
    const struct unit *unit = choose_unit(bytes, option->kind);
    uint64_t low = (option->minimum + unit->factor - 1) / unit->factor;
    uint64_t high = option->maximum / unit->factor;
    uint64_t number;

    require(low <= high, "the unit suits the range");
    if (option->zero && choose(bytes, 4) == 0) {
        snprintf(known->spelled, MAX_VALUE, "%s", option->zero);
        change_case(bytes, known->spelled);
        snprintf(known->meant, MAX_VALUE, "0");
        return;
    }
    number = choose_between(bytes, low, high);
    snprintf(known->spelled, MAX_VALUE, "%" PRIu64 "%s", number, unit->name);
    change_case(bytes, known->spelled);
    snprintf(known->meant, MAX_VALUE, "%" PRIu64, number * unit->factor);
}

/* An amount out of its range, also one that a multiplication beyond 64 bits brings back into it. */
static void make_wrong_range(sttp_slice *bytes, const settings_option *option, struct known *known)
{
    const struct unit *unit = choose_unit(bytes, option->kind);
    uint64_t low = (option->minimum + unit->factor - 1) / unit->factor;
    uint64_t high = option->maximum / unit->factor;
    unsigned way = choose(bytes, 3);

    if (way == 0)
        snprintf(known->spelled, MAX_VALUE, "%" PRIu64 "%s", high + 1, unit->name);
    else if (way == 1 && low > 0)
        snprintf(known->spelled, MAX_VALUE, "%" PRIu64 "%s", low - 1, unit->name);
    else if (unit->factor > 1)
        snprintf(known->spelled, MAX_VALUE, "%" PRIu64 "%s", UINT64_MAX / unit->factor + 1 + low,
                 unit->name);
    else
        snprintf(known->spelled, MAX_VALUE, "%s", "18446744073709551716"); /* 2^64 + 100 */
}

static void make_wrong_amount(sttp_slice *bytes, const settings_option *option, struct known *known)
{
    static const char *const around[][2] = {{"0", ""}, {"-", ""},  {"+", ""},  {"0x", ""},
                                            {"", "x"}, {"", ".0"}, {"", " 1"}, {"", "_"}};
    char good[64] = "";

    known->wrong = true;
    if (choose(bytes, 2) == 0) {
        make_wrong_range(bytes, option, known);
        return;
    }
    memcpy(good, known->spelled, sizeof good - 1);
    const char *const *form = around[choose(bytes, sizeof around / sizeof *around)];
    snprintf(known->spelled, MAX_VALUE, "%s%s%s", form[0], good, form[1]);
}

static void make_word(sttp_slice *bytes, const char *const *words, struct known *known)
{
    unsigned count = 0, index;

    while (words[count])
        count++;
    index = choose(bytes, count);
    snprintf(known->spelled, MAX_VALUE, "%s", words[index]);
    change_case(bytes, known->spelled);
    snprintf(known->meant, MAX_VALUE, "%u", index);
}

static void make_bool(sttp_slice *bytes, struct known *known)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", NULL};

    make_word(bytes, words, known);
    known->meant[0] = (char)('0' + (known->meant[0] - '0') % 2);
}

/* Addresses to listen on, or ranges of them, all different: their numbers are. */
static void make_list(sttp_slice *bytes, const settings_option *option, struct known *known)
{
    static const char *const addresses[] = {"127.0.0.1:", "[::1]:", "unix:/run/s "};
    static const char *const ranges[] = {"10.0.0.0/", "0.0.0.0/", "::/"};
    bool is_listen = option->kind == SETTINGS_RECORDS;
    unsigned count = 1 + choose(bytes, MAX_ITEMS);
    size_t size = 0;

    for (unsigned i = 0; i < count; i++) {
        unsigned form = choose(bytes, 3);
        size += (size_t)snprintf(known->spelled + size, MAX_VALUE - size, "%s%u\n",
                                 is_listen ? addresses[form] : ranges[form],
                                 is_listen ? 1 + i + MAX_ITEMS * choose(bytes, 256)
                                           : 8 + i + MAX_ITEMS * choose(bytes, 7));
    }
    memcpy(known->meant, known->spelled, MAX_VALUE);
}

static void make_text(sttp_slice *bytes, const settings_option *option, struct known *known)
{
    static const char *const addresses[] = {"127.0.0.1", "0.0.0.0", "::1", "::"};
    bool has_port = option->valid == listen_is_listener;
    static const char *const parts[] = {
        "a",  "/",        "'",  "\"",           "\\", " #",           ": ", "%",
        "{",  "\xc3\xa9", "&",  "\xe2\x82\xac", "\t", "\x01",         "\n", "\x7f",
        "- ", "\xc2\x85", ", ", "\r",           "~",  "\xe2\x80\xa8", "Z",  "\xf0\x9f\x98\x80"};
    unsigned count;
    size_t size;

    if (option->valid) {
        unsigned index = choose(bytes, 4);
        bool in_brackets = has_port && index >= 2;
        snprintf(known->spelled, MAX_VALUE, "%s%s%s%s", in_brackets ? "[" : "", addresses[index],
                 in_brackets ? "]" : "", has_port ? ":6379" : "");
    } else {
        count = choose(bytes, 32);
        size = (size_t)snprintf(known->spelled, MAX_VALUE, "/");
        for (unsigned i = 0; i < count; i++)
            size += (size_t)snprintf(known->spelled + size, MAX_VALUE - size, "%s",
                                     parts[choose(bytes, sizeof parts / sizeof *parts)]);
    }
    memcpy(known->meant, known->spelled, MAX_VALUE);
}

static void make_value(sttp_slice *bytes, const settings_option *option, struct known *known)
{
    *known = (struct known){0};
    switch (option->kind) {
    case SETTINGS_BOOL:
        make_bool(bytes, known);
        break;
    case SETTINGS_NUMBER:
    case SETTINGS_SIZE:
    case SETTINGS_DURATION:
        make_amount(bytes, option, known);
        if (choose(bytes, 24) == 1)
            make_wrong_amount(bytes, option, known);
        break;
    case SETTINGS_CHOICE:
        make_word(bytes, option->choices, known);
        break;
    case SETTINGS_TEXT:
        make_text(bytes, option, known);
        break;
    case SETTINGS_LIST:
    case SETTINGS_RECORDS:
        make_list(bytes, option, known);
        break;
    }
}

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
