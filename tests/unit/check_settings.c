/* Settings of sttpd: from files and flags to values, and what is said about mistakes. */
#include <check.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/text.h"
#include "sttpd/options.h"

enum { MAX_ARGUMENTS = 16 };

/* One run of the settings: what came out. */
struct run {
    int status;
    struct sttpd_options options;
    settings_command command;
    settings_report report;
    char *text; /* what was reported */
    size_t size;
};

static char directory[] = "/tmp/sttp-settings-XXXXXX";
static char file[sizeof directory + 16];

static void setup(void)
{
    memcpy(directory + sizeof directory - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(file, sizeof file, "%s/s.conf", directory);
}

static void teardown(void)
{
    unlink(file);
    ck_assert_int_eq(rmdir(directory), 0);
}

static void write_file(const char *text, size_t size)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, size), (ssize_t)size);
    close(fd);
}

static void run_list(struct run *run, const char *first, va_list more)
{
    char *argv[MAX_ARGUMENTS];
    int argc = 1;

    memset(run, 0, sizeof *run);
    argv[0] = (char *)(uintptr_t) "sttpd";
    for (const char *next = first; next != NULL; next = va_arg(more, const char *)) {
        ck_assert_int_lt(argc, MAX_ARGUMENTS);
        argv[argc++] = (char *)(uintptr_t)next;
    }
    run->report.out = open_memstream(&run->text, &run->size);
    ck_assert_ptr_nonnull(run->report.out);
    run->status = sttpd_options_load(argc, argv, &run->options, &run->command, &run->report);
    fclose(run->report.out);
}

/* Runs with these flags, ended by NULL. */
static void run_flags(struct run *run, const char *first, ...)
{
    va_list more;

    va_start(more, first);
    run_list(run, first, more);
    va_end(more);
}

static void release(struct run *run)
{
    settings_release(&sttpd_program, &run->options);
    free(run->text);
}

/* Runs with this settings file. */
static void run_bytes(struct run *run, const char *text, size_t size)
{
    write_file(text, size);
    run_flags(run, "-c", file, NULL);
}

static void run_file(struct run *run, const char *text)
{
    run_bytes(run, text, strlen(text));
}

static void assert_says(const struct run *run, const char *part)
{
    ck_assert_msg(strstr(run->text, part) != NULL, "not said: %s\nbut: %s", part, run->text);
}

/* That a file is refused, with these words. */
static void assert_refused(const char *text, const char *part)
{
    struct run run;

    run_file(&run, text);
    ck_assert_msg(run.status == 1, "accepted: %s", text);
    assert_says(&run, part);
    release(&run);
}

/* The value of an option as text. */
static void value_text(const settings_option *option, const struct sttpd_options *options,
                       char *buffer, size_t capacity)
{
    const void *member = (const char *)options + option->offset;

    switch (option->kind) {
    case SETTINGS_BOOL:
        snprintf(buffer, capacity, "%d", *(const bool *)member);
        return;
    case SETTINGS_NUMBER:
    case SETTINGS_SIZE:
    case SETTINGS_DURATION:
        snprintf(buffer, capacity, "%llu", (unsigned long long)*(const uint64_t *)member);
        return;
    case SETTINGS_CHOICE:
        snprintf(buffer, capacity, "%u", *(const unsigned *)member);
        return;
    case SETTINGS_TEXT:
        snprintf(buffer, capacity, "%s", *(char *const *)member);
        return;
    case SETTINGS_LIST:
        snprintf(buffer, capacity, "%zu:%s", ((const settings_list *)member)->count,
                 ((const settings_list *)member)->items[0]);
        return;
    }
}

static const settings_option *option_of(const char *key)
{
    for (size_t i = 0; i < sttpd_program.option_count; i++) {
        if (strcmp(sttpd_program.options[i].key, key) == 0)
            return &sttpd_program.options[i];
    }
    ck_abort_msg("no option %s", key);
}

