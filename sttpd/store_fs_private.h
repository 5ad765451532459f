/* What the files of the file system store share. Convention: a function that returns a store_result
 * leaves errno as it was at the failure that the result speaks of. */
#ifndef STTPD_STORE_FS_PRIVATE_H
#define STTPD_STORE_FS_PRIVATE_H

#include <dirent.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "sttpd/path_queue.h"
#include "sttpd/pool.h"
#include "sttpd/store_fs.h"
#include "sttpd/store_fs_names.h"

/* The document root, and how names below it are resolved. */
struct fs_root {
    int fd;
    bool walk;   /* the kernel has no openat2: component by component */
    bool cached; /* it has RESOLVE_CACHED, and the file system keeps its promise */
};

/* A request's path, relative to the root: no slash at either end, "" for the root itself. */
struct fs_path {
    size_t size;
    char text[STTP_MAX_PATH + 1]; /* ended by a zero byte */
};

struct fs_step;
struct fs_reading;
struct fs_shared;

/* The thread that syncs once a second (STORE_DURABILITY_INTERVAL). */
struct fs_syncer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool started;
    bool stopping;       /* under the lock */
    atomic_bool changed; /* since the last sync */
    atomic_int failure;  /* errno of a sync, until a change has told it */
};

/* Changes that wait for the sync of their directory, or are covered by one under way. */
struct fs_group {
    pthread_mutex_t lock;
    struct fs_shared *directories;
};

/* Syncs of the whole file system: see store_fs_syncfs.c. Times are of fs_milliseconds. */
struct fs_syncfs {
    bool usable;
    pthread_mutex_t lock; /* of changes of what follows */
    unsigned under_way;
    atomic_int_least64_t begun;        /* since when one is under way; 0: none is */
    atomic_int_least64_t paused_until; /* since one took long, or failed */
};

struct store_fs {
    store base; /* first: a store * of this kind is a struct store_fs * */
    struct fs_root root;
    enum store_durability durability;
    pool *pool;
    path_queue *paths;
    atomic_bool closing;
    atomic_bool plain_rename;     /* the file system has no RENAME_NOREPLACE */
    atomic_uint_least64_t unique; /* the next reserved name */
    pthread_mutex_t steps_lock;   /* of the next two */
    struct fs_step *steps;
    struct fs_reading *readings;
    atomic_bool unsure; /* a sync of new directories failed: see store_fs_sync.c */
    struct fs_syncer syncer;
    struct fs_group group;
    struct fs_syncfs syncfs;
};

/* ---- store_fs_root.c: names and descriptors ---- */

/* Opens the document root; 0, or an errno. */
int fs_root_open(struct fs_root *root, const char *docroot);

/* close(2) that leaves errno alone. Negative descriptors are ignored. */
void fs_close(int fd);

/* The path of a request. Its data may be longer than a path can be: then ENAMETOOLONG and false. */
bool fs_path_set(struct fs_path *path, sttp_slice text);

/* The offset of the last segment. */
size_t fs_path_name(const struct fs_path *path);

/* The parent directory of a path. */
void fs_path_parent(const struct fs_path *path, struct fs_path *parent);

/* Opens `path`, relative to the directory `base`, "" for that directory itself. Symbolic links are
 * never followed, neither at the end nor on the way, and nothing above `base` can be named. Adds
 * O_CLOEXEC and O_NOFOLLOW. -1 and errno on failure. */
int fs_open(const struct fs_root *root, int base, const char *path, int flags);

/* The same below the root without waiting for storage; EAGAIN where that cannot be. */
int fs_open_cached(const struct fs_root *root, const char *path, int flags);

/* What an errno means where nothing more is known of it. */
store_result fs_result(int error);

/* The same of the step that makes a change visible: where it was not the kernel or the file system
 * that refused it, nobody knows whether it was done. */
store_result fs_step_result(int error);

/* Whether an open failed because there is nothing of that kind: neither want of permission nor a
 * failure. */
bool fs_is_absent(int error);

/* What to say of a directory that was to be opened as the parent of a target. */
store_result fs_no_parent(int error);

/* Whether something is there that is neither a file nor a directory: a device may fail to open in
 * any way. errno stays. */
bool fs_is_special(const struct fs_root *root, int base, const char *path);

/* Why `path` could not be opened as a file (or, for `directory`, as a directory), given the errno
 * of that. */
store_result fs_explain(const struct fs_root *root, const struct fs_path *path, bool directory,
                        int error);

