/* LIST. The directories still to be read wait in a set of paths, and one at a time is open: depth
 * costs neither stack nor descriptors. With a limit no more than about twice as many names are kept
 * at a time: when there are more, the first ones stay, and nothing behind the last of them is
 * looked at any further. Without a limit it ends when the answer would be too long.
 *
 * What a search looks at is bounded, since its answer may be small however much that is: it would
 * keep a storage thread and the disk for minutes. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "sttpd/store_fs_names.h"
#include "sttpd/store_fs_private.h"

/* Names that are kept beyond twice the limit, so that small limits do not sort all the time. */
enum { SLACK = 1024 };

/* Bytes of the answer that may be names which come twice, before it counts as too long. */
enum { DOUBLES = STTP_MAX_CONTENTS_LINE / 16 };

/* Bytes of the paths of directories still to be read; an answer could not hold more either. */
enum { MAX_PENDING = STTP_MAX_CONTENTS_LINE };

/* What opening a file or a directory is worth in names, besides the look at its own. */
enum { OPENING_WORK = STORE_FS_SEARCH_NAMES / STORE_FS_SEARCH_FILES - 1 };

struct listing {
    struct store_fs *fs;
    const sttp_query *query;
    struct fs_names names;
    struct fs_names pending;
    size_t work;   /* done so far, in names */
    size_t joined; /* bytes of the answer so far, each name with what follows it */
    bool bounded; /* the names are cut to the limit: the one at limit - 1 is the last that counts */
    size_t root_size;                            /* what goes before each name in `path` */
    size_t size;                                 /* of the directory in `path`, with its slash */
    char path[STTP_MAX_PATH + 2 + NAME_MAX + 2]; /* "/dir/", and a name behind it */
};

static store_result spend(struct listing *listing, size_t work)
{
    bool search = listing->query->recursive || listing->query->text.data != NULL;
    listing->work += work;
    if (!search || listing->work <= STORE_FS_SEARCH_NAMES)
        return STORE_DONE;
    errno = 0;
    return STORE_TOO_MUCH_WORK;
}

/* Whether nothing from `name` on can be in the answer. */
static bool is_behind(const struct listing *listing, sttp_slice name)
{
    return listing->bounded &&
           fs_names_compare(name, fs_names_at(&listing->names, listing->query->limit - 1)) > 0;
}

/* Whether all names below the directory come before the page that is wanted. */
static bool is_before_page(const struct listing *listing, sttp_slice directory)
{
    sttp_slice after = listing->query->after;
    size_t size = directory.size < after.size ? directory.size : after.size;
    return after.data != NULL && memcmp(directory.data, after.data, size) < 0;
}

static store_result add_pending(struct listing *listing, size_t size)
{
    sttp_slice name = {listing->path + listing->root_size, size - listing->root_size};
    if (!listing->query->recursive || is_behind(listing, name) || is_before_page(listing, name))
        return STORE_DONE;
    if (listing->pending.used + size > MAX_PENDING)
        return STORE_TOO_MANY_NAMES;
    if (fs_names_add(&listing->pending, (sttp_slice){listing->path, size}))
        return STORE_DONE;
    errno = ENOMEM;
    return STORE_NO_MEMORY;
}

static store_result add_name(struct listing *listing, sttp_slice name)
{
    size_t limit = listing->query->limit;
    listing->joined += name.size + strlen(", ");
    if (limit == 0 && listing->joined > STTP_MAX_CONTENTS_LINE + DOUBLES)
        return STORE_TOO_MANY_NAMES;
    bool done = fs_names_add(&listing->names, name);
    if (done && limit != 0 && listing->names.count >= 2 * limit + SLACK) {
        done = fs_names_keep(&listing->names, limit);
        listing->bounded = done && listing->names.count == limit;
    }
    if (done)
        return STORE_DONE;
    errno = ENOMEM;
    return STORE_NO_MEMORY;
}

