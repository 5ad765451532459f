/* Durability. `always`: each change syncs its file and its directories, together with others that
 * wait for the same (see store_fs_batch.c and store_fs_group.c). `interval`: a thread syncs the
 * file system once a second if something changed.
 *
 * What spans operations is what is visible and not yet synced (see store_fs_step.c). A CREATE that
 * made directories syncs the directory above them after they became visible, and another CREATE may
 * meanwhile put a file into them. That one would promise what a power cut could take back with the
 * directories. So whoever works below new directories syncs all directories above its own, too. In
 * the same way a LIST syncs what others are changing before it tells of it.
 *
 * Where such a sync fails the directories stay visible, and nobody knows what a power cut would
 * leave of them. From then on every change that needs the directories above it syncs all of them:
 * it is acknowledged once that has succeeded. (A file system with a journal or a log has stopped
 * for good where it could not write a directory. One without, as ext2, drops what it could not
 * write as it does with a file's data: there a later sync proves nothing of that, and nothing else
 * does.) */
#include "sttpd/store_fs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int fs_sync(struct store_fs *fs, int fd)
{
    if (fs->durability == STORE_DURABILITY_ALWAYS)
        return fsync(fd);
    if (fs->durability == STORE_DURABILITY_INTERVAL)
        atomic_store(&fs->syncer.changed, true);
    return 0;
}

int fs_sync_shared(struct store_fs *fs, int directory)
{
    if (fs->durability == STORE_DURABILITY_ALWAYS)
        return fs_group_sync(&fs->group, directory);
    return fs_sync(fs, directory);
}

store_result fs_sync_visible(struct store_fs *fs, int directory)
{
    return fs_sync_shared(fs, directory) == 0 ? STORE_DONE : STORE_OUTCOME_UNKNOWN;
}

store_result fs_sync_above(struct store_fs *fs, const struct fs_path *directory)
{
    if (fs->durability != STORE_DURABILITY_ALWAYS)
        return STORE_DONE;
    /* In this order: one that is no longer in the making may have failed. */
    if (!fs_is_in_making(fs, directory) && !atomic_load(&fs->unsure))
        return STORE_DONE;
    struct fs_path above = *directory;
    store_result result = STORE_DONE;
    while (above.size > 0 && result == STORE_DONE) {
        size_t name = fs_path_name(&above);
        above.size = name == 0 ? 0 : name - 1;
        above.text[above.size] = '\0';
        int fd = fs_open(&fs->root, fs->root.fd, above.text, O_RDONLY | O_DIRECTORY);
        result = fd == -1 ? STORE_OUTCOME_UNKNOWN : fs_sync_visible(fs, fd);
        fs_close(fd);
    }
    return result;
}

store_result fs_sync_shown(struct store_fs *fs, const struct fs_path *directory, int fd, bool texts)
{
    if (fs->durability != STORE_DURABILITY_ALWAYS || !fs_is_changing(fs, directory, texts) ||
        fs_sync_shared(fs, fd) == 0)
        return STORE_DONE;
    return fs_result(errno);
}

static void sync_changes(struct store_fs *fs)
{
    if (atomic_exchange(&fs->syncer.changed, false) && syncfs(fs->root.fd) == -1)
        atomic_store(&fs->syncer.failure, errno);
}

static void *run_syncer(void *argument)
{
    struct store_fs *fs = argument;
    struct fs_syncer *syncer = &fs->syncer;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    pthread_mutex_lock(&syncer->lock);
    bool stopping;
    do {
        until.tv_sec++;
        int waited = 0;
        while (!syncer->stopping && waited != ETIMEDOUT)
            waited = pthread_cond_timedwait(&syncer->wake, &syncer->lock, &until);
        stopping = syncer->stopping;
        pthread_mutex_unlock(&syncer->lock);
        sync_changes(fs);
        clock_gettime(CLOCK_MONOTONIC, &until);
        pthread_mutex_lock(&syncer->lock);
    } while (!stopping);
    pthread_mutex_unlock(&syncer->lock);
    return NULL;
}

/* Signals are the business of the daemon's main thread. */
static int start_thread(struct store_fs *fs)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&fs->syncer.thread, NULL, run_syncer, fs);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int fs_syncer_start(struct store_fs *fs)
{
    struct fs_syncer *syncer = &fs->syncer;
    if (fs->durability != STORE_DURABILITY_INTERVAL)
        return 0;
    pthread_condattr_t monotonic;
    int error = pthread_condattr_init(&monotonic);
    if (error != 0)
        return error;
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    error = pthread_cond_init(&syncer->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (error != 0)
        return error;
    pthread_mutex_init(&syncer->lock, NULL);
    error = start_thread(fs);
    syncer->started = error == 0;
    if (error != 0) {
        pthread_mutex_destroy(&syncer->lock);
        pthread_cond_destroy(&syncer->wake);
    }
    return error;
}

void fs_syncer_stop(struct store_fs *fs)
{
    struct fs_syncer *syncer = &fs->syncer;
    if (!syncer->started)
        return;
    pthread_mutex_lock(&syncer->lock);
    syncer->stopping = true;
    pthread_cond_signal(&syncer->wake);
    pthread_mutex_unlock(&syncer->lock);
    pthread_join(syncer->thread, NULL);
    pthread_mutex_destroy(&syncer->lock);
    pthread_cond_destroy(&syncer->wake);
}
