/* Shows one text:  ./client sttp://localhost/notes/reminder.txt */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sttp/client.h>
#include <sttp/url.h>

/* A client for the place that the URL names. */
static sttp_client *connect_to(const sttp_url *url)
{
    char host[STTP_MAX_HOST + 1];
    char socket_path[STTP_MAX_SOCKET_PATH + 1];
    sttp_client_options options = {.size = sizeof options};
    sttp_client *client;
    sttp_status status;

    if (url->scheme == STTP_SCHEME_UNIX) {
        snprintf(socket_path, sizeof socket_path, "%.*s", (int)url->socket.size, url->socket.data);
        options.socket_path = socket_path;
    } else {
        snprintf(host, sizeof host, "%.*s", (int)url->host.size, url->host.data);
        options.host = host;
        options.port = url->port;
    }
    status = sttp_client_create(&options, &client);
    if (status != STTP_OK)
        fprintf(stderr, "%s\n", sttp_status_text(status));
    return client;
}

/* 0 where the server gave the text, 1 where it gave another answer, 2 where there is none. */
static int show(sttp_client *client, const sttp_url *url)
{
    const sttp_request request = {.action = STTP_ACTION_SHOW, .path = url->path};
    sttp_response response;
    sttp_error error;

    if (sttp_client_request(client, &request, &response, &error) != STTP_OK) {
        fprintf(stderr, "%s\n", error.text);
        return 2;
    }
    if (response.code != STTP_CODE_OK) {
        fprintf(stderr, "%d %s", response.code, sttp_code_phrase(response.code));
        if (response.message.data)
            fprintf(stderr, ": %.*s", (int)response.message.size, response.message.data);
        fputc('\n', stderr);
        return 1;
    }
    printf("%.*s\n", (int)response.contents.size, response.contents.data);
    return 0;
}

int main(int argc, char **argv)
{
    sttp_slice text;
    sttp_url url;
    sttp_client *client;
    sttp_status status;
    size_t offset;
    char *buffer;
    int result = 2;

    if (argc != 2) {
        fprintf(stderr, "usage: %s URL\n", argv[0]);
        return 2;
    }
    text = (sttp_slice){argv[1], strlen(argv[1])};
    buffer = malloc(text.size + 1);
    if (!buffer) {
        perror("malloc");
        return 2;
    }
    status = sttp_url_parse(text, buffer, text.size, &url, &offset);
    if (status != STTP_OK) {
        fprintf(stderr, "%s, at character %zu\n", sttp_status_text(status), offset + 1);
    } else if (url.scheme == STTP_SCHEME_STTPS) {
        fprintf(stderr, "this example speaks no TLS\n");
    } else if ((client = connect_to(&url)) != NULL) {
        result = show(client, &url);
        sttp_client_destroy(client);
    }
    free(buffer);
    return result;
}