/* ---- store_fs_text.c: reading texts ---- */

enum { FS_TEXT_ROOM = STTP_MAX_CONTENTS_BYTES + 2 };

/* Opens a name in a directory and reads its text into `buffer` of FS_TEXT_ROOM bytes. */
store_result fs_read_text(const struct fs_root *root, int base, const char *name, char *buffer,
                          sttp_slice *text);

store_result fs_show(struct store_fs *fs, store_operation *operation);

/* SHOW without waiting for storage; false where that cannot be, and the operation is untouched but
 * for its room. */
bool fs_show_now(struct store_fs *fs, store_operation *operation);

/* ---- store_fs_change.c, store_fs_create.c: changes ---- */

/* Reserved names: the prefix and 16 hex digits. */
enum { FS_RESERVED_NAME = 32 };
void fs_reserve_name(struct store_fs *fs, char name[FS_RESERVED_NAME]);

/* Makes a new empty file, for writing. -1 and errno on failure. */
int fs_new_file(int directory, const char *name, mode_t mode);

/* Writes the text of a new file, syncs and closes it. */
store_result fs_fill_file(struct store_fs *fs, int fd, sttp_slice text);

/* Removes a file that was not needed or failed; errno stays. */
void fs_remove_file(int directory, const char *name);

/* Renames within a directory without replacing. -1 with EEXIST where something has the name, with
 * ENOSYS where the file system cannot. */
int fs_rename_exclusively(struct store_fs *fs, int directory, const char *from, const char *to);

/* A change that becomes visible and is not yet synced. Lives on the stack of its thread. */
struct fs_step {
    struct fs_step *next;
    store_operation *operation;
    const struct fs_path *path; /* whose entry in its directory changes */
    bool directories;           /* new ones become visible, of which this is the topmost */
    bool replaces;              /* the name is there before and after */
};

/* A text on its way to its name: an UPDATE, or a CREATE in a directory that is there. */
struct fs_change {
    store_operation *operation;
    const struct fs_path *path;
    int directory;                   /* where it goes */
    int fd;                          /* of the new file, from fs_change_write to fs_change_close */
    char reserved[FS_RESERVED_NAME]; /* its name until it is visible */
    bool again;                      /* CREATE: the result is void, look again at what is there */
    struct fs_step step;
};

/* Its steps, one after the other; where one fails nothing is left of it but what fs_step_end ends.
 * Writes the text to a file of a reserved name, and leaves that open and not synced. */
store_result fs_change_write(struct store_fs *fs, struct fs_change *change);

/* Closes the file, with what came of its sync; returns that where closing succeeds. */
store_result fs_change_close(struct fs_change *change, store_result result);

/* Makes it visible. Then the directory is to be synced, and the step to be ended. */
store_result fs_change_show(struct store_fs *fs, struct fs_change *change);

/* All of them, and the syncs, one after the other. */
store_result fs_change_alone(struct store_fs *fs, struct fs_change *change);

store_result fs_create(struct store_fs *fs, store_operation *operation);
store_result fs_update(struct store_fs *fs, store_operation *operation);
store_result fs_delete(struct store_fs *fs, store_operation *operation);

/* ---- store_fs_sync.c: durability ---- */

/* Does for a changed file or directory what `durability` asks for. -1 and errno on failure; that is
 * final: a later sync of the same data could succeed without having written them. */
int fs_sync(struct store_fs *fs, int fd);

/* The same for a directory in which others may change something, too. */
int fs_sync_shared(struct store_fs *fs, int directory);

/* Syncs a directory after a change in it became visible. */
store_result fs_sync_visible(struct store_fs *fs, int directory);

/* What whoever needs a directory does last: syncs all those above it if it, or one of them, may not
 * be on disk. */
store_result fs_sync_above(struct store_fs *fs, const struct fs_path *directory);

/* What whoever tells which names are in a directory does last, or for `texts` what its files hold:
 * syncs it if any of that may not be on disk. `fd` is the directory. */
store_result fs_sync_shown(struct store_fs *fs, const struct fs_path *directory, int fd,
                           bool texts);

/* Starts and ends the thread of STORE_DURABILITY_INTERVAL; 0 or an errno. */
int fs_syncer_start(struct store_fs *fs);
void fs_syncer_stop(struct store_fs *fs);

/* ---- store_fs_group.c: group commit ---- */

