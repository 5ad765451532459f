#include "check_fs.h"

#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <sttp/message.h>

#include "say.h"

static const char *kind_of(const struct stat *status)
{
    if (S_ISLNK(status->st_mode))
        return "is a symbolic link; it is not served";
    return "is neither a file nor a directory; it is not served";
}

/* What is wrong with an entry; NULL where all is well. */
static const char *judge(const FTSENT *entry, sttp_slice path, char *text, size_t capacity)
{
    sttp_problem problem;

    switch (entry->fts_info) {
    case FTS_DP:
        return NULL;
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
        return strerror(entry->fts_errno);
    case FTS_D:
    case FTS_F:
        if (sttp_check_path(entry->fts_info == FTS_D ? STTP_ACTION_LIST : STTP_ACTION_SHOW, path,
                            &problem) == STTP_OK)
            return NULL;
        sttp_explain(&problem, text, capacity);
        return text;
    default:
        return kind_of(entry->fts_statp);
    }
}

static void check_all(FTS *tree, size_t root_size, const struct store_checker *checker)
{
    char text[STTP_MAX_MESSAGE + 1];
    FTSENT *entry;

    while ((entry = fts_read(tree)) != NULL) {
        if (entry->fts_level == FTS_ROOTLEVEL)
            continue;
        sttp_slice path = {entry->fts_path + root_size, entry->fts_pathlen - root_size};
        const char *wrong = judge(entry, path, text, sizeof text);
        if (wrong == NULL)
            continue;
        checker->found(checker->context, path, wrong);
        if (entry->fts_info == FTS_D)
            fts_set(tree, entry, FTS_SKIP);
    }
}

bool check_fs(const char *docroot, const struct store_checker *checker)
{
    char *root = strdup(docroot);
    size_t size = strlen(docroot);

    while (root != NULL && size > 1 && root[size - 1] == '/')
        root[--size] = '\0';
    char *roots[] = {root, NULL};
    errno = ENOMEM;
    FTS *tree = root != NULL ? fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL) : NULL;
    if (tree == NULL) {
        say("%s: %s", docroot, strerror(errno));
    } else {
        check_all(tree, strcmp(root, "/") == 0 ? 0 : size, checker);
        fts_close(tree);
    }
    free(root);
    return tree != NULL;
}