static void flag_of(const settings_option *option, char *flag, size_t capacity)
{
    snprintf(flag, capacity, "--%s", option->key);
    for (char *at = flag; *at != '\0'; at++) {
        if (*at == '.' || *at == '_')
            *at = '-';
    }
}

/* A file that gives one option. */
static void file_of(const settings_option *option, const char *value, char *text, size_t capacity)
{
    const char *dot = strchr(option->key, '.');

    if (dot != NULL)
        snprintf(text, capacity, "%.*s:\n  %s: %s\n", (int)(dot - option->key), option->key,
                 dot + 1, value);
    else
        snprintf(text, capacity, "%s: %s\n", option->key, value);
}

/* Every key: its default, what a file makes of a value, what a flag makes of another one. */
static const struct every_key {
    const char *key;
    const char *by_default;
    const char *in_file, *from_file;
    const char *in_flag, *from_flag;
} every_key[] = {
    {"listen_address", "0.0.0.0", "127.0.0.1", "127.0.0.1", "::1", "::1"},
    {"port", "8080", "0", "0", "65535", "65535"},
    {"listen", "1:0.0.0.0:8080", "[\"[::1]:0\", \"unix:/x\"]", "2:[::1]:0", "1.2.3.4:5",
     "1:1.2.3.4:5"},
    {"docroot", "/var/sttp/files", "/srv/a b", "/srv/a b", "x", "x"},
    {"durability", "0", "none", "2", "interval", "1"},
    {"storage_threads", "64", "1", "1", "1024", "1024"},
    {"storage_queue", "4096", "1", "1", "1000000", "1000000"},
    {"threads", "0", "4", "4", "auto", "0"},
    {"max_connections", "10000", "1", "1", "1000000", "1000000"},
    {"max_connections_per_address", "0", "10", "10", "auto", "0"},
    {"max_in_flight", "64", "1", "1", "65536", "65536"},
    {"idle_timeout", "60000", "5", "5000", "2m", "120000"},
    {"request_timeout", "10000", "250ms", "250", "1h", "3600000"},
    {"send_timeout", "30000", "1d", "86400000", "7s", "7000"},
    {"stop_timeout", "10000", "0", "0", "3 s", "3000"},
    {"cache.enabled", "1", "false", "0", "yes", "1"},
    {"cache.max_files", "100", "7", "7", "8", "8"},
    {"cache.max_size", "10485760", "20480", "20480", "1MiB", "1048576"},
    {"cache.expiration", "300000", "60", "60000", "500ms", "500"},
    {"log_level", "2", "debug", "3", "error", "0"},
};

START_TEST(every_key_is_in_the_test)
{
    ck_assert_uint_eq(sttpd_program.option_count, sizeof every_key / sizeof every_key[0]);
}
END_TEST

START_TEST(every_key_by_default)
{
    struct run run;
    char value[128];

    run_flags(&run, NULL);
    ck_assert_int_eq(run.status, 0);
    value_text(option_of(every_key[_i].key), &run.options, value, sizeof value);
    ck_assert_str_eq(value, every_key[_i].by_default);
    release(&run);
}
END_TEST

START_TEST(every_key_from_file)
{
    struct run run;
    char text[256];
    char value[128];
    const settings_option *option = option_of(every_key[_i].key);

    file_of(option, every_key[_i].in_file, text, sizeof text);
    run_file(&run, text);
    ck_assert_msg(run.status == 0, "%s", run.text);
    value_text(option, &run.options, value, sizeof value);
    ck_assert_str_eq(value, every_key[_i].from_file);
    release(&run);
}
END_TEST

START_TEST(every_key_from_flag_wins)
{
    struct run run;
    char text[256];
    char flag[128];
    char value[128];
    const settings_option *option = option_of(every_key[_i].key);

    file_of(option, every_key[_i].in_file, text, sizeof text);
    write_file(text, strlen(text));
    flag_of(option, flag, sizeof flag);
    run_flags(&run, flag, every_key[_i].in_flag, "-c", file, NULL);
    ck_assert_msg(run.status == 0, "%s", run.text);
    value_text(option, &run.options, value, sizeof value);
    ck_assert_str_eq(value, every_key[_i].from_flag);
    release(&run);
}
END_TEST