/* A directory that somebody syncs. */
struct fs_shared {
    struct fs_shared *next;
    uint32_t device[2];
    uint64_t inode;
    struct fs_member *waiting; /* for a sync that has not begun; the last one first */
    unsigned count;            /* of them */
    unsigned covered;          /* by the syncs under way */
};

/* One that waits for the sync of a directory; on its thread's stack. */
struct fs_member {
    struct fs_member *next;
    sem_t wake; /* it is synced, or it is to lead */
    int error;  /* of the sync that covered it */
    bool leads; /* it syncs, for itself and for these: */
    struct fs_member *covered;
    unsigned count; /* of them, and itself */
};

/* Syncs a directory by a sync that begins later than this, and that others who wait for the same
 * directory share. -1 and errno on failure. */
int fs_group_sync(struct fs_group *group, int fd);

/* What the kernel has to tell through this descriptor of what was synced just now by another:
 * nothing is written. -1 and errno on failure. */
int fs_own_verdict(int fd);

/* ---- store_fs_syncfs.c: one sync for many ---- */

/* Milliseconds of CLOCK_MONOTONIC. */
int64_t fs_milliseconds(void);

/* Finds out where it may be used at all; later, whether it may now. */
void fs_syncfs_init(struct store_fs *fs);
bool fs_syncfs_may(struct store_fs *fs);

struct fs_wanted_sync {
    int fd;
    int error; /* what came of it: 0 or an errno */
};

/* Syncs files or directories of one file system: together where that may be, else each by `alone`.
 */
void fs_sync_together(struct store_fs *fs, struct fs_wanted_sync *wanted, unsigned count,
                      int (*alone)(struct store_fs *fs, int fd));

/* ---- store_fs_batch.c: many changes by one thread ---- */

/* Does a CREATE or UPDATE, and those that join it. */
void fs_batch_run(struct store_fs *fs, store_operation *first, struct pool_thread *thread);

/* ---- store_fs.c ---- */

/* Ends an operation, and lets others that wait for its path begin. */
void fs_complete(struct store_fs *fs, store_operation *operation, store_result result, int error);

/* Gives an operation to another thread, which does it alone. */
void fs_run_elsewhere(struct store_fs *fs, store_operation *operation);

/* ---- store_fs_directory.c: reading directories ---- */

/* NULL and errno on failure. `path` as for fs_open. */
DIR *fs_directory_open(const struct fs_root *root, int base, const char *path);

/* errno stays. */
void fs_directory_close(DIR *stream);

/* The next entry that is neither "." nor ".."; NULL at the end, with errno 0, and on failure. */
const struct dirent *fs_directory_next(DIR *stream);

/* S_IFREG or S_IFDIR; 0 for all else, for what has vanished and what may not be looked at. False
 * and errno on failure. */
bool fs_entry_type(DIR *stream, const struct dirent *entry, mode_t *type);

/* ---- store_fs_step.c: what others change meanwhile ---- */

/* Around the visible step of a change and its sync, and what came of them. */
void fs_step_begin(struct store_fs *fs, struct fs_step *step);
void fs_step_end(struct store_fs *fs, struct fs_step *step, store_result result);

/* Whether the directory, or one above it, is new and not yet synced. */
bool fs_is_in_making(struct store_fs *fs, const struct fs_path *directory);

/* Whether names in the directory, or for `texts` what its files hold, are not yet synced. */
bool fs_is_changing(struct store_fs *fs, const struct fs_path *directory, bool texts);

/* A directory that is being read. Before fs_reading_end only `directory` is the reader's. */
struct fs_reading {
    struct fs_reading *next;
    const struct fs_path *directory;
    struct fs_names replaced; /* the names in it that were to be replaced meanwhile; to be freed */
    size_t distinct;          /* of them, when doubles were taken out last */
    bool no_memory;           /* for one more */
};

/* From before the directory is opened to its end. */
void fs_reading_begin(struct store_fs *fs, struct fs_reading *reading);
void fs_reading_end(struct store_fs *fs, struct fs_reading *reading);

/* ---- store_fs_list.c ---- */

store_result fs_list(struct store_fs *fs, store_operation *operation);

/* ---- store_fs_clean.c: what was left unfinished ---- */

struct fs_leftovers {
    unsigned removed;
    unsigned failures; /* names or directories that could not be removed or read */
    int error;         /* errno of the first of them */
};

/* Removes everything of a reserved name below the root. */
void fs_remove_leftovers(const struct fs_root *root, struct fs_leftovers *leftovers);

#endif
