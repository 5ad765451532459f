/* The settings of a daemon. One table of options gives the keys of the settings file (YAML), the
 * flags of the command line, defaults, units, ranges and --help. The program keeps the values in a
 * struct of its own, into which the table points.
 *
 * Defaults are overridden by the file, the file by the flags. Whatever is wrong anywhere is
 * reported in one run; nothing is taken over silently and nothing is read from the environment. */
#ifndef DAEMON_SETTINGS_H
#define DAEMON_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <sttp/base.h>

enum {
    SETTINGS_MAX_OPTIONS = 64,        /* of one program */
    SETTINGS_MAX_FILE_SIZE = 1 << 20, /* bytes */
    SETTINGS_MAX_MISTAKES = 100       /* that are told */
};

/* What an option holds, and the type of its member in the program's struct. */
typedef enum settings_kind {
    SETTINGS_BOOL,     /* bool: true/false, yes/no, on/off */
    SETTINGS_NUMBER,   /* uint64_t */
    SETTINGS_SIZE,     /* uint64_t, in bytes: 10485760, 10MiB, 10M */
    SETTINGS_DURATION, /* uint64_t, in milliseconds; a bare number is in seconds: 5, 250ms, 2m */
    SETTINGS_CHOICE,   /* unsigned: the index of a word in `choices` */
    SETTINGS_TEXT,     /* char * */
    SETTINGS_LIST      /* settings_list */
} settings_kind;

typedef struct settings_list {
    char **items;
    size_t count;
} settings_list;

/* Puts a copy of `size` bytes of `text` at the end; false where memory is out. */
bool settings_list_add(settings_list *list, const char *text, size_t size);

/* Frees all items. */
void settings_list_clear(settings_list *list);

typedef struct settings_option {
    const char *key;      /* in the file: "port", or "cache.max_files" for one inside `cache:` */
    const char *alias;    /* a second, shorter name of its flag, or NULL */
    char letter;          /* of its short flag, or 0 */
    const char *group;    /* its heading in --help */
    const char *argument; /* what --help calls its value */
    const char *help;     /* what it does, a sentence without its full stop */
    const char *fallback; /* the default, as a file would say it; NULL for an empty list */
    settings_kind kind;
    size_t offset;              /* of its member in the program's struct */
    uint64_t minimum, maximum;  /* numbers, sizes (bytes), durations (milliseconds); the maximum
                                   of a list is how many items it may have */
    const char *zero;           /* numbers: a word that stands for 0, whatever the minimum is */
    const char *const *choices; /* ended by NULL */
    bool (*valid)(const char *text); /* texts and the items of lists; NULL: all but the empty one */
    const char *expected;            /* what `valid` wants: "a host and a port as in ..." */
} settings_option;

/* Where the value of each option of a program comes from. */
typedef enum settings_source {
    SETTINGS_FROM_DEFAULT = 0,
    SETTINGS_FROM_FILE,
    SETTINGS_FROM_FLAG
} settings_source;

typedef struct settings_program {
    const char *name;    /* "sttpd" */
    const char *summary; /* the first lines of --help */
    const char *notes;   /* its last lines */
    const settings_option *options;
    size_t option_count; /* at most SETTINGS_MAX_OPTIONS */
} settings_program;

/* What is wrong is written to `out` as it is found. */
typedef struct settings_report {
    FILE *out;
    size_t count;
    bool no_memory; /* it was told that memory is out */
} settings_report;

/* Reports a mistake that has no place in a text. */
void settings_report_line(settings_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Reports that memory is out, once. `name` is what was read, or the program. */
void settings_report_no_memory(settings_report *report, const char *name);

/* What the command line asks for beside the options of the table. */
typedef struct settings_command {
    const char *file; /* -c; NULL where there is none. Points into argv */
    bool test;        /* -T */
    bool help;        /* -h: nothing behind it counts, no file is read */
    bool version;     /* -V: likewise */
    int verbosity;    /* how often -v, less how often -q */
    settings_source sources[SETTINGS_MAX_OPTIONS]; /* in the order of the table */
} settings_command;

/* Reads defaults, file and command line into `values`, whose members of the table must be zero.
 * Returns the exit status that the program should end with: 0 where all is well, 1 where the file
 * holds mistakes, 2 where the command line does. Whatever it returns, the values are to be given to
 * settings_release. Where help or version is asked for, the values are the defaults. */
int settings_load(const settings_program *program, int argc, char *const *argv, void *values,
                  settings_command *command, settings_report *report);

/* Frees the texts and lists in `values` and sets them to zero. */
void settings_release(const settings_program *program, void *values);

/* Where the value of the option with this key comes from. */
settings_source settings_source_of(const settings_program *program, const settings_command *command,
                                   const char *key);

/* Writes the text of --help. */
void settings_help(const settings_program *program, FILE *out);

/* The steps of settings_load, for tests of each: they return false where they reported a mistake.
 * `name` is what the report calls the file. */
bool settings_defaults(const settings_program *program, void *values, settings_report *report);
bool settings_read_text(const settings_program *program, const char *name, sttp_slice text,
                        void *values, settings_command *command, settings_report *report);
bool settings_read_file(const settings_program *program, const char *name, void *values,
                        settings_command *command, settings_report *report);

#endif
