/* What operations need to know of changes that others make meanwhile: each tells of its visible
 * step before it, and that it is synced after it. (A SHOW waits for the change of its path, in the
 * path queue.)
 *
 * A LIST must know one thing more. An UPDATE renames another file over its target. Whether somebody
 * who reads the directory at that moment still gets the name is left open by POSIX, and tmpfs and
 * btrfs do lose it or give it twice: a file that was there all the time. So listings tell which
 * directory they read, and look again at the names that were replaced in it meanwhile. */
#include <string.h>

#include "sttpd/store_fs_private.h"

enum { FIRST_LIMIT = 64 };

/* Whether a directory is one of those that the step makes, or below them. */
static bool makes(const struct fs_step *step, const struct fs_path *directory)
{
    size_t size = step->path->size;
    return step->directories && directory->size >= size &&
           memcmp(directory->text, step->path->text, size) == 0 &&
           (directory->size == size || directory->text[size] == '/');
}

/* Whether it changes an entry of a directory. */
static bool changes(const struct fs_step *step, const struct fs_path *directory)
{
    size_t name = fs_path_name(step->path);
    return directory->size == (name == 0 ? 0 : name - 1) &&
           memcmp(directory->text, step->path->text, directory->size) == 0;
}

static bool changes_names(const struct fs_step *step, const struct fs_path *directory)
{
    return !step->replaces && changes(step, directory);
}

/* The lock is held. */
static void note(struct fs_reading *reading, const struct fs_step *step)
{
    if (!step->replaces || !changes(step, reading->directory))
        return;
    const char *name = step->path->text + fs_path_name(step->path);
    struct fs_names *names = &reading->replaced;
    bool done = fs_names_add(names, (sttp_slice){name, strlen(name)});
    /* A file may be replaced again and again while a long directory is read. */
    if (done && names->count >= FIRST_LIMIT && names->count >= 2 * reading->distinct) {
        done = fs_names_keep(names, names->count);
        reading->distinct = names->count;
    }
    reading->no_memory = reading->no_memory || !done;
}

void fs_step_begin(struct store_fs *fs, struct fs_step *step)
{
    store_operation *operation = step->operation;
    if (operation->begin != NULL)
        operation->begin(operation, step->directories ? strlen("/") + step->path->size : 0);
    pthread_mutex_lock(&fs->steps_lock);
    step->next = fs->steps;
    fs->steps = step;
    for (struct fs_reading *reading = fs->readings; reading != NULL; reading = reading->next)
        note(reading, step);
    pthread_mutex_unlock(&fs->steps_lock);
}

void fs_step_end(struct store_fs *fs, struct fs_step *step, store_result result)
{
    if (step->directories && result == STORE_OUTCOME_UNKNOWN)
        atomic_store(&fs->unsure, true);
    pthread_mutex_lock(&fs->steps_lock);
    struct fs_step **link = &fs->steps;
    while (*link != step)
        link = &(*link)->next;
    *link = step->next;
    pthread_mutex_unlock(&fs->steps_lock);
    if (step->operation->end != NULL)
        step->operation->end(step->operation);
}

static bool any_step(struct store_fs *fs, const struct fs_path *directory,
                     bool (*touches)(const struct fs_step *, const struct fs_path *))
{
    pthread_mutex_lock(&fs->steps_lock);
    const struct fs_step *step = fs->steps;
    while (step != NULL && !touches(step, directory))
        step = step->next;
    pthread_mutex_unlock(&fs->steps_lock);
    return step != NULL;
}

bool fs_is_in_making(struct store_fs *fs, const struct fs_path *directory)
{
    return any_step(fs, directory, makes);
}

bool fs_is_changing(struct store_fs *fs, const struct fs_path *directory, bool texts)
{
    return any_step(fs, directory, texts ? changes : changes_names);
}

void fs_reading_begin(struct store_fs *fs, struct fs_reading *reading)
{
    pthread_mutex_lock(&fs->steps_lock);
    reading->next = fs->readings;
    fs->readings = reading;
    for (const struct fs_step *step = fs->steps; step != NULL; step = step->next)
        note(reading, step);
    pthread_mutex_unlock(&fs->steps_lock);
}

void fs_reading_end(struct store_fs *fs, struct fs_reading *reading)
{
    pthread_mutex_lock(&fs->steps_lock);
    struct fs_reading **link = &fs->readings;
    while (*link != reading)
        link = &(*link)->next;
    *link = reading->next;
    pthread_mutex_unlock(&fs->steps_lock);
}
