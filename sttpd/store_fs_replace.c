/* LIST beside UPDATE. An UPDATE renames another file over its target. Whether somebody who reads
 * the directory at that moment still gets the name is left open by POSIX, and tmpfs and btrfs do
 * lose it or give it twice: a file that was there all the time. So listings tell which directory
 * they read, changes tell which file they replace, and a listing looks again at those that were
 * replaced in its directory meanwhile. */
#include <string.h>

#include "sttpd/store_fs_private.h"

enum { FIRST_LIMIT = 64 };

/* The lock is held. */
static void note(struct fs_reading *reading, sttp_slice path)
{
    size_t size = reading->directory.size;
    if (path.size <= size || memcmp(path.data, reading->directory.data, size) != 0 ||
        memchr(path.data + size, '/', path.size - size) != NULL)
        return;
    struct fs_names *names = &reading->replaced;
    bool done = fs_names_add(names, (sttp_slice){path.data + size, path.size - size});
    /* A file may be replaced again and again while a long directory is read. */
    if (done && names->count >= FIRST_LIMIT && names->count >= 2 * reading->distinct) {
        done = fs_names_keep(names, names->count);
        reading->distinct = names->count;
    }
    reading->no_memory = reading->no_memory || !done;
}

void fs_replacing_begin(struct store_fs *fs, struct fs_replacing *replacing)
{
    pthread_mutex_lock(&fs->replacing_lock);
    replacing->next = fs->replacing;
    fs->replacing = replacing;
    for (struct fs_reading *reading = fs->reading; reading != NULL; reading = reading->next)
        note(reading, replacing->path);
    pthread_mutex_unlock(&fs->replacing_lock);
}

void fs_replacing_end(struct store_fs *fs, struct fs_replacing *replacing)
{
    pthread_mutex_lock(&fs->replacing_lock);
    struct fs_replacing **link = &fs->replacing;
    while (*link != replacing)
        link = &(*link)->next;
    *link = replacing->next;
    pthread_mutex_unlock(&fs->replacing_lock);
}

void fs_reading_begin(struct store_fs *fs, struct fs_reading *reading)
{
    pthread_mutex_lock(&fs->replacing_lock);
    reading->next = fs->reading;
    fs->reading = reading;
    for (struct fs_replacing *replacing = fs->replacing; replacing != NULL;
         replacing = replacing->next)
        note(reading, replacing->path);
    pthread_mutex_unlock(&fs->replacing_lock);
}

void fs_reading_end(struct store_fs *fs, struct fs_reading *reading)
{
    pthread_mutex_lock(&fs->replacing_lock);
    struct fs_reading **link = &fs->reading;
    while (*link != reading)
        link = &(*link)->next;
    *link = reading->next;
    pthread_mutex_unlock(&fs->replacing_lock);
}