/* Whether the text of a file is asked for and found. Files that cannot be read have none. */
static store_result match_text(struct listing *listing, DIR *stream, const char *name, bool *wanted)
{
    char buffer[FS_TEXT_ROOM];
    sttp_slice text;
    store_result result = spend(listing, OPENING_WORK);
    if (result != STORE_DONE)
        return result;
    result = fs_read_text(&listing->fs->root, dirfd(stream), name, buffer, &text);
    *wanted = result == STORE_DONE && sttp_text_contains(text, listing->query->text);
    return result >= STORE_NO_SPACE ? result : STORE_DONE;
}

static bool is_wanted(const struct listing *listing, sttp_slice name, sttp_slice segment,
                      bool directory)
{
    const sttp_query *query = listing->query;
    if (query->type == (directory ? STTP_LIST_FILES : STTP_LIST_DIRECTORIES))
        return false;
    if (directory && query->text.data != NULL)
        return false;
    if (query->after.data != NULL && fs_names_compare(name, query->after) <= 0)
        return false;
    if (is_behind(listing, name))
        return false;
    return query->name.data == NULL || sttp_name_matches(query->name, segment);
}

static store_result list_entry(struct listing *listing, DIR *stream, const char *entry, mode_t type)
{
    sttp_slice segment = {entry, strlen(entry)};
    size_t size = listing->size + segment.size;
    memcpy(listing->path + listing->size, segment.data, segment.size);
    bool directory = S_ISDIR(type);
    if (sttp_check_path(directory ? STTP_ACTION_LIST : STTP_ACTION_SHOW,
                        (sttp_slice){listing->path, size}, NULL) != STTP_OK)
        return STORE_DONE;
    if (directory)
        listing->path[size++] = '/';
    sttp_slice name = {listing->path + listing->root_size, size - listing->root_size};
    store_result result = directory ? add_pending(listing, size) : STORE_DONE;
    bool wanted = is_wanted(listing, name, segment, directory);
    if (result == STORE_DONE && wanted && listing->query->text.data != NULL)
        result = match_text(listing, stream, entry, &wanted);
    return result == STORE_DONE && wanted ? add_name(listing, name) : result;
}

static store_result list_stream(struct listing *listing, DIR *stream)
{
    const struct dirent *entry;
    while ((entry = fs_directory_next(stream)) != NULL) {
        if (atomic_load(&listing->fs->closing))
            return STORE_BUSY;
        store_result result = spend(listing, 1);
        mode_t type;
        if (result == STORE_DONE && !fs_entry_type(stream, entry, &type))
            return fs_result(errno);
        if (result == STORE_DONE && type != 0)
            result = list_entry(listing, stream, entry->d_name, type);
        if (result != STORE_DONE)
            return result;
    }
    return errno == 0 || errno == ENOENT ? STORE_DONE : fs_result(errno);
}

/* What was replaced while the directory was read may be missing in what was read, or not: names
 * that come twice are in the answer once. */
