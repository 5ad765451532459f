/* Settings of sttpd: from files and flags to values. */
#include "settings_support.h"

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
                 ((const settings_list *)member)->count > 0
                     ? ((const settings_list *)member)->items[0]
                     : "");
        return;
    case SETTINGS_RECORDS: /* there is one such option: where to listen */
        snprintf(buffer, capacity, "%zu:%s", ((const settings_records *)member)->count,
                 ((const struct listener *)((const settings_records *)member)->items)->address);
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
    /* By itself either of the two would be a mistake. */
    bool is_of_two = strstr(option->key, "prox") != NULL;
    const char *with = is_of_two ? "listen: 1.1.1.1:1\n" : "";
    int depth = 0;
    FILE *out = fmemopen(text, capacity, "w");

    ck_assert_ptr_nonnull(out);
    for (const char *name = option->key; name[0] != '\0'; depth++) {
        int size = (int)strcspn(name, ".");
        bool is_section = name[size] == '.';
        fprintf(out, "%*s%.*s:%s%s\n", 2 * depth, "", size, name, is_section ? "" : " ",
                is_section ? "" : value);
        name += size + is_section;
    }
    fprintf(out, "%s", with);
    fclose(out);
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
    {"proxy_protocol", "0", "yes", "1", "on", "1"},
    {"trusted_proxies", "0:", "[\"::1\", 10.0.0.0/8]", "2:::1", "fd00::/8", "1:fd00::/8"},
    {"listen", "1:0.0.0.0:8080", "[\"[::1]:0\", \"unix:/x\"]", "2:[::1]:0", "1.2.3.4:5",
     "1:1.2.3.4:5"},
    {"docroot", "/var/sttp/files", "/srv/a b", "/srv/a b", "x", "x"},
    {"durability", "0", "none", "2", "interval", "1"},
    {"storage.backend", "0", "sqlite", "1", "postgres", "2"},
    {"storage.sqlite.path", "/var/lib/sttp/sttp.db", "x.db", "x.db", "/a b", "/a b"},
    {"storage.postgres.conninfo", "dbname=sttp", "host=a,b port=1", "host=a,b port=1", "user=x",
     "user=x"},
    {"storage.postgres.pool", "8", "1", "1", "1000", "1000"},
    {"storage_threads", "64", "1", "1", "1024", "1024"},
    {"storage_queue", "4096", "1", "1", "1000000", "1000000"},
    {"threads", "0", "4", "4", "auto", "0"},
    {"max_connections", "10000", "1", "1", "1000000", "1000000"},
    {"max_connections_per_address", "0", "10", "10", "auto", "0"},
    {"max_in_flight", "64", "1", "1", "65536", "65536"},
    {"max_unsent_total", "67108864", "32MiB", "33554432", "1GiB", "1073741824"},
    {"idle_timeout", "60000", "5", "5000", "2m", "120000"},
    {"request_timeout", "10000", "250ms", "250", "1h", "3600000"},
    {"send_timeout", "30000", "1d", "86400000", "7s", "7000"},
    {"stop_timeout", "10000", "0", "0", "3 s", "3000"},
    {"cache.enabled", "1", "false", "0", "yes", "1"},
    {"cache.max_files", "100", "7", "7", "8", "8"},
    {"cache.max_size", "10485760", "20480", "20480", "1MiB", "1048576"},
    {"cache.expiration", "300000", "60", "60000", "500ms", "500"},
    {"cache.backend", "0", "redis", "1", "both", "2"},
    {"cache.redis.address", "127.0.0.1:6379", "\"unix:/x\"", "unix:/x", "[::1]:1", "[::1]:1"},
    {"cache.redis.prefix", "sttp:", "a", "a", "b:", "b:"},
    {"cache.redis.timeout", "50", "1ms", "1", "2", "2000"},
    {"cache.coherence", "1000", "200ms", "200", "2s", "2000"},
    {"cache.stale_if_error", "0", "1m", "60000", "1d", "86400000"},
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
        ck_assert_int_eq((long long)run.options.cache.max_size, amounts[_i].size);
    release(&run);

    run_flags(&run, "--cache-expiration", amounts[_i].text, NULL);
    ck_assert_msg((run.status == 0) == (amounts[_i].duration >= 0), "%s", amounts[_i].text);
    if (run.status == 0)
        ck_assert_int_eq((long long)run.options.cache.expiration, amounts[_i].duration);
    release(&run);
}
END_TEST

