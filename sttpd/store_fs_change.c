/* UPDATE and DELETE, and what they share with CREATE. The new text is written to a file of a
 * reserved name in the same directory and synced; then one rename makes it visible; then the
 * directory is synced. Up to the rename a failure leaves everything as it was. After it nobody can
 * say what a crash would leave: the outcome is unknown. */
#include "sttpd/store_fs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

void fs_reserve_name(struct store_fs *fs, char name[FS_RESERVED_NAME])
{
    snprintf(name, FS_RESERVED_NAME, STTP_RESERVED_PREFIX "%016" PRIx64,
             (uint64_t)atomic_fetch_add(&fs->unique, 1));
}

static int write_text(int fd, sttp_slice text)
{
    while (text.size > 0) {
        ssize_t written = write(fd, text.data, text.size);
        if (written == -1 && errno != EINTR)
            return -1;
        if (written > 0)
            text = (sttp_slice){text.data + written, text.size - (size_t)written};
    }
    return 0;
}

/* A file system without modes gives each file the same one, and refuses to change it. */
static int set_mode(int fd, mode_t mode)
{
    struct stat status;
    if (fstat(fd, &status) == -1)
        return -1;
    return (status.st_mode & 0777) == mode ? 0 : fchmod(fd, mode);
}

int fs_new_file(int directory, const char *name, mode_t mode)
{
    return openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
}

static store_result close_file(int fd, store_result result)
{
    int error = errno;
    if (close(fd) == -1 && result == STORE_DONE)
        return fs_result(errno);
    errno = error;
    return result;
}

store_result fs_fill_file(struct store_fs *fs, int fd, sttp_slice text)
{
    store_result result = STORE_DONE;
    if (write_text(fd, text) == -1 || fs_sync(fs, fd) == -1)
        result = fs_result(errno);
    return close_file(fd, result);
}

void fs_remove_file(int directory, const char *name)
{
    int error = errno;
    unlinkat(directory, name, 0);
    errno = error;
}

/* ---- a text on its way to its name ---- */

static const char *name_of(const struct fs_change *change)
{
    return change->path->text + fs_path_name(change->path);
}

static bool is_create(const struct fs_change *change)
{
    return change->operation->action == STTP_ACTION_CREATE;
}

/* Whether nothing has the name. */
static store_result check_free(const struct fs_change *change)
{
    struct stat status;
    if (fstatat(change->directory, name_of(change), &status, AT_SYMLINK_NOFOLLOW) == -1)
        return errno == ENOENT ? STORE_DONE : fs_result(errno);
    if (S_ISREG(status.st_mode))
        return STORE_EXISTS;
    return S_ISDIR(status.st_mode) ? STORE_IS_DIRECTORY : STORE_NOT_A_FILE;
}

/* What stands at a name: STORE_DONE for a regular file. */
static store_result check_target(int directory, const char *name, struct stat *status)
{
    if (fstatat(directory, name, status, AT_SYMLINK_NOFOLLOW) == -1)
        return fs_is_absent(errno) ? STORE_NOT_FOUND : fs_result(errno);
    if (S_ISDIR(status->st_mode))
        return STORE_IS_DIRECTORY;
    return S_ISREG(status->st_mode) ? STORE_DONE : STORE_NOT_FOUND;
}

/* Whether it may be replaced, and what mode it has. */
static store_result check_replaceable(const struct fs_change *change, mode_t *mode)
{
    struct stat status;
    store_result result = check_target(change->directory, name_of(change), &status);
    if (result != STORE_DONE)
        return result;
    *mode = status.st_mode & 0777;
    /* The rename would not ask: it needs no right to write the file itself. */
    if (faccessat(change->directory, name_of(change), W_OK, AT_EACCESS | AT_SYMLINK_NOFOLLOW) == -1)
        return fs_result(errno);
    return STORE_DONE;
}

store_result fs_change_write(struct store_fs *fs, struct fs_change *change)
{
    mode_t mode = 0;
    bool create = is_create(change);
    store_result result = create ? check_free(change) : check_replaceable(change, &mode);
    if (result != STORE_DONE)
        return result;
    fs_reserve_name(fs, change->reserved);
    change->fd = fs_new_file(change->directory, change->reserved, create ? 0666 : 0600);
    if (change->fd == -1) {
        change->again = create && errno == ENOENT;
        return fs_result(errno);
    }
    if ((create || set_mode(change->fd, mode) == 0) &&
        write_text(change->fd, change->operation->text) == 0)
        return STORE_DONE;
    result = fs_result(errno);
    fs_close(change->fd);
    fs_remove_file(change->directory, change->reserved);
    return result;
}

