/* Most requests are an action and a plain path: the parser takes these without the rules that all
 * others have to pass. A request of which a part was looked at before always goes by the rules: so
 * each is parsed both ways, which must come to the same, at the end of memory that can be read. */
#include <sttp/parser.h>

#include "core_support.h"

enum { LINES = 50000 };

struct parsed {
    sttp_status status;
    size_t consumed;
    sttp_request request;
    sttp_problem problem;
};

static struct parsed parse(sttp_parser *parser, sttp_slice bytes)
{
    struct parsed parsed = {.consumed = SIZE_MAX};

    parsed.status = sttp_parse_request(parser, bytes.data, bytes.size, &parsed.consumed,
                                       &parsed.request, &parsed.problem);
    return parsed;
}

static struct parsed parse_by_rules(sttp_slice bytes)
{
    sttp_parser parser = {0};

    if (parse(&parser, (sttp_slice){bytes.data, 1}).status != STTP_NEED_MORE)
        ck_abort_msg("one byte is no line");
    return parse(&parser, bytes);
}

static bool is_same_slice(sttp_slice a, sttp_slice b)
{
    return a.data == b.data && a.size == b.size;
}

static bool is_same_request(const sttp_request *a, const sttp_request *b)
{
    return a->action == b->action && is_same_slice(a->path, b->path) &&
           is_same_slice(a->query, b->query) && is_same_slice(a->contents, b->contents);
}

static bool is_same_problem(const sttp_problem *a, const sttp_problem *b)
{
    return a->status == b->status && a->offset == b->offset && a->length == b->length &&
           is_same_slice(a->echo, b->echo);
}

static bool is_same(const struct parsed *a, const struct parsed *b)
{
    if (a->status != b->status || a->consumed != b->consumed)
        return false;
    if (a->status == STTP_OK)
        return is_same_request(&a->request, &b->request);
    return a->status <= STTP_END || is_same_problem(&a->problem, &b->problem);
}

/* Whether the bytes begin with a good request. */
static bool is_good_both_ways(const struct guarded *guarded, const char *data, size_t size)
{
    sttp_slice bytes = {guarded_copy(guarded, data, size), size};
    struct parsed rules = parse_by_rules(bytes);
    sttp_parser parser = {0};
    struct parsed once = parse(&parser, bytes);

    if (!is_same(&once, &rules)) /* ck_assert would cost more than parsing */
        ck_abort_msg("%d, by the rules %d: %.*s", once.status, rules.status, (int)size, data);
    return rules.status == STTP_OK;
}

static const char *const LINE[] = {"SHOW",
                                   "DELETE",
                                   "SHOW /a",
                                   "SHOW /a/bc.d",
                                   "SHOW /k/file0000",
                                   "LIST /abc/def/ghi/j",
                                   "DELETE /directory/name.txt",
                                   "SHOW /directory/directory/name-of-32-bytes",
                                   "CREATE /directory/name.txt",
                                   "UPDATE /name"};
static const char *const BEHIND[] = {"", "\n", "\r\n", "\nSHOW /b\n", "\r\nLIST /directory/\r\n"};

enum { LINE_COUNT = sizeof(LINE) / sizeof(LINE[0]), ENDS = sizeof(BEHIND) / sizeof(BEHIND[0]) };

/* Calls `change` for each place in each line with each end. */
static size_t for_each_place(size_t (*change)(const struct guarded *guarded, char *bytes,
                                              size_t size, size_t place))
{
    struct guarded guarded = guarded_create(200);
    size_t good = 0, line, end, place;
    char bytes[200];

    for (line = 0; line < LINE_COUNT; line++) {
        for (end = 0; end < ENDS; end++) {
            size_t size = (size_t)(stpcpy(stpcpy(bytes, LINE[line]), BEHIND[end]) - bytes);

            for (place = 1; place < size; place++)
                good += change(&guarded, bytes, size, place);
        }
    }
    guarded_destroy(&guarded);
    return good;
}

static size_t change_one(const struct guarded *guarded, char *bytes, size_t size, size_t place)
{
    char before = bytes[place];
    size_t good = 0;
    int byte;

    for (byte = 0; byte <= 0xff; byte++) {
        bytes[place] = (char)byte;
        good += is_good_both_ways(guarded, bytes, size);
    }
    bytes[place] = before;
    return good;
}

START_TEST(each_byte_at_each_place)
{
    ck_assert_uint_gt(for_each_place(change_one), 10000);
}
END_TEST

/* Those that a rule, or looking at eight bytes at once, tells from their neighbours. */
static size_t change_two(const struct guarded *guarded, char *bytes, size_t size, size_t place)
{
    static const char special[] = "/.?!-0 \t\r\n~\x7f\x80\xff\xae\xaf\xbf\xc3\xa9\x01";
    const char before[2] = {bytes[place - 1], bytes[place]};
    size_t good = 0, first, second;

    if (place == 1)
        return 0;
    for (first = 0; first < sizeof(special); first++) {
        for (second = 0; second < sizeof(special); second++) {
            bytes[place - 1] = special[first];
            bytes[place] = special[second];
            good += is_good_both_ways(guarded, bytes, size);
        }
    }
    memcpy(bytes + place - 1, before, sizeof(before));
    return good;
}

START_TEST(each_two_special_bytes_at_each_place)
{
    ck_assert_uint_gt(for_each_place(change_two), 10000);
}
END_TEST

/* The beginning of a line, and random parts behind it: most of them letters and slashes. */
static size_t random_line(uint64_t *state, char line[256])
{
    static const char *const starts[] = {"SHOW /",    "LIST /",  "DELETE /", "SHOW /directory/n",
                                         "SHOW\xc3/", "SHOWN /", "show /",   "DELETE/"};
    static const char *const parts[] = {"a",  "b",    "Z9", "/",        "/.",   ".",
                                        "..", "?",    " ",  "!",        "~",    "@",
                                        "\t", "\x7f", "-",  "\xc3\xa9", "\xc3", "//"};
    size_t count = random_below(state, 80);
    char *end = stpcpy(line, starts[random_below(state, sizeof(starts) / sizeof(starts[0]))]);

    while (count-- > 0) {
        bool is_usual = random_below(state, 16) > 0;

        end = stpcpy(end,
                     parts[random_below(state, is_usual ? 4 : sizeof(parts) / sizeof(parts[0]))]);
    }
    return (size_t)(stpcpy(end, BEHIND[random_below(state, ENDS)]) - line);
}

START_TEST(random_lines)
{
    struct guarded guarded = guarded_create(256);
    uint64_t state = random_seed();
    size_t good = 0, i;

    for (i = 0; i < LINES; i++) {
        char line[256];

        good += is_good_both_ways(&guarded, line, random_line(&state, line));
    }
    ck_assert_uint_gt(good, LINES / 20);
    guarded_destroy(&guarded);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("parser_plain");
    TCase *tcase = tcase_create("parser_plain");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, each_byte_at_each_place);
    tcase_add_test(tcase, each_two_special_bytes_at_each_place);
    tcase_add_test(tcase, random_lines);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