/* The ends of every range, and what is beyond them. */
START_TEST(every_range)
{
    const settings_option *option = option_of(every_key[_i].key);
    const char *unit = option->kind == SETTINGS_DURATION ? "ms" : "";
    const struct {
        uint64_t value;
        bool fits;
    } ends[] = {
        {option->minimum, true},
        {option->maximum, true},
        {option->minimum - 1, false},
        {option->maximum + 1, false},
    };

    if (option->kind != SETTINGS_NUMBER && option->kind != SETTINGS_SIZE &&
        option->kind != SETTINGS_DURATION)
        return;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct run run;
        char value[64];
        char text[256];
        snprintf(value, sizeof value, "%llu%s", (unsigned long long)ends[i].value, unit);
        file_of(option, value, text, sizeof text);
        run_file(&run, text);
        ck_assert_msg((run.status == 0) == ends[i].fits, "%s: %s", text, run.text);
        if (!ends[i].fits)
            assert_says(&run, "; expected ");
        release(&run);
    }
}
END_TEST

static const struct amount {
    const char *text;
    long long size;     /* of cache.max_size, -1 where it is refused */
    long long duration; /* of cache.expiration */
} amounts[] = {
    {"2048", 2048, 2048000},
    {"2048B", 2048, -1},
    {"2KiB", 2048, -1},
    {"2k", 2048, -1},
    {"2 K", 2048, -1},
    {"3mib", 3 << 20, -1},
    {"3M", 3 << 20, 180000},
    {"1G", 1 << 30, -1},
    {"1gib", 1 << 30, -1},
    {"250ms", -1, 250},
    {"2s", -1, 2000},
    {"5m", 5 << 20, 300000},
    {"5min", -1, 300000},
    {"1h", -1, 3600000},
    {"2d", -1, 172800000},
    {"2KB", -1, -1},
    {"1.5s", -1, -1},
    {"1e6", -1, -1},
    {"0x1000", -1, -1},
    {"010000", -1, -1},
    {"10_000", -1, -1},
    {"+2048", -1, -1},
    {"-2048", -1, -1},
    {"2048 ", -1, -1},
    {"2  s", -1, -1},
    {"s", -1, -1},
    {"18446744073709551616", -1, -1},
    {"99999999999999999999999999999999", -1, -1},
    {"18014398509481984K", -1, -1},
    {"18446744073709551d", -1, -1},
    {"", -1, -1},
};

START_TEST(units)
{
    struct run run;

    run_flags(&run, "--cache-max-size", amounts[_i].text, NULL);
    ck_assert_msg((run.status == 0) == (amounts[_i].size >= 0), "%s", amounts[_i].text);
    if (run.status == 0)
        ck_assert_int_eq((long long)run.options.cache_max_size, amounts[_i].size);
    release(&run);

    run_flags(&run, "--cache-expiration", amounts[_i].text, NULL);
    ck_assert_msg((run.status == 0) == (amounts[_i].duration >= 0), "%s", amounts[_i].text);
    if (run.status == 0)
        ck_assert_int_eq((long long)run.options.cache_expiration, amounts[_i].duration);
    release(&run);
}
END_TEST

static const struct listener {
    const char *text;
    bool is_good;
} listeners[] = {
    {"127.0.0.1:8080", true},
    {"[::1]:0", true},
    {"[fe80::1%eth0]:80", true},
    {"unix:/run/s", true},
    {"127.0.0.1", false},
    {"127.0.0.1:", false},
    {"127.0.0.1:65536", false},
    {"127.0.0.1:080", false},
    {"127.0.0.1:80x", false},
    {"localhost:80", false},
    {"::1:80", false},
    {"[::1]", false},
    {"[::1]80", false},
    {"[::1%]:80", false},
    {"[127.0.0.1]:80", false},
    {"unix:", false},
    {"unix:/", false},
    {"unix:relative", false},
    {":80", false},
    {"", false},
};

