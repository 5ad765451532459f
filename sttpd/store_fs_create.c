/* CREATE. A new file is written under a reserved name beside its target and made visible by one
 * rename that never replaces anything. Where directories are missing, all of them are made, with
 * the file in them, inside one directory of a reserved name, and the topmost is renamed:
 *
 *     CREATE /a/b/c/f, only /a there:   a/.sttp-1/c/f  -- one rename -->  a/b/c/f
 *
 * So a failure leaves no empty directories behind, and nobody sees half of it. If somebody else was
 * faster with the same directory, ours is removed and the work starts over deeper. */
#include "sttpd/store_fs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Each time somebody made or removed a directory of the path at the wrong moment. */
enum { MAX_TRIES = 64, PAUSE = 250000 /* nanoseconds, once more for each try */ };

struct creation {
    struct store_fs *fs;
    store_operation *operation;
    struct fs_path path;
    int base;         /* the deepest directory of the path that is there */
    const char *rest; /* what follows it in the path: "f", or "b/c/f" */
    bool again;       /* the result is void: look again at what is there */
};

/* A result of work in a directory that may have been removed meanwhile. */
static store_result failed(struct creation *creation)
{
    creation->again = errno == ENOENT;
    return fs_result(errno);
}

/* A result of making a directory. */
static store_result failed_directory(struct creation *creation)
{
    store_result result = failed(creation);
    return result == STORE_DENIED ? STORE_CANNOT_CREATE_PATH : result;
}

static store_result open_base(struct creation *creation)
{
    struct fs_path above = creation->path;
    do {
        struct fs_path below = above;
        fs_path_parent(&below, &above);
        creation->base =
            fs_open(&creation->fs->root, creation->fs->root.fd, above.text, O_RDONLY | O_DIRECTORY);
    } while (creation->base == -1 && errno == ENOENT && above.size > 0);
    if (creation->base == -1)
        return fs_is_absent(errno) ? STORE_CANNOT_CREATE_PATH : fs_result(errno);
    creation->rest = creation->path.text + above.size + (above.size > 0);
    return STORE_DONE;
}

int fs_rename_exclusively(struct store_fs *fs, int directory, const char *from, const char *to)
{
    if (!atomic_load(&fs->plain_rename)) {
        if (renameat2(directory, from, directory, to, RENAME_NOREPLACE) == 0)
            return 0;
        if (errno != EINVAL && errno != ENOSYS)
            return -1;
        atomic_store(&fs->plain_rename, true);
    }
    errno = ENOSYS;
    return -1;
}

static store_result create_file(struct creation *creation)
{
    struct fs_change change = {
        .operation = creation->operation, .path = &creation->path, .directory = creation->base};
    store_result result = fs_change_alone(creation->fs, &change);
    creation->again = change.again;
    return result;
}

