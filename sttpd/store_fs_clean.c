/* What a server that died left unfinished has a reserved name; no request can name it and nothing
 * refers to it. Both walks here go by path from a directory that is held open, and resolve it
 * without following links each time: climbing up with ".." could lead anywhere if somebody moved
 * directories meanwhile. Neither calls itself, so no depth of directories can exhaust the stack. */
#include "sttpd/store_fs_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sttpd/store_fs_names.h"

/* A directory path that grows and shrinks; longer than PATH_MAX no system call takes it anyway. */
struct climb {
    char text[PATH_MAX];
    size_t size;
};

/* A walk through the whole document root. */
struct cleaning {
    struct climb here;
    struct fs_names pending; /* directories still to be read */
    struct fs_leftovers *leftovers;
};

static bool climb_down(struct climb *climb, const char *name)
{
    size_t size = strlen(name);
    size_t slash = climb->size > 0;
    if (climb->size + slash + size >= sizeof climb->text)
        return false;
    climb->text[climb->size] = '/';
    memcpy(climb->text + climb->size + slash, name, size + 1);
    climb->size += slash + size;
    return true;
}

static void climb_up(struct climb *climb)
{
    const char *slash = memrchr(climb->text, '/', climb->size);
    climb->size = slash == NULL ? 0 : (size_t)(slash - climb->text);
    climb->text[climb->size] = '\0';
}

static int remove_entry(int directory, const char *name)
{
    if (unlinkat(directory, name, 0) == 0)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return errno;
    return unlinkat(directory, name, AT_REMOVEDIR) == 0 ? 0 : errno;
}

/* Removes what can be removed from a directory. Stops at a directory that is not empty, and adds
 * its name to the path. */
static int empty_directory(const struct fs_root *root, int base, struct climb *climb, bool *deeper)
{
    *deeper = false;
    DIR *stream = fs_directory_open(root, base, climb->text);
    if (stream == NULL)
        return errno;
    const struct dirent *entry;
    int error = 0;
    while (error == 0 && !*deeper) {
        entry = fs_directory_next(stream);
        if (entry == NULL)
            break;
        error = remove_entry(dirfd(stream), entry->d_name);
        *deeper = error == ENOTEMPTY || error == EEXIST;
        if (*deeper)
            error = climb_down(climb, entry->d_name) ? 0 : ENAMETOOLONG;
    }
    if (error == 0 && !*deeper)
        error = errno;
    fs_directory_close(stream);
    return error;
}

/* Removes the empty directory at the end of the path. */
static int remove_directory(const struct fs_root *root, int base, struct climb *climb)
{
    char name[NAME_MAX + 1];
    const char *slash = memrchr(climb->text, '/', climb->size);
    strncpy(name, slash == NULL ? climb->text : slash + 1, sizeof name - 1);
    name[sizeof name - 1] = '\0';
    climb_up(climb);
    int directory = fs_open(root, base, climb->text, O_PATH | O_DIRECTORY);
    if (directory == -1)
        return errno;
    int error = unlinkat(directory, name, AT_REMOVEDIR) == 0 ? 0 : errno;
    fs_close(directory);
    return error;
}

/* Removes a directory with all that is in it. */
static int remove_tree(const struct fs_root *root, int base, const char *name)
{
    struct climb climb = {.size = 0};
    int error = climb_down(&climb, name) ? 0 : ENAMETOOLONG;
    while (error == 0 && climb.size > 0) {
        bool deeper;
        error = empty_directory(root, base, &climb, &deeper);
        if (error == 0 && !deeper)
            error = remove_directory(root, base, &climb);
    }
    return error;
}

static void note(struct fs_leftovers *leftovers, int error)
{
    if (error == 0)
        leftovers->removed++;
    else if (leftovers->failures++ == 0)
        leftovers->error = error;
}

static int remove_leftover(const struct fs_root *root, int base, const char *name, mode_t type)
{
    if (S_ISDIR(type))
        return remove_tree(root, base, name);
    return unlinkat(base, name, 0) == 0 ? 0 : errno;
}

/* Removes an entry if it is a leftover; adds it to `pending` if it is a directory to look into. */
static int clean_entry(const struct fs_root *root, DIR *stream, const struct dirent *entry,
                       struct cleaning *cleaning)
{
    const char *name = entry->d_name;
    mode_t type;
    if (!fs_entry_type(stream, entry, &type))
        return errno;
    bool reserved = strncmp(name, STTP_RESERVED_PREFIX, strlen(STTP_RESERVED_PREFIX)) == 0;
    if (reserved && type != 0) {
        note(cleaning->leftovers, remove_leftover(root, dirfd(stream), name, type));
        return 0;
    }
    if (!S_ISDIR(type))
        return 0;
    if (!climb_down(&cleaning->here, name))
        return ENAMETOOLONG;
    sttp_slice below = {cleaning->here.text, cleaning->here.size};
    bool added = fs_names_add(&cleaning->pending, below);
    climb_up(&cleaning->here);
    return added ? 0 : ENOMEM;
}

static int clean_directory(const struct fs_root *root, struct cleaning *cleaning)
{
    DIR *stream = fs_directory_open(root, root->fd, cleaning->here.text);
    if (stream == NULL)
        return errno == ENOENT ? 0 : errno;
    int error = 0;
    const struct dirent *entry;
    while ((entry = fs_directory_next(stream)) != NULL) {
        int failure = clean_entry(root, stream, entry, cleaning);
        error = error == 0 ? failure : error;
    }
    if (errno != 0)
        error = errno;
    fs_directory_close(stream);
    return error;
}

void fs_remove_leftovers(const struct fs_root *root, struct fs_leftovers *leftovers)
{
    struct cleaning cleaning = {.leftovers = leftovers};
    *leftovers = (struct fs_leftovers){0};
    for (;;) {
        int error = clean_directory(root, &cleaning);
        if (error != 0)
            note(leftovers, error);
        if (cleaning.pending.count == 0)
            break;
        sttp_slice next = fs_names_pop(&cleaning.pending);
        memcpy(cleaning.here.text, next.data, next.size);
        cleaning.here.text[next.size] = '\0';
        cleaning.here.size = next.size;
    }
    fs_names_free(&cleaning.pending);
}
