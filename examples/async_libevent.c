/* Shows many texts at once, on libevent, over a few pipelined connections:
 *
 *     printf '/notes/a.txt\n/notes/b.txt\n' | ./async_libevent localhost 8080 */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sttp/adapters/libevent.h>

enum { AT_ONCE = 200 };

typedef struct fetch {
    sttp_libevent adapter;
    sttp_pool *pool;
    unsigned under_way;
    unsigned failures;
    bool more; /* paths may follow on standard input */
} fetch;

static void ask(fetch *all);

static void done(void *context, const sttp_response *response, const sttp_error *error)
{
    fetch *all = context;

    if (response == NULL)
        fprintf(stderr, "%s\n", error->text);
    else if (response->code == STTP_CODE_OK)
        printf("%.*s: %.*s\n", (int)response->echo.size, response->echo.data,
               (int)response->contents.size, response->contents.data);
    else
        printf("%.*s: %d %s\n", (int)response->echo.size, response->echo.data, response->code,
               sttp_code_phrase(response->code));
    all->failures += response == NULL;
    all->under_way--;
    ask(all);
}

/* Asks for the next ones. When all have their answers the client is destroyed, within a callback if
 * need be, and the loop ends since nothing is left on it. */
static void ask(fetch *all)
{
    char line[STTP_MAX_REQUEST_LINE];
    sttp_request request = {.action = STTP_ACTION_SHOW};
    sttp_status status;

    while (all->more && all->under_way < AT_ONCE) {
        all->more = fgets(line, sizeof line, stdin) != NULL;
        if (!all->more)
            break;
        request.path = (sttp_slice){line, strcspn(line, "\n")};
        status = sttp_pool_request(all->pool, &request, done, all, NULL);
        if (status == STTP_OK)
            all->under_way++;
        else
            fprintf(stderr, "%.*s: %s\n", (int)request.path.size, line, sttp_status_text(status));
        all->failures += status != STTP_OK;
    }
    if (all->under_way == 0)
        sttp_libevent_destroy(&all->adapter);
}

int main(int argc, char **argv)
{
    sttp_pool_options options = {.size = sizeof options};
    struct event_base *base = event_base_new();
    fetch all = {.more = true};
    sttp_status status;

    if (argc != 3 || base == NULL) {
        fprintf(stderr, "usage: %s HOST PORT < PATHS\n", argv[0]);
        return 2;
    }
    options.host = argv[1];
    options.port = (uint16_t)strtoul(argv[2], NULL, 10);
    status = sttp_libevent_create(&all.adapter, base, NULL);
    if (status == STTP_OK)
        status = sttp_pool_create(all.adapter.async, &options, &all.pool);
    if (status != STTP_OK) {
        fprintf(stderr, "%s\n", sttp_status_text(status));
        return 2;
    }
    ask(&all);
    event_base_dispatch(base);
    event_base_free(base);
    return all.failures > 0 ? 1 : 0;
}
