/* Reading a text: once as it comes, which may wait for the disk and runs in the pool; and once with
 * what the kernel has in memory already, which never waits and runs where the request came in.
 * FIFOs and devices are opened without waiting, seen for what they are, and closed. */
#include "sttpd/store_fs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN_TEXT = O_RDONLY | O_NONBLOCK | O_NOCTTY };

/* What an open descriptor is, as the target of SHOW. */
static store_result check_kind(int fd, struct stat *status)
{
    if (fstat(fd, status) == -1)
        return fs_result(errno);
    if (S_ISDIR(status->st_mode))
        return STORE_IS_DIRECTORY;
    return S_ISREG(status->st_mode) ? STORE_DONE : STORE_NOT_FOUND;
}

static store_result check_text(const char *buffer, size_t size, sttp_slice *text)
{
    if (size > 0 && buffer[size - 1] == '\n')
        size--;
    *text = (sttp_slice){buffer, size};
    return sttp_check_text(*text, NULL) == STTP_OK ? STORE_DONE : STORE_INVALID_TEXT;
}

static store_result read_descriptor(int fd, char *buffer, sttp_slice *text)
{
    struct stat status;
    store_result result = check_kind(fd, &status);
    if (result != STORE_DONE)
        return result;
    size_t size = 0;
    ssize_t got;
    do {
        got = read(fd, buffer + size, FS_TEXT_ROOM - size);
        if (got > 0)
            size += (size_t)got;
    } while ((got > 0 && size < FS_TEXT_ROOM) || (got == -1 && errno == EINTR));
    return got == -1 ? fs_result(errno) : check_text(buffer, size, text);
}

store_result fs_read_text(const struct fs_root *root, int base, const char *name, char *buffer,
                          sttp_slice *text)
{
    int fd = fs_open(root, base, name, OPEN_TEXT);
    if (fd == -1)
        return fs_is_absent(errno) ? STORE_NOT_FOUND : fs_result(errno);
    store_result result = read_descriptor(fd, buffer, text);
    fs_close(fd);
    return result;
}

store_result fs_show(struct store_fs *fs, store_operation *operation)
{
    struct fs_path path;
    if (!fs_path_set(&path, operation->path))
        return STORE_NOT_FOUND;
    int fd = fs_open(&fs->root, fs->root.fd, path.text, OPEN_TEXT);
    if (fd == -1)
        return fs_explain(&fs->root, &path, false, errno);
    store_result result = read_descriptor(fd, operation->shown, &operation->contents);
    fs_close(fd);
    return result;
}

/* Whether what is in memory says that the target is not there and its parent directory is. */
static bool is_absent_now(const struct fs_root *root, const struct fs_path *path)
{
    struct fs_path parent;
    fs_path_parent(path, &parent);
    int fd = fs_open_cached(root, parent.text, O_PATH | O_DIRECTORY);
    fs_close(fd);
    return fd != -1;
}

static bool read_now(int fd, char *buffer, sttp_slice *text, store_result *result)
{
    struct stat status;
    *result = check_kind(fd, &status);
    if (*result != STORE_DONE)
        return *result == STORE_IS_DIRECTORY || *result == STORE_NOT_FOUND;
    struct iovec room = {buffer, FS_TEXT_ROOM};
    ssize_t got = preadv2(fd, &room, 1, 0, RWF_NOWAIT);
    /* A short read may mean that the rest is not in memory. */
    if (got == -1 || (got < FS_TEXT_ROOM && got != status.st_size))
        return false;
    *result = check_text(buffer, (size_t)got, text);
    return true;
}

bool fs_show_now(struct store_fs *fs, store_operation *operation)
{
    struct fs_path path;
    if (!fs_path_set(&path, operation->path))
        return false;
    /* To note the time of access may wait for the file system's journal. O_NOATIME is refused for a
     * file of another user: the pool reads that. */
    int fd = fs_open_cached(&fs->root, path.text, OPEN_TEXT | O_NOATIME);
    if (fd == -1) {
        operation->result = STORE_NOT_FOUND;
        return errno == ENOENT && is_absent_now(&fs->root, &path);
    }
    bool done = read_now(fd, operation->shown, &operation->contents, &operation->result);
    fs_close(fd);
    return done;
}
