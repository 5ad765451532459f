/* The settings file: its bytes, its YAML, its keys. Private to daemon/settings*.c. */
#ifndef DAEMON_SETTINGS_FILE_H
#define DAEMON_SETTINGS_FILE_H

#include <yaml.h>

#include "daemon/settings.h"

/* Reads a file into memory that is to be freed. Returns NULL where it reported a mistake. */
char *settings_read_file(const char *name, size_t *size, settings_report *report);

/* A document while it is read. */
typedef struct settings_walk {
    settings_report *report;
    yaml_document_t *document;
} settings_walk;

/* A mapping while it is read: the table of its keys, and the struct that they fill. A section's
 * name is told by the key of its first option. Where a key was given is the index of its first
 * character in the file, from 1; 0: not yet. */
typedef struct settings_scope {
    const settings_option *options;
    size_t count;
    void *values;
    settings_source *sources; /* of the options; NULL in records */
    const char *path;         /* what stands before its keys in messages: "" or "reverse." */
    size_t keys[SETTINGS_MAX_OPTIONS];
    size_t sections[SETTINGS_MAX_DEPTH][SETTINGS_MAX_OPTIONS];
} settings_scope;

/* Reads the mapping that is the whole document, and reports its mistakes. */
void settings_walk_root(settings_walk *walk, settings_scope *scope, const yaml_node_t *root);

/* The part of an option's key that stands inside `section` ("" is the top level), and its length up
 * to the next dot; NULL where the option is not in that section. */
const char *settings_key_within(const settings_option *option, const char *section, size_t *size);

/* The first option whose key within the section is `key`: the option itself, or the first one of
 * the section of that name. scope->count where there is none. */
size_t settings_key_find(const settings_scope *scope, const char *section, sttp_slice key);

/* "threads, queue, listen": every key of the section, each once. */
void settings_key_list(const settings_scope *scope, const char *section, char *buffer,
                       size_t capacity);

/* Reports that the section has no such key, and which one may be meant. `offset` is its place. */
void settings_key_unknown(const settings_scope *scope, const char *section, sttp_slice key,
                          size_t offset, settings_report *report);

#endif
