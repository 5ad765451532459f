/* CREATE and UPDATE of texts that must be durable, many by one thread:
 *
 *     write each text ── sync the file system ── show each ── sync each directory ── complete each
 *
 * One `syncfs` takes about as long as one `fsync`, and a thread that does sixty changes is woken a
 * sixtieth as often as sixty threads are (docs/performance.md has the figures). Nobody waits for
 * company: a thread takes what waits already, and what comes while it writes. One change alone is a
 * batch, too; few are synced each on its own.
 *
 * `syncfs` also waits for what other programs have written. Where that takes long, each change goes
 * its own way for a while. And it keeps its word only on file systems where that is known: on some
 * it does nothing at all. All others, and directories on other ones below the document root, are
 * left to fs_change_alone; so is a CREATE that has to make directories. */
#include "sttpd/store_fs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

enum {
    MOST = 64,          /* changes */
    WORTH = 4,          /* of them, for one sync of the file system */
    COLLECTING = 5,     /* milliseconds, at most: what is slow for one shall not hold up others */
    SLOW = 100,         /* milliseconds for a sync of the file system */
    SLOW_PAUSE = 10000, /* milliseconds without another */
    XFS_MAGIC = 0x58465342
};

struct member {
    struct fs_change change;
    struct fs_path path;
    struct directory *directory;
    store_result result;
    int error;
};

/* One for all changes in it. */
struct directory {
    int fd;
    const struct fs_path *path; /* of something in it */
    size_t name;                /* where its own path ends in that */
    bool changed;
    store_result result;
    int error;
};

struct batch {
    struct store_fs *fs;
    store_operation *alone; /* what cannot be done together */
    unsigned count;
    unsigned directory_count;
    struct member members[MOST];
    struct directory directories[MOST];
};

bool fs_may_batch(const struct fs_root *root)
{
    struct statfs status;
    return fstatfs(root->fd, &status) == 0 &&
           (status.f_type == EXT4_SUPER_MAGIC || status.f_type == XFS_MAGIC);
}

static int64_t milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- write ---- */

static bool is_of_root(const struct store_fs *fs, int fd)
{
    struct stat root, status;
    return fstat(fs->root.fd, &root) == 0 && fstat(fd, &status) == 0 &&
           root.st_dev == status.st_dev;
}

/* Opens the directory of a path, unless that has been done. NULL where it cannot be, and where it
 * is on another file system. */
static struct directory *find_directory(struct batch *batch, const struct fs_path *path)
{
    struct fs_path parent;
    size_t name = fs_path_name(path);
    struct directory *directory = batch->directories;
    struct directory *end = directory + batch->directory_count;
    for (; directory < end; directory++)
        if (directory->name == name && memcmp(directory->path->text, path->text, name) == 0)
            return directory;
    fs_path_parent(path, &parent);
    int fd = fs_open(&batch->fs->root, batch->fs->root.fd, parent.text, O_RDONLY | O_DIRECTORY);
    if (fd == -1 || !is_of_root(batch->fs, fd)) {
        fs_close(fd);
        return NULL;
    }
    *directory = (struct directory){.fd = fd, .path = path, .name = name};
    batch->directory_count++;
    return directory;
}

static void set_result(struct member *member, store_result result)
{
    member->error = errno;
    member->result = result;
}

static void add_alone(struct batch *batch, store_operation *operation)
{
    operation->next = batch->alone;
    batch->alone = operation;
}

static void add(struct batch *batch, store_operation *operation)
{
    struct member *member = &batch->members[batch->count];
    member->directory = NULL;
    if (fs_path_set(&member->path, operation->path))
        member->directory = find_directory(batch, &member->path);
    if (member->directory == NULL) {
        add_alone(batch, operation);
        return;
    }
    batch->count++;
    member->change = (struct fs_change){
        .operation = operation, .path = &member->path, .directory = member->directory->fd};
    set_result(member, fs_change_write(batch->fs, &member->change));
}