START_TEST(listener_forms)
{
    struct run run;

    run_flags(&run, "--listen", listeners[_i].text, NULL);
    ck_assert_msg((run.status == 0) == listeners[_i].is_good, "%s", listeners[_i].text);
    release(&run);
}
END_TEST

START_TEST(socket_path_limit)
{
    struct run run;
    char path[128] = "unix:/";

    memset(path + 6, 'a', 106);
    run_flags(&run, "--listen", path, NULL);
    ck_assert_int_eq(run.status, 0);
    release(&run);
    path[112] = 'a';
    run_flags(&run, "--listen", path, NULL);
    ck_assert_int_eq(run.status, 2);
    release(&run);
}
END_TEST

START_TEST(where_to_listen)
{
    struct run run;

    run_flags(&run, "-a", "::", "-p", "90", NULL);
    ck_assert_uint_eq(run.options.listen.count, 1);
    ck_assert_str_eq(run.options.listen.items[0], "[::]:90");
    release(&run);

    run_file(&run, "port: 90\nlisten:\n  - 1.1.1.1:1\n  - 2.2.2.2:2\n");
    ck_assert_uint_eq(run.options.listen.count, 2);
    ck_assert_str_eq(run.options.listen.items[1], "2.2.2.2:2");
    release(&run);

    run_flags(&run, "-c", file, "-p", "91", NULL);
    ck_assert_uint_eq(run.options.listen.count, 1);
    ck_assert_str_eq(run.options.listen.items[0], "0.0.0.0:91");
    release(&run);

    run_flags(&run, "-c", file, "-p", "91", "--listen", "3.3.3.3:3", "--listen=4.4.4.4:4", NULL);
    ck_assert_uint_eq(run.options.listen.count, 2);
    ck_assert_str_eq(run.options.listen.items[0], "3.3.3.3:3");
    release(&run);

    run_file(&run, "listen: 1.1.1.1:1\n");
    ck_assert_uint_eq(run.options.listen.count, 1);
    release(&run);

    run_file(&run, "listen: [1.1.1.1:1, 2.2.2.2:2, 1.1.1.1:1]\n");
    ck_assert_int_eq(run.status, 1);
    assert_says(&run, "'1.1.1.1:1' is given twice");
    release(&run);

    run_flags(&run, "--listen", "1.1.1.1:1", "--listen", "1.1.1.1:1", NULL);
    ck_assert_int_eq(run.status, 2);
    release(&run);

    run_file(&run, "listen: [1.1.1.1:1, 1.1.1.1:1]\nport: x\n");
    ck_assert_int_eq(run.status, 1);
    assert_says(&run, "'x' is not a number");
    assert_says(&run, "'1.1.1.1:1' is given twice");
    release(&run);

    run_file(&run, "listen: [1.1.1.1:0, 1.1.1.1:0]\n");
    ck_assert_int_eq(run.status, 0);
    release(&run);
}
END_TEST

