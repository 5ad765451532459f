/* From a YAML document to values. libyaml's document API is used since every node of it knows its
 * place, so that all mistakes can be told, each with line and column.
 *
 * A settings file is one mapping, whose values are scalars, lists of scalars, or mappings of
 * scalars (a section such as `cache:`). The walker descends only where the table of options says
 * so, hence what an alias or a deep nesting makes of the document costs nothing. Aliases stand for
 * the node they name; merge keys and tags are refused. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include <sttp/message.h>

#include "daemon/settings_report.h"
#include "daemon/settings_value.h"
#include "daemon/text.h"

/* libyaml's time grows with the square of what is open at once (flow collections) and of the number
 * of anchors and directives. No settings file comes near this; a hostile one stops here. */
enum { MAX_COSTLY = 256 };

/* A section's name is told by the key of its first option. */
struct walk {
    const settings_program *program;
    void *values;
    settings_command *command;
    settings_report *report;
    settings_source_text source;
    yaml_document_t *document;
    size_t key_lines[SETTINGS_MAX_OPTIONS]; /* where each key was given; 0: not yet */
    size_t section_lines[SETTINGS_MAX_OPTIONS];
};

/* libyaml counts characters. */
static size_t offset_of(const struct walk *walk, const yaml_mark_t *mark)
{
    size_t at = 0;

    for (size_t i = 0; i < mark->index && at < walk->source.text.size; i++) {
        size_t length = sttp_next_char(
            (sttp_slice){walk->source.text.data + at, walk->source.text.size - at}, NULL);
        at += length > 0 ? length : 1;
    }
    return at;
}

static sttp_slice text_of(const yaml_node_t *node)
{
    return (sttp_slice){(const char *)node->data.scalar.value, node->data.scalar.length};
}

static bool is_null(const yaml_node_t *node)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL", NULL};

    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (const char *const *word = words; *word != NULL; word++) {
        if (strcmp((const char *)node->data.scalar.value, *word) == 0)
            return true;
    }
    return false;
}

static const char *type_name(const yaml_node_t *node)
{
    switch (node->type) {
    case YAML_SCALAR_NODE:
        return "a single value";
    case YAML_SEQUENCE_NODE:
        return "a list";
    case YAML_MAPPING_NODE:
        return "a mapping";
    case YAML_NO_NODE:
        break;
    }
    return "nothing";
}

static const char *default_tag(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE     ? YAML_DEFAULT_SCALAR_TAG
           : node->type == YAML_SEQUENCE_NODE ? YAML_DEFAULT_SEQUENCE_TAG
                                              : YAML_DEFAULT_MAPPING_TAG;
}

static bool check_tag(struct walk *walk, const yaml_node_t *node)
{
    char shown[128];
    const char *tag = (const char *)node->tag;

    if (tag == NULL || strcmp(tag, default_tag(node)) == 0)
        return true;
    text_escape(tag, strlen(tag), shown, sizeof shown);
    settings_report_at(walk->report, &walk->source, offset_of(walk, &node->start_mark),
                       "the tag '%s' is not used here; write the value alone", shown);
    return false;
}

/* A value that has to be one scalar; reports what is no such thing. */
static bool check_scalar(struct walk *walk, const settings_option *option, const yaml_node_t *node)
{
    char expected[256];

    if (!check_tag(walk, node))
        return false;
    if (node->type == YAML_SCALAR_NODE && !is_null(node))
        return true;
    settings_value_expected(option, expected, sizeof expected);
    settings_report_at(walk->report, &walk->source, offset_of(walk, &node->start_mark),
                       "%s: expected %s, not %s", option->key, expected,
                       is_null(node) ? "nothing" : type_name(node));
    return false;
}

static void set_scalar(struct walk *walk, const settings_option *option, const yaml_node_t *node)
{
    char why[SETTINGS_MAX_WHY];

    if (!check_scalar(walk, option, node))
        return;
    settings_result result = settings_value_set(option, text_of(node), walk->values, why);
    if (result == SETTINGS_WRONG)
        settings_report_at(walk->report, &walk->source, offset_of(walk, &node->start_mark),
                           "%s: %s", option->key, why);
    else if (result == SETTINGS_NO_MEMORY)
        settings_report_no_memory(walk->report, walk->source.name);
}

