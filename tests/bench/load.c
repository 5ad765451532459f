/* Loads a server on 127.0.0.1 that answers each request with a known number of bytes, whatever its
 * protocol, and prints one line of figures:
 *     load [-c CONNECTIONS] [-p DEPTH] [-o] [-u] [-w WARM_UP] [-d SECONDS] [-s PID]... PORT TABLE
 *
 * A closed loop: each connection sends DEPTH requests at once, and the next ones when all of these
 * are answered; with -o on a new connection. TABLE holds for each request a line with three
 * numbers, the bytes of the request, of its answer, and of a text that its answer contains; behind
 * the line stand the request and that text. Up to 1,000 of them are made once beforehand, and the
 * texts of their answers looked for; after that the lengths are checked. A wrong answer is told,
 * and the status is 1. The requests are chosen at random; with -u each is made once, in turn, and
 * none beforehand.
 *
 * -s measures the CPU time of the server with that process id, over the same seconds; of several
 * their sum. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum {
    PATIENCE = 5, /* seconds without any answer */
    BLOCK = 1 << 16,
    EVENTS = 256,
    SOURCES = 250, /* addresses that -o connects from: the ports of one would run out */
    BUCKETS = 58 * 128,
    MAX_DEPTH = 1024,
    MAX_SERVERS = 4,
    CHECKED = 1000,
};
static const double NANOSECONDS = 1e9;

/* Where a request, its answer and its text begin, in all requests, answers and texts. */
struct place {
    size_t request, answer, text;
};

struct connection {
    int fd;
    size_t first, answered, received; /* of the batch under way: its first request, what came */
    uint64_t sent;
};

struct sample {
    uint64_t time, server, own; /* nanoseconds; CPU time of the server and of this program */
};

static struct {
    unsigned connections, depth;
    bool once, in_turn;
    double warm_up, seconds;
    clockid_t servers[MAX_SERVERS];
    unsigned server_count;
    uint16_t port;
} options = {.connections = 1, .depth = 1, .seconds = 1};

/* The requests, then the first ones again, so that DEPTH in a row can be sent from each place. */
static size_t request_count, place_count;
static struct place *places; /* one more than there are */
static char *request_bytes, *texts;

static int poller;
static unsigned active; /* connections with a batch under way */
static uint64_t begin_at;
static struct sample begin, end; /* time is 0 before */
static uint64_t requests, received_bytes, latencies[BUCKETS];
static uint64_t random_state = 88172645463325252u;

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("\n", stderr);
    va_end(arguments);
    exit(1);
}

static void *resized(void *data, size_t size)
{
    data = realloc(data, size);
    if (!data)
        fail("no memory");
    return data;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    if (clock_gettime(clock, &now) != 0)
        fail("clock: %s", strerror(errno));
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* -- the table */

static void add_place(size_t request, size_t answer, size_t text)
{
    struct place *last;

    if ((place_count & (place_count + 1)) == 0) /* full: one less than a power of two */
        places = resized(places, (2 * place_count + 3) * sizeof *places);
    if (place_count == 0)
        places[0] = (struct place){0};
    last = &places[place_count++];
    last[1] = (struct place){last->request + request, last->answer + answer, last->text + text};
    request_bytes = resized(request_bytes, last[1].request);
    texts = resized(texts, last[1].text);
}

static void read_table(const char *name)
{
    FILE *file = fopen(name, "re");
    size_t request, answer, text;

    if (!file)
        fail("%s: %s", name, strerror(errno));
    while (fscanf(file, "%zu %zu %zu", &request, &answer, &text) == 3 && fgetc(file) == '\n') {
        if (request == 0 || answer == 0 || text == 0 || request + answer + text > BLOCK)
            fail("%s: a request, answer or text that is empty or too long", name);
        add_place(request, answer, text);
        if (fread(request_bytes + places[place_count - 1].request, request, 1, file) != 1 ||
            fread(texts + places[place_count - 1].text, text, 1, file) != 1)
            fail("%s: ends within a request", name);
    }
    if (!feof(file) || place_count == 0)
        fail("%s: not a table of requests", name);
    fclose(file);
    request_count = place_count;
}

static void repeat_first_places(void)
{
    for (size_t i = 0; i + 1 < options.depth; i++) {
        size_t request = places[i + 1].request - places[i].request;
        add_place(request, places[i + 1].answer - places[i].answer, 0);
        memcpy(request_bytes + places[place_count - 1].request, request_bytes + places[i].request,
               request);
    }
}

/* -- connections */

static int connect_to_server(unsigned source)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct timeval patience = {.tv_sec = PATIENCE};

    if (fd < 0)
        fail("socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (options.once) {
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + source % SOURCES);
        if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
            fail("bind: %s", strerror(errno));
    } else {
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    }
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(options.port);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("connect: %s", strerror(errno));
    return fd;
}

