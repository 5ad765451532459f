/* An upstream server for tests of sttp-proxy that has no store, and faults on demand:
 *     faulty-upstream [PORT]
 *
 * It listens on 127.0.0.1 and prints "port N". Each line on standard input is a command, answered
 * by a line on standard output; it ends where that input does. set FAULT P        so many of the
 * requests meet it, 0 (as at the start) to 1; FAULT is one of those below delay MS           how
 * long `late` takes, 20 milliseconds at the start seed N             of what is chosen at random
 *     log FILE           changes are written there, a line each as it came, when they are done
 *     counts             "connections N open N requests N faults N most N" since the start; `most`
 *                        are the connections that were open at the same time
 *
 * Answers tell what was asked: 200 to SHOW has the path as its contents, to UPDATE the text that
 * came, to LIST what stands behind the "=" of its query. A PROXY protocol header is skipped. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    ROOM = 1024,     /* connections */
    IN_SIZE = 65536, /* bytes of requests */
    OUT_SIZE =
        65536, /* of answers; no more requests are taken in while less than LARGEST is free */
    LARGEST = 8192,
    V2_HEADER = 16
};

/* What may happen to a request, in the order in which it is decided. */
enum fault {
    FAULT_RESET,    /* the connection is reset in place of the answer */
    FAULT_LOSE,     /* as reset, but a change has been done */
    FAULT_TRUNCATE, /* the connection ends in the middle of the answer */
    FAULT_GARBAGE,  /* something else comes in place of it */
    FAULT_WRONG,    /* the answer is about another path */
    FAULT_SILENT,   /* nothing comes any more on this connection */
    FAULT_CLOSE,    /* the connection ends behind the answer */
    FAULT_LATE,     /* it, and what is behind it on the connection, comes later */
    FAULTS
};
static const char *const fault_names[FAULTS] = {"reset", "lose",   "truncate", "garbage",
                                                "wrong", "silent", "close",    "late"};

struct connection {
    int fd;
    size_t in_size, out_size;
    uint64_t held_until; /* nothing is taken in before; 0: not held */
    bool begun, silent, ending;
    char in[IN_SIZE], out[OUT_SIZE];
};

static struct connection *connections[ROOM];
static nfds_t open_count;
static double chances[FAULTS];
static uint64_t delay_ms = 20, random_state = 88172645463325252u;
static uint64_t accepted, requests, faults, most_open;
static FILE *change_log;

