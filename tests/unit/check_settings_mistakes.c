/* Settings of sttpd: what is said about mistakes, and what a hostile file cannot do. */
#include "settings_support.h"

#include "daemon/text.h"

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
    {"workrs: 4\n", "listen_address, port, proxy_protocol, trusted_proxies, listen, docroot,"},
    {"max_files: 4\n", "did you mean 'max_files' inside 'cache:'?"},
    {"cache.max_files: 4\n", "did you mean 'max_files' inside 'cache:'?"},
    {"cache:\n  port: 4\n", ":2:3: unknown key 'port'; did you mean 'port' at the top level?"},
    {"cache:\n  zzzzzzzz: 4\n", "of: enabled, max_files, max_size, expiration, backend, redis, "},
    {"por: 1\n", "did you mean 'port'?"},
    {"prto: 1\n", "did you mean 'port'?"},
    {"max-connections: 1\n", "did you mean 'max_connections'?"},
    {"port: 1\nport: 2\n", ":2:1: duplicate key 'port'; it was given first in line 1"},
    {"cache: {}\ncache: {}\n", ":2:1: duplicate key 'cache'"},
    {"cache:\n  enabled: no\n  enabled: no\n", ":3:3: duplicate key 'enabled'"},
    {"storage:\n  sqlit: {path: x}\n", ":2:3: unknown key 'sqlit'; did you mean 'sqlite'?"},
    {"storage:\n  sqlite: {pool: 1}\n",
     ":2:12: unknown key 'pool'; did you mean 'pool' inside 'storage.postgres:'?"},
    {"storage:\n  path: x\n", ":2:3: unknown key 'path'; did you mean 'path' inside "
                              "'storage.sqlite:'?"},
    {"storage:\n  sqlite: {}\n  sqlite: {}\n", ":3:3: duplicate key 'sqlite'; it was given first"},
    {"storage: {sqlite: 5}\n",
     "storage.sqlite: expected a mapping with the keys path, not a single value"},
    {"port: [1]\n", ":1:7: port: expected a whole number from 0 to 65535, not a list"},
    {"port: {a: 1}\n", "not a mapping"},
    {"port:\n", "port: expected a whole number from 0 to 65535, not nothing"},
    {"idle_timeout: 5x\n", "'5x' has no known unit; expected a duration in seconds, or with ms, s, "
                           "m, h or d, from 10ms to 1d\n"},
    {"cache:\n  max_size: 1\n", "expected a size in bytes, or with KiB, MiB or GiB, from 1KiB to "
                                "1024GiB\n"},
    {"log_level: loud\n", "is no known word; expected error, warning, info or debug\n"},
    {"docroot: ~\n", "not nothing"},
    {"docroot: ''\n", "'' is empty"},
    {"docroot: \"a\\0b\"\n", "'a\\x00b' holds a zero byte"},
    {"cache: 5\n", "cache: expected a mapping with the keys enabled, max_files, max_size, "
                   "expiration, backend, redis, coherence, stale_if_error, not a single value"},
    {"cache: [a]\n", "not a list"},
    {"- port\n", ":1:1: expected settings as 'key: value' lines, not a list"},
    {"port\n", "not a single value"},
    {"? [a]\n: b\n", "expected the name of a setting, not a list"},
    {"listen: []\n", ":1:9: listen: the list is empty"},
    {"docroot: [{a: b}]\n", "not a list"},
    {"listen: [{adress: b}]\n", "did you mean 'address'?"},
    {"proxy_protocol: true\n",
     ":1:17: proxy_protocol: nobody may connect to '0.0.0.0:8080'; give the "
     "addresses of the proxies before it as trusted_proxies\n"},
    {"trusted_proxies: [\"::1\"]\n", ":1:18: trusted_proxies: '0.0.0.0:8080' takes no header from "
                                     "them without proxy_protocol: true\n"},
    {"listen:\n- address: 1.1.1.1:1\n  proxy_protocol: true\n",
     ":2:12: proxy_protocol: nobody may connect to '1.1.1.1:1'"},
    {"listen:\n- address: 1.1.1.1:1\n  trusted_proxies: 10.0.0.0/8\n",
     ":3:20: trusted_proxies: '1.1.1.1:1' takes no header"},
    {"listen: {address: 1.1.1.1:1, trusted_proxies: [10.0.0.1/8]}\n",
     ":1:48: listen.trusted_proxies: '10.0.0.1/8' is not valid; expected at most 1024 addresses or "
     "ranges such as 10.0.0.0/8 or ::1\n"},
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
    assert_says(&run, "more than 1024 of the characters");
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
    for (size_t before = 50; before < 150; before++) {
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

/* Bytes that look like the rest of a character, for as long as the line goes. */
START_TEST(long_lines_of_no_characters_are_cut)
{
    struct run run;
    char text[512];

    memset(text, 0x80, sizeof text);
    text[sizeof text - 1] = '\n';
    run_bytes(&run, text, sizeof text);
    ck_assert_int_eq(run.status, 1);
    assert_says(&run, ":1:1: not valid YAML: invalid leading UTF-8 octet\n    \\x80\\x80");
    assert_says(&run, "\\x80...\n    ^\n");
    ck_assert_uint_lt(run.size, 512);
    release(&run);
}
END_TEST

START_TEST(one_listener_too_many)
{
    struct run run;
    char text[2048];
    size_t size = (size_t)sprintf(text, "listen:\n");

    for (int i = 0; i < 64; i++)
        size += (size_t)sprintf(text + size, "- 1.1.1.1:%d\n", i + 1);
    run_file(&run, text);
    ck_assert_msg(run.status == 0, "%s", run.text);
    ck_assert_uint_eq(run.options.listen.listen.count, 64);
    release(&run);
    sprintf(text + size, "- 1.1.1.1:65\n");
    assert_refused(text, ":66:3: listen: one too many; expected at most 64");
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
    {{"--port=-1", NULL}, "--port: '-1' is negative; expected a whole number"},
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

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, all_mistakes_in_one_run);
    tcase_add_test(tests, mistakes_of_file_and_flags_together);
    tcase_add_loop_test(tests, refused_files, 0, COUNT(refusals));
    tcase_add_test(tests, accepted_files);
    tcase_add_test(tests, hostile_files);
    tcase_add_test(tests, many_mistakes_are_cut);
    tcase_add_test(tests, hostile_bytes_are_escaped);
    tcase_add_test(tests, long_lines_are_cut);
    tcase_add_test(tests, long_lines_of_no_characters_are_cut);
    tcase_add_test(tests, one_listener_too_many);
    tcase_add_loop_test(tests, usage_mistakes, 0, COUNT(usages));
}

int main(void)
{
    return run_tests("settings_mistakes", add_tests);
}
