/* What the tests of the file system store share: a document root of their own, operations that wait
 * for their result, and what is to be found in the root afterwards. */
#ifndef STTP_TESTS_STORE_SUPPORT_H
#define STTP_TESTS_STORE_SUPPORT_H

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <check.h>

#include "store_operations.h"
#include "sttpd/store_fs_private.h"

/* The ways to resolve names and to rename: what new kernels can, and what is left on old ones. */
enum { MODES = 2 };

struct fixture {
    char directory[256]; /* holds "root" and what lies outside of it */
    char docroot[300];
    store *store;
};

static struct fixture fixture;

static inline void put_mode(store *opened, int mode)
{
    struct store_fs *fs = (struct store_fs *)opened;
    fs->root.walk = mode == 1;
    fs->plain_rename = mode == 1;
}

static inline store *open_store(int mode, const struct store_fs_settings *given)
{
    struct store_fs_settings settings = given == NULL ? (struct store_fs_settings){0} : *given;
    settings.docroot = fixture.docroot;
    char error[512];
    store *opened;
    ck_assert_msg(store_fs_open(&settings, &opened, error, sizeof error), "%s", error);
    ck_assert_str_eq(error, "");
    put_mode(opened, mode);
    return opened;
}

static inline void open_mode(int mode)
{
    fixture.store = open_store(mode, NULL);
}

/* Whether a SHOW can need no thread here: there are file systems that do not tell what is in
 * memory. On any other one the store has to do it. */
static inline bool can_show_at_once(void)
{
    struct statfs status;
    ck_assert_int_eq(statfs(fixture.docroot, &status), 0);
    switch ((uint32_t)status.f_type) {
    case TMPFS_MAGIC: /* names, but not texts */
    case OVERLAYFS_SUPER_MAGIC:
    case NFS_SUPER_MAGIC:
    case FUSE_SUPER_MAGIC:
    case V9FS_MAGIC:
        fprintf(stderr, "NOT RUN: a SHOW at once, the file system of %s (0x%lx) has none\n",
                fixture.docroot, (unsigned long)status.f_type);
        return false;
    default:
        ck_assert_msg(((struct store_fs *)fixture.store)->root.cached,
                      "%s: the store reads nothing at once", fixture.docroot);
        return true;
    }
}

static inline void make_root(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(fixture.directory, sizeof fixture.directory, "%s/sttp-store-XXXXXX",
             base == NULL ? "/tmp" : base);
    ck_assert_ptr_nonnull(mkdtemp(fixture.directory));
    snprintf(fixture.docroot, sizeof fixture.docroot, "%s/root", fixture.directory);
    ck_assert_int_eq(mkdir(fixture.docroot, 0755), 0);
    fixture.store = NULL;
}

static inline int remove_one(const char *path, const struct stat *status, int type,
                             struct FTW *walk)
{
    (void)status, (void)type, (void)walk;
    return remove(path);
}

static inline void close_fixture(void)
{
    if (fixture.store != NULL)
        fixture.store->close(fixture.store);
    fixture.store = NULL;
}

static inline void remove_root(void)
{
    close_fixture();
    nftw(fixture.directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A path below the fixture's directory; "/root/..." is in the document root. Static memory. */
__attribute__((format(printf, 1, 2))) static inline const char *place(const char *format, ...)
{
    static __thread char path[8192];
    int size = snprintf(path, sizeof path, "%s", fixture.directory);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path + size, sizeof path - (size_t)size, format, arguments);
    va_end(arguments);
    return path;
}

static inline void put_bytes(const char *path, const char *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ck_assert_msg(fd != -1, "%s", path);
    ck_assert_int_eq(write(fd, bytes, size), (ssize_t)size);
    close(fd);
}

static inline void put_file(const char *path, const char *text)
{
    put_bytes(path, text, strlen(text));
}

/* What a file holds; "(none)" where it is not there. Static memory. */
static inline const char *file_text(const char *path)
{
    static __thread char text[4096];
    int fd = open(path, O_RDONLY | O_NOFOLLOW);
    if (fd == -1)
        return "(none)";
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    ck_assert_int_ge(size, 0);
    text[size] = '\0';
    return text;
}

static int counted_entries;
static int counted_reserved;

static inline int count_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status, (void)type;
    counted_entries++;
    counted_reserved += strncmp(path + walk->base, ".sttp-", 6) == 0;
    return 0;
}

/* How much is below the document root; nothing of a reserved name may be among it. */
static inline int count_entries(void)
{
    counted_entries = counted_reserved = 0;
    nftw(fixture.docroot, count_one, 16, FTW_PHYS);
    ck_assert_int_eq(counted_reserved, 0);
    return counted_entries;
}

static inline int count_descriptors(void)
{
    int count = 0;
    DIR *stream = opendir("/proc/self/fd");
    while (readdir(stream) != NULL)
        count++;
    closedir(stream);
    return count;
}

static inline struct outcome run_query(sttp_action action, const char *path, const char *text,
                                       const sttp_query *query)
{
    return run_on(fixture.store, action, path, text, query);
}

static inline struct outcome run(sttp_action action, const char *path, const char *text)
{
    return run_query(action, path, text, NULL);
}

static inline store_result result_of(sttp_action action, const char *path, const char *text)
{
    return run(action, path, text).result;
}

#endif
