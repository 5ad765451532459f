/* Whole sessions: engine, handler and file system store of sttpd in this process answer what the
 * reference of the integration tests would answer, and leave the store as it would.
 *
 * The bytes of an input are what clients send, one after another, to a store that is empty at
 * first; but for those that no text has:
 *
 *     0x80 to 0xbf   where a line begins: a whole line made from this byte and the next two
 *     0xfc           the client closes without reading an answer; what it did is forgotten
 *     0xfd N         the byte before it 16 * N times more
 *     0xfe           the client half-closes; the next one begins when it has all its answers
 *     0xff           what comes next is sent in a piece of its own
 *
 * The first byte chooses between a server with its defaults and one of narrow limits. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "property.h"
#include "sttpd/handler.h"
#include "sttpd/store_fs.h"

enum {
    CUT = 0xff,
    NEXT = 0xfe,
    REPEAT = 0xfd,
    VANISH = 0xfc,
    MAX_SESSION = 1 << 16, /* bytes that are sent in one */
    MAX_CUTS = 256,
    PATIENCE = 20000 /* milliseconds without an answer */
};

#define COUNT(table) (sizeof(table) / sizeof(table)[0])

static const char *const actions[] = {"CREATE", "SHOW", "LIST", "UPDATE", "DELETE", "CREATE"};
static const char *const paths[] = {
    "/a",     "/b",   "/d/a",
    "/d/b",   "/d/",  "/d",
    "/",      "/a/",  "/a/x",
    "/d/e/a", "/d/e", "/d/e/f/g/a",
    "/d-x",   "/é",   "/d/.sttp-x",
    "/%41",   "//a",  "/n2345678901234567890123456789012/n2345678901234567890123456789012",
    "/d/..",  "a",    "/n23456789012345678901234567890123"};
static const char *const texts[] = {"x",         "\"Buy milk\"", "\"\"",     "\"", "buy MILK",
                                    "\"\"x\"\"", " lead",        "one\ttwo", "",   "é"};
static const char *const queries[] = {"?recursive=1",
                                      "",
                                      "?q=milk",
                                      "?limit=1",
                                      "?after=a",
                                      "?type=dir&recursive=1",
                                      "?name=*a&recursive=1&after=d/a",
                                      "?q=MI&recursive=1&limit=2",
                                      "?limit=0"};

/* ---- the reference ---- */

static FILE *to_child, *from_child;
static pid_t child;
static char directory[128]; /* of this process alone, in memory */
static char docroot[160];

static void start_reference(void)
{
    static char python[] = PYTHON, script[] = REFERENCE_CHILD;
    char *arguments[] = {python, script, NULL};
    posix_spawn_file_actions_t files;
    int down[2], up[2];

    outlive_alarms();
    require(pipe2(down, O_CLOEXEC) == 0 && pipe2(up, O_CLOEXEC) == 0, "pipes");
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, down[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, up[1], STDOUT_FILENO);
    require(posix_spawn(&child, python, &files, NULL, arguments, environ) == 0, "a child");
    posix_spawn_file_actions_destroy(&files);
    close(down[0]);
    close(up[1]);
    to_child = fdopen(down[1], "w");
    from_child = fdopen(up[0], "r");
    require(fgets(directory, sizeof directory, from_child) != NULL, "the reference has started");
    directory[strcspn(directory, "\n")] = '\0';
}

/* ---- the servers ---- */

static struct {
    log_sink log;
    struct handler handler;
    sttp_server *servers[2];
    struct sockaddr_un addresses[2];
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned long connected; /* by this file */
    unsigned long closed;    /* by the servers */
} sttpd = {.log = {.fd = STDERR_FILENO, .mutex = PTHREAD_MUTEX_INITIALIZER},
           .mutex = PTHREAD_MUTEX_INITIALIZER,
           .changed = PTHREAD_COND_INITIALIZER};

static void note(void *context, const sttp_notice *notice)
{
    (void)context;
    if (notice->kind != STTP_NOTICE_CLOSED)
        return;
    pthread_mutex_lock(&sttpd.mutex);
    sttpd.closed++;
    pthread_cond_signal(&sttpd.changed);
    pthread_mutex_unlock(&sttpd.mutex);
}

/* Waits until no connection and no operation is left. */
static void settle(void)
{
    pthread_mutex_lock(&sttpd.mutex);
    while (sttpd.closed < sttpd.connected)
        pthread_cond_wait(&sttpd.changed, &sttpd.mutex);
    pthread_mutex_unlock(&sttpd.mutex);
    while (atomic_load(&sttpd.handler.outstanding) > 0)
        sched_yield();
}