static void fail(const char *what)
{
    fprintf(stderr, "faulty-upstream: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static bool happens(enum fault fault)
{
    bool chosen = chances[fault] > 0 && (double)(next_random() >> 11) * 0x1p-53 < chances[fault];

    faults += chosen;
    return chosen;
}

/* -- answers */

/* The text of an UPDATE, without the quotes around it. */
static const char *text_of(const char *rest, int *size)
{
    rest += *rest == ' ';
    *size = (int)strlen(rest);
    if (*size < 2 || rest[0] != '"' || rest[*size - 1] != '"')
        return rest;
    *size -= 2;
    return rest + 1;
}

/* What stands in the second line of a 200. */
static const char *contents_of(const char *line, const char *target, int path, int *size)
{
    const char *rest = target + path, *equals = strchr(rest, '=');

    *size = path;
    if (*line == 'S')
        return target;
    if (*line == 'U')
        return text_of(rest, size);
    *size = equals ? (int)strlen(equals + 1) : 0;
    return equals ? equals + 1 : rest;
}

/* Appends the answer to a request line, which ends with a NUL. */
static void answer(struct connection *connection, const char *line, const char *about)
{
    char *at = connection->out + connection->out_size;
    const char *target = line + strcspn(line, " ");
    target += *target == ' ';
    int path = (int)strcspn(target, " ?"), size;
    const char *contents = contents_of(line, target, path, &size);
    const char *echo = about ? about : target;
    int echo_size = about ? (int)strlen(about) : path;

    if (strchr("SLU", *line))
        at += sprintf(at, "200 %.*s OK\n%.*s\n", echo_size, echo, size, contents);
    else if (*line == 'C')
        at += sprintf(at, "100 %.*s CREATED\n", echo_size, echo);
    else
        at += sprintf(at, "600 %.*s DELETED\n", echo_size, echo);
    connection->out_size = (size_t)(at - connection->out);
}

/* Between one and all but one byte of the last answer are left; not a line of two, which is an
 * answer of servers that leave empty contents out. */
static void truncate_answer(struct connection *connection, size_t before)
{
    size_t size = connection->out_size - before;

    connection->out_size = before + 1 + next_random() % (size - 1);
    if (connection->out[connection->out_size - 1] == '\n')
        connection->out_size--;
}

static void add_garbage(struct connection *connection)
{
    size_t size = 1 + next_random() % 64;

    for (size_t i = 0; i < size; i++)
        connection->out[connection->out_size++] = (char)next_random();
    connection->out[connection->out_size++] = '\n';
}

static void send_out(struct connection *connection)
{
    ssize_t sent = send(connection->fd, connection->out, connection->out_size, MSG_NOSIGNAL);

    if (sent < 0 && errno != EAGAIN)
        connection->out_size = 0, connection->ending = true;
    if (sent > 0) {
        connection->out_size -= (size_t)sent;
        memmove(connection->out, connection->out + sent, connection->out_size);
    }
}

static void reset(struct connection *connection)
{
    struct linger at_once = {.l_onoff = 1};

    send_out(connection);
    setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    connection->out_size = 0;
    connection->ending = true;
}

static bool is_change(const char *line)
{
    return *line == 'C' || *line == 'U' || *line == 'D';
}

/* Does what was asked, and answers in one of the ways in which it may be answered. */
static void serve(struct connection *connection, const char *line)
{
    size_t before = connection->out_size;

    if (happens(FAULT_RESET)) {
        reset(connection);
        return;
    }
    if (change_log && is_change(line))
        fprintf(change_log, "%s\n", line);
    if (happens(FAULT_LOSE)) {
        reset(connection);
    } else if (happens(FAULT_TRUNCATE)) {
        answer(connection, line, NULL);
        truncate_answer(connection, before);
        connection->ending = true;
    } else if (happens(FAULT_GARBAGE)) {
        add_garbage(connection);
    } else if (happens(FAULT_WRONG)) {
        answer(connection, line, "/not/asked");
    } else if (happens(FAULT_SILENT)) {
        connection->silent = true;
    } else {
        answer(connection, line, NULL);
        connection->ending = happens(FAULT_CLOSE);
    }
}

/* -- requests */

/* The size of a PROXY protocol header at the beginning; 0: there is none; -1: it is not whole. */
static ssize_t header_size(const struct connection *connection)
{
    static const char signature[] = "\r\n\r\n\0\r\nQUIT\n";
    const unsigned char *in = (const unsigned char *)connection->in;
    size_t have = connection->in_size < 12 ? connection->in_size : 12;

    if (memcmp(in, "PROXY ", have < 6 ? have : 6) == 0) {
        const unsigned char *end = memchr(in, '\n', connection->in_size);
        return end ? end - in + 1 : -1;
    }
    if (memcmp(in, signature, have) != 0)
        return 0;
    if (connection->in_size < V2_HEADER)
        return -1;
    size_t size = V2_HEADER + (size_t)(in[14] << 8 | in[15]);
    return connection->in_size < size ? -1 : (ssize_t)size;
}

/* The first line at `start`, made a string, and where the next one begins; NULL: none is whole. */
static char *next_line(struct connection *connection, size_t *start)
{
    char *line = connection->in + *start;
    char *end = memchr(line, '\n', connection->in_size - *start);

    if (!end)
        return NULL;
    *end = '\0';
    *start = (size_t)(end - connection->in) + 1;
    return line;
}

/* Whether the line at `start` has to wait. It is decided once for each line. */
static bool is_held(struct connection *connection, size_t start)
{
    if (connection->held_until != 0 ||
        !memchr(connection->in + start, '\n', connection->in_size - start))
        return false;
    if (!happens(FAULT_LATE))
        return false;
    connection->held_until = now_ms() + delay_ms;
    requests++;
    return true;
}

static void take_requests(struct connection *connection)
{
    size_t start = 0;
    char *line;

    if (!connection->begun) {
        ssize_t size = header_size(connection);
        if (size < 0)
            return;
        start = (size_t)size;
        connection->begun = connection->in_size > 0;
    }
    while (!connection->ending && !connection->silent && !is_held(connection, start) &&
           connection->out_size + LARGEST <= OUT_SIZE &&
           (line = next_line(connection, &start)) != NULL) {
        requests += *line && connection->held_until == 0;
        connection->held_until = 0;
        if (*line)
            serve(connection, line);
        else
            connection->ending = true;
    }
    if (connection->silent)
        start = connection->in_size;
    connection->in_size -= start;
    memmove(connection->in, connection->in + start, connection->in_size);
}

static void receive(struct connection *connection)
{
    ssize_t got = recv(connection->fd, connection->in + connection->in_size,
                       IN_SIZE - connection->in_size, 0);

    if (got > 0)
        connection->in_size += (size_t)got;
    else if (got == 0 || errno != EAGAIN)
        connection->ending = true;
}

/* -- connections */

static void accept_one(int listener)
{
    int on = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct connection *connection;

    if (fd < 0)
        return;
    connection = open_count < ROOM ? malloc(sizeof *connection) : NULL;
    if (!connection)
        fail("too many connections");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection->fd = fd;
    connection->in_size = connection->out_size = connection->held_until = 0;
    connection->begun = connection->silent = connection->ending = false;
    connections[open_count++] = connection;
    accepted++;
    if (open_count > most_open)
        most_open = open_count;
}

static bool is_over(const struct connection *connection)
{
    return connection->ending && connection->out_size == 0;
}

static void run_connection(struct connection *connection, short events)
{
    if (events & POLLOUT)
        send_out(connection);
    if (events & (POLLIN | POLLHUP | POLLERR))
        receive(connection);
    if (connection->held_until == 0 || connection->held_until <= now_ms())
        take_requests(connection);
    if (connection->out_size > 0)
        send_out(connection);
}

static void close_those_that_are_over(void)
{
    for (nfds_t i = open_count; i-- > 0;) {
        if (!is_over(connections[i]))
            continue;
        close(connections[i]->fd);
        free(connections[i]);
        connections[i] = connections[--open_count];
    }
}

/* What to wait for, and for how long at most. */
static int prepare(struct pollfd *polled)
{
    uint64_t now = now_ms();
    int timeout = -1;

    for (nfds_t i = 0; i < open_count; i++) {
        const struct connection *connection = connections[i];
        int wait = connection->held_until <= now ? 0 : (int)(connection->held_until - now);
        bool room = connection->in_size < IN_SIZE && !connection->held_until;
        polled[i] = (struct pollfd){
            .fd = connection->fd,
            .events = (short)((room ? POLLIN : 0) | (connection->out_size > 0 ? POLLOUT : 0))};
        if (connection->held_until && (timeout < 0 || wait < timeout))
            timeout = wait;
    }
    return timeout;
}

/* -- commands */

static void set_chance(const char *name, double chance)
{
    for (int i = 0; i < FAULTS; i++) {
        if (strcmp(name, fault_names[i]) == 0) {
            chances[i] = chance;
            puts("ok");
            return;
        }
    }
    puts("no such fault");
}

static void open_log(const char *name)
{
    change_log = fopen(name, "we");
    if (!change_log)
        fail(name);
    puts("ok");
}

static void obey(const char *command)
{
    char name[256];
    double chance;
    uint64_t number;

    if (sscanf(command, "set %255s %lf", name, &chance) == 2) {
        set_chance(name, chance);
    } else if (sscanf(command, "delay %" SCNu64, &number) == 1) {
        delay_ms = number;
        puts("ok");
    } else if (sscanf(command, "seed %" SCNu64, &number) == 1) {
        random_state = number * 2 + 1;
        puts("ok");
    } else if (sscanf(command, "log %255s", name) == 1) {
        open_log(name);
    } else {
        if (change_log)
            fflush(change_log);
        printf("connections %" PRIu64 " open %lu requests %" PRIu64 " faults %" PRIu64
               " most %" PRIu64 "\n",
               accepted, (unsigned long)open_count, requests, faults, most_open);
    }
    fflush(stdout);
}

/* One command at a time: each is answered before the next one comes. */
static void read_command(void)
{
    char line[512];

    if (!fgets(line, sizeof line, stdin))
        exit(0);
    obey(line);
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t size = sizeof address;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0)
        fail("listen");
    printf("port %u\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    static struct pollfd polled[ROOM + 2];
    int listener = listen_on(argc > 1 ? (uint16_t)strtoul(argv[1], NULL, 10) : 0);

    for (;;) {
        nfds_t count = open_count;
        int timeout = prepare(polled);
        polled[count] = (struct pollfd){.fd = listener, .events = POLLIN};
        polled[count + 1] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
        if (poll(polled, count + 2, timeout) < 0)
            fail("poll");
        for (nfds_t i = 0; i < count; i++)
            run_connection(connections[i], polled[i].revents);
        close_those_that_are_over();
        if (polled[count].revents)
            accept_one(listener);
        if (polled[count + 1].revents)
            read_command();
    }
}
