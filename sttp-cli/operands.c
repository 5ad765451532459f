#include "operands.h"

#include <string.h>
#include <strings.h>

#include "text.h"

/* Those of a request, and find, which makes one of list. */
static const char *const actions[] = {"create", "show", "list", "update", "delete", "find"};

enum { ACTION_COUNT = sizeof actions / sizeof *actions, REQUEST_ACTION_COUNT = ACTION_COUNT - 1 };

sttp_slice cli_nearest_action(sttp_slice text)
{
    return sttp_nearest_word(text, actions, REQUEST_ACTION_COUNT);
}

/* The first of the options that are about a listing, NULL where none was given. */
static const char *listing_option(const cli_options *options)
{
    if (options->name)
        return "name";
    if (options->type)
        return "type";
    if (options->limit)
        return "limit";
    if (options->recursive)
        return "recursive";
    return options->all ? "all" : NULL;
}

/* What asks for a listing in its options needs no action that says so. */
static bool check_listing(cli_options *options)
{
    const char *option = listing_option(options);

    if (!option)
        return true;
    if (options->batch)
        return cli_usage("--%s does not go with --batch: there each path has its own query, like "
                         "/notes/?name=*.txt",
                         option);
    if (options->action == STTP_ACTION_NONE)
        options->action = STTP_ACTION_LIST;
    return options->action == STTP_ACTION_LIST ||
           cli_usage("--%s is for list and find; leave it out with %s", option,
                     sttp_action_name(options->action));
}

static bool is_target(const char *text)
{
    return strpbrk(text, "/:") != NULL;
}

static bool read_action(const char *word, bool alone, cli_options *options)
{
    sttp_slice near;

    options->action = sttp_action_from_name(cli_slice(word));
    if (options->action != STTP_ACTION_NONE)
        return true;
    if (!*word)
        return cli_usage("the first argument is empty; it is an action, a URL or a path");
    if (is_target(word))
        return alone ? true
                     : cli_usage("the action is missing before %s: create, show, list, update, "
                                 "delete or find",
                                 word);
    near = sttp_nearest_word(cli_slice(word), actions, ACTION_COUNT);
    if (near.size > 0)
        return cli_usage("unknown action %s; did you mean %s?", word, near.data);
    return cli_usage("unknown action %s; it is one of create, show, list, update, delete and find",
                     word);
}

static bool read_contents(int count, char **operands, cli_options *options)
{
    bool takes = options->action == STTP_ACTION_CREATE || options->action == STTP_ACTION_UPDATE;

    if (count == 0)
        return true;
    if (!takes)
        return cli_usage("%s takes no contents: leave out what follows %s",
                         sttp_action_name(options->action), options->target);
    if (count > 1)
        return cli_usage("the contents are %d arguments; put them in quotes to make them one: "
                         "\"%s %s%s\"",
                         count, operands[0], operands[1], count > 2 ? " ..." : "");
    options->contents = operands[0];
    return true;
}

/* What follows find. */
static bool read_find(int count, char **operands, cli_options *options)
{
    bool target = count == 2 && is_target(operands[0]);

    if (count == 0)
        return cli_usage("find needs a text to look for, like: sttp-cli find /notes/ milk");
    if (count > 1 && !target)
        return cli_usage(
            "the text to look for is %d arguments; put it in quotes to make it one, and a "
            "URL or a path before it",
            is_target(operands[0]) ? count - 1 : count);
    options->action = STTP_ACTION_LIST;
    options->target = target ? operands[0] : "/";
    options->find = operands[target ? 1 : 0];
    return true;
}

static bool read_request(int count, char **operands, cli_options *options)
{
    if (options->batch)
        return count == 0
                   ? true
                   : cli_usage("--batch takes its requests from the file alone: leave out %s, "
                               "name the server with --address and --port",
                               operands[0]);
    if (count == 0)
        return cli_usage("an action and a path are missing, like: sttp-cli show /notes/a.txt");
    if (strcasecmp(operands[0], "find") == 0)
        return read_find(count - 1, operands + 1, options);
    if (!read_action(operands[0], count == 1, options))
        return false;
    if (options->action == STTP_ACTION_NONE) {
        options->target = operands[0];
        return true;
    }
    if (count == 1)
        return cli_usage("%s needs a URL or a path, like: sttp-cli %s /notes/a.txt", operands[0],
                         operands[0]);
    options->target = operands[1];
    return read_contents(count - 2, operands + 2, options);
}

bool cli_read_operands(int count, char **operands, cli_options *options)
{
    return read_request(count, operands, options) && check_listing(options);
}