static void send_requests(int fd, size_t first, size_t count)
{
    size_t size = places[first + count].request - places[first].request;

    if (send(fd, request_bytes + places[first].request, size, MSG_NOSIGNAL) != (ssize_t)size)
        fail("send: %s", strerror(errno));
}

/* Bytes that came; 0 where there are none now. */
static size_t receive(int fd, char *block, size_t size, int flags)
{
    ssize_t got = recv(fd, block, size, flags);

    if (got == 0)
        fail("the server closed a connection with an answer outstanding");
    if (got < 0 && (errno != EAGAIN || !(flags & MSG_DONTWAIT)))
        fail("receive: %s",
             errno == EAGAIN ? "an answer is missing or too short" : strerror(errno));
    return got < 0 ? 0 : (size_t)got;
}

/* All is answered: nothing more may come before the server closes. */
static void finish_connection(int fd)
{
    char byte;
    ssize_t got;

    shutdown(fd, SHUT_WR);
    got = recv(fd, &byte, 1, 0);
    if (got != 0)
        fail("%s", got > 0 ? "an answer is too long" : "the server does not close");
    close(fd);
}

/* -- before the load */

static void check_answer(int fd, size_t i)
{
    static char block[BLOCK + 1];
    size_t expected = places[i + 1].answer - places[i].answer;
    size_t text = places[i + 1].text - places[i].text;
    size_t received = 0;

    send_requests(fd, i, 1);
    while (received < expected)
        received += receive(fd, block + received, sizeof block - received, 0);
    if (received > expected)
        fail("request %zu: the answer is too long: %zu bytes, %zu expected", i, received, expected);
    if (!memmem(block, received, texts + places[i].text, text))
        fail("request %zu: the answer does not hold its text", i);
}

static void check_answers(void)
{
    bool once = options.once;
    int fd;

    options.once = false;
    fd = connect_to_server(0);
    for (size_t i = 0; i < request_count; i += 1 + (request_count - 1) / CHECKED)
        check_answer(fd, i);
    finish_connection(fd);
    options.once = once;
}

/* -- figures */

/* Latencies within 1 %: from 256 on, the highest 8 bits are kept. */
static unsigned bucket_of(uint64_t value)
{
    unsigned shift = value < 256 ? 0 : 56 - (unsigned)__builtin_clzll(value);

    return shift * 128 + (unsigned)(value >> shift);
}

static double value_of(unsigned bucket)
{
    unsigned shift = bucket < 256 ? 0 : bucket / 128 - 1;

    return (double)((uint64_t)(bucket - shift * 128) << shift);
}

static double percentile_us(double share)
{
    uint64_t seen = 0;
    unsigned bucket = 0;

    while (bucket + 1 < BUCKETS && (double)(seen += latencies[bucket]) < share * (double)requests)
        bucket++;
    return value_of(bucket) / 1000;
}

static void take(struct sample *sample, uint64_t now)
{
    *sample = (struct sample){now, 0, clock_ns(CLOCK_PROCESS_CPUTIME_ID)};
    for (unsigned i = 0; i < options.server_count; i++)
        sample->server += clock_ns(options.servers[i]);
}

static void watch_time(uint64_t now)
{
    if (now < begin_at)
        return;
    if (begin.time == 0)
        take(&begin, now);
    if (end.time == 0 && (double)(now - begin.time) >= options.seconds * NANOSECONDS)
        take(&end, now);
}

static void print_figures(void)
{
    double seconds = (double)(end.time - begin.time) / NANOSECONDS;

    if (requests == 0)
        fail("no request was answered in the time");
    printf("requests %llu seconds %.6f bytes %llu p50_us %.3f p99_us %.3f server_cpu %.6f "
           "load_cpu %.6f\n",
           (unsigned long long)requests, seconds, (unsigned long long)received_bytes,
           percentile_us(0.50), percentile_us(0.99),
           (double)(end.server - begin.server) / NANOSECONDS,
           (double)(end.own - begin.own) / NANOSECONDS);
}

