/* The table of sttpd's settings: the keys, flags, defaults, ranges and help of the server. */
#include <limits.h>
#include <string.h>

#include <sttp/url.h>

#include "sttpd/options.h"

#define MEMBER(name) offsetof(struct sttpd_options, name)
#define LISTEN_ADDRESS "0.0.0.0"
#define LISTEN_PORT "8080"

enum {
    SECOND = 1000, /* milliseconds */
    DAY = 24 * 60 * 60 * SECOND
};

static const char *const durability_words[] = {"always", "interval", "none", NULL};
static const char *const cache_backend_words[] = {"memory", "redis", "both", NULL};
static const char *const log_level_words[] = {"error", "warning", "info", "debug", NULL};

const char *const storage_backend_words[] = {"fs", "sqlite", "postgres", NULL};

static const settings_option options[] = {
#include "daemon/options_listen.inc"
    {
        .key = "docroot",
        .letter = 'd',
        .group = "Storage",
        .argument = "DIRECTORY",
        .help = "where the texts are stored",
        .fallback = "/var/sttp/files",
        .kind = SETTINGS_TEXT,
        .offset = MEMBER(docroot),
        .expected = "the path of a directory",
    },
    {
        .key = "storage.backend",
        .group = "Storage",
        .argument = "WORD",
        .help = "what keeps the texts: files below docroot, or a database",
        .fallback = "fs",
        .kind = SETTINGS_CHOICE,
        .offset = MEMBER(backend),
        .choices = storage_backend_words,
    },
    {
        .key = "storage.sqlite.path",
        .group = "Storage",
        .argument = "FILE",
        .help = "the database of sqlite; made where it is not there",
        .fallback = "/var/lib/sttp/sttp.db",
        .kind = SETTINGS_TEXT,
        .offset = MEMBER(sqlite_path),
        .expected = "the path of a file",
    },
    {
        .key = "storage.postgres.conninfo",
        .group = "Storage",
        .argument = "TEXT",
        .help = "where the database of postgres is, as libpq takes it: "
                "\"host=db1,db2 dbname=sttp target_session_attrs=read-write\"",
        .fallback = "dbname=sttp",
        .kind = SETTINGS_TEXT,
        .offset = MEMBER(postgres_conninfo),
        .expected = "a connection string of libpq",
    },
    {
        .key = "storage.postgres.pool",
        .group = "Storage",
        .argument = "NUMBER",
        .help = "connections to the database of postgres",
        .fallback = "8",
        .kind = SETTINGS_NUMBER,
        .offset = MEMBER(postgres_pool),
        .minimum = 1,
        .maximum = 1000,
    },
    {
        .key = "durability",
        .group = "Storage",
        .argument = "WORD",
        .help = "when an acknowledged change is on disk: before its answer, within about a second, "
                "or when the kernel likes",
        .fallback = "always",
        .kind = SETTINGS_CHOICE,
        .offset = MEMBER(durability),
        .choices = durability_words,
    },
    {
        .key = "storage_threads",
        .group = "Storage",
        .argument = "NUMBER",
        .help = "storage operations under way at once",
        .fallback = "64",
        .kind = SETTINGS_NUMBER,
        .offset = MEMBER(storage_threads),
        .minimum = 1,
        .maximum = 1024,
    },
    {
        .key = "storage_queue",
        .group = "Storage",
        .argument = "NUMBER",
        .help = "storage operations that may wait, beyond it requests get 'server busy'",
        .fallback = "4096",
        .kind = SETTINGS_NUMBER,
        .offset = MEMBER(storage_queue),
        .minimum = 1,
        .maximum = 1000000,
    },
#include "daemon/options_connections.inc"
    {
        .key = "cache.enabled",
        .group = "Cache",
        .argument = "BOOLEAN",
        .help = "keep answers to SHOW and LIST in memory",
        .fallback = "true",
        .kind = SETTINGS_BOOL,
        .offset = MEMBER(cache.enabled),
    },
    {
        .key = "cache.max_files",
        .group = "Cache",
        .argument = "NUMBER",
        .help = "answers in the cache, 0 for no cache",
        .fallback = "100",
        .kind = SETTINGS_NUMBER,
        .offset = MEMBER(cache.max_files),
        .minimum = 0,
        .maximum = 100000000,
    },
    {
        .key = "cache.max_size",
        .group = "Cache",
        .argument = "SIZE",
        .help = "memory of the cache",
        .fallback = "10485760",
        .kind = SETTINGS_SIZE,
        .offset = MEMBER(cache.max_size),
        .minimum = 1024,
        .maximum = 1ULL << 40,
    },
    {
        .key = "cache.expiration",
        .group = "Cache",
        .argument = "DURATION",
        .help = "age at which an answer leaves the cache",
        .fallback = "300",
        .kind = SETTINGS_DURATION,
        .offset = MEMBER(cache.expiration),
        .minimum = 0,
        .maximum = 365ULL * DAY,
    },
    {
        .key = "cache.backend",
        .group = "Cache",
        .argument = "WORD",
        .help = "where answers are kept: in this server, in Redis, or in both",
        .fallback = "memory",
        .kind = SETTINGS_CHOICE,
        .offset = MEMBER(cache_backend),
        .choices = cache_backend_words,
    },
    {
        .key = "cache.redis.address",
        .group = "Cache",
        .argument = "ADDRESS",
        .help = "where Redis listens: ADDRESS:PORT or unix:PATH",
        .fallback = "127.0.0.1:6379",
        .kind = SETTINGS_TEXT,
        .offset = MEMBER(redis_address),
        .valid = listen_is_listener,
        .expected = "an address and a port such as 127.0.0.1:6379 or [::1]:6379, or unix:PATH",
    },
    {
        .key = "cache.redis.prefix",
        .group = "Cache",
        .argument = "TEXT",
        .help = "what the keys in Redis begin with",
        .fallback = "sttp:",
        .kind = SETTINGS_TEXT,
        .offset = MEMBER(redis_prefix),
        .expected = "a text that is not empty",
    },
    {
        .key = "cache.redis.timeout",
        .group = "Cache",
        .argument = "DURATION",
        .help = "how long Redis may take before the storage is asked instead",
        .fallback = "50ms",
        .kind = SETTINGS_DURATION,
        .offset = MEMBER(redis_timeout),
        .minimum = 1,
        .maximum = 1ULL * DAY,
    },
    {
        .key = "cache.coherence",
        .group = "Cache",
        .argument = "DURATION",
        .help = "for how long other servers' changes of a shared database may stay unseen",
        .fallback = "1",
        .kind = SETTINGS_DURATION,
        .offset = MEMBER(coherence),
        .minimum = 200,
        .maximum = 1ULL * DAY,
    },
    {
        .key = "cache.stale_if_error",
        .group = "Cache",
        .argument = "DURATION",
        .help = "how old an answer may be that is given while the database is away",
        .fallback = "0",
        .kind = SETTINGS_DURATION,
        .offset = MEMBER(stale_if_error),
        .maximum = 365ULL * DAY,
    },
    {
        .key = "log_level",
        .group = "Log",
        .argument = "WORD",
        .help = "what is logged to standard error, and all that is more urgent",
        .fallback = "info",
        .kind = SETTINGS_CHOICE,
        .offset = MEMBER(log_level),
        .choices = log_level_words,
    },
};

enum { OPTION_COUNT = sizeof options / sizeof options[0] };

_Static_assert((int)OPTION_COUNT <= (int)SETTINGS_MAX_OPTIONS,
               "the table is longer than the settings allow");

static void check_options(void *values, const settings_command *command, settings_report *report)
{
    struct sttpd_options *given = values;

    listen_settle(&given->listen, &sttpd_program, command, report);
}

const settings_program sttpd_program = {
    .name = "sttpd",
    .summary = "Server of the Short Text Transfer Protocol. Runs in the foreground and logs to\n"
               "standard error; SIGTERM and SIGINT stop it, a second one stops it at once.",
    .notes = "The key of a setting in the file is its long flag with '_' in place of '-';\n"
             "--cache-max-files is max_files inside 'cache:'. A flag wins over the file.\n"
             "Defaults stand in [brackets]. See sttpd(1) and sttpd.conf(5).\n"
             "\n"
             "Exit status: 0 after a stop, 1 where the settings file or the system is at\n"
             "fault, 2 where the command line is.\n",
    .options = options,
    .option_count = OPTION_COUNT,
    .check = check_options,
};
