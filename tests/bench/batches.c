/* What a program reaches that makes its changes in batches of 64, so that a power cut leaves each
 * file whole and old or new: writes 64 files under other names, syncs the file system, renames
 * them, syncs the directory. Prints how many it made in which time: batches create|update DIRECTORY
 * FIRST SECONDS
 *
 * `create` makes files /DIRECTORY/plain_N of 100 bytes, none of which may be there, from FIRST on;
 * `update` replaces those from 0 to FIRST - 1 one after the other, and begins again. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, SIZE = 100, NAME = 32 };

static int directory;
static bool create;
static unsigned long first;

static void fail(const char *what)
{
    fprintf(stderr, "batches: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void write_file(unsigned long number)
{
    char name[NAME], text[SIZE];
    int fd;

    memset(text, 'x', sizeof text);
    snprintf(name, sizeof name, ".plain_%lu", number);
    fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 || write(fd, text, sizeof text) != sizeof text || close(fd) != 0)
        fail(name);
}

static void show_file(unsigned long number)
{
    unsigned long target = create ? first + number : number % first;
    char name[NAME], visible[NAME];

    snprintf(name, sizeof name, ".plain_%lu", number);
    snprintf(visible, sizeof visible, "plain_%lu", target);
    if (renameat2(directory, name, directory, visible, create ? RENAME_NOREPLACE : 0) != 0)
        fail(visible);
}

static void make_batch(unsigned long from)
{
    for (unsigned long i = from; i < from + BATCH; i++)
        write_file(i);
    if (syncfs(directory) != 0)
        fail("syncfs");
    for (unsigned long i = from; i < from + BATCH; i++)
        show_file(i);
    if (fsync(directory) != 0)
        fail("fsync");
}

int main(int argc, char **argv)
{
    unsigned long changes = 0;
    double began, seconds;

    if (argc != 5)
        return 2;
    create = strcmp(argv[1], "create") == 0;
    directory = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        fail(argv[2]);
    first = strtoul(argv[3], NULL, 10);
    seconds = strtod(argv[4], NULL);
    for (began = now(); now() - began < seconds; changes += BATCH)
        make_batch(changes);
    printf("changes %lu seconds %.6f\n", changes, now() - began);
    return 0;
}
