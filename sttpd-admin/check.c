#include <inttypes.h>
#include <stdio.h>

#include "check_fs.h"
#include "read.h"
#include "run.h"
#include "say.h"

static void pass_over(struct reading *reading, const struct job *job)
{
    (void)reading;
    (void)job;
}

/* What no operation tells of. */
struct hidden {
    uint64_t count;
    struct store_checker checker;
};

static void on_found(void *context, sttp_slice path, const char *what)
{
    struct hidden *hidden = context;

    hidden->count++;
    say("%.*s: %s", (int)path.size, path.data, what);
}

/* False where it could not look everywhere. */
static bool check_inside(struct place *place, struct hidden *hidden)
{
    hidden->checker = (struct store_checker){.context = hidden, .found = on_found};
    if (place->options.backend == STORAGE_FS)
        return check_fs(place->options.docroot, &hidden->checker);
    return storage_check(&place->options, &place->log, &hidden->checker);
}

int run_check(struct place *place)
{
    struct reading reading = {.seen = pass_over, .progress.what = "checked"};
    char digest[DIGEST_TEXT];
    bool is_good = read_all(&reading, place->store);
    struct hidden hidden = {.count = 0};
    bool is_seen = check_inside(place, &hidden);

    printf("%" PRIu64 " texts and %" PRIu64 " directories are good, %" PRIu64
           " of them empty: XXH3-128 %s\n",
           reading.digest.texts, reading.digest.directories, reading.empty,
           digest_end(&reading.digest, digest));
    if (reading.failed > 0 || hidden.count > 0)
        printf("%" PRIu64 " texts cannot be read, %" PRIu64 " more things are wrong\n",
               reading.failed, hidden.count);
    return is_good && is_seen && hidden.count == 0 ? ADMIN_DONE : ADMIN_FAILED;
}
