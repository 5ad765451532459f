/* Asks several servers for the same text at once and prints the first answer; the other requests
 * are given up. No event library is needed:
 *
 *     ./async_poll /notes/a.txt 8080 8081 8082 */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sttp/adapters/poll.h>

enum { MAX_SERVERS = 16 };

typedef struct question {
    struct race *race;
    const char *port;
    sttp_call *call; /* NULL once it has its result */
} question;

typedef struct race {
    question questions[MAX_SERVERS];
    unsigned under_way;
    bool won;
} race;

static void done(void *context, const sttp_response *response, const sttp_error *error)
{
    question *q = context;
    race *all = q->race;

    q->call = NULL;
    all->under_way--;
    if (response == NULL || response->code != STTP_CODE_OK) {
        fprintf(stderr, "%s: %s\n", q->port,
                error != NULL ? error->text : sttp_code_phrase(response->code));
        return;
    }
    printf("%s: %.*s\n", q->port, (int)response->contents.size, response->contents.data);
    all->won = true;
    for (size_t i = 0; i < MAX_SERVERS; i++)
        sttp_call_cancel(all->questions[i].call); /* NULL is allowed */
}

/* A pool of its own for each server. */
static sttp_status ask(sttp_async *async, question *q, const char *path)
{
    const sttp_request request = {.action = STTP_ACTION_SHOW, .path = {path, strlen(path)}};
    sttp_pool_options options = {.size = sizeof options, .host = "localhost"};
    sttp_pool *pool;
    sttp_status status;

    options.port = (uint16_t)strtoul(q->port, NULL, 10);
    status = sttp_pool_create(async, &options, &pool);
    if (status == STTP_OK)
        status = sttp_pool_request(pool, &request, done, q, &q->call);
    return status;
}

int main(int argc, char **argv)
{
    sttp_poll loop;
    race all = {.won = false};
    sttp_status status;

    if (argc < 3 || argc > 2 + MAX_SERVERS) {
        fprintf(stderr, "usage: %s PATH PORT...\n", argv[0]);
        return 2;
    }
    status = sttp_poll_create(&loop, NULL);
    for (int i = 2; i < argc && status == STTP_OK; i++) {
        question *q = &all.questions[i - 2];

        *q = (question){.race = &all, .port = argv[i]};
        status = ask(loop.async, q, argv[1]);
        all.under_way += status == STTP_OK;
    }
    if (status != STTP_OK) {
        fprintf(stderr, "%s\n", sttp_status_text(status));
        return 2;
    }
    while (all.under_way > 0 && !all.won)
        if (sttp_poll_run(&loop, -1) != 0)
            return 2;
    sttp_poll_destroy(&loop);
    return all.won ? 0 : 1;
}