/* Everything that is wrong, in one run, each with its place. */
START_TEST(all_mistakes_in_one_run)
{
    static const char text[] = "listen_address: localhost\n"
                               "port: 99999\n"
                               "prot: 80\n"
                               "cache:\n"
                               "  enabled: maybe\n"
                               "  max_fils: 3\n"
                               "docroot: [a]\n"
                               "\"t\xc3\xbcr\": 1\n"
                               "listen: [\"\xc3\xbc:1\", x]\n";
    static const char expected[] =
        "s:1:17: listen_address: 'localhost' is not valid; expected a numeric IPv4 or IPv6 address "
        "such as 127.0.0.1 or ::1\n"
        "    listen_address: localhost\n"
        "                    ^\n"
        "s:2:7: port: '99999' is too large; expected a whole number from 0 to 65535\n"
        "    port: 99999\n"
        "          ^\n"
        "s:3:1: unknown key 'prot'; did you mean 'port'?\n"
        "    prot: 80\n"
        "    ^\n"
        "s:5:12: cache.enabled: 'maybe' is neither; expected true or false\n"
        "      enabled: maybe\n"
        "               ^\n"
        "s:6:3: unknown key 'max_fils'; did you mean 'max_files'?\n"
        "      max_fils: 3\n"
        "      ^\n"
        "s:7:10: docroot: expected the path of a directory, not a list\n"
        "    docroot: [a]\n"
        "             ^\n";
    struct run run = {0};

    run.report.out = open_memstream(&run.text, &run.size);
    bool good = settings_read_text(&sttpd_program, "s", STTP_SLICE(text), &run.options,
                                   &run.command, &run.report);
    fclose(run.report.out);
    ck_assert(!good);
    ck_assert_uint_eq(run.report.count, 9);
    ck_assert_msg(strncmp(run.text, expected, sizeof expected - 1) == 0, "%s", run.text);
    assert_says(&run, "s:8:1: unknown key 't\xc3\xbcr'");
    assert_says(&run, "s:9:10: listen: '\xc3\xbc:1' is not valid");
    assert_says(&run, "s:9:17: listen: 'x' is not valid"); /* in characters, not bytes */
    assert_says(&run, "    listen: [\"\xc3\xbc:1\", x]\n                    ^\n");
    release(&run);
}
END_TEST

START_TEST(mistakes_of_file_and_flags_together)
{
    struct run run;

    write_file("port: x\n", 8);
    run_flags(&run, "-c", file, "-p", "70000", "--threads=z", NULL);
    ck_assert_int_eq(run.status, 2);
    assert_says(&run, "s.conf:1:7: port: 'x' is not a number");
    assert_says(&run, "-p: '70000' is too large; expected a whole number from 0 to 65535\n");
    assert_says(&run, "--threads: 'z' is not a number; expected auto or a whole number");
    ck_assert_uint_eq(run.report.count, 3);
    release(&run);
}
END_TEST

