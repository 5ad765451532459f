/* The command line. */
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <sttp/sttp.h>

#include "daemon/service.h"
#include "run.h"
#include "say.h"

static const char help[] =
    "usage: sttpd-admin copy --from STORE --to STORE [--overwrite]\n"
    "       sttpd-admin export [STORE] > FILE\n"
    "       sttpd-admin import [--overwrite] [STORE] < FILE\n"
    "       sttpd-admin check [STORE]\n"
    "\n"
    "Moves the texts of sttpd from one store to another, and looks whether all is well in one.\n"
    "\n"
    "STORE is one of\n"
    "  fs:DIRECTORY       a document root\n"
    "  sqlite:FILE        a database in a file\n"
    "  postgres:CONNINFO  a PostgreSQL database, \"postgres:host=db1 dbname=sttp\"\n"
    "  settings:FILE      the store that a settings file of sttpd names\n"
    "and without one it is what sttpd has by default.\n"
    "\n"
    "  copy         copies what the target lacks, then reads both and compares; may be killed and\n"
    "               run again\n"
    "  export       writes a line of JSON for each text and each empty directory\n"
    "  import       puts such lines into a store\n"
    "  check        reads everything, and tells of what is no valid text or cannot be named\n"
    "  --overwrite  replace a text of the target that differs; else it stays, and is told\n"
    "  -h, --help   show this\n"
    "  -V, --version\n"
    "\n"
    "Exit status: 0 where all is as it should be, 1 where something is not, which is told, 2\n"
    "where the command line is at fault. See sttpd-admin(1).\n";

enum { OPTION_FROM = 256, OPTION_TO, OPTION_OVERWRITE };

enum command { COMMAND_NONE = 0, COMMAND_COPY, COMMAND_EXPORT, COMMAND_IMPORT, COMMAND_CHECK };

static const char *const commands[] = {
    [COMMAND_COPY] = "copy",
    [COMMAND_EXPORT] = "export",
    [COMMAND_IMPORT] = "import",
    [COMMAND_CHECK] = "check",
};

struct arguments {
    enum command command;
    const char *from, *to; /* the one store of a command is `to` */
    bool overwrites;
    bool is_answered; /* by --help or --version */
};

static int usage(const char *what, const char *word)
{
    say("%s%s; try 'sttpd-admin --help'", what, word);
    return ADMIN_USAGE;
}

static bool take_option(struct arguments *arguments, int option)
{
    switch (option) {
    case OPTION_FROM:
        arguments->from = optarg;
        return true;
    case OPTION_TO:
        arguments->to = optarg;
        return true;
    case OPTION_OVERWRITE:
        arguments->overwrites = true;
        return true;
    case 'h':
        fputs(help, stdout);
        arguments->is_answered = true;
        return true;
    case 'V':
        printf("sttpd-admin %s (libsttp %s)\n", STTP_VERSION, sttp_version());
        arguments->is_answered = true;
        return true;
    default:
        return false;
    }
}

static enum command command_of(const char *word)
{
    for (enum command i = COMMAND_COPY; i <= COMMAND_CHECK; i++) {
        if (strcmp(word, commands[i]) == 0)
            return i;
    }
    return COMMAND_NONE;
}

/* The words that are no options, and what goes together. */
static int take_words(struct arguments *arguments, int count, char **words)
{
    if (count == 0)
        return usage("what to do? copy, export, import or check", "");
    arguments->command = command_of(words[0]);
    bool is_copy = arguments->command == COMMAND_COPY;
    bool writes = is_copy || arguments->command == COMMAND_IMPORT;
    if (arguments->command == COMMAND_NONE)
        return usage("expected copy, export, import or check, not ", words[0]);
    if (is_copy && (arguments->from == NULL || arguments->to == NULL))
        return usage("copy needs --from and --to", "");
    if (!is_copy && (arguments->from != NULL || arguments->to != NULL))
        return usage("--from and --to are for copy, not ", words[0]);
    if (!writes && arguments->overwrites)
        return usage("--overwrite is for copy and import, not ", words[0]);
    if (count > (is_copy ? 1 : 2))
        return usage("one word too many: ", words[count - 1]);
    if (!is_copy)
        arguments->to = words[1];
    return ADMIN_DONE;
}

static int read_arguments(int argc, char **argv, struct arguments *arguments)
{
    static const struct option options[] = {
        {"from", required_argument, NULL, OPTION_FROM},
        {"to", required_argument, NULL, OPTION_TO},
        {"overwrite", no_argument, NULL, OPTION_OVERWRITE},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "hV", options, NULL)) != -1) {
        if (!take_option(arguments, option))
            return usage("the command line is not right", "");
        if (arguments->is_answered)
            return ADMIN_DONE;
    }
    return take_words(arguments, argc - optind, argv + optind);
}

static int run_one(const struct arguments *arguments)
{
    struct place place;
    int status = place_read(&place, arguments->to);
    bool writes = arguments->command == COMMAND_IMPORT;

    if (status == ADMIN_DONE && !(writes ? place_open(&place) : place_open_source(&place)))
        status = ADMIN_FAILED;
    if (status == ADMIN_DONE && arguments->command == COMMAND_EXPORT)
        status = run_export(&place, stdout);
    else if (status == ADMIN_DONE && arguments->command == COMMAND_IMPORT)
        status = run_import(&place, stdin, arguments->overwrites);
    else if (status == ADMIN_DONE)
        status = run_check(&place);
    return place_close(&place) ? status : ADMIN_FAILED;
}

static int run_both(const struct arguments *arguments)
{
    struct place from, to = {.store = NULL};
    int status = place_read(&from, arguments->from);

    if (status == ADMIN_DONE)
        status = place_read(&to, arguments->to);
    if (status == ADMIN_DONE && place_overlaps(&from, &to)) {
        say("%s and %s: one is in the other", from.options.docroot, to.options.docroot);
        status = ADMIN_FAILED;
    }
    if (status == ADMIN_DONE && !(place_open_source(&from) && place_open(&to)))
        status = ADMIN_FAILED;
    if (status == ADMIN_DONE)
        status = run_copy(&from, &to, arguments->overwrites);
    bool is_closed = place_close(&to);
    return place_close(&from) && is_closed ? status : ADMIN_FAILED;
}

/* Two stores have more files open than a shell allows by default. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.command = COMMAND_NONE};

    if (!service_open_standard_descriptors())
        return ADMIN_FAILED;
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of writing, told like the others */
    raise_descriptor_limit();
    int status = read_arguments(argc, argv, &arguments);
    if (status == ADMIN_DONE && !arguments.is_answered)
        status = arguments.command == COMMAND_COPY ? run_both(&arguments) : run_one(&arguments);
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == ADMIN_DONE) {
        say("standard output: %m");
        status = ADMIN_FAILED;
    }
    return status;
}
