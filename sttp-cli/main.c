#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "options.h"
#include "result.h"
#include "run.h"

/* A program that is started with a standard stream closed would get the socket to the server in its
 * place. The stream is filled with what fails when it is used, as the closed one would. */
static bool fill_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return false;
    }
    return true;
}

/* What a failing request or --help left in standard output's buffer. */
static int finish_output(int exit_status)
{
    bool failed = ferror(stdout);

    if (exit_status == CLI_EXIT_OUTPUT || (fflush(stdout) == 0 && !failed))
        return exit_status;
    cli_complain("cannot write the output: %s", strerror(errno));
    return CLI_EXIT_OUTPUT;
}

int main(int argc, char **argv)
{
    cli_options options;
    int exit_status = CLI_EXIT_OK;

    if (!fill_standard_streams())
        return CLI_EXIT_OUTPUT;
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of writing, told like the others */
    switch (cli_options_parse(argc, argv, &options)) {
    case CLI_PARSED_HELP:
        cli_print_help();
        break;
    case CLI_PARSED_VERSION:
        printf("sttp-cli %s (libsttp %s)\n", STTP_VERSION, sttp_version());
        break;
    case CLI_PARSED_ERROR:
        exit_status = CLI_EXIT_USAGE;
        break;
    case CLI_PARSED_RUN:
        exit_status = options.batch ? cli_run_batch(&options) : cli_run_request(&options);
        break;
    }
    cli_options_destroy(&options);
    return finish_output(exit_status);
}