static void collect(struct batch *batch, store_operation *first, struct pool_thread *thread)
{
    struct store_fs *fs = batch->fs;
    int64_t now = milliseconds();
    int64_t until = now < atomic_load(&fs->slow_until) ? now : now + COLLECTING;
    store_operation *operation = first;
    while (operation != NULL) {
        add(batch, operation);
        bool more = batch->count < MOST && batch->alone == NULL && milliseconds() < until;
        operation = more ? pool_join(fs->pool, thread) : NULL;
    }
}

/* ---- sync and show ---- */

static bool sync_file_system(struct store_fs *fs, int fd)
{
    int64_t begun = milliseconds();
    bool done = syncfs(fd) == 0;
    int64_t now = milliseconds();
    if (now - begun >= SLOW)
        atomic_store(&fs->slow_until, now + SLOW_PAUSE);
    return done;
}

/* After a sync of the file system each text has its own verdict. The first one is synced as ever:
 * ext4 without a journal writes its tables behind the flush of the disk's cache that `syncfs` ends
 * with, and no name may be on disk before them. */
static void sync_texts(struct batch *batch)
{
    struct member *first = NULL;
    unsigned written = 0;
    for (unsigned i = batch->count; i-- > 0;) {
        struct member *member = &batch->members[i];
        if (member->result != STORE_DONE)
            continue;
        first = member;
        written++;
    }
    bool together = written >= WORTH && sync_file_system(batch->fs, first->change.fd);
    for (unsigned i = 0; i < batch->count; i++) {
        struct member *member = &batch->members[i];
        if (member->result != STORE_DONE)
            continue;
        int fd = member->change.fd;
        bool synced = (together && member != first ? fs_own_verdict(fd) : fsync(fd)) == 0;
        together = together && (synced || member != first);
        set_result(member,
                   fs_change_close(&member->change, synced ? STORE_DONE : fs_result(errno)));
    }
}

static void show_texts(struct batch *batch)
{
    for (unsigned i = 0; i < batch->count; i++) {
        struct member *member = &batch->members[i];
        if (member->result != STORE_DONE)
            continue;
        set_result(member, fs_change_show(batch->fs, &member->change));
        member->directory->changed = member->directory->changed || member->result == STORE_DONE;
    }
}

static void sync_directories(struct batch *batch)
{
    for (unsigned i = 0; i < batch->directory_count; i++) {
        struct directory *directory = &batch->directories[i];
        if (!directory->changed)
            continue;
        directory->result = fs_sync_visible(batch->fs, directory->fd);
        directory->error = errno;
    }
}

/* ---- complete ---- */

static void end_steps(struct batch *batch)
{
    for (unsigned i = 0; i < batch->count; i++) {
        struct member *member = &batch->members[i];
        if (member->result == STORE_DONE)
            fs_step_end(batch->fs, &member->change.step, member->directory->result);
    }
}

static void sync_above(struct batch *batch)
{
    for (unsigned i = 0; i < batch->directory_count; i++) {
        struct directory *directory = &batch->directories[i];
        struct fs_path path;
        fs_path_parent(directory->path, &path);
        if (directory->changed && directory->result == STORE_DONE) {
            directory->result = fs_sync_above(batch->fs, &path);
            directory->error = errno;
        }
        fs_close(directory->fd);
    }
}

static void complete(struct batch *batch, const struct member *member)
{
    store_operation *operation = member->change.operation;
    const struct directory *directory = member->directory;
    bool shown = member->result == STORE_DONE;
    if (member->change.again) {
        add_alone(batch, operation);
        return;
    }
    operation->contents = operation->text;
    fs_complete(batch->fs, operation, shown ? directory->result : member->result,
                shown ? directory->error : member->error);
}

void fs_batch_run(struct store_fs *fs, store_operation *first, struct pool_thread *thread)
{
    struct batch batch;
    batch.fs = fs;
    batch.alone = NULL;
    batch.count = batch.directory_count = 0;
    collect(&batch, first, thread);
    sync_texts(&batch);
    show_texts(&batch);
    sync_directories(&batch);
    end_steps(&batch);
    sync_above(&batch);
    for (unsigned i = 0; i < batch.count; i++)
        complete(&batch, &batch.members[i]);
    for (store_operation *operation; (operation = batch.alone) != NULL;) {
        batch.alone = operation->next;
        fs_run_alone(fs, operation);
    }
}
