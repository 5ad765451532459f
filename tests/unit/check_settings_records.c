/* Settings that are lists of mappings: values, defaults of each, places, mistakes, flags, help, and
 * each allocation that fails. */
#include "records_program.h"
#include "settings_run.h"

struct run {
    struct said said;
    struct records_options options;
};

static void run_with(struct run *run, const char *text, char *const *flags)
{
    *run = (struct run){0};
    load(&records_program, &run->options, &run->said, text, flags);
}

static void run_file(struct run *run, const char *text)
{
    char *const none[] = {NULL};

    run_with(run, text, none);
}

static void release(struct run *run)
{
    settings_release(&records_program, &run->options);
    ck_assert_ptr_null(run->options.routes.items);
    ck_assert_uint_eq(run->options.routes.count, 0);
    ck_assert_ptr_null(run->options.listen.items);
    free(run->said.text);
}

static const struct route *route_at(const struct run *run, size_t index)
{
    ck_assert_uint_lt(index, run->options.routes.count);
    return (const struct route *)run->options.routes.items + index;
}

static const struct upstream *upstream_at(const struct run *run, size_t route, size_t index)
{
    ck_assert_uint_lt(index, route_at(run, route)->upstreams.count);
    return (const struct upstream *)route_at(run, route)->upstreams.items + index;
}

static const struct record_listener *listener_at(const struct run *run, size_t index)
{
    ck_assert_uint_lt(index, run->options.listen.count);
    return (const struct record_listener *)run->options.listen.items + index;
}

START_TEST(records_and_records_in_them)
{
    struct run run;

    run_file(&run, "routes:\n"
                   "  - prefix: /a\n"
                   "    balance: least\n"
                   "    upstreams:\n"
                   "      - {address: \"127.0.0.1:8081\", weight: 7}\n"
                   "      - {address: \"unix:/x\", backup: true}\n"
                   "    health: {interval: 500ms, rise: 5}\n"
                   "  - {prefix: /, upstreams: [\"[::1]:1\", {address: b}]}\n");
    ck_assert_msg(run.said.status == 0, "%s", run.said.text);
    ck_assert_uint_eq(run.options.routes.count, 2);
    ck_assert_str_eq(route_at(&run, 0)->prefix, "/a");
    ck_assert_uint_eq(route_at(&run, 0)->balance, 1);
    ck_assert_uint_eq(route_at(&run, 0)->health_interval, 500);
    ck_assert_uint_eq(route_at(&run, 0)->health_rise, 5);
    ck_assert_uint_eq(route_at(&run, 0)->upstreams.count, 2);
    ck_assert_str_eq(upstream_at(&run, 0, 0)->address, "127.0.0.1:8081");
    ck_assert_uint_eq(upstream_at(&run, 0, 0)->weight, 7);
    ck_assert(!upstream_at(&run, 0, 0)->backup);
    ck_assert_str_eq(upstream_at(&run, 0, 1)->address, "unix:/x");
    ck_assert(upstream_at(&run, 0, 1)->backup);

    /* defaults are of each record alone */
    ck_assert_str_eq(route_at(&run, 1)->prefix, "/");
    ck_assert_uint_eq(route_at(&run, 1)->balance, 0);
    ck_assert_uint_eq(route_at(&run, 1)->health_interval, 2000);
    ck_assert_uint_eq(route_at(&run, 1)->health_rise, 2);
    ck_assert_uint_eq(upstream_at(&run, 0, 1)->weight, 1);
    ck_assert_uint_eq(route_at(&run, 1)->upstreams.count, 2);
    ck_assert_str_eq(upstream_at(&run, 1, 0)->address, "[::1]:1");
    ck_assert_str_eq(upstream_at(&run, 1, 1)->address, "b");
    ck_assert(settings_source_of(&records_program, &run.said.command, "routes") ==
              SETTINGS_FROM_FILE);
    release(&run);
}
END_TEST

START_TEST(one_stands_for_a_list_of_one)
{
    struct run run;

    run_file(&run, "routes: {prefix: /, upstreams: {address: a}}\nlisten: b\n");
    ck_assert_msg(run.said.status == 0, "%s", run.said.text);
    ck_assert_uint_eq(run.options.routes.count, 1);
    ck_assert_str_eq(upstream_at(&run, 0, 0)->address, "a");
    ck_assert_str_eq(listener_at(&run, 0)->address, "b");
    release(&run);
}
END_TEST

