/* The parts of a query stand in the order of the URL and then of the table below. The key `after`
 * stands last, where the next page has another one. */
#include "search.h"

#include <stdio.h>
#include <string.h>

#include "text.h"

/* A part of the query. */
struct part {
    const char *key;
    const char *value;  /* NULL: the options do not ask for it */
    const char *option; /* NULL: a default, which gives way to what the URL says */
};

enum { PART_COUNT = 5 };

static void put(cli_search *search, sttp_slice text)
{
    if (text.size <= sizeof search->query - search->size) {
        memcpy(search->query + search->size, text.data, text.size);
        search->size += text.size;
    } else {
        search->size = sizeof search->query; /* too long: the check of the target says so */
    }
}

/* Only what would mean something else in a query is written in its encoded form. */
static void put_part(cli_search *search, const char *key, sttp_slice value)
{
    if (search->size > 0)
        put(search, STTP_SLICE("&"));
    put(search, cli_slice(key));
    put(search, STTP_SLICE("="));
    for (size_t i = 0; i < value.size; i++) {
        char escape[4];

        if (strchr(" %&", value.data[i]) && value.data[i] != '\0')
            put(search, (sttp_slice){escape, (size_t)snprintf(escape, sizeof escape, "%%%02X",
                                                              (unsigned)value.data[i])});
        else
            put(search, (sttp_slice){&value.data[i], 1});
    }
}

static sttp_slice cut_part(sttp_slice *query)
{
    const char *end = query->size > 0 ? memchr(query->data, '&', query->size) : NULL;
    sttp_slice part = *query;

    if (end)
        part.size = (size_t)(end - query->data);
    query->data += part.size + (end != NULL);
    query->size -= part.size + (end != NULL);
    return part;
}

static bool has_key(sttp_slice part, const char *key)
{
    size_t size = strlen(key);

    return part.size > size && memcmp(part.data, key, size) == 0 && part.data[size] == '=';
}

static bool find_key(sttp_slice query, const char *key)
{
    while (query.size > 0) {
        if (has_key(cut_part(&query), key))
            return true;
    }
    return false;
}

static bool put_options(const struct part *parts, sttp_slice given, cli_search *search,
                        cli_result *result)
{
    for (size_t i = 0; i < PART_COUNT; i++) {
        const struct part *part = &parts[i];
        bool twice = part->value && find_key(given, part->key);

        if (twice && part->option)
            return cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_QUERY_TWICE,
                            "%s and the query of the URL or path both say \"%s\"; leave one out",
                            part->option, part->key);
        if (part->value && !twice)
            put_part(search, part->key, cli_slice(part->value));
    }
    return true;
}

/* Makes the query that is in `search` the one of the target. The mistakes of a URL have been told:
 * one that is found now is in the options. */
static bool use_query(cli_search *search, cli_target *target, cli_result *result)
{
    char decoded[sizeof search->query];
    sttp_query query;

    if (search->size > 0)
        target->url.query = (sttp_slice){search->query, search->size};
    if (!cli_target_check(&(cli_target){.url = target->url}, STTP_ACTION_LIST, result))
        return result->error.status == STTP_ERR_CONTROL_CHARACTER
                   ? cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_CONTROL_CHARACTER,
                              "what is looked for has a control character; none can stand in a "
                              "query, nor can TAB")
                   : false;
    sttp_query_parse(target->url.query, decoded, &query, NULL);
    search->limit = query.limit;
    return true;
}

bool cli_search_begin(const cli_options *options, cli_target *target, cli_search *search,
                      cli_result *result)
{
    char limit[24];
    sttp_slice given = target->url.query;
    sttp_slice after = {0};
    const struct part parts[PART_COUNT] = {
        {"q", options->find, "find"},
        {"name", options->name, "--name"},
        {"type", options->type, "--type"},
        {"recursive", options->recursive || options->find ? "1" : NULL,
         options->recursive ? "--recursive" : NULL},
        {"limit", options->limit || options->all ? limit : NULL, options->limit ? "--limit" : NULL},
    };

    snprintf(limit, sizeof limit, "%u", options->limit ? options->limit : STTP_MAX_LIST_LIMIT);
    search->size = search->after_size = 0;
    for (sttp_slice rest = given; rest.size > 0;) {
        sttp_slice part = cut_part(&rest);

        if (has_key(part, "after")) {
            after = part;
            continue;
        }
        if (search->size > 0)
            put(search, STTP_SLICE("&"));
        put(search, part);
    }
    if (!put_options(parts, given, search, result))
        return false;
    search->common = search->size;
    if (after.size > 0) {
        if (search->size > 0)
            put(search, STTP_SLICE("&"));
        put(search, after);
    }
    return use_query(search, target, result);
}

/* Whether `last` is a name behind that of the page before. */
static bool goes_on(const cli_search *search, sttp_slice last)
{
    size_t both = last.size < search->after_size ? last.size : search->after_size;
    int order = memcmp(last.data, search->after, both);

    return last.size <= sizeof search->after &&
           (order > 0 || (order == 0 && last.size > search->after_size));
}

bool cli_search_next(cli_search *search, cli_target *target, cli_result *result)
{
    sttp_slice names = result->response->contents;
    sttp_slice last = {0};
    size_t count = 0;

    for (; names.size > 0; count++)
        last = cli_next_name(&names);
    if (count == 0 || count < search->limit)
        return false;
    if (!goes_on(search, last))
        return cli_fail(result, CLI_EXIT_ANSWER, STTP_ERR_WRONG_ANSWER,
                        "the listing does not go on: the server does not know the query keys "
                        "\"limit\" and \"after\"");
    memcpy(search->after, last.data, last.size);
    search->after_size = last.size;
    search->size = search->common;
    put_part(search, "after", last);
    return use_query(search, target, result);
}