static const struct refusal {
    const char *text;
    const char *says;
} refusals[] = {
    {"workrs: 4\n", ":1:1: unknown key 'workrs'; the nearest known key is '"},
    {"workrs: 4\n", "listen_address, port, listen, docroot,"},
    {"max_files: 4\n", "did you mean 'max_files' inside 'cache:'?"},
    {"cache.max_files: 4\n", "did you mean 'max_files' inside 'cache:'?"},
    {"cache:\n  port: 4\n", ":2:3: unknown key 'port'; did you mean 'port' at the top level?"},
    {"cache:\n  zzzzzzzz: 4\n", "of: enabled, max_files, max_size, expiration\n"},
    {"por: 1\n", "did you mean 'port'?"},
    {"prto: 1\n", "did you mean 'port'?"},
    {"max-connections: 1\n", "did you mean 'max_connections'?"},
    {"port: 1\nport: 2\n", ":2:1: duplicate key 'port'; it was given first in line 1"},
    {"cache: {}\ncache: {}\n", ":2:1: duplicate key 'cache'"},
    {"cache:\n  enabled: no\n  enabled: no\n", ":3:3: duplicate key 'enabled'"},
    {"port: [1]\n", ":1:7: port: expected a whole number from 0 to 65535, not a list"},
    {"port: {a: 1}\n", "not a mapping"},
    {"port:\n", "port: expected a whole number from 0 to 65535, not nothing"},
    {"docroot: ~\n", "not nothing"},
    {"docroot: ''\n", "'' is empty"},
    {"docroot: \"a\\0b\"\n", "'a\\x00b' holds a zero byte"},
    {"cache: 5\n", "cache: expected a mapping with the keys enabled, max_files, max_size, "
                   "expiration, not a single value"},
    {"cache: [a]\n", "not a list"},
    {"- port\n", ":1:1: expected settings as 'key: value' lines, not a list"},
    {"port\n", "not a single value"},
    {"? [a]\n: b\n", "expected the name of a setting, not a list"},
    {"listen: []\n", ":1:9: listen: the list is empty"},
    {"listen: [{a: b}]\n", "not a mapping"},
    {"port: !!int 80\n", ":1:7: the tag 'tag:yaml.org,2002:int' is not used here"},
    {"cache: !x {}\n", "the tag '!x' is not used here"},
    {"port: 80\n---\nport: 81\n", ":3:1: a second document begins here"},
    {"port: [80\nthreads: 1\n", "not valid YAML: did not find expected ',' or ']' while parsing a "
                                "flow sequence that begins in line 1"},
    {"port: 80\n\tthreads: 1\n", ":2:1: not valid YAML: a TAB indents nothing; use spaces\n"},
    {"cache:\n\tenabled: no\n", ":2:1: not valid YAML: a TAB indents nothing; use spaces\n"},
    {"port: @80\n", ":1:7: not valid YAML: found character that cannot start any token\n"},
    {"port: 80\n---\n[", ": not valid YAML: "},
    {"port: \"80\n", "not valid YAML"},
    {"a: *b\n", "not valid YAML: found undefined alias"},
    {"port: \xff\n", ":1:7: not valid YAML: invalid leading UTF-8 octet"},
    {"\xef\xbb\xbfport: x\n", ":1:7: port: 'x' is not a number"},
    {"\xff\xfep\0", ":1:1: not valid YAML"},
    {"port: \x01\n", "not valid YAML: control characters are not allowed\n    port: \\x01\n"},
    {"base: &b {enabled: no}\ncache:\n  <<: *b\n", "unknown key '<<'"},
    {"port: 80\r\nprot: 1\r\n", ":2:1: unknown key 'prot'"},
};

START_TEST(refused_files)
{
    assert_refused(refusals[_i].text, refusals[_i].says);
}
END_TEST

START_TEST(accepted_files)
{
    static const char *const texts[] = {
        "",
        "\n",
        "# nothing\n",
        "---\n",
        "--- ~\n",
        "{}",
        "cache:\n",
        "cache: {}\n",
        "port: \"80\"\n",
        "port: !!str 80\n",
        "\xef\xbb\xbfport: 80\n",
        "port: 80\n...\n",
        "%YAML 1.1\n---\nport: 80\n",
        "port: 80 # comment\r\n",
        "port: &p 80\nmax_connections: *p\n",
        "{\"port\": 80, \"cache\": {\"enabled\": false}}\n",
    };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct run run;
        run_file(&run, texts[i]);
        ck_assert_msg(run.status == 0, "%s: %s", texts[i], run.text);
        release(&run);
    }
}
END_TEST

/* What is no settings file, and what would keep the YAML library busy for hours. */
START_TEST(hostile_files)
{
    struct run run;
    size_t size = SETTINGS_MAX_FILE_SIZE + 1;
    char *big = malloc(size);

    ck_assert_ptr_nonnull(big);
    run_bytes(&run, "port: 80\0", 9);
    ck_assert_int_eq(run.status, 1);
    assert_says(&run, ":1:9: a zero byte: this is no text file");
    release(&run);

    memset(big, '[', size);
    run_bytes(&run, big, size);
    assert_says(&run, "larger than 1 MiB");
    release(&run);
    run_bytes(&run, big, size - 1);
    assert_says(&run, "more than 256 of the characters");
    release(&run);

    memset(big, '#', size);
    run_bytes(&run, big, size - 1);
    ck_assert_int_eq(run.status, 0);
    release(&run);
    free(big);

    run_flags(&run, "-c", directory, NULL);
    ck_assert_int_eq(run.status, 1);
    assert_says(&run, "cannot read the settings file: Is a directory");
    release(&run);
    run_flags(&run, "-c", "/nowhere/at/all", NULL);
    assert_says(&run, "/nowhere/at/all: cannot read the settings file: No such file");
    release(&run);
}
END_TEST

