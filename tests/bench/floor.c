/* What the kernel's loopback allows a server of one thread at most, to measure others against:
 *     floor fixed|lookup PORT FILE
 *
 * FILE holds lines "PATH TEXT". With `fixed` each line that comes in is answered with the first
 * text, whatever it asks; with `lookup` it is parsed as SHOW, looked up in a hash table, and its
 * answer copied. There is nothing else that a server needs: a request that is not whole in one
 * read, is unknown or wrong, or an answer that the socket does not take at once ends the
 * connection. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SLOTS = 1 << 13, BLOCK = 1 << 16, ANSWER = 1024, EVENTS = 256 };

struct entry {
    size_t path_size, answer_size;
    char path[256], answer[ANSWER];
};

static struct entry *slots[SLOTS], *first;
static char in[BLOCK], out[BLOCK];
static bool lookup;

static struct entry **slot_of(const char *path, size_t size)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)path[i]) * 1099511628211u;
    hash %= SLOTS;
    while (slots[hash] &&
           (slots[hash]->path_size != size || memcmp(slots[hash]->path, path, size) != 0))
        hash = (hash + 1) % SLOTS;
    return &slots[hash];
}

static bool read_entries(const char *name)
{
    FILE *file = fopen(name, "re");
    char path[256], text[512];

    for (int i = 0; file && i < SLOTS / 2 && fscanf(file, "%255s %511s", path, text) == 2; i++) {
        struct entry *entry = calloc(1, sizeof *entry);
        if (!entry)
            return false;
        entry->path_size = (size_t)snprintf(entry->path, sizeof entry->path, "%s", path);
        entry->answer_size = (size_t)snprintf(entry->answer, ANSWER, "200 %s OK\n%s\n", path, text);
        *slot_of(path, entry->path_size) = entry;
        if (!first)
            first = entry;
    }
    return first && fclose(file) == 0;
}

static const struct entry *find(const char *line, size_t size)
{
    if (size < 6 || memcmp(line, "SHOW ", 5) != 0)
        return NULL;
    return *slot_of(line + 5, size - 5);
}

/* Puts the answers to all lines into `out`: how many bytes. 0 where a line is wrong. */
static size_t answer(const char *line, const char *line_end)
{
    size_t used = 0;

    while (line < line_end) {
        const char *lf = memchr(line, '\n', (size_t)(line_end - line));
        const struct entry *entry = lf ? find(line, (size_t)(lf - line)) : NULL;
        if (!entry || used + entry->answer_size > BLOCK)
            return 0;
        memcpy(out + used, entry->answer, entry->answer_size);
        used += entry->answer_size;
        line = lf + 1;
    }
    return used;
}

static void fill_out(void)
{
    for (size_t at = 0; at + first->answer_size <= BLOCK; at += first->answer_size)
        memcpy(out + at, first->answer, first->answer_size);
}

/* How many bytes of what `fill_out` made answer all lines; 0 where it is too little. */
static size_t fixed_answer(const char *line, const char *line_end)
{
    size_t used = 0;

    for (; line && line < line_end; used += first->answer_size) {
        line = memchr(line, '\n', (size_t)(line_end - line));
        line = line ? line + 1 : NULL;
    }
    return line && used <= BLOCK ? used : 0;
}

static void serve(int fd)
{
    ssize_t got = recv(fd, in, sizeof in, MSG_DONTWAIT);
    size_t size = 0;

    if (got > 0)
        size = lookup ? answer(in, in + got) : fixed_answer(in, in + got);

    if (size == 0 || send(fd, out, size, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)size)
        close(fd);
}

static bool watch(int poller, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    return fd >= 0 && epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0;
}

static void take_connection(int poller, int listener)
{
    int on = 1, fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (!watch(poller, fd))
        close(fd);
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4096) != 0)
        return -1;
    return fd;
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    int listener = argc == 4 ? listen_on((uint16_t)strtoul(argv[2], NULL, 10)) : -1;
    int poller = epoll_create1(EPOLL_CLOEXEC);

    lookup = argc == 4 && strcmp(argv[1], "lookup") == 0;
    if (!watch(poller, listener) || !read_entries(argv[3])) {
        fputs("floor: cannot listen or read the file\n", stderr);
        return 1;
    }
    fill_out();
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == listener)
                take_connection(poller, listener);
            else
                serve(events[i].data.fd);
        }
    }
}
