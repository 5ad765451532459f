#include <inttypes.h>
#include <stdio.h>

#include "check_fs.h"
#include "read.h"
#include "run.h"

static void pass_over(struct reading *reading, const struct job *job)
{
    (void)reading;
    (void)job;
}

/* What no operation tells of. Returns how many are wrong. */
static uint64_t check_inside(struct place *place)
{
    if (place->options.backend == STORAGE_FS)
        return check_fs(place->options.docroot);
    return 0;
}

int run_check(struct place *place)
{
    struct reading reading = {.seen = pass_over, .progress.what = "checked"};
    char digest[DIGEST_TEXT];
    bool is_good = read_all(&reading, place->store);
    uint64_t hidden = check_inside(place);

    printf("%" PRIu64 " texts and %" PRIu64 " directories are good, %" PRIu64
           " of them empty: XXH3-128 %s\n",
           reading.digest.texts, reading.digest.directories, reading.empty,
           digest_end(&reading.digest, digest));
    if (reading.failed > 0 || hidden > 0)
        printf("%" PRIu64 " cannot be read as texts, %" PRIu64 " cannot be named\n", reading.failed,
               hidden);
    return is_good && hidden == 0 ? ADMIN_DONE : ADMIN_FAILED;
}