START_TEST(many_mistakes_are_cut)
{
    struct run run;
    char *text = malloc(200000);
    size_t size = 0;

    ck_assert_ptr_nonnull(text);
    for (int i = 0; i < 10000; i++)
        size += (size_t)sprintf(text + size, "x%d: 1\n", i);
    run_bytes(&run, text, size);
    ck_assert_int_eq(run.status, 1);
    assert_says(&run, ":100:1: unknown key 'x99'");
    ck_assert_ptr_null(strstr(run.text, "'x100'"));
    assert_says(&run, "more mistakes follow");
    free(text);
    release(&run);
}
END_TEST

/* Nothing from a file or a flag can steer a terminal or forge a line of the report. */
START_TEST(hostile_bytes_are_escaped)
{
    struct run run;

    run_file(&run, "\"a\\nport: ok\\e[31m\": 1\nport: \"\\u202e\\u0085\"\n");
    ck_assert_int_eq(run.status, 1);
    assert_says(&run, "unknown key 'a\\nport: ok\\x1b[31m'");
    for (const char *at = run.text; *at != '\0'; at++)
        ck_assert((unsigned char)*at >= 0x20 || *at == '\n');
    ck_assert_ptr_null(strstr(run.text, "\xe2\x80\xae"));
    release(&run);

    run_flags(&run, "--x\n\x1b", "\x1b]0;", NULL);
    for (const char *at = run.text; *at != '\0'; at++)
        ck_assert((unsigned char)*at >= 0x20 || *at == '\n');
    release(&run);
}
END_TEST

/* A long line is shown as a window around the place, wherever that is. */
START_TEST(long_lines_are_cut)
{
    for (size_t before = 50; before < 80; before++) {
        struct run run;
        char text[1024] = "";
        size_t size = (size_t)sprintf(text, "{%*sprot: 1, ", (int)before, "");
        for (size_t i = 0; i < 100; i++)
            size += (size_t)sprintf(text + size, "\xe2\x82\xac");
        memcpy(text + size, ": 2}\n", 6);
        run_file(&run, text);
        ck_assert_int_eq(run.status, 1);
        assert_says(&run, "unknown key 'prot'");
        for (char *line = strtok(run.text, "\n"); line != NULL; line = strtok(NULL, "\n"))
            ck_assert_uint_le(strncmp(line, "    ", 4) == 0 ? text_count_chars(line, strlen(line))
                                                            : 0,
                              4 + 3 + 60 + 60 + 3);
        release(&run);
    }
}
END_TEST

static const struct usage {
    const char *arguments[4];
    const char *says;
} usages[] = {
    {{"--prot", "80", NULL}, "--prot: unknown flag; did you mean '--port'?"},
    {{"--cache-max-file=8", NULL}, "did you mean '--cache-max-files'?"},
    {{"--qwertz", NULL}, "--qwertz: unknown flag\n"},
    {{"-x", NULL}, "-x: unknown flag"},
    {{"-vx", NULL}, "-vx: unknown flag"},
    {{"-p", NULL}, "-p: needs a value: PORT"},
    {{"-vp", NULL}, "-p: needs a value: PORT"},
    {{"-vpx", NULL}, "-p: 'x' is not a number"},
    {{"--port", NULL}, "--port: needs a value: PORT"},
    {{"--port=", NULL}, "--port: '' is not a number"},
    {{"--verbose=3", NULL}, "--verbose: takes no value"},
    {{"files", NULL}, "'files': unexpected argument"},
    {{"--", NULL}, "'--': unexpected argument"},
    {{"-", NULL}, "'-': unexpected argument"},
    {{"-c/dev/null", "-c/dev/null", NULL}, "--config: given twice"},
};