static const struct listener_form {
    const char *text;
    bool is_good;
} forms[] = {
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

    run_flags(&run, "--listen", forms[_i].text, NULL);
    ck_assert_msg((run.status == 0) == forms[_i].is_good, "%s", forms[_i].text);
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

/* Where to listen: as text, each with a comma behind it. */
static void assert_listens(const struct run *run, const char *expected)
{
    const struct listener *listeners = run->options.listen.listen.items;
    char text[512] = "";
    size_t size = 0;

    ck_assert_msg(run->status == 0, "%s", run->text);
    for (size_t i = 0; i < run->options.listen.listen.count; i++) {
        size += (size_t)snprintf(text + size, sizeof text - size, "%s%s", listeners[i].address,
                                 listeners[i].proxy_protocol ? " behind" : "");
        for (size_t j = 0; j < listeners[i].trusted_proxies.count; j++)
            size += (size_t)snprintf(text + size, sizeof text - size, " %s",
                                     listeners[i].trusted_proxies.items[j]);
        size += (size_t)snprintf(text + size, sizeof text - size, ",");
    }
    ck_assert_str_eq(text, expected);
}

START_TEST(where_to_listen)
{
    struct run run;

    run_flags(&run, "-a", "::", "-p", "90", NULL);
    assert_listens(&run, "[::]:90,");
    release(&run);

    run_file(&run, "port: 90\nlisten:\n  - 1.1.1.1:1\n  - 2.2.2.2:2\n");
    assert_listens(&run, "1.1.1.1:1,2.2.2.2:2,");
    release(&run);

    run_flags(&run, "-c", file, "-p", "91", NULL);
    assert_listens(&run, "0.0.0.0:91,");
    release(&run);

    run_flags(&run, "-c", file, "-a", "::1", NULL);
    assert_listens(&run, "[::1]:90,");
    release(&run);

    run_flags(&run, "-c", file, "-p", "91", "--listen", "3.3.3.3:3", "--listen=4.4.4.4:4", NULL);
    assert_listens(&run, "3.3.3.3:3,4.4.4.4:4,");
    release(&run);

    run_file(&run, "listen: 1.1.1.1:1\n");
    assert_listens(&run, "1.1.1.1:1,");
    release(&run);

    run_file(&run, "listen: [1.1.1.1:1, 2.2.2.2:2, 1.1.1.1:1]\n");
    ck_assert_int_eq(run.status, 1);
    assert_says(&run, "s.conf:1:32: listen: '1.1.1.1:1' is given twice");
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
    assert_listens(&run, "1.1.1.1:0,1.1.1.1:0,");
    release(&run);
}
END_TEST

START_TEST(behind_proxies)
{
    struct run run;

    run_file(&run, "proxy_protocol: true\ntrusted_proxies: [10.0.0.0/8, 192.0.2.1]\n");
    assert_listens(&run, "0.0.0.0:8080 behind 10.0.0.0/8 192.0.2.1,");
    release(&run);

    run_file(&run, "listen: [1.1.1.1:1, {address: \"[::1]:2\", proxy_protocol: true,\n"
                   "  trusted_proxies: \"::1\"}, {address: \"unix:/s\", proxy_protocol: true}]\n");
    assert_listens(&run, "1.1.1.1:1,[::1]:2 behind ::1,unix:/s behind,");
    release(&run);

    run_flags(&run, "--proxy-protocol", "true", "--trusted-proxies=::1", "--trusted-proxies",
              "fd00::/8", NULL);
    assert_listens(&run, "0.0.0.0:8080 behind ::1 fd00::/8,");
    release(&run);

    run_flags(&run, "--proxy-protocol=true", NULL);
    ck_assert_int_eq(run.status, 2);
    assert_says(&run, "proxy_protocol: nobody may connect to '0.0.0.0:8080'");
    release(&run);
}
END_TEST

START_TEST(flag_forms)
{
    struct run run;

    run_flags(&run, "-vvp81", "-q", "-t", "3", "--address=::1", "-T", NULL);
    ck_assert_int_eq(run.status, 0);
    ck_assert_int_eq(run.command.verbosity, 1);
    ck_assert_uint_eq(run.options.listen.port, 81);
    ck_assert_uint_eq(run.options.threads, 3);
    ck_assert(run.command.test && !run.command.help && !run.command.version);
    assert_listens(&run, "[::1]:81,");
    release(&run);

    run_flags(&run, "-p", "1", "-p", "2", NULL);
    ck_assert_uint_eq(run.options.listen.port, 2);
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
    ck_assert_ptr_nonnull(strstr(text, sttpd_program.summary));
    ck_assert_ptr_nonnull(strstr(text, sttpd_program.notes));
    ck_assert_ptr_nonnull(strstr(text,
                                 "\n\nConnections\n  -t, --threads NUMBER        threads that "
                                 "serve connections, auto is one for\n"));
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
        ck_assert_msg(strlen(line) <= 80, "%s", line);
    free(text);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, every_key_is_in_the_test);
    tcase_add_loop_test(tests, every_key_by_default, 0, COUNT(every_key));
    tcase_add_loop_test(tests, every_key_from_file, 0, COUNT(every_key));
    tcase_add_loop_test(tests, every_key_from_flag_wins, 0, COUNT(every_key));
    tcase_add_loop_test(tests, every_range, 0, COUNT(every_key));
    tcase_add_loop_test(tests, units, 0, COUNT(amounts));
    tcase_add_loop_test(tests, listener_forms, 0, COUNT(forms));
    tcase_add_test(tests, socket_path_limit);
    tcase_add_test(tests, where_to_listen);
    tcase_add_test(tests, behind_proxies);
    tcase_add_test(tests, flag_forms);
    tcase_add_test(tests, help_and_version_stop_the_reading);
    tcase_add_test(tests, help_shows_every_flag_in_80_columns);
}

int main(void)
{
    return run_tests("settings", add_tests);
}
