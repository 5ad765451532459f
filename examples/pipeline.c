/* Shows many texts over one connection, without waiting for one answer before the next request:
 *
 *     printf '/notes/a.txt\n/notes/b.txt\n' | ./pipeline localhost 8080 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sttp/client.h>

/* The next path of standard input, without its line end; false at the end. */
static bool next_path(char *line, size_t size, sttp_slice *path)
{
    if (!fgets(line, (int)size, stdin))
        return false;
    *path = (sttp_slice){line, strcspn(line, "\n")};
    return true;
}

static void tell(const sttp_response *response)
{
    if (response->code == STTP_CODE_OK)
        printf("%.*s: %.*s\n", (int)response->echo.size, response->echo.data,
               (int)response->contents.size, response->contents.data);
    else
        printf("%.*s: %d %s\n", (int)response->echo.size, response->echo.data, response->code,
               sttp_code_phrase(response->code));
}

/* Takes paths while there is room in the pipeline and answers when there is none. The client keeps
 * its own copy of each request, so one line is enough. Returns the number of failures. */
static unsigned long show_all(sttp_client *client)
{
    char line[STTP_MAX_REQUEST_LINE];
    sttp_request request = {.action = STTP_ACTION_SHOW};
    sttp_response response;
    sttp_error error;
    sttp_status status;
    unsigned long failures = 0;
    bool more = next_path(line, sizeof line, &request.path);

    while (more || sttp_client_outstanding(client) > 0) {
        while (more) {
            status = sttp_client_send(client, &request, &error);
            if (status == STTP_ERR_PIPELINE_FULL)
                break;
            if (status != STTP_OK) {
                fprintf(stderr, "%.*s: %s\n", (int)request.path.size, line, error.text);
                failures++;
            }
            more = next_path(line, sizeof line, &request.path);
        }
        status = sttp_client_receive(client, &response, &error);
        if (status == STTP_OK) {
            tell(&response);
        } else if (status != STTP_ERR_NOTHING_SENT) {
            fprintf(stderr, "%s\n", error.text);
            failures++;
        }
    }
    return failures;
}

int main(int argc, char **argv)
{
    sttp_client_options options = {.size = sizeof options};
    sttp_client *client;
    sttp_status status;
    unsigned long failures, port;
    char *end;

    if (argc != 3) {
        fprintf(stderr, "usage: %s HOST PORT < PATHS\n", argv[0]);
        return 2;
    }
    port = strtoul(argv[2], &end, 10);
    if (*end != '\0' || port == 0 || port > UINT16_MAX) {
        fprintf(stderr, "%s: not a port\n", argv[2]);
        return 2;
    }
    options.host = argv[1];
    options.port = (uint16_t)port;
    status = sttp_client_create(&options, &client);
    if (status != STTP_OK) {
        fprintf(stderr, "%s\n", sttp_status_text(status));
        return 2;
    }
    failures = show_all(client);
    sttp_client_destroy(client);
    if (failures > 0)
        fprintf(stderr, "%lu requests failed\n", failures);
    return failures > 0 ? 1 : 0;
}
