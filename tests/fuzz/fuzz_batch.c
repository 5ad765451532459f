/* Any bytes as the lines of a batch of sttp-cli, against a server in a thread: each line has one
 * result, in order; a line is sent where the parser takes it as a request, its action in upper
 * case; what goes over the wire is nothing but requests, one for each answer that is printed;
 * nothing that a terminal could act upon comes out.
 *
 * Bits of the first byte say what the output is and how the server answers. Where it is hostile,
 * what stands behind the first 0xff is all that it ever says on a connection. 0xfd N stands for the
 * byte before it 16 * N times more. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <sttp/parser.h>
#include <sttp/serializer.h>

#include "property.h"
#include "sttp-cli/result.h"
#include "sttp-cli/run.h"

enum {
    MODE_JSON = 1,
    MODE_TERMINAL = 2,
    MODE_HOSTILE = 4,
    END_OF_LINES = 0xff,
    REPEAT = 0xfd,
    MAX_INPUT = 1 << 17
};

static struct {
    char directory[32], input[48], output[48], socket[48];
    int listener;
    pthread_t thread;
    /* What follows belongs to the thread from the first connection of a batch to the last one,
     * which is not of the batch: it is answered when all others are done with. */
    pthread_mutex_t mutex;
    sttp_slice hostile; /* data is NULL where the server is kind */
    size_t requests;
} peer = {.directory = "/tmp/sttp-fuzz-XXXXXX", .mutex = PTHREAD_MUTEX_INITIALIZER};

static bool terminal;

/* In place of the C library's: the program asks it what it may write as it is. */
int isatty(int fd)
{
    (void)fd;
    return terminal;
}

/* ---- the server ---- */

static void send_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t count = send(fd, data, size, MSG_NOSIGNAL);
        if (count <= 0)
            return;
        data += count;
        size -= (size_t)count;
    }
}

/* The codes in turn, so that all of them come. */
static void answer(int fd, const sttp_request *request, size_t number)
{
    char line[STTP_MAX_STATUS_LINE + STTP_MAX_REQUEST_LINE];
    sttp_response response = {.code = sttp_action_success(request->action), .echo = request->path};
    size_t size;

    if (number % 5 == 3)
        response.code = STTP_CODE_CLIENT_ERROR;
    if (number % 5 == 4)
        response.code = STTP_CODE_NOT_FOUND;
    if (sttp_code_has_message(response.code))
        response.message = STTP_SLICE("no");
    if (response.code == STTP_CODE_OK)
        response.contents = request->contents.data ? request->contents : request->path;
    require(sttp_serialize_response(&response, line, sizeof line, &size, NULL) == STTP_OK,
            "a request can be answered");
    send_all(fd, line, size);
}

/* Answers all requests that are whole; returns the bytes that are not. */
static size_t answer_lines(int fd, sttp_parser *parser, const char *data, size_t size)
{
    sttp_request request;
    sttp_problem problem;
    sttp_status status;
    size_t consumed;

    while ((status = sttp_parse_request(parser, data, size, &consumed, &request, &problem)) !=
           STTP_NEED_MORE) {
        require(status == STTP_OK, "what goes over the wire is a request");
        answer(fd, &request, peer.requests++);
        data += consumed;
        size -= consumed;
    }
    return size;
}

static void serve_kindly(int fd)
{
    char buffer[2 * STTP_MAX_REQUEST_LINE];
    sttp_parser parser = {0};
    size_t used = 0;
    ssize_t count;

    while ((count = recv(fd, buffer + used, sizeof buffer - used, 0)) > 0) {
        used += (size_t)count;
        size_t left = answer_lines(fd, &parser, buffer, used);
        memmove(buffer, buffer + used - left, left);
        used = left;
    }
    require(used == 0, "what goes over the wire is whole");
}

static void serve_with(int fd, sttp_slice bytes)
{
    char buffer[4096];

    if (recv(fd, buffer, sizeof buffer, 0) <= 0)
        return;
    send_all(fd, bytes.data, bytes.size);
    shutdown(fd, SHUT_WR);
    while (recv(fd, buffer, sizeof buffer, 0) > 0)
        ;
}

