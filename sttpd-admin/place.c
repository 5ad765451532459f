#include "place.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run.h"
#include "say.h"

static int out_of_memory(void)
{
    say("out of memory");
    return ADMIN_FAILED;
}

static int read_settings(struct place *place, const char *file)
{
    settings_report report = {.out = stderr};
    settings_command command;
    char program[] = "sttpd", flag[] = "--config";
    char *argv[] = {program, flag, (char *)file, NULL}; /* which are only read */
    int status = settings_load(&sttpd_program, 3, argv, &place->options, &command, &report);

    return status == 0 ? ADMIN_DONE : ADMIN_FAILED;
}

/* The part of `text` behind "word:"; NULL where it does not begin so. */
static const char *behind(const char *text, const char *word)
{
    size_t size = strlen(word);

    return strncmp(text, word, size) == 0 && text[size] == ':' ? text + size + 1 : NULL;
}

static int read_store(struct place *place, const char *text)
{
    static const size_t members[] = {
        [STORAGE_FS] = offsetof(struct sttpd_options, docroot),
        [STORAGE_SQLITE] = offsetof(struct sttpd_options, sqlite_path),
        [STORAGE_POSTGRES] = offsetof(struct sttpd_options, postgres_conninfo),
    };

    for (unsigned i = 0; i < sizeof members / sizeof *members; i++) {
        const char *named = behind(text, storage_backend_words[i]);
        char **member = (char **)((char *)&place->options + members[i]);
        if (named == NULL || *named == '\0')
            continue;
        free(*member);
        *member = strdup(named);
        place->options.backend = i;
        return *member != NULL ? ADMIN_DONE : out_of_memory();
    }
    say("'%s' is no store; expected fs:DIRECTORY, sqlite:FILE, postgres:CONNINFO or settings:FILE",
        text);
    return ADMIN_USAGE;
}

int place_read(struct place *place, const char *text)
{
    settings_report report = {.out = stderr};
    const char *file = text != NULL ? behind(text, "settings") : NULL;

    *place = (struct place){.log = {.fd = STDERR_FILENO,
                                    .name = "sttpd-admin",
                                    .level = LOG_LEVEL_WARNING,
                                    .mutex = PTHREAD_MUTEX_INITIALIZER}};
    if (file != NULL && *file != '\0')
        return read_settings(place, file);
    if (!settings_defaults(&sttpd_program, &place->options, &report))
        return ADMIN_FAILED;
    return text != NULL ? read_store(place, text) : ADMIN_DONE;
}

static bool is_within(const char *inner, const char *outer)
{
    size_t size = strlen(outer);

    return strncmp(inner, outer, size) == 0 &&
           (inner[size] == '\0' || inner[size] == '/' || outer[size - 1] == '/');
}

bool place_overlaps(const struct place *a, const struct place *b)
{
    char first[PATH_MAX], second[PATH_MAX];

    /* One that is not there is told of when it is opened. */
    return a->options.backend == STORAGE_FS && b->options.backend == STORAGE_FS &&
           realpath(a->options.docroot, first) != NULL &&
           realpath(b->options.docroot, second) != NULL &&
           (is_within(first, second) || is_within(second, first));
}

bool place_open(struct place *place)
{
    return storage_open(&place->options, &place->log, NULL, &place->store);
}

bool place_open_source(struct place *place)
{
    const char *file = place->options.sqlite_path;

    if (place->options.backend == STORAGE_SQLITE && access(file, F_OK) != 0) {
        say("database %s: %m", file);
        return false;
    }
    return place_open(place);
}

bool place_close(struct place *place)
{
    char name[PATH_MAX + 32];

    errno = place->store != NULL ? place->store->close(place->store) : 0;
    if (errno != 0)
        say("%s: the last changes may be lost: %m",
            storage_name(&place->options, name, sizeof name));
    bool is_good = errno == 0;
    place->store = NULL;
    settings_release(&sttpd_program, &place->options);
    return is_good;
}
