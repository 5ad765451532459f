/* Settings of sttp-proxy: every key, from default, file and flag; the forms of addresses. */
#include "settings_run.h"
#include "sttp-proxy/options.h"

struct run {
    struct said said;
    struct proxy_options options;
};

static void run_with(struct run *run, const char *text, char *const *flags)
{
    *run = (struct run){0};
    load(&proxy_program, &run->options, &run->said, text, flags);
}

static void run_file(struct run *run, const char *text)
{
    char *const none[] = {NULL};

    run_with(run, text, none);
}

static void run_flag(struct run *run, const char *key, const char *value, const char *text)
{
    char flag[256];
    char *const flags[] = {flag, NULL};

    snprintf(flag, sizeof flag, "--%s=%s", key, value);
    for (char *at = flag; *at != '='; at++)
        *at = *at == '.' || *at == '_' ? '-' : *at;
    run_with(run, text, flags);
}

static void release(struct run *run)
{
    settings_release(&proxy_program, &run->options);
    free(run->said.text);
}

static const settings_option *option_of(const char *key)
{
    for (size_t i = 0; i < proxy_program.option_count; i++) {
        if (strcmp(proxy_program.options[i].key, key) == 0)
            return &proxy_program.options[i];
    }
    ck_abort_msg("no option %s", key);
}

/* The value of an option as text; items of a list with blanks between them. */
static void value_text(const settings_option *option, const struct proxy_options *options,
                       char *buffer, size_t capacity)
{
    const void *member = (const char *)options + option->offset;
    const settings_list *list = member;
    const settings_records *records = member;
    size_t size = 0;

    buffer[0] = '\0';
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
        snprintf(buffer, capacity, "%s", *(char *const *)member ? *(char *const *)member : "");
        return;
    case SETTINGS_LIST:
        for (size_t i = 0; i < list->count; i++)
            size += (size_t)snprintf(buffer + size, capacity - size, "%s%s", i > 0 ? " " : "",
                                     list->items[i]);
        return;
    case SETTINGS_RECORDS:
        snprintf(buffer, capacity, "%zu", records->count);
    }
}

static void file_of(const char *key, const char *value, char *text, size_t capacity)
{
    const char *dot = strchr(key, '.');

    if (dot != NULL)
        snprintf(text, capacity, "%.*s:\n  %s: %s\n", (int)(dot - key), key, dot + 1, value);
    else
        snprintf(text, capacity, "%s: %s\n", key, value);
}