START_TEST(lists_in_records)
{
    struct run run;

    run_file(&run, "listen:\n- {address: a, proxy: yes, trusted: [\"10.0.0.0/8\", \"fd00::/8\"]}\n"
                   "- b\n- {address: c, trusted: x}\n");
    ck_assert_msg(run.said.status == 0, "%s", run.said.text);
    ck_assert(listener_at(&run, 0)->proxy);
    ck_assert_uint_eq(listener_at(&run, 0)->trusted.count, 2);
    ck_assert_str_eq(listener_at(&run, 0)->trusted.items[1], "fd00::/8");
    ck_assert(!listener_at(&run, 1)->proxy);
    ck_assert_uint_eq(listener_at(&run, 1)->trusted.count, 1);
    ck_assert_str_eq(listener_at(&run, 1)->trusted.items[0], "::1");
    ck_assert_uint_eq(listener_at(&run, 2)->trusted.count, 1);
    ck_assert_str_eq(listener_at(&run, 2)->trusted.items[0], "x");
    release(&run);
}
END_TEST

START_TEST(flags_of_a_shorthand)
{
    struct run run;
    char letter[] = "-l", a[] = "a", b[] = "--listen=b", allow[] = "--allow-it";
    char *const flags[] = {letter, a, b, allow, NULL};

    run_with(&run, "listen: [{address: x, proxy: yes}, y, z]\n", flags);
    ck_assert_msg(run.said.status == 0, "%s", run.said.text);
    ck_assert_uint_eq(run.options.listen.count, 2);
    ck_assert_str_eq(listener_at(&run, 0)->address, "a");
    ck_assert_str_eq(listener_at(&run, 1)->address, "b");
    ck_assert(!listener_at(&run, 0)->proxy);
    ck_assert(run.options.listen_place.source == SETTINGS_FROM_FLAG);
    ck_assert(listener_at(&run, 1)->address_place.source == SETTINGS_FROM_FLAG);
    ck_assert(run.options.allow);
    release(&run);
}
END_TEST

START_TEST(flags_that_are_none)
{
    struct run run;
    char routes[] = "--routes=x", misspelt[] = "--rotes=x", value[] = "--allow-it=yes";
    char many[] = "-la", empty[] = "--listen=";
    char *const flags[] = {routes, misspelt, value, empty, many, many, many, many, NULL};

    run_with(&run, "", flags);
    ck_assert_int_eq(run.said.status, 2);
    assert_says(&run.said, "--routes: unknown flag\n");
    assert_says(&run.said, "--rotes: unknown flag\n");
    assert_says(&run.said, "--allow-it: takes no value\n");
    assert_says(&run.said, "--listen: '' is empty; expected an address\n");
    release(&run);

    char *const five[] = {many, many, many, many, many, NULL};
    run_with(&run, "", five);
    ck_assert_int_eq(run.said.status, 2);
    assert_says(&run.said, "-l: one too many; expected at most 4\n");
    assert_says(&run.said, "\nlisten: given twice\n");
    release(&run);
}
END_TEST

START_TEST(flag_alone_is_no_key)
{
    struct run run;

    run_file(&run, "allow_it: yes\n");
    ck_assert_int_eq(run.said.status, 1);
    assert_says(&run.said,
                ":1:1: unknown key 'allow_it'; the nearest known key is 'port', of: port, "
                "listen, routes\n");
    ck_assert(!run.options.allow);
    release(&run);
}
END_TEST

/* Those of single values, and those between several ones, in one run, each with its place. */
START_TEST(all_mistakes_in_one_run)
{
    static const char *const parts[] = {
        ":2:13: routes.prefix: 'x' is not valid; expected a path\n      - prefix: x\n            "
        "    ^\n",
        ":3:21: routes.health.rise: '0' is too small; expected a whole number from 1 to 100\n",
        ":4:5: unknown key 'wieght'; the nearest known key is 'prefix', of: prefix, balance, "
        "upstreams, health\n",
        ":5:5: unknown key 'weight'; did you mean 'weight' inside 'upstreams:'?\n",
        ":2:5: routes: the key 'upstreams' is missing\n",
        ":6:33: routes.upstreams: the key 'address' is missing\n",
        ":6:42: routes.upstreams.weight: '300' is too large; expected a whole number from 1 to "
        "256\n",
        ":7:13: routes.upstreams: expected a mapping with the keys address, weight, backup, not "
        "a list\n",
        ":8:5: routes: expected a mapping with the keys prefix, balance, upstreams, health, not a "
        "single value\n",
        ":9:32: listen.trusted: 'd' is one too many; expected at most 3 networks\n",
        ":10:14: listen: given twice\n",
    };
    struct run run;

    run_file(&run, "routes:\n"
                   "  - prefix: x\n"
                   "    health: { rise: 0 }\n"
                   "    wieght: 4\n"
                   "    weight: 4\n"
                   "  - {prefix: /\xc3\xa4, upstreams: [b, {weight: 300},\n"
                   "            [c]]}\n"
                   "  - /b\n"
                   "listen: [{trusted: [a, b, c,   d], address: x},\n"
                   "   {address: x}]\n");
    ck_assert_int_eq(run.said.status, 1);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        assert_says(&run.said, parts[i]);
    ck_assert_uint_eq(run.said.report.count, sizeof parts / sizeof parts[0]);
    release(&run);
}
END_TEST