/* Makes a directory and opens it. */
static int make_directory(int parent, const char *name)
{
    if (mkdirat(parent, name, 0777) == -1)
        return -1;
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Syncs `depth` directories, from the innermost one up; takes the descriptor. The file's sync has
 * written most of it: what is left is cheap in this order. */
static int sync_upwards(struct store_fs *fs, int directory, unsigned depth)
{
    while (fs_sync(fs, directory) == 0) {
        if (--depth == 0) {
            fs_close(directory);
            return 0;
        }
        int above = openat(directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        fs_close(directory);
        if (above == -1)
            return -1;
        directory = above;
    }
    fs_close(directory);
    return -1;
}

/* Makes all that is missing, in a directory of a reserved name. */
static store_result build_tree(struct creation *creation, const char *reserved)
{
    int directory = make_directory(creation->base, reserved);
    if (directory == -1)
        return failed_directory(creation);
    unsigned depth = 1;
    const char *name = strchr(creation->rest, '/') + 1;
    for (const char *slash; (slash = strchr(name, '/')) != NULL; name = slash + 1, depth++) {
        char segment[STTP_MAX_PATH + 1];
        snprintf(segment, sizeof segment, "%.*s", (int)(slash - name), name);
        int below = make_directory(directory, segment);
        fs_close(directory);
        if (below == -1)
            return failed_directory(creation);
        directory = below;
    }
    int fd = fs_new_file(directory, name, 0666);
    store_result result =
        fd == -1 ? failed(creation) : fs_fill_file(creation->fs, fd, creation->operation->text);
    if (result != STORE_DONE)
        fs_close(directory);
    else if (sync_upwards(creation->fs, directory, depth) == -1)
        result = fs_result(errno);
    return result;
}

/* Makes the tree visible. A rename of a directory replaces at most an empty directory, which is as
 * good as none. */
static int publish_tree(struct creation *creation, const char *reserved, const char *top)
{
    int done = fs_rename_exclusively(creation->fs, creation->base, reserved, top);
    if (done == 0 || errno != ENOSYS)
        return done;
    return renameat(creation->base, reserved, creation->base, top);
}

static store_result show_tree(struct creation *creation, const char *reserved)
{
    size_t size = (size_t)(strchrnul(creation->rest, '/') - creation->path.text);
    struct fs_path top = {.size = size};
    memcpy(top.text, creation->path.text, size);
    struct fs_step step = {.operation = creation->operation, .path = &top, .directories = true};
    store_result result = STORE_DONE;
    fs_step_begin(creation->fs, &step);
    if (publish_tree(creation, reserved, top.text + fs_path_name(&top)) == -1) {
        creation->again = errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR;
        result = fs_step_result(errno);
    } else {
        result = fs_sync_visible(creation->fs, creation->base);
    }
    fs_step_end(creation->fs, &step, result);
    return result;
}

/* Descriptors that removing a tree takes. They are set apart while it is built, so that the want of
 * them, which may be why it fails, does not leave it behind. */
enum { SPARE = 2 };

static bool open_spare(const struct creation *creation, int spare[SPARE])
{
    bool done = true;
    for (int i = 0; i < SPARE; i++) {
        spare[i] = fcntl(creation->base, F_DUPFD_CLOEXEC, 0);
        done = done && spare[i] != -1;
    }
    return done;
}

static void close_spare(const int spare[SPARE])
{
    for (int i = 0; i < SPARE; i++)
        fs_close(spare[i]);
}

/* From the file up, by the path that build_tree has made: to read the directories would take
 * memory, and what stays behind in a directory keeps it from being deleted. */
static void remove_tree(struct creation *creation, const char *reserved)
{
    int error = errno, flags = 0;
    char path[FS_RESERVED_NAME + STTP_MAX_PATH];
    snprintf(path, sizeof path, "%s%s", reserved, strchr(creation->rest, '/'));
    for (char *slash; (slash = strrchr(path, '/')) != NULL; flags = AT_REMOVEDIR) {
        *slash = '\0';
        int above = fs_open(&creation->fs->root, creation->base, path, O_PATH | O_DIRECTORY);
        if (above != -1)
            unlinkat(above, slash + 1, flags);
        fs_close(above);
    }
    unlinkat(creation->base, reserved, AT_REMOVEDIR);
    errno = error;
}

static store_result create_tree(struct creation *creation)
{
    char reserved[FS_RESERVED_NAME];
    int spare[SPARE];
    if (!open_spare(creation, spare)) {
        close_spare(spare);
        return fs_result(errno);
    }
    fs_reserve_name(creation->fs, reserved);
    store_result result = build_tree(creation, reserved);
    if (result == STORE_DONE)
        result = show_tree(creation, reserved);
    close_spare(spare);
    if (result != STORE_DONE)
        remove_tree(creation, reserved);
    return result;
}

static store_result try_create(struct creation *creation)
{
    creation->again = false;
    store_result result = open_base(creation);
    if (result != STORE_DONE)
        return result;
    result = strchr(creation->rest, '/') == NULL ? create_file(creation) : create_tree(creation);
    if (result == STORE_DONE) {
        struct fs_path parent;
        fs_path_parent(&creation->path, &parent);
        result = fs_sync_above(creation->fs, &parent);
    }
    fs_close(creation->base);
    return result;
}

/* A process that removes a directory may lose its processor where the kernel shows the name still
 * and refuses to make anything below it: only time helps. All tries together wait half a second. */
static void pause_before_try(unsigned tries)
{
    nanosleep(&(struct timespec){.tv_nsec = (long)tries * PAUSE}, NULL);
}

store_result fs_create(struct store_fs *fs, store_operation *operation)
{
    struct creation creation = {.fs = fs, .operation = operation};
    if (!fs_path_set(&creation.path, operation->path))
        return STORE_CANNOT_CREATE_PATH;
    store_result result = try_create(&creation);
    for (unsigned tries = 1; creation.again && tries < MAX_TRIES; tries++) {
        pause_before_try(tries);
        result = try_create(&creation);
    }
    return result;
}
