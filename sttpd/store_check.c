#include "sttpd/store_check.h"

void store_check_row(const struct store_checker *checker, const struct store_row *row)
{
    sttp_action action = row->is_directory ? STTP_ACTION_LIST : STTP_ACTION_SHOW;
    sttp_problem problem;
    char text[STTP_MAX_MESSAGE + 1];

    if (sttp_check_path(action, row->path, &problem) != STTP_OK) {
        sttp_explain(&problem, text, sizeof text);
        checker->found(checker->context, row->path, text);
    }
    if (!row->has_parent)
        checker->found(checker->context, row->path, "the directory that it is in is not there");
    if (row->is_directory && row->has_text)
        checker->found(checker->context, row->path, "is a directory and has a text");
    if (!row->is_directory && !row->has_text)
        checker->found(checker->context, row->path, "is a file and has no text");
}