START_TEST(places)
{
    struct run run;

    run_file(&run, "\xef\xbb\xbfport: 1\nroutes:\n"
                   "- {prefix: /, upstreams: a}\n"
                   "- upstreams: b\n"
                   "  \"prefix\": \"/\"\n"
                   "port: 2\n");
    ck_assert_int_eq(run.said.status, 1);
    assert_says(&run.said, ":1:7: warning: port: 1 is strange\n    port: 1\n          ^\n");
    assert_says(&run.said,
                ":5:13: routes.prefix: as in line 3 already\n      \"prefix\": \"/\"\n        "
                "        ^\n");
    assert_says(&run.said, ":6:1: duplicate key 'port'; it was given first in line 1\n");
    ck_assert_uint_eq(run.said.report.count, 2);
    ck_assert(upstream_at(&run, 1, 0)->address_place.source == SETTINGS_FROM_FILE);
    ck_assert_uint_gt(upstream_at(&run, 1, 0)->address_place.character, 0);
    release(&run);
}
END_TEST

START_TEST(warnings_are_no_mistakes)
{
    struct run run;
    char port[] = "-p1";
    char *const flags[] = {port, NULL};

    run_with(&run, "port: 1\n", flags);
    ck_assert_int_eq(run.said.status, 0);
    ck_assert_str_eq(run.said.text, "warning: port: 1 is strange\n");
    ck_assert_uint_eq(run.said.report.count, 0);
    ck_assert(run.options.port_place.source == SETTINGS_FROM_FLAG);
    release(&run);
}
END_TEST

/* Where there is no document, nothing is said of values that nobody gave. */
START_TEST(no_check_of_what_was_not_read)
{
    struct run run;
    char port[] = "-p1";
    char *const flags[] = {port, NULL};

    run_with(&run, "routes: [\n", flags);
    ck_assert_int_eq(run.said.status, 1);
    ck_assert_ptr_null(strstr(run.said.text, "warning"));
    release(&run);
}
END_TEST