/* Every key: its default, what a file makes of a value, what a flag makes of another one. */
static const struct every_key {
    const char *key;
    const char *by_default;
    const char *in_file, *from_file;
    const char *in_flag, *from_flag; /* NULL: it has none, or none with a value */
} every_key[] = {
    {"listen_address", "127.0.0.1", "0.0.0.0", "0.0.0.0", "::1", "::1"},
    {"port", "3128", "0", "0", "65535", "65535"},
    {"proxy_protocol", "0", "false", "0", "false", "0"},
    /* By itself it would be a mistake. */
    {"trusted_proxies", "", "[10.0.0.0/8, \"::1\"]\nlisten: 1.1.1.1:1", "10.0.0.0/8 ::1", "1.2.3.4",
     "1.2.3.4"},
    {"listen", "1", "[\"[::1]:0\", {address: \"unix:/x\"}]", "2", "1.2.3.4:5", "1"},
    {"forward.enabled", "0", "true", "1", "true", "1"},
    {"forward.clients", "127.0.0.0/8 ::1", "10.0.0.1", "10.0.0.1", "::/0", "::/0"},
    {"forward.allow", "", "[\"*.a.org:8080\", \"[fd00::]/8:*\"]", "*.a.org:8080 [fd00::]/8:*",
     "10.0.0.0/8:1", "10.0.0.0/8:1"},
    {"forward.parent", "", "sttp://10.0.0.2:3128", "sttp://10.0.0.2:3128", "sttp://name",
     "sttp://name"},
    {"forward.send_proxy", "0", "v2", "1", "none", "0"},
    {"reverse", "0", "[{prefix: /, upstreams: [a]}]", "1", NULL, NULL},
    {"max_upstream_connections", "4", "1", "1", "1024", "1024"},
    {"max_upstream_in_flight", "256", "1", "1", "65536", "65536"},
    {"max_queued", "1024", "1", "1", "1000000", "1000000"},
    {"connect_timeout", "5000", "500ms", "500", "1m", "60000"},
    {"queue_timeout", "5000", "500ms", "500", "1m", "60000"},
    {"response_timeout", "30000", "500ms", "500", "1m", "60000"},
    {"upstream_idle_timeout", "50000", "500ms", "500", "1m", "60000"},
    {"dns_servers", "", "\"127.0.0.1:5353,[::1]:53\"", "127.0.0.1:5353,[::1]:53", "::1", "::1"},
    {"threads", "0", "4", "4", "auto", "0"},
    {"max_connections", "10000", "1", "1", "1000000", "1000000"},
    {"max_connections_per_address", "0", "10", "10", "auto", "0"},
    {"max_in_flight", "64", "1", "1", "65536", "65536"},
    {"max_unsent_total", "67108864", "32MiB", "33554432", "1GiB", "1073741824"},
    {"idle_timeout", "60000", "5", "5000", "2m", "120000"},
    {"request_timeout", "10000", "250ms", "250", "1h", "3600000"},
    {"send_timeout", "30000", "1d", "86400000", "7s", "7000"},
    {"stop_timeout", "10000", "0", "0", "3 s", "3000"},
    {"cache.enabled", "0", "true", "1", "yes", "1"},
    {"cache.max_files", "10000", "7", "7", "8", "8"},
    {"cache.max_size", "67108864", "20480", "20480", "1MiB", "1048576"},
    {"cache.expiration", "5000", "60", "60000", "500ms", "500"},
    {"faults", "0", NULL, NULL, NULL, NULL},
    {"allow_faults", "0", NULL, NULL, NULL, NULL},
    {"log_level", "2", "debug", "3", "error", "0"},
};

START_TEST(every_key_is_in_the_test)
{
    ck_assert_uint_eq(proxy_program.option_count, sizeof every_key / sizeof every_key[0]);
}
END_TEST

static void assert_value(const struct run *run, const char *key, const char *expected)
{
    char value[256];

    ck_assert_msg(run->said.status == 0, "%s", run->said.text);
    value_text(option_of(key), &run->options, value, sizeof value);
    ck_assert_msg(strcmp(value, expected) == 0, "%s: %s, not %s", key, value, expected);
}

START_TEST(every_key_by_default)
{
    struct run run;

    run_file(&run, "");
    assert_value(&run, every_key[_i].key, every_key[_i].by_default);
    release(&run);
}
END_TEST

START_TEST(every_key_from_file_and_flag)
{
    const struct every_key *key = &every_key[_i];
    char text[256];
    struct run run;

    if (key->in_file == NULL)
        return;
    file_of(key->key, key->in_file, text, sizeof text);
    run_file(&run, text);
    assert_value(&run, key->key, key->from_file);
    release(&run);
    if (key->in_flag == NULL)
        return;
    run_flag(&run, key->key, key->in_flag, text);
    assert_value(&run, key->key, key->from_flag);
    release(&run);
}
END_TEST

