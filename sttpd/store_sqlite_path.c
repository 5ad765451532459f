/* Paths as rows have them: a directory's with its final slash. The root has no row. */
#include <string.h>

#include "sttpd/store_sqlite_private.h"

void sq_path_set(struct sq_path *path, sttp_slice text)
{
    size_t size = text.size;

    if (size > 1 && text.data[size - 1] == '/')
        size--;
    memcpy(path->text, text.data, size);
    path->file = (sttp_slice){path->text, size};
    path->directory = path->file;
    if (size > 1)
        path->text[path->directory.size++] = '/';
    const char *slash = memrchr(path->text, '/', size);
    path->parent = (sttp_slice){path->text, (size_t)(slash - path->text) + 1};
}

bool sq_is_root(sttp_slice path)
{
    return path.size == 1;
}

store_result sq_explain(struct sq_connection *connection, const struct sq_path *path,
                        bool directory)
{
    int64_t id;

    if (sq_is_root(path->file))
        return STORE_IS_DIRECTORY;
    store_result result = sq_find(connection, directory ? path->file : path->directory, &id);

    if (result == STORE_DONE && id != 0)
        return directory ? STORE_IS_FILE : STORE_IS_DIRECTORY;
    if (result == STORE_DONE && sq_is_root(path->parent))
        return STORE_NOT_FOUND;
    if (result == STORE_DONE)
        result = sq_find(connection, path->parent, &id);
    if (result != STORE_DONE)
        return result;
    return id != 0 ? STORE_NOT_FOUND : STORE_PATH_NOT_FOUND;
}
