/* One sync of the whole file system in place of many, where that is right and fast.
 *
 * It keeps its word only where that is known: on some file systems it does nothing at all. ext4
 * without a journal writes its tables behind the flush of the disk's cache that `syncfs` makes, so
 * that one `fsync` has to follow; before Linux 6.5 that one does not flush either when it finds
 * nothing to write. And there a table that could not be written is told to one caller alone: so a
 * failure is one for all who have begun before it was known.
 *
 * It also waits for what other programs have written. Where one takes long no other begins, and
 * none does for a while after it: each change goes its own way meanwhile. */
#include "sttpd/store_fs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

enum {
    WORTH = 2,     /* files or directories, for one sync of all */
    SLOW = 100,    /* milliseconds */
    PAUSE = 10000, /* milliseconds; and as much again as it took, so many times: */
    PAUSE_FACTOR = 10
};

/* ---- where it may be used ---- */

/* The one line of the file of sysfs that tells which thread writes the journal. */
static bool read_journal_task(dev_t device, char *line, size_t size)
{
    char link[64], name[4096], path[4096];
    snprintf(link, sizeof link, "/sys/dev/block/%u:%u", major(device), minor(device));
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length < 0)
        return false;
    name[length] = '\0';
    const char *slash = strrchr(name, '/');
    snprintf(path, sizeof path, "/sys/fs/ext4/%.255s/journal_task",
             slash == NULL ? name : slash + 1);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool done = fgets(line, (int)size, file) != NULL;
    fclose(file);
    return done;
}

static bool flushes_always(void)
{
    struct utsname kernel;
    unsigned release, patch;
    return uname(&kernel) == 0 && sscanf(kernel.release, "%u.%u", &release, &patch) == 2 &&
           (release > 6 || (release == 6 && patch >= 5));
}

static void init_ext4(struct store_fs *fs)
{
    struct stat root;
    char task[32];
    if (fstat(fs->root.fd, &root) == -1 || !read_journal_task(root.st_dev, task, sizeof task))
        return;
    fs->syncfs.tells_one = strncmp(task, "<none>", strlen("<none>")) == 0;
    fs->syncfs.usable = !fs->syncfs.tells_one || flushes_always();
}

void fs_syncfs_init(struct store_fs *fs)
{
    struct statfs status;
    if (fs->durability != STORE_DURABILITY_ALWAYS || fstatfs(fs->root.fd, &status) == -1)
        return;
    if ((uint32_t)status.f_type == XFS_SUPER_MAGIC)
        fs->syncfs.usable = true;
    else if (status.f_type == EXT4_SUPER_MAGIC)
        init_ext4(fs);
}

/* ---- whether it is fast ---- */

int64_t fs_milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool fs_syncfs_may(struct store_fs *fs)
{
    int64_t now = fs_milliseconds();
    int64_t begun = atomic_load(&fs->syncfs.begun);
    return fs->syncfs.usable && now >= atomic_load(&fs->syncfs.paused_until) &&
           (begun == 0 || now - begun < SLOW);
}

/* Where a sandbox forbids it there is nothing to tell but that. */
static void note_failure(struct store_fs *fs)
{
    atomic_store(&fs->syncfs.paused_until, fs_milliseconds() + PAUSE);
    if (errno != ENOSYS && errno != EPERM)
        atomic_fetch_add(&fs->syncfs.failures, 1);
}

static bool sync_all(struct store_fs *fs, int fd)
{
    int64_t now = fs_milliseconds();
    int64_t none = 0;
    bool first = atomic_compare_exchange_strong(&fs->syncfs.begun, &none, now);
    bool done = syncfs(fd) == 0;
    if (!done)
        note_failure(fs);
    int64_t took = fs_milliseconds() - now;
    if (took >= SLOW)
        atomic_store(&fs->syncfs.paused_until, now + took + PAUSE + PAUSE_FACTOR * took);
    if (first)
        atomic_store(&fs->syncfs.begun, 0);
    return done;
}

/* ---- syncs ---- */

unsigned fs_syncfs_failures(const struct store_fs *fs)
{
    return atomic_load(&fs->syncfs.failures);
}

void fs_sync_together(struct store_fs *fs, struct fs_wanted_sync *wanted, unsigned count,
                      unsigned failures, int (*alone)(struct store_fs *fs, int fd))
{
    bool together = count >= WORTH && fs_syncfs_may(fs) && sync_all(fs, wanted[0].fd);
    for (unsigned i = 0; i < count; i++) {
        /* The first one flushes for all; if it cannot, each has to. */
        bool flushed = together && i > 0;
        int done = flushed ? fs_own_verdict(wanted[i].fd) : alone(fs, wanted[i].fd);
        wanted[i].error = done == 0 ? 0 : errno;
        together = together && (i > 0 || done == 0);
    }
    if (!fs->syncfs.tells_one || fs_syncfs_failures(fs) == failures)
        return;
    for (unsigned i = 0; i < count; i++)
        if (wanted[i].error == 0)
            wanted[i].error = EIO;
}
