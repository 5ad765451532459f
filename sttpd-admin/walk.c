/* A directory is listed with all that is below it, a page at a time. What is too much for that is
 * listed by itself, and each directory in it likewise: the order is the same. */
#include "walk.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "result.h"
#include "say.h"

struct walk_level {
    struct walk_level *outer;
    bool is_recursive;
    bool is_last;    /* no page follows */
    char *names;     /* the page */
    sttp_slice rest; /* of it, not yet given */
    sttp_slice last; /* the name of it that was given last; data is NULL before the first */
    size_t size;
    char path[]; /* of the directory, with its slash */
};

/* ---- one listing ---- */

struct question {
    store_operation operation; /* first, so that one is the other */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_answered;
};

static void on_complete(store_operation *operation)
{
    struct question *question = (struct question *)operation;

    pthread_mutex_lock(&question->mutex);
    question->is_answered = true;
    pthread_cond_signal(&question->changed);
    pthread_mutex_unlock(&question->mutex);
}

static void ask(store *asked, struct question *question)
{
    pthread_mutex_init(&question->mutex, NULL);
    pthread_cond_init(&question->changed, NULL);
    question->operation.complete = on_complete;
    asked->submit(asked, &question->operation);
    pthread_mutex_lock(&question->mutex);
    while (!question->is_answered)
        pthread_cond_wait(&question->changed, &question->mutex);
    pthread_mutex_unlock(&question->mutex);
    pthread_cond_destroy(&question->changed);
    pthread_mutex_destroy(&question->mutex);
}

/* ---- pages ---- */

static bool fail(struct walk *walk, const char *path, size_t size, const char *words)
{
    say("%s: %.*s: %s", walk->name, (int)size, path, words);
    walk->has_failed = true;
    return false;
}

static size_t count_names(sttp_slice names)
{
    size_t count = names.size > 0;

    for (size_t i = 0; i + 1 < names.size; i++)
        count += names.data[i] == ',' && names.data[i + 1] == ' ';
    return count;
}

/* The level goes on with the page of an answer. */
static void turn_page(struct walk_level *level, store_operation *answer)
{
    free(level->names);
    level->names = answer->names;
    level->rest = answer->contents;
    level->is_last = count_names(level->rest) < STTP_MAX_LIST_LIMIT;
    level->last = (sttp_slice){NULL, 0};
}

static bool push(struct walk *walk, const char *path, size_t size)
{
    struct walk_level *level = calloc(1, sizeof *level + size);

    if (level == NULL)
        return fail(walk, path, size, "out of memory");
    level->outer = walk->level;
    level->is_recursive = true;
    level->size = size;
    memcpy(level->path, path, size);
    walk->level = level;
    return true;
}

static void pop(struct walk *walk)
{
    struct walk_level *level = walk->level;

    walk->level = level->outer;
    free(level->names);
    free(level);
}

/* What is below the directory is too much: it is listed by itself from now on. Where the last name
 * is in a directory below, that one goes on by itself as well, behind what is left of the name. */
static bool split(struct walk *walk, struct walk_level *level)
{
    const char *slash =
        level->last.data != NULL ? memchr(level->last.data, '/', level->last.size) : NULL;
    char path[STTP_MAX_PATH + 2];

    level->is_recursive = false;
    if (slash == NULL)
        return true;
    sttp_slice last = level->last;
    level->last.size = (size_t)(slash - last.data) + 1;
    memcpy(path, level->path, level->size);
    memcpy(path + level->size, last.data, level->last.size);
    if (!push(walk, path, level->size + level->last.size))
        return false;
    last = (sttp_slice){slash + 1, last.size - level->last.size};
    struct walk_level *inner = walk->level;
    if (last.size == 0)
        return true;
    inner->names = strndup(last.data, last.size);
    inner->last = (sttp_slice){inner->names, last.size};
    return inner->names != NULL || fail(walk, path, inner->size, "out of memory");
}

/* The next page of the innermost level, or other levels. */
static bool advance(struct walk *walk)
{
    struct walk_level *level = walk->level;
    struct question question = {.operation = {.action = STTP_ACTION_LIST,
                                              .path = {level->path, level->size},
                                              .query = {.limit = STTP_MAX_LIST_LIMIT,
                                                        .after = level->last,
                                                        .recursive = level->is_recursive}}};

    if (level->is_last) {
        pop(walk);
        return true;
    }
    ask(walk->store, &question);
    switch (question.operation.result) {
    case STORE_DONE:
        turn_page(level, &question.operation);
        return true;
    case STORE_NOT_FOUND: /* it was removed just now */
    case STORE_PATH_NOT_FOUND:
        pop(walk);
        return true;
    case STORE_TOO_MUCH_WORK:
    case STORE_TOO_MANY_NAMES:
        if (level->is_recursive)
            return split(walk, level);
        break;
    default:
        break;
    }
    return fail(walk, level->path, level->size, result_words(&question.operation));
}

/* ---- entries ---- */

static sttp_slice take_name(struct walk_level *level)
{
    const char *end = memmem(level->rest.data, level->rest.size, ", ", 2);
    sttp_slice name = {level->rest.data,
                       end != NULL ? (size_t)(end - level->rest.data) : level->rest.size};
    size_t taken = end != NULL ? name.size + 2 : name.size;

    level->rest = (sttp_slice){level->rest.data + taken, level->rest.size - taken};
    level->last = name;
    return name;
}

/* Reads the next entry into `ahead`. */
static void look_ahead(struct walk *walk)
{
    struct entry *entry = &walk->ahead;

    walk->has_ahead = false;
    while (walk->level != NULL && walk->level->rest.size == 0) {
        if (!advance(walk))
            return;
    }
    if (walk->level == NULL)
        return;
    struct walk_level *level = walk->level;
    sttp_slice name = take_name(level);
    if (name.size == 0 || level->size + name.size > sizeof entry->path) {
        fail(walk, level->path, level->size, "its listing has a name that cannot be there");
        return;
    }
    memcpy(entry->path, level->path, level->size);
    memcpy(entry->path + level->size, name.data, name.size);
    entry->size = level->size + name.size;
    entry->is_directory = name.data[name.size - 1] == '/';
    walk->has_ahead =
        !entry->is_directory || level->is_recursive || push(walk, entry->path, entry->size);
}

void walk_start(struct walk *walk, store *asked, const char *name)
{
    *walk = (struct walk){.store = asked, .name = name};
    if (push(walk, "/", 1))
        look_ahead(walk);
}

bool walk_next(struct walk *walk, struct entry *entry)
{
    if (!walk->has_ahead)
        return false;
    *entry = walk->ahead;
    look_ahead(walk);
    bool is_followed = walk->has_ahead && walk->ahead.size > entry->size &&
                       memcmp(walk->ahead.path, entry->path, entry->size) == 0;
    entry->is_empty = entry->is_directory && !is_followed;
    return !walk->has_failed;
}

void walk_end(struct walk *walk)
{
    while (walk->level != NULL)
        pop(walk);
}

int entry_compare(const struct entry *a, const struct entry *b)
{
    int order = memcmp(a->path, b->path, a->size < b->size ? a->size : b->size);

    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}
