/* The hosts file, read from its beginning for each name: it is small, or names are asked seldom.
 * c-ares reads one, too, but none that the program names. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "resolve_private.h"

typedef struct reader {
    const char *host;
    size_t host_size;
    int family;
    sttp__inet_address *found;
    size_t count, capacity;

    char word[STTP__NAME_SIZE]; /* what is longer is cut, and equals nothing that is looked for */
    size_t word_size;
    sttp__inet_address address; /* of this line */
    enum { LINE_BEGINS, LINE_NAMES, LINE_SKIPPED } state;
} reader;

static bool is_host(const reader *r)
{
    return r->word_size == r->host_size && memcmp(r->word, r->host, r->host_size) == 0;
}

static void end_word(reader *r)
{
    if (r->word_size == 0)
        return;
    r->word[r->word_size] = '\0';
    if (r->state == LINE_BEGINS) {
        bool good = sttp__inet_address_parse(r->word, &r->address) &&
                    (r->family == AF_UNSPEC || r->family == r->address.any.sa_family);
        r->state = good ? LINE_NAMES : LINE_SKIPPED;
    } else if (r->state == LINE_NAMES && is_host(r)) {
        r->found[r->count++] = r->address;
        r->state = LINE_SKIPPED;
    }
    r->word_size = 0;
}

static void take(reader *r, char c)
{
    if (c == '\n') {
        end_word(r);
        r->state = LINE_BEGINS;
    } else if (c == '#') {
        end_word(r);
        r->state = LINE_SKIPPED;
    } else if (c == ' ' || c == '\t' || c == '\r') {
        end_word(r);
    } else if (r->state != LINE_SKIPPED && r->word_size < sizeof r->word - 1) {
        r->word[r->word_size++] = sttp__fold(c);
    }
}

static void read_all(int fd, reader *r)
{
    char bytes[4096];
    ssize_t size;

    do {
        size = read(fd, bytes, sizeof bytes);
        for (ssize_t i = 0; i < size && r->count < r->capacity; i++)
            take(r, bytes[i]);
    } while (r->count < r->capacity && (size > 0 || (size < 0 && errno == EINTR)));
    if (r->count < r->capacity)
        end_word(r);
}

size_t sttp__hosts_find(const char *path, const char *host, int family, sttp__inet_address *found,
                        size_t capacity)
{
    reader r = {.host = host,
                .host_size = strlen(host),
                .family = family,
                .found = found,
                .capacity = capacity};
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat file;

    if (fd < 0)
        return 0;
    if (r.host_size > 0 && host[r.host_size - 1] == '.')
        r.host_size--;
    if (fstat(fd, &file) == 0 && S_ISREG(file.st_mode))
        read_all(fd, &r);
    close(fd);
    return r.count;
}