/* The settings that the documents show. */
START_TEST(a_whole_file)
{
    struct run run;

    run_file(&run, "listen_address: \"127.0.0.1\"\n"
                   "port: 3128\n"
                   "forward:\n"
                   "  enabled: true\n"
                   "  clients: [\"127.0.0.0/8\", \"::1\"]          # who may use it\n"
                   "  allow: [\"*.example.org:8080\", \"10.0.0.0/8:*\"]\n"
                   "  parent: \"sttp://10.0.0.2:3128\"\n"
                   "reverse:\n"
                   "  - prefix: \"/\"\n"
                   "    balance: hash\n"
                   "    upstreams:\n"
                   "      - {address: \"127.0.0.1:8081\", weight: 1}\n"
                   "      - {address: \"[::1]:8082\", weight: 256, send_proxy: v2}\n"
                   "      - {address: \"unix:/run/sttpd.sock\", backup: true}\n"
                   "      - name:8080\n"
                   "    health: {interval: 3s, timeout: 250ms, rise: 4, fall: 5}\n"
                   "    slow_start: 20s\n"
                   "  - {prefix: /b, upstreams: [a], health: {interval: off}}\n"
                   "cache: {enabled: false, max_files: 10000, max_size: 64MiB, expiration: 5s}\n");
    ck_assert_msg(run.said.status == 0, "%s", run.said.text);
    ck_assert_str_eq(run.said.text, "");
    ck_assert_uint_eq(run.options.reverse.count, 2);
    const struct route_options *routes = run.options.reverse.items;
    const struct upstream_options *upstreams = routes[0].upstreams.items;
    ck_assert_uint_eq(routes[0].balance, 3);
    ck_assert_uint_eq(routes[0].health_interval, 3000);
    ck_assert_uint_eq(routes[0].health_timeout, 250);
    ck_assert_uint_eq(routes[0].health_rise, 4);
    ck_assert_uint_eq(routes[0].health_fall, 5);
    ck_assert_uint_eq(routes[0].slow_start, 20000);
    ck_assert_uint_eq(routes[0].upstreams.count, 4);
    ck_assert_uint_eq(upstreams[1].weight, 256);
    ck_assert_uint_eq(upstreams[1].send_proxy, SEND_PROXY_V2);
    ck_assert(upstreams[2].backup);
    ck_assert_str_eq(upstreams[3].address, "name:8080");
    ck_assert_uint_eq(upstreams[3].weight, 1);
    ck_assert_uint_eq(upstreams[3].send_proxy, SEND_PROXY_NONE);

    ck_assert_uint_eq(routes[1].balance, 0);
    ck_assert_uint_eq(routes[1].health_interval, 0);
    ck_assert_uint_eq(routes[1].health_timeout, 500);
    ck_assert_uint_eq(routes[1].health_rise, 2);
    ck_assert_uint_eq(routes[1].health_fall, 3);
    ck_assert_uint_eq(routes[1].slow_start, 10000);
    release(&run);
}
END_TEST

START_TEST(faults_by_flag_alone)
{
    static const char text[] = "reverse: {prefix: /, upstreams: a}\n"
                               "faults:\n"
                               "  - {fault: dribble, delay: 5ms, percent: 10, prefix: /x}\n"
                               "  - {fault: reset, bytes: 3}\n";
    char allow[] = "--allow-faults";
    char *const flags[] = {allow, NULL};
    struct run run;

    run_with(&run, text, flags);
    ck_assert_msg(run.said.status == 0, "%s", run.said.text);
    ck_assert(run.options.allow_faults);
    const struct fault_options *faults = run.options.faults.items;
    ck_assert_uint_eq(run.options.faults.count, 2);
    ck_assert_uint_eq(faults[0].fault, FAULT_DRIBBLE);
    ck_assert_uint_eq(faults[0].delay, 5);
    ck_assert_uint_eq(faults[0].percent, 10);
    ck_assert_str_eq(faults[0].prefix, "/x");
    ck_assert_uint_eq(faults[1].fault, FAULT_RESET);
    ck_assert_uint_eq(faults[1].bytes, 3);
    ck_assert_uint_eq(faults[1].percent, 100);
    ck_assert_str_eq(faults[1].prefix, "/");
    release(&run);

    run_file(&run, text);
    ck_assert_int_eq(run.said.status, 1);
    assert_says(&run.said, ":3:3: faults: refused without the flag --allow-faults\n");
    release(&run);

    run_file(&run, "allow_faults: true\n");
    ck_assert_int_eq(run.said.status, 1);
    assert_says(&run.said, ":1:1: unknown key 'allow_faults'");
    release(&run);
}
END_TEST

