/* Reading directories. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "sttpd/store_fs_private.h"

DIR *fs_directory_open(const struct fs_root *root, int base, const char *path)
{
    int fd = fs_open(root, base, path, O_RDONLY | O_DIRECTORY);
    if (fd == -1)
        return NULL;
    DIR *stream = fdopendir(fd);
    if (stream == NULL)
        fs_close(fd);
    return stream;
}

void fs_directory_close(DIR *stream)
{
    int error = errno;
    closedir(stream);
    errno = error;
}

const struct dirent *fs_directory_next(DIR *stream)
{
    const struct dirent *entry;
    do {
        errno = 0;
        entry = readdir(stream);
    } while (entry != NULL &&
             (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
    return entry;
}

mode_t fs_entry_type(DIR *stream, const struct dirent *entry)
{
    struct stat status;
    switch (entry->d_type) {
    case DT_REG:
        return S_IFREG;
    case DT_DIR:
        return S_IFDIR;
    case DT_UNKNOWN:
        if (fstatat(dirfd(stream), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
            (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)))
            return status.st_mode & S_IFMT;
        return 0;
    default:
        return 0;
    }
}
