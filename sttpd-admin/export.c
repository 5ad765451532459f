#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ndjson.h"
#include "read.h"
#include "run.h"

static void write_line(struct reading *reading, const struct job *job)
{
    FILE *out = reading->context;

    if (job->is_directory)
        ndjson_write_directory(out, job_path(job));
    else
        ndjson_write_text(out, job_path(job), job->operation.contents);
    reading->is_stopped = reading->is_stopped || ferror(out);
}

int run_export(struct place *source, FILE *out)
{
    struct reading reading = {.seen = write_line, .context = out, .progress.what = "exported"};
    char digest[DIGEST_TEXT];
    bool is_good = read_all(&reading, source->store);

    if (fflush(out) != 0 || ferror(out)) {
        say("standard output: %s", strerror(errno));
        is_good = false;
    }
    say("exported %" PRIu64 " texts and %" PRIu64 " empty directories, %" PRIu64
        " failed: XXH3-128 %s",
        reading.digest.texts, reading.empty, reading.failed, digest_end(&reading.digest, digest));
    return is_good ? ADMIN_DONE : ADMIN_FAILED;
}