static void start_server(int index, unsigned max_in_flight, size_t max_unsent)
{
    struct sockaddr_un *address = &sttpd.addresses[index];
    char listen[160];
    sttp_server_options options = {.size = sizeof options,
                                   .handler = handler_handle,
                                   .handler_context = &sttpd.handler,
                                   .notice = note,
                                   .workers = 1,
                                   .max_in_flight = max_in_flight,
                                   .max_unsent = max_unsent};

    address->sun_family = AF_UNIX;
    snprintf(address->sun_path, sizeof address->sun_path, "%.80s/s%d", directory, index);
    snprintf(listen, sizeof listen, "unix:%s", address->sun_path);
    require(sttp_server_create(&options, &sttpd.servers[index]) == STTP_OK &&
                sttp_server_listen(sttpd.servers[index], listen) == STTP_OK &&
                sttp_server_start(sttpd.servers[index]) == STTP_OK,
            "a server runs");
}

static void stop_all(void)
{
    for (size_t i = 0; i < COUNT(sttpd.servers); i++) {
        sttp_server_stop(sttpd.servers[i], PATIENCE);
        require(sttp_server_wait(sttpd.servers[i]) == STTP_OK, "the server stops");
        sttp_server_destroy(sttpd.servers[i]);
    }
    sttpd.handler.store->close(sttpd.handler.store);
    fclose(to_child);
    fclose(from_child);
    waitpid(child, NULL, 0);
}

static void start_all(void)
{
    struct store_fs_settings settings = {.docroot = docroot, .durability = STORE_DURABILITY_NONE};
    char error[256];

    signal(SIGPIPE, SIG_IGN);
    start_reference();
    snprintf(docroot, sizeof docroot, "%s/root", directory);
    require(mkdir(docroot, 0700) == 0, "a document root");
    sttpd.handler.log = &sttpd.log;
    require(store_fs_open(&settings, &sttpd.handler.store, error, sizeof error), error);
    start_server(0, 0, 0);
    start_server(1, 2, 1);
    atexit(stop_all);
}

/* ---- the store ---- */

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status, (void)type;
    if (walk->level == 0)
        return 0;
    require(strncmp(path + walk->base, STTP_RESERVED_PREFIX, strlen(STTP_RESERVED_PREFIX)) != 0,
            "nothing unfinished is left");
    return remove(path);
}

static void empty_store(void)
{
    require(nftw(docroot, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0, "the store is emptied");
    fputs("new\n", to_child);
}

/* ---- from an input to sessions ---- */

struct input {
    const uint8_t *data;
    size_t size;
};

struct session {
    char bytes[MAX_SESSION];
    size_t size;
    size_t cuts[MAX_CUTS]; /* where pieces end, in order */
    size_t cut_count;
    bool vanishes;
};

static void clear(struct session *session)
{
    session->size = session->cut_count = 0;
    session->vanishes = false;
}

static uint8_t next_byte(struct input *input)
{
    if (input->size == 0)
        return 0;
    input->size--;
    return *input->data++;
}

static void add(struct session *session, const char *bytes, size_t size)
{
    if (size > MAX_SESSION - session->size)
        size = MAX_SESSION - session->size;
    memcpy(session->bytes + session->size, bytes, size);
    session->size += size;
}

static void add_line(struct session *session, struct input *input, uint8_t first)
{
    const char *action = actions[first % COUNT(actions)];
    const char *path = paths[next_byte(input) % COUNT(paths)];
    uint8_t rest = next_byte(input);
    char line[256];
    int size;

    if (strcmp(action, "LIST") == 0)
        size = snprintf(line, sizeof line, "LIST %s%s\n", path, queries[rest % COUNT(queries)]);
    else if (strcmp(action, "SHOW") == 0 || strcmp(action, "DELETE") == 0)
        size = snprintf(line, sizeof line, "%s %s\n", action, path);
    else
        size = snprintf(line, sizeof line, "%s %s %s\n", action, path, texts[rest % COUNT(texts)]);
    add(session, line, (size_t)size);
}

static void add_repeated(struct session *session, struct input *input)
{
    char last = session->size > 0 ? session->bytes[session->size - 1] : '\n';

    for (unsigned left = 16U * next_byte(input); left > 0; left--)
        add(session, &last, 1);
}

/* The next session of the input; false where there is none. */
static bool next_session(struct input *input, struct session *session)
{
    bool any = input->size > 0;

    clear(session);
    while (input->size > 0) {
        uint8_t byte = next_byte(input);
        char raw = (char)byte;
        bool at_start = session->size == 0 || session->bytes[session->size - 1] == '\n';
        session->vanishes = byte == VANISH;
        if (byte == NEXT || byte == VANISH)
            break;
        if (byte == CUT && session->cut_count < MAX_CUTS)
            session->cuts[session->cut_count++] = session->size;
        else if (byte == REPEAT)
            add_repeated(session, input);
        else if (at_start && (byte & 0xc0) == 0x80)
            add_line(session, input, byte);
        else
            add(session, &raw, 1);
    }
    return any;
}

/* ---- talking ---- */

struct exchange {
    const struct session *session;
    int fd;
    size_t sent;
    size_t cut; /* the next one */
    FILE *answers;
};

static void send_piece(struct exchange *exchange)
{
    const struct session *session = exchange->session;
    size_t end = session->size;
    ssize_t count;

    while (exchange->cut < session->cut_count && session->cuts[exchange->cut] <= exchange->sent)
        exchange->cut++;
    if (exchange->cut < session->cut_count)
        end = session->cuts[exchange->cut];
    count = send(exchange->fd, session->bytes + exchange->sent, end - exchange->sent, 0);
    if (count < 0 && errno != EAGAIN) {
        require(errno == EPIPE, "sending fails only where the server has closed");
        exchange->sent = session->size;
    }
    if (count > 0)
        exchange->sent += (size_t)count;
    if (exchange->sent == session->size)
        shutdown(exchange->fd, SHUT_WR);
}

/* False at the end of the answers. */
static bool receive(struct exchange *exchange)
{
    char buffer[16384];
    ssize_t count = recv(exchange->fd, buffer, sizeof buffer, 0);

    if (count < 0 && errno == EAGAIN)
        return true;
    require(count >= 0, "the connection is closed in good order");
    fwrite(buffer, 1, (size_t)count, exchange->answers);
    return count > 0;
}

static int connect_to(int server)
{
    const struct sockaddr_un *address = &sttpd.addresses[server];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    require(fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) == 0,
            "the server accepts");
    fcntl(fd, F_SETFL, O_NONBLOCK);
    sttpd.connected++;
    return fd;
}

