#include <sttp/message.h>

#include "ascii.h"
#include "problem.h"
#include "rules.h"
#include "utf8.h"

#include <string.h>

const char *sttp_action_name(sttp_action action)
{
    switch (action) {
    case STTP_ACTION_CREATE:
        return "CREATE";
    case STTP_ACTION_SHOW:
        return "SHOW";
    case STTP_ACTION_LIST:
        return "LIST";
    case STTP_ACTION_UPDATE:
        return "UPDATE";
    case STTP_ACTION_DELETE:
        return "DELETE";
    case STTP_ACTION_NONE:
        break;
    }
    return "NONE";
}

sttp_action sttp_action_from_name(sttp_slice name)
{
    int action;

    for (action = STTP_ACTION_CREATE; action <= STTP_ACTION_DELETE; action++) {
        const char *known = sttp_action_name((sttp_action)action);

        if (name.size == strlen(known) && sttp__equal_fold(name.data, known, name.size))
            return (sttp_action)action;
    }
    return STTP_ACTION_NONE;
}

bool sttp_action_is_change(sttp_action action)
{
    return action == STTP_ACTION_CREATE || action == STTP_ACTION_UPDATE ||
           action == STTP_ACTION_DELETE;
}

sttp_code sttp_action_success(sttp_action action)
{
    if (action == STTP_ACTION_CREATE)
        return STTP_CODE_CREATED;
    return action == STTP_ACTION_DELETE ? STTP_CODE_DELETED : STTP_CODE_OK;
}

const char *sttp_code_phrase(int code)
{
    switch (code) {
    case STTP_CODE_CREATED:
        return "CREATED";
    case STTP_CODE_OK:
        return "OK";
    case STTP_CODE_CLIENT_ERROR:
        return "CLIENT ERROR";
    case STTP_CODE_FILENAME_TOO_LONG:
        return "FILENAME TOO LONG";
    case STTP_CODE_NOT_FOUND:
        return "NOT FOUND";
    case STTP_CODE_PATH_NOT_FOUND:
        return "PATH NOT FOUND";
    case STTP_CODE_SERVER_ERROR:
        return "SERVER ERROR";
    case STTP_CODE_CANNOT_CREATE_PATH:
        return "CANNOT CREATE PATH";
    case STTP_CODE_DELETED:
        return "DELETED";
    default:
        return NULL;
    }
}

bool sttp_code_has_message(sttp_code code)
{
    return code == STTP_CODE_CLIENT_ERROR || code == STTP_CODE_SERVER_ERROR;
}

static bool same(sttp_slice a, sttp_slice b)
{
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

/* What follows the origin in the echo of a proxy's own answer; else data NULL. */
static sttp_slice behind_origin(sttp_slice echo, sttp_slice origin)
{
    if (!origin.data || echo.size < origin.size || memcmp(echo.data, origin.data, origin.size) != 0)
        return (sttp_slice){NULL, 0};
    return (sttp_slice){echo.data + origin.size, echo.size - origin.size};
}

bool sttp_response_speaks_of(const sttp_response *response, const sttp_request *request)
{
    sttp_slice echo = response->echo;
    sttp_slice own = behind_origin(echo, request->origin);
    sttp_slice parent;

    switch (response->code) {
    case STTP_CODE_PATH_NOT_FOUND:
    case STTP_CODE_CANNOT_CREATE_PATH:
        parent = sttp_parent_path(request->path);
        return same(echo, parent) || same(own, parent);
    case STTP_CODE_CLIENT_ERROR:
        return same(echo, request->path) || same(own, request->path) || same(echo, STTP_SLICE("-"));
    case STTP_CODE_FILENAME_TOO_LONG:
    case STTP_CODE_SERVER_ERROR:
        return same(echo, request->path) || same(own, request->path);
    case STTP_CODE_CREATED:
    case STTP_CODE_OK:
    case STTP_CODE_DELETED:
        return response->code == sttp_action_success(request->action) && same(echo, request->path);
    case STTP_CODE_NOT_FOUND:
        return same(echo, request->path);
    }
    return false;
}

size_t sttp_count_chars(sttp_slice text)
{
    if (sttp__check_encoding(text, STTP__TEXT_CONTROLS, NULL) != STTP_OK)
        return SIZE_MAX;
    return sttp__count_valid(text);
}

sttp_status sttp_check_text(sttp_slice text, sttp_problem *problem)
{
    sttp_status status = sttp__check_encoding(text, STTP__TEXT_TAB, problem);

    return status != STTP_OK ? status : sttp__check_text_length(text, problem);
}

sttp_status sttp__check_text_length(sttp_slice text, sttp_problem *problem)
{
    size_t chars;

    /* A character takes a byte at least. */
    if (text.size <= STTP_MAX_CONTENTS_CHARS)
        return STTP_OK;
    chars = sttp__count_valid(text);
    if (chars > STTP_MAX_CONTENTS_CHARS)
        return sttp__fail(problem, STTP_ERR_CONTENTS_TOO_LONG, 0, chars);
    return STTP_OK;
}

sttp_slice sttp__action_word(sttp_action action)
{
    const char *name = sttp_action_name(action);

    if (action < STTP_ACTION_CREATE || action > STTP_ACTION_DELETE)
        return (sttp_slice){"", 0};
    return (sttp_slice){name, strlen(name)};
}
