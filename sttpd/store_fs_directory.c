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

bool fs_entry_type(DIR *stream, const struct dirent *entry, mode_t *type)
{
    struct stat status;
    *type = entry->d_type == DT_REG ? S_IFREG : entry->d_type == DT_DIR ? S_IFDIR : 0;
    if (entry->d_type != DT_UNKNOWN)
        return true;
    if (fstatat(dirfd(stream), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == -1)
        return fs_is_absent(errno) || errno == EACCES;
    if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode))
        *type = status.st_mode & S_IFMT;
    return true;
}
