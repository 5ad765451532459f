/* A server in a few lines: whatever is asked for, it says hello.
 *
 *     cc embedded_server.c -o embedded_server $(pkg-config --cflags --libs sttp-event)
 *     ./embedded_server 127.0.0.1:8080
 *     echo -e "SHOW /hello\n" | nc 127.0.0.1 8080 */
#define _POSIX_C_SOURCE 200809L /* sigwait */
#include <signal.h>
#include <stdio.h>

#include <sttp/server.h>

/* Runs on the workers' threads. The request's texts live until it returns; the reply copies. */
static void handle(void *context, const sttp_request *request, sttp_reply *reply)
{
    sttp_response response = {.code = STTP_CODE_OK, .echo = request->path};
    (void)context;
    if (request->action == STTP_ACTION_SHOW) {
        response.contents = STTP_SLICE("hello");
    } else {
        response.code = STTP_CODE_CLIENT_ERROR;
        response.message = STTP_SLICE("this server says hello; use SHOW");
    }
    sttp_reply_send(reply, &response);
}

int main(int argc, char **argv)
{
    sttp_server_options options = {.size = sizeof options, .handler = handle};
    sttp_server *server;
    sigset_t signals;
    int signal_number;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);

    sttp_status status = sttp_server_create(&options, &server);
    if (status == STTP_OK)
        status = sttp_server_listen(server, argc > 1 ? argv[1] : "127.0.0.1:0");
    if (status == STTP_OK)
        status = sttp_server_start(server);
    if (status == STTP_OK) {
        printf("listening on %s\n", sttp_server_address(server, 0));
        fflush(stdout);
        sigwait(&signals, &signal_number);
        sttp_server_stop(server, 5000);
        status = sttp_server_wait(server);
    }
    if (status != STTP_OK)
        fprintf(stderr, "embedded_server: %s\n", sttp_status_text(status));
    sttp_server_destroy(server);
    return status == STTP_OK ? 0 : 1;
}
