/* The settings of a daemon. One table of options gives the keys of the settings file (YAML), the
 * flags of the command line, defaults, units, ranges and --help. The program keeps the values in a
 * struct of its own, into which the table points. A list of mappings is such a table again, and an
 * array of structs.
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
    SETTINGS_MAX_OPTIONS = 64,        /* of one table */
    SETTINGS_MAX_DEPTH = 2,           /* sections in each other */
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
    SETTINGS_LIST,     /* settings_list */
    SETTINGS_RECORDS   /* settings_records: a list of mappings, each with keys of its own */
} settings_kind;

typedef struct settings_list {
    char **items;
    size_t count;
} settings_list;

/* Puts a copy of `size` bytes of `text` at the end; false where memory is out. */
bool settings_list_add(settings_list *list, const char *text, size_t size);

/* Frees all items. */
void settings_list_clear(settings_list *list);

/* The structs of a list of mappings, one behind the other. */
typedef struct settings_records {
    void *items;
    size_t count;
} settings_records;

/* Where a value comes from. */
typedef enum settings_source {
    SETTINGS_FROM_DEFAULT = 0,
    SETTINGS_FROM_FILE,
    SETTINGS_FROM_FLAG
} settings_source;

/* Where a value stands, for settings_report_place. */
typedef struct settings_place {
    settings_source source;
    size_t character; /* of the file, from 1; 0 for what does not come from there */
} settings_place;

typedef struct settings_option {
    const char *key;      /* in the file: "port", or "cache.max_files" for one inside `cache:`,
                              "cache.redis.prefix" for one inside `redis:` in it */
    const char *alias;    /* a second, shorter name of its flag, or NULL */
    char letter;          /* of its short flag, or 0 */
    const char *group;    /* its heading in --help; not for the fields of records */
    const char *argument; /* what --help calls its value. NULL for a SETTINGS_BOOL that is a flag
                             without a value, which sets it, and that no file may give */
    const char *help;     /* what it does, a sentence without its full stop */
    const char *fallback; /* the default, as a file would say it; items of a list have ", " between
                             them. NULL for an empty list, or no text */
    settings_kind kind;
    size_t offset;              /* of its member in the program's struct */
    size_t place;               /* the offset of a settings_place, which says where the value stands
                                   (a list: where it begins); 0 where there is none */
    uint64_t minimum, maximum;  /* numbers, sizes (bytes), durations (milliseconds); the maximum
                                   of lists and records is how many of them there may be */
    const char *zero;           /* numbers: a word that stands for 0, whatever the minimum is */
    const char *const *choices; /* ended by NULL */
    bool (*valid)(const char *text); /* texts and the items of lists; NULL: all but the empty one */
    const char *expected;            /* what `valid` wants: "a host and a port as in ..." */
    const char *(*mistake)(sttp_slice text); /* in place of `valid`: NULL, or what is wrong */
    bool required;                           /* in records: a mapping without this key is refused */

    /* Records: the table of their keys, at most SETTINGS_MAX_OPTIONS, and the size of the struct
     * into which it points. They are given in the file; where `shorthand` is the key of a field, a
     * single value in place of a mapping is one with that key alone, and each flag is such a value.
     */
    const struct settings_option *fields;
    size_t field_count;
    size_t record_size;
    const char *shorthand;
} settings_option;

typedef struct settings_command settings_command;
typedef struct settings_report settings_report;

typedef struct settings_program {
    const char *name;    /* "sttpd" */
    const char *summary; /* the first lines of --help */
    const char *notes;   /* its last lines */
    const settings_option *options;
    size_t option_count; /* at most SETTINGS_MAX_OPTIONS */

    /* Looks at all values together, once the file and the flags are read, and reports what is wrong
     * between them, by settings_report_place. It is called, too, where mistakes were found before:
     * then what was refused is as by default, and NULL where a text has none. Not called where the
     * file could not be read at all. NULL where there is nothing to look at. */
    void (*check)(void *values, const settings_command *command, settings_report *report);
} settings_program;

/* What is wrong is written to `out` as it is found. */
struct settings_report {
    FILE *out;
    size_t count;
    size_t usage;   /* those of them that settings_report_place told of flags */
    bool no_memory; /* it was told that memory is out */

    /* The settings file that was read last, while its text is there; else NULL. */
    const char *file;
    sttp_slice text;
};

/* Reports a mistake that has no place in a text. */
void settings_report_line(settings_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Reports a mistake where the value stands: with file, line, column and the line itself where that
 * is in the file. For the program's `check`. */
void settings_report_place(settings_report *report, settings_place place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Writes a warning likewise, which is no mistake. */
void settings_report_warning(settings_report *report, settings_place place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The line of the file in which a value stands; 0 where it is not in the file. */
size_t settings_report_line_of(const settings_report *report, settings_place place);

/* Reports that memory is out, once. `name` is what was read, or the program. */
void settings_report_no_memory(settings_report *report, const char *name);

/* What the command line asks for beside the options of the table. */
struct settings_command {
    const char *file; /* -c; NULL where there is none. Points into argv */
    bool test;        /* -T */
    bool help;        /* -h: nothing behind it counts, no file is read */
    bool version;     /* -V: likewise */
    int verbosity;    /* how often -v, less how often -q */
    settings_source sources[SETTINGS_MAX_OPTIONS]; /* in the order of the table */
};

/* Reads defaults, file and command line into `values`, whose members of the table must be zero.
 * Returns the exit status that the program should end with: 0 where all is well, 1 where the file
 * holds mistakes, 2 where the command line does. Whatever it returns, the values are to be given to
 * settings_release. Where help or version is asked for, the values are the defaults. */
int settings_load(const settings_program *program, int argc, char *const *argv, void *values,
                  settings_command *command, settings_report *report);

/* Frees the texts, lists and records in `values` and sets them to zero. */
void settings_release(const settings_program *program, void *values);

/* Where the value of the option with this key comes from. */
settings_source settings_source_of(const settings_program *program, const settings_command *command,
                                   const char *key);

/* Writes the text of --help. */
void settings_help(const settings_program *program, FILE *out);

/* Steps of settings_load, for tests of each: they return false where they reported a mistake.
 * `name` is what the report calls the file; it and the text have to last as long as the report is
 * used. */
bool settings_defaults(const settings_program *program, void *values, settings_report *report);
bool settings_read_text(const settings_program *program, const char *name, sttp_slice text,
                        void *values, settings_command *command, settings_report *report);

#endif
