#include <errno.h>
#include <string.h>

#include "ndjson.h"
#include "put.h"
#include "run.h"

enum { MAX_MISTAKES = 100 };

struct import {
    struct put put;
    FILE *in;
    size_t line;
    size_t mistakes;
    char text[NDJSON_LINE];
};

static void mistake(struct import *import, const char *what)
{
    say("%s:%zu: %s", import->put.input, import->line, what);
    import->mistakes++;
}

static void skip_line(FILE *in)
{
    int c;

    do
        c = getc_unlocked(in);
    while (c != '\n' && c != EOF);
}

/* Reads a line into `text`, without its LF. False at the end; what is wrong with it was told and
 * leaves it empty. */
static bool read_line(struct import *import, size_t *size)
{
    int c;

    *size = 0;
    import->line++;
    while ((c = getc_unlocked(import->in)) != '\n' && c != EOF) {
        if (*size == sizeof import->text - 1) {
            mistake(import, "the line is too long");
            skip_line(import->in);
            *size = 0;
            return true;
        }
        import->text[(*size)++] = (char)c;
    }
    if (c == '\n' || *size == 0)
        return c == '\n';
    mistake(import, "the last line is cut off: it does not end with a line feed");
    *size = 0;
    return true;
}

static void put_item(struct import *import, const struct ndjson_item *item)
{
    sttp_slice path = {item->path, item->path_size};

    /* Two texts for one path: the second one comes after the first one. */
    while (put_must_wait(&import->put, path))
        work_wait(&import->put.work);
    struct job *begun = work_next(&import->put.work, path);
    begun->line = import->line;
    begun->is_directory = item->is_directory;
    begun->text_size = item->text_size;
    memcpy(begun->text, item->text, item->text_size);
    if (item->is_directory)
        put_directory(begun);
    else
        put_text(begun);
}

static void import_all(struct import *import)
{
    struct ndjson_item item;
    char what[STTP_MAX_MESSAGE + 64];
    size_t size;

    while (!import->put.is_stopped && read_line(import, &size)) {
        if (import->mistakes >= MAX_MISTAKES) {
            say("too many mistakes; stopped");
            return;
        }
        if (size == 0)
            continue;
        if (ndjson_read(import->text, size, &item, what, sizeof what))
            put_item(import, &item);
        else
            mistake(import, what);
    }
}

int run_import(struct place *target, FILE *in, bool overwrites)
{
    static struct import import;

    import = (struct import){.in = in};
    if (!put_start(&import.put, target->store, overwrites, "imported"))
        return ADMIN_FAILED;
    import.put.input = "stdin";
    import_all(&import);
    int error = ferror(in) ? errno : 0;
    bool is_good = put_finish(&import.put);
    if (error != 0)
        say("standard input: %s", strerror(error));
    if (import.mistakes > 0)
        say("%zu lines were passed over", import.mistakes);
    return is_good && error == 0 && import.mistakes == 0 ? ADMIN_DONE : ADMIN_FAILED;
}