static store_result list_replaced(struct listing *listing, DIR *stream,
                                  const struct fs_reading *reading)
{
    if (reading->no_memory) {
        errno = ENOMEM;
        return STORE_NO_MEMORY;
    }
    store_result result = STORE_DONE;
    for (size_t i = 0; i < reading->replaced.count && result == STORE_DONE; i++) {
        char name[STTP_MAX_PATH + 1];
        struct stat status;
        sttp_slice replaced = fs_names_at(&reading->replaced, i);
        *(char *)mempcpy(name, replaced.data, replaced.size) = '\0';
        if (fstatat(dirfd(stream), name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(status.st_mode))
            result = list_entry(listing, stream, name, S_IFREG);
    }
    return result;
}

/* Reads what is open, and makes durable what was seen in it. */
static store_result list_opened(struct listing *listing, DIR *stream, struct fs_reading *reading)
{
    store_result result = list_stream(listing, stream);
    fs_reading_end(listing->fs, reading);
    if (result == STORE_DONE)
        result = list_replaced(listing, stream, reading);
    bool texts = listing->query->text.data != NULL;
    if (result == STORE_DONE)
        result = fs_sync_shown(listing->fs, reading->directory, dirfd(stream), texts);
    return result;
}

/* Lists one directory; *error is 0, or the errno of opening it. */
static store_result list_directory(struct listing *listing, int *error)
{
    struct fs_path path;
    struct fs_reading reading = {.directory = &path};
    store_result result = STORE_DONE;
    if (!fs_path_set(&path, (sttp_slice){listing->path, listing->size})) {
        *error = errno;
        return STORE_DONE;
    }
    fs_reading_begin(listing->fs, &reading);
    DIR *stream = fs_directory_open(&listing->fs->root, listing->fs->root.fd, path.text);
    *error = stream == NULL ? errno : 0;
    if (stream != NULL) {
        result = list_opened(listing, stream, &reading);
        fs_directory_close(stream);
    } else {
        fs_reading_end(listing->fs, &reading);
    }
    int failure = errno;
    fs_names_free(&reading.replaced);
    errno = failure;
    return result;
}

/* Directories that vanished or may not be read are passed over: their names are listed, and nothing
 * below them. */
static store_result list_pending(struct listing *listing)
{
    store_result result = STORE_DONE;
    while (result == STORE_DONE && listing->pending.count > 0) {
        sttp_slice next = fs_names_pop(&listing->pending);
        memcpy(listing->path, next.data, next.size);
        listing->size = next.size;
        if (is_behind(listing, (sttp_slice){listing->path + listing->root_size,
                                            listing->size - listing->root_size}))
            continue;
        int error = 0;
        result = spend(listing, OPENING_WORK);
        if (result == STORE_DONE)
            result = list_directory(listing, &error);
        if (error != 0 && !fs_is_absent(error) && error != EACCES) {
            errno = error;
            result = fs_result(error);
        }
    }
    return result;
}

static store_result list_all(struct listing *listing, int *error)
{
    store_result result = list_directory(listing, error);
    if (result == STORE_DONE && *error == 0)
        result = list_pending(listing);
    if (result != STORE_DONE)
        return result;
    size_t limit = listing->query->limit;
    fs_names_free(&listing->pending);
    fs_names_sort(&listing->names);
    if (limit != 0 && listing->names.count > limit)
        listing->names.count = limit;
    return STORE_DONE;
}

static store_result answer(const struct listing *listing, store_operation *operation)
{
    operation->names = fs_names_join(&listing->names, &operation->contents.size);
    operation->contents.data = operation->names;
    if (operation->names == NULL)
        return STORE_NO_MEMORY;
    bool fits = operation->contents.size + strlen("\n") <= STTP_MAX_CONTENTS_LINE;
    return fits ? STORE_DONE : STORE_TOO_MANY_NAMES;
}

store_result fs_list(struct store_fs *fs, store_operation *operation)
{
    struct fs_path path;
    if (!fs_path_set(&path, operation->path))
        return STORE_NOT_FOUND;
    struct listing listing = {.fs = fs, .query = &operation->query, .path = "/"};
    memcpy(listing.path + 1, path.text, path.size);
    listing.size = 1 + path.size;
    if (path.size > 0)
        listing.path[listing.size++] = '/';
    listing.root_size = listing.size;
    int error;
    store_result result = list_all(&listing, &error);
    if (error != 0)
        result = fs_explain(&fs->root, &path, true, error);
    else if (result == STORE_DONE && fs_sync_above(fs, &path) != STORE_DONE)
        result = fs_result(errno);
    if (error == 0 && result == STORE_DONE)
        result = answer(&listing, operation);
    fs_names_free(&listing.names);
    fs_names_free(&listing.pending);
    return result;
}