/* Where to listen: as text, each with a comma behind it. */
static void assert_listens(const struct run *run, const char *expected)
{
    const struct listener *listeners = run->options.listen.listen.items;
    char text[512] = "";
    size_t size = 0;

    ck_assert_msg(run->said.status == 0, "%s", run->said.text);
    for (size_t i = 0; i < run->options.listen.listen.count; i++) {
        size += (size_t)snprintf(text + size, sizeof text - size, "%s%s", listeners[i].address,
                                 listeners[i].proxy_protocol ? " after" : "");
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

    run_file(&run, "listen_address: \"::\"\nport: 90\n");
    assert_listens(&run, "[::]:90,");
    release(&run);
    run_file(&run, "proxy_protocol: true\ntrusted_proxies: [10.0.0.0/8, 192.0.2.1]\n");
    assert_listens(&run, "127.0.0.1:3128 after 10.0.0.0/8 192.0.2.1,");
    release(&run);

    static const char several[] =
        "port: 90\nlisten: [1.1.1.1:1, {address: \"[::1]:2\", proxy_protocol: true,\n"
        "  trusted_proxies: [\"::1\"]}, {address: \"unix:/s\", proxy_protocol: true}]\n";
    run_file(&run, several);
    assert_listens(&run, "1.1.1.1:1,[::1]:2 after ::1,unix:/s after,");
    release(&run);
    run_flag(&run, "port", "91", several);
    assert_listens(&run, "127.0.0.1:91,");
    release(&run);
    run_flag(&run, "listen_address", "::1", several);
    assert_listens(&run, "[::1]:90,");
    release(&run);
    run_flag(&run, "listen", "3.3.3.3:3", several);
    assert_listens(&run, "3.3.3.3:3,");
    release(&run);
    run_file(&run, "listen: [1.1.1.1:0, 1.1.1.1:0]\n");
    assert_listens(&run, "1.1.1.1:0,1.1.1.1:0,");
    release(&run);
}
END_TEST

static const struct refusal {
    const char *text;
    const char *says;
} refusals[] = {
    {"listen: [1.1.1.1:1, 2.2.2.2:2,\n  {address: 1.1.1.1:1}]\n",
     ":2:13: listen: '1.1.1.1:1' is given twice\n"},
    {"listen: [{address: 1.1.1.1:1, proxy_protocol: true}]\n",
     ":1:20: proxy_protocol: nobody may connect to '1.1.1.1:1'; give the addresses of the proxies "
     "before it as trusted_proxies\n"},
    {"port: 1\nproxy_protocol: true\n", ":2:17: proxy_protocol: nobody may connect to "
                                        "'127.0.0.1:1'"},
    {"trusted_proxies: [10.0.0.0/8]\n", ":1:18: trusted_proxies: '127.0.0.1:3128' takes no header "
                                        "from them without proxy_protocol: true\n"},
    {"listen: [{proxy_protocol: true}]\n", ":1:10: listen: the key 'address' is missing\n"},
    {"listen: localhost:1\n",
     ":1:9: listen: 'localhost:1' is not valid; expected an address such as"},
    {"trusted_proxies: [10.0.0.1/8]\n", "trusted_proxies: '10.0.0.1/8' is not valid; expected"},
    {"forward: {clients: [10.0.0.0/33]}\n", ":1:21: forward.clients: '10.0.0.0/33' is not valid; "
                                            "expected at most 1024 addresses or ranges such as"},
    {"forward: {allow: [example.org]}\n", ":1:19: forward.allow: 'example.org' is not valid: a "
                                          "port is missing: :8080 behind the host, or"},
    {"forward: {allow: ['::1:8080']}\n", "an IPv6 address stands in brackets"},
    {"forward: {allow: ['']}\n", "forward.allow: '' is empty; expected at most 4096 rules"},
    {"forward: {parent: 'unix:/s'}\n", ":1:19: forward.parent: 'unix:/s' is not valid; expected "
                                       "the URL of a proxy"},
    {"forward: {parent: 'sttp://a/b'}\n", "'sttp://a/b' is not valid"},
    {"forward: {send_proxy: v1}\n", "'v1' is no known word; expected none or v2\n"},
    {"reverse: [{prefix: a, upstreams: [b]}]\n", ":1:20: reverse.prefix: 'a' is not valid; "
                                                 "expected a path such as / or /notes\n"},
    {"reverse: [{prefix: /a b, upstreams: [b]}]\n", "'/a b' is not valid"},
    {"reverse: [{upstreams: [b]}]\n", ":1:11: reverse: the key 'prefix' is missing\n"},
    {"reverse: [{prefix: /}]\n", ":1:11: reverse: the key 'upstreams' is missing\n"},
    {"reverse: [{prefix: /, upstreams: []}]\n", "reverse.upstreams: the list is empty"},
    {"reverse: [{prefix: /, upstreams: ['unix:x']}]\n",
     ":1:35: reverse.upstreams: 'unix:x' is not valid; expected an address such as "
     "127.0.0.1:8081, [::1]:8082, name:8080 or unix:/run/sttpd.sock\n"},
    {"reverse: [{prefix: /, upstreams: [{weight: 2}]}]\n", ":1:35: reverse.upstreams: the key "
                                                           "'address' is missing\n"},
    {"reverse: [{prefix: /, upstreams: [{address: a, weight: 0}]}]\n", "from 1 to 256\n"},
    {"reverse: [{prefix: /, upstreams: [a], balance: fair}]\n",
     "expected least_in_flight, round_robin, random_two or hash\n"},
    {"reverse: [{prefix: /, upstreams: [a], health: {interval: 0}}]\n",
     "expected off or a duration in seconds, or with ms, s, m, h or d, from 10ms to 1d\n"},
    {"dns_servers: dns.example\n", "'dns.example' is not valid; expected addresses such as"},
    {"dns_servers: '127.0.0.1,'\n", "is not valid"},
    {"dns_servers: 'unix:/s'\n", "is not valid"},
    {"faults: [{prefix: /}]\n", "faults: the key 'fault' is missing\n"},
    {"faults: [{fault: fire}]\n", "expected delay, reset, truncate, dribble or garbage\n"},
    {"weight: 1\n", ":1:1: unknown key 'weight'"},
    {"upstreams: [a]\n", "did you mean 'upstreams' inside 'reverse:'?"},
    {"enabled: true\n", "did you mean 'enabled' inside 'forward:'?"},
};

START_TEST(refused_files)
{
    struct run run;

    run_file(&run, refusals[_i].text);
    ck_assert_int_eq(run.said.status, 1);
    assert_says(&run.said, refusals[_i].says);
    release(&run);
}
END_TEST

START_TEST(help_shows_every_key_in_80_columns)
{
    struct said said = {0};
    char flag[128];
    FILE *out = open_memstream(&said.text, &said.size);

    ck_assert_ptr_nonnull(out);
    settings_help(&proxy_program, out);
    fclose(out);
    for (size_t i = 0; i < proxy_program.option_count; i++) {
        const settings_option *option = &proxy_program.options[i];
        bool has_flag = option->kind != SETTINGS_RECORDS || option->shorthand != NULL;
        snprintf(flag, sizeof flag, "%s%s", has_flag ? "--" : "      ", option->key);
        for (char *at = flag; has_flag && *at != '\0'; at++)
            *at = *at == '.' || *at == '_' ? '-' : *at;
        assert_says(&said, flag);
    }
    assert_says(&said, "\n        health.interval: DURATION\n");
    assert_says(&said, "\n          send_proxy: WORD    v2 where it is another sttp-proxy");
    assert_says(&said, "[127.0.0.0/8, ::1]\n");
    for (char *line = strtok(said.text, "\n"); line != NULL; line = strtok(NULL, "\n"))
        ck_assert_msg(strlen(line) <= 80, "%s", line);
    free(said.text);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, every_key_is_in_the_test);
    tcase_add_loop_test(tests, every_key_by_default, 0, COUNT(every_key));
    tcase_add_loop_test(tests, every_key_from_file_and_flag, 0, COUNT(every_key));
    tcase_add_test(tests, a_whole_file);
    tcase_add_test(tests, faults_by_flag_alone);
    tcase_add_test(tests, where_to_listen);
    tcase_add_loop_test(tests, refused_files, 0, COUNT(refusals));
    tcase_add_test(tests, help_shows_every_key_in_80_columns);
}

int main(void)
{
    return run_suite("proxy_options", add_tests);
}