/* -- the load */

static void watch(struct connection *connection)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};

    if (epoll_ctl(poller, EPOLL_CTL_ADD, connection->fd, &event) != 0)
        fail("epoll_ctl: %s", strerror(errno));
}

static size_t next_request(void)
{
    static size_t next;

    if (options.in_turn) {
        if (next + options.depth > request_count)
            fail("the table has too few requests");
        next += options.depth;
        return next - options.depth;
    }
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % request_count;
}

static void start_batch(struct connection *connection, uint64_t now)
{
    connection->first = next_request();
    connection->answered = connection->received = 0;
    connection->sent = now;
    send_requests(connection->fd, connection->first, options.depth);
}

static void open_connection(struct connection *connection, unsigned source)
{
    connection->fd = connect_to_server(source);
    watch(connection);
}

/* The batch is answered; the next one, unless the time is over. */
static void end_batch(struct connection *connection, uint64_t now)
{
    if (options.once)
        close(connection->fd);
    if (end.time != 0) {
        active--;
        return;
    }
    if (options.once)
        open_connection(connection, (unsigned)random_state);
    start_batch(connection, now);
}

static void count_answers(size_t answers, size_t size, uint64_t latency)
{
    if (begin.time == 0 || end.time != 0)
        return;
    requests += answers;
    received_bytes += size;
    latencies[bucket_of(latency)] += answers;
}

static void on_readable(struct connection *connection)
{
    static char block[BLOCK];
    size_t got = receive(connection->fd, block, sizeof block, MSG_DONTWAIT);
    const struct place *place = places + connection->first;
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    size_t answers = connection->answered;

    watch_time(now);
    connection->received += got;
    while (answers < options.depth &&
           connection->received >= place[answers + 1].answer - place->answer)
        answers++;
    if (answers == options.depth && connection->received > place[answers].answer - place->answer)
        fail("an answer is too long");
    count_answers(answers - connection->answered, got, now - connection->sent);
    connection->answered = answers;
    if (answers == options.depth)
        end_batch(connection, now);
}

static void run(void)
{
    struct connection *connections = resized(NULL, options.connections * sizeof *connections);
    struct epoll_event events[EVENTS];

    for (unsigned i = 0; i < options.connections; i++)
        open_connection(&connections[i], i);
    begin_at = clock_ns(CLOCK_MONOTONIC) + (uint64_t)(options.warm_up * NANOSECONDS);
    for (active = 0; active < options.connections; active++)
        start_batch(&connections[active], clock_ns(CLOCK_MONOTONIC));
    while (active > 0) {
        int ready = epoll_wait(poller, events, EVENTS, PATIENCE * 1000);
        if (ready == 0)
            fail("an answer is missing or too short: none came for %d s", PATIENCE);
        for (int i = 0; i < ready; i++)
            on_readable(events[i].data.ptr);
    }
    for (unsigned i = 0; i < options.connections && !options.once; i++)
        finish_connection(connections[i].fd);
    free(connections);
}

static void read_options(int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "c:p:ouw:d:s:")) != -1) {
        if (option == 'c')
            options.connections = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'p')
            options.depth = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'o')
            options.once = true;
        else if (option == 'u')
            options.in_turn = true;
        else if (option == 'w')
            options.warm_up = strtod(optarg, NULL);
        else if (option == 'd')
            options.seconds = strtod(optarg, NULL);
        else if (option != 's' || options.server_count == MAX_SERVERS ||
                 clock_getcpuclockid((pid_t)strtol(optarg, NULL, 10),
                                     &options.servers[options.server_count++]) != 0)
            exit(2);
    }
    if (argc - optind != 2 || options.connections == 0 || options.depth == 0 ||
        options.depth > MAX_DEPTH)
        exit(2);
    options.port = (uint16_t)strtoul(argv[optind], NULL, 10);
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    read_table(argv[argc - 1]);
    if (options.depth > request_count)
        fail("a batch is more than there are requests in the table");
    if (!options.in_turn)
        check_answers();
    repeat_first_places();
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0)
        fail("epoll: %s", strerror(errno));
    run();
    print_figures();
    free(places);
    free(request_bytes);
    free(texts);
    return 0;
}
