/* Reads requests from standard input and tells what each one is. The parser works on bytes that
 * come in pieces of any size: what is left of one read stays for the next.
 *
 *     printf 'SHOW /notes/a.txt\nshow /b\n' | ./parse_buffer */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sttp/message.h>
#include <sttp/parser.h>

static void tell(const sttp_request *request)
{
    printf("%s %.*s", sttp_action_name(request->action), (int)request->path.size,
           request->path.data);
    if (request->contents.data)
        printf(": \"%.*s\"", (int)request->contents.size, request->contents.data);
    putchar('\n');
}

static void tell_problem(const sttp_problem *problem)
{
    char text[STTP_MAX_MESSAGE + 1];

    sttp_explain(problem, text, sizeof text);
    printf("%s: %s\n", sttp_status_name(problem->status), text);
}

/* Whether more can be read behind what these requests were. *used becomes the bytes left over. */
static int parse_all(sttp_parser *parser, char *buffer, size_t *used)
{
    size_t start = 0;
    size_t size;
    sttp_request request;
    sttp_problem problem;
    sttp_status status;

    for (;;) {
        status =
            sttp_parse_request(parser, buffer + start, *used - start, &size, &request, &problem);
        if (status == STTP_NEED_MORE)
            break;
        if (status == STTP_OK)
            tell(&request);
        else if (status != STTP_END)
            tell_problem(&problem);
        if (status == STTP_END || status == STTP_ERR_HTTP || status == STTP_ERR_LINE_TOO_LONG)
            return 0;
        start += size;
    }
    *used -= start;
    memmove(buffer, buffer + start, *used);
    return 1;
}

int main(void)
{
    char buffer[2 * STTP_MAX_REQUEST_LINE];
    sttp_parser parser = {0};
    size_t used = 0;
    ssize_t size;

    while ((size = read(STDIN_FILENO, buffer + used, sizeof buffer - used)) > 0) {
        used += (size_t)size;
        if (!parse_all(&parser, buffer, &used))
            return 0;
    }
    if (size < 0) {
        perror("read");
        return 1;
    }
    if (used > 0)
        printf("%s\n", sttp_status_text(STTP_ERR_UNFINISHED_LINE));
    return 0;
}
