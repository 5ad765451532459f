#include <sttp/message.h>

#include "problem.h"
#include "rules.h"
#include "utf8.h"
#include "word.h"

#include <string.h>

/* Marks the bytes that some rule of form might object to, and maybe some behind the first of them:
 * those that are not printable ASCII or a space, "?", and a dot or a slash behind a slash where
 * both are in the word. */
static uint64_t doubtful_bytes(uint64_t word)
{
    uint64_t low = word - '!' * STTP__WORD_ONES;
    /* 0x7f, "?", which differs from it in this bit, and 0x80 and over. */
    uint64_t high = (word | 0x40 * STTP__WORD_ONES) + STTP__WORD_ONES;
    /* A slash, and what is next to it in the alphabet behind it, from which it borrows: a dot. */
    uint64_t slash = (word ^ '/' * STTP__WORD_ONES) - STTP__WORD_ONES;

    return (low | high | (slash << 8 & slash)) & STTP__WORD_HIGH;
}

size_t sttp__plain_path_size(sttp_slice text)
{
    size_t last = text.size - STTP__WORD_SIZE;
    size_t i;

    if (text.size < STTP__WORD_SIZE || text.data[0] != '/')
        return 0;
    /* One byte is looked at twice, so that no slash is the last of its word. */
    for (i = 0;; i += STTP__WORD_SIZE - 1) {
        size_t at = i < last ? i : last;
        uint64_t doubtful = doubtful_bytes(sttp__word(text.data + at));

        if (doubtful != 0)
            return at + (unsigned)__builtin_ctzll(doubtful) / 8;
        if (at == last)
            return 0;
    }
}

/* The segment that begins at `start`, up to the next slash or the end. */
static sttp_slice segment_at(sttp_slice path, size_t start)
{
    const char *begin = path.data + start;
    const char *slash = memchr(begin, '/', path.size - start);

    return (sttp_slice){begin, slash ? (size_t)(slash - begin) : path.size - start};
}

/* Whether the segment that begins at `start`, behind a slash, may stand in a path. */
static sttp_status judge_segment(sttp_slice path, size_t start)
{
    const size_t reserved = sizeof(STTP_RESERVED_PREFIX) - 1;
    sttp_slice segment;

    if (path.data[start] == '/')
        return STTP_ERR_PATH_EMPTY_SEGMENT;
    if (path.data[start] != '.')
        return STTP_OK;
    segment = segment_at(path, start);
    if (segment.size == 1 || (segment.size == 2 && segment.data[1] == '.'))
        return STTP_ERR_PATH_DOT_SEGMENT;
    if (segment.size >= reserved && memcmp(segment.data, STTP_RESERVED_PREFIX, reserved) == 0)
        return STTP_ERR_PATH_RESERVED;
    return STTP_OK;
}

sttp_status sttp__check_path_form(sttp_slice path, sttp_problem *problem)
{
    size_t start;

    if (path.size == 0)
        return sttp__fail(problem, STTP_ERR_TARGET_MISSING, 0, 0);
    if (path.data[0] != '/') {
        sttp_slice rest = path;
        bool is_url = sttp__cut_origin(&rest).data != NULL;

        return sttp__fail(problem, is_url ? STTP_ERR_TARGET_URL : STTP_ERR_PATH_RELATIVE, 0, 0);
    }
    for (start = 1; start < path.size; start++) {
        sttp_status status = path.data[start - 1] == '/' ? judge_segment(path, start) : STTP_OK;

        if (status != STTP_OK)
            return sttp__fail(problem, status, start, 0);
    }
    return STTP_OK;
}

static sttp_status check_filename(sttp_slice path, sttp_problem *problem)
{
    const char *slash = memrchr(path.data, '/', path.size);
    sttp_slice name = {slash + 1, path.size - (size_t)(slash + 1 - path.data)};
    size_t chars = sttp__count_valid(name);

    if (chars > STTP_MAX_FILENAME_CHARS)
        return sttp__fail(problem, STTP_ERR_FILENAME_TOO_LONG, path.size - name.size, chars);
    return STTP_OK;
}

static sttp_status check_directories(sttp_slice path, sttp_problem *problem)
{
    size_t start;

    for (start = 1; start < path.size;) {
        size_t size = segment_at(path, start).size;

        if (size > STTP_MAX_DIRECTORY_NAME)
            return sttp__fail(problem, STTP_ERR_DIRECTORY_TOO_LONG, start, size);
        start += size + 1;
    }
    return STTP_OK;
}

sttp_status sttp__check_path_names(sttp_action action, sttp_slice path, sttp_problem *problem)
{
    bool is_directory = path.data[path.size - 1] == '/';
    sttp_status status = STTP_OK;

    if (sttp__has_plain_names(path))
        return STTP_OK;
    if (is_directory && action != STTP_ACTION_LIST && action != STTP_ACTION_DELETE)
        return sttp__fail_word(problem, STTP_ERR_PATH_FINAL_SLASH, path.size - 1,
                               sttp__action_word(action));
    if (!is_directory && action != STTP_ACTION_LIST)
        status = check_filename(path, problem);
    if (status != STTP_OK)
        return status;
    if (path.size > STTP_MAX_PATH)
        return sttp__fail(problem, STTP_ERR_PATH_TOO_LONG, 0, path.size);
    return path.size > STTP_MAX_DIRECTORY_NAME ? check_directories(path, problem) : STTP_OK;
}

/* A request line cannot carry these within its path: the parser never meets them. */
static sttp_status check_forbidden(sttp_slice path, sttp_problem *problem)
{
    size_t i;

    for (i = 0; i < path.size; i++) {
        if (path.data[i] == ' ' || path.data[i] == '?')
            return sttp__fail(problem, STTP_ERR_PATH_FORBIDDEN, i, 0);
    }
    return STTP_OK;
}

sttp_status sttp_check_path(sttp_action action, sttp_slice path, sttp_problem *problem)
{
    sttp_status status = sttp__check_encoding(path, STTP__TEXT_PLAIN, problem);

    if (status == STTP_OK && sttp__action_word(action).size == 0)
        status = sttp__fail(problem, STTP_ERR_ACTION, 0, 0);
    if (status == STTP_OK)
        status = sttp__check_path_form(path, problem);
    if (status == STTP_OK)
        status = check_forbidden(path, problem);
    if (status == STTP_OK)
        status = sttp__check_path_names(action, path, problem);
    if (status != STTP_OK && problem)
        problem->word = sttp__action_word(action);
    return status;
}

sttp_slice sttp_parent_path(sttp_slice path)
{
    size_t size = path.size;

    if (size > 1 && path.data[size - 1] == '/')
        size--;
    while (size > 0 && path.data[size - 1] != '/')
        size--;
    return (sttp_slice){path.data, size};
}
