#include "sttp-proxy/destination.h"

#include <stdio.h>
#include <string.h>

static const char scheme[] = "sttp://";

/* `text` is what stands between the scheme and the path of a URL. */
static bool parse_authority(const char *text, struct destination *destination)
{
    char buffer[sizeof scheme + STTP_MAX_HOST + 16], line[sizeof buffer];
    sttp_url url;

    if (strpbrk(text, "/?#") != NULL)
        return false;
    int size = snprintf(line, sizeof line, "%s%s/", scheme, text);
    if (size < 0 || (size_t)size >= sizeof line ||
        sttp_url_parse((sttp_slice){line, (size_t)size}, buffer, sizeof buffer, &url, NULL) !=
            STTP_OK)
        return false;
    memcpy(destination->host, url.host.data, url.host.size);
    destination->host[url.host.size] = '\0';
    destination->socket_path[0] = '\0';
    destination->port = url.port;
    return true;
}

bool destination_parse(const char *text, struct destination *destination)
{
    static const char unix_prefix[] = "unix:";
    const char *path = text + sizeof unix_prefix - 1;

    if (strncmp(text, unix_prefix, sizeof unix_prefix - 1) != 0)
        return parse_authority(text, destination);
    if (path[0] != '/' || path[1] == '\0' || strlen(path) > STTP_MAX_SOCKET_PATH)
        return false;
    *destination = (struct destination){.port = 0};
    strcpy(destination->socket_path, path);
    return true;
}

bool destination_parse_parent(const char *text, struct destination *destination)
{
    if (strncmp(text, scheme, sizeof scheme - 1) != 0)
        return false;
    const char *authority = text + sizeof scheme - 1;
    const char *bracket = strrchr(authority, ']');
    bool has_port = strchr(bracket != NULL ? bracket : authority, ':') != NULL;

    if (!parse_authority(authority, destination))
        return false;
    if (!has_port)
        destination->port = DESTINATION_PARENT_PORT;
    return true;
}
