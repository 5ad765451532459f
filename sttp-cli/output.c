#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a signal that ends the program has to remove. */
static char *volatile leftover;

static void remove_leftover(int number)
{
    if (leftover)
        unlink(leftover);
    raise(number); /* with its default action, since the handler is reset */
}

static void remove_on_signal(char *temporary)
{
    static const int numbers[] = {SIGHUP, SIGINT, SIGTERM};
    struct sigaction action = {.sa_handler = remove_leftover, .sa_flags = (int)SA_RESETHAND};

    leftover = temporary;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction old;

        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
            sigaction(numbers[i], &action, NULL);
    }
}

/* Opens the temporary file beside output->place, with the mode that the place has or would get. */
static int open_temporary(cli_output *output, const struct stat *place)
{
    mode_t mask = umask(0);
    mode_t mode = place ? place->st_mode & 07777 : 0666 & ~mask;
    int fd;

    umask(mask);
    if (asprintf(&output->temporary, "%s.XXXXXX", output->place) < 0) {
        output->temporary = NULL;
        return -1;
    }
    fd = mkostemp(output->temporary, O_CLOEXEC);
    if (fd < 0) {
        free(output->temporary);
        output->temporary = NULL;
        return -1;
    }
    remove_on_signal(output->temporary);
    fchmod(fd, mode);
    return fd;
}

static int open_file(cli_output *output, const char *path)
{
    struct stat status;
    bool exists = stat(path, &status) == 0;

    if (!exists && (errno != ENOENT || !*path))
        return -1;
    if (exists && !S_ISREG(status.st_mode))
        return open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    /* Behind a symbolic link it is the file that is replaced, not the link. */
    output->place = exists ? realpath(path, NULL) : strdup(path);
    return output->place ? open_temporary(output, exists ? &status : NULL) : -1;
}

bool cli_output_open(cli_output *output, const char *path)
{
    int fd;

    *output = (cli_output){.stream = stdout};
    if (path && strcmp(path, "-") != 0) {
        fd = open_file(output, path);
        output->stream = fd < 0 ? NULL : fdopen(fd, "w");
        if (!output->stream) {
            cli_complain("cannot write to %s: %s", path, strerror(errno));
            if (fd >= 0)
                close(fd);
            cli_output_discard(output);
            return false;
        }
    }
    output->visible = isatty(fileno(output->stream));
    return true;
}

bool cli_output_flush(cli_output *output)
{
    bool failed = ferror(output->stream);

    if ((fflush(output->stream) != 0 || failed) && output->system_errno == 0)
        output->system_errno = errno ? errno : EIO;
    return output->system_errno == 0;
}

static bool put_in_place(cli_output *output)
{
    FILE *stream = output->stream;

    if (stream == stdout)
        return true;
    output->stream = NULL;
    if (fclose(stream) != 0)
        return false;
    if (!output->place)
        return true;
    if (rename(output->temporary, output->place) != 0)
        return false;
    leftover = NULL;
    free(output->temporary);
    output->temporary = NULL;
    return true;
}

bool cli_output_commit(cli_output *output)
{
    bool done = cli_output_flush(output);

    if (!done)
        errno = output->system_errno;
    done = done && put_in_place(output);
    if (!done)
        cli_complain("cannot write the output: %s", strerror(errno));
    cli_output_discard(output);
    return done;
}

void cli_output_discard(cli_output *output)
{
    if (output->stream && output->stream != stdout)
        fclose(output->stream);
    if (output->temporary) {
        unlink(output->temporary);
        leftover = NULL;
    }
    free(output->temporary);
    free(output->place);
    *output = (cli_output){0};
}