START_TEST(usage_mistakes)
{
    struct run run;
    const char *const *arguments = usages[_i].arguments;

    run_flags(&run, arguments[0], arguments[1], arguments[1] != NULL ? arguments[2] : NULL, NULL);
    ck_assert_int_eq(run.status, 2);
    assert_says(&run, usages[_i].says);
    release(&run);
}
END_TEST

START_TEST(flag_forms)
{
    struct run run;

    run_flags(&run, "-vvp81", "-q", "-t", "3", "--address=::1", "-T", NULL);
    ck_assert_int_eq(run.status, 0);
    ck_assert_int_eq(run.command.verbosity, 1);
    ck_assert_uint_eq(run.options.port, 81);
    ck_assert_uint_eq(run.options.threads, 3);
    ck_assert(run.command.test && !run.command.help && !run.command.version);
    ck_assert_str_eq(run.options.listen.items[0], "[::1]:81");
    release(&run);

    run_flags(&run, "-p", "1", "-p", "2", NULL);
    ck_assert_uint_eq(run.options.port, 2);
    release(&run);
}
END_TEST

START_TEST(help_and_version_stop_the_reading)
{
    struct run run;

    run_flags(&run, "-c", "/nowhere/at/all", "--help", "--bogus", NULL);
    ck_assert_int_eq(run.status, 0);
    ck_assert(run.command.help);
    ck_assert_uint_eq(run.report.count, 0);
    release(&run);
    run_flags(&run, "-V", "-p", "x", NULL);
    ck_assert_int_eq(run.status, 0);
    ck_assert(run.command.version);
    release(&run);
}
END_TEST

START_TEST(help_shows_every_flag_in_80_columns)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    settings_help(&sttpd_program, out);
    fclose(out);
    for (size_t i = 0; i < sttpd_program.option_count; i++) {
        char flag[128];
        flag_of(&sttpd_program.options[i], flag, sizeof flag);
        ck_assert_msg(strstr(text, flag) != NULL, "%s", flag);
        if (sttpd_program.options[i].fallback != NULL) {
            snprintf(flag, sizeof flag, "[%s]", sttpd_program.options[i].fallback);
            ck_assert_msg(strstr(text, flag) != NULL, "%s", flag);
        }
    }
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
        ck_assert_msg(strlen(line) <= 80, "%s", line);
    free(text);
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof(table)[0]))

static Suite *suite(void)
{
    Suite *made = suite_create("settings");
    TCase *tests = tcase_create("settings");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, every_key_is_in_the_test);
    tcase_add_loop_test(tests, every_key_by_default, 0, COUNT(every_key));
    tcase_add_loop_test(tests, every_key_from_file, 0, COUNT(every_key));
    tcase_add_loop_test(tests, every_key_from_flag_wins, 0, COUNT(every_key));
    tcase_add_loop_test(tests, every_range, 0, COUNT(every_key));
    tcase_add_loop_test(tests, units, 0, COUNT(amounts));
    tcase_add_loop_test(tests, listener_forms, 0, COUNT(listeners));
    tcase_add_test(tests, socket_path_limit);
    tcase_add_test(tests, where_to_listen);
    tcase_add_test(tests, all_mistakes_in_one_run);
    tcase_add_test(tests, mistakes_of_file_and_flags_together);
    tcase_add_loop_test(tests, refused_files, 0, COUNT(refusals));
    tcase_add_test(tests, accepted_files);
    tcase_add_test(tests, hostile_files);
    tcase_add_test(tests, many_mistakes_are_cut);
    tcase_add_test(tests, hostile_bytes_are_escaped);
    tcase_add_test(tests, long_lines_are_cut);
    tcase_add_loop_test(tests, usage_mistakes, 0, COUNT(usages));
    tcase_add_test(tests, flag_forms);
    tcase_add_test(tests, help_and_version_stop_the_reading);
    tcase_add_test(tests, help_shows_every_flag_in_80_columns);
    suite_add_tcase(made, tests);
    return made;
}

int main(void)
{
    SRunner *runner = srunner_create(suite());

    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
