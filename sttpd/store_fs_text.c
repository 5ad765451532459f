/* Reading a text: once as it comes, which may wait for the disk and runs in the pool; and once with
 * what the kernel has in memory already, which never waits and runs where the request came in.
 * FIFOs and devices are opened without waiting, seen for what they are, and closed. */
#include "sttpd/store_fs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN_TEXT = O_RDONLY | O_NONBLOCK | O_NOCTTY };

/* To read a file that somebody changes all the time. */
enum { MAX_TRIES = 16 };

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

/* A file may be written into while it is read, and even one read may put together parts of two
 * texts, if it asks for more than there was. One that asks for a byte more than the file has, and
 * gets no more than the file has, is one state of it, unless the file has changed since its size
 * was asked for. So is all that is too long anyway. */
static size_t room_for(off_t size)
{
    return size < FS_TEXT_ROOM ? (size_t)size + 1 : FS_TEXT_ROOM;
}

static bool is_one_state(ssize_t got, off_t size)
{
    return got == size || got == FS_TEXT_ROOM;
}

static ssize_t read_some(int fd, char *buffer, size_t room)
{
    ssize_t got;
    do
        got = read(fd, buffer, room);
    while (got == -1 && errno == EINTR);
    return got;
}

static bool is_unchanged(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* For file systems that give less at once than there is, or do not know how much that is. */
static store_result read_in_parts(int fd, const struct stat *before, char *buffer, sttp_slice *text)
{
    struct stat after;
    size_t size = 0;
    ssize_t got;
    while ((got = read_some(fd, buffer + size, FS_TEXT_ROOM - size)) > 0)
        size += (size_t)got;
    if (got == -1 || fstat(fd, &after) == -1)
        return fs_result(errno);
    if (is_unchanged(before, &after))
        return check_text(buffer, size, text);
    errno = EAGAIN;
    return STORE_IO;
}

static store_result read_file(int fd, struct stat *status, char *buffer, sttp_slice *text)
{
    for (int tries = 0; tries < MAX_TRIES; tries++) {
        struct stat before = *status;
        ssize_t got = read_some(fd, buffer, room_for(before.st_size));
        if (got == -1 || fstat(fd, status) == -1)
            return fs_result(errno);
        if (is_one_state(got, before.st_size) && is_unchanged(&before, status))
            return check_text(buffer, (size_t)got, text);
        if (lseek(fd, 0, SEEK_SET) == -1)
            return fs_result(errno);
    }
    return read_in_parts(fd, status, buffer, text);
}

static store_result read_descriptor(int fd, char *buffer, sttp_slice *text)
{
    struct stat status;
    store_result result = check_kind(fd, &status);
    return result == STORE_DONE ? read_file(fd, &status, buffer, text) : result;
}

store_result fs_read_text(const struct fs_root *root, int base, const char *name, char *buffer,
                          sttp_slice *text)
{
    int fd = fs_open(root, base, name, OPEN_TEXT);
    if (fd == -1 && (fs_is_absent(errno) || fs_is_special(root, base, name)))
        return STORE_NOT_FOUND;
    if (fd == -1)
        return fs_result(errno);
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
    struct iovec room = {buffer, room_for(status.st_size)};
    ssize_t got = preadv2(fd, &room, 1, 0, RWF_NOWAIT);
    /* A short read may also mean that the rest is not in memory. */
    if (!is_one_state(got, status.st_size))
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
