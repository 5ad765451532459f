/* Asks one server by its name for /who, again and again, for test_names.py:
 *
 *     names_client DNS-SERVER NAME PORT
 *
 * For each byte of its input it prints a line: the contents of the answer, or why there is none. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sttp/adapters/poll.h>

static bool answered;

static void done(void *context, const sttp_response *response, const sttp_error *error)
{
    (void)context;
    answered = true;
    if (response == NULL)
        printf("%s\n", error->text);
    else if (response->code == STTP_CODE_OK)
        printf("%.*s\n", (int)response->contents.size, response->contents.data);
    else
        printf("%d\n", (int)response->code);
    fflush(stdout);
}

static bool ask(sttp_poll *loop, sttp_pool *pool)
{
    const sttp_request request = {.action = STTP_ACTION_SHOW, .path = STTP_SLICE("/who")};

    answered = false;
    if (sttp_pool_request(pool, &request, done, NULL, NULL) != STTP_OK)
        return false;
    while (!answered)
        if (sttp_poll_run(loop, -1) != 0)
            return false;
    return true;
}

/* The loop runs on between two questions. */
static bool serve(sttp_poll *loop, sttp_pool *pool)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char byte;

    for (;;) {
        if (poll(&input, 1, 0) == 0) {
            if (sttp_poll_run(loop, 10) != 0)
                return false;
        } else if (read(STDIN_FILENO, &byte, 1) != 1) {
            return true;
        } else if (!ask(loop, pool)) {
            return false;
        }
    }
}

int main(int argc, char **argv)
{
    sttp_async_options options = {.size = sizeof options, .hosts_file = "/dev/null"};
    sttp_pool_options to = {.size = sizeof to};
    sttp_poll loop;
    sttp_pool *pool;
    bool good;

    if (argc != 4)
        return 2;
    options.dns_servers = argv[1];
    to.host = argv[2];
    to.port = (uint16_t)strtoul(argv[3], NULL, 10);
    if (sttp_poll_create(&loop, &options) != STTP_OK)
        return 1;
    good = sttp_pool_create(loop.async, &to, &pool) == STTP_OK && serve(&loop, pool);
    sttp_poll_destroy(&loop);
    return good ? 0 : 1;
}
