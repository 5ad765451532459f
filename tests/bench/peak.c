/* Runs a command some times and prints the median of its peak resident memory in KiB. It is small
 * and static, since the peak of a process includes what it had of its parent's before execve. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RUNS = 21 };

static int compare(const void *a, const void *b)
{
    long left = *(const long *)a, right = *(const long *)b;
    return (left > right) - (left < right);
}

/* The peak of one run; -1 where it failed. */
static long run(char **command)
{
    struct rusage usage;
    int status;
    pid_t child = fork();

    if (child == 0) {
        execv(command[0], command);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child || status != 0)
        return -1;
    return usage.ru_maxrss;
}

int main(int argc, char **argv)
{
    long peaks[RUNS];

    if (argc < 2)
        return 2;
    for (int i = 0; i < RUNS; i++) {
        peaks[i] = run(argv + 1);
        if (peaks[i] < 0)
            return 1;
    }
    qsort(peaks, RUNS, sizeof *peaks, compare);
    fprintf(stderr, "%ld\n", peaks[RUNS / 2]);
    return 0;
}
