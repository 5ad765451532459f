/* Group commit of directories: changes of one directory that wait together share its sync. (Texts
 * are synced each by its own thread, at the same time: the kernel lets those that wait together
 * share one commit of its journal. See docs/performance.md for what else was tried.)
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
#include <unistd.h>

/* Which directory a descriptor is of: no two that are open are alike. No server is asked. */
static bool identify(int fd, struct fs_member *member)
{
    struct statx status;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &status) == -1)
        return false;
    member->device[0] = status.stx_dev_major;
    member->device[1] = status.stx_dev_minor;
    member->inode = status.stx_ino;
    return true;
}

static bool is_same_directory(const struct fs_member *one, const struct fs_member *other)
{
    return one->inode == other->inode && one->device[0] == other->device[0] &&
           one->device[1] == other->device[1];
}

/* All who wait for the leader's directory are covered by its sync. The group is locked, here and
 * below. */
static void cover_waiting(struct fs_group *group, struct fs_member *leader)
{
    for (struct fs_member *member = group->members; member != NULL; member = member->next) {
        if (member->leader == NULL && is_same_directory(member, leader))
            member->leader = leader;
    }
}

/* Where a sync for those who wait for a directory may begin: the one that came last leads it. */
static struct fs_member *next_leader(struct fs_group *group, const struct fs_member *directory)
{
    struct fs_member *last = NULL;
    unsigned waiting = 0, covered = 0;
    for (struct fs_member *member = group->members; member != NULL; member = member->next) {
        if (!is_same_directory(member, directory))
            continue;
        if (last == NULL && member->leader == NULL)
            last = member;
        waiting += member->leader == NULL;
        covered += member->leader != NULL;
    }
    if (last == NULL || waiting < covered)
        return NULL;
    cover_waiting(group, last);
    return last;
}

/* Takes out the leader and those whom its sync has covered: a list of these. */
static struct fs_member *remove_covered(struct fs_group *group, const struct fs_member *leader)
{
    struct fs_member *covered = NULL;
    struct fs_member **link = &group->members;
    while (*link != NULL) {
        struct fs_member *member = *link;
        if (member->leader != leader) {
            link = &member->next;
            continue;
        }
        *link = member->next;
        if (member != leader) {
            member->next = covered;
            covered = member;
        }
    }
    return covered;
}

/* Syncs for all who wait; 0 or an errno. Each of them is gone as soon as it is woken. */
static int lead(struct fs_group *group, struct fs_member *self, int fd)
{
    pthread_mutex_lock(&group->lock);
    cover_waiting(group, self);
    pthread_mutex_unlock(&group->lock);
    int error = fsync(fd) == 0 ? 0 : errno;
    pthread_mutex_lock(&group->lock);
    struct fs_member *covered = remove_covered(group, self);
    struct fs_member *leader = next_leader(group, self);
    pthread_mutex_unlock(&group->lock);
    if (leader != NULL)
        sem_post(&leader->wake);
    while (covered != NULL) {
        struct fs_member *member = covered;
        covered = member->next;
        member->error = error;
        sem_post(&member->wake);
    }
    return error;
}

/* What the kernel has to tell through this descriptor of a directory that was just synced: nothing
 * is written, and unlike a sync it never makes the disk empty its cache. Sandboxes may not have the
 * call; an error of any other kind may be the answer, which is given once. */
static int own_verdict(int fd)
{
    int told = sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE);
    return told == -1 && (errno == ENOSYS || errno == EPERM) ? fsync(fd) : told;
}

int fs_group_sync(struct fs_group *group, int directory)
{
    struct fs_member self = {0};
    if (!identify(directory, &self))
        return fsync(directory);
    sem_init(&self.wake, 0, 0);
    pthread_mutex_lock(&group->lock);
    self.next = group->members;
    group->members = &self;
    bool leads = next_leader(group, &self) != NULL;
    pthread_mutex_unlock(&group->lock);
    while (!leads && sem_wait(&self.wake) == -1)
        ;
    leads = self.leader == &self;
    int error = leads ? lead(group, &self, directory) : self.error;
    sem_destroy(&self.wake);
    if (error == 0)
        return leads ? 0 : own_verdict(directory);
    errno = error;
    return -1;
}