static void *serve(void *context)
{
    int fd;

    (void)context;
    while ((fd = accept4(peer.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        pthread_mutex_lock(&peer.mutex);
        if (peer.hostile.data)
            serve_with(fd, peer.hostile);
        else
            serve_kindly(fd);
        pthread_mutex_unlock(&peer.mutex);
        close(fd);
    }
    return NULL;
}

static struct sockaddr_un address(void)
{
    struct sockaddr_un result = {.sun_family = AF_UNIX};

    memcpy(result.sun_path, peer.socket, sizeof peer.socket);
    return result;
}

static void stop_peer(void)
{
    shutdown(peer.listener, SHUT_RDWR);
    pthread_join(peer.thread, NULL);
    close(peer.listener);
    unlink(peer.socket);
    unlink(peer.input);
    unlink(peer.output);
    rmdir(peer.directory);
}

static void start_peer(void)
{
    struct sockaddr_un at;

    outlive_alarms();
    require(mkdtemp(peer.directory) != NULL, "a directory");
    snprintf(peer.input, sizeof peer.input, "%s/in", peer.directory);
    snprintf(peer.output, sizeof peer.output, "%s/out", peer.directory);
    snprintf(peer.socket, sizeof peer.socket, "%s/socket", peer.directory);
    at = address();
    peer.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    require(peer.listener >= 0 && bind(peer.listener, (struct sockaddr *)&at, sizeof at) == 0 &&
                listen(peer.listener, 16) == 0 &&
                pthread_create(&peer.thread, NULL, serve, NULL) == 0,
            "a server");
    atexit(stop_peer);
}

static void reset_peer(sttp_slice hostile)
{
    pthread_mutex_lock(&peer.mutex);
    peer.hostile = hostile;
    peer.requests = 0;
    pthread_mutex_unlock(&peer.mutex);
}

/* How many requests came, after all connections of the batch. */
static size_t finish_peer(void)
{
    struct sockaddr_un at = address();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char byte;
    size_t requests;

    require(fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0, "the server accepts");
    shutdown(fd, SHUT_WR);
    require(recv(fd, &byte, 1, 0) == 0, "the server has finished");
    close(fd);
    pthread_mutex_lock(&peer.mutex);
    requests = peer.requests;
    pthread_mutex_unlock(&peer.mutex);
    return requests;
}

/* ---- the properties ---- */

/* Takes the next result off the output; it begins with its number. */
static sttp_slice take_result(sttp_slice *output, bool json, size_t number)
{
    const char *end = output->size > 0 ? memchr(output->data, '\n', output->size) : NULL;
    char begin[64];
    sttp_slice result;
    int size = snprintf(begin, sizeof begin, json ? "{\"line\":%zu," : "%zu\t", number);

    require(end != NULL, "each line has its result");
    result = (sttp_slice){output->data, (size_t)(end - output->data)};
    require(result.size >= (size_t)size && memcmp(result.data, begin, (size_t)size) == 0,
            "results are in order");
    output->data += result.size + 1;
    output->size -= result.size + 1;
    return (sttp_slice){result.data + size, result.size - (size_t)size};
}

static bool begins_with(sttp_slice text, const char *prefix)
{
    size_t size = strlen(prefix);

    return text.size >= size && memcmp(text.data, prefix, size) == 0;
}

static bool contains(sttp_slice text, const char *part)
{
    return memmem(text.data, text.size, part, strlen(part)) != NULL;
}

/* Whether the result is that of a request that was sent and answered. */
static bool is_answer(sttp_slice result, bool json)
{
    return json ? contains(result, ",\"code\":")
                : !begins_with(result, "error ") && !begins_with(result, "skipped");
}

/* The line without the spaces at its end that are no part of a text: they are not sent. */
static size_t sent_size(const char *line, size_t size)
{
    bool has_text = strncmp(line, "CREATE ", 7) == 0 || strncmp(line, "UPDATE ", 7) == 0;

    while (!has_text && size > 0 && line[size - 1] == ' ')
        size--;
    return size;
}

/* What a batch has for a line and a server for a request differs in the action's case alone, and in
 * the limit, which spaces that are ignored do not reach. A URL in place of a path is no request to
 * a server. */
static void check_judgement(sttp_slice line, bool answered)
{
    char *text = exact_copy(line.data, line.size);
    char *whole = realloc(text, line.size + 1);
    sttp_parser parser = {0};
    sttp_request request;
    sttp_problem problem;
    size_t consumed, i;
    bool good;

    require(whole != NULL, "memory");
    for (i = 0; i < line.size && whole[i] != ' '; i++)
        whole[i] = (char)(whole[i] >= 'a' && whole[i] <= 'z' ? whole[i] - 'a' + 'A' : whole[i]);
    whole[line.size] = '\0';
    line.size = sent_size(whole, line.size);
    whole[line.size] = '\n';
    good =
        sttp_parse_request(&parser, whole, line.size + 1, &consumed, &request, &problem) == STTP_OK;
    require(!good || answered, "what is a request is sent");
    require(good || !answered || (i + 1 < line.size && whole[i + 1] != '/'),
            "what is no request is not sent");
    free(whole);
}

static void check_output(sttp_slice output, sttp_slice lines, uint8_t mode, size_t requests)
{
    bool json = mode & MODE_JSON;
    size_t answers = 0;

    for (size_t number = 1; lines.size > 0; number++) {
        sttp_slice line = take_line(&lines);
        sttp_slice result = take_result(&output, json, number);
        bool answered = is_answer(result, json);
        answers += answered;
        if (!(mode & MODE_HOSTILE))
            check_judgement(line, answered);
        if (mode & (MODE_JSON | MODE_TERMINAL) || begins_with(result, "error "))
            require_printable(result, true);
    }
    require(output.size == 0, "no line has two results");
    require(mode & MODE_HOSTILE || answers == requests, "each request has its answer");
}

static bool is_exit_status(int status)
{
    const cli_exit_text *known = cli_exit_texts;

    while (known->meaning && known->status != status)
        known++;
    return known->meaning != NULL;
}

/* ---- one batch ---- */

static void write_input(sttp_slice lines)
{
    int fd = open(peer.input, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    require(fd >= 0 && write(fd, lines.data, lines.size) == (ssize_t)lines.size, "the input");
    close(fd);
}

static char *read_output(size_t *size)
{
    FILE *file = fopen(peer.output, "r");
    char *text = NULL;
    size_t capacity = 0;
    ssize_t count;

    require(file != NULL, "the output is in its place");
    count = getdelim(&text, &capacity, EOF, file);
    *size = count > 0 ? (size_t)count : 0;
    fclose(file);
    return text;
}

/* The input with its repetitions, in *size bytes. */
static char *expand(const uint8_t *data, size_t *size)
{
    static char buffer[MAX_INPUT];
    size_t used = 0;

    for (size_t i = 0; i < *size && used < MAX_INPUT; i++) {
        if (data[i] != REPEAT || used == 0 || i + 1 == *size) {
            buffer[used++] = (char)data[i];
            continue;
        }
        for (unsigned left = 16U * data[++i]; left > 0 && used < MAX_INPUT; left--, used++)
            buffer[used] = buffer[used - 1];
    }
    *size = used;
    return exact_copy(buffer, used);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t mode = size > 0 ? *data++ : 0;
    size_t text_size = size > 0 ? size - 1 : 0;
    char *text = expand(data, &text_size);
    sttp_slice lines = {text, text_size};
    const char *end = memchr(lines.data, END_OF_LINES, lines.size);
    sttp_slice hostile = {NULL, 0};
    cli_options options = {.batch = peer.input,
                           .output = peer.output,
                           .socket_path = peer.socket,
                           .json = mode & MODE_JSON};
    char *output;
    int status;

    if (peer.listener == 0)
        start_peer();
    if (mode & MODE_HOSTILE && end) {
        hostile = (sttp_slice){end + 1, (size_t)(text + lines.size - end - 1)};
        lines.size = (size_t)(end - text);
    } else {
        mode &= ~MODE_HOSTILE;
    }
    write_input(lines);
    reset_peer(hostile);
    terminal = mode & MODE_TERMINAL;
    status = cli_run_batch(&options);
    terminal = false;
    require(is_exit_status(status), "the exit status is a known one");
    output = read_output(&size);
    check_output((sttp_slice){output, size}, lines, mode, finish_peer());
    free(output);
    free(text);
    return 0;
}
