/* One sync of the whole file system in place of many, where that is right and fast.
 *
 * It is right on XFS, and on ext4 with a journal. Without one, ext4 leaves its tables of inodes to
 * the very end of `syncfs`: an `fsync` of another thread that comes meanwhile finds nothing to
 * write, and returns before they are on disk. And on some file systems `syncfs` does nothing at
 * all.
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

static bool has_journal(const struct fs_root *root)
{
    struct stat status;
    char task[32];
    return fstat(root->fd, &status) == 0 && read_journal_task(status.st_dev, task, sizeof task) &&
           strncmp(task, "<none>", strlen("<none>")) != 0;
}

void fs_syncfs_init(struct store_fs *fs)
{
    struct statfs status;
    if (fs->durability != STORE_DURABILITY_ALWAYS || fstatfs(fs->root.fd, &status) == -1)
        return;
    fs->syncfs.usable = (uint32_t)status.f_type == XFS_SUPER_MAGIC ||
                        (status.f_type == EXT4_SUPER_MAGIC && has_journal(&fs->root));
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
    if (!fs->syncfs.usable)
        return false;
    int64_t now = fs_milliseconds();
    int64_t begun = atomic_load(&fs->syncfs.begun);
    return now >= atomic_load(&fs->syncfs.paused_until) && (begun == 0 || now - begun < SLOW);
}

static void note_begin(struct fs_syncfs *syncfs, int64_t now)
{
    pthread_mutex_lock(&syncfs->lock);
    if (syncfs->under_way++ == 0)
        atomic_store(&syncfs->begun, now);
    pthread_mutex_unlock(&syncfs->lock);
}

/* Others that are under way still count from now on. */
static void note_end(struct fs_syncfs *syncfs, int64_t now, int64_t paused_until)
{
    pthread_mutex_lock(&syncfs->lock);
    atomic_store(&syncfs->begun, --syncfs->under_way == 0 ? 0 : now);
    if (paused_until > atomic_load(&syncfs->paused_until))
        atomic_store(&syncfs->paused_until, paused_until);
    pthread_mutex_unlock(&syncfs->lock);
}

/* A failure may be that of another program's file, or of a sandbox that forbids the call. */
static bool sync_all(struct store_fs *fs, int fd)
{
    int64_t begun = fs_milliseconds();
    note_begin(&fs->syncfs, begun);
    bool done = syncfs(fd) == 0;
    bool forbidden = !done && (errno == ENOSYS || errno == EPERM);
    int64_t now = fs_milliseconds();
    int64_t took = now - begun;
    int64_t paused_until = 0;
    if (forbidden)
        paused_until = INT64_MAX;
    else if (!done || took >= SLOW)
        paused_until = now + PAUSE + PAUSE_FACTOR * took;
    note_end(&fs->syncfs, now, paused_until);
    return done;
}

/* ---- syncs ---- */

void fs_sync_together(struct store_fs *fs, struct fs_wanted_sync *wanted, unsigned count,
                      int (*alone)(struct store_fs *fs, int fd))
{
    bool together = count >= WORTH && fs_syncfs_may(fs) && sync_all(fs, wanted[0].fd);
    for (unsigned i = 0; i < count; i++) {
        int done = together ? fs_own_verdict(wanted[i].fd) : alone(fs, wanted[i].fd);
        wanted[i].error = done == 0 ? 0 : errno;
    }
}