static void set_list(struct walk *walk, const settings_option *option, const yaml_node_t *node)
{
    settings_value_clear(option, walk->values);
    if (node->type != YAML_SEQUENCE_NODE) {
        set_scalar(walk, option, node);
        return;
    }
    if (!check_tag(walk, node))
        return;
    const yaml_node_item_t *item = node->data.sequence.items.start;
    if (item == node->data.sequence.items.top)
        settings_report_at(walk->report, &walk->source, offset_of(walk, &node->start_mark),
                           "%s: the list is empty; expected %s", option->key, option->expected);
    for (; item < node->data.sequence.items.top && !settings_report_full(walk->report); item++)
        set_scalar(walk, option, yaml_document_get_node(walk->document, *item));
}

static void set_option(struct walk *walk, size_t index, const yaml_node_t *node)
{
    const settings_option *option = &walk->program->options[index];

    if (option->kind == SETTINGS_LIST)
        set_list(walk, option, node);
    else
        set_scalar(walk, option, node);
    walk->command->sources[index] = SETTINGS_FROM_FILE;
}

/* The part of an option's key that stands inside `section` ("" is the top level), and its length up
 * to the next dot; NULL where the option is not in that section. */
static const char *key_within(const settings_option *option, const char *section, size_t *size)
{
    size_t prefix = strlen(section);

    *size = 0;
    if (strncmp(option->key, section, prefix) != 0 || (prefix > 0 && option->key[prefix] != '.'))
        return NULL;
    const char *name = option->key + (prefix > 0 ? prefix + 1 : 0);
    *size = strcspn(name, ".");
    return name;
}

/* The first option whose key within the section is `key`: the option itself, or the first one of
 * the section of that name. option_count where there is none. */
static size_t find(const struct walk *walk, const char *section, sttp_slice key)
{
    size_t count = walk->program->option_count;

    for (size_t i = 0; i < count; i++) {
        size_t size;
        const char *name = key_within(&walk->program->options[i], section, &size);
        if (name != NULL && size == key.size && memcmp(name, key.data, size) == 0)
            return i;
    }
    return count;
}

/* The option that has the key in some other section, so that a key in the wrong place can be told
 * its right one. */
static const settings_option *find_elsewhere(const struct walk *walk, sttp_slice key)
{
    for (size_t i = 0; i < walk->program->option_count; i++) {
        const settings_option *option = &walk->program->options[i];
        const char *dot = strchr(option->key, '.');
        const char *leaf = dot != NULL ? dot + 1 : option->key;
        bool is_leaf = strlen(leaf) == key.size && memcmp(leaf, key.data, key.size) == 0;
        bool is_whole =
            strlen(option->key) == key.size && memcmp(option->key, key.data, key.size) == 0;
        if (is_leaf || is_whole)
            return option;
    }
    return NULL;
}

/* "threads, queue, listen": every key of the section, each once. */
static void list_keys(const struct walk *walk, const char *section, char *buffer, size_t capacity)
{
    size_t written = 0;

    buffer[0] = '\0';
    for (size_t i = 0; i < walk->program->option_count && written < capacity; i++) {
        size_t size;
        const char *name = key_within(&walk->program->options[i], section, &size);
        if (name != NULL && find(walk, section, (sttp_slice){name, size}) == i)
            written += (size_t)snprintf(buffer + written, capacity - written, "%s%.*s",
                                        written > 0 ? ", " : "", (int)size, name);
    }
}