static void talk(const struct session *session, int server, FILE *answers)
{
    struct exchange exchange = {.session = session, .fd = connect_to(server), .answers = answers};
    struct pollfd ready = {.fd = exchange.fd};
    bool open = true;

    if (session->size == 0)
        shutdown(exchange.fd, SHUT_WR);
    while (open) {
        ready.events = exchange.sent < session->size ? POLLIN | POLLOUT : POLLIN;
        int count = poll(&ready, 1, PATIENCE);
        if (count == -1 && errno == EINTR)
            continue; /* an alarm: poll never goes on by itself */
        require(count == 1, "the server answers in time");
        if (ready.revents & POLLOUT && exchange.sent < session->size)
            send_piece(&exchange);
        if (ready.revents & ~POLLOUT)
            open = receive(&exchange);
    }
    close(exchange.fd);
}

/* ---- the property ---- */

static void show(const char *title, const char *bytes, size_t size)
{
    fprintf(stderr, "---- %s\n", title);
    fwrite(bytes, 1, size, stderr);
    fputc('\n', stderr);
}

static void compare(const struct session *session, const char *got, size_t got_size)
{
    char verdict[64];
    size_t expected_size;
    char *expected;

    fprintf(to_child, "session %zu %zu\n", session->size, got_size);
    fwrite(session->bytes, 1, session->size, to_child);
    fwrite(got, 1, got_size, to_child);
    fflush(to_child);
    require(fgets(verdict, sizeof verdict, from_child) != NULL, "the reference answers");
    if (strcmp(verdict, "same\n") == 0)
        return;
    require(sscanf(verdict, "expected %zu", &expected_size) == 1, "the reference answers");
    expected = malloc(expected_size + 1);
    require(expected != NULL && fread(expected, 1, expected_size, from_child) == expected_size,
            "the reference answers");
    show("sent", session->bytes, session->size);
    show("answered", got, got_size);
    show("expected", expected, expected_size);
    require(false, "the server answers like the reference");
}

static void run_session(const struct session *session, int server)
{
    char *got = NULL;
    size_t size = 0;
    FILE *answers = open_memstream(&got, &size);

    require(answers != NULL, "memory");
    talk(session, server, answers);
    fclose(answers);
    compare(session, got, size);
    free(got);
}

/* The requests are carried out as far as the server got to see them: nobody knows how far. */
static void vanish(const struct session *session, int server)
{
    struct exchange exchange = {.session = session, .fd = connect_to(server)};
    size_t before;

    do {
        before = exchange.sent;
        send_piece(&exchange);
    } while (exchange.sent > before && exchange.sent < session->size);
    close(exchange.fd);
    settle();
    empty_store();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct session session;
    struct input input = {data, size};
    int server = next_byte(&input) & 1;

    if (to_child == NULL)
        start_all();
    empty_store();
    while (next_session(&input, &session))
        session.vanishes ? vanish(&session, server) : run_session(&session, server);
    clear(&session);
    add(&session, "LIST /?recursive=1\n", 19);
    run_session(&session, server);
    return 0;
}
