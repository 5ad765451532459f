#include "resolve.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "values.h"

/* Ends the word at *rest with a zero byte where `separator` follows it, and steps behind that.
 * Brackets around the word are taken off; what is inside them may hold the separator. NULL where
 * the brackets do not fit, or the word is empty. */
static char *cut_word(char **rest, char separator)
{
    char *word = *rest;
    char *end;

    if (*word == '[') {
        end = strchr(++word, ']');
        if (!end || (end[1] != separator && end[1] != '\0'))
            return NULL;
        *end++ = '\0';
    } else {
        end = strchrnul(word, separator);
    }
    *rest = *end ? end + 1 : end;
    *end = '\0';
    return *word ? word : NULL;
}

static bool is_numeric_address(const char *text)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;

    if (getaddrinfo(text, NULL, &hints, &found) != 0)
        return false;
    freeaddrinfo(found);
    return true;
}

const char *cli_resolve_parse(const char *argument, cli_resolve *resolve)
{
    char *rest;
    char *port;

    *resolve = (cli_resolve){.text = strdup(argument)};
    rest = resolve->text;
    if (!rest)
        return "out of memory";
    resolve->host = cut_word(&rest, ':');
    if (!resolve->host)
        return "the host is missing";
    port = cut_word(&rest, ':');
    if (!port || !cli_parse_number(port, 1, UINT16_MAX, &resolve->port))
        return "the port is not a number from 1 to 65535";
    do {
        char *address = cut_word(&rest, ',');

        if (!address || !is_numeric_address(address))
            return "an address is not a numeric IPv4 or IPv6 address";
        if (resolve->address_count == CLI_MAX_ADDRESSES)
            return "over 32 addresses";
        resolve->addresses[resolve->address_count++] = address;
    } while (*rest);
    return NULL;
}

void cli_resolve_destroy(cli_resolve *resolve)
{
    free(resolve->text);
}

bool cli_resolve_matches(const cli_resolve *resolve, const char *host, uint16_t port)
{
    return resolve->port == port && strcasecmp(resolve->host, host) == 0;
}
