/* Files of SQLite whose calls can fail: a VFS in front of the system's own, which is the default as
 * soon as vfs_install() was called. It counts the calls; a test arms one that fails. */
#ifndef STTP_TESTS_SQLITE_VFS_H
#define STTP_TESTS_SQLITE_VFS_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <sqlite3.h>

enum vfs_call { VFS_READ, VFS_WRITE, VFS_SYNC, VFS_TRUNCATE, VFS_SIZE, VFS_SHM, VFS_OPEN, VFS_ANY };
enum vfs_file { VFS_DATABASE, VFS_LOG, VFS_EITHER };

static struct {
    _Atomic enum vfs_call call;
    _Atomic enum vfs_file file;
    atomic_int first; /* the call that fails, counted from 1 since it was armed; 0: none */
    atomic_int times; /* how many fail from there */
    atomic_int code;
    atomic_int error;                       /* errno */
    atomic_int met;                         /* calls since it was armed */
    atomic_int counts[VFS_ANY][VFS_EITHER]; /* all calls */
} vfs;

static sqlite3_vfs *vfs_real;

struct vfs_opened {
    sqlite3_file base;
    enum vfs_file kind;
    sqlite3_file *real;
};

static void vfs_arm(enum vfs_call call, enum vfs_file file, int first, int times, int code,
                    int error)
{
    atomic_store(&vfs.first, 0);
    atomic_store(&vfs.call, call);
    atomic_store(&vfs.file, file);
    atomic_store(&vfs.times, times);
    atomic_store(&vfs.code, code);
    atomic_store(&vfs.error, error);
    atomic_store(&vfs.met, 0);
    atomic_store(&vfs.first, first);
}

/* Whether a call has failed. */
static bool vfs_has_failed(void)
{
    int first = atomic_load(&vfs.first);
    return first > 0 && atomic_load(&vfs.met) >= first;
}

static bool vfs_disarm(void)
{
    bool failed = vfs_has_failed();
    atomic_store(&vfs.first, 0);
    return failed;
}

/* What a call shall fail with; SQLITE_OK where it shall not. */
static int vfs_meet(enum vfs_call call, enum vfs_file file)
{
    atomic_fetch_add(&vfs.counts[call][file], 1);
    int first = atomic_load(&vfs.first);
    enum vfs_call wanted = atomic_load(&vfs.call);
    enum vfs_file where = atomic_load(&vfs.file);
    if (first == 0 || (wanted != VFS_ANY && wanted != call) ||
        (where != VFS_EITHER && where != file))
        return SQLITE_OK;
    int met = atomic_fetch_add(&vfs.met, 1) + 1;
    if (met < first || met >= first + atomic_load(&vfs.times))
        return SQLITE_OK;
    errno = atomic_load(&vfs.error); /* that is what SQLite looks at */
    return atomic_load(&vfs.code);
}

/* Codes of the kind of call, where any call fails. */
static int vfs_code(enum vfs_call call, int code)
{
    static const int codes[] = {
        [VFS_READ] = SQLITE_IOERR_READ,  [VFS_WRITE] = SQLITE_IOERR_WRITE,
        [VFS_SYNC] = SQLITE_IOERR_FSYNC, [VFS_TRUNCATE] = SQLITE_IOERR_TRUNCATE,
        [VFS_SIZE] = SQLITE_IOERR_FSTAT, [VFS_SHM] = SQLITE_IOERR_SHMMAP,
        [VFS_OPEN] = SQLITE_CANTOPEN};
    return code == SQLITE_IOERR ? codes[call] : code;
}

#define VFS_REAL(file) (((struct vfs_opened *)(file))->real)

/* Makes the call unless it fails. */
#define VFS_FORWARD(call, file, made)                                                              \
    int code = vfs_meet(call, ((struct vfs_opened *)(file))->kind);                                \
    return code != SQLITE_OK ? vfs_code(call, code) : (made)

static int vfs_close(sqlite3_file *file)
{
    return VFS_REAL(file)->pMethods->xClose(VFS_REAL(file));
}

static int vfs_read(sqlite3_file *file, void *to, int size, sqlite3_int64 at)
{
    VFS_FORWARD(VFS_READ, file, VFS_REAL(file)->pMethods->xRead(VFS_REAL(file), to, size, at));
}

static int vfs_write(sqlite3_file *file, const void *from, int size, sqlite3_int64 at)
{
    VFS_FORWARD(VFS_WRITE, file, VFS_REAL(file)->pMethods->xWrite(VFS_REAL(file), from, size, at));
}

