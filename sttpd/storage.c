#include "sttpd/storage.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sttpd/store_fs.h"

static const char *const modules[] = {
    [STORAGE_SQLITE] = "sttpd-sqlite.so",
    [STORAGE_POSTGRES] = "sttpd-postgres.so",
};

/* Each reader of a database has the file, its log and an index of that open. */
enum { DATABASE_DESCRIPTORS = 3 };

/* A connection's socket, and the duplicate that is watched. One more than the pool has listens. */
enum { DESCRIPTORS_OF_LINK = 2 };

uint64_t storage_descriptors(const struct sttpd_options *options)
{
    switch ((enum storage_backend)options->backend) {
    case STORAGE_FS:
        return options->storage_threads * (STORE_FS_DESCRIPTORS + STORE_FS_DESCRIPTORS_TOGETHER);
    case STORAGE_SQLITE:
        return options->storage_threads * DATABASE_DESCRIPTORS;
    case STORAGE_POSTGRES:
        break;
    }
    return DESCRIPTORS_OF_LINK * (options->postgres_pool + 1);
}

const char *storage_name(const struct sttpd_options *options, char *text, size_t capacity)
{
    switch ((enum storage_backend)options->backend) {
    case STORAGE_FS:
        snprintf(text, capacity, "document root %s", options->docroot);
        break;
    case STORAGE_SQLITE:
        snprintf(text, capacity, "database %s", options->sqlite_path);
        break;
    case STORAGE_POSTGRES: /* its conninfo may hold a password */
        snprintf(text, capacity, "the PostgreSQL database");
        break;
    }
    return text;
}

/* ---- a document root ---- */

/* What to do about a document root that cannot be used, as far as the store cannot know it. */
static void docroot_advice(const char *docroot, int error, char *advice, size_t capacity)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-";
    bool is_plain = docroot[0] != '-' && docroot[strspn(docroot, plain)] == '\0';

    advice[0] = '\0';
    if (error == ENOENT && is_plain)
        snprintf(advice, capacity, " (mkdir -p %s)", docroot);
    else if (error == EACCES)
        snprintf(advice, capacity, " (sttpd runs as user %u, group %u)", (unsigned)geteuid(),
                 (unsigned)getegid());
}

static bool open_docroot(const struct sttpd_options *options, log_sink *log, store **opened,
                         char *text, size_t capacity)
{
    const char *docroot = options->docroot;
    bool is_synced = options->durability != STORE_DURABILITY_NONE;
    struct store_fs_settings settings = {
        .docroot = docroot,
        .durability = (enum store_durability)options->durability,
        .threads = (unsigned)options->storage_threads,
        .queue = (unsigned)options->storage_queue,
    };

    log_write(log, LOG_LEVEL_INFO, "opening document root %s%s", docroot,
              is_synced ? "; its file system is synced first" : "");
    if (!store_fs_open(&settings, opened, text, capacity)) {
        size_t size = strlen(text);
        int error = faccessat(AT_FDCWD, docroot, R_OK | X_OK, AT_EACCESS) != 0 ? errno : 0;
        docroot_advice(docroot, error, text + size, capacity - size);
        return false;
    }
    if (faccessat(AT_FDCWD, docroot, W_OK, AT_EACCESS) != 0)
        log_write(log, LOG_LEVEL_WARNING,
                  "document root %s: %m; changes will fail (sttpd runs as user %u, group %u)",
                  docroot, (unsigned)geteuid(), (unsigned)getegid());
    return true;
}

/* ---- a database ---- */

/* Modules have their place beside the program's, so that nothing else is loaded in their stead. */
static bool find(const char *name, char *path, size_t capacity)
{
    ssize_t size = readlink("/proc/self/exe", path, capacity - 1);

    if (size <= 0)
        return false;
    path[size] = '\0';
    char *file = strrchr(path, '/') + 1;
    size_t room = capacity - (size_t)(file - path);
    return (size_t)snprintf(file, room, "%s/%s", STTPD_MODULES, name) < room;
}

static const struct store_module *load(const char *name, char *error, size_t capacity)
{
    char path[PATH_MAX];

    if (!find(name, path, sizeof path)) {
        snprintf(error, capacity, "the place of this program is not known");
        return NULL;
    }
    /* It stays loaded: a store may be abandoned with its threads. */
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct store_module *module =
        library != NULL ? dlsym(library, STORE_MODULE_SYMBOL) : NULL;

    if (module == NULL)
        snprintf(error, capacity, "%s", dlerror());
    return module;
}

/* The module that the options name; NULL with one line about it where it is not there. */
static const struct store_module *module_of(const struct sttpd_options *options, char *text,
                                            size_t capacity)
{
    char reason[PATH_MAX + 512];
    const struct store_module *module = load(modules[options->backend], reason, sizeof reason);

    if (module == NULL)
        snprintf(text, capacity,
                 "storage.backend %s: this sttpd was built without it, or what it needs is not "
                 "installed: %s",
                 storage_backend_words[options->backend], reason);
    return module;
}

static struct store_settings settings_of(const struct sttpd_options *options, log_sink *log,
                                         const struct store_watcher *watcher)
{
    return (struct store_settings){
        .durability = (enum store_durability)options->durability,
        .threads = (unsigned)options->storage_threads,
        .queue = (unsigned)options->storage_queue,
        .sqlite_path = options->sqlite_path,
        .postgres_conninfo = options->postgres_conninfo,
        .postgres_pool = (unsigned)options->postgres_pool,
        .log = log,
        .watcher = watcher,
    };
}

static bool open_database(const struct sttpd_options *options, log_sink *log,
                          const struct store_watcher *watcher, store **opened, char *text,
                          size_t capacity)
{
    char name[PATH_MAX + 32];
    const struct store_module *module = module_of(options, text, capacity);
    struct store_settings settings = settings_of(options, log, watcher);

    if (module == NULL)
        return false;
    log_write(log, LOG_LEVEL_INFO, "opening %s", storage_name(options, name, sizeof name));
    return module->open(&settings, opened, text, capacity);
}

bool storage_check(const struct sttpd_options *options, log_sink *log,
                   const struct store_checker *checker)
{
    char text[PATH_MAX + 1024] = "";
    const struct store_module *module = module_of(options, text, sizeof text);
    struct store_settings settings = settings_of(options, log, NULL);
    bool is_good = module != NULL && module->check(&settings, checker, text, sizeof text);

    if (!is_good)
        log_write(log, LOG_LEVEL_ERROR, "%s", text);
    return is_good;
}

bool storage_open(const struct sttpd_options *options, log_sink *log,
                  const struct store_watcher *watcher, store **opened)
{
    char text[PATH_MAX + 1024] = "";
    bool is_open = options->backend == STORAGE_FS
                       ? open_docroot(options, log, opened, text, sizeof text)
                       : open_database(options, log, watcher, opened, text, sizeof text);

    if (text[0] != '\0')
        log_write(log, is_open ? LOG_LEVEL_WARNING : LOG_LEVEL_ERROR, "%s", text);
    return is_open;
}
