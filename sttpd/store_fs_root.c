/* Names below the document root. Two ways give the same answers: openat2, which resolves a whole
 * path in the kernel and refuses links and whatever leads out; and a walk that opens one directory
 * after the other without following links. In neither can somebody who swaps a directory for a link
 * meanwhile lead the server out. */
#include "sttpd/store_fs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

static int open_beneath(int base, const char *path, int flags, uint64_t resolve)
{
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC | O_NOFOLLOW),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | resolve,
    };
    long fd;
    do
        fd = syscall(SYS_openat2, base, *path == '\0' ? "." : path, &how, sizeof how);
    while (fd == -1 && errno == EINTR);
    return (int)fd;
}

static int open_component(int base, const char *name, int flags)
{
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        errno = EXDEV;
        return -1;
    }
    int fd;
    do
        fd = openat(base, *name == '\0' ? "." : name, flags | O_CLOEXEC | O_NOFOLLOW);
    while (fd == -1 && errno == EINTR);
    return fd;
}

static int open_walking(int base, const char *path, int flags)
{
    char name[STTP_MAX_PATH + 1];
    int directory = base;
    const char *slash;
    while ((slash = strchr(path, '/')) != NULL) {
        size_t size = (size_t)(slash - path);
        int next = -1;
        if (size < sizeof name) {
            memcpy(name, path, size);
            name[size] = '\0';
            next = open_component(directory, name, O_PATH | O_DIRECTORY);
        } else {
            errno = ENAMETOOLONG;
        }
        if (directory != base)
            fs_close(directory);
        if (next == -1)
            return -1;
        directory = next;
        path = slash + 1;
    }
    int fd = open_component(directory, path, flags);
    if (directory != base)
        fs_close(directory);
    return fd;
}

int fs_open(const struct fs_root *root, int base, const char *path, int flags)
{
    return root->walk ? open_walking(base, path, flags) : open_beneath(base, path, flags, 0);
}

int fs_open_cached(const struct fs_root *root, const char *path, int flags)
{
    if (root->cached && !root->walk)
        return open_beneath(root->fd, path, flags, RESOLVE_CACHED | RESOLVE_NO_XDEV);
    errno = EAGAIN;
    return -1;
}

/* Whether the kernel, and what confines the process, allow openat2 with these flags. */
static bool can_resolve(int root, uint64_t resolve)
{
    int fd = open_beneath(root, "", O_PATH | O_DIRECTORY, resolve);
    fs_close(fd);
    return fd != -1;
}

/* Whether to open a name that is in memory asks nobody: NFS, FUSE and the like ask a server even
 * then, and wait for it. What is mounted below the root is not opened that way at all. */
static bool opens_at_once(int root)
{
    struct statfs status;
    if (fstatfs(root, &status) == -1)
        return false;
    switch ((uint32_t)status.f_type) {
    case EXT4_SUPER_MAGIC:
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
    case TMPFS_MAGIC:
        return true;
    default:
        return false;
    }
}

int fs_root_open(struct fs_root *root, const char *docroot)
{
    root->fd = open(docroot, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root->fd == -1)
        return errno;
    root->walk = !can_resolve(root->fd, 0);
    root->cached = !root->walk && opens_at_once(root->fd) && can_resolve(root->fd, RESOLVE_CACHED);
    return 0;
}

void fs_close(int fd)
{
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
}

bool fs_path_set(struct fs_path *path, sttp_slice text)
{
    if (text.size > 0 && text.data[0] == '/')
        text = (sttp_slice){text.data + 1, text.size - 1};
    if (text.size > 0 && text.data[text.size - 1] == '/')
        text.size--;
    if (text.size > STTP_MAX_PATH) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(path->text, text.data, text.size);
    path->text[text.size] = '\0';
    path->size = text.size;
    return true;
}

size_t fs_path_name(const struct fs_path *path)
{
    const char *slash = memrchr(path->text, '/', path->size);
    return slash == NULL ? 0 : (size_t)(slash - path->text) + 1;
}

void fs_path_parent(const struct fs_path *path, struct fs_path *parent)
{
    size_t name = fs_path_name(path);
    parent->size = name == 0 ? 0 : name - 1;
    memcpy(parent->text, path->text, parent->size);
    parent->text[parent->size] = '\0';
}

store_result fs_result(int error)
{
    switch (error) {
    case EACCES:
    case EPERM:
        return STORE_DENIED;
    case ENOSPC:
        return STORE_NO_SPACE;
    case EDQUOT:
        return STORE_QUOTA;
    case EROFS:
        return STORE_READ_ONLY;
    case ENOMEM:
        return STORE_NO_MEMORY;
    case EMFILE:
    case ENFILE:
        return STORE_NO_DESCRIPTORS;
    default:
        return STORE_IO;
    }
}

/* What is left behind these comes from a device or from a server behind the file system: EIO,
 * ETIMEDOUT, ECONNABORTED where a FUSE server died, ... */
static bool is_refusal(int error)
{
    return fs_is_absent(error) || error == EEXIST || error == ENOTEMPTY || error == EISDIR ||
           error == EBUSY || error == EINVAL || error == EMLINK || error == EOPNOTSUPP;
}

store_result fs_step_result(int error)
{
    store_result result = fs_result(error);
    return result == STORE_IO && !is_refusal(error) ? STORE_OUTCOME_UNKNOWN : result;
}

/* ELOOP: a link. ENXIO, ENODEV: a socket, or a device that nobody drives. EXDEV: it would lead out.
 */
bool fs_is_absent(int error)
{
    return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ENXIO ||
           error == ENODEV || error == EXDEV || error == ENAMETOOLONG;
}

store_result fs_no_parent(int error)
{
    return fs_is_absent(error) ? STORE_PATH_NOT_FOUND : fs_result(error);
}

static store_result explain_absent(const struct fs_root *root, const struct fs_path *path)
{
    struct fs_path parent;
    fs_path_parent(path, &parent);
    int fd = fs_open(root, root->fd, parent.text, O_PATH | O_DIRECTORY);
    if (fd == -1)
        return fs_no_parent(errno);
    fs_close(fd);
    return STORE_NOT_FOUND;
}

bool fs_is_special(const struct fs_root *root, int base, const char *path)
{
    struct stat status;
    int error = errno;
    int fd = fs_open(root, base, path, O_PATH);
    bool special =
        fd != -1 && fstat(fd, &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
    fs_close(fd);
    errno = error;
    return special;
}

store_result fs_explain(const struct fs_root *root, const struct fs_path *path, bool directory,
                        int error)
{
    if (!fs_is_absent(error) && error != EACCES && error != EPERM)
        return fs_is_special(root, root->fd, path->text) ? STORE_NOT_FOUND : fs_result(error);
    int fd = fs_open(root, root->fd, path->text, O_PATH);
    if (fd == -1)
        return fs_is_absent(errno) ? explain_absent(root, path) : fs_result(errno);
    /* Where it is what was wanted and the open had not found it, it is new. */
    store_result as_wanted = fs_is_absent(error) ? STORE_NOT_FOUND : fs_result(error);
    store_result result = STORE_NOT_FOUND;
    struct stat status;
    if (fstat(fd, &status) == -1)
        result = fs_result(errno);
    else if (S_ISDIR(status.st_mode))
        result = directory ? as_wanted : STORE_IS_DIRECTORY;
    else if (S_ISREG(status.st_mode))
        result = directory ? STORE_IS_FILE : as_wanted;
    fs_close(fd);
    errno = error;
    return result;
}
