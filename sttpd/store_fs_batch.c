/* CREATE and UPDATE of texts that must be durable, many by one thread:
 *
 *     write each text ── sync them ── show each ── sync each directory ── complete each
 *
 * Syncs are made together where that may be (store_fs_syncfs.c): one takes about as long as that of
 * one file, and a thread that does sixty changes is woken a sixtieth as often as sixty threads are
 * (docs/performance.md has the figures). Nobody waits for company: a thread takes what waits
 * already, and what comes while it writes. One change alone is a batch, too.
 *
 * What may take long is left to a thread of its own: a CREATE that has to make directories, and all
 * of which the directory is not in memory, or on another file system. */
#include "sttpd/store_fs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum {
    MOST = 64,     /* changes */
    COLLECTING = 5 /* milliseconds, at most: what is slow for one shall not hold up others */
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

struct member {
    struct fs_change change;
    struct fs_path path;
    struct directory *directory;
    store_result result;
    int error;
};

struct batch {
    struct store_fs *fs;
    unsigned count;
    unsigned directory_count;
    struct member members[MOST]; /* whose texts were written */
    struct directory directories[MOST];
};

static void set_result(struct member *member, store_result result, int error)
{
    member->result = result;
    member->error = error;
}

/* ---- write ---- */

/* Opens the directory of a path, unless that has been done. NULL where that could take long, and
 * where it is on another file system. */
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
    int fd = fs_open_cached(&batch->fs->root, parent.text, O_RDONLY | O_DIRECTORY);
    if (fd == -1)
        return NULL;
    *directory = (struct directory){.fd = fd, .path = path, .name = name};
    batch->directory_count++;
    return directory;
}

static void add(struct batch *batch, store_operation *operation)
{
    struct member *member = &batch->members[batch->count];
    unsigned directories = batch->directory_count;
    member->directory = NULL;
    if (fs_path_set(&member->path, operation->path))
        member->directory = find_directory(batch, &member->path);
    if (member->directory == NULL) {
        fs_run_elsewhere(batch->fs, operation);
        return;
    }
    member->change = (struct fs_change){
        .operation = operation, .path = &member->path, .directory = member->directory->fd};
    store_result result = fs_change_write(batch->fs, &member->change);
    int error = errno;
    if (result == STORE_DONE) {
        set_result(member, STORE_DONE, 0);
        batch->count++;
        return;
    }
    /* The next one takes its place, to which its directory would point. */
    if (batch->directory_count > directories)
        fs_close(batch->directories[--batch->directory_count].fd);
    if (member->change.again)
        fs_run_elsewhere(batch->fs, operation);
    else
        fs_complete(batch->fs, operation, result, error);
}

static void collect(struct batch *batch, store_operation *first, struct pool_thread *thread)
{
    int64_t until = fs_milliseconds() + COLLECTING;
    store_operation *operation = first;
    while (operation != NULL) {
        add(batch, operation);
        bool more = batch->count < MOST && fs_milliseconds() < until && fs_syncfs_may(batch->fs);
        operation = more ? pool_join(batch->fs->pool, thread) : NULL;
    }
}

/* ---- sync and show ---- */

static void sync_texts(struct batch *batch)
{
    struct fs_wanted_sync wanted[MOST];
    for (unsigned i = 0; i < batch->count; i++)
        wanted[i].fd = batch->members[i].change.fd;
    fs_sync_together(batch->fs, wanted, batch->count, fs_sync);
    for (unsigned i = 0; i < batch->count; i++) {
        struct member *member = &batch->members[i];
        errno = wanted[i].error;
        store_result result = fs_change_close(
            &member->change, wanted[i].error == 0 ? STORE_DONE : fs_result(wanted[i].error));
        set_result(member, result, errno);
    }
}

static void show_texts(struct batch *batch)
{
    for (unsigned i = 0; i < batch->count; i++) {
        struct member *member = &batch->members[i];
        if (member->result != STORE_DONE)
            continue;
        store_result result = fs_change_show(batch->fs, &member->change);
        set_result(member, result, errno);
        if (result == STORE_DONE)
            member->directory->changed = true;
    }
}

static void sync_directories(struct batch *batch)
{
    struct fs_wanted_sync wanted[MOST];
    struct directory *directories[MOST];
    unsigned count = 0;
    for (unsigned i = 0; i < batch->directory_count; i++) {
        struct directory *directory = &batch->directories[i];
        if (!directory->changed)
            continue;
        wanted[count].fd = directory->fd;
        directories[count++] = directory;
    }
    fs_sync_together(batch->fs, wanted, count, fs_sync_shared);
    for (unsigned i = 0; i < count; i++) {
        directories[i]->error = wanted[i].error;
        directories[i]->result = wanted[i].error == 0 ? STORE_DONE : STORE_OUTCOME_UNKNOWN;
    }
}

/* ---- complete ---- */

static void end_steps(struct batch *batch)
{
    for (unsigned i = 0; i < batch->count; i++) {
        struct member *member = &batch->members[i];
        if (member->result != STORE_DONE)
            continue;
        set_result(member, member->directory->result, member->directory->error);
        fs_step_end(batch->fs, &member->change.step, member->result);
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

static void complete(struct batch *batch, struct member *member)
{
    store_operation *operation = member->change.operation;
    if (member->change.again) {
        fs_run_elsewhere(batch->fs, operation);
        return;
    }
    if (member->result == STORE_DONE)
        set_result(member, member->directory->result, member->directory->error);
    if (operation->action == STTP_ACTION_UPDATE)
        operation->contents = operation->text;
    fs_complete(batch->fs, operation, member->result, member->error);
}

void fs_batch_run(struct store_fs *fs, store_operation *first, struct pool_thread *thread)
{
    struct batch batch;
    batch.fs = fs;
    batch.count = batch.directory_count = 0;
    collect(&batch, first, thread);
    sync_texts(&batch);
    show_texts(&batch);
    sync_directories(&batch);
    end_steps(&batch);
    sync_above(&batch);
    for (unsigned i = 0; i < batch.count; i++)
        complete(&batch, &batch.members[i]);
}