static int vfs_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    VFS_FORWARD(VFS_TRUNCATE, file, VFS_REAL(file)->pMethods->xTruncate(VFS_REAL(file), size));
}

static int vfs_sync(sqlite3_file *file, int flags)
{
    VFS_FORWARD(VFS_SYNC, file, VFS_REAL(file)->pMethods->xSync(VFS_REAL(file), flags));
}

static int vfs_size(sqlite3_file *file, sqlite3_int64 *size)
{
    VFS_FORWARD(VFS_SIZE, file, VFS_REAL(file)->pMethods->xFileSize(VFS_REAL(file), size));
}

static int vfs_lock(sqlite3_file *file, int level)
{
    return VFS_REAL(file)->pMethods->xLock(VFS_REAL(file), level);
}

static int vfs_unlock(sqlite3_file *file, int level)
{
    return VFS_REAL(file)->pMethods->xUnlock(VFS_REAL(file), level);
}

static int vfs_reserved(sqlite3_file *file, int *result)
{
    return VFS_REAL(file)->pMethods->xCheckReservedLock(VFS_REAL(file), result);
}

static int vfs_control(sqlite3_file *file, int operation, void *argument)
{
    if (operation == SQLITE_FCNTL_LAST_ERRNO) {
        *(int *)argument = atomic_load(&vfs.error);
        return SQLITE_OK;
    }
    return VFS_REAL(file)->pMethods->xFileControl(VFS_REAL(file), operation, argument);
}

static int vfs_sector(sqlite3_file *file)
{
    return VFS_REAL(file)->pMethods->xSectorSize(VFS_REAL(file));
}

static int vfs_device(sqlite3_file *file)
{
    return VFS_REAL(file)->pMethods->xDeviceCharacteristics(VFS_REAL(file));
}

static int vfs_map(sqlite3_file *file, int page, int size, int extend, void volatile **memory)
{
    VFS_FORWARD(VFS_SHM, file,
                VFS_REAL(file)->pMethods->xShmMap(VFS_REAL(file), page, size, extend, memory));
}

static int vfs_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    return VFS_REAL(file)->pMethods->xShmLock(VFS_REAL(file), offset, count, flags);
}

static void vfs_barrier(sqlite3_file *file)
{
    VFS_REAL(file)->pMethods->xShmBarrier(VFS_REAL(file));
}

static int vfs_unmap(sqlite3_file *file, int remove)
{
    return VFS_REAL(file)->pMethods->xShmUnmap(VFS_REAL(file), remove);
}

static const sqlite3_io_methods vfs_methods = {
    .iVersion = 2,
    .xClose = vfs_close,
    .xRead = vfs_read,
    .xWrite = vfs_write,
    .xTruncate = vfs_truncate,
    .xSync = vfs_sync,
    .xFileSize = vfs_size,
    .xLock = vfs_lock,
    .xUnlock = vfs_unlock,
    .xCheckReservedLock = vfs_reserved,
    .xFileControl = vfs_control,
    .xSectorSize = vfs_sector,
    .xDeviceCharacteristics = vfs_device,
    .xShmMap = vfs_map,
    .xShmLock = vfs_shm_lock,
    .xShmBarrier = vfs_barrier,
    .xShmUnmap = vfs_unmap,
};

static int vfs_open(sqlite3_vfs *self, const char *name, sqlite3_file *file, int flags, int *given)
{
    struct vfs_opened *opened = (struct vfs_opened *)file;
    (void)self;
    opened->base.pMethods = NULL;
    opened->kind = (flags & SQLITE_OPEN_WAL) != 0 ? VFS_LOG : VFS_DATABASE;
    opened->real = (sqlite3_file *)(opened + 1);
    int code = vfs_meet(VFS_OPEN, opened->kind);
    if (code != SQLITE_OK)
        return vfs_code(VFS_OPEN, code);
    code = vfs_real->xOpen(vfs_real, name, opened->real, flags, given);
    if (code == SQLITE_OK)
        opened->base.pMethods = &vfs_methods;
    return code;
}

static void vfs_install(void)
{
    static sqlite3_vfs faulty;
    vfs_real = sqlite3_vfs_find(NULL);
    faulty = *vfs_real;
    faulty.zName = "faulty";
    faulty.szOsFile = (int)sizeof(struct vfs_opened) + vfs_real->szOsFile;
    faulty.xOpen = vfs_open;
    sqlite3_vfs_register(&faulty, 1);
}

#endif
