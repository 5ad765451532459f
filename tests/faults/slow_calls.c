/* slow-calls MICROSECONDS PROGRAM [ARGUMENT]...
 *
 * Runs the program in place of itself, with every fsync and syncfs that it makes delayed from
 * outside: the kernel tells a process beside it of each (seccomp_unotify(2)), and lets the call go
 * on when that says so. The program is as it is, and other calls cost nothing. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { CALLS = 4096 };

/* Calls that wait, in the order in which they came: all wait equally long. */
static struct {
    uint64_t id;
    int64_t due;
} calls[CALLS];
static size_t first, end;

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000) + time.tv_nsec / 1000;
}

static void receive(int listener, int64_t delay)
{
    struct seccomp_notif call;
    memset(&call, 0, sizeof call);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) == -1)
        return;
    calls[end % CALLS].id = call.id;
    calls[end++ % CALLS].due = now() + delay;
}

/* Until no process of the program is left. */
static void delay_calls(int listener, int64_t delay)
{
    struct pollfd event = {.fd = listener, .events = POLLIN};
    while ((event.revents & POLLHUP) == 0) {
        int64_t rest = first == end ? -1 : calls[first % CALLS].due - now();
        if (rest <= 0 && first != end) {
            struct seccomp_notif_resp response = {.id = calls[first++ % CALLS].id,
                                                  .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
            ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
        } else if (poll(&event, 1, rest < 0 ? -1 : (int)(rest / 1000 + 1)) > 0 &&
                   (event.revents & POLLIN) != 0) {
            receive(listener, delay);
        }
    }
}

static int listen_to_calls(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_fsync, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_syncfs, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                        &program);
}

/* Hands a descriptor over a socket; for -1 takes one from it. */
static int pass(int socket, int fd)
{
    char byte = 0;
    union {
        char room[CMSG_SPACE(sizeof fd)];
        struct cmsghdr aligned;
    } control;
    memset(&control, 0, sizeof control);
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof control.room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (fd == -1) {
        if (recvmsg(socket, &message, 0) == 1)
            memcpy(&fd, CMSG_DATA(header), sizeof fd);
        return fd;
    }
    *header = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    return sendmsg(socket, &message, 0) == 1 ? 0 : -1;
}

int main(int argc, char **argv)
{
    int ends[2];
    if (argc < 3 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == -1)
        return 98;
    pid_t beside = fork();
    if (beside == 0) {
        close(ends[0]);
        int listener = pass(ends[1], -1);
        if (listener != -1)
            delay_calls(listener, strtoll(argv[1], NULL, 10));
        return 0;
    }
    int listener = listen_to_calls();
    if (beside == -1 || listener == -1 || pass(ends[0], listener) == -1) {
        perror("slow-calls");
        return 98;
    }
    close(listener);
    execv(argv[2], argv + 2);
    perror(argv[2]);
    return 98;
}
