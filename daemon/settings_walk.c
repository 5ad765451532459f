/* From a YAML document to values.
 *
 * A settings file is one mapping, whose values are scalars, lists of scalars, mappings of scalars
 * (a section such as `cache:`), or lists of mappings for which the same holds (records). The walker
 * descends only where the table of options says so, hence what an alias or a deep nesting makes of
 * the document costs nothing, and no more records are made than the table allows. Aliases stand for
 * the node they name; merge keys and tags are refused. */
#include <string.h>

#include "daemon/settings_file.h"
#include "daemon/settings_report.h"
#include "daemon/settings_value.h"
#include "daemon/text.h"

enum { MAX_PATH = 128, MAX_KEYS = 1024 }; /* bytes: of a scope's path, of a list of its keys */

static size_t offset_of(const settings_walk *walk, const yaml_node_t *node)
{
    return settings_offset_of(walk->report, node->start_mark.index);
}

static settings_place place_of(const yaml_node_t *node)
{
    return (settings_place){SETTINGS_FROM_FILE, node->start_mark.index + 1};
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

static bool check_tag(settings_walk *walk, const yaml_node_t *node)
{
    char shown[128];
    const char *tag = (const char *)node->tag;

    if (tag == NULL || strcmp(tag, default_tag(node)) == 0)
        return true;
    text_escape(tag, strlen(tag), shown, sizeof shown);
    settings_report_at(walk->report, offset_of(walk, node),
                       "the tag '%s' is not used here; write the value alone", shown);
    return false;
}

/* A value that has to be one scalar; reports what is no such thing. */
static bool check_scalar(settings_walk *walk, const settings_scope *scope,
                         const settings_option *option, const yaml_node_t *node)
{
    char expected[256];

    if (!check_tag(walk, node))
        return false;
    if (node->type == YAML_SCALAR_NODE && !is_null(node))
        return true;
    settings_value_expected(option, expected, sizeof expected);
    settings_report_at(walk->report, offset_of(walk, node), "%s%s: expected %s, not %s",
                       scope->path, option->key, expected,
                       is_null(node) ? "nothing" : type_name(node));
    return false;
}

/* Tells of what could not be set. */
static void report_result(settings_walk *walk, const settings_scope *scope,
                          const settings_option *option, const yaml_node_t *node,
                          settings_result result, const char *why)
{
    if (result == SETTINGS_WRONG)
        settings_report_at(walk->report, offset_of(walk, node), "%s%s: %s", scope->path,
                           option->key, why);
    else if (result == SETTINGS_NO_MEMORY)
        settings_report_no_memory(walk->report, walk->report->file);
}

static void set_scalar(settings_walk *walk, const settings_scope *scope,
                       const settings_option *option, const yaml_node_t *node)
{
    char why[SETTINGS_MAX_WHY];

    if (!check_scalar(walk, scope, option, node))
        return;
    settings_result result =
        settings_value_set(option, text_of(node), place_of(node), scope->values, why);
    report_result(walk, scope, option, node, result, why);
}

static void walk_mapping(settings_walk *walk, settings_scope *scope, const char *section,
                         const yaml_node_t *mapping);

/* A mapping into the struct that was made for it. */
static void walk_record(settings_walk *walk, const settings_scope *outer,
                        const settings_option *option, const yaml_node_t *mapping, void *record)
{
    char path[MAX_PATH];
    settings_scope scope = {
        .options = option->fields,
        .count = option->field_count,
        .values = record,
        .path = path,
    };

    snprintf(path, sizeof path, "%s%s.", outer->path, option->key);
    walk_mapping(walk, &scope, "", mapping);
    for (size_t i = 0; i < scope.count; i++) {
        if (option->fields[i].required && scope.keys[i] == 0)
            settings_report_at(walk->report, offset_of(walk, mapping),
                               "%s%s: the key '%s' is missing", outer->path, option->key,
                               option->fields[i].key);
    }
}

static void report_no_record(settings_walk *walk, const settings_scope *outer,
                             const settings_option *option, const yaml_node_t *node)
{
    char keys[MAX_KEYS];
    settings_scope scope = {.options = option->fields, .count = option->field_count};

    settings_key_list(&scope, "", keys, sizeof keys);
    settings_report_at(walk->report, offset_of(walk, node),
                       "%s%s: expected a mapping with the keys %s, not %s", outer->path,
                       option->key, keys, is_null(node) ? "nothing" : type_name(node));
}

static void add_record(settings_walk *walk, const settings_scope *scope,
                       const settings_option *option, const yaml_node_t *node)
{
    char why[SETTINGS_MAX_WHY];
    void *record;

    if (node->type == YAML_SCALAR_NODE && !is_null(node) && option->shorthand != NULL) {
        set_scalar(walk, scope, option, node);
        return;
    }
    if (!check_tag(walk, node))
        return;
    if (node->type != YAML_MAPPING_NODE) {
        report_no_record(walk, scope, option, node);
        return;
    }
    settings_result result = settings_records_add(option, scope->values, &record, why);
    report_result(walk, scope, option, node, result, why);
    if (result == SETTINGS_SET)
        walk_record(walk, scope, option, node, record);
}

/* An item of a list; or what stands in the place of a list and is one alone. */
static void add_item(settings_walk *walk, const settings_scope *scope,
                     const settings_option *option, const yaml_node_t *node)
{
    if (option->kind == SETTINGS_RECORDS)
        add_record(walk, scope, option, node);
    else
        set_scalar(walk, scope, option, node);
}

static void report_empty(settings_walk *walk, const settings_scope *scope,
                         const settings_option *option, const yaml_node_t *node)
{
    char expected[256];

    settings_value_expected(option, expected, sizeof expected);
    settings_report_at(walk->report, offset_of(walk, node), "%s%s: the list is empty; expected %s",
                       scope->path, option->key, expected);
}

static void set_list(settings_walk *walk, const settings_scope *scope,
                     const settings_option *option, const yaml_node_t *node)
{
    settings_value_clear(option, scope->values);
    if (node->type != YAML_SEQUENCE_NODE) {
        add_item(walk, scope, option, node);
        return;
    }
    if (!check_tag(walk, node))
        return;
    const yaml_node_item_t *item = node->data.sequence.items.start;
    if (item == node->data.sequence.items.top)
        report_empty(walk, scope, option, node);
    for (; item < node->data.sequence.items.top && !settings_report_full(walk->report); item++)
        add_item(walk, scope, option, yaml_document_get_node(walk->document, *item));
}

static void set_option(settings_walk *walk, settings_scope *scope, size_t index,
                       const yaml_node_t *node)
{
    const settings_option *option = &scope->options[index];

    if (option->kind == SETTINGS_LIST || option->kind == SETTINGS_RECORDS) {
        set_list(walk, scope, option, node);
        settings_value_place(option, place_of(node), scope->values);
    } else {
        set_scalar(walk, scope, option, node);
    }
    if (scope->sources != NULL)
        scope->sources[index] = SETTINGS_FROM_FILE;
}

/* Whether a key is given for the first time; reports a second one. */
static bool check_first(settings_walk *walk, size_t *given, const yaml_node_t *node)
{
    settings_place first = {SETTINGS_FROM_FILE, *given};

    if (*given == 0) {
        *given = place_of(node).character;
        return true;
    }
    settings_report_at(
        walk->report, offset_of(walk, node), "duplicate key '%s'; it was given first in line %zu",
        (const char *)node->data.scalar.value, settings_report_line_of(walk->report, first));
    return false;
}

/* A section inside `outer` (empty: none) whose options begin at `index` of the table. */
static void walk_section(settings_walk *walk, settings_scope *scope, const char *outer,
                         size_t index, const yaml_node_t *key, const yaml_node_t *value)
{
    char keys[MAX_KEYS];
    char section[MAX_KEYS];
    bool is_inner = outer[0] != '\0';

    snprintf(section, sizeof section, "%s%s%s", outer, is_inner ? "." : "",
             (const char *)key->data.scalar.value);
    if (!check_first(walk, &scope->sections[is_inner][index], key) || !check_tag(walk, value) ||
        is_null(value))
        return;
    if (value->type == YAML_MAPPING_NODE) {
        walk_mapping(walk, scope, section, value);
        return;
    }
    settings_key_list(scope, section, keys, sizeof keys);
    settings_report_at(walk->report, offset_of(walk, value),
                       "%s%s: expected a mapping with the keys %s, not %s", scope->path, section,
                       keys, type_name(value));
}

static void walk_pair(settings_walk *walk, settings_scope *scope, const char *section,
                      const yaml_node_t *key, const yaml_node_t *value)
{
    if (key->type != YAML_SCALAR_NODE) {
        settings_report_at(walk->report, offset_of(walk, key),
                           "expected the name of a setting, not %s", type_name(key));
        return;
    }
    size_t index = settings_key_find(scope, section, text_of(key));
    if (index == scope->count) {
        settings_key_unknown(scope, section, text_of(key), offset_of(walk, key), walk->report);
        return;
    }
    size_t size;
    const char *name = settings_key_within(&scope->options[index], section, &size);
    if (name[size] == '.')
        walk_section(walk, scope, section, index, key, value);
    else if (check_first(walk, &scope->keys[index], key))
        set_option(walk, scope, index, value);
}

static void walk_mapping(settings_walk *walk, settings_scope *scope, const char *section,
                         const yaml_node_t *mapping)
{
    const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;

    for (; pair < mapping->data.mapping.pairs.top && !settings_report_full(walk->report); pair++)
        walk_pair(walk, scope, section, yaml_document_get_node(walk->document, pair->key),
                  yaml_document_get_node(walk->document, pair->value));
}

void settings_walk_root(settings_walk *walk, settings_scope *scope, const yaml_node_t *root)
{
    if (root == NULL || is_null(root))
        return;
    if (!check_tag(walk, root))
        return;
    if (root->type == YAML_MAPPING_NODE)
        walk_mapping(walk, scope, "", root);
    else
        settings_report_at(walk->report, offset_of(walk, root),
                           "expected settings as 'key: value' lines, not %s", type_name(root));
}
