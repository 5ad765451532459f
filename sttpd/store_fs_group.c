/* Group commit of directories: changes of one directory that wait together share its sync, where
 * several threads make them. (What one thread makes: see store_fs_batch.c.)
 *
 * A sync covers what was changed before it began, so who comes while one is under way needs
 * another. That one begins when as many wait for it as the syncs under way cover, at the latest
 * when there is none. So a change alone waits for nobody; where many come at once a few syncs cover
 * them all, and they are under way together. Nobody waits longer than for the rest of those that
 * were under way and for one more.
 *
 * The kernel tells of a write that failed through each descriptor that was open at that time, and
 * through a later one only if nobody was told before. The member that syncs for the others, their
 * leader, may have opened the directory too late: on a file system without a journal its sync then
 * succeeds although the names of others are lost. So each asks through its own descriptor, too. A
 * sync that fails has failed for all whom it covers: what it lost may have been theirs. */
#include "sttpd/store_fs_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* Which directory a descriptor is of: no two that are open are alike. No server is asked. */
static bool identify(int fd, struct fs_shared *directory)
{
    struct statx status;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &status) == -1)
        return false;
    *directory = (struct fs_shared){.device = {status.stx_dev_major, status.stx_dev_minor},
                                    .inode = status.stx_ino};
    return true;
}

/* NULL where memory is out. The group is locked, here and below. */
static struct fs_shared *find_or_add(struct fs_group *group, const struct fs_shared *wanted)
{
    struct fs_shared *directory = group->directories;
    while (directory != NULL &&
           (directory->inode != wanted->inode || directory->device[0] != wanted->device[0] ||
            directory->device[1] != wanted->device[1]))
        directory = directory->next;
    if (directory != NULL || (directory = malloc(sizeof *directory)) == NULL)
        return directory;
    *directory = *wanted;
    directory->next = group->directories;
    group->directories = directory;
    return directory;
}

static void remove_directory(struct fs_group *group, struct fs_shared *directory)
{
    struct fs_shared **link = &group->directories;
    while (*link != directory)
        link = &(*link)->next;
    *link = directory->next;
    free(directory);
}

/* All who wait are covered by the leader's sync. */
static void cover_waiting(struct fs_shared *directory, struct fs_member *leader)
{
    while (directory->waiting != NULL) {
        struct fs_member *member = directory->waiting;
        directory->waiting = member->next;
        member->next = leader->covered;
        leader->covered = member;
    }
    leader->count += directory->count;
    directory->covered += directory->count;
    directory->count = 0;
}

/* Where a sync for those who wait may begin: the one that came last leads it. */
static struct fs_member *next_leader(struct fs_shared *directory)
{
    struct fs_member *leader = directory->waiting;
    if (leader == NULL || directory->count < directory->covered)
        return NULL;
    directory->waiting = leader->next;
    leader->leads = true;
    cover_waiting(directory, leader);
    return leader;
}

/* Syncs for all who wait; 0 or an errno. Each of them is gone as soon as it is woken. */
static int lead(struct fs_group *group, struct fs_shared *directory, struct fs_member *self, int fd)
{
    pthread_mutex_lock(&group->lock);
    cover_waiting(directory, self);
    pthread_mutex_unlock(&group->lock);
    int error = fsync(fd) == 0 ? 0 : errno;
    pthread_mutex_lock(&group->lock);
    directory->covered -= self->count;
    struct fs_member *leader = next_leader(directory);
    if (directory->covered == 0)
        remove_directory(group, directory);
    pthread_mutex_unlock(&group->lock);
    if (leader != NULL)
        sem_post(&leader->wake);
    while (self->covered != NULL) {
        struct fs_member *member = self->covered;
        self->covered = member->next;
        member->error = error;
        sem_post(&member->wake);
    }
    return error;
}

/* Unlike a sync it never makes the disk empty its cache. Sandboxes may not have the call; an error
 * of any other kind may be the answer, which is given once. */
int fs_own_verdict(int fd)
{
    int told = sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE);
    return told == -1 && (errno == ENOSYS || errno == EPERM) ? fsync(fd) : told;
}

static struct fs_shared *join(struct fs_group *group, const struct fs_shared *wanted,
                              struct fs_member *self)
{
    pthread_mutex_lock(&group->lock);
    struct fs_shared *directory = find_or_add(group, wanted);
    if (directory != NULL) {
        self->next = directory->waiting;
        directory->waiting = self;
        directory->count++;
        if (next_leader(directory) != NULL) /* itself: it came last */
            sem_post(&self->wake);
    }
    pthread_mutex_unlock(&group->lock);
    return directory;
}

int fs_group_sync(struct fs_group *group, int fd)
{
    struct fs_shared wanted;
    struct fs_member self = {0};
    if (!identify(fd, &wanted))
        return fsync(fd);
    sem_init(&self.wake, 0, 0);
    struct fs_shared *directory = join(group, &wanted, &self);
    while (directory != NULL && sem_wait(&self.wake) == -1)
        ;
    int error = self.leads ? lead(group, directory, &self, fd) : self.error;
    sem_destroy(&self.wake);
    if (directory == NULL)
        return fsync(fd);
    if (error == 0)
        return self.leads ? 0 : fs_own_verdict(fd);
    errno = error;
    return -1;
}