static const struct refusal {
    const char *text;
    const char *says;
} refusals[] = {
    {"routes: []\n", ":1:9: routes: the list is empty; expected a list of mappings\n"},
    {"routes:\n", ":1:8: routes: expected a mapping with the keys prefix, balance, upstreams, "
                  "health, not nothing\n"},
    {"routes: [~]\n", "not nothing\n"},
    {"listen: [~]\n", "listen: expected a mapping with the keys address, proxy, trusted, not "},
    {"routes: !x []\n", "the tag '!x' is not used here"},
    {"routes: [!x {}]\n", "the tag '!x' is not used here"},
    {"listen: [!x a]\n", "the tag '!x' is not used here"},
    {"routes: {prefix: /, prefix: /}\n", ":1:21: duplicate key 'prefix'"},
    {"routes: {health: {}, health: {}}\n", ":1:22: duplicate key 'health'"},
    {"routes: {health: 5}\n", "routes.health: expected a mapping with the keys interval, rise, "
                              "not a single value\n"},
    {"routes: {interval: 5}\n", "unknown key 'interval'; did you mean 'interval' inside "
                                "'health:'?\n"},
    {"routes: {health: {balance: 5}}\n", "unknown key 'balance'; did you mean 'balance' outside "
                                         "'health:'?\n"},
    {"prefix: /\n", "unknown key 'prefix'; did you mean 'prefix' inside 'routes:'?\n"},
    {"routes: {? [a] : b}\n", "expected the name of a setting, not a list\n"},
    {"listen: [a, b, c, d, e, f]\n", ":1:22: listen: one too many; expected at most 4\n"},
    {"routes: [{}, {}, {},\n  {}]\n", ":2:3: routes: one too many; expected at most 3\n"},
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

START_TEST(no_more_records_than_allowed)
{
    struct run run;
    char *text = malloc(400000);
    size_t size;

    /* an alias names a record again, as often as there is room: no more are made */
    ck_assert_ptr_nonnull(text);
    size = (size_t)sprintf(text, "routes: [&a {prefix: /, upstreams: [&b {address: c}");
    for (int i = 0; i < 50000; i++)
        size += (size_t)sprintf(text + size, ",*b");
    size += (size_t)sprintf(text + size, "]}");
    for (int i = 0; i < 50000; i++)
        size += (size_t)sprintf(text + size, ",*a");
    sprintf(text + size, "]\n");
    run_file(&run, text);
    ck_assert_int_eq(run.said.status, 1);
    ck_assert_uint_le(run.options.routes.count, 3);
    ck_assert_uint_eq(route_at(&run, 0)->upstreams.count, 4);
    assert_says(&run.said, "more mistakes follow");
    free(text);
    release(&run);
}
END_TEST

START_TEST(aliases_make_records_of_their_own)
{
    struct run run;

    run_file(&run, "routes: [{prefix: /a, upstreams: &u [{address: c}, d]},\n"
                   "  {prefix: /b, upstreams: *u}]\n");
    ck_assert_msg(run.said.status == 0, "%s", run.said.text);
    ck_assert_str_eq(upstream_at(&run, 1, 1)->address, "d");
    ck_assert_ptr_ne(upstream_at(&run, 0, 1)->address, upstream_at(&run, 1, 1)->address);
    release(&run);
}
END_TEST

START_TEST(each_allocation_fails_once)
{
    struct records_options options = {0};
    char listen[] = "-la";
    char *const flags[] = {listen, listen, NULL}; /* an address twice */
    size_t count = fail_each(
        &records_program, &options,
        "routes: [{prefix: /a, upstreams: [{address: c}, d]}, {prefix: /b, upstreams: e}]\n"
        "listen: [{address: x, trusted: [a, b]}, y]\n",
        flags, 2);

    ck_assert_uint_gt(count, 20);
}
END_TEST

START_TEST(help_shows_every_key)
{
    static const char *const parts[] = {
        "\n  -l, --listen ADDRESS        listen here, too\n"
        "        address: ADDRESS      where to listen\n",
        "\n        trusted: LIST         who may send one [::1]\n",
        "\n      routes: LIST            in the file alone: where the paths go, each with\n"
        "        prefix: PATH          of the paths that go there\n",
        "\n        balance: WORD         who is next; turns or least [turns]\n",
        "\n        upstreams: LIST       the servers, each with\n"
        "          address: ADDRESS    of the server\n"
        "          weight: NUMBER      its share; a whole number from 1 to 256 [1]\n",
        "\n        health.interval: DURATION\n"
        "                              time between two checks; a duration",
        "\n      --allow-it              allow it [false]\n",
    };
    struct run run = {0};
    FILE *out = open_memstream(&run.said.text, &run.said.size);

    ck_assert_ptr_nonnull(out);
    settings_help(&records_program, out);
    fclose(out);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        assert_says(&run.said, parts[i]);
    ck_assert_ptr_null(strstr(run.said.text, "--routes"));
    free(run.said.text);
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_test(tests, records_and_records_in_them);
    tcase_add_test(tests, one_stands_for_a_list_of_one);
    tcase_add_test(tests, lists_in_records);
    tcase_add_test(tests, flags_of_a_shorthand);
    tcase_add_test(tests, flags_that_are_none);
    tcase_add_test(tests, flag_alone_is_no_key);
    tcase_add_test(tests, all_mistakes_in_one_run);
    tcase_add_test(tests, places);
    tcase_add_test(tests, warnings_are_no_mistakes);
    tcase_add_test(tests, no_check_of_what_was_not_read);
    tcase_add_loop_test(tests, refused_files, 0, COUNT(refusals));
    tcase_add_test(tests, no_more_records_than_allowed);
    tcase_add_test(tests, aliases_make_records_of_their_own);
    tcase_add_test(tests, each_allocation_fails_once);
    tcase_add_test(tests, help_shows_every_key);
}

int main(void)
{
    return run_suite("settings_records", add_tests);
}
