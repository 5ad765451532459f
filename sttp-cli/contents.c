#include "contents.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

/* Reads standard input to its end or until the buffer is full. */
static bool read_input(char *buffer, size_t *size, cli_result *result)
{
    *size = 0;
    while (*size <= CLI_MAX_INPUT) {
        ssize_t count = read(STDIN_FILENO, buffer + *size, CLI_MAX_INPUT + 1 - *size);

        if (count == 0)
            return true;
        if (count < 0 && errno == EAGAIN) /* another program made the shared input so */
            poll(&(struct pollfd){.fd = STDIN_FILENO, .events = POLLIN}, 1, -1);
        else if (count < 0 && errno != EINTR)
            return cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_SYSTEM,
                            "cannot read the contents from standard input: %s", strerror(errno));
        if (count > 0)
            *size += (size_t)count;
    }
    return cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_CONTENTS_TOO_LONG,
                    "standard input has over %d bytes; a text has at most %d characters",
                    CLI_MAX_INPUT, STTP_MAX_CONTENTS_CHARS);
}

bool cli_contents_get(const char *argument, char *buffer, sttp_slice *contents, cli_result *result)
{
    size_t size;

    if (argument && strcmp(argument, "-") != 0) {
        *contents = cli_slice(argument);
        return cli_contents_check(*contents, result);
    }
    if (!argument && isatty(STDIN_FILENO))
        return cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_CONTENTS_MISSING,
                        "the contents are missing: put them behind the path, in quotes, or - to "
                        "type them");
    if (!read_input(buffer, &size, result))
        return false;
    if (!argument && size == 0)
        return cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_CONTENTS_MISSING,
                        "the contents are missing: none behind the path, and standard input is "
                        "empty; \"\" or - stands for an empty text");
    if (size > 0 && buffer[size - 1] == '\n')
        size--;
    *contents = (sttp_slice){buffer, size};
    return cli_contents_check(*contents, result);
}

static bool refuse_character(sttp_slice contents, size_t offset, cli_result *result)
{
    size_t before = sttp_count_chars((sttp_slice){contents.data, offset});
    uint32_t character;

    cli_next_char((sttp_slice){contents.data + offset, contents.size - offset}, &character);
    if (character == '\n')
        return cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_CONTROL_CHARACTER,
                        "the contents have a line break as character %zu; a text is one line",
                        before + 1);
    return cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_CONTROL_CHARACTER,
                    "the contents have the control character U+%04X as character %zu; only TAB "
                    "may stand in a text",
                    (unsigned)character, before + 1);
}

bool cli_contents_check(sttp_slice contents, cli_result *result)
{
    sttp_problem problem = {0};

    switch (sttp_check_text(contents, &problem)) {
    case STTP_OK:
        return true;
    case STTP_ERR_UTF8:
        return cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_UTF8,
                        "the contents are not valid UTF-8: 0x%02x is byte %zu",
                        (unsigned char)contents.data[problem.offset], problem.offset + 1);
    case STTP_ERR_CONTROL_CHARACTER:
        return refuse_character(contents, problem.offset, result);
    default:
        return cli_fail(result, CLI_EXIT_USAGE, STTP_ERR_CONTENTS_TOO_LONG,
                        "the contents have %zu characters, %zu over the limit of %d",
                        problem.length, problem.length - STTP_MAX_CONTENTS_CHARS,
                        STTP_MAX_CONTENTS_CHARS);
    }
}
