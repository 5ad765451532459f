/* Gives the parser a request or a response of some size byte by byte:
 *     feed request|response BYTES REPEATS */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sttp/parser.h>

static char message[1 << 20];

static sttp_status parse(bool response, sttp_parser *parser, size_t size)
{
    sttp_problem problem;
    size_t consumed;

    if (response) {
        sttp_response answer;
        return sttp_parse_response(parser, message, size, STTP_MAX_CONTENTS_LINE, false, &consumed,
                                   &answer, &problem);
    }
    sttp_request request;
    return sttp_parse_request(parser, message, size, &consumed, &request, &problem);
}

/* Whether the message was whole with its last byte, and not before. */
static bool feed(bool response, size_t size)
{
    sttp_parser parser = {0};

    for (size_t seen = 1; seen < size; seen++) {
        if (parse(response, &parser, seen) != STTP_NEED_MORE)
            return false;
    }
    return parse(response, &parser, size) != STTP_NEED_MORE;
}

int main(int argc, char **argv)
{
    bool response = argc == 4 && strcmp(argv[1], "response") == 0;
    size_t size = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
    const char *begin = response ? "200 / OK\n" : "SHOW /";

    if (size < 32 || size > sizeof message)
        return 2;
    memset(message, 'a', size - 1);
    memcpy(message, begin, strlen(begin));
    message[size - 1] = '\n';
    for (unsigned long left = strtoul(argv[3], NULL, 10); left > 0; left--) {
        if (!feed(response, size))
            return 1;
    }
    return 0;
}