static void report_unknown(struct walk *walk, const char *section, const yaml_node_t *node)
{
    char shown[128];
    char keys[1024];
    sttp_slice key = text_of(node);
    settings_guess guess = {.word = key};
    const settings_option *elsewhere = find_elsewhere(walk, key);
    size_t offset = offset_of(walk, &node->start_mark);

    text_escape(key.data, key.size, shown, sizeof shown);
    for (size_t i = 0; i < walk->program->option_count; i++) {
        size_t size;
        const char *name = key_within(&walk->program->options[i], section, &size);
        if (name != NULL)
            settings_guess_try(&guess, name, size);
    }
    if (elsewhere != NULL) {
        const char *dot = strchr(elsewhere->key, '.');
        int size = dot != NULL ? (int)(dot - elsewhere->key) : 0;
        settings_report_at(walk->report, &walk->source, offset,
                           "unknown key '%s'; did you mean '%s' %s%.*s%s?", shown,
                           dot != NULL ? dot + 1 : elsewhere->key,
                           dot != NULL ? "inside '" : "at the top level", size, elsewhere->key,
                           dot != NULL ? ":'" : "");
    } else if (settings_guess_is_near(&guess)) {
        settings_report_at(walk->report, &walk->source, offset,
                           "unknown key '%s'; did you mean '%s'?", shown, guess.nearest);
    } else {
        list_keys(walk, section, keys, sizeof keys);
        settings_report_at(walk->report, &walk->source, offset,
                           "unknown key '%s'; the nearest known key is '%s', of: %s", shown,
                           guess.nearest, keys);
    }
}

/* Whether a key is given for the first time; reports a second one. */
static bool check_first(struct walk *walk, size_t *line, const yaml_node_t *node)
{
    size_t offset = offset_of(walk, &node->start_mark);

    if (*line == 0) {
        *line = settings_line_of(walk->source.text, offset);
        return true;
    }
    settings_report_at(walk->report, &walk->source, offset,
                       "duplicate key '%s'; it was given first in line %zu",
                       (const char *)node->data.scalar.value, *line);
    return false;
}

static void walk_mapping(struct walk *walk, const char *section, const yaml_node_t *mapping);

/* A section whose options begin at `index` of the table. */
static void walk_section(struct walk *walk, size_t index, const yaml_node_t *key,
                         const yaml_node_t *value)
{
    char keys[512];
    const char *section = (const char *)key->data.scalar.value;

    if (!check_first(walk, &walk->section_lines[index], key) || !check_tag(walk, value) ||
        is_null(value))
        return;
    if (value->type == YAML_MAPPING_NODE) {
        walk_mapping(walk, section, value);
        return;
    }
    list_keys(walk, section, keys, sizeof keys);
    settings_report_at(walk->report, &walk->source, offset_of(walk, &value->start_mark),
                       "%s: expected a mapping with the keys %s, not %s", section, keys,
                       type_name(value));
}

static void walk_pair(struct walk *walk, const char *section, const yaml_node_t *key,
                      const yaml_node_t *value)
{
    if (key->type != YAML_SCALAR_NODE) {
        settings_report_at(walk->report, &walk->source, offset_of(walk, &key->start_mark),
                           "expected the name of a setting, not %s", type_name(key));
        return;
    }
    size_t index = find(walk, section, text_of(key));
    if (index == walk->program->option_count) {
        report_unknown(walk, section, key);
        return;
    }
    size_t size;
    const char *name = key_within(&walk->program->options[index], section, &size);
    if (name[size] == '.')
        walk_section(walk, index, key, value);
    else if (check_first(walk, &walk->key_lines[index], key))
        set_option(walk, index, value);
}

static void walk_mapping(struct walk *walk, const char *section, const yaml_node_t *mapping)
{
    const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;

    for (; pair < mapping->data.mapping.pairs.top && !settings_report_full(walk->report); pair++)
        walk_pair(walk, section, yaml_document_get_node(walk->document, pair->key),
                  yaml_document_get_node(walk->document, pair->value));
}

static void walk_root(struct walk *walk, const yaml_node_t *root)
{
    if (root == NULL || is_null(root))
        return;
    if (!check_tag(walk, root))
        return;
    if (root->type == YAML_MAPPING_NODE)
        walk_mapping(walk, "", root);
    else
        settings_report_at(walk->report, &walk->source, offset_of(walk, &root->start_mark),
                           "expected settings as 'key: value' lines, not %s", type_name(root));
}