store_result fs_change_close(struct fs_change *change, store_result result)
{
    result = close_file(change->fd, result);
    if (result != STORE_DONE)
        fs_remove_file(change->directory, change->reserved);
    return result;
}

/* Makes the file visible. -1 and EEXIST where something has the name. */
static int publish_new(struct store_fs *fs, const struct fs_change *change)
{
    int done = fs_rename_exclusively(fs, change->directory, change->reserved, name_of(change));
    if (done == 0 || errno != ENOSYS)
        return done;
    if (linkat(change->directory, change->reserved, change->directory, name_of(change), 0) == -1)
        return -1;
    fs_remove_file(change->directory, change->reserved);
    return 0;
}

static int publish(struct store_fs *fs, const struct fs_change *change)
{
    if (is_create(change))
        return publish_new(fs, change);
    return renameat(change->directory, change->reserved, change->directory, name_of(change));
}

store_result fs_change_show(struct store_fs *fs, struct fs_change *change)
{
    change->step = (struct fs_step){
        .operation = change->operation, .path = change->path, .replaces = !is_create(change)};
    fs_step_begin(fs, &change->step);
    if (publish(fs, change) == 0)
        return STORE_DONE;
    change->again = is_create(change) && errno == EEXIST;
    store_result result = fs_step_result(errno);
    fs_remove_file(change->directory, change->reserved);
    fs_step_end(fs, &change->step, result);
    return result;
}

store_result fs_change_alone(struct store_fs *fs, struct fs_change *change)
{
    store_result result = fs_change_write(fs, change);
    if (result != STORE_DONE)
        return result;
    if (fs_sync(fs, change->fd) == -1)
        result = fs_result(errno);
    result = fs_change_close(change, result);
    if (result == STORE_DONE)
        result = fs_change_show(fs, change);
    if (result != STORE_DONE)
        return result;
    result = fs_sync_visible(fs, change->directory);
    fs_step_end(fs, &change->step, result);
    return result;
}

/* ---- UPDATE and DELETE ---- */

static int open_parent(struct store_fs *fs, const struct fs_path *path, struct fs_path *parent)
{
    fs_path_parent(path, parent);
    return fs_open(&fs->root, fs->root.fd, parent->text, O_RDONLY | O_DIRECTORY);
}

store_result fs_update(struct store_fs *fs, store_operation *operation)
{
    struct fs_path path, parent;
    if (!fs_path_set(&path, operation->path))
        return STORE_NOT_FOUND;
    int directory = open_parent(fs, &path, &parent);
    if (directory == -1)
        return fs_no_parent(errno);
    struct fs_change change = {.operation = operation, .path = &path, .directory = directory};
    store_result result = fs_change_alone(fs, &change);
    if (result == STORE_DONE)
        result = fs_sync_above(fs, &parent);
    fs_close(directory);
    operation->contents = operation->text;
    return result;
}

static store_result remove_target(struct store_fs *fs, int directory, const struct fs_path *path,
                                  int flags, store_operation *operation)
{
    struct fs_step step = {.operation = operation, .path = path};
    store_result result = STORE_DONE;
    fs_step_begin(fs, &step);
    if (unlinkat(directory, path->text + fs_path_name(path), flags) == 0)
        result = fs_sync_visible(fs, directory);
    else if (errno == ENOTEMPTY || errno == EEXIST)
        result = STORE_NOT_EMPTY;
    else
        result = fs_is_absent(errno) ? STORE_NOT_FOUND : fs_step_result(errno);
    fs_step_end(fs, &step, result);
    return result;
}

static store_result delete_in(struct store_fs *fs, int directory, const struct fs_path *path,
                              store_operation *operation)
{
    bool final_slash = operation->path.data[operation->path.size - 1] == '/';
    struct stat status;
    store_result result = check_target(directory, path->text + fs_path_name(path), &status);
    if (final_slash && result == STORE_DONE)
        return STORE_IS_FILE;
    bool is_directory = final_slash && result == STORE_IS_DIRECTORY;
    if (result != STORE_DONE && !is_directory)
        return result;
    return remove_target(fs, directory, path, is_directory ? AT_REMOVEDIR : 0, operation);
}

store_result fs_delete(struct store_fs *fs, store_operation *operation)
{
    struct fs_path path, parent;
    if (!fs_path_set(&path, operation->path))
        return STORE_NOT_FOUND;
    if (path.size == 0)
        return STORE_IS_ROOT;
    int directory = open_parent(fs, &path, &parent);
    if (directory == -1)
        return fs_no_parent(errno);
    store_result result = delete_in(fs, directory, &path, operation);
    fs_close(directory);
    return result;
}