static void report_syntax(struct walk *walk, const yaml_parser_t *parser)
{
    const char *problem = parser->problem != NULL ? parser->problem : "unknown problem";
    size_t offset = parser->error == YAML_READER_ERROR ? parser->problem_offset
                                                       : offset_of(walk, &parser->problem_mark);
    bool is_tab = offset < walk->source.text.size && walk->source.text.data[offset] == '\t';

    if (parser->error == YAML_MEMORY_ERROR)
        settings_report_no_memory(walk->report, walk->source.name);
    else if (is_tab)
        settings_report_at(walk->report, &walk->source, offset,
                           "not valid YAML: a TAB indents nothing; use spaces");
    else if (parser->context != NULL && parser->context_mark.index < parser->problem_mark.index)
        settings_report_at(
            walk->report, &walk->source, offset, "not valid YAML: %s %s that begins in line %zu",
            problem, parser->context,
            settings_line_of(walk->source.text, offset_of(walk, &parser->context_mark)));
    else
        settings_report_at(walk->report, &walk->source, offset, "not valid YAML: %s", problem);
}

/* Loads the first document and walks it, then makes sure that there is no second one. */
static void walk_stream(struct walk *walk, yaml_parser_t *parser)
{
    yaml_document_t document;
    const yaml_node_t *root;

    if (!yaml_parser_load(parser, &document)) {
        report_syntax(walk, parser);
        return;
    }
    walk->document = &document;
    walk_root(walk, yaml_document_get_root_node(&document));
    yaml_document_delete(&document);

    if (!yaml_parser_load(parser, &document)) {
        report_syntax(walk, parser);
        return;
    }
    root = yaml_document_get_root_node(&document);
    if (root != NULL)
        settings_report_at(walk->report, &walk->source, offset_of(walk, &root->start_mark),
                           "a second document begins here; a settings file is one document");
    yaml_document_delete(&document);
}

/* Refuses what is no settings file before libyaml sees it. */
static bool check_bytes(struct walk *walk)
{
    sttp_slice text = walk->source.text;
    const char *zero = memchr(text.data, '\0', text.size);
    size_t costly = 0;

    if (zero != NULL) {
        settings_report_at(walk->report, &walk->source, (size_t)(zero - text.data),
                           "a zero byte: this is no text file");
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        costly += strchr("[{&%", text.data[i]) != NULL;
        if (costly > MAX_COSTLY) {
            settings_report_at(walk->report, &walk->source, i,
                               "more than %d of the characters [ { & %%: this is no settings file",
                               MAX_COSTLY);
            return false;
        }
    }
    return true;
}

bool settings_read_text(const settings_program *program, const char *name, sttp_slice text,
                        void *values, settings_command *command, settings_report *report)
{
    static const char byte_order_mark[] = "\xef\xbb\xbf";
    size_t before = report->count;
    yaml_parser_t parser;

    if (text.size >= 3 && memcmp(text.data, byte_order_mark, 3) == 0)
        text = (sttp_slice){text.data + 3, text.size - 3};
    struct walk walk = {
        .program = program,
        .values = values,
        .command = command,
        .report = report,
        .source = {name, text},
    };
    if (!check_bytes(&walk))
        return false;
    if (!yaml_parser_initialize(&parser)) {
        settings_report_no_memory(report, name);
        return false;
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.data, text.size);
    walk_stream(&walk, &parser);
    yaml_parser_delete(&parser);
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

bool settings_read_file(const settings_program *program, const char *name, void *values,
                        settings_command *command, settings_report *report)
{
    bool good = false;
    char shown[256];
    ssize_t size = -1;
    char *buffer = malloc(SETTINGS_MAX_FILE_SIZE + 1);
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd >= 0 && buffer != NULL)
        size = read_up_to(fd, buffer, SETTINGS_MAX_FILE_SIZE + 1);
    text_escape(name, strlen(name), shown, sizeof shown);
    if (buffer == NULL)
        settings_report_no_memory(report, shown);
    else if (size < 0)
        settings_report_line(report, "%s: cannot read the settings file: %s", shown,
                             strerror(errno));
    else if (size > SETTINGS_MAX_FILE_SIZE)
        settings_report_line(report, "%s: larger than 1 MiB: this is no settings file", shown);
    else
        good = settings_read_text(program, name, (sttp_slice){buffer, (size_t)size}, values,
                                  command, report);
    if (fd >= 0)
        close(fd);
    free(buffer);
    return good;
}
